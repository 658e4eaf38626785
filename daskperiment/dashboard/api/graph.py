"""The graph of a trial, laid out, with its step records."""

from __future__ import annotations

from typing import Any

from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import get
from daskperiment.history import documents, paths
from daskperiment.history.steps import with_numbers
from daskperiment.history.summaries import stamp
from daskperiment.lineage.dag import Node, dag
from daskperiment.records import StepRecord
from daskperiment.typing import Document


@get("/experiments/<experiment>/trials/<trial:number>/graph")
def graph(board: Board, experiment: str, number: int, query: dict[str, Any]) -> Document:
    """The graph of a trial as far as its steps have ended, with the record of each call.

    Nodes stand in ``layers`` from left to right and in ``slots`` from top to bottom.  Where
    there are too many calls the graph is ``collapsed``: a node stands for all of a step.  An
    edge passes the layers between its ends at its ``bends``, pairs of layer and slot.  Parameters
    and steps beyond some hundreds are ``omitted``.
    """
    trials = board.experiment(experiment).trials
    row = trials.get(number)
    entries = board.tail.read(paths.steps(experiment, row["uid"]), stamp(row))
    records = [StepRecord.from_document(row["uid"], entry) for entry in entries]
    found = dag(with_numbers(records, trials.number_of))
    return {
        "nodes": list(map(_node, found.nodes)),
        "edges": [
            {"from": one, "to": other, "bends": found.bends.get((one, other), ())}
            for one, other in found.edges
        ],
        "layers": found.layers,
        "slots": found.slots,
        "collapsed": found.collapsed,
        "omitted": found.omitted,
    }


def _node(node: Node) -> Document:
    return {**node._asdict(), "record": node.record and _record(node.record)}


def _record(record: StepRecord) -> Document:
    kept = record.kept
    return {
        "step": record.step,
        "call": record.call,
        "outcome": record.outcome,
        "seconds": documents.plain(record.seconds),
        "started": documents.time(record.started),
        "seed": record.seed,
        "drew": record.drew,
        "entropy": record.entropy,
        "fingerprint": record.fingerprint,
        "output": record.output,
        "inputs": [
            {
                "name": argument.name,
                "preview": argument.preview,
                "digest": argument.digest,
                "origins": [_origin(*origin) for origin in argument.origins],
            }
            for argument in record.inputs
        ],
        "threads": documents.plain(record.threads),
        "environment": record.environment,
        "host": record.host,
        "pid": record.pid,
        "reused_from": record.reused_from,
        "resumed_from": record.resumed_from,
        "unhashed": record.unhashed,
        "kept": kept and {name: kept.get(name) for name in ("preview", "type", "size")},
    }


def _origin(kind: str, name: str, call: int) -> str:
    return name if kind == "parameter" else f"{name}[{call}]"
