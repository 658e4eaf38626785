"""Why a step call of a trial has run, in one sentence."""

from __future__ import annotations

from typing import Any

from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import Query, get
from daskperiment.history import paths
from daskperiment.history.steps import with_numbers
from daskperiment.history.summaries import stamp
from daskperiment.lineage.why import Reasons
from daskperiment.records import StepRecord
from daskperiment.typing import Document


@get(
    "/experiments/<experiment>/trials/<trial:number>/why",
    Query("step", "Name of the step."),
    Query("call", "Which call of it in graph order.", "integer", 0, most=10**9),
)
def why(board: Board, experiment: str, number: int, query: dict[str, Any]) -> Document:
    """Why a step call has run, or from which trial its output was taken, as a sentence."""
    trials = board.experiment(experiment).trials
    row = trials.get(number)
    entries = board.tail.read(paths.steps(experiment, row["uid"]), stamp(row))
    records = [StepRecord.from_document(row["uid"], entry) for entry in entries]
    reasons = Reasons(trials, number, row, with_numbers(records, trials.number_of))
    step, call = query["step"] or "", query["call"]
    return {"trial": number, "step": step, "call": call, "why": reasons.why(step, call)}
