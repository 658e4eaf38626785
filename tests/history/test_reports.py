"""What the trials of a search have reported, read as it comes."""

from __future__ import annotations

from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.backends import Backend
from daskperiment.history.reports import SEARCH, Reported, Reports
from daskperiment.history.trials import Trials
from daskperiment.search.pruners import Threshold


def searched(backend: Backend, *values: Any) -> tuple[Experiment, Trials, str]:
    """A search whose trials have reported their value, and failed for 0."""
    ex = Experiment("example", backend=backend, seed=1)

    @ex.result
    def train(a: float) -> float:
        for epoch in range(2):
            ex.report(a * epoch, epoch)
        ex.log_metric("other", 7)
        ex.report(-a, 1)
        return 1 / a

    s = train(ex.parameter("a"))
    jobs = [{"a": value} for value in values]
    ex.map(s, jobs, max_workers=1, on_error="continue", pruner=Threshold(upper=1e9))
    trials = Trials(ex.backend, ex.id)
    return ex, trials, trials.get(1)[SEARCH]


def told(found: Any) -> list[tuple[dict[int, float], bool]]:
    return [(each.reports, each.complete) for each in found]


def test_the_last_value_of_each_epoch_counts(every_backend: Backend) -> None:
    _, trials, search = searched(every_backend, 2.0, 3.0)

    found = Reports(trials, search, running=False).others("", now=True)

    assert told(found) == [({0: 0.0, 1: -2.0}, True), ({0: 0.0, 1: -3.0}, True)]


def test_its_own_are_left_out(backend: Backend) -> None:
    _, trials, search = searched(backend, 2.0, 3.0)

    (found,) = Reports(trials, search, running=False).others(trials.get(1)["uid"], now=True)

    assert found == Reported(trials.get(2)["uid"], {0: 0.0, 1: -3.0}, True)


def test_of_trials_that_are_not_complete_only_who_asks_for_them_hears(backend: Backend) -> None:
    _, trials, search = searched(backend, 0.0, 3.0)

    assert len(Reports(trials, search, running=False).others("", now=True)) == 1
    assert told(Reports(trials, search, running=True).others("", now=True))[0] == (
        {0: 0.0, 1: -0.0}, False,
    )  # fmt: skip


@pytest.mark.parametrize("running", [False, True])
def test_later_looks_find_what_is_new(backend: Backend, running: bool) -> None:
    ex, trials, search = searched(backend, 2.0)
    reports = Reports(trials, search, running)
    row = {**trials.get(1), "uid": "0f" * 16, "state": "RUNNING"}
    before = len(reports.others("", now=True))

    number = trials.begin(row)
    log = f"experiment/example/metrics/{row['uid']}"
    ex.backend.append(log, [{"report": [[None], [5.0], [0.0]]}])
    begun = told(reports.others("", now=True))
    ex.backend.append(log, [{"report": [[None, 7], [6.0, 7.0], [0.0, 0.0]]}])
    trials.end(number, row["uid"], {"state": "COMPLETE"})
    ended = told(reports.others("", now=True))

    assert before == 1
    assert begun[1:] == ([({0: 5.0}, False)] if running else [])
    assert ended[1:] == [({0: 5.0, 1: 6.0, 7: 7.0}, True)]


@pytest.mark.parametrize("running", [False, True])
def test_an_attempt_has_the_reports_of_those_before_that_it_has_not_made_again(
    backend: Backend, running: bool
) -> None:
    ex, trials, search = searched(backend, 2.0)
    reports = Reports(trials, search, running)
    row, before = trials.get(1), None
    for name, epochs in [("0a", [1, 2]), ("0b", []), ("0c", [2, 3])]:
        uid, value = name * 16, float(int(name, 16))
        number = trials.begin({**row, "uid": uid, "state": "RUNNING", "retry_of": before})
        points = [epochs, [value] * len(epochs), [0.0] * len(epochs)]
        ex.backend.append(f"experiment/example/metrics/{uid}", [{"report": points}])
        trials.end(number, uid, {"state": "COMPLETE" if name == "0c" else "FAILED"})
        before = uid
        found = told(reports.others(row["uid"], now=True))

    assert found == [({1: 10.0, 2: 12.0, 3: 12.0}, True)]


def test_what_is_not_due_is_not_looked_for(backend: Backend) -> None:
    _, trials, search = searched(backend, 2.0)
    reports = Reports(trials, search, running=False)
    reports._due = float("inf")

    assert reports.others("", now=False) == []
    assert len(reports.others("", now=True)) == 1


def test_a_trial_that_begins_during_a_look_is_found_once(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, trials, search = searched(backend, 2.0, 3.0)
    reports = Reports(trials, search, running=True)

    with monkeypatch.context() as patch:
        patch.setattr(trials, "last", lambda: 1)
        reports.others("", now=True)

    assert len(reports.others("", now=True)) == 2


def test_a_removed_trial_is_passed_over(backend: Backend) -> None:
    ex, trials, search = searched(backend, 2.0, 3.0)
    ex[1].remove()

    assert told(Reports(trials, search, running=True).others("", now=True)) == [
        ({0: 0.0, 1: -3.0}, True)
    ]
