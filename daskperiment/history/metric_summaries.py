"""Metrics of trials in short."""

from __future__ import annotations

from typing import NamedTuple

from daskperiment.backends.base import Backend
from daskperiment.history.metrics import Metrics


class Summary(NamedTuple):
    """A series in short."""

    points: int
    epoch: int
    last: float
    min: float | None
    max: float | None
    spark: list[float | None]


class Summaries:
    """Metrics in short, of one experiment's trials."""

    def __init__(self, backend: Backend, name: str) -> None:
        self._metrics = Metrics(backend, name)

    def summary(self, uid: str) -> dict[str, Summary]:
        """Each series of a trial in short."""
        found = {}
        for name, points in self._metrics.read(uid).items():
            values = [point.value for point in points]
            spark: list[float | None] = [*values[:: max(1, len(values) // 40)][:40]]
            known = [value for value in values if value == value]
            found[name] = Summary(
                len(points),
                points[-1].epoch,
                values[-1],
                min(known, default=None),
                max(known, default=None),
                spark,
            )
        return found
