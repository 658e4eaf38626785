"""Pruned trials: what they keep, that they have not failed, and who decides that they end."""

from __future__ import annotations

import logging
from typing import Any

import dask
import pytest

from daskperiment import Experiment, Trial, TrialPruned, TrialState
from daskperiment.backends import Backend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.callbacks import Callback, StopAfterFailures
from daskperiment.callbacks.texts import batch_ended
from daskperiment.cli.main import run
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.graph import Node


def climb(ex: Experiment) -> Node:
    """A result that ends early for all ``a`` but 1, and fails for 13."""

    @ex
    def start(a: int) -> int:
        return a

    @ex.result
    def walk(a: int) -> int:
        for epoch in range(3):
            ex.log_metric("height", a * epoch, epoch)
        ex.save_artifact("note.txt", b"so far")
        print("walking")
        if a == 13:
            raise ValueError("unlucky")
        if a != 1:
            raise TrialPruned(f"{a} is no good")
        return a

    return walk(start(ex.parameter("a")))


def pruned(ex: Experiment, **options: Any) -> Trial:
    """A trial that was pruned."""
    with pytest.raises(TrialPruned, match="2 is no good"):
        climb(ex).compute(parameters={"a": 2}, **options)
    return ex.latest


def states(trials: Any) -> list[str]:
    return [str(trial.state) for trial in trials]


@pytest.fixture(params=["threads", "processes", "cluster"])
def executor(request: pytest.FixtureRequest) -> Any:
    """Each kind of executor."""
    return request.getfixturevalue("client") if request.param == "cluster" else request.param


@pytest.fixture
def local_ex(tmp_path: Any) -> Experiment:
    return Experiment("example", backend=tmp_path / "store", seed=5)


# -- one trial


def test_a_step_that_raises_it_ends_the_trial_as_pruned(every_backend: Backend) -> None:
    trial = pruned(Experiment("example", backend=every_backend))

    assert trial.state is TrialState.PRUNED
    assert trial.state.ended and trial.state.done
    assert trial.result is None
    assert trial.description == "TrialPruned(2 is no good)"


def test_it_does_so_on_every_scheduler(local_ex: Experiment, scheduler: Any) -> None:
    trial = pruned(local_ex, scheduler=scheduler)

    assert trial.state == "PRUNED"
    assert trial.steps["outcome"].tolist() == ["ran", "pruned"]


def test_what_it_has_recorded_stays(every_backend: Backend) -> None:
    ex = Experiment("example", backend=every_backend)

    trial = pruned(ex)

    assert [point[:2] for point in trial.metrics["height"]] == [(0, 0), (1, 2), (2, 4)]
    assert trial.artifacts["note.txt"].read() == b"so far"
    assert "walking" in str(trial.output)
    assert ex.load_metric("height", 1)[1].tolist() == [0, 2, 4]


def test_it_is_no_failure_in_the_history_and_in_the_log(
    ex: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "daskperiment"):
        pruned(ex)

    row = ex.get_history(verbose=True).loc[1]
    assert not row["Success"]
    assert row["Description"] == "TrialPruned(2 is no good)"
    assert ex.get_history(where="State == 'PRUNED'").index.tolist() == [1]
    assert "Pruned Experiment (trial id=1)" in caplog.text
    assert not [each for each in caplog.records if each.levelno > logging.INFO]
    assert ex[1].traceback is None


def test_other_ways_to_run_a_trial_treat_it_alike(ex: Experiment) -> None:
    s = climb(ex)

    with pytest.raises(TrialPruned):
        ex.run(s, a=2)
    with pytest.raises(TrialPruned), ex.trial(a=2):
        raise TrialPruned
    with pytest.raises(TrialPruned):
        ex.set_parameters(a=2)
        dask.compute(s, scheduler="synchronous")
    assert ex.submit(s, {"a": 2}).result().state == "PRUNED"
    assert states(ex.trials) == ["PRUNED"] * 4


def test_a_subclass_of_it_prunes_too(memory_ex: Experiment) -> None:
    class Hopeless(TrialPruned):
        pass

    with pytest.raises(Hopeless), memory_ex.trial():
        raise Hopeless
    assert memory_ex.latest.state == "PRUNED"


def test_a_step_that_catches_it_goes_on(memory_ex: Experiment) -> None:
    with memory_ex.trial() as trial:
        try:
            raise TrialPruned
        except TrialPruned:
            trial.result = 3
    assert memory_ex.latest.state == "COMPLETE"


def test_a_pruned_trial_is_never_the_best(memory_ex: Experiment) -> None:
    climb(memory_ex).compute(parameters={"a": 1})
    pruned(memory_ex)

    assert memory_ex.best("maximize", metric="height").number == 1


def test_why_says_that_it_was_pruned(memory_ex: Experiment) -> None:
    assert pruned(memory_ex).why("walk").startswith("ran and was pruned")


# -- batches


def test_in_a_batch_it_is_an_outcome_and_no_error(local_ex: Experiment, executor: Any) -> None:
    trials = local_ex.map(climb(local_ex), [{"a": a} for a in (2, 1, 3)], executor)

    assert states(trials) == ["PRUNED", "COMPLETE", "PRUNED"]
    assert [len(trial.metrics["height"]) for trial in trials] == [3, 3, 3]


