"""Planted bugs of batches; see `tests.torture.plants`."""

from __future__ import annotations

from daskperiment.execution import workers
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
