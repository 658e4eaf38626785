"""What a callback may implement, and the batch that it sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from daskperiment.records import Number

if TYPE_CHECKING:
    from daskperiment.trial import Trial

ELSEWHERE = ("before_step", "after_step", "on_metric")
"""Hooks that are called where a step runs, which may be in another process."""
HOOKS = ("before_batch", "after_batch", "before_trial", "after_trial", *ELSEWHERE)
"""Every hook."""


class BatchView(Protocol):
    """A running batch, as callbacks see it.

    Each of its places is in one of five states, and ``total`` is their number: waiting, running,
    done (COMPLETE or PRUNED), failed (for good: FAILED, CRASHED or CANCELLED), or skipped (an
    earlier trial stands for it).
    """

    @property
    def experiment(self) -> str:
        """Id of the experiment."""

    @property
    def total(self) -> int:
        """How many places it has."""

    @property
    def done(self) -> int:
        """How many are complete or pruned, without skipped ones."""

    @property
    def pruned(self) -> int:
        """How many of those that are done are pruned."""

    @property
    def failed(self) -> int:
        """How many have failed and are not run again."""

    @property
    def running(self) -> int:
        """How many run now."""

    @property
    def skipped(self) -> int:
        """For how many an earlier trial stands."""

    @property
    def trials(self) -> Sequence[Trial]:
        """The trials that have ended, in the order in which they ended."""

    @property
    def started(self) -> float:
        """What ``time.monotonic()`` said when it began."""

    def stop(self, reason: str) -> None:
        """Begin no more trials; those that run go on to their ends."""


class Callback:
    """Base of callbacks: every hook does nothing, and a subclass implements those that it needs.

    All arguments are passed by name.  ``batch`` is None for a trial that is not part of one.
    Hooks of batches and trials are called in the process that runs them, one at a time; hooks of
    steps and metrics where the step runs, perhaps by several threads at once, and in another
    process on a copy.  An error is reported once for each hook and fails nothing.

    Examples
    --------
    >>> from daskperiment import Experiment
    >>> from daskperiment.callbacks import Callback
    >>> class Durations(Callback):
    ...     def __init__(self):
    ...         self.steps = []
    ...
    ...     def after_step(self, *, step, call, trial, seconds, error):
    ...         self.steps.append((trial, step, call))
    >>> durations = Durations()
    >>> ex = Experiment("doc_callback", backend="memory://", callbacks=[durations])
    >>> @ex.result
    ... def half(a):
    ...     return a / 2
    >>> half(ex.parameter("a", default=3)).compute()
    1.5
    >>> durations.steps
    [(1, 'half', 0)]
    """

    def before_batch(self, *, batch: BatchView) -> None:
        """Before the first trial of a batch begins."""

    def after_batch(self, *, batch: BatchView) -> None:
        """After the last trial of a batch has ended, however that came about."""

    def before_trial(
        self, *, experiment: str, parameters: Mapping[str, Any], batch: BatchView | None
    ) -> None:
        """Before a trial of an experiment begins; it has no number yet.

        Secrets among the parameters are shown as ``***``.
        """

    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        """After a trial has ended, in whatever state."""

    def before_step(self, *, step: str, call: int, trial: Number) -> None:
        """Before a call of a step; ``trial`` is the number of the trial."""

    def after_step(
        self, *, step: str, call: int, trial: Number, seconds: float, error: BaseException | None
    ) -> None:
        """After a call of a step, with what it has raised, if anything."""

    def on_metric(self, *, name: str, value: int | float, epoch: int | None, trial: Number) -> None:
        """After a step has saved a point of a metric; ``epoch`` is None where none was given."""
