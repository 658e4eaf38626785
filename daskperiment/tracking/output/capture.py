"""The capture of one step call: takes in what is put out in its context."""

from __future__ import annotations

import logging
import threading
from contextvars import Token
from types import TracebackType
from typing import Protocol, Self

from daskperiment import platform
from daskperiment.tracking.output.hooks import LISTENING, RECEIVER, Receiver
from daskperiment.tracking.output.pieces import Piece, Recording

# One for all captures: a process forks only while nobody holds it.
_LOCK = threading.RLock()
platform.hold_across_fork(_LOCK)

_FORMATTER = logging.Formatter()


class Listener(Protocol):
    """Who takes what is captured."""

    def printed(self, capture: Capture) -> None:
        """Take it soon; this is called within ``print``, which must not wait."""

    def flushed(self) -> None:
        """The step has flushed a stream."""


class Capture:
    """What one step call prints and logs; a context manager around the call.

    Of nested calls the innermost one takes it.  Safe to use from several threads.

    Parameters
    ----------
    place : tuple of str and int
        The step, and which call of it.
    listener : Listener
        Who takes what is captured.
    """

    __slots__ = ("_listener", "_recording", "_token", "place")

    def __init__(self, place: tuple[str, int], listener: Listener) -> None:
        self.place = place
        self._listener = listener
        self._recording: Recording | None = None

    def __enter__(self) -> Self:
        LISTENING.__enter__()
        self._token: Token[Receiver | None] = RECEIVER.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        RECEIVER.reset(self._token)
        LISTENING.__exit__()
        if self._recording is not None:
            with _LOCK:
                self._recording.end()
            self._listener.printed(self)

    def take(self) -> list[Piece]:
        """What is new since it was last taken."""
        with _LOCK:
            return self._recorded().take()

    def write(self, stream: str, text: str) -> None:
        """Take in text that was written to a stream."""
        with _LOCK:
            self._recorded().write(stream, text)
        self._listener.printed(self)

    def log(self, record: logging.LogRecord) -> None:
        """Take in a record of a log."""
        message = _message(record)  # by the code of its arguments, which may take any time
        with _LOCK:
            self._recorded().add(("logging", record.name, record.levelname), message)
        self._listener.printed(self)

    def flush(self) -> None:
        """Know that a stream was flushed."""
        self._listener.flushed()

    def leave_to_the_parent(self) -> None:
        """In a forked child: drop what the parent will write."""
        self._recording = None

    def _recorded(self) -> Recording:
        if self._recording is None:
            self._recording = Recording()
        return self._recording


def _message(record: logging.LogRecord) -> str:
    """The message and traceback of a record, which stays as its own handlers left it."""
    try:
        parts = [record.getMessage()]
        if record.exc_info:
            parts.append(record.exc_text or _FORMATTER.formatException(record.exc_info))
        if record.stack_info:
            parts.append(record.stack_info)
        return "\n".join(parts)
    except Exception as error:
        return f"(no message: {type(error).__name__} while it was made)"


def _leave_to_the_parent() -> None:
    receiver = RECEIVER.get()
    if isinstance(receiver, Capture):
        receiver.leave_to_the_parent()


platform.at_fork(after_in_child=_leave_to_the_parent)
