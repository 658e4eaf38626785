"""Checkpoints: a step goes on where an earlier trial was, and ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import daskperiment
from daskperiment import (
    CheckpointError,
    DaskperimentWarning,
    Experiment,
    Secret,
    TrialIDNotFoundError,
    ValueNotKeptError,
    copy_trials,
)
from daskperiment.backends import Backend, Discard, open_backend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.history import paths
from daskperiment.history.doctor import examine
from tests.servers import redis_server


class Model:
    """What only a pickle can hold."""

    def __init__(self) -> None:
        self.weights = np.zeros(3)

    def train(self) -> None:
        self.weights += np.random.normal(size=3)


class Interrupted(Exception):  # noqa: N818
    """What ends a trial in the middle."""


def walk(ex: Experiment) -> Any:
    """A walk of random steps, with a checkpoint behind each; the first trials break off."""

    @ex.result
    def go(steps: int, breaks: list[int]) -> list[float]:
        done, places = ex.resume_state((0, [0.0]))
        for step in range(done, steps):
            here = places[-1] + random.gauss(0, 1) + np.random.normal() + ex.rng().random()
            places = [*places, float(here)]
            ex.checkpoint((step + 1, places))
            if dict(enumerate(breaks, 1)).get(ex.current_trial_id) == step:
                raise Interrupted
        return places

    return go(ex.parameter("steps", default=10), ex.parameter("breaks"))


def broken_off(node: Any, **arguments: Any) -> None:
    with pytest.raises(Interrupted):
        node.compute(**arguments)


def documents(ex: Experiment) -> list[dict[str, Any]]:
    return [document for _, document in ex.backend.find(paths.checkpoints(ex.id))]


def blobs(ex: Experiment) -> dict[str, int]:
    return dict(ex.backend.blobs())


def digests(ex: Experiment) -> list[str]:
    return [entry["digest"] for document in documents(ex) for entry in document["entries"]]


def uninterrupted() -> list[float]:
    ex = Experiment("example", backend="memory://", seed=5)
    value: list[float] = walk(ex).compute(parameters={"breaks": []})
    return value


# -- going on -----------------------------------------------------------------------------


def test_a_later_trial_goes_on_and_ends_as_one_that_nothing_has_interrupted(
    every_backend: Backend,
) -> None:
    ex = Experiment("example", backend=every_backend, seed=5)
    node, given = walk(ex), {"parameters": {"breaks": [3, 7]}}

    broken_off(node, **given)
    before = blobs(ex)
    broken_off(node, **given)
    value = node.compute(**given)

    assert value == uninterrupted()
    assert ex[1].steps["resumed_from"].tolist() == [None]
    assert ex[2].steps["resumed_from"].tolist() == [1]
    assert ex[3].steps["resumed_from"].tolist() == [2]
    assert [ex[n].steps["outcome"].item() for n in (1, 2, 3)] == ["failed", "failed", "ran"]
    assert documents(ex) == []
    assert blobs(ex).keys() <= before.keys()
    assert [len(ex[n].checkpoints) for n in (1, 2, 3)] == [0, 0, 0]
    assert ex.gc().payloads == 0


def test_the_last_three_are_kept_and_the_bytes_of_others_are_gone(every_backend: Backend) -> None:
    ex = Experiment("example", backend=every_backend, seed=5)
    node = walk(ex)

    broken_off(node, parameters={"breaks": [6]})

    kept = ex[1].checkpoints
    assert [each.load()[0] for each in kept] == [5, 6, 7]
    assert [(each.step, each.call, each.trial, each.keep) for each in kept] == [
        ("go", 0, ex[1].uid, False)
    ] * 3
    assert len(set(digests(ex))) == 3 and set(digests(ex)) <= blobs(ex).keys()
    assert ex.gc().payloads == 0
    assert len(ex[1].checkpoints) == 3
    assert "problem" not in {finding.level for finding in examine(ex.backend, deep=True)}


@pytest.mark.parametrize("backend", ["local"], indirect=True)
def test_it_works_on_every_scheduler(backend: Backend, scheduler: Any) -> None:
    ex = Experiment("example", backend=backend, seed=5)
    node = walk(ex)

    broken_off(node, parameters={"breaks": [4]}, scheduler=scheduler)
    value = node.compute(parameters={"breaks": [4]}, scheduler=scheduler)

    assert value == uninterrupted()
    assert ex[2].steps["resumed_from"].tolist() == [1]
    assert documents(ex) == []


def test_a_state_may_be_anything_that_can_be_encoded(ex: Experiment) -> None:
    @ex.result
    def train(epochs: int) -> list[float]:
        model = ex.resume_state() or Model()
        for _ in range(epochs):
            model.train()
            ex.checkpoint(model)
            if ex.current_trial_id == 1:
                raise Interrupted
        return [float(weight) for weight in model.weights]

    node = train(ex.parameter("epochs", default=1))
    broken_off(node, seed=1)

    value = node.compute(seed=1)

    np.random.seed(1)
    assert value == [float(w) for w in np.random.normal(size=3) + np.random.normal(size=3)]


def test_a_trial_is_one_of_many_calls_and_each_has_its_own(ex: Experiment) -> None:
    @ex
    def count(start: int) -> int:
        at: int = ex.resume_state(start)
        while at < start + 5:
            at += 1
            ex.checkpoint(at)
            if at == start + 2 and ex.current_trial_id == 1 and start == 10:
                raise Interrupted
        return at

    @ex.result
    def both(one: int, other: int) -> list[int]:
        return [one, other]

    a = ex.parameter("a", default=10)
    node = both(count(0), count(a))
    broken_off(node, seed=1, scheduler="synchronous")

    assert node.compute(seed=1) == [5, 15]
    assert ex[2].steps["resumed_from"].tolist() == [1, 1, None]
    assert documents(ex) == []


def test_metrics_and_artifacts_before_a_checkpoint_are_written_with_it(tmp_path: Path) -> None:
    script = """
        import os, signal
        from daskperiment import Experiment
        ex = Experiment("example", backend="store", seed=1)

        @ex.result
        def train(a):
            ex.log_metric("loss", 0.5, 7)
            ex.save_artifact("notes", "some text")
            ex.checkpoint(a)
            os.kill(os.getpid(), signal.SIGKILL)

        train(ex.parameter("a", default=1)).compute()
    """
    run(script, tmp_path, -signal.SIGKILL)
    ex = Experiment("example", backend=tmp_path / "store")

    assert str(ex[1].state) == "CRASHED"
    assert [(p.epoch, p.value) for p in ex[1].metrics["loss"]] == [(7, 0.5)]
    assert ex[1].artifacts["notes"].load() == "some text"
    assert [each.load() for each in ex[1].checkpoints] == [1]


def run(script: str, folder: Path, status: int = 0) -> str:
    """Run a script in a folder in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=folder, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout


