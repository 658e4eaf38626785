"""The board: the store that a dashboard shows, and what it remembers of it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress

from daskperiment.backends.base import Backend
from daskperiment.backends.reading import ReadOnlyBackend
from daskperiment.dashboard.series import Curves
from daskperiment.dashboard.tail import Tail
from daskperiment.errors import ExperimentNotFoundError
from daskperiment.history import paths
from daskperiment.history.activity import Activities, Activity
from daskperiment.history.columns import ENDED
from daskperiment.history.summaries import Summaries, Summary, stamp
from daskperiment.history.trials import Trials
from daskperiment.search.watch import Watches
from daskperiment.typing import Document

_MOST = 16
"""Experiments whose trials are held in memory."""


class Shown:
    """One experiment, as the board knows it.

    Attributes
    ----------
    trials : Trials
        Its trials, with their rows in memory.
    watches : Watches
        Its searches, as far as they were read.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.name = name
        self.backend = backend
        self.trials = Trials(backend, name)
        self.watches = Watches(self.trials)
        self._summaries = Summaries(backend, name)

    def summary(self, row: Document) -> dict[str, Summary]:
        """The metrics of a trial in short."""
        return self._summaries.summary(row["uid"], stamp(row), row["state"] in ENDED)


class Board:
    """What a dashboard shows, read only.

    May be used by many threads.

    Parameters
    ----------
    backend : Backend
        The store.
    experiment : str, optional
        The experiment that it was opened on: the first page shows it, also before its first
        trial.

    Attributes
    ----------
    backend : Backend
        The store, of which nothing can be changed.
    opened : str or None
        The experiment that it was opened on.
    """

    def __init__(self, backend: Backend, experiment: str | None = None) -> None:
        self.backend = ReadOnlyBackend(backend)
        self.opened = experiment
        self.tail = Tail(self.backend)
        self.curves = Curves(self.backend)
        self._lock = threading.Lock()
        self._shown: OrderedDict[str, Shown] = OrderedDict()
        self._listed: dict[str, Trials] = {}
        self._watched: dict[str, tuple[threading.Lock, Activities]] = {}

    def names(self) -> list[str]:
        """Ids of all experiments, in alphabetical order."""
        found = {str(name) for name, _ in self.backend.find(paths.EXPERIMENTS, fields=[])}
        return sorted(found | ({self.opened} if self.opened else set()))

    def listed(self, name: str) -> Trials:
        """Trials of one of :meth:`names`, to be counted: their rows are not held in memory."""
        with self._lock:
            return self._listed.setdefault(name, Trials(self.backend, name))

    def activity(self, name: str, most: int) -> Activity:
        """What one of :meth:`names` does now; see :meth:`Activities.look`."""
        with self._lock:
            known = self._watched.get(name)
            if known is None:
                known = self._watched[name] = threading.Lock(), Activities(self.backend, name)
        lock, activities = known
        with lock:
            return activities.look(most)

    def warm(self) -> None:
        """Read the trials of the experiment that is likely to be shown first.

        Its first page then need not wait for that.
        """
        with suppress(Exception):  # whoever asks for the page is told
            names = [self.opened] if self.opened else self.names()
            if len(names) == 1:
                with self.experiment(names[0]).trials.mirror.columns() as columns:
                    columns.positions()  # by arrays, whose library takes a while to import

    def experiment(self, name: str) -> Shown:
        """One experiment; ExperimentNotFoundError where there is none."""
        if name != self.opened and self.backend.get(paths.EXPERIMENTS, name) is None:
            raise ExperimentNotFoundError(f"There is no experiment {name!r} in {self.backend!r}")
        with self._lock:
            shown = self._shown.get(name)
            if shown is None:
                shown = self._shown[name] = Shown(self.backend, name)
            self._shown.move_to_end(name)
            while len(self._shown) > _MOST:
                self._shown.popitem(last=False)
        return shown
