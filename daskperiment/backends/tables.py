"""The statements of the local store: what each operation reads and writes in SQLite.

Paths, text keys and documents are kept as UTF-8 bytes, because SQLite's text cannot hold
lone surrogates.  The order of the bytes is that of the code points, and a column without
a type sorts integers before bytes.  Paths are numbered; of a log's path the last segment,
mostly an identifier of its own, stands in the log's rows.
"""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from daskperiment.backends import rows
from daskperiment.backends.base import (
    Append,
    Clear,
    Discard,
    Hold,
    Insert,
    Order,
    Remove,
    Update,
    Write,
)
from daskperiment.backends.documents import check_texts, decode, encode, matches
from daskperiment.errors import ConflictError, DamagedRowError, DocumentError
from daskperiment.typing import JSON, Document, Key

SCHEMA = f"""
    CREATE TABLE paths (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB UNIQUE);
    CREATE TABLE documents (path INTEGER, key, document, PRIMARY KEY (path, key)) WITHOUT ROWID;
    CREATE TABLE logs (
        path INTEGER, name, length INTEGER, entries, PRIMARY KEY (path, name, length)
    );
    CREATE TABLE payloads (digest TEXT PRIMARY KEY, data BLOB);
    {rows.SCHEMA}
"""
"""A document is NULL where a numbered one was removed: its number is not given again.
A log's row is one batch of entries, under the length that the log had after it.
Batches are often longer than a quarter of a page and would overflow into pages of their own
in a table without row ids."""

MOST_SIEVED = 100
"""Texts that SQLite looks for; of more than these only Python does."""

Payload: TypeAlias = tuple[str, bytes | None]
"""A digest, and the bytes unless they are kept in a file."""

P = ParamSpec("P")
R = TypeVar("R")

_AT = "path = (SELECT id FROM paths WHERE path = ?)"
_IDENTIFIER = re.compile("[0-9a-f]{32}")
_IDENTIFIER_BYTES = 16
_PAGE = 500


class Connection(sqlite3.Connection):
    """A connection that knows how its store keeps rows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows = rows.Rows(self)
        self.create_function("text", 1, self.rows.text, deterministic=True)


def write(connection: Connection, write: Write | Payload) -> Any:
    """Carry out one write of a transaction and return its result."""
    match write:
        case Insert():
            return _insert(connection, write)
        case Update():
            return _update(connection, write)
        case Remove():
            return _remove(connection, write)
        case Append():
            return _append(connection, write)
        case Clear():
            return _clear(connection, write)
        case Hold(digest):
            return has_payload(connection, digest)
        case Discard(digest):
            return _discard(connection, digest)
        case (digest, None):
            return digest
        case (digest, data):
            connection.execute("INSERT OR IGNORE INTO payloads VALUES (?, ?)", (digest, data))
            return digest
    raise DocumentError(f"{type(write).__qualname__} is no write")


def _again(
    read: Callable[Concatenate[Connection, P], R],
) -> Callable[Concatenate[Connection, P], R]:
    """Read once more where others have renewed the samples between a row and its sample."""

    @wraps(read)
    def reading(connection: Connection, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(connection, *args, **kwargs)
        except rows.SampleError:
            return read(connection, *args, **kwargs)

    return reading


@_again
def get(connection: Connection, path: str, key: Key) -> Document | None:
    """Return a document, or None."""
    at, raw = _raw(path), _key_raw(key)
    row = connection.execute(
        f"SELECT document FROM documents WHERE {_AT} AND key = ?", (at, raw)
    ).fetchone()
    if row is None or row[0] is None:
        return None
    return _load(connection, place(at, raw), row[0])  # type: ignore[no-any-return]


@_again
def page(
    connection: Connection,
    path: str,
    accepted: dict[str, list[str]],
    order_by: Order,
    after: Key | None,
    size: int,
    *,
    content: bool,
) -> list[tuple[Key, Document]]:
    """Return at most ``size`` documents, all of those that match among them.

    Without ``content`` they are empty, and their rows are not read.
    A match holds ``"field":"text"`` in its JSON text; the few others that do too, in
    an object within, are left to the caller.
    """
    beyond, direction = ("<", "DESC") if order_by == "-key" else (">", "ASC")
    at = _raw(path)
    clauses, values = [_AT, "document IS NOT NULL"], list[bytes | int]([at])
    if after is not None:
        clauses.append(f"key {beyond} ?")
        values.append(_key_raw(after))
    if sum(map(len, accepted.values())) <= MOST_SIEVED:
        for field, texts in accepted.items():
            sieve = " OR ".join(["instr(text(document), ?)"] * len(texts)) or "0"
            clauses.append(f"({sieve})")
            values += [_raw(encode({field: text})[1:-1]) for text in texts]
    column = "document" if content else "NULL"
    found = connection.execute(
        f"SELECT key, {column} FROM documents WHERE {' AND '.join(clauses)} "
        f"ORDER BY key {direction} LIMIT {size}",
        values,
    ).fetchall()
    return [
        (_key(raw), _load(connection, place(at, raw), row) if content else {}) for raw, row in found
    ]


@_again
def read(connection: Connection, path: str, start: int) -> list[JSON]:
    """Return a log's entries from ``start`` on, or its last ``-start``."""
    log = _Log(connection, path)
    first = start if start >= 0 else max(0, log.length() + start)
    batches = log.batches(first)
    if not batches:
        return []
    entries = [entry for _, batch in batches for entry in batch]
    wanted = batches[-1][0] - first if start >= 0 else -start
    return entries[-wanted:]


