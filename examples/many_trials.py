"""Sixty trials of a random forest at once, on threads, processes or a cluster of two workers.

Needs scikit-learn, and ``pip install "daskperiment[distributed]"`` for the cluster::

    python many_trials.py processes

Kill a worker process while it runs, or press Ctrl-C: only what was running is lost, and
``daskperiment resume`` completes the batch.  The other executors give the same scores, digit by
digit::

    python many_trials.py threads
    python many_trials.py cluster
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from daskperiment import Experiment
from daskperiment.callbacks import LogTrials

ex = Experiment("forests", seed=11)

trees = ex.parameter("trees", type=int, help="How many trees a forest has.")
depth = ex.parameter("depth", type=int, help="How deep they grow.")
leaf = ex.parameter("leaf", type=int, help="Fewest samples of a leaf.")


@ex(nout=2)
def split(part: float) -> tuple[Any, Any]:
    """Digits to learn from, and others to be asked."""
    images, digits = load_digits(return_X_y=True)
    images, others, digits, answers = train_test_split(images, digits, test_size=part)
    return (images, digits), (others, answers)


@ex
def fit(data: Any, trees: int, depth: int, leaf: int) -> Any:
    """Grow a forest."""
    # With other numbers of threads the last bits could differ.
    with threadpool_limits(1):
        forest = RandomForestClassifier(trees, max_depth=depth, min_samples_leaf=leaf, n_jobs=1)
        return forest.fit(*data)


@ex.result
def score(forest: Any, data: Any) -> float:
    """How many of the others it names right."""
    images, digits = data
    with threadpool_limits(1):
        found = forest.predict(images)
    ex.log_metrics({"right": int(np.sum(found == digits)), "asked": len(digits)})
    return float(np.mean(found == digits))


learned, others = split(0.3)
s = score(fit(learned, trees, depth, leaf), others)
jobs = [
    {"trees": trees, "depth": depth, "leaf": leaf}
    for trees, depth, leaf in itertools.product((2, 4, 6, 8, 10), (3, 6, 9), (1, 2, 4, 8))
]


@contextmanager
def executor(name: str) -> Iterator[Any]:
    """Where the trials run."""
    if name != "cluster":
        yield name
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


if __name__ == "__main__":
    with executor(sys.argv[1] if len(sys.argv) > 1 else "threads") as where:
        trials = ex.map(
            s, jobs, where, on_error="continue", skip_completed=False, callbacks=[LogTrials()]
        )
    ended = [str(trial.state) for trial in trials]
    print(f"{len(trials)} trials: {ended.count('COMPLETE')} COMPLETE")
    best = ex.best("maximize")
    print(f"Best: {best.result:.4f} by {best.parameters}")
