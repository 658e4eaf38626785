"""Plain data as strict JSON that reads back as equal values of the same types.

What JSON lacks is an object with the tag ``$`` and the content ``v``, such as
``{"$": "tuple", "v": [1, 2]}``.  Equality is kept, identity is not: a list that occurs twice
reads back as two lists.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from json import dumps
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from daskperiment.errors import DaskperimentError, PayloadError
from daskperiment.namespace import Namespace
from daskperiment.typing import JSON

DEEPEST = 64
MOST_REPEATS = 100_000


class NotPlain(DaskperimentError, TypeError):  # noqa: N818 - a fact, mostly no error
    """The value holds something that JSON cannot give back exactly."""


def to_json(value: object) -> JSON:
    """`value` as strict JSON, for `from_json`.

    Plain are None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict
    with any plain keys, datetime, date, time, timedelta, Decimal, UUID and the scalars of
    NumPy; of their subclasses only Namespace, which reads back as the plain dict.

    Raises
    ------
    NotPlain
        Some part is of another type, holds itself, or is nested deeper than 64 levels.

    Examples
    --------
    >>> to_json({"shape": (569, 30), "loss": float("inf")})
    {'shape': {'$': 'tuple', 'v': [569, 30]}, 'loss': {'$': 'float', 'v': 'inf'}}
    """
    return _Writer().write(value, 0)


def from_json(json: JSON) -> Any:
    """The value that `to_json` wrote.  No code that `json` names is ever run.

    Raises
    ------
    PayloadError
        `json` is not what `to_json` writes.

    Examples
    --------
    >>> from_json({"$": "tuple", "v": [1, {"$": "int", "v": "-10000000000000000"}]})
    (1, -18446744073709551616)
    """
    try:
        return _read(json, 0)
    except Exception as error:
        raise PayloadError(f"the JSON of a value cannot be read: {error!r:.200}") from error


class _Writer:
    def __init__(self) -> None:
        self._met: set[int] = set()
        self._repeats = 0

    def write(self, value: Any, level: int) -> JSON:
        kind = type(value)
        leaf = _LEAVES.get(kind)
        if leaf is not None:
            return leaf(value)
        if kind is Namespace:
            kind = dict
        if kind not in (list, tuple, dict, set, frozenset):
            return _numpy(value)
        self._enter(value, level)
        if kind is dict:
            return self._dict(value, level)
        items = [self.write(item, level + 1) for item in value]
        if kind is list:
            return items
        # The order of a set differs from process to process; equal sets give equal text.
        return _tag(kind.__name__, items if kind is tuple else sorted(items, key=dumps))

    def _enter(self, value: object, level: int) -> None:
        """Make cycles, and containers shared in a way that doubles at each level, end."""
        if level == DEEPEST:
            raise NotPlain(f"it holds itself or is nested deeper than {DEEPEST} levels")
        self._repeats += id(value) in self._met
        self._met.add(id(value))
        if self._repeats > MOST_REPEATS:
            raise NotPlain("it repeats its parts too often")

    def _dict(self, value: dict[Any, Any], level: int) -> JSON:
        pairs = [[self.write(key, level + 1), self.write(value[key], level + 1)] for key in value]
        if all(type(key) is str and key != "$" for key, _ in pairs):
            return dict(pairs)
        return _tag("dict", pairs)


def _tag(tag: str, content: JSON) -> JSON:
    return {"$": tag, "v": content}


def _int(value: int) -> JSON:
    # Hexadecimal has no limit of digits and takes linear time.
    return value if -(2**63) <= value < 2**63 else _tag("int", f"{value:x}")


def _float(value: float) -> JSON:
    return value if math.isfinite(value) else _tag("float", repr(value))


def _str(value: str) -> JSON:
    try:
        value.encode()
    except UnicodeEncodeError:  # lone surrogates, which stores of UTF-8 refuse
        return _tag("str", value.encode("utf-8", "surrogatepass").hex())
    return value


def _moment(value: datetime | time) -> JSON:
    local = value.replace(tzinfo=None, fold=0).isoformat()
    return _tag(type(value).__name__, [local, value.fold, _zone(value.tzinfo)])


def _zone(tz: tzinfo | None) -> JSON:
    if type(tz) is timezone:
        offset, *name = tz.__getinitargs__()  # type: ignore[attr-defined]
        return [offset.days, offset.seconds, offset.microseconds, *map(_str, name)]
    if tz is None or (type(tz) is ZoneInfo and tz.key is not None):
        return tz and tz.key
    raise NotPlain(f"a time zone of type {type(tz).__qualname__}")


def _numpy(value: Any) -> JSON:
    if type(value).__module__ == "numpy":
        import numpy as np

        if type(value) is np.str_:  # its own str(), and arrays, drop the last NULs
            return _tag("numpy.str_", _str(str.__str__(value)))
        if type(value) is np.bytes_:
            return _tag("numpy.bytes_", b64encode(value).decode())
        # The bytes of a long double mean something else on another machine.
        if isinstance(value, np.generic) and value.dtype.char not in "gGOV":
            return _tag("numpy", [value.dtype.str, b64encode(value.tobytes()).decode()])
    raise NotPlain(f"a part is of type {type(value).__qualname__}")


_LEAVES: Mapping[type, Callable[[Any], JSON]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    int: _int,
    float: _float,
    str: _str,
    complex: lambda value: _tag("complex", [_float(value.real), _float(value.imag)]),
    bytes: lambda value: _tag("bytes", b64encode(value).decode()),
    datetime: _moment,
    time: _moment,
    date: lambda value: _tag("date", value.isoformat()),
    timedelta: lambda value: _tag("timedelta", [value.days, value.seconds, value.microseconds]),
    Decimal: lambda value: _tag("Decimal", str(value)),
    UUID: lambda value: _tag("UUID", value.hex),
}


def _read(json: JSON, level: int) -> Any:
    if level > DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    if type(json) is list:
        return _each(json, level)
    if type(json) is not dict:
        return json
    if "$" in json:
        return _READERS[json["$"]](json["v"], level)
    return {key: _read(value, level + 1) for key, value in json.items()}


def _each(items: Iterable[JSON], level: int) -> list[Any]:
    return [_read(item, level + 1) for item in items]


def _read_dict(pairs: JSON, level: int) -> dict[Any, Any]:
    return dict(_each(pair, level) for pair in pairs)


def _read_zone(zone: JSON) -> tzinfo | None:
    if type(zone) is list:
        return timezone(timedelta(*zone[:3]), *map(from_json, zone[3:]))
    return zone and ZoneInfo(zone)


def _read_datetime(content: JSON, level: int) -> datetime:
    local, fold, zone = content
    return datetime.fromisoformat(local).replace(fold=fold, tzinfo=_read_zone(zone))


def _read_time(content: JSON, level: int) -> time:
    local, fold, zone = content
    return time.fromisoformat(local).replace(fold=fold, tzinfo=_read_zone(zone))


def _read_numpy(content: JSON, level: int) -> Any:
    import numpy as np

    dtype, data = np.dtype(content[0]), b64decode(content[1], validate=True)
    if dtype.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes are no NumPy {dtype}")
    return np.frombuffer(data, dtype)[0]  # which refuses objects: they would be addresses


def _read_numpy_text(content: JSON, level: int) -> Any:
    import numpy as np

    return np.str_(_read(content, level))


def _read_numpy_bytes(content: JSON, level: int) -> Any:
    import numpy as np

    return np.bytes_(b64decode(content, validate=True))


_READERS: Mapping[str, Callable[[Any, int], Any]] = {
    "int": lambda content, level: int(content, 16),
    "float": lambda content, level: float(content),
    "str": lambda content, level: bytes.fromhex(content).decode("utf-8", "surrogatepass"),
    "complex": lambda content, level: complex(*map(from_json, content)),
    "bytes": lambda content, level: b64decode(content, validate=True),
    "tuple": lambda content, level: tuple(_each(content, level)),
    "set": lambda content, level: set(_each(content, level)),
    "frozenset": lambda content, level: frozenset(_each(content, level)),
    "dict": _read_dict,
    "datetime": _read_datetime,
    "time": _read_time,
    "date": lambda content, level: date.fromisoformat(content),
    "timedelta": lambda content, level: timedelta(*content),
    "Decimal": lambda content, level: Decimal(content),
    "UUID": lambda content, level: UUID(content),
    "numpy": _read_numpy,
    "numpy.str_": _read_numpy_text,
    "numpy.bytes_": _read_numpy_bytes,
}
