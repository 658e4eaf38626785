"""Crowds: many processes and threads that write one store, create it, read it and tidy its log."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from daskperiment import Experiment
from daskperiment.backends.local import LocalBackend
from tests.torture import programs
from tests.torture.harness import (
    WATCHDOG,
    AckLog,
    ForkServer,
    Outcome,
    await_event,
    check,
    events,
    fork_server,
    scenario,
    unrecorded,
)

PATIENCE = 20 * WATCHDOG
"""Seconds that a crowd may take; one of its calls that hangs waits for much less."""
MEGABYTE = 1024 * 1024


@scenario(
    "F14",
    "8 processes run trials of one experiment",
    plants=("deferred-begin",),
    short={"trials": 12},
    long={"trials": 500},
)
def one_experiment(seed: int, folder: Path, plant: str | None, *, trials: int) -> Outcome:
    """Numbers have no gap, and nobody is told that the store is locked."""
    outcome, store = Outcome("F14", seed), folder / "store"
    with fork_server() as server:
        crowd = [
            _worker(folder, worker, plant, seed=seed, trials=trials, shape="tiny")
            for worker in range(8)
        ]
        began = time.monotonic()
        with _together(outcome, server, crowd):
            pass
        seconds = time.monotonic() - began
    _settle(outcome, store, crowd)
    outcome.faults = _alternations(crowd)
    outcome.figures["trials/s"] = round(int(str(outcome.figures["acked"])) / seconds)
    return outcome


@scenario(
    "F15",
    "32 threads of one process, four experiments",
    plants=("one-current-trial",),
    short={"trials": 2},
    long={"trials": 50},
    planted={"trials": 6},
)
def many_threads(seed: int, folder: Path, plant: str | None, *, trials: int) -> Outcome:
    """In each thread the current trial is its own, on two schedulers."""
    outcome = Outcome("F15", seed)
    argument = _worker(folder, 0, plant, seed=seed, trials=trials, shape="tiny", threads=32)
    with fork_server() as server:
        pid = server.start({**argument, "program": "tests.torture.crowds:run_threads"})
        outcome.add("threads", server.wait(pid, PATIENCE).violations())
    _settle(outcome, folder / "store", [argument])
    outcome.faults = argument["threads"]
    return outcome


GROUPS = (("one", "tiny"), ("two", "metrics"), ("three", "tiny"), ("four", "metrics"))


def run_threads(argument: dict[str, Any], log: AckLog) -> None:
    """Run trials of four experiments in many threads."""
    barrier = threading.Barrier(argument["threads"])
    sys.setswitchinterval(1e-5)  # so that threads meet in the middle of everything

    def work(own: dict[str, Any], nodes: dict[str, Any], scheduler: str) -> None:
        barrier.wait()
        for k in range(argument["trials"]):
            programs.one_trial(nodes, log, programs.intention(own, k), scheduler)

    with ExitStack() as stack:
        groups = [{**argument, "experiment": name, "shape": shape} for name, shape in GROUPS]
        opened = [stack.enter_context(programs.opened(group)) for group in groups]
        threads = []
        for n in range(argument["threads"]):
            own, scheduler = {**groups[n % 4], "worker": n}, ("synchronous", "threads")[n // 4 % 2]
            threads.append(threading.Thread(target=work, args=(own, opened[n % 4], scheduler)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@scenario(
    "F16",
    "8 processes create one store",
    plants=("create-in-place",),
    short={"rounds": 2},
    long={"rounds": 200},
)
def creation(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """Each finds no store and makes one; one of them stays, with the trials of all."""
    outcome = Outcome("F16", seed)
    with fork_server() as server:
        for n in range(rounds):
            place = folder / str(n)
            place.mkdir()
            crowd = [
                _worker(place, w, plant, seed=n, trials=1, shape="tiny", before={"0": "see_makers"})
                for w in range(8)
            ]
            with _together(outcome, server, crowd):
                pass
            _settle(outcome, place / "store", crowd)
            makers = sum("made" in event for log in _logs(crowd) for event in events(log))
            outcome.faults += max(0, makers - 1)
            outcome.rounds += 1
    outcome.figures["makers too many"] = outcome.faults
    return outcome


@scenario(
    "F18",
    "a long reader and a poller beside 4 writers",
    plants=("impatient", "log-without-limit"),
    short={"grown": 20},
    long={"grown": 256},
    planted={"grown": 18},
)
def long_reader(seed: int, folder: Path, plant: str | None, *, grown: int) -> Outcome:
    """The log grows by some megabytes while it is read, and shrinks when the reader has ended."""
    outcome, store = Outcome("F18", seed), folder / "store"
    log, stop = store / "store.sqlite-wal", folder / "stop"
    writers = [
        _worker(
            folder, worker, plant, seed=seed + worker, shape="big", size=60_000, stop=str(stop),
            program="tests.torture.crowds:write",
        )
        for worker in range(4)
    ]  # fmt: skip
    poller = {**writers[0], "log": str(folder / "poller.log"), "worker": "poller",
              "program": "tests.torture.crowds:poll"}  # fmt: skip
    with fork_server() as server, _together(outcome, server, [*writers, poller]):
        await_event(_logs(writers)[0], "ack")
        with closing(sqlite3.connect(store / "store.sqlite", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM documents").fetchone()
            _await(lambda: log.stat().st_size > grown * MEGABYTE, 4 * WATCHDOG)
            most = log.stat().st_size
        outcome.figures["seconds until the log is short"] = round(
            _await(
                lambda: log.stat().st_size < min(64, grown) * MEGABYTE, 3 if plant else WATCHDOG
            ),
            1,
        )
        least = log.stat().st_size
        stop.touch()
    outcome.figures["log while it is read"] = f"{most / MEGABYTE:.0f} MB"
    outcome.figures["log"] = f"{least / MEGABYTE:.1f} MB"
    if least >= min(64, grown) * MEGABYTE:
        outcome.add("log", [f"I5: the log keeps {least / MEGABYTE:.0f} MB"])
    polls = events(Path(poller["log"]))
    outcome.figures["polls"] = len(polls)
    outcome.add("poller", [f"I6: {event['message']}" for event in polls if "error" in event])
    _settle(outcome, store, writers)
    outcome.faults = len(polls)
    return outcome


def write(argument: dict[str, Any], log: AckLog) -> None:
    """Run trials until the file ``stop`` is there."""
    with programs.opened(argument) as nodes:
        k = 0
        while not Path(argument["stop"]).exists():
            programs.one_trial(nodes, log, programs.intention(argument, k))
            k += 1


def poll(argument: dict[str, Any], log: AckLog) -> None:
    """Look at the history as a dashboard does, until the file ``stop`` is there."""
    with LocalBackend(argument["store"]) as backend:
        ex = Experiment("torturebig", backend)
        while not Path(argument["stop"]).exists():
            log.write(polled=[len(ex.trials), len(ex.get_history())])
            time.sleep(0.05)


@scenario(
    "F19",
    "2 writers and 2 that empty the log",
    plants=("drops-its-locks",),
    short={"seconds": 3},
    long={"seconds": 120},
)
def checkpointers(seed: int, folder: Path, plant: str | None, *, seconds: float) -> Outcome:
    """The log is emptied all the time, as it must be for SQLite's error in releases to 3.51.2."""
    outcome, store, stop = Outcome("F19", seed), folder / "store", folder / "stop"
    crowd = [
        _worker(
            folder, worker, plant if program == "write" else None, seed=seed + worker,
            shape="mixed", size=4096, stop=str(stop), program=f"tests.torture.crowds:{program}",
        )
        for worker, program in enumerate(("write", "write", "empty_log", "empty_log"))
    ]  # fmt: skip
    with fork_server() as server, _together(outcome, server, crowd):
        time.sleep(seconds)
        stop.touch()
    _settle(outcome, store, crowd)
    emptied = [
        event["emptied"] for log in _logs(crowd) for event in events(log) if "emptied" in event
    ]
    outcome.faults = sum(emptied)
    outcome.figures |= {"log emptied": outcome.faults, "SQLite": sqlite3.sqlite_version}
    return outcome


