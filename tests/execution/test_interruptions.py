"""Interrupts, forks, lost workers and a backend in trouble: the trial ends, the value arrives."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import pytest

from daskperiment import BackendError, DaskperimentWarning, Experiment
from daskperiment.backends import Backend, Update
from daskperiment.backends.local import LocalBackend
from daskperiment.execution import flusher
from daskperiment.execution.interrupts import HeldBack
from daskperiment.history.paths import running
from daskperiment.history.trials import Trials

LOCAL = ("synchronous", "threads")


class NeedsTwoError(Exception):
    """An exception that cannot be made again from its message."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def state_in_the_end(ex: Experiment) -> str:
    """State of the latest trial once Dask has let go of its graph and all is written."""
    while ex.latest.state == "RUNNING" or ex.backend.get_many(running(ex.id), [ex.latest.uid])[0]:
        gc.collect()
        time.sleep(0.01)
    return ex.latest.state


@pytest.mark.parametrize("scheduler", LOCAL)
def test_an_interrupt_cancels_whoever_computes(ex: Experiment, scheduler: str) -> None:
    @ex
    def first() -> int:
        return 1

    @ex.result
    def interrupted(x: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dask.compute(interrupted(first()), scheduler=scheduler)

    assert state_in_the_end(ex) == "CANCELLED"
    assert list(ex.latest.steps["outcome"]) == ["ran", "failed"]


def test_a_trial_ends_when_another_part_of_the_computation_fails(ex: Experiment) -> None:
    started, ready = threading.Event(), threading.Event()

    @ex
    def slow() -> int:
        started.set()
        return int(ready.wait(30))

    @ex.result
    def score(x: int) -> int:
        return x

    def fail() -> None:
        started.wait(30)
        raise RuntimeError("elsewhere")

    with pytest.raises(RuntimeError, match="elsewhere"):
        dask.compute(score(slow()), dask.delayed(fail)(), scheduler="threads", num_workers=2)
    assert ex.latest.state == "RUNNING"  # as long as the other thread is busy
    ready.set()

    assert state_in_the_end(ex) == "CANCELLED"
    assert "ended" in str(ex.latest.description)


def test_a_provisional_failure_has_its_times(ex: Experiment) -> None:
    @ex.result
    def fail() -> None:
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        dask.compute(fail(), scheduler="synchronous")

    assert state_in_the_end(ex) == "FAILED"
    assert ex.latest.finished is not None
    assert ex.latest.description == "ValueError(bad)"
    assert not ex.get_history()["Process Time"].isna().any()


@pytest.mark.parametrize("route", ["compute", "dask.compute"])
def test_a_trial_lasts_as_long_as_it_does_also_when_the_clock_is_set(
    ex: Experiment, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    @ex.result
    def set_clock() -> None:
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 86400)

    if route == "compute":
        set_clock().compute()
    else:
        dask.compute(set_clock(), scheduler="synchronous")

    assert ex.latest.duration is not None
    assert 0 < ex.latest.duration.total_seconds() < 3600


@pytest.mark.parametrize("scheduler", ["synchronous", "processes"])
def test_the_record_has_the_exception_that_the_step_raised(ex: Experiment, scheduler: str) -> None:
    @ex.result
    def fail() -> None:
        raise NeedsTwoError(1, 2)

    with pytest.raises(Exception):  # noqa: B017 - what arrives from a process is dask's choice
        fail().compute(scheduler=scheduler)

    assert ex.latest.state == "FAILED"
    assert ex.latest.description == "NeedsTwoError(1 and 2)"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*is not recorded.*")  # the copy of a store in memory
def test_a_fork_inside_a_step_neither_doubles_nor_hangs(ex: Experiment) -> None:
    def log(parts: range) -> None:
        for i in parts:
            ex.log_metric("child", i, epoch=i)

    @ex
    def first() -> int:
        return 1

    @ex.result
    def forks(x: int) -> int:
        ex.log_metric("parent", 1.0)
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=log, args=(range(i, i + 3),)) for i in (0, 3)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        return max(child.exitcode or 0 for child in children)

    assert forks(first()).compute(scheduler="synchronous") == 0
    trial = ex.latest
    assert trial.state == "COMPLETE"
    assert list(trial.steps["step"]) == ["first", "forks"]
    assert len(trial.metrics["parent"]) == 1
    if isinstance(ex.backend, LocalBackend):
        assert sorted(point.epoch for point in trial.metrics["child"]) == list(range(6))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_leaves_the_step_adds_no_record(ex: Experiment) -> None:
    parent = os.getpid()

    @ex.result
    def fork() -> int:
        if (pid := os.fork()) == 0:
            raise ValueError("of the child")
        os.waitpid(pid, 0)
        return 1

    try:
        fork().compute(scheduler="synchronous")
    finally:
        if os.getpid() != parent:
            os._exit(0)
    assert list(ex.latest.steps["outcome"]) == ["ran"]


