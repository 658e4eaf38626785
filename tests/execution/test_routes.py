"""Every way of computing a result records one trial with the right values."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

from daskperiment import Experiment, PurityWarning, StepDefinitionError
from daskperiment.backends import Backend

LOCAL = ("synchronous", "threads", "processes")


class Graph:
    """``score = (a + 3) * 2``, with an undecorated node between parameter and step."""

    def __init__(self, backend: Backend) -> None:
        self.ex = ex = Experiment("routes", backend=backend)
        self.a = ex.parameter("a", default=1)

        @ex
        def double(x: int) -> int:
            return 2 * x

        @ex.result
        def score(x: int) -> int:
            return x

        self.double, self.score = double, score
        self.s = score(double(self.a + 3))

    def check(self, trials: int = 1, **parameters: Any) -> None:
        assert self.ex.trial_id == trials
        for trial in self.ex.trials:
            assert trial.state == "COMPLETE"
            assert trial.parameters == {"a": 1, **parameters}
            assert trial.result == 2 * (trial.parameters["a"] + 3)
            assert list(trial.steps["step"]) == ["double", "score"]
            assert list(trial.steps["outcome"]) == ["ran", "ran"]


@pytest.fixture
def graph(backend: Backend) -> Graph:
    return Graph(backend)


@pytest.fixture(params=LOCAL)
def local(request: pytest.FixtureRequest) -> Iterator[str]:
    with dask.config.set(scheduler=request.param, num_workers=2):
        yield request.param


ROUTES: dict[str, tuple[Callable[[Graph], Any], Any]] = {
    "s.compute()": (lambda g: g.s.compute(), 8),
    "s.compute(optimize_graph=False)": (lambda g: g.s.compute(optimize_graph=False), 8),
    "dask.compute(s)": (lambda g: dask.compute(g.s)[0], 8),
    "dask.compute({'x': [s]})": (lambda g: dask.compute({"x": [g.s]})[0]["x"][0], 8),
    "dask.compute(s, optimize_graph=False)": (
        lambda g: dask.compute(g.s, optimize_graph=False)[0],
        8,
    ),
    "(s + 1).compute()": (lambda g: (g.s + 1).compute(), 9),
    "(1 + s).compute()": (lambda g: (1 + g.s).compute(), 9),
    "(-s).compute()": (lambda g: (-g.s).compute(), -8),
    "(s == 8).compute()": (lambda g: (g.s == 8).compute(), True),
    "s.real.compute()": (lambda g: g.s.real.compute(), 8),
    "s.bit_length().compute()": (lambda g: g.s.bit_length().compute(), 4),
    "dask.delayed(f)(s).compute()": (lambda g: dask.delayed(abs)(g.s).compute(), 8),
    "dask.delayed(sum)([s, 1]).compute()": (lambda g: dask.delayed(sum)([g.s, 1]).compute(), 9),
    "dask.delayed(s).compute()": (lambda g: dask.delayed(g.s).compute(), 8),
    "da.from_delayed(s).sum().compute()": (
        lambda g: da.from_delayed(dask.delayed(np.asarray)(g.s), (), int).sum().compute(),
        8,
    ),
    "dask.persist(s)": (lambda g: dask.persist(g.s)[0].compute(), 8),
    "s.persist()": (lambda g: g.s.persist().compute(), 8),
    "dask.optimize(s)": (lambda g: dask.optimize(g.s)[0].compute(), 8),
}


@pytest.mark.parametrize("route", ROUTES)
def test_each_route_records_one_trial(graph: Graph, local: str, route: str) -> None:
    compute, expected = ROUTES[route]

    assert compute(graph) == expected
    graph.check()


def test_two_collections_in_one_compute_are_two_trials(graph: Graph) -> None:
    assert dask.compute(graph.s, graph.s + 1) == (8, 9)
    graph.check(trials=2)


def test_the_same_node_twice_in_one_compute_is_one_trial(graph: Graph) -> None:
    assert dask.compute(graph.s, graph.s) == (8, 8)
    graph.check(trials=1)


def test_a_pickled_result_records_where_its_backend_is(graph: Graph, local: str) -> None:
    with dask.config.set(scheduler="synchronous"):
        again = pickle.loads(dask.multiprocessing.cloudpickle.dumps(graph.s))

        assert again.compute() == 8
    graph.check()


def test_values_are_those_at_the_time_of_computing(graph: Graph, local: str) -> None:
    later = graph.s + 1
    plain = dask.delayed(abs)(graph.s)
    graph.ex.set_parameters(a=5)

    assert (later.compute(), plain.compute(), dask.compute(graph.s)) == (17, 16, (16,))
    graph.check(trials=3, a=5)


def test_inspection_records_nothing(graph: Graph) -> None:
    s = graph.s
    assert len(s.dask) > 0
    assert len(s.__dask_graph__()) > 0
    dask.optimize(s)
    dask.base.tokenize(s)
    pickle.dumps(dask.multiprocessing.cloudpickle.dumps(s))
    assert graph.a.compute() == 1
    assert (graph.a + 3).compute() == 4
    assert hasattr(s, "shape")
    assert repr(s).startswith("Delayed('score-")

    assert graph.ex.trial_id == 0


def test_a_step_without_a_result_runs_unrecorded(graph: Graph, local: str) -> None:
    assert graph.double(graph.a).compute() == 2
    assert dask.delayed(abs)(graph.double(graph.a)).compute() == 2
    assert dask.compute(graph.double(graph.a)) == (2,)

    assert graph.ex.trial_id == 0


@pytest.mark.parametrize("where", ["parameter", "plain", "step", "after"])
@pytest.mark.parametrize("route", ["compute", "dask.compute", "delayed"])
def test_a_failure_anywhere_fails_the_trial(
    graph: Graph, local: str, where: str, route: str
) -> None:
    def fail(*_: Any) -> Any:
        raise KeyError("lost")

    broken = {
        "parameter": lambda: graph.score(graph.double(graph.a + "x")),
        "plain": lambda: graph.score(graph.double(dask.delayed(fail)(1))),
        "step": lambda: graph.score(graph.double(graph.double)),
        "after": lambda: graph.s + "x",
    }[where]()
    compute = {
        "compute": lambda: broken.compute(),
        "dask.compute": lambda: dask.compute(broken),
        "delayed": lambda: dask.delayed(lambda x: x)(broken).compute(),
    }[route]

    with pytest.raises((TypeError, KeyError)):
        compute()

    (trial,) = graph.ex.trials
    # A plain node that fails after a result was complete cannot take that back.
    assert trial.state == ("COMPLETE" if (where, route) == ("after", "delayed") else "FAILED")


def test_trials_from_many_threads_have_dense_numbers(graph: Graph) -> None:
    with ThreadPoolExecutor(8) as pool, dask.config.set(scheduler="synchronous"):
        values = list(pool.map(lambda _: dask.compute(graph.s)[0], range(40)))

    assert values == [8] * 40
    assert [trial.number for trial in graph.ex.trials] == list(range(1, 41))
    graph.check(trials=40)


def test_a_trial_may_run_inside_a_step(backend: Backend, local: str) -> None:
    inner = Graph(backend)
    outer = Experiment("outer", backend=backend)

    @outer.result
    def nested(a: int) -> tuple[int, int, int]:
        before = outer.current_trial_id
        value = inner.s.compute(scheduler="synchronous")
        return before, value, outer.current_trial_id

    assert tuple(nested(1).compute()) == (1, 8, 1)
    assert outer[1].state == "COMPLETE"
    inner.check()


def test_two_trials_at_once_keep_their_own_number(memory_ex: Experiment) -> None:
    ex, barrier = memory_ex, threading.Barrier(3)

    @ex.result
    def wait(i: int) -> tuple[int, int]:
        barrier.wait(30)
        return i, ex.current_trial_id

    i = ex.parameter("i")
    s = wait(i)
    with ThreadPoolExecutor(3) as pool:
        computed = pool.map(
            lambda n: s.compute(parameters={"i": n}, scheduler="synchronous"), range(3)
        )
        numbers = dict(computed)

    assert sorted(numbers.values()) == [1, 2, 3]
    for value, number in numbers.items():
        assert ex[number].parameters == {"i": value}


def test_independent_steps_run_in_parallel(memory_ex: Experiment) -> None:
    ex, barrier = memory_ex, threading.Barrier(4)

    @ex
    def meet(i: int) -> int:
        return barrier.wait(30)

    @ex.result
    def total(places: list[int]) -> int:
        return sum(places)

    assert total([meet(i) for i in range(4)]).compute(scheduler="threads", num_workers=4) == 6


def test_reads_work_while_a_trial_runs(ex: Experiment) -> None:
    inside, go = threading.Event(), threading.Event()

    @ex.result
    def pause() -> int:
        ex.log_metric("loss", 1.0)
        inside.set()
        return int(go.wait(30))

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(pause().compute)
        assert inside.wait(30)
        assert (ex.trial_id, ex.latest.state) == (1, "RUNNING")
        assert "trial_id: 1" in repr(ex)
        assert ex.get_history().empty
        assert ex.get_parameters(1) == {}
        assert "def pause" in ex.get_code(1)
        assert ex.latest.result is None
        assert ex.latest.finished is None
        go.set()
        assert future.result(30) == 1
    assert ex.latest.state == "COMPLETE"


@pytest.mark.cluster
class TestOnACluster:
    """The ways that need a client."""

    def test_client_compute(self, graph: Graph, client: Any) -> None:
        assert client.compute(graph.s).result() == 8
        graph.check()

    def test_client_compute_twice_is_two_trials(self, graph: Graph, client: Any) -> None:
        first = client.compute(graph.s)
        graph.ex.set_parameters(a=5)
        second = client.compute(graph.s)

        assert (first.result(), second.result()) == (8, 16)
        assert sorted(trial.parameters["a"] for trial in graph.ex.trials) == [1, 5]

    def test_client_persist(self, graph: Graph, client: Any) -> None:
        assert client.persist(graph.s).compute(scheduler=client) == 8
        graph.check()

    def test_a_composed_graph(self, graph: Graph, client: Any) -> None:
        assert client.compute(dask.delayed(abs)(graph.s) + 1).result() == 9
        graph.check()

    def test_dask_compute(self, graph: Graph, client: Any) -> None:
        assert dask.compute(graph.s, scheduler=client) == (8,)
        graph.check()

    def test_retries_of_a_step_are_attempts_of_one_trial(
        self, backend: Backend, client: Any, tmp_path: Any
    ) -> None:
        ex = Experiment("retries", backend=backend)
        mark = tmp_path / "once"

        with dask.annotate(retries=3):

            @ex.result
            def flaky() -> int:
                if not mark.exists():
                    mark.touch()
                    raise OSError("not yet")
                return 1

            s = flaky()

        for number, compute in enumerate([s.compute, lambda **_: client.compute(s).result()], 1):
            mark.unlink(missing_ok=True)
            assert compute(scheduler=client) == 1
            trial = ex[number]
            assert trial.state == "COMPLETE"
            assert trial.description is None
            assert list(trial.steps["outcome"]) == ["failed", "ran"]
            assert list(trial.steps["attempt"]) == [0, 1]

    def test_a_failure(self, graph: Graph, client: Any) -> None:
        broken = graph.score(graph.double(graph.a + "x"))
        with pytest.raises(TypeError):
            client.compute(broken).result()
        with pytest.raises(TypeError):
            broken.compute(scheduler=client)

        assert [str(trial.state) for trial in graph.ex.trials] == ["FAILED", "FAILED"]


def test_results_of_two_experiments_do_not_mix_silently(backend: Backend) -> None:
    one, two = Graph(backend), Experiment("two", backend=backend)

    @two.result
    def score(x: Any) -> Any:
        return x

    with pytest.raises(StepDefinitionError, match="mixes two experiments"):
        score(one.s).compute()


def test_a_dask_array_may_stand_between_steps(ex: Experiment) -> None:
    @ex
    def data(n: int) -> np.ndarray[Any, Any]:
        return np.arange(n)

    @ex.result
    def total(x: Any) -> int:
        return int(x)

    n = ex.parameter("n", default=10)
    array = da.from_delayed(data(n), shape=(10,), dtype=int)
    s = total((array + 1).sum())

    assert s.compute() == 55
    assert s.compute(parameters={"n": 10}) == 55
    steps = ex.get_steps(2).set_index("step")
    assert steps.loc["total", "upstream"] == ["data[0]"]
    assert steps.loc["data", "parameters"] == ["n"]


def test_a_warning_is_not_lost_on_other_routes(memory_ex: Experiment) -> None:
    state = iter(range(100))

    @memory_ex.result
    def impure() -> int:
        return next(state)

    s = impure()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        s.compute(seed=1, scheduler="synchronous")
    with pytest.warns(PurityWarning, match="unexplained"):
        dask.compute(s, scheduler="synchronous")


def test_a_trial_in_a_session_without_a_cluster_does_not_load_distributed() -> None:
    code = """
import sys
from daskperiment import Experiment
ex = Experiment("alone", backend="memory://")
score = ex.result(lambda a: a + 1, name="score")
print(score(ex.parameter("a", default=1)).compute(), "distributed" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"