def payload(connection: Connection, digest: str) -> bytes | None:
    """Return a payload that is kept as a row, or None."""
    row = connection.execute("SELECT data FROM payloads WHERE digest = ?", (digest,)).fetchone()
    return row[0] if row else None


def has_payload(connection: Connection, digest: str) -> bool:
    """Whether a payload is kept as a row."""
    found = connection.execute("SELECT 1 FROM payloads WHERE digest = ?", (digest,))
    return found.fetchone() is not None


def payloads(connection: Connection) -> list[tuple[str, int]]:
    """Return digest and size in bytes of each payload that is kept as a row."""
    return connection.execute("SELECT digest, length(data) FROM payloads").fetchall()


def drop(connection: Connection, path: str) -> None:
    """Remove documents and logs at and under a path."""
    bounds = _raw(f"{path}/"), _raw(f"{path}0")  # "0" is what follows "/"
    under = "path IN (SELECT id FROM paths WHERE path >= ? AND path < ?)"
    connection.execute(f"DELETE FROM documents WHERE {_AT} OR {under}", (_raw(path), *bounds))
    connection.execute(f"DELETE FROM logs WHERE {under}", bounds)
    _Log(connection, path).clear()
    connection.rows.forget()


def renew(connection: Connection) -> None:
    """Pack all rows anew, so that no sample keeps what was removed or changed since.

    Paths that hold nothing any more are forgotten with them.
    """
    keeper = connection.rows
    with keeper.renewed():
        for number, path in connection.execute("SELECT id, path FROM paths").fetchall():
            for key, row in _rows(connection, number):
                at = place(path, key)
                packed = keeper.pack(number, at, _text(_load(connection, at, row)))
                connection.execute(
                    "UPDATE documents SET document = ? WHERE path = ? AND key = ?",
                    (packed, number, key),
                )
            for name, length, row in _batches(connection, number):
                at = place(path, name, length)
                packed = keeper.pack(number, at, keeper.unpack(at, row))
                connection.execute(
                    "UPDATE logs SET entries = ? WHERE path = ? AND name = ? AND length = ?",
                    (packed, number, name, length),
                )
    connection.execute(
        "DELETE FROM paths WHERE id NOT IN (SELECT path FROM documents UNION SELECT path FROM logs)"
    )


