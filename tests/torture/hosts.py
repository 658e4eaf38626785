"""Processes of another computer, whose clock is an hour off: dead, stopped, idle and alive."""

from __future__ import annotations

import gc
import os
import platform
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from daskperiment import Experiment
from daskperiment.backends import open_backend
from daskperiment.history import liveness
from daskperiment.history.batches import Batches
from daskperiment.tracking.environment import owner
from tests.servers import redis_server
from tests.torture import batches, cluster, hooks
from tests.torture.harness import (
    WATCHDOG,
    AckLog,
    Ended,
    ForkServer,
    Outcome,
    await_event,
    events,
    fork_server,
    scenario,
)

INTERVAL, GRACE = 0.2, 2.0
SLACK = 0.05
"""Seconds by which two processes may disagree on when something was."""
CLOCKS = (3600, -3600, 3652 * 86400)
CASES = ("killed", "stopped", "idle", "batch", "graph")


@scenario(
    "F37H",
    "processes of another computer whose clock is an hour off",
    plants=("clocks-are-compared", "late-result-is-dropped", "drivers-do-not-beat"),
    short={"rounds": 1},
    long={"rounds": 40},
    planted={"rounds": 1, "names": ("stopped", "batch"), "clocks": (-3600,)},
)
def hosts(
    seed: int, folder: Path, plant: str | None, *, rounds: int, names: tuple[str, ...] = CASES,
    clocks: tuple[int, ...] = CLOCKS,
) -> Outcome:  # fmt: skip
    """The dead are CRASHED when the observer's own clock says so, and the living never are."""
    outcome, chance = Outcome("F37H", seed), random.Random(seed)
    with ExitStack() as stack:
        server = _Forks(stack.enter_context(fork_server()))
        address = (
            stack.enter_context(cluster.running(workers=1, plant=plant)) if "graph" in names else ""
        )
        pool = stack.enter_context(ThreadPoolExecutor(len(CASES)))
        stack.enter_context(mock.patch.object(liveness, "GRACE", GRACE))
        argument = {"plant": plant, "address": address, "clocks": clocks}
        for number in range(rounds):
            cases = [
                _Case(folder / f"{number}-{name}", name, server, chance.randrange(10**6), argument)
                for name in names
            ]
            for case, found in zip(
                cases, pool.map(lambda case: list(case.run()), cases), strict=True
            ):
                outcome.add(f"{case.name}, {number}", found)
                outcome.rounds += 1
                outcome.faults += 1
                for name, value in case.figures.items():
                    outcome.figures[name] = max(value, float(str(outcome.figures.get(name, 0))))
    return outcome


class _Forks:
    """A fork server for several threads."""

    def __init__(self, server: ForkServer) -> None:
        self._server, self._lock = server, threading.Lock()

    def start(self, argument: dict[str, Any]) -> int:
        with self._lock:
            return self._server.start(argument)

    def wait(self, pid: int, timeout: float = WATCHDOG) -> Ended:
        deadline = time.monotonic() + timeout
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.02)
        with self._lock:  # threads of it may end later than it does
            return self._server.wait(pid, 5)


class _Case:
    """One process of the other computer, and one of this one that looks at what it does."""

    def __init__(
        self, folder: Path, name: str, server: _Forks, seed: int, argument: dict[str, Any]
    ) -> None:
        folder.mkdir()
        chance = random.Random(seed)
        self._folder, self.name, self._server = folder, name, server
        # Dask itself compares the clocks of workers and scheduler.
        self.ahead = 0 if name == "graph" else chance.choice(argument["clocks"])
        self.figures: dict[str, float] = {}
        self._argument = batches.batch(
            folder, "b", seed=seed, trials=1, case=name, ahead=self.ahead, state=str(folder),
            program=f"{__name__}:far", **argument,
        )  # fmt: skip

    def run(self) -> Iterator[str]:
        """Let it happen, and tell what was wrong."""
        with redis_server(self._folder / "redis") as redis:
            argument = {**self._argument, "store": redis.uri}
            seen = self._folder / "seen"
            far = self._server.start(argument)
            await_event(Path(argument["steps_log"]), "began")
            look = {**argument, "log": str(seen), "program": f"{__name__}:look",
                    "until": str(self._folder / "until")}  # fmt: skip
            observer = self._server.start(look)
            yield from self._happen(far, seen)
            Path(look["until"]).touch()
            yield from self._server.wait(observer).violations()
            yield from batches.check_batch(argument, [Path(argument["log"])])
            yield from self._judged(redis.uri)

    def _happen(self, far: int, seen: Path) -> Iterator[str]:
        if self.name in ("killed", "stopped"):
            await_event(seen, "states")
            time.sleep(GRACE / 2)
            number = signal.SIGKILL if self.name == "killed" else signal.SIGSTOP
            os.kill(far, number)
            struck = time.monotonic()
            crashed = _await_crash(seen, any)
            if crashed is None:
                yield f"I3: the trial of a {self.name} process is not CRASHED"
            else:
                took = self.figures["latest crash in s"] = round(crashed - struck, 1)
                if took < GRACE - INTERVAL - SLACK:
                    yield f"I3: a {self.name} process was taken for dead after {took:.2f} s"
        if self.name == "killed" and _await_crash(seen, all) is None:
            yield "I3: the batch of a killed process is not CRASHED"
        if self.name == "stopped":
            time.sleep(2 * GRACE)
            os.kill(far, signal.SIGCONT)
        yield from self._server.wait(far).violations(
            -signal.SIGKILL if self.name == "killed" else 0
        )

    def _judged(self, uri: str) -> Iterator[str]:
        told = [e for e in events(self._folder / "seen") if "states" in e]
        states = [state for event in told for state in event["states"]]
        if not told:
            yield "I8: nobody has looked"
        if self.name not in ("killed", "stopped") and "CRASHED" in states:
            yield f"I3: a living process was taken for dead: {Counter(states)}"
        with open_backend(uri) as backend:
            for trial in Experiment(batches.NAME, backend).trials:
                expected = "CRASHED" if self.name == "killed" else "COMPLETE"
                late = bool(trial._known.get("late"))
                if str(trial.state) != expected or late != (self.name == "stopped"):
                    yield f"I1: trial {trial.number} ended as {trial.state}, late: {late}"


