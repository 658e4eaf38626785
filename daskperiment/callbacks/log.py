"""A callback that tells of batches and trials in the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from daskperiment.callbacks import texts
from daskperiment.callbacks.base import BatchView, Callback

if TYPE_CHECKING:
    from daskperiment.trial import Trial


class LogTrials(Callback):
    """Logs one line for each trial that has ended, and for the beginning and end of a batch.

    A line holds parameters, state, duration and result; that of a trial that has failed is an
    error, and tells by what.

    Parameters
    ----------
    logger : logging.Logger, optional
        Where to; default the logger ``daskperiment.callbacks.log``.
    level : int
        Level of the lines that are no errors.

    Examples
    --------
    >>> import sys
    >>> from daskperiment import Experiment
    >>> own = logging.getLogger("doc_log_trials")
    >>> own.addHandler(logging.StreamHandler(sys.stdout))
    >>> own.setLevel(logging.INFO)
    >>> ex = Experiment("doc_log_trials", backend="memory://", callbacks=[LogTrials(own)])
    >>> @ex.result
    ... def half(a):
    ...     return a / 2
    >>> half(ex.parameter("a", default=3)).compute()
    Trial 1 of 'doc_log_trials', with a=3: COMPLETE in ... s: 1.5
    1.5
    """

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.INFO) -> None:
        self.logger = logger or logging.getLogger(__name__)
        self.level = level

    def before_batch(self, *, batch: BatchView) -> None:
        """Tell what begins."""
        self.logger.log(self.level, "%s", texts.batch_begins(batch))

    def after_batch(self, *, batch: BatchView) -> None:
        """Tell how it has ended."""
        self.logger.log(self.level, "%s", texts.batch_ended(batch))

    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        """Tell how it has ended."""
        ended = "" if batch is None else f"[{batch.done + batch.failed}/{batch.total}] "
        level = logging.ERROR if trial.state in texts.FAILURES else self.level
        self.logger.log(level, "%s%s", ended, texts.trial_ended(trial))