def test_epochs_counted_by_many_processes_do_not_collide(ex: Experiment) -> None:
    @ex
    def part(i: int) -> int:
        for _ in range(5):
            ex.log_metric("loss", i)
        return i

    @ex.result
    def total(parts: list[int]) -> int:
        return sum(parts)

    total([part(i) for i in range(4)]).compute(scheduler="processes", num_workers=2)

    assert [point.epoch for point in ex.latest.metrics["loss"]] == list(range(20))
    assert len(ex.load_metric("loss", 1)) == 20


class Troubled(LocalBackend):
    """A store whose reads or writes fail on demand."""

    failing = ""

    def get(self, path: str, key: Any) -> Any:
        if self.failing and self.failing in path:
            raise BackendError("the disk is away")
        return super().get(path, key)

    def apply(self, *writes: Any) -> list[Any]:
        if self.failing and any(self.failing in getattr(w, "path", "") for w in writes):
            raise BackendError("the disk is full")
        return super().apply(*writes)


@pytest.mark.parametrize("failing", ["purity", "steps", "metrics"])
def test_trouble_of_the_backend_never_changes_the_value(tmp_path: Path, failing: str) -> None:
    backend = Troubled(tmp_path / "store")
    ex = Experiment("trouble", backend=backend)

    @ex.result
    def score() -> int:
        ex.log_metric("loss", 1.0)
        return 7

    backend.failing = failing
    with pytest.warns(DaskperimentWarning, match="is not recorded: the disk is"):
        assert score().compute() == 7


def test_an_artifact_that_cannot_be_kept_is_a_warning(ex: Experiment) -> None:
    @ex.result
    def score() -> int:
        folder = ex.artifact_path("plots")
        folder.mkdir()
        (folder / "a:b.txt").write_text("no name for every system")
        return 7

    with pytest.warns(DaskperimentWarning, match="'plots' of trial 1 was not kept"):
        assert score().compute(scheduler="synchronous") == 7
    assert ex.latest.state == "COMPLETE"


def test_threads_that_have_ended_hold_no_file(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("needs /proc")
    backend = LocalBackend(tmp_path / "store")
    backend.insert("x", {})

    def use(_: int) -> None:
        thread = threading.Thread(target=backend.get, args=("x", 1))
        thread.start()
        thread.join()

    for i in range(3):
        use(i)
    before = len(list(descriptors.iterdir()))
    for i in range(50):
        use(i)

    assert len(list(descriptors.iterdir())) <= before + 4


@pytest.mark.cluster
def test_a_worker_lost_after_the_end_begins_no_second_trial(backend: Backend, client: Any) -> None:
    ex = Experiment("lost", backend=backend)

    @ex.result
    def score() -> int:
        return 1

    future = client.compute(score())
    assert future.result() == 1
    for pid in client.run(os.getpid).values():
        os.kill(pid, signal.SIGKILL)
    client.wait_for_workers(2, timeout=60)
    again = client.submit(lambda x: x, future)  # needs the value, which is computed once more
    assert again.result(60) == 1

    assert len(ex.trials) == 1
    assert ex.latest.state == "COMPLETE"


def test_many_threads_compute_one_node_by_every_route(ex: Experiment) -> None:
    s = ex.result(lambda a: a, name="same")(ex.parameter("a", default=1))
    routes = [
        lambda: s.compute(scheduler="synchronous"),
        lambda: dask.compute(s, scheduler="synchronous")[0],
        lambda: (s + 0).compute(scheduler="synchronous"),
        lambda: dask.delayed(abs)(s).compute(scheduler="synchronous"),
    ]

    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda i: routes[i % 4](), range(40)))

    assert values == [1] * 40
    assert [str(trial.state) for trial in ex.trials] == ["COMPLETE"] * 40


