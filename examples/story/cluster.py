"""Find groups of wines; another experiment in the same store, with the same helper."""

import scaling
from sklearn.cluster import KMeans
from sklearn.datasets import load_wine
from sklearn.metrics import adjusted_rand_score

from daskperiment import Experiment

ex = Experiment("cluster", backend="history", seed=7)


@ex
def load():
    """Thirteen measurements of 178 wines, and who has made them."""
    return load_wine(return_X_y=True)


@ex
def group(wines, groups):
    """Which group each wine is in."""
    table, _ = wines
    return KMeans(groups, n_init=10).fit_predict(scaling.scaled(table))


@ex.result
def agreement(wines, groups):
    """How well the groups agree with the makers."""
    return float(adjusted_rand_score(wines[1], groups))


if __name__ == "__main__":
    wines = load()
    print(ex.main(agreement(wines, group(wines, ex.parameter("groups", default=3)))))
