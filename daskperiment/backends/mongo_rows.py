r"""The rows of a store in MongoDB: their names, their fields, and text that BSON cannot hold.

Content is kept as JSON text, in one field: BSON has no lone surrogates, no keys with NUL, and
servers that speak MongoDB's protocol differ about NaN, dots and ``$`` in keys.  It also makes a
document small, and quick to encode.  What is searched by stands beside it, in plain fields that
an index can order.

Every row has ``g``, the number of the group that wrote it last.  A row that is deleted stays as
a *tombstone* of ``_id``, ``g`` and ``gone`` until the store is compacted, so that a group that
is carried out a second time, late, cannot bring it back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from blake3 import blake3

from daskperiment.backends.documents import decode, encode
from daskperiment.errors import DamagedRowError, StoreFullError
from daskperiment.typing import JSON, Document, Key

Row: TypeAlias = dict[str, Any]
"""A document of MongoDB's, to tell it from one of ours."""

STORE = "daskperiment_store"
ROWS = "daskperiment_rows"
PAYLOADS = "daskperiment_payloads"
CHUNKS = "daskperiment_chunks"

FIELDS = {
    ROWS: (
        *("path", "key", "content", "texts"),
        *("end", "entries"),
        *("highest", "length", "life", "start", "bytes"),
    ),
    PAYLOADS: ("size", "data", "token"),
}
"""All that a row may hold and a tombstone must not."""

LARGEST = 15_000_000
"""Bytes of JSON text in one document or log entry; MongoDB's own limit is 16 MiB."""

LONGEST_SEARCHED = 100
"""Characters up to which a text field is searched by the server."""

_REPLACED = re.compile("[\0\1\ud7ff-\udfff]")
_REPLACEMENTS = re.compile("\1([\1\2])|\ud7ff([\2\u0100-\u08ff])")


def escape(text: str) -> str:
    r"""Text without NUL and lone surrogates, in the same order as the original.

    Other text is left as it is; U+D7FF, behind which the surrogates are put, is no character.

    Examples
    --------
    >>> escape("x/trials"), unescape(escape("\ud800\0")) == "\ud800\0"
    ('x/trials', True)
    """
    return _REPLACED.sub(_replacement, text)


def unescape(text: str) -> str:
    """Return the text that :func:`escape` was given."""
    return _REPLACEMENTS.sub(_original, text)


def _replacement(match: re.Match[str]) -> str:
    character = match[0]
    if character <= "\1":
        return "\1" + chr(ord(character) + 1)
    if character == "\ud7ff":
        return "\ud7ff\2"
    return "\ud7ff" + chr(ord(character) - 0xD800 + 0x100)


def _original(match: re.Match[str]) -> str:
    if match[1]:
        return chr(ord(match[1]) - 1)
    return "\ud7ff" if match[2] == "\2" else chr(ord(match[2]) - 0x100 + 0xD800)


def key_text(key: Key) -> str:
    """A key as text in the order of keys: integers by value, then text by code points.

    Examples
    --------
    >>> key_text(7), key_text("7"), key_of(key_text(7))
    ('n0000000000000007', 't7', 7)
    """
    return f"n{key:016d}" if isinstance(key, int) else f"t{escape(key)}"


def key_of(text: object) -> Key:
    """Return the key that :func:`key_text` was given.

    Raises
    ------
    DamagedRowError
        If it was given none.
    """
    if isinstance(text, str):
        if text.startswith("t"):
            return unescape(text[1:])
        if text.startswith("n") and text[1:].isascii() and text[1:].isdigit():
            return int(text[1:])
    raise DamagedRowError(f"{text!r} is no key; {DAMAGED}")


def document_id(path: str, key: Key) -> str:
    """The ``_id`` of a document; a hash, so that a tombstone tells nothing."""
    return "d" + _hash(path, key_text(key))


def state_id(path: str) -> str:
    """The ``_id`` of the row with the highest number and the length of the log at a path."""
    return "s" + _hash(path, "")


def bucket_id(path: str, life: int, start: int) -> str:
    """The ``_id`` of the log entries of a path from a position on.

    ``life`` is the number of the group with which the log began, so that a log that was cleared
    or dropped has other buckets than before.
    """
    return f"b{_hash(path, '')}/{life}/{start}"


def _hash(path: str, key: str) -> str:
    text = f"{len(path)}/{path}{key}".encode("utf-8", "surrogatepass")
    return blake3(text).hexdigest()[:40]


def document_row(path: str, key: Key, document: Document, group: int) -> Row:
    """The row of a document."""
    return {
        "_id": document_id(path, key),
        "g": group,
        "path": escape(path),
        "key": key_text(key),
        "content": text_of(document),
        "texts": [
            searched(field, value)
            for field, value in document.items()
            if isinstance(value, str) and len(value) <= LONGEST_SEARCHED
        ],
    }


def searched(field: str, text: str) -> str:
    """What stands in ``texts`` for a field that is this text."""
    return escape(f"{field}={text}")


def text_of(value: JSON) -> str:
    """JSON text as it is kept.

    Raises
    ------
    StoreFullError
        If it is longer than MongoDB can keep.
    """
    text = escape(encode(value))
    if len(text) > LARGEST // 4 and (size := len(text.encode())) > LARGEST:
        raise StoreFullError(
            f"a document or log entry of {size} bytes is larger than the {LARGEST} that fit into "
            "MongoDB: store it as a payload, or in parts"
        )
    return text


def document_of(row: Mapping[str, Any]) -> Document:
    """Return the document of a row.

    Raises
    ------
    DamagedRowError
        If something else is in its place.
    """
    document = _value(row.get("content"))
    if not isinstance(document, dict):
        raise DamagedRowError(f"the row {row.get('_id')!r} is no document; {DAMAGED}")
    return document


def entries_of(row: Mapping[str, Any]) -> list[JSON]:
    """Return the entries of a bucket.

    Raises
    ------
    DamagedRowError
        If something else is in its place.
    """
    entries = row.get("entries")
    if not isinstance(entries, list):
        raise DamagedRowError(f"the row {row.get('_id')!r} holds no entries; {DAMAGED}")
    return [_value(text) for text in entries]


def _value(text: object) -> JSON:
    if not isinstance(text, str):
        raise DamagedRowError(f"a row holds {type(text).__name__} instead of text; {DAMAGED}")
    try:
        return decode(unescape(text))
    except (ValueError, RecursionError) as error:
        raise DamagedRowError(f"a row holds text that is not JSON; {DAMAGED}") from error


DAMAGED = (
    "another program has written into the collections named daskperiment_*, or they are damaged: "
    "restore them from a copy"
)
