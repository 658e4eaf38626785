"""Bundles: one file that is checked byte by byte and runs anywhere."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from daskperiment import BundleError, Experiment
from daskperiment.history.trials import Trials
from daskperiment.lineage.bundle import bundle, check, opened, verify
from tests.users import AS_ANOTHER, folder_of_another, needs_another_user

SCRIPT = """
    import random
    import sys

    import helpers
    from daskperiment import Experiment

    ex = Experiment("bundled", backend=sys.argv[1], seed=3)


    @ex.persist
    def load(n):
        ex.save_artifact("notes.txt", "x" * 5000)
        return [helpers.scale(random.random()) for _ in range(n)]


    @ex.result
    def score(rows):
        return sum(rows)


    if __name__ == "__main__":
        score(load(ex.parameter("n", default=2000))).compute()
"""
HELPERS = """
    def scale(x):
        return 3 * x
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import textwrap

    folder = tmp_path_factory.mktemp("recorded")
    for name, text in (("script", SCRIPT), ("helpers", HELPERS)):
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    subprocess.run([sys.executable, "script.py", "store"], cwd=folder, check=True)
    for name in ("script", "helpers"):
        (folder / f"{name}.py").unlink()
    return folder / "store"


@pytest.fixture
def packed(recorded: Path, tmp_path: Path) -> Path:
    with Experiment("bundled", backend=recorded).backend as backend:
        bundle(Trials(backend, "bundled"), 1, tmp_path / "trial1.zip")
    return tmp_path / "trial1.zip"


def command(*arguments: str, cwd: Path, before: tuple[str, ...] = ()) -> Any:
    return subprocess.run(
        [*before, sys.executable, "-m", "daskperiment", *arguments], cwd=cwd, capture_output=True,
        text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def test_a_bundle_verifies_in_an_empty_folder(packed: Path, tmp_path: Path) -> None:
    empty = tmp_path / "elsewhere"
    empty.mkdir()

    done = command("verify", str(packed), "--yes", cwd=empty)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "trial 1: the same to the last bit, as trial 2", "  load: bitwise", "  score: bitwise",
    ]  # fmt: skip
    assert sorted(each.name for each in empty.iterdir()) == ["report.json", "report.md"]
    assert json.loads((empty / "report.json").read_text())["match"] == "bitwise"
    assert "Verdict: **bitwise**" in (empty / "report.md").read_text()


@needs_another_user
def test_a_bundle_verifies_as_another_user(packed: Path) -> None:
    with folder_of_another(packed) as place:
        done = command("verify", packed.name, "--yes", cwd=place, before=AS_ANOTHER)
        assert done.returncode == 0, done.stderr
        assert "the same to the last bit" in done.stdout


def test_every_edited_byte_is_detected(packed: Path, tmp_path: Path) -> None:
    whole, chance = packed.read_bytes(), random.Random(20261128)
    places = [0, len(whole) - 1, *chance.sample(range(len(whole)), 300)]
    other = tmp_path / "other.zip"
    for place in places:
        edited = bytearray(whole)
        edited[place] ^= 1 << chance.randrange(8)
        other.write_bytes(edited)
        with pytest.raises(BundleError):
            check(other)
    other.write_bytes(whole[:-1])
    with pytest.raises(BundleError):
        check(other)


def test_without_a_word_nothing_runs(packed: Path, tmp_path: Path) -> None:
    done = command("verify", str(packed), cwd=tmp_path)
    assert done.returncode == 2
    assert "runs code of whoever has made it: add --yes, or --inspect" in done.stderr

    shown = command("verify", str(packed), "--inspect", "--json", cwd=tmp_path)
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["steps"] == ["load", "score"]
    assert not (tmp_path / "report.json").exists()


def test_an_edited_bundle_exits_with_1(packed: Path, tmp_path: Path) -> None:
    edited = bytearray(packed.read_bytes())
    edited[len(edited) // 2] ^= 1
    (tmp_path / "edited.zip").write_bytes(edited)

    done = command("verify", "edited.zip", "--yes", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert "is no bundle, or was changed" in done.stderr


def test_data_goes_along_only_where_it_is_asked_for(recorded: Path, tmp_path: Path) -> None:
    with Experiment("bundled", backend=recorded).backend as backend:
        trials = Trials(backend, "bundled")
        bundle(trials, 1, tmp_path / "without.zip")
        bundle(trials, 1, tmp_path / "with.zip", with_data=True)
        assert Experiment("bundled", backend=backend)[1].artifacts["notes.txt"].size == 5000

    for name, there in (("without.zip", False), ("with.zip", True)):
        with opened(tmp_path / name) as (_, folder):
            ex = Experiment("bundled", backend=folder / "store")
            assert ex[1].artifacts["notes.txt"].size == (5000 if there else 0)
            ex.backend.close()
        assert verify(tmp_path / name).reproduction.match == "bitwise"


# -- what somebody else has made up


def sealed(path: Path, files: dict[str, bytes], about: dict[str, Any]) -> Path:
    """A bundle with these files, whose seal fits."""
    from daskperiment.lineage import bundle as module

    listed = {name: [module.blake3(data).hexdigest(), len(data)] for name, data in files.items()}
    manifest = {
        "format": 1, "experiment": "e", "uid": "0f", "number": 1, "python": "", "system": "",
        "steps": [], "files": listed, **about,
    }  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        for name, data in files.items():
            archive.writestr(name, data)
        archive.comment = b"0" * 64
    module._seal(path)
    return path


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "C:/x", "..\\x", "store/../../x"])
def test_nothing_is_written_elsewhere(tmp_path: Path, name: str) -> None:
    path = sealed(tmp_path / "evil.zip", {name: b"x"}, {})

    with pytest.raises(BundleError, match="lie elsewhere|not those of its manifest"), opened(path):
        pass
    assert sorted(each.name for each in tmp_path.iterdir()) == ["evil.zip"]


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"format": 2}, "of format 2, and this version reads 1"),
        ({"files": {}}, "not those of its manifest"),
        ({"files": {"a": ["0" * 64, 1]}}, "was changed"),
        ({"files": {"a": ["0" * 64, 2]}}, "not that of the manifest"),
        ({"number": "many"}, "is no bundle: ValueError"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    tmp_path: Path, about: dict[str, Any], told: str
) -> None:
    path = sealed(tmp_path / "odd.zip", {"a": b"x"}, about)

    with pytest.raises(BundleError, match=told), opened(path):
        pass


@pytest.mark.parametrize("content", [b"", b"x" * 200, b"PK\x03\x04" + b"0" * 100])
def test_what_is_no_bundle_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "none.zip").write_bytes(content)

    with pytest.raises(BundleError, match="is no bundle"):
        check(tmp_path / "none.zip")


def test_reading_a_bundle_unpickles_nothing(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "loads", never)
    monkeypatch.setattr(pickle, "load", never)

    with opened(packed) as (manifest, folder):
        ex = Experiment("bundled", backend=folder / "store")
        assert str(ex[1].state) == "COMPLETE"
        assert ex[1].steps["step"].to_list() == list(manifest.steps)
        ex.backend.close()