def empty_log(argument: dict[str, Any], log: AckLog) -> None:
    """Bring the log into the database, in each of SQLite's ways, until ``stop`` is there."""
    store, done = Path(argument["store"], "store.sqlite"), 0
    while not store.exists():
        time.sleep(0.001)
    with closing(sqlite3.connect(store, timeout=WATCHDOG, isolation_level=None)) as connection:
        while not Path(argument["stop"]).exists():
            for mode in ("PASSIVE", "RESTART", "TRUNCATE"):
                busy, *_ = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
                done += not busy
    log.write(emptied=done)


# -- what they share ----------------------------------------------------------------------


def _worker(folder: Path, worker: int, plant: str | None, **rest: Any) -> dict[str, Any]:
    return {"store": str(folder / "store"), "log": str(folder / f"{worker}.log"),
            "worker": worker, "plant": plant, **rest}  # fmt: skip


def _logs(crowd: list[dict[str, Any]]) -> list[Path]:
    return [Path(argument["log"]) for argument in crowd]


@contextmanager
def _together(outcome: Outcome, server: ForkServer, crowd: list[dict[str, Any]]) -> Iterator[None]:
    """Let workers begin at one moment; when the block has ended, wait for them."""
    pids = [server.start({**argument, "gate": True}) for argument in crowd]
    for pid in pids:
        os.kill(pid, signal.SIGUSR1)
    try:
        yield
    finally:
        for pid, argument in zip(pids, crowd, strict=True):
            outcome.add(f"worker {argument['worker']}", server.wait(pid, PATIENCE).violations())


def _await(condition: Callable[[], bool], most: float = WATCHDOG) -> float:
    """Wait, not for ever; return the seconds that it took."""
    began = time.monotonic()
    while not condition() and time.monotonic() - began < most:
        time.sleep(0.002)
    return time.monotonic() - began


def _settle(outcome: Outcome, store: Path, crowd: list[dict[str, Any]]) -> None:
    """Check the store: of a crowd nothing is lost, and nobody meets an error."""
    for log in _logs(crowd):
        for event in events(log):
            if "error" in event or event.get("trouble"):
                trouble = event.get("message") or event["trouble"][0]
                outcome.violations.append(f"I6: an error reached the user: {trouble[:200]}")
            outcome.count("acked", "ack" in event)
        outcome.add(log.stem, [f"I6: trial {k} is not recorded" for k in unrecorded(log)])
    outcome.add(store.name, integrity(store))
    outcome.add(store.name, check(store, _logs(crowd)))


def integrity(store: Path) -> list[str]:
    """What SQLite finds wrong with its file."""
    with closing(sqlite3.connect(store / "store.sqlite")) as connection:
        try:
            found = [text for (text,) in connection.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            found = [str(error)]
    return [f"I5: integrity_check: {text}" for text in found if text != "ok"]


def _alternations(crowd: list[dict[str, Any]]) -> int:
    """How often a trial has another worker's trial before it: then two wrote at once."""
    taken = sorted(
        (event["began"], argument["worker"])
        for argument in crowd
        for event in events(Path(argument["log"]))
        if "began" in event
    )
    workers = [worker for _, worker in taken]
    return sum(one != other for one, other in itertools.pairwise(workers))
