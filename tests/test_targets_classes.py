"""Experiments written as classes, as those of smallab: whole, in steps, and with milestones."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daskperiment import (
    DaskperimentWarning,
    Experiment,
    Milestone,
    StepDefinitionError,
    current,
)


@pytest.fixture(params=["threads", "processes", "cluster"])
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield request.getfixturevalue("client") if request.param == "cluster" else request.param


@pytest.fixture
def ex(tmp_path: Path) -> Experiment:
    return Experiment("classes", backend=tmp_path / "store", seed=1)


# The workers of a cluster have other variables than the process that asks again.
elsewhere = pytest.mark.filterwarnings("ignore::daskperiment.EnvironmentChangedWarning")


class RandomNumber:
    """The demo of smallab's README."""

    def main(self, specification: dict[str, Any]) -> dict[str, float]:
        random.seed(specification["seed"])
        for _ in range(specification["num_calls"]):
            random.random()
        if specification.get("fail"):
            raise Exception("asked to fail")
        return {"number": random.random()}


def number(specification: dict[str, Any]) -> dict[str, float]:
    """What it should give, computed without us."""
    generator = random.Random(specification["seed"])
    for _ in range(specification["num_calls"]):
        generator.random()
    return {"number": generator.random()}


# smallab's demo, part by part


def test_two_specifications_give_their_results(ex: Experiment, executor: Any) -> None:
    specifications = [{"seed": 1, "num_calls": 1}, {"seed": 2, "num_calls": 1}]

    trials = ex.map(RandomNumber, specifications, executor)

    assert [t.result for t in trials] == [number(s) for s in specifications]
    assert [t.parameters for t in trials] == specifications
    table = ex.get_history(columns=["seed", "num_calls", "Success"])
    assert sorted(table["seed"]) == [1, 2]
    assert table["Success"].all()
    assert "class RandomNumber" in trials[0].code


@elsewhere
def test_a_cross_product_runs_whole_and_again_not_at_all(
    ex: Experiment, executor: Any, caplog: pytest.LogCaptureFixture
) -> None:
    product = [{"seed": s, "num_calls": n} for s in range(1, 9) for n in range(1, 4)]

    trials = ex.map(RandomNumber, product, executor, skip_completed=True)
    caplog.set_level("INFO", "daskperiment")
    again = ex.map(RandomNumber, product, executor, skip_completed=True)

    assert [t.result for t in trials] == [number(s) for s in product]
    assert again == trials
    assert caplog.text.count("Skipped: trial") == 24


@elsewhere
def test_a_specification_that_fails_leaves_the_others_alone_and_runs_again_alone(
    ex: Experiment, executor: Any
) -> None:
    specifications = [
        {"seed": 1, "num_calls": 1},
        {"seed": 1, "num_calls": 1, "fail": True},
        {"seed": 2, "num_calls": 2, "fail": False},
    ]

    first = ex.map(RandomNumber, specifications, executor, on_error="continue")
    again = ex.map(RandomNumber, specifications, executor, on_error="continue", skip_completed=True)

    assert [str(t.state) for t in first] == ["COMPLETE", "FAILED", "COMPLETE"]
    assert first[1].description == "Exception(asked to fail)"
    assert "asked to fail" in str(first[1].traceback)
    assert (again[0], again[2]) == (first[0], first[2])
    assert again[1].retry_of == first[1]
    with pytest.raises(Exception, match="asked to fail"):
        ex.map(RandomNumber, specifications, executor, skip_completed=True)


def test_two_computers_share_the_specifications(ex: Experiment) -> None:
    product = [{"seed": s, "num_calls": n} for s in range(1, 4) for n in range(1, 4)]

    shares = [ex.map(RandomNumber, product, shard=(computer, 2)) for computer in (0, 1)]

    assert [len(share) for share in shares] == [5, 4]
    given = sorted((t.parameters for share in shares for t in share), key=product.index)
    assert given == product
    assert {t.uid for t in shares[0]}.isdisjoint(t.uid for t in shares[1])


# whole


def test_a_specification_is_all_that_is_given_and_nothing_else(ex: Experiment) -> None:
    class Look:
        def main(self, specification: dict[str, Any]) -> Any:
            return dict(specification)

    ex.parameter("unused", default=3)

    trial = ex.run(Look, {"seed": 7, "tuple": (1, 2)}, a={"b": 1})

    assert trial.result == {"seed": 7, "tuple": (1, 2), "a": {"b": 1}}
    assert trial.parameters == trial.result
    assert ex.run(Look).result == {}
    assert ex.run(Look, a=1, seed=3).parameters == {"a": 1}
    assert ex.latest.seed == 3


