"""Samplers that learn a surrogate of the losses, and go where it promises most."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy as np

from daskperiment.errors import SamplerError
from daskperiment.records import TrialState
from daskperiment.search.samplers.acquisition import Acquisition
from daskperiment.search.samplers.base import Sampler
from daskperiment.search.samplers.cube import Array, Cube
from daskperiment.search.samplers.targets import standardised, targets
from daskperiment.search.values import canonical
from daskperiment.serializers import preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.search.space import Configuration, SearchSpace
    from daskperiment.search.trials import SearchTrial

Places: TypeAlias = "np.ndarray[Any, np.dtype[np.intp]]"

_SPACED = 64
_CANDIDATES = 500
_NEIGHBOURS = 250
_INCUMBENTS = 5
_STARTS = 4
_FAR = -4.0, -0.5
_FINER = 100
_CLOSE = -4.0, -1.5
_MOST_LEFT = 1000


class Surrogate(Protocol):
    """What has been learned from some trials."""

    best: float
    """The loss that is to be improved."""

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of what is expected of the losses at the points."""
        ...


class SurrogateSampler(Sampler):
    """Base of samplers with a surrogate: no state, all that they suggest follows from the trials.

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
        An option is none of those, and the message says what it may be.
    """

    most: ClassVar[int]
    """How many trials are learned from: if there are more, the better ones and the latest."""

    def __init__(
        self,
        acquisition: str = "EI",
        kappa: float = 1.96,
        xi: float = 0.01,
        startup: int | None = None,
    ) -> None:
        self.acquisition = Acquisition(acquisition, kappa, xi)
        whole = isinstance(startup, int) and not isinstance(startup, bool) and startup > 0
        if startup is not None and not whole:
            raise SamplerError(f"startup is an integer from 1 on, not {preview(startup, 80)}")
        self.startup = startup

    def _options(self) -> Document:
        of = self.acquisition
        return {"acquisition": of.name, "kappa": of.kappa, "xi": of.xi, "startup": self.startup}

    def sample(
        self, space: SearchSpace, trials: Sequence[SearchTrial], rng: np.random.Generator
    ) -> Configuration:
        """What promises most; see :class:`~daskperiment.search.samplers.Samples`."""
        cube = Cube.of(space)
        if not cube.varying:
            return space.sample(rng)
        seen = [trial for trial in trials if trial.state != TrialState.CANCELLED]
        rows = [cube.row(trial.parameters) for trial in seen]
        seen = [trial for trial, row in zip(seen, rows, strict=True) if row is not None]
        points = cube.array([row for row in rows if row is not None])
        tried = {canonical(trial.parameters) for trial in seen}
        runs = np.array([trial.state == TrialState.RUNNING for trial in seen], dtype=bool)
        losses = targets([trial for trial, run in zip(seen, runs, strict=True) if not run], rng)
        known = np.count_nonzero(~np.isnan(losses))
        if known < 2 or known + runs.sum() < (self.startup or 2 + 2 * len(cube.varying)):
            return _untried(cube, _spaced(cube, points, rng), tried, None)
        kept = _kept(losses, self.most)
        learned = points[~runs][kept], standardised(losses[kept])
        outlook = self._outlook(cube, *learned, points[runs], rng)
        return _untried(cube, self._found(cube, *learned, outlook, rng), tried, outlook.value)

    def _outlook(
        self, cube: Cube, points: Array, losses: Array, running: Array, rng: np.random.Generator
    ) -> Outlook:
        surrogate = self._learned(cube, points, losses, running, rng)
        unit = float(np.sort(losses)[:_INCUMBENTS][-1] - losses.min())
        return Outlook(surrogate, self.acquisition, unit)

    def _learned(
        self, cube: Cube, points: Array, losses: Array, running: Array, rng: np.random.Generator
    ) -> Surrogate:
        raise NotImplementedError

    def _climbed(self, cube: Cube, starts: Array, outlook: Outlook) -> Array:
        return starts

    def _found(
        self, cube: Cube, points: Array, losses: Array, outlook: Outlook, rng: np.random.Generator
    ) -> Array:
        """Points that promise much, those that promise most first."""
        best = points[np.argsort(losses, kind="stable")[:_INCUMBENTS]]
        near = _around(cube, best, _NEIGHBOURS, _FAR, rng)
        pool = outlook.sorted(np.concatenate([cube.sample(_CANDIDATES, rng), near]))
        climbed = self._climbed(cube, pool[:_STARTS], outlook)
        finer = _around(cube, climbed, _FINER, _CLOSE, rng)
        return outlook.sorted(np.concatenate([climbed, finer, pool]))


@dataclass(frozen=True)
class Outlook:
    """What is promised anywhere.

    Parameters
    ----------
    surrogate : Surrogate
        What is expected of losses.
    acquisition : Acquisition
        What that is worth.
    unit : float
        That of `xi`.
    """

    surrogate: Surrogate
    acquisition: Acquisition
    unit: float

    def value(self, points: Array) -> Array:
        """The promise of each point: more is better."""
        mean, sd = self.surrogate.predict(points)
        return self.acquisition.of(mean, sd, self.surrogate.best, self.unit)[0]

    def sorted(self, points: Array) -> Array:
        """The points, those that promise most first."""
        return points[np.argsort(-self.value(points), kind="stable")]


def _kept(losses: Array, most: int) -> Places:
    """Which to learn from: all, or the better ones and the latest, half of each."""
    if len(losses) <= most:
        return np.arange(len(losses))
    earlier = len(losses) - most // 2
    better = np.argsort(losses[:earlier], kind="stable")[: most - most // 2]  # NaN comes last
    return np.concatenate([np.sort(better), np.arange(earlier, len(losses))])


def _spaced(cube: Cube, points: Array, rng: np.random.Generator) -> Array:
    """Points by chance, those farthest from all given first: Mitchell's best candidates (1991).

    Lines of numbers are closed to circles, or the ends would be preferred.
    """
    found = cube.sample(_SPACED, rng)
    if not len(points):
        return found
    apart = np.abs(found[:, None, :] - points)
    lines = [part.columns.start for part in cube.varying if part.width == 1]
    apart[:, :, lines] = 2 * np.minimum(apart[:, :, lines], 1 - apart[:, :, lines])
    return found[np.argsort(-(apart**2).sum(axis=2).min(axis=1), kind="stable")]


def _around(
    cube: Cube, points: Array, count: int, scales: tuple[float, float], rng: np.random.Generator
) -> Array:
    """Neighbours of the points, in turn, as far away as these powers of ten."""
    return cube.near(np.resize(points, (count, cube.width)), 10 ** rng.uniform(*scales, count), rng)


def _untried(
    cube: Cube, points: Array, tried: set[str], value: Callable[[Array], Array] | None
) -> Configuration:
    """The first configuration that was not tried; of what is left in the space if there is none."""
    for point in points:
        found = cube.space.decode(point.tolist())
        if canonical(found) not in tried:
            return found
    grid = cube.space.grid() if cube.space.size < math.inf else ()
    left = list(islice((each for each in grid if canonical(each) not in tried), _MOST_LEFT))
    if not left:
        return cube.space.decode(points[0].tolist())
    return left[0 if value is None else int(value(cube.encode(left)).argmax())]
