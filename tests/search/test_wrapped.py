"""Samplers of Optuna and SciPy: they suggest what their libraries do, whatever they are told."""

from __future__ import annotations

import logging
import math
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from scipy.stats import qmc

from daskperiment import SamplerError
from daskperiment.records import TrialState
from daskperiment.search import (
    Branch,
    Categorical,
    Constant,
    Distribution,
    Exponential,
    Float,
    Int,
    Linspace,
    LogNormal,
    Logspace,
    Normal,
    Poisson,
    SearchSpace,
)
from daskperiment.search.optuna import Coded, coded, shown
from daskperiment.search.samplers import sampler_of
from daskperiment.search.trials import SearchTrial, SearchTrials
from tests.search.test_properties import any_distribution, seeds, spaces

COMPLETE, FAILED, PRUNED = TrialState.COMPLETE, TrialState.FAILED, TrialState.PRUNED
State = optuna.trial.TrialState
few = settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
rng = np.random.default_rng(0)  # of which samplers that have begun draw nothing

THEIRS: dict[str, Callable[..., optuna.samplers.BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "cma-es": optuna.samplers.CmaEsSampler,
}


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Optuna's own studies, beside which ours are looked at, say nothing."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def by_numbers(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "rate": trial.suggest_float("rate", 1e-4, 1, log=True),
        "share": trial.suggest_float("share", -1, 1, step=0.1),
        "depth": trial.suggest_int("depth", 1, 9),
        "width": trial.suggest_int("width", 8, 512, log=True),
        "even": trial.suggest_int("even", 0, 10, step=2),
    }


NUMBERS = SearchSpace(
    {
        "rate": Float(1e-4, 1, log=True),
        "share": Float(-1, 1, step=0.1),
        "depth": Int(1, 9),
        "width": Int(8, 512, log=True),
        "even": Int(0, 10, step=2),
    }
)


def by_choices(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "data": "iris",
        "loss": trial.suggest_categorical("loss", ["l1", "l2", None]),
        "layers": [[8], [8, 8]][trial.suggest_categorical("layers", [0, 1])],
        "tol": [0.001, 0.01, 0.1][trial.suggest_int("tol", 0, 2)],
        "shift": Normal(3, 2).quantile(trial.suggest_float("shift", 0, 1)),
    }


CHOICES = SearchSpace(
    {
        "data": "iris",
        "loss": ["l1", "l2", None],
        "layers": [[8], [8, 8]],
        "tol": Logspace(-3, -1, 3),
        "shift": Normal(3, 2),
    }
)


def by_branches(trial: optuna.Trial) -> dict[str, Any]:
    found = {
        "rate": trial.suggest_float("rate", 0, 1),
        "model.kind": trial.suggest_categorical("model.kind", ["svm", "tree"]),
    }
    if found["model.kind"] == "svm":
        found["model.C"] = trial.suggest_float("model.kind=svm/C", 0.1, 10, log=True)
    else:
        found["model.C"] = trial.suggest_int("model.kind=tree/C", 1, 3)
        found["model.depth"] = trial.suggest_int("model.kind=tree/depth", 1, 30)
    return found


MODELS = {"svm": {"C": Float(0.1, 10, log=True)}, "tree": {"C": Int(1, 3), "depth": Int(1, 30)}}
BRANCHES = SearchSpace({"rate": Float(0, 1), "model": {"kind": Branch(MODELS)}})

BY_HAND = {
    "numbers": (NUMBERS, by_numbers),
    "choices": (CHOICES, by_choices),
    "branches": (BRANCHES, by_branches),
}


def loss(parameters: dict[str, Any]) -> float:
    """Some number that follows from all values."""
    numbers = [hash(v) % 7 if isinstance(v, int) else v for v in parameters.values()]
    return sum((n - 0.3) ** 2 for n in numbers if isinstance(n, (int, float)))


