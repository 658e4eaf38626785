"""Trials move between backends whole, once, and go on after any interruption."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

import daskperiment
from daskperiment import Experiment, copy_trials
from daskperiment.backends import Backend, Discard, Remove, open_backend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.errors import BackendError, ExperimentNotFoundError
from daskperiment.history import paths
from daskperiment.history.holders import rows


def fill(backend: Backend, count: int = 4, name: str = "example") -> Experiment:
    """Trials that have a bit of everything."""
    ex = Experiment(name, backend=backend)
    a = ex.parameter("a")

    @ex.persist
    def prepare(a: Any) -> Any:
        print("preparing", a)
        ex.log_metric("loss", 0.5)
        ex.save_artifact("big.bin", bytes(200_000) + str(a).encode())
        ex.save_artifact("small.txt", f"small {a}")
        return {"large": "x" * 10_000, "a": a}

    @ex.result
    def score(found: Any) -> Any:
        return 10 / found["a"]

    s = score(prepare(a))
    for value in range(count - 1, -1, -1):
        with contextlib.suppress(ZeroDivisionError):
            s.compute(parameters={"a": value})
    ex[1].tags, ex[1].note = ["good"], "keep it"
    return ex


def content(backend: Backend) -> dict[str, Any]:
    """All that a backend says of its trials, and every byte that they need."""
    found: dict[str, Any] = {"snapshots": dict(backend.find(paths.SNAPSHOTS))}
    found["payloads"] = {digest: backend.fetch(digest) for digest, _ in backend.blobs()}
    for name in daskperiment.experiments(backend):
        purity = [dict(backend.find(path(name))) for path in (paths.latest, paths.exact)]
        logs = (paths.steps, paths.metrics, paths.artifacts, paths.output)
        trials = {
            number: (row, [backend.read(log(name, row["uid"])) for log in logs])
            for number, row in rows(backend, name)
        }
        found[name] = trials, purity
    return found


@pytest.fixture
def other(tmp_path: Path) -> Backend:
    return open_backend(tmp_path / "other")


# -- what is copied ---------------------------------------------------------------------------


def test_a_copy_there_and_back_is_equal(tmp_path: Path) -> None:
    first, last = open_backend(tmp_path / "first"), open_backend(tmp_path / "last")
    middle = open_backend("memory://")
    ex = fill(first)
    ex[2].remove()
    ex[3].forget("parameters.a")
    fill(first, 2, "second")

    there, back = copy_trials(first, middle), copy_trials(middle, last)

    assert content(first) == content(middle) == content(last)
    assert len(there.copied) == len(back.copied) == 6
    assert not there.renumbered and not there.left_out


def test_a_copy_by_way_of_any_backend_is_equal(every_backend: Backend, other: Backend) -> None:
    source = open_backend("memory://")
    fill(source)[2].remove()

    assert len(copy_trials(source, every_backend).copied) == 4
    assert len(copy_trials(every_backend, other).copied) == 4

    assert content(source) == content(other)


def test_a_copy_reads_as_the_original_does(backend: Backend, other: Backend) -> None:
    ex = fill(backend)
    copy_trials(backend, other)
    copied = Experiment("example", backend=other)

    assert copied.get_history(verbose=True).equals(ex.get_history(verbose=True))
    assert copied[1].output.lines == ex[1].output.lines
    assert copied[1].artifacts["small.txt"].load() == "small 3"
    assert copied.get_persisted("prepare", 1) == ex.get_persisted("prepare", 1)
    assert copied[1].code == ex[1].code and copied[1].environment == ex[1].environment
    assert (copied[1].tags, copied[1].note) == (["good"], "keep it")


def test_removed_trials_stay_removed_and_keep_their_numbers(
    backend: Backend, other: Backend
) -> None:
    ex = fill(backend)
    ex[1].remove()
    ex.gc()
    ex[3].remove()

    done = copy_trials(backend, other)
    copied = Experiment("example", backend=other)

    assert not done.renumbered
    assert [trial.number for trial in copied.trials] == [2, 4] and len(copied.trials) == 2
    copied.restore(3)
    assert copied[3].result == 10


def test_a_copied_trial_contradicts_an_impure_step_as_in_its_source(
    backend: Backend, other: Backend
) -> None:
    values = iter([1, 2])

    def build(backend: Backend) -> Any:
        ex = Experiment("impure", backend=backend)
        return ex.result(lambda a: next(values), name="draw")(ex.parameter("a", default=1))

    build(backend).compute()
    copy_trials(backend, other)

    with pytest.warns(daskperiment.PurityWarning):
        build(other).compute()


# -- once -------------------------------------------------------------------------------------


def test_a_second_copy_changes_nothing_and_says_so(backend: Backend, other: Backend) -> None:
    fill(backend)
    copy_trials(backend, other)
    before = content(other)

    again = copy_trials(backend, other)

    assert (again.copied, again.present, again.left_out) == ([], 4, [])
    assert content(other) == before


def test_a_later_copy_adds_what_is_new(backend: Backend, other: Backend) -> None:
    fill(backend, 2)
    copy_trials(backend, other)
    fill(backend, 3)

    done = copy_trials(backend, other)

    assert [moved.target for moved in done.copied] == [3, 4, 5] and done.present == 2


def test_what_was_edited_in_the_target_stays(backend: Backend, other: Backend) -> None:
    fill(backend)
    copy_trials(backend, other)
    Experiment("example", backend=other)[1].note = "mine"

    copy_trials(backend, other)

    assert Experiment("example", backend=other)[1].note == "mine"


# -- numbers ----------------------------------------------------------------------------------


def test_trials_of_both_stores_get_numbers_one_after_another(
    backend: Backend, other: Backend
) -> None:
    fill(backend, 3)
    fill(other, 2)

    done = copy_trials(backend, other)

    assert [(m.source, m.target) for m in done.renumbered] == [(1, 3), (2, 4), (3, 5)]
    copied = Experiment("example", backend=other)
    assert [trial.number for trial in copied.trials] == [1, 2, 3, 4, 5]


def test_chosen_trials_follow_on_without_gaps(backend: Backend, other: Backend) -> None:
    ex = fill(backend)

    done = copy_trials(backend, other, "example", [2, 4])

    assert [(m.source, m.target) for m in done.copied] == [(2, 1), (4, 2)]
    copied = Experiment("example", backend=other)
    assert [trial.uid for trial in copied.trials] == [ex[2].uid, ex[4].uid]
    assert fill(other, 1).latest.number == 3


def test_trials_without_their_experiment_are_refused(backend: Backend, other: Backend) -> None:
    fill(backend, 1)

    with pytest.raises(ExperimentNotFoundError, match="Choose"):
        copy_trials(backend, other, trials=[1])
    with pytest.raises(ExperimentNotFoundError, match="there are: example"):
        copy_trials(backend, other, "exampel")


# -- what cannot be copied --------------------------------------------------------------------


def test_a_running_trial_is_left_out_and_named(backend: Backend, other: Backend) -> None:
    ex, seen = Experiment("example", backend=backend), []

    @ex.result
    def look() -> None:
        seen.append(copy_trials(backend, other))

    look().compute()

    (left,) = seen[0].left_out
    assert str(left) == "trial 1 of 'example': it has not ended; copy again when it has"
    assert len(copy_trials(backend, other).copied) == 1


class Damaged(MemoryBackend):
    """One payload has other bytes than it had, until it is restored."""

    spoilt = ""

    def fetch(self, digest: str) -> bytes:
        return super().fetch(digest)[::-1] if digest == self.spoilt else super().fetch(digest)


@pytest.mark.parametrize("name", ["big.bin", "small.txt"])
def test_a_damaged_payload_is_named_the_rest_goes_on_and_a_later_copy_brings_it(
    other: Backend, name: str
) -> None:
    source = Damaged()
    ex = fill(source)
    source.spoilt = str(ex[2].artifacts[name].digest)

    (left,) = copy_trials(source, other).left_out
    (again,) = copy_trials(source, other).left_out

    assert (left.trial, left.field) == (2, f"artifacts.{name}") and "changed" in left.reason
    assert again == left
    copied = Experiment("example", backend=other)
    assert copied[2].result == 5 and len(copied.trials) == 4
    source.spoilt = ""
    assert not copy_trials(source, other).left_out
    assert copied[2].artifacts[name].read() == ex[2].artifacts[name].read()


def test_rows_that_others_have_spoilt_are_left_out_and_passed_over() -> None:
    source, target = MemoryBackend(), MemoryBackend()
    fill(source, 3)
    fill(target, 1)
    for backend, number in ((source, 2), (target, 1)):
        backend.apply(Remove(paths.trials("example"), number))
        backend.insert(paths.trials("example"), {"state": "COMPLETE", "uid": ["x"]}, number)

    done = copy_trials(source, target)

    assert [(moved.source, moved.target) for moved in done.copied] == [(1, 2), (3, 3)]
    assert [left.trial for left in done.left_out] == [2]


def test_absent_bytes_are_named(backend: Backend, other: Backend) -> None:
    ex = fill(backend, 2)
    backend.apply(Discard(str(ex[1].artifacts["big.bin"].digest)))

    (left,) = copy_trials(backend, other).left_out

    assert (left.trial, left.field) == (1, "artifacts.big.bin")


# -- interruptions and company ----------------------------------------------------------------


class Dying(MemoryBackend):
    """Fails at one group of writes, before it or behind it."""

    def __init__(self, at: int, behind: bool) -> None:
        super().__init__()
        self.left, self.behind = at, behind

    def apply(self, *writes: Any) -> list[Any]:
        self.left -= 1
        if self.left == 0 and not self.behind:
            raise BackendError("gone")
        done = super().apply(*writes)
        if self.left == 0:
            raise BackendError("gone")
        return done


@pytest.mark.parametrize("behind", [False, True])
def test_a_copy_that_fails_at_any_group_of_writes_is_completed_by_the_next_one(
    behind: bool,
) -> None:
    source = open_backend("memory://")
    fill(source)[2].remove()
    expected, at = content(source), 0
    interrupted = True
    while interrupted:
        at += 1
        target = Dying(at, behind)
        try:
            copy_trials(source, target)
            interrupted = False
        except BackendError:
            whole = content(target)
            for number, trial in whole.get("example", ({}, []))[0].items():
                assert trial == expected["example"][0][number]
        copy_trials(source, target)
        assert content(target) == expected
    assert at > 10


def test_a_copy_that_is_killed_at_any_moment_is_completed_by_the_next_one(tmp_path: Path) -> None:
    source = open_backend(tmp_path / "source")
    fill(source, 30)
    expected = content(source)
    program = textwrap.dedent("""
        import sys
        from daskperiment import copy_trials
        from daskperiment.backends import local
        print("ready", flush=True)
        copy_trials("source", sys.argv[1])
        print("done", flush=True)
    """)
    random, partial = Random(7), 0
    for attempt in range(5):
        place, rest, mean = tmp_path / f"target{attempt}", "", 0.02
        while not rest:
            process = subprocess.Popen(
                [sys.executable, "-c", program, str(place)], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            time.sleep(mean * random.uniform(0.5, 1.5))
            process.send_signal(signal.SIGKILL)
            rest, _ = process.communicate()
            mean *= 1.3  # so that it comes to its end
            if (place / "store.sqlite").is_file():
                with open_backend(place) as target:
                    partial += len(list(rows(target, "example"))) in range(1, 30)
        copy_trials(source, place)
        with open_backend(place) as target:
            assert content(target) == expected
    assert partial


class Interfering(MemoryBackend):
    """Others record, or collect what nothing refers to yet, before each group of writes."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = False
        self.record: Any = None

    def apply(self, *writes: Any) -> list[Any]:
        inserts = any(getattr(write, "path", "").endswith("/trials") for write in writes)
        if inserts and not self.busy and self.record is not None:
            self.busy, record, self.record = True, self.record, None
            record()
            self.busy = False
        return super().apply(*writes)


