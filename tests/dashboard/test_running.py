"""What runs now and where: the answers about it, and the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from daskperiment import Experiment
from daskperiment.backends import Backend, open_backend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard import serving
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import ROOT
from daskperiment.dashboard.serving import Dashboard
from daskperiment.history import paths
from daskperiment.history.usage import Sample, Usage
from daskperiment.tracking.environment import process
from tests.dashboard.test_pages import POOR_CONTRAST
from tests.servers import redis_server

OpenPage = Callable[..., Any]


def batch(backend: Backend, name: str, **more: Any) -> str:
    """Write the document of a batch of this process."""
    uid = uuid4().hex
    document = {
        "started": time.time() - 100,
        "owner": dict(process()),
        "total": 60,
        "done": 12,
        "failed": 3,
        "skipped": 0,
        "running": 2,
        "state": "RUNNING",
        "finished": None,
        "best": {"trial": 1, "value": 0.25},
        "executor": "threads",
        "script": "train.py",
    }
    backend.insert(paths.batches(name), {**document, **more}, uid)
    return uid


@contextmanager
def running(ex: Experiment, values: list[int]) -> Iterator[None]:
    """Trials that run in threads of this process, until the block ends."""
    began, go_on = threading.Semaphore(0), threading.Event()

    @ex.result
    def train(a: int) -> int:
        ex.log_metrics({"loss": 1 / a, "score": a})
        print("begun", flush=True)
        began.release()
        go_on.wait(60)
        return a

    node = train(ex.parameter("a"))
    threads = [
        threading.Thread(
            target=node.compute, kwargs={"parameters": {"a": a}, "scheduler": "synchronous"}
        )
        for a in values
    ]
    for thread in threads:
        thread.start()
        began.acquire(timeout=60)
    try:
        yield
    finally:
        go_on.set()
        for thread in threads:
            thread.join()


def until(ask: Callable[[], Any], fits: Callable[[Any], bool]) -> Any:
    """What is answered when it fits, which it does soon."""
    end = time.monotonic() + 60
    while not fits(found := ask()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


class Asked:
    """Asks a dashboard of a store."""

    def __init__(self, backend: Backend) -> None:
        self.client = create_app(Board(backend)).test_client()

    def __call__(self, path: str = "running", **query: Any) -> Any:
        reply = self.client.get(f"{ROOT}/{path}", query_string=query)
        assert reply.status_code == 200, reply.text
        return json.loads(reply.text, parse_constant=pytest.fail)


# -- answers -----------------------------------------------------------------------------------


def test_what_runs_is_told_with_its_metrics_and_usage(every_backend: Backend) -> None:
    ex = Experiment("example", backend=every_backend)
    uid = batch(every_backend, "example")
    ask = Asked(every_backend)

    with running(ex, [4, 5]):
        found = until(ask, lambda found: all(one["usage"] for one in found["running"]))

    (told,), (first, second) = found["batches"], found["running"]
    assert (told["batch"], told["left"], told["best"]) == (uid, 43, {"trial": 1, "value": 0.25})
    assert [one["trial"] for one in (first, second)] == [1, 2]
    assert (first["parameters"], second["parameters"]) == ({"a": "4"}, {"a": "5"})
    assert first["calls"] == [{"step": "train", "call": 0}]
    assert first["metrics"]["loss"]["last"] == 0.25 and first["metrics"]["loss"]["spark"] == [0.25]
    (use,) = first["usage"]
    assert use["pid"] == process()["pid"] and use["memory"] > 1_000_000
    assert len(use["spark"]["memory"]) == len(use["spark"]["cpu"]) >= 1
    assert found["crashed"] == [] and found["more"] == 0
    assert ask()["running"] == []


def test_one_experiment_is_chosen_and_one_that_is_not_there_is_not_found() -> None:
    backend = MemoryBackend()
    one, other = (Experiment(name, backend=backend) for name in ("one", "other"))
    ask = Asked(backend)

    with running(one, [1]), running(other, [1, 2]):
        everything, chosen = ask(), ask(experiment="other")

    assert [found["experiment"] for found in everything["running"]] == ["one", "other", "other"]
    assert [found["experiment"] for found in chosen["running"]] == ["other", "other"]
    assert everything["experiments"] == chosen["experiments"] == ["one", "other"]
    assert ask.client.get(f"{ROOT}/running?experiment=none").status_code == 404


def test_while_nothing_changes_nothing_is_sent() -> None:
    backend = MemoryBackend()
    ask = Asked(backend)
    batch(backend, "example")
    ex = Experiment("example", backend=backend)
    ex.result(lambda: 1, name="one")().compute()

    first = ask.client.get(f"{ROOT}/running")
    again = ask.client.get(f"{ROOT}/running", headers={"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, again.status_code, again.data) == (200, 304, b"")


def sampled(count: int) -> Experiment:
    """A trial with many samples of two processes."""
    ex = Experiment("example", backend=MemoryBackend())
    ex.result(lambda: 1, name="one")().compute(scheduler="synchronous")
    usage = Usage(ex.backend, "example")
    for pid in (7, 8):
        samples = [
            Sample(float(at), {"cpu": 100.0 if at == 617 else 1.0, "memory": at + pid})
            for at in range(count)
        ]
        ex.backend.apply(usage.writing(ex[1].uid, "lab", pid, samples))
    return ex


def test_long_series_of_usage_are_thinned_and_keep_their_peaks() -> None:
    ask = Asked(sampled(5000).backend)

    found = ask("experiments/example/trials/1/usage", points=100)

    assert [(one["name"], one["pid"]) for one in found["series"]] == [
        ("cpu", 7), ("memory", 7), ("cpu", 8), ("memory", 8),
    ]  # fmt: skip
    for one in found["series"]:
        assert (one["points"], one["exact"]) == (5000, False)
        assert len(one["seconds"]) == len(one["values"]) <= 100
    assert max(found["series"][0]["values"]) == 100.0
    assert found["ended"]


def test_a_part_of_a_series_of_usage_is_exact() -> None:
    ask = Asked(sampled(5000).backend)

    (one, _) = ask(
        "experiments/example/trials/1/usage", names="cpu", start=610, end=620, points=100
    )["series"]

    assert (one["inside"], one["exact"]) == (11, True)
    assert one["seconds"] == [float(at) for at in range(610, 621)]


def test_forgotten_usage_is_not_found() -> None:
    ex = sampled(3)
    ask = Asked(ex.backend)
    assert ask("experiments/example/trials/1/usage")["series"]

    ex[1].forget("usage")

    reply = ask.client.get(f"{ROOT}/experiments/example/trials/1/usage")
    assert (reply.status_code, "forgotten" in reply.json["error"]["message"]) == (404, True)


# -- the page ----------------------------------------------------------------------------------

WORKER = """
    import sys
    from daskperiment import Experiment

    ex = Experiment("example", backend=sys.argv[1])

    @ex.result
    def train(a):
        ex.log_metric("progress", 1.5)
        print("begun", flush=True)
        sys.stdin.readline()
        ex.log_metric("progress", 2.5)
        print("goes on", flush=True)
        sys.stdin.readline()

    train(ex.parameter("a")).compute(parameters={"a": 7}, scheduler="synchronous")
