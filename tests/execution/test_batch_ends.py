"""How batches end early: timeouts, Ctrl-C, lost workers, resumed scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from daskperiment import BatchArgumentError, Experiment, TrialTimeoutError
from daskperiment.cli.main import run
from daskperiment.execution import batch
from daskperiment.graph import Node
from daskperiment.history.batches import Batches
from daskperiment.history.trials import Trials


@pytest.fixture
def ex(tmp_path: Path) -> Experiment:
    return Experiment("batch", backend=tmp_path / "store", seed=5)


def graph(ex: Experiment, **options: Any) -> Node:
    """A result that hangs as its parameter says."""

    @ex.result(**options)
    def wait(a: int, how: str) -> int:
        if how == "in python":
            while True:
                sum(range(100))
        if how == "in a call":
            time.sleep(100)
        if how == "with the lock":
            sum(range(10**12))
        return a

    return wait(ex.parameter("a"), ex.parameter("how", default=""))


def states(trials: Any) -> list[str]:
    return [str(trial.state) for trial in trials]


@pytest.mark.parametrize("executor", ["threads", "processes", "cluster"])
@pytest.mark.parametrize("limited", ["trial", "step"])
def test_a_trial_past_its_timeout_fails_and_the_others_do_not(
    ex: Experiment, executor: Any, limited: str, request: pytest.FixtureRequest
) -> None:
    if executor == "cluster":
        executor = request.getfixturevalue("client")
    # Of a trial the capture of its surroundings is a part, which a fresh process does first.
    seconds = 0.5 if limited == "step" else 3.0
    s = graph(ex, timeout=seconds) if limited == "step" else graph(ex)
    jobs: list[dict[str, Any]] = [{"a": 1}, {"a": 2, "how": "in python"}, {"a": 3}]

    trials = ex.map(
        s, jobs, executor, on_error="continue", timeout=seconds if limited == "trial" else None
    )

    assert states(trials) == ["COMPLETE", "FAILED", "COMPLETE"]
    assert f"took longer than its {seconds:g} s" in trials[1].description


def test_a_timeout_is_raised_as_an_error_of_its_own(ex: Experiment) -> None:
    with pytest.raises(TrialTimeoutError, match=r"trial took longer than its 0\.1 s"):
        ex.map(graph(ex), [{"a": 1, "how": "in python"}], timeout=0.1)
    with pytest.raises(TimeoutError, match=r"Step 'wait' took longer than its 0\.1 s"):
        graph(Experiment("other", backend="memory://"), timeout=0.1).compute(
            parameters={"a": 1, "how": "in python"}
        )


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_what_does_not_react_to_its_timeout_is_abandoned_or_ended(
    ex: Experiment, executor: str, caplog: pytest.LogCaptureFixture
) -> None:
    jobs: list[dict[str, Any]] = [{"a": 1, "how": "in a call"}, {"a": 2}]

    trials = ex.map(graph(ex), jobs, executor, 1, on_error="continue", timeout=3)

    assert states(trials) == ["FAILED", "COMPLETE"]
    assert trials[0].description == "TrialTimeoutError(The trial took longer than its 3 s.)"
    if executor == "threads":
        assert "can only be abandoned; a process of executor='processes' is ended" in caplog.text


def test_a_process_whose_step_keeps_pythons_lock_is_ended(
    ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskperiment.execution.batch._LATE", 2.0)
    jobs: list[dict[str, Any]] = [{"a": 1, "how": "with the lock"}, {"a": 2}]

    trials = ex.map(graph(ex), jobs, "processes", 1, on_error="continue", timeout=4)

    assert states(trials) == ["FAILED", "COMPLETE"]
    assert "did not react to its timeout" in trials[0].description


SCRIPT = """
import sys, time
from pathlib import Path
from daskperiment import Experiment

ex = Experiment("script", backend="store", seed=3)

@ex.result
def wait(a, how):
    Path(f"began{a}").touch()
    if how == "in python":
        while True:
            sum(range(100))
    if how == "in a call":
        time.sleep(100)
    return a

