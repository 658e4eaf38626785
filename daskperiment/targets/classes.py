"""Experiments written as classes, as smallab has them."""

from __future__ import annotations

import copy
import warnings
from contextlib import suppress
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from daskperiment.errors import CheckpointError, DaskperimentWarning, StepDefinitionError
from daskperiment.execution.current import CURRENT, CurrentTrial
from daskperiment.execution.parts import record_part
from daskperiment.execution.step import Running
from daskperiment.namespace import Namespace
from daskperiment.targets.kinds import Kind
from daskperiment.targets.milestone import Milestone
from daskperiment.tracebacks import users_frame

PROGRESS = "progress"
"""Metric that says how far a run in steps is, from 0 to 1."""
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, partial)


def is_class_style(target: Any) -> bool:
    """Whether it has ``main``, or ``initialize`` and ``step``."""
    if isinstance(target, _FUNCTIONS):
        return False
    return _has(target, "main") or _has(target, "step") or _has(target, "initialize")


def class_style(target: Any) -> Kind:
    """A class, or an instance that is copied for each trial; all parameters are one mapping.

    Raises
    ------
    StepDefinitionError
        One of the methods is missing.
    """
    if not _has(target, "main") and not (_has(target, "initialize") and _has(target, "step")):
        missing = "initialize(specification)" if _has(target, "step") else "step()"
        name = getattr(target, "__name__", type(target).__name__)
        raise StepDefinitionError(f"{name} cannot be run: it has no {missing} and no main()")
    invoke = _whole if _has(target, "main") else _in_steps
    return Kind(partial(invoke, target), {}, takes_all=True)


def _has(target: Any, method: str) -> bool:
    return callable(getattr(target, method, None))


def _fresh(target: Any) -> Any:
    return target() if isinstance(target, type) else copy.deepcopy(target)


def _whole(target: Any, /, **specification: Any) -> Any:
    return _fresh(target).main(Namespace(specification))


def _in_steps(target: Any, /, **specification: Any) -> Any:
    """Call ``step`` until it returns something, or as often as ``max_iterations`` says.

    Returns
    -------
    Any
        What the last step has returned; the result of the last milestone where that was
        nothing.
    """
    running = CURRENT.get()
    assert running is not None
    return _Steps(_fresh(target), Namespace(specification), running).run()


class _Steps:
    """One run in steps, which goes on from its newest checkpoint."""

    def __init__(self, experiment: Any, specification: Namespace, running: Running) -> None:
        self._experiment = experiment
        self._specification = specification
        self._running = running
        self._trial = CurrentTrial(running)
        self._count = 0
        self._result: Any = None
        self._checkpoints = hasattr(experiment, "__dict__")

    def run(self) -> Any:
        """Run to the end."""
        self._begin()
        most = self._asked("max_iterations", self._specification)
        interval = self._asked("steps_before_checkpoint") or 1
        while most is None or self._count < most:
            returned = self._experiment.step()
            self._count += 1
            if isinstance(returned, Milestone):
                self._reach(returned)
                if returned.done:
                    break
            elif returned is None or _is_progress(returned):
                self._tell(returned)
            else:
                return returned
            if self._count % interval == 0:
                self._checkpoint()
        return self._result

    def _asked(self, method: str, *arguments: Any) -> Any:
        if not _has(self._experiment, method):
            return None
        return getattr(self._experiment, method)(*arguments)

    def _begin(self) -> None:
        state = self._trial.resume_state()
        if state is None:
            self._experiment.initialize(self._specification)
        else:
            self._count, self._result, attributes = state
            vars(self._experiment).update(attributes)

    def _checkpoint(self) -> None:
        if not self._checkpoints:
            return
        try:
            self._trial.checkpoint((self._count, self._result, vars(self._experiment)))
        except CheckpointError as error:  # nobody has asked for it: the run is worth more
            self._checkpoints = False
            message = f"{type(self._experiment).__name__} goes on without checkpoints: {error}"
            with suppress(DaskperimentWarning):  # made an error, it would end the run
                warnings.warn(message, DaskperimentWarning, stacklevel=users_frame())

    def _reach(self, milestone: Milestone) -> None:
        self._result = milestone.result
        self._tell(milestone.progress)
        record_part(self._running, milestone.parameters, milestone.result)

    def _tell(self, progress: tuple[Any, Any] | None) -> None:
        """Save how far it is, where both are numbers."""
        if progress is None:
            return
        try:
            share = float(progress[0]) / float(progress[1])
        except (TypeError, ValueError, ZeroDivisionError):
            return
        self._trial.log_metric(PROGRESS, share, self._count)


def _is_progress(returned: Any) -> bool:
    return isinstance(returned, tuple) and len(returned) == 2
