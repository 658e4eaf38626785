"""Name wines by their neighbours.

Needs scikit-learn.  ``doc/story.rst`` tells what can be asked after an edit of ``scaling.py``.
"""

import scaling
from sklearn.datasets import load_wine
from sklearn.neighbors import KNeighborsClassifier

from daskperiment import Experiment

ex = Experiment("classify", backend="history", seed=7)


@ex
def load():
    """Thirteen measurements of 178 wines, and who has made them."""
    return load_wine(return_X_y=True)


@ex
def shuffle(wines):
    """The wines in another order."""
    table, makers = wines
    order = ex.rng().permutation(len(makers))
    return table[order], makers[order]


@ex
def prepare(wines):
    """The same on one scale."""
    table, makers = wines
    return scaling.scaled(table), makers


@ex.result
def score(wines, neighbours):
    """How many of the last third are named right."""
    table, makers = wines
    model = KNeighborsClassifier(neighbours).fit(table[:120], makers[:120])
    right = float(model.score(table[120:], makers[120:]))
    ex.log_metric("accuracy", right)
    return right


if __name__ == "__main__":
    print(ex.main(score(prepare(shuffle(load())), ex.parameter("neighbours", default=5))))
