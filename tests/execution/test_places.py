"""Where trials run: futures, GPUs, resources, spread steps, shards, and workers without a store."""

from __future__ import annotations

import os
import threading
import unittest.mock
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from daskperiment import (
    BatchArgumentError,
    DaskperimentWarning,
    Experiment,
    ParameterUndefinedError,
    ResourceError,
    Trial,
)
from daskperiment.graph import Node


@pytest.fixture
def ex(tmp_path: Path) -> Experiment:
    return Experiment("places", backend=tmp_path / "store", seed=5)


def graph(ex: Experiment, **options: Any) -> Node:
    """Two steps, of which the second one tells what its process sees of the GPUs."""

    @ex(name="first")
    def first(a: int) -> tuple[int, int]:
        if a == 13:
            raise ValueError("unlucky")
        ex.log_metric("a", a)
        print("first", a)
        return a, os.getpid()

    @ex.result(name="see", **options)
    def see(before: tuple[int, int]) -> list[Any]:
        return [before[0], os.environ.get("CUDA_VISIBLE_DEVICES")]

    return see(first(ex.parameter("a")))


# -- one trial, without waiting


@pytest.mark.parametrize("executor", [None, "threads", "processes", "cluster"])
def test_a_submitted_trial_is_a_future(
    ex: Experiment, executor: Any, request: pytest.FixtureRequest
) -> None:
    if executor == "cluster":
        executor = request.getfixturevalue("client")
    s = graph(ex)

    futures = [ex.submit(s, {"a": a}, executor) for a in (1, 13, 2)]

    assert [futures[i].result().result[0] for i in (0, 2)] == [1, 2]
    assert isinstance(futures[0].result(), Trial)
    with pytest.raises(ValueError, match="unlucky"):
        futures[1].result()
    assert sorted(str(trial.state) for trial in ex.trials) == ["COMPLETE", "COMPLETE", "FAILED"]


def test_a_submitted_trial_is_checked_at_once(ex: Experiment) -> None:
    with pytest.raises(ParameterUndefinedError, match="a"):
        ex.submit(graph(ex))


# -- GPUs and other resources


def test_each_worker_sees_only_its_own_gpus(ex: Experiment) -> None:
    trials = ex.map(
        graph(ex), [{"a": a} for a in range(9)], "processes", gpus=[0, 0, (1, 2)]
    )  # fmt: skip

    assert {trial.result[1] for trial in trials} <= {"0", "1,2"}
    assert len({trial.steps["pid"].iloc[0] for trial in trials}) <= 3
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_step_that_needs_gpus_gets_as_many(ex: Experiment) -> None:
    s = graph(ex, resources={"GPU": 2})

    (trial,) = ex.map(s, [{"a": 1}], "processes", gpus=[("a", "b")])

    assert trial.result == [1, "a,b"]
    with pytest.raises(ResourceError, match="needs 2 GPUs, and gpus gives a worker only 0"):
        ex.map(s, [{"a": 1}], "processes", gpus=[0])


@pytest.mark.parametrize(
    ("executor", "resources", "gpus", "reason"),
    [
        ("threads", {"GPU": 1}, None, "threads cannot be given: take executor='processes' for GPU"),
        ("threads", {}, [0], "gpus is for worker processes"),
        ("processes", {"TPU": 1}, None, "only given GPUs: take a cluster whose workers offer it"),
        ("processes", {}, "01", "gpus is a list with an entry for each worker"),
        ("processes", {}, [], "gpus is a list with an entry for each worker"),
        ("processes", {}, [-1], "gpus is a list with an entry for each worker"),
    ],
)
def test_what_nothing_can_offer_is_refused_instead_of_waited_for(
    ex: Experiment, executor: str, resources: Any, gpus: Any, reason: str
) -> None:
    with pytest.raises(ResourceError, match=reason):
        ex.map(graph(ex, resources=resources or None), [{"a": 1}], executor, gpus=gpus)
    assert len(ex.trials) == 0


