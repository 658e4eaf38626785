"""What every scenario needs: outcomes, acknowledgement logs, workers and the one check.

Workers append what they intend and what they were promised to a log of their own.  When the
fault is over, `check` opens the store afresh and compares the two, as Jepsen does:

I1  what was acknowledged can be read, with equal content
I2  numbers are unique and have no gaps
I3  nobody dead is RUNNING after the store was opened
I4  metrics are a prefix of what was logged, in order, without holes or doubles
I5  the store opens in less than two seconds and `doctor` finds no problem
I6  what was not recorded is told by a warning or a typed error
I7  only our own errors, or the user's own, leave a call
I8  nothing hangs
I9  the value that the user gets is that of the user's code
I10 nothing is left behind that `gc` does not remove; no descriptor or thread leaks
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from daskperiment import Experiment, TrialState
from daskperiment.backends import Backend, open_backend
from daskperiment.errors import DaskperimentError
from daskperiment.history import doctor
from daskperiment.records import Provisional

ROOT = Path(__file__).resolve().parents[2]
WATCHDOG = 30.0
"""Seconds after which a worker counts as hanging, and is killed."""
SLOWEST_OPEN = 10.0
MOST_TOLD = 20
"""Violations of one check that are told; a broken store breaks a rule many times."""

_KNOWN_FILE = re.compile(
    r"store\.sqlite(-wal|-shm)?|\.gitignore|blobs|blobs/[0-9a-f]{2}(/[0-9a-f]{64})?"
)


@dataclass
class Outcome:
    """What a scenario has found.

    Attributes
    ----------
    faults : int
        Faults that hit a write: a process killed at work, an error injected into a write.
    violations : list of str
        Broken invariants, each beginning with its name.
    figures : dict
        What the table shows beside these.
    not_run : str or None
        Why the scenario cannot run here.
    """

    name: str
    seed: int
    rounds: int = 0
    faults: int = 0
    violations: list[str] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    not_run: str | None = None

    def count(self, figure: str, more: int = 1) -> None:
        """Add to a figure."""
        self.figures[figure] = int(str(self.figures.get(figure, 0))) + more

    def add(self, where: str, violations: Iterable[str]) -> None:
        """Add violations, each with the place at which it was found.

        Where a bug was planted the first one ends the scenario; other threads only note theirs.
        """
        for violation in violations:
            self.violations.append(f"{violation} [{where}]")
            if _planted and threading.current_thread() is threading.main_thread():
                raise _CaughtError(self)


class _CaughtError(BaseException):
    """A planted bug was found."""


_planted: list[str] = []
"""The bug that is planted in what runs."""


class Scenario(NamedTuple):
    """A scenario of the registry; `short` and `long` are its keyword arguments."""

    name: str
    title: str
    run: Callable[..., Outcome]
    plants: tuple[str, ...]
    short: dict[str, Any]
    long: dict[str, Any]
    planted: dict[str, Any]


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str,
    title: str,
    *,
    plants: tuple[str, ...] = (),
    short: dict[str, Any],
    long: dict[str, Any],
    planted: dict[str, Any] | None = None,
) -> Callable[[Callable[..., Outcome]], Callable[..., Outcome]]:
    """Register a function ``(seed, folder, plant, **form)`` as a scenario.

    ``planted`` are the arguments of the runs with a planted bug, by default those of ``short``.
    """

    def register(run: Callable[..., Outcome]) -> Callable[..., Outcome]:
        def once(seed: int, folder: Path, plant: str | None, **form: Any) -> Outcome:
            if plant is None:
                return run(seed, folder, plant, **form)
            _planted.append(plant)
            try:
                return run(seed, folder, plant, **form)
            except _CaughtError as caught:
                return caught.args[0]  # type: ignore[no-any-return]
            finally:
                _planted.clear()

        SCENARIOS[name] = Scenario(name, title, once, plants, short, long, planted or short)
        return run

    return register


# -- acknowledgement logs -----------------------------------------------------------------


class AckLog:
    """What a worker intends and what it was promised; one line, one system call.

    It is written by ``writev``, which nothing else here uses: errors that are injected into
    ``write`` do not hit the log.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, **event: Any) -> None:
        """Append an event."""
        line = json.dumps(event).encode() + b"\n"
        assert os.writev(self._file, [line]) == len(line)


