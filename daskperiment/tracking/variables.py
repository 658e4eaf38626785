"""Environment variables that a step reads, of which Python has no event.

:func:`watch` puts a note in front of the methods of ``os.environ`` once, for good; it does nothing
while nobody listens.  A read counts where the user's own code asks for a variable by its name:
libraries look at many that are not there.  Going through all of them, as ``dict(os.environ)`` does
and so whoever starts a program, is no read.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, Protocol

from daskperiment import platform
from daskperiment.fingerprint.origin import border

_PASSAGE = frozenset({"os", "_collections_abc", "collections.abc"})
"""Modules that only pass a question on: ``os.getenv``, ``os.environ.get``."""


class Listener(Protocol):
    """Who is told."""

    walked: deque[str]
    """Names that were handed out to who goes through all of them, and may ask for each then."""

    def variable_read(self, name: str, value: str | None) -> None:
        """Note that a variable was read; None where there is none."""

    def variable_written(self, name: str) -> None:
        """Note that a variable was set or deleted."""


def watch(listening: Callable[[], Listener | None]) -> None:
    """Put the notes in place, once per process; ``listening`` tells who listens in a thread."""
    with _lock:
        _watch(listening)


_lock = threading.Lock()
platform.hold_across_fork(_lock)


@lru_cache(maxsize=1)
def _watch(listening: Callable[[], Listener | None]) -> None:
    kind: Any = os._Environ
    get, put, delete, walk = kind.__getitem__, kind.__setitem__, kind.__delitem__, kind.__iter__

    def getitem(self: Any, key: Any) -> Any:
        listener = listening()
        if listener is None:
            return get(self, key)
        try:
            value = get(self, key)
        except KeyError:
            _note(listener, key, None)
            raise
        _note(listener, key, value)
        return value

    def setitem(self: Any, key: Any, value: Any) -> None:
        put(self, key, value)
        if (listener := listening()) is not None:
            listener.variable_written(os.fsdecode(key))

    def delitem(self: Any, key: Any) -> None:
        delete(self, key)
        if (listener := listening()) is not None:
            listener.variable_written(os.fsdecode(key))

    def iterate(self: Any) -> Iterator[Any]:
        if (listener := listening()) is not None:
            listener.walked.clear()
        for key in walk(self):
            if listener is not None:
                listener.walked.append(os.fsdecode(key))
            yield key

    kind.__getitem__, kind.__setitem__ = getitem, setitem
    kind.__delitem__, kind.__iter__ = delitem, iterate


def _note(listener: Listener, key: Any, value: Any) -> None:
    with suppress(Exception):  # of a key that is no text: the step gets its own error
        name, walked = os.fsdecode(key), listener.walked
        if walked and walked[0] == name:
            walked.popleft()
            return
        walked.clear()
        if _own_code_asks():
            listener.variable_read(name, None if value is None else os.fsdecode(value))


def _own_code_asks() -> bool:
    frame = sys._getframe(3)
    while frame.f_back is not None and frame.f_globals.get("__name__") in _PASSAGE:
        frame = frame.f_back
    return border(frame.f_globals.get("__name__")) is None
