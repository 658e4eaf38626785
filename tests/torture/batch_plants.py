"""Planted bugs of batches; see `tests.torture.plants`."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future

from daskperiment.execution import batch, workers
from daskperiment.execution.attempt import Ended
from daskperiment.history.finished import Finished
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
