"""The best of an experiment's trials."""

from __future__ import annotations

from collections.abc import Iterator
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

    Raises
    ------
    BackendError
        The metric cannot be read.
    """
    value: object = None
    if row["state"] == TrialState.COMPLETE and metric is None and "result" in row:
        value = trials.place(row["uid"]).shown(("result",), row["result"])
    elif row["state"] == TrialState.COMPLETE and metric is not None:
        points = metrics.Metrics(trials.backend, trials.name).read(row["uid"]).get(metric)
        value = points[-1].value if points else None
    try:
        number = metrics.check_value(value)
    except TypeError:
        return None
    return number if number == number else None


def _scores(trials: Trials, metric: str | None) -> Iterator[tuple[int, float]]:
    with trials.mirror.columns() as columns:
        complete = columns.positions({TrialState.COMPLETE.value}).tolist()
        numbers = [columns.numbers[at] for at in complete]
        asked = columns.standard["Result" if metric is None else "Uid"]
        found = [asked[at] for at in complete]
    read = metrics.Metrics(trials.backend, trials.name)
    for number, value in zip(numbers, found, strict=True):
        if metric is not None:
            points = read.read(value).get(metric)
            value = points[-1].value if points else None
        try:
            score = metrics.check_value(value)
        except TypeError:
            continue
        if score == score:
            yield number, score
