"""Models of three kinds of wine, for experiments.toml: how well they tell them apart.

Run the searches of the file:  daskperiment run examples/experiments.toml
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from daskperiment import current


def tree(depth: int, leaf: int) -> dict[str, float]:
    """A decision tree; its accuracy, and how much it depends on the part that is left out."""
    return accuracy(DecisionTreeClassifier(max_depth=depth, min_samples_leaf=leaf, random_state=0))


def svm(C: float, gamma: float) -> dict[str, float]:  # noqa: N803 - as scikit-learn calls it
    """A support vector machine."""
    return accuracy(make_pipeline(StandardScaler(), SVC(C=C, gamma=gamma)))


def accuracy(model: object) -> dict[str, float]:
    scores = cross_val_score(model, *load_wine(return_X_y=True), cv=5)
    current().save_artifact("folds.json", scores.tolist())
    return {"accuracy": float(np.mean(scores)), "spread": float(np.std(scores))}
