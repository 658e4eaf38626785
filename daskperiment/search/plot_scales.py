"""Scales: where a value stands on an axis of a plot, from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from daskperiment.search.distribution import Distribution
from daskperiment.search.values import canonical, unique
from daskperiment.serializers import preview

_WIDE = 1000.0
"""From which ratio of positive values on an axis is logarithmic."""
_SMALLEST = 1e-100
"""Far below it, axes with their margins and ticks do not fit into floats."""
_CATEGORIES = 12
"""How many of them are written at an axis."""


@dataclass(frozen=True)
class Scale:
    """The scale of one axis.

    Parameters
    ----------
    low, high : float
        Its ends, NaN where there is nothing to show; not of categories.
    log : bool
        Whether it is logarithmic.
    categories : sequence, optional
        The values themselves, where they have no order.

    Examples
    --------
    >>> Scale(0, 4).place(1), Scale(1, 100, log=True).place(10), Scale(3, 3).place(3)
    (0.25, 0.5, 0.5)
    >>> Scale(categories=("a", "b", "c")).place("b")
    0.5
    """

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    categories: Sequence[Any] = ()
    _places: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        places = {canonical(each): index for index, each in enumerate(self.categories)}
        object.__setattr__(self, "_places", places)

    def place(self, value: Any) -> float:
        """Where a value stands."""
        if self.categories:
            return _between(self._places[canonical(value)], 0, len(self.categories) - 1)
        if self.log:
            return _between(math.log(value), math.log(self.low), math.log(self.high))
        return _between(float(value), self.low, self.high)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """What is written at the axis, and where."""
        if self.categories:
            every = math.ceil(len(self.categories) / _CATEGORIES)
            shown = self.categories[::every]
            return [(self.place(each), _text(each)) for each in shown]
        if math.isnan(self.low):
            return []
        middle = math.sqrt(self.low) * math.sqrt(self.high) if self.log else None
        middle = self.low / 2 + self.high / 2 if middle is None else middle
        values = [self.low] if self.low == self.high else [self.low, middle, self.high]
        return [(self.place(each), f"{each:.4g}") for each in values]


def scale_of(distributions: Sequence[Distribution], seen: Iterable[Any]) -> Scale:
    """The scale of a parameter that has these distributions, and these values in trials.

    Examples
    --------
    >>> from daskperiment.search import Float, Normal
    >>> scale_of([Float(0.1, 10, log=True)], [])
    Scale(low=0.1, high=10.0, log=True, categories=())
    >>> scale_of([Normal(0, 1)], [-1.5, 0.5])
    Scale(low=-1.5, high=0.5, log=False, categories=())
    """
    domains = [each.domain for each in distributions]
    known = list(seen)
    if any(domain["kind"] == "categorical" for domain in domains):
        named = [each for domain in domains for each in domain.get("choices", ())]
        return Scale(categories=unique([*named, *known]))
    ends = [end for domain in domains for end in (domain["low"], domain["high"])]
    numbers = [float(each) for each in (*ends, *known) if math.isfinite(each)] or [0.0]
    log = all(domain["log"] for domain in domains) and min(numbers) > 0
    return Scale(min(numbers), max(numbers), log)


def value_scale(values: Sequence[float]) -> Scale:
    """The scale of what trials have given.

    Examples
    --------
    >>> value_scale([2.0, 1.0]), value_scale([0.001, 100.0]).log, value_scale([-1.0, 1e6]).log
    (Scale(low=1.0, high=2.0, log=False, categories=()), True, False)
    """
    if not values:
        return Scale(math.nan, math.nan)
    low, high = min(values), max(values)
    return Scale(low, high, log=low > _SMALLEST and high / low >= _WIDE)


def shortened(text: str, length: int) -> str:
    """A text of at most so many characters, without its middle where it is longer.

    Examples
    --------
    >>> shortened("a_very_long_name", 9)
    'a_ve…name'
    """
    if len(text) <= length:
        return text
    kept = length - 1
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def _text(value: Any) -> str:
    printable = isinstance(value, str) and value.isprintable()
    return str(value) if printable else preview(value, 40)


def _between(value: float, low: float, high: float) -> float:
    """The part of the way from one end to the other; halves, as the way may be too long."""
    if low == high:
        return 0.5
    return (value / 2 - low / 2) / (high / 2 - low / 2)
