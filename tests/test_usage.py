"""What trials use is sampled while they run, and read back."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment, ValueNotKeptError, copy_trials
from daskperiment.backends import Backend, open_backend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.execution.sampler import pause
from daskperiment.history import paths

_LONGEST = 60.0


def until(condition: Callable[[], Any]) -> Any:
    """Wait for what happens soon."""
    end = time.monotonic() + _LONGEST
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def sampler() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "daskperiment-sampler"]


def until_sampled(ex: Experiment) -> None:
    """As a step: run until a reader sees what is used, which is written with what is printed."""

    def seen() -> bool:
        print(".", flush=True)
        return not ex.latest.usage.empty

    assert until(seen)


def test_what_is_used_can_be_read_while_a_step_runs(scheduler: Any, tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")

    @ex.result
    def wait(place: str) -> int:
        until_sampled(Experiment("example", backend=place))
        return os.getpid()

    node = wait(ex.parameter("place"))
    pid = node.compute(scheduler=scheduler, parameters={"place": str(tmp_path / "store")})
    usage = ex.latest.usage

    assert [*usage.columns[:2], *usage.columns[-2:]] == ["cpu", "memory", "host", "pid"]
    assert set(usage["host"]) == {platform.node()} and set(usage["pid"]) == {pid}
    assert (usage["cpu"] >= 0).all() and (usage["memory"] > 1_000_000).all()
    assert usage.index.name == "seconds" and usage.index.is_monotonic_increasing
    assert 0 < usage.index[0] <= usage.index[-1] <= ex.latest.duration.total_seconds()
    assert ex.latest.metrics == {}


def test_a_silent_step_is_seen_as_well(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")

    seen = ex.result(lambda: until(lambda: not ex.latest.usage.empty), name="wait")()

    assert seen.compute(scheduler="synchronous")


def test_each_process_that_runs_steps_is_told_apart(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    ex = Experiment("example", backend=place)

    @ex
    def wait(place: str, number: int) -> int:
        def mine() -> bool:
            print(".", flush=True)
            return os.getpid() in set(Experiment("example", backend=place).latest.usage["pid"])

        assert until(mine)
        return os.getpid()

    @ex.result
    def both(one: int, other: int) -> list[int]:
        return [one, other]

    parameter = ex.parameter("place", default=place)
    pids = both(wait(parameter, 1), wait(parameter, 2)).compute(
        scheduler="processes", num_workers=2
    )

    assert len(set(pids)) == 2
    assert set(pids) <= set(ex.latest.usage["pid"])


def test_child_processes_are_counted(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")
    work = "held = bytearray(300_000_000)\nwhile True: pass"

    @ex.result
    def start() -> None:
        with subprocess.Popen([sys.executable, "-c", work]) as child:
            try:
                held = until(lambda: print(".") or (ex.latest.usage["memory"] > 3e8).sum() > 1)
            finally:
                child.kill()
        assert held

    start().compute(scheduler="synchronous")

    assert ex.latest.usage["cpu"].max() > 0


def test_a_short_trial_leaves_nothing_and_starts_no_thread_of_its_own() -> None:
    ex = Experiment("example", backend=MemoryBackend())
    add = ex.result(lambda a: a + 1, name="add")(ex.parameter("a"))
    threads = set()

    for a in range(50):
        add.compute(parameters={"a": a}, scheduler="synchronous")
        threads |= set(sampler())

    assert len(threads) <= 2  # another one where it took longer than half a second
    assert all(ex.backend.read(paths.usage("example", trial.uid)) == [] for trial in ex.trials)
    assert ex.latest.usage.empty and list(ex.latest.usage.columns)[:2] == ["cpu", "memory"]


def test_the_thread_is_there_only_while_trials_run() -> None:
    ex = Experiment("example", backend=MemoryBackend())
    threads = ex.result(lambda: sampler(), name="threads")()

    (thread,) = threads.compute(scheduler="synchronous")

    assert thread.daemon
    thread.join(_LONGEST)
    assert not thread.is_alive()


@pytest.mark.parametrize("scheduler", ["synchronous", "processes"])
def test_it_can_be_switched_off_for_all_processes(
    scheduler: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DASKPERIMENT_USAGE", "0")
    ex = Experiment("example", backend=tmp_path / "store")

    @ex.result
    def wait() -> int:
        os.environ.pop("DASKPERIMENT_USAGE", None)
        time.sleep(0.1)
        return len(sampler())

    assert until(lambda: not sampler())  # that of a test before
    assert wait().compute(scheduler=scheduler) == 0


def test_a_process_that_a_step_forks_is_not_sampled_for_itself(tmp_path: Path) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("processes do not fork here")
    ex = Experiment("example", backend=tmp_path / "store")

    @ex.result
    def fork() -> int:
        child = os.fork()
        if child == 0:
            alive = len(sampler())
            os._exit(alive)
        _, status = os.waitpid(child, 0)
        until_sampled(ex)
        return os.waitstatus_to_exitcode(status)

    assert fork().compute(scheduler="synchronous") == 0
    assert set(ex.latest.usage["pid"]) == {os.getpid()}


def test_a_long_trial_has_a_bounded_number_of_samples() -> None:
    def samples(seconds: float) -> int:
        age, count = 0.0, 0
        while age < seconds:
            age += pause(age)
            count += 1
        return count

    assert samples(300) == 300
    assert samples(24 * 3600) < 3000
    assert samples(365 * 24 * 3600) < 5000


# -- graphics processors: a stand-in with the interface of nvidia-ml-py --------------------------

NVML = """
    class NVMLError(Exception):
        pass

    def nvmlInit():
        {init}

    def nvmlDeviceGetCount():
        return 3

    def nvmlDeviceGetHandleByIndex(number):
        return number

    def nvmlDeviceGetUUID(device):
        return f"GPU-{{device}}a2b3c4d"

    class Found:
        def __init__(self, **facts):
            vars(self).update(facts)

    def nvmlDeviceGetUtilizationRates(device):
        if device == 2:
            raise NVMLError("Not Supported")
        return Found(gpu=10 * device + 5, memory=0)

    def nvmlDeviceGetMemoryInfo(device):
        return Found(total=100, free=40, used=60 + device)
