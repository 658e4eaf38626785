"""Samplers that do not learn: lists, grids and chance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Self

from daskperiment.errors import SamplerError
from daskperiment.search.samplers.base import Sampler, suggested
from daskperiment.search.values import copied, plain
from daskperiment.serializers import preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    import numpy as np

    from daskperiment.search.space import Configuration, SearchSpace
    from daskperiment.search.trials import SearchTrial


class _Ordered(Sampler):
    """Configurations in an order of their own, each `repeats` times, one after the other."""

    def __init__(self, repeats: int = 1) -> None:
        if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
            raise SamplerError(f"repeats is an integer from 1 on, not {preview(repeats, 80)}")
        self.repeats = repeats
        self._ahead: Iterator[Configuration] = iter(())
        self._known: list[Configuration] = []

    def begun(self, space: SearchSpace, seed: int, metrics: int) -> Self:
        """One that begins with the first configuration."""
        mine = copy(self)
        mine._known, mine._ahead = [], self._configurations(space)
        return mine

    def size(self, space: SearchSpace) -> int | None:
        """How many trials there are."""
        return self._count(space) * self.repeats

    def sample(
        self, space: SearchSpace, trials: Sequence[SearchTrial], rng: np.random.Generator
    ) -> Configuration:
        """The next one; see :class:`~daskperiment.search.samplers.Samples`.

        Raises
        ------
        SamplerError
            There are no more.
        """
        index = suggested(trials) // self.repeats
        if not self._known and index == 0:
            self._ahead = self._configurations(space)
        self._known.extend(islice(self._ahead, max(0, index + 1 - len(self._known))))
        if index >= len(self._known):
            raise SamplerError(f"There are no more than {self.size(space)} trials")
        return copied(self._known[index])  # type: ignore[no-any-return]

    def _configurations(self, space: SearchSpace) -> Iterator[Configuration]:
        raise NotImplementedError

    def _count(self, space: SearchSpace) -> int:
        raise NotImplementedError


class GridSampler(_Ordered):
    """All configurations of the grid of a space, in its order.

    Parameters
    ----------
    repeats : int
        How often each comes; each trial has a seed of its own.

    Raises
    ------
    SamplerError
        ``repeats`` is no integer from 1 on.

    Examples
    --------
    >>> import numpy as np
    >>> from daskperiment.search import SearchSpace
    >>> GridSampler().sample(SearchSpace({"a": [1, 2]}), [], np.random.default_rng(0))
    {'a': 1}
    """

    name: ClassVar[str] = "grid"

    def _options(self) -> Document:
        return {"repeats": self.repeats}

    def _configurations(self, space: SearchSpace) -> Iterator[Configuration]:
        return space.grid()

    def _count(self, space: SearchSpace) -> int:
        next(space.grid(), None)  # says what to do where there is no end
        return int(space.size)


class ListSampler(_Ordered):
    """Configurations that are given, in their order.

    Parameters
    ----------
    configurations : iterable of mapping, optional
        Such as those that :func:`~daskperiment.search.read_csv` gives; default all of the space.
    repeats : int
        How often each comes; each trial has a seed of its own.

    Raises
    ------
    SamplerError
        ``repeats`` is no integer from 1 on, or there is no configuration.

    Examples
    --------
    >>> import numpy as np
    >>> from daskperiment.search import Int, SearchSpace
    >>> sampler = ListSampler([{"a": 3}, {"a": 1}])
    >>> sampler.sample(SearchSpace({"a": Int(1, 3)}), [], np.random.default_rng(0))
    {'a': 3}
    """

    name: ClassVar[str] = "list"

    def __init__(
        self, configurations: Iterable[Mapping[str, Any]] | None = None, repeats: int = 1
    ) -> None:
        super().__init__(repeats)
        given = None if configurations is None else [plain(each) for each in configurations]
        if given == [] or not all(isinstance(each, dict) for each in given or ()):
            raise SamplerError("Give a list of mappings of names to values, not an empty one")
        self.configurations: list[Configuration] | None = given

    def _options(self) -> Document:
        return {"configurations": self.configurations, "repeats": self.repeats}

    def begun(self, space: SearchSpace, seed: int, metrics: int) -> Self:
        """One that begins with the first configuration; each must be one of the space."""
        for each in self.configurations or ():
            space.check(each)
        return super().begun(space, seed, metrics)

    def _configurations(self, space: SearchSpace) -> Iterator[Configuration]:
        return space.grid() if self.configurations is None else iter(self.configurations)

    def _count(self, space: SearchSpace) -> int:
        if self.configurations is None:
            return GridSampler()._count(space)
        return len(self.configurations)


class RandomSampler(Sampler):
    """Independent samples of the space.

    Examples
    --------
    >>> import numpy as np
    >>> from daskperiment.search import Float, SearchSpace
    >>> RandomSampler().sample(SearchSpace({"a": Float(0, 1)}), [], np.random.default_rng(3))
    {'a': 0.0856...}
    """

    name: ClassVar[str] = "random"

    def sample(
        self, space: SearchSpace, trials: Sequence[SearchTrial], rng: np.random.Generator
    ) -> Configuration:
        """Whatever comes; see :class:`~daskperiment.search.samplers.Samples`."""
        return space.sample(rng)
