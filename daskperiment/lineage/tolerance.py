"""Tolerance: how far two outputs of a step lie apart, and whether that is near enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class _OtherShapeError(Exception):
    """Two values do not have the same parts."""


def distance(old: Any, new: Any) -> float | None:
    """The largest absolute difference of the numbers in two values of one shape.

    Numbers, arrays, frames, and lists, tuples and dicts of these.  None where the shapes, or
    anything that is no number, differ.  NaN at the same place is equal.

    Examples
    --------
    >>> distance({"a": [1.0, 2.0]}, {"a": [1.0, 2.5]})
    0.5
    >>> distance([1.0], [1.0, 2.0]) is None, distance("a", "b") is None
    (True, True)
    """
    import numpy as np

    largest = 0.0
    try:
        for one, other in _pairs(old, new):
            if one.size:
                same = (one == other) | (np.isnan(one) & np.isnan(other))
                apart = np.abs(np.where(same, 0.0, one) - np.where(same, 0.0, other))
                largest = max(largest, float(apart.max()))
    except _OtherShapeError:
        return None
    return largest


def is_near(old: Any, new: Any, rtol: float, atol: float) -> bool:
    """Whether all numbers of two values of one shape are near, as :func:`numpy.allclose` defines.

    Examples
    --------
    >>> is_near([1.0, 2.0], [1.0, 2.0 + 1e-9], rtol=1e-6, atol=0.0)
    True
    """
    import numpy as np

    try:
        return all(np.allclose(b, a, rtol, atol, equal_nan=True) for a, b in _pairs(old, new))
    except _OtherShapeError:
        return False


def _pairs(old: Any, new: Any) -> Iterator[tuple[Any, Any]]:
    """The numbers of both as arrays, part by part."""
    import numpy as np

    if type(old) is not type(new):
        raise _OtherShapeError
    if isinstance(old, Mapping):
        yield from _mapped(old, new)
    elif isinstance(old, (list, tuple)):
        if len(old) != len(new):
            raise _OtherShapeError
        for one, other in zip(old, new, strict=True):
            yield from _pairs(one, other)
    elif hasattr(old, "columns") and hasattr(old, "to_numpy"):
        if not (old.columns.equals(new.columns) and old.index.equals(new.index)):
            raise _OtherShapeError
        for name in range(len(old.columns)):
            yield from _arrays(old.iloc[:, name].to_numpy(), new.iloc[:, name].to_numpy())
    elif hasattr(old, "index") and hasattr(old, "to_numpy"):
        if not old.index.equals(new.index):
            raise _OtherShapeError
        yield from _arrays(old.to_numpy(), new.to_numpy())
    else:
        yield from _arrays(np.asarray(old), np.asarray(new))


def _mapped(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    if old.keys() != new.keys():
        raise _OtherShapeError
    for key in old:
        yield from _pairs(old[key], new[key])


def _arrays(one: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    import numpy as np

    if one.shape != other.shape:
        raise _OtherShapeError
    if one.dtype.kind in "biufc" and other.dtype.kind in "biufc":
        kind = complex if "c" in one.dtype.kind + other.dtype.kind else float
        yield one.astype(kind), other.astype(kind)
    elif not np.array_equal(one, other):
        raise _OtherShapeError
