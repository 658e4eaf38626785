"""The dashboard: senseless requests, stores that others have spoilt, and who is let in."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlencode, urlsplit

from flask import Response

from daskperiment.backends import Backend, open_backend
from daskperiment.backends.local import LocalBackend
from daskperiment.backends.reading import ReadOnlyBackend
from daskperiment.dashboard import app as application
from daskperiment.dashboard import guard, serving
from daskperiment.dashboard.api import artifacts
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import ROOT as API
from daskperiment.dashboard.endpoint import Query
from daskperiment.dashboard.files import File, static_files
from daskperiment.dashboard.guard import Guard
from tests.dashboard import fuzz, matrix
from tests.dashboard.conftest import Watched, chromium
from tests.dashboard.fuzz import Reply, Request
from tests.dashboard.scripts import PAYLOADS, infested
from tests.dashboard.stores import ARTIFACTS, NAME, Foreign, everything, fill, spoil
from tests.dashboard.tour import NAMELESS, tour
from tests.stores import cells
from tests.torture.harness import ROOT, Outcome, scenario


def _held(backend: Backend, folder: Path) -> object:
    """All that a store holds."""
    if isinstance(backend, LocalBackend):
        blobs = {path: path.read_bytes() for path in folder.rglob("*") if len(path.name) == 64}
        return sorted(cells(folder / "store.sqlite")), blobs
    return everything(backend)


# -- S1 ---------------------------------------------------------------------------------------


@scenario(
    "S1",
    "requests of the dashboard, of its description and of chance, over sound and spoilt stores",
    plants=("numbers-unchecked", "types-by-name", "names-are-written", "no-headers", "all-is-ours"),
    short={"requests": 1000},
    long={"requests": 10_000},
    planted={"requests": 1000},
)
def senseless_requests(seed: int, folder: Path, plant: str | None, *, requests: int) -> Outcome:
    """Half of them over a sound store, half over one that is spoilt more and more."""
    outcome, chance = Outcome("S1", seed), random.Random(seed)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(redirect_stdout(io.StringIO()))
        if plant is not None:
            stack.enter_context(_planted(plant))
        with open_backend(folder / "store") as backend:
            fill(backend)
        with open_backend(folder / "store") as backend:
            _fuzz(outcome, backend, folder / "store", chance, requests // 2)
        each = 25
        for _ in range(requests // 2 // each):
            backend = Foreign()
            fill(backend)
            spoiling = spoil(backend, chance)
            spoilt = [next(spoiling) for _ in range(chance.choice([1, 2, 5, 20]))]
            _fuzz(outcome, backend, folder, chance, each, ", ".join(spoilt))
    return outcome


def _fuzz(
    outcome: Outcome,
    backend: Backend,
    folder: Path,
    chance: random.Random,
    count: int,
    spoilt: str = "",
) -> None:
    app, before = create_app(Board(backend, NAME)), _held(backend, folder)

    def judge(request: Request, reply: Reply) -> None:
        found = [*fuzz.problems(request, reply, foreign=not backend.owned)]
        outcome.add(ascii(f"{request} {spoilt[:300]}"), found)
        outcome.count(f"{reply.status}")
        outcome.rounds += 1
        outcome.faults += reply.status >= 400

    described = 0
    if not spoilt:
        described = count // 2
        try:
            fuzz.described(app, chance.randrange(10**6), described, judge)
        except Exception as error:  # one that is not as described
            outcome.add("described", [f"I7: {error}"[:1000]])
        _through_a_socket(outcome, backend, chance, count // 10)
        described += count // 10
        for name in ARTIFACTS:
            path = f"{API}/experiments/{NAME}/trials/1/artifact"
            request = Request(path=path, query=urlencode({"name": name}))
            judge(request, fuzz.ask(app, request))
    making = fuzz.requests(chance)
    for _ in range(count - described):
        request = next(making)
        reply = fuzz.ask(app, request)
        judge(request, reply)
        known = reply["ETag"] and reply.status == 200 and request.method in ("GET", "HEAD")
        if known:
            again = request._replace(headers=(*request.headers, ("If-None-Match", reply["ETag"])))
            seen = fuzz.ask(app, again)
            if (seen.status, seen.body) != (304, b""):
                outcome.add(f"{again}", [f"I7: status {seen.status} for what is known"])
    if _held(backend, folder) != before:
        outcome.add(ascii(spoilt), ["I10: the store was changed"])


def _through_a_socket(
    outcome: Outcome, backend: Backend, chance: random.Random, count: int
) -> None:
    with serving.start(backend, NAME, port=0) as dashboard:
        port = urlsplit(dashboard.url).port or 0
        for _ in range(count):
            sent = fuzz.raw(chance)
            outcome.add("socket", fuzz.wrong_on_a_socket(sent, fuzz.exchanged(port, sent)))
            outcome.count("through a socket")
            outcome.rounds += 1
        sound = f"GET {API}/meta HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
        if not fuzz.exchanged(port, sound).startswith(b"HTTP/1.0 200 "):
            outcome.add("socket", ["I8: the server does not answer any more"])


@contextmanager
def _planted(plant: str) -> Iterator[None]:
    target: Any
    target, name, bug = {
        "numbers-unchecked": (Query, "_integer", lambda self, text: int(text)),
        "types-by-name": (artifacts, "_download", _with_type),
        "names-are-written": (Board, "names", _writing(Board.names)),
        "no-headers": (application, "HEADERS", {}),
        "all-is-ours": (Foreign, "owned", True),
    }[plant]
    with mock.patch.object(target, name, bug):
        yield


def _with_type(artifact: Any) -> Response:
    return Response(artifact.read(), mimetype=artifacts._type(artifact.name))


def _writing(names: Callable[[Board], list[str]]) -> Callable[[Board], list[str]]:
    def written(self: Board) -> list[str]:
        assert isinstance(self.backend, ReadOnlyBackend)
        self.backend.inner.append("seen", [1])
        return names(self)

    return written


# -- S2 ---------------------------------------------------------------------------------------


@scenario(
    "S2",
    "texts that would be scripts in every field, on every page in a browser",
    plants=("texts-are-markup", "and-nothing-forbids-scripts"),
    short={"trials": 2},
    long={"trials": len(PAYLOADS)},
    planted={"trials": 0},
)
def scripts_in_data(seed: int, folder: Path, plant: str | None, *, trials: int) -> Outcome:
    """Nothing runs, nothing is asked elsewhere, and no page tells an error."""
    outcome, chance = Outcome("S2", seed), random.Random(seed)
    if "js/main.js" not in static_files():
        outcome.not_run = "the page itself is not here"
    if shutil.which("chromium") is None:
        outcome.not_run = "chromium is not installed"
    if outcome.not_run:
        return outcome
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if plant is not None:
            stack.enter_context(mock.patch.object(application, "static_files", _with_markup))
        if plant == "and-nothing-forbids-scripts":
            stack.enter_context(mock.patch.object(application, "HEADERS", {}))
        dashboard = stack.enter_context(serving.start(infested(), port=0))
        browser = stack.enter_context(chromium())
        watched = Watched(browser)
        always = {1, 11, _HALF} if plant else {_HALF}
        numbers = sorted({*chance.sample(range(1, len(PAYLOADS) + 1), trials), *always})
        page = watched(expecting=NAMELESS)
        outcome.add("tour", tour(page, dashboard.url.rstrip("/"), numbers))
        watched.close()
        outcome.add("told by the page", [f"I6: {each}" for each in watched.problems])
        outcome.rounds = outcome.faults = len(numbers)
        outcome.figures["texts"] = len(PAYLOADS)
    return outcome


_HALF = next(at for at, text in enumerate(PAYLOADS, 1) if text.startswith("\ud83d"))
"""The one with half of a character: addresses cannot hold it."""


def _with_markup() -> dict[str, File]:
    """The page, if it took texts for markup."""
    found = dict(static_files())
    script = found["js/dom.js"].content.decode()
    safe = "element.append(child instanceof Node ? child : String(child));"
    assert safe in script
    unsafe = (
        "if (child instanceof Node) element.append(child); else element.innerHTML += String(child);"
    )
    content = script.replace(safe, unsafe).encode()
    found["js/dom.js"] = found["js/dom.js"]._replace(
        content=content, packed=gzip.compress(content), etag="planted"
    )
    return found


# -- S3 ---------------------------------------------------------------------------------------


@scenario(
    "S3",
    "stores with pickles and code, looked at while Python tells what is loaded and run",
    plants=("results-are-loaded", "code-is-compiled"),
    short={"requests": 100},
    long={"requests": 3000},
)
def nothing_is_unpickled(seed: int, folder: Path, plant: str | None, *, requests: int) -> Outcome:
    """Every address of a sound store, of one with bombs and of a spoilt one is asked."""
    outcome = Outcome("S3", seed)
    done = subprocess.run(
        [sys.executable, "-m", "tests.dashboard.audited", str(plant), str(requests), str(seed),
         str(folder)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    if done.returncode:
        outcome.add("audited", [f"I7: {done.stderr[-500:]}"])
        return outcome
    found = json.loads(done.stdout)
    outcome.add("audited", [f"I6: {each}" for each in found["told"]])
    if found["ran"]:
        outcome.add("audited", ["I6: code of the store has run"])
    outcome.rounds = outcome.faults = found["answers"]
    return outcome


# -- S7 ---------------------------------------------------------------------------------------


@scenario(
    "S7",
    "address, token, host, origin, method and site of a request, in all combinations",
    plants=("any-host", "hosts-by-their-beginning", "any-origin", "tokens-by-their-beginning"),
    short={"share": 0.01},
    long={"share": 1.0},
)
def who_is_let_in(seed: int, folder: Path, plant: str | None, *, share: float) -> Outcome:
    """Exactly the cells that deserve it are answered."""
    outcome, chance = Outcome("S7", seed), random.Random(seed)
    target: Any
    with ExitStack() as stack:
        if plant is not None:
            target, name, bug = {
                "any-host": (Guard, "_is_allowed", lambda self, host: True),
                "hosts-by-their-beginning": (Guard, "_is_allowed", _by_its_beginning),
                "any-origin": (Guard, "_is_own_page", lambda *_: True),
                "tokens-by-their-beginning": (guard, "_equal", _begins),
            }[plant]
            stack.enter_context(mock.patch.object(target, name, bug))
        for cell in matrix.cells():
            # Most cells deserve to be refused at once: less of them are enough.
            if chance.random() >= share * (10 if cell.status in (200, 303, 401) else 1):
                continue
            reply = fuzz.ask(matrix.app(cell.place), cell.request)
            found = [*fuzz.problems(cell.request, reply)]
            if reply.status != cell.status:
                found.append(f"I6: {reply.status} instead of {cell.status}")
            outcome.add(f"{cell}", found)
            outcome.count(f"{reply.status}")
            outcome.rounds += 1
            outcome.faults += cell.status >= 400
    return outcome


def _by_its_beginning(self: Guard, host: str) -> bool:
    return host.lower().startswith(tuple(self._names))


def _begins(given: str, expected: str) -> bool:
    return bool(given) and expected.startswith(given)
