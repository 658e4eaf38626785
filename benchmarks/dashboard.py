"""What a page of the dashboard costs: at the server, on the way, and in a browser."""

from __future__ import annotations

import math
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from benchmarks import history, redis_server, startup, work
from benchmarks.measure import Row, duration, fresh, resident, timed
from benchmarks.records import RecordError
from daskperiment import Experiment
from daskperiment.backends import Backend, open_backend
from daskperiment.backends.base import Append, Insert
from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard import serving
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.files import static_files
from daskperiment.history import paths

NAME = "bench"
_SMALL, _LARGE = 1_000, 100_000
_SERVER = "a server on SQLite that speaks MongoDB's protocol"
_LARGE_MONGO = 10_000
_COMPUTED = 100
"""Trials that were computed, at the end of the history; those before them are copies."""
_POINTS = 100_000
_ROOT = "/api/v1/experiments"
_FIRST = "trials, first page"
_COPIES = (
    f"the last {_COMPUTED} trials were computed, with three steps, output and 40 points of two "
    "metrics; those before them are copies of the row and the metrics of the first one, with "
    "other values"
)
_CALLS = (
    "the first one is that of a new board, which has read nothing, in a process that has "
    "answered before"
)

Answer = dict[str, Any]
"""What was measured of one page."""


# -- stores -------------------------------------------------------------------------------------


def fill(backend: Backend, trials: int, group: int = 5_000) -> float:
    """Record so many trials, nearly all as copies; returns the seconds that it took."""
    start = time.perf_counter()
    ex = Experiment(NAME, backend=backend, seed=1)

    def train(data: float) -> float:
        for epoch in range(20):
            ex.log_metrics({"loss": 1 / (epoch + 1 + abs(data)), "accuracy": epoch / 20}, epoch)
        print("trained with", data)
        return data * 2

    a, b = ex.parameter("a", default=1), ex.parameter("b", default=0.5)
    s = ex.result(work.score)(ex(train)(ex(work.prepare)(a, b)))
    s.compute(scheduler="synchronous")
    row = backend.get(paths.trials(NAME), 1)
    assert row is not None
    points = backend.read(paths.metrics(NAME, row["uid"]))
    draw = random.Random(1)
    copies = trials - 1 - _COMPUTED
    for first in range(0, copies, group):
        rows = [history.copied(row, draw) for _ in range(first, min(first + group, copies))]
        logs = [Append(paths.metrics(NAME, each["uid"]), points) for each in rows]
        backend.apply(*logs, *[Insert(paths.trials(NAME), each) for each in rows])
    for n in range(_COMPUTED):
        s.compute(scheduler="synchronous", parameters={"a": n, "b": n / 7})
    return time.perf_counter() - start


def filled(uri: str, trials: int, group: int = 5_000) -> float:
    """The same in a store that is named."""
    return fill(open_backend(uri), trials, group)


def logged(uri: str) -> None:
    """One trial with many points of a metric."""
    ex = Experiment("points", backend=uri)

    def train(points: int) -> int:
        for n in range(points):
            ex.save_metric("loss", n, _value(n))
        return points

    ex.result(train)(ex.parameter("points", default=_POINTS)).compute(scheduler="synchronous")


def _value(n: int) -> float:
    return math.sin(n / 5_000) + n % 7 / 100


# -- at the server ------------------------------------------------------------------------------


def pages(trials: int) -> dict[str, list[str]]:
    """The requests of each page that is measured."""
    own, one = f"{_ROOT}/{NAME}", f"{_ROOT}/{NAME}/trials/{trials - 5}"
    ten = "&".join(f"trials={trials - n}" for n in range(10))
    condition = quote_plus("a > 1 and Success")
    return {
        "experiments": [_ROOT],
        _FIRST: [f"{own}/trials"],
        "trials, sorted by Result": [f"{own}/trials?order_by=-Result"],
        "trials, a > 1 and Success": [f"{own}/trials?where={condition}"],
        "trials, page in the middle": [f"{own}/trials?offset={trials // 2}"],
        "one trial": [one],
        "its graph, code, environment, output": [
            f"{one}/{part}" for part in ("graph", "code", "environment", "output")
        ],
        "comparison of ten": [f"{own}/compare?{ten}"],
    }