def test_a_killed_process_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    script = """
        import os, random, signal
        from daskperiment import Experiment
        ex = Experiment("example", backend="store", seed=1)

        class Deadly:
            def __reduce__(self):
                os.kill(os.getpid(), signal.SIGKILL)

        @ex.result
        def train(epochs):
            done, total = ex.resume_state((0, 0.0))
            for epoch in range(done, epochs):
                total += random.random()
                dead = epoch == 3 and ex.current_trial_id == 1
                ex.checkpoint((epoch + 1, Deadly() if dead else total))
            return [done, total]

        print(train(ex.parameter("epochs", default=5)).compute())
    """
    run(script, tmp_path, -signal.SIGKILL)
    done, total = eval(run(script, tmp_path))

    expected = random.Random(1)
    assert (done, total) == (3, sum(expected.random() for _ in range(5)))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("executor", ["processes", "processes:fork"])
def test_a_retry_goes_on_from_the_attempt_before(tmp_path: Path, executor: str) -> None:
    ex = Experiment("example", backend=tmp_path / "store", seed=5)

    @ex.result
    def train(epochs: int) -> list[int]:
        done = ex.resume_state(0)
        for epoch in range(done, epochs):
            ex.checkpoint(epoch + 1)
            if epoch == 3 and done == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return [done, epochs]

    node = train(ex.parameter("epochs"))
    (trial,) = ex.map(node, [{"epochs": 6}], executor, retries=1)

    assert trial.result == [4, 6]
    assert trial.retry_of is not None and trial.steps["resumed_from"].tolist() == [1]
    assert documents(ex) == []


# -- who finds which ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, True),
        ({"seed": 2}, False),
        ({"parameters": {"a": 2}}, False),
    ],
)
def test_only_the_same_call_with_the_same_seed_finds_it(
    ex: Experiment, change: dict[str, Any], found: bool
) -> None:
    @ex.result
    def train(a: int) -> str | None:
        state: str | None = ex.resume_state()
        ex.checkpoint("of the first")
        if ex.current_trial_id == 1:
            raise Interrupted
        return state

    node = train(ex.parameter("a"))
    broken_off(node, seed=1, parameters={"a": 1})

    value = node.compute(**{"seed": 1, "parameters": {"a": 1}, **change})

    assert value == ("of the first" if found else None)
    assert len(documents(ex)) == (0 if found else 1)


