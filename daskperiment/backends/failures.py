"""What the errors of SQLite and of the operating system mean for a local store."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path

from daskperiment.errors import (
    BackendError,
    StoreCorruptError,
    StoreFullError,
    StoreIOError,
    StoreReadOnlyError,
)
from daskperiment.platform import file_size_limit

_LITTLE_SPACE = 256 * 1024
"""Bytes of free space below which an error of writing is taken for a full disk."""

_ROOM = (
    "free some space on the disk (or in the quota, or raise the limit of a file's size) and try "
    "again; what was recorded before is safe"
)
_READ_ONLY = "this user may not write there: make the folder writable, or choose another one"
_CORRUPT = (
    "`daskperiment doctor` names what is damaged and `daskperiment salvage` saves the rest; or "
    "restore the directory from a copy"
)
_NO_DATABASE = (
    "the file is no SQLite database or its beginning is damaged: if it was a store, "
    "`daskperiment salvage` saves what is left; if not, move the file away"
)
_OPEN = "check the directory's permissions and the limit of open files"
_DISK = "check the disk and its quota, and try again; what was recorded before is safe"
_IN_THE_WAY = "a file is in the way: move it, or choose another directory"

_SQLITE: dict[int, tuple[type[BackendError], str]] = {
    sqlite3.SQLITE_BUSY: (
        BackendError,
        "another process has been writing for too long: end it and try again",
    ),
    sqlite3.SQLITE_FULL: (StoreFullError, _ROOM),
    sqlite3.SQLITE_READONLY: (StoreReadOnlyError, _READ_ONLY),
    sqlite3.SQLITE_PERM: (StoreReadOnlyError, _READ_ONLY),
    sqlite3.SQLITE_CORRUPT: (StoreCorruptError, _CORRUPT),
    sqlite3.SQLITE_NOTADB: (StoreCorruptError, _NO_DATABASE),
    sqlite3.SQLITE_ERROR: (StoreCorruptError, _CORRUPT),  # no statement here is wrong by itself
    sqlite3.SQLITE_MISMATCH: (StoreCorruptError, _CORRUPT),
    sqlite3.SQLITE_TOOBIG: (StoreCorruptError, _CORRUPT),
    sqlite3.SQLITE_CANTOPEN: (StoreIOError, _OPEN),
    sqlite3.SQLITE_IOERR: (StoreIOError, _DISK),
}
_SYSTEM: dict[int, tuple[type[BackendError], str]] = {
    errno.ENOSPC: (StoreFullError, _ROOM),
    errno.EFBIG: (StoreFullError, _ROOM),
    errno.EIO: (StoreIOError, _DISK),
    errno.EMFILE: (StoreIOError, "raise the limit of open files"),
    errno.ENFILE: (StoreIOError, "close programs that hold files open, and try again"),
    errno.EACCES: (StoreReadOnlyError, _READ_ONLY),
    errno.EPERM: (StoreReadOnlyError, _READ_ONLY),
    errno.EROFS: (StoreReadOnlyError, _READ_ONLY),
    errno.EEXIST: (BackendError, _IN_THE_WAY),
    errno.ENOTDIR: (BackendError, _IN_THE_WAY),
}
if hasattr(errno, "EDQUOT"):
    _SYSTEM[errno.EDQUOT] = (StoreFullError, _ROOM)


def translate(error: BaseException, name: str, directory: Path) -> BackendError | None:
    """Return the error of ours that tells what a driver's error means, None for all others.

    Parameters
    ----------
    error : BaseException
        What was raised.
    name : str
        What the message calls the store.
    directory : Path
        Where the store is.

    Examples
    --------
    >>> translate(OSError(errno.ENOSPC, "No space left"), "a store", Path())
    StoreFullError("a store: [Errno 28] No space left; free some space on the disk (or in ...
    >>> translate(ValueError("of somebody else"), "a store", Path()) is None
    True
    """
    if isinstance(error, sqlite3.Error):
        kind, advice = _of_sqlite(error, directory)
    elif isinstance(error, UnicodeDecodeError):  # also of SQLite's message about a damaged name
        kind, advice = StoreCorruptError, _CORRUPT
    elif isinstance(error, OSError) and not isinstance(error, BackendError):
        return of_system(error, name)
    else:
        return None
    return kind(f"{name}: {error}; {advice}")


def of_system(error: OSError, name: str) -> BackendError:
    """Return the error of ours that tells what an error of the operating system means.

    Examples
    --------
    >>> of_system(OSError(errno.EMFILE, "Too many open files"), "a file")
    StoreIOError('a file: [Errno 24] Too many open files; raise the limit of open files')
    """
    kind, advice = _SYSTEM.get(error.errno or 0, (StoreIOError, _DISK))
    return kind(f"{name}: {error}; {advice}")


def _of_sqlite(error: sqlite3.Error, directory: Path) -> tuple[type[BackendError], str]:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # Python's own: text that is no UTF-8, mostly
        damaged = isinstance(error, sqlite3.OperationalError)
        return (StoreCorruptError, _CORRUPT) if damaged else (StoreIOError, _DISK)
    if code & 0xFF == sqlite3.SQLITE_IOERR and _is_full(directory):
        return StoreFullError, _ROOM
    return _SQLITE.get(code & 0xFF, (StoreIOError, _DISK))


def _is_full(directory: Path) -> bool:
    # SQLite tells of a full disk only where it writes pages: not for the index of its log, nor
    # of the limit of a file's size.
    try:
        return file_size_limit() is not None or shutil.disk_usage(directory).free < _LITTLE_SPACE
    except OSError:
        return False
