"""What there is to say of a local store: its database, its disk, its leftovers."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from daskperiment.backends.base import Finding
from daskperiment.backends.files import PayloadFiles
from daskperiment.backends.session import Session
from daskperiment.errors import BackendError

LITTLE_SPACE = 1024**3
"""Bytes of free disk space below which there is a note; a tenth of it is a problem."""

_REPAIRED = (3, 51, 3)
_NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "afs", "9p", "lustre", "gpfs", "beegfs", "ceph")


def examine(directory: Path, session: Session, files: PayloadFiles) -> Iterator[Finding]:
    """Examine the store in a directory; see `daskperiment.backends.base.Backend.diagnose`."""
    if not directory.exists():
        yield Finding("note", "there is no store yet", "the first trial makes it")
        return
    yield _database(session)
    yield from _sqlite()
    yield from _disk(directory)
    yield from _leftovers(files)


def _database(session: Session) -> Finding:
    try:
        with session as connection:
            if connection is None:
                return Finding("note", "there is no store yet", "the first trial makes it")
            said = [text for (text,) in connection.execute("PRAGMA quick_check(10)").fetchall()]
    except BackendError as error:
        return Finding("problem", f"the database cannot be read: {error}")
    if said == ["ok"]:
        return Finding("ok", "the database is sound")
    return Finding(
        "problem",
        f"the database is damaged: {'; '.join(said)}",
        "restore the directory from a copy; `sqlite3 store.sqlite .recover` saves what it can",
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
    if _file_system(directory).lower().startswith(_NETWORK):
        yield Finding(
            "note",
            f"the store is on a network file system ({_file_system(directory)}), whose locks "
            "SQLite cannot trust",
            "move the directory to a local disk, above all when several hosts use it",
        )


def _file_system(directory: Path) -> str:
    import psutil

    where = directory.resolve()
    kinds = {
        Path(partition.mountpoint): partition.fstype
        for partition in psutil.disk_partitions(all=True)
    }
    return next((kinds[folder] for folder in (where, *where.parents) if folder in kinds), "")


def _leftovers(files: PayloadFiles) -> Iterator[Finding]:
    sizes = [draft.stat().st_size for draft in files.leftovers()]
    if sizes:
        what = f"processes that died while they wrote left {len(sizes)} drafts, {sum(sizes)} bytes"
        yield Finding("note", what, "`daskperiment gc` deletes them")
