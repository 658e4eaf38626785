"""Reuse: whether a step call may be taken from an earlier record, and if not why not."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from daskperiment import options
from daskperiment.backends.base import Write
from daskperiment.errors import OptionError
from daskperiment.execution import audit
from daskperiment.fingerprint.borders import Packages, check_packages, packages_digest
from daskperiment.fingerprint.values import try_digest
from daskperiment.history.attempts import Attempt, Attempts
from daskperiment.history.belongings import Belongings, carry
from daskperiment.history.places import Place, Slot
from daskperiment.history.steps import output_slot
from daskperiment.history.taints import taint_of
from daskperiment.history.trials import duration
from daskperiment.records import CallIdentity, Number, StepRecord
from daskperiment.secrets import Hidden, holds_living, scrub
from daskperiment.serializers import preview
from daskperiment.serializers.preview import preview_error
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.execution.context import TrialContext
    from daskperiment.graph import Step, StepCall
    from daskperiment.tracking.code import CodeCapture, StepCode

logger = logging.getLogger(__name__)

RESULT: Slot = ("result",)
IMPURE = "it was seen to give another output for the same inputs"


@dataclass(frozen=True)
class Reuse:
    """Which calls may be taken from earlier trials.

    Parameters
    ----------
    default : bool
        Whether those of steps that do not say so themselves.
    override : bool, optional
        What counts in place of what steps say, in one computation.
    packages : str
        How exactly the versions of distributions count.
    shared : frozenset of str
        Steps whose calls may be taken all the same, from trials of the same batch alone.
    within : str
        Uid of that batch.
    verify : float
        The part of those that may be taken which run all the same, to be compared.
    """

    default: bool = False
    override: bool | None = None
    packages: Packages = "exact"
    shared: frozenset[str] = frozenset()
    within: str = ""
    verify: float = 0.0

    def rules(self, steps: Mapping[str, Step[..., Any]], captured: CodeCapture) -> Rules | None:
        """What that means for the steps of a graph; None where no call may be taken."""
        on = {name for name, step in steps.items() if self._is_on(step)}
        chosen = [name for name in steps if name in on or name in self.shared]
        if not chosen or not options.value("reuse"):
            return None
        packages = {
            name: packages_digest(captured.steps[name].borders, self.packages) for name in chosen
        }
        doubts = {name: doubt for name in chosen if (doubt := _unsure(captured.steps[name]))}
        confined = {name: self.within for name in chosen if name not in on}
        strict = frozenset(name for name in chosen if steps[name].audited == "strict")
        return Rules(packages, doubts, confined, self.verify, strict)

    def _is_on(self, step: Step[..., Any]) -> bool:
        if self.override is not None:
            return self.override
        return self.default if step.reuse is None else step.reuse


def checked_reuse(reuse: bool, packages: str, verify: float) -> Reuse:
    """What an experiment takes from earlier trials, or OptionError."""
    if not isinstance(reuse, bool):
        raise OptionError(f"reuse is True or False, not {preview(reuse, 80)}")
    number = isinstance(verify, (int, float)) and not isinstance(verify, bool)
    if not (number and 0 <= verify <= 1):
        raise OptionError(f"reuse_verify is a number from 0 to 1, not {preview(verify, 80)}")
    return Reuse(reuse, packages=check_packages(packages), verify=float(verify))


@dataclass(frozen=True)
class Rules:
    """What may be taken in one trial.

    Parameters
    ----------
    packages : mapping of str to str
        By the names of the steps whose calls may be taken: the digest of the distributions that
        they reach.
    doubts : mapping of str to str
        Why nothing is known of the code of some of them.
    confined : mapping of str to str
        Uid of the batch to which calls of some of them are confined.
    verify : float
        As for :class:`Reuse`.
    strict : frozenset of str
        Those that are taken only where they have touched nothing that they were not given.
    """

    packages: Mapping[str, str]
    doubts: Mapping[str, str]
    confined: Mapping[str, str]
    verify: float = 0.0
    strict: frozenset[str] = frozenset()


def _unsure(code: StepCode) -> str | None:
    if code.unhashed:
        return f"it reaches what has no digest: {code.unhashed[0]}"
    if code.bytecode:
        return f"the text of {code.bytecode[0]} is not what runs, or there is none"
    return None


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
    attempt : Attempt
        Its trial as a whole.
    """

    number: Number
    place: Place
    record: StepRecord
    slot: Slot
    kept: Document | None
    attempt: Attempt

    @property
    def others(self) -> Iterator[StepRecord]:
        """What the other calls of its trial did."""
        return self.attempt.others(*self.record.place)

    @property
    def tainted(self) -> str | None:
        """Why somebody says that it should not be taken; None where nobody does."""
        reason = taint_of(self.attempt.row, self.record.place)
        return None if reason is None else f"it is tainted there: {reason}"