class _Client:
    """Asks a dashboard in this process, without a server between."""

    def __init__(self, backend: Backend, name: str = NAME) -> None:
        self._client = create_app(Board(backend, name)).test_client()

    def ask(self, path: str, **headers: str) -> Any:
        reply = self._client.get(path, headers={"Host": "localhost", **headers})
        if reply.status_code not in (200, 304):
            raise RecordError(f"{path} answers {reply.status_code}: {reply.text[:200]}")
        return reply

    def document(self, path: str) -> Any:
        return self.ask(path).get_json()


def _repeated(function: Callable[[], Any]) -> list[float]:
    """Seconds of a function: nine times, but hardly longer than three seconds."""
    seconds: list[float] = []
    while len(seconds) < 3 or (len(seconds) < 9 and sum(seconds) < 3):
        seconds.append(timed(function))
    return seconds


def _measured(backend: Backend, requests: list[str]) -> Answer:
    _Client(backend).ask(f"{_ROOT}/{NAME}/trials/1")  # imports
    client = _Client(backend)

    def ask_all() -> list[Any]:
        return [client.ask(path) for path in requests]

    cold, warm = timed(ask_all), _repeated(ask_all)
    plain = [len(reply.data) for reply in ask_all()]
    packed = [len(client.ask(path, **{"Accept-Encoding": "gzip"}).data) for path in requests]
    return {"cold": cold, "warm": warm, "size": sum(plain), "packed": sum(packed)}


def asked(uri: str, trials: int) -> dict[str, Answer]:
    """What each page takes of a store."""
    return answers(open_backend(uri), trials)


def asked_of_memory(trials: int) -> dict[str, Answer]:
    """The same of a store in memory."""
    backend = MemoryBackend()
    fill(backend, trials)
    return answers(backend, trials)


def answers(backend: Backend, trials: int) -> dict[str, Answer]:
    """What each page takes; RecordError where a page does not show what was recorded."""
    _check(backend, trials)
    return {name: _measured(backend, requests) for name, requests in pages(trials).items()}


def _check(backend: Backend, trials: int) -> None:
    """The pages show what was recorded."""
    client, requests = _Client(backend), pages(trials)
    for name in (name for name in requests if name.startswith("trials")):
        found = client.document(requests[name][0])
        rows = found["rows"]
        if (len(rows), found["trials"]) != (50, trials) or len(found["metrics"]) != 2:
            raise RecordError(f"{name}: {len(rows)} rows of {found['trials']} trials")
        if not all(row["metrics"].get("loss", {}).get("points") == 20 for row in rows):
            raise RecordError(f"{name}: the metrics of a row are not there")
    (listed,) = client.document(_ROOT)["experiments"]
    one = client.document(requests["one trial"][0])
    if listed["trials"] != trials or one["steps"]["ran"] != 3 or one["next"] != trials - 4:
        raise RecordError(f"what is told of the trials: {listed}, {one['steps']}, {one['next']}")


def asked_again(uri: str) -> Answer:
    """The first page, whose reader knows the reply; memory before the first reply and behind it."""
    backend, path = open_backend(uri), f"{_ROOT}/{NAME}/trials"
    client = _Client(backend)
    client.ask(f"{path}/1")
    before = resident()
    etag = client.ask(path).headers["ETag"]
    memory = resident()

    def ask() -> None:
        if client.ask(path, **{"If-None-Match": etag}).status_code != 304:
            raise RecordError("a reply that is the same is sent again")

    return {"warm": _repeated(ask), "before": before, "after": memory}


