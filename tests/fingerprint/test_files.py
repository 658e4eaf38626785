"""A path counts by the content that it names."""

from __future__ import annotations

import os
import pathlib
import socket
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskperiment import Experiment
from daskperiment.fingerprint.code import fingerprint
from daskperiment.fingerprint.values import digest, try_digest

posix = pytest.mark.skipif(os.name == "nt", reason="needs links, modes and special files")


def write(path, content, age=10.0):
    """A file that was last written to some seconds ago."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def tree(root, names=("a.txt", "sub/b.bin")):
    for name in names:
        write(root / name, name.encode())
    return root


@pytest.fixture
def settled(monkeypatch):
    """Every file was written long ago: its status cannot be set back."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60_000_000_000)


def test_a_file_is_its_bytes_wherever_it_lies(tmp_path):
    one, other = write(tmp_path / "x.csv", b"1,2"), write(tmp_path / "deep/y.txt", b"1,2")
    assert digest(one) == digest(other) != digest(write(tmp_path / "z", b"1,3"))
    assert digest(write(tmp_path / "empty", b"")) != digest(one)
    os.chdir(tmp_path / "deep")
    assert digest(pathlib.Path("y.txt")) == digest(one)


def test_a_file_is_neither_its_bytes_as_a_value_nor_its_name(tmp_path):
    file = write(tmp_path / "x", b"text")
    kinds = [file, b"text", "text", str(file), pathlib.PurePath(file), tmp_path]
    assert len(set(map(digest, kinds))) == len(kinds)


def test_a_path_in_a_container_counts_by_its_content_too(tmp_path):
    one, other = write(tmp_path / "x", b"same"), write(tmp_path / "y", b"same")
    assert digest({"data": [one]}) == digest({"data": [other]})


def test_what_does_not_exist_is_its_text(tmp_path):
    missing = tmp_path / "missing"
    assert digest(missing) == digest(pathlib.PurePath(missing)) != digest(tmp_path / "other")
    assert digest(write(tmp_path / "x", b"") / "below a file") is not None
    assert digest(pathlib.Path("no\0name")) == digest(pathlib.PurePath("no\0name"))
    assert digest(tmp_path / ("long" * 1000)) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda root: write(root / "sub/b.bin", b"SUB/B.BIN"),
        lambda root: write(root / "new", b""),
        lambda root: (root / "a.txt").unlink(),
        lambda root: (root / "a.txt").rename(root / "c.txt"),
        lambda root: (root / "sub").rename(root / "bus"),
        lambda root: (root / "empty").mkdir(),
    ],
    ids=["content", "new file", "removed", "renamed", "folder renamed", "empty folder"],
)
@pytest.mark.usefixtures("settled")
def test_a_folder_changes_with_its_names_and_contents(tmp_path, change):
    root, same = tree(tmp_path / "one"), tree(tmp_path / "other", ("sub/b.bin", "a.txt"))
    before = digest(root)
    assert before == digest(same)
    change(root)
    assert digest(root) != before


def test_times_and_modes_do_not_count(tmp_path):
    root = tree(tmp_path / "root")
    before = digest(root)
    os.utime(root / "a.txt", (1, 1))
    (root / "a.txt").chmod(0o600)
    assert digest(root) == before


@posix
def test_a_link_in_a_folder_is_its_text_and_is_not_followed(tmp_path):
    root = tree(tmp_path / "root")
    plain = digest(root)
    (root / "link").symlink_to("a.txt")
    linked = digest(root)
    (root / "link").unlink()
    (root / "link").symlink_to("elsewhere")
    assert len({plain, linked, digest(root)}) == 3
    (root / "to itself").symlink_to(root)
    assert digest(root) is not None


@posix
def test_a_link_that_is_given_leads_to_its_content(tmp_path):
    file, link, broken = write(tmp_path / "x", b"1"), tmp_path / "link", tmp_path / "broken"
    link.symlink_to(file)
    broken.symlink_to("nowhere")
    assert digest(link) == digest(file)
    assert digest(broken) == digest(pathlib.PurePath(broken))
    broken.unlink()
    broken.symlink_to(broken)
    assert digest(broken) == digest(pathlib.PurePath(broken))


@posix
def test_special_files_are_unhashed_and_the_message_says_where(tmp_path):
    root = tree(tmp_path / "root")
    os.mkfifo(root / "sub" / "pipe")
    found = try_digest([root], "inputs")
    assert found == (None, "inputs[0]/sub/pipe: neither a file nor a folder")
    assert try_digest(pathlib.Path(os.devnull))[0] is None
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)
        server.bind("s")
        assert try_digest(tmp_path / "s")[0] is None


