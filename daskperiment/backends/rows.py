"""Rows: how the local store keeps JSON text, compressed against a sample of its kind.

The documents at one path look alike: the same fields, mostly the same digests.  The first one
is kept whole as the path's *sample*, and later ones are deflated with the sample as preset
dictionary (RFC 1951; :func:`zlib.compressobj`), which leaves about a tenth.  A text that the
sample does not fit becomes the next sample.

A row is two bytes with the number of its sample (0: the text as it is), the body, and a CRC-32
of path, key and text: SQLite has no checksums, so a changed bit or a row at another's place
would be read as if it were true.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from daskperiment.errors import DamagedRowError
from daskperiment.typing import JSON

SCHEMA = """
    CREATE TABLE samples (id INTEGER PRIMARY KEY AUTOINCREMENT, path INTEGER, text BLOB, crc);
    CREATE TABLE spare_samples (id INTEGER PRIMARY KEY, text BLOB, crc);
"""
"""Samples are kept twice, as all rows of a path depend on one.  Numbers are not given again:
what a connection remembers of one stays true."""

SHORTEST = 100
"""Bytes below which a text is kept as it is."""
LONGEST_SAMPLE = 16 * 1024
MOST_SAMPLES = 8
"""Samples of one path, so that texts without likeness do not all become one."""
MOST_WRITTEN = 64
"""Documents whose texts are remembered."""
LAST_SAMPLE = 2**16 - 1

_SMALL = 4096
"""Bytes of text and sample up to which the smaller window does; it is made ten times faster."""
_CRC_BYTES = 4


class SampleError(DamagedRowError):
    """The sample of a row is damaged, or was renewed by others after the row was read."""


class Sample(NamedTuple):
    """A text that others are compressed against."""

    id: int
    text: bytes
    small: Any
    """A compressor that has read the text, to be copied; None where it needs the large window."""

    def deflate(self, text: bytes) -> bytes:
        """Compress a text against this one."""
        if self.small is not None and len(text) <= _SMALL:
            compressor = self.small.copy()
        else:
            compressor = zlib.compressobj(1, zlib.DEFLATED, -15, 8, 0, self.text)
        return bytes(compressor.compress(text) + compressor.flush())

    def fits(self, text: bytes, body: bytes) -> bool:
        """Whether a text, deflated to ``body``, is like this one, so that no other is needed."""
        return 2 * len(body) <= len(text) <= 1.25 * len(self.text)

    def inflate(self, body: bytes) -> bytes:
        """Give the text back."""
        decompressor = zlib.decompressobj(-15, self.text)
        return decompressor.decompress(body) + decompressor.flush()


def sample(number: int, text: bytes) -> Sample:
    """Make a sample of a text."""
    fits = len(text) <= _SMALL
    return Sample(
        number, text, zlib.compressobj(1, zlib.DEFLATED, -13, 6, 0, text) if fits else None
    )


class Written(NamedTuple):
    """A document's JSON text, and those of its fields that are text."""

    text: bytes
    texts: dict[str, JSON]


