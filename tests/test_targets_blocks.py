"""``with ex.trial(a=1) as t:`` makes a trial of a block of code, as any other trial is."""

from __future__ import annotations

import asyncio
import logging
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daskperiment
from daskperiment import Experiment, ParameterError, SeedError, TrialIDNotFoundError

SCALE = 3


def helper(x: float) -> float:
    return SCALE * x


def measured(ex: Experiment, a: float, seed: int | None = None) -> int:
    """A block in a function."""
    with ex.trial(a=a, seed=seed) as t:
        print("measuring")
        logging.getLogger("measured").warning("logged")
        t.log_metric("half", t.parameters["a"] / 2)
        ex.log_metric("half", 7)
        t.save_artifact("notes.txt", b"text")
        t.artifact_path("plots/p.txt").write_text("plot")
        t.result = helper(a), random.random(), float(np.random.random()), float(t.rng().random())
    return int(t.number)


def test_a_block_is_a_trial_as_a_step_is(ex: Experiment) -> None:
    decorated = Experiment("decorated", backend="memory://")

    @decorated.result
    def step(a: float) -> Any:
        print("measuring")
        logging.getLogger("measured").warning("logged")
        decorated.log_metrics({"half": a / 2})
        decorated.log_metric("half", 7)
        decorated.save_artifact("notes.txt", b"text")
        decorated.artifact_path("plots/p.txt").write_text("plot")
        drawn = random.random(), float(np.random.random()), float(decorated.rng().random())
        return helper(a), *drawn

    step(decorated.parameter("a")).compute(seed=5, parameters={"a": 4})
    other = decorated.latest

    trial = ex[measured(ex, 4, seed=5)]

    assert (trial.number, str(trial.state), trial.seed) == (1, "COMPLETE", 5)
    assert trial.parameters == {"a": 4}
    assert trial.result == other.result
    assert str(trial.output) == str(other.output)
    assert trial.metrics["half"][0].value == 2
    assert [p[:2] for p in trial.metrics["half"]] == [p[:2] for p in other.metrics["half"]]
    assert sorted(trial.artifacts) == sorted(other.artifacts)
    assert trial.artifacts["plots/p.txt"].read() == b"plot"
    fields = set(ex.backend.get("experiment/example/trials", 1) or ())
    others = set(decorated.backend.get("experiment/decorated/trials", 1) or ())
    assert fields == others - {"graph"}  # a block has none
    compared = ["call", "outcome", "seed", "drew", "inputs", "output", "parameters"]
    assert trial.steps[compared].equals(other.steps[compared])
    assert list(trial.steps["step"]) == ["measured"]
    assert list(ex.get_history()["Success"]) == [True]


def test_code_is_that_of_the_function_and_of_what_it_reaches(ex: Experiment) -> None:
    first = ex[measured(ex, 1, seed=1)]

    assert first.code.startswith("def measured(ex: Experiment")
    assert any("def helper" in text for text in first.sources.values())
    assert ex[measured(ex, 2, seed=1)].steps["fingerprint"][0] == first.steps["fingerprint"][0]


