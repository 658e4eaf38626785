"""What others have written into a shared store stops nobody from reading the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis

from daskperiment import Experiment
from daskperiment.backends import Update
from daskperiment.backends.redis import RedisBackend
from daskperiment.cli.main import run
from daskperiment.errors import DamagedRowError, DaskperimentError, DaskperimentWarning
from tests.servers import RedisServer

FIELDS = (
    "uid", "state", "seed", "started", "parameters", "owner", "finished", "seconds", "result",
    "tags", "note", "description", "ended_by", "code", "environment", "session", "removed",
)  # fmt: skip
JUNK: list[Any] = [
    7, "text", "x" * 2_000_000, [], {}, [[]], [["a", 1]], [["a", {"type": 1}]], {"host": 1}, True,
    {"type": "t", "preview": 5}, {"json": "{", "type": "t", "preview": "p"}, float("nan"), None,
]  # fmt: skip


@pytest.fixture
def ex(redis_running: RedisServer) -> Iterator[Experiment]:
    with RedisBackend(redis_running.uri, prefix=uuid4().hex) as backend:
        ex = Experiment("foreign", backend=backend)
        node = ex.result(lambda a: a, name="same")(ex.parameter("a"))
        for a in range(3):
            node.compute(parameters={"a": a})
        yield ex


def anew(ex: Experiment) -> Experiment:
    return Experiment("foreign", backend=ex.backend)


@pytest.mark.filterwarnings("ignore:Trial 2 of 'foreign':daskperiment.DaskperimentWarning")
@pytest.mark.parametrize("field", FIELDS)
def test_whatever_stands_in_a_field_the_other_trials_are_read(ex: Experiment, field: str) -> None:
    whole = ex.backend.get("experiment/foreign/trials", 2)
    assert whole is not None
    for junk in JUNK:
        ex.backend.apply(Update("experiment/foreign/trials", 2, {**whole, field: junk}))
        history = anew(ex).get_history(verbose=True)
        assert {1, 3} <= set(history.index)
        assert list(history.loc[[1, 3], "Result"]) == [0, 2]
        for look in (
            lambda: anew(ex)[2].result, lambda: repr(anew(ex)[2]), lambda: anew(ex)[2].tags,
            lambda: anew(ex)[2].duration, lambda: anew(ex).diff(1, 2), lambda: anew(ex)[2].code,
        ):  # fmt: skip
            try:
                look()
            except DaskperimentError:
                continue


def test_a_row_that_is_none_is_told_of_and_left_out(ex: Experiment) -> None:
    ex.backend.apply(Update("experiment/foreign/trials", 2, {"parameters": "what"}))

    with pytest.warns(DaskperimentWarning, match="Trial 2 of 'foreign' cannot be read.*parameters"):
        assert list(anew(ex).get_history().index) == [1, 3]
    with pytest.raises(DamagedRowError, match="field 'parameters' is not as a trial writes it"):
        _ = anew(ex)[2].result


def test_a_parameter_whose_name_is_no_text_is_told_of_and_left_out(ex: Experiment) -> None:
    row = ex.backend.get("experiment/foreign/trials", 2)
    assert row is not None
    parameters = [["\ud800", value] for _, value in row["parameters"]]
    ex.backend.update("experiment/foreign/trials", 2, {"parameters": parameters})

    with pytest.warns(DaskperimentWarning, match="Trial 2 of 'foreign' cannot be read.*parameters"):
        assert list(anew(ex).get_history().index) == [1, 3]


def test_bytes_that_are_no_row_are_told_of_and_left_out(
    ex: Experiment, redis_running: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = ex.backend.inner  # type: ignore[attr-defined]
    key = f"{backend._prefix}:documents:experiment/foreign/trials"
    with redis.Redis.from_url(redis_running.uri) as client:
        client.hset(key, "2", b"\x80\x04cos\nsystem\n(S'false'\ntR.")

    with pytest.warns(DaskperimentWarning, match="Trial 2 of 'foreign' cannot be read"):
        assert list(anew(ex).get_history().index) == [1, 3]


def test_what_follows_an_unreadable_row_is_recorded_and_read(ex: Experiment) -> None:
    ex.backend.apply(Update("experiment/foreign/trials", 3, {"state": "NONE"}))
    with pytest.warns(DaskperimentWarning, match="cannot be read"):
        assert len(ex.get_history()) == 2

    again = anew(ex)
    node = again.result(lambda a: a, name="same")(again.parameter("a"))
    node.compute(parameters={"a": 9})

    assert again.latest.result == 9
    assert json.loads(json.dumps(again.trial_id)) == 4
    assert run(["--version"]) == 0
