"""Processes that are killed: at random, while they start, at every system call that writes."""

from __future__ import annotations

import random
from pathlib import Path

from tests.torture.harness import Outcome, check, events, fork_server, interrupted, scenario

KILLED = -9
TOGETHER = 5
"""Kills that one store lives through before it is checked."""


@scenario(
    "F01",
    "kill -9 at a random moment",
    plants=("end-behind", "owner-of-the-parent", "running-row-at-end"),
    short={"rounds": 30},
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
