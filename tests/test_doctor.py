"""The doctor: each finding is provoked by real damage to a copy of a real store."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.backends import Backend, Finding
from daskperiment.backends.local import LocalBackend
from daskperiment.errors import DaskperimentWarning
from daskperiment.history.doctor import examine
from tests.stores import row

LARGE = "large" * 20_000


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three trials, made once; tests damage copies of it."""
    place = tmp_path_factory.mktemp("doctor") / "store"
    with LocalBackend(place) as backend:
        ex = Experiment("example", backend=backend)

        @ex.persist
        def clean(a):
            return LARGE + str(a)

        @ex.result
        def score(text, a):
            ex.save_artifact("notes", f"notes {a}")
            return {"long": "result" * 1000, "a": a}

        a = ex.parameter("a")
        for value in range(3):
            score(clean(a), a).compute(parameters={"a": value})
    return place


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def found(place: Path | Backend, level: str, deep: bool = True) -> list[Finding]:
    backend = LocalBackend(place) if isinstance(place, Path) else place
    with backend:
        return [finding for finding in examine(backend, deep) if finding.level == level]


def only(place: Path, deep: bool = True) -> str:
    """What the one problem is."""
    (problem,) = found(place, "problem", deep)
    assert problem.advice
    return problem.what


def execute(place: Path, statement: str, *values: Any) -> None:
    connection = sqlite3.connect(place / "store.sqlite")
    with connection:
        assert connection.execute(statement, values).rowcount > 0
    connection.close()


def test_a_healthy_store_has_no_problem(ex: Experiment, store: Path) -> None:
    ex.result(lambda: 1, name="one")().compute()

    assert found(ex.backend, "problem") == found(store, "problem") == []
    assert "1 trials in 1 experiments" in str(found(ex.backend, "ok"))
    assert "3 trials in 1 experiments" in str(found(store, "ok"))
    assert "the database is sound" in str(found(store, "ok"))


class Busy(LocalBackend):
    """A store in which others record while it is examined."""

    recorded = False

    def blobs(self) -> Iterator[tuple[str, int]]:
        before = list(super().blobs())
        if not self.recorded:
            self.recorded = True
            self.record()
        return iter(before)

    def record(self) -> None:
        ex = Experiment("meanwhile", backend=self)
        ex.result(lambda: LARGE + "new", name="new")().compute()


def test_what_is_recorded_meanwhile_is_no_problem(store: Path) -> None:
    assert found(Busy(store), "problem") == []


def test_an_absent_store_is_no_problem_and_is_not_made(tmp_path: Path) -> None:
    assert found(tmp_path / "none", "problem") == []
    assert "no store yet" in str(found(tmp_path / "none", "note"))
    assert not (tmp_path / "none").exists()


def test_examining_changes_nothing(store: Path) -> None:
    def content() -> dict[str, bytes]:
        files = (file for file in store.rglob("*") if file.is_file())
        return {str(f): f.read_bytes() for f in files if not f.name.endswith(("-shm", "-wal"))}

    before = content()

    found(store, "ok")

    assert content() == before


def test_a_file_that_is_no_database(store: Path) -> None:
    (store / "store.sqlite").write_bytes(b"no database" * 1000)

    problems = found(store, "problem")

    assert "cannot be read" in problems[0].what
    assert "no SQLite database" in problems[0].what


def test_a_damaged_page_of_the_database(store: Path) -> None:
    file = store / "store.sqlite"
    content = bytearray(file.read_bytes())
    content[4096 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4096)
    file.write_bytes(content)

    assert any("database" in problem.what for problem in found(store, "problem"))


@pytest.mark.parametrize("document", [b"{not json", b"[1]", b"{}", b'{"uid":"x","state":"ODD"}'])
def test_a_row_that_cannot_be_read_does_not_hide_the_others(store: Path, document: bytes) -> None:
    path = "experiment/example/trials"
    where = "path = (SELECT id FROM paths WHERE path = ?) AND key = 2"
    planted = row(path, 2, document)
    execute(store, f"UPDATE documents SET document = ? WHERE {where}", planted, path.encode())

    assert "trial 2 of 'example' cannot be read" in only(store)
    assert "2 trials" in str(found(store, "ok"))


