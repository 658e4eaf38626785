"""``python -m tests.torture.cluster``: workers, a scheduler and their nannies in a process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.servers import free_port
from tests.torture.harness import finish, settings


def serve(workers: int, allowed: int, plant: str | None) -> None:
    """Keep a scheduler and its workers until the input ends, and say where it is."""
    import dask

    dask.config.set({"distributed.scheduler.allowed-failures": allowed})
    warnings.simplefilter("ignore")
    asyncio.run(_serve(workers, plant))


async def _serve(workers: int, plant: str | None) -> None:
    from distributed import Client, Scheduler

    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        if plant:
            async with Client(scheduler.address, asynchronous=True) as client:
                await client.register_plugin(planted(plant))
        kept = [asyncio.create_task(_keep(scheduler.address)) for _ in range(workers)]
        while len(scheduler.workers) < workers:
            await asyncio.sleep(0.02)
        print(scheduler.address, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for task in kept:
            task.cancel()
        await asyncio.wait(kept)


async def _keep(address: str) -> None:
    """Keep one worker; a nanny ends with a worker that has left, or that dies as it starts."""
    from distributed import Nanny

    while True:
        with suppress(Exception):
            async with Nanny(address, nthreads=1, host="127.0.0.1", dashboard=False) as nanny:
                await nanny.finished()


def planted(name: str) -> Any:
    """A plugin of workers, also of those that are started anew, which plants a bug in each."""
    from distributed import WorkerPlugin

    class Planted(WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: Any) -> None:
            from tests.torture import batch_plants  # noqa: F401  (importing registers)
            from tests.torture.plants import PLANTS

            PLANTS[name]()

    return Planted()


@contextmanager
def running(workers: int = 2, allowed: int = 3, plant: str | None = None) -> Iterator[str]:
    """A cluster of workers with one thread each; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.torture.cluster", json.dumps([workers, allowed, plant])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **settings(),
    )  # fmt: skip
    assert process.stdin and process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.stdout.close()
        finish(process)


class Commands:
    """A scheduler and a worker of two threads, as the commands of Dask start them.

    Attributes
    ----------
    scheduler : Popen
        The process of the scheduler.
    """

    def __init__(self) -> None:
        self._port = free_port()
        self.address = f"tcp://127.0.0.1:{self._port}"
        self._started: list[subprocess.Popen[bytes]] = []
        self.restart()

    def restart(self) -> None:
        """Start a scheduler at the same address, and a worker."""
        at = ["--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard"]
        self.scheduler = self._start("scheduler", *at)
        self._start("worker", self.address, "--nthreads", "2", "--no-nanny", "--no-dashboard")

    def _start(self, what: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *options]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **settings())
        self._started.append(process)
        return process

    def close(self) -> None:
        """Kill what was started."""
        for process in self._started:
            process.kill()
            process.wait()


if __name__ == "__main__":
    serve(*json.loads(sys.argv[1]))
