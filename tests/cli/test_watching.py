"""Looking at trials while another process runs them: logs -f, status."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from daskperiment import Experiment
from daskperiment.backends import open_backend
from daskperiment.history import paths
from daskperiment.tracking.environment import process
from tests.cli.conftest import Command
from tests.cli.test_json import SUMMARY, shape
from tests.cli.test_process import MODULE, command, environment
from tests.servers import MongoServer, redis_server

TRIAL = """
    import sys
    from daskperiment import Experiment

    ex = Experiment("example", backend=sys.argv[1])

    @ex
    def prepare(a):
        return a

    @ex.result
    def train(a, fate):
        for epoch in range(3):
            ex.log_metric("loss", 1 / (epoch + 1))
        print("first", flush=True)
        sys.stdin.readline()
        print("second", flush=True)
        if fate == "fails":
            raise ValueError("it failed")
        if fate == "dies":
            import os
            sys.stdin.readline()
            os._exit(3)

    train(prepare(ex.parameter("a", default=5)), sys.argv[2]).compute(scheduler="synchronous")
"""


class Trial:
    """Another process with a trial that waits after its first line, and goes on when told."""

    def __init__(self, place: str, fate: str) -> None:
        Path("trial.py").write_text(textwrap.dedent(TRIAL))
        self.process = subprocess.Popen(
            [sys.executable, "trial.py", place, fate],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.read("first")

    def read(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{line}\n"

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def trial(place: str, fate: str = "completes") -> Iterator[Trial]:
    running = Trial(place, fate)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        [*MODULE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


@pytest.fixture(params=["local", "redis", "mongodb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store that other processes can write to: a path, or a URI."""
    if request.param == "local":
        yield str(tmp_path / "store")
    elif request.param == "redis":
        with redis_server(tmp_path / "redis") as redis:
            yield redis.uri
    else:
        mongo: MongoServer = request.getfixturevalue("mongo_running")
        yield mongo.uri(f"watching{uuid4().hex}")


# -- logs -f ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fate", "code"), [("completes", 0), ("fails", 1)])
def test_the_exit_code_of_following_tells_how_the_trial_ended(
    place: str, fate: str, code: int
) -> None:
    with trial(place, fate) as running, program("logs", "-f", "--backend", place) as follower:
        assert follower.stdout is not None and follower.stdout.readline() == "first\n"
        running.go_on()

        assert follower.communicate(timeout=60) == ("second\n", "")
        assert follower.returncode == code


