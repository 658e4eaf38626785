"""Purity: say when a step gave another output for the same inputs, and why."""

from __future__ import annotations

import difflib
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from daskperiment.errors import PurityWarning
from daskperiment.history.observations import Observation, observe
from daskperiment.history.snapshots import Snapshots
from daskperiment.records import StepRecord
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.execution.context import TrialContext

logger = logging.getLogger(__name__)

_DIFF_LINES = 30


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
    for record in records:
        now = observe(trial.number, trial.ticket.row["code"], record)
        before = now and trial.ticket.observations.compare(record, now)
        if now is not None and before is not None:
            causes = find_causes(Snapshots(trial.backend), record, now, before)
            found.setdefault((record.step, *causes), Contradiction(record, before, causes))
    return list(found.values())


def warn(trial: TrialContext, contradictions: Sequence[Contradiction]) -> None:
    """Log each contradiction and give a PurityWarning that points at the user's line."""
    texts = [_told(trial, contradiction) for contradiction in contradictions]
    for text in texts:
        warnings.warn(PurityWarning(text), stacklevel=_users_frame())


def find_causes(
    snapshots: Snapshots, record: StepRecord, now: Observation, before: Observation
) -> dict[str, str]:
    """What differs between two observations: a cause and its details, each as text.

    The causes are ``code`` (of the step itself), ``helper`` (functions that it calls),
    ``seed``, ``package``, ``environment``, ``threads``, ``entropy`` (it read randomness that
    no seed controls) and, when none of these, ``unexplained``.
    """
    causes: dict[str, str] = {}
    if now.fingerprint != before.fingerprint and _comparable(now, before):
        causes |= _code_causes(snapshots, now.code, before.code, record.step)
    if now.seed != before.seed:
        causes["seed"] = f"{_seed(before)} then, {_seed(now)} now"
    if now.environment != before.environment:
        old, new = snapshots.get(before.environment), snapshots.get(now.environment)
        causes |= _environment_causes(old, new)
    if now.threads != before.threads:
        causes["threads"] = f"{before.threads} then, {now.threads} now"
    if record.entropy:
        causes["entropy"] = "the step reads randomness of the system, which no seed controls"
    if not causes:
        causes["unexplained"] = "same code, seed and environment: it reads a file, a clock, ..."
    return causes


def _comparable(now: Observation, before: Observation) -> bool:
    """Digests of different schemes say nothing about each other."""
    if now.fingerprint is None or before.fingerprint is None:
        return False
    return now.fingerprint.partition(":")[0] == before.fingerprint.partition(":")[0]


def _seed(observation: Observation) -> str:
    return "drew nothing" if observation.seed is None else str(observation.seed)


def _code_causes(snapshots: Snapshots, now: str, before: str, step: str) -> dict[str, str]:
    new, old = _step(snapshots.get(now), step), _step(snapshots.get(before), step)
    functions, earlier = new["functions"], old["functions"]
    changed = {name for name in {*functions, *earlier} if functions.get(name) != earlier.get(name)}
    own = {new["function"], old["function"]}
    causes = {}
    if changed & own:
        diff = _diff(snapshots.text(old["source"]), snapshots.text(new["source"]))
        causes["code"] = diff or "a value that it reads"
    if helpers := sorted(changed - own):
        causes["helper"] = ", ".join(helpers)
    return causes or {"code": "a value that it reads"}


def _step(code: Document, name: str) -> Document:
    (found,) = (step for step in code["steps"] if step["name"] == name)
    return found  # type: ignore[no-any-return]


def _diff(old: str, new: str) -> str:
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))[2:]
    cut = [f"... {len(lines) - _DIFF_LINES} more lines"] if len(lines) > _DIFF_LINES else []
    return "\n".join(["", *lines[:_DIFF_LINES], *cut]) if lines else ""


def _environment_causes(old: Document, new: Document) -> dict[str, str]:
    before, now = old.get("packages", {}), new.get("packages", {})
    changed = [
        f"{name} {before.get(name, 'absent')} -> {now.get(name, 'absent')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    causes = {"package": ", ".join(changed)} if changed else {}
    others = [k for k in sorted({*old, *new}) if k != "packages" and old.get(k) != new.get(k)]
    if others:
        causes["environment"] = ", ".join(
            f"{name}: {old.get(name)} -> {new.get(name)}" for name in others
        )
    return causes


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
    return (
        f"Step {record.step!r} gave another output in trial {trial.number} than in trial "
        f"{before.trial} for the same inputs {text}. Cause: {', '.join(causes)}\n{details}"
    )


def _users_frame() -> int:
    """Stack level, seen from the caller, of the first frame outside this package and Dask."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        ("daskperiment.", "dask.", "distributed.", "concurrent.", "threading")
    ):
        level, frame = level + 1, frame.f_back
    return level
