"""Curves: series of metrics as arrays, and the few points of them that a chart needs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from daskperiment.dashboard.tail import Tail
from daskperiment.history import paths
from daskperiment.history.metrics import series_of
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


class Curves:
    """Series of metrics as arrays, of the trials that were asked for last.

    May be used by many threads.

    Parameters
    ----------
    tail : Tail
        The logs.
    """

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[tuple[int, Hashable], dict[str, Curve]]] = OrderedDict()

    def read(self, experiment: str, row: Document) -> dict[str, Curve]:
        """All series of a trial, of which this is the row, by name."""
        uid: str = row["uid"]
        entries = self._tail.read(paths.metrics(experiment, uid), stamp(row))
        version = len(entries), stamp(row)
        with self._lock:
            known = self._known.get(uid)
            if known and known[0] == version:
                self._known.move_to_end(uid)
                return known[1]
        curves = {name: _curve(points) for name, points in series_of(entries).items()}
        with self._lock:
            self._known[uid] = version, curves
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return curves


def _curve(points: list[Any]) -> Curve:
    import numpy as np

    epochs, values, times = zip(*points, strict=True)
    found = Curve(
        np.array(epochs, np.int64), np.array(values, np.float64), np.array(times, np.float64)
    )
    if (np.diff(found.epochs) < 0).any():
        order = np.argsort(found.epochs, kind="stable")
        return Curve(*(column[order] for column in found))
    return found
