from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskperiment.backends import Append, Backend, Clear, Insert, Put, Remove, rows
from daskperiment.backends.files import PayloadFiles
from daskperiment.backends.local import LocalBackend
from daskperiment.backends.sqlite import LONGEST_LOG, Durability
from daskperiment.errors import (
    BackendError,
    BackendUnreachableError,
    BackendURIError,
    DamagedRowError,
)
from tests.stores import cells

posix = pytest.mark.skipif(os.name == "nt", reason="modes and forks are POSIX")

LARGE = b"0123456789abcdef" * 10_000


def files_in(directory: Path) -> list[str]:
    return sorted(str(file.relative_to(directory)) for file in directory.rglob("*"))


# where things are


def test_a_store_is_made_by_the_first_write_only(tmp_path: Path) -> None:
    with LocalBackend(tmp_path / "a" / "store") as backend:
        assert backend.get("x", 1) is None
        assert list(backend.find("x")) == backend.read("x") == list(backend.blobs()) == []
        backend.drop("x")
        assert list(tmp_path.iterdir()) == []

        backend.insert("x", {})

        assert (tmp_path / "a" / "store").is_dir()


@posix
def test_a_store_is_its_users_alone(tmp_path: Path) -> None:
    with LocalBackend(tmp_path / "store") as backend:
        backend.insert("x", {})

    assert (tmp_path / "store").stat().st_mode & 0o077 == 0


def test_git_ignores_a_store_but_not_a_directory_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("new", "mine"):
        with LocalBackend(tmp_path / name) as backend:
            backend.insert("x", {})

    assert (tmp_path / "new" / ".gitignore").read_text() == "*\n"
    assert not (tmp_path / "mine" / ".gitignore").exists()


def test_a_relative_directory_is_that_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with LocalBackend("store") as backend:
        monkeypatch.chdir(tmp_path / "elsewhere")
        backend.insert("x", {})

    assert files_in(tmp_path / "elsewhere") == []
    assert repr(backend) == "LocalBackend('store')"
    assert backend.locate("quickstart_pj") == "LocalBackend('store/quickstart_pj')"


def test_a_copied_directory_is_a_working_store(tmp_path: Path) -> None:
    with LocalBackend(tmp_path / "store") as backend:
        backend.apply(Insert("x", {"a": 1}), Append("x", [1]))
        digests = backend.put(b"small"), backend.put(LARGE)
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    shutil.rmtree(tmp_path / "store")

    with LocalBackend(tmp_path / "copy") as copy:
        assert copy.get("x", 1) == {"a": 1}
        assert copy.read("x") == [1]
        assert [copy.fetch(digest) for digest in digests] == [b"small", LARGE]
        assert copy.insert("x", {}) == 2


def test_a_store_that_was_removed_is_made_again(tmp_path: Path) -> None:
    with LocalBackend(tmp_path / "store") as backend:
        backend.insert("x", {"old": 1})
        shutil.rmtree(tmp_path / "store")

        assert list(backend.find("x")) == []
        backend.insert("x", {"new": 1})

        with LocalBackend(tmp_path / "store") as other:
            assert list(other.find("x")) == [(1, {"new": 1})]


def test_two_backends_of_one_directory_are_equal(tmp_path: Path) -> None:
    one, other = LocalBackend(tmp_path / "a"), LocalBackend(str(tmp_path / "a"))

    assert one == other
    assert hash(one) == hash(other)
    assert one != LocalBackend(tmp_path / "b")
    assert one != LocalBackend(tmp_path / "a", "power")


def test_a_second_backend_sees_what_the_first_wrote(tmp_path: Path) -> None:
    with LocalBackend(tmp_path) as one, LocalBackend(tmp_path) as other:
        assert [one.insert("x", {}), other.insert("x", {}), one.insert("x", {})] == [1, 2, 3]
        assert one.store_id == other.store_id


# what goes wrong


@pytest.mark.parametrize("content", [b"a file", b""])
def test_a_file_in_the_way_is_a_typed_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store").write_bytes(content)

    with pytest.raises(BackendError, match="a file is in the way: move it") as caught:
        LocalBackend(tmp_path / "store").insert("x", {})

    assert isinstance(caught.value.__cause__, OSError)
    assert (tmp_path / "store").read_bytes() == content


