"""While the server is away, trials go on and nothing of them is lost or doubled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from daskperiment import Experiment, TrialState
from daskperiment.backends import Append, Backend, Insert, Put, Update, server
from daskperiment.backends.memory import MemoryBackend
from daskperiment.backends.spool import Spool
from daskperiment.cli.main import run
from daskperiment.errors import (
    BackendError,
    BackendUnreachableError,
    BackendURIError,
    DaskperimentWarning,
    StoreCorruptError,
)
from daskperiment.history import spooling, syncing
from daskperiment.history.spooling import SpoolingBackend, spool_folder
from tests.servers import RedisServer, free_port, redis_server

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*cannot be reached:daskperiment.DaskperimentWarning"
)


@pytest.fixture(autouse=True)
def _own_spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(server, "PATIENCE", 0.1)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as running:
        yield running


def defined(backend: Any, **options: Any) -> tuple[Experiment, Any]:
    """An experiment whose steps leave all that a step can leave."""
    ex = Experiment("outage", backend=backend, seed=3, **options)

    @ex.persist
    def prepare(a: int) -> int:
        print("preparing", a)
        ex.log_metrics({"loss": 1 / (a + 1), "size": a})
        ex.save_artifact("notes", f"a is {a}")
        return a + 1

    @ex.result
    def score(x: int) -> float:
        return 12 / (x - 7)

    return ex, score(prepare(ex.parameter("a")))


def recorded(ex: Experiment) -> list[dict[str, Any]]:
    """All that is known of each trial but its times and its uid."""
    return [
        {
            "state": trial.state, "parameters": dict(trial.parameters), "seed": trial.seed,
            "result": trial.result if trial.state == "COMPLETE" else trial.description,
            "steps": trial.steps[["step", "outcome", "seed"]].to_dict("records"),
            "metrics": {n: [p[:2] for p in s] for n, s in trial.metrics.items()},
            "output": str(trial.output), "code": trial.code,
            "artifacts": {name: kept.load() for name, kept in trial.artifacts.items()},
            "persisted": trial.persisted("prepare"),
        }
        for trial in ex.trials
    ]  # fmt: skip


def attempt(node: Any, a: int) -> Any:
    try:
        return node.compute(parameters={"a": a})
    except ZeroDivisionError:
        return "failed"


def until_back(ex: Experiment) -> None:
    deadline = time.monotonic() + 20
    while ex.unsynced:
        assert time.monotonic() < deadline, "the spool is not brought to the server"
        time.sleep(0.02)


def everything(running: RedisServer) -> dict[bytes, bytes]:
    """Every key of a server, but the results of groups that expire."""
    with redis.Redis.from_url(running.uri) as client:
        return {key: client.dump(key) for key in client.scan_iter() if b":done:" not in key}


def test_a_run_during_an_outage_is_recorded_as_one_without(running: RedisServer) -> None:
    _, plain = reference = defined(MemoryBackend())
    ex, node = defined(running.uri)
    expected = [attempt(plain, a) for a in range(8)]

    found = [attempt(node, 0), attempt(node, 1)]
    running.kill()
    found += [attempt(node, a) for a in range(2, 7)]
    running.start()
    until_back(ex)
    found.append(attempt(node, 7))

    assert found == expected
    assert recorded(ex) == recorded(reference[0])
    assert not list(spool_folder().glob("*"))


def test_trials_begun_during_an_outage_have_provisional_numbers_and_then_real_ones(
    running: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    ex, node = defined(running.uri)
    attempt(node, 1)
    running.kill()
    caplog.set_level("INFO", "daskperiment")
    attempt(node, 2), attempt(node, 3)

    told = [line for line in caplog.messages if line.startswith("Started")]
    assert told == ["Started Experiment (trial id=~1)", "Started Experiment (trial id=~2)"]
    assert ex.unsynced > 0
    assert "unsynced: " in repr(ex)
    running.start()
    until_back(ex)
    assert [(trial.number, trial.parameters["a"]) for trial in ex.trials] == [
        (1, 1),
        (2, 2),
        (3, 3),
    ]


def test_an_outage_is_told_once_and_asking_is_an_error(running: RedisServer) -> None:
    ex, node = defined(running.uri)
    attempt(node, 1)
    running.kill()

    with pytest.warns(DaskperimentWarning, match="daskperiment sync") as told:
        attempt(node, 2), attempt(node, 3)

    assert len([each for each in told if "cannot be reached" in str(each.message)]) == 1
    with pytest.raises(BackendUnreachableError, match="start the server"):
        ex.get_history()


def test_a_server_that_never_was_there_stops_nothing() -> None:
    ex, node = defined(f"redis://127.0.0.1:{free_port()}")

    assert attempt(node, 3) == 12 / -3
    assert ex.unsynced > 0


def test_a_trial_that_was_under_way_goes_on_and_ends_as_itself(running: RedisServer) -> None:
    ex = Experiment("under_way", backend=running.uri)

    @ex.result
    def interrupted(a: int) -> int:
        ex.log_metric("before", 1)
        time.sleep(0.3)
        running.kill()
        ex.log_metric("during", 2)
        return a

    assert interrupted(ex.parameter("a", default=5)).compute() == 5
    running.start()
    until_back(ex)

    assert (ex.latest.number, ex.latest.state, ex.latest.result) == (1, "COMPLETE", 5)
    assert {name: [p.value for p in s] for name, s in ex.latest.metrics.items()} == {
        "before": [1], "during": [2],
    }  # fmt: skip


def test_the_server_that_returns_during_a_trial_gets_its_end(running: RedisServer) -> None:
    ex = Experiment("returns", backend=running.uri)
    running.kill()

    @ex.result
    def returning(a: int) -> int:
        ex.log_metric("before", 1)
        running.start()
        until_back(ex)
        ex.log_metric("after", 2)
        return a

    assert returning(ex.parameter("a", default=5)).compute() == 5

    assert (ex.latest.number, ex.latest.state) == (1, "COMPLETE")
    assert sorted(ex.latest.metrics) == ["after", "before"]


_script = redis.commands.core.Script.__call__


def three_trials(running: RedisServer, monkeypatch: pytest.MonkeyPatch, instead: Any) -> Experiment:
    """An experiment of three trials, of which the last two meet something instead of scripts."""
    ex, node = defined(running.uri)
    attempt(node, 1)
    with monkeypatch.context() as patch:
        patch.setattr(redis.commands.core.Script, "__call__", instead)
        patch.setattr(spooling, "HURRY", 0)
        for a in (2, 3):
            attempt(node, a)
        until_back(ex)
    return ex


def three_without() -> list[dict[str, Any]]:
    """What is recorded of the same trials where nothing goes wrong."""
    reference, plain = defined(MemoryBackend())
    assert [attempt(plain, a) for a in (1, 2, 3)]
    return recorded(reference)


def test_a_group_whose_reply_was_lost_for_good_is_not_doubled(
    running: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[Any] = []

    def losing(self: Any, *arguments: Any, **options: Any) -> Any:
        reply = _script(self, *arguments, **options)
        if len(lost) < 3:
            lost.append(reply)
            raise redis.ConnectionError("the reply was lost")
        return reply

    ex = three_trials(running, monkeypatch, losing)

    assert recorded(ex) == three_without()


def test_a_group_that_arrives_behind_its_replay_is_not_doubled(
    running: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes have waited somewhere in the network, until the connection was given up."""
    late: list[Any] = []

    def waiting(self: Any, *arguments: Any, **options: Any) -> Any:
        beats = threading.current_thread().name == "daskperiment-heart"  # of other tests, too
        if len(late) < 3 and not beats:
            late.append((self, arguments, options))
            raise redis.ConnectionError("on its way")
        return _script(self, *arguments, **options)

    ex = three_trials(running, monkeypatch, waiting)
    for script, arguments, options in late:
        _script(script, *arguments, **options)

    assert recorded(ex) == three_without()


