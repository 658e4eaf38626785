"""The step call that runs here: in this thread, or in a context copied from it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daskperiment.execution.step import Running

# Set inside the step itself: context variables do not travel to the workers of a cluster.
CURRENT: ContextVar[Running | None] = ContextVar("daskperiment_current", default=None)


def running_in(experiment: str) -> Running | None:
    """The innermost running step call of an experiment; None outside its trials.

    Steps of other experiments' trials that run inside it are looked through.
    """
    running = CURRENT.get()
    while running is not None and running.trial.name != experiment:
        running = running.outer
    return running
