"""Shared calls: taken from any earlier trial, and computed once for all that want them now."""

from __future__ import annotations

import logging
import random
import threading
import time
import warnings
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from daskperiment.errors import BackendError, PurityWarning
from daskperiment.execution import audit, stopping
from daskperiment.execution.offers import Offer, Offers
from daskperiment.execution.reuse import IMPURE, RESULT, Candidate, Taken, doubt, slot_of
from daskperiment.fingerprint.values import digest_of_form, try_digest
from daskperiment.graph.lazy import Lazy
from daskperiment.history.belongings import carry
from daskperiment.history.leases import Lease
from daskperiment.history.places import Slot
from daskperiment.history.reusable import Entry, Found
from daskperiment.history.trials import Trials
from daskperiment.records import CallIdentity, StepRecord
from daskperiment.secrets import scrub
from daskperiment.serializers.preview import preview_error
from daskperiment.tracking import environment
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.execution.context import TrialContext
    from daskperiment.graph import StepCall

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5
_SEALED = b"#"
"""What a form begins with that does not tell the value."""
_chance = random.Random()


class Output(Lazy):
    """The output of a call that was taken from another trial, read when somebody needs it.

    Where it cannot be read, or is not what it was, the step runs after all.

    Parameters
    ----------
    form, scheme : bytes, str
        What it is digested as.
    trial : TrialContext
        The trial that has taken it.
    call : StepCall
        The call.
    arguments : tuple
        What it is called with: a tuple and a dict.
    slot, kept : tuple, dict
        Where the value is in the trial.
    """

    __slots__ = ("_arguments", "_call", "_kept", "_lock", "_slot", "_trial", "_value")

    def __init__(
        self,
        form: bytes,
        scheme: str,
        trial: TrialContext,
        call: StepCall,
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        slot: Slot,
        kept: Document,
    ) -> None:
        super().__init__(form, scheme)
        self._trial, self._call, self._arguments = trial, call, arguments
        self._slot, self._kept = slot, kept
        self._lock = threading.Lock()
        self._value: list[Any] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Output, (
            self.form, self.scheme, self._trial, self._call, self._arguments, self._slot, self._kept
        )  # fmt: skip

    def __repr__(self) -> str:
        return str(self._kept["preview"])

    @property
    def digest(self) -> str:
        """Its digest."""
        return digest_of_form(self.scheme, self.form)

    def load(self) -> Any:
        """The value, read once."""
        with self._lock:
            if not self._value:
                self._value.append(self._read())
                self._arguments = (), {}
            return self._value[0]

    def _read(self) -> Any:
        try:
            value = self._trial.ticket.place.load(self._slot, self._kept)
            # Other bytes were refused already; a pickle may give something else for the same ones.
            if self._kept.get("codec") != "pickle" or try_digest(value)[0] == self.digest:
                return value
            reason = "its stored output is not what it gave"
        except Exception as error:  # of the store, or whatever decoding raises
            reason = f"its stored output cannot be read: {preview_error(error)}"
        logger.warning("%s runs again: %s", self._call.step.name, scrub(reason))
        args, kwargs = self._arguments
        return self._trial.run_anew(self._call, args, kwargs, reason)


