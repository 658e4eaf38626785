"""Ranges of numbers: all of them, those a step apart, or a given count."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar

from daskperiment.errors import SearchSpaceError
from daskperiment.search.distribution import Distribution, infinite, place
from daskperiment.search.values import MOST, flag, integer, is_number, positive, real

_CLOSE = 1e-9
_EXPONENTS = 308


@dataclass(frozen=True, eq=False)
class Float(Distribution):
    """Floats from `low` to `high`, each equally likely; with `log`, each order of magnitude.

    Parameters
    ----------
    low, high : float
        Both ends, included.
    log : bool
        Whether logarithms are equally likely; `low` must be above 0.
    step : float, optional
        Only ``low``, ``low + step`` and so on, in decimal arithmetic; ``high`` is one of them if
        it is hit.  Not together with `log`.

    Examples
    --------
    >>> list(Float(0, 0.3, step=0.1).values())
    [0.0, 0.1, 0.2, 0.3]
    >>> Float(1e-4, 1, log=True).quantile(0.5)
    0.01...
    """

    type: ClassVar[str] = "float"
    low: float
    high: float
    log: bool = field(default=False, kw_only=True)
    step: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        step = None if self.step is None else positive("step", self.step)
        low, high, log = real("low", self.low), real("high", self.high), flag("log", self.log)
        self._keep(low=low, high=high, log=log, step=step)
        _check(self)
        real("high - low", high - low)

    @cached_property
    def _size(self) -> int | float:
        if self.step is None:
            return math.inf
        return int((_exact(self.high) - _exact(self.low)) // _exact(self.step)) + 1

    def _values(self) -> Iterator[float]:
        if self.step is None:
            raise infinite(self, "give it a step, use Linspace or Logspace,")
        return map(self._at, range(int(self._size)))

    def _quantile(self, fraction: float) -> float:
        if self.step is not None:
            return self._at(place(fraction, int(self._size)))
        if fraction in (0.0, 1.0):  # which rounding would miss
            return (self.low, self.high)[int(fraction)]
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            value = math.exp(low + fraction * (high - low))
        else:
            value = self.low + fraction * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def _contains(self, value: Any) -> bool:
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        return bool(abs(value - self._at(self._index(value))) <= _CLOSE * self.step)

    @property
    def _domain(self) -> dict[str, Any]:
        high = self.high if self.step is None else self._at(int(self._size) - 1)
        return {"kind": "float", "low": self.low, "high": high, "log": self.log, "step": self.step}

    def _fraction(self, value: float) -> float:
        if self.step is not None:
            return (self._index(value) + 0.5) / int(self._size)
        if self.log:
            span = math.log(self.high) - math.log(self.low)
            return _within((math.log(value) - math.log(self.low)) / span if span else 0.5)
        return _within((value - self.low) / (self.high - self.low))

    def _index(self, value: float) -> int:
        steps = round((_exact(float(value)) - _exact(self.low)) / _exact(self.step or 1))
        return min(steps, int(self._size) - 1)

    def _at(self, index: int) -> float:
        return float(_exact(self.low) + index * _exact(self.step or 0))


@dataclass(frozen=True, eq=False)
class Int(Distribution):
    """Integers from `low` to `high`, each equally likely; with `log`, each order of magnitude.

    Parameters
    ----------
    low, high : int
        Both ends, included.
    log : bool
        Whether logarithms are equally likely; `low` must be above 0.
    step : int
        Only ``low``, ``low + step`` and so on; ``high`` is one of them if it is hit.  Not
        together with `log`.

    Examples
    --------
    >>> list(Int(1, 3).values()), list(Int(0, 10, step=4).values())
    ([1, 2, 3], [0, 4, 8])
    """

    type: ClassVar[str] = "int"
    low: int
    high: int
    log: bool = field(default=False, kw_only=True)
    step: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        low, high = integer("low", self.low), integer("high", self.high)
        step = integer("step", positive("step", self.step))
        self._keep(low=low, high=high, log=flag("log", self.log), step=step)
        _check(self)

    @cached_property
    def _size(self) -> int:
        return (self.high - self.low) // self.step + 1

    def _values(self) -> Iterator[int]:
        return (self.low + index * self.step for index in range(self._size))

    def _quantile(self, fraction: float) -> int:
        if not self.log:
            return self.low + place(fraction, self._size) * self.step
        if fraction == 1.0:  # which rounding would miss
            return self.high
        begin, span = self._logarithmic
        return min(self.low + int(begin * math.expm1(fraction * span)), self.high)

    def _contains(self, value: Any) -> bool:
        if type(value) is not int or not self.low <= value <= self.high:
            return False
        return (value - self.low) % self.step == 0

    @property
    def _domain(self) -> dict[str, Any]:
        high = self.low + (self._size - 1) * self.step
        return {"kind": "int", "low": self.low, "high": high, "log": self.log, "step": self.step}

    def _fraction(self, value: int) -> float:
        if not self.log:
            return ((value - self.low) // self.step + 0.5) / self._size
        begin, span = self._logarithmic
        return _within(math.log1p((value - self.low + 0.5) / begin) / span)

    @property
    def _logarithmic(self) -> tuple[float, float]:
        """Half below `low`, and the logarithm of how many times that half above `high` is.

        So each integer has all that is rounded to it.  What is counted from `low` on is exact also
        where a float is not.
        """
        begin = self.low - 0.5
        return begin, math.log1p((self.high - self.low + 1) / begin)


class _Points(Distribution):
    """A given count of numbers, in rising order, each equally likely."""

    start: float
    stop: float
    count: int
    integer: bool

    def __post_init__(self) -> None:
        start, stop = real("start", self.start), real("stop", self.stop)
        count = integer("count", self.count)
        self._keep(start=start, stop=stop, count=count, integer=flag("integer", self.integer))
        if start >= stop:
            raise SearchSpaceError(f"stop must be above start={start!r}, not {stop!r}")
        if count < 2:
            raise SearchSpaceError(f"count must be 2 or more, not {count}; use Constant for 1")
        if count > MOST:
            raise SearchSpaceError(f"count must be at most {MOST}, not {count}; use Float or Int")
        for name, end in (("start", 0), ("stop", 1)):
            value = real(name, self._at(Fraction(end)))
            if self.integer:
                integer(name, round(value))

    def _at(self, part: Fraction) -> float:
        raise NotImplementedError

    def _between(self, part: Fraction) -> float:
        start, width = self._line
        return float(start + part * width)

    @cached_property
    def _line(self) -> tuple[Fraction, Fraction]:
        return _exact(self.start), _exact(self.stop) - _exact(self.start)

    @cached_property
    def points(self) -> tuple[float | int, ...]:
        """The numbers."""
        numbers = (self._at(Fraction(i, self.count - 1)) for i in range(self.count))
        return tuple(dict.fromkeys(map(round, numbers) if self.integer else numbers))

    @property
    def _size(self) -> int:
        return len(self.points)

    def _values(self) -> Iterator[float | int]:
        return iter(self.points)

    def _quantile(self, fraction: float) -> float | int:
        return self.points[place(fraction, self._size)]

    def _contains(self, value: Any) -> bool:
        if not is_number(value):
            return False
        nearest = self.points[self._index(value)]
        if self.integer:
            return type(value) is int and value == nearest
        return math.isclose(value, nearest, rel_tol=_CLOSE)

    @property
    def _domain(self) -> dict[str, Any]:
        return {"kind": "categorical", "choices": list(self.points)}

    def _fraction(self, value: float) -> float:
        return (self._index(value) + 0.5) / self._size

    def _index(self, value: float) -> int:
        """Of the point that is nearest."""
        behind = min(max(bisect_left(self.points, value), 1), self._size - 1)
        return min(max(behind - 1, 0), behind, key=lambda index: abs(self.points[index] - value))


@dataclass(frozen=True, eq=False)
class Linspace(_Points):
    """So many numbers, equally far apart, each equally likely; as ``numpy.linspace``.

    Parameters
    ----------
    start, stop : float
        The first and the last number.
    count : int
        How many, at least 2.
    integer : bool
        Whether they are rounded to integers; duplicates are dropped then.

    Examples
    --------
    >>> list(Linspace(0, 1, 5).values())
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> list(Linspace(1, 3, 5, integer=True).values())
    [1, 2, 3]
    """

    type: ClassVar[str] = "linspace"
    start: float
    stop: float
    count: int
    integer: bool = field(default=False, kw_only=True)

    def _at(self, part: Fraction) -> float:
        return self._between(part)


@dataclass(frozen=True, eq=False)
class Logspace(_Points):
    """So many powers of ten, each equally likely; as ``numpy.logspace``.

    Parameters
    ----------
    start, stop : float
        Exponents of the first and of the last number.
    count : int
        How many, at least 2.
    integer : bool
        Whether they are rounded to integers; duplicates are dropped then.

    Examples
    --------
    >>> list(Logspace(-3, -1, 3).values())
    [0.001, 0.01, 0.1]
    """

    type: ClassVar[str] = "logspace"
    start: float
    stop: float
    count: int
    integer: bool = field(default=False, kw_only=True)

    def _at(self, part: Fraction) -> float:
        exponent = self._between(part)
        if abs(exponent) > _EXPONENTS:
            raise SearchSpaceError(
                f"start and stop are exponents from -{_EXPONENTS} to {_EXPONENTS}, not {exponent!r}"
            )
        if exponent.is_integer():  # as it is written: the power may differ in its last digit
            return float(f"1e{exponent:.0f}")
        return float(10.0**exponent)


def _check(distribution: Float | Int) -> None:
    low, high, step = distribution.low, distribution.high, distribution.step
    if low >= high:
        advice = f"; use Constant({low!r}) for one value" if low == high else ""
        raise SearchSpaceError(f"high must be above low={low!r}, not {high!r}{advice}")
    if distribution.log and low <= 0:
        raise SearchSpaceError(f"low must be above 0 where log is True, not {low!r}")
    if distribution.log and step not in (None, 1):
        raise SearchSpaceError("step does not go together with log; leave one of them out")
    if isinstance(step, float) and step < 2 * math.ulp(max(abs(low), abs(high))):
        raise SearchSpaceError(f"step is too small for floats as large as these: {step!r}")
    if step is not None and step > high - low:
        raise SearchSpaceError(f"step must be at most high - low, {high - low!r}, not {step!r}")


def _exact(value: float) -> Fraction:
    """The number that people read: 0.1 is one tenth."""
    return Fraction(repr(value))


def _within(fraction: float) -> float:
    return min(max(fraction, 0.0), 1.0)
