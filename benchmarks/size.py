"""Bytes on disk, files and memory for each trial."""

from __future__ import annotations

import gc
from itertools import count
from typing import Any

from benchmarks import records, work
from benchmarks.measure import Row, disk, fresh, resident
from daskperiment import Experiment

_FIRST, _LAST = 1000, 4000


def grown(folder: str, varied: bool) -> dict[str, Any]:
    """Disk and memory after the first thousand trials, and after three thousand more."""
    store = f"{folder}/{'varied' if varied else 'equal'}"
    s, numbers = work.recorded(Experiment("bench", backend=store)), count(1)

    def run(trials: int) -> tuple[int, int, int]:
        for _ in range(trials):
            n = next(numbers)
            values = {"a": n, "b": n + 0.5} if varied else {"a": 1, "b": 2}
            s.compute(scheduler="synchronous", parameters=values)
        gc.collect()
        memory = resident()
        work.checkpoint(store)
        return (*disk(store), memory)

    after = [run(_FIRST), run(_LAST - _FIRST)]
    records.check(store, "bench", _LAST)
    return {name: [figures[n] for figures in after] for n, name in enumerate(_NAMES)}


_NAMES = ("bytes", "files", "memory")


def measure(folder: str) -> list[Row]:
    kinds = {"equal parameters": False, "parameters that vary": True}
    rows, thousands = [], (_LAST - _FIRST) / 1000
    for kind, varied in kinds.items():
        found = fresh(grown, folder, varied, folder=folder)
        rows += _rows(kind, found, thousands)
    return rows


def _rows(kind: str, found: dict[str, list[int]], thousands: float) -> list[Row]:
    growth = {name: (last - first) / thousands for name, (first, last) in found.items()}
    (bytes_first, bytes_last), files = found["bytes"], found["files"]
    whole = f"{bytes_last / 1e6:.2f} MB after {_LAST:,} trials, in {files[1]} files"
    memory = found["memory"][1] / 1e6
    return [
        Row(
            f"bytes per small trial, {kind}",
            whole,
            f"{bytes_first / 1e6:.2f} MB after {_FIRST:,}",
            [growth["bytes"] / 1000],
            500,
            "bytes",
            "after a checkpoint; what comes with each further trial",
        ),
        Row(f"files per 1,000 trials, {kind}", whole, "", [growth["files"]], 0, "files"),
        Row(
            f"growth of memory per 1,000 trials, {kind}",
            f"{memory:.1f} MB after {_LAST:,} trials",
            f"{found['memory'][0] / 1e6:.1f} MB after {_FIRST:,}",
            [growth["memory"] / 1e6],
            1.0,
            "MB",
        ),
    ]


def profiled(folder: str) -> None:
    """The work that a profile shows."""
    grown(folder, True)