"""


@pytest.fixture(params=["local", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store that other processes can write to: a path, or a URI."""
    if request.param == "local":
        yield str(tmp_path / "store")
    else:
        with redis_server(tmp_path / "redis") as redis:
            yield redis.uri


@contextmanager
def worker(place: str) -> Iterator[Callable[[], None]]:
    """Another process that runs a trial; what is given lets it go on."""
    Path("worker.py").write_text(textwrap.dedent(WORKER))
    running = subprocess.Popen(
        [sys.executable, "worker.py", place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def go_on() -> None:
        assert running.stdin is not None
        running.stdin.write("\n")
        running.stdin.flush()

    try:
        assert running.stdout is not None and running.stdout.readline() == "begun\n"
        yield go_on
    finally:
        running.kill()
        running.communicate()


def test_the_page_moves_with_what_another_process_runs(place: str, open_page: OpenPage) -> None:
    with open_backend(place) as backend, serving.start(backend, port=0) as board:
        page = open_page("/running", board)
        page.wait_for_selector("text=Nothing runs")
        with worker(place) as go_on:
            row = page.locator('tr[data-trial="1"][data-experiment="example"]')
            row.wait_for()
            uid = batch(backend, "example")
            page.wait_for_selector(f'[data-batch="{uid}"] [role="progressbar"]')
            page.wait_for_selector("text=1 trial in 1 process")
            assert "1.5" in row.inner_text() and "a=7" in row.inner_text()
            # It was sampled: step, processor time and memory are known.
            row.locator("text=train").wait_for()
            row.locator("text=MB").wait_for()
            go_on()
            row.locator(".metric-last", has_text="2.5").wait_for()
            row.get_by_role("link", name="Trial 1").click()
            page.wait_for_selector('.sections a[data-part="usage"]')
            page.click('.sections a[data-part="usage"]')
            page.wait_for_selector('figure.chart[data-metric="memory"] canvas')
            page.get_by_role("link", name="Running", exact=True).click()
            row.wait_for()
            go_on()
            row.wait_for(state="detached")
        backend.update(paths.batches("example"), uid, {"state": "COMPLETE"})
        page.wait_for_selector("text=A trial or a batch that begins")


def test_a_trial_that_is_killed_moves_to_the_crashed_ones(place: str, open_page: OpenPage) -> None:
    with open_backend(place) as backend, serving.start(backend, port=0) as board:
        with worker(place):
            page = open_page("/running", board)
            page.wait_for_selector("text=1 trial in 1 process")
        page.wait_for_selector('section[aria-label="Crashed"] tr[data-trial="1"]')
        assert page.locator("text=1 trial in 1 process").count() == 0


@pytest.fixture
def going() -> Iterator[Backend]:
    """A store in which batches and trials of two experiments run, and one has crashed."""
    backend = MemoryBackend()
    ex, other = (Experiment(name, backend=backend) for name in ("example", "x" * 60))
    batch(backend, ex.id)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    batch(backend, other.id, owner={**process(), "pid": dead.pid})
    with running(ex, [4, 5]), running(other, [6]):
        ask = Asked(backend)
        until(ask, lambda found: all(one["usage"] for one in found["running"]))
        yield backend


@pytest.fixture
def board(going: Backend) -> Iterator[Dashboard]:
    """A dashboard of it."""
    with serving.start(going, port=0) as dashboard:
        yield dashboard


@pytest.mark.parametrize("path", ["/running", "/experiments/example/trials/1#usage"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_does_not_scroll_sideways_and_its_text_can_be_read(
    board: Dashboard, open_page: OpenPage, path: str, scheme: str
) -> None:
    page = open_page(path, board, width=360, height=740, color_scheme=scheme)
    page.wait_for_selector("tr[data-trial], figure.chart canvas")

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(POOR_CONTRAST) == []


def test_an_experiment_is_chosen_by_its_address(board: Dashboard, open_page: OpenPage) -> None:
    page = open_page("/running", board)
    page.wait_for_selector("text=3 trials in 1 process")

    page.get_by_label("Experiment").select_option("example")
    page.wait_for_selector("text=2 trials in 1 process")

    assert page.url.endswith("/running?experiment=example")
    page.reload()
    page.wait_for_selector("text=2 trials in 1 process")
    assert page.title() == "Running: example"
    page.go_back()
    page.wait_for_selector("text=3 trials in 1 process")


def test_the_keyboard_alone_is_enough(board: Dashboard, open_page: OpenPage) -> None:
    page = open_page("/running", board)
    page.wait_for_selector('tr[data-trial="2"]')

    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sections")

    assert page.title() == "Trial 1 of example"
    page.keyboard.press("8")
    page.wait_for_selector("figure.chart canvas")


def test_a_screen_reader_is_told_everything(board: Dashboard, open_page: OpenPage) -> None:
    page = open_page("/running", board)
    page.wait_for_selector('tr[data-trial="2"]')

    bar = page.get_by_role("progressbar", name=re.compile("of example$"))
    assert bar.get_attribute("aria-valuetext") == "15 of 60 trials ended"
    assert page.get_by_role("table", name=re.compile("^Trials on ")).count() == 1
    assert page.get_by_role("heading", level=2).count() == 2
    assert page.get_by_role("link", name="Running").get_attribute("aria-current") == "page"
    unnamed = page.eval_on_selector_all(
        "button, input, select, a[href], [role=progressbar], [role=region]",
        "them => them.filter(it => it.checkVisibility() && !(it.ariaLabel || it.textContent.trim()"
        " || it.labels?.length)).map(it => it.outerHTML)",
    )
    assert unnamed == []


def test_the_focus_stays_while_numbers_change(
    going: Backend, board: Dashboard, open_page: OpenPage
) -> None:
    page = open_page("/running", board)
    link = page.locator('tr[data-trial="2"] th > a')
    link.focus()
    uid = Experiment("example", backend=going)[2].uid
    usage = Usage(going, "example")

    sample = Sample(500.0, {"cpu": 77.7, "memory": 5}, (("train", 0),))
    going.apply(usage.writing(uid, process()["host"], 987654321, [sample]))
    page.wait_for_selector("text=987654321")

    assert page.evaluate("document.activeElement.closest('tr')?.dataset.trial") == "2"


def test_processes_of_a_trial_are_told_apart_in_its_charts(open_page: OpenPage) -> None:
    with serving.start(sampled(30).backend, port=0) as dashboard:
        page = open_page("/experiments/example/trials/1#usage", dashboard)
        page.locator('figure.chart[data-metric="cpu"] .legend-entry >> text=lab:8').wait_for()
        legend = page.locator('figure.chart[data-metric="cpu"] .legend-entry')
        memory = page.locator('figure.chart[data-metric="memory"]')

        assert legend.all_inner_texts() == ["lab:7", "lab:8"]
        memory.locator("summary").click()
        memory.locator("tbody tr").first.wait_for()
        assert memory.locator("thead th").all_inner_texts() == ["Seconds", "lab:7", "lab:8"]
        assert memory.locator("tbody tr").first.inner_text().split("\t") == [
            "0 s", "7 bytes", "8 bytes",
        ]  # fmt: skip