class Rows:
    """Packs and unpacks the rows of one connection, and remembers its samples.

    Writing is only allowed within a transaction, after :meth:`begin`.

    Attributes
    ----------
    written : dict
        Documents by path and key as this connection wrote them, None where only their
        presence is known; as long as no other connection has written anything.  Paths and
        samples are remembered until another one has added or renewed any.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._samples: dict[int, Sample] = {}
        self._newest: dict[int, tuple[Sample | None, int]] = {}
        self._paths: dict[bytes, int] = {}
        self.written: dict[tuple[bytes, bytes | int], Written | None] = {}
        self._oldest = 1
        self._seen = -1
        self._given: list[Any] = []
        self._added = False

    def begin(self) -> None:
        """Forget what other connections may have changed; to be called in each transaction."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._seen:
            self._look_again()
            self._seen = version
        elif len(self.written) > MOST_WRITTEN:
            self.written.clear()
        self._added = False

    def _look_again(self) -> None:
        # Others write rows all the time, but new paths and samples rarely; see `renewed`.
        given = self._connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
        if given == self._given:
            self.written.clear()
        else:
            self.forget()
            self._given = given

    def roll_back(self) -> None:
        """Forget what the transaction has added: it was rolled back."""
        self.written.clear()
        if self._added:
            self.forget()

    def forget(self) -> None:
        """Forget everything."""
        self.written.clear()
        self._newest.clear()
        self._paths.clear()
        self._samples.clear()

    def path(self, path: bytes) -> int:
        """Number of a path, which is given one if it has none."""
        if (number := self._paths.get(path)) is None:
            at = self._connection.execute("SELECT id FROM paths WHERE path = ?", (path,)).fetchone()
            if at is None:
                added = self._connection.execute("INSERT INTO paths (path) VALUES (?)", (path,))
                number, self._added = added.lastrowid or 0, True
            else:
                number = int(at[0])
            self._paths[path] = number
        return number

    def pack(self, path: int, place: int, text: bytes) -> bytes:
        """Return the row of a text at a path; ``place`` is the checksum of path and key."""
        crc = zlib.crc32(text, place).to_bytes(_CRC_BYTES)
        if len(text) >= SHORTEST:
            newest, count = self._newest.get(path) or self._find_newest(path)
            body = newest.deflate(text) if newest else text
            fits = newest is not None and newest.fits(text, body)
            if not fits and count < MOST_SAMPLES and len(text) <= LONGEST_SAMPLE:
                newest = self._add(path, text, count)
                body = newest.deflate(text) if newest else text
            if newest is not None and len(body) < len(text):
                return newest.id.to_bytes(2) + body + crc
        return b"\0\0" + text + crc

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """A block of a transaction that packs every row again, against new samples."""
        self.forget()
        (last,) = self._connection.execute("SELECT max(id) FROM samples").fetchone()
        self._oldest = (last or 0) + 1
        try:
            yield
            for table in ("samples", "spare_samples"):
                self._connection.execute(f"DELETE FROM {table} WHERE id < ?", (self._oldest,))
            # A number is left out, by which other connections see that theirs are gone.
            self._connection.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name='paths'")
        finally:
            self._oldest = 1
            self.forget()

    def unpack(self, place: int, row: bytes) -> bytes:
        """Return the text of a row.

        Raises
        ------
        DamagedRowError
            The row is damaged, or stands where another one was written.
        """
        text = self.text(row)
        if zlib.crc32(text, place) != int.from_bytes(row[-_CRC_BYTES:]):
            raise DamagedRowError(DAMAGED)
        return text

    def text(self, row: bytes) -> bytes:
        """Return the text of a row without a look at its checksum."""
        if not isinstance(row, bytes):  # as SQLite reads it where a type is damaged
            raise DamagedRowError(DAMAGED)
        number, body = int.from_bytes(row[:2]), row[2:-_CRC_BYTES]
        if not number:
            return body
        known = self._samples.get(number) or self._load(number)
        try:
            return known.inflate(body)
        except zlib.error as error:
            raise DamagedRowError(DAMAGED) from error

    def _find_newest(self, path: int) -> tuple[Sample | None, int]:
        number, count = self._connection.execute(
            "SELECT max(id), count(*) FROM samples WHERE path = ? AND id >= ?", (path, self._oldest)
        ).fetchone()
        found = None if number is None else self._samples.get(number) or self._load(number)
        self._newest[path] = found, count
        return found, count

    def _load(self, number: int) -> Sample:
        for table in ("samples", "spare_samples"):
            row = self._connection.execute(
                f"SELECT text, crc FROM {table} WHERE id = ?", (number,)
            ).fetchone()
            if row is not None and zlib.crc32(row[0]) == row[1]:
                found = self._samples[number] = sample(number, row[0])
                return found
        raise SampleError(DAMAGED)

    def _add(self, path: int, text: bytes, count: int) -> Sample | None:
        values = (text, zlib.crc32(text))
        added = self._connection.execute(
            "INSERT INTO samples (path, text, crc) VALUES (?, ?, ?)", (path, *values)
        )
        number = added.lastrowid or 0
        if number > LAST_SAMPLE:
            self._connection.execute("DELETE FROM samples WHERE id = ?", (number,))
            return None
        self._connection.execute("INSERT INTO spare_samples VALUES (?, ?, ?)", (number, *values))
        self._added = True
        made = self._samples[number] = sample(number, text)
        self._newest[path] = made, count + 1
        return made


DAMAGED = (
    "a row of the store is damaged: `daskperiment doctor` tells what else is, and "
    "`daskperiment salvage` saves the rest"
)
