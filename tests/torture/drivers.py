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
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

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
    plants=("finished-runs-again", "workers-outlive"),
    short={"rounds": 6, "together": 2},
    long={"rounds": 100, "together": 4},
    planted={"rounds": 4, "together": 2, "executors": ("processes:fork",), "parting": 3.0},
)
def driver_kills(
    seed: int, folder: Path, plant: str | None, *, rounds: int, together: int,
    executors: tuple[str, ...] = EXECUTORS, parting: float = PARTING,
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
            killed = _Killed(place, kind, address, chance, plant, server, parting)
            for _ in range(together):
                outcome.add(f"{kind}, {group}", killed.once(outcome))
                outcome.rounds += 1
            outcome.add(f"{kind}, {group}", killed.completed())
            outcome.count("acked", killed.acked())
    return outcome


class _Killed:
    """A batch whose driver is killed several times, in one store."""

    def __init__(
        self, folder: Path, kind: str, address: str, chance: random.Random, plant: str | None,
        server: ForkServer, parting: float,
    ) -> None:  # fmt: skip
        self._folder, self._chance, self._server = folder, chance, server
        self._parting = parting
        self._script = kind in SCRIPTS
        executor = address if kind == "cluster" else kind.removesuffix(" script")
        self._argument = batches.batch(
            folder, "b", seed=chance.randrange(10**6), trials=12, executor=executor, plant=plant,
            pause=0.05, options={"skip_completed": True},
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
        hold = "://" not in self._argument["executor"] and self._chance.random() < 0.7
        with batches.there(self._argument, "hold", hold):
            time.sleep(0.1 * hold)
            workers = psutil.Process(pid).children(recursive=True)
            os.kill(pid, signal.SIGKILL)
            yield from wait().violations(KILLED)
            yield from _outlived(workers, self._parting)
        outcome.faults += batches.returned(self._logs[-1]) is None
        if "://" in self._argument["executor"] and Path(self._argument["store"]).exists():
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


def _outlived(workers: list[psutil.Process], parting: float = PARTING) -> Iterator[str]:
    """Whether worker processes outlive their driver; they are ended."""
    deadline = time.monotonic() + parting
    while (alive := [each for each in workers if _runs(each)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in alive:
        process.kill()
    yield from (f"I10: process {process.pid} outlives its driver" for process in alive)


def _at_work(steps: Path) -> list[psutil.Process]:
    """The processes that have begun a trial and are there."""
    found = []
    for pid in {event["pid"] for event in events(steps)}:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# -- signals and exits ------------------------------------------------------------------------

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
OWN = ("threads", "processes:fork")


class Case(NamedTuple):
    """What happens to a batch, and how trials that do not complete may have ended.

    ``does`` are signals, or the fate of a trial; they are sent to the driver and with ``group`` to
    its worker processes too, as by a terminal.  ``status`` is how the driver may end.
    """

    does: str
    states: dict[str, set[str]]
    status: dict[str, int]
    group: bool = False


def _case(
    does: str, threads: str, processes: str, status: tuple[int, ...], group: bool = False
) -> Case:
    states = {"threads": set(threads.split()), "processes:fork": set(processes.split())}
    if does.startswith("INT"):
        states["cluster"], status = {"CANCELLED"}, (*status, status[0])
    return Case(does, states, dict(zip(states, status, strict=True)), group)


CASES = [
    _case("INT", "CANCELLED", "CANCELLED", (-INT, -INT)),
    _case("INT", "CANCELLED", "CANCELLED", (-INT, -INT), group=True),
    _case("INT INT", "CANCELLED", "CANCELLED", (-INT, -INT), group=True),
    _case("TERM", "CRASHED", "CRASHED", (-TERM, -TERM)),
    _case("TERM", "CRASHED", "CRASHED CANCELLED", (-TERM, -TERM), group=True),
    _case("HUP", "CRASHED", "CRASHED", (-HUP, -HUP), group=True),
    _case("exit", "FAILED", "FAILED", (0, 0)),
    _case("_exit", "CRASHED", "CRASHED", (0, 0)),
    _case("die", "CRASHED", "CRASHED", (KILLED, 0)),
    _case("segfault", "CRASHED", "CRASHED", (-signal.SIGSEGV, 0)),
]


@scenario(
    "F09B",
    "signals to a batch, and exits in its steps",
    plants=("exit-is-success", "lost-trials-are-nobodys"),
    short={"sweep": 2, "part": 2},
    long={"sweep": 200},
    planted={"sweep": 0, "does": ("exit", "_exit"), "part": 1},
)
def signals(
    seed: int, folder: Path, plant: str | None, *, sweep: int, part: int = 1,
    does: tuple[str, ...] = (),
) -> Outcome:  # fmt: skip
    """Cases on threads, processes and a cluster, then signals at random times; all are resumed.

    With ``part`` only every so many of the cases, with ``does`` only some.
    """
    outcome, chance = Outcome("F09B", seed), random.Random(seed)
    with fork_server() as server, ExitStack() as stack:
        every = [(case, kind) for case in CASES for kind in case.states]
        cases = [each for each in every if each[0].does in does] if does else every[::part]
        clustered = any(kind == "cluster" for _, kind in cases)
        address = stack.enter_context(cluster.running()) if clustered else ""
        for number in range(len(cases) + sweep):
            case, executor = cases[number] if number < len(cases) else (None, chance.choice(OWN))
            name = f"{case.does if case else number}, {executor}"
            argument = batches.batch(
                folder, str(number), seed=seed, trials=5, kind=executor, plant=plant,
                executor=address if executor == "cluster" else executor,
                fates={"1": case.does} if case and case.does.islower() else {},
                pause=0.6 if case and case.does == "INT INT" else 0.05,
            )  # fmt: skip
            disturbed = _Signalled(server, argument, case, chance)
            outcome.add(name, disturbed.violations(outcome))
            outcome.rounds += 1
    return outcome


class _Signalled:
    """A batch to which a case happens, or a signal at a random moment, and that is resumed."""

    def __init__(
        self, server: ForkServer, argument: dict[str, Any], case: Case | None, chance: random.Random
    ) -> None:
        self._server, self._argument, self._case, self._chance = server, argument, case, chance
        self._log, self._steps = Path(argument["log"]), Path(argument["steps_log"])

    def violations(self, outcome: Outcome) -> Iterator[str]:
        """Run it, look at it, resume it."""
        case, executor = self._case, self._argument["kind"]
        fate = case is not None and case.does.islower()
        held = case is not None and not fate  # or nothing might run when the signal arrives
        with (
            batches.there(self._argument, "armed", fate),
            batches.there(self._argument, "hold", held),
        ):
            pid = self._server.start(self._argument)
            yield from self._disturb(pid)
            ended = self._server.wait(pid)
        expected = {case.status[executor]} if case else {0, -INT, -TERM, -HUP}
        if ended.hung or ended.status not in expected:
            yield f"I8: the driver ended with status {ended.status}, hung: {ended.hung}"
        if executor != "cluster":
            yield from _outlived(_at_work(self._steps))
        yield from batches.check_batch(self._argument, [self._log])
        odd = set(batches.states(self._argument["store"])) - {"COMPLETE"}
        outcome.faults += bool(odd) or batches.returned(self._log) is None
        if case and not (odd and odd <= case.states[executor]):
            yield f"I3: trials are {odd} instead of {case.states[executor]}"
        again = self._log.with_suffix(".again")
        resumed = {"log": str(again), "options": {"skip_completed": True}}
        yield from self._server.run({**self._argument, **resumed}).violations()
        yield from batches.check_batch(self._argument, [self._log, again], complete=True)

    def _disturb(self, pid: int) -> Iterator[str]:
        if self._case is None:
            await_event(self._log, "ready")
            time.sleep(self._chance.uniform(0, 0.4))
            sent, group = [self._chance.choice((INT, TERM, HUP))], self._chance.random() < 0.5
        else:
            names = self._case.does.split() if self._case.does.isupper() else []
            sent, group = [signal.Signals[f"SIG{name}"] for name in names], self._case.group
            _await(self._log, self._steps, 2)
        workers = psutil.Process(pid).children(recursive=True) if sent else []
        for number in sent:
            time.sleep(0.1)
            (os.killpg if group else os.kill)(pid, number)
        yield from _outlived(workers)
