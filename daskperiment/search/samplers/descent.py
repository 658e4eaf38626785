"""Minima of smooth functions of few numbers, within bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from daskperiment.search.samplers.cube import Array

_MEMORY = 10
_ENOUGH = 1e-4
_HALVINGS = 12


def descent(
    function: Callable[[Array], tuple[float, Array]],
    start: Array,
    low: Array | float,
    high: Array | float,
    steps: int,
    close: float = 1e-8,
) -> Array:
    """Where the function is least, near the start: L-BFGS, along the bounds where it meets them.

    SciPy's own asks LAPACK for tiny matrices, which then begins threads; see
    :mod:`~daskperiment.search.samplers.linear`.  See Nocedal and Wright, Numerical Optimization
    (2006), algorithm 7.4, and Bertsekas, Projected Newton methods (1982).

    Parameters
    ----------
    function : callable
        Gives its value and slopes.
    start : array
        Where to begin.
    low, high : array or float
        Bounds of each number.
    steps : int
        After how many to end at the latest.
    close : float
        It ends when a step gains less than this, relative to the value.

    Examples
    --------
    >>> descent(lambda x: ((x @ x).item(), 2 * x), np.array([3.0, 4.0]), 1.0, 9.0, 20).tolist()
    [1.0, 1.0]
    """
    at, pairs = np.clip(start, low, high), list[tuple[Array, Array]]()
    value, slopes = function(at)
    for _ in range(steps):
        free = ~(((at <= low) & (slopes > 0)) | ((at >= high) & (slopes < 0)))
        way = -_newton(np.where(free, slopes, 0.0), pairs) * free
        if not way @ slopes < 0:
            pairs.clear()
            way = -slopes * free
        if not pairs:
            way = way / max(float(np.abs(way).max()), 1.0)
        reached = _line(function, at, value, slopes, way, low, high)
        if reached is None:
            if not pairs:
                break
            pairs.clear()
            continue
        before, old, old_slopes = value, at, slopes
        at, value, slopes = reached
        moved, turned = at - old, slopes - old_slopes
        if moved @ turned > 1e-10 * (turned @ turned):
            pairs = [*pairs[1 - _MEMORY :], (moved, turned)]
        if before - value <= close * max(abs(value), abs(before), 1.0):
            break
    return at


def _line(
    function: Callable[[Array], tuple[float, Array]],
    at: Array,
    value: float,
    slopes: Array,
    way: Array,
    low: Array | float,
    high: Array | float,
) -> tuple[Array, float, Array] | None:
    """The first point on the way, halved again and again, that is low enough."""
    part = 1.0
    for _ in range(_HALVINGS):
        there = np.clip(at + part * way, low, high)
        found, found_slopes = function(there)
        if found <= value + _ENOUGH * (slopes @ (there - at)):
            return there, found, found_slopes
        part *= 0.4
    return None


def _newton(slopes: Array, pairs: list[tuple[Array, Array]]) -> Array:
    """The slopes times the inverse of the curvature that the last steps have met."""
    found, factors = slopes, []
    for moved, turned in reversed(pairs):
        factor = (moved @ found) / (moved @ turned)
        factors.append(factor)
        found = found - factor * turned
    if pairs:
        moved, turned = pairs[-1]
        found = found * ((moved @ turned) / (turned @ turned))
    for (moved, turned), factor in zip(pairs, reversed(factors), strict=True):
        found = found + moved * (factor - (turned @ found) / (moved @ turned))
    return found
