"""Samplers with a surrogate: they find what is good, whatever the trials and spaces are like."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.functions import BRANIN, HARTMANN6, Function
from daskperiment import SamplerError
from daskperiment.records import TrialState
from daskperiment.search import Branch, Float, Int, Poisson, SearchSpace
from daskperiment.search.samplers import Sampler, sampler_of
from daskperiment.search.trials import SearchTrial
from daskperiment.search.values import canonical

NAMES = ["gp", "forest", "extra-trees"]
Losses = float | tuple[float, ...]
LINE = SearchSpace({"x": Float(-10, 10)})


def ended(place: int, parameters: Mapping[str, Any], losses: Losses | None) -> SearchTrial:
    """A trial that has ended; without losses, one that has failed."""
    if losses is None:
        return SearchTrial(place, parameters, TrialState.FAILED)
    each = losses if isinstance(losses, tuple) else (losses,)
    return SearchTrial(place, parameters, TrialState.COMPLETE, each)


def search(
    sampler: Sampler,
    space: SearchSpace,
    loss: Callable[[Mapping[str, Any]], Losses | None],
    count: int,
    seed: int = 0,
) -> list[SearchTrial]:
    trials: list[SearchTrial] = []
    for place in range(count):
        chosen = sampler.sample(space, trials, np.random.default_rng([seed, place]))
        trials.append(ended(place, chosen, loss(chosen)))
    return trials


def least(trials: list[SearchTrial]) -> float:
    return min(trial.losses[0] for trial in trials if trial.losses is not None)


def square(values: Mapping[str, Any]) -> float:
    return float(values["x"]) ** 2


def some(count: int = 8, losses: Any = None) -> list[SearchTrial]:
    """Trials along the line."""
    places = np.linspace(-9, 8, count).tolist()
    given = [x**2 for x in places] if losses is None else losses
    return [ended(i, {"x": x}, loss) for i, (x, loss) in enumerate(zip(places, given, strict=True))]


def suggestion(name: str, trials: list[SearchTrial], **options: Any) -> float:
    return float(sampler_of(name, **options).sample(LINE, trials, np.random.default_rng(5))["x"])


# -- what is good is found


def test_the_least_square_is_found_with_20_trials_from_9_of_10_seeds() -> None:
    found = [least(search(sampler_of("gp"), LINE, square, 20, seed)) for seed in range(10)]

    assert sum(loss < 1e-3 for loss in found) >= 9


@pytest.mark.parametrize("name", NAMES)
def test_the_best_integer_is_found_and_none_is_tried_twice(name: str) -> None:
    space = SearchSpace({"x": Int(-40, 200)})
    trials = search(sampler_of(name), space, lambda values: (values["x"] - 17) ** 2, 20)

    assert least(trials) <= (0 if name == "gp" else 4)
    assert len({trial.parameters["x"] for trial in trials}) == 20


@pytest.mark.parametrize("name", ["gp", "extra-trees"])
@pytest.mark.parametrize("acquisition", ["EI", "lcb", "PI"])
def test_each_acquisition_comes_near_the_least_square(name: str, acquisition: str) -> None:
    trials = search(sampler_of(name, acquisition=acquisition), LINE, square, 16)

    assert least(trials) < 0.2


def test_a_large_kappa_explores() -> None:
    careful, bold = (suggestion("gp", some(), acquisition="LCB", kappa=k) for k in (0.0, 1e4))

    assert abs(careful) < 1 < abs(bold)


@pytest.mark.parametrize(
    ("name", "function", "count", "part"),
    [
        ("gp", BRANIN, 35, 0.02),
        ("gp", HARTMANN6, 45, 0.6),
        ("forest", HARTMANN6, 45, 0.8),
        ("extra-trees", BRANIN, 35, 0.7),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_regret_is_a_part_of_that_of_random_search(
    name: str, function: Function, count: int, part: float
) -> None:
    def regret(sampler: str) -> float:
        runs = [
            search(sampler_of(sampler), function.space, function.regret, count, seed)
            for seed in range(3)
        ]
        return float(np.median([least(run) for run in runs]))

    assert regret(name) < part * regret("random")


@pytest.mark.parametrize("name", NAMES)
def test_the_best_branch_and_category_are_found(name: str) -> None:
    space = SearchSpace(
        {
            "model": Branch({"a": {"depth": Int(1, 9)}, "b": {"rate": Float(0, 1)}, "c": {}}),
            "loss": ["l1", "l2", "huber"],
            "fixed": 3,
        }
    )

    def loss(values: Mapping[str, Any]) -> float:
        kind = {"a": 0.5, "b": abs(values.get("rate", 0) - 0.3), "c": 0.4}[values["model"]]
        return kind + (values["loss"] != "l2") * 0.3 + values["fixed"]

    trials = search(sampler_of(name), space, loss, 30)

    best = min(trials, key=lambda trial: trial.loss or math.inf)
    assert (best.parameters["model"], best.parameters["loss"]) == ("b", "l2")
    assert least(trials) < 3.05


def test_two_metrics_come_nearer_to_the_front_than_chance() -> None:
    space = SearchSpace({f"x{i}": Float(0, 1) for i in range(3)})

    def losses(values: Mapping[str, Any]) -> tuple[float, float]:
        x = list(values.values())
        off = sum((each - 0.5) ** 2 for each in x[1:])
        return x[0] + off, 1000 * ((1 - x[0]) ** 2 + off)

    def dominated(sampler: str) -> float:
        """The area up to (1, 1000) of what is dominated, as a part of all."""
        found = {t.losses for t in search(sampler_of(sampler), space, losses, 30) if t.losses}
        area, height = 0.0, 1000.0
        for one, other in sorted(found):
            if one < 1 and other < height:
                area, height = area + (1 - one) * (height - other), other
        return area / 1000

    assert dominated("gp") > 1.1 * dominated("random")


# -- whatever the trials are like


@pytest.mark.parametrize("name", NAMES)
def test_trials_that_run_are_kept_away_from(name: str) -> None:
    trials = some()
    for place in range(8, 12):
        chosen = suggestion(name, trials)
        assert chosen not in [trial.parameters["x"] for trial in trials]
        trials.append(SearchTrial(place, {"x": chosen}))

    apart = [trial.parameters["x"] for trial in trials[8:]]
    assert max(apart) - min(apart) > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_where_trials_fail_is_left(name: str) -> None:
    def fails(values: Mapping[str, Any]) -> float | None:
        return None if values["x"] < 0 else (values["x"] - 3) ** 2

    trials = search(sampler_of(name), LINE, fails, 20)

    assert sum(trial.losses is None for trial in trials[10:]) <= 3
    assert least(trials) < 0.5


@pytest.mark.parametrize("name", NAMES)
def test_while_all_fail_the_space_is_filled(name: str) -> None:
    trials = search(sampler_of(name), LINE, lambda values: None, 12)

    places = sorted(trial.parameters["x"] for trial in trials)
    assert max(np.diff([-10, *places, 10])) < 5


@pytest.mark.parametrize("name", NAMES)
def test_the_last_report_of_a_pruned_trial_is_its_loss(name: str) -> None:
    def pruned(last: float) -> list[SearchTrial]:
        reports = {1: 50.0, 2: last}
        return [*some(), SearchTrial(8, {"x": 8.5}, TrialState.PRUNED, None, reports)]

    assert suggestion(name, pruned(-900.0)) > 6 > suggestion(name, pruned(90.0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "losses",
    [
        [0.0] * 8,
        [1e308, -1e308, 0.0, 1.0, 1e308, 2.0, 3.0, 4.0],
        [5e-324 * i for i in range(8)],
        [1e300 + i for i in range(8)],
        [math.nan, math.inf, -math.inf, 1.0, 2.0, 3.0, 4.0, 5.0],
        [math.nan] * 8,
        [0.0] * 7 + [1.0],
    ],
    ids=["equal", "huge", "tiny", "far", "no numbers", "NaN", "one differs"],
)
def test_any_losses_give_a_suggestion(name: str, losses: list[float]) -> None:
    assert -10 <= suggestion(name, some(8, losses)) <= 10


@pytest.mark.parametrize("scale", [1e-200, 1e-6, 1e9, 1e200])
def test_the_unit_of_losses_does_not_matter(scale: float) -> None:
    trials = some(8, [scale * x**2 for x in np.linspace(-9, 8, 8).tolist()])

    assert abs(suggestion("gp", trials)) < 1


def test_one_huge_loss_hides_nothing() -> None:
    assert abs(suggestion("gp", [*some(), ended(8, {"x": 9.9}, 1e300)])) < 1


@pytest.mark.parametrize("name", NAMES)
def test_what_a_search_begins_from_is_learned_from(name: str) -> None:
    known = [ended(-1, {"x": x}, (x - 5) ** 2) for x in np.linspace(-9, 9, 12).tolist()]
    foreign = ended(-1, {"x": 70.0, "other": 3}, -1e9)

    assert abs(suggestion(name, [*known, foreign]) - 5) < 2


def test_a_long_history_is_learned_from_in_part_and_suggests_the_best_region() -> None:
    trials = search(sampler_of("random"), LINE, lambda values: abs(values["x"] + 6), 600)

    assert abs(suggestion("gp", trials) + 6) < 0.5


# -- whatever the space is like


@pytest.mark.parametrize("name", NAMES)
def test_a_finite_space_is_visited_without_repetition(name: str) -> None:
    space = SearchSpace({"a": Int(0, 3), "b": Branch({"p": {"c": [1, 2, 3]}, "q": {}})})
    trials = search(sampler_of(name), space, lambda values: values["a"], 17)

    visited = [canonical(trial.parameters) for trial in trials]
    assert sorted(visited[:16]) == sorted(map(canonical, space.grid()))
    assert visited[16] in visited[:16]


def test_what_is_left_of_a_large_space_is_found() -> None:
    space = SearchSpace({"a": Int(1, 6000), "b": ["x"]})
    trials = [ended(i, {"a": i, "b": "x"}, float(i)) for i in range(1, 6000)]

    chosen = sampler_of("gp").sample(space, trials, np.random.default_rng(0))
    assert chosen == {"a": 6000, "b": "x"}


def test_a_space_of_constants_or_of_laws_or_blocks_will_do() -> None:
    constant = SearchSpace({"a": 1, "b": ["only"]})
    mixed = SearchSpace([{"n": Poisson(3), "m": Float(1e-3, 1, log=True)}, {"k": Int(1, 9)}])

    assert len(search(sampler_of("gp"), constant, lambda values: 1.0, 5)) == 5
    best = search(sampler_of("gp"), mixed, lambda values: values.get("n", 9) + 1.0, 20)
    assert least(best) == 1


# -- the same once more


def test_equal_inputs_give_the_same_also_in_another_process() -> None:
    script = "from tests.search.test_surrogates import *; print(*map(repr, of_each()))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )

    assert [float(each) for each in done.stdout.split()] == of_each() == of_each()


def of_each() -> list[float]:
    """What each suggests where one trial runs."""
    return [suggestion(name, [*some(), SearchTrial(8, {"x": 1.0})]) for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_a_document_makes_an_equal_sampler(name: str) -> None:
    sampler = sampler_of(name, acquisition="lcb", kappa=2, startup=5)

    document = json.loads(json.dumps(sampler.document()))
    assert document["acquisition"] == "LCB"
    assert sampler_of(document) == sampler != sampler_of(name)


# -- wrong options


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"acquisition": "UCB"}, "acquisition is one of 'EI', 'LCB', 'PI', not 'UCB'"),
        ({"acquisition": 3}, "acquisition is one of"),
        ({"kappa": -1}, "kappa is a number from 0 on, not -1"),
        ({"xi": math.nan}, "xi is a number from 0 on, not nan"),
        ({"xi": True}, "xi is a number from 0 on"),
        ({"startup": 0}, "startup is an integer from 1 on, not 0"),
        ({"startup": 2.5}, "startup is an integer from 1 on"),
        ({"depth": 3}, "depth"),
    ],
)
def test_wrong_options_say_what_is_allowed(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SamplerError, match=message):
        sampler_of(name, **options)
