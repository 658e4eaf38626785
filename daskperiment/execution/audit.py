"""Audit: what a step touches beside its arguments is told, and may keep others from taking it."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from daskperiment.errors import OptionError, UndeclaredInputWarning
from daskperiment.execution.changes import told
from daskperiment.graph import is_audit
from daskperiment.history.inputs import Input, inputs_of
from daskperiment.records import StepRecord
from daskperiment.secrets import scrub
from daskperiment.serializers import preview
from daskperiment.tracebacks import users_frame
from daskperiment.typing import Audit

if TYPE_CHECKING:
    from daskperiment.execution.context import TrialContext

logger = logging.getLogger(__name__)

MOST = 20
"""Inputs of one step that are told one by one."""
_ADVICE = {
    "file": "give it to the step as a pathlib.Path, so that its content counts",
    "environment": "give its value to the step as a parameter",
    "socket": "do that outside of steps, and give the step what comes of it",
    "process": "do that outside of steps, and give the step what comes of it",
}


def checked_audit(audit: Any) -> Audit:
    """What an experiment makes of what its steps touch, or OptionError."""
    if is_audit(audit):
        return audit  # type: ignore[no-any-return]
    raise OptionError(f"audit is 'off', 'warn', 'strict' or None, not {preview(audit, 80)}")


def refusal(record: StepRecord, audit: Audit) -> str | None:
    """Why a call of a step that is audited like this may be taken by nobody; None where it may."""
    if audit != "strict":
        return None
    if record.touched is None:
        return "it was not looked at there what it touches"
    first = next(inputs_of(record), None)
    return None if first is None else f"it {first.did}, which is no input of it (audit='strict')"


def warn(trial: TrialContext, records: Sequence[StepRecord]) -> None:
    """Tell what audited steps have touched, once in a process for each step and thing.

    Raises
    ------
    UndeclaredInputWarning
        Only where warnings are made errors.
    """
    for text in list(_texts(trial, records)):
        logger.warning("%s", text)
        warnings.warn(text, UndeclaredInputWarning, stacklevel=users_frame())


def _texts(trial: TrialContext, records: Sequence[StepRecord]) -> Iterator[str]:
    known = told(trial.backend, trial.name)
    found = [each for record in records if record.touched is not None for each in inputs_of(record)]
    count: Counter[str] = Counter()
    for each in found:
        if known.first(("touched", each.step, each.kind, each.name)):
            count[each.step] += 1
            if count[each.step] <= MOST:
                yield scrub(_text(each))
    for step, number in count.items():
        if number > MOST:
            yield f"Step {step!r} has {number - MOST} more such inputs: see trial.inputs"


def _text(each: Input) -> str:
    return f"Step {each.step!r} {each.did}, which is no input of it: {_ADVICE[each.kind]}"