def candidate_of(attempt: Attempt, record: StepRecord, final: bool) -> Candidate:
    """The call of a trial; ``final`` tells whether its output may be the trial's result."""
    slot, kept = output_slot(*record.place), record.kept
    if kept is None and final:
        slot, kept = RESULT, attempt.row.get("result")
    return Candidate(attempt.number, attempt.place, record, slot, kept, attempt)


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
                    yield candidate_of(attempt, record, call.final)


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
    return difference(record, wanted) or doubt(record, kept)


def difference(record: StepRecord, wanted: CallIdentity) -> str | None:
    """What was different in the call of a record; None where it is the same call."""
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


def doubt(record: StepRecord, kept: Document | None) -> str | None:
    """Why the same call may not be taken all the same; None where it may."""
    if record.entropy:
        return "it read randomness there that no seed controls"
    if record.mutated:
        return f"it changed its argument {record.mutated[0]!r} in place there"
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
        tell(taken)
    elif why is not None:
        logger.info("%s runs again: %s", wanted.step, scrub(why))
    return taken


def _first(
    trial: TrialContext, call: StepCall, wanted: CallIdentity, candidates: list[Candidate]
) -> tuple[Taken | None, str | None]:
    """The first candidate that may be taken, or why not the latest one."""
    same = [each.record for each in candidates if difference(each.record, wanted) is None]
    if len({record.output for record in same if record.outcome == "ran"}) > 1:
        return None, IMPURE
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
    reason = refusal(record, kept, wanted) or candidate.tainted
    reason = reason or audit.refusal(record, call.step.audited)
    if reason is None and trial.ticket.observations.is_impure(record.step, record.fingerprint):
        reason = IMPURE
    if reason is not None or kept is None:
        return None, reason
    place, slot = trial.ticket.place, slot_of(call)
    try:
        value, here, writes = place.take(slot, candidate.place, candidate.slot, kept)
    except Exception as error:  # whatever decoding raises
        return None, f"its output cannot be read: {preview_error(error)}"
    if try_digest(Hidden(value) if holds_living(value) else value, "output")[0] != record.output:
        return None, "its output is not what it gave"
    belongings = carry(record.logged, candidate.place, place, candidate.others)
    return Taken(value, here, writes, candidate, belongings), None


def slot_of(call: StepCall) -> Slot:
    """Where the output of a call is kept."""
    final = call.final and not call.step.persist
    return RESULT if final else output_slot(call.step.name, call.call)


def tell(taken: Taken) -> None:
    """Say that a call was taken, and what did not come along."""
    record, number = taken.candidate.record, taken.candidate.number
    logger.info("%s: reused from trial %s (%s)", record.step, number, _about(taken.candidate))
    for name in taken.belongings.missing:
        logger.warning("%s: not carried along from trial %s: %s", record.step, number, name)


def _about(candidate: Candidate) -> str:
    """Whose it is, how old, and what is saved."""
    record, owner = candidate.record, candidate.attempt.row.get("owner") or {}
    parts = [
        f"{owner.get('user') or 'somebody'}@{record.host}",
        f"{_age(max(0.0, time.time() - record.started))} ago",
        f"saved {duration(saved(record))}",
    ]
    if size := (candidate.kept or {}).get("size"):
        parts.append(_size(size))
    return ", ".join(parts)


def _age(seconds: float) -> str:
    days = round(seconds / 86400)
    return f"{days} days" if days > 1 else str(duration(seconds))


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def saved(record: StepRecord) -> float:
    """Seconds that are saved by taking a call from its record."""
    return record.seconds if record.saved is None else record.saved
