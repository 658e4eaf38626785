"""Metrics: what a search looks at, and in which direction it is good."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daskperiment.errors import SearchError
from daskperiment.history.ranking import Direction
from daskperiment.history.searches import Tried
from daskperiment.names import check_name
from daskperiment.records import TrialState
from daskperiment.serializers import preview
from daskperiment.typing import Document

RESULT = "result"
"""What the result of a trial is called among metrics."""


@dataclass(frozen=True)
class Metric:
    """One number of each trial.

    Parameters
    ----------
    name : str or None
        A metric: what the result has under this name, or what the trial has saved last; None for
        the result itself.
    direction : {"minimize", "maximize"}
        Which values are good.
    """

    name: str | None
    direction: Direction

    @property
    def title(self) -> str:
        """What it is called where a name is needed."""
        return RESULT if self.name is None else self.name

    def loss(self, value: float) -> float:
        """The value, so that less is better.

        Examples
        --------
        >>> Metric("accuracy", "maximize").loss(0.9)
        -0.9
        """
        return -value if self.direction == "maximize" else value


@dataclass(frozen=True)
class Objective:
    """The metrics of a search.

    Parameters
    ----------
    metrics : tuple of Metric
        All that are shown.
    main : int or None
        Which one it searches by; None for all of them, so that there is no best trial but a
        Pareto set.
    """

    metrics: tuple[Metric, ...]
    main: int | None

    @property
    def sought(self) -> tuple[Metric, ...]:
        """Those that it searches by."""
        return self.metrics if self.main is None else (self.metrics[self.main],)

    @property
    def names(self) -> tuple[str | None, ...]:
        """Names of all metrics."""
        return tuple(metric.name for metric in self.metrics)

    def losses(self, values: Sequence[float | None]) -> tuple[float, ...] | None:
        """Losses of a trial by its values of all metrics; None where one that counts is missing."""
        counting = values if self.main is None else [values[self.main]]
        losses = [
            metric.loss(value)
            for metric, value in zip(self.sought, counting, strict=True)
            if value is not None
        ]
        return tuple(losses) if len(losses) == len(self.sought) else None

    def compared(self, tried: Iterable[Tried]) -> list[tuple[tuple[float, ...], Tried]]:
        """The trials that are COMPLETE and have all losses, with these."""
        complete = (each for each in tried if each.state is TrialState.COMPLETE)
        known = ((self.losses(each.values), each) for each in complete)
        return [(losses, each) for losses, each in known if losses is not None]

    def best(self, tried: Iterable[Tried]) -> Tried | None:
        """The trial with the least loss, of equal ones the first; None where there is none."""
        return min(self.compared(tried), key=lambda each: each[0], default=(None, None))[1]

    def front(self, tried: Iterable[Tried]) -> list[Tried]:
        """The trials that no other one is better than, see :func:`pareto`."""
        known = self.compared(tried)
        return [known[index][1] for index in pareto(losses for losses, _ in known)]

    def document(self) -> Document:
        """It as JSON; :meth:`from_document` makes it again."""
        return {
            "metrics": [[metric.name, metric.direction] for metric in self.metrics],
            "main": self.main,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Objective:
        """The metrics of the document of a search."""
        return cls(tuple(Metric(*each) for each in document["metrics"]), document["main"])


def objective_of(
    metrics: Mapping[str, Any] | None, main_metric: str | None, direction: Any
) -> Objective:
    """The metrics of a search as they are asked for.

    Parameters
    ----------
    metrics : mapping of str to direction, optional
        Metrics with their directions; ``"min"`` and ``"max"`` will do.  Without it, the result.
    main_metric : str, optional
        The one that it searches by; default the only one, or all.
    direction : {"minimize", "maximize"}, optional
        That of the result, where no metrics are given; default ``"minimize"``.

    Raises
    ------
    SearchError
        There is no such direction or main metric, or both metrics and a direction are given.

    Examples
    --------
    >>> objective_of({"loss": "min", "accuracy": "max"}, "loss", None).sought
    (Metric(name='loss', direction='minimize'),)
    >>> objective_of(None, None, "maximize").sought
    (Metric(name=None, direction='maximize'),)
    """
    if metrics is None:
        if main_metric is not None:
            raise SearchError(
                f"main_metric={main_metric!r} is one of metrics=, of which none are given: "
                f"metrics={{{main_metric!r}: 'minimize'}}"
            )
        return Objective((Metric(None, _direction(direction or "minimize")),), 0)
    if direction is not None:
        raise SearchError("Each of metrics= has its own direction: leave out direction=")
    if not isinstance(metrics, Mapping) or not metrics:
        raise SearchError(
            "metrics is a mapping of names to directions, such as {'loss': 'minimize'}, not "
            f"{preview(metrics, 80)}"
        )
    found = tuple(
        Metric(None if name == RESULT else check_name(name, "Metric"), _direction(each))
        for name, each in metrics.items()
    )
    titles = [metric.title for metric in found]
    if main_metric is not None and main_metric not in titles:
        raise SearchError(f"main_metric is one of {', '.join(titles)}, not {main_metric!r}")
    alone = 0 if len(found) == 1 else None
    return Objective(found, alone if main_metric is None else titles.index(main_metric))


def _direction(given: Any) -> Direction:
    known: dict[Any, Direction] = {
        "minimize": "minimize", "min": "minimize", "maximize": "maximize", "max": "maximize"
    }  # fmt: skip
    found = known.get(given) if isinstance(given, str) else None
    if found is None:
        raise SearchError(f"direction is 'minimize' or 'maximize', not {preview(given, 80)}")
    return found


def pareto(losses: Iterable[Sequence[float]]) -> list[int]:
    """Positions of those that no other one is better than: as good everywhere, better somewhere.

    Examples
    --------
    >>> pareto([(1, 3), (2, 2), (3, 3), (1, 3)])
    [0, 1, 3]
    """
    known = [tuple(each) for each in losses]
    order = sorted(range(len(known)), key=known.__getitem__)
    front: list[int] = []
    for index in order:
        if not any(_dominates(known[other], known[index]) for other in front):
            front.append(index)
    return sorted(front)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
