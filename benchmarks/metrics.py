"""Metric points logged one by one: until stored, and until another process sees them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import (
    Pairs,
    Row,
    begun,
    compared,
    duration,
    ended,
    fresh,
)  # fmt: skip
from benchmarks.records import RecordError
from daskperiment import Experiment

POINTS = 10_000
_WATCHED = 200
_LOGGING = "logged one by one"
_BATCH = "batched WAL insert"


def batch(file: str, points: int) -> Callable[[], float]:
    """Insert so many rows in one transaction; returns its seconds."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = normal")
    connection.execute("CREATE TABLE points (trial, name, epoch, value, time)")
    now = time.time()
    rows = [("trial", "loss", n, n * 0.5, now + n) for n in range(points)]

    def insert() -> float:
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO points VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
        return time.perf_counter() - start

    return insert


def logged(folder: str, points: int, times: int) -> Pairs:
    """Seconds from the first point to the end of its trial, and of the reference."""
    ex = Experiment("bench", backend=f"{folder}/store")
    begun_at: list[float] = []

    def train(points: int) -> int:
        begun_at.append(time.perf_counter())
        for n in range(points):
            ex.save_metric("loss", n, n * 0.5)
        return points

    s = ex.result(train)(ex.parameter("points", default=points))
    insert = batch(f"{folder}/batch.sqlite", points)
    pairs: Pairs = {_LOGGING: [], _BATCH: []}
    for turn in range(times + 1):
        s.compute(scheduler="synchronous")
        seconds = time.perf_counter() - begun_at[-1]
        reference = insert()
        if turn:  # the first one imports and makes the store
            pairs[_LOGGING].append(seconds)
            pairs[_BATCH].append(reference)
    _check(f"{folder}/store", points, times + 1)
    return pairs


def _check(store: str, points: int, trials: int) -> None:
    for trial in (all_trials := list(Experiment("bench", backend=store).trials)):
        found = [(point.epoch, point.value) for point in trial.metrics["loss"]]
        if found != [(n, n * 0.5) for n in range(points)]:
            raise RecordError(f"trial {trial.number} has {len(found)} points of {points}")
    if len(all_trials) != trials:
        raise RecordError(f"{len(all_trials)} trials of {trials} are stored")


# -- seen from another process --------------------------------------------------------------


def slow(store: str) -> None:
    """A trial that saves a point every ten milliseconds."""
    ex = Experiment("slow", backend=store)

    def train(points: int) -> int:
        for n in range(points):
            ex.save_metric("loss", n, float(n))
            time.sleep(0.01)
        return points

    ex.result(train)(ex.parameter("points", default=_WATCHED)).compute(scheduler="synchronous")


def watched(store: str) -> list[float]:
    """Seconds from the time of each point to the moment at which this process saw it."""
    while not Path(store, "store.sqlite").exists():
        time.sleep(0.01)
    ex, delays = Experiment("slow", backend=store), list[float]()
    while not len(ex.trials):
        time.sleep(0.01)
    trial = ex.latest
    while len(delays) < _WATCHED:
        points = trial.metrics.get("loss", [])
        now = time.time()
        delays += [now - point.time for point in points[len(delays) :]]
        if len(points) < _WATCHED and trial.state.ended:
            points = trial.metrics.get("loss", [])
            if len(points) < _WATCHED:
                raise RecordError(f"{len(points)} points of {_WATCHED} were seen")
        time.sleep(0.005)
    return delays


def _delays(folder: str) -> list[float]:
    store = f"{folder}/slow"
    watching, writing = (begun(f, store, folder=folder) for f in (watched, slow))
    ended(writing)
    delays: list[float] = ended(watching)
    return delays


def measure(folder: str) -> list[Row]:
    pairs = fresh(logged, folder, POINTS, 9, folder=folder)
    row = compared(
        f"{POINTS:,} metric points, one by one, until stored", pairs, _LOGGING, _BATCH, 4.0,
        "a quarter of the speed of the batch is 4 times its seconds",
    )  # fmt: skip
    return [row, *_seen(folder)]


def _seen(folder: str) -> list[Row]:
    runs = []
    for n in range(3):
        place = Path(folder, f"seen{n}")
        place.mkdir()
        runs.append(_delays(str(place)))
    largest = [max(delays) for delays in runs]
    usual = sorted(delay for delays in runs for delay in delays)
    return [
        Row(
            "metric point until another process reads it, largest delay",
            ", ".join(map(duration, largest)),
            f"median delay: {duration(usual[len(usual) // 2])}",
            [max(largest) * 1e3],
            250,
            unit="ms",
            note=f"worst of three runs of {_WATCHED} points, one every 10 ms; polled every 5 ms",
        )
    ]


def profiled(folder: str) -> None:
    """The work that a profile shows."""
    logged(f"{folder}", POINTS, 5)
