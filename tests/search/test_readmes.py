"""What the readmes of EXP, Labs and smallab show first works here, by files as they have them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment, Namespace, SamplerError, run_experiments
from daskperiment.search import SearchSpace, configuration_id, read_csv, write_csv
from daskperiment.search.samplers import sampler_of


def needs_sampler(name: str) -> None:
    try:
        sampler_of(name)
    except SamplerError:
        pytest.skip(f"there is no sampler {name!r}")


def write(name: str, content: Any) -> str:
    Path(name).write_text(content if isinstance(content, str) else json.dumps(content))
    return name


# -- EXP: a module with run(**kwargs), and a file of parameters --


def run(x: Any = 0, **kwargs: Any) -> Any:
    """As EXP's modules have it."""
    return x**2


LINE = """
[x]
type = "range"
bounds = [-10, 10]
"""


def test_exp_a_parabola_is_minimised_in_twenty_evaluations() -> None:
    needs_sampler("gp")
    threadpoolctl = pytest.importorskip("threadpoolctl")
    space = SearchSpace.read(
        write("line.toml", "[x]\ntype = 'random'\nbounds = [-10, 10]\nn = 5\nprior = 'uniform'\n")
    )
    ex = Experiment("parabola", backend="memory://")

    with threadpoolctl.threadpool_limits(1):  # threads of BLAS that wait for each other are slow
        found = [
            ex.search(run, space, 20, sampler="gp", seed=seed, max_workers=1).best.result
            for seed in range(10)
        ]

    assert sum(value < 1e-3 for value in found) >= 9, found


def test_exp_a_range_of_integers_has_integers_without_its_end() -> None:
    space = SearchSpace.read(write("line.toml", LINE + "dtype = 'int'\n"))
    ex = Experiment("integers", backend="memory://")

    grid = ex.search(run, space, sampler="grid", max_workers=1)
    some = ex.search(run, space, 30, sampler="random", seed=1, max_workers=1)

    assert [trial.parameters["x"] for trial in grid.trials] == list(range(-10, 10))
    assert (grid.best.parameters, grid.best.result) == ({"x": 0}, 0)
    assert {type(trial.parameters["x"]) for trial in some.trials} == {int}
    assert all(-10 <= trial.parameters["x"] < 10 for trial in some.trials)


GRID = """
[x]
type = "range"
bounds = [0, 1]
step = 0.2

[kind]
type = "list"
value = ["a", "b"]

[units]
type = "list"
value = [8, 16]

[epochs]
type = "value"
value = 3
"""