def test_changed_code_begins_anew(ex: Experiment) -> None:
    def define(first: bool) -> Any:
        if first:

            def train(a: int) -> int:
                ex.checkpoint(a)
                raise Interrupted

        else:

            def train(a: int) -> int:
                return ex.resume_state(-a)

        return ex.result(train)(ex.parameter("a", default=3))

    broken_off(define(True), seed=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert define(False).compute(seed=1) == -3


def test_a_trial_that_runs_at_the_moment_is_left_alone(ex: Experiment) -> None:
    @ex.result
    def train(a: int) -> int:
        number = ex.current_trial_id
        ex.save_artifact("found", ex.resume_state("nothing"))
        ex.checkpoint(f"of {number}")
        if number == 1:
            node.compute(seed=1)  # the same trial, while the first one still runs
            raise Interrupted
        return a

    node = train(ex.parameter("a", default=1))
    broken_off(node, seed=1)
    node.compute(seed=1)

    assert [trial.artifacts["found"].load() for trial in ex.trials] == [
        "nothing",
        "nothing",
        "of 1",
    ]


def test_a_trial_that_is_complete_or_removed_is_not_gone_on_from(ex: Experiment) -> None:
    @ex.result
    def train(a: int) -> int:
        ex.save_artifact("found", ex.resume_state("nothing"))
        ex.checkpoint(ex.current_trial_id, keep=True)
        if ex.current_trial_id == 2:
            raise Interrupted
        return a

    node = train(ex.parameter("a", default=1))
    node.compute(seed=1)
    broken_off(node, seed=1)
    ex[2].remove()
    node.compute(seed=1)

    ex.restore(2)
    assert [trial.artifacts["found"].load() for trial in ex.trials] == ["nothing"] * 3


def test_a_call_finds_its_own(ex: Experiment) -> None:
    @ex.result
    def train(a: int) -> list[Any]:
        first = ex.resume_state("nothing")
        ex.checkpoint("one")
        ex.checkpoint("two")
        return [first, daskperiment.current().resume_state("nothing")]

    assert train(ex.parameter("a", default=1)).compute() == ["nothing", "two"]
    assert documents(ex) == []


def test_outside_of_a_step_there_is_none(ex: Experiment) -> None:
    with pytest.raises(TrialIDNotFoundError, match="checkpoint"):
        ex.checkpoint(1)
    with pytest.raises(TrialIDNotFoundError, match="resume_state"):
        ex.resume_state()


def test_without_recording_a_step_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASKPERIMENT_MODE", "disabled")
    ex = Experiment("example", backend="memory://")

    @ex.result
    def train(a: int) -> int:
        ex.checkpoint(lambda: a)
        return ex.resume_state(7)

    assert train(ex.parameter("a", default=1)).compute() == 7


def test_an_input_without_a_digest_is_told_and_nobody_goes_on(ex: Experiment) -> None:
    @ex.result
    def train(lock: Any) -> str | None:
        state: str | None = ex.resume_state()
        ex.checkpoint("a state", keep=True)
        if ex.current_trial_id == 1:
            raise Interrupted
        return state

    node = train(ex.parameter("lock", default=threading.Lock()))
    with pytest.warns(
        DaskperimentWarning, match="'train' .* checkpoints that no trial will find: .*lock"
    ):
        broken_off(node, seed=1)
    with pytest.warns(DaskperimentWarning, match="no trial will find"):
        assert node.compute(seed=1) is None
    assert [each.load() for each in ex[1].checkpoints] == ["a state"]


# -- random numbers -----------------------------------------------------------------------


def test_what_was_drawn_before_counts_as_drawn(ex: Experiment) -> None:
    @ex.result
    def train(draws: bool) -> float:
        state = ex.resume_state()
        if state is None:
            state = random.random() if draws else 0.5
            ex.checkpoint(state)
            if ex.current_trial_id % 2:
                raise Interrupted
        return state

    node = train(ex.parameter("draws"))
    for draws in (True, False):
        broken_off(node, seed=1, parameters={"draws": draws})
        node.compute(seed=1, parameters={"draws": draws})

    assert [ex[n].steps["drew"].item() for n in (1, 2, 3, 4)] == [True, True, False, False]
    assert [ex[n].steps["entropy"].item() for n in (1, 2, 3, 4)] == [False] * 4


def test_entropy_that_was_read_before_counts_as_read(ex: Experiment) -> None:
    @ex.result
    def train(a: int) -> int:
        state: int | None = ex.resume_state()
        if state is None:
            state = int(np.random.default_rng().integers(10**9))
            ex.checkpoint(state)
            raise Interrupted
        return state

    node = train(ex.parameter("a", default=1))
    broken_off(node, seed=1)
    node.compute(seed=1)

    assert ex[2].steps["entropy"].item()


def test_a_checkpoint_leaves_the_streams_where_they_are(ex: Experiment) -> None:
    @ex.result
    def train(saves: bool) -> list[float]:
        drawn: list[float] = []
        for _ in range(3):
            drawn += [random.gauss(0, 1), float(np.random.normal()), float(ex.rng().random())]
            if saves:
                ex.checkpoint(drawn)
        return drawn

    node = train(ex.parameter("saves"))
    values = [node.compute(seed=1, parameters={"saves": saves}) for saves in (True, False)]

    assert values[0] == values[1]


# -- trouble ------------------------------------------------------------------------------


def test_a_damaged_one_is_passed_over_for_the_one_before(ex: Experiment) -> None:
    ex.seed = 5
    node = walk(ex)
    broken_off(node, parameters={"breaks": [6]})
    newest = digests(ex)[-1]
    ex.backend.apply(Discard(newest))

    assert any(finding.level == "problem" for finding in examine(ex.backend))
    with pytest.warns(
        DaskperimentWarning, match="passes over a checkpoint of step 'go' in trial 1"
    ):
        value = node.compute(parameters={"breaks": [6]})

    assert value == uninterrupted()
    assert ex[2].steps["resumed_from"].tolist() == [1]


def test_bytes_that_were_changed_are_not_decoded(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store", seed=1)

    @ex.result
    def train(a: int) -> int:
        state = ex.resume_state()
        if state is None:
            ex.checkpoint(b"x" * 200_000)
            if ex.current_trial_id == 1:
                raise Interrupted
        return a

    node = train(ex.parameter("a", default=1))
    broken_off(node)
    (digest,) = digests(ex)
    file = tmp_path / "store" / "blobs" / digest[:2] / digest
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-9] + b"something")

    with pytest.warns(
        DaskperimentWarning, match="passes over .*: The stored bytes .* were changed"
    ):
        assert node.compute() == 1


