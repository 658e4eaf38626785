"""Batches whose workers, driver or both cannot reach their server."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

from daskperiment.backends import open_backend
from daskperiment.backends.server import masked
from daskperiment.history import spooling, syncing
from tests.proxy import Proxy
from tests.servers import redis_server
from tests.torture import batches, cluster
from tests.torture.harness import (
    AckLog,
    ForkServer,
    Outcome,
    await_event,
    events,
    fork_server,
    scenario,
)
from tests.torture.plants import PLANTS

URI = "redis://127.0.0.1:${STORE_PORT}/0?socket_timeout=0.3&socket_connect_timeout=0.3"
"""A black hole is taken for one soon."""
PATIENCE = 120.0
NOWHERE = 1
CASES = ("workers never", "driver a while", "workers a while", "driver to the end", "all a while",
         "workers to the end")  # fmt: skip
"""Who does not reach the server, and for how long."""
EXECUTORS = ("cluster", "processes")


@scenario(
    "F31",
    "workers that do not reach the store and drivers that do, and the reverse",
    plants=("carries-nothing", "spool-forgets"),
    short={"rounds": 2},
    long={"rounds": 120},
    planted={"rounds": 1},
)
def unreached(seed: int, folder: Path, plant: str | None, *, rounds: int) -> Outcome:
    """Every trial ends once with all that it has recorded, which travels or waits in a spool."""
    outcome, chance = Outcome("F31", seed), random.Random(seed)
    with fork_server() as server:
        for number in range(rounds):
            case = CASES[number % len(CASES)]
            kind = EXECUTORS[(number + number // len(CASES)) % len(EXECUTORS)]
            place = folder / str(number)
            place.mkdir()
            outcome.add(
                f"{case}, {kind}, {number}",
                _round(outcome, server, place, case, kind, plant, chance),
            )
            outcome.rounds += 1
    return outcome


def _round(
    outcome: Outcome, server: ForkServer, folder: Path, case: str, kind: str, plant: str | None,
    chance: random.Random,
) -> Iterator[str]:  # fmt: skip
    with redis_server(folder / "redis") as redis:
        argument = batches.batch(
            folder, "b", seed=chance.randrange(10**6), trials=12, plant=plant, store=URI,
            state=str(folder / "state"), program=f"{__name__}:drive",
            last_wait=10.0 if case.endswith("while") else 1.0,
        )  # fmt: skip
        with ExitStack() as stack:
            proxies = {
                who: stack.enter_context(closing(Proxy(redis.port, chance.randrange(10**6))))
                for who in ("driver", "workers")
            }
            port = NOWHERE if case == "workers never" else proxies["workers"].port
            workers = {"STORE_PORT": str(port), "XDG_STATE_HOME": argument["state"]}
            address = ""
            if kind == "cluster":
                with mock.patch.dict(os.environ, workers):
                    address = stack.enter_context(cluster.running(plant=plant))
            own = {"port": proxies["driver"].port, "workers": workers, "address": address}
            pid = server.start({**argument, **own})
            await_event(Path(argument["steps_log"]), "began", chance.randrange(2, 6))
            struck = [proxy for who, proxy in proxies.items() if case.startswith((who, "all"))]
            for proxy in struck:
                proxy.hole = case != "workers never"
            time.sleep(chance.uniform(0.3, 1.5))
            for proxy in struck:
                proxy.hole = proxy.hole and case.endswith("end")
            yield from server.wait(pid, PATIENCE).violations()
            outcome.faults += sum(proxy.struck for proxy in struck) + (case == "workers never")
        yield from _settled(outcome, {**argument, "store": redis.uri}, case)


def _settled(outcome: Outcome, argument: dict[str, Any], case: str) -> Iterator[str]:
    """Bring what waits in spools to the server, and compare."""
    log, spools = Path(argument["log"]), Path(argument["state"]) / "daskperiment" / "spool"
    with open_backend(argument["store"]) as backend:
        for done in syncing.sync(spools, backend, address=masked(URI)):
            outcome.count("groups synced at the end", done.groups)
            if done.problem:
                yield f"I5: {done.problem}"
    told = batches.returned(log)
    # What began before its worker lost the server is RUNNING until the spool has arrived.
    whole = told is not None and case != "workers to the end"
    yield from batches.check_batch(argument, [log], complete=whole)
    outcome.count("acked", sum("ack" in event for event in events(log)))
    states = batches.states(argument["store"])
    if states != {"COMPLETE": argument["trials"]}:
        yield f"I1: after all is synced trials are {dict(states)}"
    if told is None and not case.endswith("end"):
        yield f"I7: {[e['message'] for e in events(log) if 'error' in e]}"


def drive(argument: dict[str, Any], log: AckLog) -> None:
    """Run a batch whose driver and workers reach the server by ways of their own."""
    os.environ["STORE_PORT"] = str(argument["port"])
    if argument["address"]:
        from distributed import Client

        with Client(argument["address"], set_as_default=False) as client:
            batches.drive(argument, log, client)
        return
    own = (argument["workers"], argument["plant"], argument["last_wait"])
    with ProcessPoolExecutor(2, get_context("spawn"), _begin, own) as pool:
        batches.drive(argument, log, pool)


def _begin(environment: dict[str, str], plant: str | None, last_wait: float) -> None:
    """Let this process be a worker that reaches the server by its own way."""
    os.environ.update(environment)
    spooling.LAST_WAIT = last_wait
    if plant:
        PLANTS[plant]()
