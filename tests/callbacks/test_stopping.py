"""Callbacks that stop a batch, and say why."""

from __future__ import annotations

import math
from typing import Any

import pytest

from daskperiment import CallbackError, Experiment
from daskperiment.callbacks import (
    StopAfterFailures,
    StopAfterTime,
    StopAtScore,
    StopWithoutImprovement,
)
from tests.callbacks.batches import Batch, inverse


@pytest.fixture
def ex() -> Experiment:
    return Experiment("stopping", backend="memory://")


def ran(ex: Experiment, values: list[float], *callbacks: object) -> Batch:
    """A batch of these values of ``a`` that has ended."""
    return Batch(ex, inverse(ex), [{"a": a} for a in values], *callbacks).run()


def test_a_batch_stops_after_as_many_failures(ex: Experiment) -> None:
    batch = ran(ex, [0, 1, 0, 2, 3], StopAfterFailures(2))

    assert (batch.done, batch.failed) == (1, 2)
    assert batch.reason == "2 trials have failed, and 2 were to be the most"


def test_fewer_failures_stop_nothing(ex: Experiment) -> None:
    batch = ran(ex, [0, 1, 0, 2, 3], StopAfterFailures(3))

    assert (batch.done, batch.failed, batch.reason) == (3, 2, None)


def test_a_batch_stops_when_a_score_is_reached(ex: Experiment) -> None:
    batch = ran(ex, [4, 2, 8], StopAtScore(0.5, "maximize"))

    assert batch.done == 2
    assert batch.reason == "Trial 2 has reached 0.5, and at least 0.5 was wanted"


def test_a_score_may_be_a_metric_to_minimize(ex: Experiment) -> None:
    batch = ran(ex, [4, 2, 8], StopAtScore(3, "minimize", metric="a"))

    assert batch.done == 2
    assert batch.reason == "Trial 2 has reached 2, and at most 3 was wanted"


def test_failed_trials_and_results_that_are_no_numbers_reach_no_score(ex: Experiment) -> None:
    batch = ran(ex, [0, 5, math.nan], StopAtScore(-math.inf, "maximize"))

    assert (batch.done, batch.failed, batch.reason) == (2, 1, None)


def test_a_score_that_an_earlier_trial_has_reached_lets_no_trial_begin(ex: Experiment) -> None:
    inverse(ex).compute(parameters={"a": 1})
    batch = Batch(ex, inverse(ex), [{"a": 1}, {"a": 2}], StopAtScore(1, "maximize"))
    batch.trials, batch.skipped = [ex.latest], 1

    batch.run()

    assert (batch.done, len(ex.trials)) == (0, 1)
    assert batch.reason is not None


def test_no_trial_begins_when_the_time_is_over(ex: Experiment) -> None:
    stop = StopAfterTime(100)
    batch = Batch(ex, inverse(ex), [{"a": a} for a in (1, 2, 3)], stop)
    batch.started -= 101

    batch.run()

    assert (batch.done, batch.reason) == (0, "the time of 100 s is over")


def test_the_time_is_looked_at_when_a_trial_has_ended(ex: Experiment) -> None:
    class Late:
        """Lets time pass, without anybody waiting."""

        def before_trial(self, *, batch: Any, **rest: Any) -> None:
            batch.started -= 60

    batch = ran(ex, [1, 2, 3], StopAfterTime(100), Late())

    assert (batch.done, batch.reason) == (2, "the time of 100 s is over")


def test_a_batch_within_its_time_goes_on(ex: Experiment) -> None:
    assert ran(ex, [1, 2, 3], StopAfterTime(3600)).done == 3


def test_a_batch_stops_without_improvement(ex: Experiment) -> None:
    batch = ran(ex, [4, 2, 3, 2, 1], StopWithoutImprovement(2, direction="maximize"))

    assert batch.done == 4
    assert batch.reason == "2 trials have not been better than the best one, 0.5"


def test_an_improvement_by_less_than_delta_is_none(ex: Experiment) -> None:
    stop = StopWithoutImprovement(2, delta=1.5, direction="minimize", metric="a")

    batch = ran(ex, [9, 8, 7, 6, 5.5, 5, 4], stop)

    assert [trial.parameters["a"] for trial in batch.trials] == [9, 8, 7, 6, 5.5]
    assert batch.reason == "2 trials have not been better by more than 1.5 than the best one, 7"


def test_trials_without_a_score_are_not_counted_as_no_improvement(ex: Experiment) -> None:
    batch = ran(ex, [4, 0, 5, 0, 2], StopWithoutImprovement(1, direction="maximize"))

    assert batch.reason is None


def test_one_that_stops_without_improvement_begins_anew_with_each_batch(ex: Experiment) -> None:
    stop = StopWithoutImprovement(2, direction="maximize")

    first, second = ran(ex, [1, 2], stop), ran(ex, [3, 2, 1], stop)

    assert (first.reason, second.reason) == (None, None)


def test_trials_outside_a_batch_are_no_concern_of_theirs() -> None:
    stops = (
        StopAfterFailures(1),
        StopAtScore(0, "maximize"),
        StopAfterTime(0),
        StopWithoutImprovement(1, direction="maximize"),
    )
    ex = Experiment("stopping", backend="memory://", callbacks=stops)

    assert [inverse(ex).compute(parameters={"a": a}) for a in (1, 2, 4)] == [1, 0.5, 0.25]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: StopAfterFailures(0), "n is an integer from 1 on, not 0"),
        (lambda: StopAfterFailures(True), "n is an integer from 1 on, not True"),
        (lambda: StopAtScore(math.nan, "maximize"), "score is a number, not nan"),
        (lambda: StopAtScore("1", "maximize"), "score is a number, not '1'"),
        (lambda: StopAtScore(1, "max"), "direction is 'minimize' or 'maximize', not 'max'"),
        (lambda: StopAfterTime(-1), "seconds is a number from 0 on, not -1"),
        (lambda: StopWithoutImprovement(1.5, direction="maximize"), "trials is an integer from 1"),
        (
            lambda: StopWithoutImprovement(1, delta=-1, direction="maximize"),
            "delta is a number from 0 on, not -1",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, says: str) -> None:
    with pytest.raises(CallbackError, match=says):
        make()