def test_following_ends_when_the_process_of_the_trial_dies(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    with trial(place, "dies") as running, program("logs", "-f", "1", "--backend", place) as end:
        running.go_on()
        assert end.stdout is not None and end.stdout.readline() == "first\n"
        assert end.stdout.readline() == "second\n"
        running.go_on()

        assert end.communicate(timeout=60) == ("", "")
        assert end.returncode == 1


def test_ctrl_c_ends_following_and_not_the_trial(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    with trial(place) as running:
        with program("logs", "--follow", "--backend", place) as follower:
            assert follower.stdout is not None and follower.stdout.readline() == "first\n"
            follower.send_signal(signal.SIGINT)

            out, err = follower.communicate(timeout=60)
            assert (out, err.strip(), follower.returncode) == ("", "", 130)
        assert running.process.poll() is None


# -- status -------------------------------------------------------------------------------------

BATCH = {
    "experiment": "str",
    "batch": "str",
    "state": "str",
    "started": "time",
    "total": "int",
    "done": "int",
    "pruned": "int",
    "failed": "int",
    "skipped": "int",
    "running": "int",
    "left": "int",
    "best": {"trial": "int", "value": "float"},
    "executor": "str",
    "script": "NoneType",
    "search": "NoneType",
    "host": "str",
    "pid": "int",
    "user": "str",
    "seconds": "float",
    "seconds_left": "float",
}
CALL = {"step": "str", "call": "int"}
RUNNING = {
    "experiment": "str",
    "trial": "int",
    "state": "str",
    "started": "time",
    "batch": "NoneType",
    "place": "NoneType",
    "host": "str",
    "pid": "int",
    "user": "str",
    "calls": [CALL],
    "metrics": {
        "loss": {"points": "int", "epoch": "int", "last": "float", "min": "float", "max": "float"}
    },
    "usage": [
        {
            "host": "str",
            "pid": "int",
            "seconds": "float",
            "calls": [CALL],
            "cpu": "float",
            "memory": "int",
        }
    ],
    "seconds": "float",
    "parameters": {"a": "int"},
}
CRASHED = {
    "experiment": "str",
    **SUMMARY,
    "finished": "NoneType",
    "seconds": "NoneType",
    "parameters": {"a": "int"},
    "result": "NoneType",
    "failure": "str",
    "host": "str",
    "pid": "int",
    "user": "str",
}


def batch(place: str, pid: int | None = None, **more: Any) -> str:
    """Write the document of a batch that runs in this process, or in one of another number."""
    uid = uuid4().hex
    document = {
        "started": time.time() - 60,
        "owner": {**process(), **({} if pid is None else {"pid": pid})},
        "total": 60,
        "done": 11,
        "failed": 1,
        "skipped": 4,
        "running": 2,
        "state": "RUNNING",
        "finished": None,
        "best": {"trial": 7, "value": 0.5},
        "executor": "threads",
        "script": None,
    }
    with open_backend(place) as backend:
        backend.insert(paths.batches("example"), {**document, **more}, uid)
    return uid


def status(place: str, *arguments: str) -> dict[str, Any]:
    done = command("status", "--json", "--backend", place, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


def status_with_usage(place: str) -> dict[str, Any]:
    """The status when the running trial was sampled, which takes some seconds."""
    end = time.monotonic() + 60
    while not (found := status(place))["running"][0]["usage"] and time.monotonic() < end:
        time.sleep(0.2)
    return found


def test_the_status_tells_what_runs_and_where(place: str) -> None:
    with trial(place) as running:
        uid = batch(place)
        found = status_with_usage(place)
        (one,) = found["running"]

        assert shape(found) == {"batches": [BATCH], "running": [RUNNING], "crashed": []}
        assert (one["trial"], one["pid"]) == (1, running.process.pid)
        assert one["calls"] == [{"step": "train", "call": 0}]
        assert one["metrics"]["loss"]["last"] == 1 / 3
        assert [use["pid"] for use in one["usage"]] == [running.process.pid]
        assert (found["batches"][0]["batch"], found["batches"][0]["left"]) == (uid, 42)
        running.process.kill()
        running.process.wait()

        (crashed,) = status(place)["crashed"]

    assert shape(crashed) == CRASHED
    assert (crashed["trial"], crashed["state"]) == (1, "CRASHED")


def test_the_status_is_a_table_for_people(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    with trial(place) as running:
        uid = batch(place, pruned=3)
        status_with_usage(place)

        lines = command("status", "--backend", place).stdout.splitlines()

    assert lines[0] == f"Batch {uid[:8]} of example  RUNNING"
    assert lines[1].endswith("] 16 of 60, 3 pruned, 1 failed, 4 skipped, 2 running, 42 left")
    assert "min" in lines[2] and lines[2].endswith("left, best 0.5 (trial 7)")
    assert lines[3].startswith("threads, process ")
    assert lines[5].split() == [
        "EXPERIMENT", "TRIAL", "STEP", "FOR", "CPU", "MEMORY", "METRICS", "PROCESS", "PARAMETERS",
    ]  # fmt: skip
    assert lines[6].split()[:3] == ["example", "1", "train"] and "loss=0.333333" in lines[6]
    *_, where, parameters = lines[6].split()
    assert where.endswith(f":{running.process.pid}") and parameters == "a=5"


def test_a_batch_whose_process_is_gone_says_how_it_goes_on(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    Experiment("example", backend=place).result(lambda: 1, name="one")().compute()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    uid = batch(place, dead.pid)
    batch(place, state="COMPLETE")

    (found,) = status(place)["batches"]
    shown = command("status", "--backend", place).stdout

    assert (found["batch"], found["state"]) == (uid, "CRASHED")
    assert (found["running"], found["seconds_left"]) == (0, None)
    assert "daskperiment resume" in shown


def test_a_batch_of_a_search_says_of_which(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    ex = Experiment("example", backend=place)
    seen: list[str] = []

    @ex.result
    def loss(x: float) -> float:
        seen.extend(command("status", "--backend", place).stdout.splitlines()[:1])
        seen.append(status(place)["batches"][0]["search"])
        return x

    ex.search(loss(ex.parameter("x")), {"x": [0.5]}, sampler="grid", name="rates", progress=False)

    assert re.fullmatch(r"Batch [0-9a-f]{8} of rates of example  RUNNING", seen[0])
    assert seen[1] == "rates"


def test_when_nothing_runs_the_status_says_so(command: Command, example: Experiment) -> None:
    assert command("status") == (0, "Nothing runs.\n", "")


def test_one_experiment_can_be_chosen(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    Experiment("other", backend=place).result(lambda: 1, name="one")().compute()
    with trial(place):
        assert len(status(place)["running"]) == len(status(place, "-e", "example")["running"]) == 1
        assert status(place, "-e", "other")["running"] == []
    assert command("status", "--backend", place, "-e", "none").returncode == 2


def test_crashed_trials_are_told_until_one_completes(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    with trial(place):
        pass
    assert [one["trial"] for one in status(place)["crashed"]] == [1]

    Experiment("example", backend=place).result(lambda: 1, name="one")().compute()

    assert status(place)["crashed"] == []


def test_watching_shows_it_again_until_ctrl_c(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    with trial(place) as running, program("status", "--watch", "--backend", place) as watcher:
        assert watcher.stdout is not None
        seen = [line for line in iter(watcher.stdout.readline, "\n") if line]
        assert "again every 2 s" in seen[0]
        assert watcher.stdout.readline().startswith("EXPERIMENT")
        running.go_on()
        running.process.wait(60)
        lines = iter(watcher.stdout.readline, "")
        assert "Nothing runs.\n" in lines
        watcher.send_signal(signal.SIGINT)

        watcher.communicate(timeout=60)
        assert watcher.returncode == 130


def test_one_document_cannot_be_watched(command: Command, example: Experiment) -> None:
    code, out, err = command("status", "--watch", "--json")

    assert (code, out) == (2, "") and "leave out --json" in err
