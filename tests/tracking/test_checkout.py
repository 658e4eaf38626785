"""The files of a commit with the changes since: as they were, or not at all."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskperiment.errors import RebuildError
from daskperiment.tracking.checkout import restore
from daskperiment.tracking.git import Look, look
from tests.conftest import needs_program


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a commit."""
    needs_program("git")
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    (root / "data" / "rows.csv").write_text("1\n2\n")
    (root / "lab.py").write_text("LIMIT = 3\n")
    (root / "gone.py").write_text("")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "a name\twith é.txt").write_text("x\n")
    (root / ".gitattributes").write_text("lab.py export-ignore\nrun.sh export-subst\n")
    git(root, "init", "-q")
    commit(root)
    return root


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=me", "-c", "user.email=me@localhost"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "one")


def files(root: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file() and ".git" not in file.relative_to(root).parts
    }


def restored(seen: Look, tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    restore(seen.document, seen.texts.__getitem__, folder)
    return folder


def test_a_commit_comes_back_after_others(project: Path, tmp_path: Path) -> None:
    before, seen = files(project), look(project, 10**6)
    (project / "lab.py").unlink()
    commit(project)
    (project / "lab.py").write_text("LIMIT = 4\n")
    git(project, "add", "lab.py")
    (project / "data" / "rows.csv").write_text("3\n")
    states = [git(project, "status", "--porcelain"), git(project, "worktree", "list")]

    assert files(restored(seen, tmp_path)) == before
    now = [git(project, "status", "--porcelain"), git(project, "worktree", "list")]
    assert now == states


def test_uncommitted_changes_come_back(project: Path, tmp_path: Path) -> None:
    (project / "lab.py").write_text("LIMIT = 5\n")
    (project / "a name\twith é.txt").write_text("y\n")
    (project / "gone.py").unlink()
    git(project, "mv", "run.sh", "go.sh")
    (project / "new.py").write_text("NEW = 1\n")
    git(project, "add", "new.py")
    (project / "notes.txt").write_text("not known to git\r\n")
    before, seen = files(project), look(project, 10**6)
    git(project, "reset", "-q", "--hard")

    assert files(restored(seen, tmp_path)) == before


LOST: dict[str, tuple[Callable[[Path], Any], int]] = {
    "secret": (lambda root: (root / "lab.py").write_text("password = 'hunter2hunter2'\n"), 10**6),
    "no UTF-8": (lambda root: (root / "lab.py").write_bytes(b"LIMIT = '\xff'\n"), 10**6),
    "binary": (lambda root: (root / "lab.py").write_bytes(b"\0\1"), 10**6),
    "too large": (lambda root: (root / "lab.py").write_text("A = 1\n" * 99), 200),
    "cut off": (
        lambda root: [(root / name).write_text("x" * 150) for name in ("lab.py", "gone.py")], 200
    ),
    "switched off": (lambda root: (root / "lab.py").write_text(""), 0),
}  # fmt: skip


@pytest.mark.parametrize("how", LOST)
def test_changes_that_were_not_recorded_as_they_were_are_refused(
    project: Path, tmp_path: Path, how: str
) -> None:
    change, limit = LOST[how]
    change(project)
    seen = look(project, limit)

    with pytest.raises(RebuildError, match="recorded|restored"):
        restored(seen, tmp_path)


def test_a_commit_is_found_in_a_clone_and_missed_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = files(project), look(project, 10**6)
    clone = project.rename(tmp_path / "moved")
    with pytest.raises(RebuildError, match=r"is not in .*project"):
        restore(seen.document, seen.texts.__getitem__, tmp_path)

    monkeypatch.chdir(clone / "data")

    assert files(restored(seen, tmp_path)) == before


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (None, "outside of any git"),
        ({"repository": None}, "outside of any git"),
        ({"repository": "/a", "error": "no git program"}, "no git program"),
        ({"repository": "/a", "commit": None}, "before the first commit"),
        ({"repository": "/a", "commit": "--help"}, "before the first commit"),
    ],
)
def test_without_a_commit_there_is_nothing_to_restore(
    tmp_path: Path, seen: Any, reason: str
) -> None:
    with pytest.raises(RebuildError, match=reason):
        restore(seen, str, tmp_path)