class Search:
    """A sampler that is asked and told, beside a study that is so by hand."""

    def __init__(self, name: str, space: SearchSpace, metrics: int = 1, **options: Any) -> None:
        self.space = space
        self.sampler = sampler_of(name, **options).begun(space, 1, metrics)  # type: ignore[attr-defined]
        self.trials = SearchTrials()
        self.study = optuna.create_study(
            sampler=THEIRS[name](seed=1, **options), directions=["minimize"] * metrics
        )

    def ask(self) -> dict[str, Any]:
        found: dict[str, Any] = self.sampler.sample(self.space, self.trials, rng)
        return found

    def tell(self, parameters: Any, *losses: float, state: Any = COMPLETE, **more: Any) -> None:
        place = len(self.trials.ended)
        self.trials.end(SearchTrial(place, parameters, state, losses or None, **more))


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("kind", BY_HAND)
def test_the_suggestions_are_those_of_optuna(name: str, kind: str) -> None:
    space, suggest = BY_HAND[kind]
    search = Search(name, space)

    for _ in range(35):
        mine, trial = search.ask(), search.study.ask()
        theirs = suggest(trial)
        assert repr(mine) == repr(theirs)
        search.tell(mine, loss(mine))
        search.study.tell(trial, loss(theirs))


def test_tpe_suggests_by_several_metrics_as_optuna_does() -> None:
    search = Search("tpe", NUMBERS, 2, n_startup_trials=4)

    for _ in range(15):
        mine, trial = search.ask(), search.study.ask()
        assert mine == by_numbers(trial)
        search.tell(mine, mine["rate"], -mine["depth"])
        search.study.tell(trial, [mine["rate"], -mine["depth"]])


def test_failures_and_pruned_trials_and_running_ones_are_told_as_they_are() -> None:
    search = Search("tpe", NUMBERS, n_startup_trials=5)
    chance, waiting = random.Random(1), list[tuple[SearchTrial, optuna.Trial]]()

    for place in range(40):
        mine, trial = search.ask(), search.study.ask()
        assert mine == by_numbers(trial)
        search.trials.begin(SearchTrial(place, mine))
        waiting.append((SearchTrial(place, mine), trial))
        if len(waiting) < 3:  # so many run at once
            continue
        ended, theirs = waiting.pop(chance.randrange(3))
        at, known = ended.place, ended.parameters
        kind = chance.choice([COMPLETE, COMPLETE, FAILED, PRUNED, math.nan, math.inf])
        if kind is PRUNED:
            search.trials.end(SearchTrial(at, known, PRUNED, None, {2: 0.5, 1: math.nan, 5: 0.25}))
            theirs.report(0.5, 2)
            theirs.report(0.25, 5)
            search.study.tell(theirs, state=State.PRUNED)
        elif kind is COMPLETE:
            search.trials.end(SearchTrial(at, known, COMPLETE, (loss(dict(known)),)))
            search.study.tell(theirs, loss(dict(known)))
        else:
            losses = (float(kind),) if isinstance(kind, float) else None
            search.trials.end(SearchTrial(at, known, COMPLETE if losses else FAILED, losses))
            search.study.tell(theirs, state=State.FAIL)


ONE = SearchSpace({"a": Float(0, 1)})


def one(trial: optuna.Trial) -> dict[str, Any]:
    return {"a": trial.suggest_float("a", 0, 1)}


def given_by_hand(a: float, **more: Any) -> optuna.trial.FrozenTrial:
    return create_trial(params={"a": a}, distributions={"a": FloatDistribution(0, 1)}, **more)


def test_trials_that_others_have_suggested_are_learnt_from() -> None:
    search = Search("tpe", ONE, n_startup_trials=2)
    for i in range(8):
        search.tell({"a": i / 8}, abs(i - 5))
        search.study.add_trial(given_by_hand(i / 8, value=abs(i - 5)))
    search.tell({"a": 0.9}, state=PRUNED, reports={3: 0.5})
    search.study.add_trial(
        given_by_hand(0.9, state=State.PRUNED, value=0.5, intermediate_values={3: 0.5})
    )
    search.trials.begin(SearchTrial(20, {"a": 0.625}))
    search.study.add_trial(given_by_hand(0.625, state=State.RUNNING))

    assert search.ask() == one(search.study.ask())

    search.trials.end(SearchTrial(20, {"a": 0.625}, COMPLETE, (0.0,)))
    search.study.tell(9, 0.0)
    assert search.ask() == one(search.study.ask())