def test_the_gpus_that_are_free_are_used_where_none_are_named(
    ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for nvidia-ml-py, with its interface: a machine with three GPUs, one busy."""
    import sys
    import types

    library = types.ModuleType("pynvml")
    vars(library).update(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 3,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetUtilizationRates=lambda number: types.SimpleNamespace(gpu=[5, 90, 0][number]),
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)

    trials = ex.map(
        graph(ex, resources={"GPU": 1}), [{"a": a} for a in range(6)], "processes"
    )  # fmt: skip

    assert {trial.result[1] for trial in trials} <= {"0", "2"}
    with pytest.raises(ResourceError, match=r"needs 3 GPU\(s\), and 2 of this machine are free"):
        ex.map(graph(ex, resources={"GPU": 3}), [{"a": 7}], "processes")


@pytest.fixture(scope="module")
def gpu_cluster() -> Iterator[Any]:
    """A cluster whose only worker offers one GPU."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0",
            resources={"GPU": 1},
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        yield client


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_workers_of_a_cluster_are_chosen_by_what_they_offer(
    ex: Experiment, gpu_cluster: Any
) -> None:
    running, most = [], []

    @ex.result(resources={"GPU": 1})
    def use(a: int) -> int:
        running.append(a)
        most.append(len(running))
        threading.Event().wait(0.02)
        running.remove(a)
        return a

    trials = ex.map(use(ex.parameter("a")), [{"a": a} for a in range(5)], gpu_cluster)

    assert [trial.result for trial in trials] == [0, 1, 2, 3, 4]
    with pytest.raises(ResourceError, match="none of the 1 workers of the cluster offers"):
        ex.map(graph(ex, resources={"GPU": 2}), [{"a": 1}], gpu_cluster)


# -- steps spread over workers


def test_the_steps_of_a_trial_can_be_spread_over_a_cluster(ex: Experiment, client: Any) -> None:
    @ex
    def part(a: int, i: int) -> int:
        threading.Event().wait(0.1)
        return a * i

    @ex.result
    def total(parts: list[int]) -> int:
        return sum(parts)

    a = ex.parameter("a")
    s = total([part(a, i) for i in range(6)])

    trials = ex.map(s, [{"a": 1}, {"a": 2}], client, spread=True)

    assert [trial.result for trial in trials] == [15, 30]
    steps = trials[0].steps
    assert len(set(steps[steps["step"] == "part"]["pid"])) == 2


def test_only_a_cluster_spreads_steps(ex: Experiment) -> None:
    with pytest.raises(BatchArgumentError, match="give a distributed.Client as executor"):
        ex.map(graph(ex), [{"a": 1}], "processes", spread=True)


# -- workers that cannot reach the store


def _elsewhere() -> None:
    os.environ["STORE_PORT"] = "1"


def _as_nobody() -> None:
    os.setuid(65534)


def test_records_travel_back_from_workers_that_do_not_reach_the_server(
    redis_running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_PORT", str(redis_running.port))
    ex = Experiment("carried", backend="redis://127.0.0.1:${STORE_PORT}/0", seed=5)
    s = graph(ex)

    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_elsewhere) as pool:
        trials = ex.map(s, [{"a": 1}, {"a": 13}, {"a": 2}], pool, on_error="continue")
        again = ex.map(s, [{"a": 2}], pool, skip_completed=True)

    assert [str(trial.state) for trial in trials] == ["COMPLETE", "FAILED", "COMPLETE"]
    assert again == [trials[2]]
    assert sorted(trial.number for trial in trials) == [1, 2, 3]
    assert trials[0].result == [1, None]
    assert trials[0].metrics["a"][0].value == 1
    assert "first 1" in str(trials[0].output)
    assert list(trials[0].steps["step"]) == ["first", "see"]
    assert trials[1].description == "ValueError(unlucky)"
    assert ex.unsynced == 0


@pytest.fixture(scope="module")
def far_cluster() -> Iterator[Any]:
    """Two workers that reach servers by another way than this process, which leads nowhere."""
    distributed = pytest.importorskip("distributed")
    with (
        unittest.mock.patch.dict(os.environ, {"STORE_PORT": "1"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def far(redis_running: Any, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.setenv("STORE_PORT", str(redis_running.port))
    return Experiment("far", backend="redis://127.0.0.1:${STORE_PORT}/0", seed=5)


def test_records_of_steps_that_are_spread_travel_back_too(
    far: Experiment, far_cluster: Any
) -> None:
    @far.persist(name="part")
    def part(a: int, i: int) -> int:
        print("part", i)
        far.log_metric(f"m{i}", a * i)
        threading.Event().wait(0.1)
        return a * i

    @far.result(name="total")
    def total(parts: list[int]) -> float:
        return sum(parts) / parts[0]

    a = far.parameter("a")
    s = total([part(a, i) for i in (1, 2, 3)])

    trials = far.map(s, [{"a": 1}, {"a": 0}], far_cluster, spread=True, on_error="continue")
    far.set_parameters(a=2)
    s.compute(scheduler=far_cluster)

    first, second = trials
    assert [str(trial.state) for trial in (*trials, far[3])] == ["COMPLETE", "FAILED", "COMPLETE"]
    assert sorted(first.steps["step"]) == ["part", "part", "part", "total"]
    assert (first.result, second.description) == (6.0, "ZeroDivisionError(division by zero)")
    assert [first.metrics[f"m{i}"][0].value for i in (1, 2, 3)] == [1, 2, 3]
    assert "part 2" in str(first.output)
    assert sorted(second.steps["outcome"]) == ["failed", "ran", "ran", "ran"]
    assert sorted(far.get_persisted("part", first.number, call) for call in range(3)) == [1, 2, 3]
    assert far[3].result == 6.0
    assert far.unsynced == 0


def test_records_of_steps_whose_worker_has_gone_are_said_to_be_lost(
    far: Experiment, far_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = graph(far)
    far.set_parameters(a=1)

    def gone(*args: Any, **kwargs: Any) -> Any:
        raise OSError("no such worker")

    monkeypatch.setattr(far_cluster, "run", gone)

    with pytest.warns(DaskperimentWarning, match="lost: no such worker"):
        assert s.compute(scheduler=far_cluster)[0] == 1

    assert str(far.latest.state) == "COMPLETE"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can")
def test_records_travel_back_from_workers_that_may_not_open_the_store(ex: Experiment) -> None:
    with ProcessPoolExecutor(1, get_context("fork"), initializer=_as_nobody) as pool:
        trials = ex.map(graph(ex), [{"a": 1}, {"a": 2}], pool)

    assert [trial.result[0] for trial in trials] == [1, 2]
    assert [trial.number for trial in trials] == [1, 2]


# -- shards


def test_shards_are_disjoint_and_complete(ex: Experiment) -> None:
    s = graph(ex)
    jobs = [{"a": a} for a in range(10)]

    shares = [ex.map(s, jobs, shard=(part, 3)) for part in range(3)]

    assert [[t.parameters["a"] for t in share] for share in shares] == [
        [0, 3, 6, 9], [1, 4, 7], [2, 5, 8],
    ]  # fmt: skip
    assert len(ex.trials) == 10
    assert [t.parameters["a"] for t in ex.map(s, jobs, skip_completed=True)] == list(range(10))
    assert len(ex.trials) == 10


def test_the_command_line_says_which_shard_this_computer_runs(
    ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASKPERIMENT_SHARD", "1/2")

    trials = ex.map(graph(ex), [{"a": a} for a in range(5)])

    assert [trial.parameters["a"] for trial in trials] == [1, 3]
