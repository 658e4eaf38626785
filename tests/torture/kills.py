"""Processes that are killed: at random, while they start, at every system call that writes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.torture import tracing
from tests.torture.harness import Outcome, check, events, fork_server, interrupted, scenario

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
            if plant and outcome.violations:
                break
    return outcome


SCRIPT = {"worker": "traced", "shape": "mixed", "seed": 7, "trials": 3, "size": 256 * 1024}
"""A script of three trials, one of each shape."""


@scenario(
    "F03",
    "kill -9 at every system call that writes",
    plants=("no-transaction", "rename-before-write"),
    short={"most": 6},
    long={"most": None},
    planted={"most": 60},
)
def kill_at_every_write(seed: int, folder: Path, plant: str | None, *, most: int | None) -> Outcome:
    """The n-th call kills; afterwards another process goes on with the store."""
    outcome, chance = Outcome("F03", seed), random.Random(seed)
    with fork_server() as server:
        try:
            every = tracing.points(server, _script(folder, "survey", plant), folder / "trace")
        except tracing.RefusedError as refused:
            outcome.not_run = str(refused)
            return outcome
        outcome.figures["points"] = len(every)
        for point in chance.sample(every, min(most or len(every), len(every))):
            name = f"{point.call}-{point.n}"
            script, after = _script(folder, name, plant), folder / f"{name}-after.log"
            options = point.inject("signal=SIGKILL")
            _, ended = tracing.traced(server, script, options, folder / f"{name}.trace")
            outcome.add(name, ended.violations(KILLED))
            outcome.rounds += 1
            outcome.faults += ended.status == KILLED
            more = {**script, "log": str(after), "worker": "after", "shape": "tiny", "trials": 1}
            outcome.add(name, server.run(more).violations())
            outcome.add(name, check(script["store"], [Path(script["log"]), after]))
            if plant and outcome.violations:
                break
    return outcome


def _script(folder: Path, name: str, plant: str | None) -> dict[str, Any]:
    return {**SCRIPT, "store": str(folder / name), "log": str(folder / f"{name}.log"),
            "plant": plant}  # fmt: skip
