"""Checkpoints of one running call: states that it leaves, and the one from which it goes on."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from daskperiment.errors import BackendError, DaskperimentError, DaskperimentWarning
from daskperiment.history.belongings import Logged, carry
from daskperiment.history.checkpoints import Checkpoint, Saved, told
from daskperiment.history.steps import Steps
from daskperiment.history.trials import Trials
from daskperiment.records import CallIdentity
from daskperiment.secrets import scrub
from daskperiment.tracking import seeds

if TYPE_CHECKING:
    from daskperiment.execution.context import TrialContext

logger = logging.getLogger(__name__)


class CallCheckpoints:
    """What one running call leaves and finds.

    Parameters
    ----------
    trial : TrialContext
        The trial that it is a part of.
    identity : CallIdentity
        What the call is.
    unhashed : str, optional
        Why an input has no digest.
    draws : Draws
        The streams of the call.
    logged : Logged
        What the call has logged.

    Attributes
    ----------
    resumed_from : str or None
        Uid of the trial from whose checkpoint it went on.
    """

    __slots__ = (
        "_draws", "_identity", "_lock", "_logged", "_pid", "_saved", "_told_unhashed", "_trial",
        "_unhashed", "resumed_from",
    )  # fmt: skip

    def __init__(
        self,
        trial: TrialContext,
        identity: CallIdentity,
        unhashed: str | None,
        draws: seeds.Draws,
        logged: Logged,
    ) -> None:
        self._trial = trial
        self._identity = identity
        self._unhashed = unhashed
        self._draws = draws
        self._logged = logged
        self._saved: Saved | None = None
        self._told_unhashed = False
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self.resumed_from: str | None = None

    def save(self, state: Any, keep: bool) -> None:
        """Keep a state, at once; see :meth:`CurrentTrial.checkpoint`."""
        if self._pid != os.getpid():  # a forked child writes a document of its own
            self._pid, self._lock, self._saved = os.getpid(), threading.RLock(), None
        checkpoints, random = self._trial.checkpoints, seeds.state_of(self._draws)
        self._tell_if_unhashed()
        with self._lock:
            saved = self._saved or checkpoints.begin(self._identity)
            saved, writes = checkpoints.saving(
                self._identity, saved, state, random, keep, self._logged.document()
            )
            try:
                self._trial.commit(writes)
            except Exception as error:  # of the store, which is not the step's business
                self._warn(f"{self._where} goes on, but a checkpoint was not kept: {error}")
                return
            self._saved, self._trial.checkpointed = saved, True
        checkpoints.discard(saved.dropped)

    def resume(self, default: Any) -> Any:
        """The newest state that can be read; see :meth:`CurrentTrial.resume_state`."""
        self._tell_if_unhashed()
        for checkpoint in self._find():
            try:
                state, random = checkpoint.open()
                seeds.restore(self._draws, random)
            except (DaskperimentError, OSError) as error:
                self._warn(f"{self._where} passes over {self._told(checkpoint)}: {error}")
                continue
            logger.info("Step %r goes on from %s", self._identity.step, self._told(checkpoint))
            self.resumed_from = checkpoint.trial
            self._trial.checkpointed = True  # also this one is to be removed at the end
            self._carry(checkpoint)
            return state
        return default

    def _carry(self, checkpoint: Checkpoint) -> None:
        """Bring along what the call had logged before."""
        if checkpoint.logged is None or checkpoint.trial == self._trial.uid:
            return
        with self._trial.recording():
            source, place = checkpoint.place, (checkpoint.step, checkpoint.call)
            records = Steps(source.backend, source.experiment).read(source.uid)
            others = (record for record in records if record.place != place)
            found = carry(checkpoint.logged, source, self._trial.ticket.place, others)
            self._trial.carry(found)
            self._logged.carried(found)
            for name in found.missing:
                told = self._told(checkpoint)
                logger.warning("Not carried along with %s: %s", told, name)

    def _find(self) -> list[Checkpoint]:
        try:
            return self._trial.checkpoints.find(self._identity, self._trial.attempts.uids)
        except BackendError as error:
            self._warn(
                f"{self._where} begins anew, as its checkpoints cannot be looked for: {error}"
            )
            return []

    def _told(self, checkpoint: Checkpoint) -> str:
        number = None
        with suppress(BackendError):
            trials = Trials(self._trial.backend, self._trial.name)
            number = trials.number_of(checkpoint.trial)
        return told(checkpoint, number)

    @property
    def _where(self) -> str:
        return f"Step {self._identity.step!r} of trial {self._trial.number}"

    def _tell_if_unhashed(self) -> None:
        if self._identity.key is None and not self._told_unhashed:
            self._told_unhashed = True
            reason = self._unhashed or "its code has no fingerprint"
            self._warn(f"{self._where} leaves checkpoints that no trial will find: {reason}")

    def _warn(self, message: str) -> None:
        text = scrub(message)
        logger.warning("%s", text)
        with suppress(DaskperimentWarning):  # made an error, it would end the step
            warnings.warn(text, DaskperimentWarning, stacklevel=5)