@pytest.mark.parametrize("failing", ["steps", "metrics", "output", "artifacts"])
def test_trouble_of_the_backend_fails_no_step_where_warnings_are_errors(
    tmp_path: Path, failing: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Troubled(tmp_path / "store")
    ex = Experiment("trouble", backend=backend)

    @ex.result
    def score() -> int:
        ex.save_artifact("notes", Path(__file__))
        print("something")
        for _ in range(200):
            ex.log_metric("loss", 1.0)
        return 7

    backend.failing = f"/{failing}/"
    assert score().compute(scheduler="synchronous") == 7  # a warning would be an error
    assert "Unable to record trial 1: the disk is full" in caplog.text


def test_an_error_of_the_step_goes_before_trouble_where_warnings_are_errors(
    tmp_path: Path,
) -> None:
    backend = Troubled(tmp_path / "store")
    ex = Experiment("trouble", backend=backend)

    @ex.result
    def fail() -> None:
        ex.artifact_path("a").mkdir()
        (ex.artifact_path("a") / "a:b.txt").write_text("no name for every system")
        raise ValueError("of the step")

    backend.failing = "/steps/"
    with pytest.raises(ValueError, match="of the step"):
        fail().compute(scheduler="synchronous")


class Slow(LocalBackend):
    """A store in which the user's Ctrl-C arrives while it commits."""

    moment = ""

    def apply(self, *writes: Any) -> list[Any]:
        here = any(self.moment in getattr(w, "path", "") for w in writes) and self.moment
        if here == "/trials":
            signal.raise_signal(signal.SIGINT)
        done = super().apply(*writes)
        if here:
            self.moment = ""
            signal.raise_signal(signal.SIGINT)
        return done


@pytest.mark.parametrize("moment", ["/running", "/metrics", "/purity"])
def test_an_interrupt_while_records_are_written_neither_loses_nor_doubles_them(
    tmp_path: Path, moment: str
) -> None:
    backend = Slow(tmp_path / "store")
    ex = Experiment("slow", backend=backend)

    @ex.result
    def score() -> int:
        print("a line")
        for i in range(1500):
            ex.log_metric("loss", i)
        return 7

    backend.moment = moment
    with pytest.raises(KeyboardInterrupt):
        score().compute(scheduler="synchronous")

    trial = ex.latest
    assert trial.state == ("COMPLETE" if moment == "/purity" else "CANCELLED")
    assert not list(backend.find(running(ex.id)))
    if moment != "/running":
        values = [point.value for point in trial.metrics["loss"]]
        assert values == list(range(1000 if moment == "/metrics" else 1500))
        assert str(trial.output) == "a line"
        assert len(trial.steps) == 1


def test_an_interrupt_at_the_end_comes_when_the_trial_has_ended(tmp_path: Path) -> None:
    backend = Slow(tmp_path / "store")
    ex = Experiment("slow", backend=backend)

    @ex.result
    def score() -> int:
        backend.moment = "/trials"
        return 7

    with pytest.raises(KeyboardInterrupt):
        score().compute(scheduler="synchronous")

    assert ex.latest.state == "COMPLETE"
    assert ex.latest.result == 7


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_a_handler_that_exits_waits_for_the_end_of_the_trial(tmp_path: Path, number: str) -> None:
    class Terminated(LocalBackend):
        def apply(self, *writes: Any) -> list[Any]:
            if any(isinstance(w, Update) and w.path.endswith("/trials") for w in writes):
                signal.raise_signal(signal.Signals[number])
            return super().apply(*writes)

    def leave(number: int, frame: object) -> None:
        raise SystemExit(1)

    ex = Experiment("terminated", backend=Terminated(tmp_path / "store"))
    before = signal.signal(signal.Signals[number], leave)
    try:
        with pytest.raises(SystemExit):
            ex.result(lambda: 1, name="one")().compute(scheduler="synchronous")
        assert signal.getsignal(signal.Signals[number]) is leave
    finally:
        signal.signal(signal.Signals[number], before)
    assert (ex.latest.state, ex.latest.result) == ("COMPLETE", 1)


def test_a_trial_ends_also_where_its_end_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ex = Experiment("insisting", backend=LocalBackend(tmp_path / "store"))
    end, interrupts = Trials.end, iter([KeyboardInterrupt])

    def interrupted(self: Trials, *arguments: Any) -> bool:
        for insisted in interrupts:
            raise insisted
        return end(self, *arguments)

    monkeypatch.setattr(Trials, "end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ex.result(lambda: 1, name="one")().compute(scheduler="synchronous")
    assert ex.latest.state == "CANCELLED"
    assert len(ex.latest.steps) == 1


def test_whoever_insists_interrupts_what_is_held_back() -> None:
    reached = []

    with pytest.raises(KeyboardInterrupt), HeldBack():
        signal.raise_signal(signal.SIGINT)
        reached.append("once")
        signal.raise_signal(signal.SIGINT)
        reached.append("twice")

    assert reached == ["once"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Stubborn:
    """Something that has more to write after each attempt, and whose store is away."""

    def __init__(self) -> None:
        self.attempts = 0

    def flush_behind(self) -> bool:
        self.attempts += 1
        for _ in range(3):
            flusher.wake(self)
        return False


def test_attempts_to_write_do_not_multiply_while_the_store_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flusher, "_PAUSE", 0.001)
    stubborn = Stubborn()
    flusher._queue.cache_clear()  # a thread of its own
    flusher.wake(stubborn)

    while stubborn.attempts < 3:
        time.sleep(0.01)
    time.sleep(0.3)

    assert stubborn.attempts < 20  # the pauses double; the attempts would do so twice as fast
    flusher._queue.cache_clear()
