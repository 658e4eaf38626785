"""Heartbeats: a process on another machine is judged by the clock of who asks."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.backends import Insert, open_backend
from daskperiment.history import liveness, paths
from daskperiment.history.batches import Batches
from daskperiment.history.claims import Claims
from daskperiment.history.liveness import Heartbeat, Liveness
from daskperiment.history.trials import Trials
from daskperiment.tracking import environment

ELSEWHERE = {
    "host": "elsewhere", "pid": 1, "boot_id": "other", "started": 1.0, "since_boot": 1.0
}  # fmt: skip

PROGRAM = """
    import sys, time
    from daskperiment import platform
    from daskperiment.history import liveness

    platform.host_name = lambda: "elsewhere"
    liveness.INTERVAL = 0.1

    from daskperiment.tracking import environment

    here = environment.process()
    here["host"] = "elsewhere"
    from daskperiment import Experiment

    ex = Experiment(sys.argv[3], backend=sys.argv[1])

    @ex.result
    def wait(seconds):
        print("began", flush=True)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.05)
        return seconds

    wait(ex.parameter("seconds", default=float(sys.argv[2]))).compute()
"""


@contextmanager
def far_away(uri: str, seconds: float, folder: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """A process that takes itself for one of another machine, in the middle of its trial."""
    (folder / "far.py").write_text(textwrap.dedent(PROGRAM))
    process = subprocess.Popen(
        [sys.executable, "far.py", uri, str(seconds), name],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "began\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "GRACE", 1.0)


def await_state(ex: Experiment, state: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        ex.get_history()
        if str(ex.trials[1].state) == state:
            return
        assert time.monotonic() < deadline, f"it is {ex.trials[1].state}"
        time.sleep(0.05)


def test_a_process_of_another_machine_that_died_is_noticed(
    redis_running: Any, tmp_path: Path, short_grace: None
) -> None:
    uri = redis_running.uri
    with far_away(uri, 100, tmp_path, "died") as process:
        ex = Experiment("died", backend=uri)
        ex.get_history()
        assert str(ex[1].state) == "RUNNING"

        process.send_signal(signal.SIGKILL)

        await_state(ex, "CRASHED")
        assert ex[1].description == "CRASHED(the process that ran the trial is gone)"


def test_who_may_only_read_sees_that_it_died(
    redis_running: Any, tmp_path: Path, short_grace: None
) -> None:
    with far_away(redis_running.uri, 100, tmp_path, "read") as process:
        trials = Trials(open_backend(redis_running.uri), "read")
        assert trials.get(1)["state"] == "RUNNING"
        process.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 60
        while trials.get(1)["state"] == "RUNNING" and time.monotonic() < deadline:
            time.sleep(0.05)

        assert trials.get(1)["state"] == "CRASHED"
        assert (trials.backend.get(paths.trials("read"), 1) or {})["state"] == "RUNNING"
        with trials.mirror.columns() as columns:
            assert columns.standard["State"][0] == "CRASHED"
        trials.bury()
        assert list(trials.backend.find(paths.HEARTBEATS)) == []


def test_a_living_one_is_not_taken_for_dead(
    redis_running: Any, tmp_path: Path, short_grace: None
) -> None:
    uri = redis_running.uri
    with far_away(uri, 2.5, tmp_path, "living") as process:
        ex = Experiment("living", backend=uri)
        seen = set()
        while process.poll() is None:
            ex.get_history()
            seen.add(str(ex[1].state))
            time.sleep(0.05)

    assert seen <= {"RUNNING", "COMPLETE"}
    assert str(ex[1].state) == "COMPLETE"
    assert not ex.get_history(columns=["Late"])["Late"][1]
    assert list(ex.backend.find(paths.HEARTBEATS)) == []


def test_the_result_of_one_that_was_taken_for_dead_is_kept_and_marked(
    redis_running: Any, tmp_path: Path, short_grace: None
) -> None:
    uri = redis_running.uri
    with far_away(uri, 0.5, tmp_path, "stopped") as process:
        ex = Experiment("stopped", backend=uri)
        process.send_signal(signal.SIGSTOP)
        await_state(ex, "CRASHED")

        process.send_signal(signal.SIGCONT)

        await_state(ex, "COMPLETE")
        assert ex.get_history(columns=["Late"])["Late"][1]
        assert ex[1].result == 0.5


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(liveness, "time", clock)
    return clock


def test_a_silent_process_is_gone_after_a_minute_of_the_observers_clock(
    backend: Any, clock: Clock
) -> None:
    heart, observer = Heartbeat(backend, ELSEWHERE), Liveness(backend)
    heart.beat()
    assert not observer.is_gone(ELSEWHERE)
    clock.now += liveness.GRACE - 1
    assert not observer.is_gone(ELSEWHERE)
    heart.beat()
    clock.now += 2
    assert not observer.is_gone(ELSEWHERE)
    clock.now += liveness.GRACE + 1
    assert observer.is_gone(ELSEWHERE)
    heart.beat()
    assert not observer.is_gone(ELSEWHERE)


def test_what_one_process_has_seen_counts_for_others_of_its_machine(
    backend: Any, clock: Clock
) -> None:
    Heartbeat(backend, ELSEWHERE).beat()
    assert not Liveness(backend).is_gone(ELSEWHERE)
    clock.now += liveness.GRACE + 1

    assert Liveness(backend).is_gone(ELSEWHERE)


def test_the_sightings_of_another_machine_do_not_count(
    backend: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    Heartbeat(backend, ELSEWHERE).beat()
    Liveness(backend).is_gone(ELSEWHERE)
    clock.now += liveness.GRACE + 1
    monkeypatch.setattr("daskperiment.platform.host_name", lambda: "third")

    assert not Liveness(backend).is_gone(ELSEWHERE)


def test_of_a_process_that_died_before_it_beat_a_server_tells(
    redis_running: Any, clock: Clock
) -> None:
    ex = Experiment("unbeaten", backend=redis_running.uri)
    observer = Liveness(ex.backend)
    assert not observer.is_gone(ELSEWHERE | {"pid": 2})
    clock.now += liveness.GRACE + 1
    assert observer.is_gone(ELSEWHERE | {"pid": 2})


def test_a_folder_tells_nothing_of_processes_elsewhere(tmp_path: Path, clock: Clock) -> None:
    ex = Experiment("folder", backend=tmp_path / "store")
    observer = Liveness(ex.backend)
    assert not observer.is_gone(ELSEWHERE)
    clock.now += 10 * liveness.GRACE
    assert not observer.is_gone(ELSEWHERE)


def test_a_place_of_a_dead_computer_is_taken_over_once(backend: Any, clock: Clock) -> None:
    here = environment.process()
    elsewhere, mine, third = (
        Claims(backend, "shared", "plan", f"batch {i}", owner)
        for i, owner in enumerate((ELSEWHERE, here, {**here, "host": "third"}))
    )
    Heartbeat(backend, ELSEWHERE).beat()

    assert elsewhere.take("4").mine
    assert elsewhere.take("4").mine
    assert not mine.take("4").mine
    clock.now += liveness.GRACE + 1
    assert mine.take("4").mine
    assert not third.take("4").mine


def test_places_are_taken_together_or_not_at_all_while_their_batch_runs(backend: Any) -> None:
    here, batches = environment.process(), Batches(backend, "shared")
    mine, other = (Claims(backend, "shared", "plan", each, here) for each in ("mine", "other"))
    for each in ("mine", "other"):
        batches.begin(each, {"state": "RUNNING", "started": 1.0, "owner": here})

    assert other.take_all(["2"], queued=7)
    assert not mine.take_all(["0", "1", "2"])
    assert mine.take_all(["0", "1"])
    assert not other.take("1").mine and not mine.take("2").mine

    batches.end("other", {"state": "CANCELLED"}, {})
    assert not mine.take_all(["2"])
    assert mine.take("2").mine and not other.take("2").mine
    claim = mine.get("2")
    assert claim is not None and claim["queued"] == 7


@pytest.mark.parametrize(
    "hostile", [
        {}, {"by": 3, "owner": {}}, {"by": "x"}, {"owner": {}}, {"by": "", "owner": 3},
        {"by": "a/b", "owner": []}, {"by": "\x00", "owner": "x"}, {"by": "x" * 10**5, "owner": {}},
    ],
)  # fmt: skip
def test_a_hostile_claim_is_anothers(hostile: Any) -> None:
    backend = open_backend("memory://")
    mine = Claims(backend, "shared", "plan", "mine", environment.process())
    backend.apply(Insert(paths.claims("shared"), hostile, "plan-4"))

    assert not mine.take("4").mine


SHARD = """
    import os, signal, sys, time
    from daskperiment import Experiment

    ex = Experiment("shared", backend=sys.argv[1], seed=1)

    @ex.result
    def work(a):
        if sys.argv[2] == "1/2" and a == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return a

    trials = ex.map(
        work(ex.parameter("a")), [{"a": a} for a in range(8)],
        max_workers=1, shard=sys.argv[2], claim=True,
    )
    print([trial.parameters["a"] for trial in trials])
