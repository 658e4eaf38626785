"""Signals and exits in a step, in a flush and at the end; processes that stop, crash and fork."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import dask

from daskperiment import Experiment
from daskperiment.backends.local import LocalBackend
from daskperiment.execution import context
from daskperiment.execution.context import TrialContext
from daskperiment.history import paths
from tests.torture import harness, programs
from tests.torture.crowds import integrity
from tests.torture.harness import (
    AckLog,
    Outcome,
    await_event,
    check,
    events,
    fork_server,
    scenario,
    stop,
)

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
KILLED = (-INT, -TERM, -HUP, -signal.SIGKILL)
GONE = {"CRASHED"}
ENDED = {"CANCELLED", "FAILED", "CRASHED"}


class Case(NamedTuple):
    """What happens at which moment, and how the trial may end.

    ``does`` are signals, ``exit`` or ``_exit``; ``handler`` is what the user's own handler does.
    """

    moment: str
    does: str
    states: set[str]
    handler: str = ""


CASES = [
    Case("step", "INT", {"CANCELLED"}),
    Case("step", "INT INT", {"CANCELLED"}),
    Case("step", "TERM", GONE),
    Case("step", "HUP", GONE),
    Case("step", "exit", {"FAILED"}),
    Case("step", "_exit", GONE),
    Case("step", "INT", {"COMPLETE"}, "note"),
    Case("step", "TERM", {"COMPLETE"}, "note"),
    Case("step", "TERM", {"FAILED"}, "exit"),
    Case("step", "HUP", {"FAILED"}, "exit"),
    Case("flush", "INT", {"CANCELLED"}),
    Case("flush", "INT INT", ENDED),
    Case("flush", "TERM", GONE),
    Case("flush", "TERM", {"FAILED", "COMPLETE"}, "exit"),
    Case("flush", "INT", {"COMPLETE"}, "note"),
    Case("finish", "INT", {"COMPLETE"}),
    Case("finish", "INT INT", {*ENDED, "COMPLETE"}),
    Case("finish", "TERM", GONE),
    Case("finish", "HUP", GONE),
    Case("finish", "INT", {"COMPLETE"}, "note"),
    Case("finish", "TERM", {"COMPLETE"}, "note"),
    Case("finish", "TERM", {*ENDED, "COMPLETE"}, "exit"),
]


@scenario(
    "F09",
    "signals and exits",
    plants=("exit-is-success", "swallows-interrupts", "owner-of-the-parent"),
    short={"sweep": 5},
    long={"sweep": 200},
    planted={"sweep": 0},
)
def signals(seed: int, folder: Path, plant: str | None, *, sweep: int) -> Outcome:
    """Every case at its moment, then signals at random times."""
    outcome, chance = Outcome("F09", seed), random.Random(seed)
    argument = {"shape": "metrics", "seed": seed, "trials": 1, "plant": plant, "pause": 0.02}
    with fork_server() as server:
        for number, case in enumerate(CASES):
            name = " ".join(filter(None, (case.moment, case.does, case.handler)))
            own = _own(folder, f"case{number}", argument) | {
                "case": case._asdict() | {"states": []}, "program": f"{__name__}:disturbed",
            }  # fmt: skip
            ended = server.run(own)
            outcome.add(name, ended.violations(*KILLED))
            outcome.add(name, _judged(own, case))
            outcome.rounds += 1
            outcome.faults += 1
        for number in range(sweep):
            own = _own(folder, f"sweep{number}", argument) | {"program": f"{__name__}:plain"}
            pid, sent = server.start(own), chance.choice((INT, TERM, HUP))
            await_event(Path(own["log"]), "ready")
            time.sleep(chance.uniform(0, 0.12))
            os.kill(pid, sent)
            outcome.add(f"sweep {number}", server.wait(pid).violations(*KILLED))
            outcome.add(f"sweep {number}", check(own["store"], [Path(own["log"])]))
            outcome.rounds += 1
            outcome.faults += not any("ack" in event for event in events(Path(own["log"])))
    return outcome


def _own(folder: Path, name: str, argument: dict[str, Any]) -> dict[str, Any]:
    log = folder / f"{name}.log"
    return {**argument, "worker": name, "log": str(log), "store": str(folder / name)}


def _judged(argument: dict[str, Any], case: Case) -> list[str]:
    log = Path(argument["log"])
    found = check(argument["store"], [log])
    logged = events(log)
    for event in logged:
        if "RUNNING" in event.get("states", ()):
            found.append("I3: the trial is RUNNING though its computation has ended")
    if case.handler and not any("handled" in event for event in logged):
        found.append("I9: the user's own handler was not called")
    if case.does.startswith("INT") and not case.handler:
        found += ["I9: the interrupt never arrived"] * (not any("left" in e for e in logged))
    states = _states(argument["store"], "torturemetrics")
    if len(states) != 1 or not set(states) <= case.states:
        found.append(f"I3: {states} instead of {sorted(case.states)}")
    return found


def _states(store: str, experiment: str = "torture") -> list[str]:
    with LocalBackend(store) as backend:
        return [str(trial.state) for trial in Experiment(experiment, backend).trials]


def _usual_handlers(log: AckLog) -> None:
    signal.signal(INT, signal.default_int_handler)
    for number in (TERM, HUP):
        signal.signal(number, signal.SIG_DFL)
    log.write(ready=True)


def plain(argument: dict[str, Any], log: AckLog) -> None:
    """Run trials with Python's own handlers."""
    _usual_handlers(log)
    programs.run_trials(argument, log)


