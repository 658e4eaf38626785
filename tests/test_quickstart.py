"""The quickstart, row by row, on every backend and every scheduler."""

from __future__ import annotations

import logging
import math
import random
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import gauss
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
from dask.delayed import Delayed
from dask.multiprocessing import initialize_worker_process
from numpy.random import rand

from daskperiment import (
    CodeChangedWarning,
    Experiment,
    ParameterUndefinedError,
    PurityWarning,
    TrialIDNotFoundError,
)
from daskperiment.backends import Backend
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board

COLUMNS = ["a", "b", "Result", "Success", "Finished", "Process Time", "Description"]
VERBOSE = ["a", "b", "Seed", "Result", "Result Type", *COLUMNS[3:]]


def purity(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(w.message) for w in caught if issubclass(w.category, PurityWarning)]


def test_q1_a_new_experiment_shows_where_it_is_kept(tmp_path: Path) -> None:
    ex = Experiment("quickstart_pj")

    assert repr(ex) == (
        "Experiment(id: quickstart_pj, trial_id: 0, "
        "backend: LocalBackend('daskperiment_cache/quickstart_pj'))"
    )
    assert list(tmp_path.iterdir()) == []


def test_q2_and_q3_defining_a_graph_runs_nothing(ex: Experiment) -> None:
    a, b = ex.parameter("a"), ex.parameter("b")

    @ex
    def prepare_data(a: Any, b: Any) -> Any:
        return a + b

    @ex.result
    def calculate_score(s: Any) -> Any:
        return 10 / s

    s = calculate_score(prepare_data(a, b))

    assert repr(a) == "Parameter(a: Undefined)"
    assert isinstance(s, Delayed)
    assert s.key.startswith("calculate_score-")
    assert ex.trial_id == 0


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Worker processes as Dask's own, which would start them anew for each trial."""
    spawned = get_context("spawn")
    with ProcessPoolExecutor(2, spawned, initialize_worker_process) as pool:
        yield pool


