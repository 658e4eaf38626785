"""Servers that are killed, emptied and full, and networks that cut, swallow and delay."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import redis

from daskperiment.backends import Backend, open_backend
from daskperiment.backends.server import masked
from daskperiment.history import syncing
from tests.proxy import Proxy
from tests.servers import RedisServer, mongo_server, redis_server
from tests.torture.harness import (
    WATCHDOG,
    ForkServer,
    Outcome,
    await_event,
    check,
    events,
    fork_server,
    scenario,
)

PATIENCE = 20 * WATCHDOG
_SHORT = {
    "redis": "?socket_timeout=0.3&socket_connect_timeout=0.3",
    "mongodb": "?socketTimeoutMS=300&connectTimeoutMS=300&serverSelectionTimeoutMS=300",
}
"""So that a black hole is taken for one soon."""


@contextmanager
def _server(kind: str, folder: Path) -> Iterator[Any]:
    """A server whose data outlive it, and a function that makes its URI for a port."""
    if kind == "redis":
        with redis_server(folder / "redis", "--appendfsync", "always") as running:
            yield running, lambda port: f"redis://127.0.0.1:{port}/0"
    else:
        (folder / "mongodb").mkdir(parents=True)
        with mongo_server(str(folder / "mongodb")) as running:
            yield running, lambda port: f"mongodb://127.0.0.1:{port}/torture"


def _worker(folder: Path, worker: int, plant: str | None, uri: str, **more: Any) -> dict[str, Any]:
    return {
        "worker": f"w{worker}", "log": str(folder / f"w{worker}.log"), "store": uri,
        "state": str(folder / "state"), "plant": plant, "shape": "mixed", "size": 100_000, **more,
    }  # fmt: skip


@contextmanager
def _working(outcome: Outcome, server: ForkServer, crowd: list[dict[str, Any]]) -> Iterator[Any]:
    """Workers that run during the block; it is given a function that says whether one does."""
    pids = [server.start(dict(argument)) for argument in crowd]
    done = threading.Event()

    def wait() -> None:
        for pid, argument in zip(pids, crowd, strict=True):
            outcome.add(argument["worker"], server.wait(pid, PATIENCE).violations())
        done.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        yield lambda: not done.is_set()
    finally:
        waiting.join()


def _await_work(crowd: list[dict[str, Any]]) -> None:
    """Wait until every worker has recorded a trial; before, none of them has anything to lose."""
    for argument in crowd:
        await_event(Path(argument["log"]), "ack")


def _settle(
    outcome: Outcome, folder: Path, uri: str, crowd: list[dict[str, Any]], backend: Backend
) -> None:
    """Bring what waits to the server, twice, and compare with what was promised."""
    spools, address = folder / "state" / "daskperiment" / "spool", masked(uri)
    for done in syncing.sync(spools, backend, address=address):
        outcome.count("synced at the end", done.groups)
        outcome.add("sync", [f"I5: {done.problem}"] * bool(done.problem))
    again = [done.groups for done in syncing.sync(spools, backend, address=address)]
    outcome.add("sync", [f"I2: a second sync brings {again}"] * any(again))
    logs = [Path(argument["log"]) for argument in crowd]
    outcome.add("at the end", check(backend, logs))
    refused = [event["message"] for log in logs for event in events(log) if "error" in event]
    outcome.add("at the end", [f"I7: {told}" for told in refused])
    promised = [event for log in logs for event in events(log) if "ack" in event]
    outcome.count("acked", len(promised))
    trouble = [event["trouble"] for event in promised if not event["recorded"]]
    outcome.add("at the end", [f"I6: {told}" for told in trouble])


def _crowd(
    name: str, kind: str, seed: int, folder: Path, plant: str | None, trials: int
) -> Outcome:
    outcome = Outcome(name, seed)
    with _server(kind, folder) as (running, address), fork_server() as server:
        uri = address(running.port)
        crowd = [
            _worker(folder, n, plant, uri, seed=seed + n, trials=trials, shape="tiny")
            for n in range(8)
        ]
        began = time.monotonic()
        with _working(outcome, server, crowd):
            pass
        outcome.figures["trials/s"] = round(8 * trials / (time.monotonic() - began))
        with open_backend(uri) as backend:
            _settle(outcome, folder, uri, crowd, backend)
    outcome.rounds = 1
    outcome.faults = int(str(outcome.figures["acked"]))
    return outcome


@scenario(
    "F14R",
    "8 processes run trials of one experiment in Redis",
    plants=("numbers-by-client",),
    short={"trials": 30},
    long={"trials": 500},
    planted={"trials": 20},
)
def one_experiment(seed: int, folder: Path, plant: str | None, *, trials: int) -> Outcome:
    """Numbers have no gap, nothing is lost or doubled."""
    return _crowd("F14R", "redis", seed, folder, plant, trials)


@scenario(
    "F14M",
    "8 processes run trials of one experiment in MongoDB",
    plants=("commits-are-not-compared",),
    short={"trials": 6},
    long={"trials": 100},
    planted={"trials": 10},
)
def one_experiment_in_mongodb(
    seed: int, folder: Path, plant: str | None, *, trials: int
) -> Outcome:
    """Numbers have no gap, nothing is lost or doubled."""
    return _crowd("F14M", "mongodb", seed, folder, plant, trials)


def _restarted(
    outcome: Outcome, kind: str, folder: Path, plant: str | None, restarts: int, trials: int,
    pauses: Sequence[float] = (0, 0, 0.3, 1),
) -> Outcome:  # fmt: skip
    chance = random.Random(outcome.seed)
    with _server(kind, folder) as (running, address), fork_server() as server:
        uri = address(running.port)
        crowd = [
            _worker(folder, n, plant, uri, seed=outcome.seed + n, trials=trials, pause=0.01)
            for n in range(4)
        ]
        with _working(outcome, server, crowd) as goes_on:
            _await_work(crowd)
            while goes_on() and outcome.rounds < restarts:
                time.sleep(chance.uniform(0.05, 0.2))
                outcome.faults += goes_on()
                running.kill()
                time.sleep(chance.choice(pauses))
                running.start()
                outcome.rounds += 1
        with open_backend(uri) as backend:
            _settle(outcome, folder, uri, crowd, backend)
    return outcome


@scenario(
    "F20",
    "a Redis server that is killed and started again",
    plants=("spool-forgets",),
    short={"restarts": 5, "trials": 50},
    long={"restarts": 50, "trials": 500},
    planted={"restarts": 8, "trials": 60},
)
def restarts(seed: int, folder: Path, plant: str | None, *, restarts: int, trials: int) -> Outcome:
    """Nothing acknowledged is lost, nothing is doubled, numbers have no gap."""
    return _restarted(Outcome("F20", seed), "redis", folder, plant, restarts, trials)


@scenario(
    "F27",
    "a MongoDB server that is killed and started again",
    plants=("spool-forgets",),
    short={"restarts": 2, "trials": 15},
    long={"restarts": 30, "trials": 150},
    planted={"restarts": 1, "trials": 20, "pauses": (5,)},
)
def restarts_of_mongodb(
    seed: int, folder: Path, plant: str | None, *, restarts: int, trials: int, **more: Any
) -> Outcome:
    """Nothing acknowledged is lost, nothing is doubled, numbers have no gap."""
    return _restarted(Outcome("F27", seed), "mongodb", folder, plant, restarts, trials, **more)


@scenario(
    "F21",
    "a Redis server that comes back without its data",
    plants=("loss-unnoticed",),
    short={"rounds": 1},
    long={"rounds": 20},
)
def emptied(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """It is noticed: no number is given twice, and what goes on to be recorded is kept."""
    outcome = Outcome("F21", seed)
    with fork_server() as server:
        for n in range(rounds):
            place = folder / str(n)
            with redis_server(place / "redis", "--appendonly", "no") as running:
                crowd = [
                    _worker(place, 0, plant, running.uri, seed=seed, trials=60, shape="tiny",
                            pause=0.01)
                ]  # fmt: skip
                with _working(outcome, server, crowd):
                    while len(events(place / "w0.log")) < 30:
                        time.sleep(0.01)
                    running.kill()
                    running.start()
                outcome.add(f"round {n}", _lost(place, running))
            outcome.rounds += 1
            outcome.faults += 1
    return outcome


def _lost(place: Path, running: RedisServer) -> Iterator[str]:
    logged = events(place / "w0.log")
    numbers = [event["began"] for event in logged if "began" in event]
    if len(numbers) != 60 or len(set(map(str, numbers))) != len(numbers):
        yield f"I2: 60 trials got the numbers {numbers}"
    with redis.Redis.from_url(running.uri) as client:
        if client.dbsize():
            yield f"I1: something was recorded in the empty server: {client.keys()[:5]}"
    if not list((place / "state" / "daskperiment" / "spool").glob("*.spool")):
        yield "I1: what was recorded after the loss is nowhere"


@scenario(
    "F22",
    "a Redis server whose memory is full",
    plants=("full-is-nothing",),
    short={"rounds": 1},
    long={"rounds": 20},
)
def full(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """Trials go on, and are there when there is room again."""
    outcome = Outcome("F22", seed)
    with fork_server() as server:
        for n in range(rounds):
            place = folder / str(n)
            with redis_server(place / "redis") as running:
                crowd = [
                    _worker(place, w, plant, running.uri, seed=seed + w, trials=60, pause=0.02)
                    for w in range(2)
                ]
                with (
                    _working(outcome, server, crowd),
                    redis.Redis.from_url(running.uri) as client,
                ):
                    while len(events(place / "w0.log")) < 12:
                        time.sleep(0.01)
                    client.config_set("maxmemory", "1mb")
                    time.sleep(0.4)
                    client.config_set("maxmemory", "0")
                    outcome.faults += int(
                        client.info("errorstats").get("errorstat_OOM", {}).get("count", 0)
                    )
                with open_backend(running.uri) as backend:
                    _settle(outcome, place, running.uri, crowd, backend)
            outcome.rounds += 1
    return outcome


@scenario(
    "F26",
    "a Redis server that changes its password, is made a replica, is full, is busy",
    plants=("full-is-nothing",),
    short={"rounds": 1},
    long={"rounds": 20},
)
def refusing(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """Trials go on, and are there when the server takes them again."""
    outcome = Outcome("F26", seed)
    with fork_server() as server:
        for n in range(rounds):
            place = folder / str(n)
            with redis_server(place / "redis") as running:
                crowd = [
                    _worker(place, w, plant, running.uri, seed=seed + w, trials=60, pause=0.02)
                    for w in range(2)
                ]
                with (
                    _working(outcome, server, crowd) as goes_on,
                    redis.Redis.from_url(running.uri) as client,
                ):
                    while len(events(place / "w0.log")) < 12:
                        time.sleep(0.01)
                    for begin, end in _REFUSALS:
                        outcome.faults += goes_on()
                        begin(client)
                        time.sleep(0.3)
                        end(client)
                        time.sleep(0.2)
                with open_backend(running.uri) as backend:
                    _settle(outcome, place, running.uri, crowd, backend)
            outcome.rounds += 1
    return outcome


def _with_password(client: Any) -> None:
    client.config_set("requirepass", "another")
    client.execute_command("AUTH", "another")
    for each in client.client_list():
        if int(each["id"]) != client.client_id():
            client.client_kill_filter(_id=each["id"])


_REFUSALS: tuple[tuple[Callable[[Any], object], Callable[[Any], object]], ...] = (
    (lambda client: client.replicaof("127.0.0.1", 1), lambda client: client.replicaof("NO", "ONE")),
    (_with_password, lambda client: client.config_set("requirepass", "")),
    (
        lambda client: client.config_set("maxmemory", "1mb"),
        lambda client: client.config_set("maxmemory", "0"),
    ),
    (lambda client: client.client_pause(1000), lambda client: client.client_unpause()),
)
"""How a server is made to refuse what it is given, and to take it again."""


def _through(
    outcome: Outcome, kind: str, folder: Path, plant: str | None, trials: int, strike: Any
) -> None:
    """Run trials of two workers through a proxy that ``strike`` troubles as long as they run."""
    with (
        _server(kind, folder) as (running, address),
        fork_server() as server,
        closing(Proxy(running.port, outcome.seed)) as proxy,
    ):
        uri = address(proxy.port) + _SHORT[kind]
        crowd = [
            _worker(folder, n, plant, uri, seed=outcome.seed + n, trials=trials, pause=0.01)
            for n in range(2)
        ]
        with _working(outcome, server, crowd) as goes_on:
            _await_work(crowd)
            strike(proxy, goes_on)
            proxy.calm()
        with open_backend(address(running.port)) as backend:
            _settle(outcome, folder, uri, crowd, backend)
        outcome.faults = proxy.struck


def _troubled(
    outcome: Outcome, kind: str, folder: Path, plant: str | None, trials: int, events: int
) -> Outcome:
    chance = random.Random(outcome.seed)

    def strike(proxy: Proxy, goes_on: Any) -> None:
        while goes_on() and outcome.rounds < events:
            time.sleep(chance.uniform(0.02, 0.08))
            proxy.strike()
            time.sleep(chance.choice([0.02, 0.05, 0.4 if chance.random() < 0.1 else 0.05]))
            proxy.calm()
            outcome.rounds += 1

    _through(outcome, kind, folder, plant, trials, strike)
    return outcome


@scenario(
    "F23",
    "a network to Redis that cuts, delays, trickles, swallows and is silent",
    plants=("spool-forgets",),
    short={"trials": 30, "events": 60},
    long={"trials": 1000, "events": 1000},
    planted={"trials": 80, "events": 200},
)
def network(seed: int, folder: Path, plant: str | None, *, trials: int, events: int) -> Outcome:
    """Nothing is lost and nothing is doubled."""
    return _troubled(Outcome("F23", seed), "redis", folder, plant, trials, events)


@scenario(
    "F23M",
    "a network to MongoDB that cuts, delays, trickles, swallows and is silent",
    plants=("spool-forgets",),
    short={"trials": 10, "events": 50},
    long={"trials": 200, "events": 1000},
    planted={"trials": 25, "events": 200},
)
def network_to_mongodb(
    seed: int, folder: Path, plant: str | None, *, trials: int, events: int
) -> Outcome:
    """Nothing is lost and nothing is doubled."""
    return _troubled(Outcome("F23M", seed), "mongodb", folder, plant, trials, events)


@scenario(
    "F24",
    "a network that swallows a third of the replies",
    plants=("spool-forgets",),
    short={"trials": 15},
    long={"trials": 150},
    planted={"trials": 40},
)
def swallowed(seed: int, folder: Path, plant: str | None, *, trials: int) -> Outcome:
    """What the server did and nobody heard of is not done again."""
    outcome = Outcome("F24", seed)

    def strike(proxy: Proxy, goes_on: Any) -> None:
        while goes_on():
            proxy.swallow = 1 / 3
            time.sleep(0.05)

    _through(outcome, "redis", folder, plant, trials, strike)
    outcome.rounds = trials
    return outcome


@scenario(
    "F28",
    "a server that is down at the start, at the end, in between or all the time",
    plants=("spool-forgets", "synced-twice"),
    short={"rounds": 1},
    long={"rounds": 10},
)
def down(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """After `sync` the store is as if the server had been there; a second one changes nothing."""
    outcome = Outcome("F28", seed)
    with fork_server() as server:
        for n in range(rounds):
            for when in ("start", "end", "between", "always"):
                place = folder / f"{when}{n}"
                with redis_server(place / "redis") as running:
                    _down(outcome, server, place, running, when, seed + n, plant)
                outcome.rounds += 1
                outcome.faults += 1
    return outcome


def _down(
    outcome: Outcome, server: ForkServer, place: Path, running: RedisServer, when: str, seed: int,
    plant: str | None,
) -> None:  # fmt: skip
    log = place / "w0.log"
    crowd = [_worker(place, 0, plant, running.uri, seed=seed, trials=12, pause=0.02, last_wait=0.5)]
    if when in ("start", "always"):
        running.kill()
    with _working(outcome, server, crowd) as goes_on:
        while goes_on() and len(events(log)) < 12:
            time.sleep(0.005)
        if when == "start":
            running.start()
        elif when in ("between", "end"):
            running.kill()
        while goes_on() and when == "between" and len(events(log)) < 24:
            time.sleep(0.005)
        if when == "between":
            running.start()
    if when in ("end", "always"):
        running.start()
    with open_backend(running.uri) as backend, _twice(plant):
        _settle(outcome, place, running.uri, crowd, backend)


def _twice(plant: str | None) -> Any:
    """A sync that does not ask how much of a spool the store has."""
    if plant != "synced-twice":
        return mock.patch.dict(os.environ)
    real = syncing.replay

    def replay(backend: Backend, spool: Any, start: int = 0) -> Any:
        for _ in range(2):
            yield from real(backend, spool, start)
            backend.apply(syncing.Remove(syncing.paths.SPOOLS, spool.id))

    return mock.patch.object(syncing, "replay", replay)
