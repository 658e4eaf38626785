"""A spark: a long series of numbers as a few, and as a small line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import NamedTuple

MOST = 40
"""Values of a spark."""
_WIDTH, _HEIGHT, _MARGIN = 96, 20, 3


class _Bucket(NamedTuple):
    """The least and the highest of some successive values, in their order."""

    first: float
    second: float

    @property
    def values(self) -> tuple[float | None, ...]:
        return (None, None) if math.isnan(self.first) else tuple(self)


class Spark:
    """A series that is thinned while it grows, so that its highs and lows stay.

    It does not depend on how the values came, one by one or many at a time.  Values that are
    not finite leave a gap.

    Examples
    --------
    >>> spark = Spark()
    >>> spark.extend([1, 2.5, float("nan"), 4])
    >>> spark.values()
    [1.0, 2.5, None, 4.0]
    >>> spark.extend([0] * 1000 + [7] + [0] * 1000)
    >>> len(spark.values()) <= 40, max(v for v in spark.values() if v is not None)
    (True, 7.0)
    """

    __slots__ = ("_buckets", "_last", "_width")

    def __init__(self) -> None:
        self._buckets: list[_Bucket] = []
        self._width = 1  # values of a bucket
        self._last = 0  # values of the last bucket

    def extend(self, values: Iterable[float]) -> None:
        """Add values at the end."""
        for value in values:
            number = float(value) if math.isfinite(value) else math.nan
            if self._buckets and self._last < self._width:
                self._buckets[-1] = _joined(self._buckets[-1], _Bucket(number, number))
                self._last += 1
                continue
            while len(self._buckets) >= (MOST if self._width == 1 else MOST // 2):
                pairs = zip(self._buckets[::2], self._buckets[1::2], strict=True)
                self._buckets = [_joined(*pair) for pair in pairs]
                self._width *= 2
            self._buckets.append(_Bucket(number, number))
            self._last = 1

    def values(self) -> list[float | None]:
        """At most 40 values at equal distances, None for a gap."""
        if self._width == 1:
            return [bucket.values[0] for bucket in self._buckets]
        return [value for bucket in self._buckets for value in bucket.values]


def _joined(one: _Bucket, other: _Bucket) -> _Bucket:
    if math.isnan(one.first):
        return other
    if math.isnan(other.first):
        return one
    values = (*one, *other)
    low, high = values.index(min(values)), values.index(max(values))
    return _Bucket(values[min(low, high)], values[max(low, high)])


def sparkline(values: Iterable[float | None], title: str = "") -> str:
    """A series as a small line: SVG, as wide for any number of values.

    Parameters
    ----------
    values : iterable of float or None
        More than 40 are thinned, highs and lows stay.  None, NaN and infinities leave a gap.
    title : str
        What is shown when one points at it.

    Returns
    -------
    str
        Empty where there is no finite value.

    Examples
    --------
    >>> sparkline([3, 2, float("nan"), 1]).count("<polyline")
    1
    >>> sparkline([])
    ''
    """
    spark = Spark()
    spark.extend(math.nan if value is None else value for value in values)
    shown = spark.values()
    finite = [value for value in shown if value is not None]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    # Half of each, since the whole span of floats is none itself.
    span = high / 2 - low / 2
    step = (_WIDTH - 2 * _MARGIN) / max(1, len(shown) - 1)
    left = _MARGIN if len(shown) > 1 else _WIDTH - _MARGIN  # the last one is always at the right

    def point(place: int, value: float) -> tuple[float, float]:
        part = (value / 2 - low / 2) / span if span else 0.5
        return left + place * step, _HEIGHT - _MARGIN - part * (_HEIGHT - 2 * _MARGIN)

    runs: list[list[tuple[float, float]]] = [[]]
    for place, value in enumerate(shown):
        if value is not None:
            runs[-1].append(point(place, value))
        elif runs[-1]:
            runs.append([])
    lines = [
        f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in run)}"/>'
        for run in runs
        if len(run) > 1
    ]
    dots = [_dot(*run[0], 1.2) for run in runs if len(run) == 1]
    if runs[-1]:
        dots.append(_dot(*runs[-1][-1], 2))
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        ' fill="none" stroke="#4a86c8" stroke-width="1.5" stroke-linejoin="round"'
        ' stroke-linecap="round" style="vertical-align:middle">'
        f"<title>{escape(title)}</title>{''.join(lines)}{''.join(dots)}</svg>"
    )


def _dot(x: float, y: float, radius: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="#4a86c8" stroke="none"/>'