def test_changed_code_that_a_block_reaches_is_told(
    ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(ex, 1, seed=1)
    monkeypatch.setitem(globals(), "SCALE", 4)

    with pytest.warns(UserWarning) as told:
        measured(ex, 1, seed=1)

    texts = [str(warning.message) for warning in told]
    assert texts[0].startswith("Code has changed since trial 1:\nstep 'measured'")
    assert texts[1].startswith("Step 'measured' gave another output")
    assert "Cause: helper" in texts[1]


def test_an_exception_leaves_the_block_unchanged(ex: Experiment) -> None:
    error = KeyError("mine")

    with pytest.raises(KeyError) as raised, ex.trial(a=1) as t:
        t.log_metric("before", 1)
        t.result = "unfinished"
        t.artifact_path("half.txt").write_text("half")
        raise error

    assert raised.value is error
    trial = ex[t.number]
    assert (str(trial.state), trial.description, trial.result) == (
        "FAILED", "KeyError('mine')", None,
    )  # fmt: skip
    row = ex.backend.get("experiment/example/trials", 1) or {}
    assert row["failed_step"] == trial.steps["step"][0]
    assert "daskperiment/" not in str(trial.traceback)
    assert error.__notes__ == [
        f"in step '{trial.steps['step'][0]}' of trial 1 of experiment 'example'"
    ]
    assert list(trial.steps["outcome"]) == ["failed"]
    assert trial.metrics["before"][0].value == 1
    assert list(trial.artifacts) == ["half.txt"]


@pytest.mark.parametrize(
    ("error", "state"),
    [(KeyboardInterrupt(), "CANCELLED"), (SystemExit(3), "FAILED"), (GeneratorExit(), "FAILED")],
    ids=repr,
)
def test_every_end_is_recorded(ex: Experiment, error: BaseException, state: str) -> None:
    with pytest.raises(type(error)), ex.trial():
        raise error

    assert str(ex.latest.state) == state
    assert ex.latest.parameters == {}


def test_a_block_that_is_left_early_is_complete(ex: Experiment) -> None:
    def early() -> str:
        for a in range(3):
            with ex.trial(a=a) as t:
                t.result = a
                if a == 1:
                    return "left"
        return "not left"

    assert early() == "left"
    assert [(str(t.state), t.result) for t in ex.trials] == [("COMPLETE", 0), ("COMPLETE", 1)]


def test_parameters_are_declared_on_the_way_and_held_to_declarations(ex: Experiment) -> None:
    ex.parameter("n", type=int, default=3)

    with ex.trial({"seed": 5, "n": "4"}, b={"c": 1}) as t:
        assert t.parameters == {"seed": 5, "n": 4, "b": {"c": 1}}
    with ex.trial(seed=6) as t:
        assert t.parameters == {}
        assert t.seed == 6
    with pytest.raises(ParameterError, match="'n' must be of type int"):
        ex.trial(n=1.5)
    with pytest.raises(ParameterError, match="given twice"):
        ex.trial({"n": 1}, n=2)
    with pytest.raises(SeedError):
        ex.trial(seed=-1)
    assert ex.trial_id == 2


def test_a_secret_is_neither_recorded_nor_kept_from_the_block(ex: Experiment) -> None:
    secret = "hush" + "hush"
    with ex.trial(api_key=secret, a=1) as t:
        print("it is", secret)
        t.result = secret

    assert "***" in str(ex.get_history(columns=["api_key"]))
    assert secret not in str(ex.latest.output)
    assert secret not in str(ex.get_history())
    assert secret not in ex.latest.steps.to_string()


def test_streams_outside_go_on_as_if_there_were_no_block(ex: Experiment) -> None:
    random.seed(3)
    expected = [random.random() for _ in range(2)]
    random.seed(3)

    before = random.random()
    with ex.trial(seed=9) as t:
        t.result = random.random()

    assert [before, random.random()] == expected
    assert ex.latest.result == random.Random(9).random()


def test_nested_blocks_are_trials_of_their_own(ex: Experiment) -> None:
    other = Experiment("other", backend="memory://")

    with ex.trial(a=1, seed=1) as outer:
        first = random.random()
        with ex.trial(a=2, seed=2) as inner, other.trial(seed=3) as others:
            ex.log_metric("m", 2)
            inner.result = random.random()
            others.log_metric("o", 3)
            outer.log_metric("m", 1)
            print("innermost")
        outer.result = first, random.random()

    stream = random.Random(1)
    assert ex[1].result == (stream.random(), stream.random())
    assert ex[2].result == random.Random(3).random()
    assert [ex[n].metrics["m"][0].value for n in (1, 2)] == [1, 2]
    assert other[1].metrics["o"][0].value == 3
    assert [str(t.output) for t in (ex[1], ex[2], other[1])] == ["", "", "innermost"]


def test_an_inner_failure_that_is_caught_fails_the_inner_trial_alone(ex: Experiment) -> None:
    with ex.trial(a=1) as outer:
        with suppress(ValueError), ex.trial(a=2):
            raise ValueError
        outer.result = "went on"

    assert [str(t.state) for t in ex.trials] == ["COMPLETE", "FAILED"]
    assert ex[1].result == "went on"


def test_threads_have_trials_of_their_own_at_the_same_time(ex: Experiment) -> None:
    inside, numbers = threading.Barrier(4), {}

    def work(a: int) -> None:
        with ex.trial(a=a, seed=a) as t:
            first = random.random()
            inside.wait(20)
            print("thread", a)
            ex.log_metric("m", a)
            inside.wait(20)
            t.result = first, random.random()
        numbers[a] = t.number

    threads = [threading.Thread(target=work, args=(a,)) for a in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(numbers.values()) == [1, 2, 3, 4]
    for a, number in numbers.items():
        stream = random.Random(a)
        assert ex[number].result == (stream.random(), stream.random())
        assert str(ex[number].output) == f"thread {a}"
        assert ex[number].metrics["m"][0].value == a


def test_steps_and_functions_run_inside_as_trials_of_their_own(ex: Experiment) -> None:
    @ex.result
    def double(a: int) -> int:
        return 2 * a

    def triple(a: int) -> int:
        return 3 * a

    node = double(ex.parameter("a", default=1))
    with ex.trial(a=5) as t:
        t.result = node.compute(), ex.run(triple, a=2).result
    with ex.trial(a=6) as t:
        t.result = ex.current_trial_id, daskperiment.current().number

    assert [trial.result for trial in ex.trials] == [(2, 6), 2, 6, (4, 4)]


def test_a_step_may_hold_a_block(ex: Experiment) -> None:
    @ex.result
    def outer(a: int) -> list[Any]:
        with ex.trial(b=a) as t:
            ex.log_metric("m", a)
            t.result = a
        return [t.number, ex.current_trial_id]

    assert outer(ex.parameter("a", default=4)).compute() == [2, 1]
    assert "m" in ex[2].metrics
    assert "m" not in ex[1].metrics


def test_outside_of_its_block_no_trial_runs(ex: Experiment) -> None:
    with ex.trial():
        pass

    with pytest.raises(TrialIDNotFoundError):
        ex.log_metric("m", 1)


def test_generators_coroutines_methods_and_stacks_hold_blocks(ex: Experiment) -> None:
    def generate() -> Iterator[int]:
        with ex.trial(a=1) as t:
            t.result = "generator"
            yield 1

    async def work() -> None:
        with ex.trial(a=2) as t:
            t.result = "coroutine"

    class Trainer:
        def fit(self) -> None:
            with ExitStack() as stack:
                t = stack.enter_context(ex.trial(a=3))
                t.result = "method"

    assert list(generate()) == [1]
    asyncio.run(work())
    Trainer().fit()

    assert [t.result for t in ex.trials] == ["generator", "coroutine", "method"]
    assert [t.steps["step"][0] for t in ex.trials] == ["generate", "work", "fit"]
    assert ["def" in t.code for t in ex.trials] == [True] * 3


def test_a_block_leaves_checkpoints_as_a_step_does(ex: Experiment) -> None:
    def train() -> None:
        with ex.trial(a=1, seed=1) as t:
            t.result = ex.resume_state(0)
            ex.checkpoint(t.result + 1)
            if t.result < 1:
                raise MemoryError

    with suppress(MemoryError):
        train()
    train()

    assert ex.latest.result == 1


def test_callbacks_hear_of_blocks(ex: Experiment) -> None:
    heard: list[str] = []
    ex.add_callback(lambda event, **arguments: heard.append(event))

    with ex.trial(a=1) as t:
        t.log_metric("m", 1)
    with suppress(ValueError), ex.trial(a=2):
        raise ValueError

    assert heard == [
        "before_trial", "before_step", "on_metric", "after_step", "after_trial",
        "before_trial", "before_step", "after_step", "after_trial",
    ]  # fmt: skip


def test_a_purity_warning_made_an_error_ends_a_trial_that_is_recorded(ex: Experiment) -> None:
    values = iter([1, 2])

    def again() -> None:
        with ex.trial(a=1, seed=1) as t:
            t.result = next(values)

    again()
    with pytest.raises(daskperiment.PurityWarning), warnings.catch_warnings():
        warnings.simplefilter("error")
        again()

    assert [(str(t.state), t.result) for t in ex.trials] == [("COMPLETE", 1), ("COMPLETE", 2)]


def test_without_recording_a_block_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASKPERIMENT_MODE", "disabled")
    ex = Experiment("off")

    with ex.trial(a=1, seed=9) as t:
        t.log_metric("m", 1)
        t.result = random.random()
        assert (t.number, t.parameters) == (0, {"a": 1})
    with pytest.raises(ValueError, match="mine"), ex.trial():
        raise ValueError("mine")

    assert t.result == random.Random(9).random()
    assert list(Path().iterdir()) == []


SCRIPT = """
import daskperiment
ex = daskperiment.Experiment("script")
LIMIT = 3
def helper(x):
    return x + LIMIT
rates = [1, 2]
for rate in rates:
    with ex.trial(rate=rate, seed=1) as t:
        print("rate", rate)
        t.result = helper(rate)
print([trial.result for trial in ex.trials])
"""


def run_script(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(text)
    return subprocess.run(
        [sys.executable, "train.py"], capture_output=True, text=True, timeout=100, check=False
    )


def test_a_block_of_a_script_has_the_code_of_the_script(tmp_path: Path) -> None:
    done = run_script(SCRIPT, tmp_path)

    assert (done.returncode, done.stdout) == (0, "rate 1\nrate 2\n[4, 5]\n"), done.stderr
    ex = Experiment("script")
    assert [t.steps["step"][0] for t in ex.trials] == ["train", "train"]
    assert len({t.steps["fingerprint"][0] for t in ex.trials}) == 1
    assert ex[1].code == SCRIPT.rstrip("\n")
    assert "Warning" not in done.stderr


def test_what_changed_in_a_script_is_told(tmp_path: Path) -> None:
    run_script(SCRIPT, tmp_path)
    helped = run_script(SCRIPT.replace("x + LIMIT", "x - LIMIT"), tmp_path)
    edited = run_script(SCRIPT.replace("rates = [1, 2]", "rates = [1, 2, 3]"), tmp_path)
    commented = run_script(SCRIPT.replace("rates = [1, 2]", "rates = [1, 2, 3]  # more"), tmp_path)

    assert "CodeChangedWarning: Code has changed since trial 2" in helped.stderr
    assert "-    return x + LIMIT" in helped.stderr
    assert "+rates = [1, 2, 3]" in edited.stderr
    assert "CodeChangedWarning" not in commented.stderr


def test_a_killed_block_is_crashed(tmp_path: Path) -> None:
    done = run_script(
        "import daskperiment, os, signal\n"
        "with daskperiment.Experiment('script').trial(a=1):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n",
        tmp_path,
    )

    assert done.returncode != 0
    assert str(Experiment("script")[1].state) == "CRASHED"