_STARTED = f"""
import sys
from daskperiment.backends import open_backend
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board

client = create_app(Board(open_backend(sys.argv[1]), "{NAME}")).test_client()
reply = client.get("{_ROOT}/{NAME}/trials", headers={{"Host": "localhost"}})
assert len(reply.get_json()["rows"]) == 50
"""


def started(uri: str, folder: str) -> float:
    """Seconds from the start of a process to the first page."""
    return timed(lambda: startup.run(folder, "-c", _STARTED, uri))


def listed(uri: str, trials: int) -> list[float]:
    """Seconds of the sorted page of those trials that fit a condition, warm."""
    client, condition = _Client(open_backend(uri)), quote_plus("a > 100 and Success")
    path = f"{_ROOT}/{NAME}/trials?where={condition}&order_by=-Result"
    if not 0 < client.document(path)["found"] < trials:
        raise RecordError("the condition does not choose")
    return _repeated(lambda: client.ask(path))


def drawn(uri: str) -> dict[str, Answer]:
    """A series with many points, thinned for a chart, and a part of it."""
    backend, path = open_backend(uri), f"{_ROOT}/points/metrics?trials=1"
    start = _POINTS // 2
    requests = {
        "thinned": f"{path}&points=1000",
        "exact": f"{path}&start={start}&end={start + 999}&points=1000",
    }
    _Client(backend, "points").ask(f"{_ROOT}/points/trials/1")
    found = {}
    for name, request in requests.items():
        client = _Client(backend, "points")
        cold = timed(lambda: client.ask(request))  # noqa: B023
        (series,) = client.document(request)["series"]
        values = [_value(n) for n in series["epochs"]]
        if series["values"] != values or series["exact"] is not (name == "exact"):
            raise RecordError(f"the {name} series is not that which was saved")
        warm = _repeated(lambda: client.ask(request))  # noqa: B023
        reply = client.ask(request, **{"Accept-Encoding": "gzip"})
        plain = len(client.ask(request).data)
        found[name] = {"cold": cold, "warm": warm, "size": plain, "packed": len(reply.data)}
    return found


# -- in a browser -------------------------------------------------------------------------------

_OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_WATCH = """
window.seen = {};
new MutationObserver(() => {
  for (const [name, selector] of [["rows", "tr[data-trial]"], ["chart", "canvas"]]) {
    if (name in window.seen || !document.querySelector(selector)) continue;
    window.seen[name] = null;
    // Behind the second frame it is on the screen.
    requestAnimationFrame(() => requestAnimationFrame(() => {
      window.seen[name] = performance.now();
    }));
  }
}).observe(document, { childList: true, subtree: true });
"""
_ASKED = """() => performance.getEntriesByType("resource")
  .find(({ name }) => name.includes("/metrics?")).startTime"""


def browsed(uri: str, name: str, path: str, what: str) -> dict[str, list[float]]:
    """Seconds until a page shows rows or a chart, each time in a browser that has seen nothing.

    They count from the navigation, and those of a chart also from the request for its points.
    """
    from playwright.sync_api import sync_playwright

    seconds: dict[str, list[float]] = {"navigation": [], "request": []}
    with serving.start(open_backend(uri), name, port=0) as dashboard, sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(_OPTIONS)
        )
        for _ in range(8):
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            context.add_init_script(_WATCH)
            page = context.new_page()
            page.goto(dashboard.url.rstrip("/") + path, wait_until="commit")
            page.wait_for_function(f"() => window.seen?.{what}", timeout=60_000)
            at = page.evaluate(f"() => window.seen.{what}")
            seconds["navigation"].append(at / 1e3)
            if what == "chart":
                seconds["request"].append((at - page.evaluate(_ASKED)) / 1e3)
            context.close()
        browser.close()
    return seconds


def _no_browser() -> str:
    """Why there is no browser, empty where there is one."""
    if find_spec("playwright") is None:
        return "playwright is not installed"
    if shutil.which("chromium") is None:
        return "the program chromium is not installed"
    return "" if "js/main.js" in static_files() else "the page itself is not here"


