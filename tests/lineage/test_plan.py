"""Plan and why: what a trial would do, and why it has done it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import warnings
from pathlib import Path
from typing import Any

import dask
import pytest

from daskperiment import ComputeArgumentError, Experiment, PurityWarning, StepNotFoundError
from daskperiment.errors import ParameterUndefinedError

ran: list[str] = []


@pytest.fixture
def ex(tmp_path: Path) -> Experiment:
    return Experiment("plan", backend=tmp_path / "store", seed=5, reuse=True)


def graph(ex: Experiment) -> Any:
    """Three steps in a row."""

    @ex(name="load")
    def load(a: int) -> list[int]:
        return list(range(a))

    @ex(name="clean")
    def clean(data: list[int], b: int) -> list[int]:
        return [each % b for each in data]

    @ex.result(name="score")
    def score(data: list[int], c: int) -> int:
        return sum(data) + c

    a, b, c = (ex.parameter(name, default=2) for name in "abc")
    return score(clean(load(a), b), c)


def actions(ex: Experiment, s: Any, **parameters: Any) -> dict[str, str]:
    """What the plan says, as ``action reason``."""
    return {each.step: f"{each.action} {each.reason}" for each in ex.plan(s, parameters)}


def test_before_the_first_trial_all_steps_would_run(ex: Experiment, tmp_path: Path) -> None:
    plan = ex.plan(graph(ex))

    assert list(plan["action"]) == ["run"] * 3
    assert set(plan["reason"]) == {"no earlier trial ran this step"}
    assert plan["seconds"].isna().all()
    assert not (tmp_path / "store").exists()


def test_the_plan_says_what_happens_and_why_says_the_same_afterwards(ex: Experiment) -> None:
    s = graph(ex)
    s.compute()

    assert actions(ex, s) == dict.fromkeys(["load", "clean", "score"], "reuse from trial 1")
    assert actions(ex, s, b=3) == {
        "load": "reuse from trial 1",
        "clean": "run input 'b' is 3, it was 2 in trial 1",
        "score": "depends on clean, which runs",
    }
    s.compute(parameters={"a": 4, "b": 3})

    assert ex[2].why("load") == "ran: input 'a' is 4, it was 2 in trial 1"
    assert ex[2].why("clean") == (
        "ran: its input 'data' is new: load ran: input 'a' is 4, it was 2 in trial 1"
    )
    assert ex[2].why("score") == (
        "ran: its input 'data' is new: load ran: input 'a' is 4, it was 2 in trial 1"
    )
    s.compute()
    assert ex[3].why("clean") == "reused from trial 1"


def test_an_output_that_is_as_before_may_end_what_runs(ex: Experiment) -> None:
    s = graph(ex)
    s.compute()

    assert actions(ex, s, b=5)["score"] == "depends on clean, which runs"
    s.compute(parameters={"b": 5})

    assert ex[2].why("score") == "reused from trial 1"


def test_nothing_runs_and_nothing_is_written(ex: Experiment, tmp_path: Path) -> None:
    @ex.result(name="last")
    def last(a: int) -> int:
        ran.append("last")
        return a

    s = last(ex.parameter("a", default=1))
    s.compute()
    ran.clear()

    def content() -> dict[Path, bytes]:
        files = (path for path in (tmp_path / "store").rglob("*") if path.is_file())
        # In that one SQLite marks who reads.
        return {path: path.read_bytes() for path in files if not path.name.endswith("-shm")}

    before = content()

    ex.plan(s)
    ex.plan(s, {"a": 2})

    assert ran == []
    assert content() == before
    assert ex.trial_id == 1


def test_seconds_and_bytes_come_from_the_history(ex: Experiment) -> None:
    s = graph(ex)
    s.compute()
    s.compute(parameters={"b": 3})
    took = dict(zip(ex[2].steps["step"], ex[2].steps["seconds"], strict=True))

    plan = ex.plan(s, {"b": 4}).frame.set_index("step")

    assert plan["seconds"]["clean"] == took["clean"]
    assert plan["seconds"]["load"] == ex[1].steps["seconds"][0]
    assert plan["bytes"].tolist() == [5, 5, 1]


def test_a_step_that_drew_depends_on_a_seed_that_is_not_known(tmp_path: Path) -> None:
    ex = Experiment("seeds", backend=tmp_path / "store", reuse=True)

    @ex(name="draw")
    def draw(a: int) -> float:
        return random.random() + a

    @ex.result(name="last")
    def last(x: float) -> float:
        return x

    s = last(draw(ex.parameter("a", default=0)))
    s.compute(seed=1)

    assert actions(ex, s) == {
        "draw": "depends on the seed, which is drawn",
        "last": "depends on draw, which depends on the seed",
    }
    assert [each.action for each in ex.plan(s, seed=1)] == ["reuse", "reuse"]
    assert ex.plan(s, seed=2).calls[0].reason == "the seed is 2, it was 1 in trial 1"
    with pytest.warns(PurityWarning, match="seed"):
        s.compute(seed=2)
    assert ex[2].why("draw") == "ran: the seed is 2, it was 1 in trial 1"


def test_functions_that_are_no_steps_are_not_called(ex: Experiment) -> None:
    @ex.result(name="last")
    def last(x: Any, y: int, parts: list[int]) -> int:
        return 1

    def other(x: int) -> int:
        ran.append("other")
        return x

    a = ex.parameter("a", default=1)
    s = last(dask.delayed(other)(a), a + 3, [a, 2])
    s.compute()
    ran.clear()

    assert actions(ex, s) == {"last": "depends on other, which is no step"}
    assert ran == []


def test_operators_on_parameters_and_containers_of_them_are_known(ex: Experiment) -> None:
    @ex.result(name="last")
    def last(y: int, parts: dict[str, Any]) -> int:
        return 1

    a = ex.parameter("a", default=1)
    s = last(a + 3, {"x": [a, 2]})
    s.compute()

    assert actions(ex, s) == {"last": "reuse from trial 1"}
    assert actions(ex, s, a=5) == {"last": "run input 'y' is 8, it was 4 in trial 1"}


def test_calls_of_one_step_that_may_be_the_same_depend_on_one_another(ex: Experiment) -> None:
    @ex(name="part")
    def part(i: int) -> int:
        return i

    @ex.result(name="total")
    def total(parts: list[int]) -> int:
        return sum(parts)

    s = total([part(3), part(4), part(3)])

    plan = ex.plan(s)
    assert [each.action for each in plan] == ["run", "run", "depends", "run"]
    assert plan.calls[2].reason == "on part[0], which is the same call"
    assert str(plan).startswith("part[0]  run ")
    s.compute(scheduler="synchronous")
    assert list(ex[1].steps["outcome"]) == ["ran", "ran", "reused", "ran"]
    assert ex[1].why("part", call=1) == "ran: no earlier trial ran this step"


@pytest.mark.filterwarnings("ignore::daskperiment.PurityWarning")
@pytest.mark.parametrize("first", range(4))
def test_whatever_was_run_before_the_plan_says_what_happens(tmp_path: Path, first: int) -> None:
    ex = Experiment("many", backend=tmp_path / "store", reuse=True)
    chance = random.Random(first)

    @ex(name="load")
    def load(a: int) -> list[int]:
        if a == 3:
            raise ValueError("three")
        return list(range(a))

    @ex(name="draw")
    def draw(data: list[int], b: int) -> float:
        return random.random() if b else 0.5

    @ex(name="part")
    def part(i: int) -> int:
        return i // 2

    @ex(name="off", reuse=False)
    def off(x: Any) -> int:
        return 1

    @ex.persist(name="join")
    def join(parts: list[int], x: float) -> list[float]:
        return [*parts, x]

    @ex.result(name="total")
    def total(joined: list[float], c: int, one: int) -> float:
        return sum(joined) + c + one

    a, b, c = (ex.parameter(name) for name in "abc")
    data = load(a)
    plain = dask.delayed(len)(data)
    s = total(join([part(a), part(b), part(c + 1)], draw(data, b)), c, off(plain))

    for _ in range(12):
        values = {name: chance.randrange(4) for name in "abc"}
        seed = chance.choice([None, 1, 2])
        plan = ex.plan(s, values, seed)
        with contextlib.suppress(ValueError):
            s.compute(parameters=values, seed=seed, scheduler="synchronous")
        steps = ex.latest.steps.set_index(["step", "call"])["outcome"].to_dict()
        for each in plan:
            if each.place in steps and each.action != "depends":
                told = f"{each.action} {each.reason}"
                expected = "reuse" if steps[each.place] == "reused" else "run"
                after = re.sub("^ran( and failed)?: ", "run ", ex.latest.why(*each.place))
                assert told == re.sub("^reused ", "reuse ", after)
                assert each.action == expected


def test_a_step_of_which_reuse_is_off_says_so(ex: Experiment) -> None:
    @ex.result(name="last", reuse=False)
    def last(a: int) -> int:
        return a

    s = last(ex.parameter("a", default=1))
    s.compute()

    assert actions(ex, s) == {"last": "run reuse is off for it"}
    assert ex[1].why("last") == "ran: reuse is off for it"


def test_what_was_seen_to_be_odd_runs_and_says_why(ex: Experiment) -> None:
    @ex(name="odd")
    def odd(a: int) -> str:
        return os.urandom(4).hex()

    @ex.result(name="last")
    def last(x: str) -> int:
        return 1

    s = last(odd(ex.parameter("a", default=0)))
    s.compute()

    expected = "it read randomness there that no seed controls"
    assert actions(ex, s)["odd"] == f"run {expected}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PurityWarning)
        s.compute()
    assert ex[2].why("odd") == f"ran: {expected}"


def test_a_file_that_has_changed_is_named(ex: Experiment, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1")
    os.utime(data, (1, 1))

    @ex.result(name="read")
    def read(path: str) -> int:
        return int(Path(path).read_text())

    s = read(ex.parameter("path", default=str(data)))
    s.compute()
    data.write_text("2")
    os.utime(data, (1, 1))

    assert actions(ex, s) == {"read": f"run the file {data} is not what it was (trial 1)"}


def test_a_call_that_has_failed_says_where(ex: Experiment) -> None:
    @ex.result(name="last")
    def last(a: int) -> float:
        return 1 / a

    s = last(ex.parameter("a", default=0))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            s.compute()

    assert ex[1].why("last") == "ran and failed: no earlier trial ran this step"
    assert ex[2].why("last") == "ran and failed: it has failed in trial 1"
    assert actions(ex, s) == {"last": "run it has failed in trial 2"}


def test_what_is_compared_is_not_promised(tmp_path: Path) -> None:
    for share, action in ((0.5, "depends"), (1.0, "run")):
        ex = Experiment("verify", backend=tmp_path / "s", seed=1, reuse=True, reuse_verify=share)
        s = graph(ex)
        if ex.trial_id == 0:
            s.compute()
        assert {each.action for each in ex.plan(s)} >= {action}


def test_secrets_are_not_told(ex: Experiment) -> None:
    @ex.result(name="last")
    def last(token: str) -> int:
        return len(token)

    s = last(ex.parameter("token", secret=True))
    s.compute(parameters={"token": "hunter22"})

    plan = ex.plan(s, {"token": "hunter33"})
    assert plan.calls[0].reason == "input 'token' is not what it was in trial 1"
    assert "hunter" not in plan._repr_html_()


def test_the_reason_is_looked_for_in_some_trials_only(
    ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daskperiment.lineage import why

    monkeypatch.setattr(why, "MOST", 2)
    s = graph(ex)
    s.compute()

    @ex.result(name="other")
    def other(a: int) -> int:
        return a

    t = other(ex.parameter("d"))
    for d in range(3):
        t.compute(parameters={"d": d})

    assert actions(ex, s, b=7)["clean"] == "run none of the 2 trials before ran this step"


def test_a_plan_is_shown_as_a_graph_with_its_sentences(ex: Experiment) -> None:
    s = graph(ex)
    s.compute()

    html = ex.plan(s, {"b": 3})._repr_html_()

    assert html.count("<svg") == 1
    assert "reuse from trial 1" in html
    assert "input &#x27;b&#x27; is 3, it was 2 in trial 1" in html
    assert "depends on clean, which runs" in html


def test_a_trial_is_shown_as_a_graph_with_its_sentences(ex: Experiment) -> None:
    s = graph(ex)
    s.compute()
    s.compute(parameters={"c": 3})

    html = ex[2]._repr_html_()

    assert "reused from trial 1" in html
    assert "ran: input &#x27;c&#x27; is 3, it was 2 in trial 1" in html


def test_while_recording_is_off_everything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASKPERIMENT_MODE", "disabled")
    ex = Experiment("off", backend=tmp_path / "store", reuse=True)

    assert {each.action for each in ex.plan(graph(ex))} == {"run"}


def test_what_cannot_be_planned_is_refused(ex: Experiment) -> None:
    @ex(name="part")
    def part(a: int) -> int:
        return a

    with pytest.raises(ComputeArgumentError, match="result step"):
        ex.plan(part(1))

    @ex.result(name="last")
    def last(q: int) -> int:
        return q

    with pytest.raises(ParameterUndefinedError):
        ex.plan(last(ex.parameter("q")))


def test_a_step_that_is_not_there_is_refused(ex: Experiment) -> None:
    graph(ex).compute()

    with pytest.raises(StepNotFoundError, match="No step 'fit' ran"):
        ex[1].why("fit")
    with pytest.raises(StepNotFoundError, match="No call 1 of step 'clean'"):
        ex[1].why("clean", call=1)
