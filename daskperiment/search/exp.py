"""Entries as EXP has them: ``value``, ``list``, ``range`` and ``random``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, TypeAlias

from daskperiment.errors import SearchSpaceError
from daskperiment.search.choices import Categorical, Constant, Draws
from daskperiment.search.distribution import Distribution
from daskperiment.search.entries import Entry, check_keys, numbers, word
from daskperiment.search.levels import told_of
from daskperiment.search.ranges import Float, Int
from daskperiment.search.values import integer, positive, real

Drawing: TypeAlias = Callable[[Distribution, int], Draws]
"""Takes values of a distribution, once."""

_HIT = Fraction(1, 10**9)  # so many steps before the end are none: three thirds hit 1
_DTYPES = ("float", "int")
_PRIORS = ("uniform", "log-uniform")


def _value(entry: Entry, draw: Drawing) -> Distribution:
    check_keys(entry, ["value"], ["dtype"])
    return Constant(_as(entry)("value", entry["value"]))


def _list(entry: Entry, draw: Drawing) -> Distribution:
    check_keys(entry, ["value"], ["dtype"])
    with told_of("value"):
        choices = Categorical(entry["value"]).choices
    return Categorical([_as(entry)("value", choice) for choice in choices])


def _as(entry: Entry) -> Callable[[str, Any], Any]:
    kind = word(entry, "dtype", (*_DTYPES, "categorical"), "categorical")
    return {"float": real, "int": integer}.get(kind, lambda name, value: value)


def _range(entry: Entry, draw: Drawing) -> Distribution:
    """The numbers of ``numpy.arange``: the end is not one of them."""
    check_keys(entry, ["bounds"], ["step", "dtype"])
    low, high = bounds = numbers(entry, "bounds", 2)
    step = positive("step", entry.get("step", 1))
    whole = word(entry, "dtype", _DTYPES, "float") == "int"
    if whole:
        low, high, step = integer("bounds", low), integer("bounds", high), integer("step", step)
    else:
        low, high = real("bounds", low), real("bounds", high)
    if low >= high:
        raise SearchSpaceError(f"bounds must be [low, high] with low below high, not {bounds!r}")
    begin, end, by = Fraction(repr(low)), Fraction(repr(high)), Fraction(repr(step))
    last = begin + by * (math.ceil((end - begin) / by - _HIT) - 1)
    if last == begin:
        return Constant(low)
    with told_of("bounds"):
        return Int(low, int(last), step=int(step)) if whole else Float(low, _up(last), step=step)


def _up(number: Fraction) -> float:
    """A float that is written as no less than the number."""
    found = float(number)
    return found if Fraction(repr(found)) >= number else math.nextafter(found, math.inf)


def _random(entry: Entry, draw: Drawing) -> Distribution:
    check_keys(entry, [], ["bounds", "prior", "dtype", "n"])
    low, high = numbers({"bounds": [0, 1], **entry}, "bounds", 2)
    whole = word(entry, "dtype", _DTYPES, "float") == "int"
    log = word(entry, "prior", _PRIORS, "uniform") == "log-uniform"
    with told_of("bounds"):
        found: Distribution = Int(low, high, log=log) if whole else Float(low, high, log=log)
    return draw(found, integer("n", entry.get("n", 1)))


KINDS: Mapping[str, Callable[[Entry, Drawing], Distribution]] = {
    "value": _value,
    "list": _list,
    "range": _range,
    "random": _random,
}