if __name__ == "__main__":
    s = wait(ex.parameter("a"), Path("how").read_text())
    trials = ex.map(s, [{"a": a} for a in range(4)], sys.argv[1], 1)
    print([trial.number for trial in trials])
"""


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A script in a session of its own, as in a terminal; it has ended at the end."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
        process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def await_file(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never began"
        time.sleep(0.02)


@pytest.mark.parametrize("executor", ["threads", "processes"])
@pytest.mark.parametrize(("how", "times"), [("in python", 1), ("in a call", 2)])
def test_ctrl_c_ends_what_runs_as_cancelled_and_begins_no_more(
    tmp_path: Path, executor: str, how: str, times: int
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "how").write_text(how)

    with running(tmp_path, "script.py", executor) as process:
        await_file(tmp_path / "began0")
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.5)

    assert process.returncode == -signal.SIGINT
    ex = Experiment("script", backend=tmp_path / "store")
    assert states(ex.trials) == ["CANCELLED"]
    (batch,) = [row for _, row in Batches(ex.backend, "script").find()]
    assert (batch["state"], batch["total"], batch["done"]) == ("CANCELLED", 4, 0)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_ctrl_c_while_a_worker_starts_waits_for_nothing_and_leaves_none_behind(
    ex: Experiment, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, before = threading.Thread.start, set(threading.enumerate())

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name.startswith("daskperiment-trial"):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    monkeypatch.setattr(batch, "_GRACE", 3600.0)  # so that nothing is given up
    with pytest.raises(KeyboardInterrupt):
        ex.map(graph(ex), [{"a": a} for a in range(4)], executor=executor, max_workers=2)
    left = set(threading.enumerate()) - before  # ex.submit keeps threads of its own
    assert [each.name for each in left if "daskperiment-trial" in each.name] == []
    assert set(states(ex.trials)) <= {"CANCELLED", "COMPLETE"}


class SlowToArrive:
    """What a worker unpickles only when no file ``hold`` is there any more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        (self.folder / f"arrived-{uuid4().hex}").touch()
        while (self.folder / "hold").exists():
            time.sleep(0.01)


def test_a_task_that_was_given_up_does_not_begin_beside_the_one_in_its_place(
    ex: Experiment, client: Any, tmp_path: Path
) -> None:
    import distributed

    @ex.result
    def double(a: int, slow: SlowToArrive) -> int:
        return 2 * a

    node = double(ex.parameter("a"), SlowToArrive(tmp_path))
    (tmp_path / "hold").touch()
    trials: list[Any] = []
    run_batch = threading.Thread(
        target=lambda: trials.extend(ex.map(node, [{"a": 1}], client, progress=False))
    )
    run_batch.start()
    await_arrivals(tmp_path, 1)
    # As if the scheduler had lost the worker, which itself goes on.
    client.cancel([distributed.Future(key, client) for key in list(client.futures)])
    await_arrivals(tmp_path, 2)
    (tmp_path / "hold").unlink()
    run_batch.join()
    while Trials(ex.backend, ex.id).alive():
        time.sleep(0.01)
    time.sleep(0.5)
    assert states(ex.trials) == ["COMPLETE"]
    assert [trial.uid for trial in ex.trials] == [trial.uid for trial in trials]


