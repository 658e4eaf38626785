"""Whatever is asked, and whatever others have stored, a reply is sound; see also `torture`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient

from daskperiment import Experiment
from daskperiment.backends import Append, Backend, Clear, Update
from daskperiment.backends.base import Write
from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard.app import PAGES, create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import ENDPOINTS, ROOT
from daskperiment.history import paths
from tests.dashboard import fuzz
from tests.dashboard.fuzz import Reply, Request, ask, problems, strict
from tests.dashboard.stores import ARTIFACTS, JUNK, NAME, Foreign, fill, nested

FIELDS = ("uid", "state", "seed", "parameters", "owner", "result", "tags", "code", "session")
TRIAL = f"{ROOT}/experiments/{NAME}/trials/1"
USAGE = {"host": "h", "pid": 1, "seconds": [1.0], "values": {"cpu": [1.0]}, "calls": [["s", 0]]}


def addresses(trials: range = range(1, 6)) -> Iterator[tuple[str, str]]:
    """Path and query of everything that can be asked about a store."""
    yield from ((path, "") for path in (*PAGES[:2], "/static/index.html", *fuzz.ORIGINAL))
    yield "/json/metric/", "ids=[1,2]&keys=[%22loss%22]"
    yield f"{ROOT}/openapi.json", ""
    compared = urlencode({"trials": [each for each in (1, *trials) if each != 5]}, doseq=True)
    queries = {"compare": compared, "metrics": compared}
    for path in (*PAGES[2:], *(each.path for each in ENDPOINTS)):
        query = queries.get(path.rpartition("/")[2], "")
        for number in trials if "<trial" in path else [1]:
            filled = path.replace("<experiment>", NAME).replace("<trial:number>", str(number))
            filled = filled.replace("<search:name>", "a/../search")
            yield filled, query
            if path.endswith("/artifact"):
                yield from ((filled, urlencode({"name": name})) for name in ARTIFACTS)
                yield filled, "name=notes.txt&as=text"
            if path.endswith("/file"):
                yield filled, "name=tests.dashboard.stores:stores.py"
            if path.endswith(("/why", "/lineage", "/takers")):
                yield filled, "step=prepare"


def is_absent(request: Request) -> bool:
    """Whether a sound store has it not: trial 4 failed early, 3 was cut down, 5 was removed.

    There is no search either.
    """
    path, named = request.path, request.query
    missing = path.endswith(("/3/environment", "/search")) or "/trials/5" in path
    if "/api/" not in path or missing:
        return "/api/" in path
    asks = path.endswith(("/artifact", "/file", "/why", "/lineage", "/takers"))
    return path.endswith("/4/artifact") or (asks and not named)


def everything_of(backend: Backend, trials: range = range(1, 6)) -> Iterator[tuple[Request, Reply]]:
    app = create_app(Board(backend, NAME))
    for path, query in addresses(trials):
        request = Request("GET", path, query)
        yield request, ask(app, request)


def test_everything_about_a_sound_store_is_answered(shown: Experiment) -> None:
    seen = dict(everything_of(shown.backend))

    assert [(str(q), p) for q, reply in seen.items() for p in problems(q, reply)] == []
    assert {reply.status for reply in seen.values()} == {200, 404}
    absent = {q for q, reply in seen.items() if reply.status == 404}
    assert absent == {q for q in seen if is_absent(q)}


def test_nothing_is_written_whatever_is_asked() -> None:
    written: list[Write] = []

    class Recording(MemoryBackend):
        def apply(self, *writes: Write) -> list[Any]:
            written.extend(writes)
            return super().apply(*writes)

        def drop(self, path: str) -> None:
            written.append(Append(path, []))

    backend = Recording()
    fill(backend)
    assert written
    written.clear()

    app, making = create_app(Board(backend, NAME)), fuzz.requests(random.Random(5))
    for _ in everything_of(backend):
        pass
    for _ in range(100):
        ask(app, next(making))

    assert written == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"])
def test_other_methods_than_get_and_head_are_refused_everywhere(
    client: FlaskClient, method: str
) -> None:
    for path, query in (*addresses(range(1, 2)), ("/nowhere", "")):
        reply = client.open(f"{path}?{query}", method=method)
        assert (reply.status_code, reply.headers["Allow"]) == (405, "GET, HEAD"), path


def test_what_is_known_is_not_sent_again(client: FlaskClient) -> None:
    for path, query in addresses(range(1, 2)):
        first = client.get(f"{path}?{query}")
        if first.status_code != 200 or path.startswith("/data/") or "/artifact" in path:
            continue
        again = client.get(f"{path}?{query}", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b""), path
        assert again.headers["Content-Security-Policy"]


@pytest.mark.filterwarnings("ignore:Trial 2 of 'shown':daskperiment.DaskperimentWarning")
@pytest.mark.parametrize("field", FIELDS)
def test_a_row_that_others_have_spoilt_fails_alone(field: str) -> None:
    backend = Foreign()
    ex = fill(backend)
    for junk in JUNK[FIELDS.index(field) % 3 :: 3]:
        backend.apply(Update(paths.trials(ex.id), 2, {field: junk}))
        for request, reply in everything_of(backend, range(2, 3)):
            found = [*problems(request, reply, foreign=True)]
            assert found == [], (request, junk)
            assert reply.status in (200, 404, 422), (request, junk)
        table = ask(create_app(Board(backend, NAME)), Request("GET", TRIAL.removesuffix("/1")))
        assert table.status == 200, (junk, table.body)
        assert {1, 3, 4} <= {row["trial"] for row in strict(table.content)["rows"]}, junk


@pytest.mark.parametrize(
    "log", [paths.steps, paths.metrics, paths.artifacts, paths.output, paths.usage]
)
def test_a_log_that_others_have_spoilt_fails_alone(log: Any) -> None:
    backend = Foreign()
    ex = fill(backend)
    path = log(ex.id, ex[2].uid)
    kept: list[Any] = backend.read(path) or [USAGE]
    odd = ({**kept[0], field: JUNK[at * 5 % len(JUNK)]} for at, field in enumerate(kept[0]))
    for junk in (*JUNK[::2], *odd):
        backend.apply(Clear(path), Append(path, [*kept, junk]))
        for request, reply in everything_of(backend, range(2, 3)):
            assert [*problems(request, reply, foreign=True)] == [], (request, junk)
        assert ask(create_app(Board(backend, NAME)), Request("GET", TRIAL)).status == 200


@pytest.mark.parametrize("shape", ["list", "object"])
def test_json_deeper_than_the_stack_is_no_failure_of_the_dashboard(shape: str) -> None:
    class Deep(Foreign):
        """As a server's store, whose bytes nobody has checked."""

        def read(self, path: str, start: int = 0) -> list[Any]:
            return [*super().read(path, start), *deep]

    backend, deep = Deep(), list[Any]()
    fill(backend)
    deep.append(nested(100_000, shape))
    for request, reply in everything_of(backend):
        assert [*problems(request, reply, foreign=True)] == [], request
