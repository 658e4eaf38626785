"""Purity: say when a step gave another output for the same inputs, and why."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from daskperiment.errors import BackendError, PurityWarning
from daskperiment.history.comparison import (
    A_VALUE,
    Code,
    CodeChange,
    code_changes,
    comparable,
    environment_changes,
)
from daskperiment.history.inputs import outside
from daskperiment.history.observations import Observation, observe
from daskperiment.history.snapshots import Snapshots
from daskperiment.records import StepRecord
from daskperiment.secrets import scrub
from daskperiment.tracebacks import users_frame
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.execution.context import TrialContext

logger = logging.getLogger(__name__)

_UNEXPLAINED = frozenset({"unexplained", "entropy"})
"""Causes that lie in the step itself."""


class Contradiction(NamedTuple):
    """A step's output that differs from an earlier one, with the causes found."""

    record: StepRecord
    before: Observation
    causes: dict[str, str]


def find(trial: TrialContext, records: Sequence[StepRecord]) -> list[Contradiction]:
    """Compare a trial's step records with earlier ones, and index them.

    A contradiction is given once for each step and set of causes.
    """
    found: dict[tuple[str, ...], Contradiction] = {}
    kept = _Kept(Snapshots(trial.backend))
    code = trial.ticket.row["code"]
    seen = [(r, now) for r in records if (now := observe(trial.number, code, r))]
    contradicted = trial.ticket.observations.compare(seen)
    repeats = "repeat" in trial.ticket.row
    for (record, now), before in zip(seen, contradicted, strict=True):
        if before is not None:
            causes = find_causes(kept, record, now, before)
            # Trials that repeat each other have other seeds so that they differ.
            if not (repeats and list(causes) == ["seed"]):
                found.setdefault((record.step, *causes), Contradiction(record, before, causes))
            if _UNEXPLAINED.issuperset(causes):
                trial.ticket.observations.mark_impure(record.step, record.fingerprint, trial.number)
    return list(found.values())


def warn(trial: TrialContext, contradictions: Sequence[Contradiction]) -> None:
    """Log each contradiction and give a PurityWarning that points at the user's line."""
    texts = [_told(trial, contradiction) for contradiction in contradictions]
    for text in texts:
        warnings.warn(PurityWarning(text), stacklevel=users_frame())


class _Kept:
    """What is compared for several contradictions, each read and compared once."""

    def __init__(self, snapshots: Snapshots) -> None:
        self.environment = functools.cache(snapshots.get)
        self.code = functools.cache(functools.partial(Code.kept, snapshots))
        self.helpers: dict[tuple[str, str], dict[Any, CodeChange]] = {}


def find_causes(
    kept: _Kept, record: StepRecord, now: Observation, before: Observation
) -> dict[str, str]:
    """What differs between two observations: a cause and its details, each as text.

    The causes are ``code`` (of the step itself), ``helper`` (functions that it calls),
    ``seed``, ``package``, ``environment`` (also a variable that it read, where that was looked
    at), ``threads``, ``file`` (one that it opened, likewise), ``entropy`` (it read randomness that
    no seed controls) and, when none of these, ``unexplained``.
    """
    causes: dict[str, str] = {}
    if now.fingerprint != before.fingerprint and comparable(now.fingerprint, before.fingerprint):
        causes |= _known("code", _code_causes, kept, now.code, before.code, record.step)
    if now.seed != before.seed:
        causes["seed"] = f"{_seed(before)} then, {_seed(now)} now"
    if now.environment != before.environment:
        environments = before.environment, now.environment
        causes |= _known("environment", _environment_causes, kept, *environments)
    if names := _changed(now.variables, before.variables):
        causes["environment"] = ", ".join(filter(None, (causes.get("environment"), *names)))
    if now.threads != before.threads:
        causes["threads"] = f"{before.threads} then, {now.threads} now"
    if names := _changed(now.files, before.files):
        causes["file"] = ", ".join(names)
    if record.entropy:
        causes["entropy"] = "the step reads randomness of the system, which no seed controls"
    if not causes:
        perhaps = outside(record) or "it reads a file, a clock, ..."
        causes["unexplained"] = f"same code, seed and environment: {perhaps}"
    return causes


def _known(cause: str, find: Callable[..., dict[str, str]], *arguments: Any) -> dict[str, str]:
    try:
        return find(*arguments)
    except BackendError as error:  # a snapshot that is gone by now still was another one
        return {cause: str(error)}


def _changed(now: Document | None, before: Document | None) -> list[str]:
    """Names that lead to other digests; none where one of the two was not looked at."""
    if now is None or before is None:
        return []
    return [
        name
        for name in sorted(now | before)
        if now.get(name) != before.get(name) and not _unlike(now.get(name), before.get(name))
    ]


def _unlike(one: str | None, other: str | None) -> bool:
    """Whether two digests are of different schemes, or of different keys: that tells nothing."""
    return one is not None and other is not None and not comparable(one, other)


def _seed(observation: Observation) -> str:
    return "drew nothing" if observation.seed is None else str(observation.seed)


def _code_causes(kept: _Kept, now: str, before: str, step: str) -> dict[str, str]:
    causes = {}
    known = kept.helpers.setdefault((before, now), {})
    changes = code_changes(kept.code(before), kept.code(now), step, known)
    for change in changes[:1]:
        if change.own:
            text = change.diff() and f"\n{change.diff()}"
            causes["code"] = A_VALUE if change.value else text or "no text of it is kept"
    if helpers := [change.function for change in changes if not change.own]:
        causes["helper"] = ", ".join(helpers)
    return causes


def _environment_causes(kept: _Kept, before: str, now: str) -> dict[str, str]:
    changes = environment_changes(kept.environment(before), kept.environment(now))
    packages = changes.pop("packages", [])
    others = [f"{category}: {change}" for category in changes for change in changes[category]]
    causes = {"package": ", ".join(map(str, packages)), "environment": ", ".join(others)}
    return {cause: detail for cause, detail in causes.items() if detail}


def _told(trial: TrialContext, contradiction: Contradiction) -> str:
    record, before, causes = contradiction
    args = [argument.preview for argument in record.inputs if not argument.keyword]
    text = f"({args[0]},)" if len(args) == 1 else f"({', '.join(args)})"
    kwargs = ", ".join(f"{a.name!r}: {a.preview}" for a in record.inputs if a.keyword)
    logger.warning(
        "Experiment step result is changed with the same input: (step: %s, args: %s, kwargs: {%s})",
        record.step,
        text,
        kwargs,
    )
    details = "\n".join(f"  {cause}: {detail}" for cause, detail in causes.items())
    return scrub(
        f"Step {record.step!r} gave another output in trial {trial.number} than in trial "
        f"{before.trial} for the same inputs {text}. Cause: {', '.join(causes)}\n{details}"
    )
