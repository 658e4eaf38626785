"""Trials, as samplers see them: what was tried, and how good it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from daskperiment.records import TrialState


@dataclass(frozen=True, slots=True)
class SearchTrial:
    """One trial of a search.

    Parameters
    ----------
    place : int
        Its place in the search, from 0; -1 of one that the search begins from.
    parameters : dict
        Its configuration of the search space.
    state : TrialState
        ``RUNNING`` also of one that is about to begin.
    losses : tuple of float, optional
        One number for each metric, of which **less is better** whatever the direction; None of one
        that has none, because it runs, has failed, or gave no number.
    reports : mapping of int to float
        What one that is PRUNED has reported by epoch, less is better as well.

    Examples
    --------
    >>> SearchTrial(0, {"rate": 0.1}, TrialState.COMPLETE, (0.25,)).loss
    0.25
    """

    place: int
    parameters: Mapping[str, Any]
    state: TrialState = TrialState.RUNNING
    losses: tuple[float, ...] | None = None
    reports: Mapping[int, float] = field(default_factory=dict)

    @property
    def loss(self) -> float | None:
        """The first of its losses."""
        return None if self.losses is None else self.losses[0]


class SearchTrials(Sequence[SearchTrial]):
    """The trials that a sampler sees: those that have ended, in the order told, then the others.

    What has ended stays where it is in the sequence and never changes, so that a sampler which
    learns may go on where it was.

    Parameters
    ----------
    ended : iterable of SearchTrial
        Those that have ended.
    running : iterable of SearchTrial
        The others.
    suggested : int, optional
        Which suggestion is asked for, from 0; default one more than there are trials.

    Examples
    --------
    >>> ended = SearchTrial(0, {"rate": 0.1}, TrialState.COMPLETE, (0.25,))
    >>> trials = SearchTrials([ended], [SearchTrial(1, {"rate": 0.2})])
    >>> len(trials), trials[-1].place
    (2, 1)
    """

    def __init__(
        self,
        ended: Iterable[SearchTrial] = (),
        running: Iterable[SearchTrial] = (),
        suggested: int | None = None,
    ) -> None:
        self.ended = list(ended)
        self.suggested = suggested
        self._running = {trial.place: trial for trial in running}

    @property
    def running(self) -> Sequence[SearchTrial]:
        """Those that have not ended."""
        return list(self._running.values())

    def begin(self, trial: SearchTrial) -> None:
        """Take in one that has begun."""
        self._running[trial.place] = trial

    def end(self, trial: SearchTrial) -> None:
        """Take in one that has ended."""
        self._running.pop(trial.place, None)
        self.ended.append(trial)

    def __len__(self) -> int:
        return len(self.ended) + len(self._running)

    @overload
    def __getitem__(self, index: int) -> SearchTrial: ...

    @overload
    def __getitem__(self, index: slice) -> list[SearchTrial]: ...

    def __getitem__(self, index: int | slice) -> SearchTrial | list[SearchTrial]:
        if isinstance(index, int) and 0 <= index < len(self.ended):
            return self.ended[index]
        if isinstance(index, slice) and index.step in (None, 1):
            start, stop, _ = index.indices(len(self))
            least = len(self.ended)
            return self.ended[start:stop] + self._others(start - least, stop - least)
        return [*self.ended, *self._running.values()][index]

    def _others(self, start: int, stop: int) -> list[SearchTrial]:
        return list(self._running.values())[max(start, 0) : max(stop, 0)]

    def __iter__(self) -> Iterator[SearchTrial]:
        yield from self.ended
        yield from self._running.values()
