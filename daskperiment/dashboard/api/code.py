"""The code of a trial, with what its words are."""

from __future__ import annotations

from typing import Any

from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import Query, get
from daskperiment.dashboard.highlight import tokens
from daskperiment.errors import PayloadNotFoundError, StepNotFoundError
from daskperiment.history import documents
from daskperiment.typing import Document

_TOKENS = 'Source is a list of pairs: a class ("k" for a keyword and so on) and text.'


@get("/experiments/<experiment>/trials/<trial:number>/code")
def code(board: Board, experiment: str, number: int, query: dict[str, Any]) -> Document:
    """Source of the steps of a trial, and the names of the files that they reach.

    ``tokens`` of a step is null where its source was not kept.
    """
    trials = board.experiment(experiment).trials
    try:
        steps = documents.code(trials, number)
    except PayloadNotFoundError as error:
        return {"steps": [], "files": [], "note": str(error)}
    return {
        "steps": [
            {
                "step": found["step"],
                "tokens": None if found["source"] is None else tokens(found["source"]),
            }
            for found in steps
        ],
        "files": documents.file_names(trials, number),
        "note": None,
    }


@get(
    "/experiments/<experiment>/trials/<trial:number>/file",
    Query("name", "Name of the file, as in the list of the code.", default="", most=1000),
)
def file(board: Board, experiment: str, number: int, query: dict[str, Any]) -> Document:
    """A whole file, or cell of a notebook, that the steps of a trial reach."""
    trials = board.experiment(experiment).trials
    text = documents.file_text(trials, number, query["name"])
    if text is None:
        known = ", ".join(documents.file_names(trials, number)) or "none"
        raise StepNotFoundError(f"Trial {number} has no file {query['name']!r}; kept: {known}")
    return {"name": query["name"], "tokens": tokens(text)}