def _rows(connection: Connection, path: int) -> Iterator[tuple[bytes | int, bytes]]:
    after: bytes | int = -1
    while found := connection.execute(
        "SELECT key, document FROM documents WHERE path = ? AND key > ? "
        f"AND document IS NOT NULL ORDER BY key LIMIT {_PAGE}",
        (path, after),
    ).fetchall():
        yield from found
        after = found[-1][0]


def _batches(connection: Connection, path: int) -> Iterator[tuple[bytes, int, bytes]]:
    after: tuple[bytes, int] = (b"", 0)
    while found := connection.execute(
        "SELECT name, length, entries FROM logs WHERE path = ? AND (name, length) > (?, ?) "
        f"ORDER BY name, length LIMIT {_PAGE}",
        (path, *after),
    ).fetchall():
        yield from found
        after = found[-1][:2]


def place(path: bytes, *key: bytes | int) -> int:
    """Checksum of where a row stands: its path, and its key or its log's name and length."""
    crc = zlib.crc32(path)
    for part in key:
        crc = zlib.crc32(part if isinstance(part, bytes) else b"%d" % part, crc)
    return crc


class _Log:
    """Where the rows of a log are: by the path of its folder and its name in it."""

    __slots__ = ("connection", "folder", "name", "path")

    def __init__(self, connection: Connection, path: str) -> None:
        folder, separator, name = path.rpartition("/")
        self.connection = connection
        self.path = path
        self.folder = _raw(folder + separator)
        self.name = pack_name(name)

    def length(self) -> int:
        (length,) = self.connection.execute(
            f"SELECT max(length) FROM logs WHERE {_AT} AND name = ?", (self.folder, self.name)
        ).fetchone()
        return length or 0

    def batches(self, first: int) -> list[tuple[int, list[JSON]]]:
        found = self.connection.execute(
            f"SELECT length, entries FROM logs WHERE {_AT} AND name = ? AND length > ? "
            "ORDER BY length",
            (self.folder, self.name, first),
        ).fetchall()
        return [(length, self._load(length, row)) for length, row in found]

    def append(self, length: int, entries: Sequence[JSON]) -> None:
        number = self.connection.rows.path(self.folder)
        row = self.connection.rows.pack(
            number, place(self.folder, self.name, length), _text(entries)
        )
        self.connection.execute(
            "INSERT INTO logs VALUES (?, ?, ?, ?)", (number, self.name, length, row)
        )

    def clear(self) -> None:
        self.connection.execute(
            f"DELETE FROM logs WHERE {_AT} AND name = ?", (self.folder, self.name)
        )

    def _load(self, length: int, row: bytes) -> list[JSON]:
        return _load(self.connection, place(self.folder, self.name, length), row)  # type: ignore[no-any-return]


def pack_name(name: str) -> bytes:
    """Bytes of a log's name: 16 for an identifier in hexadecimal, which is what most are.

    Examples
    --------
    >>> pack_name("0f" * 16) == b"\x0f" * 16, pack_name("events")
    (True, b'/events')
    """
    if _IDENTIFIER.fullmatch(name):
        return bytes.fromhex(name)
    text = b"/" + _raw(name)
    return text if len(text) != _IDENTIFIER_BYTES else b"/" + text


def unpack_name(packed: bytes) -> str:
    """Give back what :func:`pack_name` was given.

    Examples
    --------
    >>> unpack_name(pack_name("fifteen letters")), unpack_name(pack_name("0f" * 16))
    ('fifteen letters', '0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f')
    """
    if len(packed) == _IDENTIFIER_BYTES:
        return packed.hex()
    return packed.lstrip(b"/").decode("utf-8", "surrogatepass")


def _insert(connection: Connection, write: Insert) -> Key:
    path = _raw(write.path)
    number = connection.rows.path(path)
    key = _next_number(connection, number) if write.key is None else write.key
    raw, text = _key_raw(key), _text(write.document)
    row = connection.rows.pack(number, place(path, raw), text)
    added = connection.execute(
        "INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT (path, key) DO UPDATE "
        "SET document = excluded.document WHERE document IS NULL",
        (number, raw, row),
    )
    if not added.rowcount:
        raise ConflictError(f"{key!r} exists at {write.path!r}")
    connection.rows.written[path, raw] = rows.Written(text, _texts(write.document))
    return key