@pytest.mark.parametrize("content", [b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_store_is_a_typed_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store.sqlite").write_bytes(content)

    with pytest.raises(BackendError, match=r"; .*(move|restore|check)") as caught:
        LocalBackend(tmp_path).get("x", 1)

    assert isinstance(caught.value.__cause__, sqlite3.Error)


def test_a_store_of_a_newer_release_is_not_touched(tmp_path: Path) -> None:
    with LocalBackend(tmp_path) as backend:
        backend.insert("x", {})
    connection = sqlite3.connect(tmp_path / "store.sqlite")
    connection.execute("PRAGMA user_version = 1000")
    connection.close()
    before = (tmp_path / "store.sqlite").read_bytes()

    with pytest.raises(BackendError, match="upgrade daskperiment"):
        LocalBackend(tmp_path).insert("x", {})

    assert (tmp_path / "store.sqlite").read_bytes() == before


def test_a_write_that_fails_is_typed_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalBackend(tmp_path) as backend:
        backend.insert("x", {"n": 1})
        with monkeypatch.context() as patch:
            patch.setattr("daskperiment.backends.sqlite.TIMEOUT", 0.0)
            with LocalBackend(tmp_path) as hasty, holding(tmp_path / "store.sqlite"):
                with pytest.raises(BackendError, match="end it and try again") as caught:
                    hasty.insert("x", {"n": 2})
                assert backend.get("x", 1) == {"n": 1}

        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert backend.insert("x", {"n": 3}) == 2


class holding:  # noqa: N801
    """Another program's write transaction."""

    def __init__(self, file: Path) -> None:
        self.connection = sqlite3.connect(file, isolation_level=None)

    def __enter__(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *exc_info: object) -> None:
        self.connection.close()


def test_an_unknown_durability_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(BackendURIError, match="'process' or 'power'"):
        LocalBackend(tmp_path, "none")  # type: ignore[arg-type]


# deleting


def test_compacting_leaves_no_trace_and_gives_space_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "SHORTEST", 2**60)  # compressed text could not be searched for

    def content() -> bytes:
        names = ("store.sqlite", "store.sqlite-wal")
        return b"".join((tmp_path / name).read_bytes() for name in names)

    with LocalBackend(tmp_path) as backend:
        for n in range(1000):
            backend.insert("x", {"n": n, "canary": f"canary {n} " * 20})
        backend.insert("x", {"kept": "kept"})
        other = sqlite3.connect(tmp_path / "store.sqlite")  # as SQLite is by default
        other.execute("PRAGMA secure_delete = OFF")
        with other:
            other.execute("UPDATE documents SET document = NULL WHERE key <= 1000")
        other.close()
        before = len(content())
        assert b"canary 7 canary" in content()

        backend.compact()

        assert b"canary" not in content()
        assert len(content()) < before / 2
        assert backend.get("x", 1001) == {"kept": "kept"}


def test_compacting_leaves_no_trace_in_what_rows_are_compressed_against(tmp_path: Path) -> None:
    documents = [{"n": n, "canary": f"canary {n} " * 20} for n in range(1, 10)]
    with LocalBackend(tmp_path) as backend:
        for document in documents:
            backend.insert("x/y", document)
            backend.append("x/z", [document])
        backend.update("x/y", 1, {"canary": "forgotten"})
        backend.apply(Remove("x/y", 2), Clear("x/z"), Append("x/z", documents[2:]))
        assert any(b"canary 1 " in cell for _, cell in cells(tmp_path / "store.sqlite"))

        backend.compact()

        left = [cell for _, cell in cells(tmp_path / "store.sqlite")]
        assert not any(b"canary 1 " in cell or b"canary 2 " in cell for cell in left)
        assert backend.get("x/y", 1) == {"n": 1, "canary": "forgotten"}
        assert list(backend.find("x/y", after=1)) == list(enumerate(documents, 1))[2:]
        assert backend.read("x/z") == documents[2:]


def test_a_sample_that_another_process_renews_is_not_used_again(tmp_path: Path) -> None:
    with LocalBackend(tmp_path) as one, LocalBackend(tmp_path) as other:
        for n in range(5):
            one.insert("x", {"text": "like " * 50, "n": n})
            other.insert("x", {"text": "like " * 50, "n": n})
        other.drop("x")
        other.compact()

        one.insert("x", {"text": "like " * 50, "n": 5})

        assert list(LocalBackend(tmp_path).find("x")) == [(1, {"text": "like " * 50, "n": 5})]


def test_samples_are_not_read_again_because_others_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = rows.Rows._load

    def counted(self: rows.Rows, number: int) -> rows.Sample:
        loaded.append(number)
        return load(self, number)

    monkeypatch.setattr(rows.Rows, "_load", counted)
    with LocalBackend(tmp_path) as one, LocalBackend(tmp_path) as other:
        for n in range(20):
            one.insert("x", {"text": "like " * 50, "n": n})
            other.insert("x", {"text": "like " * 50, "n": n})

    assert loaded == [1, 1]  # once by each


def test_a_reader_goes_on_when_samples_are_renewed_at_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [{"text": "like " * 50, "n": n} for n in range(5)]
    with LocalBackend(tmp_path) as other, LocalBackend(tmp_path) as reader:
        for document in documents:
            other.insert("x", document)
            other.append("x/log", [document])
        load = rows.Rows._load

        def late(self: rows.Rows, number: int) -> rows.Sample:
            monkeypatch.setattr(rows.Rows, "_load", load)
            other.compact()
            return load(self, number)

        for read in (
            lambda: [document for _, document in reader.find("x")],
            lambda: reader.read("x/log"),
            lambda: [reader.get("x", n) for n in range(1, 6)],
        ):
            reader.close()
            monkeypatch.setattr(rows.Rows, "_load", late)
            assert read() == documents


def test_a_row_at_anothers_place_is_not_read(tmp_path: Path) -> None:
    with LocalBackend(tmp_path) as backend:
        backend.insert("x", {"n": 1})
        backend.insert("x", {"n": 2})
    connection = sqlite3.connect(tmp_path / "store.sqlite")
    with connection:
        connection.execute("UPDATE documents SET key = key + 10 WHERE key = 1")
    connection.close()

    with LocalBackend(tmp_path) as backend, pytest.raises(DamagedRowError, match="salvage"):
        backend.get("x", 11)
    assert LocalBackend(tmp_path).get("x", 2) == {"n": 2}


@given(st.lists(st.text(st.characters(), max_size=400), max_size=12))
def test_rows_of_any_text_come_back(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, LocalBackend(folder) as backend:
        for text in texts:
            backend.apply(Insert("x", {"text": text * 3}), Append("folder/log", [text * 2]))
        assert [row["text"] for _, row in backend.find("x")] == [text * 3 for text in texts]
        assert backend.read("folder/log") == [text * 2 for text in texts]


def test_compacting_goes_on_while_others_empty_the_log_too(tmp_path: Path) -> None:
    done = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(tmp_path / "store" / "store.sqlite", timeout=60)) as other:
            while not done.is_set():
                other.execute("INSERT INTO payloads VALUES (hex(randomblob(32)), '')")
                other.commit()
                other.execute("PRAGMA wal_checkpoint").fetchall()
                time.sleep(0.001)  # or the store would grow faster than it is written anew

    with LocalBackend(tmp_path / "store") as backend, ThreadPoolExecutor() as pool:
        backend.insert("x", {})
        writing = pool.submit(write)
        try:
            for _ in range(50):
                backend.compact()
        finally:
            done.set()
        writing.result()


def test_compacting_says_when_a_reader_keeps_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskperiment.backends.sqlite.TIMEOUT", 0.1)
    with LocalBackend(tmp_path) as backend:
        backend.insert("x", {})
        reader = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM documents").fetchall()
        backend.insert("x", {})

        with pytest.raises(BackendError, match="reading for too long.*end it and try again"):
            backend.compact()

        reader.close()
        backend.compact()


# payloads


def test_a_large_payload_is_a_file_and_a_small_one_is_not(tmp_path: Path) -> None:
    with LocalBackend(tmp_path) as backend:
        backend.put(b"small" * 100)
        assert not (tmp_path / "blobs").exists()

        digest = backend.put(LARGE)

        assert files_in(tmp_path / "blobs") == [digest[:2], f"{digest[:2]}/{digest}"]
        with backend.open(digest) as payload:
            assert payload.fileno() > 0
            assert payload.read(4) == b"0123"


def test_a_torn_payload_is_never_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with LocalBackend(tmp_path) as backend:
        backend.insert("x", {})
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fail)
            with pytest.raises(BackendError, match="free some space on the disk"):
                backend.apply(Put(LARGE), Insert("x", {}))

        assert list(backend.blobs()) == []
        assert [file for file in (tmp_path / "blobs").rglob("*") if file.is_file()] == []
        assert [key for key, _ in backend.find("x")] == [1]


