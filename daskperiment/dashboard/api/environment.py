"""What surrounded a trial."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import get
from daskperiment.tracking.environment import summary
from daskperiment.trial import Trial
from daskperiment.typing import JSON, Document

_LONGEST = 20_000
"""Characters of one entry."""


@get("/experiments/<experiment>/trials/<trial:number>/environment")
def environment(board: Board, experiment: str, number: int, query: dict[str, Any]) -> Document:
    """The environment of a trial: a summary in lines, and entries by category.

    Nested entries have dotted names.
    """
    board.experiment(experiment)
    found = Trial(board.backend, experiment, number).environment
    return {
        "summary": list(summary(found)),
        "categories": [
            {"name": category, "entries": list(_entries(content))}
            for category, content in found.items()
        ],
    }


def _entries(content: JSON, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from _entries(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, _text(content)[:_LONGEST]


def _text(content: JSON) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(item, str) for item in content):
        return "\n".join(content)
    return "" if content is None else json.dumps(content, ensure_ascii=False)
