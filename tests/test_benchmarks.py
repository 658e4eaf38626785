"""The bench gives no figures for trials whose records are not all there."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import batches, code, dashboard, explain, records, report, search, work
from benchmarks.functions import BRANIN, Point
from benchmarks.measure import Row, fresh
from daskperiment import Experiment
from daskperiment.backends import Backend, open_backend
from daskperiment.backends.base import Clear, Remove, Update
from daskperiment.backends.memory import MemoryBackend
from daskperiment.fingerprint.code import fingerprint
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


def test_a_fingerprint_is_measured_cold_and_warm_beside_parsing(tmp_path: Path) -> None:
    found = fresh(code.seconds, str(tmp_path), 2, 10, folder=str(tmp_path))

    assert found.keys() == {"ast.parse", "cold", "warm"}
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in found.values())


def test_a_fingerprint_that_lacks_functions_is_not_measured() -> None:
    with pytest.raises(records.RecordError, match="does not hold all functions"):
        code.check(fingerprint(code.text), 200)


def test_an_explanation_is_measured_beside_reading_the_records(tmp_path: Path) -> None:
    found = fresh(explain.seconds, str(tmp_path / "store"), 2, 50, folder=str(tmp_path))

    assert found.keys() == {"explain", "read"}
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in found.values())


def test_an_explanation_that_is_wrong_is_not_measured() -> None:
    ex = Experiment("explain", backend="memory://", seed=1)
    explain.record(ex, 50)

    with pytest.raises(records.RecordError, match="0 steps|steps were explained by"):
        explain.check(ex.explain(1, 1), 50)


@pytest.mark.parametrize("kind", batches.KINDS)
def test_trials_of_a_batch_are_measured_beside_the_bare_functions(
    kind: str, tmp_path: Path
) -> None:
    if kind == "cluster":
        pytest.importorskip("distributed")

    found = fresh(batches.rates, kind, str(tmp_path), 10, 4, 2, folder=str(tmp_path))

    assert {batches.OURS, batches.BARE, batches.GRAPH} <= found.keys()
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in found.values())
    first, *others = batches.rows_of(kind, found)
    assert first.aim == batches.KINDS[kind]
    assert [row.aim for row in others] == [None] * len(others)
    assert len(Experiment("bench", backend=tmp_path / "store").trials) == 20 + 1  # of the check


def test_a_batch_that_returns_other_trials_is_not_measured() -> None:
    ex, given = Experiment("bench", backend="store"), [{"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 2.0}]
    trials = ex.map(work.recorded(ex), given)
    batches.check_batch(trials, given)

    for wrong in (trials[::-1], trials[:1], [trials[0], trials[0]]):
        with pytest.raises(records.RecordError, match="not those of the batch"):
            batches.check_batch(wrong, given)


def test_trials_that_sleep_are_checked_like_others() -> None:
    assert batches.slept(".", 6, 2, 0.01) >= 0.03


def test_memory_is_looked_at_as_often_as_so_many_trials_have_ended() -> None:
    assert len(batches.grown("threads", ".", 6, 2)) == 3


def test_what_was_not_measured_says_why() -> None:
    row = Row("pages in a browser", "not measured: no browser", "", [], 200, "ms")

    assert "not measured: no browser" in report.text([row])
    assert "MISSED" not in report.rst([row], [])


def test_searches_are_compared_seed_by_seed() -> None:
    better = [search.Run(10.0**-seed, 0.1) for seed in range(1, 13)]
    worse = [search.Run(run.regret * 2, 0.2) for run in better]
    runs = {("gp", "branin"): better, ("skopt gp", "branin"): worse}

    head, line = search.tests(runs)
    found = dict(zip(head, line, strict=True))
    assert (found["seeds"], found["better in"]) == ("12", "12")
    assert (
        float(found["p that it is not better"])
        < 0.001
        < 0.999
        < float(found["p that it is not worse"])
    )
    assert search.quality(runs, peers=False)[1][1:4] == ("gp", "12", "5.5e-07")


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_search_of_the_benchmark_spends_its_evaluations(name: str) -> None:
    seen: list[Point] = []

    def branin(point: Point) -> float:
        seen.append(point)
        return BRANIN.of(point)

    function = replace(BRANIN, evaluations=4, of=branin)

    run = search.run(function, search.ours(name, function, 0))
    assert len(seen) == 4
    assert run.regret == min(map(BRANIN.regret, seen)) > 0


def test_another_tool_is_asked_for_the_same_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "interpreter", lambda peer: sys.executable)
    function = replace(BRANIN, evaluations=13)

    with search.theirs("optuna tpe") as begun:
        regrets = [search.run(function, begun(function, seed)).regret for seed in (0, 1)]
    ours = [search.run(function, search.ours("tpe", function, seed)).regret for seed in (0, 1)]
    assert regrets == ours
