"""What descends from a version of code or from an input, and what is marked is not used again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment, OptionError, QueryError
from daskperiment.backends import Backend
from daskperiment.graph import Node
from daskperiment.lineage.impact import Impact


def build(ex: Experiment, pipeline: Any) -> Node:
    """Two branches, of which one goes through a helper."""
    cleaned = ex(pipeline.clean)(ex.parameter("a", default=1))
    other = ex(pipeline.other)(ex.parameter("b", default=2))
    return ex.result(pipeline.score)(cleaned, other)


PIPELINE = """
    import utils

    def clean(a):
        return utils.scale(a)

    def other(b):
        return b

    def score(x, y):
        return x + y
"""


def version(load: Any, factor: int) -> Any:
    return load(pipeline=PIPELINE, utils=f"def scale(x):\n    return x * {factor}\n")


def found(impact: Impact) -> dict[tuple[str, int], tuple[str, ...]]:
    return {(each.experiment, each.number): each.calls for each in impact.affected}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_experiments_are_searched_for_a_version_of_a_helper(
    every_backend: Backend, load: Any
) -> None:
    one = Experiment("one", backend=every_backend, seed=1)
    two = Experiment("two", backend=every_backend, seed=1)
    old = version(load, 2)
    build(one, old).compute()
    build(two, old).compute()
    build(one, version(load, 3)).compute()

    assert found(one.impact("utils.scale", code=1)) == {
        ("one", 1): ("clean", "score"), ("two", 1): ("clean", "score"),
    }  # fmt: skip
    assert found(one.impact("clean", code=one[2])) == {("one", 2): ("clean", "score")}
    assert len(found(one.impact("utils.scale"))) == 3
    assert found(one.impact("clean", code=one[1].version("clean")[:12])).keys() == {
        ("one", 1), ("two", 1),
    }  # fmt: skip


def test_an_input_is_found_as_a_value_and_as_a_file(tmp_path: Path) -> None:
    ex = Experiment("inputs", backend="memory://", seed=1)
    data = tmp_path / "data.txt"
    data.write_text("7")
    read = ex(lambda path: int(path.read_text()), name="read")(ex.parameter("path"))
    s = ex.result(lambda x, b: x + b, name="score")(read, ex.parameter("b", default=1))
    s.compute(parameters={"path": data})
    s.compute(parameters={"path": data, "b": 5})

    assert found(ex.impact(input=data)) == {
        ("inputs", 1): ("read", "score"), ("inputs", 2): ("read", "score"),
    }  # fmt: skip
    assert found(ex.impact("score", input=5)) == {("inputs", 2): ("score",)}
    data.write_text("8")
    assert not ex.impact(input=data)


def test_results_artifacts_and_reuses_are_named(tmp_path: Path, load: Any) -> None:
    ex = Experiment("named", backend=tmp_path / "store", seed=1, reuse=True)

    @ex
    def clean(a: int) -> int:
        ex.save_artifact("plots/clean.txt", str(a))
        return a

    @ex.result
    def score(x: int, b: int) -> int:
        return x + b

    s = score(clean(ex.parameter("a", default=1)), ex.parameter("b"))
    s.compute(parameters={"b": 1})
    s.compute(parameters={"b": 2})

    impact = ex.impact("clean")

    assert str(impact).splitlines() == [
        "2 trials descend from clean",
        "  trial 1 of 'named': clean, score",
        "    result 2",
        "    artifacts plots/clean.txt",
        "  trial 2 of 'named': clean, score",
        "    result 3",
        "    artifacts plots/clean.txt",
        "    clean reused from trial 1",
    ]
    assert impact.frame["result"].to_list() == ["2", "3"]
    assert ex.impact("score").document()["trials"][0]["calls"] == ["score"]


def test_what_descends_from_nothing_that_was_recorded_is_nothing() -> None:
    ex = Experiment("nothing", backend="memory://", seed=1)
    ex.result(lambda: 1, name="one")().compute()

    assert not ex.impact("other")
    assert str(ex.impact(input=99)).startswith("no trial descends from the input ")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "Ask for a step or helper"),
        ({"name": "one", "code": "no digest"}, "is no beginning of a digest"),
        ({"code": "77de"}, "name it, too"),
        ({"name": "other", "code": 1}, "has called neither a step nor a function 'other'"),
        ({"input": (item for item in [])}, "cannot be found"),
    ],
)
def test_a_question_without_an_answer_says_what_to_ask(asked: dict[str, Any], told: str) -> None:
    ex = Experiment("asked", backend="memory://", seed=1)
    ex.result(lambda: 1, name="one")().compute()

    with pytest.raises(QueryError, match=told):
        ex.impact(**asked)


# -- taint


def reusing(backend: Any) -> tuple[Experiment, Node]:
    ex = Experiment("tainted", backend=backend, seed=1, reuse=True)
    cleaned = ex(lambda a: a + 1, name="clean")(ex.parameter("a", default=1))
    loaded = ex(lambda b: b, name="load")(ex.parameter("b", default=2))
    return ex, ex.result(lambda x, y: x + y, name="score")(cleaned, loaded)


def outcomes(ex: Experiment, number: int) -> dict[str, str]:
    steps = ex[number].steps
    return dict(zip(steps["step"], steps["outcome"], strict=True))


def test_what_is_tainted_is_never_reused_and_the_rest_is(every_backend: Backend) -> None:
    ex, s = reusing(every_backend)
    s.compute()

    ex.taint("clean", reason="off by one")
    s.compute()

    assert outcomes(ex, 2) == {"clean": "ran", "load": "reused", "score": "ran"}
    assert ex[2].why("clean") == "ran: it is tainted there: off by one (trial 1)"
    assert s.compute() == 4
    assert set(outcomes(ex, 3).values()) == {"reused"}


def test_a_taint_is_shown_with_its_reason_until_it_is_taken_back(every_backend: Backend) -> None:
    ex, s = reusing(every_backend)
    s.compute()
    s.compute(parameters={"a": 5})

    marked = ex.taint("clean", input=5, reason="five is wrong")

    assert found(marked) == {("tainted", 2): ("clean", "score")}
    (taint,) = ex[2].taints
    assert (taint.reason, taint.calls) == ("five is wrong", (("clean", 0), ("score", 0)))
    table = ex.get_history(columns=["Tainted"], where="Tainted == 'five is wrong'")
    assert table.index.to_list() == [2]
    ex[2].untaint()
    assert ex[2].taints == []
    assert ex.get_history(columns=["Tainted"])["Tainted"].isna().all()


def test_taints_of_several_at_the_same_time_all_stay(tmp_path: Path) -> None:
    ex, s = reusing(tmp_path / "store")
    s.compute()
    threads = [
        threading.Thread(target=lambda n=n: ex.taint("clean", reason=f"reason {n}"))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {taint.reason for taint in ex[1].taints} == {f"reason {n}" for n in range(8)}
    ex.taint("clean", reason="reason 1")
    assert len(ex[1].taints) == 8


@pytest.mark.parametrize("reason", ["", " \n", None, 3])
def test_a_taint_needs_a_reason(reason: Any) -> None:
    ex, s = reusing("memory://")
    s.compute()

    with pytest.raises(OptionError, match="A taint needs a reason"):
        ex.taint("clean", reason=reason)
    assert ex[1].taints == []
