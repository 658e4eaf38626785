"""The unit cube of a search space, many points at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

import numpy as np

from daskperiment.errors import SearchSpaceError
from daskperiment.search.choices import Draws
from daskperiment.search.distribution import Distribution
from daskperiment.search.values import canonical

if TYPE_CHECKING:
    from daskperiment.search.space import Axis, SearchSpace

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
_MOST_CODES = 4096
_MOST_ROWS = 10_000
_PROBES = 1025  # of the quantiles of a law of integers
_SMOOTH = 8


@dataclass(frozen=True)
class Part:
    """The columns of one axis.

    Parameters
    ----------
    columns : slice
        Which they are.
    codes : array, optional
        What :meth:`Distribution.encode` gives for the values, a row for each, rising; None if there
        are too many, as of all floats.
    active : int, optional
        The column of the branch that the axis is in; None if it is always active.
    """

    columns: slice
    codes: Array | None
    active: int | None

    @property
    def width(self) -> int:
        """How many columns."""
        return int(self.columns.stop - self.columns.start)

    @property
    def is_smooth(self) -> bool:
        """Whether it is a line of numbers, and of many."""
        return self.codes is None or (self.width == 1 and len(self.codes) >= _SMOOTH)

    def snap(self, points: Array) -> None:
        """Move the points to the codes that are nearest, and to zeros where it is not active."""
        if self.codes is not None:
            points[:, self.columns] = self.codes[self._nearest(points[:, self.columns])]
        if self.active is not None:
            points[points[:, self.active] != 1, self.columns] = 0.0

    def _nearest(self, points: Array) -> Any:
        assert self.codes is not None
        if self.width > 1:
            return points.argmax(axis=1)
        line = self.codes[:, 0]
        return np.searchsorted((line[1:] + line[:-1]) / 2, points[:, 0], side="right")


class Cube:
    """Points of a space as rows of numbers from 0 to 1, as :meth:`SearchSpace.encode` gives them.

    Parameters
    ----------
    space : SearchSpace
        The space.

    Examples
    --------
    >>> from daskperiment.search import Int, SearchSpace
    >>> cube = Cube(SearchSpace({"a": Int(0, 1), "b": ["x", "y", "z"]}))
    >>> cube.snap(np.array([[0.6, 0.1, 0.2, 0.3]])).tolist()
    [[0.75, 0.0, 0.0, 1.0]]
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.width = space.width
        self._rows: dict[str, tuple[float, ...]] = {}  # a search asks for the same ones each time
        self.parts = list(_parts(space.axes))
        self.varying = [p for p in self.parts if p.codes is None or len(p.codes) > 1]
        """Those with more than one value."""
        self.smooth = [p.columns.start for p in self.varying if p.is_smooth]
        """Columns along which one can walk, with all numbers or many of them."""
        self.is_finite = all(part.codes is not None for part in self.parts)
        """Whether there are so few points that each can be known."""

    @staticmethod
    @lru_cache(maxsize=16)
    def of(space: SearchSpace) -> Cube:
        """That of a space, which is made only once."""
        return Cube(space)

    def row(self, configuration: Mapping[str, Any]) -> tuple[float, ...] | None:
        """The point of a configuration; None of one that is none of the space."""
        try:
            text = canonical(configuration)
            if text not in self._rows:
                if len(self._rows) >= _MOST_ROWS:
                    self._rows.clear()
                self._rows[text] = self.space.encode(configuration)
            return self._rows[text]
        except (SearchSpaceError, TypeError, ValueError, KeyError):
            return None

    def encode(self, configurations: Iterable[Mapping[str, Any]]) -> Array:
        """The points of configurations of the space."""
        return self.array([self.space.encode(each) for each in configurations])

    def array(self, rows: Sequence[tuple[float, ...]]) -> Array:
        """Rows as an array."""
        return np.array(rows, dtype=float).reshape(len(rows), self.width)

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Points as the space has them by chance."""
        return self.snap(rng.random((count, self.width)))

    def snap(self, points: Array) -> Array:
        """The nearest points that stand for configurations; those given are changed."""
        for part in self.parts:
            part.snap(points)
        return points

    def near(self, points: Array, scales: Array, rng: np.random.Generator) -> Array:
        """A neighbour of each point: some of its axes are moved, others are as they were.

        Parameters
        ----------
        points : array
            Whose neighbours.
        scales : array
            How far each is moved, as a standard deviation.
        rng : numpy.random.Generator
            The source of chance.
        """
        count, axes = len(points), max(len(self.varying), 1)
        moves = rng.random((count, axes)) < max(0.3, 1 / axes)
        moves[np.arange(count), rng.integers(axes, size=count)] = True
        chance = rng.random((count, self.width))
        steps = rng.standard_normal((count, self.width)) * scales[:, None]
        found = points.copy()
        for index, part in enumerate(self.varying):
            columns, moved = part.columns, moves[:, index, None]
            if part.width > 1:
                found[:, columns] = np.where(moved, chance[:, columns], points[:, columns])
                continue
            step = steps[:, columns]
            if part.codes is not None:  # one value further at least
                step = step + np.sign(step) * 0.5 / len(part.codes)
            found[:, columns] += np.where(moved, step, 0.0)
            if part.active is not None:  # nothing is known of one that was not active
                off = points[:, part.active] != 1
                found[off, columns] = chance[off, columns]
        np.abs(found, out=found)
        return self.snap(np.clip(np.where(found > 1, 2 - found, found), 0.0, 1.0))


def _parts(axes: Iterable[Axis]) -> Iterator[Part]:
    start = 0
    choices: dict[tuple[str, str], int] = {}
    for axis in axes:
        width, domain = axis.distribution.width, axis.distribution.domain
        for index, value in enumerate(domain.get("choices", ())):
            choices[axis.address, str(value)] = start + index
        if width:
            columns = slice(start, start := start + width)
            yield Part(columns, _codes(axis.distribution), choices.get(_branch(axis.address)))


def _branch(address: str) -> tuple[str, str]:
    """The address of the branch in which an axis is, and the name of that branch."""
    outer, _, name = address.rpartition("/")[0].rpartition("=")
    return outer, unquote(name)


@lru_cache(maxsize=256)
def _codes(distribution: Distribution) -> Array | None:
    if isinstance(distribution, Draws):
        return _codes(distribution.distribution)
    kind, size = distribution.domain["kind"], distribution.size
    if kind == "categorical":
        return np.eye(distribution.width)
    if size <= _MOST_CODES:
        return _line(distribution, distribution.values())
    if kind == "int" and size == math.inf:
        return _line(distribution, map(distribution.quantile, np.linspace(0, 1, _PROBES).tolist()))
    return None


def _line(distribution: Distribution, values: Iterable[Any]) -> Array:
    return np.array(sorted({distribution.encode(value)[0] for value in values}))[:, None]