def _next_number(connection: Connection, path: int) -> int:
    row = connection.execute(
        "SELECT key FROM documents WHERE path = ? AND key < x'' ORDER BY key DESC LIMIT 1", (path,)
    ).fetchone()
    return row[0] + 1 if row else 1


def _update(connection: Connection, write: Update) -> bool:
    if not write.changes and not write.expect:
        return _check(connection, write)
    path, raw = _raw(write.path), _key_raw(write.key)
    written = connection.rows.written.pop((path, raw), None)
    document = written.texts if written else get(connection, write.path, write.key)
    if document is None:
        raise ConflictError(f"there is no {write.key!r} at {write.path!r}")
    if not matches(document, check_texts(write.expect)):
        raise ConflictError(f"{write.key!r} at {write.path!r} is not as expected")
    if write.changes:
        changes = write.changes if written else {**document, **write.changes}
        text = _merged(written.text, _text(changes)) if written else _text(changes)
        number = connection.rows.path(path)
        connection.execute(
            "UPDATE documents SET document = ? WHERE path = ? AND key = ?",
            (connection.rows.pack(number, place(path, raw), text), number, raw),
        )
    return True


def _merged(text: bytes, changes: bytes) -> bytes:
    """One object of two JSON texts.

    Of a field in both the second counts for whoever decodes it.  The first is gone after the
    next change or :func:`renew`; to take it out here would mean to decode the text.
    """
    return changes if text == b"{}" else text[:-1] + b"," + changes[1:]


def _texts(document: Document) -> dict[str, JSON]:
    return {field: value for field, value in document.items() if isinstance(value, str)}


def _check(connection: Connection, write: Update) -> bool:
    at = _raw(write.path), _key_raw(write.key)
    if at in connection.rows.written:
        return True
    found = connection.execute(
        f"SELECT 1 FROM documents WHERE {_AT} AND key = ? AND document IS NOT NULL", at
    )
    if found.fetchone() is None:
        raise ConflictError(f"there is no {write.key!r} at {write.path!r}")
    connection.rows.written[at] = None
    return True


def _remove(connection: Connection, write: Remove) -> bool:
    at = _raw(write.path), _key_raw(write.key)
    connection.rows.written.pop(at, None)
    if isinstance(write.key, str):
        statement = f"DELETE FROM documents WHERE {_AT} AND key = ?"
    else:
        statement = (
            f"UPDATE documents SET document = NULL WHERE {_AT} AND key = ? AND document IS NOT NULL"
        )
    return connection.execute(statement, at).rowcount == 1


def _append(connection: Connection, write: Append) -> int:
    log = _Log(connection, write.path)
    length = log.length() + len(write.entries)
    if write.entries:
        log.append(length, write.entries)
    return length


def _clear(connection: Connection, write: Clear) -> int:
    log = _Log(connection, write.path)
    length = log.length()
    log.clear()
    return length


def _discard(connection: Connection, digest: str) -> bool:
    return connection.execute("DELETE FROM payloads WHERE digest = ?", (digest,)).rowcount == 1


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _key_raw(key: Key) -> bytes | int:
    return _raw(key) if isinstance(key, str) else key


def _key(raw: bytes | int) -> Key:
    if isinstance(raw, int):
        return raw
    try:
        return raw.decode("utf-8", "surrogatepass")
    except (UnicodeDecodeError, AttributeError) as error:
        raise DamagedRowError(rows.DAMAGED) from error


def _text(value: Document | Sequence[JSON]) -> bytes:
    return _raw(encode(value))


def _load(connection: Connection, at: int, row: bytes) -> Any:
    return decode(_untext(connection.rows.unpack(at, row)))


def _untext(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")