def test_each_trial_gets_a_copy_of_an_instance(ex: Experiment) -> None:
    class Count:
        def __init__(self, start: int) -> None:
            self.seen = [start]

        def main(self, specification: dict[str, Any]) -> int:
            self.seen.append(specification["a"])
            return len(self.seen)

    counting = Count(1)

    assert [t.result for t in ex.map(counting, [{"a": a} for a in range(3)])] == [2, 2, 2]
    assert counting.seen == [1]
    assert list(ex.latest.steps["step"]) == ["Count"]


def test_seeds_output_and_metrics_are_those_of_any_trial(ex: Experiment) -> None:
    class Model:
        def main(self, specification: dict[str, Any]) -> float:
            print("model", specification["a"])
            current().log_metric("m", specification["a"])
            return random.random()

    trial = ex.run(Model, {"a": 3}, seed=5)

    assert trial.result == random.Random(5).random()
    assert str(trial.output) == "model 3"
    assert trial.metrics["m"][0].value == 3


@pytest.mark.parametrize(
    ("methods", "missing"), [(("step",), r"initialize\(specification\)"), (("initialize",), "step")]
)
def test_a_class_that_is_not_whole_says_what_it_lacks(
    ex: Experiment, methods: tuple[str, ...], missing: str
) -> None:
    incomplete = type("Incomplete", (), dict.fromkeys(methods, lambda self: None))

    with pytest.raises(StepDefinitionError, match=f"Incomplete cannot be run: it has no {missing}"):
        ex.run(incomplete)
    with pytest.raises(StepDefinitionError, match="Incomplete"):
        ex.run(incomplete())


# in steps


class Walk:
    """Walks in steps of random length."""

    def initialize(self, specification: dict[str, Any]) -> None:
        self.specification = specification
        self.at = 0.0
        self.count = 0

    def step(self) -> Any:
        self.count += 1
        self.at += random.random()
        if self.count == self.specification.get("fail"):
            raise RuntimeError("fell")
        if self.count == self.specification["steps"]:
            return {"at": self.at}
        return (self.count, self.specification["steps"]) if self.count % 2 else None


def walked(seed: int, steps: int) -> float:
    generator, at = random.Random(seed), 0.0
    for _ in range(steps):  # sum() adds in another way since Python 3.12
        at += generator.random()
    return at


def test_steps_go_on_until_one_gives_a_result(ex: Experiment, executor: Any) -> None:
    trials = ex.map(
        Walk, [{"steps": 4}, {"steps": 3}, {"steps": 4, "fail": 2}], executor, on_error="continue"
    )

    assert [str(t.state) for t in trials] == ["COMPLETE", "COMPLETE", "FAILED"]
    assert trials[0].result == {"at": walked(1, 4)}
    assert trials[1].result == {"at": walked(1, 3)}
    assert [p[:2] for p in trials[0].metrics["progress"]] == [(1, 0.25), (3, 0.75)]
    assert [p[:2] for p in trials[2].metrics["progress"]] == [(1, 0.25)]
    assert list(trials[0].steps["step"]) == ["Walk"]


def test_steps_end_after_max_iterations(ex: Experiment) -> None:
    class Bounded(Walk):
        def max_iterations(self, specification: dict[str, Any]) -> int:
            return int(specification["most"])

        def step(self) -> Any:
            super().step()
            current().log_metric("steps", self.count)

    trial = ex.run(Bounded, steps=100, most=5)

    assert (str(trial.state), trial.result) == ("COMPLETE", None)
    assert [p.value for p in trial.metrics["steps"]] == [1, 2, 3, 4, 5]
    assert ex.run(Bounded, steps=100, most=0).metrics == {}


def test_progress_that_is_no_number_is_passed_over(ex: Experiment) -> None:
    class Odd:
        def initialize(self, specification: Any) -> None:
            self.left = [(1, [10, 20]), (1, 0), ("x", 1), (1, 2), {"done": True}]

        def step(self) -> Any:
            return self.left.pop(0)

    trial = ex.run(Odd)

    assert trial.result == {"done": True}
    assert [p[:2] for p in trial.metrics["progress"]] == [(4, 0.5)]


# milestones


class Long:
    """One run that has results after 100, 200 and 300 iterations."""

    def initialize(self, specification: dict[str, Any]) -> None:
        self.specification = specification
        self.count = 0
        self.at = 0.0

    def step(self) -> Any:
        self.count += 1
        self.at += random.random()
        if self.count == self.specification.get("fail"):
            raise RuntimeError("fell")
        asked = self.specification["iterations"]
        if self.count in asked:
            return Milestone(
                {**self.specification, "iterations": self.count},
                {"at": self.at},
                done=self.count == asked[-1],
                progress=(self.count, asked[-1]),
            )
        return None


