"""The same trial on every scheduler, with the same numbers.

Four steps draw random numbers.  You will see one line for each scheduler: the result, equal to
the last digit, and whether worker processes computed it.  The cluster is left out where
``distributed`` is not installed.

Worker processes import this file, so all that computes stands under the guard at the end.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from daskperiment import Experiment

ex = Experiment("schedulers", backend="memory://", seed=1)


@ex
def draw() -> float:
    return random.random() + float(np.random.normal()) + float(ex.rng().random())


@ex.result
def total(parts: list[float]) -> float:
    return sum(parts)


@contextmanager
def cluster() -> Iterator[Any]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as workers,
        Client(workers, set_as_default=False) as client,
    ):
        yield client


def show(name: str, scheduler: Any, **options: Any) -> None:
    value = s.compute(scheduler=scheduler, **options)
    here = set(ex.latest.steps["pid"]) == {os.getpid()}
    print(f"{name:12} {value}  computed in {'this process' if here else 'worker processes'}")


# Repeated calls draw different numbers, and each draws the same ones in every trial.
s = total([draw() for _ in range(4)])


def main() -> None:
    show("synchronous", "synchronous")
    show("threads", "threads")
    show("processes", "processes", num_workers=2)
    try:
        with cluster() as client:
            show("cluster", client)
    except ImportError:
        print("cluster      not shown: distributed is not installed")


if __name__ == "__main__":
    main()
