"""A workflow of which only what has changed runs again.

Needs scikit-learn.  Run it twice, then change something and run it again::

    python pipeline.py
    python pipeline.py trees=50

``daskperiment plan pipeline.py`` says before any work which steps will run, and why.
"""

import random
from pathlib import Path

import features
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from daskperiment import Experiment

ex = Experiment("workflow", seed=7, reuse=True)

trees = ex.parameter("trees", default=20)
part = ex.parameter("part", default=0.3)
columns = ex.parameter("columns", default=8)


@ex
def load(path):
    """The table in a file."""
    with Path(path).open() as file:
        return pd.read_csv(file)


@ex
def clean(table):
    """Without rows in which something is missing."""
    return table.dropna().reset_index(drop=True)


@ex
def featurise(table, columns):
    """The columns that matter most, on another scale."""
    target = table["target"]
    found = features.scaled(table.drop(columns="target"))
    names = features.Ranker(columns).chosen(found, target)
    return features.WEIGH(found[names]).assign(target=target)


@ex
def split(table, part):
    """Rows to learn from, and others to be asked."""
    learned, asked = train_test_split(table, test_size=part, random_state=random.randrange(1000))
    return {"learned": learned, "asked": asked}


@ex
def train(rows, trees):
    """Grow a forest."""
    # With other numbers of threads the last bits could differ.
    with threadpool_limits(1):
        forest = RandomForestClassifier(trees, random_state=0)
        return forest.fit(rows["learned"].drop(columns="target"), rows["learned"]["target"])


@ex
def describe(table):
    """What the table looks like."""
    return table.describe()


@ex.result
def score(forest, rows, table):
    """How many of the others it names right."""
    asked = rows["asked"]
    right = forest.score(asked.drop(columns="target"), asked["target"])
    return {"accuracy": right, "rows": int(table.loc["count"].iloc[0])}


def workflow():
    """The graph."""
    table = clean(load("wine.csv"))
    rows = split(featurise(table, columns), part)
    return score(train(rows, trees), rows, describe(table))


if __name__ == "__main__":
    if not Path("wine.csv").exists():
        load_wine(as_frame=True).frame.to_csv("wine.csv", index=False)
    print(ex.main(workflow()))
    print(ex.latest.steps[["step", "outcome", "seconds"]].to_string(index=False))
