"""Clusters whose workers die, whose scheduler is lost and that run the same task twice."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from daskperiment.backends import open_backend
from daskperiment.execution import executors
from tests.torture import batches, cluster
from tests.torture.harness import AckLog, Outcome, events, fork_server, scenario

MODES = ("sys.exit", "graceful", "segfault", "SIGKILL")
PATIENCE = 600.0


@contextmanager
def _client(address: str) -> Iterator[Any]:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        yield client


# -- workers that die ---------------------------------------------------------------------------


@scenario(
    "F29",
    "workers of a cluster that are killed, in four ways",
    plants=("runs-twice", "lost-trials-are-nobodys"),
    short={"trials": 12, "delay": 0.7, "allowed": 1},
    long={"trials": 400, "delay": 2.0, "allowed": 3},
    planted={"trials": 8, "delay": 0.3, "allowed": 1, "modes": ("SIGKILL",)},
)
def dying_workers(
    seed: int, folder: Path, plant: str | None, *, trials: int, delay: float, allowed: int,
    modes: tuple[str, ...] = MODES,
) -> Outcome:  # fmt: skip
    """Every trial ends once, with its attempts; one that kills its workers is told of so."""
    outcome = Outcome("F29", seed)
    argument = batches.batch(
        folder, "workers", seed=seed, trials=trials, plant=plant, pause=0.15, modes=modes,
        delay=delay, program=f"{__name__}:chaotic", fates={"0": "die"},
    )  # fmt: skip
    with fork_server() as server, cluster.running(plant=plant, allowed=allowed) as address:
        pid = server.start({**argument, "address": address})
        outcome.add("driver", server.wait(pid, PATIENCE).violations())
    log, steps = Path(argument["log"]), Path(argument["steps_log"])
    outcome.add("at the end", batches.await_idle(argument["store"]))
    outcome.add("at the end", batches.check_batch(argument, [log]))
    told = [each for event in events(log) for each in event.get("returned", ())]
    outcome.add("at the end", _judged(argument, told, log))
    outcome.rounds = len(told)
    outcome.faults = sum("began" in event for event in events(steps)) - len(told)
    found = batches.states(argument["store"])
    outcome.figures |= {str(name): count for name, count in sorted(found.items())}
    return outcome


def _judged(argument: dict[str, Any], told: list[list[Any]], log: Path) -> Iterator[str]:
    if len(told) != argument["trials"]:
        yield f"I1: {len(told)} of {argument['trials']} trials were returned"
    states = {label: state for _, label, state, _ in told}
    killer = states.pop(f"{argument['worker']}/0", None)
    if killer not in ("CRASHED", "FAILED"):
        yield f"I3: the trial that kills its workers is {killer}"
    odd = {label: state for label, state in states.items() if state != "COMPLETE"}
    if odd:
        yield f"I1: trials did not complete: {odd}"
    reasons = [e["description"] or "" for e in events(log) if e.get("label", "").endswith("/0")
               and "ended" in e]  # fmt: skip
    if not any("KilledWorker" in reason for reason in reasons):
        yield f"I6: of the trial that kills its workers is told {reasons}"


def chaotic(argument: dict[str, Any], log: AckLog) -> None:
    """Run a part of the trials while workers die, for each of the modes in turn."""
    batches.usual_handlers()
    intents = [batches.intention(argument, k) for k in range(argument["trials"])]
    for intent in intents:
        log.write(**intent)
    modes, steps = argument["modes"], Path(argument["steps_log"])
    with open_backend(argument["store"]) as backend, _client(argument["address"]) as client:
        ex, node = batches.experiment(backend)
        for number, mode in enumerate(modes):
            part = intents[1:][number :: len(modes)]
            with _killing(client, mode, argument["delay"], argument["seed"], steps):
                batches.run(ex, node, part, client, log, retries=3)
        with batches.there(argument, "armed"):
            batches.run(ex, node, intents[:1], client, log)


@contextmanager
def _killing(client: Any, mode: str, delay: float, seed: int, steps: Path) -> Iterator[None]:
    """A block during which workers die of chance."""
    from distributed.chaos import KillWorker

    if mode != "SIGKILL":
        with suppress(Exception):  # one may have died just now, and hears of it when it is back
            client.register_plugin(KillWorker(delay, mode), name=f"chaos {mode}")
        yield
        with suppress(Exception):
            client.unregister_worker_plugin(f"chaos {mode}")
        return
    over, chance = threading.Event(), random.Random(seed)

    def kill() -> None:
        while not over.wait(chance.expovariate(1 / delay)):
            began = [event["pid"] for event in events(steps) if "pid" in event]
            with suppress(ProcessLookupError):
                os.kill(began[-1], signal.SIGKILL) if began else None

    threading.Thread(target=kill, daemon=True).start()
    yield
    over.set()


# -- the same task twice ------------------------------------------------------------------------


@scenario(
    "F32",
    "a cluster that runs tasks twice, at the same time or one after the other",
    plants=("runs-twice", "joins-who-has-begun"),
    short={"trials": 50},
    long={"trials": 500},
    planted={"trials": 30},
)
def twice(seed: int, folder: Path, plant: str | None, *, trials: int) -> Outcome:
    """Of steps that give another value each time one attempt is accepted, with what it gave."""
    outcome, chance = Outcome("F32", seed), random.Random(seed)
    fates = {str(k): chance.choice(("draw", "draw", "fail once")) for k in range(trials)}
    argument = batches.batch(
        folder, "twice", seed=seed, trials=trials, plant=plant, pause=0.02, fates=fates,
        program=f"{__name__}:doubling",
    )  # fmt: skip
    with (
        fork_server() as server,
        batches.there(argument, "armed"),
        cluster.running(plant=plant) as address,
    ):
        pid = server.start({**argument, "address": address})
        outcome.add("driver", server.wait(pid, PATIENCE).violations())
        outcome.add("at the end", batches.await_idle(argument["store"]))
    log = Path(argument["log"])
    outcome.add("at the end", batches.check_batch(argument, [log], complete=True))
    outcome.rounds = trials
    outcome.faults = sum("twice" in event for event in events(log))
    began = [event for event in events(Path(argument["steps_log"])) if "began" in event]
    outcome.figures["attempts"] = len(began)
    return outcome


def doubling(argument: dict[str, Any], log: AckLog) -> None:
    """Run a batch of which the scheduler runs many tasks twice; the later run is what counts."""
    chance, real = random.Random(argument["seed"]), executors._Cluster.submit

    def submit(self: Any, uid: str, limit: Any, function: Any, *arguments: Any) -> Future[Any]:
        first = real(self, uid, limit, function, *arguments)
        if chance.random() < 0.3:
            return first
        log.write(twice=uid)
        threading.Event().wait(chance.choice((0, 0, 0.01, 0.03)))
        return _either(first, real(self, uid, limit, function, *arguments))

    executors._Cluster.submit = submit  # type: ignore[method-assign]
    argument = {**argument, "options": {"retries": 2}}
    with _client(argument["address"]) as client:
        batches.drive(argument, log, client)


def _either(first: Future[Any], second: Future[Any]) -> Future[Any]:
    """What one of two runs gives, if possible that of one that has not failed."""
    chosen: Future[Any] = Future()

    def choose(done: Future[Any]) -> None:
        if first.done() and second.done() and chosen.set_running_or_notify_cancel():
            good = [each for each in (first, second) if each.result().error is None]
            chosen.set_result((good or [second])[0].result())

    first.add_done_callback(choose)
    second.add_done_callback(choose)
    return chosen


# -- a scheduler or client that is lost -----------------------------------------------------------
