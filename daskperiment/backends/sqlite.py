"""The SQLite file of a local store: how it is made and opened, and what its errors mean.

The settings follow grantjenks/python-diskcache: a write-ahead log, and transactions that
begin with an explicit ``BEGIN IMMEDIATE`` (a deferred one that reads and then writes fails
at once with "database is locked", whatever the timeout).
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from daskperiment.backends import tables
from daskperiment.errors import BackendError, BackendUnreachableError
from daskperiment.platform import sync_directory

Durability = Literal["process", "power"]

VERSION = 1
"""Number of the schema, kept as ``user_version``."""

TIMEOUT = 60.0
"""Seconds to wait for another process's group of writes."""

_SQLITE_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process has been writing for too long: end it and try again",
    sqlite3.SQLITE_FULL: "free some space on the disk and try again",
    sqlite3.SQLITE_READONLY: "make the directory writable, or choose another one",
    sqlite3.SQLITE_CORRUPT: "restore the directory from a copy, or move it away to begin anew",
    sqlite3.SQLITE_NOTADB: "move the file away: it is no SQLite database",
    sqlite3.SQLITE_CANTOPEN: "check the directory's permissions and the limit of open files",
}
_SYSTEM_ADVICE = {
    errno.ENOSPC: "free some space on the disk and try again",
    errno.EMFILE: "raise the limit of open files",
    errno.EEXIST: "a file is in the way: move it, or choose another directory",
    errno.ENOTDIR: "a file is in the way: move it, or choose another directory",
}
_OTHER_ADVICE = "check the disk and the directory's permissions"


@dataclass(frozen=True)
class Store:
    """Where a store is, how it is opened, and which one is expected there.

    Parameters
    ----------
    file
        Absolute path of the SQLite file.
    durability
        ``"process"`` survives the death of the process, ``"power"`` that of the machine.
    name
        What errors call the store.
    store_id
        None: any store will do, and one is made if there is none.
    """

    file: Path
    durability: Durability
    name: str
    store_id: str | None = None

    def create(self) -> None:
        """Make an empty store, unless there is one: complete or not at all.

        Of many processes that do so at once one wins, and all open the winner's.
        """
        draft = self.file.with_name(f".{uuid4().hex}.draft")
        try:
            with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
                connection.executescript(tables.SCHEMA)
                connection.execute("CREATE TABLE store (id)")
                connection.execute("INSERT INTO store VALUES (?)", (uuid4().hex,))
                _set(connection, "user_version", VERSION)
                _set(connection, "journal_mode", "wal")
            _publish(draft, self.file)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(self.file.parent)

    def open(self) -> tables.Connection:
        """Open the existing store; the connection begins no transaction of its own.

        Raises
        ------
        BackendUnreachableError
            If it is another store than the expected one.
        BackendError
            If a newer release wrote it, or SQLite does not accept a setting.
        """
        connection = sqlite3.connect(
            f"{self.file.as_uri()}?mode=rw",
            uri=True,
            timeout=TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
            factory=tables.Connection,
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def check_may_be_absent(self) -> None:
        """Refuse to go on without the store, or with another than the expected one."""
        if self.store_id is not None:
            raise BackendUnreachableError(
                f"{self.name}: this process cannot see the store that was opened elsewhere "
                f"as {self.file}; choose a directory that all workers share, or another backend"
            )

    def failure(self, error: BaseException) -> BackendError | None:
        """Return a :class:`BackendError` with a next step for a driver's error, else None."""
        if isinstance(error, sqlite3.Error):
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            advice = _SQLITE_ADVICE.get(code, _OTHER_ADVICE)
        elif isinstance(error, OSError) and not isinstance(error, BackendError):
            advice = _SYSTEM_ADVICE.get(error.errno or 0, _OTHER_ADVICE)
        else:
            return None
        return BackendError(f"{self.name}: {error}; {advice}")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        _set(connection, "journal_mode", "wal")
        _set(connection, "synchronous", {"process": 1, "power": 2}[self.durability])
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise BackendError(
                f"{self.name}: its schema is {version} and this release knows {VERSION}; "
                "upgrade daskperiment, or choose another directory"
            )
        if self.store_id is not None and store_id_of(connection) != self.store_id:
            self.check_may_be_absent()


def store_id_of(connection: sqlite3.Connection) -> str:
    """Return the random text that was made with the store."""
    (store_id,) = connection.execute("SELECT id FROM store").fetchone()
    return str(store_id)


def compact(connection: tables.Connection, name: str) -> None:
    """Write the database anew without what was deleted from it, and empty its log.

    The pages of the log still hold what was deleted, until it is cut to nothing; that waits
    for whoever reads from it.

    Raises
    ------
    BackendError
        If somebody reads for too long.
    """
    connection.execute("VACUUM").fetchall()
    deadline = time.monotonic() + TIMEOUT
    while _log_is_used(connection):
        if time.monotonic() > deadline:
            raise BackendError(
                f"{name}: another process has been reading for too long, so that traces of what "
                "was deleted are still in the store: end it and try again"
            )
        time.sleep(0.01)


def _log_is_used(connection: sqlite3.Connection) -> bool:
    """Cut the log to nothing, or say that it is used.

    It waits for readers, but not for others that empty the log at this moment.
    """
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return bool(busy)


def _set(connection: sqlite3.Connection, pragma: str, value: str | int) -> None:
    # Without fetching the result, an error in the middle of a PRAGMA stays unseen.
    connection.execute(f"PRAGMA {pragma} = {value}").fetchall()
    (actual,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    if actual != value:
        raise BackendError(
            f"SQLite refuses {pragma} = {value} and keeps {actual}: choose a directory on a "
            "local disk, its log does not work on network file systems"
        )


def _publish(draft: Path, file: Path) -> None:
    try:
        os.link(draft, file)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not file.exists():
            draft.rename(file)
