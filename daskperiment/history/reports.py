"""Reports: what the trials of one search have told of themselves so far."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from daskperiment.backends.base import Backend
from daskperiment.history import paths
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState
from daskperiment.typing import Document

REPORT = "report"
"""Name of the metric that reports are kept as."""
SEARCH = "search"
"""Field of a row that names the search which the trial is part of."""
PLACE = "place"
"""Field of a row with the place of the trial in its batch or search, that of all attempts at it."""
_SHARE = 0.1
"""The part of its time that a process may spend with looking for news."""


class Reported(NamedTuple):
    """What one trial has reported.

    Parameters
    ----------
    trial : str
        Its uid; its place as text, where places are asked for.
    reports : dict
        The last value of each epoch.
    complete : bool
        Whether it is COMPLETE.
    """

    trial: str
    reports: dict[int, float]
    complete: bool


def joined(before: Mapping[int, float], own: Mapping[int, float]) -> dict[int, float]:
    """The reports of an attempt, behind those of the attempt before that it has not made again.

    Examples
    --------
    >>> joined({1: 0.9, 2: 0.8, 3: 0.7}, {3: 0.6, 4: 0.5})
    {1: 0.9, 2: 0.8, 3: 0.6, 4: 0.5}
    """
    first = min(own, default=math.inf)
    return {**{epoch: value for epoch, value in before.items() if epoch < first}, **own}


class Series:
    """The reports of one trial, of which each reading reads what is new.

    Parameters
    ----------
    backend, name, uid : Backend, str, str
        The trial.
    place : int, optional
        Its place.
    before : Series, optional
        Those of the attempt before it, which has ended: of them all count that come before its
        own, as it may have gone on from a checkpoint.
    """

    def __init__(
        self,
        backend: Backend,
        name: str,
        uid: str,
        place: int | None = None,
        before: Series | None = None,
    ) -> None:
        self.uid = uid
        self.place = place
        self._before = before
        self._own: dict[int, float] = {}
        self._backend = backend
        self._path = paths.metrics(name, uid)
        self._entries = 0
        self._last = -1

    def read(self) -> dict[int, float]:
        """The last value of each epoch."""
        if self._before is not None and not self._entries:
            self._before.read()
        entries = self._backend.read(self._path, self._entries)
        for batch in entries:
            for epoch, value, _ in zip(*batch.get(REPORT, ((), (), ())), strict=True):
                self._last = self._last + 1 if epoch is None else epoch
                self._own[self._last] = value
        self._entries += len(entries)
        return self.reports

    @property
    def reports(self) -> dict[int, float]:
        """What has been read."""
        return self._own if self._before is None else joined(self._before.reports, self._own)


class Reports:
    """The reports of all trials of one search; safe to use from several threads.

    A look reads the rows that are new, those of the trials that have not ended, and what these
    have reported since.

    Parameters
    ----------
    trials : Trials
        The trials of its experiment.
    search : str
        Which search.
    running : bool
        Whether also those of trials that are not COMPLETE are asked for.
    """

    def __init__(self, trials: Trials, search: str, running: bool) -> None:
        self._trials = trials
        self._search = search
        self._running = running
        self._lock = threading.Lock()
        self._seen = 0
        self._open: dict[int, Series] = {}
        self._ended: list[Reported] = []
        self._attempts: dict[str, Series] = {}
        self._replaced: set[str] = set()
        self._done: dict[int, tuple[int, Reported]] = {}
        self._due = 0.0

    def others(self, uid: str, now: bool) -> Sequence[Reported]:
        """Those of all trials but one, without attempts that were made again.

        Parameters
        ----------
        uid : str
            The one.
        now : bool
            Whether it is looked again in any case, and not as often as costs little.

        Raises
        ------
        BackendError
            The store cannot be asked.
        """
        with self._lock:
            self._catch_up(now)
            # Copies: another thread may read on meanwhile.
            still = [Reported(e.uid, dict(e.reports), False) for e in self._open.values()]
            known = [*self._ended, *still] if self._running else self._ended
            left_out = self._replaced | {uid}
            return [each for each in known if each.trial not in left_out]

    def before(self, place: int) -> Sequence[Reported]:
        """Those of all places before one, whose trials have ended: the same at any later time.

        Of each place it is the last attempt that is COMPLETE, PRUNED or FAILED.

        Raises
        ------
        BackendError
            The store cannot be asked.
        """
        with self._lock:
            self._catch_up(now=True)
            return [each for where, (_, each) in self._done.items() if where < place]

    def _catch_up(self, now: bool) -> None:
        if now or time.monotonic() >= self._due:
            begun = time.monotonic()
            try:
                self._look()
            finally:
                ended = time.monotonic()
                self._due = ended + (ended - begun) / _SHARE

    def _look(self) -> None:
        self._find()
        numbers = list(self._open)
        for number, row in zip(numbers, self._trials.rows(numbers), strict=True):
            series = self._open[number]
            complete = row is not None and row["state"] == TrialState.COMPLETE
            if row is not None and (complete or self._running):
                series.read()
            # The end of a step is none: a scheduler may run it again.
            if row is None or (TrialState(row["state"]).ended and row.get("ended_by") != "step"):
                if row is not None and (complete or self._running):
                    self._end(number, series, TrialState(row["state"]))
                del self._open[number]

    def _end(self, number: int, series: Series, state: TrialState) -> None:
        ended = Reported(series.uid, series.reports, state is TrialState.COMPLETE)
        self._ended.append(ended)
        if series.place is None or not (state.done or state is TrialState.FAILED):
            return
        if number > self._done.get(series.place, (0, ended))[0]:
            self._done[series.place] = number, ended._replace(trial=str(series.place))

    def _find(self) -> None:
        newest = self._trials.last()
        if newest == self._seen:
            return
        backend, name = self._trials.backend, self._trials.name
        fields, after = ["uid", PLACE, "retry_of"], self._seen or None
        found = self._trials.find({SEARCH: self._search}, fields, after=after)
        for number, row in found:
            uid, again = row["uid"], str(row.get("retry_of"))
            series = Series(backend, name, uid, _place(row), self._attempts.get(again))
            self._open[number] = self._attempts[uid] = series
            self._replaced.add(again)
            newest = max(newest, number)  # one may have begun since
        self._seen = newest


def _place(row: Document) -> int | None:
    place = row.get(PLACE)
    return place if isinstance(place, int) else None