def test_trials_beyond_the_space_are_passed_over() -> None:
    search = Search("tpe", ONE, n_startup_trials=0)
    search.trials.begin(SearchTrial(7, {"b": 1}))
    search.tell({"a": 2.0}, 0.0)
    search.tell({"a": 0.5, "b": 1}, 0.0)

    assert search.ask() == one(search.study.ask())


def test_a_suggestion_that_nobody_runs_counts_as_failed() -> None:
    search = Search("tpe", ONE, n_startup_trials=2)
    lost = search.study.ask()
    assert search.ask() == one(lost)
    for i in range(10):
        mine, trial = search.ask(), search.study.ask()
        assert mine == one(trial)
        search.tell(mine, mine["a"])
        search.study.tell(trial, mine["a"])
        if i == 0:
            search.study.tell(lost, state=State.FAIL)


def test_cma_es_begins_where_earlier_trials_were_good() -> None:
    space = SearchSpace({"a": Float(0, 1), "n": Int(0, 100), "c": ["x", "y"]})
    values = [({"a": i / 30, "n": 90, "c": "x"}, (i - 4) ** 2) for i in range(30)]
    search = Search("cma-es", space)
    for parameters, value in values:
        search.tell(parameters, value)

    for _ in range(6):
        found = search.ask()
        assert abs(found["a"] - 4 / 30) < 0.15
        assert abs(found["n"] - 90) < 11
        search.tell(found, 1.0)


def test_cma_es_begins_in_the_middle_where_fewer_than_ten_trials_came_before() -> None:
    search = Search("cma-es", ONE)
    for i in range(9):
        search.tell({"a": i / 9}, 1.0)
        search.study.add_trial(given_by_hand(i / 9, value=1.0))

    assert search.ask() == one(search.study.ask())


