"""``python -m tests.torture.cluster``: workers, a scheduler and their nannies in a process."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.torture.harness import finish, settings


def serve(options: dict[str, Any]) -> None:
    """Keep a cluster of workers until the input ends, and say where it is."""
    import dask
    from distributed import Client, LocalCluster

    warnings.simplefilter("ignore")
    dask.config.set({"distributed.scheduler.allowed-failures": options.pop("allowed", 3)})
    plant = options.pop("plant", None)
    cluster = LocalCluster(dashboard_address=None, host="127.0.0.1", **options)
    if plant:
        with Client(cluster) as client:
            client.register_plugin(planted(plant))
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
    cluster.close(timeout=5)


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
def running(**options: Any) -> Iterator[str]:
    """A cluster of two workers with one thread each, unless asked otherwise; gives its address."""
    given = {"n_workers": 2, "threads_per_worker": 1, **options}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.torture.cluster", json.dumps(given)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **settings(),
    )  # fmt: skip
    assert process.stdin and process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.stdout.close()
        finish(process)


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
