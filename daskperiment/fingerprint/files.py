"""How paths are written: by the content that they name.

A file is its bytes, a folder the names in it with what they name, and what does not exist is
its text.  A link in a folder is the text that it holds, and is not followed.  Names above,
times, owners and modes do not count.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from functools import lru_cache
from io import FileIO
from pathlib import Path, PosixPath, WindowsPath
from typing import NamedTuple

from daskperiment.fingerprint.plain import path_text
from daskperiment.fingerprint.walk import Rule, Stuck, Walk, atom, seal, seal_stream, text

_BLOCK = 1 << 22  # bytes
_REMEMBERED = 1 << 16  # files
_SETTLED = 2_000_000_000  # nanoseconds: the coarsest clock of a file system
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


class _Version(NamedTuple):
    """What changes when a file is written to."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


def rule_for(kind: type) -> Rule | None:
    """The rule of a type of paths that lead to files, or None."""
    return _path if kind in (Path, PosixPath, WindowsPath) else None


def _path(walk: Walk, value: Path) -> bytes:
    if not walk.contents:
        return path_text(value)
    try:
        found = value.stat()
    except ValueError:  # of a null in it
        return path_text(value)
    except OSError as error:
        if error.errno in _ABSENT:
            return path_text(value)
        raise _unread(error) from error
    return _content(os.fspath(value), found)


def _content(name: str, found: os.stat_result) -> bytes:
    try:
        if stat.S_ISREG(found.st_mode):
            return _file(name, found)
        if stat.S_ISDIR(found.st_mode):
            return _folder(name)
        if stat.S_ISLNK(found.st_mode):
            return atom(b"link", os.readlink(name).encode("utf-8", "surrogatepass"))  # noqa: PTH115
    except OSError as error:
        raise _unread(error) from error
    raise Stuck("neither a file nor a folder")


def _folder(name: str) -> bytes:
    with os.scandir(name) as entries:
        names = sorted(entry.name for entry in entries)
    return seal(b"folder", *(text(entry) + _entry(name, entry) for entry in names))


def _entry(folder: str, entry: str) -> bytes:
    name = os.path.join(folder, entry)  # noqa: PTH118 - for each of many thousands
    try:
        return _content(name, os.lstat(name))
    except OSError as error:
        stuck = _unread(error)
    except Stuck as inner:
        stuck = inner
    stuck.steps.append(f"/{entry}")
    raise stuck


def _file(name: str, found: os.stat_result) -> bytes:
    version = _version(found)
    # One that was written to a moment ago may be written to again without a later time.
    age = time.time_ns() - max(version.modified, version.changed)
    read = _read if age > _SETTLED else _read.__wrapped__
    return read(os.path.abspath(name), version)  # noqa: PTH100 - as above


def _version(found: os.stat_result) -> _Version:
    times = found.st_mtime_ns, found.st_ctime_ns
    return _Version(found.st_dev, found.st_ino, found.st_size, *times)


@lru_cache(maxsize=_REMEMBERED)
def _read(name: str, version: _Version) -> bytes:
    with FileIO(name) as file:
        form = seal_stream(b"file", _blocks(file, version.size), version.size)
        # Of another file that has taken its place as well.
        if _version(os.fstat(file.fileno())) != version:
            raise Stuck("it was changed while it was read")
    return form


def _blocks(file: FileIO, size: int) -> Iterator[memoryview]:
    block = memoryview(bytearray(min(size + 1, _BLOCK)))
    while count := file.readinto(block):
        yield block[:count]


def _unread(error: OSError) -> Stuck:
    return Stuck(f"it cannot be read: {error.strerror or type(error).__name__}")
