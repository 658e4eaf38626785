"""What reading a history costs, beside one SELECT of the same rows into the same frame.

Run it as ``python benchmarks/history.py [trials ...]``.  The figures are medians.
"""

from __future__ import annotations

import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pandas as pd

from daskperiment import Experiment
from daskperiment.backends.base import Backend, Insert
from daskperiment.history import paths

COLUMNS = ["id", "a", "b", "result", "success", "finished", "seconds", "description"]
_GROUP = 5000


def fill(backend: Backend, experiment: str, trials: int) -> None:
    """Record one trial and insert copies of its row, with other values, up to so many."""
    ex = Experiment(experiment, backend=backend, seed=1)
    a, b = ex.parameter("a", default=1), ex.parameter("b", default=0.5)
    ex.result(lambda a, b: a + b, name="score")(a, b).compute(scheduler="synchronous")
    row = backend.get(paths.trials(experiment), 1)
    assert row is not None
    draw = random.Random(1)
    for first in range(1, trials, _GROUP):
        copies = [_copy(row, draw) for _ in range(first, min(first + _GROUP, trials))]
        backend.apply(*[Insert(paths.trials(experiment), copy) for copy in copies])


def _copy(row: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    a, b, late = draw.randrange(1000), draw.random(), draw.random() * 1e6
    (name_a, kept_a), (name_b, kept_b) = row["parameters"]
    return {
        **row,
        "uid": uuid4().hex,
        "parameters": [[name_a, _kept(kept_a, a)], [name_b, _kept(kept_b, b)]],
        "result": _kept(row["result"], a * b),
        "started": row["started"] + late,
        "finished": row["finished"] + late,
    }


def _kept(document: dict[str, Any], value: float) -> dict[str, Any]:
    return {**document, "json": repr(value), "preview": repr(value)}


def by_hand(history: pd.DataFrame, file: str) -> sqlite3.Connection:
    """The same rows in the table that somebody would write by hand."""
    connection = sqlite3.connect(file)
    connection.execute(f"CREATE TABLE trials ({', '.join(COLUMNS)}, PRIMARY KEY (id))")
    finished = history["Finished"].astype("int64") / 1e6
    rows = zip(
        history.index.tolist(), history["a"].tolist(), history["b"].tolist(),
        history["Result"].tolist(), history["Success"].tolist(), finished.tolist(),
        history["Process Time"].dt.total_seconds().tolist(), [None] * len(history), strict=True,
    )  # fmt: skip
    connection.executemany(f"INSERT INTO trials VALUES ({', '.join('?' * len(COLUMNS))})", rows)
    connection.commit()
    return connection


def selected(connection: sqlite3.Connection) -> pd.DataFrame:
    """One SELECT of them into the same frame."""
    rows = connection.execute("SELECT * FROM trials ORDER BY id").fetchall()
    frame = pd.DataFrame.from_records(rows, columns=COLUMNS, index="id")
    frame["success"] = frame["success"].astype(bool)
    frame["finished"] = pd.to_datetime(frame["finished"], unit="s")
    frame["seconds"] = pd.to_timedelta(frame["seconds"], unit="s")
    return frame


def median(function: Callable[[], Any], times: int = 15) -> float:
    """Median seconds of a function, after one call that is not counted."""
    function()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def once(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def report(trials: int, folder: str) -> None:
    """Print the figures of a history of so many trials."""
    writer = Experiment(f"bench{trials}", backend=f"{folder}/{trials}")
    fill(writer.backend, writer.id, trials)
    ex = Experiment(writer.id, backend=f"{folder}/{trials}")
    first = once(lambda: ex.get_history(order_by="-Trial ID", limit=50))
    cold = once(lambda: len(ex.trials))
    table = once(ex.get_history)
    connection = by_hand(ex.get_history(), f"{folder}/{trials}.sqlite")
    assert len(selected(connection)) == len(ex.get_history()) == trials
    select, warm = median(lambda: selected(connection)), median(ex.get_history)

    def page() -> pd.DataFrame:
        return ex.get_history(where="a > 100 and Success", order_by="-Result", limit=50)

    assert len(page()) == min(50, trials)
    a, b = ex.parameter("a", default=1), ex.parameter("b", default=0.5)
    s = ex.result(lambda a, b: a + b, name="score")(a, b)
    after = []
    for _ in range(5):
        s.compute(scheduler="synchronous")
        after.append(once(page))
    print(
        f"{trials:,} trials: SELECT {select * 1e3:.1f} ms, get_history() {warm * 1e3:.1f} ms, "
        f"ratio {warm / select:.2f}; filtered, sorted page of 50 {median(page) * 1e3:.1f} ms, "
        f"after one more trial {statistics.median(after) * 1e3:.1f} ms; cold: newest 50 "
        f"{first * 1e3:.1f} ms, all rows {cold:.2f} s, then the frame {table * 1e3:.0f} ms; "
        f"len(ex.trials) {median(lambda: len(ex.trials)) * 1e3:.2f} ms",
        flush=True,
    )


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        for trials in map(int, sys.argv[1:] or ("10000", "100000")):
            report(trials, folder)


if __name__ == "__main__":
    main()
