"""Many trials at once: on threads, processes, executors and clusters, with failures and retries."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daskperiment import (
    BatchArgumentError,
    BatchError,
    ExecutorError,
    Experiment,
    ParameterError,
    ParameterUndefinedError,
)
from daskperiment.backends.memory import MemoryBackend
from daskperiment.graph import Node
from daskperiment.history import paths
from daskperiment.typing import Document, Key

EXECUTORS = ("threads", "processes", "processes:fork", "own threads", "own processes", "cluster")


def graph(ex: Experiment) -> Node:
    """Two steps, of which the second does as its parameter says."""

    @ex
    def double(a: int) -> int:
        return 2 * a

    @ex.result
    def finish(doubled: int, fate: str) -> float:
        import random

        ex.log_metric("doubled", doubled)
        if fate == "fail":
            raise ValueError(f"{doubled} is wrong")
        if fate == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if fate == "die once" and not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if fate == "fail once" and not Path(f"failed{doubled}").exists():
            Path(f"failed{doubled}").touch()
            raise ValueError("once")
        return doubled + random.random()

    return finish(double(ex.parameter("a")), ex.parameter("fate", default=""))


@pytest.fixture
def ex(tmp_path: Path) -> Experiment:
    return Experiment("batch", backend=tmp_path / "store", seed=5)


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Any:
    """Each kind of executor."""
    if request.param == "cluster":
        yield request.getfixturevalue("client")
    elif request.param == "own threads":
        with ThreadPoolExecutor(2) as pool:
            yield pool
    elif request.param == "own processes":
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            yield pool
    else:
        yield request.param


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_trials_come_in_the_order_given_and_equal_everywhere(ex: Experiment, executor: Any) -> None:
    s = graph(ex)
    one_by_one = [s.compute(parameters={"a": a}) for a in range(6)]

    trials = ex.map(s, [{"a": a} for a in range(6)], executor)

    assert [trial.parameters["a"] for trial in trials] == list(range(6))
    assert [trial.result for trial in trials] == one_by_one
    assert [str(trial.state) for trial in trials] == ["COMPLETE"] * 6
    assert sorted(trial.number for trial in trials) == list(range(7, 13))
    assert [trial.metrics["doubled"][0].value for trial in trials] == [0, 2, 4, 6, 8, 10]
    assert len({tuple(trial.steps["fingerprint"]) for trial in (*trials, ex[1])}) == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_trial_that_fails_leaves_the_others_alone(ex: Experiment, executor: Any) -> None:
    jobs = [{"a": a, "fate": "fail" if a == 2 else ""} for a in range(5)]

    trials = ex.map(graph(ex), jobs, executor, on_error="continue")

    assert [str(trial.state) for trial in trials] == [
        "COMPLETE", "COMPLETE", "FAILED", "COMPLETE", "COMPLETE",
    ]  # fmt: skip
    assert trials[2].description == "ValueError(4 is wrong)"


class Counting(MemoryBackend):
    """Counts the rows of trials that are read."""

    reads = 0

    def get(self, path: str, key: Key) -> Document | None:
        self.reads += path == paths.trials("batch")
        return super().get(path, key)


def test_a_trial_of_a_batch_is_read_when_it_is_asked_for_something_and_once() -> None:
    backend, numbers = Counting(), []

    def count(event: str, **arguments: Any) -> None:
        if event == "after_trial":
            numbers.append(arguments["trial"].number)

    ex = Experiment("batch", backend=backend)
    trials = ex.map(graph(ex), [{"a": a} for a in range(20)], callbacks=[count])
    before = backend.reads
    results = [(trial.uid, trial.seed, trial.result, trial.duration) for trial in trials]

    assert sorted(numbers) == sorted(trial.number for trial in trials) == list(range(1, 21))
    assert (before, backend.reads) == (0, 20)
    assert len(set(results)) == 20


class CountingContext(SpawnContext):
    """Starts processes as ever, and counts the bytes that are sent to them."""

    def __init__(self) -> None:
        self.sent = 0

    def Pipe(self, duplex: bool = True) -> Any:  # noqa: N802 - the name of the original
        ours, theirs = super().Pipe(duplex)
        send = ours.send_bytes

        def counted(data: bytes) -> None:
            self.sent += len(data)
            send(data)

        ours.send_bytes = counted  # type: ignore[method-assign]
        return ours, theirs


def test_a_graph_is_sent_to_each_process_once(ex: Experiment) -> None:
    context, size = CountingContext(), 1_000_000

    @ex.result
    def measure(data: Any, a: int) -> int:
        return len(data) + a

    s = measure(np.zeros(size, "uint8"), ex.parameter("a"))
    trials = ex.map(s, [{"a": a} for a in range(12)], context, max_workers=2)

    assert [trial.result for trial in trials] == [size + a for a in range(12)]
    assert size < context.sent < 3 * size


def test_a_process_that_takes_the_place_of_a_dead_one_gets_the_graph_too(ex: Experiment) -> None:
    jobs = [{"a": 0}, {"a": 1, "fate": "die once"}, {"a": 2}]

    trials = ex.map(graph(ex), jobs, "processes", max_workers=1, retries=1)

    assert [str(trial.state) for trial in trials] == ["COMPLETE"] * 3
    assert [trial.parameters["a"] for trial in trials] == [0, 1, 2]


class Large:
    """A value of which each one counts."""


def test_the_values_of_steps_that_have_failed_are_let_go_of_while_the_batch_runs() -> None:
    ex, alive = Experiment("batch", backend="memory://"), []

    @ex.result
    def fail(a: int) -> None:
        large = Large()
        raise ValueError(a, type(large))

    def count(event: str, **arguments: Any) -> None:
        if event == "after_trial":
            gc.collect()
            alive.append(sum(type(each) is Large for each in gc.get_objects()))

    jobs = [{"a": a} for a in range(12)]
    ex.map(fail(ex.parameter("a")), jobs, max_workers=1, on_error="continue", callbacks=[count])

    assert len(alive) == 12
    assert max(alive) <= 3  # of one that has just ended and of one that runs


def test_a_trial_of_a_batch_can_be_removed_before_it_was_asked_for_anything(
    ex: Experiment,
) -> None:
    (trial,) = ex.map(graph(ex), [{"a": 1}])
    trial.remove()

    assert (trial.uid == ex.restore(1).uid, ex.trial_id) == (True, 1)


def test_a_failure_is_raised_as_it_was_and_no_more_trials_begin(ex: Experiment) -> None:
    jobs = [{"a": 0, "fate": "fail"}, *({"a": a} for a in range(1, 50))]

    with pytest.raises(ValueError, match="0 is wrong"):
        ex.map(graph(ex), jobs, max_workers=1)

    assert str(ex[1].state) == "FAILED"
    assert len(ex.trials) < 50
    assert all(trial.state.ended for trial in ex.trials)


@pytest.mark.parametrize("executor", ["processes", "processes:fork"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_dies_loses_only_its_own_trial(ex: Experiment, executor: str) -> None:
    jobs = [{"a": a, "fate": "die" if a == 1 else ""} for a in range(6)]

    trials = ex.map(graph(ex), jobs, executor, max_workers=3, on_error="continue")

    states = [str(trial.state) for trial in trials]
    assert states == ["COMPLETE", "CRASHED", "COMPLETE", "COMPLETE", "COMPLETE", "COMPLETE"]


def test_a_process_that_dies_is_told_by_its_trial(ex: Experiment) -> None:
    with pytest.raises(BatchError, match="Trial 1 was lost"):
        ex.map(graph(ex), [{"a": 1, "fate": "die"}], "processes")


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_trial_that_failed_is_run_again_as_a_trial_of_its_own(
    ex: Experiment, executor: str
) -> None:
    s = graph(ex)

    once, dead = ex.map(
        s,
        [{"a": 1, "fate": "fail once"}, {"a": 2, "fate": "fail"}],
        executor,
        retries=2,
        on_error="continue",
    )

    assert str(once.state) == "COMPLETE"
    assert once.retry_of is not None
    assert str(once.retry_of.state) == "FAILED"
    assert once.retry_of.retry_of is None
    assert [str(t.state) for t in ex.trials].count("FAILED") == 1 + 3
    assert str(dead.state) == "FAILED"


def test_a_trial_whose_process_died_is_run_again(ex: Experiment) -> None:
    (trial,) = ex.map(graph(ex), [{"a": 1, "fate": "die once"}], "processes", retries=1)

    assert str(trial.state) == "COMPLETE"
    assert trial.retry_of is not None
    assert str(trial.retry_of.state) == "CRASHED"


def test_repeated_trials_have_seeds_that_follow_from_the_first(ex: Experiment) -> None:
    s = graph(ex)

    first = ex.map(s, [{"a": 1}, {"a": 2}], repeats=3)
    again = ex.map(s, [{"a": 1}, {"a": 2}], repeats=3, executor="processes")

    assert [trial.parameters["a"] for trial in first] == [1, 1, 1, 2, 2, 2]
    assert [trial.seed for trial in first] == [trial.seed for trial in again]
    assert first[0].seed == 5
    assert len({trial.seed for trial in first[:3]}) == 3
    assert [trial.result for trial in first] == [trial.result for trial in again]


def test_complete_trials_are_not_run_again(
    ex: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    s = graph(ex)
    ex.map(s, [{"a": 1}, {"a": 2, "fate": "fail"}], max_workers=1, on_error="continue")
    caplog.set_level("INFO", logger="daskperiment")

    trials = ex.map(s, [{"a": 1}, {"a": 3}], skip_completed=True)

    assert [trial.number for trial in trials] == [1, 3]
    assert caplog.text.count("Skipped: trial 1 is done") == 1


def test_an_earlier_trial_stands_for_one_of_several_repeats(ex: Experiment) -> None:
    s = graph(ex)
    ex.map(s, [{"a": 1}], repeats=2, max_workers=1)

    trials = ex.map(s, [{"a": 1}], repeats=3, skip_completed=True)

    assert [trial.number for trial in trials] == [1, 2, 3]


@pytest.mark.filterwarnings("ignore::daskperiment.PurityWarning")
def test_another_seed_or_other_code_is_run(ex: Experiment) -> None:
    ex.map(graph(ex), [{"a": 1}])
    s = graph(ex)

    assert [t.number for t in ex.map(s, [{"a": 1}], seed=6, skip_completed=True)] == [2]

    with pytest.warns(UserWarning, match="has been redefined"):

        @ex.result
        def finish(doubled: int, fate: str) -> int:
            return doubled

    other = finish(ex.parameter("a"), ex.parameter("fate", default=""))
    with pytest.warns(UserWarning, match="Code has changed"):
        assert [t.number for t in ex.map(other, [{"a": 1}], skip_completed=True)] == [3]


def test_without_a_seed_any_seed_will_do(tmp_path: Path) -> None:
    ex = Experiment("batch", backend=tmp_path / "store")
    s = graph(ex)
    s.compute(seed=17, parameters={"a": 1})

    assert [t.number for t in ex.map(s, [{"a": 1}], skip_completed=True)] == [1]


def test_every_value_is_checked_before_any_trial_begins(ex: Experiment) -> None:
    ex.parameter("n", default=1, type=int)

    @ex.result
    def score(a: int, n: int) -> int:
        return a + n

    s = score(ex.parameter("a"), ex.parameter("n", default=1, type=int))

    with pytest.raises(ParameterError, match="'n'"):
        ex.map(s, [{"a": 1}, {"a": 1, "n": "x"}])
    with pytest.raises(ParameterUndefinedError, match="a"):
        ex.map(s, [{"a": 1}, {}])
    assert len(ex.trials) == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"executor": "fork"}, "There is no executor 'fork': give 'threads', 'processes'"),
        ({"executor": "processes:other"}, "There is no executor"),
        ({"executor": 7}, "There is no executor 7"),
        ({"max_workers": 0}, "from 1 on, not 0"),
        ({"repeats": 0}, "repeats is an integer from 1 on"),
        ({"retries": -1}, "retries is an integer from 0 on"),
        ({"on_error": "stop"}, "on_error is 'raise' or 'continue'"),
    ],
)
def test_what_cannot_be_done_says_what_can(
    ex: Experiment, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises((ExecutorError, BatchArgumentError), match=reason):
        ex.map(graph(ex), [{"a": 1}], **options)
    assert len(ex.trials) == 0


@pytest.mark.filterwarnings("ignore::daskperiment.CodeChangedWarning")  # what it counts
def test_as_many_trials_run_at_a_time_as_there_are_workers(ex: Experiment) -> None:
    running, most = [0], [0]
    lock = threading.Lock()

    @ex.result
    def count(a: int) -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        return a

    ex.map(count(ex.parameter("a")), [{"a": a} for a in range(12)], max_workers=3)

    assert 1 < most[0] <= 3


def test_a_script_without_a_guard_is_told_what_to_write(tmp_path: Path) -> None:
    import subprocess
    import sys

    Path("script.py").write_text(
        "import daskperiment\n"
        "ex = daskperiment.Experiment('unguarded')\n"
        "@ex.result\n"
        "def score(a): return a\n"
        "ex.map(score(ex.parameter('a')), [{'a': 1}], 'processes')\n"
    )

    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode != 0
    assert 'if __name__ == "__main__":' in done.stderr
