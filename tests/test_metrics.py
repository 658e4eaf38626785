"""Metrics: series of numbers that steps save and users read as tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest

from daskperiment import (
    Experiment,
    InvalidNameError,
    MetricNotFoundError,
    TrialIDNotFoundError,
)

# Steps are made from a function that each test gives: their code differs on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::daskperiment.CodeChangedWarning")


def trial(ex: Experiment, log: Callable[[], Any]) -> Any:
    """Run one trial whose only step calls a function, and give the trial."""

    @ex.result
    def run() -> int:
        log()
        return 1

    run().compute(scheduler="synchronous")
    return ex.latest


def points(trial: Any) -> dict[str, list[tuple[int, float]]]:
    return {name: [point[:2] for point in series] for name, series in trial.metrics.items()}


# -- saving --


def test_each_way_of_saving_adds_a_point(ex: Experiment) -> None:
    def log() -> None:
        ex.save_metric("loss", 0, 3.0)
        ex.save_metric("loss", epoch=1, value=2.0)
        ex.log_metric("loss", 1.0, epoch=2)
        ex.log_metric("loss", 0.5, step=3)
        ex.log_metrics({"loss": 0.25, "acc": 0.9}, epoch=4)
        ex.log_metrics({"loss": 0.125, "acc": 0.95}, step=5)
        ex.log_metrics({})

    assert points(trial(ex, log)) == {
        "loss": [(0, 3.0), (1, 2.0), (2, 1.0), (3, 0.5), (4, 0.25), (5, 0.125)],
        "acc": [(4, 0.9), (5, 0.95)],
    }


def test_without_an_epoch_each_metric_counts_up_from_its_last(ex: Experiment) -> None:
    def log() -> None:
        ex.log_metric("a", 1)
        ex.log_metrics({"a": 2, "b": 3})
        ex.log_metric("b", 4, epoch=10)
        ex.log_metrics({"a": 5, "b": 6})

    assert points(trial(ex, log)) == {
        "a": [(0, 1), (1, 2), (2, 5)],
        "b": [(0, 3), (10, 4), (11, 6)],
    }


def test_counting_goes_on_from_step_to_step(ex: Experiment, scheduler: Any) -> None:
    @ex
    def epoch(n: int) -> int:
        ex.log_metric("loss", n)
        return n + 1

    @ex.result
    def last(n: int) -> int:
        ex.log_metric("loss", n)
        return n

    last(epoch(epoch(0))).compute(scheduler=scheduler)

    assert points(ex.latest) == {"loss": [(0, 0), (1, 1), (2, 2)]}


def test_a_point_knows_when_it_was_saved(ex: Experiment) -> None:
    (point,) = trial(ex, lambda: ex.log_metric("loss", 0.5)).metrics["loss"]

    assert (point.epoch, point.value) == (0, 0.5)
    started, finished = ex.latest.started, ex.latest.finished
    assert finished is not None
    assert started.timestamp() <= point.time <= finished.timestamp()


def test_many_points_are_kept_in_order(ex: Experiment) -> None:
    saved = trial(ex, lambda: [ex.log_metric("loss", i / 7) for i in range(1000)])

    assert points(saved) == {"loss": [(i, i / 7) for i in range(1000)]}


NUMBERS: list[tuple[Any, float]] = [
    (1, 1),
    (0.5, 0.5),
    (-0.0, -0.0),
    (math.nan, math.nan),
    (-math.inf, -math.inf),
    (True, 1),
    (2**63 - 1, 2**63 - 1),
    (2**70, 2.0**70),
    (Fraction(1, 4), 0.25),
    (Decimal("0.5"), 0.5),
    (np.float32(0.5), 0.5),
    (np.float64("nan"), math.nan),
    (np.longdouble(0.5), 0.5),
    (np.int8(-3), -3),
    (np.uint64(2**64 - 1), float(2**64 - 1)),
    (np.bool_(True), 1),
    (np.array(0.5), 0.5),
    (np.array([[2]]), 2),
    (pd.Series([0.5]), 0.5),
]


@pytest.mark.parametrize(("value", "kept"), NUMBERS, ids=[f"{v!r:.40}" for v, _ in NUMBERS])
def test_anything_that_is_one_number_is_a_value(ex: Experiment, value: Any, kept: float) -> None:
    ((epoch, found),) = points(trial(ex, lambda: ex.log_metric("m", value)))["m"]

    assert epoch == 0
    assert (type(found), repr(found)) == (type(kept), repr(kept))


NO_NUMBERS: list[Any] = [
    "0.5",
    b"1",
    None,
    1j,
    [1],
    (),
    {},
    np.zeros(2),
    np.array([]),
    np.str_("1"),
    np.datetime64("2026-01-01"),
    10**400,
    object(),
]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=[type(value).__name__ for value in NO_NUMBERS])
def test_what_is_no_number_is_refused(ex: Experiment, value: Any) -> None:
    def log() -> None:
        ex.log_metric("before", 1)
        ex.log_metrics({"good": 1, "bad": value})

    with pytest.raises(TypeError, match="^Metric value must be one number, not .*") as caught:
        trial(ex, log)

    assert str(caught.value).endswith(f" ({type(value).__name__})")
    assert points(ex.latest) == {"before": [(0, 1)]}


@pytest.mark.parametrize(
    ("epoch", "kept"),
    [(0, 0), (-1, -1), (np.int64(7), 7), (np.uint8(7), 7), (np.array(3), 3), (2**62, 2**62)],
)
def test_an_epoch_is_any_integer(ex: Experiment, epoch: Any, kept: int) -> None:
    assert points(trial(ex, lambda: ex.save_metric("m", epoch, 1))) == {"m": [(kept, 1)]}


@pytest.mark.parametrize(
    "epoch", [0.0, 1.5, "1", True, np.bool_(True), np.float64(1), math.nan, [1], 2**70]
)
def test_what_is_no_integer_of_64_bits_is_no_epoch(ex: Experiment, epoch: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="^Epoch must be an integer"):
        trial(ex, lambda: ex.log_metric("m", 1, epoch=epoch))

    assert ex.latest.metrics == {}
    assert ex.latest.state == "FAILED"


NAMES = [
    "loss", "train/loss", "train/loss/0", "a b", "$inc", "a.b", "..", "/", "é🙂", "m" * 250, "%s",
    "'", "__class__",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_any_printable_text(ex: Experiment, name: str) -> None:
    trial(ex, lambda: ex.save_metric(name, 0, 0.5))

    assert list(ex.latest.metrics) == [name]
    assert ex.load_metric(name, 1).loc[0, 1] == 0.5


@pytest.mark.parametrize("name", ["", "m" * 251, "a\nb", "\0", "\ud800", None, 5, b"a"])
def test_any_other_name_is_refused(ex: Experiment, name: Any) -> None:
    with pytest.raises(InvalidNameError, match="^Metric name must be a printable text of 1 to 250"):
        trial(ex, lambda: ex.log_metric(name, 1))
    with pytest.raises(InvalidNameError):
        ex.load_metric(name, 1)


def test_a_failed_trial_keeps_its_metrics(ex: Experiment, scheduler: Any) -> None:
    @ex.result
    def fail() -> None:
        ex.log_metric("loss", 1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail().compute(scheduler=scheduler)

    assert points(ex.latest) == {"loss": [(0, 1)]}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda ex: ex.save_metric("m", 0, 1), "save_metric()"),
        (lambda ex: ex.log_metric("m", 1), "log_metric()"),
        (lambda ex: ex.log_metrics({"m": 1}), "log_metrics()"),
    ],
)
def test_outside_a_step_nothing_is_saved(
    ex: Experiment, call: Callable[[Experiment], None], said: str
) -> None:
    with pytest.raises(TrialIDNotFoundError) as caught:
        call(ex)
    assert str(caught.value) == (
        f"{said} works only inside a step of a running trial of experiment 'example'"
    )


# -- reading --


@pytest.fixture
def three(ex: Experiment) -> Experiment:
    """Three trials: the first two save a loss, at different epochs, the third another metric."""
    trial(ex, lambda: [ex.save_metric("loss", e, 1.0 / (e + 1)) for e in (2, 0, 1)])
    trial(ex, lambda: [ex.save_metric("loss", e, e) for e in (1, 1, 5)])
    trial(ex, lambda: ex.save_metric("acc", 0, 1))
    return ex


def test_one_metric_is_a_table_of_epochs_and_trials(three: Experiment) -> None:
    table = three.load_metric("loss", trial_id=1)

    assert (table.index.name, table.columns.name) == ("Epoch", "Trial ID")
    assert (list(table.index), list(table.columns)) == ([0, 1, 2], [1])
    assert list(table[1]) == [1.0, 0.5, 1.0 / 3]


@pytest.mark.parametrize("ids", [[1, 2], (1, 2), range(1, 3), np.array([1, 2]), {1: "a", 2: "b"}])
def test_several_trials_stand_side_by_side(three: Experiment, ids: Any) -> None:
    table = three.load_metric("loss", ids)

    assert (list(table.index), list(table.columns)) == ([0, 1, 2, 5], [1, 2])
    assert table.loc[1].tolist() == [0.5, 1.0]
    assert table[2].isna().tolist() == [True, False, True, False]


def test_columns_stand_in_the_order_of_the_question(three: Experiment) -> None:
    assert list(three.load_metric("loss", [2, 1]).columns) == [2, 1]


def test_of_several_values_of_an_epoch_the_last_is_shown_and_all_are_kept(ex: Experiment) -> None:
    trial(ex, lambda: [ex.save_metric("loss", 0, value) for value in (3, 1, 2)])

    assert ex.load_metric("loss", 1)[1].tolist() == [2]
    assert points(ex[1]) == {"loss": [(0, 3), (0, 1), (0, 2)]}


def test_an_unknown_metric_is_named(three: Experiment) -> None:
    with pytest.raises(MetricNotFoundError) as caught:
        three.load_metric("los", 1)
    assert "'los' in trial 1" in str(caught.value)
    assert "saved: loss" in str(caught.value)

    with pytest.raises(MetricNotFoundError, match="'acc' in trial 1, 2"):
        three.load_metric("acc", [1, 2])


def test_a_trial_without_the_metric_is_named(three: Experiment) -> None:
    with pytest.raises(TrialIDNotFoundError, match="^Metric 'loss' was not saved in trial 3"):
        three.load_metric("loss", [1, 3])


@pytest.mark.parametrize("ids", [4, 0, -1, True, "1", 1.0, None, [], [1, 4], [1, True], [None]])
def test_a_trial_that_is_none_is_refused(three: Experiment, ids: Any) -> None:
    with pytest.raises(TrialIDNotFoundError):
        three.load_metric("loss", ids)


def test_metrics_can_be_read_while_the_trial_runs(ex: Experiment) -> None:
    seen: list[int] = []

    def log() -> None:
        for value in range(2500):
            ex.log_metric("loss", value)
            if value % 250 == 249:
                seen.append(len(ex.latest.metrics.get("loss", ())))

    trial(ex, log)

    assert seen == sorted(seen)
    assert seen[-1] >= 1000
    assert len(points(ex.latest)["loss"]) == 2500


def test_epoch_and_step_are_not_given_both(memory_ex: Experiment) -> None:
    @memory_ex.result
    def log() -> None:
        memory_ex.log_metric("loss", 1.0, epoch=1, step=2)

    with pytest.raises(TypeError, match="two names of one thing"):
        log().compute()
