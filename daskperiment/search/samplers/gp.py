"""Bayesian optimisation with a Gaussian process."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from daskperiment.search.samplers.cube import Array, Cube
from daskperiment.search.samplers.descent import descent
from daskperiment.search.samplers.gaussian import GaussianProcess, Shape
from daskperiment.search.samplers.surrogate import Outlook, SurrogateSampler

_STEPS = 30
_SHAPING = 120


class GPSampler(SurrogateSampler):
    """Where a Gaussian process of the losses promises most.

    Of a trial that runs it believes what it expects; its neighbourhood promises less then.

    Parameters
    ----------
    acquisition : str
        What is greatest where the next trial is: ``"EI"``, expected improvement; ``"LCB"``, lower
        confidence bound; ``"PI"``, probability of improvement.
    kappa : float
        How many standard deviations LCB goes below the mean: more explores more.
    xi : float
        By how much EI and PI want the best loss to be improved, as a part of the distance from the
        best loss to the fifth: more explores more.
    startup : int, optional
        How many trials fill the space before there is a surrogate, those included that the search
        begins from; default 2 for each parameter, and 2 more.

    Raises
    ------
    SamplerError
        An option is none of those; the message says what it may be.

    Examples
    --------
    >>> from daskperiment.search import Float, SearchSpace
    >>> from daskperiment.search.trials import SearchTrial, TrialState
    >>> space = SearchSpace({"x": Float(-10, 10)})
    >>> trials = [
    ...     SearchTrial(n, {"x": x}, TrialState.COMPLETE, (x**2,))
    ...     for n, x in enumerate([-9.0, -4.0, 2.0, 7.0])
    ... ]
    >>> abs(GPSampler().sample(space, trials, np.random.default_rng(0))["x"]) < 1
    True
    """

    name: ClassVar[str] = "gp"
    most: ClassVar[int] = 200

    def _learned(
        self, cube: Cube, points: Array, losses: Array, running: Array, rng: np.random.Generator
    ) -> GaussianProcess:
        axes = [part.columns for part in cube.varying]
        some = np.unique(np.linspace(0, len(points) - 1, _SHAPING).astype(int))
        shape = Shape.of(points[some], losses[some], axes)
        process = GaussianProcess(points, losses, axes, shape)
        if not len(running):
            return process
        believed = np.append(losses, process.predict(running)[0])
        return GaussianProcess(np.concatenate([points, running]), believed, axes, shape)

    def _climbed(self, cube: Cube, starts: Array, outlook: Outlook) -> Array:
        """Where the starts get to on the way up, all of them at the same time."""
        points, process = starts.copy(), outlook.surrogate
        free = np.zeros(points.shape, dtype=bool)
        free[:, cube.smooth] = points[:, cube.smooth] > 0  # what is not active stays at 0
        if not isinstance(process, GaussianProcess) or not free.any():
            return points

        def downhill(at: Array) -> tuple[float, Array]:
            points[free] = at
            mean, sd, mean_slopes, sd_slopes = process.slopes(points)
            value, by_mean, by_sd = outlook.acquisition.of(mean, sd, process.best, outlook.unit)
            slopes = by_mean[:, None] * mean_slopes + by_sd[:, None] * sd_slopes
            return -value.sum(), -slopes[free]

        points[free] = descent(downhill, points[free], 0.0, 1.0, _STEPS)
        return cube.snap(points)