class SharedCall:
    """One call that others may have computed, or compute at this moment.

    Parameters
    ----------
    trial : TrialContext
        The trial that wants it.
    call : StepCall
        The call.
    identity : CallIdentity
        What makes another call the same.

    Attributes
    ----------
    why : str or None
        Why it must run.
    """

    def __init__(self, trial: TrialContext, call: StepCall, identity: CallIdentity) -> None:
        rules = trial.ticket.rules
        assert rules is not None
        self._trial, self._call, self._identity, self._rules = trial, call, identity, rules
        trials = Trials(trial.backend, trial.name)
        self._offers = Offers(trials, rules, trial.ticket.observations)
        self._key = self._offers.key(identity)
        self._reusable = self._offers.reusable
        self._lease: Lease | None = None
        self._verifying: Candidate | None = None
        self.why: str | None = None

    def take(self, arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> Taken | None:
        """Take the call from where it was computed, which is waited for; None where it must run.

        The caller ends that by :meth:`done` or :meth:`release`.
        """
        try:
            return self._take(arguments)
        except BackendError as error:
            self._key, self.why = None, f"the store cannot be asked: {preview_error(error)}"
        return None

    def _take(self, arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> Taken | None:
        pause, told = _FIRST_PAUSE, False
        while True:
            found, offer, self.why = self._offers.ask(self._call, self._identity)
            if offer is not None:
                taken = self._taken(offer, arguments)
                if taken is not None or self._verifying is not None:
                    return taken
            if found is None or found.refused is not None or self._may_compute(found):
                return None
            if not told and self._lease is None:
                told = True
                logger.info("%s: waits for another trial, which computes it", self._call.step.name)
            with stopping.CURRENT.get() or nullcontext():
                time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _may_compute(self, found: Found) -> bool:
        """Whether nobody else computes it, nor has done so since it was looked for."""
        assert self._key is not None
        leases = self._reusable.leases
        lease = leases.take(found.key, self._trial.uid, environment.process())
        if not isinstance(lease, Lease):
            return False
        if self._reusable.find(self._key) != found:
            self._reusable.release(lease)
            return False
        self._lease = lease
        return True

    def _taken(
        self, offer: Offer, arguments: tuple[tuple[Any, ...], dict[str, Any]]
    ) -> Taken | None:
        if self._rules.verify and _chance.random() < self._rules.verify:
            self._verifying = offer.candidate
            self.why = compared(offer.number)
            return None
        candidate, place, slot = offer.candidate, self._trial.ticket.place, slot_of(self._call)
        try:
            here, writes = place.adopt(slot, candidate.place, candidate.slot, offer.kept)
            value: Any
            if (form := offer.form) is None:
                value = offer.load()
            else:
                scheme = offer.entry.scheme
                value = Output(form, scheme, self._trial, self._call, arguments, slot, here)
        except Exception as error:  # whatever decoding raises
            self.why = unreadable(error, offer.number)
            return None
        belongings = carry(candidate.record.logged, candidate.place, place, candidate.others)
        return Taken(value, here, writes, candidate, belongings)

    # -- what becomes of it

    def done(self, record: StepRecord, form: tuple[str, bytes] | None) -> None:
        """Let others take what it gave, once that is written; errors are those of the backend."""
        if self._verifying is not None:
            self._compare(record, self._verifying)
            return
        lease, self._lease = self._lease, None
        if lease is None or self._key is None:
            return
        kept = self._kept(record)
        reason = doubt(record, kept) or audit.refusal(record, self._call.step.audited)
        if reason is not None or form is None or not isinstance(self._trial.number, int):
            self._reusable.refuse(self._key, reason or "its output has no digest", lease)
            return
        scheme, content = form
        shown = content.hex() if content.startswith(_SEALED) else None
        place = self._trial.uid, self._trial.number, record.step, record.call
        entry = Entry(*place, shown, scheme)
        if not self._reusable.accept(self._key, entry, record.drew, lease):
            logger.info("%s: another trial has computed it meanwhile", record.step)

    def _kept(self, record: StepRecord) -> Document | None:
        if record.kept is None and slot_of(self._call) == RESULT:
            return self._trial.kept_result
        return record.kept

    def _compare(self, record: StepRecord, candidate: Candidate) -> None:
        before = candidate.record
        if record.output == before.output:
            logger.info("%s: compared with trial %s: equal", record.step, candidate.number)
            return
        text = (
            f"Step {record.step!r} gave another output in trial {self._trial.number} than in trial "
            f"{candidate.number}, from which it would have been taken (reuse_verify): it is not "
            "taken from any trial until its code changes"
        )
        self._trial.ticket.observations.mark_impure(
            record.step, record.fingerprint, self._trial.number
        )
        assert self._key is not None
        self._reusable.refuse(self._key, IMPURE, None)
        logger.warning("%s", text)
        with suppress(PurityWarning):  # made an error, it would end the step
            warnings.warn(text, PurityWarning, stacklevel=2)

    def release(self) -> None:
        """Let others compute it, as this trial did not."""
        lease, self._lease = self._lease, None
        if lease is not None:
            with suppress(BackendError):
                self._reusable.release(lease)


def compared(number: int) -> str:
    """Why a call runs that might be taken from this trial."""
    return f"it is compared with trial {number} (reuse_verify)"


def unreadable(error: BaseException, number: int) -> str:
    """Why a call cannot be taken from this trial after all."""
    return f"its output cannot be read: {preview_error(error)} (trial {number})"
