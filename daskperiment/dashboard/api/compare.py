"""What differs among trials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import Query, get
from daskperiment.errors import QueryError
from daskperiment.history import documents
from daskperiment.history.comparison import ABSENT, Change
from daskperiment.lineage.difference import SECTIONS, Difference, Side, difference
from daskperiment.lineage.explain import explain
from daskperiment.serializers import preview
from daskperiment.typing import Document

_MOST = 10
_LONGEST = 2000
"""Lines of one diff."""


@get(
    "/experiments/<experiment>/compare",
    Query("trials", "Numbers of two to ten trials.", "integer", least=1, most=2**53, many=_MOST),
)
def compare(board: Board, experiment: str, query: dict[str, Any]) -> Document:
    """What differs among trials, and nothing else.

    ``sections`` have a row for each value that is not equal in all of them, with null where a
    trial has none; ``same`` names the sections in which nothing differs.  ``code`` has the
    functions that differ from those of the first trial, with their diffs.  Of two trials
    ``explanation`` says which changes moved the outputs.
    """
    numbers = list(dict.fromkeys(query["trials"]))
    if len(numbers) < 2:
        raise QueryError("Two trials or more are compared: add trials=1&trials=2")
    shown = board.experiment(experiment)
    sides = [
        Side(board.backend, experiment, number, shown.trials.get(number)) for number in numbers
    ]
    found = [difference(sides[0], other) for other in sides[1:]]
    sections = {name: _rows(name, found) for name in SECTIONS}
    code = list(_code(numbers[1:], found))
    saved = [shown.summary(side.row) for side in sides]
    return {
        "experiment": experiment,
        "trials": [_trial(side) for side in sides],
        "sections": [{"name": name, "rows": rows} for name, rows in sections.items() if rows],
        "code": code,
        "explanation": _explanation(*sides) if len(sides) == 2 else None,
        "same": [name for name, rows in sections.items() if not rows] + ([] if code else ["code"]),
        "metrics": list(dict.fromkeys(name for each in saved for name in each)),
        "notes": list(dict.fromkeys(note for each in found for note in each.notes)),
    }


def _trial(side: Side) -> Document:
    row = side.row
    return {
        "trial": side.number,
        "state": row["state"],
        "started": documents.time(row["started"]),
        "seconds": row.get("seconds"),
        "tags": row.get("tags", []),
        "note": row.get("note", ""),
        "result": row["result"]["preview"] if "result" in row else None,
    }


def _rows(section: str, found: list[Difference]) -> list[Document]:
    """A row for each value that differs: what the first trial has, then what each other has."""
    changes: list[dict[str, Change]] = [
        {change.name: change for change in getattr(each, section)} for each in found
    ]
    rows = []
    for name in dict.fromkeys(name for each in changes for name in each):
        first = next(each[name].old for each in changes if name in each)
        others = [each[name].new if name in each else first for each in changes]
        rows.append({"name": name, "values": [_text(value) for value in (first, *others)]})
    return rows


def _text(value: Any) -> str | None:
    if value is ABSENT:
        return None
    return value if isinstance(value, str) else preview(value)


def _explanation(first: Side, second: Side) -> Document:
    """Which changes moved the outputs: each cause with its line and its diff."""
    found = explain(first, second)
    verdicts: dict[str, list[str]] = {}
    for step in found.steps:
        verdicts.setdefault(step.verdict, []).append(step.name)
    return {
        "first": found.first,
        "causes": [
            {"kind": cause.kind, "name": cause.name, "steps": list(cause.steps),
             "change": cause.change, "sure": cause.sure, "lines": _lines(cause.diff)}
            for cause in found.causes
        ],
        "harmless": [str(cause) for cause in found.harmless],
        "steps": verdicts,
        "notes": list(found.notes),
    }  # fmt: skip


def _lines(diff: str) -> list[list[str]]:
    return [[line[:1] or " ", line] for line in diff.split("\n")] if diff else []


def _code(numbers: list[int], found: list[Difference]) -> Iterator[Document]:
    changed: dict[tuple[str, str, str], list[Document]] = {}
    for number, each in zip(numbers, found, strict=True):
        for step, change in each.code:
            lines = _lines(change.diff(context=3, limit=_LONGEST))
            place = step, change.function, change.what
            changed.setdefault(place, []).append({"trial": number, "lines": lines})
        for steps, what in ((each.added, "not in the first"), (each.removed, "only in the first")):
            for step in steps:
                place = step, "", what
                changed.setdefault(place, []).append({"trial": number, "lines": []})
    for (step, function, what), diffs in changed.items():
        yield {"step": step, "function": function, "what": what, "diffs": diffs}
