"""What may be stored, and its JSON text: the same checks for every backend.

A value is refused before it reaches a store, because stores disagree about what
they do with it: SQLite turns NaN into NULL, MongoDB knows no integer of 65 bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from daskperiment.errors import DocumentError
from daskperiment.typing import JSON, Document, Key, Where

MAX_DEPTH = 64
"""Containers within containers; MongoDB ends at 100."""

MAX_KEY = 2**53 - 1
"""The highest integer key; beyond it a Redis sorted set no longer orders keys."""

_LEAST, _MOST = -(2**63), 2**63 - 1
_LEAVES = frozenset({str, float, bool, type(None)})
_TEXT = frozenset({str})
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode


def encode(value: JSON) -> str:
    r"""Return the JSON text of a checked value.

    Text is left as it is: escaped, a high and a low surrogate that stand side by
    side would come back as one character.

    Examples
    --------
    >>> encode({"loss": float("nan"), "note": "é"})
    '{"loss":NaN,"note":"é"}'
    >>> decode(encode("\ud83d\ude00")) == "\ud83d\ude00"
    True
    """
    return _encode(value)


def decode(text: str) -> Any:
    """Return the value that :func:`encode` was given, as new objects."""
    return _decode(text)[0]


def check_json(value: object, depth: int = 0) -> None:
    """Refuse what JSON or 64 bits cannot hold.

    Raises
    ------
    DocumentError
        For other types (tuples and sets too: they would not come back equal),
        keys that are not text, integers beyond 64 bits, or too deep a nesting.

    Examples
    --------
    >>> check_json({"seeds": [1, 2.5, None]})
    >>> check_json({1: 2})
    Traceback (most recent call last):
    daskperiment.errors.DocumentError: an object's keys must be text, not int
    """
    if type(value) in _LEAVES:
        return
    if isinstance(value, int):
        if not _LEAST <= value <= _MOST:
            raise DocumentError("an integer is beyond 64 bits: store it as text")
    elif isinstance(value, dict):
        if not _TEXT.issuperset(map(type, value)):
            for key in value:
                if not isinstance(key, str):
                    raise DocumentError(f"an object's keys must be text, not {_type(key)}")
        _check_items(value.values(), depth)
    elif isinstance(value, list):
        _check_items(value, depth)
    elif not isinstance(value, (str, float)):
        raise DocumentError(f"{_type(value)} is not JSON: convert it before storing it")


def _check_items(items: Iterable[object], depth: int) -> None:
    if depth == MAX_DEPTH:
        raise DocumentError(f"a value is nested more than {MAX_DEPTH} levels deep")
    for item in items:
        kind = type(item)
        if kind in _LEAVES or (kind is int and _LEAST <= item <= _MOST):  # type: ignore[operator]
            continue
        check_json(item, depth + 1)


def check_document(document: object) -> None:
    """Refuse all but a JSON object whose field names are identifiers.

    Examples
    --------
    >>> check_document({"state": "RUNNING"})
    >>> check_document({"a.b": 1})
    Traceback (most recent call last):
    daskperiment.errors.DocumentError: a field name must be an identifier, not 'a.b'
    """
    if not isinstance(document, dict):
        raise DocumentError(f"a document must be a dict, not {_type(document)}")
    check_json(document)
    for field in document:
        if not field.isidentifier():
            raise DocumentError(f"a field name must be an identifier, not {field!r}")


def check_entries(entries: object) -> None:
    """Refuse all but a list or tuple of JSON values."""
    if not isinstance(entries, (list, tuple)):
        raise DocumentError(f"entries must be a list, not {_type(entries)}")
    _check_items(entries, 0)


def check_path(path: object) -> None:
    """Refuse a path that is not text."""
    if not isinstance(path, str):
        raise DocumentError(f"a path must be text, not {_type(path)}")


def check_key(key: object) -> None:
    """Refuse a key that is neither text nor an integer from 0 to :data:`MAX_KEY`."""
    if isinstance(key, str):
        return
    if not isinstance(key, int) or isinstance(key, bool):
        raise DocumentError(f"a key must be text or an integer, not {_type(key)}")
    if not 0 <= key <= MAX_KEY:
        raise DocumentError("an integer key must be from 0 to 2**53 - 1")


def check_texts(mapping: Where | None) -> dict[str, list[str]]:
    """Return ``where`` or ``expect`` with a list of accepted texts for each field.

    Examples
    --------
    >>> check_texts({"state": "RUNNING"})
    {'state': ['RUNNING']}
    """
    accepted = {
        field: [texts] if isinstance(texts, str) else texts
        for field, texts in (mapping or {}).items()
    }
    for field, texts in accepted.items():
        if not isinstance(field, str) or not field.isidentifier():
            raise DocumentError(f"a field name must be an identifier, not {field!r}")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise DocumentError(f"only text can be compared: {field} is given {_type(texts)}")
    return accepted


def check_find(path: object, order_by: object, after: Key | None, limit: object) -> None:
    """Refuse a search that no backend can carry out."""
    check_path(path)
    if order_by not in ("key", "-key"):
        raise DocumentError(f"order_by must be 'key' or '-key', not {order_by!r}")
    if after is not None:
        check_key(after)
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise DocumentError(f"limit must be None or an integer from 0, not {limit!r}")


def matches(document: Document, accepted: dict[str, list[str]]) -> bool:
    """Whether each field of ``accepted`` is one of its texts; absent fields are none."""
    return all(
        isinstance(value := document.get(field), str) and value in texts
        for field, texts in accepted.items()
    )


def project(document: Document, fields: Sequence[str] | None) -> Document:
    """Return the document with only the wanted fields (all of them for None)."""
    if fields is None:
        return document
    return {field: document[field] for field in fields if field in document}


def key_order(key: Key) -> tuple[bool, Any]:
    """Sort key of keys: integers by value, then text by code points.

    Examples
    --------
    >>> sorted(["b", 10, "a", 9], key=key_order)
    [9, 10, 'a', 'b']
    """
    return isinstance(key, str), key


def _type(value: object) -> str:
    return type(value).__qualname__
