"""The statements of the local store: what each operation reads and writes in SQLite.

Paths, text keys and documents are kept as UTF-8 bytes, because SQLite's text cannot hold
lone surrogates.  The order of the bytes is that of the code points, and a column without
a type sorts integers before bytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeAlias

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
from daskperiment.errors import ConflictError, DocumentError
from daskperiment.typing import JSON, Document, Key

SCHEMA = """
    CREATE TABLE documents (path, key, document, PRIMARY KEY (path, key));
    CREATE TABLE logs (path, length, entries, PRIMARY KEY (path, length));
    CREATE TABLE payloads (digest TEXT PRIMARY KEY, data BLOB);
"""
"""A document is NULL where a numbered one was removed: its number is not given again.
A log's row is one batch of entries, under the length that the log had after it.
The tables have row ids: without, rows of more than a quarter of a page would overflow into
pages of their own, which doubles what a usual trial writes."""

MOST_SIEVED = 100
"""Texts that SQLite looks for; of more than these only Python does."""

Payload: TypeAlias = tuple[str, bytes | None]
"""A digest, and the bytes unless they are kept in a file."""


def write(connection: sqlite3.Connection, write: Write | Payload) -> Any:
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


def get(connection: sqlite3.Connection, path: str, key: Key) -> Document | None:
    """Return a document, or None."""
    row = connection.execute(
        "SELECT document FROM documents WHERE path = ? AND key = ?", (_raw(path), _raw(key))
    ).fetchone()
    return _load(row[0]) if row and row[0] is not None else None


def page(
    connection: sqlite3.Connection,
    path: str,
    accepted: dict[str, list[str]],
    order_by: Order,
    after: Key | None,
    size: int,
) -> list[tuple[Key, Document]]:
    """Return at most ``size`` documents, all of those that match among them.

    A match holds ``"field":"text"`` in its JSON text; the few others that do too, in
    an object within, are left to the caller.
    """
    beyond, direction = ("<", "DESC") if order_by == "-key" else (">", "ASC")
    clauses, values = ["path = ?", "document IS NOT NULL"], [_raw(path)]
    if after is not None:
        clauses.append(f"key {beyond} ?")
        values.append(_raw(after))
    if sum(map(len, accepted.values())) <= MOST_SIEVED:
        for field, texts in accepted.items():
            clauses.append(f"({' OR '.join(['instr(document, ?)'] * len(texts)) or '0'})")
            values += [_raw(encode({field: text})[1:-1]) for text in texts]
    rows = connection.execute(
        f"SELECT key, document FROM documents WHERE {' AND '.join(clauses)} "
        f"ORDER BY key {direction} LIMIT {size}",
        values,
    ).fetchall()
    return [(_key(raw), _load(document)) for raw, document in rows]


def read(connection: sqlite3.Connection, path: str, start: int) -> list[JSON]:
    """Return a log's entries from ``start`` on, or its last ``-start``."""
    log = _raw(path)
    first = start if start >= 0 else max(0, _length(connection, log) + start)
    rows = connection.execute(
        "SELECT length, entries FROM logs WHERE path = ? AND length > ? ORDER BY length",
        (log, first),
    ).fetchall()
    if not rows:
        return []
    entries = [entry for _, batch in rows for entry in _load(batch)]
    wanted = rows[-1][0] - first if start >= 0 else -start
    return entries[-wanted:]


def payload(connection: sqlite3.Connection, digest: str) -> bytes | None:
    """Return a payload that is kept as a row, or None."""
    row = connection.execute("SELECT data FROM payloads WHERE digest = ?", (digest,)).fetchone()
    return row[0] if row else None


def has_payload(connection: sqlite3.Connection, digest: str) -> bool:
    """Whether a payload is kept as a row."""
    found = connection.execute("SELECT 1 FROM payloads WHERE digest = ?", (digest,))
    return found.fetchone() is not None


