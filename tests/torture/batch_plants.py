"""Planted bugs of batches; see `tests.torture.plants`."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, Future
from types import SimpleNamespace
from typing import Any

from daskperiment.execution import attempt, batch, workers
from daskperiment.execution.attempt import Ended
from daskperiment.execution.carrying import CarryingBackend
from daskperiment.history import liveness, paths, payloads
from daskperiment.history.finished import Finished
from daskperiment.history.leases import Lease, Leases
from daskperiment.history.liveness import Heartbeat, Liveness
from daskperiment.history.trials import Trials
from tests.torture.plants import plant


@plant("finished-runs-again")
def _finished_runs_again() -> None:
    """A batch that goes on begins from the start."""
    Finished.take = lambda self, parameters, seed: None  # type: ignore[method-assign]


@plant("workers-outlive")
def _workers_outlive() -> None:
    """A worker process looks for its driver between two trials only."""
    workers._end_with = lambda pipe, busy: threading.Event()


@plant("lost-trials-are-nobodys")
def _lost_trials_are_nobodys() -> None:
    """What an executor says of a trial is all that is known of it."""

    def settled(history: object, uid: str, future: Future[Ended]) -> Ended | None:
        try:
            return future.result()
        except CancelledError:
            return None
        except Exception as error:
            return Ended(None, error)

    batch.settled = settled


@plant("joins-who-has-begun")
def _joins_who_has_begun() -> None:
    """Who begins a trial that somebody else begins just then runs it, too."""
    begin = Trials.begin

    def join(
        self: Trials, document: Any, once: bool = False, writes: Any = (), alone: bool = False
    ) -> Any:
        return begin(self, document, once, writes)

    Trials.begin = join  # type: ignore[method-assign]


@plant("runs-twice")
def _runs_twice() -> None:
    """Whoever gets a task runs it."""
    attempt._once = lambda work, task: attempt._Attempt(work, task, task.about["uid"]).run()


@plant("clocks-are-compared")
def _clocks_are_compared() -> None:
    """A heartbeat is the time of day, and so is what it is compared with."""

    def beat(self: Heartbeat) -> None:
        self._count = int(time.time())
        _beat(self)

    def is_silent(self: Liveness, key: str) -> bool:
        found = self._backend.get(paths.HEARTBEATS, key)
        return found is not None and time.time() - found["count"] > liveness.GRACE + 1

    Heartbeat.beat = beat  # type: ignore[method-assign]
    Liveness._is_silent = is_silent  # type: ignore[method-assign]


_beat = Heartbeat.beat


@plant("drivers-do-not-beat")
def _drivers_do_not_beat() -> None:
    """A heart beats in processes that run trials, and not in those that wait for them."""
    batch.heart = SimpleNamespace(beat=lambda backend: None)  # type: ignore[attr-defined]


@plant("carries-nothing")
def _carries_nothing() -> None:
    """What a process records that does not reach its store stays there."""
    CarryingBackend.taken = lambda self: b""  # type: ignore[method-assign]


@plant("cancelled-was-never-begun")
def _cancelled_was_never_begun() -> None:
    """Whatever is cancelled was cancelled by the batch, before it began."""
    end = batch.Batch._end

    def unasked(self: batch.Batch, *arguments: Any) -> None:
        self._cancelled = True
        end(self, *arguments)

    batch.Batch._end = unasked  # type: ignore[method-assign]


@plant("waits-for-the-dead")
def _waits_for_the_dead() -> None:
    """A lease ends when its owner gives it back."""
    Leases._is_over = lambda self, held: False  # type: ignore[method-assign]


@plant("takes-what-is-computed")
def _takes_what_is_computed() -> None:
    """Nobody asks whether somebody else computes it."""
    Leases.take = lambda self, key, trial, owner: Lease(key, "mine")  # type: ignore[method-assign]
    Leases.giving_back = lambda self, lease: []  # type: ignore[method-assign]


@plant("trusts-what-is-stored")
def _trusts_what_is_stored() -> None:
    """Bytes are taken as they are."""
    payloads.fetch = lambda backend, digest, what: backend.fetch(digest)