# -- rows ---------------------------------------------------------------------------------------


def measure(folder: str) -> list[Row]:
    local = {n: f"{folder}/local{n}" for n in (_SMALL, _LARGE)}
    for trials, uri in local.items():
        fresh(filled, uri, trials, folder=folder)
    rows = [*_of_local(local, folder), *_of_memory(folder), *_of_redis(folder)]
    return [*rows, *_of_mongo(folder), *_others(local, folder), *_of_points(local, folder)]


def _of_local(local: Mapping[int, str], folder: str) -> list[Row]:
    found = {n: fresh(asked, uri, n, folder=folder) for n, uri in local.items()}
    return _page_rows("files", found)


def _of_memory(folder: str) -> list[Row]:
    found = {n: fresh(asked_of_memory, n, folder=folder) for n in (_SMALL, _LARGE)}
    return _page_rows("memory", found)


def _of_redis(folder: str) -> list[Row]:
    try:
        with redis_server.server(folder) as uri:
            found = {}
            for database, trials in enumerate((_SMALL, _LARGE), 1):
                place = f"{uri[:-1]}{database}"
                fresh(filled, place, trials, folder=folder)
                found[trials] = fresh(asked, place, trials, folder=folder)
    except redis_server.AbsentError as error:
        return [_absent("pages on Redis", str(error))]
    return _page_rows("Redis", found)


def _of_mongo(folder: str) -> list[Row]:
    found, took = {}, 0.0
    try:
        with mongo_server(folder) as uri:
            for trials in (_SMALL, _LARGE_MONGO):
                place = f"{uri}/trials{trials}"
                took = fresh(filled, place, trials, 500, folder=folder)
                found[trials] = fresh(asked, place, trials, folder=folder)
    except redis_server.AbsentError as error:
        return [_absent("pages on MongoDB", str(error))]
    note = (
        f"on {_SERVER}, and looks at every row for each query, so that its time grows with them; "
        f"{_LARGE_MONGO:,} trials took {duration(took)} to write; {_LARGE:,} take minutes for "
        "each reading"
    )
    return _page_rows("MongoDB", found, note)


def _own_programs() -> str:
    return str(Path(sys.executable).parent)


