"""What stands beside a peer, measured in the same minute in a process of ours."""

from __future__ import annotations

import sqlite3
import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import dask

from benchmarks import history, work
from benchmarks.measure import timed
from benchmarks.metrics import batch


def graph() -> float:
    """Median seconds of the bare graph."""
    plain = work.bare()
    seconds = [timed(lambda: dask.compute(plain, scheduler="synchronous")) for _ in range(160)]
    return statistics.median(seconds[100:])


def pool(number: int) -> float:
    """Seconds of each of so many bare graphs on two threads."""
    plain = work.bare()
    with ThreadPoolExecutor(2) as threads:

        def run(calls: int) -> None:
            for future in [threads.submit(_computed, plain) for _ in range(calls)]:
                future.result()

        run(100)
        return timed(lambda: run(number)) / number


def _computed(plain: Any) -> Any:
    return dask.compute(plain, scheduler="synchronous")


def select(trials: int) -> float:
    """Median seconds of a SELECT of so many rows into a frame."""
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE trials ({', '.join(history.COLUMNS)}, PRIMARY KEY (id))")
    rows = [(n, n, 0.5, n * 0.5, 1, 1e9 + n, 0.001, None) for n in range(trials)]
    connection.executemany("INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    seconds = [timed(lambda: history.selected(connection)) for _ in range(8)]
    return statistics.median(seconds[3:])


def point(number: int) -> float:
    """Median seconds of one of so many rows that are inserted in one transaction."""
    insert = batch(f"{uuid4().hex}.sqlite", number)
    return statistics.median(insert() for _ in range(5)) / number
