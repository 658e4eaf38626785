"""An attempt: one trial of a batch, run where the batch has sent it, that tells how it ended."""

from __future__ import annotations

import functools
import threading
import time
import uuid
from contextlib import ExitStack
from typing import Any, NamedTuple

from daskperiment.backends.base import Backend
from daskperiment.errors import BackendError, BatchError, TrialTimeoutError
from daskperiment.execution import stopping
from daskperiment.execution.carrying import CarryingBackend
from daskperiment.execution.stopping import Deadline, Stop
from daskperiment.graph import Node, layout_of
from daskperiment.history.trials import Trials
from daskperiment.records import Number, TrialState
from daskperiment.tracking.code import CodeCapture
from daskperiment.typing import Document

_UNREACHABLE = 30.0
"""Seconds for which a store that could not be reached is not tried again."""


class Ended(NamedTuple):
    """How an attempt at a trial has ended.

    Parameters
    ----------
    number : Number or None
        The trial; None where none has begun.
    error : BaseException or None
        What a step has raised.
    abandoned : bool
        Whether it did not react to its end, so that its thread runs on.
    carried : bytes
        What was recorded, where the store could not be reached.
    """

    number: Number | None
    error: BaseException | None
    abandoned: bool = False
    carried: bytes = b""


class Task(NamedTuple):
    """What a worker needs to run one trial.

    Parameters
    ----------
    parameters : dict
        Values for it.
    seed : int, optional
        Its seed.
    about : dict
        What its row says besides, its uid among that.
    timeout : float, optional
        Seconds that it may take.
    scheduler : Any
        Where its steps run, as Dask names it.
    repeats : bool
        Whether whoever runs the task may run it twice, as a scheduler whose worker has died.
    """

    parameters: dict[str, Any]
    seed: int | None
    about: Document
    timeout: float | None = None
    scheduler: Any = "synchronous"
    repeats: bool = False


def run(node: Node, task: Task) -> Ended:
    """Run one trial of a graph here; what a step raises is told and not raised."""
    return _Attempt(node, task).run()


def run_sent(sent: bytes, task: Task) -> Ended:
    """The same in another process, of a graph that was pickled.

    Records that cannot be brought to the store from here travel with what is returned.
    """
    node, captured = _received(sent)
    backend = node._owner.backend
    if time.monotonic() > _missing.get(repr(backend), 0.0):
        ended = _once(node, task, captured)
        if ended.number is not None or not isinstance(ended.error, BackendError):
            return ended
        _missing[repr(backend)] = time.monotonic() + _UNREACHABLE
    carrying = CarryingBackend(backend)
    ended = _Attempt(node, task, captured, carrying).run()
    return ended._replace(carried=carrying.taken())


_missing: dict[str, float] = {}


@functools.lru_cache(maxsize=8)
def _received(sent: bytes) -> tuple[Node, CodeCapture]:
    # Kept, so that what a process captures once is not captured for each trial.
    import cloudpickle

    return cloudpickle.loads(sent)  # type: ignore[no-any-return]


def _once(node: Node, task: Task, captured: CodeCapture) -> Ended:
    """Run a trial, unless it has run already; of one whose process has died run another attempt."""
    if task.repeats:
        trials, uid = Trials(node._owner.backend, node._owner.id), task.about["uid"]
        try:
            first = trials.mark(uid)
        except BackendError as error:
            return Ended(None, error)
        if not first:
            for number, row in trials.find({"uid": uid}, newest=True, limit=1):
                if row["state"] == TrialState.COMPLETE:
                    return Ended(number, None)
                if not trials.lose(number, uid, "its worker died, and another one runs it again"):
                    return Ended(number, BatchError(f"Trial {number}: {row.get('description')}"))
            again = {"uid": uuid.uuid4().hex, "retry_of": uid}
            task = task._replace(about=task.about | again)
    return _Attempt(node, task, captured).run()


class _Attempt:
    def __init__(
        self,
        node: Node,
        task: Task,
        captured: CodeCapture | None = None,
        backend: Backend | None = None,
    ) -> None:
        self._node = node
        self._task = task
        self._captured = captured
        self._backend = backend
        self._stop = Stop()
        self._number: Number | None = None
        self._ended: Ended | None = None

    def run(self) -> Ended:
        """Run it, in a thread of its own if that may have to be abandoned."""
        limits = (step.timeout for step in layout_of(self._node).steps.values())
        if self._task.timeout is None and all(limit is None for limit in limits):
            return self._run()
        threading.Thread(target=self._run_aside, name="daskperiment-attempt", daemon=True).start()
        try:
            self._stop.over.wait()
        except KeyboardInterrupt as error:
            self._stop.request(error)
            self._stop.over.wait(stopping.GRACE)
        if self._ended is None:
            stopping.abandoned.set()
            return Ended(self._number, self._stop.requested, abandoned=True)
        return self._ended

    def _run_aside(self) -> None:
        try:
            self._ended = self._run()
        finally:
            self._stop.over.set()

    def _run(self) -> Ended:
        with ExitStack() as around:
            around.enter_context(stopping.stoppable(self._task.about["uid"], self._stop))
            if (seconds := self._task.timeout) is not None:
                error = TrialTimeoutError(f"The trial took longer than its {seconds:g} s.")
                around.enter_context(Deadline(self._stop, seconds, error))
            try:
                self._node._owner.attempt(
                    self._node, self._task, self._captured, self._backend, self._begun
                )
            except BaseException as error:
                return Ended(self._number, error)
        return Ended(self._number, None)

    def _begun(self, number: Number) -> None:
        self._number = number
