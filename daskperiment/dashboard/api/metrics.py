"""Curves of metrics, of one trial or of several."""

from __future__ import annotations

import math
from typing import Any

from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import Query, get
from daskperiment.dashboard.series import Curve
from daskperiment.history import documents
from daskperiment.history.forgetting import check_kept
from daskperiment.typing import JSON, Document

_NAMES = 50
_TRIALS = 20
_FURTHEST = 2**53
_FEWEST = 4
_POINTS = 200_000
"""Points of all series of a reply together."""


@get(
    "/experiments/<experiment>/metrics",
    Query("trials", "Numbers of trials.", "integer", least=1, most=_FURTHEST, many=_TRIALS),
    Query("names", "The metrics that are wanted; all unless given.", most=250, many=_NAMES),
    Query("points", "Points of each series.", "integer", default=1000, least=_FEWEST, most=20_000),
    Query("start", "First epoch.", "integer", least=-_FURTHEST, most=_FURTHEST),
    Query("end", "Last epoch.", "integer", least=-_FURTHEST, most=_FURTHEST),
)
def metrics(board: Board, experiment: str, query: dict[str, Any]) -> Document:
    """Series of metrics between two epochs, in the order of their epochs.

    A series with more points than are wanted is thinned: of each of many short stretches the
    first, the lowest, the highest and the last point stay.  ``exact`` says that none is left
    out; then each has its time.  ``points`` counts all points, ``inside`` those between the
    epochs.  Many series at once have fewer points each.  Among several trials one whose metrics
    were forgotten has no series.
    """
    found: list[tuple[int, str, Curve]] = []
    trials = board.experiment(experiment).trials
    rows = {number: trials.get(number) for number in dict.fromkeys(query["trials"])}
    for number, row in rows.items():
        if len(rows) == 1:
            check_kept(row, "metrics")
        curves = board.curves.read(experiment, row)
        for name in query["names"] or list(curves)[:_NAMES]:
            if name in curves:
                found.append((number, name, curves[name]))
    points = min(query["points"], max(_FEWEST, _POINTS // max(1, len(found))))
    return {
        "series": [
            {"trial": number, "name": name, **_series(curve, query, points)}
            for number, name, curve in found
        ]
    }


def _series(curve: Curve, query: dict[str, Any], points: int) -> Document:
    inside = curve.between(query["start"], query["end"])
    drawn = inside.thinned(points)
    exact = len(drawn) == len(inside)
    shown: Document = {
        "points": len(curve),
        "inside": len(inside),
        "exact": exact,
        "epochs": drawn.epochs.tolist(),
        "values": list(map(_number, drawn.values.tolist())),
    }
    return shown | ({"times": list(map(documents.time, drawn.times.tolist()))} if exact else {})


def _number(value: float) -> JSON:
    return value if math.isfinite(value) else repr(value)
