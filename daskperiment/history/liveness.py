"""Liveness: whether a process that ran something is gone, judged by the clock of who asks.

On the same machine the operating system tells.  A process on another one beats: it counts up a
number in the store as long as it runs trials.  Whoever looks keeps what it has seen, and when by
its own clock; a number that stays the same for :data:`GRACE` seconds of that clock is of a process
that is gone.  So clocks of two machines are never compared.
"""

from __future__ import annotations

import time
from contextlib import suppress

from daskperiment import platform
from daskperiment.backends.base import Backend, Insert, Remove, Update
from daskperiment.errors import BackendError, ConflictError
from daskperiment.history import paths
from daskperiment.typing import Document

INTERVAL = 10.0
"""Seconds between two heartbeats."""
GRACE = 60.0
"""Seconds without one after which a process is taken to be gone."""
_NONE = -1


def process_key(owner: Document) -> str:
    """The key of a process's heartbeat."""
    return f"{owner['host']} {owner['boot_id']} {owner['pid']} {owner['started']}"


class Heartbeat:
    """The heartbeat of one process in one store.

    Parameters
    ----------
    backend : Backend
        The store.
    owner : dict
        The process.
    """

    def __init__(self, backend: Backend, owner: Document) -> None:
        self._backend = backend
        self._key = process_key(owner)
        self._count = 0

    def beat(self) -> None:
        """Count up."""
        count = {"count": self._count}
        self._count += 1
        with suppress(ConflictError):
            try:
                self._backend.apply(Update(paths.HEARTBEATS, self._key, count))
            except ConflictError:  # the first one, or others have taken this process for dead
                self._backend.apply(Insert(paths.HEARTBEATS, count, self._key))

    def stop(self) -> None:
        """Remove it: nothing more runs."""
        self._backend.apply(Remove(paths.HEARTBEATS, self._key))


class Liveness:
    """Tells which processes are gone, as far as this machine knows.

    Processes of other machines beat where the store is on a server; of those in other stores
    that were never seen to beat nothing is known.

    Parameters
    ----------
    backend : Backend
        The store that they record in.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._seen: dict[str, tuple[int, float]] = {}

    def is_gone(self, owner: Document) -> bool:
        """Whether a process is gone; unknown counts as no."""
        try:
            alive, key = platform.is_alive(owner), process_key(owner)
        except (KeyError, TypeError, ValueError, OverflowError):  # others have written it
            return False
        if not alive:
            return True
        if owner["host"] == platform.host_name():
            return False
        with suppress(BackendError):
            return self._is_silent(key)
        return False

    def forget(self, owner: Document) -> None:
        """Remove what is kept of the heart of a process that is gone."""
        key = process_key(owner)
        self._seen.pop(key, None)
        self._backend.apply(
            Remove(paths.HEARTBEATS, key), Remove(paths.SIGHTINGS, _sighting_key(key))
        )

    def _is_silent(self, key: str) -> bool:
        beating = self._backend.get(paths.HEARTBEATS, key)
        if beating is None:
            if not self._backend.networked:
                return False
            beating = {"count": _NONE}  # whoever records on a server beats, or died before
        now, place = time.monotonic(), _sighting_key(key)
        seen = self._seen.get(key) or self._sighting(place)
        if seen is None or seen[0] != beating["count"]:
            self._seen[key] = beating["count"], now
            self._keep(place, {"count": beating["count"], "at": now})
            return False
        self._seen[key] = seen
        return now - seen[1] > GRACE

    def _sighting(self, place: str) -> tuple[int, float] | None:
        """What another process of this machine has seen: the clock is that of the machine."""
        kept = self._backend.get(paths.SIGHTINGS, place)
        return None if kept is None else (kept["count"], kept["at"])

    def _keep(self, place: str, sighting: Document) -> None:
        with suppress(BackendError):  # of a store that may only be read
            try:
                self._backend.apply(Insert(paths.SIGHTINGS, sighting, place))
            except ConflictError:
                self._backend.apply(Update(paths.SIGHTINGS, place, sighting))


def _sighting_key(key: str) -> str:
    return f"{key} @ {platform.host_name()} {platform.boot_id()}"