def test_cma_es_with_earlier_trials_is_that_of_optuna_with_source_trials() -> None:
    space = SearchSpace({"a": Float(0, 1), "b": Float(0, 1)})
    distributions = {"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1)}
    search = Search("cma-es", space)
    sources = []
    for i in range(20):
        parameters, value = {"a": i / 20, "b": 1 - i / 20}, abs(i - 7)
        search.tell(parameters, value)
        sources.append(create_trial(params=parameters, distributions=distributions, value=value))
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        sampler = optuna.samplers.CmaEsSampler(seed=1, source_trials=sources)
    study = optuna.create_study(sampler=sampler)
    study.add_trials(sources)

    for _ in range(15):
        mine, trial = search.ask(), study.ask()
        assert mine == {name: trial.suggest_float(name, 0, 1) for name in "ab"}
        search.tell(mine, mine["a"])
        study.tell(trial, mine["a"])


@few
@given(st.sampled_from(["tpe", "cma-es", "quasi-random"]), spaces(any_distribution), seeds)
def test_every_suggestion_lies_in_its_space(name: str, space: SearchSpace, seed: int) -> None:
    chance = np.random.default_rng(seed)
    sampler = sampler_of(name)
    trials: list[SearchTrial] = []  # and it begins by itself

    for place in range(12 if name == "tpe" else 6):
        found = sampler.sample(space, trials, chance)
        assert found in space
        other = space.sample(chance)
        trials.append(SearchTrial(place, found, COMPLETE, (float(chance.normal()),)))
        trials.append(SearchTrial(100 + place, other, COMPLETE, (float(chance.normal()),)))


@pytest.mark.parametrize("name", ["tpe", "cma-es", "quasi-random"])
def test_what_begins_with_equal_seeds_suggests_the_same(name: str) -> None:
    def suggested(seed: int) -> list[dict[str, Any]]:
        sampler, trials = sampler_of(name).begun(NUMBERS, seed, 1), SearchTrials()  # type: ignore[attr-defined]
        for place in range(6):
            found = sampler.sample(NUMBERS, trials, np.random.default_rng(place))
            trials.end(SearchTrial(place, found, COMPLETE, (loss(found),)))
        return [dict(trial.parameters) for trial in trials]

    assert suggested(3) == suggested(3) != suggested(4)
    assert suggested(2**90 + 3)


# -- options


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tpe", {"gama": 1}, r"'tpe' takes no option 'gama': .*; it takes n_startup_trials, n_ei"),
        ("tpe", {"n_startup_trial": 1}, "did you mean 'n_startup_trials'?"),
        ("tpe", {"seed": 1}, "takes no option 'seed'"),
        ("tpe", {"n_startup_trials": -1}, "n_startup_trials is an integer from 0 on, not -1"),
        ("tpe", {"n_startup_trials": True}, "n_startup_trials is an integer from 0 on, not True"),
        ("tpe", {"n_ei_candidates": 0}, "n_ei_candidates is an integer from 1 on, not 0"),
        ("cma-es", {"popsize": 1}, "popsize is an integer from 2 on, not 1"),
        ("cma-es", {"lr_adapt": 1}, "lr_adapt is True or False, not 1"),
        ("quasi-random", {"kind": "latin"}, "kind is one of sobol, halton, not 'latin'"),
        ("quasi-random", {"scramble": 3}, "scramble is True or False, not 3"),
    ],
)
def test_a_wrong_option_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SamplerError, match=message):
        sampler_of(name, **options)


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(SamplerError, match="'cma-es': .*lr_adapt"):
        sampler_of("cma-es", lr_adapt=True, with_margin=True).begun(ONE, 1, 1)  # type: ignore[attr-defined]


def test_a_margin_is_refused_where_parameters_depend_on_others() -> None:
    with pytest.raises(SamplerError, match="with_margin needs parameters that are always active"):
        sampler_of("cma-es", with_margin=True).begun(BRANCHES, 1, 1)  # type: ignore[attr-defined]


