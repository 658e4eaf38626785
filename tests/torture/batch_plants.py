"""Planted bugs of batches; see `tests.torture.plants`."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from typing import Any

from daskperiment.execution import attempt, batch, workers
from daskperiment.execution.attempt import Ended
from daskperiment.execution.carrying import CarryingBackend
from daskperiment.history.finished import Finished
from daskperiment.history.trials import Trials
from tests.torture.plants import plant


@plant("finished-runs-again")
def _finished_runs_again() -> None:
    """A batch that goes on begins from the start."""
    Finished.take = lambda self, parameters, seed: None  # type: ignore[method-assign]


@plant("workers-outlive")
def _workers_outlive() -> None:
    """A worker process looks for its driver between two trials only."""
    workers._end_with = lambda pipe, busy: None


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
    attempt._once = lambda work, task: attempt._Attempt(work, task).run()


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
