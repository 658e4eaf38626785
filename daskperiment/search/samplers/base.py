"""What a sampler is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, runtime_checkable

from daskperiment.errors import SamplerError
from daskperiment.typing import Document

if TYPE_CHECKING:
    import numpy as np

    from daskperiment.search.space import Configuration, SearchSpace
    from daskperiment.search.trials import SearchTrial


@runtime_checkable
class Samples(Protocol):
    """Anything that suggests configurations: the one method that a sampler of yours needs."""

    def sample(
        self, space: SearchSpace, trials: Sequence[SearchTrial], rng: np.random.Generator
    ) -> Configuration:
        """The configuration of the next trial.

        Parameters
        ----------
        space : SearchSpace
            What there is to choose from.
        trials : sequence of SearchTrial
            The trials so far: those that have ended in the order in which the search has heard of
            that, then those that run.
        rng : numpy.random.Generator
            The source of all chance, which follows from the seed of the search and the place of
            the trial: whoever uses no other one suggests the same once more.
        """
        ...


class Sampler:
    """Base of the samplers that are here: plain values, that a document describes."""

    name: ClassVar[str]
    """Its name, as in ``sampler="grid"``."""
    learns: ClassVar[bool] = False
    """Whether what it suggests depends on what it has suggested before, and not on trials alone.

    Such a one is told again, in a search that is resumed, what it has been told.
    """

    def begun(self, space: SearchSpace, seed: int, metrics: int) -> Self:
        """One for a search that begins, or goes on in this process.

        Parameters
        ----------
        space : SearchSpace
            What there is to choose from.
        seed : int
            From what all chance follows that is not that of ``rng``.
        metrics : int
            How many losses each trial has.

        Raises
        ------
        SamplerError
            It cannot search such a space, or by so many metrics.
        """
        return self

    def size(self, space: SearchSpace) -> int | None:
        """How many trials there are at most; None if there is no end."""
        return None

    def sample(
        self, space: SearchSpace, trials: Sequence[SearchTrial], rng: np.random.Generator
    ) -> Configuration:
        """The configuration of the next trial; see :class:`Samples`."""
        raise NotImplementedError

    def document(self) -> Document:
        """It as JSON; :func:`~daskperiment.search.samplers.sampler_of` makes it again."""
        return {"name": self.name, **self._options()}

    def _options(self) -> Document:
        return {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sampler) and self.document() == other.document()

    def __hash__(self) -> int:
        return hash(repr(sorted(self.document().items(), key=str)))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._options().items())
        return f"{type(self).__name__}({given})"


def one_metric(name: str, metrics: int) -> None:
    """Raise SamplerError where there are several metrics to search by, and it can do only one."""
    if metrics > 1:
        raise SamplerError(
            f"Sampler {name!r} searches by one metric, and there are {metrics}: name the "
            "main_metric, or take sampler='tpe' or 'random'"
        )


def suggested(trials: Sequence[SearchTrial]) -> int:
    """Which suggestion of the sampler is asked for, from 0.

    Examples
    --------
    >>> from daskperiment.search.trials import SearchTrial, SearchTrials
    >>> suggested([SearchTrial(0, {})]), suggested(SearchTrials(suggested=5))
    (1, 5)
    """
    told = getattr(trials, "suggested", None)
    return len(trials) if told is None else int(told)
