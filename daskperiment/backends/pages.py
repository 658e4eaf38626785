"""The rows of an SQLite file, page by page, without SQLite: what is left of a damaged one.

The format is documented at https://www.sqlite.org/fileformat2.html.  Each page of a b-tree
is read for itself: a row is found also where the header, the schema, a root or an interior
page above it is damaged.  Pages of the write-ahead log that were committed stand in for
those of the file.  What is found is not checked: rows carry checksums of their own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

Value: TypeAlias = int | float | bytes | str | None

_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR = 13, 10, 2
_KINDS = (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR)
_TABLE_INTERIOR = 5
_SIZES = frozenset(2**n for n in range(9, 17))
_USUAL_SIZE = 4096
_INTEGER_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_MAGIC = b"SQLite format 3\0"
_HEADER = 100
_FRAME_HEADER = 24
_LOG_HEADER = 32


class Row(NamedTuple):
    """A row as it stands on a page.

    Parameters
    ----------
    page : int
        Number of the page, from 1.
    rowid : int or None
        None in an index and in a table without row ids.
    values : tuple or None
        The columns; None where they cannot be read.
    """

    page: int
    rowid: int | None
    values: tuple[Value, ...] | None


class _DamagedError(Exception):
    """Bytes are not what the format says."""


def rows(file: Path) -> Iterator[Row]:
    """Iterate over the rows on all pages that are in use, in no order.

    Parameters
    ----------
    file : Path
        The database; its log is beside it.
    """
    pages = _Pages(file)
    for number in sorted(pages.numbers - pages.free()):
        yield from pages.rows(number)


def cut_off(file: Path) -> int:
    """Return how many pages are absent at the end of a database, as far as its header tells."""
    pages = _Pages(file)
    return max(0, pages.told() - max(pages.numbers, default=0))


def has_header(file: Path) -> bool:
    """Whether a file begins as those of SQLite do."""
    with file.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


class _Pages:
    """The pages of a file, with those of its log in their places."""

    def __init__(self, file: Path) -> None:
        self._content = file.read_bytes()
        (size,) = struct.unpack(">H", self._content[16:18].ljust(2, b"\0"))
        size = 65536 if size == 1 else size
        self.size = size if size in _SIZES else _USUAL_SIZE
        self._usable = self.size
        self._log = self._read_log(file.with_name(f"{file.name}-wal"))
        self.numbers = {*range(1, -(-len(self._content) // self.size) + 1), *self._log}

    def page(self, number: int) -> bytes:
        """Return the bytes of a page, with zeros for what is cut off."""
        if number not in self.numbers:
            raise _DamagedError
        begin = (number - 1) * self.size
        found = self._log.get(number) or self._content[begin : begin + self.size]
        return found.ljust(self.size, b"\0")

    def told(self) -> int:
        """Return how many pages there are according to the header."""
        if not self.numbers:
            return 1
        changed, count = struct.unpack(">2I", self.page(1)[24:32])
        (valid_for,) = struct.unpack(">I", self.page(1)[92:96])
        return int(count) if changed == valid_for else 0

    def free(self) -> set[int]:
        """Return the numbers of the pages that hold nothing any more, as far as they are told."""
        found: set[int] = set()
        (trunk,) = struct.unpack(">I", self.page(1)[32:36]) if self.numbers else (0,)
        while trunk in self.numbers - found:
            words = struct.unpack(f">{self.size // 4}I", self.page(trunk))
            leaves = words[2 : 2 + words[1]]
            if not self.numbers.issuperset(leaves) or any(map(self._is_tree, leaves)):
                break  # no list of free pages: what is on them may be rows
            found |= {trunk, *leaves}
            trunk = words[0]
        return found

    def rows(self, number: int) -> Iterator[Row]:
        """Iterate over the rows of a page, if it is one of a b-tree that holds rows."""
        page = self.page(number)
        at = _HEADER if number == 1 else 0
        found = list(self._rows(number, page, page[at], at)) if page[at] in _KINDS else []
        yield from found
        if found and all(row.values for row in found):
            return
        for kind in _KINDS:  # one changed bit takes a page's kind away
            if (page[at] ^ kind).bit_count() == 1 and page[at] not in (0, _TABLE_INTERIOR):
                yield from (row for row in self._rows(number, page, kind, at) if row.values)

    def _rows(self, number: int, page: bytes, kind: int, at: int) -> Iterator[Row]:
        (count,) = struct.unpack(">H", page[at + 3 : at + 5])
        first = at + (12 if kind == _INDEX_INTERIOR else 8)
        places = range(first, self.size - 1, 2)
        for n, place in enumerate(places):
            (cell,) = struct.unpack(">H", page[place : place + 2])
            row = self._row(number, page, kind, cell) if place < cell < self.size else None
            if row is None or not row.values:
                if n >= count:  # there was one more at most, if the count is not true
                    return
                row = Row(number, None, None)
            yield row

    def _is_tree(self, number: int) -> bool:
        return any(row.values for row in self.rows(number))

    def _row(self, number: int, page: bytes, kind: int, at: int) -> Row:
        rowid = None
        try:
            if kind == _INDEX_INTERIOR:
                at += 4
            length, at = _varint(page, at)
            if kind == _TABLE_LEAF:
                rowid, at = _varint(page, at)
            record = self._payload(page, at, length, kind == _TABLE_LEAF)
            return Row(number, rowid, _record(record))
        except (_DamagedError, IndexError, struct.error):
            return Row(number, rowid, None)

    def _payload(self, page: bytes, at: int, length: int, of_table: bool) -> bytes:
        usable = self._usable
        if length > usable * len(self.numbers):
            raise _DamagedError
        most = usable - 35 if of_table else (usable - 12) * 64 // 255 - 23
        if length <= most:
            return page[at : at + length]
        least = (usable - 12) * 32 // 255 - 23
        here = least + (length - least) % (usable - 4)
        here = here if here <= most else least
        pieces = [page[at : at + here]]
        (following,) = struct.unpack(">I", page[at + here : at + here + 4])
        left = length - here
        while left > 0:
            overflow = self.page(following)
            pieces.append(overflow[4 : 4 + min(left, usable - 4)])
            left -= usable - 4
            (following,) = struct.unpack(">I", overflow[:4])
        return b"".join(pieces)

    def _read_log(self, file: Path) -> dict[int, bytes]:
        """Pages of the log's committed frames, up to the first one that is not whole."""
        content = file.read_bytes() if file.exists() else b""
        if len(content) < _LOG_HEADER:
            return {}
        magic, _, size = struct.unpack(">3I", content[:12])
        order = {0x377F0682: "<", 0x377F0683: ">"}.get(magic)
        if order is None or size not in _SIZES or not _sums(content[:24], (0, 0), order):
            return {}
        if not self._content.startswith(_MAGIC):
            self.size = self._usable = size
        if size != self.size:
            return {}
        sums = _sums(content[:24], (0, 0), order)
        if sums != struct.unpack(">2I", content[24:32]):
            return {}
        committed: dict[int, bytes] = {}
        pending: dict[int, bytes] = {}
        for at in range(_LOG_HEADER, len(content) - size - _FRAME_HEADER + 1, size + _FRAME_HEADER):
            number, commit = struct.unpack(">2I", content[at : at + 8])
            page = content[at + _FRAME_HEADER : at + _FRAME_HEADER + size]
            sums = _sums(content[at : at + 8] + page, sums, order)
            salted = content[at + 8 : at + 16] == content[16:24]
            if not salted or sums != struct.unpack(">2I", content[at + 16 : at + 24]):
                break
            pending[number] = page
            if commit:
                committed |= pending
                pending = {}
        return committed


def _sums(content: bytes, before: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = before
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the integer that begins at a place, and the place behind it."""
    value = 0
    for n in range(8):
        byte = data[at + n]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + n + 1
    value = value << 8 | data[at + 8]
    return value - (2**64 if value >= 2**63 else 0), at + 9


def _record(data: bytes) -> tuple[Value, ...]:
    end, at = _varint(data, 0)
    if not 0 < end <= len(data):
        raise _DamagedError
    kinds = []
    while at < end:
        kind, at = _varint(data, at)
        kinds.append(kind)
    values = []
    for kind in kinds:
        value, at = _value(data, at, kind)
        values.append(value)
    return tuple(values)


def _value(data: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[kind], at
    if kind == 7:
        return struct.unpack(">d", data[at : at + 8])[0], at + 8
    size = _INTEGER_SIZES.get(kind) or (kind - 12) // 2
    piece = data[at : at + size]
    if kind in (10, 11) or kind < 0 or len(piece) < size:
        raise _DamagedError
    if kind < 12:
        return int.from_bytes(piece, signed=True), at + size
    # A text that is damaged must not take the rest of its row away: an index may know it.
    return (piece.decode(errors="replace") if kind % 2 else piece), at + size
