"""Rules that end a search."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Literal

from daskperiment.errors import SearchError
from daskperiment.history.ranking import number
from daskperiment.search.objective import Objective
from daskperiment.serializers import preview
from daskperiment.typing import Document

logger = logging.getLogger(__name__)

OnStop = Literal["finish", "cancel"]


@dataclass(frozen=True)
class Rules:
    """When a search ends before it has all its trials.

    Parameters
    ----------
    target : float, optional
        The value of the metric that is good enough.
    patience : int, optional
        After how many trials that have not been better than the best one.
    delta : float
        By how much a value must be better than the best one to count.
    """

    target: float | None = None
    patience: int | None = None
    delta: float = 0.0

    def __post_init__(self) -> None:
        for name in ("target", "delta"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or number(value) is None):
                raise SearchError(f"{name} is a number, not {preview(value, 80)}")
        if not self.delta >= 0:
            raise SearchError(f"delta is a number from 0 on, not {self.delta!r}")
        check_count("patience", self.patience)

    def document(self) -> Document:
        """They as JSON."""
        return {"target": self.target, "patience": self.patience, "delta": self.delta}


def check_count(name: str, value: int | None) -> int | None:
    """Return an integer from 1 on, or None, or raise SearchError."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise SearchError(f"{name} is an integer from 1 on, not {preview(value, 80)}")
    return value


@dataclass
class Watch:
    """What has become of a search by its rules: told of one trial after the other.

    Parameters
    ----------
    rules : Rules
        The rules.
    objective : Objective
        Its metrics.

    Raises
    ------
    SearchError
        A rule compares, and there are several metrics to search by.
    """

    rules: Rules
    objective: Objective
    reason: str | None = None
    _best: float | None = None
    _since: int = field(default=0)

    def __post_init__(self) -> None:
        compares = self.rules.target is not None or self.rules.patience is not None
        if compares and len(self.objective.sought) > 1:
            raise SearchError(
                "target= and patience= compare by one metric, and there are several: name the "
                "main_metric"
            )

    def tell(self, losses: tuple[float, ...] | None) -> None:
        """Take in the losses of a trial that has ended; ``reason`` says then why to end, if so."""
        if losses is None or self.reason is not None or len(losses) > 1:
            return
        (loss,) = losses
        (metric,) = self.objective.sought
        target = None if self.rules.target is None else metric.loss(self.rules.target)
        if target is not None and loss <= target:
            value, wanted = metric.loss(loss), self.rules.target
            self.reason = f"a trial has reached {value:g}, and {wanted:g} was wanted"
        if self._best is None or self._best - loss > self.rules.delta:
            self._best, self._since = loss, 0
            return
        self._since += 1
        if self.rules.patience is not None and self._since >= self.rules.patience:
            by = f" by more than {self.rules.delta:g}" if self.rules.delta else ""
            self.reason = (
                f"{self._since} trials have not been better{by} than the best one, "
                f"{metric.loss(self._best):g}"
            )
