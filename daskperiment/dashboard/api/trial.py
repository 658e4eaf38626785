"""One trial: what its row says, and where its other parts are."""

from __future__ import annotations

from collections import Counter
from typing import Any

from daskperiment.dashboard.api.artifacts import listed
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import get
from daskperiment.errors import BackendError
from daskperiment.history import documents, paths
from daskperiment.history.reports import SEARCH
from daskperiment.history.searches import Searches
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.summaries import stamp
from daskperiment.history.taints import tainted, taints_of
from daskperiment.typing import Document

_LONGEST = 20_000
"""Characters of a traceback; of a longer one the end is shown."""


@get("/experiments/<experiment>/trials/<trial:number>")
def trial(board: Board, experiment: str, number: int, query: dict[str, Any]) -> Document:
    """Everything important about one trial.

    ``parameters`` and ``result`` have ``type`` and ``preview``, and ``value`` where they are
    short plain data, or a ``reason`` why the value was not kept.  ``taints`` have the ``calls``
    that should not be used, as ``clean[0]``, the ``reason``, and ``by`` whom it was said when.
    """
    shown = board.experiment(experiment)
    row = shown.trials.get(number)
    owner, backend = row["owner"], board.backend
    previous, following = shown.trials.neighbours(number)
    traceback = row.get("traceback")
    return {
        "experiment": experiment,
        "trial": number,
        "uid": row["uid"],
        "state": row["state"],
        "started": documents.time(row["started"]),
        "finished": documents.time(row.get("finished")),
        "seconds": row.get("seconds"),
        "late": bool(row.get("late")),
        "parameters": [
            {"name": name, **_kept(board, document)} for name, document in row["parameters"]
        ],
        "result": _kept(board, row["result"]) if "result" in row else None,
        "seed": row["seed"],
        "tags": row.get("tags", []),
        "note": row.get("note", ""),
        "tainted": tainted(row),
        "taints": [
            {
                "reason": each.reason,
                "calls": [f"{step}[{call}]" for step, call in each.calls],
                "by": documents.plain(each.by),
                "time": documents.time(each.time),
            }
            for each in taints_of(row)
        ],
        "failure": row.get("description"),
        "traceback": None if traceback is None else traceback[-_LONGEST:],
        "user": owner.get("user"),
        "host": owner.get("host"),
        "pid": owner.get("pid"),
        "git": _git(board, row),
        "python": _python(board, row),
        "metrics": [
            {"name": name, **documents.metric(each)} for name, each in shown.summary(row).items()
        ],
        "artifacts": listed(backend, experiment, row["uid"]),
        "steps": _steps(board, experiment, row),
        "search": _search(board, experiment, row),
        "forgotten": sorted(row.get("forgotten", {})),
        "previous": previous,
        "next": following,
    }


def _kept(board: Board, document: Document) -> Document:
    shown = {"type": document["type"], "preview": document["preview"]}
    if "json" in document:
        return shown | {"value": documents.kept(board.backend, document)}
    return shown | ({"reason": document["reason"]} if "reason" in document else {})


def _search(board: Board, experiment: str, row: Document) -> Document | None:
    """The name of the search that the trial is of, and its place there."""
    uid = row.get(SEARCH)
    name = Searches(board.backend, experiment).named(uid) if uid else None
    return None if name is None else {"name": name, "place": documents.plain(row.get("place"))}


def _git(board: Board, row: Document) -> Document | None:
    try:
        return documents.git(board.backend, row)
    except BackendError:  # it was forgotten, or is gone from a partial copy
        return None


def _python(board: Board, row: Document) -> str | None:
    found = Snapshots(board.backend).find(row.get("environment")) or {}
    version = found.get("python", {}).get("version")
    return version if isinstance(version, str) else None


def _steps(board: Board, experiment: str, row: Document) -> Document:
    entries = board.tail.read(paths.steps(experiment, row["uid"]), stamp(row))
    counts = Counter(str(entry["outcome"]) for entry in entries)
    return {outcome: counts[outcome] for outcome in ("ran", "failed", "pruned", "reused")}
