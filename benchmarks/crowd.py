"""Four processes that record into one store, over a table written by hand and dask's own time."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask

from benchmarks import records, work
from benchmarks.measure import Pairs, Row, begun, duration, ended, fresh
from daskperiment import Experiment

PROCESSES, TRIALS = 4, 50
_KINDS = ("recorded", "floor", "dask")


def worker(kind: str, folder: str, name: str) -> list[float]:
    """Do the work of one process when all are ready; returns when it began and ended."""
    plain = work.bare()
    dask.compute(plain, scheduler="synchronous")  # it imports NumPy for the first one
    function = _WORK[kind](folder)
    Path(folder, f"ready-{name}").touch()
    late = time.monotonic() + 120
    while not Path(folder, "go").exists():
        if time.monotonic() > late:  # whoever waits for us has been killed
            raise TimeoutError("nobody opened the gate")
        time.sleep(0.001)
    start = time.monotonic()
    for _ in range(TRIALS):
        function()
    return [start, time.monotonic()]


def _recorded(folder: str) -> Callable[[], Any]:
    s = work.recorded(Experiment("bench", backend=f"{folder}/store"))
    return lambda: s.compute(scheduler="synchronous")


def _dask(folder: str) -> Callable[[], Any]:
    plain = work.bare()
    return lambda: dask.compute(plain, scheduler="synchronous")


def _floor(folder: str) -> Callable[[], Any]:
    """Two transactions a trial: the row that is its number, then its end and its steps."""
    connection = sqlite3.connect(f"{folder}/floor.sqlite", isolation_level=None, timeout=60)
    connection.execute("PRAGMA synchronous = normal")
    values = '{"a": 1, "b": 2}'

    def trial() -> None:
        uid = uuid4().hex
        connection.execute("BEGIN IMMEDIATE")
        number = connection.execute(
            "INSERT INTO trials (uid, state, parameters, seed, pid, started) "
            "VALUES (?, 'RUNNING', ?, 1, ?, ?)",
            (uid, values, os.getpid(), time.time()),
        ).lastrowid
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        steps = [(uid, n, "prepare", "0" * 32, "0" * 32, time.time(), 0.001) for n in range(3)]
        connection.executemany("INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?)", steps)
        connection.execute(
            "UPDATE trials SET state = 'COMPLETE', result = 5, finished = ? WHERE id = ?",
            (time.time(), number),
        )
        connection.execute("COMMIT")

    return trial


_WORK: dict[str, Callable[[str], Callable[[], Any]]] = {
    "recorded": _recorded,
    "floor": _floor,
    "dask": _dask,
}


def _tables(folder: str) -> None:
    connection = sqlite3.connect(f"{folder}/floor.sqlite")
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute(
        "CREATE TABLE trials (id INTEGER PRIMARY KEY, uid, state, parameters, seed, pid, "
        "started, finished, result)"
    )
    connection.execute("CREATE TABLE steps (uid, call, step, code, digest, started, seconds)")
    connection.close()


def together(kind: str, folder: str) -> float:
    """Seconds from the first beginning to the last end of the processes."""
    place = Path(folder)
    place.mkdir()
    _tables(folder)
    workers = [begun(worker, kind, folder, str(n), folder=folder) for n in range(PROCESSES)]
    open_gate(workers, place)
    times = [ended(process) for process in workers]
    _check(kind, folder)
    return max(end for _, end in times) - min(start for start, _ in times)


def open_gate(workers: Sequence[subprocess.Popen[str]], gate: Path) -> None:
    """Let all workers begin as soon as each is ready, or one has failed."""
    while len(list(gate.glob("ready-*"))) < len(workers):
        if any(process.poll() for process in workers):
            break
        time.sleep(0.01)
    (gate / "go").touch()


def _check(kind: str, folder: str) -> None:
    if kind == "recorded":
        fresh(records.check, f"{folder}/store", "bench", PROCESSES * TRIALS, folder=folder)
    elif kind == "floor":
        connection = sqlite3.connect(f"{folder}/floor.sqlite")
        (count,) = connection.execute(
            "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
        ).fetchone()
        connection.close()
        assert count == PROCESSES * TRIALS, count


def measure(folder: str) -> list[Row]:
    pairs: Pairs = {kind: [] for kind in _KINDS}
    for turn in range(5):
        for kind in _KINDS:
            pairs[kind].append(together(kind, f"{folder}/{kind}{turn}"))
    both = [a + b for a, b in zip(pairs["floor"], pairs["dask"], strict=True)]
    middle = {kind: duration(sorted(seconds)[2]) for kind, seconds in pairs.items()}
    return [
        Row(
            f"{PROCESSES} processes x {TRIALS} trials in one store",
            middle["recorded"],
            f"SQLite by hand, 2 transactions a trial: {middle['floor']}, plus dask: "
            f"{middle['dask']}",
            [a / b for a, b in zip(pairs["recorded"], both, strict=True)],
            2.0,
            note=f"all {PROCESSES * TRIALS} stored each time; the first trial of each process "
            "with its capture of code and environment is among them",
        )
    ]


def profiled(folder: str) -> None:
    """The work that a profile shows: the trials of one of the processes, alone."""
    function = _recorded(folder)
    for _ in range(TRIALS):
        function()
