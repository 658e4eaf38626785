"""Plain data: containers of the builtin types, attributes of objects, and their leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Any

from daskperiment.secrets.names import is_secret_under

TEXT = (str, bytes, bytearray)
NUMBERS = (int, float, bool, type(None))
_LONGEST_NUMBER = 1000
"""Bits: Python refuses to write very long integers, and no secret is one."""
_SEQUENCES = (list, tuple, set, frozenset)


def leaves(value: Any, named: bool = True, marked: bool = False) -> Iterator[tuple[Any, bool]]:
    """All that is no container, and whether something marks it as a secret.

    Numbers are told only directly under a name that marks them.  Of an object that is no
    dataclass only text is seen and what the name of its attribute marks.

    Parameters
    ----------
    value : Any
        Containers of the builtin types, namedtuples and objects are looked into, each once.
    named : bool
        Whether keys of dicts, names of fields and of attributes mark what they lead to.
    marked : bool
        Whether all of it is marked.

    Examples
    --------
    >>> sorted(leaves({"user": "me", "login": {"password": "hunter2"}, "n": [3]}))
    [('hunter2', True), ('me', False)]
    """
    waiting, seen = [(value, marked)], set()
    while waiting:
        part, inside = waiting.pop()
        if type(part) in TEXT or type(part) in NUMBERS:
            yield part, inside
        elif (id(part), inside) not in seen:
            seen.add((id(part), inside))
            if not issubclass(type(part), (dict, MappingProxyType, *_SEQUENCES)):
                yield part, inside
            waiting += _items(part, named, inside)


def _items(value: Any, named: bool, inside: bool) -> list[tuple[Any, bool]]:
    # By the methods of the builtin types: those of their subclasses may do anything.
    kind = type(value)
    if issubclass(kind, dict):
        return _named(dict.items(value), named, inside)
    if kind is MappingProxyType:
        return _named(value.items(), named, inside)
    if issubclass(kind, tuple) and "_fields" in vars(kind):
        return _named(
            zip(vars(kind)["_fields"], tuple.__iter__(value), strict=False), named, inside
        )
    for base in _SEQUENCES:
        if issubclass(kind, base):
            return [(item, inside) for item in base.__iter__(value) if type(item) not in NUMBERS]
    simple = "__dataclass_fields__" in vars(kind)
    return [
        (item, inside or marked)
        for item, marked in _named(_attributes(value), named, False)
        if simple or marked or type(item) in TEXT
    ]


def _named(pairs: Iterable[tuple[Any, Any]], named: bool, inside: bool) -> list[tuple[Any, bool]]:
    return [
        (item, inside or marked)
        for name, item in list(pairs)
        if (marked := named and is_secret_under(name, item)) or type(item) not in NUMBERS
    ]


def _attributes(value: Any) -> Iterable[tuple[Any, Any]]:
    if issubclass(type(value), type):
        return ()
    try:
        return dict.items(object.__getattribute__(value, "__dict__"))
    except (AttributeError, TypeError):
        return ()


def text_of(leaf: Any) -> str:
    """The text of a leaf: itself, bytes decoded, digits of a number; else nothing."""
    if issubclass(type(leaf), str):
        return str.__getitem__(leaf, slice(None))
    for base in (bytes, bytearray):
        if issubclass(type(leaf), base):
            return base.decode(leaf, "utf-8", "replace")
    if type(leaf) is int:
        return str(leaf) if leaf.bit_length() < _LONGEST_NUMBER else ""
    return repr(leaf) if type(leaf) is float else ""
