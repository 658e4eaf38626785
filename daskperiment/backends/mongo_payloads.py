"""The payloads of a store in MongoDB: small ones in their row, large ones in chunks beside it.

GridFS is not used: its files become visible piece by piece, and here a payload appears and
goes with the group that puts or discards it.  Chunks are written under a new random *token*
before the group is committed and are found only through the payload's row, which the group
writes; those without a row are litter, which :func:`litter` finds.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from blake3 import blake3

from daskperiment.backends.mongo_rows import DAMAGED, Row
from daskperiment.errors import BackendError, StoreCorruptError

if TYPE_CHECKING:
    from pymongo.collection import Collection

INLINE = 64 * 1024
"""Bytes up to which a payload is kept in its row, and travels with its group."""

CHUNK = 4 * 1024 * 1024
"""Bytes of each chunk but the last."""

YOUNG = 24 * 60 * 60
"""Seconds for which nothing is taken for litter: its group may not be committed yet."""


class Source(NamedTuple):
    """A payload that is to be put."""

    digest: str
    size: int
    data: bytes | Path

    def pieces(self) -> Iterator[bytes]:
        """Iterate over the bytes, `CHUNK` at a time.

        Raises
        ------
        BackendError
            If the file cannot be read.
        """
        yield from _pieces(self.data)


def source(data: bytes | Path) -> Source:
    """Find out the digest and the size; a file is not read as a whole.

    Raises
    ------
    BackendError
        If the file cannot be read.
    """
    if isinstance(data, bytes):
        return Source(blake3(data).hexdigest(), len(data), data)
    hasher, size = blake3(), 0
    for piece in _pieces(data):
        hasher.update(piece)
        size += len(piece)
    return Source(hasher.hexdigest(), size, data)


def _pieces(data: bytes | Path) -> Iterator[bytes]:
    if isinstance(data, bytes):
        for at in range(0, len(data), CHUNK):
            yield data[at : at + CHUNK]
        return
    try:
        with data.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece
    except OSError as error:
        raise BackendError(f"the payload {data} cannot be read: {error}") from error


def upload(chunks: Collection[Row], pieces: Iterator[bytes]) -> tuple[str, str]:
    """Write chunks under a new token; return the token and the digest of what was written."""
    token, hasher = f"{int(time.time()):012d}-{uuid4().hex}", blake3()
    for number, piece in enumerate(pieces):
        hasher.update(piece)
        chunks.insert_one({"_id": f"{token}/{number:08d}", "data": piece})
    return token, hasher.hexdigest()


def of_token(token: str) -> dict[str, Any]:
    """Which chunks have a token."""
    return {"_id": {"$gte": f"{token}/", "$lt": f"{token}0"}}


def content(chunks: Collection[Row], token: str) -> bytes:
    """Return the bytes of all chunks of a token."""
    return b"".join(bytes(row["data"]) for row in chunks.find(of_token(token)).sort("_id", 1))


def litter(chunks: Collection[Row], used: set[str]) -> set[str]:
    """Tokens of chunks that have been without a row for long."""
    before = f"{int(time.time()) - YOUNG:012d}"
    rows = chunks.find({"_id": {"$lt": before}}, {"_id": 1})
    return {str(row["_id"]).partition("/")[0] for row in rows} - used


class Reader(io.RawIOBase):
    """A payload that is read chunk by chunk.

    Parameters
    ----------
    chunk : callable
        Returns the bytes of a chunk by its number, b"" if there is none.
    size : int
        Bytes of all chunks.
    """

    def __init__(self, chunk: Any, size: int) -> None:
        self._chunk, self._size = chunk, size
        self._at, self._number, self._bytes = 0, -1, b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read up to the end of a chunk."""
        if self._at >= self._size:
            return 0
        number, offset = divmod(self._at, CHUNK)
        if number != self._number:
            self._number, self._bytes = number, self._chunk(number)
        piece = self._bytes[offset : offset + len(buffer)]
        if not piece:
            raise StoreCorruptError(f"a payload was discarded while it was read, or {DAMAGED}")
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
