"""The runnable example of EXP: a module with ``run(x=1, **kwargs)`` over a range of x."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from daskperiment import Experiment

MODULE = """
def run(x=1, **kwargs):
    return x ** 2
"""
ONLY_KEYWORDS = """
def run(**kwargs):
    x = kwargs.get("x", 1)
    return x ** 2
"""
WITH_PLACES = """
def run(id, run, x=1, **kwargs):
    if x == 3 and run == 2:
        raise ValueError("x is 3 again")
    return {"id": id, "run": run, "value": x ** 2}
"""
RANGE = [{"x": x} for x in range(-10, 10)]


@pytest.fixture
def runnable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[ModuleType]:
    """The module of the user, as a file beside."""
    (tmp_path / "runnable.py").write_text(getattr(request, "param", MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("runnable")
    del sys.modules["runnable"]


@pytest.fixture
def ex(tmp_path: Path) -> Experiment:
    return Experiment("exp", backend=tmp_path / "store")


@pytest.mark.parametrize("runnable", [MODULE, ONLY_KEYWORDS], indirect=True)
@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_the_range_is_run_and_the_smallest_is_found(
    ex: Experiment, runnable: Any, workers: str
) -> None:
    trials = ex.map(runnable.run, RANGE, workers, max_workers=2)

    assert [t.result for t in trials] == [x**2 for x in range(-10, 10)]
    assert ex.best("minimize").parameters == {"x": 0}
    assert list(trials[0].steps["step"]) == ["run"]


def test_its_default_counts_where_nothing_is_given(ex: Experiment, runnable: Any) -> None:
    assert ex.run(runnable.run).result == 1
    assert ex.map(runnable.run, [{"x": 1}], skip_completed=True) == [ex.latest]


@pytest.mark.parametrize("runnable", [WITH_PLACES], indirect=True)
def test_each_configuration_runs_twice_and_knows_which_it_is(ex: Experiment, runnable: Any) -> None:
    grid = [{"x": x, "flag": flag} for flag in (True, False) for x in range(4)]

    trials = ex.map(runnable.run, grid, repeats=2, on_error="continue")

    places = [(n, run) for n in range(len(grid)) for run in (1, 2)]
    assert [t.result for t in trials] == [
        None
        if grid[n]["x"] == 3 and run == 2
        else {"id": n, "run": run, "value": grid[n]["x"] ** 2}
        for n, run in places
    ]
    assert [t.parameters for t in trials] == [grid[n] for n, _ in places]
    failed = [place for place, t in zip(places, trials, strict=True) if t.result is None]
    assert failed == [(3, 2), (7, 2)]


@pytest.mark.parametrize("runnable", [WITH_PLACES], indirect=True)
def test_a_second_run_runs_what_is_missing_only(ex: Experiment, runnable: Any) -> None:
    first = ex.map(runnable.run, RANGE[8:], repeats=2, on_error="continue")

    again = ex.map(runnable.run, RANGE[8:], repeats=2, on_error="continue", skip_completed=True)

    (failed,) = [t for t in first if str(t.state) == "FAILED"]
    (anew,) = [t for t in again if t not in first]
    assert anew.retry_of == failed
    assert ex.trial_id == len(first) + 1
