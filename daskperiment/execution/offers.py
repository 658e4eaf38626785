"""Offers: the calls of earlier trials that may be taken, for a trial that runs and for a plan."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from daskperiment import platform
from daskperiment.errors import TrialIDNotFoundError
from daskperiment.execution.reuse import IMPURE, Candidate, Rules, candidate_of, refusal
from daskperiment.fingerprint.values import SCHEME, Known, try_digest
from daskperiment.history.attempts import Attempt
from daskperiment.history.inputs import variables
from daskperiment.history.observations import Observations
from daskperiment.history.reusable import CallKey, Entry, Found, Reusable, key_of
from daskperiment.history.trials import Trials
from daskperiment.records import CallIdentity
from daskperiment.tracking.inputs import changed, changed_variable
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.graph import StepCall

OFF = "reuse is off for it"
NEW = "no earlier trial has computed the same call"


class Kept(Known):
    """An output that stays where it is kept; what it is digested as is known."""

    __slots__ = ("_preview",)

    def __init__(self, form: bytes, scheme: str, preview: str) -> None:
        super().__init__(form, scheme)
        self._preview = preview

    def __repr__(self) -> str:
        return self._preview


class Offer(NamedTuple):
    """A call that may be taken from an earlier trial.

    Parameters
    ----------
    entry : Entry
        Where it was computed.
    candidate : Candidate
        Its record there.
    kept : dict
        Where its output is kept there.
    """

    entry: Entry
    candidate: Candidate
    kept: Document

    @property
    def number(self) -> int:
        """Number of the trial."""
        return self.entry.number

    @property
    def form(self) -> bytes | None:
        """What its output is digested as; None where the output must be read for that.

        So it is for one that holds objects of the user's classes, which may have been edited.
        """
        entry = self.entry
        hidden = entry.form is None or entry.scheme != SCHEME
        return None if hidden else bytes.fromhex(str(entry.form))

    def load(self) -> Any:
        """Its output.

        Raises
        ------
        ValueError
            It is not what the call gave.  Besides errors of the store, and whatever decoding
            raises.
        """
        value = self.candidate.place.load(self.candidate.slot, self.kept)
        if try_digest(value)[0] != self.candidate.record.output:
            raise ValueError("its stored output is not what it gave")
        return value

    def known(self) -> Any:
        """What stands for its output in other values that are digested; errors as for load."""
        self.candidate.place.check(self.candidate.slot, self.kept)
        form = self.form
        if form is None:
            return self.load()
        return Kept(form, self.entry.scheme, str(self.kept["preview"]))


class Answer(NamedTuple):
    """What is known of a call.

    Parameters
    ----------
    found : Found or None
        What the index says of it; None where nothing can be said of such a call.
    offer : Offer or None
        Where it may be taken from.
    why : str or None
        Why from nowhere.
    """

    found: Found | None = None
    offer: Offer | None = None
    why: str | None = None


class Offers:
    """The calls that one trial may take.

    Parameters
    ----------
    trials : Trials
        The trials of its experiment.
    rules : Rules
        What it may take.
    observations : Observations
        What is known of the purity of steps.
    """

    def __init__(self, trials: Trials, rules: Rules, observations: Observations) -> None:
        self._trials = trials
        self._rules = rules
        self._observations = observations
        self.reusable = Reusable(trials)

    def key(self, identity: CallIdentity) -> CallKey | None:
        """The key of a call; None where there can be no other one like it."""
        step, rules = identity.step, self._rules
        within, strict = rules.confined.get(step), step in rules.strict
        return key_of(identity, rules.packages[step], within, strict)

    def never(self, identity: CallIdentity) -> str | None:
        """Why a call can be taken from nowhere, whatever others have computed."""
        return self._rules.doubts.get(identity.step) or refusal_of(identity)

    def is_impure(self, identity: CallIdentity) -> bool:
        """Whether a step was seen to give other outputs for the same inputs."""
        return self._observations.is_impure(identity.step, identity.fingerprint)

    def ask(self, call: StepCall, identity: CallIdentity) -> Answer:
        """What is known of a call; errors are those of the backend."""
        key, why = self.key(identity), self.never(identity)
        if why is not None or key is None:
            return Answer(why=why)
        found = self.reusable.find(key)
        if found.refused is not None:
            return Answer(found, why=found.refused)
        if found.entry is None:
            return Answer(found, why=NEW)
        return self._judged(call, identity, found, found.entry)

    def _judged(self, call: StepCall, identity: CallIdentity, found: Found, entry: Entry) -> Answer:
        candidate = self._candidate(call, identity, entry)
        if candidate is None:
            return Answer(found, why=f"trial {entry.number}, which computed it, was removed")
        record, kept = candidate.record, candidate.kept
        reason = refusal(record, kept, identity._replace(call=record.call))
        reason = reason or candidate.tainted
        if reason is None and record.files and (file := changed(record.files)):
            reason = f"the file {file} is not what it was"
        if reason is None and (name := changed_variable(variables(record) or {})):
            reason = f"the environment variable {name} is not what it was"
        if reason is None and self.is_impure(identity):
            reason = IMPURE
        if reason is not None or kept is None:
            return Answer(found, why=f"{reason} (trial {entry.number})")
        return Answer(found, Offer(entry, candidate, kept))

    def _candidate(self, call: StepCall, identity: CallIdentity, entry: Entry) -> Candidate | None:
        attempt = _attempt(self._trials, entry)
        if attempt is None:
            return None
        # Of several attempts of a scheduler at one call, the last one that gave the output.
        for record in reversed(attempt.records):
            same = record.place == (entry.step, entry.call)
            if same and record.outcome in ("ran", "reused"):
                return candidate_of(attempt, record, call.final)
        return None


def refusal_of(identity: CallIdentity) -> str | None:
    """Why there can be no other call like this one."""
    if identity.fingerprint is None:
        return "the code has no digest"
    unhashed = next((name for name, digest in identity.inputs if digest is None), None)
    return None if unhashed is None else f"the input {unhashed!r} has no digest"


_attempts: OrderedDict[tuple[str, str, str], Attempt] = OrderedDict()
_lock = threading.Lock()
platform.hold_across_fork(_lock)
_MOST = 32


def _attempt(trials: Trials, entry: Entry) -> Attempt | None:
    """The trial of an entry; those that have ended are read once."""
    try:
        row = trials.get(entry.number)
    except TrialIDNotFoundError:
        return None
    if row["uid"] != entry.trial:
        return None
    key = (repr(trials.backend), trials.name, entry.trial)
    with _lock:
        known = _attempts.get(key)
    if known is not None and known.row == row:
        return known
    attempt = Attempt(trials, entry.number, row)
    if row.get("finished") is not None:
        with _lock:
            _attempts[key] = attempt
            while len(_attempts) > _MOST:
                _attempts.popitem(last=False)
    return attempt