def test_cma_es_does_not_search_by_several_metrics() -> None:
    with pytest.raises(SamplerError, match="'cma-es' searches by one metric, and there are 2"):
        sampler_of("cma-es").begun(ONE, 1, 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "document",
    [
        {"name": "tpe", "n_startup_trials": 4, "group": True},
        {"name": "cma-es", "popsize": 8, "with_margin": True},
        {"name": "quasi-random", "kind": "halton", "scramble": False},
    ],
)
def test_a_document_makes_the_sampler_again(document: dict[str, Any]) -> None:
    sampler = sampler_of(document)

    assert sampler.document() == document  # type: ignore[attr-defined]
    assert sampler.begun(ONE, 1, 1).sample(ONE, [], rng) in ONE  # type: ignore[attr-defined]
    assert sampler_of(sampler.document()) == sampler  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "library"),
    [("tpe", "optuna"), ("cma-es", "optuna"), ("cma-es", "cmaes"), ("quasi-random", "scipy")],
)
def test_a_library_that_is_missing_is_told_with_how_to_get_it(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(SamplerError) as caught:
        sampler_of(name)
    assert str(caught.value) == (
        f"Sampler {name!r} needs {library}: pip install \"daskperiment[search]\", "
        'or take sampler="random"'
    )  # fmt: skip


def test_optuna_says_nothing_of_our_studies_and_goes_on_saying_it_of_others() -> None:
    said: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler, logger = Kept(), logging.getLogger("optuna")
    optuna.logging.set_verbosity(optuna.logging.INFO)
    logger.addHandler(handler)
    try:
        search = Search("cma-es", CHOICES, consider_pruned_trials=False)
        assert len(said) == 1  # of the study by hand
        for _ in range(4):
            search.tell(search.ask(), 1.0)
        assert len(said) == 1
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        logger.removeHandler(handler)


# -- quasi-random


def quantiles(space: SearchSpace, point: Sequence[float]) -> dict[str, Any]:
    ahead = iter(point)
    return {axis.name: axis.distribution.quantile(next(ahead)) for axis in space.axes}


@pytest.mark.parametrize("kind", ["sobol", "halton"])
def test_quasi_random_suggestions_are_the_points_of_scipy(kind: str) -> None:
    made = {"sobol": qmc.Sobol, "halton": qmc.Halton}[kind]
    points = made(5, rng=np.random.default_rng(7)).random(16)
    sampler = sampler_of("quasi-random", kind=kind).begun(NUMBERS, 7, 1)  # type: ignore[attr-defined]

    found = [sampler.sample(NUMBERS, SearchTrials(suggested=i), rng) for i in range(16)]
    assert found == [quantiles(NUMBERS, point) for point in points]
    for index in (3, 12, 5):  # in any order, as a search that is resumed asks
        assert sampler.sample(NUMBERS, SearchTrials(suggested=index), rng) == found[index]


def test_a_parameter_has_its_dimension_also_where_it_is_not_active() -> None:
    sampler = sampler_of("quasi-random").begun(BRANCHES, 7, 1)  # type: ignore[attr-defined]
    points = qmc.Sobol(5, rng=np.random.default_rng(7)).random(16)

    for index, point in enumerate(points):
        found = sampler.sample(BRANCHES, SearchTrials(suggested=index), rng)
        if found["model.kind"] == "tree":
            assert found["model.depth"] == Int(1, 30).quantile(point[4])


def test_the_corner_of_a_sequence_is_a_number_of_every_law() -> None:
    laws = {"n": Normal(0, 1), "l": LogNormal(0, 1), "e": Exponential(1), "p": Poisson(3)}
    found = sampler_of("quasi-random", scramble=False).sample(SearchSpace(laws), [], rng)

    assert all(map(math.isfinite, found.values()))


def test_more_parameters_than_sobol_has_dimensions_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(qmc.Sobol, "MAXDIM", 4)

    with pytest.raises(SamplerError, match="5 parameters: .* 4. Take kind='halton'"):
        sampler_of("quasi-random").begun(NUMBERS, 1, 1)  # type: ignore[attr-defined]
    assert sampler_of("quasi-random", kind="halton").begun(NUMBERS, 1, 1)  # type: ignore[attr-defined]


# -- distributions of Optuna


@pytest.mark.parametrize("form", [coded, shown])
@settings(max_examples=100, deadline=None)
@given(any_distribution, seeds)
def test_what_optuna_can_have_is_a_value_and_back(
    form: Callable[[Distribution], Coded], distribution: Distribution, seed: int
) -> None:
    code = form(distribution)
    for end in ends(code):
        assert distribution.contains(code.decode(end))
    value = distribution.sample(np.random.default_rng(seed))
    back = code.decode(code.encode(value))
    assert distribution.contains(back)
    if form is shown:
        assert repr(back) == repr(value)


def ends(code: Coded) -> Sequence[Any]:
    given: Any = code.distribution
    return given.choices if hasattr(given, "choices") else (given.low, given.high)


@pytest.mark.parametrize(
    "distribution",
    [
        Int(0, 2**63 - 1),
        Float(0, 1e9, step=1e-3),
        Float(1e15, 1e15 + 8, step=0.5),
        Categorical([1, 1.0, True]),
        Linspace(0, 1, 3),
        Constant({"a": 1}),
    ],
    ids=repr,
)
def test_what_optuna_cannot_keep_is_sampled_all_the_same(distribution: Distribution) -> None:
    space = SearchSpace({"a": distribution, "b": Float(0, 1)})
    for name in THEIRS:
        search = Search(name, space, n_startup_trials=2)
        search.tell({"a": distribution.quantile(0.3), "b": 0.5}, 1.0)
        for i in range(6):
            found = search.ask()
            assert found in space
            search.tell(found, float(i))
