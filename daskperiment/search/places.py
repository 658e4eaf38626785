"""The places of a search that one of several processes has."""

from __future__ import annotations

import math
import time
from contextlib import suppress

from daskperiment.history.claims import Claims
from daskperiment.history.searches import QUEUED
from daskperiment.history.spooling import AWAY
from daskperiment.search.queue import Queue
from daskperiment.typing import Document

_AHEAD = 0.2
"""Seconds of work for which places are taken in one write, so that short trials wait for few."""


class Places:
    """What this process takes of a search which others may run, too.

    Parameters
    ----------
    claims : Claims
        What is taken of it.
    queue : Queue
        What is to be tried first.
    """

    def __init__(self, claims: Claims, queue: Queue) -> None:
        self._claims = claims
        self._queue = queue
        self._ahead: set[int] = set()
        self._several, self._at = 1, -math.inf

    def take(self, place: int, limit: float) -> Document | None:
        """Take a place that nobody has begun, or was left by a process that is gone.

        Parameters
        ----------
        place : int
            Which one.
        limit : float
            The first one behind the last.

        Returns
        -------
        dict or None
            With the position in the queue that is to be tried there, if one is; None where the
            place is another process's.
        """
        if place in self._ahead:
            self._ahead.discard(place)
            return {}
        while (position := self._queue.next) is not None:
            # In one write: others count their suggestions by which places are of the queue.
            if self._claims.take_all([str(place), f"queue-{position}"], **{QUEUED: position}):
                return {QUEUED: position}
            if self._claims.get(str(place)) is not None:
                break
            self._queue.pass_over(position)
        return {} if self._take_several(place, limit) else self._claims.take(str(place))

    def repeat(self, place: int, uid: str) -> bool:
        """Take a place whose attempt was interrupted, whether or not the process of it lives."""
        return self._claims.take(f"{place}-{uid}") is not None

    def is_queued(self, place: int) -> bool:
        """Whether the process that has a place tries something from the queue there."""
        return QUEUED in (self._claims.get(str(place)) or {})

    def close(self) -> None:
        """Leave to others what was taken and has not begun."""
        with suppress(*AWAY):
            self._claims.give_back(map(str, self._ahead))
        self._ahead.clear()

    def _take_several(self, place: int, limit: float) -> bool:
        """Take this place and some behind it, if nobody has any."""
        now = time.monotonic()
        pace = self._several / max(now - self._at, 1e-9)
        several = max(1, int(min(pace * _AHEAD, 2 * self._several, limit - place)))
        places = range(place, place + several)
        taken = self._claims.take_all(map(str, places))
        self._at, self._several = now, several if taken else 1
        self._ahead.update(places[1:] if taken else ())
        return taken
