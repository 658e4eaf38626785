"""Callbacks of batches: who is told what, and what stops a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daskperiment import CallbackWarning, Experiment
from daskperiment.callbacks import (
    Callback,
    StopAfterFailures,
    StopAtScore,
    StopWithoutImprovement,
)
from daskperiment.graph import Node


@pytest.fixture
def ex(tmp_path: Path) -> Experiment:
    return Experiment("told", backend=tmp_path / "store", seed=5)


def graph(ex: Experiment) -> Node:
    @ex
    def double(a: int) -> int:
        return 2 * a

    @ex.result
    def score(doubled: int) -> int:
        ex.log_metric("doubled", doubled)
        if doubled == 26:
            raise ValueError("unlucky")
        return doubled

    return score(double(ex.parameter("a")))


class Notes(Callback):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.before: list[Any] = []

    def before_batch(self, *, batch: Any) -> None:
        self.heard.append(("before batch", batch.experiment, batch.total))
        self.before = list(batch.trials)

    def after_batch(self, *, batch: Any) -> None:
        self.heard.append(("after batch", batch.done, batch.failed, batch.running, batch.skipped))

    def before_trial(self, *, experiment: str, parameters: Any, batch: Any) -> None:
        self.heard.append(("before trial", parameters["a"]))

    def after_trial(self, *, trial: Any, batch: Any) -> None:
        self.heard.append(("after trial", str(trial.state), batch.trials[-1] == trial))

    def before_step(self, *, step: str, call: int, trial: Any) -> None:
        self.heard.append(("before step", step))

    def after_step(self, *, step: str, call: int, trial: Any, seconds: float, error: Any) -> None:
        self.heard.append(("after step", step, error is None))

    def on_metric(self, *, name: str, value: float, epoch: Any, trial: Any) -> None:
        self.heard.append(("metric", name, value))


def test_a_batch_tells_of_itself_its_trials_their_steps_and_metrics(ex: Experiment) -> None:
    notes = Notes()

    ex.map(graph(ex), [{"a": 1}, {"a": 13}], callbacks=[notes], max_workers=1, on_error="continue")

    assert notes.heard == [
        ("before batch", "told", 2),
        ("before trial", 1),
        ("before step", "double"),
        ("after step", "double", True),
        ("before step", "score"),
        ("metric", "doubled", 2),
        ("after step", "score", True),
        ("after trial", "COMPLETE", True),
        ("before trial", 13),
        ("before step", "double"),
        ("after step", "double", True),
        ("before step", "score"),
        ("metric", "doubled", 26),
        ("after step", "score", False),
        ("after trial", "FAILED", True),
        ("after batch", 1, 1, 0, 0),
    ]


class Files(Callback):
    """Notes steps in files, also where it was copied to another process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def after_step(self, *, step: str, call: int, trial: Any, seconds: float, error: Any) -> None:
        (self.folder / f"{step} {trial}").touch()


def test_steps_are_told_of_where_they_run(ex: Experiment, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()

    ex.map(graph(ex), [{"a": 1}], "processes", callbacks=[Files(folder)])

    assert sorted(path.name for path in folder.iterdir()) == ["double 1", "score 1"]


def test_callbacks_of_the_experiment_are_told_of_batches_too(ex: Experiment) -> None:
    notes = Notes()
    ex.add_callback(notes)

    ex.map(graph(ex), [{"a": 1}])

    assert [heard[0] for heard in notes.heard] == [
        "before batch", "before trial", "before step", "after step", "before step", "metric",
        "after step", "after trial", "after batch",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("callback", "left"),
    [
        (StopAfterFailures(1), 3),
        (StopAtScore(4, "maximize"), 2),
        (StopWithoutImprovement(2, direction="minimize"), 4),
    ],
)
def test_a_batch_that_was_stopped_returns_the_trials_that_have_run(
    ex: Experiment, callback: Callback, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="daskperiment")

    trials = ex.map(
        graph(ex),
        [{"a": a} for a in (1, 2, 13, 3, 4, 5)],
        callbacks=[callback],
        max_workers=1,
        on_error="continue",
    )

    assert len(trials) == left
    assert all(trial.state.ended for trial in trials)
    assert "The batch begins no more trials:" in caplog.text


def test_an_error_in_a_callback_fails_nothing(ex: Experiment) -> None:
    class Broken(Callback):
        def after_trial(self, *, trial: Any, batch: Any) -> None:
            raise RuntimeError("broken")

    with pytest.warns(CallbackWarning, match="broken"):
        trials = ex.map(graph(ex), [{"a": 1}, {"a": 2}], callbacks=[Broken()])

    assert [str(trial.state) for trial in trials] == ["COMPLETE", "COMPLETE"]


def test_trials_that_were_skipped_are_counted_and_not_told_of(ex: Experiment) -> None:
    s, notes = graph(ex), Notes()
    ex.map(s, [{"a": 1}])

    ex.map(s, [{"a": 1}, {"a": 2}], skip_completed=True, callbacks=[notes])

    assert notes.heard[-1] == ("after batch", 1, 0, 0, 1)
    assert notes.before == [ex[1]]
    assert ("before trial", 1) not in notes.heard


def test_secrets_are_not_told(ex: Experiment) -> None:
    @ex.result
    def use(api_key: str) -> int:
        return len(api_key)

    heard = []

    def tell(event: str, **arguments: Any) -> None:
        heard.append(repr(arguments.get("parameters")))

    s = use(ex.parameter("api_key"))
    (trial,) = ex.map(s, [{"api_key": "abc123"}], callbacks=[tell])

    assert trial.result == 6
    assert any("api_key" in each for each in heard)
    assert not any("abc123" in each for each in heard)
