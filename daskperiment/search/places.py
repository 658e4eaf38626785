"""The places of a search that one of several batches has."""

from __future__ import annotations

import time
from typing import NamedTuple

from daskperiment.history import liveness
from daskperiment.history.claims import Claims
from daskperiment.history.searches import QUEUED
from daskperiment.search.queue import Queue

_AHEAD = 0.5
"""Seconds of work for which places are taken in one write, so that short trials wait for few."""


_TRUSTED = liveness.GRACE / 2
"""Seconds for which what was taken is known to be this batch's, as others may take it for dead."""


class Place(NamedTuple):
    """A place that was asked for.

    Parameters
    ----------
    mine : bool
        Whether it is this batch's.
    queued : object
        The position in the queue that is tried there, if it is one.
    anew : bool
        Whether nobody has had it before.
    """

    mine: bool
    queued: object = None
    anew: bool = True


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

    def take(self, place: int, limit: float, again: bool = False) -> Place:
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
            return Place(True)
        while not again and (position := self._queue.next) is not None:
            # In one write: others count their suggestions by which places are of the queue.
            if self._claims.take_all([str(place), f"queue-{position}"], **{QUEUED: position}):
                return Place(True, position)
            if self._claims.get(f"queue-{position}") is None:
                break
            self._queue.pass_over(position)
        if self._take_several(place, limit):
            return Place(True)
        claim = self._claims.get(str(place))
        if claim is not None and self._claims.take_over(str(place), claim):
            return Place(True, claim.get(QUEUED), anew=False)
        return Place(False, None if claim is None else claim.get(QUEUED), anew=False)

    def ended(self) -> None:
        """Let it know that a trial has ended, by which it knows how short they are."""
        self._ended += 1

    def _take_several(self, place: int, limit: float) -> bool:
        """Take as many as have ended in some time, or only this one."""
        now = time.monotonic()
        pace = self._ended / max(now - self._at, 1e-9)
        several = max(1, int(min(pace * _AHEAD, 2 * self._several, limit - place)))
        self._at, self._ended, self._several = now, 0, several
        ahead = range(place + 1, place + several)
        if self._claims.take_all(map(str, [place, *ahead])):
            self._ahead.update(ahead)
            return True
        return bool(ahead) and self._claims.take_all([str(place)])
