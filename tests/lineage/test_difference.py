"""``ex.diff(a, b)`` shows what differs between two trials, and only that."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daskperiment import Experiment, TrialIDNotFoundError
from daskperiment.backends import Backend

pytestmark = pytest.mark.filterwarnings(
    "ignore::daskperiment.CodeChangedWarning",
    "ignore::daskperiment.PurityWarning",
    "ignore::daskperiment.EnvironmentChangedWarning",
)

SECTIONS = {
    "state", "parameters", "seed", "packages", "environment", "session", "metrics", "outputs",
    "result",
}  # fmt: skip


@pytest.fixture
def ex(backend: Backend) -> Experiment:
    return Experiment("example", backend=backend, seed=1)


def trial(ex: Experiment, function: Callable[..., Any], **parameters: Any) -> Any:
    """Run one trial of one step, named ``run``, and give the trial."""
    nodes = {name: ex.parameter(name) for name in parameters}
    ex.result(function, name="run")(**nodes).compute(parameters=parameters, scheduler="synchronous")
    return ex.latest


def same(**parameters: Any) -> int:
    return 1


def cells(ex: Experiment, section: str) -> Any:
    return ex.diff(1, 2).document()[section]


# -- what differs ---------------------------------------------------------------------------


def test_equal_trials_do_not_differ(ex: Experiment) -> None:
    trial(ex, same, a=1)
    trial(ex, same, a=1)
    found = ex.diff(1, 2)

    assert not found
    assert found.document()["differs"] is False
    assert not any(found.document()[section] for section in SECTIONS)
    assert str(found).splitlines()[:2] == ["trial 1 -> trial 2 of 'example'", "nothing differs"]


def test_parameters_that_differ_are_shown_and_no_others(ex: Experiment) -> None:
    trial(ex, same, a=1, b="x", c=[1])
    trial(ex, same, a=3, b="x", c=[2])
    found = ex.diff(1, 2)

    assert found
    assert found.document()["parameters"] == [
        {"name": "a", "a": 1, "b": 3},
        {"name": "c", "a": [1], "b": [2]},
    ]
    assert "parameters\n  a: 1 -> 3\n  c: [1] -> [2]\n" in str(found)


def test_nested_parameters_are_compared_by_their_parts(ex: Experiment) -> None:
    trial(ex, same, model={"lr": 0.1, "layers": {"n": 2, "width": 8}})
    trial(ex, same, model={"lr": 0.1, "layers": {"n": 3, "width": 8}})

    assert cells(ex, "parameters") == [{"name": "model.layers.n", "a": 2, "b": 3}]


def test_a_value_that_only_one_trial_has_is_no_none(ex: Experiment) -> None:
    trial(ex, same, a=None)
    trial(ex, same, b=None)

    assert cells(ex, "parameters") == [{"name": "a", "a": None}, {"name": "b", "b": None}]
    assert "  a: None -> absent\n  b: absent -> None" in str(ex.diff(1, 2))


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), ("1", 1), (0.0, -0.0), ((1,), [1]), (1, math.nan)]
)
def test_values_that_only_look_equal_differ(ex: Experiment, one: Any, other: Any) -> None:
    trial(ex, same, a=one)
    trial(ex, same, a=other)

    assert [change.name for change in ex.diff(1, 2).parameters] == ["a"]


@pytest.mark.parametrize("value", [math.nan, {"x": [math.nan]}, np.arange(3), {1, 2}, b"x" * 9999])
def test_equal_values_of_any_kind_do_not_differ(ex: Experiment, value: Any) -> None:
    trial(ex, same, a=value)
    trial(ex, same, a=value)

    assert not ex.diff(1, 2)


def test_the_seed_state_and_result_are_compared(ex: Experiment) -> None:
    def inverse(a: int) -> float:
        return 1 / a

    trial(ex, inverse, a=4)
    with pytest.raises(ZeroDivisionError):
        ex.result(inverse, name="run")(ex.parameter("a")).compute(seed=2, parameters={"a": 0})
    document = ex.diff(1, 2).document()

    assert document["state"] == [{"name": "state", "a": "COMPLETE", "b": "FAILED"}]
    assert document["seed"] == [{"name": "seed", "a": 1, "b": 2}]
    assert document["result"] == [{"name": "result", "a": 0.25}]
    assert "result: 0.25 -> absent" in str(ex.diff(1, 2))


def test_metrics_are_compared_by_their_last_values_and_as_series(ex: Experiment) -> None:
    def log(**series: list[float]) -> Callable[[], None]:
        def run() -> None:
            for name, values in series.items():
                for value in values:
                    ex.log_metric(name, value)

        return run

    trial(ex, log(equal=[math.nan, 1.0], last=[1.0, 2.0], early=[1.0, 2.0], gone=[5.0]))
    trial(ex, log(equal=[math.nan, 1.0], last=[1.0, math.nan], early=[0.0, 2.0]))

    assert cells(ex, "metrics") == [
        {"name": "last", "a": 2.0, "b": "nan"},
        {"name": "early", "a": 2.0, "b": 2.0},
        {"name": "gone", "a": 5.0},
    ]
    assert "early: 2.0 -> 2.0 (earlier values differ)" in str(ex.diff(1, 2))


def test_outputs_of_steps_are_compared_by_place(ex: Experiment) -> None:
    values = iter([1, 2, 1, 3])

    @ex
    def read(name: str) -> int:
        return next(values)

    @ex.result
    def total(parts: list[int]) -> int:
        return len(parts)

    for _ in range(2):
        total([read("a"), read("b")]).compute(scheduler="synchronous")

    (cell,) = cells(ex, "outputs")
    assert cell["name"] == "read[1]"
    assert cell["a"].startswith("v1:")
    assert cell["a"] != cell["b"]


def test_the_environment_is_compared_by_named_parts(ex: Experiment) -> None:
    trial(ex, same)
    trial(ex, same)
    path = "experiment/example/trials"
    row = ex.backend.get(path, 1)
    assert row is not None
    for kind, category, changed in (
        ("environment", "packages", {"numpy": "1.26"}),
        ("environment", "cpu", {"model": "older"}),
        ("session", "script", {"arguments": ["a=1"]}),
    ):
        document = ex.backend.get("snapshots", row[kind])
        assert document is not None
        document[category].update(changed)
        row[kind] = f"v1:{category}"
        ex.backend.insert("snapshots", document, row[kind])
    ex.backend.update(path, 1, {kind: row[kind] for kind in ("environment", "session")})
    document = ex.diff(1, 2).document()

    assert document["packages"] == [{"name": "numpy", "a": "1.26", "b": np.__version__}]
    assert [cell["name"] for cell in document["environment"]] == ["cpu.model"]
    assert [cell["name"] for cell in document["session"]] == ["script.arguments"]
    assert document["session"][0]["a"] == ["a=1"]
    assert f"packages\n  numpy: 1.26 -> {np.__version__}\n" in str(ex.diff(1, 2))


# -- code -------------------------------------------------------------------------------------


def test_code_is_compared_by_steps_and_shown_by_diffs(ex: Experiment) -> None:
    def unit(x: int) -> int:
        return x

    def old(x: int) -> int:
        return unit(x)

    def helped(helper: Callable[[int], int]) -> Callable[[int], int]:
        def new(x: int) -> int:
            return helper(x)

        return new

    def double(x: int) -> int:
        return 2 * x

    def triple(x: int) -> int:
        return 3 * x

    finish = ex.result(lambda x: x, name="finish")
    one = finish(ex(helped(double), name="a")(ex(old, name="gone")(1)))
    two = finish(ex(helped(triple), name="a")(ex(old, name="come")(1)))
    one.compute(scheduler="synchronous")
    two.compute(scheduler="synchronous")
    code = cells(ex, "code")

    assert (code["added"], code["removed"]) == (["come"], ["gone"])
    assert {change["step"] for change in code["changed"]} == {"a"}
    assert any("return 3 * x" in change["diff"] for change in code["changed"])
    assert "step 'come' only in the second" in str(ex.diff(1, 2))
    assert "+    return 3 * x" in str(ex.diff(1, 2))


def test_code_that_only_looks_different_does_not_differ(ex: Experiment) -> None:
    def define(text: str) -> Callable[[], int]:
        Path("module.py").write_text(text)
        space: dict[str, Any] = {"__name__": "module"}
        exec(compile(text, "module.py", "exec"), space)
        function: Callable[[], int] = space["step"]
        return function

    trial(ex, define("def step():\n    return 1\n"))
    trial(ex, define("def step():\n    '''One.'''\n    return 1  # one\n"))

    assert not ex.diff(1, 2).code


# -- how it is shown ----------------------------------------------------------------------------


def test_the_document_is_json_of_a_stable_shape(ex: Experiment) -> None:
    trial(ex, same, a=np.arange(9), b="long" * 999, c=math.inf, d={1: {2}})
    trial(ex, same, a=np.arange(8), b="long" * 998, c=-math.inf, d={1: {3}})
    document = ex.diff(1, 2).document()

    assert set(document) == SECTIONS | {"a", "b", "differs", "code", "duration", "notes"}
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["a"] == {"experiment": "example", "number": 1, "uid": ex[1].uid}
    assert set(document["code"]) == {"added", "removed", "changed"}
    assert set(document["duration"]) == {"a", "b"}
    shown = {cell["name"]: cell for cell in document["parameters"]}
    assert shown["a"]["a"] == "ndarray int64 (9,)"
    assert len(shown["b"]["a"]) <= 200
    assert (shown["c"]["a"], shown["c"]["b"]) == ("inf", "-inf")


class Trap:
    """An object that must not come back to life."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("it was unpickled")


