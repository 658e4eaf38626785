"""ex.search: many trials that learn from each other, on any store and after any interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daskperiment import (
    Experiment,
    ParameterUndeclaredError,
    ParameterUndefinedError,
    SamplerError,
    SearchError,
    SearchSpaceError,
    TrialPruned,
)
from daskperiment.backends.base import Backend
from daskperiment.graph import Node
from daskperiment.search import Branch, Float, Int, Search, SearchSpace, read_csv, write_csv
from daskperiment.search.pruners import SuccessiveHalving
from daskperiment.search.samplers import GridSampler, ListSampler
from daskperiment.search.trials import SearchTrial

SPACE = {"x": Float(-2, 2), "kind": ["a", "b"]}
COMPARED = ["State", "x", "kind", "result", "Seed"]


def graph(ex: Experiment) -> Node:
    """A parabola, moved for one kind."""

    @ex
    def prepared(x: float) -> float:
        return x - 1

    @ex.result
    def squared(moved: float, kind: str) -> float:
        return moved**2 + (kind == "b")

    return squared(prepared(ex.parameter("x")), ex.parameter("kind"))


def table(search: Search) -> list[list[Any]]:
    return search.history()[COMPARED].to_numpy().tolist()  # type: ignore[no-any-return]


class Downhill:
    """A sampler that learns: mostly it goes down from the best trial that it knows of."""

    def sample(
        self, space: SearchSpace, trials: Sequence[SearchTrial], rng: np.random.Generator
    ) -> Mapping[str, Any]:
        ended = [trial for trial in trials if trial.loss is not None]
        if not ended or rng.random() < 0.3:
            return space.sample(rng)
        best = min(ended, key=lambda trial: trial.loss or 0)
        x = best.parameters["x"] + rng.normal(0, 0.3)
        return {"x": min(max(x, -2.0), 2.0), "kind": best.parameters["kind"]}


# -- what it gives


def test_a_search_finds_the_best_trial_and_shows_all_in_a_table(every_backend: Backend) -> None:
    ex = Experiment("e", backend=every_backend)

    search = ex.search(graph(ex), SPACE, 12, sampler="random", seed=1)

    found = search.history()
    assert found.index.tolist() == list(range(12))
    assert sorted(found["Trial ID"]) == list(range(1, 13))
    assert search.best.result == found["result"].min() == found["Best"].iloc[-1]
    assert (search.state, search.metrics, search.main_metric) == (
        "COMPLETE", {"result": "minimize"}, "result"
    )  # fmt: skip
    assert search.document()["best"] == {
        "number": search.best.number,
        "value": search.best.result,
        "parameters": search.best.parameters,
    }
    assert search.best.search is not None and search.best.search.name == "search-1"
    assert ex.get_search().uid == ex.get_search("search-1").uid == search.uid
    assert [each.name for each in ex.searches] == ["search-1"]


def test_a_maximum_is_sought_where_that_is_asked_for(memory_ex: Experiment) -> None:
    search = memory_ex.search(
        graph(memory_ex), SPACE, 8, sampler="random", seed=1, direction="maximize"
    )

    assert search.best.result == search.history()["result"].max()


def test_parameters_may_bring_their_own_space(memory_ex: Experiment) -> None:
    @memory_ex.result
    def scaled(x: int, scale: int) -> int:
        return x * scale

    node = scaled(memory_ex.parameter("x", space=Int(1, 3)), memory_ex.parameter("scale", 2))
    search = memory_ex.search(node, sampler="grid")

    assert [trial.result for trial in search.trials] == [2, 4, 6]
    with pytest.raises(SearchSpaceError, match="low"):
        memory_ex.parameter("y", space=Int(3, 1))


def test_a_function_is_searched_as_it_is(memory_ex: Experiment) -> None:
    def loss(x: int, offset: int = 1) -> int:
        return (x - offset) ** 2

    search = memory_ex.search(loss, {"x": Int(-2, 2)}, sampler="grid")

    assert search.best.parameters == {"x": 1, "offset": 1}
    assert search.document()["best"]["parameters"] == {"x": 1}


def test_branches_give_the_parameters_of_one_branch_only(memory_ex: Experiment) -> None:
    @memory_ex.result
    def loss(model: str, c: float | None, depth: int | None) -> float:
        return c if model == "svm" else float(depth or 0)  # type: ignore[return-value]

    node = loss(
        memory_ex.parameter("model"),
        memory_ex.parameter("c", default=None),
        memory_ex.parameter("depth", default=None),
    )
    space = {"model": Branch({"svm": {"c": Float(0, 1)}, "forest": {"depth": Int(2, 5)}})}
    search = memory_ex.search(node, space, 10, sampler="random", seed=3)

    found = search.history()
    assert set(found["model"]) == {"svm", "forest"}
    assert found["c"].isna().tolist() == (found["model"] == "forest").tolist()
    assert search.best.parameters["model"] == "svm"


# -- samplers


def test_a_grid_runs_every_configuration_as_often_as_asked(memory_ex: Experiment) -> None:
    space = {"x": [0.0, 1.0], "kind": ["a", "b"]}
    search = memory_ex.search(graph(memory_ex), space, sampler=GridSampler(repeats=2), seed=1)

    found = search.history()
    assert found["x"].tolist() == [0.0] * 4 + [1.0] * 4
    assert found["kind"].tolist() == ["a", "a", "b", "b"] * 2
    assert len(set(found["Seed"])) == 8


def test_an_exported_table_is_exactly_what_runs(memory_ex: Experiment, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    wanted = [SearchSpace(SPACE).sample(rng) for _ in range(5)]
    write_csv("table.csv", wanted)

    sampler = ListSampler(read_csv("table.csv"))
    search = memory_ex.search(graph(memory_ex), SPACE, sampler=sampler)

    assert [dict(trial.parameters) for trial in search.trials] == wanted


def test_a_list_of_configurations_runs_in_its_order(memory_ex: Experiment) -> None:
    wanted = [{"x": 1.0, "kind": "a"}, {"x": 0.5, "kind": "b"}, {"x": 1.0, "kind": "a"}]

    search = memory_ex.search(graph(memory_ex), wanted, sampler="list")

    assert [dict(trial.parameters) for trial in search.trials] == wanted


def test_any_object_that_samples_is_a_sampler(memory_ex: Experiment) -> None:
    node = graph(memory_ex)
    search = memory_ex.search(node, SPACE, 40, sampler=Downhill(), seed=1, max_workers=1)

    assert search.best.result < 0.01
    assert search.sampler["own"]


def test_a_suggestion_that_is_none_ends_the_search_and_says_why(memory_ex: Experiment) -> None:
    class Wrong:
        def sample(self, space: Any, trials: Any, rng: Any) -> dict[str, Any]:
            return {"x": 5.0, "kind": "a"} if len(trials) == 2 else {"x": 0.0, "kind": "a"}

    with pytest.raises(SamplerError, match="'x': 5.0.* no configuration of the space: x"):
        memory_ex.search(graph(memory_ex), SPACE, 9, sampler=Wrong(), max_workers=1)

    assert len(memory_ex.get_search().trials) == 2
    assert memory_ex.get_search().state == "FAILED"


def test_running_trials_are_told_to_samplers(memory_ex: Experiment) -> None:
    seen: list[tuple[int, int]] = []

    class Counting:
        def sample(self, space: Any, trials: Any, rng: np.random.Generator) -> Any:
            ended = sum(trial.state.ended for trial in trials)
            seen.append((ended, len(trials) - ended))
            return space.sample(rng)

    memory_ex.search(graph(memory_ex), SPACE, 9, sampler=Counting(), batch_size=3, max_workers=3)

    assert seen == [(0, 0), (0, 1), (0, 2), (3, 0), (3, 1), (3, 2), (6, 0), (6, 1), (6, 2)]


# -- metrics


def test_metrics_are_entries_of_the_result_or_saved_values(memory_ex: Experiment) -> None:
    @memory_ex.result
    def measured(x: float) -> dict[str, float]:
        memory_ex.log_metric("size", 10 * x)
        return {"loss": (x - 1) ** 2}

    node, space = measured(memory_ex.parameter("x")), {"x": [0.0, 1.0, 2.0, 3.0]}
    metrics: Any = {"loss": "minimize", "size": "max"}
    search = memory_ex.search(node, space, sampler="grid", metrics=metrics, main_metric="size")

    assert search.history()[["loss", "size"]].to_numpy().tolist() == [
        [1.0, 0.0], [0.0, 10.0], [1.0, 20.0], [4.0, 30.0]
    ]  # fmt: skip
    assert search.best.parameters == {"x": 3.0}
    assert search.document()["best"]["values"] == {"loss": 4.0, "size": 30.0}

    both = memory_ex.search(node, space, sampler="grid", metrics=metrics)
    assert [trial.parameters["x"] for trial in both.pareto] == [1.0, 2.0, 3.0]
    assert [each["values"]["size"] for each in both.document()["pareto"]] == [10.0, 20.0, 30.0]
    with pytest.raises(SearchError, match=r"search\.pareto"):
        _ = both.best


# -- going on


def test_a_search_goes_on_to_as_many_trials_as_are_asked_for(every_backend: Backend) -> None:
    first = Experiment("e", backend=every_backend)
    first.search(graph(first), SPACE, 4, sampler="random", seed=1, name="s")
    again = Experiment("e", backend=every_backend)
    whole = again.search(graph(again), SPACE, 10, sampler="random", name="s", resume=True)

    once = again.search(graph(again), SPACE, 10, sampler="random", seed=1, name="once")
    assert table(whole) == table(once)
    with pytest.raises(SearchError, match="resume=True goes on"):
        again.search(graph(again), SPACE, 10, sampler="random", name="s")
    with pytest.raises(SearchError, match="another sampler"):
        again.search(graph(again), SPACE, 10, sampler=Downhill(), name="s", resume=True)


def test_without_a_name_the_last_search_of_the_same_kind_goes_on(memory_ex: Experiment) -> None:
    node = graph(memory_ex)
    memory_ex.search(node, SPACE, 3, sampler="random", resume=True)
    memory_ex.search(node, {"x": [1.0], "kind": "a"}, sampler="grid", resume=True)

    search = memory_ex.search(node, SPACE, 5, sampler="random", resume=True)

    assert (search.name, len(search.trials)) == ("search-1", 5)
    assert len(memory_ex.searches) == 2


SCRIPT = """
import os, pathlib, sys, time
import daskperiment
from daskperiment.search import Float

