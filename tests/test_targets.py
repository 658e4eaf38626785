"""Plain functions run as trials: their signatures are the parameters, one by one and in batches."""

from __future__ import annotations

import enum
import functools
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from daskperiment import (
    ComputeArgumentError,
    Experiment,
    ParameterError,
    ParameterUndeclaredError,
    ParameterUndefinedError,
    PurityWarning,
    Secret,
    StepDefinitionError,
    current,
)

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

EXECUTORS = ("threads", "processes", "cluster")


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Where a batch runs."""
    yield request.getfixturevalue("client") if request.param == "cluster" else request.param


@pytest.fixture
def stored(tmp_path: Path) -> Experiment:
    """An experiment that other processes reach."""
    return Experiment("targets", backend=tmp_path / "store", seed=5)


class Shape(enum.Enum):
    ROUND = 1
    SQUARE = 2


def train(
    rate: float, epochs: int = 3, shape: Shape = Shape.ROUND, kind: Literal["a", "b"] = "a"
) -> float:
    """Something that draws."""
    current().log_metric("loss", 1 / epochs)
    print("training", kind)
    return rate * epochs + random.random()


def test_a_function_is_a_trial_as_a_decorated_one(ex: Experiment) -> None:
    other = Experiment("decorated", backend="memory://")
    names = ("rate", "epochs", "shape", "kind")
    parameters = {name: other.parameter(name) for name in names}
    node = other.result(train)(**parameters)
    values = {"rate": 0.5, "epochs": 3, "shape": Shape.ROUND, "kind": "a"}
    value = node.compute(seed=7, parameters=values)

    trial = ex.run(train, rate=0.5, seed=7)

    ex.check_executable()  # which is about declared parameters
    assert (trial.number, str(trial.state), trial.result) == (1, "COMPLETE", value)
    assert trial == ex.latest
    assert trial.parameters == other[1].parameters == values
    assert trial.seed == 7
    assert trial.metrics["loss"][0].value == other[1].metrics["loss"][0].value
    assert str(trial.output) == str(other[1].output)
    assert trial.code == other[1].code
    compared = ["step", "call", "outcome", "seed", "fingerprint", "inputs", "output", "parameters"]
    assert trial.steps[compared].equals(other[1].steps[compared])


def test_types_and_choices_of_the_signature_hold(ex: Experiment) -> None:
    trial = ex.run(train, rate="1", epochs="1e1", shape="SQUARE", kind="b")

    assert trial.parameters == {"rate": 1.0, "epochs": 10, "shape": Shape.SQUARE, "kind": "b"}
    with pytest.raises(ParameterError, match="'epochs' must be of type int"):
        ex.run(train, rate=1, epochs=1.5)
    with pytest.raises(ParameterError, match="'kind' must be one of 'a', 'b'"):
        ex.run(train, rate=1, kind="c")
    assert ex.trial_id == 1


def test_annotations_that_are_no_simple_types_hold_nothing(ex: Experiment) -> None:
    def take(data: list, other: Unknown = 1, third: int | None = None) -> Any:  # type: ignore[type-arg]
        return data, other, third

    assert ex.run(take, data=(1, 2), other="x").result == ((1, 2), "x", None)


def test_a_default_is_the_functions_own_and_given_to_the_record(ex: Experiment) -> None:
    def one(x: int = 1, y: float = 2) -> float:
        return x + y

    def other(x: str = "text") -> str:
        return x

    assert ex.run(one).parameters == {"x": 1, "y": 2.0}
    assert ex.run(other).parameters == {"x": "text"}
    assert ex.run(other, x="2").result == "2"
    assert ex.run(one, x="2").result == 4


def test_what_was_declared_goes_before_the_signature(ex: Experiment) -> None:
    ex.parameter("x", default=5, type=int, choices=[5, 6])

    def one(x: float = 1.5) -> float:
        return x

    assert ex.run(one).result == 5
    assert ex.run(one, x=6).result == 6
    with pytest.raises(ParameterError, match="'x' must be one of"):
        ex.run(one, x=7)
    ex.set_parameters(x=6)
    assert ex.run(one).result == 6


def test_what_was_set_goes_before_a_default_and_after_what_is_given(ex: Experiment) -> None:
    def one(x: int = 1) -> int:
        return x

    ex.run(one)
    ex.set_parameters(x="3")

    assert ex.run(one).result == 3
    assert ex.run(one, x=4).result == 4


def test_a_function_takes_all_others_by_its_keywords(ex: Experiment) -> None:
    def run(x: int = 1, **kwargs: Any) -> Any:
        return x, kwargs

    ex.parameter("unused", default=3)
    trial = ex.run(run, y=2, z={"a": 1})

    assert trial.result == (1, {"y": 2, "z": {"a": 1}})
    assert trial.parameters == {"x": 1, "y": 2, "z": {"a": 1}}
    assert trial.steps["parameters"][0] == ["x", "y", "z"]
    assert ex.run(run).result == (1, {})
    assert ex.run(run, x=3).parameters == {"x": 3}


def test_every_kind_of_argument_is_passed(ex: Experiment) -> None:
    def mixed(a: int, /, b: int, *rest: int, c: int = 3, **others: int) -> Any:
        return a, b, rest, c, others

    assert ex.run(mixed, {"b": 2, "a": 1, "self": 4}).result == (1, 2, (), 3, {"self": 4})


def test_an_unknown_name_is_told_with_the_nearest(ex: Experiment) -> None:
    ex.parameter("rates", default=1)

    with pytest.raises(ParameterUndeclaredError, match="'rates'; did you mean 'rate'"):
        ex.run(train, rates=1)
    with pytest.raises(ParameterUndeclaredError, match="takes no parameter 'zz'"):
        ex.map(train, [{"rate": 1}, {"rate": 1, "zz": 2}])
    assert ex.trial_id == 0


def test_a_missing_value_begins_no_trial(ex: Experiment) -> None:
    with pytest.raises(ParameterUndefinedError, match="rate"):
        ex.run(train)
    with pytest.raises(ParameterUndefinedError, match="rate"):
        ex.map(train, [{"rate": 1}, {}])
    assert ex.trial_id == 0


def test_a_failure_is_recorded_and_raised_as_it_was(ex: Experiment) -> None:
    error = KeyError("mine")

    def fail() -> None:
        raise error

    with pytest.raises(KeyError) as raised:
        ex.run(fail)

    assert raised.value is error
    assert not [e for e in raised.traceback if "/daskperiment/" in str(e.frame.code.path)]
    assert str(ex.latest.state) == "FAILED"
    assert ex.latest.description == "KeyError('mine')"


def test_seed_is_that_of_the_trial_and_never_guessed(ex: Experiment) -> None:
    def draw(seed: int = 1) -> tuple[int, float]:
        return seed, random.random()

    both = ex.run(draw, {"seed": 2}, seed=3)

    assert (both.seed, both.result) == (3, (2, random.Random(3).random()))
    with pytest.warns(PurityWarning, match="Cause: seed"):
        assert ex.run(draw, {"seed": 2}).result[0] == 2
    with pytest.raises(ParameterError, match=r'run\(\.\.\., {"seed": 1}, seed=2\)'):
        ex.run(draw, seed=3)
    assert ex.trial_id == 2
    assert Experiment("seeded", backend="memory://", seed=9).run(draw).seed == 9


def test_parameters_are_given_once(ex: Experiment) -> None:
    assert ex.run(train, {"rate": 1}, epochs=2).parameters["epochs"] == 2
    with pytest.raises(ParameterError, match="'rate' is given twice"):
        ex.run(train, {"rate": 1}, rate=2)
    with pytest.raises(ParameterError, match="by name or as a mapping, not as 3"):
        ex.run(train, 3)  # type: ignore[call-overload]


def test_a_graph_runs_as_it_computes(ex: Experiment) -> None:
    @ex
    def double(a: int) -> int:
        return 2 * a

    @ex.result
    def score(x: int) -> int:
        return x + 1

    node = score(double(ex.parameter("a", type=int)))

    assert ex.run(node, a="4").result == 9
    assert [trial.result for trial in ex.map(node, [{"a": 1}, {"a": 2}])] == [3, 5]
    with pytest.raises(ComputeArgumentError, match="no result step"):
        ex.run(double(1))
    with pytest.raises(StepDefinitionError, match=r"run what calling it gives"):
        ex.run(score, x=1)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (3, "3 cannot be run: give"),
        ("text", "'text' cannot be run: give"),
        (lambda x: x, "lambda has no name"),
        (print, "does not tell its arguments|takes no parameter"),
    ],
)
def test_what_cannot_be_run_says_what_can(ex: Experiment, target: Any, reason: str) -> None:
    with pytest.raises((StepDefinitionError, ParameterUndeclaredError), match=reason):
        ex.run(target, x=1)
    assert ex.trial_id == 0


def test_an_async_function_is_refused(ex: Experiment) -> None:
    async def fetch() -> None: ...

    with pytest.raises(StepDefinitionError, match=r"asyncio\.run"):
        ex.run(fetch)


def test_partials_methods_and_callable_objects_run(ex: Experiment) -> None:
    class Model:
        def __init__(self, scale: int) -> None:
            self.scale = scale

        def fit(self, x: int) -> int:
            return self.scale * x

        def __call__(self, y: int) -> int:
            return self.scale + y

    assert ex.run(functools.partial(train, epochs=2), rate=1).parameters["epochs"] == 2
    assert ex.run(Model(3).fit, x=2).result == 6
    assert ex.run(Model(3), y=2).result == 5
    assert list(ex.latest.steps["step"]) == ["Model"]


def test_functions_of_one_experiment_do_not_disturb_each_other(ex: Experiment) -> None:
    def one(a: int) -> int:
        return a

    def other(a: int) -> int:
        return -a

    results = [ex.run(function, a=a).result for a in range(3) for function in (one, other)]

    assert results == [0, 0, 1, -1, 2, -2]
    assert "def one" in ex.get_code()
    assert "def other" in ex.get_code()
    assert len({*ex[1].steps["fingerprint"], *ex[3].steps["fingerprint"]}) == 1


def test_a_changed_function_is_told_as_a_changed_step_is(ex: Experiment) -> None:
    def one(a: int) -> int:
        return a

    ex.run(one, a=1)

    def again(a: int) -> int:
        return a + 1

    again.__name__ = "one"
    with pytest.warns(UserWarning) as told:
        ex.run(again, a=1)

    texts = [str(warning.message) for warning in told]
    assert texts[0].startswith("Code has changed since trial 1")
    assert texts[1].startswith("Step 'one' gave another output")


def test_a_secret_is_not_recorded(ex: Experiment) -> None:
    def login(api_key: str, token: Any) -> int:
        return len(api_key) + len(token.reveal())

    trial = ex.run(login, api_key="abc", token=Secret("abcde"))

    assert trial.result == 8
    assert "abc" not in str(ex.get_history(columns=["api_key", "token"]))


def test_id_and_run_are_0_and_1_outside_of_batches(ex: Experiment) -> None:
    def look(x: int, id: int = 7, *, run: int) -> tuple[int, int, int]:
        return x, id, run

    trial = ex.run(look, x=3)

    assert trial.result == (3, 0, 1)
    assert trial.parameters == {"x": 3}
    assert set(trial.steps["inputs"][0]) == {"id", "run", "x"}
    assert trial.steps["parameters"][0] == ["x"]


def place(x: int, id: int, run: int) -> tuple[int, int]:
    return id, run


def test_id_and_run_tell_the_place_in_a_batch(stored: Experiment, executor: Any) -> None:
    trials = stored.map(place, [{"x": 5}, {"x": 6}], executor, repeats=2)

    assert [t.result for t in trials] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert [t.parameters for t in trials] == [{"x": 5}, {"x": 5}, {"x": 6}, {"x": 6}]
    assert [set(t.steps["inputs"][0]) for t in trials] == [{"id", "run", "x"}] * 4


def test_id_and_run_do_not_make_another_trial_of_it(stored: Experiment) -> None:
    first = stored.map(place, [{"x": 5}, {"x": 6}])

    again = stored.map(place, [{"x": 6}, {"x": 7}, {"x": 5}], skip_completed=True)

    assert (again[0], again[2]) == (first[1], first[0])
    assert again[1].result == (1, 1)


def test_a_parameter_of_the_users_wins_over_id_and_run(ex: Experiment) -> None:
    def look(id: Any, run: int) -> tuple[Any, int]:
        return id, run

    assert ex.run(look, id="given").result == ("given", 1)
    assert ex.latest.parameters == {"id": "given"}
    assert ex.run(look).result == (0, 1)
    ex.parameter("id", default="declared")
    assert ex.run(look).result == ("declared", 1)
    ex.parameter("run")
    with pytest.raises(ParameterUndefinedError, match="run"):
        ex.run(look)


def test_a_decorated_step_is_given_what_it_leaves_open(ex: Experiment) -> None:
    @ex
    def first(a: int, id: int) -> list[int]:
        return [a, id]

    @ex.result
    def last(before: list[int], *, run: int, id: int = 7) -> list[int]:
        return [*before, run, id]

    assert last(first(ex.parameter("a", default=5))).compute() == [5, 0, 1, 7]
    assert last(first(ex.parameter("a", default=5), 3), run=4).compute() == [5, 3, 4, 7]
    assert first(2).compute() == [2, 0]
    assert list(ex[1].steps["inputs"][0]) == ["a", "id"]


def test_a_batch_of_functions_runs_everywhere(stored: Experiment, executor: Any) -> None:
    one_by_one = [stored.run(train, rate=rate) for rate in (0.5, 1, 2)]

    trials = stored.map(train, [{"rate": 0.5}, {"rate": 1}, {"rate": 2}], executor)

    assert [t.result for t in trials] == [t.result for t in one_by_one]
    assert [t.parameters for t in trials] == [t.parameters for t in one_by_one]
    assert [str(t.output) for t in trials] == ["training a"] * 3
    assert len({t.steps["fingerprint"][0] for t in (*trials, *one_by_one)}) == 1


def takes_all(x: int = 1, **kwargs: Any) -> Any:
    if kwargs.get("fail"):
        raise ValueError("asked to")
    return x, kwargs


def test_each_of_a_batch_may_have_keywords_of_its_own(stored: Experiment, executor: Any) -> None:
    jobs = [{"y": 1}, {"x": 2}, {"fail": True}, {"x": 3, "z": [1], "y": {"a": 2}}]

    trials = stored.map(takes_all, jobs, executor, on_error="continue")

    assert [t.result for t in trials] == [
        (1, {"y": 1}), (2, {}), None, (3, {"z": [1], "y": {"a": 2}}),
    ]  # fmt: skip
    assert [t.parameters for t in trials] == [{"x": 1} | job for job in jobs]
    assert trials[2].description == "ValueError(asked to)"


def test_only_what_is_missing_runs_again(stored: Experiment) -> None:
    jobs = [{"x": 1}, {"fail": True}, {"y": 2}]
    first = stored.map(takes_all, jobs, on_error="continue", max_workers=1)

    again = stored.map(
        takes_all, [*jobs, {"y": 3}], on_error="continue", skip_completed=True, max_workers=1
    )

    assert [t.number for t in first] == [1, 2, 3]
    assert [t.number for t in again] == [1, 4, 3, 5]
    assert stored.run(takes_all).parameters == {"x": 1}
    assert stored.map(takes_all, [{}], skip_completed=True)[0].number == 1


def test_functions_of_a_script_reach_processes(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("""
import daskperiment
SCALE = 3