def payloads(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """Return digest and size in bytes of each payload that is kept as a row."""
    return connection.execute("SELECT digest, length(data) FROM payloads").fetchall()


def drop(connection: sqlite3.Connection, path: str) -> None:
    """Remove documents and logs at and under a path."""
    bounds = _raw(path), _raw(f"{path}/"), _raw(f"{path}0")  # "0" is what follows "/"
    for table in ("documents", "logs"):
        connection.execute(f"DELETE FROM {table} WHERE path = ? OR path >= ? AND path < ?", bounds)


def _insert(connection: sqlite3.Connection, write: Insert) -> Key:
    path = _raw(write.path)
    key = _next_number(connection, path) if write.key is None else write.key
    added = connection.execute(
        "INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT (path, key) DO UPDATE "
        "SET document = excluded.document WHERE document IS NULL",
        (path, _raw(key), _dump(write.document)),
    )
    if not added.rowcount:
        raise ConflictError(f"{key!r} exists at {write.path!r}")
    return key


def _next_number(connection: sqlite3.Connection, path: bytes | int) -> int:
    row = connection.execute(
        "SELECT key FROM documents WHERE path = ? AND key < x'' ORDER BY key DESC LIMIT 1", (path,)
    ).fetchone()
    return row[0] + 1 if row else 1


def _update(connection: sqlite3.Connection, write: Update) -> bool:
    if not write.changes and not write.expect:
        return _check(connection, write)
    document = get(connection, write.path, write.key)
    if document is None:
        raise ConflictError(f"there is no {write.key!r} at {write.path!r}")
    if not matches(document, check_texts(write.expect)):
        raise ConflictError(f"{write.key!r} at {write.path!r} is not as expected")
    if write.changes:
        connection.execute(
            "UPDATE documents SET document = ? WHERE path = ? AND key = ?",
            (_dump({**document, **write.changes}), _raw(write.path), _raw(write.key)),
        )
    return True


def _check(connection: sqlite3.Connection, write: Update) -> bool:
    found = connection.execute(
        "SELECT 1 FROM documents WHERE path = ? AND key = ? AND document IS NOT NULL",
        (_raw(write.path), _raw(write.key)),
    )
    if found.fetchone() is None:
        raise ConflictError(f"there is no {write.key!r} at {write.path!r}")
    return True


def _remove(connection: sqlite3.Connection, write: Remove) -> bool:
    at = _raw(write.path), _raw(write.key)
    if isinstance(write.key, str):
        statement = "DELETE FROM documents WHERE path = ? AND key = ?"
    else:
        statement = (
            "UPDATE documents SET document = NULL "
            "WHERE path = ? AND key = ? AND document IS NOT NULL"
        )
    return connection.execute(statement, at).rowcount == 1


def _append(connection: sqlite3.Connection, write: Append) -> int:
    path = _raw(write.path)
    length = _length(connection, path) + len(write.entries)
    if write.entries:
        connection.execute(
            "INSERT INTO logs VALUES (?, ?, ?)", (path, length, _dump(write.entries))
        )
    return length


def _clear(connection: sqlite3.Connection, write: Clear) -> int:
    path = _raw(write.path)
    length = _length(connection, path)
    connection.execute("DELETE FROM logs WHERE path = ?", (path,))
    return length


def _discard(connection: sqlite3.Connection, digest: str) -> bool:
    return connection.execute("DELETE FROM payloads WHERE digest = ?", (digest,)).rowcount == 1


def _length(connection: sqlite3.Connection, path: bytes | int) -> int:
    (length,) = connection.execute(
        "SELECT max(length) FROM logs WHERE path = ?", (path,)
    ).fetchone()
    return length or 0


def _raw(text: Key) -> bytes | int:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _key(raw: bytes | int) -> Key:
    return raw.decode("utf-8", "surrogatepass") if isinstance(raw, bytes) else raw


def _dump(value: Document | Sequence[JSON]) -> bytes:
    return encode(value).encode("utf-8", "surrogatepass")


def _load(text: bytes) -> Any:
    return decode(text.decode("utf-8", "surrogatepass"))
