"""What reading a history costs, beside one SELECT of the same rows into the same frame."""

from __future__ import annotations

import random
import sqlite3
import statistics
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd

from benchmarks.measure import (
    Pairs,
    Row,
    compared,
    duration,
    fresh,
    in_turns,
    joined,
    timed,
)  # fmt: skip
from benchmarks.records import RecordError
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
        copies = [copied(row, draw) for _ in range(first, min(first + _GROUP, trials))]
        backend.apply(*[Insert(paths.trials(experiment), copy) for copy in copies])


def copied(row: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The row of a trial with two parameters, with other values."""
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


def page_by_hand(connection: sqlite3.Connection) -> pd.DataFrame:
    """The page of :func:`page`, selected from the table made by hand, which has no index."""
    rows = connection.execute(
        "SELECT * FROM trials WHERE a > 100 AND success ORDER BY result DESC LIMIT 50"
    ).fetchall()
    return pd.DataFrame.from_records(rows, columns=COLUMNS, index="id")


def page(ex: Experiment) -> pd.DataFrame:
    return ex.get_history(where="a > 100 and Success", order_by="-Result", limit=50)


_SIZES = (10_000, 100_000)
_HISTORY, _SELECT = "get_history()", "one SELECT into the same frame"
_PAGE, _SELECTED_PAGE = "page of 50", "the same SELECT without an index"


def filled(folder: str, trials: int) -> None:
    """Fill a store, and the table made by hand beside it."""
    ex = Experiment("bench", backend=f"{folder}/store")
    fill(ex.backend, ex.id, trials)
    history = ex.get_history()
    _check(ex, history, trials)
    by_hand(history, f"{folder}/hand.sqlite").close()


def _check(ex: Experiment, history: pd.DataFrame, trials: int) -> None:
    """A copied row is as the recorded one, and the frame holds what the trials say."""
    for number in (1, 2, trials // 2, trials):
        trial, row = ex[number], history.loc[number]
        there = {
            "parameters": trial.parameters == {"a": row["a"], "b": row["b"]},
            "result": trial.result == row["Result"],
            "state": trial.state == "COMPLETE" and bool(row["Success"]),
            "code": "a + b" in trial.code,
            "environment": "packages" in trial.environment,
            "seed": trial.seed == 1,
        }
        if not all(there.values()):
            raise RecordError(f"trial {number} of a filled store: {there}")
    if len(history) != trials:
        raise RecordError(f"the history has {len(history)} rows of {trials}")


def cold(folder: str) -> Pairs:
    """Seconds of the first history in a process, pandas imported; of the first SELECT."""
    pd.Series([1.5]).sum()
    pairs = {_SELECT: [timed(lambda: selected(_opened(folder)))]}
    pairs[_HISTORY] = [timed(lambda: _experiment(folder).get_history())]
    return pairs


def warm(folder: str, times: int) -> Pairs:
    """Seconds of each, in turns, when they were called before."""
    ex, connection = _experiment(folder), _opened(folder)
    functions = {
        _HISTORY: ex.get_history,
        _SELECT: lambda: selected(connection),
        _PAGE: lambda: page(ex),
        _SELECTED_PAGE: lambda: page_by_hand(connection),
    }
    in_turns(functions, 2)
    pairs = in_turns(functions, times)
    _check_equal(ex.get_history(), selected(connection))
    _check_equal(page(ex), page_by_hand(connection))
    return pairs


def after_one(folder: str) -> Pairs:
    """Seconds of a page, each time after one more trial."""
    ex = _experiment(folder)
    a, b = ex.parameter("a", default=1), ex.parameter("b", default=0.5)
    s = ex.result(lambda a, b: a + b, name="score")(a, b)
    page(ex)
    pairs: Pairs = {_PAGE: []}
    for _ in range(9):
        s.compute(scheduler="synchronous")
        pairs[_PAGE].append(timed(lambda: page(ex)))
    return pairs


def _experiment(folder: str) -> Experiment:
    return Experiment("bench", backend=f"{folder}/store")


def _opened(folder: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{folder}/hand.sqlite")


def _check_equal(ours: pd.DataFrame, by_hand: pd.DataFrame) -> None:
    names = {"a": "a", "b": "b", "result": "Result", "success": "Success"}
    for theirs, name in names.items():
        if ours[name].tolist() != by_hand[theirs].tolist():
            raise RecordError(f"column {name} is not that of the SELECT")
    if ours.index.tolist() != by_hand.index.tolist():
        raise RecordError("the trials are not those of the SELECT")


def measure(folder: str) -> list[Row]:
    rows = []
    for trials in _SIZES:
        place = Path(folder, f"history{trials}")
        place.mkdir()
        rows += _measured(str(place), trials)
    return rows


def _measured(place: str, trials: int) -> list[Row]:
    fresh(filled, place, trials, folder=place)
    first = joined([fresh(cold, place, folder=place) for _ in range(3)])
    pairs = joined([fresh(warm, place, 9, folder=place) for _ in range(2)])
    more = fresh(after_one, place, folder=place)
    largest = trials == _SIZES[-1]
    history, milliseconds = f"history of {trials:,} trials", [s * 1e3 for s in pairs[_PAGE]]
    return [
        compared(f"{history}, warm", pairs, _HISTORY, _SELECT, 1.5),
        compared(
            f"{history}, open and first in a process", first, _HISTORY, _SELECT, None,
            "pandas is imported already",
        ),
        Row(
            f"sorted, filtered page of 50 from {trials:,}, warm",
            duration(statistics.median(pairs[_PAGE])),
            f"{_SELECTED_PAGE}: {duration(statistics.median(pairs[_SELECTED_PAGE]))}",
            milliseconds,
            10 if largest else None,
            "ms",
        ),
        Row(
            f"the same page of {trials:,}, after one more trial",
            duration(statistics.median(more[_PAGE])),
            "",
            [s * 1e3 for s in more[_PAGE]],
            None,
            "ms",
        ),
    ]  # fmt: skip


def profiled(folder: str) -> None:
    """The work that a profile shows."""
    filled(folder, 10_000)
    ex = _experiment(folder)
    for _ in range(20):
        ex.get_history()
