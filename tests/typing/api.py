"""Never run: type-checks the public surface, so that a regression of its types is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pandas as pd

import daskperiment
from daskperiment import Block, Experiment, Milestone, Trial, TrialState
from daskperiment.callbacks import (
    BatchView,
    Callback,
    Email,
    Progress,
    StopAtScore,
    StopWithoutImprovement,
    Webhook,
)
from daskperiment.search import Branch, Distribution, Float, Int, SearchSpace, read_csv
from daskperiment.search.pruners import MedianPruner, Patience

ex = Experiment("api", backend=Path("store"), seed=1, trust="signed")
Experiment("api", trust="some")  # type: ignore[arg-type]
Experiment("api", audit="strict", reuse=True)
Experiment("api", audit="loud")  # type: ignore[arg-type]
a = ex.parameter("a", default=1, type=int, choices=[1, 2], help="a number")


@ex
def prepare(a: int, b: int) -> int:
    return a + b


@ex.persist(name="kept", nout=2, audit="off")
def split(data: int) -> tuple[int, int]:
    return data, data


@ex.result
def score(data: int, *, scale: float = 1.0) -> float:
    return data * scale


@ex.parameter
def rate() -> float:
    return 0.1


assert_type(prepare.fn(1, 2), int)
assert_type(score.fn(1, scale=2.0), float)
prepare(1)  # type: ignore[call-arg]
score("text")  # type: ignore[arg-type]
left, right = split(prepare(a, rate))
assert_type(score(left).compute(seed=1, parameters={"a": 2}, scheduler="threads"), Any)

assert_type(ex[1], Trial)
assert_type(ex.latest.state, TrialState)
assert_type(ex.best("maximize", metric="accuracy").parameters, dict[str, Any])
assert_type([trial.number for trial in ex.trials], list[int])
assert_type(ex.latest.inputs, pd.DataFrame)
assert_type(ex.get_history(where="a > 1", order_by=["-Result", "a"], limit=3), pd.DataFrame)
assert_type(ex.rng(), np.random.Generator)
assert_type(ex.artifact_path("plot.png"), Path)
ex.add_callback(lambda event, **arguments: None)
ex.remove_callback(Progress("maximize", metric="accuracy"))
Experiment("api", callbacks=[StopWithoutImprovement(3, direction="minimize"), Callback()])
assert_type(Webhook("https://host/path", shape="slack").wait(1), bool)
StopAtScore(0.5, "up")  # type: ignore[arg-type]
Webhook("https://host/path", shape="xml")  # type: ignore[arg-type]
Email("host", "a@b", "c@d", tls="ssl")  # type: ignore[arg-type]


class Own(Callback):
    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        if batch is not None:
            batch.stop(f"{trial.number} of {batch.total}")


def plain(rate: float, seed: int = 1) -> float:
    return rate * seed


assert_type(ex.run(plain, rate=0.1), Trial)
assert_type(ex.run(plain, {"rate": 0.1, "seed": 2}, seed=3), Trial)
assert_type(ex.map(plain, [{"rate": 0.1}]), list[Trial])
ex.map(plain, [{"rate": 0.1}], pruner=Patience(3, pruner=MedianPruner()), direction="maximize")
ex.map(plain, [{"rate": 0.1}], pruner=MedianPruner, direction="up")  # type: ignore[arg-type]
ex.report(0.5, "1")  # type: ignore[arg-type]
assert_type(ex.should_prune() or daskperiment.current().should_prune(), bool)
ex.run(plain, 0.1)  # type: ignore[call-overload]
ex.run(plain, rate=0.1, seed="x")  # type: ignore[call-overload]
with ex.trial(a=1, seed=2) as t:
    assert_type(t, Block)
    t.log_metric("m", 1)
    t.result = 3
assert_type(ex[1].part_of, Trial | None)
Milestone({"steps": 100}, 0.5, done=True, progress=(100, 300))
ex.best("upwards")  # type: ignore[arg-type]
assert_type(ex.fingerprint("prepare").digest, str)
assert_type(ex.fingerprint(prepare).unfollowed, tuple[str, ...])

space = SearchSpace({"rate": Float(0, 1, log=False), "model": Branch({"svm": {"C": Int(1, 3)}})})
assert_type(space.get("rate"), Distribution)
assert_type(space.get("rate", Float).step, float | None)
assert_type(space.sample(np.random.default_rng(0)), dict[str, Any])
assert_type(ex.map(plain, space.grid(repeats=2)), list[Trial])
assert_type(space.size, int | float)
assert_type(read_csv("table.csv"), list[dict[str, Any]])
SearchSpace.read(Path("space.toml"), seed="x")  # type: ignore[arg-type]
Float("0", 1)  # type: ignore[arg-type]