@functools.lru_cache(maxsize=16)
def log_at(path: str) -> AckLog:
    """The log of a path, in this process; others may append to it too."""
    return AckLog(path)


BEGUN: dict[str, tuple[AckLog, int, str]] = {}
"""Log, number and uid of this worker's trials, by label."""


def began(label: str, trial: Any) -> None:
    """Log that a trial's first step runs; called within it."""
    log, _, _ = BEGUN[label]
    BEGUN[label] = log, trial.number, trial.uid
    log.write(began=trial.number, uid=trial.uid, label=label)


def events(path: Path) -> list[dict[str, Any]]:
    """Events of a log; none where the worker died before it opened it."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]  # the last may be begun


def await_event(path: Path, kind: str, count: int = 1) -> None:
    """Wait until a worker has logged a kind of event, or for so long that it hangs."""
    deadline = time.monotonic() + WATCHDOG
    while sum(kind in event for event in events(path)) < count and time.monotonic() < deadline:
        time.sleep(0.002)


def stop(pid: int) -> None:
    """Stop a process, and wait until it stands still, as the signal may reach it later."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + WATCHDOG
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
        time.sleep(0.002)


def interrupted(path: Path) -> bool:
    """Whether the worker was at work when it died: it intended what never ended."""
    last = events(path)[-1:]
    return bool(last) and ("intent" in last[0] or "began" in last[0])


def unrecorded(path: Path) -> list[int]:
    """Which of a worker's trials were not acknowledged."""
    logged = events(path)
    acked = {event["label"] for event in logged if event.get("recorded")}
    return [e["intent"] for e in logged if "intent" in e and e["label"] not in acked]


def told(value: Any) -> Any:
    """A value as logs hold it: JSON as it is, an array by size and digest."""
    if hasattr(value, "tobytes"):
        return [value.nbytes, hashlib.blake2b(value, digest_size=16).hexdigest()]
    return value


# -- the check ----------------------------------------------------------------------------


def check(history: str | Path | Backend, acklogs: Iterable[Path]) -> list[str]:
    """Compare a store with what its writers intended and were promised.

    Nobody may be writing.  Drafts are aged first, so that `gc` takes them for abandoned.
    """
    logged = [events(path) for path in acklogs]
    began = time.monotonic()
    if not isinstance(history, Backend) and not Path(history).exists():
        acked = sum("ack" in event and event["recorded"] for log in logged for event in log)
        return [f"I1: {acked} trials were acknowledged and there is no store"] if acked else []
    backend = history if isinstance(history, Backend) else open_backend(history)
    try:
        found = list(_check_store(backend, logged, began))
    except Exception as error:  # whatever it is, it is a finding
        found = [f"I5: the store cannot be read: {error!r}"]
    finally:
        if backend is not history:
            backend.close()
    if not isinstance(history, Backend):
        found += _left_behind(Path(history))
    found += [violation for log in logged for violation in _misbehaved(log)]
    return found[:MOST_TOLD]


def _check_store(
    backend: Backend, logged: list[list[dict[str, Any]]], began: float
) -> Iterator[str]:
    names = {event["experiment"] for log in logged for event in log if "intent" in event}
    trials = {name: list(Experiment(name, backend).trials) for name in sorted(names)}
    taken = time.monotonic() - began
    if taken > SLOWEST_OPEN + 0.001 * sum(map(len, trials.values())):
        yield f"I5: the store took {taken:.1f} s to open"
    for finding in doctor.examine(backend):
        if finding.level == "problem" and "are free on the disk" not in finding.what:
            yield f"I5: doctor: {finding.what}"
    for name, found in trials.items():
        intents = {
            event["label"]: event
            for log in logged
            for event in log
            if event.get("experiment") == name and "intent" in event
        }
        yield from _check_trials(found, intents)
        yield from _check_promises(found, logged, intents)


