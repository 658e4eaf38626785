"""What runs now and where."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import Query, get
from daskperiment.history import documents
from daskperiment.history.activity import Running
from daskperiment.spark import Spark
from daskperiment.typing import JSON, Document

_MOST = 100
"""Running trials of an experiment that are shown."""
_METRICS = 6
_PARAMETERS = 20
_LONGEST = 120
"""Characters of a parameter."""


@get("/running", Query("experiment", "Only this experiment.", most=64))
def running(board: Board, query: dict[str, Any]) -> Document:
    """Batches and trials that run, of all experiments or of one, and trials that crashed meanwhile.

    Each of ``running`` has its latest ``metrics`` and what its processes use in ``usage``, both
    with ``spark``, how that went; ``more`` counts those that are left out, the oldest of an
    experiment.  ``crashed`` has what crashed since the oldest of what runs has begun; where
    nothing runs, since the last trial that completed.
    """
    chosen = query["experiment"]
    names = board.names() if chosen is None else [board.experiment(chosen).name]
    found: dict[str, Any] = {"batches": [], "running": [], "crashed": [], "more": 0}
    for name in names:
        activity = board.activity(name, _MOST)
        found["batches"] += [documents.batch(name, batch) for batch in activity.batches]
        found["running"] += [_running(name, one) for one in activity.running]
        found["crashed"] += [_crashed(name, *each) for each in activity.crashed]
        found["more"] += activity.more
    return {"experiments": board.names(), **found}


def _running(name: str, one: Running) -> Document:
    shown = documents.running(name, one)
    metrics = islice(one.metrics.items(), _METRICS)
    shown["metrics"] = {
        metric: {**documents.metric(each), "spark": [*map(_height, each.spark)]}
        for metric, each in metrics
    }
    usage: Any = shown["usage"]
    for document, use in zip(usage, one.usage, strict=True):
        document["spark"] = {column: _spark(spark) for column, spark in use.sparks.items()}
    return shown | {"parameters": _parameters(one.row)}


def _crashed(name: str, number: int, row: Document) -> Document:
    return {
        "experiment": name,
        "trial": number,
        "state": row["state"],
        "started": documents.time(row["started"]),
        **{part: row["owner"].get(part) for part in ("host", "pid", "user")},
        "parameters": _parameters(row),
    }


def _parameters(row: Document) -> Document:
    shown = row["parameters"][:_PARAMETERS]
    return {name: document["preview"][:_LONGEST] for name, document in shown}


def _spark(spark: Spark) -> list[JSON]:
    return [*map(_height, spark.values())]


def _height(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