ex = daskperiment.Experiment("e", backend=sys.argv[1])

def meet(folder):
    (folder / f"here-{os.getpid()}").touch()
    while len(list(folder.glob("here-*"))) < 2:
        time.sleep(0.01)

@ex.result
def squared(x, kind):
    if sys.argv[3] == "shared":
        meet(pathlib.Path(sys.argv[1]).parent)
    time.sleep(0.02)
    return (x - 1) ** 2 + (kind == "b")

s = squared(ex.parameter("x"), ex.parameter("kind"))
if __name__ == "__main__":
    ex.search(
        s, {"x": Float(-2, 2), "kind": ["a", "b"]}, int(sys.argv[2]), sampler="random", seed=1,
        name="s", resume=True, deterministic=sys.argv[3] == "deterministic", max_workers=2,
    )
"""


def script(*arguments: str) -> subprocess.Popen[bytes]:
    Path("script.py").write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, "script.py", *arguments],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_processes_that_share_a_search_run_every_place_once(tmp_path: Path) -> None:
    processes = [script(str(tmp_path / "store"), "60", "shared") for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]

    ex = Experiment("e", backend=str(tmp_path / "store"))
    trials = list(ex.trials)
    search = ex.get_search("s")
    assert search.history().index.tolist() == list(range(60))
    assert len(trials) == 60
    pids = {trial._row["owner"]["pid"] for trial in trials}
    assert len(pids) == 2


@pytest.mark.parametrize("kind", ["deterministic", "free"])
def test_a_search_that_was_killed_goes_on_with_the_same_table(tmp_path: Path, kind: str) -> None:
    store = str(tmp_path / "store")
    process = script(store, "30", kind)
    ex = Experiment("e", backend=store)
    deadline = time.monotonic() + 60
    while sum(trial.state.ended for trial in ex.trials) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(ex.get_search("s").trials) < 30
    assert script(store, "30", kind).wait(60) == 0

    whole = ex.get_search("s")
    other = Experiment("f", backend="memory://")
    once = other.search(graph(other), SPACE, 30, sampler="random", seed=1)
    assert table(whole) == table(once)
    crashed = [trial for trial in ex.trials if trial.state == "CRASHED"]
    assert {trial.retry_of.number for trial in ex.trials if trial.retry_of} == {
        trial.number for trial in crashed
    }


# -- an order that does not depend on the workers


@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_deterministic_search_is_the_same_on_any_number_of_workers(
    batch_size: int | None,
) -> None:
    tables, pruned = [], []
    for workers in (1, 8):
        ex = Experiment("e", backend="memory://")

        @ex.result
        def trained(x: float, kind: str, ex: Experiment = ex) -> float:
            loss = (x - 1) ** 2 + (kind == "b")
            if loss > 8:
                raise ValueError("it diverges")
            for epoch in range(1, 5):
                time.sleep(0.002 * (kind == "a"))
                ex.report(loss / epoch, epoch)
                if ex.should_prune():
                    raise TrialPruned
            return loss

        search = ex.search(
            trained(ex.parameter("x"), ex.parameter("kind")), SPACE, 24, sampler=Downhill(),
            seed=4, deterministic=True, batch_size=batch_size, max_workers=workers,
            pruner=SuccessiveHalving(reduction=2), enqueue=[{"x": -2.0, "kind": "b"}],
        )  # fmt: skip
        tables.append(search.history()[COMPARED].astype(object).map(repr).to_numpy().tolist())
        pruned.append([trial._row.get("pruned_at") for trial in search.trials])
        assert search.replay(Downhill()) == []

    assert tables[0] == tables[1]
    assert pruned[0] == pruned[1]
    assert {row[0] for row in tables[0]} == {"'COMPLETE'", "'PRUNED'", "'FAILED'"}


def test_replay_names_the_places_that_are_suggested_otherwise_now(memory_ex: Experiment) -> None:
    node = graph(memory_ex)
    search = memory_ex.search(node, SPACE, 11, sampler="random", seed=1, deterministic=True)

    assert search.replay() == []
    assert search.replay(Downhill()) == [8, 9, 10]  # the first eight know of none before
    with pytest.raises(SearchError, match="deterministic=True"):
        memory_ex.search(node, SPACE, 2, sampler="random").replay()


# -- beginning from what is known


def test_enqueued_configurations_come_first_and_are_no_suggestions(memory_ex: Experiment) -> None:
    node, wanted = graph(memory_ex), [{"x": 0.25, "kind": "b"}, {"x": 1.0, "kind": "a"}]
    space = {"x": [0.0, 2.0], "kind": ["a"]}

    search = memory_ex.search(node, SPACE, 4, sampler="random", seed=1, enqueue=wanted)

    assert [dict(trial.parameters) for trial in search.trials[:2]] == wanted
    grid = memory_ex.search(node, space, sampler="grid", enqueue=[{"x": 2.0, "kind": "a"}])
    assert grid.history()["x"].tolist() == [2.0, 0.0, 2.0]
    with pytest.raises(SearchSpaceError, match="kind"):
        memory_ex.search(node, SPACE, 4, sampler="random", enqueue=[{"x": 1.0}])


def test_what_is_enqueued_while_a_search_runs_is_tried_next(memory_ex: Experiment) -> None:
    @memory_ex.result
    def waited(x: float, kind: str) -> float:
        time.sleep(0.01)
        if memory_ex.current_trial_id == 2:
            memory_ex.get_search("s").enqueue({"x": 0.125, "kind": "b"})
        return x

    node = waited(memory_ex.parameter("x"), memory_ex.parameter("kind"))
    search = memory_ex.search(
        node, SPACE, 200, sampler="random", name="s", timeout=2, max_workers=1
    )

    assert 0.125 in search.history()["x"].tolist()
    more = memory_ex.search(node, SPACE, len(search.trials) + 1, sampler="random", name="s",
                            resume=True)  # fmt: skip
    assert more.history()["x"].tolist().count(0.125) == 1


@pytest.mark.parametrize("source", ["all", "search", "numbers"])
def test_a_search_learns_from_trials_that_were_there(memory_ex: Experiment, source: str) -> None:
    node = graph(memory_ex)
    node.compute(parameters={"x": 1.5, "kind": "a"})
    node.compute(parameters={"x": 17.0, "kind": "a"})  # not of the space
    first = memory_ex.search(node, SPACE, 3, sampler="random", seed=1, name="first")
    given = {"all": True, "search": first, "numbers": [1, 2]}[source]

    search = memory_ex.search(node, SPACE, 1, sampler=Downhill(), seed=2, warm_start=given)

    known = {"all": 4, "search": 3, "numbers": 1}[source]
    assert len(search.warm()) == known
    best = min(trial.loss for trial in search.warm() if trial.loss is not None)
    assert abs(search.trials[0].parameters["x"] - 1) < abs(best) ** 0.5 + 1.5


# -- ends


def test_a_search_ends_when_a_value_is_good_enough(memory_ex: Experiment) -> None:
    node = graph(memory_ex)
    search = memory_ex.search(
        node, {"x": [3.0, 2.0, 1.0, 0.0], "kind": "a"}, sampler="grid", target=0.5, max_workers=1
    )

    assert search.history()["result"].tolist() == [4.0, 1.0, 0.0]


def test_a_search_ends_when_nothing_becomes_better(memory_ex: Experiment) -> None:
    values = [3.0, 2.0, 1.9, 1.8, 1.0, 0.9]
    space = {"x": [1 + value for value in values], "kind": "a"}
    search = memory_ex.search(
        graph(memory_ex), space, sampler="grid", patience=2, delta=1.5, max_workers=1
    )

    assert search.history()["result"].round(2).tolist() == [9.0, 4.0, 3.61, 3.24]


@pytest.mark.parametrize("on_stop", ["finish", "cancel"])
def test_running_trials_finish_or_are_cancelled_when_time_is_over(
    memory_ex: Experiment, on_stop: Any
) -> None:
    @memory_ex.result
    def slow(x: float) -> float:
        for _ in range(30):
            time.sleep(0.05)
        return x

    node = slow(memory_ex.parameter("x"))
    search = memory_ex.search(
        node, {"x": Float(0, 1)}, 50, sampler="random", timeout=0.2, on_stop=on_stop, max_workers=2
    )

    states = {str(trial.state) for trial in search.trials}
    assert len(search.trials) == 2
    assert states == {"COMPLETE" if on_stop == "finish" else "CANCELLED"}
    assert (search.state, search.document()["failed"]) == ("COMPLETE", 0)


def test_a_failing_trial_ends_nothing_unless_it_is_to(memory_ex: Experiment) -> None:
    @memory_ex.result
    def inverse(x: int) -> float:
        return 1 / x

    node, space = inverse(memory_ex.parameter("x")), {"x": [1, 0, 2]}

    search = memory_ex.search(node, space, sampler="grid", max_workers=1)
    assert search.history()["State"].tolist() == ["COMPLETE", "FAILED", "COMPLETE"]
    assert (search.state, search.document()["failed"]) == ("COMPLETE", 1)
    with pytest.raises(ZeroDivisionError):
        memory_ex.search(node, space, sampler="grid", max_workers=1, on_error="raise")
    assert memory_ex.get_search().state == "FAILED"


# -- what is refused before anything runs


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sampler": "rndom"}, SamplerError, "did you mean 'random'"),
        ({"sampler": 3}, SamplerError, r"sample\(space, trials, rng\)"),
        ({"sampler": "grid"}, SearchSpaceError, "infinitely many values"),
        ({"n_trials": None}, SearchError, "give n_trials="),
        ({"n_trials": 0}, SearchError, "from 1 on"),
        ({"batch_size": 0.5}, SearchError, "batch_size is an integer"),
        ({"direction": "up"}, SearchError, "'minimize' or 'maximize'"),
        ({"direction": "maximize", "metrics": {"a": "min"}}, SearchError, "own direction"),
        ({"metrics": {}}, SearchError, "such as"),
        ({"main_metric": "loss"}, SearchError, "metrics="),
        ({"metrics": {"a": "min"}, "main_metric": "b"}, SearchError, "one of a"),
        ({"deterministic": True, "on_stop": "cancel"}, SearchError, "leave out one"),
        ({"on_stop": "now"}, SearchError, "'finish' or 'cancel'"),
        ({"target": float("nan")}, SearchError, "target is a number"),
        ({"patience": -1}, SearchError, "patience is an integer"),
        ({"delta": -1}, SearchError, "from 0 on"),
        ({"target": 1, "metrics": {"a": "min", "b": "min"}}, SearchError, "main_metric"),
        ({"name": "a\nb"}, ValueError, "printable"),
        ({"space": {"x": Float(0, 1)}}, ParameterUndefinedError, "kind"),
        ({"space": {"y": [1]}}, ParameterUndeclaredError, "not declared: y"),
        ({"space": None}, SearchError, "give a space"),
        ({"warm_start": 3}, SearchError, "or a list of trials"),
        ({"enqueue": [{"x": 1}]}, SearchSpaceError, "kind: the value is missing"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else None,
)
def test_what_cannot_be_is_refused_before_anything_runs(
    memory_ex: Experiment, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {"space": SPACE, "n_trials": 3, "sampler": "random", **arguments}

    with pytest.raises(error, match=message):
        memory_ex.search(graph(memory_ex), given.pop("space"), **given)

    assert (len(memory_ex.trials), memory_ex.searches) == (0, [])


def test_a_parameter_that_the_graph_does_not_use_is_refused(memory_ex: Experiment) -> None:
    node = graph(memory_ex)
    memory_ex.parameter("width")

    with pytest.raises(SearchError, match="does not use width"):
        memory_ex.search(node, {**SPACE, "width": [1, 2]}, 3, sampler="random")


def test_a_search_that_is_not_there_is_named_with_those_that_are(memory_ex: Experiment) -> None:
    with pytest.raises(SearchError, match=r"no search yet: see ex.search\(\)"):
        memory_ex.get_search()
    memory_ex.search(graph(memory_ex), SPACE, 1, sampler="random", name="wide")

    with pytest.raises(SearchError, match="no search 'narrow': there are wide"):
        memory_ex.get_search("narrow")


# -- Optuna


def test_a_search_goes_to_optuna_and_comes_back(memory_ex: Experiment) -> None:
    optuna = pytest.importorskip("optuna")
    search = memory_ex.search(graph(memory_ex), SPACE, 6, sampler="random", seed=1, max_workers=1)

    study = search.to_optuna()
    there = Experiment("there", backend="memory://")
    back = there.import_study(study, "back")

    assert study.best_value == search.best.result
    compared = ["State", "x", "kind", "result"]
    assert back.history()[compared].equals(search.history()[compared])
    assert (back.space, back.state, back.best.result) == (
        search.space, "COMPLETE", search.best.result
    )  # fmt: skip
    assert there.import_study(study, "back").name == "back" and len(there.trials) == 6
    with pytest.raises(SearchError, match="give another name="):
        there.import_study(optuna_study(optuna), "back")


def optuna_study(optuna: Any) -> Any:
    study = optuna.create_study(directions=["minimize", "maximize"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["loss", "gain"])
    for x in (1.0, 2.0):
        trial = study.ask()
        trial.suggest_float("x", 0, 3)
        study.tell(trial, [x, x])
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    return study


def test_a_study_of_optuna_becomes_a_search_that_others_begin_from(memory_ex: Experiment) -> None:
    optuna = pytest.importorskip("optuna")

    search = memory_ex.import_study(optuna_study(optuna), "study")

    assert search.metrics == {"loss": "minimize", "gain": "maximize"}
    assert [trial.result for trial in search.pareto] == [
        {"loss": 1.0, "gain": 1.0},
        {"loss": 2.0, "gain": 2.0},
    ]
    with pytest.raises(SearchSpaceError, match="no trials"):
        memory_ex.import_study(optuna.create_study())
    known = memory_ex.search(
        graph(memory_ex),
        {"x": Float(0, 3), "kind": "a"},
        1,
        sampler="random",
        warm_start=search,
    )
    assert known.warm() == []  # no kind was tried there


def test_tpe_suggests_in_a_search_what_optuna_does(memory_ex: Experiment) -> None:
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=5))
    for _ in range(15):
        trial = study.ask()
        x = trial.suggest_float("x", -2, 2)
        kind = trial.suggest_categorical("kind", ["a", "b"])
        study.tell(trial, (x - 1) ** 2 + (kind == "b"))

    search = memory_ex.search(graph(memory_ex), SPACE, 15, sampler="tpe", seed=5, max_workers=1)

    assert [search.trials[n].parameters for n in range(15)] == [t.params for t in study.trials]


def test_a_search_by_tpe_that_was_interrupted_goes_on_the_same(memory_ex: Experiment) -> None:
    pytest.importorskip("optuna")
    node = graph(memory_ex)
    whole = memory_ex.search(node, SPACE, 24, sampler="tpe", seed=5, deterministic=4, max_workers=4)
    memory_ex.search(node, SPACE, 13, sampler="tpe", seed=5, deterministic=4, name="parts")
    parts = memory_ex.search(
        node, SPACE, 24, sampler="tpe", deterministic=4, name="parts", resume=True, max_workers=2
    )

    assert table(parts) == table(whole)
    assert parts.replay() == []
