"""The spool: groups of writes that wait in a local file until their server is back.

The file is a sequence of entries, each with its length and a CRC-32 before it.  The first one
says where the groups belong, every other one is a group: a line of JSON and behind it the
bytes of its payloads.  The length is written last: an entry that a process did not finish has
the length 0, and the file ends there for whoever reads it.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

from daskperiment import platform
from daskperiment.backends import failures
from daskperiment.backends.base import (
    Append,
    Clear,
    Discard,
    Hold,
    Insert,
    Put,
    Remove,
    Update,
    Write,
)
from daskperiment.backends.documents import encode
from daskperiment.errors import DocumentError, StoreCorruptError
from daskperiment.typing import Document

SUFFIX = ".spool"
_FORMAT = 1
_HEAD = struct.Struct(">QI")
_CHUNK = 1024 * 1024
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Insert, Update, Remove, Append, Hold, Discard, Clear)
}
_FIELDS = {name: tuple(kind.__dataclass_fields__) for name, kind in _KINDS.items()}


class Group(NamedTuple):
    """A group of writes that waits.

    Parameters
    ----------
    writes : list of Write
        The writes.
    unsure : str or None
        The name under which the server may have carried it out, or may do so at any moment: the
        connection broke before it replied.
    """

    writes: list[Write]
    unsure: str | None


class Spool:
    """Groups of writes in an append-only file, which one process at a time may hold.

    Parameters
    ----------
    file : Path
        The file; it is made with what ``about`` says, or must exist where that is None.
    about : dict, optional
        Where the groups belong.

    Raises
    ------
    BlockingIOError
        If another process holds the file.
    StoreCorruptError
        If it is no spool, or one of a newer release.
    BackendError
        If it cannot be read or made.

    Notes
    -----
    What was appended survives the death of the process, not that of the machine.  Safe to
    use from several threads.

    Examples
    --------
    >>> import tempfile
    >>> spool = Spool(Path(tempfile.mkdtemp()) / "1.spool", {"address": "redis://host"})
    >>> spool.append([Insert("x", {"n": 1}), Put(b"data")])
    >>> [group.writes for group in spool.groups()]
    [[Insert(path='x', document={'n': 1}, key=None), Put(data=b'data')]]
    >>> spool.close()
    """

    def __init__(self, file: Path, about: Document | None = None) -> None:
        self.file = file
        self._lock = RLock()
        self._end = 0
        mode = os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_BINARY", 0)
        if about is not None:
            mode |= os.O_CREAT | os.O_EXCL
        try:
            if about is not None:
                file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file: BinaryIO = os.fdopen(os.open(file, mode, 0o600), "r+b", buffering=0)
        except OSError as error:
            raise failures.of_system(error, str(file)) from error
        try:
            platform.lock(self._file)
            if about is not None:
                self._write(encode({"format": _FORMAT, **about}).encode(), [])
            self.about = self._read_about()
        except BaseException:
            self._file.close()
            raise
        self._places = list(self._entries(self._begin))
        self._end = self._places[-1][1] if self._places else self._begin

    @classmethod
    def make(cls, folder: Path, about: Document) -> Spool:
        """Make a new one in a folder; arguments and errors as for the class."""
        return cls(folder / f"{uuid4().hex}{SUFFIX}", about)

    def __len__(self) -> int:
        """How many groups there are."""
        return len(self._places)

    @property
    def id(self) -> str:
        """The name under which a store remembers how much of it was brought there."""
        return str(self.about["id"])

    def append(self, writes: Sequence[Write], unsure: str | None = None) -> None:
        """Add a group, whole or not at all.

        Raises
        ------
        StoreFullError, StoreIOError
            If it cannot be written.
        """
        words, blobs = [], []
        for write in writes:
            if isinstance(write, Put):
                blob = _opened(write.data)
                words.append(["Put", blob.seek(0, io.SEEK_END)])
                blobs.append(blob)
            else:
                words.append(_words(write))
        line = encode({"unsure": unsure, "writes": words}).encode("utf-8", "surrogatepass") + b"\n"
        with self._lock:
            self._places.append(self._write(line, blobs))

    def groups(self, start: int = 0) -> Iterator[Group]:
        """Iterate over the groups from a position on, those that are added meanwhile too."""
        while start < len(self):
            with self._lock:
                begin, end = self._places[start]
                content = self._at(begin + _HEAD.size, end - begin - _HEAD.size)
            yield _group(content)
            start += 1

    def remove(self) -> None:
        """Delete the file and let go of it."""
        self.file.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _write(self, line: bytes, blobs: Sequence[BinaryIO]) -> tuple[int, int]:
        """Append an entry, its length last, and return where it begins and ends."""
        with self._lock:
            begin = self._end
            length = crc = 0
            self._file.seek(begin)
            try:
                _write_all(self._file, bytes(_HEAD.size))
                for part in (io.BytesIO(line), *blobs):
                    part.seek(0)
                    while chunk := part.read(_CHUNK):
                        _write_all(self._file, chunk)
                        length, crc = length + len(chunk), zlib.crc32(chunk, crc)
                self._file.seek(begin)
                _write_all(self._file, _HEAD.pack(length, crc))
            except OSError as error:
                with suppress(OSError):
                    self._file.truncate(begin)
                raise failures.of_system(error, str(self.file)) from error
            self._end = begin + _HEAD.size + length
            return begin, self._end

    def _read_about(self) -> Document:
        _, self._begin = next(self._entries(0), (0, 0))
        try:
            about: Document = json.loads(self._at(_HEAD.size, self._begin - _HEAD.size))
            if about["format"] == _FORMAT:
                about.setdefault("id", self.file.stem)
                return about
        except (ValueError, KeyError, TypeError):
            raise StoreCorruptError(f"{self.file} is no spool, or its beginning is lost") from None
        raise StoreCorruptError(f"{self.file} was written by a newer release: upgrade daskperiment")

    def _entries(self, at: int) -> Iterator[tuple[int, int]]:
        """Begin and end of the entries from a byte on, up to the first that is not whole."""
        while True:
            head = self._at(at, _HEAD.size)
            if len(head) < _HEAD.size:
                return
            length, crc = _HEAD.unpack(head)
            if not length or self._checksum(at + _HEAD.size, length) != crc:
                return
            yield at, at + _HEAD.size + length
            at += _HEAD.size + length

    def _checksum(self, at: int, length: int) -> int | None:
        crc, end = 0, at + length
        while at < end:
            chunk = self._at(at, min(_CHUNK, end - at))
            if not chunk:
                return None
            crc, at = zlib.crc32(chunk, crc), at + len(chunk)
        return crc

    def _at(self, at: int, length: int) -> bytes:
        with self._lock:
            self._file.seek(at)
            parts = []
            while length > 0 and (part := self._file.read(length)):
                parts.append(part)
                length -= len(part)
            return b"".join(parts)


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _opened(data: bytes | Path) -> BinaryIO:
    if isinstance(data, bytes):
        return io.BytesIO(data)
    try:
        return data.open("rb")
    except OSError as error:
        raise failures.of_system(error, str(data)) from error


def _words(write: Write) -> list[Any]:
    name = type(write).__name__
    if name not in _KINDS:
        raise DocumentError(f"{type(write).__qualname__} is no write")
    return [name, *(_plain(getattr(write, field)) for field in _FIELDS[name])]


def _plain(value: Any) -> Any:
    return dict(value) if hasattr(value, "keys") else value


def _group(content: bytes) -> Group:
    line, _, blobs = content.partition(b"\n")
    document = json.loads(line.decode("utf-8", "surrogatepass"))
    writes: list[Write] = []
    at = 0
    for name, *words in document["writes"]:
        if name == "Put":
            writes.append(Put(blobs[at : at + words[0]]))
            at += words[0]
        else:
            writes.append(_KINDS[name](*words))
    return Group(writes, document["unsure"])