def _check_trials(trials: list[Any], intents: dict[str, Any]) -> Iterator[str]:
    numbers = [trial.number for trial in trials]
    if numbers != list(range(1, len(numbers) + 1)):
        gaps = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
        yield f"I2: numbers are not 1 to {len(numbers)}: missing {gaps[:10]}"
    labels: defaultdict[str, list[Any]] = defaultdict(list)
    for trial in trials:
        labels[trial.parameters.get("label")].append(trial)
    for label, found in labels.items():
        if intents.get(label, {}).get("attempts"):
            yield from _check_attempts(label, found)
        elif len(found) > 1:
            yield f"I2: {label} is {len(found)} trials"
    for trial in trials:
        intent = intents.get(trial.parameters.get("label"))
        if trial.state is TrialState.RUNNING:
            yield f"I3: trial {trial.number} is RUNNING and its process is dead"
        if intent is None:
            yield f"I1: nobody intended trial {trial.number}"
        else:
            yield from _check_trial(trial, intent)


def _check_attempts(label: str, attempts: list[Any]) -> Iterator[str]:
    """Attempts at one trial: a chain, of which at most one is accepted, and none comes behind it.

    One that was taken for dead may be COMPLETE besides, if it is marked as late.
    """
    accepted = [t for t in attempts if t.state is TrialState.COMPLETE and not t._known.get("late")]
    if len(accepted) > 1:
        yield f"I2: {label} has {len(accepted)} accepted attempts: {[t.number for t in accepted]}"
    elif accepted and accepted[0].number != attempts[-1].number:
        yield f"I2: {label} ran again after it was complete as {accepted[0].number}"
    before = [trial._known.get("retry_of") for trial in attempts]
    if before[0] is not None or before[1:] != [trial.uid for trial in attempts[:-1]]:
        told = [(trial.number, str(trial.state)) for trial in attempts]
        yield f"I2: the attempts at {label} are no chain: {told}"


def _check_trial(trial: Any, intent: dict[str, Any]) -> Iterator[str]:
    where = f"trial {trial.number}"
    if trial.parameters != intent["parameters"] or trial.seed != intent["seed"]:
        yield f"I1: {where} has other parameters or another seed than was asked for"
    saved = {name: [[p.epoch, p.value] for p in points] for name, points in trial.metrics.items()}
    whole = trial.state is TrialState.COMPLETE and not intent.get("lossy")
    # What a step that is not pure has drawn is in its result and, once, in a metric.
    drawn = [value for _, value in saved.pop("drawn", [])] if intent.get("impure") else [0]
    if len(drawn) > 1 or (whole and not drawn):
        yield f"I4: {where} has drawn {drawn}"
    for name, points in intent["metrics"].items():
        kept = saved.pop(name, [])
        if kept != (points if whole else points[: len(kept)]):
            yield f"I4: {where} has {len(kept)} of {len(points)} points of {name}, or others"
    if saved:
        yield f"I4: {where} has metrics nobody saved: {sorted(saved)}"
    if trial.state is TrialState.COMPLETE and not intent.get("lossy"):
        try:
            result = told(trial.result)
        except DaskperimentError as error:
            result = repr(error)
        expected = intent["expected"] + sum(drawn) if intent.get("impure") else intent["expected"]
        if result != expected:
            yield f"I1: {where} has another result than it should: {str(result)[:80]}"
        if not trial.code:
            yield f"I1: {where} has no code"
        outcomes = list(trial.steps["outcome"])
        as_it_should = {"ran", "reused"} if intent.get("attempts") else {"ran"}
        if len(outcomes) != intent["steps"] or not set(outcomes) <= as_it_should:
            yield f"I1: {where} has the step records {outcomes}"


def _check_promises(
    trials: list[Any], logged: list[list[dict[str, Any]]], intents: dict[str, Any]
) -> Iterator[str]:
    by_uid = {trial.uid: trial for trial in trials}
    for log in logged:
        for event in log:
            if event.get("label") not in intents or not {"began", "ack"} & event.keys():
                continue
            trial = by_uid.get(event["uid"])
            if "began" in event and trial is None:
                yield f"I1: {event['label']} had number {event['began']} and has no row"
            if "ack" in event and event["recorded"]:
                provisional = Provisional.read(event["ack"])
                if trial is None or not (provisional or trial.number == event["ack"]):
                    yield f"I1: {event['label']} was acknowledged as {event['ack']} and is lost"
                elif trial.state is not TrialState.COMPLETE:
                    yield f"I1: trial {trial.number} was acknowledged and is {trial.state}"
                elif trial.parameters["label"] != event["label"]:
                    yield f"I9: in a step of {event['label']} another trial was the current one"


