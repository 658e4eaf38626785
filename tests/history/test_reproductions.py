"""Reproductions: links between trials, whether the rows are in memory or not."""

from __future__ import annotations

from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.history.reproductions import Link, reproduced, reproductions, verdict_of
from daskperiment.history.trials import Trials


@pytest.fixture
def ex() -> Experiment:
    """Trial 1, and trials 2 and 3 that say that they have run it again."""
    ex = Experiment("linked", backend="memory://", seed=1)
    s = ex.result(lambda a: a, name="score")(ex.parameter("a", default=1))
    for _ in range(3):
        s.compute()
    trials = Trials(ex.backend, ex.id)
    trials.edit(2, {"reproduces": ex[1].uid, "verdict": "bitwise"})
    trials.edit(3, {"reproduces": ex[1].uid})  # recorded before verdicts were kept
    return ex


@pytest.mark.parametrize("at_hand", [False, True])
def test_links_lead_both_ways(ex: Experiment, at_hand: bool) -> None:
    trials = Trials(ex.backend, ex.id)
    if at_hand:
        with trials.mirror.columns():
            pass

    assert reproductions(trials, ex[1].uid) == [Link(2, "bitwise"), Link(3, None)]
    assert reproduced(trials, trials.get(2)) == Link(1, "bitwise")
    assert reproduced(trials, trials.get(1)) is None
    ex[2].remove()
    assert reproductions(trials, ex[1].uid) == [Link(3, None)]
    ex[1].remove()
    assert reproduced(trials, trials.get(3)) == Link(None, None)


@pytest.mark.parametrize("verdict", [None, 7, [], {"bitwise": 1}, "<b>", "error"])
def test_what_is_no_verdict_is_none(verdict: Any) -> None:
    assert verdict_of({"reproduces": "0f", "verdict": verdict}) is None
