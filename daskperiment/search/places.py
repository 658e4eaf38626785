"""The places of a search that one of several batches has."""

from __future__ import annotations

import time

from daskperiment.history import liveness
from daskperiment.history.claims import Claims, Taken
from daskperiment.history.searches import QUEUED
from daskperiment.search.queue import Queue

_AHEAD = 0.5
"""Seconds of work for which places are taken in one write, so that short trials wait for few."""
_TRUSTED = liveness.GRACE / 2
"""Seconds for which what was taken is known to be this batch's, as others may take it for dead."""


class Places:
    """What this batch takes of a search which others may run, too.

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
        self._several = 1
        self._ended = 0
        self._at = time.monotonic()

    def take(self, place: int, limit: float, again: bool = False) -> Taken:
        """Take a place, and some behind it where trials are short.

        Parameters
        ----------
        place : int
            Which one.
        limit : float
            The first one behind the last.
        again : bool
            Whether what is tried there is known, so that it is nothing that waits in the queue.
        """
        if time.monotonic() - self._at > _TRUSTED:
            self._ahead.clear()
        if place in self._ahead:
            self._ahead.discard(place)
            return Taken(True)
        while not again and (position := self._queue.next) is not None:
            # In one write: others count their suggestions by which places are of the queue.
            if self._claims.take_all([str(place), f"queue-{position}"], **{QUEUED: position}):
                return Taken(True, {QUEUED: position})
            if self._claims.get(f"queue-{position}") is None:
                break
            self._queue.pass_over(position)
        return Taken(True) if self._take_several(place, limit) else self._claims.take(str(place))

    def ended(self) -> None:
        """Let it know that a trial has ended, by which it knows how short they are."""
        self._ended += 1

    def _take_several(self, place: int, limit: float) -> bool:
        """Take as many as have ended in some time, if these are more than one."""
        now = time.monotonic()
        pace = self._ended / max(now - self._at, 1e-9)
        several = max(1, int(min(pace * _AHEAD, 2 * self._several, limit - place)))
        self._at, self._ended, self._several = now, 0, several
        ahead = range(place + 1, place + several)
        if not ahead or not self._claims.take_all(map(str, [place, *ahead])):
            return False
        self._ahead.update(ahead)
        return True
