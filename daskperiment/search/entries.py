"""Entries of files: tables of keys for one parameter each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from daskperiment.errors import SearchSpaceError
from daskperiment.search.values import is_number, nearest
from daskperiment.serializers import preview

Entry: TypeAlias = Mapping[str, Any]


def check_keys(entry: Entry, needed: Sequence[str], others: Sequence[str] = ()) -> None:
    """Raise SearchSpaceError for a key that is missing or unknown."""
    known = (*needed, *others)
    for key in entry:
        if key != "type" and key not in known:
            raise SearchSpaceError(f"unknown key {key!r}: {nearest(key, known)}")
    for key in needed:
        if key not in entry:
            raise SearchSpaceError(f"the key {key!r} is missing, type {entry['type']!r} needs it")


def numbers(entry: Entry, key: str, count: int) -> list[Any]:
    """The list of this many numbers at a key."""
    value = entry[key]
    if not isinstance(value, list) or len(value) != count or not all(map(is_number, value)):
        what = f"a list of {count} numbers" if count > 1 else "a list of one number"
        raise SearchSpaceError(f"{key} must be {what}, not {preview(value, 80)}")
    return value


def word(entry: Entry, key: str, known: Sequence[str], default: str) -> str:
    """The word at a key, in lower case."""
    value = entry.get(key, default)
    if not isinstance(value, str) or value.lower() not in known:
        raise SearchSpaceError(f"{key} cannot be {preview(value, 80)}: {nearest(value, known)}")
    return value.lower()
