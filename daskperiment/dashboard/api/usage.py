"""What the processes of a trial have used while it ran."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import Query, get
from daskperiment.dashboard.series import Curve
from daskperiment.history import paths
from daskperiment.history.forgetting import check_kept
from daskperiment.history.summaries import stamp
from daskperiment.history.usage import Series, series_of
from daskperiment.records import TrialState
from daskperiment.typing import Document

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = 50
_LONGEST = 2**31
_SERIES = 200
"""Series of a reply: one for each process and name."""


@get(
    "/experiments/<experiment>/trials/<trial:number>/usage",
    Query("names", "The columns that are wanted; all unless given.", most=250, many=_NAMES),
    Query("points", "Points of each series.", "integer", default=1000, least=4, most=20_000),
    Query("start", "First second.", "integer", most=_LONGEST),
    Query("end", "Last second.", "integer", most=_LONGEST),
)
def usage(board: Board, experiment: str, number: int, query: dict[str, Any]) -> Document:
    """What was used between two seconds since the trial began, by process and column.

    ``cpu`` and ``gpu0`` and so on are percent of one processor or device, ``memory`` and
    ``gpu0_memory`` bytes.  Series are thinned as those of metrics are.  ``ended`` says whether no
    more will come.
    """
    row = board.experiment(experiment).trials.get(number)
    check_kept(row, "usage")
    entries = board.tail.read(paths.usage(experiment, row["uid"]), stamp(row))
    found = [
        {"name": name, "host": series.host, "pid": series.pid, **_shown(curve, query)}
        for series in series_of(entries).values()
        for name, curve in _curves(series)
        if not query["names"] or name in query["names"]
    ]
    return {"series": found[:_SERIES], "ended": TrialState(row["state"]).ended}


def _curves(series: Series) -> Iterator[tuple[str, Curve]]:
    import numpy as np

    seconds = np.array(series.seconds, np.float64)
    order = np.argsort(seconds, kind="stable")
    for name, column in series.columns.items():
        values = np.array([np.nan if value is None else value for value in column], np.float64)
        yield name, Curve(seconds[order], values[order], seconds[order])


def _shown(curve: Curve, query: dict[str, Any]) -> Document:
    inside = curve.between(query["start"], query["end"])
    drawn = inside.thinned(query["points"])
    return {
        "points": len(curve),
        "inside": len(inside),
        "exact": len(drawn) == len(inside),
        "seconds": drawn.epochs.tolist(),
        "values": [value if math.isfinite(value) else None for value in drawn.values.tolist()],
    }
