"""The trials of an experiment, as a table."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from daskperiment.dashboard.board import Board, Shown
from daskperiment.dashboard.endpoint import Query, get
from daskperiment.history import documents, table
from daskperiment.history.columns import ABSENT, INDEX
from daskperiment.history.summaries import Summary
from daskperiment.history.taints import tainted
from daskperiment.typing import JSON, Document

_PARAMETERS = 20
"""Columns of parameters that are shown unless others are asked for."""
_STANDARD = ("Result", "Started", "Process Time")
_METRICS = 4
"""Metrics that are shown unless others are asked for."""
_TYPES = {
    "Started": "time",
    "Finished": "time",
    "Process Time": "duration",
    "Tags": "tags",
    "Success": "truth",
    "Late": "truth",
}


@get(
    "/experiments/<experiment>/trials",
    Query("where", "A condition, such as: a > 1 and (Success or State == 'CRASHED').", most=2000),
    Query("order_by", "A column, downwards with - before it.", default=f"-{INDEX}", most=300),
    Query("columns", "The columns that are wanted.", most=300, many=200),
    Query("metrics", "The metrics that are wanted.", most=250, many=20),
    Query("limit", "Rows of a page.", "integer", default=50, least=1, most=500),
    Query("offset", "Rows before the page.", "integer", default=0, most=10**9),
)
def trials(board: Board, experiment: str, query: dict[str, Any]) -> Document:
    """A page of trials, sorted and filtered by the server.

    Each of ``rows`` has ``trial``, ``state``, ``started``, ``seconds``, ``failure``, ``tags``,
    ``note``, ``values`` of the ``columns`` in their order (``{"preview": text}`` for what is
    long or not plain data), ``absent`` positions of columns that it has not, and ``metrics`` in
    short.  ``found`` counts the trials that fit the condition, ``states`` all trials, ``tainted``
    those of them that are tainted.  ``known`` has every column that can be asked for.
    """
    shown = board.experiment(experiment)
    page = _page(shown, query)
    rows = shown.trials.rows([number for number, _ in page.rows])
    summaries = [_summaries(shown, row) for row in rows]
    saved = list(dict.fromkeys(name for each in summaries for name in each))
    wanted = query["metrics"] or saved[:_METRICS]
    return {
        "experiment": experiment,
        "trials": sum(page.states.values()),
        "found": page.found,
        "offset": query["offset"],
        "limit": query["limit"],
        "states": page.states,
        "tainted": page.tainted,
        "known": _known(page),
        "columns": page.columns,
        "metrics": wanted,
        "known_metrics": saved,
        "rows": [
            _row(number, values, page.columns, row, each, wanted)
            for (number, values), row, each in zip(page.rows, rows, summaries, strict=True)
            if row is not None
        ],
    }


def _page(shown: Shown, query: dict[str, Any]) -> table.Page:
    columns = list(dict.fromkeys(query["columns"])) or None
    question = table.Question(
        standard=_STANDARD,
        columns=columns,
        where=query["where"] or None,
        order_by=query["order_by"] or None,
    )
    return table.page(shown.trials, question, query["offset"], query["limit"], _PARAMETERS)


def _summaries(shown: Shown, row: Document | None) -> dict[str, Summary]:
    return {} if row is None else shown.summary(row)


def _known(page: table.Page) -> list[Document]:
    return [
        {
            "name": name,
            "kind": "parameter" if position < page.parameters else "standard",
            "type": "value" if position < page.parameters else _TYPES.get(name, "value"),
        }
        for position, name in enumerate(page.known)
    ]


def _row(
    number: int,
    values: list[Any],
    columns: list[str],
    row: Document,
    summaries: dict[str, Summary],
    wanted: list[str],
) -> Document:
    return {
        "trial": number,
        "state": row["state"],
        "started": documents.time(row["started"]),
        "seconds": row.get("seconds"),
        "failure": row.get("description"),
        "tags": row.get("tags", []),
        "note": row.get("note", ""),
        "tainted": tainted(row),
        "values": [_cell(name, value) for name, value in zip(columns, values, strict=True)],
        "absent": [at for at, value in enumerate(values) if value is ABSENT],
        "metrics": {name: _short(summaries[name]) for name in wanted if name in summaries},
    }


def _cell(column: str, value: Any) -> JSON:
    if value is ABSENT:
        return None
    if _TYPES.get(column) == "time" and isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return documents.short(value)


def _short(summary: Summary) -> Document:
    return {**documents.metric(summary), "spark": list(map(_height, summary.spark))}


def _height(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
