"""The flusher: one thread of a process that writes what its running trials leave waiting."""

from __future__ import annotations

import functools
import os
import queue
import threading
import time
import weakref
from contextlib import suppress
from typing import Protocol, TypeAlias

_PAUSE = 0.2
"""Seconds that something may wait."""
_LONGEST = 10.0
"""Seconds between two attempts while the backend is in trouble."""


class Waiting(Protocol):
    """Something that holds writes back."""

    def flush_behind(self) -> bool:
        """Write what waits; False when it has to be tried again."""


_Queue: TypeAlias = "queue.SimpleQueue[weakref.ref[Waiting]]"


def wake(waiting: Waiting) -> None:
    """Have something flushed 0.2 s from now, unless it is gone by then.

    May be called at any point: from a finalizer, a signal handler, within ``print``.
    """
    reference = weakref.ref(waiting)
    hash(reference)  # as long as it can be computed
    _queue(os.getpid()).put(reference)


@functools.lru_cache(maxsize=1)
def _queue(pid: int) -> _Queue:
    waiting: _Queue = queue.SimpleQueue()
    thread = threading.Thread(
        target=_flush_for_ever, args=(waiting,), name="daskperiment-flusher", daemon=True
    )
    with suppress(RuntimeError):  # the interpreter ends: each writes at the end of its calls
        thread.start()
    return waiting


def _flush_for_ever(waiting: _Queue) -> None:
    pause = _PAUSE
    while True:
        due = {waiting.get(): None}  # one that is in trouble may have been put many times
        time.sleep(pause)
        while not waiting.empty():
            due[waiting.get()] = None
        again = [reference for reference in due if not _flush(reference)]
        pause = min(2 * pause, _LONGEST) if again else _PAUSE
        for reference in again:
            waiting.put(reference)


def _flush(reference: weakref.ref[Waiting]) -> bool:
    waiting = reference()
    return waiting is None or waiting.flush_behind()
