"""The same work on a Redis server of this machine, which keeps an append-only file."""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask

from benchmarks import history, peers, records, work
from benchmarks.measure import (
    Pairs,
    Row,
    compared,
    duration,
    fresh,
    in_turns,
    surroundings,
    timed,
)
from benchmarks.peers import references
from benchmarks.records import RecordError
from daskperiment import Experiment
from daskperiment.backends import open_backend

_BARE = "bare dask.compute"
_BULK = "one read of all their bytes"
_POINTS = 10_000
_TRIALS = 10_000


class AbsentError(RuntimeError):
    """There is no such server here."""


def free_port() -> int:
    """A port of the loopback device that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until a server answers at a port."""
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def server(folder: str) -> Iterator[str]:
    """A running server; gives its URI."""
    if shutil.which("redis-server") is None:
        raise AbsentError("the program redis-server is not installed")
    port, place = free_port(), Path(folder, "redis")
    place.mkdir()
    process = subprocess.Popen(
        ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(place),
         "--save", "", "--appendonly", "yes"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        uri = f"redis://127.0.0.1:{port}/0"
        _ = open_backend(uri).store_id
        yield uri
    finally:
        process.kill()
        process.wait()


def around(scheduler: str, uri: str) -> Pairs:
    """Seconds of a three-step trial, beside those of bare dask."""
    plain, name = work.bare(), f"bench_{scheduler}"
    s = work.recorded(Experiment(name, backend=uri))
    functions = {
        _BARE: lambda: dask.compute(plain, scheduler=scheduler),
        "s.compute()": lambda: s.compute(scheduler=scheduler),
    }
    in_turns(functions, 99)
    pairs = in_turns(functions, 120)
    records.check(uri, name, 219)
    return pairs


def logged(uri: str) -> list[float]:
    """Seconds from the first of many metric points to the end of their trial."""
    ex = Experiment("points", backend=uri)
    begun: list[float] = []
    seconds = []

    def train(points: int) -> int:
        begun.append(time.perf_counter())
        for n in range(points):
            ex.save_metric("loss", n, n * 0.5)
        return points

    s = ex.result(train)(ex.parameter("points", default=_POINTS))
    for _ in range(4):
        s.compute(scheduler="synchronous")
        seconds.append(time.perf_counter() - begun[-1])
        found = [(point.epoch, point.value) for point in ex.latest.metrics["loss"]]
        if found != [(n, n * 0.5) for n in range(_POINTS)]:
            raise RecordError(f"{len(found)} points of {_POINTS} are stored")
    return seconds[1:]


def read(uri: str) -> tuple[Pairs, float]:
    """Seconds of a history once it was read, beside one read of the bytes; and the first one."""
    import redis

    ex = Experiment("long", backend=uri)
    history.fill(ex.backend, ex.id, _TRIALS)
    client = redis.Redis.from_url(uri)
    (key,) = client.scan_iter("*:documents:experiment/long/trials")
    reading = Experiment("long", backend=uri)
    first = timed(reading.get_history)
    pairs = in_turns({"get_history()": reading.get_history, _BULK: lambda: client.hvals(key)}, 15)
    if len(reading.get_history()) != _TRIALS:
        raise RecordError("the history is not whole")
    return pairs, first


def _of_the_original(folder: str, uri: str, *command: Any) -> Any:
    """What the original 0.5.0 answers, on the same server and in an environment of its own."""
    peer = peers.PEERS["original 0.5.0"]
    environment = {
        "requirements": [*peer.requirements, "redis==3.5.3"], "environment": "original_redis",
    }  # fmt: skip
    python = peers.interpreter(replace(peer, **environment))
    place = Path(folder, "original")
    place.mkdir(exist_ok=True)
    done = subprocess.run(
        [python, str(Path(peers.__file__).parent / peer.script), json.dumps(command), uri],
        cwd=place, capture_output=True, text=True, check=False, timeout=300,
        env={**surroundings(), "PYTHONPATH": ""},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    return json.loads(done.stdout.rstrip().splitlines()[-1])


def measure(folder: str) -> list[Row]:
    with server(folder) as uri:
        rows = [
            compared(
                f"three-step trial on Redis, {scheduler}",
                fresh(around, scheduler, uri, folder=folder), "s.compute()", _BARE, 2.0,
            )
            for scheduler in ("synchronous", "threads")
        ]  # fmt: skip
        ours = [seconds / _POINTS for seconds in fresh(logged, uri, folder=folder)]
        theirs = [_of_the_original(folder, f"{uri[:-1]}1", "points", _POINTS) for _ in ours]
        rows.append(_points(ours, theirs))
        rows.append(_trial_of_the_original(folder, f"{uri[:-1]}2"))
        pairs, first = fresh(read, uri, folder=folder)
    long = f"get_history() of {_TRIALS:,} trials on Redis"
    note = f"the first one of a process took {duration(first)}"
    return [*rows, compared(f"{long}, warm", pairs, "get_history()", _BULK, 2.0, note)]


def _trial_of_the_original(folder: str, uri: str) -> Row:
    found = [_of_the_original(folder, uri, "trials", n)["trial"] for n in (120, 240, 360)]
    beside = fresh(references.graph, folder=folder)
    return Row(
        "three-step trial on Redis, original 0.5.0",
        duration(statistics.median(found)),
        f"{_BARE}: {duration(beside)}",
        [seconds / beside for seconds in found],
    )


def _points(ours: list[float], theirs: list[float]) -> Row:
    return Row(
        f"a metric point on Redis, of {_POINTS:,} one by one until stored",
        duration(statistics.median(ours)),
        f"original 0.5.0, on the same server: {duration(statistics.median(theirs))}",
        [a / b for a, b in zip(ours, theirs, strict=True)],
        0.1,
        note="the original's with redis-py 3.5",
    )


def profiled(folder: str) -> None:
    """The work that a profile shows."""
    with server(folder) as uri:
        s: Any = work.recorded(Experiment("bench", backend=uri))
        for _ in range(1000):
            s.compute(scheduler="synchronous")
