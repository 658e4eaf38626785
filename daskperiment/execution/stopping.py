"""Stopping: how a trial that runs in another thread is asked to end."""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TextIO

logger = logging.getLogger(__name__)

GRACE = 5.0
"""Seconds in which a step that was asked to end should have ended."""


class _Stopped(BaseException):
    """What is raised in the thread of the step; whoever stops it says what is seen instead."""


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
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._thread: int | None = None
        self.over = threading.Event()
        """Set when nothing is to be waited for: a step has not ended although it was asked to."""

    def request(self, error: BaseException) -> None:
        """Raise this in the step that runs, or in the place of the next one; the first counts."""
        with self._lock:
            if self._error is None:
                self._error = error
                if self._thread is not None:
                    _raise_in(self._thread, _Stopped)

    @property
    def requested(self) -> BaseException | None:
        """What was asked to be raised."""
        return self._error

    def __enter__(self) -> Stop:
        with self._lock:
            if self._error is not None:
                raise self._error
            self._thread = threading.get_ident()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stopped = kind is _Stopped
        try:
            self._leave()
        except _Stopped:  # it has arrived in here
            stopped = True
            self._leave()
        if stopped:
            assert self._error is not None
            raise self._error.with_traceback(traceback) from None

    def _leave(self) -> None:
        with self._lock:
            if self._thread is not None:
                thread, self._thread = self._thread, None
                if self._error is not None:
                    _raise_in(thread, None)


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