def test_trials_of_worker_processes_are_spooled_too(running: RedisServer) -> None:
    ex, node = defined(running.uri)
    attempt(node, 1)
    running.kill()
    assert node.compute(parameters={"a": 2}, scheduler="processes") == 12 / -4
    running.start()
    until_back(ex)
    deadline = time.monotonic() + 20
    while run(["sync", "--backend", running.uri]) or list(spool_folder().glob("*")):
        assert time.monotonic() < deadline, "the workers' spools are not brought to the server"
        time.sleep(0.1)

    assert recorded(ex)[1]["result"] == 12 / -4
    assert len(ex[2].steps) == 2


# -- what is left behind


SCRIPT = """
import os, sys
from daskperiment.history import spooling
from tests.test_outages import defined, attempt
spooling.LAST_WAIT = 0.3
ex, node = defined(sys.argv[1], offline=sys.argv[2] == "offline")
for a in range(1, 4):
    attempt(node, a)
if sys.argv[2] == "dies":
    ex2 = ex.result(lambda: os.kill(os.getpid(), 9), name="dies")().compute()
print(ex.unsynced)
"""


def left_behind(uri: str, how: str = "ends") -> subprocess.CompletedProcess[str]:
    """Run three trials in a process that ends while its server is away."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, uri, how], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def synced(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = run(["sync", *arguments])
    return code, capsys.readouterr().out


def test_a_process_that_ends_names_the_command_that_brings_its_trials(
    running: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    running.kill()
    ended = left_behind(running.uri)
    assert ended.returncode == 0
    assert ended.stderr.strip().splitlines()[-1].endswith("daskperiment sync brings them there")
    assert synced(capsys)[0] == 1

    running.start()

    assert synced(capsys) == (
        0,
        f"{running.uri}: {ended.stdout.split()[-1]} groups, trials 1, 2, 3\n",
    )
    assert [trial.result for trial in defined(running.uri)[0].trials] == [12 / -5, 12 / -4, 12 / -3]


def test_a_second_sync_changes_nothing(
    running: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left_behind(running.uri, "offline")
    (file,) = spool_folder().glob("*")
    shutil.copy(file, tmp_path / "copy")
    assert synced(capsys)[0] == 0
    before = everything(running)

    assert synced(capsys) == (0, "nothing waits\n")
    shutil.copy(tmp_path / "copy", file)
    assert synced(capsys) == (0, f"{running.uri}: 0 groups\n")

    assert everything(running) == before


def test_offline_asks_no_server_and_waits_for_none() -> None:
    uri = f"redis://127.0.0.1:{free_port()}"
    began = time.monotonic()

    ended = left_behind(uri, "offline")

    assert ended.returncode == 0, ended.stderr
    assert "daskperiment sync brings them there" in ended.stderr
    assert "cannot be reached" not in ended.stderr
    assert time.monotonic() - began < 60


def test_closing_offline_asks_no_server(
    running: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    ex, node = defined(running.uri, offline=True)
    attempt(node, 1)

    ex.backend.close()

    assert ex.unsynced > 0
    assert everything(running) == {}
    ex.backend._spool.close()  # type: ignore[attr-defined]
    assert synced(capsys)[0] == 0


def test_a_backend_that_was_closed_returns_to_its_server_too(running: RedisServer) -> None:
    ex, node = defined(running.uri)
    attempt(node, 1)
    ex.backend.close()
    running.kill()
    attempt(node, 2)
    running.start()

    until_back(ex)

    assert [trial.number for trial in ex.trials] == [1, 2]


def test_offline_is_for_servers() -> None:
    with pytest.raises(BackendURIError, match="leave it out"):
        Experiment("local_one", offline=True)


def test_a_trial_whose_process_was_killed_while_away_is_crashed_after_sync(
    running: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    left_behind(running.uri, "dies")
    running.kill()
    left_behind(running.uri, "dies")
    running.start()

    assert synced(capsys)[0] == 0

    states = [trial.state for trial in defined(running.uri)[0].trials]
    assert states == ["COMPLETE", "COMPLETE", "COMPLETE", "CRASHED"] * 2


def test_a_trial_that_was_taken_for_dead_meanwhile_is_late(running: RedisServer) -> None:
    ex = Experiment("late", backend=running.uri)

    @ex.result
    def slow(a: int) -> int:
        ex.log_metric("m", 1)
        ex.backend.inner.update(  # type: ignore[attr-defined]
            "experiment/late/trials", 1, {"state": "CRASHED", "ended_by": "owner gone"}
        )
        running.kill()
        return a

    slow(ex.parameter("a", default=1)).compute()
    running.start()
    until_back(ex)

    assert ex.latest.state is TrialState.COMPLETE
    assert ex.backend.get("experiment/late/trials", 1)["late"] is True  # type: ignore[index]


def test_a_spool_of_another_store_is_not_brought(
    running: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ex, node = defined(running.uri)
    attempt(node, 1)
    running.kill()
    attempt(node, 2)
    backend = ex.backend
    assert isinstance(backend, SpoolingBackend)
    assert backend._spool is not None
    shutil.copy(backend._spool.file, tmp_path / "kept")
    with redis_server(tmp_path / "other", port=running.port) as other:
        spool = Spool(tmp_path / "kept")
        spool.close()
        (tmp_path / "kept").rename(spool_folder() / "kept.spool")
        code, told = synced(capsys)
        assert code == 1
        assert "another store" in told
        assert [key for key in everything(other) if b"store" not in key] == []


def test_a_login_of_a_spool_is_not_in_its_file(running: RedisServer) -> None:
    password = uuid4().hex
    _, node = defined(f"redis://:{password}@127.0.0.1:{free_port()}/0")
    attempt(node, 1)

    (file,) = spool_folder().glob("*")

    assert password.encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0


# -- the file


def test_a_spool_that_is_cut_off_loses_its_last_group_at_most(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "1.spool", {"address": "redis://host"})
    groups = [
        [Insert("x", {"n": n, "s": "\ud800"}), Put(b"\n" * n), Append("y", [n])] for n in range(4)
    ]
    for group in groups:
        spool.append(group)
    spool.close()
    whole = (tmp_path / "1.spool").read_bytes()

    def read(content: bytes) -> list[Any]:
        (tmp_path / "cut.spool").write_bytes(content)
        cut = Spool(tmp_path / "cut.spool")
        try:
            return [group.writes for group in cut.groups()]
        finally:
            cut.close()

    assert read(whole) == groups
    length = len(whole) - whole.rindex(b'{"unsure"') + 12
    for end in range(len(whole) - length, len(whole)):
        assert read(whole[:end]) == groups[:3]
        assert read(whole[:end] + bytes(len(whole) - end)) == groups[:3]


def test_a_spool_goes_on_behind_its_last_whole_group(tmp_path: Path) -> None:
    file = tmp_path / "1.spool"
    spool = Spool(file, {"address": "redis://host"})
    spool.append([Put(b"first")])
    spool.close()
    file.write_bytes(file.read_bytes() + b"\0\0\0\0\0\0\0\x20torn")

    spool = Spool(file)
    spool.append([Put(b"2")])

    assert [group.writes for group in spool.groups()] == [[Put(b"first")], [Put(b"2")]]
    spool.close()
    again = Spool(file)
    assert len(again) == 2
    again.close()


def test_one_process_at_a_time_holds_a_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "1.spool", {"address": "redis://host"})
    code = (
        "import sys, pathlib; from daskperiment.backends.spool import Spool; "
        "Spool(pathlib.Path(sys.argv[1]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(spool.file)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert "BlockingIOError" in done.stderr
    spool.close()


@pytest.mark.parametrize("content", [b"", b"no spool at all", b"\0" * 50])
def test_a_file_that_is_no_spool_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1.spool").write_bytes(content)

    with pytest.raises(StoreCorruptError, match=r"1\.spool is no spool"):
        Spool(tmp_path / "1.spool")


def test_syncing_may_be_ended_at_every_group_and_goes_on(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "1.spool", {"address": "memory"})
    for n in range(6):
        spool.append([Append("log", [n]), Insert("x/trials", {"uid": f"{n:032x}"})])
    backend = MemoryBackend()

    for n in range(6):
        assert next(syncing.replay(backend, spool)).groups == n + 1
    assert list(syncing.replay(backend, spool)) == []

    assert backend.read("log") == list(range(6))
    assert len(list(backend.find("x/trials"))) == 6
    spool.close()


def test_what_others_did_meanwhile_is_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "1.spool", {"address": "memory"})
    spool.append([Insert("snapshots", {"mine": 1}, "digest"), Append("log", [1])])
    spool.append([Update("snapshots", "gone", {}), Append("log", [2])])
    backend: Backend = MemoryBackend()
    backend.insert("snapshots", {"theirs": 1}, "digest")

    list(syncing.replay(backend, spool))

    assert backend.get("snapshots", "digest") == {"theirs": 1}
    assert backend.read("log") == [1, 2]
    spool.close()


def test_a_trial_that_can_be_recorded_nowhere_does_not_begin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    _, node = defined(f"redis://127.0.0.1:{free_port()}")

    with pytest.raises(BackendError, match="a file is in the way"):
        attempt(node, 1)
