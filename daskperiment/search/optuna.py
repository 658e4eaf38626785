"""Distributions as Optuna has them, and back.

>>> from daskperiment.search import Float, Logspace
>>> coded(Float(0.1, 1, log=True)).distribution
FloatDistribution(high=1.0, log=True, low=0.1, step=None)
>>> coded(Logspace(-3, -1, 3)).decode(2)
0.1
"""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from daskperiment.errors import SearchSpaceError
from daskperiment.search.choices import Categorical, Constant, Draws, _Choices
from daskperiment.search.distribution import Distribution
from daskperiment.search.laws import Poisson, _Law
from daskperiment.search.ranges import Float, Int, _Points
from daskperiment.search.values import canonical, copied
from daskperiment.serializers import preview

Given: TypeAlias = "FloatDistribution | IntDistribution | CategoricalDistribution"

_WHOLE = 2**53  # beyond it floats, in which Optuna keeps integers, pass some over
_STEPS = 1e-8  # so much of a step may be missing to the value that Optuna takes it for
_SCALARS = (bool, int, float, str)


@dataclass(frozen=True)
class Coded:
    """A distribution as Optuna has it.

    Parameters
    ----------
    distribution : optuna.distributions.BaseDistribution
        What Optuna samples.
    decode, encode : callable
        The value of a parameter of Optuna, and back.
    """

    distribution: Given
    decode: Callable[[Any], Any]
    encode: Callable[[Any], Any]

    def suggest(self, trial: Trial, name: str) -> Any:
        """The value that a trial of Optuna suggests."""
        given = self.distribution
        if isinstance(given, CategoricalDistribution):
            return self.decode(trial.suggest_categorical(name, given.choices))
        ask: Any = trial.suggest_int if isinstance(given, IntDistribution) else trial.suggest_float
        return self.decode(ask(name, given.low, given.high, step=given.step, log=given.log))


def coded(distribution: Distribution) -> Coded:
    """A distribution as samplers of Optuna take it.

    Numbers of a range are themselves; levels, in their order, are integers from 0; choices are
    themselves where Optuna tells them apart, else their text; and of a law of chance it is the
    fraction of its quantile.
    """
    if isinstance(distribution, Draws):
        return coded(distribution.distribution)
    if isinstance(distribution, Float) and _is_exact(distribution):
        return _float(distribution)
    if isinstance(distribution, Int) and max(-distribution.low, distribution.high) < _WHOLE:
        domain = distribution.domain
        given = IntDistribution(domain["low"], domain["high"], domain["log"], domain["step"])
        return Coded(given, int, int)
    if isinstance(distribution, _Choices):
        return _choices(distribution.choices)
    if distribution.size < _WHOLE:
        return _levels(distribution, int(distribution.size))
    return Coded(
        FloatDistribution(0.0, 1.0),
        lambda fraction: distribution.quantile(min(max(fraction, 0.0), 1.0)),
        lambda value: distribution.encode(value)[0],
    )


def shown(distribution: Distribution, values: Sequence[Any] = ()) -> Coded:
    """A distribution as people look at it: as :func:`coded`, but each number is itself.

    The ends of a law of chance are those that random numbers reach, or the values reach.
    """
    if isinstance(distribution, Draws):
        return shown(distribution.distribution, values)
    if isinstance(distribution, _Points):
        return _choices(distribution.points)
    if not isinstance(distribution, _Law):
        return coded(distribution)
    ends = [*values, distribution.quantile(0), distribution.quantile(1)]
    if isinstance(distribution, Poisson):
        return Coded(IntDistribution(min(ends), max(ends)), int, int)
    return Coded(FloatDistribution(min(ends), max(ends)), float, float)


def from_optuna(given: Sequence[BaseDistribution], values: Sequence[Any]) -> Distribution:
    """The distribution of a parameter that has had these in a study.

    Parameters
    ----------
    given : sequence of optuna.distributions.BaseDistribution
        One or more; of ranges that differ it is all that is between their ends.
    values : sequence
        All that it has had: they decide where its steps are not those of all ranges.

    Raises
    ------
    SearchSpaceError
        They are of several kinds, or hold what is no plain data.

    Examples
    --------
    >>> from_optuna([FloatDistribution(0, 1), FloatDistribution(0, 2)], [])
    Float(low=0.0, high=2.0, log=False, step=None)
    """
    first, kind = given[0], Int if isinstance(given[0], IntDistribution) else Float
    if isinstance(first, CategoricalDistribution) and all(one == first for one in given):
        return Categorical(first.choices)
    ranges: Any = given
    if isinstance(first, CategoricalDistribution) or not all(_alike(first, one) for one in ranges):
        raise SearchSpaceError(f"it has several distributions, {preview(list(given), 200)}")
    low, high = min(one.low for one in ranges), max(one.high for one in ranges)
    if low == high:
        return Constant(low)
    if ranges[0].step is not None and all(one == first for one in ranges):
        stepped = kind(low, high, log=ranges[0].log, step=ranges[0].step)
        if all(map(stepped.contains, values)):
            return stepped
    return kind(low, high, log=ranges[0].log)


def _alike(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one.log == other.log


@contextmanager
def muted() -> Iterator[None]:
    """Let Optuna not log a study that begins in this thread, nor warn of what is experimental.

    What hides warnings is of the whole process: keep it short.
    """
    thread = threading.get_ident()
    logger = logging.getLogger("optuna.storages._in_memory")

    def others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(others)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeFilter(others)


def _is_exact(distribution: Float) -> bool:
    """Whether Optuna, which adds up floats, finds each value that is a step from another."""
    if distribution.step is None:
        return True
    low, high, step = (
        Fraction(repr(number))
        for number in (distribution.low, distribution.domain["high"], distribution.step)
    )
    error = 4 * math.ulp(float(max(abs(low), abs(high))))
    return (high - low) % step == 0 and error <= _STEPS * step


def _float(distribution: Float) -> Coded:
    domain = distribution.domain
    low, step = domain["low"], domain["step"]

    def decode(value: float) -> float:
        if distribution.contains(value):
            return float(value)
        index = round((value - low) / step)
        return float(distribution.quantile((index + 0.5) / distribution.size))

    given = FloatDistribution(low, domain["high"], domain["log"], step)
    return Coded(given, decode, float)


def _levels(distribution: Distribution, count: int) -> Coded:
    return Coded(
        IntDistribution(0, count - 1),
        lambda index: distribution.quantile((index + 0.5) / count),
        lambda value: min(int(distribution.encode(value)[0] * count), count - 1),
    )


def _choices(choices: Sequence[Any]) -> Coded:
    texts = [canonical(choice) for choice in choices]
    plain = all(choice is None or isinstance(choice, _SCALARS) for choice in choices)
    names = list(choices) if plain and len(set(choices)) == len(choices) else texts
    values = dict(zip(names, choices, strict=True))
    given = dict(zip(texts, names, strict=True))
    return Coded(
        CategoricalDistribution(names),
        lambda name: copied(values[name]),
        lambda value: given[canonical(value)],
    )
