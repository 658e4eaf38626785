"""Looking at trials while another process runs them: logs -f, status."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.test_process import MODULE, environment
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