def test_a_number_that_another_trial_takes_meanwhile_is_passed_over(backend: Backend) -> None:
    fill(backend, 2)
    target = Interfering()
    target.record = lambda: fill(target, 1)

    done = copy_trials(backend, target)

    assert [(m.source, m.target) for m in done.copied] == [(1, 2), (2, 3)]


def test_bytes_that_are_collected_on_their_way_are_put_again(backend: Backend) -> None:
    from daskperiment.history.collection import collect

    ex = fill(backend, 2)
    target = Interfering()
    target.record = lambda: collect(target)

    assert not copy_trials(backend, target).left_out

    copied = Experiment("example", backend=target)
    assert copied[1].artifacts["big.bin"].read() == ex[1].artifacts["big.bin"].read()
    assert copied[1].code == ex[1].code


def test_two_copies_at_the_same_time_copy_each_trial_once(backend: Backend) -> None:
    fill(backend, 3)
    target = Interfering()
    seen: list[Any] = []
    target.record = lambda: seen.append(copy_trials(backend, target))

    done = copy_trials(backend, target)

    assert len(seen[0].copied) == 3
    assert (done.copied, done.present) == ([], 3)
    assert len(Experiment("example", backend=target).trials) == 3


class Counting(MemoryBackend):
    """Counts the operations that it is asked for."""

    count = 0

    def __getattribute__(self, name: str) -> Any:
        if name in ("apply", "get", "find", "read", "blobs", "fetch"):
            Counting.count += 1
        return super().__getattribute__(name)


def test_the_cost_of_a_copy_is_in_proportion_to_the_history() -> None:
    def operations(trials: int) -> int:
        source = open_backend("memory://")
        ex = Experiment("many", backend=source)
        s = ex.result(lambda a: a, name="one")(ex.parameter("a"))
        for value in range(trials):
            s.compute(parameters={"a": value})
        Counting.count = 0
        copy_trials(source, Counting())
        return Counting.count

    few, many = operations(20), operations(200)

    assert many < 11 * few