def test_a_row_with_a_changed_bit_is_named_and_never_read(store: Path) -> None:
    where = "path = (SELECT id FROM paths WHERE path = ?) AND key = 2"
    path = b"experiment/example/trials"
    with closing(sqlite3.connect(store / "store.sqlite")) as connection:
        found_row = connection.execute(f"SELECT document FROM documents WHERE {where}", (path,))
        changed = bytearray(found_row.fetchone()[0])
    changed[9] ^= 1
    execute(store, f"UPDATE documents SET document = ? WHERE {where}", bytes(changed), path)

    assert "trial 2 of 'example' cannot be read" in only(store)
    assert "2 trials" in str(found(store, "ok"))


def test_a_sample_that_is_damaged_is_read_from_its_copy(store: Path) -> None:
    execute(store, "UPDATE samples SET text = zeroblob(length(text))")

    assert found(store, "problem") == []


def test_a_log_that_cannot_be_read(store: Path) -> None:
    execute(store, "UPDATE logs SET entries = x'00' WHERE rowid = 1")

    assert "trial 1 of 'example' cannot be read" in only(store)


@pytest.mark.parametrize("kind", ["code", "environment", "session"])
def test_a_snapshot_that_is_absent(store: Path, kind: str) -> None:
    with LocalBackend(store) as backend:
        row = backend.get("experiment/example/trials", 1)
        assert row is not None
        execute(store, "DELETE FROM documents WHERE key = ?", row[kind].encode())

    problems = [problem.what for problem in found(store, "problem")]

    assert problems == [
        f"the {kind} snapshot of trial {n} of 'example' is absent" for n in (1, 2, 3)
    ]


@pytest.mark.parametrize("field", ["result", "persisted.clean", "artifacts.notes"])
def test_bytes_that_are_absent(store: Path, field: str) -> None:
    with LocalBackend(store) as backend:
        trial = Experiment("example", backend=backend)[2]
        row = backend.get("experiment/example/trials", 2)
        assert row is not None
        steps = backend.read(f"experiment/example/steps/{trial.uid}")
        digest = {
            "result": row["result"]["digest"],
            "persisted.clean": steps[0]["kept"]["digest"],
            "artifacts.notes": trial.artifacts["notes"].digest,
        }[field]
    file = store / "blobs" / digest[:2] / digest
    if field == "persisted.clean":
        file.unlink()
    else:
        execute(store, "DELETE FROM payloads WHERE digest = ?", digest)

    assert only(store) == f"the bytes of {field} of trial 2 of 'example' are absent"


def test_a_text_of_the_code_that_is_absent(store: Path) -> None:
    with LocalBackend(store) as backend:
        _, code = next((k, d) for k, d in backend.find("snapshots") if "steps" in d)
    execute(store, "DELETE FROM payloads WHERE digest = ?", code["steps"][0]["source"])

    assert "lacks 1 of its texts" in only(store)


def test_bytes_that_were_changed(store: Path) -> None:
    file = next(file for file in (store / "blobs").glob("??/*"))
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)

    assert file.name[:16] in only(store)
    with LocalBackend(store) as backend:
        assert any(finding.level == "problem" for finding in examine(backend))


def test_content_that_nothing_refers_to(ex: Experiment) -> None:
    ex.result(lambda: 1, name="one")().compute()
    ex.gc()
    ex.backend.put(b"orphan")

    (note,) = [n for n in found(ex.backend, "note") if "refers" in n.what]

    assert note.what == "no trial refers to 1 payloads, 6 bytes"
    assert "gc" in note.advice
    ex.gc()
    assert not [n for n in found(ex.backend, "note") if "refers" in n.what]