def test_where_steps_are_spread_over_workers_too(local_ex: Experiment, client: Any) -> None:
    trials = local_ex.map(climb(local_ex), [{"a": 2}, {"a": 1}], client, spread=True)

    assert states(trials) == ["PRUNED", "COMPLETE"]


def test_on_a_server_too(redis_running: Any, executor: Any) -> None:
    ex = Experiment("pruned", backend=redis_running.uri)

    trials = ex.map(climb(ex), [{"a": 2}, {"a": 1}], executor)

    assert states(trials) == ["PRUNED", "COMPLETE"]


def test_with_a_timeout_too(local_ex: Experiment, executor: Any) -> None:
    trials = local_ex.map(climb(local_ex), [{"a": 2}, {"a": 1}], executor, timeout=60)

    assert states(trials) == ["PRUNED", "COMPLETE"]


def test_it_is_not_attempted_again(local_ex: Experiment, executor: Any) -> None:
    jobs = [{"a": 2}, {"a": 13}]

    trials = local_ex.map(climb(local_ex), jobs, executor, retries=1, on_error="continue")

    assert states(trials) == ["PRUNED", "FAILED"]
    assert [trial.retry_of is not None for trial in trials] == [False, True]
    assert len(local_ex.trials) == 3


def test_a_resumed_batch_takes_it_as_done(local_ex: Experiment) -> None:
    s = climb(local_ex)
    local_ex.map(s, [{"a": 2}, {"a": 1}, {"a": 13}], max_workers=1, on_error="continue")

    trials = local_ex.map(
        s, [{"a": 1}, {"a": 2}, {"a": 13}, {"a": 3}], max_workers=1, skip_completed=True,
        on_error="continue",
    )  # fmt: skip

    assert [trial.number for trial in trials] == [2, 1, 4, 5]
    assert trials[2].retry_of.number == 3


def test_a_complete_trial_stands_for_a_place_before_a_pruned_one(memory_ex: Experiment) -> None:
    ends = iter([True, False])

    @memory_ex.result
    def walk(a: int) -> int:
        if next(ends):
            raise TrialPruned
        return a

    s = walk(memory_ex.parameter("a"))
    memory_ex.map(s, [{"a": 1}], seed=3)
    memory_ex.map(s, [{"a": 1}], seed=3)

    (trial,) = memory_ex.map(s, [{"a": 1}], seed=3, skip_completed=True)

    assert trial.number == 2


@pytest.mark.filterwarnings("ignore::daskperiment.CodeChangedWarning")
def test_changed_code_is_tried_again(memory_ex: Experiment, load: Any) -> None:
    text = "from daskperiment import TrialPruned\ndef walk(a):\n    raise TrialPruned({})\n"
    for number in (1, 2, 3):
        walk = load(walking=text.format(number // 2)).walk
        memory_ex.map(
            memory_ex.result(walk)(memory_ex.parameter("a")), [{"a": 1}], skip_completed=True
        )

    assert states(memory_ex.trials) == ["PRUNED", "PRUNED"]


class Seen(Callback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.counts: tuple[int, ...] = ()
        self.text = ""

    def after_trial(self, *, trial: Trial, batch: Any) -> None:
        self.ends.append(str(trial.state))

    def after_batch(self, *, batch: Any) -> None:
        self.counts = batch.done, batch.pruned, batch.failed
        self.text = batch_ended(batch)


def test_callbacks_are_told_that_it_was_pruned(memory_ex: Experiment) -> None:
    seen, stop = Seen(), StopAfterFailures(1)

    trials = memory_ex.map(
        climb(memory_ex), [{"a": a} for a in (2, 1, 3, 4)], max_workers=1, callbacks=[seen, stop]
    )

    assert seen.ends == states(trials) == ["PRUNED", "COMPLETE", "PRUNED", "PRUNED"]
    assert seen.counts == (4, 3, 0)
    assert seen.text.endswith("1 complete, 3 pruned")


def test_of_a_trial_alone_callbacks_hear_too(memory_ex: Experiment) -> None:
    seen = Seen()
    memory_ex.add_callback(seen)

    pruned(memory_ex)

    assert seen.ends == ["PRUNED"]


# -- where it is shown


def test_the_command_line_shows_it(local_ex: Experiment, capsys: Any, tmp_path: Any) -> None:
    pruned(local_ex)
    store = str(tmp_path / "store")

    assert run(["ls", "-e", "example", "--backend", store]) == 0
    assert "PRUNED" in capsys.readouterr().out
    assert run(["show", "1", "--backend", store]) == 0
    shown = capsys.readouterr().out
    assert "pruned" in shown and "2 is no good" in shown
    assert run(["logs", "1", "-f", "--backend", store]) == 0


def test_the_dashboard_shows_it() -> None:
    backend = MemoryBackend()
    pruned(Experiment("example", backend=backend))
    ask = create_app(Board(backend, "example")).test_client()
    root = "/api/v1/experiments/example/trials/1"

    shown, graph = ask.get(root).json, ask.get(f"{root}/graph").json

    assert shown["state"] == "PRUNED"
    assert shown["steps"] == {"ran": 1, "failed": 0, "pruned": 1, "reused": 0}
    assert {n["label"]: n.get("outcome") for n in graph["nodes"]}["walk"] == "pruned"


def test_a_notebook_draws_it(memory_ex: Experiment) -> None:
    assert "<svg" in pruned(memory_ex)._repr_html_()
    assert "pruned" in memory_ex.latest._repr_html_()
