"""The board: the store that a dashboard shows, and what it remembers of it."""

from __future__ import annotations

import threading
from collections import OrderedDict

from daskperiment.backends.base import Backend
from daskperiment.backends.reading import ReadOnlyBackend
from daskperiment.dashboard.series import Curves
from daskperiment.dashboard.tail import Tail
from daskperiment.errors import ExperimentNotFoundError
from daskperiment.history import paths
from daskperiment.history.summaries import Summaries
from daskperiment.history.trials import Trials

_MOST = 16
"""Experiments whose trials are held in memory."""


class Shown:
    """One experiment, as the board knows it.

    Attributes
    ----------
    trials : Trials
        Its trials, with their rows in memory.
    summaries : Summaries
        Its metrics in short.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.name = name
        self.backend = backend
        self.trials = Trials(backend, name)
        self.summaries = Summaries(backend, name)


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
        self.curves = Curves(self.tail)
        self._lock = threading.Lock()
        self._shown: OrderedDict[str, Shown] = OrderedDict()

    def names(self) -> list[str]:
        """Ids of all experiments, in alphabetical order."""
        found = {str(name) for name, _ in self.backend.find(paths.EXPERIMENTS, fields=[])}
        return sorted(found | ({self.opened} if self.opened else set()))

    def trials(self, name: str) -> Trials:
        """Trials of an experiment, which for this alone is not held in memory."""
        with self._lock:
            shown = self._shown.get(name)
        return Trials(self.backend, name) if shown is None else shown.trials

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
