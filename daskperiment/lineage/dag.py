"""The graph of a trial, made of its step records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from daskperiment.records import StepRecord


class Node(NamedTuple):
    """A parameter, or a call of a step."""

    id: str
    kind: str
    label: str
    call: int | None
    calls: int
    outcome: str | None
    seconds: float | None
    layer: int
    slot: float
    record: StepRecord | None


class Dag(NamedTuple):
    """The graph."""

    nodes: list[Node]
    edges: list[tuple[str, str]]
    layers: int
    slots: float
    collapsed: bool


def dag(records: Sequence[StepRecord], most: int = 200) -> Dag:
    """The graph of a trial."""
    nodes = [
        Node(f"{r.step}[{r.call}]", "step", r.step, r.call, 1, r.outcome, r.seconds, at, 0.0, r)
        for at, r in enumerate(records)
    ]
    return Dag(nodes, [], len(nodes), 1, False)
