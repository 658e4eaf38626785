"""Stopping: how a trial that runs in another thread is asked to end."""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TextIO

logger = logging.getLogger(__name__)

_TRY, _PAUSE = 0.02, 0.2
"""Seconds for which the exception waits in a step, and before it is tried again."""
GRACE = 5.0
"""Seconds in which a step that was asked to end should have ended."""


class _Stopped(BaseException):
    """What is raised in the thread of the step; whoever stops it says what is seen instead."""

    def __init__(self) -> None:
        # An instance is made as soon as a handler of the step's, or ours, sees it.
        _arrived.add(threading.get_ident())


class _Nothing(BaseException):
    """What is raised in the thread that stops another one, for nobody."""


_arrived: set[int] = set()
"""Threads whose step was stopped, and may be cleaning up behind itself."""


class Stop:
    """The request to end what a thread runs for a trial; a context that surrounds each step.

    Python raises an exception in another thread only between two of its instructions, so a step
    that waits in C, for a lock, a server or a long computation, ends when that is over.

    Examples
    --------
    >>> stop = Stop()
    >>> stop.request(TimeoutError("too long"))
    >>> with stop:
    ...     pass
    Traceback (most recent call last):
        ...
    TimeoutError: too long

    Notes
    -----
    The exception is never left waiting for a thread that does not take it: as long as one waits,
    Python 3.11 does not go on in any thread that is profiled or traced.  It is taken back, and
    tried again a moment later.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._thread: int | None = None
        self._raised = False
        self._left = threading.Event()
        self.over = threading.Event()
        """Set when nothing is to be waited for: a step has not ended although it was asked to."""

    def request(self, error: BaseException) -> None:
        """Raise this in the step that runs, or in the place of the next one; the first counts."""
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            if self._thread is None:
                return
        threading.Thread(target=self._insist, name="daskperiment-stop", daemon=True).start()

    @property
    def requested(self) -> BaseException | None:
        """What was asked to be raised."""
        return self._error

    def _insist(self) -> None:
        while self._raise():
            if self._left.wait(_TRY) or self._take_back() or self._left.wait(_PAUSE):
                return

    def _raise(self) -> bool:
        with self._lock:
            if self._thread is None:
                return False
            self._raised = True
            _raise_in(self._thread, _Stopped)
            return True

    def _take_back(self) -> bool:
        """Take it back; True where it has arrived, or the step has ended."""
        with self._lock:
            if self._thread is None or self._thread in _arrived:
                return True
            _raise_in(self._thread, None)
            self._raised = False
        # Python notes that one waits somewhere, and forgets it only when one arrives.
        with suppress(_Nothing):
            _raise_in(threading.get_ident(), _Nothing)
            _let_arrive()
        return False

    def __enter__(self) -> Stop:
        with self._lock:
            if self._error is not None:
                raise self._error
            self._thread = threading.get_ident()
            _arrived.discard(self._thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stopped = kind is _Stopped
        try:
            with self._lock:
                self._thread = None
            if self._raised and not stopped:
                _let_arrive()
        except _Stopped:
            self._thread, stopped = None, True
        if self._raised:
            self._left.set()
            _arrived.discard(threading.get_ident())
        if stopped:
            assert self._error is not None
            raise self._error.with_traceback(traceback) from None


def _let_arrive() -> None:
    """Pass some points at which an exception arrives that waits for this thread, if one does."""
    for _ in range(100):
        time.sleep(0)


class Deadline:
    """A time limit for a block in one thread, after which a :class:`Stop` is requested.

    Parameters
    ----------
    stop : Stop
        What is requested.
    seconds : float
        The limit.
    error : BaseException
        What the block raises then.
    last_resort : bool
        Whether a worker process ends itself when the block keeps Python's lock.

    Notes
    -----
    Where the block has not ended :data:`GRACE` later, that is logged and ``stop.over`` is set.
    """

    def __init__(
        self, stop: Stop, seconds: float, error: BaseException, last_resort: bool = False
    ) -> None:
        self._stop = stop
        self._seconds = seconds
        self._error = error
        self._last_resort = last_resort and in_worker
        self._over = threading.Event()

    def __enter__(self) -> None:
        if self._last_resort:
            faulthandler.dump_traceback_later(self._seconds + 3 * GRACE, exit=True, file=_nowhere())
        threading.Thread(target=self._watch, name="daskperiment-deadline", daemon=True).start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._last_resort:
            faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        if not self._over.wait(self._seconds):
            self._stop.request(self._error)
            if not self._over.wait(GRACE):
                logger.warning(
                    "%s It computes outside Python, where a thread cannot be interrupted, and can "
                    "only be abandoned; a process of executor='processes' is ended",
                    self._error,
                )
                self._stop.over.set()


@functools.lru_cache(maxsize=1)
def _nowhere() -> TextIO:
    return Path(os.devnull).open("w")


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    value = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), value)


CURRENT: ContextVar[Stop | None] = ContextVar("daskperiment_stop", default=None)
"""What ends the trial of this thread; None where nobody can."""

in_worker = False
"""Whether this process runs one trial at a time and may be ended.  Where a step keeps Python's
lock, no thread of Python can end it: a thread of `faulthandler`, which needs no lock, does."""

abandoned = threading.Event()
"""Set when a thread of this process was abandoned, so that the process had better end."""

_stops: dict[str, Stop] = {}


@contextmanager
def stoppable(uid: str, stop: Stop) -> Iterator[None]:
    """A block in which :func:`request` reaches the trial of this uid."""
    token = CURRENT.set(stop)
    _stops[uid] = stop
    try:
        yield
    finally:
        _stops.pop(uid, None)
        CURRENT.reset(token)


def request(uid: str, error: BaseException) -> bool:
    """Ask a trial of this process to end; False where it does not run here."""
    stop = _stops.get(uid)
    if stop is not None:
        stop.request(error)
    return stop is not None
