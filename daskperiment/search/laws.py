"""Laws of chance whose values have no, or only one, end."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from statistics import NormalDist
from typing import Any, ClassVar

from daskperiment.errors import SearchSpaceError
from daskperiment.search.distribution import Distribution, infinite
from daskperiment.search.values import is_number, positive, real

_LEAST = 2.0**-53  # the smallest step of random(): beyond it are 8.2 standard deviations
_FARTHEST = 9
_MOST = 1e6


class _Law(Distribution):
    _low: ClassVar[float] = 0.0

    @property
    def _size(self) -> float:
        return math.inf

    def _values(self) -> Iterator[Any]:
        raise infinite(self, "use Categorical, Linspace or Logspace,")

    def _contains(self, value: Any) -> bool:
        return is_number(value) and bool(value >= self._low)

    @property
    def _domain(self) -> dict[str, Any]:
        ends = {"low": self._low, "high": math.inf}
        return {"kind": "float", **ends, "log": False, "step": None}


@dataclass(frozen=True, eq=False)
class Normal(_Law):
    """Floats around `mean`, two thirds of them within `sd`.

    Parameters
    ----------
    mean : float
        Mean.
    sd : float
        Standard deviation, not the variance.

    Examples
    --------
    >>> Normal(10, 2).quantile(0.5)
    10.0
    """

    type: ClassVar[str] = "normal"
    _low: ClassVar[float] = -math.inf
    mean: float
    sd: float

    def __post_init__(self) -> None:
        self._keep(mean=real("mean", self.mean), sd=positive("sd", self.sd))
        real("mean or sd", abs(self.mean) + _FARTHEST * self.sd)

    def _quantile(self, fraction: float) -> float:
        return NormalDist(self.mean, self.sd).inv_cdf(_inside(fraction))

    def _fraction(self, value: float) -> float:
        return NormalDist(self.mean, self.sd).cdf(value)


@dataclass(frozen=True, eq=False)
class LogNormal(_Law):
    """Floats above 0 whose natural logarithms are normal.

    Parameters
    ----------
    mean, sd : float
        Mean and standard deviation of the logarithm.

    Examples
    --------
    >>> LogNormal(0, 1).quantile(0.5)
    1.0
    """

    type: ClassVar[str] = "lognormal"
    mean: float
    sd: float

    def __post_init__(self) -> None:
        self._keep(mean=real("mean", self.mean), sd=positive("sd", self.sd))
        if abs(self.mean) + _FARTHEST * self.sd > 700:
            raise SearchSpaceError(
                "mean and sd are those of the natural logarithm, and too large for floats: "
                f"{self.mean!r} and {self.sd!r}"
            )

    def _quantile(self, fraction: float) -> float:
        return math.exp(NormalDist(self.mean, self.sd).inv_cdf(_inside(fraction)))

    def _contains(self, value: Any) -> bool:
        return super()._contains(value) and value > 0

    def _fraction(self, value: float) -> float:
        return NormalDist(self.mean, self.sd).cdf(math.log(value))


@dataclass(frozen=True, eq=False)
class Exponential(_Law):
    """Floats from 0, of this mean, the smaller the likelier.

    Parameters
    ----------
    mean : float
        Mean, which is one divided by the rate.

    Examples
    --------
    >>> Exponential(5).quantile(0.5) / 5
    0.693...
    """

    type: ClassVar[str] = "exponential"
    mean: float

    def __post_init__(self) -> None:
        self._keep(mean=positive("mean", self.mean))
        real("mean", 40 * self.mean)

    def _quantile(self, fraction: float) -> float:
        return -self.mean * math.log1p(-min(fraction, 1 - _LEAST))

    def _fraction(self, value: float) -> float:
        return -math.expm1(-value / self.mean)


@dataclass(frozen=True, eq=False)
class Poisson(_Law):
    """Integers from 0: how often something happens that happens `mean` times on average.

    Parameters
    ----------
    mean : float
        Mean, at most a million.

    Examples
    --------
    >>> Poisson(3).quantile(0.5)
    3
    """

    type: ClassVar[str] = "poisson"
    mean: float

    def __post_init__(self) -> None:
        self._keep(mean=positive("mean", self.mean))
        if self.mean > _MOST:
            raise SearchSpaceError(
                f"mean must be at most {_MOST:.0f}, not {self.mean!r}; from there on "
                "Normal(mean, mean**0.5) is as good"
            )

    @cached_property
    def _table(self) -> tuple[int, list[float]]:
        """The first number that ever comes, and the probabilities of at most it and the next."""
        reach = 12 * math.sqrt(self.mean) + 30
        first, last = max(0, int(self.mean - reach)), int(self.mean + reach)
        logarithm = math.log(self.mean)
        terms = (math.exp(k * logarithm - self.mean - math.lgamma(k + 1))
                 for k in range(first, last + 1))  # fmt: skip
        return first, list(accumulate(terms))

    def _quantile(self, fraction: float) -> int:
        first, cumulative = self._table
        return first + bisect_left(cumulative, min(fraction, cumulative[-1] - 1e-15))

    def _contains(self, value: Any) -> bool:
        return type(value) is int and 0 <= value < 2**63

    @property
    def _domain(self) -> dict[str, Any]:
        return {"kind": "int", "low": 0, "high": math.inf, "log": False, "step": 1}

    def _fraction(self, value: int) -> float:
        """The middle of the fractions that give it."""
        first, cumulative = self._table
        place = min(max(value - first, 0), len(cumulative) - 1)
        below = cumulative[place - 1] if place else 0.0
        return min((below + cumulative[place]) / 2, 1.0)


def _inside(fraction: float) -> float:
    return min(max(fraction, _LEAST), 1 - _LEAST)