def _misbehaved(log: list[dict[str, Any]]) -> Iterator[str]:
    intents = {event["label"]: event for event in log if "intent" in event}
    began = {event["label"] for event in log if "began" in event}
    for event in log:
        intent = intents.get(event.get("label", ""), {})
        pure = not intent.get("impure")  # what it was is compared with the trial's row
        if "ack" in event and pure and event["value"] != intent["expected"]:
            yield f"I9: {event['label']} returned {str(event['value'])[:80]}"
        if "error" in event:
            ours = event["error"].startswith("daskperiment.") and "Error" in event["error"]
            if not ours and event["error"] not in intent.get("raises", ()):
                yield f"I7: {event['error']} left a call: {event['message'][:200]}"
            elif ours and event["label"] in began:
                yield f"I9: {event['error']} instead of the value: {event['message'][:200]}"
        if "violation" in event:
            yield str(event["violation"])


def _left_behind(store: Path) -> Iterator[str]:
    spare = [path for path in store.rglob("*") if not _KNOWN_FILE.fullmatch(_name(path, store))]
    if not spare:
        return
    for path in spare:
        os.utime(path, (0, 0))
    try:
        with closing(open_backend(store)) as backend:
            Experiment("nobody", backend).gc()
    except DaskperimentError as error:
        yield f"I10: gc cannot work: {error}"
    for path in filter(Path.exists, spare):
        yield f"I10: gc leaves {_name(path, store)}"


def _name(path: Path, store: Path) -> str:
    return path.relative_to(store).as_posix()


# -- workers ------------------------------------------------------------------------------


class Ended(NamedTuple):
    """How a worker ended: its exit status, minus the signal that killed it."""

    status: int
    hung: bool = False

    def violations(self, *expected: int) -> list[str]:
        """I8 when it hung, I7 when it died of something else than the fault."""
        if self.hung:
            return [f"I8: a worker hung for {WATCHDOG:.0f} s"]
        if self.status not in (0, *expected):
            return [f"I7: a worker ended with status {self.status}"]
        return []


class ForkServer:
    """A process that has imported everything, has no store open and no thread: it forks workers.

    ``start`` returns a worker's process id; it may be killed until ``wait`` was called for it.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.server"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, **settings(),
        )  # fmt: skip

    def start(self, argument: dict[str, Any]) -> int:
        """Fork a worker that runs a program; see `programs.run`."""
        return int(self._ask(start=argument, folder=str(Path.cwd()))["pid"])

    def wait(self, pid: int, timeout: float = WATCHDOG) -> Ended:
        """Wait for a worker; one that takes too long is killed."""
        return Ended(**self._ask(wait=pid, timeout=timeout))

    def run(self, argument: dict[str, Any], kill_after: float | None = None) -> Ended:
        """Start a worker, kill it after some seconds if asked to, and wait."""
        pid = self.start(argument)
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)
        return self.wait(pid)

    def end_workers(self) -> None:
        """Kill the workers that nobody has waited for."""
        self._ask(end=True)

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(WATCHDOG)
        self._process.stdout.close()

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        return json.loads(self._process.stdout.readline())


_idle: list[ForkServer] = []
"""The server that the next scenario of this process uses: to start one takes a second."""


@contextmanager
def fork_server() -> Iterator[ForkServer]:
    """A fork server for the block."""
    server = _idle.pop() if _idle else ForkServer()
    try:
        yield server
        server.end_workers()
    except _CaughtError:
        server.end_workers()
        _idle.append(server)
        raise
    except BaseException:  # an answer may be missing
        server.close()
        raise
    _idle.append(server)


@atexit.register
def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


def spawn(argument: dict[str, Any], *before: str) -> subprocess.Popen[bytes]:
    """Run a program in a fresh interpreter, behind another command where one is given."""
    command = [*before, sys.executable, "-m", "tests.torture.programs", json.dumps(argument)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, **settings())


def finish(process: subprocess.Popen[Any], timeout: float = WATCHDOG) -> Ended:
    """Wait for a fresh interpreter; one that takes too long is killed."""
    try:
        return Ended(process.wait(timeout))
    except subprocess.TimeoutExpired:
        process.kill()
        return Ended(process.wait(), hung=True)


def settings() -> dict[str, Any]:
    """Arguments of `Popen` for a process that imports the tests."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return {"env": environment, "stderr": subprocess.DEVNULL}
