"""Clusters whose workers die, whose scheduler is lost and that run the same task twice."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from daskperiment import Experiment
from daskperiment.backends import open_backend
from daskperiment.execution import executors
from tests.torture import batches, cluster
from tests.torture.harness import (
    AckLog,
    ForkServer,
    Outcome,
    await_event,
    events,
    fork_server,
    scenario,
)

MODES = ("sys.exit", "graceful", "segfault", "SIGKILL")
PATIENCE = 600.0
DRIVE = "tests.torture.batches:drive"


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
    short={"trials": 10, "delay": 0.4, "allowed": 1, "during": 8.0},
    long={"trials": 400, "delay": 0.8, "allowed": 3, "during": 300.0},
    planted={"trials": 8, "delay": 0.3, "allowed": 1, "modes": ("SIGKILL",)},
)
def dying_workers(
    seed: int, folder: Path, plant: str | None, *, trials: int, delay: float, allowed: int,
    during: float = 15.0, modes: tuple[str, ...] = MODES,
) -> Outcome:  # fmt: skip
    """Every trial ends once, with its attempts; one that kills its workers is told of so."""
    outcome = Outcome("F29", seed)
    argument = batches.batch(
        folder, "workers", seed=seed, trials=trials, plant=plant, pause=0.15, modes=modes,
        delay=delay, during=during, program=f"{__name__}:chaotic", fates={"0": "die"},
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
    modes = argument["modes"]
    with open_backend(argument["store"]) as backend, _client(argument["address"]) as client:
        ex, node = batches.experiment(backend)
        for number, mode in enumerate(modes):
            part = intents[1:][number :: len(modes)]
            # On a busy machine chance may hit one trial many times in a row.
            with _killing(client, mode, argument):
                batches.run(ex, node, part, client, log, retries=50)
        with batches.there(argument, "armed"):
            batches.run(ex, node, intents[:1], client, log)


@contextmanager
def _killing(client: Any, mode: str, argument: dict[str, Any]) -> Iterator[None]:
    """A block during which workers die of chance, for some time.

    On a busy machine they might all die before they have run anything, and that for ever.
    """
    over = threading.Event()
    target = _kill if mode == "SIGKILL" else _let_die
    killer = threading.Thread(target=target, args=(over, client, mode, argument), daemon=True)
    killer.start()
    yield
    over.set()
    killer.join()


def _kill(over: threading.Event, client: Any, mode: str, argument: dict[str, Any]) -> None:
    """Kill whatever process has begun a trial last."""
    chance, deadline = random.Random(argument["seed"]), time.monotonic() + argument["during"]
    while not over.wait(chance.expovariate(1 / argument["delay"])):
        began = [each["pid"] for each in events(Path(argument["steps_log"])) if "pid" in each]
        if time.monotonic() > deadline:
            return
        with suppress(ProcessLookupError):
            os.kill(began[-1], signal.SIGKILL) if began else None


def _let_die(over: threading.Event, client: Any, mode: str, argument: dict[str, Any]) -> None:
    """Let each worker end by itself a short while after it has started."""
    from distributed.chaos import KillWorker

    with suppress(Exception):  # one may have died just now, and hears of it when it is back
        client.register_plugin(KillWorker(argument["delay"], mode), name=f"chaos {mode}")
    over.wait(argument["during"])
    with suppress(Exception):
        client.unregister_worker_plugin(f"chaos {mode}")


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

LOSSES = ("scheduler killed", "client closed", "scheduler ended", "scheduler killed and started")
SLOWEST = 30.0
"""Seconds in which a batch must have ended."""


@scenario(
    "F30",
    "a scheduler that dies in the middle of a batch, a client that is closed",
    plants=("cancelled-was-never-begun",),
    short={"rounds": 2},
    long={"rounds": 40},
    planted={"rounds": 1},
)
def losses(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """The batch ends soon, its error and its trials say why, and it can be resumed."""
    outcome, chance = Outcome("F30", seed), random.Random(seed)
    with fork_server() as server:
        for number in range(rounds):
            what = LOSSES[number % len(LOSSES)]
            argument = batches.batch(
                folder, str(number), seed=seed, trials=8, plant=plant, pause=0.5, lose=what,
                program=f"{__name__}:losing",
            )  # fmt: skip
            with closing(cluster.Commands()) as running:
                found = _lost(outcome, server, argument, running, chance)
                outcome.add(f"{what}, {number}", found)
            # Only now: a worker that has lost its scheduler ends what it runs.
            outcome.add(f"{what}, {number}", _told(outcome, argument))
            again = Path(argument["log"]).with_suffix(".again")
            resumed = {"log": str(again), "executor": "threads", "program": DRIVE,
                       "options": {"skip_completed": True}}  # fmt: skip
            outcome.add(f"{what}, {number}", server.run({**argument, **resumed}).violations())
            logs = [Path(argument["log"]), again]
            outcome.add(f"{what}, {number}", batches.check_batch(argument, logs, complete=True))
            outcome.rounds += 1
    return outcome


def _lost(
    outcome: Outcome, server: ForkServer, argument: dict[str, Any], running: cluster.Commands,
    chance: random.Random,
) -> Iterator[str]:  # fmt: skip
    steps, what = Path(argument["steps_log"]), argument["lose"]
    pid = server.start({**argument, "address": running.address})
    await_event(steps, "began", 2)
    time.sleep(chance.uniform(0, 0.6))
    began = time.monotonic()
    if what == "client closed":
        Path(f"{steps}.closed").touch()
    elif what == "scheduler ended":
        running.scheduler.terminate()
    else:
        running.scheduler.kill()
    if what.endswith("started"):
        running.restart()
    yield from server.wait(pid, PATIENCE).violations()
    took = time.monotonic() - began
    slowest = max(float(str(outcome.figures.get("slowest end in s", 0))), round(took, 1))
    outcome.figures["slowest end in s"] = slowest
    if took > SLOWEST:
        yield f"I8: the batch ended after {took:.0f} s"


def _told(outcome: Outcome, argument: dict[str, Any]) -> Iterator[str]:
    log, what = Path(argument["log"]), argument["lose"]
    yield from batches.check_batch(argument, [log])
    outcome.faults += any("ack" not in event for event in events(log) if "uid" in event)
    told = [event["message"] for event in events(log) if "error" in event]
    if what.endswith("started"):  # then the batch may have gone on with the others
        told += [event["description"] for event in events(log) if "ended" in event]
    if not any("scheduler" in message for message in told):
        yield f"I6: of the loss is told {told}, and returned {batches.returned(log)}"
    with open_backend(argument["store"]) as backend:
        for trial in Experiment(batches.NAME, backend).trials:
            if str(trial.state) != "COMPLETE" and "scheduler" not in str(trial.description):
                yield f"I6: trial {trial.number} is {trial.state}: {trial.description}"


def losing(argument: dict[str, Any], log: AckLog) -> None:
    """Run a batch, and close its client when a file says so."""
    if argument["lose"] != "client closed":
        batches.drive(argument, log, argument["address"])
        return
    with _client(argument["address"]) as client:

        def close() -> None:
            while not os.path.exists(f"{argument['steps_log']}.closed"):  # noqa: PTH110
                time.sleep(0.02)
            client.close()

        threading.Thread(target=close, daemon=True).start()
        batches.drive(argument, log, client)
