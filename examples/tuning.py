"""Forty trials of gradient boosting, of which those that are not promising end early.

Needs scikit-learn, and ``pip install "daskperiment[search]"`` for samplers that learn::

    python tuning.py
    python tuning.py tpe threads

Each trial adds trees in stages and reports its score after each.  Kill it while it runs, with all
its processes, and run it again: it goes on, and in the end there is the table of a search that
nobody has killed, on threads or processes.
"""

from __future__ import annotations

import sys
from typing import Any

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from daskperiment import Experiment, TrialPruned
from daskperiment.search import Float, Int
from daskperiment.search.pruners import MedianPruner

ex = Experiment("boosting", seed=5)

STAGES, TREES = 5, 4

rate = ex.parameter("rate", space=Float(0.01, 1, log=True), help="How much each tree counts.")
depth = ex.parameter("depth", space=Int(1, 4), help="How deep trees grow.")
part = ex.parameter("part", space=Float(0.2, 1), help="The part of the samples for each tree.")
features = ex.parameter("features", space=["sqrt", "log2", 0.5], help="How many each split sees.")


@ex(nout=2)
def split(share: float) -> tuple[Any, Any]:
    """Samples to learn from, and others to be asked."""
    samples, labels = load_breast_cancer(return_X_y=True)
    samples, others, labels, answers = train_test_split(
        samples, labels, test_size=share, random_state=0
    )
    return (samples[:200], labels[:200]), (others, answers)


@ex.result
def loss(
    learned: Any, others: Any, rate: float, depth: int, part: float, features: str | float
) -> float:
    """The loss on the others, after all stages."""
    model = GradientBoostingClassifier(
        learning_rate=rate, max_depth=depth, subsample=part, max_features=features,
        warm_start=True,
    )  # fmt: skip
    with threadpool_limits(1):  # with other numbers of threads the last bits could differ
        for stage in range(STAGES):
            model.n_estimators = TREES * (stage + 1)
            model.fit(*learned)
            found = float(log_loss(others[1], model.predict_proba(others[0])))
            ex.report(found, epoch=stage)
            if ex.should_prune():
                raise TrialPruned(f"not promising after {model.n_estimators} trees")
    return found


learned, others = split(0.3)
tuned = loss(learned, others, rate, depth, part, features)


def main(sampler: str = "random", executor: str = "processes") -> None:
    """Search, or go on with the search that was killed."""
    search = ex.search(
        tuned,
        n_trials=40,
        sampler=sampler,
        pruner=MedianPruner(startup_trials=5, warmup_epochs=1),
        deterministic=True,
        resume=True,
        executor=executor,
        max_workers=4,
        progress=False,
    )
    print(search)
    counts = search.history()["State"].value_counts()
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    best = search.best
    print(f"Best: trial {best.number}, loss {best.result:.4f}, {best.parameters}")


if __name__ == "__main__":
    main(*sys.argv[1:])
