"""Values of parameters: plain data, as every format of file has it."""

from __future__ import annotations

import difflib
import json
import math
import numbers
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from daskperiment.errors import SearchSpaceError
from daskperiment.serializers import preview

_DEEPEST = 64
_INTEGERS = 2**63
_LARGEST = sys.float_info.max
MOST = 10**6
"""Values that a distribution lists at most: they are in memory."""


def plain(value: Any, depth: int = 0) -> Any:
    """A copy of the value as JSON has it: a tuple is a list, a scalar of NumPy a number.

    Raises
    ------
    SearchSpaceError
        Some part is no plain data, or no finite number.

    Examples
    --------
    >>> plain((1, [2.0, None], {"a": "text"}))
    [1, [2.0, None], {'a': 'text'}]
    """
    value = listed(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(str.__str__(value))  # that of an Enum is its name
    if isinstance(value, (int, float)):
        return integer("a value", value) if isinstance(value, int) else real("a value", value)
    if depth < _DEEPEST and isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    if depth < _DEEPEST and isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return {_text(str(key)): plain(item, depth + 1) for key, item in value.items()}
    raise SearchSpaceError(
        "a value must be plain data (None, a bool, a number, text, or a list or mapping of these), "
        f"not {preview(value, 80)}"
    )


def listed(value: Any) -> Any:
    """The value; an array or scalar of NumPy as lists and scalars of Python."""
    is_numpy = type(value).__module__ == "numpy" and hasattr(value, "tolist")
    return value.tolist() if is_numpy else value


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SearchSpaceError(f"{preview(value, 80)} cannot be written as UTF-8") from None
    return value


def copied(value: Any) -> Any:
    """A copy of a plain value: who changes it does not change the original."""
    if isinstance(value, list):
        return [copied(item) for item in value]
    return {k: copied(item) for k, item in value.items()} if isinstance(value, dict) else value


def canonical(value: Any) -> str:
    """The text of a plain value: equal for equal ones of equal types, whatever the order of keys.

    Examples
    --------
    >>> canonical({"b": 1, "a": [1.0, True]})
    '{"a":[1.0,true],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def unique(values: Iterable[Any]) -> tuple[Any, ...]:
    """The values without those that equal an earlier one in value and type.

    Examples
    --------
    >>> unique([1, 1.0, 1, [2], [2]])
    (1, 1.0, [2])
    """
    found: dict[str, Any] = {}
    for value in values:
        found.setdefault(canonical(value), value)
    return tuple(found.values())


def real(name: str, value: Any) -> float:
    """The value as a finite float, or raise SearchSpaceError.

    Examples
    --------
    >>> real("low", 1)
    1.0
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise SearchSpaceError(f"{name} must be a number, not {preview(value, 80)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise SearchSpaceError(f"{name} must be a finite number, not {preview(value, 80)}")
    return number


def positive(name: str, value: Any) -> float:
    """The value as a finite float above 0, or raise SearchSpaceError."""
    number = real(name, value)
    if number <= 0:
        raise SearchSpaceError(f"{name} must be above 0, not {number!r}")
    return number


def integer(name: str, value: Any) -> int:
    """The value as an int of 64 bits, if it is whole, or raise SearchSpaceError.

    Examples
    --------
    >>> integer("low", 1e3)
    1000
    """
    number: Any = value if isinstance(value, numbers.Integral) else real(name, value)
    if isinstance(value, bool) or number != int(number):
        raise SearchSpaceError(f"{name} must be a whole number, not {preview(value, 80)}")
    if not -_INTEGERS <= number < _INTEGERS:
        raise SearchSpaceError(f"{name} must be an integer of 64 bits, not {preview(value, 80)}")
    return int(number)


def is_number(value: Any) -> bool:
    """Whether the value is an int or float that a float can be.

    Examples
    --------
    >>> is_number(3), is_number(True), is_number(float("nan")), is_number(10**400)
    (True, False, False, False)
    """
    return type(value) in (int, float) and -_LARGEST <= value <= _LARGEST


def flag(name: str, value: Any) -> bool:
    """The value if it is True or False, or raise SearchSpaceError."""
    if not isinstance(value, bool):
        raise SearchSpaceError(f"{name} must be True or False, not {preview(value, 80)}")
    return value


def nearest(word: Any, known: Iterable[str]) -> str:
    """A hint to a message about a wrong word: the known one that is nearest, or all of them.

    Examples
    --------
    >>> nearest("lo", ["low", "high"]), nearest("x", ["low", "high"])
    ("did you mean 'low'?", 'expected one of high, low')
    """
    lower, known = str(word).lower(), list(known)
    begun = [one for one in known if lower and one.startswith(lower)]
    near = difflib.get_close_matches(lower, known, n=1) or begun
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(sorted(known))}"
