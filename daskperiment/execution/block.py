"""A trial around a block of code, which is its one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import FunctionType, TracebackType
from typing import Any, TypeAlias

from daskperiment.execution.context import Ticket, TrialContext, state_after
from daskperiment.execution.current import CurrentTrial
from daskperiment.execution.sampler import Sampling
from daskperiment.execution.step import Recorded
from daskperiment.execution.unrecorded import UnrecordedTrial
from daskperiment.graph import Owner, Step, StepCall
from daskperiment.records import TrialState
from daskperiment.tracking.output import Capture

Prepare: TypeAlias = Callable[
    [Mapping[str, Step[..., Any]], Mapping[str, Any]], "Ticket | UnrecordedTrial"
]
"""Prepares a trial of these steps with these values."""


class _Surroundings(Step[..., Any]):
    """The function, script or cell that a block stands in, which may be of any kind."""

    def _check(self) -> None:
        """Take it as it is: nobody calls it."""


class Block(CurrentTrial):
    """A trial around a block of code: what ``with ex.trial(...) as t:`` gives.

    It has all that a step reaches of its trial, and ``result``, to be assigned.  The trial is
    COMPLETE when the block ends, FAILED after an exception, PRUNED after ``TrialPruned`` and
    CANCELLED after Ctrl-C.

    Parameters
    ----------
    prepare : callable
        Prepares the trial.
    owner : Owner
        The experiment.
    code : FunctionType
        What the block stands in.
    name : str
        Name of its step.
    values : mapping
        Values of the parameters.

    Attributes
    ----------
    result : Any
        The trial's result; None unless it is assigned.
    """

    __slots__ = ("_around", "_prepare", "_recorded", "_step", "_trial", "_values", "result")

    def __init__(
        self,
        prepare: Prepare,
        owner: Owner,
        code: FunctionType,
        name: str,
        values: Mapping[str, Any],
    ) -> None:
        self.result: Any = None
        self._prepare = prepare
        self._step = _Surroundings(owner, code, name, is_result=True)
        self._values = values
        self._around = ExitStack()
        self._trial: TrialContext | None = None
        self._recorded: Recorded | None = None

    def __repr__(self) -> str:
        begun = hasattr(self, "_running")
        return super().__repr__() if begun else f"<trial of {self._step.owner.id!r}, not begun>"

    def __enter__(self) -> Block:
        inputs = tuple((name, (("parameter", name, 0),), True) for name in self._values)
        call = StepCall(self._step, final=True, inputs=inputs)
        ticket = self._prepare({self._step.name: self._step}, self._values)
        if isinstance(ticket, UnrecordedTrial):
            self._running = self._around.enter_context(ticket.running(call))
            return self
        try:
            self._trial = ticket.begin()
            self._trial.supervised = True
            ticket.tell(self._trial.number)
            self._enter(self._trial, call)
        except BaseException as error:
            if self._trial is None and not isinstance(error, Exception):
                self._trial = ticket.begun()
            self._around.__exit__(type(error), error, error.__traceback__)
            self._end(error)
            raise
        return self

    def _enter(self, trial: TrialContext, call: StepCall) -> None:
        if trial.ticket.usage:
            self._around.enter_context(Sampling(trial, (call.step.name, call.call)))
        self._recorded = recorded = Recorded(trial, call, (), dict(self._values))
        self._around.enter_context(recorded)
        self._around.enter_context(recorded.draws)
        self._around.enter_context(Capture((call.step.name, call.call), trial))
        self._around.enter_context(recorded.touched)
        self._running = recorded.running

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._recorded is not None:
            self._recorded.value = self.result
        if error is not None and self._trial is not None:
            self._trial.fail(error, self._running.call)
        try:
            self._around.__exit__(kind, error, traceback)
        except BaseException as other:
            self._end(other)
            raise
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if self._trial is not None:
            state = TrialState.COMPLETE if error is None else state_after(error)
            self._trial.end(state, error)
