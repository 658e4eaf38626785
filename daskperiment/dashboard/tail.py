"""Logs in memory, of which only what is new is read."""

from __future__ import annotations

import threading
from collections import OrderedDict

from daskperiment.backends.base import Backend
from daskperiment.history.news import news
from daskperiment.typing import JSON

_MOST = 32
"""Logs that are held."""


class Tail:
    """Logs of a backend, those that were asked for last.

    May be used by many threads.

    Parameters
    ----------
    backend : Backend
        Where they are.

    Examples
    --------
    >>> from daskperiment.backends.memory import MemoryBackend
    >>> backend = MemoryBackend()
    >>> tail = Tail(backend)
    >>> _ = backend.append("x", [1, 2])
    >>> tail.read("x")
    [1, 2]
    >>> _ = backend.append("x", [3])
    >>> tail.read("x")
    [1, 2, 3]
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._logs: OrderedDict[str, list[JSON]] = OrderedDict()

    def read(self, path: str) -> list[JSON]:
        """All entries of a log; a new list, whose entries must not be changed."""
        with self._lock:
            known = self._logs.get(path, [])
        new = news(self._backend, path, len(known), known[-1] if known else None)
        entries = self._backend.read(path) if new is None else known + new
        with self._lock:
            self._logs[path] = entries
            self._logs.move_to_end(path)
            while len(self._logs) > _MOST:
                self._logs.popitem(last=False)
        return entries