def test_nothing_is_unpickled(ex: Experiment) -> None:
    trial(ex, same, a=Trap(1))
    trial(ex, same, a=Trap(2))
    found = ex.diff(1, 2)

    assert found.parameters
    assert "Trap" in str(found)
    assert found.document()
    assert found._repr_html_()


def test_a_notebook_shows_an_escaped_table(ex: Experiment) -> None:
    trial(ex, same, a="<script>")
    trial(ex, same, a="<b>")
    shown = ex.diff(1, 2)._repr_html_()

    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown


def test_the_duration_is_shown_but_is_no_difference(ex: Experiment) -> None:
    trial(ex, same)
    trial(ex, same)
    ex.backend.update("experiment/example/trials", 2, {"seconds": 75.0})
    found = ex.diff(1, 2)

    assert not found
    assert found.document()["duration"]["b"] == 75.0
    assert str(found).splitlines()[-1].startswith("duration: ")


# -- which trials -------------------------------------------------------------------------------


def test_trials_of_two_experiments_and_stores_are_compared(backend: Backend) -> None:
    one = trial(Experiment("one", backend=backend, seed=1), same, a=1)
    other = trial(Experiment("two", backend="memory://", seed=1), same, a=2)
    found = Experiment("one", backend=backend).diff(1, other)

    assert found.document()["b"]["experiment"] == "two"
    assert str(found).splitlines()[0] == "trial 1 of 'one' -> trial 1 of 'two'"
    assert found.document()["parameters"] == [{"name": "a", "a": 1, "b": 2}]
    assert one.diff(other).document() == found.document()


