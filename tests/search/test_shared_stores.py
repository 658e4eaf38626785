"""Searches in stores that others write to, damage, clean and look at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from daskperiment import Experiment
from daskperiment.backends import Append, Backend, Insert, Update
from daskperiment.backends.redis import RedisBackend
from daskperiment.cli.main import run
from daskperiment.errors import DaskperimentError, SearchError
from daskperiment.history import paths
from daskperiment.search import Float, Search

SEARCHES = paths.searches("example")


def search(backend: Any, **options: Any) -> tuple[Experiment, Search]:
    ex = Experiment("example", backend=backend, seed=1)

    @ex.result
    def double(x: float) -> float:
        return 2 * x

    given = {"n_trials": 3, "sampler": "random", "progress": False, "name": "rates", **options}
    return ex, ex.search(double(ex.parameter("x")), {"x": Float(0, 1)}, **given)


# -- what others have written -----------------------------------------------------------------

HOSTILE: dict[str, list[Any]] = {
    "uid": [None, 3, "", "../trials", "0" * 31 + "/", ["0" * 32]],
    "started": [None, "now", [], True, 1e300],
    "space": [None, 3, [], "x", {}, {"x": {"type": "no such"}}],
    "sampler": [None, 3, [], {}, {"name": 3}, {"name": "os:system"}, {"name": "random", "x": 1}],
    "metrics": [None, {}, [], [3], [["a"]], [[3, "minimize"]], [[None, "up"]], [[None, ["up"]]]],
    "main": [1, -1, "a", 0.5, True, [0]],
    "seed": [None, "1", -1, True, 0.5, {}],
    "n_trials": ["many", -3, [], 0.5],
    "batch_size": ["many", [], {}],
    "window": ["wide", [], {}],
    "warm": [3, {}, [3], [{}], [{"parameters": 3, "losses": []}],
             [{"parameters": {}, "losses": "1"}], [{"parameters": {}, "losses": ["x"]}]],
    "description": [3, [], {}],
    "stop": [3, "no", []],
}  # fmt: skip


def looked_at(ex: Experiment) -> None:
    """Everything that somebody may ask of a search."""
    found = ex.get_search("rates")
    for name in ("space", "metrics", "main_metric", "sampler", "seed", "state", "trials", "best"):
        getattr(found, name)
    found.pareto, found.history(), found.document(), repr(found), found._repr_html_()
    found.replay(), found.terms(), found.warm(), found.description
    found.plot("parallel"), found.plot()


@pytest.mark.parametrize("field", HOSTILE)
def test_a_hostile_document_is_a_typed_error(field: str) -> None:
    pytest.importorskip("matplotlib")
    ex, _ = search("memory://", deterministic=True)
    looked_at(ex)
    (sound,) = [document for _, document in ex.backend.find(SEARCHES)]

    for value in HOSTILE[field]:
        ex.backend.apply(Update(SEARCHES, "rates", {field: value}))
        with pytest.raises(DaskperimentError):
            looked_at(ex)
        assert isinstance(ex.searches, list)
    ex.backend.apply(Update(SEARCHES, "rates", {field: sound.get(field)}))
    looked_at(ex)


def test_the_error_names_the_search_and_the_field() -> None:
    ex, _ = search("memory://")
    ex.backend.apply(Update(SEARCHES, "rates", {"uid": "../trials"}))

    told = "Search 'rates' of 'example' is none: its field 'uid' is not as a search writes it"
    with pytest.raises(SearchError, match=told):
        ex.get_search("rates")


def test_what_is_no_search_hides_no_other_one() -> None:
    ex, found = search("memory://")
    for key, document in (("a", {}), ("b", {"started": "never"}), ("c", {"uid": found.uid})):
        ex.backend.apply(Insert(SEARCHES, document, key))

    assert [each.name for each in ex.searches] == ["rates"]
    assert ex.get_search().uid == found.uid
    assert search(ex.backend, name=None)[1].name not in ("a", "b", "c")


def test_hostile_news_of_edits_are_passed_over() -> None:
    ex, found = search("memory://")
    entries: list[Any] = [3, None, [], {}, ["no", 1], [[], 1], [7.5], [99, 1.0], [1, 1.0]]
    assert len(found.trials) == 3

    ex.backend.apply(Append(paths.changes("example"), entries))

    assert len(found.trials) == 3


def test_a_hostile_queue_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    ex, found = search("memory://")
    path = paths.queue("example", found.uid)
    hostile: list[Any] = [3, None, {}, {"parameters": 3}, {"parameters": {"x": "no"}}, []]
    ex.backend.apply(Append(path, [*hostile, {"parameters": {"x": 0.25}}]))

    _, resumed = search(ex.backend, n_trials=5, resume=True)

    assert resumed.trials[3].parameters == {"x": 0.25}
    assert len(resumed.trials) == 5
    assert "Position 4 of the queue is no configuration" in caplog.text


@pytest.fixture
def shared(redis_running: Any) -> RedisBackend:
    return RedisBackend(redis_running.uri, prefix=uuid4().hex)


@pytest.mark.parametrize("field", ["place", "queued", "state"])
def test_a_hostile_row_is_none_of_the_search(field: str, shared: Backend) -> None:
    ex, found = search(shared)
    for value in ("no", [], {}, -1, math.pi, True):
        ex.backend.apply(Update(paths.trials("example"), 2, {field: value}))
        assert len(ex.get_search("rates").trials) == 2

    _, resumed = search(ex.backend, n_trials=4, resume=True)

    assert found.uid == resumed.uid
    assert len(resumed.trials) == 4
    assert resumed.history()["result"].tolist() == [2 * x for x in resumed.history()["x"]]


@pytest.mark.parametrize("owner", [3, {}, [], "x", None, {"host": 3}, {"host": "a", "pid": "x"}])
def test_a_hostile_owner_is_none_of_a_process(owner: Any, shared: Backend) -> None:
    ex, _ = search(shared)
    hostile = {"state": "RUNNING", "owner": owner}
    ex.backend.apply(Update(paths.trials("example"), 2, hostile))

    found = ex.get_search("rates")

    assert {trial.number for trial in found.trials} >= {1, 3}
    assert found.best.number in (1, 3) and len(found.history()) in (2, 3)


# -- what becomes of its trials ---------------------------------------------------------------


def test_a_removed_trial_is_none_of_the_search_until_it_is_restored(backend: Backend) -> None:
    ex, held = search(backend)
    table, best = held.history(), held.best
    ex[best.number].remove()

    for found in (held, ex.get_search("rates")):
        assert {trial.number for trial in found.trials} == {1, 2, 3} - {best.number}
        assert found.best.number != best.number
    ex.restore(best.number)
    for found in (held, ex.get_search("rates")):
        assert found.history().equals(table)
        assert found.best == best


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_search_that_goes_on_runs_again_what_was_collected(
    backend: Backend, deterministic: bool
) -> None:
    ex, before = search(backend, deterministic=deterministic)
    values = before.history()["x"].tolist()
    ex[1].remove()
    ex.gc()

    _, found = search(backend, n_trials=4, deterministic=deterministic, resume=True)

    assert found.history()["x"].tolist()[:3] == values
    assert {trial.number for trial in found.trials} == {2, 3, 4, 5}


def test_a_store_with_searches_is_sound_and_can_be_salvaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    _, before = search(here, enqueue=[{"x": 0.5}])
    expected = before.history()

    assert run(["doctor", str(here)]) == 0, capsys.readouterr().out
    assert run(["salvage", str(here), str(there)]) == 0, capsys.readouterr().out
    found = Experiment("example", backend=there).get_search("rates")
    assert found.history().equals(expected)
    assert search(there, n_trials=4, resume=True)[1].history()["x"].tolist()[:3] == (
        expected["x"].tolist()
    )
    assert run(["doctor", str(there)]) == 0


def test_a_removed_experiment_takes_its_searches_along(backend: Backend) -> None:
    ex, found = search(backend, enqueue=[{"x": 0.5}])
    backend.drop(paths.experiment("example"))

    assert ex.searches == []
    assert list(backend.read(paths.queue("example", found.uid))) == []


# -- in a notebook ----------------------------------------------------------------------------


def test_a_notebook_shows_a_search_with_its_best_trials() -> None:
    _, found = search("memory://", n_trials=9, description="what for")

    html = found._repr_html_()

    best = found.best
    assert "Search rates of example" in html
    assert "9 complete, 0 pruned, 0 failed" in html
    assert "random" in html and "what for" in html and "result (minimize)" in html
    _, _, table = html.partition("Best trials")
    assert table.index(f">{best.number}</td>") < table.index(f"{best.parameters['x']}")
    assert table.count("<tr>") == 6


def test_a_notebook_shows_a_search_without_trials_or_with_many_metrics() -> None:
    assert "Best trials" not in search("memory://", timeout=1e-9)[1]._repr_html_()
    ex = Experiment("example", backend="memory://")

    @ex.result
    def both(x: float) -> dict[str, float]:
        return {"a": x, "b": 1 - x}

    metrics: Any = {"a": "minimize", "b": "minimize"}
    space = {"x": Float(0, 1)}
    found = ex.search(both(ex.parameter("x")), space, 3, sampler="random", metrics=metrics)
    assert "Trials that none is better than" in found._repr_html_()


def test_html_in_names_and_values_is_shown_and_not_obeyed() -> None:
    hostile = "<script>alert('\"&')</script>"
    ex = Experiment("example", backend="memory://")

    @ex.result
    def score(x: str) -> dict[str, float]:
        return {hostile: 1.0}

    found = ex.search(
        score(ex.parameter(hostile)), {hostile: [hostile]}, sampler="grid", name=hostile,
        metrics={hostile: "minimize"}, description=hostile,
    )  # fmt: skip

    html = found._repr_html_()

    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 6
