"""Pruned trials: what they keep, that they have not failed, and who decides that they end."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest

import daskperiment
from daskperiment import (
    Experiment,
    PrunerError,
    Trial,
    TrialIDNotFoundError,
    TrialPruned,
    TrialState,
)
from daskperiment.backends import Backend, server
from daskperiment.backends.memory import MemoryBackend
from daskperiment.callbacks import Callback, Callbacks, StopAfterFailures
from daskperiment.callbacks.texts import batch_ended
from daskperiment.cli.main import run
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.execution import attempt, batch, pruning
from daskperiment.execution.executors import _Given
from daskperiment.execution.settling import settled
from daskperiment.execution.workers import WorkerDiedError
from daskperiment.graph import Node
from daskperiment.history.batches import Batches
from daskperiment.history.trials import Trials
from daskperiment.search.pruners import (
    Hyperband,
    MedianPruner,
    Patience,
    Pruner,
    SuccessiveHalving,
    Threshold,
)
from tests.servers import redis_server

SCRIPT = """
from daskperiment import Experiment, TrialPruned

ex = Experiment("example", backend={store!r}, seed=5)

@ex.result
def train(rate):
    loss = 1.0
    for epoch in range(1, 6):
        loss *= rate
        ex.report(loss, epoch)
        if ex.should_prune():
            raise TrialPruned(f"at epoch {{epoch}}")
    return loss

