"""Shards: the part of a batch that each of several computers runs, and what becomes of the rest."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from daskperiment.errors import BatchArgumentError
from daskperiment.history.batches import Batches
from daskperiment.history.claims import Claims
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState
from daskperiment.serializers import preview
from daskperiment.tracking import environment

if TYPE_CHECKING:
    from daskperiment.execution.jobs import Job

logger = logging.getLogger(__name__)

_PAUSE = 1.0
"""Seconds between two looks at what the other computers do."""

Shard = tuple[int, int]


def check_shard(shard: Any) -> Shard | None:
    """Return which part of how many, or raise BatchArgumentError.

    Examples
    --------
    >>> check_shard("0/3"), check_shard((2, 3)), check_shard(None)
    ((0, 3), (2, 3), None)
    """
    if shard is None:
        return None
    try:
        part, parts = shard.split("/") if isinstance(shard, str) else shard
        if isinstance(part, (bool, float)) or isinstance(parts, (bool, float)):
            raise TypeError
        chosen = int(part), int(parts)
    except (TypeError, ValueError, AttributeError):
        chosen = 0, 0
    if not 0 <= chosen[0] < chosen[1]:
        raise BatchArgumentError(
            "shard says which part of how many, from 0 on: (0, 3), (1, 3) and (2, 3) on three "
            f"computers, as text 0/3; not {preview(shard)}"
        )
    return chosen


class Share:
    """The places of a batch that this computer runs, and takes over where another one is dead.

    Parameters
    ----------
    history : Trials
        Where the trials of all of them are recorded.
    jobs : sequence of Job
        The whole batch.
    shard : tuple of int
        Which part of how many.
    plan : str
        What the batches of all computers have in common.
    batch : str
        That of this one.
    """

    def __init__(
        self, history: Trials, jobs: Sequence[Job], shard: Shard, plan: str, batch: str
    ) -> None:
        self.plan = plan
        self._history = history
        self._batches = Batches(history.backend, history.name)
        self._jobs = jobs
        self._part, self._parts = shard
        self._batch = batch
        self._known: set[str] = set()
        self._done: set[int] = set()
        self._claims = Claims(history.backend, history.name, plan, batch, environment.process())

    def take(self, place: int) -> bool:
        """Whether a place is this computer's to run; atomic."""
        mine, _, before = self._claims.take(str(place))
        return mine and (before is None or not self._is_done(place, before))

    def taken_over(self) -> list[Job]:
        """Wait for the other computers, and return what one that is dead has left undone.

        Empty as soon as all that have begun are done.
        """
        waits = False
        while True:
            known = {row["shard"]: row for _, row in self._others()}
            dead = [shard for shard, row in known.items() if row["state"] == "CRASHED"]
            if jobs := [job for job in self._left(dead) if self.take(job.place)]:
                logger.info("Taking over %s trials of a computer that is gone", len(jobs))
                self._batches.update(self._batch, {"waiting": False})
                return jobs
            running = [row for row in known.values() if row["state"] == "RUNNING"]
            if all(row.get("waiting") for row in running):
                return []
            if not waits:
                self._batches.update(self._batch, {"waiting": True})
                waits = True
            time.sleep(_PAUSE)

    def _others(self) -> list[tuple[str, Any]]:
        found = list(self._batches.find({"plan": self.plan}))
        mine = f"{self._part}/{self._parts}"
        # Of the same shard the last one counts, and they come last first.
        return [each for each in reversed(found) if each[1].get("shard") != mine]

    def _is_done(self, place: int, batch: str) -> bool:
        """Whether a place is done, which a batch has had that runs no more."""
        if batch not in self._known:  # and what is read after its end is all that it has done
            self._done, _ = self._tried()
            self._known.add(batch)
        return place in self._done

    def _tried(self) -> tuple[set[int], dict[int, str]]:
        """The places that are done, and of each that was begun the last attempt."""
        done, last = set(), {}
        for _, row in self._history.find({"plan": self.plan}, ["place", "state", "uid"]):
            last[row["place"]] = row["uid"]
            if TrialState(row["state"]).done:
                done.add(row["place"])
        return done, last

    def _left(self, shards: Sequence[str]) -> list[Job]:
        if not shards:
            return []
        parts = {int(shard.partition("/")[0]) for shard in shards}
        done, last = self._tried()
        left = [
            job
            for job in self._jobs
            if job.place % self._parts in parts and job.place not in done and not job.ended
        ]
        for job in left:
            job.before = last.get(job.place)
        return left
