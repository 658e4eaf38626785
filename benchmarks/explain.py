"""What explaining the difference of two trials costs, beside reading their records."""

from __future__ import annotations

import functools
from typing import Any

from benchmarks.dashboard import mongo_server
from benchmarks.measure import Pairs, Row, fresh, in_turns, took
from benchmarks.records import RecordError
from benchmarks.redis_server import AbsentError, server
from daskperiment import Experiment
from daskperiment.backends import open_backend
from daskperiment.history.steps import Steps
from daskperiment.lineage.explanation import Explanation

STEPS = 1_000
_WIDTH = 10
_TURNS = 20
_NAME = "explain"
_AIM = 200.0


def record(ex: Experiment, steps: int) -> None:
    """Two trials of a graph of layers of steps, which differ by one parameter of one layer."""

    def work(x: int, y: int, more: int) -> int:
        return (x + 2 * y + more) % 1_000_003

    def last(*values: int) -> int:
        return sum(values)

    step, changed = ex(work), ex.parameter("changed")
    layer: list[Any] = list(range(_WIDTH))
    layers = (steps - 1) // _WIDTH
    for depth in range(layers):
        more = changed if depth == layers // 2 else depth
        layer = [step(layer[n], layer[n - 1], more) for n in range(_WIDTH)]
    result = ex.result(last)(*layer)
    for value in (1, 2):
        result.compute(parameters={"changed": value}, scheduler="synchronous")


def check(found: Explanation, steps: int) -> None:
    """Check that the answer is the right one.

    Raises
    ------
    RecordError
        It is not, and figures of a wrong answer are none.
    """
    causes = [(cause.kind, cause.name) for cause in found.causes]
    if causes != [("parameter", "changed")] or len(found.steps) < steps - _WIDTH:
        raise RecordError(f"{len(found.steps)} steps were explained by {causes}")


def seconds(place: str, turns: int, steps: int = STEPS) -> Pairs:
    """Seconds of explaining two trials, and of reading their records, in turns."""
    with open_backend(place) as backend:
        ex = Experiment(_NAME, backend=backend, seed=1)
        record(ex, steps)
        logs = Steps(backend, _NAME)
        uids = [trial.uid for trial in ex.trials]
        check(ex.explain(1, 2), steps)
        calls = {
            "explain": functools.partial(ex.explain, 1, 2),
            "read": lambda: [logs.read(uid) for uid in uids],
        }
        return in_turns(calls, turns)


def _row(where: str, pairs: Pairs) -> Row:
    beyond = [1e3 * (a - b) for a, b in zip(pairs["explain"], pairs["read"], strict=True)]
    return Row(
        f"ex.explain of two trials of {STEPS:,} steps, {where}, beyond reading their records",
        took(pairs, "explain"), f"reading them: {took(pairs, 'read')}",
        beyond, _AIM, "ms",
    )  # fmt: skip


def measure(folder: str) -> list[Row]:
    rows = [_row("local", fresh(seconds, f"{folder}/store", _TURNS, folder=folder))]
    for where, serve, database in (("Redis", server, ""), ("MongoDB", mongo_server, "/bench")):
        try:
            with serve(folder) as uri:
                place = f"{uri}{database}"
                rows.append(_row(where, fresh(seconds, place, _TURNS, folder=folder)))
        except AbsentError as error:
            rows.append(Row(f"ex.explain on {where}", str(error), "", []))
    return rows


def profiled(folder: str) -> None:
    """The work that a profile shows."""
    seconds(f"{folder}/store", 3)
