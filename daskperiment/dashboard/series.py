"""Curves: series of metrics as arrays, and the few points of them that a chart needs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from daskperiment.backends.base import Backend
from daskperiment.history import paths
from daskperiment.history.summaries import stamp
from daskperiment.typing import Document

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_MOST = 32
"""Trials whose curves are held."""
_KEPT = 4
"""Points that are kept of each bucket."""


class Curve(NamedTuple):
    """One series, in the order of its epochs.

    Parameters
    ----------
    epochs, values, times : array
        Integers, floats, and Unix times.
    """

    epochs: Array
    values: Array
    times: Array

    def __len__(self) -> int:
        return len(self.epochs)

    def between(self, start: int | None, end: int | None) -> Curve:
        """The points from one epoch to another, both included."""
        import numpy as np

        first = 0 if start is None else int(np.searchsorted(self.epochs, start, "left"))
        last = len(self) if end is None else int(np.searchsorted(self.epochs, end, "right"))
        return Curve(*(column[first:last] for column in self))

    def thinned(self, most: int) -> Curve:
        """At most so many of its points, which drawn look as all do.

        The series is cut into buckets of equally many points, and of each the first, the
        lowest, the highest and the last one stay, as in the M4 aggregation (Jugel et al., "M4:
        A Visualization-Oriented Time Series Data Aggregation", VLDB 2014).

        Parameters
        ----------
        most : int
            At least 4.

        Examples
        --------
        >>> import numpy as np
        >>> values = np.zeros(1000)
        >>> values[617] = 9
        >>> few = Curve(np.arange(1000), values, values).thinned(100)
        >>> len(few) <= 100, few.values.max()
        (True, np.float64(9.0))
        """
        if len(self) <= most:
            return self
        at = _kept(self.values, max(1, most // _KEPT))
        return Curve(*(column[at] for column in self))


def _kept(values: Array, buckets: int) -> Array:
    """Positions of the points that stay."""
    import numpy as np

    edges = np.linspace(0, len(values), buckets + 1).astype(np.intp)
    starts, ends = edges[:-1], edges[1:]
    width = int((ends - starts).max())
    at = np.minimum(starts[:, None] + np.arange(width), (ends - 1)[:, None])
    inside = values[at]
    missing = np.isnan(inside)
    lowest = np.where(missing, np.inf, inside).argmin(1)
    highest = np.where(missing, -np.inf, inside).argmax(1)
    rows = np.arange(buckets)
    return np.unique(np.concatenate((starts, ends - 1, at[rows, lowest], at[rows, highest])))


class _Known(NamedTuple):
    """What was read of a log: the stamp of its trial, how much, the curves, and their last epochs.

    The last epoch is that of the point that was saved last, which need not be the highest.
    """

    stamp: Hashable = None
    length: int = 0
    curves: Mapping[str, Curve] = MappingProxyType({})
    epochs: Mapping[str, int] = MappingProxyType({})


class Curves:
    """Series of metrics as arrays, of the trials that were asked for last: each point is read once.

    May be used by many threads.

    Parameters
    ----------
    backend : Backend
        Where they are.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def read(self, experiment: str, row: Document) -> Mapping[str, Curve]:
        """All series of a trial, of which this is the row, by name."""
        uid, now = str(row["uid"]), stamp(row)
        with self._lock:
            known = self._known.get(uid, _Known(now))
        if known.stamp != now:
            known = _Known(now)
        entries = self._backend.read(paths.metrics(experiment, uid), known.length)
        found = _longer(known, entries) if entries else known
        with self._lock:
            self._known[uid] = found
            self._known.move_to_end(uid)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return found.curves


def _longer(known: _Known, entries: list[Any]) -> _Known:
    """The same with what more entries of the log add."""
    added: dict[str, tuple[list[Any], list[Any], list[Any]]] = {}
    for batch in entries:
        for name, columns in batch.items():
            epochs, values, times = columns
            if not len(epochs) == len(values) == len(times):
                raise ValueError("the columns of a metric are not equally long")
            for column, more in zip(added.setdefault(name, ([], [], [])), columns, strict=True):
                column.extend(more)
    curves, last = dict(known.curves), dict(known.epochs)
    for name, (epochs, values, times) in added.items():
        if None in epochs:
            epochs = _counted(epochs, last.get(name, -1))
        if epochs:
            curves[name] = _joined(curves.get(name), _curve(epochs, values, times))
            last[name] = epochs[-1]
    return _Known(known.stamp, known.length + len(entries), curves, last)


def _counted(epochs: list[int | None], last: int) -> list[int]:
    """The epochs; None is the one after the point before it."""
    found = []
    for epoch in epochs:
        last = last + 1 if epoch is None else epoch
        found.append(last)
    return found


def _curve(epochs: list[int], values: list[float], times: list[float]) -> Curve:
    import numpy as np

    return Curve(np.array(epochs, np.int64), np.array(values, np.float64), np.array(times, float))


def _joined(curve: Curve | None, more: Curve) -> Curve:
    """The points of both in the order of their epochs, those of one epoch as they were saved."""
    import numpy as np

    if curve is not None:
        more = Curve(*map(np.concatenate, zip(curve, more, strict=True)))
    if (np.diff(more.epochs) < 0).any():
        order = np.argsort(more.epochs, kind="stable")
        return Curve(*(column[order] for column in more))
    return more
