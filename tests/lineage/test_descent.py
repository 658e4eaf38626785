"""Descent within a trial, and the trials that have taken an output."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

import daskperiment
from daskperiment import Experiment
from daskperiment.history.steps import Steps
from daskperiment.history.trials import Trials
from daskperiment.lineage.descent import descent
from daskperiment.lineage.impact import descending
from daskperiment.lineage.takers import Takers, takers
from daskperiment.records import Argument, StepRecord


def record(step: str, call: int, *origins: tuple[str, str, int]) -> StepRecord:
    made = (Argument("x", None, "", origins),)
    return StepRecord(
        "0f", step, call, made, None, None, 0, False, False, {}, "", "", 0, 0.0, 0.5, "ran"
    )


def test_the_nearest_relatives_come_first_and_none_twice() -> None:
    graph = [
        record("load", 0, ("parameter", "a", 0)),
        record("clean", 0, ("step", "load", 0), ("step", "load", 0)),
        record("clean", 1, ("step", "load", 0), ("parameter", "a", 0)),
        record("score", 0, ("step", "clean", 0), ("step", "clean", 1)),
        record("other", 0, ("parameter", "b", 0)),
    ]
    found = descent(graph, [("step", "clean", 0), ("step", "clean", 1)])

    assert found.above == (("step", "load", 0), ("parameter", "a", 0))
    assert found.below == (("step", "score", 0),)
    assert descent(graph, [("parameter", "a", 0)]).below == (
        ("step", "load", 0), ("step", "clean", 1), ("step", "clean", 0), ("step", "score", 0),
    )  # fmt: skip
    assert descent(graph, [("step", "none", 0)]) == ((), ())


def test_a_call_that_has_not_ended_has_descendants_and_a_circle_ends() -> None:
    graph = [record("fit", 0, ("step", "runs", 0), ("step", "fit", 0)), record("runs", 1)]

    assert descent(graph, [("step", "runs", 0)]).below == (("step", "fit", 0),)
    assert descent(graph, [("step", "fit", 0)]) == ((("step", "runs", 0),), ())


def test_a_long_chain_is_followed_at_once() -> None:
    chain = [record("s", i, ("step", "s", i - 1)) for i in range(1, 5000)]
    began = time.process_time()

    assert len(descent(chain, [("step", "s", 0)]).below) == 4999
    assert len(descending(chain, lambda one: one.call == 1)) == 4999
    assert time.process_time() - began < 2


@pytest.fixture
def ex() -> Iterator[Experiment]:
    """Trials 2 and 4 have taken ``clean`` from trial 1, 3 has run it for itself."""
    ex = Experiment("taken", backend="memory://", seed=1, reuse=True)

    @ex
    def clean(a: int) -> int:
        return a

    @ex.result
    def score(data: int, b: int) -> int:
        return data + b

    s: Any = score(clean(ex.parameter("a", default=1)), ex.parameter("b", default=2))
    s.compute()
    s.compute(parameters={"b": 3})
    s.compute(parameters={"a": 9})
    s.compute(parameters={"b": 4})
    yield ex


def takers_of(ex: Experiment, number: int, step: str, most: int = 100) -> Takers:
    trials = Trials(ex.backend, ex.id)
    records = Steps(ex.backend, ex.id).read(ex[number].uid)
    return takers(trials, number, [one for one in records if one.step == step], most, 60.0)


def test_who_has_taken_an_output_is_found_with_what_was_made_from_it(ex: Experiment) -> None:
    found = takers_of(ex, 1, "clean")

    assert [(each.number, each.calls, each.result) for each in found.affected] == [
        (2, ("clean", "score"), "4"), (4, ("clean", "score"), "5"),
    ]  # fmt: skip
    assert found.left == 0
    assert takers_of(ex, 1, "score").affected == takers_of(ex, 3, "clean").affected == ()


def test_a_call_that_was_taken_has_the_takers_of_where_it_ran(ex: Experiment) -> None:
    assert [each.number for each in takers_of(ex, 2, "clean").affected] == [4]
    assert [each.number for each in takers_of(ex, 4, "clean").affected] == [2]


def test_what_was_not_looked_at_is_counted(ex: Experiment) -> None:
    found = takers_of(ex, 1, "clean", most=1)

    assert ([each.number for each in found.affected], found.looked, found.left) == ([2], 1, 1)


def test_a_new_attempt_that_took_a_step_from_the_failed_one_is_found() -> None:
    ex = Experiment("attempts", backend="memory://", seed=1)

    @ex.persist
    def part(a: int) -> int:
        return a

    @ex.result
    def end(value: int) -> int:
        if daskperiment.current().number == 1:
            raise ValueError("once")
        return value

    ex.map(end(part(ex.parameter("a"))), [{"a": 5}], retries=1)

    assert ex[2].steps["reused_from"].tolist() == [1, None]
    assert [each.number for each in takers_of(ex, 1, "part").affected] == [2]
