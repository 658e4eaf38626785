"""A search is the same on any number of workers, and whether it was killed or not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from daskperiment import Experiment, TrialPruned
from daskperiment.backends import open_backend
from daskperiment.callbacks import Callback
from daskperiment.errors import SamplerError
from daskperiment.search import Float, Search
from daskperiment.search.pruners import MedianPruner, Pruner, SuccessiveHalving
from daskperiment.search.samplers import sampler_of

TUNING = Path(__file__).parents[2] / "examples" / "tuning.py"


def table(search: Search) -> pd.DataFrame:
    """What must be equal: configurations, seeds, how trials ended, and what they have reported."""
    found = search.history()
    columns = [*search.space.names, "State", *search.metrics, "Seed"]
    reports = [[point[:2] for point in t.metrics.get("report", [])] for t in search.trials]
    return found[columns].assign(Reports=reports)


# -- gradient boosting with pruning, killed ---------------------------------------------------


def tuning(folder: Path, sampler: str, executor: str) -> subprocess.Popen[str]:
    """The example, in a folder and a process group of its own."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(TUNING), sampler, executor], cwd=folder, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> str:
    told, problems = process.communicate(timeout=200)
    assert process.returncode == 0, problems
    return told


def kill_after(process: subprocess.Popen[str], folder: Path, count: int) -> int:
    """Kill the group once so many trials have ended; how many there were."""
    ex, deadline, found = Experiment("boosting", backend=folder / "daskperiment_cache"), 100.0, 0
    deadline += time.monotonic()
    while found < count:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
        found = sum(trial.state.ended for trial in ex.trials)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return found


def sampler_that_learns() -> str:
    """Optuna's, where it is there: what it suggests depends on all that it was told."""
    try:
        sampler_of("tpe")
    except SamplerError:
        return "random"
    return "tpe"


@pytest.mark.timeout(300)  # five processes import scikit-learn, three times
def test_tuning_that_is_killed_and_resumed_gives_the_table_of_one_that_is_not() -> None:
    pytest.importorskip("sklearn")
    sampler = sampler_that_learns()
    seed = random.SystemRandom().randrange(10**6)
    count = random.Random(seed).randint(10, 30)
    print(f"seed {seed}: killed after {count} trials")
    plain, killed = Path("plain"), Path("killed")
    reference = tuning(plain, sampler, "threads")

    there = kill_after(tuning(killed, sampler, "processes"), killed, count)
    ended(reference)
    told = ended(tuning(killed, sampler, "threads"))

    assert there < 40, "it was killed too late"
    expected, found = (
        Experiment("boosting", backend=folder / "daskperiment_cache").get_search()
        for folder in (plain, killed)
    )
    pd.testing.assert_frame_equal(table(found), table(expected))
    states = table(found)["State"].value_counts().to_dict()
    assert set(states) == {"COMPLETE", "PRUNED"} and sum(states.values()) == 40
    assert f"{states['PRUNED']} PRUNED" in told
    assert found.replay() == []


# -- one worker, and eight --------------------------------------------------------------------


def synthetic(workers: int, backend: Any = "memory://", **options: Any) -> Search:
    """A search whose trials take their time in another order each time."""
    ex = Experiment("example", backend=backend, seed=4)

    @ex.result
    def descend(rate: float, noise: float) -> float:
        if noise < 0.15:
            raise ValueError("there is always some noise")
        value = 1.0
        for epoch in range(6):
            value = value * (0.5 + abs(rate - 0.6)) + noise / (10 + epoch)
            time.sleep(time.perf_counter_ns() % 97 / 40_000)
            ex.report(value, epoch)
            if ex.should_prune():
                raise TrialPruned
        return value

    result = descend(ex.parameter("rate"), ex.parameter("noise"))
    space = {"rate": Float(0, 1), "noise": Float(0, 1)}
    given: dict[str, Any] = {
        "n_trials": 30, "sampler": "random", "deterministic": True, "max_workers": workers,
        "executor": "threads", "progress": False, **options,
    }  # fmt: skip
    return ex.search(result, space, **given)


class Learning:
    """Goes on from the best trial that it knows of: any other knowledge gives another table."""

    def sample(self, space: Any, trials: Any, rng: Any) -> dict[str, float]:
        known = [each for each in trials if each.loss is not None]
        drawn = space.sample(rng)
        if len(known) < 3:
            return dict(drawn)
        best = min(known, key=lambda each: each.loss).parameters
        weight = len(trials.ended) / 100  # the trials that have ended count, also without a loss
        return {name: (1 - weight) * best[name] + weight * drawn[name] for name in drawn}


QUEUE = [{"rate": 0.35, "noise": 0.1}, {"rate": 0.6, "noise": 0.5}]
USES: dict[str, dict[str, Any]] = {
    "median": {"pruner": MedianPruner(startup_trials=3)},
    "halving": {"pruner": SuccessiveHalving(reduction=2)},
    "queue": {"enqueue": QUEUE, "pruner": MedianPruner(startup_trials=3)},
    "batches": {"batch_size": 5, "pruner": MedianPruner(startup_trials=3)},
    "learning": {"sampler": Learning(), "pruner": MedianPruner(startup_trials=3)},
    "learning queue batches": {"sampler": Learning(), "enqueue": QUEUE, "batch_size": 4},
    "window of 3": {"sampler": Learning(), "deterministic": 3},
    "patience": {"sampler": Learning(), "patience": 9},
}


@pytest.mark.parametrize("use", USES)
def test_eight_workers_give_the_table_of_one(use: str) -> None:
    one, eight = (synthetic(workers, **USES[use]) for workers in (1, 8))

    expected = table(one)
    pd.testing.assert_frame_equal(table(eight), expected)
    assert "FAILED" in set(expected["State"])
    pruner: Pruner | None = USES[use].get("pruner")
    assert ("PRUNED" in set(expected["State"])) == (pruner is not None)


class Interrupt(Callback):
    """Interrupts a search after some trials, as Ctrl-C does."""

    def __init__(self, count: int) -> None:
        self._left = count

    def after_trial(self, **_: Any) -> None:
        self._left -= 1
        if self._left == 0:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("use", ["queue", "batches", "learning", "learning queue batches"])
def test_a_search_that_is_interrupted_twice_gives_the_table_of_one_that_is_not(use: str) -> None:
    expected, backend = table(synthetic(1, **USES[use])), open_backend("memory://")

    for count in (7, 9):
        with pytest.raises(KeyboardInterrupt):
            synthetic(4, backend, resume=True, callbacks=[Interrupt(count)], **USES[use])
    found = synthetic(8, backend, resume=True, **USES[use])

    pd.testing.assert_frame_equal(table(found), expected)
    assert len(Experiment("example", backend=backend).searches) == 1
