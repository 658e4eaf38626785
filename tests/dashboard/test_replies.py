"""Replies about what is unusual and sound: no numbers, no text, nothing there any more."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from daskperiment import Experiment
from daskperiment.backends import Remove
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import ROOT
from daskperiment.history import paths
from tests.dashboard.fuzz import Request, ask, strict
from tests.dashboard.stores import NAME

TRIAL = f"{ROOT}/experiments/{NAME}/trials/1"


def test_a_metric_of_nan_and_infinities_is_a_curve_with_gaps(client: FlaskClient) -> None:
    rows = strict(client.get(f"{ROOT}/experiments/{NAME}/trials").data)["rows"]

    metrics = rows[-1]["metrics"]
    assert (metrics["odd"]["last"], metrics["far"]["last"]) == ("nan", "inf")
    assert metrics["odd"]["spark"] == metrics["far"]["spark"] == [None]


@pytest.mark.parametrize("query", ["\xff", "trials=\xed\xa0\x80", "token=\xff", "%ff=1&\xc3"])
def test_a_query_that_is_no_text_is_refused(shown: Experiment, query: str) -> None:
    app = create_app(Board(shown.backend, shown.id))
    for path in ("/", TRIAL, f"{TRIAL}/code", "/json/table", "/static/index.html"):
        reply = ask(app, Request("GET", path, query))
        assert reply.status == 400, (path, reply.body)


@pytest.mark.parametrize("part", ["code", "environment", "file"])
def test_what_is_gone_from_a_store_is_not_found_there(shown: Experiment, part: str) -> None:
    for digest, _ in shown.backend.find(paths.SNAPSHOTS, fields=[]):
        shown.backend.apply(Remove(paths.SNAPSHOTS, digest))

    reply = create_app(Board(shown.backend)).test_client().get(f"{TRIAL}/{part}")

    assert (reply.status_code, reply.json["error"]["type"]) == (404, "SnapshotNotFoundError")
    assert "removed or is a partial copy" in reply.json["error"]["message"]