def test_one_long_run_leaves_a_trial_for_each_milestone(ex: Experiment, executor: Any) -> None:
    (long,) = ex.map(Long, [{"iterations": [100, 200, 300], "kind": "a"}], executor)

    parts = [t for t in ex.trials if t != long]
    assert [t.parameters for t in parts] == [
        {"iterations": n, "kind": "a"} for n in (100, 200, 300)
    ]
    assert [t.result for t in parts] == [{"at": walked(1, n)} for n in (100, 200, 300)]
    assert [str(t.state) for t in (long, *parts)] == ["COMPLETE"] * 4
    assert [t.part_of for t in (long, *parts)] == [None, long, long, long]
    assert long.result == parts[-1].result
    assert {t.seed for t in parts} == {long.seed}
    assert {t.code for t in parts} == {long.code}
    assert [p[:2] for p in long.metrics["progress"]] == [
        (100, pytest.approx(1 / 3)), (200, pytest.approx(2 / 3)), (300, 1),
    ]  # fmt: skip
    assert parts[0].environment == long.environment
    record = parts[0].steps.iloc[0]
    assert (record["step"], record["outcome"], record["seed"]) == ("Long", "ran", long.seed)
    assert record["parameters"] == ["iterations", "kind"]
    assert record["fingerprint"] == long.steps["fingerprint"][0]


def test_what_a_long_run_has_reached_is_not_run_again(ex: Experiment, executor: Any) -> None:
    long = ex.run(Long, iterations=[100, 200, 300])
    asked = [{"iterations": 200}, {"iterations": [100, 200, 300]}, {"iterations": 100}]

    found = ex.map(Long, asked, executor, skip_completed=True)

    assert [t.part_of for t in found] == [long, None, long]
    assert found[1] == long
    assert ex.trial_id == 4


def test_a_milestone_under_the_runs_own_parameters_is_its_result(ex: Experiment) -> None:
    class Own(Long):
        def step(self) -> Any:
            self.count += 1
            return Milestone(self.specification, self.count, done=self.count == 3)

    trial = ex.run(Own, iterations=3)

    assert trial.result == 3
    assert ex.trial_id == 1


def test_milestones_stay_when_the_long_run_fails(ex: Experiment) -> None:
    with pytest.raises(RuntimeError, match="fell"):
        ex.run(Long, iterations=[100, 200, 300], fail=250)

    assert [str(t.state) for t in ex.trials] == ["FAILED", "COMPLETE", "COMPLETE"]
    assert ex[2].parameters == {"iterations": 100, "fail": 250}
    assert ex[1].result is None


def test_the_last_milestone_is_the_result_at_max_iterations(ex: Experiment) -> None:
    class Bounded(Long):
        def max_iterations(self, specification: dict[str, Any]) -> int:
            return 250

    trial = ex.run(Bounded, iterations=[100, 200, 300])

    assert trial.result == ex[3].result
    assert ex.trial_id == 3


def test_milestones_of_repeats_have_seeds_of_their_own_and_nothing_is_warned_of(
    ex: Experiment,
) -> None:
    ex.map(Long, [{"iterations": [10, 20]}], repeats=2, max_workers=1)

    assert len({t.seed for t in ex.trials}) == 2
    assert [len(t.parameters) for t in ex.trials] == [1] * 6


def test_a_secret_of_the_run_is_one_of_its_milestones(ex: Experiment) -> None:
    ex.parameter("code", secret=True)

    ex.run(Long, iterations=[1, 2], code="hush", api_key="abcdef")

    assert "hush" not in str(ex.get_history(columns=["code", "api_key"]))
    assert "abcdef" not in str(ex.get_history(columns=["code", "api_key"]))
    assert ex.trial_id == 3


# checkpoints


