"""Parts: trials that have ended within another one, which goes on."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from daskperiment.execution.context import TrialContext, row_of
from daskperiment.execution.step import Running, digested, keep
from daskperiment.graph import StepCall
from daskperiment.history.places import Place
from daskperiment.history.trials import Trials
from daskperiment.namespace import namespaced
from daskperiment.records import TrialState
from daskperiment.secrets import Hidden, hide
from daskperiment.tracking import environment

_SHARED = ("seed", "started", "code", "environment", "session", "configuration", "graph", "repeat")
"""What a part has in common with the whole."""


def record_part(running: Running, parameters: Mapping[str, Any], value: Any) -> None:
    """Record a result that the running step call has reached as a trial of its own.

    It is COMPLETE, has the seed and the code of the trial that runs, and names it by
    ``part_of``.  Nothing is recorded under the parameters of that trial itself, nor where
    recording is switched off.
    """
    whole = running.trial
    if not isinstance(whole, TrialContext):
        return
    with whole.recording():
        values = {name: _hidden(whole, name, value) for name, value in parameters.items()}
        part = _begun(whole, running.resumed_from, values)
        if part is not None:
            _complete(part, running, values, value)


def _hidden(whole: TrialContext, name: str, value: Any) -> Any:
    value = namespaced(value)
    return Hidden(value) if name in whole.secret_parameters else hide(name, value)


def _begun(
    whole: TrialContext, before: str | None, values: Mapping[str, Any]
) -> TrialContext | None:
    own, uid = whole.ticket.row, uuid.uuid4().hex
    row, writes = row_of(Place(whole.backend, whole.name, uid), values)
    digest = row["parameters_digest"]
    if digest and (digest == own["parameters_digest"] or _is_there(whole, before, digest)):
        return None
    row |= {name: own[name] for name in _SHARED if name in own}
    row |= {"uid": uid, "part_of": whole.uid, "owner": environment.process()}
    part = replace(
        whole.ticket, row=row, writes=writes, changes=None, callbacks=None, handle=None,
        # The key of a trial that has travelled here signs for that trial alone.
        sent=False, key=None,
    ).begin()  # fmt: skip
    part.supervised = True
    return part


def _is_there(whole: TrialContext, before: str | None, digest: str) -> bool:
    """Whether the trial from which this one goes on had reached it behind its last checkpoint."""
    if before is None:
        return False
    same = {"part_of": before, "parameters_digest": digest, "state": TrialState.COMPLETE.value}
    return any(True for _ in Trials(whole.backend, whole.name).find(same, [], limit=1))


def _complete(part: TrialContext, running: Running, values: Mapping[str, Any], value: Any) -> None:
    names = tuple((name, (("parameter", name, 0),), True) for name in values)
    call = StepCall(running.call.step, final=True, inputs=names)
    inputs, started = (
        digested(part.secret_parameters, call, values.values()),
        part.ticket.row["started"],
    )
    ended = Running(part, call, None, running.draws)
    keep(ended, part, inputs, started, max(0.0, time.time() - started), value)
    part.end(TrialState.COMPLETE)
