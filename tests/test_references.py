"""Short texts that name trials."""

from __future__ import annotations

import pytest

from daskperiment import Experiment, TrialIDNotFoundError, TrialReferenceError
from daskperiment.history.trials import Trials
from daskperiment.references import resolve, resolve_one


@pytest.fixture
def trials(ex: Experiment) -> Trials:
    """Seven trials with the results 1 to 7, of which the fifth was removed."""
    s = ex.result(lambda a: a, name="same")(ex.parameter("a"))
    for value in range(1, 8):
        s.compute(parameters={"a": value})
    ex[5].remove()
    return Trials(ex.backend, ex.id)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3", [3]),
        ("latest", [7]),
        ("-1", [7]),
        ("-2", [6]),
        ("-3", [4]),
        ("-6", [1]),
        ("2:4", [2, 3, 4]),
        ("4:6", [4, 6]),
        ("5:6", [6]),
        ("6:", [6, 7]),
        (":2", [1, 2]),
        (":", [1, 2, 3, 4, 6, 7]),
        ("-2:-1", [6, 7]),
        ("6:latest", [6, 7]),
        ("-2:1000", [6, 7]),
    ],
)
def test_a_reference_names_trials(trials: Trials, text: str, numbers: list[int]) -> None:
    assert resolve(text, trials) == numbers


def test_several_references_name_each_trial_once_in_their_order(trials: Trials) -> None:
    assert resolve(["latest", "1:2", "2", "-1"], trials) == [7, 1, 2]


def test_best_needs_a_direction(trials: Trials) -> None:
    assert resolve("best", trials, "minimize") == [1]
    assert resolve("best:3", trials, "minimize") == [1, 2, 3]
    assert resolve("best", trials, "maximize") == [7]
    with pytest.raises(TrialReferenceError, match="give the direction, minimize or maximize"):
        resolve("best", trials)


@pytest.mark.parametrize(
    "text", ["", "0", "-0", "x", "1.5", "1:2:3", "²", "--1", "-7", "5:5", "9:"]
)
def test_what_names_no_trial_is_an_error_that_says_what_to_write(trials: Trials, text: str) -> None:
    with pytest.raises(TrialReferenceError):
        resolve(text, trials)


@pytest.mark.parametrize("text", ["8", "5", "9" * 15])
def test_a_number_without_a_trial_is_an_error(trials: Trials, text: str) -> None:
    with pytest.raises(TrialIDNotFoundError):
        resolve(text, trials)


def test_where_one_trial_is_needed_a_range_is_an_error(trials: Trials) -> None:
    assert resolve_one("-1", trials) == 7
    with pytest.raises(TrialReferenceError, match="names 2 trials where one is needed"):
        resolve_one("1:2", trials)


def test_an_experiment_without_trials_has_no_latest(ex: Experiment) -> None:
    with pytest.raises(TrialReferenceError, match="has no trial yet"):
        resolve("latest", Trials(ex.backend, ex.id))