"""
TRIAL = """
    import time
    from daskperiment import Experiment

    ex = Experiment("example", backend="memory://")

    @ex.result
    def wait():
        end = time.monotonic() + 60
        while ex.latest.usage.empty and time.monotonic() < end:
            ex.log_metric("waits", 1)
            time.sleep(0.05)

    wait().compute(scheduler="synchronous")
    usage = ex.latest.usage
    print(usage.filter(like="gpu").iloc[0].to_dict(), len(usage) > 0)
"""


def with_devices(visible: str | None, tmp_path: Path, init: str = "pass") -> str:
    (tmp_path / "pynvml.py").write_text(textwrap.dedent(NVML).format(init=init))
    (tmp_path / "trial.py").write_text(textwrap.dedent(TRIAL))
    environment = {**os.environ, "DASKPERIMENT_LOG_LEVEL": "ERROR"}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    done = subprocess.run(
        [sys.executable, "-W", "error", "trial.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("visible", "shown"),
    [
        (
            None,
            "{'gpu0': 5, 'gpu0_memory': 60, 'gpu1': 15, 'gpu1_memory': 61, 'gpu2_memory': 62}",
        ),
        ("1", "{'gpu1': 15, 'gpu1_memory': 61}"),
        ("1, 0", "{'gpu0': 5, 'gpu0_memory': 60, 'gpu1': 15, 'gpu1_memory': 61}"),
        ("GPU-1a2b,7,0", "{'gpu1': 15, 'gpu1_memory': 61}"),
        ("", "{}"),
        ("-1", "{}"),
    ],
)
def test_the_graphics_processors_that_a_process_may_see_are_sampled(
    visible: str | None, shown: str, tmp_path: Path
) -> None:
    assert with_devices(visible, tmp_path) == f"{shown} True"


def test_without_a_driver_the_rest_is_sampled(tmp_path: Path) -> None:
    found = with_devices(None, tmp_path, init="raise NVMLError('Driver Not Loaded')")

    assert found == "{} True"


# -- as a part of the trial ----------------------------------------------------------------------


@pytest.fixture
def sampled(tmp_path: Path) -> Experiment:
    """An experiment of which trial 1 was sampled."""
    ex = Experiment("example", backend=tmp_path / "store")
    ex.result(lambda: until_sampled(ex), name="wait")().compute(scheduler="synchronous")
    return ex


def test_it_goes_where_the_trial_goes(sampled: Experiment) -> None:
    with open_backend("memory://") as other:
        copy_trials(sampled.backend, other)

        copy = Experiment("example", backend=other)[1].usage

    assert not copy.empty and copy.equals(sampled[1].usage)


def test_it_is_forgotten_and_collected(sampled: Experiment) -> None:
    uid = sampled[1].uid
    assert sampled.backend.read(paths.usage("example", uid))

    sampled[1].forget("usage")

    with pytest.raises(ValueNotKeptError, match="forgotten"):
        sampled[1].usage
    assert sampled.backend.read(paths.usage("example", uid)) == []


def test_it_is_gone_with_a_removed_trial(sampled: Experiment) -> None:
    uid = sampled[1].uid
    sampled[1].remove()

    sampled.gc()

    assert sampled.backend.read(paths.usage("example", uid)) == []


def test_what_others_have_written_is_passed_over(sampled: Experiment) -> None:
    before, path = sampled[1].usage, paths.usage("example", sampled[1].uid)
    good = {"host": "h", "pid": 1, "seconds": [1.0], "values": {"cpu": [1]}, "calls": []}
    wrong: list[dict[str, Any]] = [
        {"values": {"cpu": [1, 2]}}, {"values": {"cpu": ["1"]}}, {"values": [1]}, {"pid": "1"},
        {"seconds": ["1"]}, {"seconds": None}, {"calls": [["a"]]}, {"calls": {}}, {"host": None},
    ]  # fmt: skip

    sampled.backend.append(path, [None, {}, *({**good, **each} for each in wrong)])
    assert sampled[1].usage.equals(before)

    sampled.backend.append(path, [good])
    assert len(sampled[1].usage) == len(before) + 1


def test_every_backend_keeps_it(every_backend: Backend) -> None:
    ex = Experiment("example", backend=every_backend)

    ex.result(lambda: until_sampled(ex), name="wait")().compute(scheduler="synchronous")

    assert (ex.latest.usage["memory"] > 0).all()


def test_what_a_block_uses_is_sampled(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")

    with ex.trial(a=1):
        until_sampled(ex)

    assert set(ex.latest.usage["pid"]) == {os.getpid()}
