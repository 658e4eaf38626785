"""The addresses of the board of daskperiment 0.5, for scripts and pages that use them.

Paths and shapes are as they were; the replies are for the experiment that the dashboard was
opened on, or that ``?experiment=`` names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any

from daskperiment.dashboard.board import Board, Shown
from daskperiment.errors import ExperimentNotFoundError, QueryError
from daskperiment.history import table
from daskperiment.history.columns import INDEX
from daskperiment.serializers import preview
from daskperiment.tracking.environment import summary
from daskperiment.trial import Trial
from daskperiment.typing import JSON, Document

if TYPE_CHECKING:
    from flask import Response

_ROWS = 10_000
"""Trials of one reply, the newest."""
_SERIES = 100
_POINTS = 5000
"""Points of one series."""
_LABELS = {"result": "Result", "processtime": "Process Time"}
_VIRIDIS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")

Add = Callable[[str, Callable[..., Any], str], None]


def add(add_route: Add, board: Board) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    add_route : callable
        Adds one: a path, a view and a name.
    board : Board
        What is shown.
    """

    def answered(make: Callable[..., Any]) -> Callable[..., Any]:
        def view(**parts: Any) -> Any:
            from flask import request

            from daskperiment.dashboard.app import reply

            shown = _shown(board, request.args.get("experiment"))
            found = make(shown, **parts)
            return _text(found) if isinstance(found, str) else reply(found)

        return view

    add_route("/json/table", answered(_table), "table 0.5")
    add_route("/json/summary/<label>", answered(_summary), "summary 0.5")
    add_route("/json/metric/", answered(lambda shown: _metric(board, shown)), "metric 0.5")
    add_route("/data/code/<trial:number>", answered(_code), "code 0.5")
    add_route("/data/env/<trial:number>", answered(_environment), "environment 0.5")


def _shown(board: Board, named: str | None) -> Shown:
    name = named or board.opened
    if name is None:
        names = board.names()
        if len(names) != 1:
            raise ExperimentNotFoundError("Name an experiment: ?experiment=ID")
        name = names[0]
    return board.experiment(name)


def _text(text: str) -> Response:
    from flask import Response

    return Response(text, content_type="text/plain; charset=utf-8")


def _ended(shown: Shown) -> tuple[list[dict[str, Any]], list[str]]:
    question = table.Question(standard=table.VERBOSE, order_by=f"-{INDEX}", limit=_ROWS)
    rows, columns = table.records(shown.trials, question)
    return rows[::-1], columns


def _table(shown: Shown) -> Document:
    """Rows and titles for DataTables, which takes texts for HTML: they are escaped."""
    rows, columns = _ended(shown)
    titles = [INDEX, *columns]
    for row in rows:
        seconds = row["Process Time"]
        row["Process Time"] = None if seconds is None else str(timedelta(seconds=seconds))
    return {
        "data": [["", *(_cell(row.get(column)) for column in titles)] for row in rows],
        "columns": [{"title": ""}, *({"title": escape(title)} for title in titles)],
    }


def _cell(value: Any) -> JSON:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return escape(value if isinstance(value, str) else preview(value))


def _summary(shown: Shown, label: str) -> Document:
    if label not in _LABELS:
        raise QueryError(f"There is no summary {label[:80]!r}; there are: {', '.join(_LABELS)}")
    column = _LABELS[label]
    rows, _ = _ended(shown)
    return {
        "labels": [row[INDEX] for row in rows],
        "datasets": [{"label": column, "data": [_number(row[column]) for row in rows]}],
    }


def _number(value: Any) -> float | None:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if plain and math.isfinite(value) else None


def _metric(board: Board, shown: Shown) -> Document:
    from flask import request

    numbers = _listed(request.args.get("ids", "[]"), int, "ids=[1,2]")
    keys = _listed(request.args.get("keys", "[]"), str, 'keys=["loss"]')
    found = []
    for number in numbers:
        row = shown.trials.get(number)
        curves = board.curves.read(shown.name, row)
        found += [(f"{key}:{number}", curves[key]) for key in keys if key in curves]
    found = found[:_SERIES]
    values = {
        label: dict(zip(drawn.epochs.tolist(), drawn.values.tolist(), strict=True))
        for label, curve in found
        for drawn in [curve.thinned(_POINTS)]
    }
    epochs = sorted({epoch for points in values.values() for epoch in points})
    return {
        "labels": epochs,
        "datasets": [
            {
                "label": label,
                "data": [_number(points.get(epoch)) for epoch in epochs],
                "borderColor": _VIRIDIS[position % len(_VIRIDIS)],
                "fill": False,
            }
            for position, (label, points) in enumerate(values.items())
        ],
    }


def _listed(text: str, kind: type, example: str) -> list[Any]:
    try:
        found = json.loads(text) if len(text) <= 10_000 else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(type(item) is kind for item in found):
        raise QueryError(f"Write a JSON list, such as {example}")
    if kind is int and not all(0 < item < 2**53 for item in found):
        raise QueryError("Trials count from 1")
    return list(dict.fromkeys(found))[:_SERIES]


def _code(shown: Shown, number: int) -> str:
    return Trial(shown.backend, shown.name, number).code


def _environment(shown: Shown, number: int) -> str:
    return "\n".join(summary(Trial(shown.backend, shown.name, number).environment))
