"""With recording switched off, code computes what it always does, and nothing is kept."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import dask
import pytest

import daskperiment
from daskperiment import Experiment


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.setenv("DASKPERIMENT_MODE", "disabled")
    return Experiment("off")


def noisy(ex: Experiment) -> Any:
    @ex.persist
    def prepare(a: int) -> float:
        return a + random.random()

    @ex.result
    def score(s: float) -> tuple[float, float]:
        ex.log_metric("m", 1.0)
        ex.save_artifact("a.txt", b"text")
        ex.artifact_path("b.txt").write_text("text")
        return s, random.random()

    return score(prepare(ex.parameter("a", default=1)))


def test_a_seed_gives_the_values_that_a_recorded_trial_gives(
    memory_ex: Experiment, off: Experiment, scheduler: Any
) -> None:
    recorded = noisy(memory_ex).compute(seed=7)

    assert noisy(off).compute(seed=7, scheduler=scheduler) == recorded


def test_every_route_computes_without_a_trial(off: Experiment) -> None:
    node = noisy(off)

    (value,) = dask.compute(node, scheduler="synchronous")
    assert (node[0] * 0 + 1).compute() == 1
    assert len(value) == 2
    assert off.trial_id == 0


def test_no_file_is_made(off: Experiment, tmp_path: Path) -> None:
    noisy(off).compute()

    assert off.get_history().empty
    assert list(tmp_path.iterdir()) == []


def test_the_code_of_steps_still_sees_a_trial(off: Experiment) -> None:
    @off.result
    def look(a: int) -> Any:
        trial = daskperiment.current()
        return trial.number, trial.parameters, off.current_trial_id

    assert look(off.parameter("a", default=1)).compute() == (0, {"a": 1}, 0)


def test_parameters_are_checked_as_ever(off: Experiment) -> None:
    @off.result
    def look(a: int) -> int:
        return a

    node = look(off.parameter("a"))
    with pytest.raises(daskperiment.ParameterUndefinedError):
        node.compute()
    with pytest.raises(daskperiment.ParameterUndeclaredError):
        off.set_parameters(b=1)


def test_a_step_that_fails_raises_its_own_error(off: Experiment) -> None:
    @off.result
    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail().compute()


def test_another_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASKPERIMENT_MODE", "of")

    with pytest.raises(daskperiment.OptionError, match=r"DASKPERIMENT_MODE .*disabled"):
        Experiment("off")
