"""What the steps of a trial have printed and logged."""

from __future__ import annotations

from typing import Any

from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import Query, get
from daskperiment.history import documents, paths
from daskperiment.history.forgetting import check_kept
from daskperiment.history.output import output_of
from daskperiment.history.summaries import stamp
from daskperiment.records import TrialState
from daskperiment.typing import Document

_LONGEST = 10_000
"""Characters of a line."""


@get(
    "/experiments/<experiment>/trials/<trial:number>/output",
    Query("last", "How many lines, from the end.", "integer", default=500, least=1, most=20_000),
    Query("stream", "Only of this stream.", choices=("stdout", "stderr", "logging")),
    Query("step", "Only of this step.", most=1000),
)
def output(board: Board, experiment: str, number: int, query: dict[str, Any]) -> Document:
    """The last lines of the output of a trial, up to now.

    ``total`` counts all of its lines that are of the stream and the step; ``ended`` says
    whether no more will come.
    """
    row = board.experiment(experiment).trials.get(number)
    check_kept(row, "output")
    lines = [
        line
        for line in output_of(board.tail.read(paths.output(experiment, row["uid"]), stamp(row)))
        if query["stream"] in (None, line.stream) and query["step"] in (None, line.step)
    ]
    return {
        "lines": [
            {**line._asdict(), "time": documents.time(line.time), "text": line.text[:_LONGEST]}
            for line in lines[-query["last"] :]
        ],
        "total": len(lines),
        "ended": TrialState(row["state"]).ended,
    }
