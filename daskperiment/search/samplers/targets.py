"""What a surrogate learns: one number for each trial, from its losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daskperiment.records import TrialState
from daskperiment.search.samplers.cube import Array
from daskperiment.search.trials import SearchTrial

_AUGMENTED = 0.05
_WORST = 0.9
_FARTHEST = 30.0


def measured(trial: SearchTrial) -> tuple[float, ...] | None:
    """The losses of a trial; of one that is PRUNED without any, the last of its reports.

    Examples
    --------
    >>> measured(SearchTrial(0, {}, TrialState.PRUNED, None, {1: 0.5, 2: 0.25}))
    (0.25,)
    """
    if trial.losses is None and trial.state == TrialState.PRUNED and trial.reports:
        return (float(trial.reports[max(trial.reports)]),)
    return trial.losses


def targets(trials: Sequence[SearchTrial], rng: np.random.Generator) -> Array:
    """One loss for each trial; NaN where there is none, or one that is no finite number.

    Of several losses it is the augmented Tchebycheff norm with weights by chance, as in ParEGO
    (Knowles, 2006): whatever the weights, the least one is on the Pareto front.

    Examples
    --------
    >>> trials = [SearchTrial(0, {}, losses=(2.0,)), SearchTrial(1, {})]
    >>> targets(trials, np.random.default_rng(0)).tolist()
    [2.0, nan]
    """
    found = [measured(trial) for trial in trials]
    width = max((len(each) for each in found if each), default=1)
    none = (np.nan,) * width
    losses = np.array(
        [each if each and len(each) == width else none for each in found], dtype=float
    )
    losses = losses.reshape(len(found), width)
    losses[~np.isfinite(losses).all(axis=1)] = np.nan
    return losses[:, 0] if width == 1 else _tchebycheff(losses, rng)


def _tchebycheff(losses: Array, rng: np.random.Generator) -> Array:
    weights = rng.dirichlet(np.ones(losses.shape[1]))
    some = losses[~np.isnan(losses[:, 0])]
    if not len(some):
        return losses[:, 0]
    low, high = some.min(axis=0), some.max(axis=0)
    weighted: Array = weights * _between(losses, low, high)
    norm: Array = weighted.max(axis=1) + _AUGMENTED * weighted.sum(axis=1)
    return norm


def _between(losses: Array, low: Array, high: Array) -> Array:
    """From 0 at the lowest to 1 at the highest; halves keep huge ones from overflowing."""
    span = high / 2 - low / 2
    return (losses / 2 - low / 2) / np.where(span > 0, span, 1.0)


def standardised(losses: Array) -> Array:
    """Losses with mean 0 and standard deviation 1, after logarithms have taken in what is bad.

    A loss counts as the logarithm of 1 plus its distance from the best, in units of a third of the
    distance of the worst tenth: near the best one nothing is bent.  Whatever is ten times as far as
    the worst tenth counts as equally bad, so that it does not hide how others differ.  NaN, of what
    has failed, is as bad as the worst.

    Examples
    --------
    >>> standardised(np.array([1.0, 2.0, 3.0, 1e9, np.nan])).round(1).tolist()
    [-1.3, -0.7, -0.3, 1.2, 1.2]
    """
    known = losses[~np.isnan(losses)]
    far = losses / 2 - known.min() / 2  # halves: the distance of huge ones is no number
    worst = np.quantile(known / 2 - known.min() / 2, _WORST, method="lower")
    unit = (worst or np.nanmax(far) or 1.0) / 3
    with np.errstate(over="ignore"):
        bent = np.log1p(np.minimum(far / unit, _FARTHEST))
    bent[np.isnan(bent)] = np.nanmax(bent)
    off: Array = bent - bent.mean()
    return off / (off.std() or 1.0)
