"""Batches whose driver is killed, interrupted or ended by a step, and that are resumed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil

from daskperiment.backends import open_backend
from daskperiment.history.batches import Batches
from tests.torture import batches, cluster
from tests.torture.harness import (
    WATCHDOG,
    Ended,
    ForkServer,
    Outcome,
    await_event,
    events,
    finish,
    fork_server,
    scenario,
    settings,
)

KILLED = -signal.SIGKILL
PARTING = 10.0
"""Seconds in which a worker process has ended whose driver is dead."""
SCRIPTS = ("threads script", "processes script")
EXECUTORS = ("threads", "processes:fork", "cluster", *SCRIPTS, "processes")


@scenario(
    "F01B",
    "kill -9 of the driver of a batch, which is resumed",
    plants=("finished-runs-again", "owner-of-the-parent", "workers-outlive"),
    short={"rounds": 10, "together": 2},
    long={"rounds": 100, "together": 4},
    planted={"rounds": 4, "together": 2, "executors": ("processes:fork",)},
)
def driver_kills(
    seed: int, folder: Path, plant: str | None, *, rounds: int, together: int,
    executors: tuple[str, ...] = EXECUTORS,
) -> Outcome:  # fmt: skip
    """Kills of one batch, again and again where it goes on, until nobody kills it."""
    outcome, chance = Outcome("F01B", seed), random.Random(seed)
    with ExitStack() as stack:
        server = stack.enter_context(fork_server())
        kinds = [executors[n % len(executors)] for n in range(rounds // together)]
        address = stack.enter_context(cluster.running()) if "cluster" in kinds else ""
        for group, kind in enumerate(kinds):
            place = folder / str(group)
            place.mkdir()
            killed = _Killed(place, kind, address, chance, plant, server)
            for _ in range(together):
                outcome.add(f"{kind}, {group}", killed.once(outcome))
                outcome.rounds += 1
            outcome.add(f"{kind}, {group}", killed.completed())
            outcome.count("acked", killed.acked())
            if plant and outcome.violations:
                break
    return outcome


class _Killed:
    """A batch whose driver is killed several times, in one store."""

    def __init__(
        self, folder: Path, kind: str, address: str, chance: random.Random, plant: str | None,
        server: ForkServer,
    ) -> None:  # fmt: skip
        self._folder, self._chance, self._server = folder, chance, server
        self._script = kind in SCRIPTS
        executor = address if kind == "cluster" else kind.removesuffix(" script")
        self._argument = batches.batch(
            folder, "b", seed=chance.randrange(10**6), trials=12, executor=executor, plant=plant,
            pause=0.03, options={"skip_completed": True},
        )  # fmt: skip
        self._steps = Path(self._argument["steps_log"])
        self._logs: list[Path] = []

    def once(self, outcome: Outcome) -> Iterator[str]:
        """Begin or resume the batch, kill its driver, and look at what is left."""
        begun = len(events(self._steps))
        pid, wait = self._start()
        await_event(self._logs[-1], "ready")
        if self._chance.random() < 0.8:  # the others are killed while they begin
            _await(self._logs[-1], self._steps, begun + self._chance.randrange(1, 5))
        time.sleep(self._chance.uniform(0, 0.1))
        own = "://" not in self._argument["executor"]
        with batches.held(self._argument, own and self._chance.random() < 0.5):
            workers = psutil.Process(pid).children(recursive=True)
            os.kill(pid, signal.SIGKILL)
            yield from wait().violations(KILLED)
            yield from _outlived(workers)
        outcome.faults += batches.returned(self._logs[-1]) is None
        if Path(self._argument["store"]).exists():
            yield from batches.await_idle(self._argument["store"])
        yield from batches.check_batch(self._argument, self._logs)

    def completed(self) -> Iterator[str]:
        """Resume the batch and let it end."""
        _, wait = self._start()
        yield from wait().violations()
        yield from batches.check_batch(self._argument, self._logs, complete=True)

    def acked(self) -> int:
        """How many trials were told to have ended well."""
        return sum("ack" in event for log in self._logs for event in events(log))

    def _start(self) -> tuple[int, Callable[[], Ended]]:
        self._logs.append(self._folder / f"driver{len(self._logs)}.log")
        argument = {**self._argument, "log": str(self._logs[-1])}
        if not self._script:
            pid = self._server.start(argument)
            return pid, lambda: self._server.wait(pid)
        (self._folder / "driver.py").write_text(batches.SCRIPT)
        (self._folder / "driver.json").write_text(json.dumps(argument))
        command, script = [sys.executable], ["driver.py", "driver.json"]
        if len(self._logs) > 1:
            command += ["-m", "daskperiment", "resume", "--backend", argument["store"]]
            script = [] if self._interrupted() else script
        process = subprocess.Popen(
            command + script, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            cwd=self._folder, **settings(),
        )  # fmt: skip
        return process.pid, lambda: finish(process)

    def _interrupted(self) -> bool:
        """Whether the store knows by itself what to resume."""
        if not Path(self._argument["store"]).exists():
            return False
        with open_backend(self._argument["store"]) as backend:
            return [row["state"] for _, row in Batches(backend, batches.NAME).find()][:1] == [
                "CRASHED"
            ]


def _await(log: Path, steps: Path, count: int) -> None:
    """Wait until so many trials have begun, or the batch has ended."""
    deadline = time.monotonic() + WATCHDOG
    while len(events(steps)) < count and batches.returned(log) is None:
        if time.monotonic() > deadline:
            return
        time.sleep(0.002)


def _outlived(workers: list[psutil.Process]) -> Iterator[str]:
    """Whether worker processes outlive their driver; they are ended."""
    _, alive = psutil.wait_procs(workers, PARTING)
    for process in alive:
        yield f"I10: process {process.pid} outlives its driver"
        process.kill()
