"""The SQLite file of a local store: how it is made and opened, and what its errors mean.

The settings follow grantjenks/python-diskcache: a write-ahead log, and transactions that
begin with an explicit ``BEGIN IMMEDIATE`` (a deferred one that reads and then writes fails
at once with "database is locked", whatever the timeout).
"""

from __future__ import annotations

import os
import sqlite3
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal
from uuid import uuid4

from daskperiment import platform
from daskperiment.backends import failures, migration, readonly, tables
from daskperiment.errors import (
    BackendError,
    BackendUnreachableError,
    DaskperimentWarning,
    StoreTooNewError,
)
from daskperiment.platform import sync_directory

Durability = Literal["process", "power"]

TIMEOUT = 60.0
"""Seconds to wait for another process's group of writes."""

LONGEST_LOG = 16 * 1024 * 1024
"""Bytes that the log keeps on the disk; it is longer only while somebody reads for long."""

_NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "afs", "9p", "lustre", "gpfs", "beegfs", "ceph")
_told: set[Path] = set()


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
                _set(connection, "user_version", migration.version())
                _set(connection, "journal_mode", self.journal_mode)
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
        StoreTooNewError
            If a newer release wrote it; nothing is then changed.
        BackendError
            If SQLite does not accept a setting.
        """
        if readonly.must_be(self.file):
            connection = readonly.connect(self.file, self.name, _connect)
            prepare: Callable[[tables.Connection], object] = self._check
        else:
            connection = _connect(f"{self.file.as_uri()}?mode=rw")
            prepare = self._prepare
        try:
            prepare(connection)
        except StoreTooNewError:
            self._leave(connection)
            raise
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def journal_mode(self) -> str:
        """How SQLite keeps a transaction: its log needs memory that one host alone has."""
        return "delete" if self.network else "wal"

    @cached_property
    def network(self) -> str:
        """Type of the file system where it is one of a network, else ""; asked once."""
        kind = platform.file_system(self.file.parent)
        if not kind.lower().startswith(_NETWORK):
            return ""
        if self.file not in _told:
            _told.add(self.file)
            warnings.warn(
                f"{self.name}: the folder is on a network file system ({kind}), whose locks "
                "SQLite cannot trust: only the process that starts a trial writes to it, and "
                "worker processes of this host write through that one. Do not let several hosts "
                "write to it; a folder on a local disk has no such limits",
                DaskperimentWarning,
                stacklevel=2,
            )
        return kind

    def check_may_be_absent(self) -> None:
        """Refuse to go on without the store, or with another than the expected one."""
        if self.store_id is not None:
            raise BackendUnreachableError(
                f"{self.name}: this process cannot see the store that was opened elsewhere "
                f"as {self.file}; choose a directory that all workers share, or another backend"
            )

    def failure(self, error: BaseException) -> BackendError | None:
        """Return a :class:`BackendError` with a next step for a driver's error, else None."""
        return failures.translate(error, self.name, self.file.parent)

    def _prepare(self, connection: tables.Connection) -> None:
        if self._check(connection) < migration.version():
            migration.migrate(connection, self.name)
        _set(connection, "journal_mode", self.journal_mode)
        power = self.durability == "power" or self.network
        _set(connection, "synchronous", 2 if power else 1)
        _set(connection, "journal_size_limit", LONGEST_LOG)

    def _check(self, connection: tables.Connection) -> int:
        version = migration.check(connection, self.name)
        if self.store_id is not None and store_id_of(connection) != self.store_id:
            self.check_may_be_absent()
        return version

    def _leave(self, connection: sqlite3.Connection) -> None:
        # The last to close a store that was open for writing brings its log into the database:
        # so one that cannot write is last where there is a log.
        log = self.file.with_name(f"{self.file.name}-wal")
        if not (log.exists() and log.stat().st_size):
            connection.close()
            return
        with closing(_connect(f"{self.file.as_uri()}?mode=ro")) as last:
            last.execute("PRAGMA user_version").fetchone()
            connection.close()


def _connect(uri: str) -> tables.Connection:
    return sqlite3.connect(
        uri,
        uri=True,
        timeout=TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
        factory=tables.Connection,
    )


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
