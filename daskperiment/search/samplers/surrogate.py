"""Samplers that learn a surrogate of the losses, and go where it promises most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from daskperiment.errors import SamplerError
from daskperiment.search.samplers.acquisition import Acquisition
from daskperiment.search.samplers.base import Sampler
from daskperiment.search.samplers.cube import Array, Cube
from daskperiment.search.samplers.targets import targets
from daskperiment.search.values import canonical
from daskperiment.serializers import preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.search.space import Configuration, SearchSpace
    from daskperiment.search.trials import SearchTrial

_SPACED = 64
_GRID = 1000


class Surrogate(Protocol):
    """What has been learned from some trials."""

    best: float
    """The loss that is to be improved."""

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of what is expected of the losses at the points."""
        ...


class SurrogateSampler(Sampler):
    """Base of samplers with a surrogate."""

    name: ClassVar[str]

    def __init__(
        self,
        acquisition: str = "EI",
        kappa: float = 1.96,
        xi: float = 0.01,
        startup: int | None = None,
    ) -> None:
        self.acquisition = Acquisition(acquisition, kappa, xi)
        given = startup is None or (isinstance(startup, int) and not isinstance(startup, bool))
        if not given or (startup is not None and startup < 1):
            raise SamplerError(f"startup is an integer from 1 on, not {preview(startup, 80)}")
        self.startup = startup

    def _options(self) -> Document:
        of = self.acquisition
        return {"acquisition": of.name, "kappa": of.kappa, "xi": of.xi, "startup": self.startup}

    def sample(
        self, space: SearchSpace, trials: Sequence[SearchTrial], rng: np.random.Generator
    ) -> Configuration:
        cube, trials = Cube.of(space), list(trials)
        losses = targets(trials, rng)
        running = np.array([trial.state.name == "RUNNING" for trial in trials], dtype=bool)
        tried = {canonical(trial.parameters) for trial in trials}
        startup = self.startup or default_startup(cube)
        known = ~np.isnan(losses)
        if known.sum() < 2 or (known | running).sum() < startup:
            points = self._spaced(cube, trials, rng)
            return self._untried(cube, points, tried, None, rng)
        order = self._kept(losses, running)
        points = cube.encode([trials[i].parameters for i in order])
        losses, running = losses[order], running[order]
        surrogate = self._learn(cube, points, losses, running, rng)
        promise = lambda at: self.acquisition.of(*surrogate.predict(at), surrogate.best)[0]
        found = self._search(cube, surrogate, points, losses, rng)
        return self._untried(cube, found, tried, promise, rng)

    def _kept(self, losses, running):
        ended = np.flatnonzero(~running)
        most = self.most
        if len(ended) > most:
            last = ended[-(most // 2):]
            rest = ended[: -(most // 2)]
            worth = np.where(np.isnan(losses[rest]), np.inf, losses[rest])
            first = rest[np.sort(np.argsort(worth, kind="stable")[: most - most // 2])]
            ended = np.concatenate([first, last])
        return np.concatenate([ended, np.flatnonzero(running)])

    def _spaced(self, cube, trials, rng):
        points = cube.sample(_SPACED, rng)
        if not trials or not cube.varying:
            return points
        known = cube.encode([t.parameters for t in trials])
        apart = np.abs(points[:, None] - known)
        apart = np.minimum(apart, 1 - apart) if not any(p.width > 1 for p in cube.parts) else apart
        nearest = (apart ** 2).sum(axis=2).min(axis=1)
        return points[np.argsort(-nearest, kind="stable")]

    def _untried(self, cube, points, tried, promise, rng):
        for point in points:
            found = cube.space.decode(point.tolist())
            if canonical(found) not in tried:
                return found
        if cube.continuous:
            return cube.space.sample(rng)
        left = [c for c in cube.space.grid() if canonical(c) not in tried]
        if not left:
            return cube.space.decode(points[0].tolist())
        if len(left) > _GRID:
            left = [left[i] for i in rng.choice(len(left), _GRID, replace=False)]
        if promise is None:
            return left[int(rng.integers(len(left)))]
        return left[int(np.argmax(promise(cube.encode(left))))]


def default_startup(cube: Cube) -> int:
    return 2 + 2 * len(cube.varying)
