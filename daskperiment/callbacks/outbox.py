"""An outbox: messages that a thread of its own delivers, and nobody waits for."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from daskperiment import platform
from daskperiment.secrets import scrub
from daskperiment.serializers.preview import preview_error
from daskperiment.typing import Document

logger = logging.getLogger(__name__)

_MOST = 100
"""Messages that wait at a time; with a server that is away, others are lost."""
_PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each attempt to deliver a message."""
_AT_EXIT = 5.0
"""Seconds for which the end of the process waits for all outboxes together."""


class Message(NamedTuple):
    """What somebody is told.

    Parameters
    ----------
    event : str
        What it is about.
    text : str
        One sentence, without secrets.
    document : dict
        The same as facts.
    """

    event: str
    text: str
    document: Document


Send: TypeAlias = Callable[[Message], None]


class Outbox:
    """Delivers messages one after the other, in a thread that begins with the first.

    Each is tried three times within a few seconds.  When the process ends, it waits five seconds
    at most, and one line in the log tells what was not delivered.

    Parameters
    ----------
    name : str
        Where they go to, without secrets.
    send : callable
        Delivers one message or raises.
    is_final : callable
        Whether an error of it means that trying again is of no use.

    Examples
    --------
    >>> outbox = Outbox("here", send=lambda message: print(message.text))
    >>> outbox.put(Message("after_batch", "Done", {}))
    >>> outbox.wait(5)
    Done
    True
    """

    def __init__(
        self,
        name: str,
        send: Send,
        is_final: Callable[[Exception], bool] = lambda error: False,
    ) -> None:
        self.name = name
        self._send = send
        self._is_final = is_final
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what waits: in a process that was forked, it is the parent's to deliver."""
        self._changed = threading.Condition()
        self._waiting: deque[Message] = deque()
        self._running = False
        self._lost: Counter[str] = Counter()
        self._reason = "there was no more time"

    def put(self, message: Message) -> None:
        """Have a message delivered; it is lost where a hundred wait already."""
        _register(self)
        with self._changed:
            full = len(self._waiting) >= _MOST
            if not full:
                self._waiting.append(message)
            if not self._running:
                self._start()
        if full:
            self._lose(message, f"{_MOST} messages wait already")

    def wait(self, seconds: float) -> bool:
        """Wait until none waits; False when the time is over before."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)

    def undelivered(self) -> str | None:
        """What was not delivered up to now, and why, in a few words; None if nothing."""
        with self._changed:
            left = self._lost + Counter(message.event for message in self._waiting)
        if not left:
            return None
        events = ", ".join(f"{count} of {event}" for event, count in sorted(left.items()))
        return f"to {self.name}: {events} ({self._reason})"

    def _start(self) -> None:
        with suppress(RuntimeError):  # the interpreter ends: what waits is told
            threading.Thread(
                target=self._deliver_all, name="daskperiment-outbox", daemon=True
            ).start()
            self._running = True

    def _deliver_all(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._running = False
                    self._changed.notify_all()
                    return
                message = self._waiting[0]
            failed = self._deliver(message)
            with self._changed:
                self._waiting.popleft()
            if failed is not None:
                self._lose(message, preview_error(failed))

    def _deliver(self, message: Message) -> Exception | None:
        failed: Exception | None = None
        for pause in _PAUSES:
            time.sleep(pause)
            try:
                self._send(message)
            except Exception as error:
                failed = error
                if self._is_final(error):
                    break
            else:
                return None
        return failed

    def _lose(self, message: Message, reason: str) -> None:
        with self._changed:
            first = not self._lost
            self._lost[message.event] += 1
            self._reason = scrub(reason)
        if first:
            logger.warning("A message was not delivered to %s: %s", self.name, self._reason)


_used: dict[Outbox, None] = {}


def _register(outbox: Outbox) -> None:
    if not _used:
        atexit.register(_at_the_end, os.getpid())
    _used[outbox] = None


def _leave_to_the_parent() -> None:
    for outbox in list(_used):
        outbox.begin_anew()
    _used.clear()


platform.at_fork(after_in_child=_leave_to_the_parent)


def _at_the_end(pid: int) -> None:
    if pid != os.getpid():
        return
    deadline = time.monotonic() + _AT_EXIT
    for outbox in list(_used):
        outbox.wait(max(0.0, deadline - time.monotonic()))
    told = [told for outbox in list(_used) if (told := outbox.undelivered())]
    _used.clear()
    if told:
        logger.warning("Messages were not delivered %s", "; ".join(told))
