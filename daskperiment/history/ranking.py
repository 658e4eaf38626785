"""The best of an experiment's trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

from daskperiment.errors import TrialIDNotFoundError
from daskperiment.history import metrics
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState
from daskperiment.typing import Document

Direction: TypeAlias = Literal["minimize", "maximize"]


def best(trials: Trials, direction: Direction, metric: str | None = None) -> int:
    """Number of the COMPLETE trial with the best result, or the best last value of a metric.

    Raises
    ------
    TrialIDNotFoundError
        No complete trial has a number to compare.
    """
    if direction not in ("minimize", "maximize"):
        raise ValueError(f"direction must be 'minimize' or 'maximize', not {direction!r}")
    scores = dict(_scores(trials, metric))
    if not scores:
        what = "result" if metric is None else f"metric {metric!r}"
        raise TrialIDNotFoundError(f"No complete trial has a number as its {what}")
    choose = min if direction == "minimize" else max
    return choose(scores, key=scores.__getitem__)


def score(trials: Trials, row: Document, metric: str | None = None) -> float | None:
    """What :func:`best` compares of one trial, by its row; None where it is not compared.

    A metric is what the result has under this name, where it is a mapping, else the last value
    that was saved of it.

    Raises
    ------
    BackendError
        The metric cannot be read.
    """
    if row["state"] != TrialState.COMPLETE:
        return None
    result = trials.place(row["uid"]).shown(("result",), row["result"]) if "result" in row else None
    if metric is None:
        return number(result)
    if isinstance(result, Mapping) and metric in result:
        return number(result[metric])
    points = metrics.Metrics(trials.backend, trials.name).read(row["uid"]).get(metric)
    return number(points[-1].value) if points else None


def number(value: object) -> float | None:
    """The value, if it is a number that can be compared; None otherwise.

    Examples
    --------
    >>> number(3), number("3"), number(float("nan"))
    (3, None, None)
    """
    try:
        found = metrics.check_value(value)
    except TypeError:
        return None
    return found if found == found else None


def _scores(trials: Trials, metric: str | None) -> Iterator[tuple[int, float]]:
    with trials.mirror.columns() as columns:
        complete = columns.positions({TrialState.COMPLETE.value}).tolist()
        numbers = [columns.numbers[at] for at in complete]
        results = [columns.standard["Result"][at] for at in complete]
        uids = [columns.standard["Uid"][at] for at in complete]
    read = metrics.Metrics(trials.backend, trials.name)
    for trial, value, uid in zip(numbers, results, uids, strict=True):
        if metric is not None and isinstance(value, Mapping) and metric in value:
            value = value[metric]
        elif metric is not None:
            points = read.read(uid).get(metric)
            value = points[-1].value if points else None
        score = number(value)
        if score is not None:
            yield trial, score
