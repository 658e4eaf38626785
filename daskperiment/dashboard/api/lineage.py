"""Lineage of a step or parameter: in its trial, and in those that have taken its output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import Query, get
from daskperiment.errors import StepNotFoundError
from daskperiment.history import paths
from daskperiment.history.summaries import stamp
from daskperiment.lineage.dag import node_of, origins_of
from daskperiment.lineage.descent import descent
from daskperiment.lineage.takers import takers
from daskperiment.records import Origin, StepRecord
from daskperiment.typing import Document

_MOST_CALLS = 50
"""Step calls that are listed one by one; of more, an entry stands for all of a step."""
_MOST = 200
"""Entries of a list."""
_SECONDS = 2.0
"""For how long other trials are looked at."""

_STEP = Query("step", "Name of the step.")
_CALL = Query("call", "Which call of it in graph order; all of them unless given.", "integer",
              most=10**9)  # fmt: skip


@get(
    "/experiments/<experiment>/trials/<trial:number>/lineage",
    _STEP,
    _CALL,
    Query("parameter", "Name of a parameter, in place of a step."),
)
def lineage(board: Board, experiment: str, number: int, query: dict[str, Any]) -> Document:
    """What a step or parameter of a trial descends from, and what descends from it there.

    ``above`` and ``below`` have ``entries``, the nearest first: parameters, and step calls with
    the digest and, where it is known, the preview of their output.  Where there are too many
    calls an entry stands for all of a step that are reached.  ``calls`` and ``parameters`` count
    what is reached, ``left_out`` the entries that are not listed.
    """
    row, records = _records(board, experiment, number)
    nodes = {node_of(record): record for record in records}
    chosen = _chosen(number, nodes, query)
    found = descent(list(nodes.values()), chosen)
    entries = _Entries(row, nodes)
    return {
        "trial": number,
        "step": query["step"],
        "call": query["call"],
        "parameter": query["parameter"],
        "above": entries.document(found.above),
        "below": entries.document(found.below),
    }


@get(
    "/experiments/<experiment>/trials/<trial:number>/takers",
    _STEP,
    _CALL,
    Query("most", "Trials that are looked at.", "integer", default=200, least=1, most=10_000),
)
def takers_of(board: Board, experiment: str, number: int, query: dict[str, Any]) -> Document:
    """Which other trials have taken the output of a step, and what they have made from it.

    Each of ``trials`` has the ``calls`` that took it or descend from those, and its ``result``
    where that does.  ``looked`` counts the trials that were looked at, ``left`` those that may
    have taken something, too, and were not looked at.
    """
    _, records = _records(board, experiment, number)
    nodes = {node_of(record): record for record in records}
    chosen = _chosen(number, nodes, {**query, "parameter": None})
    trials = board.experiment(experiment).trials
    of = [nodes[node] for node in chosen if node in nodes]
    found = takers(trials, number, of, query["most"], _SECONDS)
    return {
        "trial": number,
        "step": query["step"],
        "call": query["call"],
        "trials": [
            {"trial": each.number, "state": each.state, "calls": list(each.calls[:_MOST]),
             "left_out": max(0, len(each.calls) - _MOST), "result": each.result}
            for each in found.affected
        ],
        "looked": found.looked,
        "left": found.left,
    }  # fmt: skip


def _records(board: Board, experiment: str, number: int) -> tuple[Document, list[StepRecord]]:
    row = board.experiment(experiment).trials.get(number)
    entries = board.tail.read(paths.steps(experiment, row["uid"]), stamp(row))
    return row, [StepRecord.from_document(row["uid"], entry) for entry in entries]


def _chosen(
    number: int, nodes: Mapping[Origin, StepRecord], query: Mapping[str, Any]
) -> list[Origin]:
    """The nodes that are asked for; StepNotFoundError where there is none."""
    step, call, parameter = (query[name] for name in ("step", "call", "parameter"))
    known = dict.fromkeys(nodes)
    known.update(dict.fromkeys(origin for each in nodes.values() for origin in origins_of(each)))
    wanted = ("step", step) if parameter is None else ("parameter", parameter)
    found = [node for node in known if node[:2] == wanted and call in (None, node[2])]
    if not found:
        what = f"step {step!r}" if parameter is None else f"parameter {parameter!r}"
        raise StepNotFoundError(
            f"Trial {number} has no record of {what}" + ("" if call is None else f", call {call}")
        )
    return found


class _Entries:
    """Nodes of a trial's graph as people read them.

    Parameters
    ----------
    row : dict
        Row of the trial.
    nodes : mapping
        Its records.
    """

    def __init__(self, row: Document, nodes: Mapping[Origin, StepRecord]) -> None:
        self._parameters = {name: kept["preview"] for name, kept in row["parameters"]}
        self._nodes = nodes
        # What was handed on as it was has the digest of the output.
        self._previews = {
            argument.digest: argument.preview
            for record in nodes.values()
            for argument in record.inputs
            if argument.digest is not None
        }

    def document(self, nodes: Sequence[Origin]) -> Document:
        """A list of them."""
        calls = [node for node in nodes if node[0] == "step"]
        together = len(calls) > _MOST_CALLS
        entries = [
            *(self._steps(calls) if together else map(self._call, calls)),
            *(self._parameter(name) for kind, name, _ in nodes if kind == "parameter"),
        ]
        return {
            "entries": entries[:_MOST],
            "calls": len(calls),
            "parameters": len(nodes) - len(calls),
            "left_out": max(0, len(entries) - _MOST),
        }

    def _parameter(self, name: str) -> Document:
        return {"kind": "parameter", "name": name, "preview": self._parameters.get(name)}

    def _call(self, node: Origin) -> Document:
        _, step, call = node
        record = self._nodes.get(node)
        kept = (record and record.kept) or {}
        output = record and record.output
        return {
            "kind": "step", "name": step, "call": call, "calls": 1,
            "outcome": record and record.outcome, "output": output,
            "preview": kept.get("preview") or (output and self._previews.get(output)),
        }  # fmt: skip

    def _steps(self, calls: Iterable[Origin]) -> list[Document]:
        counts = Counter(step for _, step, _ in calls)
        return [
            {"kind": "step", "name": step, "call": None, "calls": count,
             "outcome": None, "output": None, "preview": None}
            for step, count in counts.items()
        ]  # fmt: skip
