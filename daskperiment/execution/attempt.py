"""An attempt: one trial of a batch, run where the batch has sent it, that tells how it ended."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from daskperiment.backends.base import Backend
from daskperiment.callbacks import Callbacks
from daskperiment.errors import (
    BackendUnreachableError,
    BatchError,
    ConflictError,
    TrialPruned,
    TrialTimeoutError,
)
from daskperiment.execution import stopping
from daskperiment.execution.carrying import CarryingBackend, is_reached, note_reached
from daskperiment.execution.stopping import Deadline, Stop
from daskperiment.execution.workers import Common
from daskperiment.graph import Node, layout_of
from daskperiment.history import ranking
from daskperiment.history.spooling import is_away
from daskperiment.history.trials import Trials
from daskperiment.records import Number, Provisional, TrialState
from daskperiment.tracking.code import CodeCapture
from daskperiment.typing import Document


class Ended(NamedTuple):
    """How an attempt at a trial has ended.

    Parameters
    ----------
    number : Number or None
        The trial; None where none has begun.
    error : BaseException or None
        What a step has raised; None for a trial that is pruned, which is no failure.
    abandoned : bool
        Whether it did not react to its end, so that its thread runs on.
    carried : bytes
        What was recorded, where the store could not be reached.
    uid : str
        The attempt, where that is another one than was asked for.
    pruned : bool
        Whether it is PRUNED.
    value : float, optional
        Its result, where that is a number.
    """

    number: Number | None
    error: BaseException | None
    abandoned: bool = False
    carried: bytes = b""
    uid: str = ""
    pruned: bool = False
    value: float | None = None


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
    shared : frozenset of str
        Steps whose calls the trials of its batch take from one another.
    """

    parameters: dict[str, Any]
    seed: int | None
    about: Document
    timeout: float | None = None
    scheduler: Any = "synchronous"
    repeats: bool = False
    shared: frozenset[str] = frozenset()


class Work(NamedTuple):
    """What all trials of a batch have in common.

    Parameters
    ----------
    node : Node
        The graph.
    captured : CodeCapture or None
        Its code, where another process runs it.
    callbacks : Callbacks
        Who is told of its steps.
    """

    node: Node
    captured: CodeCapture | None
    callbacks: Callbacks


def run(work: Work, task: Task) -> Ended:
    """Run one trial here; what a step raises is told and not raised."""
    return _Attempt(work, task, task.about["uid"]).run()


def run_sent(sent: Common, task: Task) -> Ended:
    """The same in another process, of a graph that was pickled.

    Records that cannot be brought to the store from here travel with what is returned.
    """
    work = _received(sent)
    owner = work.node._owner
    if is_reached(owner.backend, owner.id):
        with suppress(BackendUnreachableError):  # it was, when that was looked at
            ended = _once(work, task)
            if is_away(owner.backend):
                note_reached(owner.backend, False)
                if ended.number is not None:  # its end is in the spool, if not all of it
                    uid = ended.uid or task.about["uid"]
                    ended = ended._replace(number=Provisional(0, uid))
            return ended
        note_reached(owner.backend, False)
    carrying, uid = CarryingBackend(owner.backend), task.about["uid"]
    if task.repeats:  # another worker may have begun an attempt, of which nothing is known here
        uid = uuid.uuid5(uuid.UUID(hex=uid), "carried").hex
    about = task.about | {"uid": uid}
    ended = _Attempt(work, task._replace(about=about), task.about["uid"], carrying).run()
    return ended._replace(carried=carrying.taken(), uid=uid)


_works: OrderedDict[str, Work] = OrderedDict()
_MOST = 8


def _received(sent: Common) -> Work:
    # Kept, so that what a process captures once is not captured for each trial.
    work = _works.get(sent.key)
    if work is None:
        import cloudpickle

        work = _works[sent.key] = cloudpickle.loads(sent.content)
        while len(_works) > _MOST:
            _works.popitem(last=False)
    return work


def _once(work: Work, task: Task) -> Ended:
    """Run a trial, unless it has run already; of one whose process has died run another attempt.

    The uid of each attempt follows from the one before, and of two workers that have got the same
    task one can begin it.
    """
    asked = task.about["uid"]
    if not task.repeats:
        return _Attempt(work, task, asked).run()
    trials = Trials(work.node._owner.backend, work.node._owner.id)
    while True:
        uid = task.about["uid"]
        found = _ended(trials, uid)
        if found is None:
            ended = _Attempt(work, task, asked).run()
            if ended.number is not None or not isinstance(ended.error, ConflictError):
                return ended._replace(uid=uid)
            found = _ended(trials, uid)
            if found is None:
                return ended
        number, row = found
        if TrialState(row["state"]).done:
            return Ended(number, None, uid=uid, pruned=row["state"] == TrialState.PRUNED)
        if row["state"] != TrialState.CRASHED:
            return Ended(number, BatchError(f"Trial {number}: {row.get('description')}"), uid=uid)
        task = task._replace(about=task.about | {"uid": following(uid), "retry_of": uid})


def following(uid: str) -> str:
    """The attempt that a worker makes where the process of another one has died."""
    return uuid.uuid5(uuid.UUID(hex=uid), "again").hex


def _ended(trials: Trials, uid: str) -> tuple[int, Document] | None:
    """An attempt that another worker has begun, and that is CRASHED if it has not ended there."""
    number = trials.begun(uid)
    if number is None:
        return None
    trials.lose(number, uid, "its worker died, and another one runs it again")
    return number, trials.get(number)


class _Attempt:
    """``asked`` is by which uid it is asked to end, whatever its own one is."""

    def __init__(self, work: Work, task: Task, asked: str, backend: Backend | None = None) -> None:
        self._work = work
        self._task = task
        self._asked = asked
        self._backend = backend
        self._stop = Stop()
        self._number: Number | None = None
        self._ended: Ended | None = None

    def run(self) -> Ended:
        """Run it, in a thread of its own if that may have to be abandoned."""
        limits = (step.timeout for step in layout_of(self._work.node).steps.values())
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
            around.enter_context(stopping.stoppable(self._asked, self._stop))
            if (seconds := self._task.timeout) is not None:
                error = TrialTimeoutError(f"The trial took longer than its {seconds:g} s.")
                around.enter_context(Deadline(self._stop, seconds, error))
            try:
                node, captured, callbacks = self._work
                value = node._owner.attempt(
                    node, self._task, captured, self._backend, callbacks, self._begun
                )
            except BaseException as error:
                if self._number is not None and isinstance(error, TrialPruned):
                    return Ended(self._number, None, pruned=True)
                return Ended(self._number, error)
        return Ended(self._number, None, value=ranking.number(value))

    def _begun(self, number: Number) -> None:
        self._number = number
