"""Reuse: whether a step call may be taken from an earlier record, and if not why not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from daskperiment.backends.base import Write
from daskperiment.fingerprint.values import try_digest
from daskperiment.history.attempts import Attempts
from daskperiment.history.belongings import Belongings, carry
from daskperiment.history.places import Place, Slot
from daskperiment.history.steps import output_slot
from daskperiment.history.trials import duration
from daskperiment.records import CallIdentity, Number, StepRecord
from daskperiment.secrets import Hidden, holds_living, scrub
from daskperiment.serializers.preview import preview_error
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.execution.context import TrialContext
    from daskperiment.graph import StepCall

logger = logging.getLogger(__name__)

_RESULT: Slot = ("result",)
_IMPURE = "it was seen to give another output for the same inputs"


class Candidate(NamedTuple):
    """A record that a call may perhaps be taken from.

    Parameters
    ----------
    number : Number
        Its trial.
    place : Place
        Where that trial's values are.
    record : StepRecord
        The record.
    slot, kept : tuple, dict or None
        Where its output is kept.
    others : tuple of StepRecord
        What the other calls of its trial did.
    """

    number: Number
    place: Place
    record: StepRecord
    slot: Slot
    kept: Document | None
    others: tuple[StepRecord, ...]


class Source(Protocol):
    """Where candidates come from."""

    def candidates(self, call: StepCall, identity: CallIdentity) -> Iterator[Candidate]:
        """Candidates for a call, the best first."""


class Earlier:
    """The attempts before a trial, as a source.

    Parameters
    ----------
    attempts : Attempts
        The attempts.
    """

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    def candidates(self, call: StepCall, identity: CallIdentity) -> Iterator[Candidate]:
        """The records of the same call, the latest first."""
        place = identity.step, identity.call
        for attempt in self._attempts:
            for record in reversed(attempt.records):
                if record.place == place:
                    slot, kept = output_slot(*place), record.kept
                    if kept is None and call.final:
                        slot, kept = _RESULT, attempt.row.get("result")
                    others = tuple(attempt.others(*place))
                    yield Candidate(attempt.number, attempt.place, record, slot, kept, others)


class Taken(NamedTuple):
    """A call that need not run.

    Parameters
    ----------
    value : Any
        Its output.
    kept, writes : dict, list of Write
        How the output is kept with the new trial.
    candidate : Candidate
        What it was taken from.
    belongings : Belongings
        Metrics and artifacts that came along.
    """

    value: Any
    kept: Document
    writes: list[Write]
    candidate: Candidate
    belongings: Belongings

    @property
    def origin(self) -> str:
        """Uid of the trial in which it has run."""
        record = self.candidate.record
        return record.reused_from or record.trial


def refusal(record: StepRecord, kept: Document | None, wanted: CallIdentity) -> str | None:
    """Why a call may not be taken from a record; None where it may, as far as the record tells.

    Examples
    --------
    >>> wanted = CallIdentity("fit", 0, "v1:0a", (("x", "v1:0b"),), 7)
    >>> refusal(None, {"json": "1"}, wanted._replace(fingerprint=None))
    'the code has no digest'
    """
    if wanted.fingerprint is None:
        return "the code has no digest"
    if unhashed := next((name for name, digest in wanted.inputs if digest is None), None):
        return f"the input {unhashed!r} has no digest"
    if record.outcome not in ("ran", "reused"):
        return "it has failed there"
    return _difference(record, wanted) or _doubt(record, kept)


def _difference(record: StepRecord, wanted: CallIdentity) -> str | None:
    before = record.identity
    if before.fingerprint != wanted.fingerprint:
        return "its code was another one there"
    if before.inputs != wanted.inputs:
        known = dict(before.inputs)
        changed = (name for name, digest in wanted.inputs if known.get(name) != digest)
        return f"the input {next(changed, '')!r} was another one there"
    if record.drew and before.seed != wanted.seed:
        return "it drew random numbers with another seed there"
    return None


def _doubt(record: StepRecord, kept: Document | None) -> str | None:
    if record.entropy:
        return "it read randomness there that no seed controls"
    if record.output is None:
        return "its output has no digest there"
    if kept is None or "reason" in kept:
        return "its output was not kept there"
    return None


def take(trial: TrialContext, call: StepCall, wanted: CallIdentity) -> Taken | None:
    """Take a call from an attempt before, where there is one and nothing speaks against it."""
    try:
        candidates = list(trial.earlier.candidates(call, wanted))
        taken, why = _first(trial, call, wanted, candidates)
    except Exception as error:  # of a store that is away, or that others have written to
        taken, why = None, preview_error(error)
    if taken is not None:
        _tell(taken)
    elif why is not None:
        logger.info("%s runs again: %s", wanted.step, scrub(why))
    return taken


def _first(
    trial: TrialContext, call: StepCall, wanted: CallIdentity, candidates: list[Candidate]
) -> tuple[Taken | None, str | None]:
    """The first candidate that may be taken, or why not the latest one."""
    same = [each.record for each in candidates if _difference(each.record, wanted) is None]
    if len({record.output for record in same if record.outcome == "ran"}) > 1:
        return None, _IMPURE
    why: str | None = None
    for candidate in candidates:
        taken, reason = _take(trial, call, wanted, candidate)
        if taken is not None:
            return taken, None
        why = why or f"{reason} (trial {candidate.number})"
    return None, why


def _take(
    trial: TrialContext, call: StepCall, wanted: CallIdentity, candidate: Candidate
) -> tuple[Taken | None, str | None]:
    record, kept = candidate.record, candidate.kept
    reason = refusal(record, kept, wanted)
    if reason is None and trial.ticket.observations.is_impure(record.step, record.fingerprint):
        reason = _IMPURE
    if reason is not None or kept is None:
        return None, reason
    place = trial.ticket.place
    slot = _RESULT if call.final and not call.step.persist else output_slot(*record.place)
    try:
        value, here, writes = place.take(slot, candidate.place, candidate.slot, kept)
    except Exception as error:  # whatever decoding raises
        return None, f"its output cannot be read: {preview_error(error)}"
    if try_digest(Hidden(value) if holds_living(value) else value, "output")[0] != record.output:
        return None, "its output is not what it gave"
    belongings = carry(record.logged, candidate.place, place, candidate.others)
    return Taken(value, here, writes, candidate, belongings), None


def _tell(taken: Taken) -> None:
    record, number = taken.candidate.record, taken.candidate.number
    spared = f", where it took {duration(record.seconds)}" if record.outcome == "ran" else ""
    logger.info("%s: reused from trial %s%s", record.step, number, spared)
    for name in taken.belongings.missing:
        logger.warning("%s: not carried along from trial %s: %s", record.step, number, name)