@posix
def test_what_may_not_be_read_is_unhashed_and_says_why(tmp_path, monkeypatch):
    root = tree(tmp_path / "root")

    def refuse(*arguments, **keywords):
        raise PermissionError(13, "Permission denied", "/secret/place")

    monkeypatch.setattr("daskperiment.fingerprint.files.FileIO", refuse)
    reason = try_digest(root)[1]
    assert reason == "value/a.txt: it cannot be read: Permission denied"
    monkeypatch.setattr("os.scandir", refuse)
    assert try_digest(root)[1] == "value: it cannot be read: Permission denied"
    monkeypatch.setattr("pathlib.Path.stat", refuse)
    assert try_digest(root)[1] == "value: it cannot be read: Permission denied"


@pytest.mark.usefixtures("settled")
def test_an_unchanged_file_is_read_once(tmp_path, monkeypatch):
    files = [write(tmp_path / name, b"content") for name in "xy"]
    before = list(map(digest, files))
    folder = digest(tmp_path)

    def refuse(*arguments):
        raise AssertionError("read again")

    monkeypatch.setattr("daskperiment.fingerprint.files.FileIO", refuse)
    assert list(map(digest, files)) == before
    assert digest(tmp_path) == folder


@pytest.mark.usefixtures("settled")
def test_a_file_that_was_exchanged_for_one_of_equal_size_and_time_is_read_again(tmp_path):
    file, other = write(tmp_path / "x", b"old"), write(tmp_path / "y", b"new")
    found = file.stat()
    before = digest(file)
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(file)
    assert digest(file) != before


def test_a_file_that_was_written_to_a_moment_ago_is_not_remembered(tmp_path, monkeypatch):
    # As if its file system had a coarse clock: nothing but the content tells the two apart.
    monkeypatch.setattr("daskperiment.fingerprint.files._version", _Same)
    file = tmp_path / "x"
    file.write_bytes(b"old")
    before = digest(file)
    file.write_bytes(b"new")
    assert digest(file) != before


class _Same:
    """The version of a file that was written to within one tick of the clock."""

    def __init__(self, found):
        self.modified = self.changed = time.time_ns()
        self.size = found.st_size

    def __hash__(self):
        return 0

    def __eq__(self, other):
        return type(other) is _Same


@pytest.mark.usefixtures("settled")
def test_a_file_that_changes_while_it_is_read_is_unhashed(tmp_path, monkeypatch):
    from daskperiment.fingerprint import files

    file, read = write(tmp_path / "x", b"old"), files.FileIO

    class Changing(read):
        def readinto(self, block):
            count = super().readinto(block)
            file.write_bytes(b"longer")
            return count

    monkeypatch.setattr(files, "FileIO", Changing)
    assert "changed while it was read" in try_digest(file)[1]
    monkeypatch.undo()
    assert digest(file) == digest(write(tmp_path / "y", b"longer"))


names = st.text("abc", min_size=1, max_size=3)


@given(st.dictionaries(names, st.binary(max_size=5), max_size=4), st.data())
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_folders_are_equal_exactly_when_their_trees_are(tmp_path, one, data):
    other = data.draw(st.one_of(st.just(one), st.dictionaries(names, st.binary(max_size=5))))
    place = tmp_path / os.urandom(4).hex()
    for side, content in (("one", one), ("other", other)):
        (place / side).mkdir(parents=True)
        for name, held in reversed(content.items()):
            (place / side / name).write_bytes(held)
    assert (digest(place / "one") == digest(place / "other")) == (one == other)


def test_a_subclass_of_path_is_unhashed(tmp_path):
    class Remote(type(pathlib.Path())):
        __slots__ = ()

    assert "a subclass from outside its library" in try_digest(Remote(tmp_path))[1]


def test_a_path_among_globals_counts_by_its_text(tmp_path):
    names = {"DATA": write(tmp_path / "x", b"old")}
    exec("def load():\n    return DATA.read_bytes()", names)
    before = fingerprint(names["load"]).digest
    write(tmp_path / "x", b"newer")
    assert fingerprint(names["load"]).digest == before
    names["DATA"] = tmp_path / "y"
    assert fingerprint(names["load"]).digest != before


def test_a_changed_file_is_another_input_of_a_step(tmp_path):
    ex = Experiment("files", backend="memory://", seed=1)

    @ex.result
    def load(path):
        return len(path.read_bytes())

    s, inputs = load(ex.parameter("path")), []
    for content in (b"one", b"two", b"one"):
        write(tmp_path / "x", content)
        s.compute(parameters={"path": tmp_path / "x"})
        inputs.append(ex.latest.steps.loc[0, "inputs"]["path"])
    assert inputs[0] == inputs[2] != inputs[1]


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_names_that_are_no_text_count(tmp_path):
    place = os.fsencode(tmp_path)
    for name in (b"\xff", b"\xfe"):
        os.mkdir(place + b"/" + name)  # noqa: PTH102 - of bytes
        os.mkdir(place + b"/" + name + b"/f")  # noqa: PTH102
    one, other = (pathlib.Path(os.fsdecode(place + b"/" + name)) for name in (b"\xff", b"\xfe"))
    assert digest(one) == digest(other) != digest(tmp_path)