def test_a_number_that_is_no_trial_is_refused(ex: Experiment) -> None:
    trial(ex, same)

    with pytest.raises(TrialIDNotFoundError):
        ex.diff(1, 2)


def test_what_is_gone_or_was_never_kept_is_told_in_a_note(ex: Experiment) -> None:
    trial(ex, same, a=threading.Lock(), b=1)
    trial(ex, same, a=threading.Lock(), b=2)
    ex.backend.drop("snapshots")
    found = ex.diff(1, 2)

    assert [change.name for change in found.parameters] == ["b"]
    assert any(note.startswith("a was not kept") for note in found.notes)
    assert sum("has no snapshot" in note for note in found.notes) == 3
    assert "not compared\n" in str(found)


def test_what_was_forgotten_is_told_in_a_note(ex: Experiment) -> None:
    trial(ex, same, a="private", b=1)
    trial(ex, same, a="public", b=1)
    ex[1].forget("parameters.a")
    ex[1].forget("code")
    found = ex.diff(1, 2)

    assert found.parameters == ()
    assert found.code == ()
    assert any(note.startswith("a was not kept") for note in found.notes)
    assert any(note.startswith("code of trial 1") for note in found.notes)


def test_a_running_trial_is_compared_as_far_as_it_is(ex: Experiment) -> None:
    def look(a: int) -> str:
        return str(ex.diff(1, a))

    trial(ex, look, a=1)

    assert "trial 2 of 'example' is still running" in trial(ex, look, a=2).result