def disturbed(argument: dict[str, Any], log: AckLog) -> None:
    """Run a trial to which a case happens, and look at it afterwards."""
    _usual_handlers(log)
    case = Case(**argument["case"])
    numbers = [signal.Signals[f"SIG{name}"] for name in case.does.split() if name.isupper()]
    handlers = {number: _handler(case.handler, log) for number in numbers if case.handler}
    for number, handler in handlers.items():
        signal.signal(number, handler)
    _at(case.moment, lambda: _happen(case.does, numbers))
    try:
        programs.run_trials(argument, log)
    except BaseException as error:
        log.write(left=type(error).__name__)
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            log.write(violation="I9: the user's own handler is gone")
    log.write(states=_states(argument["store"], "torturemetrics"))


def _handler(does: str, log: AckLog) -> Callable[..., None]:
    def handle(number: int, frame: object) -> None:
        log.write(handled=number)
        if does == "exit":
            sys.exit(1)

    return handle


def _at(moment: str, happen: Callable[[], None]) -> None:
    """Let it happen once, at a moment of the trial."""
    once = iter([happen])
    where, name = {
        "step": (harness, "began"),
        "flush": (TrialContext, "_take"),
        "finish": (TrialContext, "_end"),
    }[moment]
    real = getattr(where, name)
    if moment == "flush":
        context._METRIC_FLUSH = 0.0  # each point is written at once

    def disturbing(*arguments: Any) -> Any:
        # A flush is disturbed when it has taken points that are nowhere else now.
        due = moment != "flush" or (arguments[0]._points and not arguments[0]._ended)
        done = real(*arguments) if moment != "finish" else None
        for happens in once if due else ():
            happens()
        return real(*arguments) if moment == "finish" else done

    setattr(where, name, disturbing)


def _happen(does: str, numbers: list[signal.Signals]) -> None:
    if does == "exit":
        sys.exit(0)
    if does == "_exit":
        os._exit(0)

    def send() -> None:
        for number in numbers:
            time.sleep(0.01)
            os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    deadline = time.monotonic() + 0.1
    while time.monotonic() < deadline:
        time.sleep(0.005)


# -- stopped ------------------------------------------------------------------------------


