"""The heart: one thread of a process that shows other machines that its trials are alive."""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import suppress

from daskperiment import platform
from daskperiment.backends.base import Backend
from daskperiment.errors import BackendError
from daskperiment.history import liveness
from daskperiment.history.spooling import SpoolingBackend
from daskperiment.tracking import environment


class _Heart:
    """Beats in one store as long as this process lives.

    Also while it runs nothing: others have seen the last beat of a heart that stands still long
    ago, and would take the next trial for dead before it beats again.
    """

    def __init__(self, backend: SpoolingBackend) -> None:
        # Not through the spool: a heartbeat that arrives later says nothing.
        self._backend = backend.inner
        self._heartbeat = liveness.Heartbeat(self._backend, environment.process())
        self._over = threading.Event()
        atexit.register(self._stop)
        threading.Thread(target=self._beat, name="daskperiment-heart", daemon=True).start()

    def _beat(self) -> None:
        while True:
            with suppress(BackendError), self._backend.hurried(0):
                self._heartbeat.beat()
            if self._over.wait(liveness.INTERVAL):
                return

    def _stop(self) -> None:
        self._over.set()
        with suppress(BackendError), self._backend.hurried(0):
            self._heartbeat.stop()


_lock = threading.Lock()
_hearts: dict[tuple[int, str], _Heart] = {}


def beat(backend: Backend) -> None:
    """Beat from now on, in a store that other machines can see.

    Trouble with the store is passed over: whoever cannot see the heart takes what runs here
    for dead after a minute, and its result is accepted all the same.
    """
    if not isinstance(backend, SpoolingBackend) or backend.offline:
        return
    key = os.getpid(), backend.locate("")
    with _lock:
        if key not in _hearts:
            _hearts[key] = _Heart(backend)


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for heart in _hearts.values():
        atexit.unregister(heart._stop)
    _hearts.clear()


platform.at_fork(after_in_child=_in_child)
