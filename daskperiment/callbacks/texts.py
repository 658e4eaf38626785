"""Batches and trials in one sentence, without secrets."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from daskperiment.callbacks.base import BatchView
from daskperiment.history.trials import duration
from daskperiment.records import TrialState
from daskperiment.secrets import scrub

if TYPE_CHECKING:
    from daskperiment.trial import Trial

FAILURES = (TrialState.FAILED, TrialState.CRASHED)
"""States of a trial that somebody should look at."""
_LONGEST = 2000
"""Characters of a text; descriptions of failures may hold whole files."""


def parameters(trial: Trial) -> dict[str, str]:
    """Values of the parameters as text; nothing is decoded."""
    return {name: scrub(kept["preview"]) for name, kept in trial._row["parameters"]}


def outcome(trial: Trial) -> str | None:
    """The result of a trial, or what it has failed by, as text; nothing is decoded."""
    row = trial._row
    complete = row["state"] == TrialState.COMPLETE
    text = row.get("result", {}).get("preview") if complete else row.get("description")
    return None if text is None else _shortened(scrub(text))


def trial_ended(trial: Trial) -> str:
    """How a trial has ended: ``Trial 7 of 'x', with a=1: COMPLETE in 0.312 s: 0.96``."""
    given = ", ".join(f"{name}={value}" for name, value in parameters(trial).items())
    took = duration(trial._row.get("seconds"))
    told = outcome(trial)
    # Not scrubbed as a whole: of the parameters it was settled which ones are secrets.
    return _shortened(
        f"Trial {trial.number} of {trial.experiment!r}{f', with {given}' if given else ''}: "
        f"{trial.state.value}{f' in {took}' if took else ''}{f': {told}' if told else ''}"
    )


def batch_begins(batch: BatchView) -> str:
    """What a batch is about to do."""
    skipped = f", of which {batch.skipped} are skipped" if batch.skipped else ""
    return f"A batch of {_trials(batch.total)} of {batch.experiment!r} begins{skipped}"


def batch_ended(batch: BatchView) -> str:
    """How a batch has ended, and in which time."""
    counts = {
        "complete": batch.done - batch.pruned,
        "pruned": batch.pruned,
        "failed": batch.failed,
        "skipped": batch.skipped,
        "not run": batch.total - batch.done - batch.failed - batch.skipped,
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "empty"
    took = duration(time.monotonic() - batch.started)
    return (
        f"The batch of {_trials(batch.total)} of {batch.experiment!r} has ended in {took}: {told}"
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"