@pytest.fixture
def scheduler_of_trials(scheduler: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each of Dask's schedulers, with worker processes that stay."""
    pool = request.getfixturevalue("pool") if scheduler == "processes" else None
    with dask.config.set(pool=pool):
        yield scheduler


def test_the_quickstart(
    every_backend: Backend, scheduler_of_trials: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = scheduler_of_trials
    caplog.set_level(logging.INFO, "daskperiment")
    ex = Experiment("quickstart_pj", backend=every_backend)
    a, b = ex.parameter("a"), ex.parameter("b")

    @ex
    def prepare_data(a: Any, b: Any) -> Any:
        return a + b

    @ex.result
    def calculate_score(s: Any) -> Any:
        return 10 / s

    s = calculate_score(prepare_data(a, b))

    # Q4
    with pytest.raises(ParameterUndefinedError, match=r"a, b"):
        s.compute(scheduler=scheduler)
    assert ex.trial_id == 0

    # Q5
    ex.set_parameters(a=1, b=2)
    assert a.compute() == 1
    assert s.compute(scheduler=scheduler) == 3.3333333333333335
    assert ex.trial_id == 1
    for line in (
        "Updated parameters: a=1<class 'int'>, b=2<class 'int'>",
        "Started Experiment (trial id=1)",
        "Parameters: a=1<class 'int'>, b=2<class 'int'>",
        "Random seed is not provided, initialized with generated seed:",
        "Saved code context: v1:",
        "Finished Experiment (trial id=1)",
    ):
        assert line in caplog.text

    # Q6
    ex.set_parameters(b=3)
    assert s.compute(scheduler=scheduler) == 2.5
    assert ex.trial_id == 2

    # Q7
    assert ex.get_parameters(1) == {"a": 1, "b": 2}
    assert ex.get_parameters(2) == {"a": 1, "b": 3}

    # Q8
    history = ex.get_history()
    assert history.index.name == "Trial ID"
    assert list(history.index) == [1, 2]
    assert list(history.columns) == COLUMNS
    assert list(history["Result"]) == [3.3333333333333335, 2.5]
    assert list(history["Success"]) == [True, True]
    assert history["Description"].isna().all()
    assert history["Finished"].dtype.kind == "M"
    assert history["Process Time"].dtype.kind == "m"

    # Q9
    ex.set_parameters(a=1, b=-1)
    with pytest.raises(ZeroDivisionError):
        s.compute(scheduler=scheduler)
    failed = ex.get_history().loc[3]
    assert math.isnan(failed["Result"])
    assert not failed["Success"]
    assert failed["Description"] == "ZeroDivisionError(division by zero)"

    # Q10
    caplog.clear()
    with pytest.warns(CodeChangedWarning, match="Step 'prepare_data' has been redefined"):

        @ex.persist
        def prepare_data(a: Any, b: Any) -> Any:
            return a + b

    told = "Code context has been changed: prepare_data\n@@ -1 +1 @@\n-@ex\n+@ex.persist\n"
    assert told in caplog.text

    # Q11 and Q12: no warning again
    s = calculate_score(prepare_data(a, b))
    ex.set_parameters(a=1, b=2)
    assert s.compute(scheduler=scheduler) == 3.3333333333333335
    ex.set_parameters(a=3, b=2)
    assert s.compute(scheduler=scheduler) == 2.0
    assert ex.trial_id == 5
    assert ex.get_persisted("prepare_data", 4) == 3
    assert ex.get_persisted("prepare_data", 5) == 5

    # Q13
    with pytest.warns(CodeChangedWarning):

        @ex.result
        def calculate_score(s: Any) -> Any:
            for i in range(100):
                ex.save_metric("dummy_score", epoch=i, value=100 - np.random.random() * i)
            return 10 / s

    s = calculate_score(prepare_data(a, b))
    ex.set_parameters(a=1, b=2)
    assert s.compute(scheduler=scheduler) == 3.3333333333333335
    ex.set_parameters(a=3, b=4)
    assert s.compute(scheduler=scheduler) == 1.4285714285714286
    assert ex.trial_id == 7

    # Q14
    one, two = ex.load_metric("dummy_score", 6), ex.load_metric("dummy_score", [6, 7])
    assert one.shape == (100, 1)
    assert two.shape == (100, 2)
    assert two.index.name == "Epoch"
    assert two.columns.name == "Trial ID"
    assert list(one.columns) == [6]
    assert list(two.columns) == [6, 7]
    assert list(two.loc[0]) == [100.0, 100.0]

    # Q16
    with pytest.warns(CodeChangedWarning):

        @ex.result
        def calculate_score(s: Any) -> Any:
            for i in range(100):
                ex.save_metric("dummy_score", epoch=i, value=100 - np.random.random() * i)

            return 10 / s + np.random.random()

    s = calculate_score(prepare_data(a, b))
    caplog.clear()
    with pytest.warns(PurityWarning) as caught:
        assert 1.428 < s.compute(scheduler=scheduler) < 2.429
    (text,) = purity(caught.list)
    assert "'calculate_score'" in text
    assert "Cause: code, seed" in text
    assert "+    return 10 / s + np.random.random()" in text
    assert (
        "Experiment step result is changed with the same input: "
        "(step: calculate_score, args: (7,), kwargs: {})"
    ) in caplog.text

    # Q17
    with pytest.warns(PurityWarning) as caught:
        assert s.compute(seed=1, scheduler=scheduler) == 1.7552163303435249
    (text,) = purity(caught.list)
    assert "Cause: seed" in text
    assert "Random seed is initialized with given seed: 1" in caplog.text
    assert ex.trial_id == 9

    # Q18: no warning, which the test run would turn into an error
    assert s.compute(seed=1, scheduler=scheduler) == 1.7552163303435249
    assert ex.trial_id == 10

    # Q19
    history = ex.get_history(verbose=True)
    assert list(history.columns) == VERBOSE
    assert list(history.loc[[9, 10], "Seed"]) == [1, 1]
    assert history.loc[9, "Result Type"] == "<class 'float'>"
    assert history.loc[3, "Result Type"] == "None"


def two_steps(ex: Experiment) -> Any:
    a, b = ex.parameter("a"), ex.parameter("b")

    @ex.persist
    def prepare_data(a: Any, b: Any) -> Any:
        return a + b

    @ex.result
    def calculate_score(s: Any) -> Any:
        return 10 / s

    return calculate_score(prepare_data(a, b))


def test_q15_code_is_shown_for_now_and_for_any_trial(ex: Experiment) -> None:
    s = two_steps(ex)
    s.compute(parameters={"a": 1, "b": 2})

    with pytest.warns(CodeChangedWarning, match="return 20 / s"):

        @ex.result
        def calculate_score(s: Any) -> Any:
            return 20 / s

    assert "@ex.persist\ndef prepare_data(a: Any, b: Any)" in ex.get_code(1)
    assert "return 10 / s" in ex.get_code(1)
    assert "return 20 / s" in ex.get_code()
    with pytest.raises(TrialIDNotFoundError):
        ex.get_code(2)


def test_q20_another_handle_finds_the_history(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    s = two_steps(Experiment("quickstart_pj", backend=backend))
    for a in range(10):
        s.compute(parameters={"a": a, "b": 1})
    caplog.set_level(logging.INFO, "daskperiment")

    again = Experiment("quickstart_pj", backend=backend)

    assert "Loaded existing experiment: Experiment(id: quickstart_pj, trial_id: 10" in caplog.text
    assert list(again.get_history().index) == list(range(1, 11))
    assert list(again.get_history()["a"]) == list(range(10))
    two_steps(again).compute(parameters={"a": 10, "b": 1})  # a warning would be an error


def test_q22_one_draw_of_each_generator_follows_the_seed(ex: Experiment) -> None:
    @ex.result
    def draw() -> float:
        return float(np.random.random() + random.random())

    assert draw().compute(seed=1) == 0.5513862488149752


def test_histories_of_equal_trials_are_equal_on_all_schedulers(client: Any) -> None:
    digests: dict[str, pd.DataFrame] = {}
    for scheduler in ("synchronous", "threads", "processes", client):
        ex = Experiment("same", backend="memory://")

        @ex
        def part(a: int) -> tuple[float, ...]:
            early = float(rand()) + gauss(0, 1)  # bound to the module before any trial
            return random.random(), float(np.random.normal()), float(ex.rng().random()), early

        @ex.result
        def whole(parts: list[Any]) -> Any:
            return sum(map(sum, parts)) + random.gauss(0, 1)

        a = ex.parameter("a", default=1)
        whole([part(a), part(a), part(a + 1)]).compute(seed=7, scheduler=scheduler)
        steps = ex.get_steps(1).sort_values(["step", "call"], ignore_index=True)
        digests[str(scheduler)] = steps[["step", "call", "seed", "fingerprint", "inputs", "output"]]

    first, *others = digests.values()
    for other in others:
        pd.testing.assert_frame_equal(first, other)
    assert first["output"].nunique() == 4


def test_q23_the_addresses_of_the_original_board(ex: Experiment) -> None:
    @ex.result
    def score(a: int) -> int:
        for epoch in range(3):
            ex.save_metric("my_metric", epoch, a + epoch)
        return a + 1

    s = score(ex.parameter("a"))
    for a in range(3):
        s.compute(parameters={"a": a})
    client = create_app(Board(ex.backend, ex.id)).test_client()

    page = client.get("/")
    summary = client.get("/json/summary/result").json
    table = client.get("/json/table").json
    metric = client.get('/json/metric/?ids=[2]&keys=["my_metric"]').json

    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert summary["labels"] == [1, 2, 3]
    assert summary["datasets"][0]["data"] == [1, 2, 3]
    assert [column["title"] for column in table["columns"]] == [
        "", "Trial ID", "a", "Seed", "Result", "Result Type", "Success", "Finished",
        "Process Time", "Description",
    ]  # fmt: skip
    assert [row[1:3] for row in table["data"]] == [[1, 0], [2, 1], [3, 2]]
    assert metric["datasets"][0]["label"] == "my_metric:2"
    assert metric["datasets"][0]["data"] == [1, 2, 3]
    assert client.get("/data/code/1").text.startswith("@ex.result")
    assert client.get("/data/env/1").text.startswith("Platform Information:")
