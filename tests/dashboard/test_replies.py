"""Replies about what is unusual and sound: no numbers, no text, nothing there any more."""

from __future__ import annotations

from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

import pytest
from flask.testing import FlaskClient

from daskperiment import Experiment
from daskperiment.backends import Remove
from daskperiment.dashboard import serving
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import ROOT
from daskperiment.history import paths
from tests.dashboard.fuzz import Request, ask, strict
from tests.dashboard.stores import NAME, Foreign, fill

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


@pytest.mark.parametrize(
    "name", ["a\0b.bin", "a\r\nSet-Cookie: x=1", "\x7f\x01.bin", "..", "a/", ""]
)
def test_a_file_name_that_others_have_spoilt_breaks_no_header(name: str) -> None:
    backend = Foreign()
    ex = fill(backend)
    path = paths.artifacts(ex.id, ex[1].uid)
    kept = backend.read(path)[0]
    assert isinstance(kept, dict)
    backend.append(path, [{**kept, "name": name}])
    with serving.start(backend, port=0) as dashboard:
        address = urlsplit(dashboard.url)
        connection = HTTPConnection(str(address.hostname), address.port or 0, timeout=20)
        connection.request("GET", f"{TRIAL}/artifact?{urlencode({'name': name})}")
        reply = connection.getresponse()
        assert (reply.status, reply.read()) == (200, ex[1].artifacts["page.html"].read())
        connection.close()

    assert reply.headers["Content-Disposition"].startswith("attachment; filename=")
    assert reply.headers["Content-Disposition"].isprintable()
    assert "Set-Cookie" not in reply.headers
