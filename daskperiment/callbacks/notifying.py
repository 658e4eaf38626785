"""What messages to others have in common: which events they tell, and in which words."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from daskperiment.callbacks import texts
from daskperiment.callbacks.base import BatchView, Callback
from daskperiment.callbacks.outbox import Message, Outbox
from daskperiment.callbacks.scores import check_number
from daskperiment.errors import CallbackError
from daskperiment.serializers.preview import preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.trial import Trial

EVENTS = ("before_batch", "after_batch", "after_trial", "failure")
"""What can be told; ``failure`` is the end of a trial that is FAILED or CRASHED."""
DEFAULT = ("before_batch", "after_batch", "failure")


class Notifier(Callback):
    """Base of callbacks that send messages, each by a thread of its own.

    A subclass delivers one message.  Nothing waits for a delivery; one that fails is tried three
    times, and what was not delivered is told in the log, at the latest when the process ends.

    Parameters
    ----------
    events : iterable of str
        What is told: any of :data:`EVENTS`.
    timeout : float
        Seconds for each answer of the server.

    Raises
    ------
    CallbackError
        There is no such event, or the timeout is no number.
    """

    def __init__(self, events: Iterable[str], timeout: float) -> None:
        self.events = _checked(events)
        self.timeout = max(0.001, check_number("timeout", timeout, least=0))
        self._outbox = Outbox(self._place(), self._send, self._is_final)

    @abstractmethod
    def _place(self) -> str:
        """Where messages go to, without secrets."""

    @abstractmethod
    def _send(self, message: Message) -> None:
        """Deliver a message, or raise."""

    @abstractmethod
    def _is_final(self, error: Exception) -> bool:
        """Whether trying again after an error is of no use."""

    def wait(self, seconds: float = 5.0) -> bool:
        """Wait until all messages were delivered or given up; False when the time is over before.

        Parameters
        ----------
        seconds : float
            How long.
        """
        return self._outbox.wait(seconds)

    def before_batch(self, *, batch: BatchView) -> None:
        """Tell what begins."""
        if "before_batch" in self.events:
            self._tell("before_batch", texts.batch_begins(batch), _of_batch(batch))

    def after_batch(self, *, batch: BatchView) -> None:
        """Tell how it has ended."""
        if "after_batch" in self.events:
            self._tell("after_batch", texts.batch_ended(batch), _of_batch(batch))

    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        """Tell how it has ended."""
        event = "failure" if trial.state in texts.FAILURES else "after_trial"
        if event in self.events or "after_trial" in self.events:
            self._tell(event, texts.trial_ended(trial), _of_trial(trial))

    def _tell(self, event: str, text: str, document: Document) -> None:
        told = {"event": event, "text": text, "time": time.time(), **document}
        self._outbox.put(Message(event, text, told))


def _of_batch(batch: BatchView) -> Document:
    counts = ("total", "done", "pruned", "failed", "skipped")
    return {"experiment": batch.experiment, **{name: getattr(batch, name) for name in counts}}


def _of_trial(trial: Trial) -> Document:
    return {
        "experiment": trial.experiment,
        "trial": trial.number if isinstance(trial.number, int) else str(trial.number),
        "uid": trial.uid,
        "state": trial.state.value,
        "parameters": texts.parameters(trial),
        "outcome": texts.outcome(trial),
    }


def _checked(events: Iterable[str]) -> frozenset[str]:
    given = [events] if isinstance(events, str) else list(events)
    for event in given:
        if event not in EVENTS:
            raise CallbackError(
                f"There is no event {preview(event, 80)} to be told: those that there are: "
                f"{', '.join(EVENTS)}"
            )
    return frozenset(given)
