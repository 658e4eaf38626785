"""The experiments of the store."""

from __future__ import annotations

from typing import Any

import daskperiment
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import get
from daskperiment.history import documents
from daskperiment.typing import Document


@get("/meta")
def meta(board: Board, query: dict[str, Any]) -> Document:
    """What this dashboard shows.

    ``experiment`` is the one that it was opened on, or null; ``store`` names the store.
    """
    return {
        "version": daskperiment.__version__,
        "experiment": board.opened,
        "store": repr(board.backend),
    }


@get("/experiments")
def experiments(board: Board, query: dict[str, Any]) -> Document:
    """All experiments, each with the number of its trials and the last of them."""
    return {"experiments": [_experiment(board, name) for name in board.names()]}


def _experiment(board: Board, name: str) -> Document:
    trials = board.listed(name)
    return {**documents.experiment(trials), "running": trials.alive()}
