"""Experiments written as classes, as smallab has them."""

from __future__ import annotations

import copy
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from daskperiment.errors import StepDefinitionError
from daskperiment.execution.current import CURRENT, CurrentTrial
from daskperiment.execution.parts import record_part
from daskperiment.namespace import Namespace
from daskperiment.targets.kinds import Kind
from daskperiment.targets.milestone import Milestone

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
    experiment, most = _fresh(target), None
    experiment.initialize(Namespace(specification))
    if _has(experiment, "max_iterations"):
        most = experiment.max_iterations(Namespace(specification))
    result, count = None, 0
    while most is None or count < most:
        returned = experiment.step()
        count += 1
        if isinstance(returned, Milestone):
            result = returned.result
            _reach(returned, count)
            if returned.done:
                break
        elif returned is None or _is_progress(returned):
            _tell(returned, count)
        else:
            return returned
    return result


def _is_progress(returned: Any) -> bool:
    return isinstance(returned, tuple) and len(returned) == 2


def _reach(milestone: Milestone, count: int) -> None:
    running = CURRENT.get()
    assert running is not None
    _tell(milestone.progress, count)
    record_part(running, milestone.parameters, milestone.result)


def _tell(progress: tuple[Any, Any] | None, count: int) -> None:
    """Save how far it is, where both are numbers."""
    if progress is None:
        return
    running = CURRENT.get()
    assert running is not None
    try:
        share = float(progress[0]) / float(progress[1])
    except (TypeError, ValueError, ZeroDivisionError):
        return
    CurrentTrial(running).log_metric(PROGRESS, share, count)