class Interrupted(Long):
    """Ends as it is told to once, at a step, and tells by a file which steps it has made."""

    def initialize(self, specification: dict[str, Any]) -> None:
        super().initialize(specification)
        self.log("initialize")

    def log(self, what: object) -> None:
        with Path(self.specification["log"]).open("a") as file:
            file.write(f"{what}\n")

    def step(self) -> Any:
        self.log(self.count + 1)
        once = Path(f"{self.specification['log']}.once")
        if self.count + 1 == self.specification["at"] and not once.exists():
            once.touch()
            if self.specification["how"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("moth in the computer")
        return super().step()


def specification(folder: Path, at: int, how: str = "raise") -> dict[str, Any]:
    return {"iterations": [3, 6, 9], "log": str(folder / "log"), "at": at, "how": how}


def logged(folder: Path) -> list[str]:
    return (folder / "log").read_text().split()


@pytest.mark.parametrize(
    ("where", "how"),
    [("threads", "raise"), ("processes", "raise"), ("processes", "kill"), ("cluster", "raise")],
)
def test_a_retried_run_goes_on_after_its_last_step(
    ex: Experiment, tmp_path: Path, where: str, how: str, request: pytest.FixtureRequest
) -> None:
    executor = request.getfixturevalue("client") if where == "cluster" else where

    (trial,) = ex.map(Interrupted, [specification(tmp_path, 5, how)], executor, retries=1)

    assert logged(tmp_path) == ["initialize", "1", "2", "3", "4", "5", "5", "6", "7", "8", "9"]
    assert trial.result == {"at": walked(1, 9)}
    assert trial.retry_of is not None
    assert [p[:2] for p in trial.metrics["progress"]] == [
        (n, pytest.approx(n / 9)) for n in (3, 6, 9)
    ]
    parts = [t for t in ex.trials if t.part_of is not None]
    assert [(t.parameters["iterations"], t.part_of) for t in parts] == [
        (3, trial.retry_of), (6, trial), (9, trial),
    ]  # fmt: skip


def test_a_milestone_behind_the_last_checkpoint_is_not_recorded_twice(
    ex: Experiment, tmp_path: Path
) -> None:
    class Seldom(Interrupted):
        def steps_before_checkpoint(self) -> int:
            return 2

    (trial,) = ex.map(Seldom, [specification(tmp_path, 4)], retries=1)

    assert logged(tmp_path) == ["initialize", *"12343456789"]
    parts = [t.parameters["iterations"] for t in ex.trials if t.part_of is not None]
    assert parts == [3, 6, 9]
    assert trial.result == {"at": walked(1, 9)}


def test_a_batch_that_is_run_again_goes_on(ex: Experiment, tmp_path: Path) -> None:
    jobs = [specification(tmp_path, 8)]
    (failed,) = ex.map(Interrupted, jobs, on_error="continue")

    (trial,) = ex.map(Interrupted, jobs, skip_completed=True)

    assert trial.retry_of == failed
    assert logged(tmp_path)[-3:] == ["8", "8", "9"]
    assert logged(tmp_path).count("initialize") == 1
    assert trial.result == {"at": walked(1, 9)}


def test_a_state_that_cannot_be_kept_stops_no_run(ex: Experiment) -> None:
    class Locked:
        def initialize(self, specification: Any) -> None:
            self.lock = threading.Lock()
            self.count = 0

        def step(self) -> Any:
            self.count += 1
            return self.count if self.count == 3 else None

    with pytest.warns(DaskperimentWarning, match="Locked goes on without checkpoints") as told:
        assert ex.run(Locked).result == 3
    assert len(told) == 1


def test_an_instance_without_attributes_of_its_own_runs(ex: Experiment) -> None:
    class Slotted:
        __slots__ = ("count",)

        def initialize(self, specification: Any) -> None:
            self.count = 0

        def step(self) -> Any:
            self.count += 1
            return {"count": 3} if self.count == 3 else None

    assert ex.run(Slotted).result == {"count": 3}


def test_without_recording_a_class_computes_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASKPERIMENT_MODE", "disabled")
    ex = Experiment("off", seed=1)

    assert ex._node(Long).compute(parameters={"iterations": [3]}) == {"at": walked(1, 3)}


def test_classes_of_a_script_reach_processes(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("""
import daskperiment

class Model:
    def initialize(self, specification):
        self.left, self.most = specification["n"], specification["n"]

    def step(self):
        self.left -= 1
        if self.left == 2:
            return daskperiment.Milestone({"n": "two left"}, self.most)
        return {"done": self.most} if not self.left else (self.most - self.left, self.most)

if __name__ == "__main__":
    ex = daskperiment.Experiment("script")
    trials = ex.map(Model, [{"n": n} for n in (1, 3)], "processes", max_workers=2)
    print([trial.result for trial in trials], ex.trial_id)
    again = ex.map(Model, [{"n": 3}, {"n": "two left"}], "processes", skip_completed=True)
    print([trial.result for trial in again], ex.trial_id)
""")

    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[{'done': 1}, {'done': 3}] 3", "[{'done': 3}, 3] 3"]
