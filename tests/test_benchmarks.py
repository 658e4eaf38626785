"""The bench gives no figures for trials whose records are not all there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import dashboard, records, report, work
from benchmarks.measure import Row
from daskperiment import Experiment
from daskperiment.backends import Backend, open_backend
from daskperiment.backends.base import Clear, Remove, Update
from daskperiment.backends.memory import MemoryBackend
from daskperiment.history import paths

ROOT = Path(__file__).resolve().parents[1]
TRIALS = 4


@pytest.fixture
def backend() -> Backend:
    """A store as a measurement leaves it."""
    backend = open_backend("store")
    s = work.recorded(Experiment("bench", backend=backend))
    for _ in range(TRIALS):
        s.compute(scheduler="synchronous")
    return backend


def check() -> None:
    records.check("store", "bench", TRIALS)


@pytest.mark.usefixtures("backend")
def test_a_store_in_which_everything_is_recorded_passes() -> None:
    check()


def test_a_missing_trial_is_found(backend: Backend) -> None:
    backend.apply(Remove(paths.trials("bench"), 2))

    with pytest.raises(records.RecordError, match="3 trials of 4"):
        check()


@pytest.mark.parametrize("number", [1, 3])
def test_missing_step_records_of_one_trial_are_found(backend: Backend, number: int) -> None:
    uid = Experiment("bench", backend=backend)[number].uid
    backend.apply(Clear(paths.steps("bench", uid)))

    with pytest.raises(records.RecordError, match=f"steps of trial {number}"):
        check()


def test_a_trial_that_never_ended_is_found(backend: Backend) -> None:
    backend.apply(Update(paths.trials("bench"), 3, {"state": "FAILED"}))

    with pytest.raises(records.RecordError, match="trial 3 is FAILED"):
        check()


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("variable", ["DASKPERIMENT_DISABLE_CODE", "DASKPERIMENT_DISABLE_GIT"])
def test_an_option_that_spares_recording_is_refused(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")

    with pytest.raises(records.RecordError, match="is False by"):
        check()


def test_nothing_is_measured_while_an_option_is_set() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "metrics", "--no-peers"],
        cwd=ROOT,
        env=os.environ | {"DASKPERIMENT_MODE": "disabled"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "the option mode is disabled by DASKPERIMENT_MODE" in done.stderr
    assert "median" not in done.stdout


def test_each_page_of_the_dashboard_is_measured_on_a_history_of_copies() -> None:
    backend = MemoryBackend()
    dashboard.fill(backend, 300, group=70)

    found = dashboard.answers(backend, 300)

    assert found.keys() == dashboard.pages(300).keys()
    for answer in found.values():
        assert len(answer["warm"]) >= 3
        assert 0 < answer["packed"] <= answer["size"]


def test_pages_that_lack_trials_are_not_measured() -> None:
    backend = MemoryBackend()
    dashboard.fill(backend, 300)
    uid = Experiment(dashboard.NAME, backend=backend)[300].uid
    backend.apply(Clear(paths.metrics(dashboard.NAME, uid)))

    with pytest.raises(records.RecordError, match="metrics of a row"):
        dashboard.answers(backend, 300)


def test_what_was_not_measured_says_why() -> None:
    row = Row("pages in a browser", "not measured: no browser", "", [], 200, "ms")

    assert "not measured: no browser" in report.text([row])
    assert "MISSED" not in report.rst([row], [])
