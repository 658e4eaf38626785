"""The work that is measured: three small steps, as they are and recorded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import dask

from daskperiment import Experiment


def prepare(a: float, b: float) -> float:
    return a + b


def train(data: float) -> float:
    return data * 2


def score(model: float) -> float:
    return model - 1


def expected(a: float, b: float) -> float:
    return score(train(prepare(a, b)))


def bare(a: float = 1, b: float = 2) -> Any:
    """The same graph without recording."""
    first = dask.delayed(prepare, pure=False)(dask.delayed(a), dask.delayed(b))
    return dask.delayed(score, pure=False)(dask.delayed(train, pure=False)(first))


def recorded(ex: Experiment, train: Callable[[float], float] = train) -> Any:
    a, b = ex.parameter("a", default=1), ex.parameter("b", default=2)
    return ex.result(score)(ex(train)(ex(prepare)(a, b)))


def disk_insert(folder: str, synchronous: str) -> Callable[[], Any]:
    """One insert of a small row into a database with a write-ahead log, committed."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        f"{folder}/insert.sqlite", isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, content TEXT)")
    return lambda: connection.execute("INSERT INTO rows (content) VALUES ('x')")


def checkpoint(folder: str) -> None:
    """Write the log of a store back into its database and empty it."""
    with closing(sqlite3.connect(f"{folder}/store.sqlite")) as connection:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not busy, "somebody holds the store open in a transaction"
