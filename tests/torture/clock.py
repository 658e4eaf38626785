"""Clocks that are set, while trials run and between them."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from daskperiment import Experiment
from daskperiment.backends.local import LocalBackend
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
    stop,
)

DAY = 86400.0
PAUSE = 0.05
CLOCKS: dict[str, tuple[tuple[float, float], str | None]] = {
    "right": ((0, 0), "UTC"),
    "a day back": ((-DAY, 0), "UTC"),
    "ten years ahead": ((3652 * DAY, 0), "UTC"),
    "steps back": ((0, -3600), "UTC"),
    "steps ahead": ((0, 3600), "UTC"),
    "no TZ": ((0, 0), None),
    "summer time": ((0, 900), "Europe/Berlin"),
}
"""How far off a clock is and what it steps every 20 ms, and the zone."""


@scenario(
    "F37",
    "clocks that are wrong and clocks that are set",
    plants=("wall-clock-durations", "started-by-wall-clock"),
    short={"rounds": 1},
    long={"rounds": 30},
)
def clocks(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """One store is written under every clock in turn, and looked at under another one."""
    outcome, chance = Outcome("F37", seed), random.Random(seed)
    with fork_server() as server:
        for number in range(rounds):
            store, logs = folder / f"store{number}", []
            for name in chance.sample(list(CLOCKS), len(CLOCKS)):
                logs.append(folder / f"{number}-{name}.log")
                argument = {
                    "store": str(store), "log": str(logs[-1]), "worker": name, "shape": "tiny",
                    "seed": number, "trials": 3, "pause": PAUSE, "plant": plant, "clock": name,
                    "program": "tests.torture.clock:under_a_clock",
                }  # fmt: skip
                outcome.add(name, _looked_at(server, argument))
                outcome.faults += name != "right"
            outcome.add(f"round {number}", check(store, logs))
            outcome.add(f"round {number}", _told(store))
            outcome.rounds += 1
    return outcome


def under_a_clock(argument: dict[str, Any], log: AckLog) -> None:
    """Run trials under a clock and in a zone."""
    from tests.torture import programs

    clock, zone = CLOCKS[argument["clock"]]
    os.environ.pop("TZ", None)
    if zone is not None:
        os.environ["TZ"] = zone
    time.tzset()
    hooks = {"0": "set_clock"}
    programs.run_trials({**argument, "clock": clock, "before": hooks}, log)


def look(argument: dict[str, Any], log: AckLog) -> None:
    """Open the store where the clock was set meanwhile: the system derives its start from it."""
    boot = sys.modules[psutil.Process.__module__]._psplatform
    real = boot.boot_time
    moved = mock.patch.object(boot, "boot_time", lambda: real() + argument["set"])
    with moved, LocalBackend(argument["store"]) as backend:
        found = [trial.state for trial in Experiment("torture", backend).trials]
    log.write(states=found)


def _looked_at(server: ForkServer, argument: dict[str, Any]) -> list[str]:
    """Start a worker, look at its first trial under two other clocks, and wait for it."""
    log = Path(argument["log"])
    pid = server.start(argument)
    await_event(log, "began")
    found = []
    stop(pid)
    for ahead in (DAY, -DAY):
        seen = log.with_suffix(f".seen{ahead:.0f}")
        looker = {
            **argument, "log": str(seen), "set": ahead, "program": "tests.torture.clock:look",
        }  # fmt: skip
        found += server.run(looker).violations()
        states = events(seen)[-1].get("states", [])
        if "CRASHED" in states:
            found.append(f"I3: a live trial was taken for dead: {states}")
    os.kill(pid, signal.SIGCONT)
    return found + server.wait(pid).violations()


def _told(store: Path) -> list[str]:
    found = []
    with LocalBackend(store) as backend:
        ex = Experiment("torture", backend)
        for trial in ex.trials:
            seconds = trial.duration.total_seconds() if trial.duration else 0
            if not PAUSE <= seconds < WATCHDOG:
                found.append(f"I1: trial {trial.number} of {PAUSE} s took {seconds:.3f} s")
        order = list(ex.get_history().index)
    if order != sorted(order):
        found.append(f"I2: trials are out of order: {order}")
    return found
