"""Trials of a classifier on real data, and a step that is caught cheating.

Each trial trains a logistic regression on scikit-learn's breast-cancer data set with another
penalty and another number of columns.  You will see

- the result of each trial, the log loss on rows that the model has not seen: small is good;
- two warnings: one trial uses another scoring step, which draws rows with an unseeded generator.
  The first shows how the code changed, the second says that the step gave another loss than
  before for the same model, and names the causes;
- the history of all trials with every column;
- the best trial, what each of its steps did, and its accuracy fold by fold.

Nothing here logs a parameter, a result or a seed: calling decorated functions and computing
the graph records them.  The history is kept in the folder ``daskperiment_cache`` and grows with
each run; ``DASKPERIMENT_BACKEND=FOLDER python examples/breast_cancer.py`` keeps it elsewhere.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from daskperiment import DaskperimentWarning, Experiment

ex = Experiment("breast_cancer", seed=0)

c = ex.parameter("C", default=1.0, type=float, help="Strength of the model: small is smooth.")
columns = ex.parameter("columns", default=30, type=int, help="How many columns to keep.")


@ex(nout=2)
def load() -> Any:
    return load_breast_cancer(return_X_y=True)


@ex(nout=4)
def split(x: Any, y: Any) -> Any:
    # Draws from numpy.random, which follows the seed of the trial.
    return train_test_split(x, y, test_size=0.3, stratify=y)


@ex.persist
def fit(x: Any, y: Any, c: float, columns: int) -> Pipeline:
    for fold, (train, test) in enumerate(StratifiedKFold(5).split(x, y)):
        model = classifier(c, columns).fit(x[train], y[train])
        ex.log_metric("accuracy", model.score(x[test], y[test]), epoch=fold)
    return classifier(c, columns).fit(x, y)


def classifier(c: float, columns: int) -> Pipeline:
    return make_pipeline(StandardScaler(), SelectKBest(k=columns), LogisticRegression(C=c))


@ex.result
def score(model: Pipeline, x: Any, y: Any) -> float:
    return float(log_loss(y, model.predict_proba(x)))


def score_carelessly() -> Any:
    @ex.result(name="score")
    def score(model: Pipeline, x: Any, y: Any) -> float:
        rows = np.random.default_rng().choice(len(y), size=100)
        return float(log_loss(y[rows], model.predict_proba(x[rows])))

    return score


def main() -> None:
    # The warnings below are shown once, by themselves, and not in the log as well.
    logging.getLogger("daskperiment").setLevel(logging.ERROR)

    x, y = load()
    x_train, x_test, y_train, y_test = split(x, y)
    model = fit(x_train, y_train, c, columns)

    loss = score(model, x_test, y_test)
    for values in (
        {"C": 0.01},
        {"C": 0.1},
        {"C": 1.0},
        {"C": 100.0},
        {"C": 0.1, "columns": 10},
        {"C": 1.0, "columns": 10},
    ):
        value = loss.compute(parameters=values)
        print(f"trial {ex.trial_id}: {values} -> log loss {value:.4f}")

    print("\nThe last trial again, scored on rows that an unseeded generator draws:")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DaskperimentWarning)
        careless = score_carelessly()(model, x_test, y_test)
        careless.compute(parameters={"C": 1.0, "columns": 10})
    for warning in caught:
        print(f"{warning.category.__name__}: {warning.message}")
    ex.latest.note = "careless score"

    print("\nHistory:")
    shown = ["C", "columns", "Result", "Success", "Finished", "Process Time", "Description", "Note"]
    print(ex.get_history(columns=shown).to_string())

    # The careless trial computed something else under the same name: leave it out.
    fair = ex.get_history(where="Note != 'careless score'", order_by="Result", limit=1)
    best = ex[fair.index[0]]
    print(f"\nBest: {best!r}, parameters {best.parameters}, log loss {best.result:.4f}")
    print(best.steps[["step", "outcome", "seconds", "seed", "drew", "upstream"]].to_string())
    print("\nIts accuracy, fold by fold:")
    print(ex.load_metric("accuracy", best.number).T.to_string())
    print("\nIts model, kept by the step 'fit':", best.persisted("fit")[-1])


if __name__ == "__main__":
    main()
