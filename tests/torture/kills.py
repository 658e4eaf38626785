"""Processes that are killed: at random, while they start, at every system call that writes."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from tests.torture import tracing
from tests.torture.harness import (
    WATCHDOG,
    Outcome,
    check,
    events,
    finish,
    fork_server,
    interrupted,
    scenario,
    spawn,
    unrecorded,
)

KILLED = -9
TOGETHER = 5
"""Kills that one store lives through before it is checked."""


@scenario(
    "F01",
    "kill -9 at a random moment",
    plants=("end-behind", "owner-of-the-parent", "running-row-at-end"),
    short={"rounds": 20},
    long={"rounds": 1000},
    planted={"rounds": 60},
)
def random_kills(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """Workers are killed up to a quarter of a second after they began."""
    outcome, chance = Outcome("F01", seed), random.Random(seed)
    with fork_server() as server:
        for group in range(rounds // TOGETHER):
            store, logs = folder / f"store{group}", []
            for worker in range(TOGETHER):
                log = folder / f"{group}-{worker}.log"
                argument = {
                    "store": str(store), "log": str(log), "worker": worker, "shape": "mixed",
                    "seed": chance.random(), "trials": 1000, "plant": plant, "size": 256 * 1024,
                }  # fmt: skip
                ended = server.run(argument, kill_after=chance.uniform(0, 0.25))
                outcome.add(f"round {outcome.rounds}", ended.violations(KILLED))
                outcome.rounds += 1
                outcome.faults += interrupted(log)
                outcome.count("acked", sum("ack" in event for event in events(log)))
                logs.append(log)
            outcome.add(f"group {group}", check(store, logs))
    return outcome


SCRIPT = {"worker": "traced", "shape": "mixed", "seed": 7, "trials": 3, "size": 256 * 1024}
"""A script of three trials, one of each shape."""


@scenario(
    "F02",
    "kill -9 of a fresh interpreter",
    plants=("end-behind", "copy-in-place"),
    short={"rounds": 5},
    long={"rounds": 200},
    planted={"rounds": 40},
)
def fresh_kills(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """The kill comes while modules are imported, the environment is captured or trials run."""
    outcome, chance, latest = Outcome("F02", seed), random.Random(seed), 0.0
    for number in range(rounds):
        log = folder / f"{number}.log"
        argument = {
            "store": str(folder / f"store{number}"), "log": str(log), "worker": number,
            "shape": "mixed", "seed": number, "trials": 1000, "plant": plant, "size": 256 * 1024,
        }  # fmt: skip
        process, began = spawn(argument), time.monotonic()
        if number == 0:  # how long until the first trial is what the schedule is drawn from
            while (
                not any("ack" in event for event in events(log))
                and time.monotonic() - began < WATCHDOG
            ):
                time.sleep(0.01)
            latest = time.monotonic() - began
        else:
            time.sleep(chance.uniform(0.3, 1.5) * latest)
        process.kill()
        outcome.add(f"round {number}", finish(process).violations(KILLED))
        outcome.rounds += 1
        outcome.faults += log.exists()
        outcome.count("acked", sum("ack" in event for event in events(log)))
        outcome.add(f"round {number}", check(argument["store"], [log]))
    return outcome


@scenario(
    "F03",
    "kill -9 at every system call that writes",
    plants=("running-row-at-end", "rename-before-write", "group-in-pieces"),
    short={"each": 1},
    long={"each": None},
    planted={"each": 10},
)
def kill_at_every_write(seed: int, folder: Path, plant: str | None, *, each: int | None) -> Outcome:
    """The n-th call kills, for ``each`` calls of a kind or all; another process then goes on."""
    outcome, chance = Outcome("F03", seed), random.Random(seed)
    with fork_server() as server:
        try:
            every = tracing.points(server, _script(folder, "survey", plant), folder / "trace")
        except tracing.RefusedError as refused:
            outcome.not_run = str(refused)
            return outcome
        outcome.figures["points"] = len(every)
        for point in tracing.sample(every, each, chance):
            name = f"{point.call}-{point.n}"
            script, after = _script(folder, name, plant), folder / f"{name}-after.log"
            options = point.inject("signal=SIGKILL")
            _, ended = tracing.traced(server, script, options, folder / f"{name}.trace")
            outcome.add(name, ended.violations(KILLED))
            outcome.rounds += 1
            outcome.faults += ended.status == KILLED
            more = {**script, "log": str(after), "worker": "after", "shape": "tiny", "trials": 1}
            outcome.add(name, server.run(more).violations())
            outcome.add(name, [f"I5: {k} is not recorded" for k in unrecorded(after)])
            outcome.add(name, check(script["store"], [Path(script["log"]), after]))
    return outcome


def _script(folder: Path, name: str, plant: str | None) -> dict[str, Any]:
    return {**SCRIPT, "store": str(folder / name), "log": str(folder / f"{name}.log"),
            "plant": plant}  # fmt: skip
