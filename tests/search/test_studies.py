"""Searches as studies of Optuna, and back: nothing is lost on the way."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from daskperiment import SearchSpaceError
from daskperiment.records import TrialState
from daskperiment.search import (
    Branch,
    Categorical,
    Constant,
    Float,
    Int,
    Linspace,
    Normal,
    SearchSpace,
)
from daskperiment.search.studies import StudyTrial, from_study, to_study
from tests.search.test_properties import any_distribution, seeds, spaces

few = settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COMPLETE, FAILED, PRUNED = TrialState.COMPLETE, TrialState.FAILED, TrialState.PRUNED
State = optuna.trial.TrialState

finite = st.floats(allow_nan=False, allow_infinity=False)
outcomes = st.one_of(
    st.tuples(st.just(COMPLETE), finite, st.just({})),
    st.tuples(st.just(PRUNED), st.none(), st.dictionaries(st.integers(0, 99), finite, max_size=3)),
    st.tuples(st.sampled_from([FAILED, TrialState.RUNNING]), st.none(), st.just({})),
)


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Optuna's own studies say nothing."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@few
@given(spaces(any_distribution), seeds, st.lists(outcomes, max_size=4), st.integers(1, 2))
def test_what_is_made_a_study_comes_back_from_it(
    space: SearchSpace, seed: int, ended: list[Any], metrics: int
) -> None:
    rng = np.random.default_rng(seed)
    trials = [
        StudyTrial(
            space.sample(rng),
            None if value is None else (value,) * metrics,
            state,
            NOON + timedelta(minutes=place),
            None if state == TrialState.RUNNING else NOON + timedelta(minutes=place + 1),
            reports,
            place,
        )
        for place, (state, value, reports) in enumerate(ended)
    ]
    directions: Any = ["maximize", "minimize"][:metrics]

    back = from_study(to_study(space, directions, trials))
    assert back == (space, directions, trials)
    assert repr(back[2]) == repr(trials)  # 1 is not 1.0


def study_of(space: dict[str, Any], *configurations: dict[str, Any]) -> optuna.Study:
    trials = [
        StudyTrial(each, (0.5,), COMPLETE, NOON, NOON, place=place)
        for place, each in enumerate(configurations)
    ]
    return to_study(SearchSpace(space), ["maximize"], trials)


def test_a_study_shows_people_the_values_themselves() -> None:
    study = study_of(
        {"shift": Normal(3, 2), "tol": Linspace(0, 1, 3), "layers": [[8], [8, 8]], "data": "iris"},
        {"shift": 50.0, "tol": 0.5, "layers": [8, 8], "data": "iris"},
    )

    assert study.best_params == {"shift": 50.0, "tol": 0.5, "layers": "[8,8]", "data": "iris"}
    assert study.trials[0].distributions["shift"].high == 50.0
    assert study.direction.name == "MAXIMIZE"


def test_names_are_addresses_only_where_there_are_several_parameters_of_one() -> None:
    branch = Branch({"svm": {"C": Float(0, 1)}, "tree": {"C": Int(1, 3), "depth": Int(1, 9)}})
    study = study_of({"model": branch}, {"model": "tree", "C": 2, "depth": 3})

    assert study.best_params == {"model": "tree", "model=tree/C": 2, "depth": 3}


def test_optuna_goes_on_with_a_study_that_comes_back() -> None:
    study = study_of({"a": Float(0, 1), "n": Int(1, 3)}, {"a": 0.5, "n": 2})
    study.optimize(lambda t: t.suggest_float("a", 0, 1) + t.suggest_int("n", 1, 3), n_trials=3)

    study.enqueue_trial({"a": 0.25})  # has no parameters before it runs: left out
    study.ask({"a": FloatDistribution(0, 1)})
    space, directions, trials = from_study(study)
    assert (space, directions) == (SearchSpace({"a": Float(0, 1), "n": Int(1, 3)}), ["maximize"])
    assert [trial.place for trial in trials] == [0, None, None, None]
    for trial in trials[1:]:
        assert trial.values == (sum(trial.parameters.values()),)


@pytest.mark.parametrize("values", [None, (math.nan,), (math.inf,), (1.0, 2.0)])
def test_a_complete_trial_without_good_numbers_fails_for_optuna(values: Any) -> None:
    trial = StudyTrial({"a": 1}, values, COMPLETE, NOON, NOON)

    study = to_study(SearchSpace({"a": Int(1, 3)}), ["minimize"], [trial])
    assert study.trials[0].state == State.FAIL


@pytest.mark.parametrize("state", [TrialState.CANCELLED, TrialState.CRASHED])
def test_a_trial_that_was_ended_from_outside_has_failed(state: TrialState) -> None:
    study = to_study(SearchSpace({"a": [1]}), ["minimize"], [StudyTrial({"a": 1}, None, state)])

    assert [trial.state for trial in from_study(study)[2]] == [FAILED]


def test_a_complete_trial_that_is_not_of_the_space_of_its_study_is_refused() -> None:
    study = study_of({"a": Float(0, 1), "n": Int(1, 3)}, {"a": 0.5, "n": 2})
    study.optimize(lambda trial: trial.suggest_float("a", 0, 1), n_trials=1)

    with pytest.raises(SearchSpaceError, match="trial 1: n: the value is missing"):
        from_study(study)


def test_a_trial_that_is_not_of_the_space_is_refused() -> None:
    with pytest.raises(SearchSpaceError, match="trial 1: a: 9 is no value of Int"):
        study_of({"a": Int(1, 3)}, {"a": 1}, {"a": 9})


# -- studies of others


def test_a_study_of_optuna_gives_its_space_and_trials() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        rate = trial.suggest_float("rate", 1e-4, 1, log=True)
        share = trial.suggest_float("s", 0, 1, step=0.1)
        depth = trial.suggest_int("depth", 1, 9, step=2)
        return rate + share, depth + len(trial.suggest_categorical("l", ["x", "yy"]))

    study.optimize(objective, n_trials=5)
    space, directions, trials = from_study(study)

    assert directions == ["minimize", "maximize"]
    assert space == SearchSpace(
        {
            "rate": Float(1e-4, 1, log=True),
            "s": Float(0, 1, step=0.1),
            "depth": Int(1, 9, step=2),
            "l": Categorical(["x", "yy"]),
        }
    )
    for trial, theirs in zip(trials, study.trials, strict=True):
        assert trial.parameters == theirs.params
        assert trial.parameters in space
        assert list(trial.values or ()) == theirs.values
        assert trial.started is not None
        assert trial.started.replace(tzinfo=None) == (
            theirs.datetime_start.astimezone(UTC).replace(tzinfo=None)  # type: ignore[union-attr]
        )


def tried(distributions: dict[str, Any], state: Any = State.COMPLETE, **params: Any) -> Any:
    value = 1.0 if state == State.COMPLETE else None
    return create_trial(params=params, distributions=distributions, value=value, state=state)


def space_of(*trials: Any) -> SearchSpace:
    study = optuna.create_study()
    study.add_trials(trials)
    space, _, found = from_study(study)
    assert all(trial.parameters in space for trial in found)
    return space


def test_ranges_that_differ_are_one_from_end_to_end() -> None:
    a, b = FloatDistribution(0, 1, step=0.5), FloatDistribution(-1, 0.25)
    n, m = IntDistribution(1, 5), IntDistribution(3, 3)

    space = space_of(tried({"a": a, "n": n}, a=0.5, n=1), tried({"a": b, "n": m}, a=0.1, n=3))
    assert space == SearchSpace({"a": Float(-1, 1), "n": Int(1, 5)})
    assert space_of(tried({"n": m}, n=3)) == SearchSpace({"n": Constant(3)})


def test_parameters_that_some_trials_lack_make_blocks() -> None:
    kind, c, d = (
        CategoricalDistribution(["svm", "tree"]),
        FloatDistribution(0, 1),
        IntDistribution(1, 9),
    )

    space = space_of(
        tried({"kind": kind, "c": c}, kind="svm", c=0.5),
        tried({"kind": kind, "d": d}, kind="tree", d=2),
        tried({"kind": kind}, State.FAIL, kind="tree"),  # before it has asked for d: left out
    )
    kinds = Categorical(["svm", "tree"])
    assert space == SearchSpace(
        [{"kind": kinds, "c": Float(0, 1)}, {"kind": kinds, "d": Int(1, 9)}]
    )


def test_kinds_of_one_name_that_differ_are_refused() -> None:
    a, b = FloatDistribution(0, 1), CategoricalDistribution(["x"])

    with pytest.raises(SearchSpaceError, match="a: it has several distributions"):
        space_of(tried({"a": a}, a=0.5), tried({"a": b}, a="x"))


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ([], "the study has no trials"),
        ([tried({})], "expected one parameter or more"),
        ([tried({"id": IntDistribution(1, 2)}, id=1)], "id: the name is reserved"),
    ],
)
def test_what_is_no_space_is_refused(trials: list[Any], message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        space_of(*trials)
