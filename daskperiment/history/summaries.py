"""Summaries of metrics: what a row of a list shows of each series, kept while it grows."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

from daskperiment.backends.base import Backend
from daskperiment.history import paths
from daskperiment.spark import Spark
from daskperiment.typing import Document

_MOST_TRIALS = 4000
_MOST_SERIES = 20_000
_PAUSE = 30.0
"""Seconds for which nothing new is looked for where a trial has ended."""


class Summary(NamedTuple):
    """What is shown of one metric of one trial.

    Parameters
    ----------
    points : int
        How many values were saved.
    epoch : int
        Epoch of the last one.
    last : int or float
        The last one.
    min, max : int, float or None
        Least and highest value, NaN left out; None where there is no other.
    spark : list of (float or None)
        At most 40 values that show how it went; None is a gap.
    """

    points: int
    epoch: int
    last: int | float
    min: int | float | None
    max: int | float | None
    spark: list[float | None]


def stamp(row: Document) -> Hashable:
    """What changes in a trial's row whenever one of its parts is forgotten."""
    revision = row.get("revision")
    return revision if isinstance(revision, str) else None


class Summaries:
    """Summaries of the metrics of one experiment's trials; threads may share it.

    A second look at a trial reads only what was saved since.  What was read is kept for some
    thousand trials, those that were looked at last.

    Parameters
    ----------
    backend : Backend
        Where the trials are; nothing is written to it.
    name : str
        Id of the experiment.

    Notes
    -----
    A log only grows, except when metrics are forgotten: then it is replaced, perhaps by as many
    entries.  That is not seen in the log, but in the row, whose ``revision`` the same group of
    writes makes another one.  So a look with another stamp than the one before begins anew.  The
    row has to be read before the look: then a log that is newer than its stamp is only read once
    more.  The stamp is the only thing that is not found out here, because who shows a list has its
    rows at hand.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self._backend = backend
        self._name = name
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Trial] = OrderedDict()
        self._series = 0

    def summary(self, uid: str, stamp: Hashable = None, ended: bool = False) -> dict[str, Summary]:
        """The summary of each metric of a trial, in the order in which they were first saved.

        Parameters
        ----------
        uid : str
            The trial.
        stamp : hashable
            :func:`stamp` of its row, as it was before this look.
        ended : bool
            Whether it had ended by then.  Hardly anything is saved behind the end, so that a list
            of many such trials does not ask a server that is far away for the log of each, each
            time: what comes all the same is seen half a minute later.

        Returns
        -------
        dict
            Summary by name; empty where nothing was saved, or all was forgotten.
        """
        with self._lock:
            trial = self._known.setdefault(uid, _Trial())
            self._known.move_to_end(uid)
        with trial.lock:
            if trial.stamp != stamp:
                trial.begin(stamp)
            now = time.monotonic()
            if not ended or now >= trial.until:
                self._follow(uid, trial)
                trial.until = now + _PAUSE if ended else 0.0
            found = {name: series.summary() for name, series in trial.series.items()}
        self._count(uid, trial, len(found))
        return found

    def _follow(self, uid: str, trial: _Trial) -> None:
        """Add what was saved since the last look."""
        entries = self._backend.read(paths.metrics(self._name, uid), trial.entries)
        try:
            for entry in entries:
                trial.add(entry)
        except BaseException:  # also an interrupt: some of an entry may be counted
            trial.begin(trial.stamp)
            raise

    def _count(self, uid: str, trial: _Trial, size: int) -> None:
        """Drop what was not looked at for long; a trial that is dropped is read again."""
        with self._lock:
            if self._known.get(uid) is not trial:
                return
            self._series += size - trial.counted
            trial.counted = size
            while self._known and (len(self._known) > _MOST_TRIALS or self._series > _MOST_SERIES):
                _, dropped = self._known.popitem(last=False)
                self._series -= dropped.counted


class _Trial:
    """How far the log of a trial was read, and its series up to there."""

    __slots__ = ("counted", "entries", "lock", "series", "stamp", "until")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counted = 0
        self.begin(None)

    def begin(self, stamp: Hashable) -> None:
        self.stamp = stamp
        self.entries = 0
        self.until = 0.0
        self.series: dict[str, _Series] = {}

    def add(self, entry: Any) -> None:
        self.entries += 1
        for name, columns in entry.items() if isinstance(entry, dict) else ():
            series = self.series.get(name)
            for epoch, value in _points(columns):
                if series is None:
                    series = self.series[name] = _Series()
                series.add(epoch, value)


class _Series:
    """One series, as far as it was read."""

    __slots__ = ("epoch", "last", "max", "min", "points", "spark")

    def __init__(self) -> None:
        self.points = 0
        self.epoch = -1
        self.last: int | float = math.nan
        self.min: int | float | None = None
        self.max: int | float | None = None
        self.spark = Spark()

    def add(self, epoch: int | None, value: int | float) -> None:
        self.points += 1
        self.epoch = self.epoch + 1 if epoch is None else epoch
        self.last = value
        if not math.isnan(value):
            self.min = value if self.min is None or value < self.min else self.min
            self.max = value if self.max is None or value > self.max else self.max
        self.spark.extend((value,))

    def summary(self) -> Summary:
        spark = self.spark.values()
        return Summary(self.points, self.epoch, self.last, self.min, self.max, spark)


def _points(columns: Any) -> Iterator[tuple[int | None, int | float]]:
    """Epochs and values of a batch, without what is none: others may write to a shared store."""
    if not isinstance(columns, list) or len(columns) < 2:
        return
    epochs, values = columns[:2]
    if not isinstance(epochs, list) or not isinstance(values, list):
        return
    for epoch, value in zip(epochs, values, strict=False):
        if _is_number(value) and (epoch is None or type(epoch) is int):
            yield epoch, value


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and -(2**64) < value < 2**64)