def test_a_state_that_cannot_be_encoded_is_a_typed_error_and_earlier_ones_stay(
    ex: Experiment,
) -> None:
    @ex.result
    def train(a: int) -> str:
        ex.checkpoint("good")
        for bad in (threading.Lock(), Secret("hunter2"), {"password": Secret("hunter2")}):
            with pytest.raises(CheckpointError, match=r"cannot be kept"):
                ex.checkpoint(bad)
        state: str = ex.resume_state()
        raise Interrupted(state)

    node = train(ex.parameter("a", default=1))
    with pytest.raises(Interrupted, match="good"):
        node.compute()
    assert [each.load() for each in ex[1].checkpoints] == ["good"]


def test_a_store_in_trouble_does_not_end_the_step(
    ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ex.result
    def train(a: int) -> int:
        apply = type(ex.backend).apply

        def failing(backend: Backend, *writes: Any) -> list[Any]:
            raise daskperiment.StoreFullError("no room")

        with monkeypatch.context() as patched:
            patched.setattr(type(ex.backend), "apply", failing)
            ex.checkpoint(1)
        assert type(ex.backend).apply is apply
        ex.checkpoint(2)
        raise Interrupted

    with pytest.warns(
        DaskperimentWarning, match="'train' .* goes on, but a checkpoint was not kept: no room"
    ):
        broken_off(train(ex.parameter("a", default=1)))
    assert [each.load() for each in ex[1].checkpoints] == [2]


def test_what_was_asked_for_stays_when_the_trial_is_complete(every_backend: Backend) -> None:
    ex = Experiment("example", backend=every_backend, seed=1)

    @ex.result
    def train(a: int) -> int:
        for epoch in range(10):
            ex.checkpoint(epoch, keep=epoch % 4 == 0)
        return a

    train(ex.parameter("a", default=1)).compute()

    assert [each.load() for each in ex[1].checkpoints] == [0, 4, 8]
    assert set(digests(ex)) <= blobs(ex).keys()
    assert ex.gc().payloads == 0
    assert len(ex[1].checkpoints) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_takes_nothing_from_its_parent(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store", seed=1)

    @ex.result
    def train(a: int) -> int:
        ex.checkpoint("of the parent")
        if (pid := os.fork()) == 0:
            try:
                for number in range(4):
                    ex.checkpoint(f"child {number}")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        raise Interrupted

    broken_off(train(ex.parameter("a", default=1)))

    states = [each.load() for each in ex[1].checkpoints]
    assert states == ["of the parent", "child 1", "child 2", "child 3"]


# -- housekeeping -------------------------------------------------------------------------


def left_behind(backend: Backend, name: str = "example") -> tuple[Experiment, Any]:
    """A trial that was interrupted behind a checkpoint."""
    ex = Experiment(name, backend=backend, seed=5)
    node = walk(ex)
    broken_off(node, parameters={"breaks": [4]})
    return ex, node


def test_a_collected_trial_leaves_no_checkpoint(every_backend: Backend) -> None:
    ex, _ = left_behind(every_backend)
    mine = set(digests(ex))

    ex[1].remove()
    assert ex.restore(1).checkpoints
    assert ex.gc().payloads == 0
    ex[1].remove()
    assert ex.gc(dry_run=True).payloads >= 3
    ex.gc()

    assert documents(ex) == []
    assert not mine & blobs(ex).keys()


def test_checkpoints_can_be_forgotten(backend: Backend) -> None:
    ex, node = left_behind(backend)
    mine = set(digests(ex))

    assert ex[1].forget("checkpoints").payloads == 3

    assert not mine & blobs(ex).keys()
    with pytest.raises(ValueNotKeptError, match="checkpoints of this trial was forgotten"):
        ex[1].checkpoints
    assert node.compute(parameters={"breaks": [4]}) == uninterrupted()
    assert ex[2].steps["resumed_from"].tolist() == [None]


def test_a_copy_can_be_gone_on_from(every_backend: Backend, tmp_path: Path) -> None:
    left_behind(MemoryBackend())
    source = open_backend(tmp_path / "source")
    left_behind(source)

    assert not copy_trials(source, every_backend).left_out
    ex = Experiment("example", backend=every_backend, seed=5)
    value = walk(ex).compute(parameters={"breaks": [4]})

    assert value == uninterrupted()
    assert ex[2].steps["resumed_from"].tolist() == [1]
    assert documents(ex) == []
    assert len(digests(Experiment("example", backend=source))) == 3


def test_a_dropped_experiment_leaves_none(backend: Backend) -> None:
    from daskperiment.history.removal import drop_experiment
    from daskperiment.history.trials import Trials

    ex, _ = left_behind(backend)
    mine = set(digests(ex))

    drop_experiment(Trials(backend, ex.id))

    assert documents(ex) == [] and not mine & blobs(ex).keys()


def test_what_a_complete_trial_could_not_remove_is_collected(backend: Backend) -> None:
    ex, node = left_behind(backend)
    (key,) = (key for key, _ in backend.find(paths.checkpoints(ex.id)))
    document = backend.get(paths.checkpoints(ex.id), key)
    held = {digest: backend.fetch(digest) for digest in digests(ex)}
    node.compute(parameters={"breaks": [4]})
    assert document is not None
    for data in held.values():
        backend.put(data)
    backend.insert(paths.checkpoints(ex.id), {**document, "trial": ex[2].uid}, key)

    assert ex.gc().payloads == 3
    assert documents(ex) == []


# -- a server that is away ----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*cannot be reached:daskperiment.DaskperimentWarning")
def test_checkpoints_wait_in_the_spool_while_the_server_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("daskperiment.backends.server.PATIENCE", 0.1)
    with redis_server(tmp_path / "redis") as running:
        ex = Experiment("example", backend=running.uri, seed=5)

        @ex.result
        def train(a: int) -> int:
            at = ex.resume_state(0)
            for number in range(at, 6):
                ex.checkpoint(number + 1)
                if number == 1 and at == 0:
                    running.kill()
            if at == 0:
                raise Interrupted
            return 10 * at

        node = train(ex.parameter("a", default=1))
        broken_off(node)
        running.start()
        assert ex.backend.sync(20)

        assert [each.load() for each in ex[1].checkpoints] == [4, 5, 6]
        assert node.compute() == 60
        assert documents(ex) == []
        assert ex.gc().payloads == 3  # while it was away, their bytes could not be deleted
        ex.backend.close()