def test_a_draft_that_a_crash_left_is_no_payload(tmp_path: Path) -> None:
    with LocalBackend(tmp_path) as backend:
        digest = backend.put(LARGE)
        (tmp_path / "blobs" / ".0123.draft").write_bytes(LARGE[:100])

        assert list(backend.blobs()) == [(digest, len(LARGE))]


def test_a_truncated_payload_is_healed_by_putting_it_again(tmp_path: Path) -> None:
    with LocalBackend(tmp_path) as backend:
        digest = backend.put(LARGE)
        PayloadFiles(tmp_path / "blobs").path(digest).write_bytes(LARGE[:100])

        backend.put(LARGE)

        assert backend.fetch(digest) == LARGE


# processes


WRITER = """
    import os, sys
    from daskperiment.backends import Append, Insert, Put
    from daskperiment.backends.local import LocalBackend

    backend = LocalBackend(sys.argv[1])
    while True:
        results = backend.apply(
            Put(os.urandom(100_000)), Insert("x/trials", {"state": "RUNNING"}), Append("x/log", [1])
        )
        print(*results, flush=True)
"""


def test_a_killed_writer_leaves_every_acknowledged_write(tmp_path: Path) -> None:
    acknowledged: list[tuple[str, int, int]] = []
    for lines in (1, 5, 20):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            written = [writer.stdout.readline() for _ in range(lines)]
            writer.kill()
            written += writer.stdout.readlines()
        for line in written:
            if line.endswith("\n"):
                put, inserted, appended = line.split()
                acknowledged.append((put, int(inserted), int(appended)))

    with LocalBackend(tmp_path / "store") as backend:
        numbers = [key for key, _ in backend.find("x/trials")]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(backend.read("x/log")) == len(numbers)
        for digest, number, length in acknowledged:
            assert number == length <= len(numbers)
            assert len(backend.fetch(digest)) == 100_000
        assert len(acknowledged) >= 26
        assert backend.insert("x/trials", {}) == len(numbers) + 1