def helper(x):
    return SCALE * x

def run(x, id, run, **kwargs):
    return helper(x) + kwargs["y"]

if __name__ == "__main__":
    ex = daskperiment.Experiment("script")
    trials = ex.map(run, [{"x": x, "y": 1} for x in range(3)], "processes", max_workers=2)
    print([trial.result for trial in trials], ex.run(run, x=1, y=0).result)
    print(len({f for t in ex.trials for f in t.steps["fingerprint"]}), "def run" in ex[1].code)
""")

    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[1, 4, 7] 3", "1 True"]


def test_a_script_that_runs_a_function_runs_nothing_besides(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("""
import daskperiment
ex = daskperiment.Experiment("script")
def fail(a=1):
    return a
ex.run(fail)
try:
    ex.run(fail, b=1)
except daskperiment.ParameterUndeclaredError:
    print("undeclared")
""")

    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=100, check=False
    )

    assert (done.returncode, done.stdout) == (0, "undeclared\n"), done.stderr
    assert Experiment("script").trial_id == 1


def test_without_recording_there_is_no_trial_to_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASKPERIMENT_MODE", "disabled")

    with pytest.raises(ComputeArgumentError, match="DASKPERIMENT_MODE=disabled"):
        Experiment("off").run(train, rate=1)


def test_a_run_inside_a_step_is_a_trial_of_its_own(ex: Experiment) -> None:
    def inner(x: int) -> int:
        return x + 1

    def outer(x: int) -> int:
        return int(ex.run(inner, x=x).result) * 10

    assert ex.run(outer, x=1).result == 20
    assert [(t.number, t.result) for t in ex.trials] == [(1, 20), (2, 2)]
