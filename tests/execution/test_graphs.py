"""Graphs that Dask's collections and optimisers have worked on."""

from __future__ import annotations

import random
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.delayed import Delayed

from daskperiment import CodeChangedWarning, Experiment, StepDefinitionError


def difference(ex: Experiment) -> Any:
    """A result whose value tells which of two equal steps drew first."""

    @ex
    def draw(tag: str) -> Any:
        return np.random.rand(9)

    @ex.result
    def total(value: Any) -> float:
        return float(value)

    a, b = (da.from_delayed(draw(tag), (9,), float) for tag in "ab")
    return total((a - b).sum())


def test_a_seed_gives_one_value_however_dask_orders_what_it_fuses(memory_ex: Experiment) -> None:
    values = {difference(memory_ex).compute(seed=5, scheduler="synchronous") for _ in range(12)}

    assert len(values) == 1


def test_values_persisted_by_two_runs_stay_two_values(memory_ex: Experiment) -> None:
    ex = memory_ex
    a = ex.parameter("a", default=10)
    s = ex.result(lambda a: a, name="same")(a)
    first = dask.persist(s)[0]
    ex.set_parameters(a=20)
    second = dask.persist(s)[0]

    both = ex.result(lambda x, y: (x, y), name="both")

    assert both(first, second).compute() == (10, 20)
    assert dask.compute(both(first, second)) == ((10, 20),)


def test_a_bag_may_stand_between_steps(memory_ex: Experiment) -> None:
    ex = memory_ex

    @ex
    def numbers(n: int) -> list[int]:
        return list(range(n))

    @ex.result
    def total(value: int) -> int:
        return value

    bag = db.from_delayed([numbers(ex.parameter("n", default=4))])
    s = total(bag.sum())

    assert s.compute() == 6
    assert dask.compute(s, scheduler="synchronous") == (6,)
    inside = da.from_delayed(dask.delayed(np.asarray)(bag.sum()), (), int) + 1
    assert total(inside).compute() == 7
    for trial in ex.trials:
        assert list(trial.steps["step"]) == ["numbers", "total"]


def test_a_data_frame_may_stand_between_steps(memory_ex: Experiment) -> None:
    ex = memory_ex

    @ex
    def load(n: int) -> pd.DataFrame:
        return pd.DataFrame({"x": range(n)})

    @ex.result
    def total(value: Any) -> float:
        return float(value)

    n = ex.parameter("n", default=10)
    frame = dd.from_delayed([load(n), load(n)], meta={"x": "int64"})
    s = total((frame.x + 1).sum())

    assert s.compute() == 110
    assert dask.compute(s, scheduler="synchronous") == (110,)
    assert s.compute(parameters={"n": 4}) == 20
    for trial in ex.trials:
        assert list(trial.steps["upstream"]) == [[], [], ["load[0]", "load[1]"]]


@pytest.mark.filterwarnings("ignore::daskperiment.PurityWarning")
def test_a_step_after_the_result_belongs_to_its_trial(memory_ex: Experiment) -> None:
    ex = memory_ex

    @ex.result
    def score() -> float:
        return 1.0

    @ex
    def after(x: float) -> float:
        ex.log_metric("x", x)
        return x + random.random()

    s = after(score())
    values = {
        dask.delayed(abs)(s).compute(scheduler="synchronous"),
        dask.compute(s, scheduler="synchronous")[0],
        s.compute(),
    }

    assert len(ex.trials) == 3
    assert len(values) == 3
    for trial in ex.trials:
        assert list(trial.steps["step"]) == ["score", "after"]
        assert trial.result == 1.0
        assert trial.metrics["x"][0].value == 1.0


def test_steps_of_an_earlier_handle_are_not_used_silently() -> None:
    def define(ex: Experiment) -> tuple[Any, Any]:
        return ex.parameter("a", default=1), ex.result(lambda a: a, name="same")

    _, old_step = define(Experiment("nb", backend="memory://"))
    a, _ = define(Experiment("nb", backend="memory://"))

    with pytest.raises(StepDefinitionError, match="earlier Experiment"):
        old_step(a)


def test_one_graph_may_not_use_one_name_for_two_functions(memory_ex: Experiment) -> None:
    one = memory_ex(lambda: 1, name="f")
    with pytest.warns(CodeChangedWarning, match="'f' has been redefined"):
        two = memory_ex(lambda: 2, name="f")

    with pytest.raises(StepDefinitionError, match="two different functions"):
        memory_ex.result(lambda *parts: parts, name="both")(one(), two())


def test_a_step_may_have_any_argument_names(memory_ex: Experiment) -> None:
    def same(self: int, pure: int, dask_key_name: int) -> tuple[int, int, int]:
        return self, pure, dask_key_name

    s = memory_ex.result(same)(self=memory_ex.parameter("self"), pure=2, dask_key_name=3)
    memory_ex.set_parameters(self=1)

    assert s.compute() == (1, 2, 3)


def test_a_graph_of_ten_thousand_nodes_needs_no_deep_stack(memory_ex: Experiment) -> None:
    chain = {f"n-{i}": (int.__add__, f"n-{i - 1}", 1) for i in range(1, 10_000)}
    deep = Delayed("n-9999", {"n-0": 0, **chain})
    s = memory_ex.result(lambda x: x, name="same")(deep)

    assert s.compute(scheduler="synchronous") == 9999


def test_seeds_do_not_depend_on_steps_that_have_nothing_to_do_with_it(
    memory_ex: Experiment,
) -> None:
    ex = memory_ex

    @ex
    def draw(tag: str) -> float:
        return random.random()

    @ex
    def other() -> float:
        return random.random()

    @ex.result
    def gather(*parts: float) -> tuple[float, ...]:
        return parts

    alone = gather(draw("a"), draw("b")).compute(seed=3)
    b, _, a = draw("b"), other(), draw("a")  # built in another order, beside another step

    assert gather(other(), a, b).compute(seed=3)[1:] == alone