def test_exp_a_grid_of_twenty_runs_twice_and_its_table_is_what_was_run() -> None:
    space = SearchSpace.read(write("grid.toml", GRID))
    ex = Experiment("grid", backend="memory://", seed=1)

    trials = ex.map(run, space.grid(), repeats=2)
    write_csv("grid_params.csv", space.grid(repeats=2))

    assert (space.size, len(trials)) == (20, 40)
    assert len({trial.seed for trial in trials}) > 1
    parameters = [trial.parameters for trial in trials]
    assert parameters == read_csv("grid_params.csv")
    with Path("grid_params.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "run", "x", "kind", "units", "epochs"]
    assert [row[1] for row in rows[:4]] == ["1", "2", "1", "2"]
    assert [row[0] for row in rows] == [configuration_id(each) for each in parameters]
    search = ex.search(run, space, sampler={"name": "grid", "repeats": 2}, max_workers=1)
    assert [trial.parameters for trial in search.trials] == parameters


# -- Labs: a configuration of several experiments, and designs --

DESIGNS = """
import json
from pathlib import Path


def design(experiment, artifacts_path, metrics):
    values = experiment["hyperparams"]
    loss = (values["slope"] - 1) ** 2 + values.get("shift", 0) ** 2
    Path(artifacts_path, "model.txt").write_text(f"{values['slope']}")
    scores = {"MSE": loss, "MAE": loss**0.5}
    with open(Path(artifacts_path, "scores.json"), "w") as file:
        json.dump({"scores": {name: scores[name] for name in metrics}}, file)
"""


def configuration(search: dict[str, Any]) -> dict[str, Any]:
    both = {"metrics": {"MSE": "min", "MAE": "min"}, "main_metric": "MSE"}
    return {
        "mode": "research",
        "type": "local",
        "experiments": [
            {
                "experiment_name": "lines",
                "description": "all lines",
                "problem_name": "regression",
                "artifacts_path": "artifacts",
                "tune_config": {
                    "type": "grid-search",
                    "space": {
                        "slope": {"type": "linear-space", "search_vals": [0, 2], "count": 5},
                        "shift": {"type": "list", "search_vals": [0, 1]},
                        "kind": {"type": "static", "search_vals": "line"},
                    },
                    "experiments_batch_size": 4,
                },
                "evaluation_config": both,
            },
            {
                "experiment_name": "slopes",
                "tune_config": {"experiments_batch_size": 3, "score_threshold": 0.05, **search},
                "evaluation_config": {"metrics": {"MSE": "min"}, "main_metric": "MSE"},
            },
        ],
    }


def check_labs(search: dict[str, Any]) -> None:
    write("designs.py", DESIGNS)
    file = write("config.json", configuration(search))
    designs = {"lines": "designs.py:design", "slopes": "designs.py:design"}

    lines, slopes = run_experiments(file, designs, backend="store")

    assert lines.search is not None
    assert slopes.search is not None
    assert len(lines.search.trials) == 10
    best = lines.search.best
    assert best.parameters == {
        "slope": 1.0, "shift": 0, "kind": "line", "metrics": ["MSE", "MAE"]
    }  # fmt: skip
    assert best.result == {"MSE": 0.0, "MAE": 0.0}
    best.artifacts.save("final_model")
    assert sorted(path.name for path in Path("final_model").iterdir()) == [
        "model.txt", "scores.json"
    ]  # fmt: skip
    assert Path("final_model/model.txt").read_text() == "1.0"
    assert slopes.search.best.result["MSE"] <= 0.05
    reached = [trial.result["MSE"] <= 0.05 for trial in slopes.search.trials]
    assert len(reached) < 60
    before_the_last_batch = (len(reached) - 1) // 3 * 3
    assert not any(reached[:before_the_last_batch])


def test_labs_a_configuration_runs_its_designs_up_to_a_score() -> None:
    check_labs(
        {
            "type": "random-search",
            "space": {"slope": {"type": "uniform", "search_vals": [-2, 2]}},
            "n_experiments": 60,
            "search_params": {"random_state": 4},
        }
    )


def test_labs_a_search_by_skopt_is_one_by_a_gaussian_process() -> None:
    needs_sampler("gp")
    check_labs(
        {
            "type": "skopt",
            "space": {"slope": {"type": "real", "search_vals": [-2, 2]}},
            "n_experiments": 60,
            "search_params": {"base_estimator": "GP", "acq_func": "EI", "random_state": 4},
        }
    )


# -- smallab: specifications as cross products, shared by several computers --

SPECIFICATIONS = [
    {"seed": [1, 2, 3, 4], "agent": "random", "layers": [[[8, 8]]], "size": [5, 10]},
    {"seed": [1, 2, 3, 4], "agent": ["greedy", "table"], "size": [5, 10]},
]


class Play:
    """As smallab's experiments are."""

    def main(self, specification: Namespace) -> dict[str, Any]:
        return {"score": specification["seed"] * specification["size"]}

    def get_name(self, specification: Namespace) -> str:
        return str(specification["seed"])


def test_smallab_specifications_are_shared_by_two_computers() -> None:
    space = SearchSpace.read(write("specifications.json", SPECIFICATIONS))
    first, second = (Experiment("play", backend="store") for _ in range(2))

    one = first.map(Play, space.grid(), shard=(0, 2))
    other = second.map(Play, space.grid(), shard=(1, 2))

    assert space.size == 24
    mine, theirs = ({configuration_id(trial.parameters) for trial in part} for part in (one, other))
    assert (len(mine), len(theirs), mine & theirs) == (12, 12, set())
    assert mine | theirs == {configuration_id(each) for each in space.grid()}
    assert len(first.trials) == 24
    assert {trial.result["score"] for trial in first.trials} == {5, 10, 15, 20, 30, 40}
