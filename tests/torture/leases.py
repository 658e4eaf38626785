"""Processes that want the same call at the same time, killed or in a store that is spoilt."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from daskperiment import Experiment
from daskperiment.backends import open_backend
from daskperiment.backends.local import LocalBackend
from daskperiment.history.reusable import Reusable
from tests.torture.harness import (
    AckLog,
    ForkServer,
    Outcome,
    await_event,
    check,
    events,
    fork_server,
    scenario,
)

KILLED = -9
NAME = "leases"
SIZE = 20_000
SLOWEST = 10.0
"""Seconds within which a process must have ended; the lease of a dead one is over at once."""
WAYS = ("inside", "write", "behind write", "idle", "damage", "remove")
"""Killed while it computes, at a group of writes or behind it; nobody is; the bytes are spoilt."""
_STATE: dict[str, Any] = {}


def expected(a: int) -> float:
    """What the trial gives."""
    return float(np.arange(SIZE).sum()) + a


def load(a: int) -> Any:
    """The step that all want; looked up while it runs, what it tells is no part of its code."""
    here = sys.modules["tests.torture.leases"]
    here.told("began")
    time.sleep(0.03)
    value = np.arange(float(SIZE))
    value[0] += a
    here.told("ended")
    return value


def told(what: str) -> None:
    """Log it, and die where that was asked for."""
    _STATE["log"].write(**{what: os.getpid()})
    if what == "ended":
        if _STATE["kill"] == "inside":
            os.kill(os.getpid(), signal.SIGKILL)
        _STATE["armed"] = _STATE["kill"]


def want(argument: dict[str, Any], log: AckLog) -> None:
    """Compute a trial that others compute too, and log what it gives and how long it took."""
    _STATE.update(log=log, kill=argument["kill"], armed=None)
    apply, left = LocalBackend.apply, argument["writes"]

    def dying(self: LocalBackend, *writes: Any) -> list[Any]:
        nonlocal left
        armed = _STATE["armed"] in ("write", "behind write")
        left -= armed
        if armed and left < 0 and _STATE["armed"] == "write":
            os.kill(os.getpid(), signal.SIGKILL)
        found = apply(self, *writes)
        if armed and left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    LocalBackend.apply = dying  # type: ignore[method-assign]
    accept = Reusable.accept

    def accepting(self: Reusable, *about: Any) -> bool:
        accepted = accept(self, *about)
        log.write(accepted=accepted)
        return accepted

    Reusable.accept = accepting  # type: ignore[method-assign]
    with open_backend(argument["store"]) as backend:
        ex = Experiment(NAME, backend, seed=3, reuse=True)
        loaded = ex(load, name="load")(ex.parameter("a"))
        total = ex.result(lambda data: float(data.sum()), name="total", reuse=False)
        log.write(value=total(loaded).compute(parameters={"a": argument["a"]}))


@scenario(
    "F39",
    "processes that race for one call, killed as they compute it",
    plants=("waits-for-the-dead", "takes-what-is-computed", "trusts-what-is-stored"),
    short={"rounds": 18},
    long={"rounds": 500},
    planted={"rounds": 12, "patience": 3.0},
)
def races(
    seed: int, folder: Path, plant: str | None, *, rounds: int, patience: float = SLOWEST
) -> Outcome:
    """Never a wrong value, never two accepted computations, and no wait for the dead."""
    outcome, chance = Outcome("F39", seed), random.Random(seed)
    with fork_server() as server:
        for number in range(rounds):
            way = WAYS[number % len(WAYS)]
            found = _race(outcome, server, folder, number, way, plant, chance, patience)
            outcome.add(f"{way}, {number}", found)
            outcome.rounds += 1
        outcome.add("at the end", check(folder / "store", []))
    return outcome


def _race(
    outcome: Outcome, server: ForkServer, folder: Path, number: int, way: str, plant: str | None,
    chance: random.Random, patience: float,
) -> Iterator[str]:  # fmt: skip
    spoilt = way in ("damage", "remove")
    store, a = folder / ("spoilt" if spoilt else "store"), number
    kills = "" if spoilt or way == "idle" else way
    pids, own = [], []
    for which, kill in enumerate((kills, "")):
        log = folder / f"{number}-{which}.log"
        own.append(log)
        argument = {
            "store": str(store), "log": str(log), "kill": kill, "a": a, "plant": plant,
            "writes": chance.randrange(4), "program": f"{__name__}:want",
        }  # fmt: skip
        pids.append(server.start(argument))
        if which == 0 and kill:
            await_event(log, "began")
    for which, pid in enumerate(pids):
        ended = server.wait(pid, patience)
        yield from ended.violations(*([KILLED] if which == 0 and kills else []))
        outcome.faults += ended.status == KILLED
    if spoilt:
        outcome.faults += _spoil(store, way)
        log = folder / f"{number}-2.log"
        own.append(log)
        argument = {
            "store": str(store), "log": str(log), "kill": "", "a": a, "plant": plant, "writes": 0,
            "program": f"{__name__}:want",
        }  # fmt: skip
        yield from server.run(argument).violations()
    yield from _judged(own, a, way)


def _spoil(store: Path, way: str) -> int:
    """Change or remove all bytes that are kept as files."""
    count = 0
    for file in (store / "blobs").glob("*/*"):
        file.chmod(0o600)
        data = file.read_bytes()
        file.unlink() if way == "remove" else file.write_bytes(data[:-8] + b"\0" * 8)
        count += 1
    return count


def _judged(logs: list[Path], a: int, way: str) -> Iterator[str]:
    told = [event for log in logs for event in events(log)]
    for event in told:
        if "value" in event and event["value"] != expected(a):
            yield f"I9: it gave {event['value']}, not {expected(a)}"
    accepted = sum(event.get("accepted", False) for event in told)
    spoilt = way in ("damage", "remove")
    if accepted > 1 + spoilt:
        yield f"I2: {accepted} computations of one call were accepted"
    if not any("value" in event for event in told):
        yield "I8: nobody has a value"
    ended = [event for event in told if "ended" in event]
    if not any("began" in event for event in told) or (way == "idle" and len(ended) > 1):
        yield f"I9: it was computed {len(ended)} times, and nobody was killed"