def test_a_result_that_is_lost_with_its_worker_keeps_no_batch_waiting(
    ex: Experiment, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed.scheduler import KilledWorker

    fetch, lost = client._gather, []

    async def lose(*arguments: Any, **options: Any) -> Any:
        if lost:
            return await fetch(*arguments, **options)
        # As when the worker dies behind the call, and others do of it when it is repeated.
        lost.append(arguments)
        raise KilledWorker("task", None, 1)

    monkeypatch.setattr(client, "_gather", lose)
    trials = ex.map(graph(ex), [{"a": a} for a in range(3)], client, progress=False)
    assert lost
    assert [trial.result for trial in trials] == [0, 1, 2]
    assert states(ex.trials) == ["COMPLETE"] * 3


def await_arrivals(folder: Path, count: int) -> None:
    while len(list(folder.glob("arrived-*"))) < count:
        time.sleep(0.01)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_batch_that_was_killed_is_resumed(
    tmp_path: Path, executor: str, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "how").write_text("in a call")
    with running(tmp_path, "script.py", executor) as process:
        await_file(tmp_path / "began0")
        os.killpg(process.pid, signal.SIGKILL)
    (tmp_path / "how").write_text("")
    monkeypatch.setenv("DASKPERIMENT_RESUME", "")

    done = subprocess.run(
        [sys.executable, "-m", "daskperiment", "resume", "--backend", str(tmp_path / "store")],
        cwd=tmp_path.parent, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    ex = Experiment("script", backend=tmp_path / "store")
    assert states(ex.trials) == ["CRASHED"] + ["COMPLETE"] * 4
    found = [row["state"] for _, row in Batches(ex.backend, "script").find()]
    assert found == ["COMPLETE", "CRASHED"]
    assert run(["resume", "--backend", str(tmp_path / "store")]) == 2
    assert "No batch of script was interrupted" in capfd.readouterr().err


def test_a_failed_trial_is_attempted_again_with_its_seed(tmp_path: Path) -> None:
    ex = Experiment("again", backend=tmp_path / "store")

    @ex.result
    def score(a: int) -> int:
        if a == 1 and not Path("mended").exists():
            raise ValueError("not yet")
        return a

    s = score(ex.parameter("a"))
    _, failed = ex.map(s, [{"a": 0}, {"a": 1}], max_workers=1, on_error="continue")
    Path("mended").touch()

    first, again = ex.map(s, [{"a": 0}, {"a": 1}], skip_completed=True)

    assert first == ex[1]
    assert again.retry_of == failed
    assert again.seed == failed.seed
    assert ex.map(s, [{"a": 0}, {"a": 1}], skip_completed=True) == [first, again]


def test_every_attempt_at_a_trial_has_the_same_seed(tmp_path: Path) -> None:
    ex = Experiment("again", backend=tmp_path / "store")

    @ex.result
    def score(a: int) -> int:
        if len(ex.trials) < 3:
            raise ValueError("not yet")
        return a

    (last,) = ex.map(score(ex.parameter("a")), [{"a": 0}], retries=2)

    assert len({trial.seed for trial in ex.trials}) == 1
    assert last.retry_of == ex[2]
    assert ex[2].retry_of == ex[1]


def test_a_store_of_others_does_not_choose_what_is_run(
    redis_running: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text(
        SCRIPT.replace('backend="store"', f'backend="{redis_running.uri}"')
    )
    Path("how").write_text("in python")
    with running(tmp_path, "script.py", "threads") as process:
        await_file(tmp_path / "began0")
        os.killpg(process.pid, signal.SIGKILL)

    code = run(["resume", "--backend", redis_running.uri, "-e", "script", "--json"])

    message = json.loads(capfd.readouterr().err)["error"]["message"]
    assert code == 2
    assert message.startswith("Others can write to this store, so that nothing that it names is")
    assert message.endswith("script.py threads")


def test_only_what_was_asked_of_a_script_can_be_resumed(ex: Experiment, capfd: Any) -> None:
    @ex.result
    def fail(a: int) -> int:
        raise ValueError("always")

    with pytest.raises(ValueError, match="always"):
        ex.map(fail(ex.parameter("a")), [{"a": 1}])

    with pytest.raises(BatchArgumentError, match="claim=True is for a batch that several"):
        ex.map(fail(ex.parameter("a")), [{"a": 1}], claim=True)
    with pytest.raises(BatchArgumentError, match="timeout is a number of seconds above 0, not 0"):
        ex.map(fail(ex.parameter("a")), [{"a": 1}], timeout=0)
    with pytest.raises(BatchArgumentError, match="shard says which part of how many"):
        ex.map(fail(ex.parameter("a")), [{"a": 1}], shard="3/3")
    with pytest.raises(BatchArgumentError, match="spread=True is for the workers of a cluster"):
        ex.map(fail(ex.parameter("a")), [{"a": 1}], spread=True)
