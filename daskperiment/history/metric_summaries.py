"""Metrics of trials in short."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

from daskperiment.backends.base import Backend
from daskperiment.history import paths
from daskperiment.history.news import news

_SPARK = 40
"""Points of a small curve, at most."""
_MOST = 2000
"""Trials whose metrics are held in short."""
_PAUSE = 30.0
"""Seconds for which nothing new is looked for where a trial has ended."""


class Summary(NamedTuple):
    """A series in short.

    Parameters
    ----------
    points : int
        How many points there are.
    epoch, last : int, float
        The last point.
    min, max : float or None
        Lowest and highest value, NaN aside.
    spark : list of float
        Values at equal distances from the first one on.
    step : int
        That distance, in points.
    """

    points: int
    epoch: int
    last: float
    min: float | None
    max: float | None
    spark: list[float | None]
    step: int = 1

    def followed_by(self, epochs: Sequence[Any], values: Sequence[Any]) -> Summary:
        """The series with more points; those with the epoch None follow the one before them."""
        given = next((at for at in range(len(epochs) - 1, -1, -1) if epochs[at] is not None), None)
        after = len(epochs) - (0 if given is None else given + 1)
        epoch = self.epoch if given is None else epochs[given]
        known = [value for value in values if value == value]
        lowest = [value for value in (self.min, *known) if value is not None]
        highest = [value for value in (self.max, *known) if value is not None]
        spark, step = [*self.spark, *values[-self.points % self.step :: self.step]], self.step
        while len(spark) > _SPARK:
            spark, step = spark[::2], 2 * step
        return Summary(
            self.points + len(values),
            epoch + after if after else epoch,
            values[-1],
            min(lowest, default=None),
            max(highest, default=None),
            spark,
            step,
        )


_NONE = Summary(0, -1, 0.0, None, None, [])


class _Known(NamedTuple):
    """What was read of a log."""

    length: int
    last: Any
    found: dict[str, Summary]
    until: float = 0.0
    """Moment until which it is taken for all that there is."""


class Summaries:
    """Metrics in short, of one experiment's trials: each point is read once.

    May be used by many threads.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self._backend = backend
        self._name = name
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def summary(self, uid: str, ended: bool = False) -> dict[str, Summary]:
        """Each series of a trial in short.

        Once a trial has ended hardly anything comes any more: for many of them a server that is
        far away is not asked each time.

        Parameters
        ----------
        uid : str
            The trial.
        ended : bool
            Whether it has ended; then what comes since is seen half a minute later.
        """
        now = time.monotonic()
        with self._lock:
            known = self._known.get(uid) or _Known(0, None, {})
            if ended and now < known.until:
                self._known.move_to_end(uid)
                return dict(known.found)
        found = self._read(uid, known)._replace(until=now + _PAUSE if ended else 0.0)
        with self._lock:
            self._known[uid] = found
            self._known.move_to_end(uid)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return dict(found.found)

    def _read(self, uid: str, known: _Known) -> _Known:
        path = paths.metrics(self._name, uid)
        entries = news(self._backend, path, known.length, known.last)
        if entries is None:
            known, entries = _Known(0, None, {}), self._backend.read(path)
        if not entries:
            return known
        found = _added(known.found, entries)
        return _Known(known.length + len(entries), entries[-1], found)


def _added(before: dict[str, Summary], entries: list[Any]) -> dict[str, Summary]:
    found = dict(before)
    for batch in entries:
        for name, columns in batch.items():
            epochs, values, times = columns
            if not len(epochs) == len(values) == len(times):
                raise ValueError("the columns of a metric are not equally long")
            if values:
                found[name] = found.get(name, _NONE).followed_by(epochs, values)
    return found
