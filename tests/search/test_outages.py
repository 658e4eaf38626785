"""A search goes on while its server is away, and one that cannot begin says so at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment, TrialPruned
from daskperiment.backends import server
from daskperiment.errors import BackendUnreachableError
from daskperiment.history import paths, spooling
from daskperiment.search import Float, Search
from daskperiment.search.pruners import Threshold
from tests.proxy import Proxy
from tests.servers import RedisServer, redis_server

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*cannot be reached:daskperiment.DaskperimentWarning"),
    pytest.mark.filterwarnings("ignore::daskperiment.errors.CodeChangedWarning"),
]


@pytest.fixture(autouse=True)
def _own_spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(server, "PATIENCE", 0.1)
    monkeypatch.setattr(spooling, "HURRY", 0.05)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as running:
        yield running


class Told:
    """A sampler that draws, and keeps what it is told of trials that have ended."""

    def __init__(self) -> None:
        self.ended: dict[int, tuple[str, float | None]] = {}

    def sample(self, space: Any, trials: Any, rng: Any) -> Any:
        self.ended = {each.place: (each.state.value, each.loss) for each in trials.ended}
        return space.sample(rng)


def search(ex: Experiment, meanwhile: Any, sampler: Any = "random", **options: Any) -> Search:
    """Ten trials, one after the other; something happens in each."""

    @ex.result
    def double(x: float) -> Any:
        return meanwhile(x)

    given = {"n_trials": 10, "seed": 3, "executor": "threads", "max_workers": 1, **options}
    return ex.search(
        double(ex.parameter("x")), {"x": Float(0, 1)}, sampler=sampler, progress=False, **given
    )


def go_away(running: RedisServer) -> None:
    running.kill(signal.SIGTERM)  # one that has just begun and is killed may lose its store


def until_back(ex: Experiment) -> None:
    assert ex.backend.sync(60), "the spool is not brought to the server"  # type: ignore[attr-defined]


def test_a_search_cannot_begin_while_its_server_is_away_and_leaves_nothing(
    running: RedisServer,
) -> None:
    ex = Experiment("away", backend=running.uri)
    go_away(running)

    with pytest.raises(BackendUnreachableError, match="start the server"):
        search(ex, lambda x: x, name="rates")

    running.start()
    until_back(ex)
    assert ex.searches == []
    assert len(search(ex, lambda x: x, name="rates").trials) == 10


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_search_goes_on_while_its_server_is_away(
    running: RedisServer, deterministic: bool
) -> None:
    sampler, count = Told(), iter(range(100))

    def meanwhile(x: float) -> float:
        now = next(count)
        if now == 3:
            go_away(running)
        elif now == 8:
            running.start()
            until_back(ex)
        return 2 * x

    ex = Experiment("in_the_middle", backend=running.uri)
    found = search(ex, meanwhile, sampler, deterministic=2 if deterministic else False)

    until_back(ex)
    assert [trial.number for trial in found.trials] == list(range(1, 11))
    table = found.history()
    assert table["result"].tolist() == [2 * x for x in table["x"]]
    known = range(8) if deterministic else range(9)
    assert sampler.ended == {place: ("COMPLETE", table["result"][place]) for place in known}


def test_what_cannot_be_read_while_the_server_is_away_is_told_as_far_as_it_is_known(
    running: RedisServer,
) -> None:
    sampler, count = Told(), iter(range(100))

    def meanwhile(x: float) -> dict[str, float]:
        now = next(count)
        if now == 3:
            go_away(running)
        elif now == 7:
            running.start()
            until_back(ex)
        if now in (2, 5):
            ex.report(9.0, 1)
            if ex.should_prune():
                raise TrialPruned
        return {"loss": 2 * x}

    ex = Experiment("metrics", backend=running.uri)
    found = search(ex, meanwhile, sampler, metrics={"loss": "minimize"}, pruner=Threshold(upper=5))

    until_back(ex)
    states = [str(trial.state) for trial in found.trials]
    assert states == ["PRUNED" if place in (2, 5) else "COMPLETE" for place in range(10)]
    assert [sampler.ended[place][0] for place in range(9)] == states[:9]
    values = found.history()["loss"]
    assert [sampler.ended[place][1] for place in (0, 1, 8)] == [values[0], values[1], values[8]]
    assert sampler.ended[4][1] is None
    assert values.notna().sum() == 8


def test_a_cut_connection_loses_no_trial(running: RedisServer) -> None:
    with closing(Proxy(running.port, 5)) as proxy:
        ex = Experiment("cut", backend=f"redis://127.0.0.1:{proxy.port}/0")

        def meanwhile(x: float) -> float:
            proxy.strike()
            proxy.hole = proxy.trickle = False
            proxy.delay = min(proxy.delay, 0.01)
            return 2 * x

        found = search(ex, meanwhile)
        proxy.calm()
        until_back(ex)

        table = found.history()
        assert list(table.index) == list(range(10))
        assert set(table["State"]) == {"COMPLETE"}
        assert len(ex.trials) == 10


def test_a_search_that_an_outage_has_ended_goes_on_from_its_spool(running: RedisServer) -> None:
    expected = search(Experiment("example", backend="memory://"), lambda x: 2 * x).history()
    count = iter(range(100))

    def meanwhile(x: float) -> float:
        if next(count) == 3:
            go_away(running)
        return 2 * x

    ex = Experiment("spooled", backend=running.uri)
    search(ex, meanwhile, n_trials=6, name="rates")
    assert ex.unsynced > 0
    running.start()
    until_back(ex)
    assert ex.get_search("rates").state == "COMPLETE"

    found = search(ex, lambda x: 2 * x, name="rates", resume=True)

    columns = ["x", "result", "Seed"]
    assert found.history()[columns].equals(expected[columns])
    assert list(ex.backend.find(paths.claims("spooled")))
