"""What there is to say of a local store: its database, its disk, its leftovers."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from daskperiment.backends.base import Finding
from daskperiment.backends.files import PayloadFiles
from daskperiment.backends.session import Session
from daskperiment.backends.sqlite import Store
from daskperiment.errors import BackendError

LITTLE_SPACE = 1024**3
"""Bytes of free disk space below which there is a note; a tenth of it is a problem."""

_REPAIRED = (3, 51, 3)


def examine(store: Store, session: Session, files: PayloadFiles) -> Iterator[Finding]:
    """Examine a store; see `daskperiment.backends.base.Backend.diagnose`."""
    directory = store.file.parent
    if not directory.exists():
        yield Finding("note", "there is no store yet", "the first trial makes it")
        return
    yield _database(session)
    yield from _sqlite()
    yield from _disk(directory)
    yield from _network(store)
    yield from _leftovers(files)


def _database(session: Session) -> Finding:
    try:
        with session as connection:
            if connection is None:
                return Finding("note", "there is no store yet", "the first trial makes it")
            said = [text for (text,) in connection.execute("PRAGMA integrity_check(10)").fetchall()]
    except BackendError as error:
        return Finding("problem", f"the database cannot be read: {error}")
    if said == ["ok"]:
        return Finding("ok", "the database is sound")
    return Finding(
        "problem",
        f"the database is damaged: {'; '.join(said)}",
        "restore the directory from a copy, or save what is left with `daskperiment salvage`",
    )


def _sqlite() -> Iterator[Finding]:
    if sqlite3.sqlite_version_info < _REPAIRED:
        yield Finding(
            "note",
            f"SQLite {sqlite3.sqlite_version} may damage a database, very rarely, when several "
            "processes write and one of them empties the log at the same moment",
            "3.51.3 and later have the repair; some distributions add it to older versions",
        )


def _disk(directory: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(directory).free
    if free < LITTLE_SPACE:
        yield Finding(
            "problem" if free < LITTLE_SPACE / 10 else "note",
            f"{free / 1024**2:.0f} MiB are free on the disk",
            "free some space, by `daskperiment gc` for example",
        )


def _network(store: Store) -> Iterator[Finding]:
    if kind := store.network:
        yield Finding(
            "note",
            f"the store is on a network file system ({kind}), whose locks SQLite cannot trust: "
            "only the process that starts a trial writes to it",
            "move the directory to a local disk, above all when several hosts use it",
        )


def _leftovers(files: PayloadFiles) -> Iterator[Finding]:
    sizes = [draft.stat().st_size for draft in files.leftovers()]
    if sizes:
        what = f"processes that died while they wrote left {len(sizes)} drafts, {sum(sizes)} bytes"
        yield Finding("note", what, "`daskperiment gc` deletes them")