@contextmanager
def mongo_server(folder: str) -> Iterator[str]:
    """A running server of MongoDB's protocol with its data in memory; gives its URI.

    Raises
    ------
    AbsentError
        There is none here, or no client.
    """
    program = shutil.which("nx-27017") or shutil.which("nx-27017", path=_own_programs())
    if program is None or find_spec("pymongo") is None:
        raise redis_server.AbsentError("nx-27017 or pymongo is not installed")
    port, place = redis_server.free_port(), Path(folder, "mongo")
    place.mkdir()
    process = subprocess.Popen(
        [program, "--data-dir", "memory", "-p", str(port), "--log-file", str(place / "log"),
         "--pid-file", str(place / "pid")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        redis_server.wait_for(port)
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _page_rows(store: str, found: Mapping[int, Mapping[str, Answer]], note: str = "") -> list[Row]:
    small, large = found
    return [
        Row(
            f"dashboard, {name}, {large:,} trials, {store}",
            _told(found[large][name]),
            f"of {small:,} trials: {_told(found[small][name])}",
            [s * 1e3 for s in found[large][name]["warm"]],
            300 if name == _FIRST else None,
            "ms",
            note or (_COPIES if name == _FIRST else _CALLS if name == "experiments" else ""),
        )
        for name in found[large]
    ]


def _told(answer: Answer) -> str:
    warm = duration(statistics.median(answer["warm"]))
    sizes = f"{_bytes(answer['size'])}, {_bytes(answer['packed'])} packed"
    return f"{warm}, the first {duration(answer['cold'])}; {sizes}"


def _bytes(number: int) -> str:
    return f"{number / 1e3:.1f} kB"


def _absent(subject: str, reason: str) -> Row:
    return Row(f"dashboard, {subject}", f"not measured: {reason}", "", [])


def _others(local: Mapping[int, str], folder: str) -> list[Row]:
    again = {n: fresh(asked_again, uri, folder=folder) for n, uri in local.items()}
    starts = {n: [started(uri, folder) for _ in range(3)] for n, uri in local.items()}
    large, small = again[_LARGE], again[_SMALL]
    grown = {n: (each["after"] - each["before"]) / 1e6 for n, each in again.items()}
    files = static_files().values()
    sent = sum(len(file.content) for file in files), sum(len(file.packed) for file in files)
    return [
        Row(
            f"dashboard, first page of {_LARGE:,} asked again, nothing new",
            duration(statistics.median(large["warm"])),
            f"of {_SMALL:,} trials: {duration(statistics.median(small['warm']))}",
            [s * 1e3 for s in large["warm"]], None, "ms",
        ),
        Row(
            f"dashboard, start of a process to the first page of {_LARGE:,}",
            duration(statistics.median(starts[_LARGE])),
            f"of {_SMALL:,} trials: {duration(statistics.median(starts[_SMALL]))}",
            starts[_LARGE], None, "s",
            "a dashboard that is served reads the trials by itself when it starts",
        ),
        Row(
            f"dashboard, memory for {_LARGE:,} trials",
            f"{large['after'] / 1e6:.0f} MB with them",
            f"for {_SMALL:,} trials: {grown[_SMALL]:.1f} MB; {small['before'] / 1e6:.0f} MB before",
            [grown[_LARGE]], None, "MB",
        ),
        Row(
            "dashboard, scripts and styles of all pages",
            f"{len(files)} files, {_bytes(sent[0])}", "",
            [sent[1] / 1e3], None, "kB", "packed; a browser keeps them",
        ),
    ]  # fmt: skip


def _of_points(local: Mapping[int, str], folder: str) -> list[Row]:
    uri = f"{folder}/points"
    fresh(logged, uri, folder=folder)
    series = fresh(drawn, uri, folder=folder)
    rows = [
        Row(
            f"dashboard, {_POINTS:,} metric points, {what}",
            _told(series[name]), "", [s * 1e3 for s in series[name]["warm"]], None, "ms",
        )
        for name, what in (("thinned", "thinned to 1,000"), ("exact", "1,000 of them exact"))
    ]  # fmt: skip
    if reason := _no_browser():
        return [*rows, _absent("in a browser", reason)]
    for trials, place in local.items():
        found = fresh(browsed, place, NAME, f"/experiments/{NAME}", "rows", folder=folder)
        rows.append(_browser_row(f"navigation to the rows of {trials:,} trials", found, 1000))
    page = "/experiments/points/trials/1#metrics"
    chart = fresh(browsed, uri, "points", page, "chart", folder=folder)
    what = f"{_POINTS:,} points drawn"
    rows.append(_browser_row(f"{what}, from the navigation", chart, None))
    rows.append(_browser_row(f"{what}, from the request for them", chart, 200, "request"))
    return rows


def _browser_row(
    what: str, found: Mapping[str, list[float]], aim: float | None, start: str = "navigation"
) -> Row:
    first, *later = found[start]
    note = "in Chromium without a cache, to the second frame that has them; the first of a browser"
    return Row(
        f"dashboard, browser, {what}",
        duration(statistics.median(later)), f"the first: {duration(first)}",
        [s * 1e3 for s in later], aim, "ms", f"{note} stands aside",
    )  # fmt: skip


def profiled(folder: str) -> None:
    """The work that a profile shows."""
    filled(f"{folder}/store", 10_000)
    client = _Client(open_backend(f"{folder}/store"))
    for _ in range(30):
        for requests in pages(10_000).values():
            for path in requests:
                client.ask(path)