s = train(ex.parameter("rate"))
"""


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
def local_ex(tmp_path: Path) -> Experiment:
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


def test_one_whose_worker_has_died_afterwards_has_not_failed(memory_ex: Experiment) -> None:
    trial, told = pruned(memory_ex), Future[Any]()
    told.set_exception(WorkerDiedError("killed"))

    ended = settled(Trials(memory_ex.backend, "example"), trial.uid, told)

    assert ended is not None
    assert (ended.number, ended.error, ended.pruned) == (1, None, True)


def test_a_scheduler_that_repeats_it_does_not_run_it_again(
    local_ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(work: Any, task: Any) -> Any:
        return [once(work, task), once(work, task)][1]

    once = attempt._once
    monkeypatch.setattr(attempt, "_once", twice)
    place = _Given(ThreadPoolExecutor(1))
    place.elsewhere = place.repeats = True
    monkeypatch.setattr(batch, "opened", lambda *_: nullcontext(place))

    (trial,) = local_ex.map(climb(local_ex), [{"a": 2}])

    assert (trial.number, trial.state, len(local_ex.trials)) == (1, "PRUNED", 1)


def test_one_that_was_taken_for_dead_is_pruned_after_all(every_backend: Backend) -> None:
    ex = Experiment("example", backend=every_backend)

    @ex.result
    def walk(a: int) -> int:
        running = daskperiment.current()
        assert Trials(ex.backend, ex.id).lose(running.number, running.uid, "it was not heard of")
        raise TrialPruned("no good")

    (trial,) = ex.map(walk(ex.parameter("a")), [{"a": 1}])

    row = ex.get_history(columns=["State", "Late", "Description"]).loc[1]
    assert trial.state == "PRUNED"
    assert row.tolist() == ["PRUNED", True, "TrialPruned(no good)"]


def test_nobody_takes_it_over_from_a_computer_that_has_died(local_ex: Experiment) -> None:
    s, jobs = climb(local_ex), [{"a": 2}, {"a": 3}]
    local_ex.map(s, jobs, shard=(0, 2), claim=True)
    batches = Batches(local_ex.backend, local_ex.id)
    ((uid, _),) = batches.find()
    batches.update(uid, {"state": "CRASHED"})

    trials = local_ex.map(s, jobs, shard=(1, 2), claim=True)

    assert [trial.parameters["a"] for trial in trials] == [3]
    assert states(local_ex.trials) == ["PRUNED", "PRUNED"]


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
    ((_, kept),) = Batches(memory_ex.backend, memory_ex.id).find()
    assert (kept["done"], kept["pruned"]) == (4, 3)
    assert seen.text.endswith("1 complete, 3 pruned")


def test_of_a_trial_alone_callbacks_hear_too(memory_ex: Experiment) -> None:
    seen = Seen()
    memory_ex.add_callback(seen)

    pruned(memory_ex)

    assert seen.ends == ["PRUNED"]


# -- where it is shown


def test_the_command_line_shows_it(local_ex: Experiment, capsys: Any, tmp_path: Path) -> None:
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


def test_a_script_whose_trial_it_was_ends_well(tmp_path: Path) -> None:
    text = SCRIPT.format(store=str(tmp_path / "store")).replace("ex.should_prune()", "epoch == 3")
    (tmp_path / "lab.py").write_text(text)

    done = subprocess.run(
        [sys.executable, "lab.py", "rate=0.5"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "lab.py: The trial was pruned: at epoch 3" in done.stderr
    assert Experiment("example", backend=tmp_path / "store").latest.state == "PRUNED"


def test_a_notebook_draws_it(memory_ex: Experiment) -> None:
    assert "<svg" in pruned(memory_ex)._repr_html_()
    assert "pruned" in memory_ex.latest._repr_html_()


# -- reports, and who decides


def descend(ex: Experiment) -> Node:
    """A result that reports its loss in five epochs, the better the smaller ``rate`` is."""

    @ex.result
    def train(rate: float) -> float:
        loss = 1.0
        for epoch in range(1, 6):
            loss *= rate
            ex.report(loss, epoch)
            if ex.should_prune():
                raise TrialPruned(f"at epoch {epoch}")
        return loss

    return train(ex.parameter("rate"))


def rates(*values: float) -> list[dict[str, float]]:
    return [{"rate": value} for value in values]


def epochs(trials: list[Trial]) -> list[int]:
    """How many epochs trials have run."""
    return [len(trial.metrics["report"]) for trial in trials]


def test_a_report_is_a_point_of_the_metric_report(every_backend: Backend) -> None:
    ex = Experiment("example", backend=every_backend)

    descend(ex).compute(parameters={"rate": 0.5})

    points = [point[:2] for point in ex[1].metrics["report"]]
    assert points == [(1, 0.5), (2, 0.25), (3, 0.125), (4, 0.0625), (5, 0.03125)]


def test_without_a_pruner_nothing_is_pruned(ex: Experiment, scheduler: Any) -> None:
    if scheduler == "synchronous":
        (trial,) = ex.map(descend(ex), rates(100.0))
        assert trial.state == "COMPLETE"
    assert descend(ex).compute(parameters={"rate": 2.0}, scheduler=scheduler) == 32


def test_wherever_a_step_reaches_its_trial_it_can_report(memory_ex: Experiment) -> None:
    with memory_ex.trial() as trial:
        trial.report(np.float32(0.5), np.int64(0))
        daskperiment.current().report(math.nan, 1)
        memory_ex.report(2, 2)
        assert not trial.should_prune()
        assert not daskperiment.current().should_prune()

    assert [point[1] for point in memory_ex.latest.metrics["report"]][::2] == [0.5, 2]


def test_outside_of_a_step_there_is_nothing_to_report_to(memory_ex: Experiment) -> None:
    with pytest.raises(TrialIDNotFoundError, match=r"report\(\) works only inside a step"):
        memory_ex.report(1.0, 0)
    with pytest.raises(TrialIDNotFoundError, match=r"should_prune\(\) works only inside a step"):
        memory_ex.should_prune()


@pytest.mark.parametrize(("value", "epoch"), [("0.5", 0), (None, 0), (1.0, 0.5), (1.0, None)])
def test_what_is_no_number_cannot_be_reported(
    memory_ex: Experiment, value: Any, epoch: Any
) -> None:
    with memory_ex.trial() as trial, pytest.raises(TypeError):
        trial.report(value, epoch)


def test_while_recording_is_switched_off_nothing_is_pruned(monkeypatch: Any) -> None:
    monkeypatch.setenv("DASKPERIMENT_MODE", "disabled")
    ex = Experiment("example", backend="memory://")

    assert descend(ex).compute(parameters={"rate": 2.0}) == 32


def test_the_pruner_of_a_batch_ends_what_is_not_promising(every_backend: Backend) -> None:
    ex = Experiment("example", backend=every_backend)
    jobs = rates(0.5, 0.4, 0.3, 0.45, 0.2, 0.35)

    trials = ex.map(descend(ex), jobs, max_workers=1, pruner=MedianPruner(3))

    assert states(trials) == ["COMPLETE"] * 3 + ["PRUNED", "COMPLETE", "COMPLETE"]
    assert epochs(trials) == [5, 5, 5, 1, 5, 5]
    assert trials[3].description == "TrialPruned(at epoch 1)"


def test_where_more_is_better_it_ends_the_others(memory_ex: Experiment) -> None:
    jobs = rates(0.5, 0.4, 0.3, 0.45, 0.2)

    trials = memory_ex.map(
        descend(memory_ex), jobs, max_workers=1, pruner=MedianPruner(3), direction="maximize"
    )

    assert epochs(trials) == [5, 5, 5, 5, 1]


@pytest.mark.parametrize(
    ("pruner", "expected"),
    [
        (SuccessiveHalving(1, 2), [5, 1, 5, 1, 5]),
        (Hyperband(5, 5), [5, 5, 5, 5, 5]),
        (Hyperband(1, 1), [5, 1, 5, 1, 5]),
        (Threshold(upper=0.55), [5, 1, 5, 1, 5]),
        (Patience(1, 0, Threshold(0)), [5, 5, 5, 5, 5]),
    ],
    ids=str,
)
def test_other_pruners_are_asked_alike(
    memory_ex: Experiment, pruner: Pruner, expected: list[int]
) -> None:
    jobs = rates(0.5, 0.6, 0.3, 0.7, 0.2)

    assert epochs(memory_ex.map(descend(memory_ex), jobs, max_workers=1, pruner=pruner)) == expected


def asked_elsewhere(ex: Experiment, executor: Any) -> None:
    """Workers know what others have reported before, and what is reported now."""
    s, jobs = descend(ex), rates(0.1, 0.2, 0.3, 0.9)
    before = ex.map(s, jobs, max_workers=1, pruner=MedianPruner(3))

    trials = ex.map(s, jobs, executor, pruner=MedianPruner(3))

    assert epochs(before) == [5, 5, 5, 1]
    assert (epochs(trials)[0], epochs(trials)[3]) == (5, 1)
    assert trials[3].state == "PRUNED"


def test_every_executor_asks_the_store(local_ex: Experiment, executor: Any) -> None:
    asked_elsewhere(local_ex, executor)


def test_every_executor_asks_a_server(redis_running: Any, executor: Any, request: Any) -> None:
    name = f"asked_{request.node.callspec.params['executor']}"

    asked_elsewhere(Experiment(name, backend=redis_running.uri), executor)


def test_steps_on_several_workers_ask_it_too(local_ex: Experiment, client: Any) -> None:
    s = descend(local_ex)
    local_ex.map(s, rates(0.1, 0.2, 0.9), max_workers=1, pruner=MedianPruner(2))

    trials = local_ex.map(s, rates(0.1, 0.2, 0.9), client, spread=True, pruner=MedianPruner(2))

    assert states(trials)[::2] == ["COMPLETE", "PRUNED"]


@pytest.mark.parametrize("spread", [False, True])
def test_all_steps_of_a_trial_report_one_series(
    local_ex: Experiment, client: Any, spread: bool
) -> None:
    ex = local_ex

    @ex
    def begin(a: int) -> int:
        ex.report(0.1, 0)
        return a

    @ex.result
    def go_on(a: int) -> int:
        for epoch in range(1, 4):
            ex.report(0.5, epoch)
            if ex.should_prune():
                raise TrialPruned(f"at epoch {epoch}")
        return a

    s = go_on(begin(ex.parameter("a")))

    (trial,) = ex.map(s, [{"a": 1}], client, spread=spread, pruner=Patience(1))

    assert trial.description == "TrialPruned(at epoch 2)"


def _elsewhere() -> None:
    os.environ["STORE_PORT"] = "1"


def test_a_worker_that_cannot_reach_the_store_decides_by_itself(
    redis_running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_PORT", str(redis_running.port))
    ex = Experiment("far_pruned", backend="redis://127.0.0.1:${STORE_PORT}/0")
    s, jobs = descend(ex), rates(0.5, 0.9)

    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_elsewhere) as pool:
        ends = ex.map(s, jobs, pool, pruner=Threshold(upper=0.6), retries=1)
        others = ex.map(s, jobs, pool, pruner=MedianPruner(1))

    assert states(ends) == ["COMPLETE", "PRUNED"]
    assert epochs(ends) == [5, 1]
    assert states(others) == ["COMPLETE", "COMPLETE"]


def test_trials_that_still_run_are_competitors(local_ex: Experiment) -> None:
    ex, good, over = local_ex, threading.Event(), threading.Event()

    @ex.result
    def train(loss: float) -> float:
        if loss > 1:
            assert good.wait(20)
        ex.report(loss, 1)
        try:
            if ex.should_prune():
                raise TrialPruned
            good.set()
            assert over.wait(20)
        finally:
            over.set()
        return loss

    trials = ex.map(
        train(ex.parameter("loss")), [{"loss": 1.0}, {"loss": 2.0}], max_workers=2,
        pruner=SuccessiveHalving(),
    )  # fmt: skip

    assert states(trials) == ["COMPLETE", "PRUNED"]


def test_an_attempt_that_was_made_again_is_no_competitor(memory_ex: Experiment) -> None:
    ex, fails = memory_ex, iter([False, True])

    @ex.result
    def train(loss: float) -> float:
        again = next(fails, False)
        ex.report(0.1 if again else loss, 1)
        if again:
            raise ValueError("lost its luck")
        if ex.should_prune():
            raise TrialPruned
        return loss

    jobs, options = [{"loss": 0.5}, {"loss": 0.4}], {"max_workers": 1, "retries": 1}
    trials = ex.map(train(ex.parameter("loss")), jobs, pruner=SuccessiveHalving(), **options)

    assert [trial.number for trial in trials] == [1, 3]
    assert states(trials) == ["COMPLETE", "COMPLETE"]


def resume(ex: Experiment) -> Node:
    """A result that reports losses, fails at NaN, and goes on behind that if it is run again."""

    @ex.result
    def train(losses: list[float]) -> float:
        begin = ex.resume_state(0)
        for epoch, loss in enumerate(losses[begin:], begin + 1):
            if math.isnan(loss):
                ex.checkpoint(epoch)
                raise ValueError("lost")
            ex.report(loss, epoch)
            if ex.should_prune():
                raise TrialPruned(f"at epoch {epoch}")
        return losses[-1]

    return train(ex.parameter("losses"))


@pytest.mark.parametrize(
    "pruner",
    [
        MedianPruner(1),  # its best report is one of the attempt before
        SuccessiveHalving(1, 4),  # which has come to the first rung
    ],
    ids=str,
)
def test_one_that_goes_on_from_a_checkpoint_has_the_reports_before(
    memory_ex: Experiment, pruner: Pruner
) -> None:
    jobs = [{"losses": losses} for losses in ([0.5, 0.5, 0.5], [0.1, math.nan, 0.9])]

    trials = memory_ex.map(resume(memory_ex), jobs, max_workers=1, pruner=pruner, retries=1)

    assert [trial.number for trial in trials] == [1, 3]
    assert states(trials) == ["COMPLETE", "COMPLETE"]


def test_trials_of_other_searches_do_not_compete(memory_ex: Experiment) -> None:
    s = descend(memory_ex)
    for value in (0.1, 0.2):
        memory_ex.map(s, rates(value), pruner=MedianPruner(1))
        s.compute(parameters={"rate": value})

    (trial,) = memory_ex.map(s, rates(0.9), pruner=MedianPruner(1))

    assert trial.state == "COMPLETE"


def test_a_step_that_goes_on_is_told_again(memory_ex: Experiment) -> None:
    ex, told = memory_ex, []

    @ex.result
    def train(a: int) -> int:
        told.append(ex.should_prune())
        for epoch, value in enumerate([1.0, 9.0, 1.0]):
            ex.report(value, epoch)
            told.append(ex.should_prune())
        return a

    (trial,) = ex.map(train(ex.parameter("a")), [{"a": 1}], pruner=Threshold(upper=5))

    assert told == [False, False, True, True]
    assert trial.state == "COMPLETE"


def test_asked_now_and_then_it_decides_on_what_was_reported_since(memory_ex: Experiment) -> None:
    ex = memory_ex

    @ex.result
    def train(rate: float) -> float:
        for epoch in range(1, 30):
            ex.report(rate, epoch)
            if epoch % 10 == 0 and ex.should_prune():
                raise TrialPruned
        return rate

    trials = ex.map(
        train(ex.parameter("rate")), rates(0.1, 0.2), max_workers=1, pruner=SuccessiveHalving()
    )

    assert epochs(trials) == [29, 10]


def test_metrics_of_this_name_are_reports_of_others(memory_ex: Experiment) -> None:
    ex = memory_ex

    @ex.result
    def train(rate: float) -> float:
        if rate < 0.5:
            ex.log_metric("report", rate)
            return rate
        ex.report(rate, 0)
        if ex.should_prune():
            raise TrialPruned
        return rate

    trials = ex.map(
        train(ex.parameter("rate")), rates(0.1, 0.9), max_workers=1, pruner=MedianPruner(1)
    )

    assert states(trials) == ["COMPLETE", "PRUNED"]


def test_what_others_have_reported_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ex, reads = Experiment("example", backend=MemoryBackend()), Counter[str]()
    read = MemoryBackend.read

    def counted(self: Any, path: str, start: int = 0) -> Any:
        reads[path] += "/metrics/" in path
        return read(self, path, start)

    monkeypatch.setattr(MemoryBackend, "read", counted)
    descending = [1 - 0.02 * n for n in range(40)]

    trials = ex.map(descend(ex), rates(*descending), max_workers=1, pruner=MedianPruner(0))

    assert states(trials) == ["COMPLETE"] * 40
    assert max(reads.values()) == 1


def test_a_store_that_is_away_prunes_nothing_and_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(server, "PATIENCE", 0.1)
    with redis_server(tmp_path / "redis") as running:
        ex, told = Experiment("away", backend=running.uri), []

        @ex.result
        def train(rate: float) -> float:
            if rate == 0.9:
                running.kill()
            for epoch in range(1, 4):
                ex.report(rate, epoch)
                told.append(ex.should_prune())
            if rate == 0.9:
                running.start()
            return rate

        s = train(ex.parameter("rate"))
        with pytest.warns(daskperiment.DaskperimentWarning):
            ex.map(s, rates(0.1, 0.9), max_workers=1, pruner=MedianPruner(1))
        while ex.unsynced:
            time.sleep(0.05)

        assert told == [False] * 6
        assert ex[2].result == 0.9


def test_a_pruner_of_a_later_version_prunes_nothing(
    memory_ex: Experiment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown(document: Any) -> Any:
        raise PrunerError(f"{document} describes no pruner")

    monkeypatch.setattr(pruning, "pruner_of", unknown)

    (trial,) = memory_ex.map(descend(memory_ex), rates(9.0), pruner=Threshold(upper=0))

    assert trial.state == "COMPLETE"
    assert "Trial 1 is not pruned" in caplog.text


def test_damaged_reports_prune_nothing(
    memory_ex: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    ex = memory_ex

    @ex.result
    def train(rate: float) -> float:
        if rate == 0.1:
            ex.report(rate, 0)
            ex.save_artifact("uid.txt", daskperiment.current().uid.encode())
            return rate
        uid = ex[1].artifacts["uid.txt"].read().decode()
        ex.backend.append(f"experiment/example/metrics/{uid}", [{"report": [[0], ["x"], [0]]}])
        ex.report(rate, 0)
        return float(ex.should_prune())

    trials = ex.map(
        train(ex.parameter("rate")), rates(0.1, 0.9), max_workers=1, pruner=MedianPruner(1)
    )

    assert trials[1].result == 0.0
    assert "It is not known whether trial 2 should end" in caplog.text


@pytest.mark.parametrize("pruner", [MedianPruner, "median", {"name": "MedianPruner"}])
def test_a_batch_takes_only_pruners(memory_ex: Experiment, pruner: Any) -> None:
    with pytest.raises(PrunerError, match="no pruner"):
        memory_ex.map(descend(memory_ex), rates(0.1), pruner=pruner)
    with pytest.raises(PrunerError, match="direction is 'minimize' or 'maximize'"):
        memory_ex.map(descend(memory_ex), rates(0.1), direction="up")  # type: ignore[arg-type]
    assert len(memory_ex.trials) == 0


def test_a_shard_and_what_is_resumed_are_of_the_same_search(local_ex: Experiment) -> None:
    s, jobs = descend(local_ex), rates(0.1, 0.2, 0.9)
    local_ex.map(s, jobs, pruner=MedianPruner(1), shard=(0, 3))

    trials = local_ex.map(s, jobs, max_workers=1, pruner=MedianPruner(1), skip_completed=True)

    assert [trial.number for trial in trials] == [1, 2, 3]
    assert states(trials) == ["COMPLETE", "PRUNED", "PRUNED"]


def test_a_new_attempt_is_pruned_too(local_ex: Experiment) -> None:
    ex, fails = local_ex, iter([True])

    @ex.result
    def train(rate: float) -> float:
        ex.report(rate, 0)
        if next(fails, False):
            raise ValueError
        if ex.should_prune():
            raise TrialPruned
        return rate

    (trial,) = ex.map(train(ex.parameter("rate")), rates(2.0), pruner=Threshold(upper=1), retries=1)

    assert (trial.number, trial.state) == (2, "PRUNED")


def test_a_pruned_trial_is_reproduced_up_to_its_end(load: Any, tmp_path: Path) -> None:
    lab = load(lab=SCRIPT.format(store=str(tmp_path / "store")))
    lab.ex.map(lab.s, rates(0.9, 0.7), max_workers=1, pruner=Threshold(upper=0.85))
    lab.ex.map(lab.s, rates(0.7), pruner=Threshold(lower=0.3))

    for number, ends in ((1, 1), (2, 5), (3, 4)):
        found = lab.ex[number].reproduce()

        assert found.match == "bitwise"
        assert lab.ex.latest.state == lab.ex[number].state
        assert len(lab.ex.latest.metrics["report"]) == ends


def test_a_trial_of_two_steps_is_reproduced_up_to_its_end(load: Any, tmp_path: Path) -> None:
    text = f"""
    from daskperiment import Experiment, TrialPruned

    ex = Experiment("example", backend={str(tmp_path / "store")!r}, seed=5)

    def some(bad):
        for epoch in range(3):
            ex.report(9.0 if bad and epoch == 1 else 1.0, epoch)
            if ex.should_prune():
                raise TrialPruned

    @ex
    def first(a):
        some(False)
        return a

    @ex.result
    def second(a):
        some(True)

    s = second(first(ex.parameter("a")))
    """
    lab = load(lab=text)
    lab.ex.map(lab.s, [{"a": 1}], pruner=Threshold(upper=5))

    assert lab.ex[1].reproduce().match == "bitwise"
    assert lab.ex.latest.steps["outcome"].tolist() == ["ran", "pruned"]


# -- of a search that goes by places


def at_place(
    s: Node, place: int, rate: float, pruner: Pruner, before: Any, search: str = "one"
) -> int:
    """An attempt at a place of a search, which is compared with places before one."""
    row = pruning.about_search(search, pruner, "minimize")
    row["pruner"]["before"] = before
    about = {"uid": uuid.uuid4().hex, "place": place, **row}
    ended = attempt.run(attempt.Work(s, None, Callbacks()), attempt.Task({"rate": rate}, 1, about))
    assert ended.error is None and isinstance(ended.number, int)
    return ended.number


def test_before_a_place_only_trials_of_earlier_places_compete(every_backend: Backend) -> None:
    ex = Experiment("example", backend=every_backend)
    s, pruner = descend(ex), MedianPruner(1)

    for place, rate, before in [(0, 0.5, 0), (1, 0.1, 0), (2, 0.3, 1), (3, 0.4, 2), (4, 0.2, 0)]:
        at_place(s, place, rate, pruner, before)

    assert epochs(list(ex.trials)) == [5, 5, 5, 1, 5]


@pytest.mark.parametrize("state", ["CRASHED", "CANCELLED", "RUNNING", "FAILED"])
def test_of_each_place_the_last_attempt_that_is_done_competes(
    memory_ex: Experiment, state: str
) -> None:
    s, pruner = descend(memory_ex), SuccessiveHalving(1, 2)
    for number in (1, 2):
        at_place(s, 0, 0.9 if number == 2 else 0.1, pruner, 0)
        Trials(memory_ex.backend, "example").change(1, {"state": state})

    at_place(s, 1, 0.5, pruner, 1)

    assert memory_ex[3].state == "COMPLETE"


@pytest.mark.parametrize("state", ["PRUNED", "FAILED", "CRASHED"])
def test_one_that_has_not_completed_competes_where_it_has_ended(
    memory_ex: Experiment, state: str
) -> None:
    s, pruner = descend(memory_ex), SuccessiveHalving(1, 2)
    at_place(s, 0, 0.1, pruner, 0)
    Trials(memory_ex.backend, "example").change(1, {"state": state})

    at_place(s, 1, 0.5, pruner, 1)

    assert memory_ex[2].state == ("COMPLETE" if state == "CRASHED" else "PRUNED")


def test_equal_searches_prune_alike_in_whatever_order_trials_run(memory_ex: Experiment) -> None:
    s, pruner = descend(memory_ex), Hyperband(1, 4, 2)
    rates = [(7 * place % 16 + 1) / 20 for place in range(16)]
    found = []

    for search in ("one", "two"):
        ends = {}
        for begin in range(0, 16, 4):
            group = range(begin, begin + 4)
            for place in group if search == "one" else reversed(group):
                ends[place] = at_place(s, place, rates[place], pruner, begin, search)
        found.append(epochs([memory_ex[ends[place]] for place in range(16)]))

    assert found[0] == found[1]
    assert set(found[0]) > {1, 5}


@pytest.mark.parametrize("before", ["3", True, 1.0])
def test_what_is_no_place_prunes_nothing(
    memory_ex: Experiment, caplog: pytest.LogCaptureFixture, before: Any
) -> None:
    at_place(descend(memory_ex), 0, 9.0, Threshold(upper=0), before)

    assert memory_ex[1].state == "COMPLETE"
    assert "Trial 1 is not pruned: before is a place" in caplog.text
