"""Reading a store whose folder or file this user may not write to.

SQLite reads a database with a write-ahead log only with a file of shared memory beside it.
Where that file is there, because somebody else has the store open, it is used.  Where it
cannot be made, the database is read as a file that nobody changes; and if there is a log
too, a private copy of both is read.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from weakref import finalize

from daskperiment.backends import tables
from daskperiment.errors import DaskperimentWarning

_told: set[str] = set()


def must_be(file: Path) -> bool:
    """Whether this user can only read a store: its file or the folder refuses to be written."""
    return not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def connect(
    file: Path, name: str, open_uri: Callable[[str], tables.Connection]
) -> tables.Connection:
    """Open a store for reading; one warning for each says when others' writes are not seen.

    Parameters
    ----------
    file : Path
        The SQLite file, absolute.
    name : str
        What the warning calls the store.
    open_uri : callable
        Makes a connection of a URI.
    """
    with suppress(sqlite3.OperationalError):
        return _tried(open_uri(f"{file.as_uri()}?mode=ro"))
    log = file.with_name(f"{file.name}-wal")
    if log.exists() and log.stat().st_size:
        connection = _copied(file, log, open_uri)
    else:
        connection = _tried(open_uri(f"{file.as_uri()}?mode=ro&immutable=1"))
    if str(file) not in _told:
        _told.add(str(file))
        warnings.warn(
            f"{name}: the folder cannot be written, so that it is read as it is at this moment; "
            "what others write meanwhile is not seen",
            DaskperimentWarning,
            stacklevel=2,
        )
    return connection


def _tried(connection: tables.Connection) -> tables.Connection:
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _copied(
    file: Path, log: Path, open_uri: Callable[[str], tables.Connection]
) -> tables.Connection:
    folder = tempfile.mkdtemp(prefix="daskperiment-")
    try:
        for each in (file, log):
            shutil.copyfile(each, Path(folder, each.name))
        connection = _tried(open_uri(f"{Path(folder, file.name).as_uri()}?mode=rw"))
        connection.execute("PRAGMA query_only = ON").fetchall()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finalize(connection, shutil.rmtree, folder, ignore_errors=True)
    return connection
