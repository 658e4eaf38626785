"""How values of the builtin and standard types are written."""

from __future__ import annotations

import datetime
import struct
import sys
import types
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from random import Random
from re import Pattern
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from daskperiment import secrets
from daskperiment.fingerprint.walk import (
    Atom,
    Rule,
    Stuck,
    Walk,
    atom,
    seal,
    seal_stream,
    text,
    type_name,
    whole,
)
from daskperiment.namespace import Namespace

_pack = struct.Struct("<d").pack


def _real(value: float) -> bytes:
    # Machines and operations give NaNs of different signs and payloads.
    return _pack(value) if value == value else b"nan"


def _float(value: float) -> bytes:
    return atom(b"float", _real(value))


def _complex(value: complex) -> bytes:
    return atom(b"complex", _real(value.real) + b"," + _real(value.imag))


def _decimal(value: Decimal) -> bytes:
    # Not str: the letter of its exponent depends on the context of the thread.
    sign, digits, exponent = value.as_tuple()
    return atom(b"Decimal", f"{sign}:{''.join(map(str, digits))}:{exponent}".encode())


def _range(value: range) -> bytes:
    length = max(0, -((value.start - value.stop) // value.step))  # len() takes no long ranges
    canonical = (length, *value[:1], value.step if length > 1 else 0)
    return seal(b"range", *map(whole, canonical))


def path_text(value: PurePath) -> bytes:
    """The form of a path by its text alone."""
    return atom(b"path", value.as_posix().encode("utf-8", "surrogatepass"))


ATOMS: Mapping[type, Atom] = {
    type(None): lambda value: b"None:",
    type(Ellipsis): lambda value: b"Ellipsis:",
    type(NotImplemented): lambda value: b"NotImplemented:",
    bool: lambda value: b"True:" if value else b"False:",
    int: whole,
    float: _float,
    complex: _complex,
    str: text,
    bytes: lambda value: atom(b"bytes", value),
    bytearray: lambda value: atom(b"bytearray", value),
    Decimal: _decimal,
    Fraction: lambda value: seal(b"Fraction", *map(whole, value.as_integer_ratio())),
    UUID: lambda value: atom(b"UUID", value.bytes),
    range: _range,
    datetime.date: lambda value: atom(b"date", value.isoformat().encode()),
    datetime.timedelta: lambda value: seal(
        b"timedelta", *map(whole, (value.days, value.seconds, value.microseconds))
    ),
    PurePosixPath: path_text,
    PureWindowsPath: path_text,
}
"""The makers of forms of values that hold no others, by exact type."""


def zone(tz: datetime.tzinfo | None) -> str:
    """The name of a time zone, the same for zoneinfo and pytz; `Stuck` for any other class."""
    if tz is None:
        return "naive"
    if isinstance(tz, datetime.timezone):
        return "UTC" if tz == datetime.UTC else f"{tz} {tz.utcoffset(None)}"
    named = type(tz) is ZoneInfo and tz.key is not None
    if named or type(tz).__module__.partition(".")[0] == "pytz":
        return str(tz)
    raise Stuck(type_name(type(tz)))


def moment(tag: bytes, value: Any) -> bytes:
    """The form of a time or date with its fold and zone."""
    return atom(tag, f"{value.isoformat()} {value.fold} {zone(value.tzinfo)}".encode())


def _memoryview(walk: Walk, value: memoryview) -> bytes:
    shape = walk.sequence(value.shape or ())
    return seal_stream(b"memoryview", (text(value.format), shape, _flat(value)), value.nbytes)


def _flat(view: memoryview) -> memoryview | bytes:
    try:
        return view.cast("B")
    except (TypeError, ValueError):  # of some layouts and formats, and where it is empty
        return view.tobytes()


def _array(walk: Walk, value: array[Any]) -> bytes:
    if sys.byteorder == "big":
        value = value[:]
        value.byteswap()
    view = memoryview(value)
    parts = text(value.typecode), whole(value.itemsize), _flat(view)
    return seal_stream(b"array.array", parts, view.nbytes)


def _dict(walk: Walk, value: dict[Any, Any]) -> bytes:
    return seal(b"dict", walk.pairs(value.items()))


def _random(walk: Walk, value: Random) -> bytes:
    return seal(b"Random", walk.encode(value.getstate()))


def _zone(walk: Walk, value: datetime.tzinfo) -> bytes:
    return atom(b"tzinfo", zone(value).encode())


def _secret(walk: Walk, value: secrets.Secret) -> bytes:
    walk.keyed = True
    return atom(b"secret", secrets.keyed_digest(walk.encode(value.reveal())))


RULES: Mapping[type, Rule] = {
    secrets.Secret: _secret,
    secrets.Hidden: _secret,
    list: lambda walk, value: seal(b"list", walk.sequence(value)),
    tuple: lambda walk, value: seal(b"tuple", walk.sequence(value)),
    dict: _dict,
    Namespace: _dict,
    set: lambda walk, value: seal(b"set", walk.unordered(value)),
    frozenset: lambda walk, value: seal(b"frozenset", walk.unordered(value)),
    OrderedDict: lambda walk, value: seal(b"OrderedDict", walk.sequence(value.items())),
    Counter: lambda walk, value: seal(b"Counter", walk.pairs(value.items())),
    defaultdict: lambda walk, value: seal(
        b"defaultdict", walk.encode(value.default_factory), walk.pairs(value.items())
    ),
    deque: lambda walk, value: seal(b"deque", walk.encode(value.maxlen), walk.sequence(value)),
    types.MappingProxyType: lambda walk, value: seal(b"mappingproxy", walk.pairs(value.items())),
    slice: lambda walk, value: seal(b"slice", walk.sequence((value.start, value.stop, value.step))),
    memoryview: _memoryview,
    array: _array,
    datetime.datetime: lambda walk, value: moment(b"datetime", value),
    datetime.time: lambda walk, value: moment(b"time", value),
    datetime.timezone: _zone,
    ZoneInfo: _zone,
    Pattern: lambda walk, value: seal(b"Pattern", walk.sequence((value.pattern, value.flags))),
    Random: _random,
}
"""The rules of values that hold others, or that may run code of the user, by exact type."""
