"""Callbacks that stop a batch: no more of its trials begin, and those that run end as ever."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from daskperiment.callbacks.base import BatchView, Callback
from daskperiment.callbacks.scores import (
    check_count,
    check_direction,
    check_number,
    is_better,
    score,
    shown,
)
from daskperiment.history.ranking import Direction

if TYPE_CHECKING:
    from daskperiment.trial import Trial


class StopAfterFailures(Callback):
    """Stops a batch in which as many trials have failed.

    Parameters
    ----------
    n : int
        How many.

    Raises
    ------
    CallbackError
        ``n`` is no integer from 1 on.

    Examples
    --------
    >>> StopAfterFailures(3)
    StopAfterFailures(3)
    """

    def __init__(self, n: int) -> None:
        self.n = check_count("n", n)

    def __repr__(self) -> str:
        return f"StopAfterFailures({self.n})"

    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        """Count."""
        if batch is not None and batch.failed >= self.n:
            trials = "trial has" if batch.failed == 1 else "trials have"
            batch.stop(f"{batch.failed} {trials} failed, and {self.n} were to be the most")


class StopAtScore(Callback):
    """Stops a batch when a trial has reached a score.

    Skipped places count: a batch that an earlier trial has reached it for begins no trial.

    Parameters
    ----------
    score : float
        What is to be reached.
    direction : {"minimize", "maximize"}
        Which end is best.
    metric : str, optional
        Compare its last saved value instead of the result.

    Raises
    ------
    CallbackError
        An argument is none of these.

    Examples
    --------
    >>> StopAtScore(0.95, "maximize")
    StopAtScore(0.95, 'maximize', metric=None)
    """

    def __init__(self, score: float, direction: Direction, metric: str | None = None) -> None:
        self.score = check_number("score", score)
        self.direction = check_direction(direction)
        self.metric = metric

    def __repr__(self) -> str:
        return f"StopAtScore({self.score:g}, {self.direction!r}, metric={self.metric!r})"

    def before_batch(self, *, batch: BatchView) -> None:
        """Look at the trials that stand for skipped places."""
        for trial in batch.trials:
            self.after_trial(trial=trial, batch=batch)

    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        """Compare."""
        reached = None if batch is None else score(trial, self.metric)
        if batch is None or reached is None:
            return
        if not is_better(self.score, reached, self.direction):
            side = "most" if self.direction == "minimize" else "least"
            batch.stop(
                f"Trial {trial.number} has reached {shown(reached)}, and at {side} "
                f"{shown(self.score)} was wanted"
            )


class StopAfterTime(Callback):
    """Stops a batch that has run for some time: no trial begins after it.

    Trials that run then go on; what limits one of these is the timeout of a trial.

    Parameters
    ----------
    seconds : float
        How long.

    Raises
    ------
    CallbackError
        ``seconds`` is no number from 0 on.

    Examples
    --------
    >>> StopAfterTime(3600)
    StopAfterTime(3600)
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = check_number("seconds", seconds, least=0)

    def __repr__(self) -> str:
        return f"StopAfterTime({self.seconds:g})"

    def before_trial(
        self, *, experiment: str, parameters: Mapping[str, Any], batch: BatchView | None
    ) -> None:
        """Look at the clock."""
        self._check(batch)

    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        """Look at the clock."""
        self._check(batch)

    def _check(self, batch: BatchView | None) -> None:
        if batch is not None and time.monotonic() - batch.started >= self.seconds:
            batch.stop(f"the time of {self.seconds:g} s is over")


class StopWithoutImprovement(Callback):
    """Stops a batch in which the best score has not become better for as many trials.

    Trials that have failed, or have no number as their score, do not count.  One object is for
    one batch at a time; it begins anew with each.

    Parameters
    ----------
    trials : int
        After how many.
    delta : float
        By how much a score must be better than the best one so far to be an improvement.
    direction : {"minimize", "maximize"}
        Which end is best.
    metric : str, optional
        Compare its last saved value instead of the result.

    Raises
    ------
    CallbackError
        An argument is none of these.

    Examples
    --------
    >>> StopWithoutImprovement(20, delta=0.001, direction="maximize")
    StopWithoutImprovement(20, delta=0.001, direction='maximize', metric=None)
    """

    def __init__(
        self, trials: int, delta: float = 0.0, *, direction: Direction, metric: str | None = None
    ) -> None:
        self.trials = check_count("trials", trials)
        self.delta = check_number("delta", delta, least=0)
        self.direction = check_direction(direction)
        self.metric = metric
        self._best: float | None = None
        self._since = 0

    def __repr__(self) -> str:
        return (
            f"StopWithoutImprovement({self.trials}, delta={self.delta:g}, "
            f"direction={self.direction!r}, metric={self.metric!r})"
        )

    def before_batch(self, *, batch: BatchView) -> None:
        """Begin anew."""
        self._best, self._since = None, 0

    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        """Compare with the best one so far."""
        value = None if batch is None else score(trial, self.metric)
        if batch is None or value is None:
            return
        if self._best is None or is_better(value, self._best, self.direction, self.delta):
            self._best, self._since = value, 0
            return
        self._since += 1
        if self._since >= self.trials:
            by = f" by more than {shown(self.delta)}" if self.delta else ""
            batch.stop(
                f"{self._since} trials have not been better{by} than the best one, "
                f"{shown(self._best)}"
            )