CREATOR = """
    import sys
    from daskperiment.backends.local import LocalBackend

    sys.stdin.readline()
    print(LocalBackend(sys.argv[1]).insert("x", {}))
"""


def test_processes_that_make_a_store_at_once_share_it(tmp_path: Path) -> None:
    creators = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CREATOR), str(tmp_path / "store")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for creator in creators:
        assert creator.stdin is not None
        creator.stdin.write("go\n")
        creator.stdin.flush()
    numbers = [int(creator.communicate()[0]) for creator in creators]

    assert sorted(numbers) == [1, 2, 3, 4]
    assert not list((tmp_path / "store").glob("*.draft"))


def test_threads_that_make_a_store_at_once_share_it(tmp_path: Path) -> None:
    for n in range(10):
        backends = [LocalBackend(tmp_path / str(n)) for _ in range(4)]
        threads = [threading.Thread(target=backend.insert, args=("x", {})) for backend in backends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [key for key, _ in backends[0].find("x")] == [1, 2, 3, 4]
        for backend in backends:
            backend.close()


def look_and_write(pickled: bytes) -> str:
    backend: Backend = pickle.loads(pickle.dumps(pickle.loads(pickled)))  # and is sent on
    attempts = [
        lambda: backend.get("x", 1),
        lambda: list(backend.find("x")),
        lambda: backend.read("x"),
        lambda: backend.insert("x", {}),
    ]
    outcomes = []
    for attempt in attempts:
        try:
            outcomes.append(repr(attempt()))
        except BackendUnreachableError:
            outcomes.append("unreachable")
    return " ".join(outcomes)


def test_pickling_makes_the_store(tmp_path: Path) -> None:
    with LocalBackend(tmp_path / "store") as backend:
        again = pickle.loads(pickle.dumps(backend))

        assert (tmp_path / "store" / "store.sqlite").exists()
        assert again == backend
        assert repr(again) == repr(backend)


@pytest.mark.parametrize("fate", ["removed", "replaced"])
def test_a_worker_makes_no_store_of_its_own(tmp_path: Path, fate: str) -> None:
    with LocalBackend(tmp_path / "store") as backend:
        pickled = pickle.dumps(backend)
    shutil.rmtree(tmp_path / "store")
    if fate == "replaced":
        with LocalBackend(tmp_path / "store") as other:
            other.insert("y", {})
    before = files_in(tmp_path)

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        assert worker.submit(look_and_write, pickled).result() == " ".join(["unreachable"] * 4)

    assert files_in(tmp_path) == before


def in_fork(work: object) -> int:
    """Run a function in a forked child; return its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()  # type: ignore[operator]
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@posix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_forked_child_commits_stays_when_the_parent_closes(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    backend.insert("x", {"by": "parent"})
    asked, answer = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        backend.insert("x", {"by": "child"})
        os.write(asked[1], b".")
        os.read(answer[0], 1)
        backend.insert("x", {"by": "child"})
        os._exit(0)
    os.read(asked[0], 1)
    backend.insert("x", {"by": "parent"})
    backend.close()
    os.write(answer[1], b".")
    assert os.waitpid(child, 0)[1] == 0
    for end in (*asked, *answer):
        os.close(end)

    with LocalBackend(tmp_path) as later:
        authors = [document["by"] for _, document in later.find("x")]
    assert authors == ["parent", "child", "parent", "child"]


@posix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_while_threads_write_can_write_too(tmp_path: Path) -> None:
    with LocalBackend(tmp_path) as backend:
        done = threading.Event()

        def write() -> None:
            while not done.is_set():
                backend.insert("x", {})

        writers = [threading.Thread(target=write) for _ in range(3)]
        for writer in writers:
            writer.start()
        exits = [in_fork(lambda: backend.insert("y", {})) for _ in range(20)]
        done.set()
        for writer in writers:
            writer.join()

        assert exits == [0] * 20
        assert [key for key, _ in backend.find("y")] == list(range(1, 21))
        numbers = [key for key, _ in backend.find("x")]
        assert numbers == list(range(1, len(numbers) + 1))


# settings


@pytest.mark.parametrize(("durability", "synchronous"), [("process", 1), ("power", 2)])
def test_durability_decides_when_sqlite_syncs(
    tmp_path: Path, durability: Durability, synchronous: int
) -> None:
    with LocalBackend(tmp_path, durability) as backend:
        backend.insert("x", {})
        with backend._session() as connection:
            assert connection is not None
            assert connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_compacting_leaves_no_trace_of_a_field_that_was_replaced(tmp_path: Path) -> None:
    with LocalBackend(tmp_path) as backend:
        backend.insert("x", {"note": "canary", "other": 1})
        backend.update("x", 1, {"note": "new"}, expect={"note": "canary"})

        backend.compact()

        assert not any(b"canary" in cell for _, cell in cells(tmp_path / "store.sqlite"))
        assert backend.get("x", 1) == {"note": "new", "other": 1}


def test_the_log_is_short_again_when_a_long_reader_has_ended(tmp_path: Path) -> None:
    log = tmp_path / "store.sqlite-wal"
    with LocalBackend(tmp_path) as backend:
        backend.insert("x", {})
        with closing(sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM paths").fetchall()
            while not log.exists() or log.stat().st_size < LONGEST_LOG + 2**20:
                backend.put(os.urandom(60_000))
        for _ in range(3):
            backend.insert("x", {})
        assert log.stat().st_size <= LONGEST_LOG
