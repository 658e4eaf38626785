"""What tests look for in a local store's files, and what they plant there."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from daskperiment.backends import tables
from daskperiment.backends.sqlite import Store


def cells(database: Path) -> Iterator[tuple[str, bytes]]:
    """Table and content of every cell of a store, as it is and, of rows, as they are read."""
    with closing(Store(database, "process", str(database)).open()) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in names.fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"').fetchall():
                for cell in row:
                    yield table, cell if isinstance(cell, bytes) else str(cell).encode()
        for column, table in (("document", "documents"), ("entries", "logs")):
            query = f"SELECT text({column}) FROM {table} WHERE {column} IS NOT NULL"
            for (text,) in connection.execute(query).fetchall():
                yield table, text


def row(path: str, key: int | str, text: bytes) -> bytes:
    """The row of a document, not compressed."""
    raw = key.encode() if isinstance(key, str) else key
    crc = zlib.crc32(text, tables.place(path.encode(), raw))
    return b"\0\0" + text + crc.to_bytes(4)