def _await_crash(seen: Path, of: Callable[[Iterable[bool]], bool]) -> float | None:
    """When the observer has first seen that any, or all, of what it looks at is CRASHED."""
    deadline = time.monotonic() + WATCHDOG
    while time.monotonic() < deadline:
        for event in events(seen):
            if of(state == "CRASHED" for state in event["states"]):
                return float(event["at"])
        time.sleep(0.02)
    return None


# -- programs -----------------------------------------------------------------------------------


def become(name: str, ahead: float) -> None:
    """Let this process take itself for one of another computer."""
    platform.node = lambda: name
    owner._process.cache_clear()
    real = time.time
    time.time = lambda: real() + ahead
    liveness.INTERVAL, liveness.GRACE = INTERVAL, GRACE


def far(argument: dict[str, Any], log: AckLog) -> None:
    """Run trials on the other computer, as the case says."""
    become("far", argument["ahead"])
    case = argument["case"]
    if case == "idle":
        _idle(argument, log)
    elif case == "graph":
        _graph(argument, log)
    else:
        options = {"shard": [0, 2], "claim": True} if case == "batch" else {}
        executor = "processes:fork" if case == "batch" else "threads"
        trials = 2 if case == "batch" else 1
        more = {"trials": trials, "executor": executor, "options": options}
        batches.drive({**argument, **more, "pause": 2 * GRACE}, log)


def _idle(argument: dict[str, Any], log: AckLog) -> None:
    """Trials between which the process does nothing for longer than the grace."""
    with open_backend(argument["store"]) as backend:
        _, node = batches.experiment(backend)
        for k in range(2):
            intent = batches.intention({**argument, "pause": 2 * INTERVAL}, k)
            log.write(**intent)
            node.compute(parameters=intent["parameters"], seed=5)
            gc.collect()
            time.sleep(2 * GRACE * (k == 0))


def _graph(argument: dict[str, Any], log: AckLog) -> None:
    """A trial that is computed by Dask itself, on a worker of the other computer."""
    import dask
    from distributed import Client

    with (
        open_backend(argument["store"]) as backend,
        Client(argument["address"], set_as_default=False) as client,
    ):
        client.run(become, "far", argument["ahead"])
        ex, node = batches.experiment(backend)
        intent = batches.intention({**argument, "pause": 2 * GRACE}, 0)
        log.write(**intent)
        ex.set_parameters(**intent["parameters"])
        dask.compute(node, scheduler=client)


def look(argument: dict[str, Any], log: AckLog) -> None:
    """Look at the trials and batches again and again, by a handle that stays and by new ones."""
    liveness.INTERVAL, liveness.GRACE = INTERVAL, GRACE
    hooks.set_clock({"clock": (0, -60)}, log)  # this clock goes back all the time
    with open_backend(argument["store"]) as backend:
        ex, number = Experiment(batches.NAME, backend), 0
        found = Batches(ex.backend, batches.NAME)
        while not Path(argument["until"]).exists():
            number += 1
            chosen = ex if number % 3 else Experiment(batches.NAME, backend)
            chosen.get_history()
            states = [str(trial.state) for trial in chosen.trials]
            states += [row["state"] for _, row in found.find()]
            log.write(states=states, at=time.monotonic())
            time.sleep(0.05)
