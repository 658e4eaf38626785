"""Metrics: named series of (epoch, value, time) in a trial."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from daskperiment.backends.base import Append, Backend
from daskperiment.errors import MetricNotFoundError, TrialIDNotFoundError
from daskperiment.history import paths
from daskperiment.names import check_name as check_text
from daskperiment.serializers import preview
from daskperiment.typing import JSON

if TYPE_CHECKING:
    import pandas as pd

_LARGEST = 2**63 - 1


Entry: TypeAlias = tuple[int | None, int | float, float]
"""A value to be saved: its epoch, None for the one after the last, the number, and the time."""


class Point(NamedTuple):
    """One saved value: its epoch, the number and the Unix time when it was saved."""

    epoch: int
    value: int | float
    time: float


def check_name(name: object) -> str:
    """Return a metric name, or raise InvalidNameError.

    Any printable text up to 250 characters is a name, such as ``train/loss``.
    """
    return check_text(name, "Metric", example="train/loss")


def check_epoch(epoch: object) -> int:
    """Return an epoch as int, or raise TypeError."""
    try:
        if isinstance(epoch, bool):
            raise TypeError
        number = operator.index(epoch)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"Epoch must be an integer, not {preview(epoch, 80)} ({type(epoch).__name__})"
        ) from None
    if abs(number) > _LARGEST:
        raise ValueError(f"Epoch must be an integer of at most 64 bits, not {preview(number, 80)}")
    return number


def check_value(value: Any) -> int | float:
    """Return a metric value as a Python number: numbers and whatever has one ``item()``.

    An integer beyond 64 bits becomes a float.  Text is refused, also when it spells a number.
    """
    if type(value) is float:
        return value
    try:
        number = value.item() if hasattr(value, "item") else value
        if isinstance(number, (str, bytes, bytearray)):
            raise TypeError
        if isinstance(number, int) and abs(number) <= _LARGEST:
            return int(number)
        return float(number)
    except Exception:
        raise TypeError(
            f"Metric value must be one number, not {preview(value, 80)} ({type(value).__name__})"
        ) from None


def series_of(entries: Iterable[JSON]) -> dict[str, list[Point]]:
    """The series that the entries of a trial's log hold, each in the order of its points."""
    series: dict[str, list[Point]] = {}
    for batch in entries:
        for name, columns in batch.items():
            points = series.setdefault(name, [])
            for epoch, value, time in zip(*columns, strict=True):
                following = points[-1].epoch + 1 if points else 0
                points.append(Point(following if epoch is None else epoch, value, time))
    return series


class Metrics:
    """Metric series of one experiment's trials."""

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self.name = name

    def writing(self, uid: str, points: Mapping[str, Sequence[Entry]]) -> Append:
        """The write that adds a batch of points: one entry of the log, whatever its length."""
        batch = {
            name: [list(column) for column in zip(*p, strict=True)] for name, p in points.items()
        }
        return Append(paths.metrics(self.name, uid), [batch])

    def read(self, uid: str) -> dict[str, list[Point]]:
        """All series of a trial, each in the order in which its points were saved."""
        return series_of(self.backend.read(paths.metrics(self.name, uid)))

    def frame(self, name: str, trials: Mapping[int, str]) -> pd.DataFrame:
        """One metric of several trials side by side.

        Parameters
        ----------
        name : str
            The metric.
        trials : mapping of int to str
            Uid by trial number.

        Returns
        -------
        DataFrame
            Index ``Epoch``; a column for each trial, the axis named ``Trial ID``; NaN where
            a trial has no value.  Of several values of one epoch the last one is shown.

        Raises
        ------
        MetricNotFoundError
            None of the trials has the metric.
        TrialIDNotFoundError
            Some of the trials have it, but not all.
        """
        import pandas as pd

        saved = {number: self.read(uid) for number, uid in trials.items()}
        missing = [number for number, series in saved.items() if name not in series]
        if len(missing) == len(saved):
            known = dict.fromkeys(other for series in saved.values() for other in series)
            raise MetricNotFoundError(
                f"Unable to find saved metric with specified key: {name!r} in trial "
                f"{', '.join(map(str, saved))}; saved: {', '.join(known) or 'none'}"
            )
        if missing:
            raise TrialIDNotFoundError(
                f"Metric {name!r} was not saved in trial {missing[0]}; leave that trial out"
            )
        columns = {
            number: pd.Series({point.epoch: point.value for point in series[name]})
            for number, series in saved.items()
        }
        table = pd.concat(columns, axis=1).sort_index()
        return table.rename_axis(index="Epoch", columns="Trial ID")