@scenario(
    "F10",
    "a process that is stopped while others look",
    plants=("stopped-is-dead", "late-result-is-dropped"),
    short={"rounds": 1},
    long={"rounds": 100},
)
def stopped(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """It is alive; and taken for dead by mistake, its result is accepted and marked as late."""
    outcome = Outcome("F10", seed)
    argument = {"shape": "tiny", "seed": seed, "trials": 1, "plant": plant, "pause": 0.2}
    with fork_server() as server:
        for number in range(2 * rounds):
            mistaken = bool(number % 2)
            own = _own(folder, str(number), argument)
            pid = server.start(own)
            await_event(Path(own["log"]), "began")
            stop(pid)
            if mistaken:
                _look_dead(own["store"])
            looker = {**own, "log": f"{own['log']}.look", "program": f"{__name__}:look"}
            outcome.add("looker", server.run(looker).violations())
            seen = events(Path(looker["log"]))[0].get("states")
            os.kill(pid, signal.SIGCONT)
            outcome.add("stopped", server.wait(pid).violations())
            if seen != ["CRASHED" if mistaken else "RUNNING"]:
                outcome.add("looker", [f"I3: a stopped process's trial is {seen}"])
            with LocalBackend(own["store"]) as backend:
                row = backend.get(paths.trials("torture"), 1) or {}
            if (row["state"], row.get("late", False)) != ("COMPLETE", mistaken):
                late = row.get("late", False)
                outcome.add("late", [f"I1: it ended as {row['state']}, late: {late}"])
            outcome.add("stopped", check(own["store"], [Path(own["log"])]))
            outcome.rounds += 1
            outcome.faults += 1
    return outcome


def look(argument: dict[str, Any], log: AckLog) -> None:
    """Open the store as another process and log the states that it shows."""
    log.write(states=_states(argument["store"]))


def _look_dead(store: str) -> None:
    """Change the record of the process as if another one had its number now."""
    with LocalBackend(store) as backend:
        for uid, owner in backend.find(paths.running("torture")):
            gone = {"since_boot": owner["since_boot"] - 60, "started": owner["started"] - 60}
            backend.update(paths.running("torture"), uid, gone)


# -- crashed ------------------------------------------------------------------------------


@scenario(
    "F11",
    "a step that segfaults",
    plants=("owner-of-the-parent", "lost-workers-are-nobodys"),
    short={"rounds": 1},
    long={"rounds": 20},
)
def segfaults(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """In the process of the trial, and in one of Dask's worker processes."""
    outcome = Outcome("F11", seed)
    argument = {"shape": "tiny", "seed": seed, "trials": 3, "plant": plant,
                "program": f"{__name__}:segfaulting"}  # fmt: skip
    with fork_server() as server:
        for number in range(rounds):
            for scheduler, states in (
                ("synchronous", ["COMPLETE", "CRASHED"]),
                ("processes", ["COMPLETE", "FAILED", "COMPLETE"]),
            ):
                own = _own(folder, f"{scheduler}{number}", {**argument, "scheduler": scheduler})
                ended = server.run(own)
                outcome.add(scheduler, ended.violations(-signal.SIGSEGV))
                outcome.add(scheduler, check(own["store"], [Path(own["log"])]))
                if (found := _states(own["store"])) != states:
                    outcome.add(scheduler, [f"I3: {found} instead of {states}"])
                outcome.rounds += 1
                outcome.faults += 1
    return outcome


def segfaulting(argument: dict[str, Any], log: AckLog) -> None:
    """Run trials of which the second segfaults."""
    real = harness.began

    def began(label: str, trial: Any) -> None:
        real(label, trial)
        if label.endswith("/1"):
            ctypes.string_at(0)

    harness.began = began
    with dask.config.set({"multiprocessing.context": "fork"}), programs.opened(argument) as nodes:
        for k in range(argument["trials"]):
            intent = programs.intention(argument, k)
            if k == 1:
                intent["raises"] = ["concurrent.futures.process.BrokenProcessPool"]
            _compute(nodes["tiny"][1], argument, log, intent)


def _compute(node: Any, argument: dict[str, Any], log: AckLog, intent: dict[str, Any]) -> None:
    """Run a trial; the log alone tells what its steps have logged in other processes."""
    label = intent["label"]
    log.write(**intent)
    harness.BEGUN[label] = log, 0, ""
    asked = {name: intent[name] for name in ("seed", "parameters")}
    try:
        value = node.compute(**asked, scheduler=argument["scheduler"])
    except Exception as error:
        log.write(error=_name(error), message=str(error), label=label)
        return
    (begun,) = (e for e in events(Path(argument["log"])) if "began" in e and e["label"] == label)
    number, uid = begun["began"], begun["uid"]
    log.write(ack=number, uid=uid, label=label, value=value, recorded=True)


def _name(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


# -- forked -------------------------------------------------------------------------------


def _child_exits(trial: Any) -> None:
    _forked(lambda: os._exit(0))


def _child_leaves_by_exception(trial: Any) -> None:
    _forked(lambda: sys.exit(0))


def _child_fails(trial: Any) -> None:
    def fail() -> None:
        raise ValueError("of the child")

    _forked(fail)


def _child_goes_on(trial: Any) -> None:
    _forked(lambda: None)


def _child_logs(trial: Any) -> None:
    _forked(lambda: (_log(trial), os._exit(0)))


def _child_is_killed(trial: Any) -> None:
    _forked(lambda: (_log(trial), os.kill(os.getpid(), signal.SIGKILL)))


def _multiprocessing_fork(trial: Any) -> None:
    process = multiprocessing.get_context("fork").Process(target=_log, args=(trial,))
    process.start()
    process.join()


def _multiprocessing_spawn(trial: Any) -> None:
    process = multiprocessing.get_context("spawn").Process(target=os.getpid)
    process.start()
    process.join()


def _threads(trial: Any) -> None:
    thread = threading.Thread(target=_log, args=(trial,))
    thread.start()
    thread.join()


WAYS: list[Callable[[Any], None]] = [
    _child_exits, _child_leaves_by_exception, _child_fails, _child_goes_on, _child_logs,
    _child_is_killed, _multiprocessing_fork, _multiprocessing_spawn, _threads,
]  # fmt: skip
LOGGING = {_child_logs, _child_is_killed, _multiprocessing_fork, _threads}


def _forked(child: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        child()
        return
    os.waitpid(pid, 0)


def _log(trial: Any) -> None:
    for epoch in range(3):
        trial.log_metric("child", epoch, epoch)


@scenario(
    "F12",
    "a step that forks, spawns and starts threads",
    plants=("child-is-the-parent",),
    short={"rounds": 1},
    long={"rounds": 15},
)
def forks(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """The child exits, fails, logs metrics or is killed: the trial is the parent's."""
    outcome = Outcome("F12", seed)
    argument = {"shape": "tiny", "seed": seed, "trials": len(WAYS) * rounds, "plant": plant,
                "program": f"{__name__}:forking"}  # fmt: skip
    own = _own(folder, "forking", argument)
    with fork_server() as server:
        pid = server.start(own)
        outcome.add("forking", server.wait(pid, 60 + 10 * rounds).violations())
    log = Path(own["log"])
    outcome.rounds = outcome.faults = sum("began" in event for event in events(log))
    outcome.add("forking", [f"I6: trial {k} is not recorded" for k in harness.unrecorded(log)])
    outcome.add("forking", integrity(Path(own["store"])))
    outcome.add("forking", check(own["store"], [log]))
    return outcome


def forking(argument: dict[str, Any], log: AckLog) -> None:
    """Run trials whose first step forks, in each way in turn."""
    real, here = harness.began, os.getpid()

    def began(label: str, trial: Any) -> None:
        real(label, trial)
        WAYS[int(label.split("/")[1]) % len(WAYS)](trial)

    harness.began = began
    with programs.opened(argument) as nodes:
        for k in range(argument["trials"]):
            way, intent = WAYS[k % len(WAYS)], programs.intention(argument, k)
            if way in LOGGING:
                intent["metrics"] = {"child": [[epoch, epoch] for epoch in range(3)]}
            if way is _child_fails:
                intent["raises"] = ["builtins.ValueError"]
            try:
                programs.one_trial(nodes, log, intent)
            finally:
                if os.getpid() != here:
                    os._exit(0)