def test_a_trial_whose_process_is_gone(store: Path) -> None:
    with LocalBackend(store) as backend:
        owner = {"host": platform.node(), "pid": 1, "boot_id": "another", "started": 0.0}
        backend.update("experiment/example/trials", 3, {"state": "RUNNING", "owner": owner})

    assert found(store, "problem") == []
    assert "trial 3 of 'example' is RUNNING, but its process is gone" in str(found(store, "note"))
    with LocalBackend(store) as backend:
        row = backend.get("experiment/example/trials", 3)
    assert row is not None
    assert row["state"] == "RUNNING"


def test_removed_and_forgotten_parts_are_no_problem(store: Path) -> None:
    with LocalBackend(store) as backend:
        ex = Experiment("example", backend=backend)
        ex[1].remove()
        for field in ("code", "environment", "session", "result", "artifacts", "persisted.clean"):
            ex[2].forget(field)
        assert found(backend, "problem") == []
        ex.gc()
        assert found(backend, "problem") == []


def test_drafts_that_a_crash_left(store: Path) -> None:
    old, young = store / "blobs" / ".0123.draft", store / "blobs" / ".4567.draft"
    for draft in (old, young):
        draft.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)

    assert "left 1 drafts, 4 bytes" in str(found(store, "note"))
    with LocalBackend(store) as backend:
        backend.compact()
    assert not old.exists()
    assert young.exists()


@pytest.mark.skipif(os.name == "nt", reason="the store is open")
def test_a_second_name_of_the_store_that_a_crash_left(store: Path) -> None:
    second = store / ".01.draft"
    os.link(store / "store.sqlite", second)
    with LocalBackend(store) as backend:
        backend.compact()
        assert not second.exists()
        assert found(store, "problem") == []


def test_a_store_that_a_crash_left_unfinished(store: Path) -> None:
    old, journal, young = (store / name for name in (".01.draft", ".01.draft-journal", ".2.draft"))
    for draft in (old, journal, young):
        draft.write_bytes(b"half")
    for draft in (old, journal):
        os.utime(draft, (time.time() - 7200,) * 2)

    assert "left 2 drafts, 8 bytes" in str(found(store, "note"))
    with LocalBackend(store) as backend:
        backend.compact()
    assert [old.exists(), journal.exists(), young.exists()] == [False, False, True]


@pytest.fixture
def as_if(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with monkeypatch.context() as patch:
        yield patch


@pytest.mark.parametrize(("version", "noted"), [((3, 51, 2), True), ((3, 51, 3), False)])
def test_an_sqlite_that_may_damage_its_log(
    store: Path, as_if: pytest.MonkeyPatch, version: tuple[int, ...], noted: bool
) -> None:
    as_if.setattr(sqlite3, "sqlite_version_info", version)

    assert ("3.51.3 and later have the repair" in str(found(store, "note"))) is noted


@pytest.mark.parametrize(("free", "level"), [(10**12, None), (10**9, "note"), (10**7, "problem")])
def test_a_disk_that_is_nearly_full(
    store: Path, as_if: pytest.MonkeyPatch, free: int, level: str | None
) -> None:
    as_if.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    seen = [finding.level for finding in examine(LocalBackend(store)) if "free" in finding.what]

    assert seen == ([level] if level else [])


@pytest.mark.parametrize(("kind", "noted"), [("nfs4", True), ("CIFS", True), ("ext4", False)])
def test_a_network_file_system(
    store: Path, as_if: pytest.MonkeyPatch, kind: str, noted: bool
) -> None:
    as_if.setattr("daskperiment.platform.file_system", lambda path: kind)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DaskperimentWarning)
        assert ("network file system" in str(found(store, "note"))) is noted


def test_a_quick_look_reads_a_sample_only(store: Path, as_if: pytest.MonkeyPatch) -> None:
    with LocalBackend(store) as backend:
        for n in range(500):
            backend.put(f"payload {n}".encode())
        opened: list[str] = []
        original = backend.open
        as_if.setattr(backend, "open", lambda digest: opened.append(digest) or original(digest))

        examine(backend)
        sample = len(opened)
        examine(backend, deep=True)

    assert 100 <= sample < 200
    assert len(opened) - sample > 500