"""


@pytest.mark.parametrize("kind", ["local", "redis"])
def test_the_living_take_over_the_share_of_a_dead_computer(
    kind: str, redis_running: Any, tmp_path: Path
) -> None:
    (tmp_path / "shard.py").write_text(textwrap.dedent(SHARD))
    place = redis_running.uri if kind == "redis" else str(tmp_path / "store")

    def start(shard: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "shard.py", place, shard], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    dying = start("1/2")
    dying.communicate(timeout=60)
    living = start("0/2")
    told, errors = living.communicate(timeout=60)

    assert dying.returncode == -signal.SIGKILL
    assert living.returncode == 0, errors
    assert told.splitlines()[-1] == "[0, 2, 3, 4, 5, 6, 7]"
    ex = Experiment("shared", backend=place)
    complete = [t.parameters["a"] for t in ex.trials if str(t.state) == "COMPLETE"]
    assert sorted(complete) == list(range(8))
    (again,) = [t for t in ex.trials if t.parameters["a"] == 3 and t.retry_of is not None]
    assert str(again.retry_of.state) == "CRASHED"


def test_living_computers_that_share_a_batch_wait_for_each_other_and_end() -> None:
    backend = open_backend("memory://")

    def shard(part: int) -> list[int]:
        ex = Experiment("shared", backend=backend, seed=1)

        @ex.result
        def work(a: int) -> int:
            time.sleep(0.05)
            return a

        jobs = [{"a": a} for a in range(6)]
        trials = ex.map(work(ex.parameter("a")), jobs, max_workers=1, shard=(part, 2), claim=True)
        return [trial.parameters["a"] for trial in trials]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(shard, range(2), timeout=60)) == [[0, 2, 4], [1, 3, 5]]


def test_a_place_that_was_run_since_a_batch_began_is_not_run_again() -> None:
    backend, begun, over = open_backend("memory://"), threading.Event(), threading.Event()

    def shard() -> None:
        ex = Experiment("shared", backend=backend, seed=1)

        @ex.result
        def work(a: int) -> int:
            if a == 0:
                begun.set()
                assert over.wait(60)
            return a

        jobs = [{"a": a} for a in range(6)]
        ex.map(work(ex.parameter("a")), jobs, max_workers=1, shard=(0, 2), claim=True)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(shard)
        assert begun.wait(60)
        shard()
        over.set()
        first.result(60)

    ran = [trial.parameters["a"] for trial in Experiment("shared", backend=backend).trials]
    assert sorted(ran) == [0, 2, 4]
