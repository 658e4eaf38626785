"""What one process does with a history that others change too: an actor, here or elsewhere.

``python -m tests.torture.handles`` is an actor that reads lines of JSON.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import daskperiment
from daskperiment import Experiment, TrialState
from daskperiment.backends.local import LocalBackend
from daskperiment.errors import DaskperimentError, ValueNotKeptError
from daskperiment.history.trials import Trials

NAME = "shared"
CANCELLED, DIES = -1, 99
"""Values of the parameter for which the step is interrupted, and the process killed."""


class UnluckyError(Exception):
    """What a user's step raises."""


def score(a: int) -> float:
    """A step that ends in every way."""
    if a == DIES:
        os.kill(os.getpid(), signal.SIGKILL)
    trial = daskperiment.current()
    for epoch in range(3):
        trial.log_metric("loss", a + epoch, epoch)
    if a == CANCELLED:
        raise KeyboardInterrupt
    return 6 / a


def plain(value: Any) -> Any:
    """A cell as JSON, None for what is missing."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return value.item() if hasattr(value, "item") else value


class Actor:
    """Handles on one experiment of a store, and its own trials that run.

    Every action takes JSON and returns JSON; an error of ours is returned by its name.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._handles: dict[str, tuple[Experiment, Any]] = {}
        self._running: dict[int, Any] = {}

    def act(self, handle: str, action: str, *arguments: Any) -> Any:
        """Do something with a handle, which is opened when it is first used."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return getattr(self, action)(handle, *arguments)
            except DaskperimentError as error:
                return type(error).__name__
            except Exception as error:  # which is a finding
                return traceback.format_exception(error)[-3:]

    def _opened(self, handle: str) -> tuple[Experiment, Any]:
        if handle not in self._handles:
            here = self._store if self._store == "memory://" else LocalBackend(self._store)
            ex = Experiment(NAME, backend=here)
            ex.parameter("a")
            self._handles[handle] = ex, ex.result(score)
        return self._handles[handle]

    def _ex(self, handle: str) -> Experiment:
        return self._opened(handle)[0]

    def close(self) -> None:
        """End what runs, and close every handle."""
        for context in self._running.values():
            context.end(TrialState.CANCELLED)
        self._running.clear()
        for ex, _ in self._handles.values():
            ex.backend.close()
        self._handles.clear()

    def reopen(self, handle: str) -> None:
        """Begin anew with a handle; running trials keep the old one."""
        ex, _ = self._handles.pop(handle, (None, None))
        if ex is not None and not self._running:
            ex.backend.close()

    # -- trials -----------------------------------------------------------------------------

    def run(self, handle: str, a: int) -> None:
        """Run a trial to its end."""
        ex, step = self._opened(handle)
        with suppress(ZeroDivisionError, KeyboardInterrupt):
            step(ex.parameter("a")).compute(parameters={"a": a}, scheduler="synchronous")

    def die(self, handle: str) -> None:
        """A process of its own begins a trial and is killed in its step."""
        pid = os.fork()
        if pid == 0:
            self.run(handle, DIES)
            os._exit(1)
        os.waitpid(pid, 0)

    def begin(self, handle: str, a: int) -> int:
        """Begin a trial that goes on until it is ended."""
        ex, step = self._opened(handle)
        context = ex.begin({"score": step}, {"a": a}).begin()
        self._running[context.number] = context
        return int(context.number)

    def fail_for_now(self, handle: str, number: int) -> None:
        """A step has failed, and a scheduler may run it again."""
        self._running[number].fail(UnluckyError("for now"))

    def finish(self, handle: str, number: int, value: float) -> None:
        """End a running trial as COMPLETE, maybe late."""
        context = self._running.pop(number)
        context.keep_result(value)
        context.end(TrialState.COMPLETE)

    def fail(self, handle: str, number: int) -> None:
        """End a running trial as FAILED."""
        self._running.pop(number).end(TrialState.FAILED, UnluckyError("for good"))

    def bury(self, handle: str, number: int) -> None:
        """Take the process of a trial for dead though it is not."""
        Trials(self._ex(handle).backend, NAME)._bury(self._ex(handle)[number].uid)

    # -- edits ------------------------------------------------------------------------------

    def tag(self, handle: str, number: int, tags: list[str]) -> None:
        """Change the tags."""
        self._ex(handle)[number].tags = tags

    def note(self, handle: str, number: int, note: str) -> None:
        """Change the note."""
        self._ex(handle)[number].note = note

    def remove(self, handle: str, number: int) -> None:
        """Put a trial aside."""
        self._ex(handle)[number].remove()

    def restore(self, handle: str, number: int) -> None:
        """Bring a trial back."""
        self._ex(handle).restore(number)

    def forget(self, handle: str, number: int, part: str) -> None:
        """Forget a part."""
        self._ex(handle)[number].forget(part)

    def gc(self, handle: str) -> int:
        """Collect."""
        return self._ex(handle).gc().trials

    # -- questions --------------------------------------------------------------------------

    def history(self, handle: str) -> Any:
        """Every ended trial with what a history shows of it."""
        columns = ["Result", "State", "Tags", "Note", "Late", "Description"]
        frame = self._ex(handle).get_history(columns=["a", *columns])
        return [[int(n), *map(plain, row)] for n, *row in frame.itertuples(name=None)]

    def chosen(self, handle: str) -> Any:
        """Numbers by a condition and an order."""
        ex = self._ex(handle)
        return [int(n) for n in ex.get_history(where="a > 1 and Success", order_by="-a").index]

    def trials(self, handle: str) -> Any:
        """Every trial with what its handle tells."""
        return [self._told(trial) for trial in self._ex(handle).trials]

    def _told(self, trial: Any) -> Any:
        result = _kept(lambda: trial.result)
        metrics = _kept(lambda: {n: [p.value for p in s] for n, s in trial.metrics.items()})
        parameters = dict(trial.parameters)
        tags, note = trial.tags, trial.note
        return [trial.number, str(trial.state), parameters, result, tags, note, metrics]

    def latest(self, handle: str) -> int:
        """The latest number."""
        return self._ex(handle).latest.number

    def counts(self, handle: str) -> Any:
        """How many there are, the last number, and those that can be restored."""
        ex = self._ex(handle)
        return [len(ex.trials), ex.trial_id, ex.removed]


def _kept(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except ValueNotKeptError:
        return "not kept"


class Elsewhere:
    """An actor in another process, which lives as long as the scenario."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.handles"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)}, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, *request: Any) -> Any:
        """Send a request, and wait for the answer."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def serve() -> None:
    """Answer requests: ``["open", STORE]``, ``["close"]``, and actions."""
    Actor("memory://").act("warm", "run", 1)
    actor = Actor("")
    for line in sys.stdin:
        request = json.loads(line)
        answer = None
        if request[0] == "open":
            actor = Actor(request[1])
        elif request[0] == "close":
            actor.close()
        else:
            answer = actor.act(*request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
