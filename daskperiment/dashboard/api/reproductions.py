"""Which trials have run which ones again."""

from __future__ import annotations

from typing import Any

from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import get
from daskperiment.history import documents
from daskperiment.typing import Document


@get("/experiments/<experiment>/trials/<trial:number>/reproductions")
def reproductions(board: Board, experiment: str, number: int, query: dict[str, Any]) -> Document:
    """Which trial it has run again, and which ones have run it again, with their verdicts.

    ``reproduces`` and each of ``reproductions`` have ``trial`` and ``verdict``: ``bitwise``,
    ``tolerance`` or ``different``, null where none was kept.  ``trial`` is null where that one is
    not there any more.
    """
    trials = board.experiment(experiment).trials
    row = trials.get(number)
    with trials.mirror.columns():  # so that no row is read when it is asked again
        pass
    return documents.links(trials, row)
