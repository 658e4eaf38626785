"""Optimisation with forests of decision trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
from sklearn import config_context
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

from daskperiment.search.samplers.cube import Array, Cube
from daskperiment.search.samplers.surrogate import SurrogateSampler

if TYPE_CHECKING:
    Regressor: TypeAlias = ExtraTreesRegressor | RandomForestRegressor

_TREES = 30
_FEW = 3
_LEAST = 1e-6


class Forest:
    """What trees expect of losses: the mean of them, and how far they differ.

    Parameters
    ----------
    regressor : RandomForestRegressor or ExtraTreesRegressor
        What grows the trees.
    points, losses : array
        What they learn.
    """

    def __init__(self, regressor: Regressor, points: Array, losses: Array) -> None:
        with config_context(assume_finite=True, skip_parameter_validation=True):
            regressor.fit(points, losses)
        self._trees = [each.tree_ for each in regressor.estimators_]
        self.best = float(losses.min())

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the losses at the points."""
        inputs = points.astype(np.float32)
        expected = np.stack([tree.predict(inputs)[:, 0] for tree in self._trees])
        return expected.mean(axis=0), np.maximum(expected.std(axis=0), _LEAST)


class _Forests(SurrogateSampler):
    most: ClassVar[int] = 300

    def _learned(
        self, cube: Cube, points: Array, losses: Array, running: Array, rng: np.random.Generator
    ) -> Forest:
        lies = np.full(len(running), np.median(losses))
        regressor = self._regressor(len(cube.varying), int(rng.integers(2**31)))
        return Forest(regressor, np.concatenate([points, running]), np.append(losses, lies))

    def _regressor(self, axes: int, seed: int) -> Regressor:
        raise NotImplementedError


class ForestSampler(_Forests):
    """Where a random forest of the losses promises most.

    Each tree learns all trials, and looks at a third of the parameters at a time; where there are
    one or two, it looks at both and learns a bootstrap sample.  A trial that runs counts as one
    with the median loss.

    Parameters
    ----------
    acquisition, kappa, xi, startup
        As of :class:`~daskperiment.search.samplers.gp.GPSampler`.

    Raises
    ------
    SamplerError
        An option is none of those; the message says what it may be.

    Examples
    --------
    >>> from daskperiment.search import Int, SearchSpace
    >>> space = SearchSpace({"depth": Int(1, 9)})
    >>> ForestSampler("LCB").sample(space, [], np.random.default_rng(0))
    {'depth': 6}
    """

    name: ClassVar[str] = "forest"

    def _regressor(self, axes: int, seed: int) -> Regressor:
        if axes < _FEW:
            return RandomForestRegressor(_TREES, random_state=seed)
        return RandomForestRegressor(_TREES, bootstrap=False, max_features=1 / 3, random_state=seed)


class ExtraTreesSampler(_Forests):
    """Where extremely randomised trees of the losses promise most.

    Each tree learns all trials, and splits where chance says.  A trial that runs counts as one
    with the median loss.

    Parameters
    ----------
    acquisition, kappa, xi, startup
        As of :class:`~daskperiment.search.samplers.gp.GPSampler`.

    Raises
    ------
    SamplerError
        An option is none of those; the message says what it may be.

    Examples
    --------
    >>> from daskperiment.search import Int, SearchSpace
    >>> space = SearchSpace({"depth": Int(1, 9)})
    >>> ExtraTreesSampler("LCB").sample(space, [], np.random.default_rng(0))
    {'depth': 6}
    """

    name: ClassVar[str] = "extra-trees"

    def _regressor(self, axes: int, seed: int) -> Regressor:
        return ExtraTreesRegressor(_TREES, random_state=seed)
