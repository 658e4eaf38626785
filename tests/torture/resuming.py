"""Trials that are killed and attempted again: finished steps stay so, and checkpoints hold."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from daskperiment import Experiment, Trial
from daskperiment.backends import open_backend
from daskperiment.backends.local import LocalBackend
from daskperiment.history import paths
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
NAME = "resumed"
STEPS = 6
EPOCHS = 200
MOST_KILLS = 25
WAYS = ("entry", "exit", "write", "behind write")
"""Where a process is killed: as a step begins, as its function ends, around a group of writes."""
_STATE: dict[str, Any] = {}


# -- a graph of six steps -----------------------------------------------------------------


def step(x: float, number: int) -> float:
    """A step that draws; looked up while it runs, what it tells is no part of its code."""
    here = sys.modules["tests.torture.resuming"]
    here.told("entry", number)
    value = x + random.random() + float(np.random.normal())
    here.told("exit", number)
    return value


def told(where: str, number: int) -> None:
    """Log that a step begins or ends, and die where that was asked for."""
    way, at = _STATE["kill"]
    if where == "entry":
        if (way, at) == ("entry", number):
            os.kill(os.getpid(), signal.SIGKILL)
        _STATE["log"].write(ran=number)
    elif at == number and way != "entry":
        if way == "exit":
            os.kill(os.getpid(), signal.SIGKILL)
        _STATE["armed"] = way


def chain(ex: Experiment) -> Any:
    """Steps one after the other, all of them persisted but the last, which is the result."""
    node = ex.parameter("a")
    for number in range(STEPS):
        kind = ex.result if number == STEPS - 1 else ex.persist
        node = kind(step, name=f"step{number}")(node, number)
    return node


def attempt(argument: dict[str, Any], log: AckLog) -> None:
    """Attempt the trial, which is killed where ``kill`` says."""
    _STATE.update(log=log, kill=argument["kill"], armed=None)
    apply = LocalBackend.apply

    def dying(self: LocalBackend, *writes: Any) -> list[Any]:
        if _STATE["armed"] == "write":
            os.kill(os.getpid(), signal.SIGKILL)
        found = apply(self, *writes)
        if _STATE["armed"] == "behind write":
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    LocalBackend.apply = dying  # type: ignore[method-assign]
    with open_backend(argument["store"]) as backend:
        ex = Experiment(NAME, backend)
        (trial,) = ex.map(chain(ex), [{"a": 1.0}], skip_completed=True, seed=argument["seed"])
        log.write(value=trial.result, number=trial.number)


@scenario(
    "F40",
    "kill -9 at every step boundary",
    plants=("finished-steps-run-again", "finished-steps-wait", "attempts-draw-seeds"),
    short={"kills": 1},
    long={"kills": 20},
)
def boundaries(seed: int, folder: Path, plant: str | None, *, kills: int) -> Outcome:
    """A trial is killed at a boundary, sometimes more than once, and attempted again."""
    outcome, chance = Outcome("F40", seed), random.Random(seed)
    whole = _uninterrupted(seed % 1000)
    with fork_server() as server:
        for number in range(STEPS):
            for kill in range(kills):
                name = f"{number}-{kill}"
                points = [(WAYS[(number + kill) % len(WAYS)], number)]
                while chance.random() < 0.4:
                    points.append((chance.choice(WAYS), chance.randrange(STEPS)))
                _killed(outcome, server, folder / name, plant, points, whole)
    return outcome


def _uninterrupted(seed: int) -> Trial:
    _STATE.update(log=AckLog(os.devnull), kill=("", -1), armed=None)
    ex = Experiment(NAME, "memory://", seed=seed)
    chain(ex).compute(parameters={"a": 1.0})
    return ex[1]


def _killed(
    outcome: Outcome,
    server: ForkServer,
    folder: Path,
    plant: str | None,
    points: list[tuple[str, int]],
    whole: Trial,
) -> None:
    folder.mkdir()
    store, logs, finished = folder / "store", [], set[str]()
    for number, kill in enumerate([*points, ("", -1)]):
        log = folder / f"{number}.log"
        argument = {
            "store": str(store), "log": str(log), "kill": kill, "seed": whole.seed, "plant": plant,
            "program": f"{__name__}:attempt",
        }  # fmt: skip
        ended = server.run(argument)
        outcome.add(folder.name, ended.violations(KILLED))
        outcome.rounds += 1
        outcome.faults += ended.status == KILLED
        logs.append(log)
        ran = [f"step{event['ran']}" for event in events(log) if "ran" in event]
        again = sorted(finished.intersection(ran))
        outcome.add(folder.name, [f"I1: {name} was finished and runs again" for name in again])
        finished |= _finished(store)
        outcome.count("steps", len(ran))
        if ended.status == 0:
            break
    if points[0][0] == "entry":
        outcome.add(folder.name, _run_twice(logs, points))
    outcome.add(folder.name, _judged(store, events(logs[-1]), whole))
    outcome.add(folder.name, check(store, logs))


def _run_twice(logs: list[Path], points: list[tuple[str, int]]) -> Iterator[str]:
    """Steps that ended before a process was killed as the next one began have run for good."""
    runs = Counter(event["ran"] for log in logs for event in events(log) if "ran" in event)
    for number in range(points[0][1]):
        if runs[number] != 1:
            yield f"I1: step{number} was finished before the kill and ran {runs[number]} times"


def _finished(store: Path) -> set[str]:
    """Steps of which some trial says that they have ended, with an output that is kept."""
    if not store.exists():
        return set()
    with closing(open_backend(store)) as backend:
        found: set[str] = set()
        for trial in Experiment(NAME, backend).trials:
            for entry in backend.read(paths.steps(NAME, trial.uid)):
                if entry.get("kept"):
                    found.add(entry["step"])
        return found


def _judged(store: Path, logged: list[dict[str, Any]], whole: Trial) -> Iterator[str]:
    with closing(open_backend(store)) as backend:
        trials = list(Experiment(NAME, backend).trials)
        values = [event["value"] for event in logged if "value" in event]
        if values != [whole.result]:
            yield f"I9: the attempts gave {values} instead of {whole.result}"
        states = [str(trial.state) for trial in trials]
        if states[-1:] != ["COMPLETE"] or set(states[:-1]) - {"CRASHED"}:
            yield f"I3: the attempts are {states}"
            return
        last = trials[-1]
        if (last.result, last.seed) != (whole.result, whole.seed):
            yield f"I1: the last attempt has {last.result} by the seed {last.seed}"
        for column in ("step", "seed", "drew", "fingerprint", "output"):
            if last.steps[column].tolist() != whole.steps[column].tolist():
                yield f"I1: the steps have another {column}"
        for trial, before in zip(trials[1:], trials, strict=False):
            if trial.retry_of != before:
                yield f"I1: trial {trial.number} is no attempt after trial {before.number}"


# -- a loop of 200 epochs with a checkpoint in each ---------------------------------------


def train(epochs: int, size: int) -> list[Any]:
    """A walk of random steps; every third state is large enough for a file."""
    import daskperiment

    trial, here = daskperiment.current(), sys.modules["tests.torture.resuming"]
    done, weights, seen, _ = trial.resume_state((0, np.zeros(8), [], None))
    here.event(began_at=done)
    for epoch in range(done, epochs):
        weights = weights + np.random.normal(size=8) * random.gauss(0, 1) + trial.rng().random(8)
        seen = [*seen, float(weights.sum())][-50:]
        trial.log_metric("sum", seen[-1], epoch)
        trial.checkpoint((epoch + 1, weights, seen, np.zeros(size if epoch % 3 == 0 else 1)))
        here.event(saved=epoch + 1)
    return [*weights.tolist(), *seen]


def event(**told: Any) -> None:
    """Log where a run begins, and what is kept."""
    _STATE["log"].write(**told)


def loop(argument: dict[str, Any], log: AckLog) -> None:
    """Run the loop to its end, or until this process is killed."""
    _STATE["log"] = log
    with open_backend(argument["store"]) as backend:
        ex = Experiment(NAME, backend)
        log.write(value=_train(ex, argument["seed"], argument["size"]))


def _train(ex: Experiment, seed: int, size: int) -> list[float]:
    node = ex.result(train)(ex.parameter("epochs"), ex.parameter("size"))
    given = {"epochs": EPOCHS, "size": size}
    value: list[float] = node.compute(seed=seed, parameters=given, scheduler="synchronous")
    return value


@scenario(
    "F40b",
    "kill -9 while checkpoints are written",
    plants=("checkpoints-wait", "generators-begin-anew", "deletes-before-it-writes"),
    short={"rounds": 1},
    long={"rounds": 60},
    planted={"rounds": 20},
)
def checkpoints(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """A loop is killed again and again, and ends as one that was never interrupted."""
    outcome, chance = Outcome("F40b", seed), random.Random(seed)
    with fork_server() as server:
        for number in range(rounds):
            size = (20_000, 0)[number % 2]
            _looped(outcome, server, folder / str(number), plant, chance, size)
    return outcome


def _looped(
    outcome: Outcome,
    server: ForkServer,
    folder: Path,
    plant: str | None,
    chance: random.Random,
    size: int,
) -> None:
    folder.mkdir()
    seed, where = chance.randrange(1000), f"round {folder.name}"
    _STATE["log"] = AckLog(os.devnull)
    expected = _train(Experiment(NAME, "memory://"), seed, size)
    store, logs, promised, complete = folder / "store", [], 0, False
    while not complete and len(logs) <= MOST_KILLS:
        log = folder / f"{len(logs)}.log"
        argument = {
            "store": str(store), "log": str(log), "seed": seed, "size": size, "plant": plant,
            "program": f"{__name__}:loop",
        }  # fmt: skip
        pid = server.start(argument)
        await_event(log, "began_at")
        if len(logs) < MOST_KILLS:
            time.sleep(chance.uniform(0, 0.5))
            os.kill(pid, signal.SIGKILL)
        ended = server.wait(pid)
        outcome.add(where, ended.violations(KILLED))
        outcome.rounds += 1
        logs.append(log)
        told = events(log)
        for each in told:
            if each.get("began_at", promised) < promised:
                lost = f"I1: {promised} epochs were kept, and it went on at {each['began_at']}"
                outcome.add(where, [lost])
            promised = max(promised, each.get("saved", 0))
        outcome.count("epochs", sum("saved" in each for each in told))
        complete = _is_complete(store)
        outcome.faults += any("began_at" in each for each in told) and not complete
    outcome.add(where, _whole(store, events(logs[-1]), expected))
    outcome.add(where, check(store, logs))


def _is_complete(store: Path) -> bool:
    if not store.exists():
        return False
    with closing(open_backend(store)) as backend:
        trials = Experiment(NAME, backend).trials
        return any(str(trial.state) == "COMPLETE" for trial in trials)


def _whole(store: Path, logged: list[dict[str, Any]], expected: list[float]) -> Iterator[str]:
    with closing(open_backend(store)) as backend:
        ex = Experiment(NAME, backend)
        last = ex.latest
        if any(event.get("value", expected) != expected for event in logged):
            yield "I9: the resumed loop gave another value than one that was not interrupted"
        if str(last.state) != "COMPLETE" or last.result != expected:
            yield f"I1: the last trial is {last.state}, or has another result"
        epochs = [point.epoch for point in last.metrics["sum"]]
        if epochs != list(range(EPOCHS)):
            yield f"I4: the resumed trial has {len(epochs)} points of {EPOCHS}"
        if any(trial.checkpoints for trial in ex.trials):
            yield "I10: checkpoints are left of a trial that is complete"
        ex.gc()
        known = {str(digest) for digest, _ in backend.blobs()}
        ex.gc()
        if known != {str(digest) for digest, _ in backend.blobs()}:
            yield "I10: gc has left bytes of checkpoints"
