"""The pages in a real browser, over stores of every kind, while other processes write to them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.backends import Backend, open_backend
from daskperiment.dashboard import serving
from daskperiment.dashboard.serving import Dashboard
from daskperiment.history.trials import Trials
from tests.dashboard.stores import fill
from tests.servers import MongoServer, RedisServer

OpenPage = Callable[..., Any]
BOARD = "/experiments/shown"

WORKER = """
    import sys
    import time
    from daskperiment import Experiment

    ex = Experiment("shown", backend=sys.argv[1])

    @ex
    def prepare(a):
        print("prepared")
        return a

    @ex.result
    def train(a):
        ex.log_metric("progress", 1.5)
        print("first line", flush=True)
        sys.stdin.readline()
        ex.log_metric("progress", 2.5)
        print("second line", flush=True)
        sys.stdin.readline()
        return a

    train(prepare(ex.parameter("a"))).compute(parameters={"a": 7}, scheduler="synchronous")
"""


class Worker:
    """Another process that runs a trial, and goes on when it is told."""

    def __init__(self, place: str) -> None:
        Path("worker.py").write_text(textwrap.dedent(WORKER))
        command = [sys.executable, "worker.py", place]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def go_on(self) -> None:
        """Let it go on to its next wait."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it as a crash ends it."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def worker(place: str) -> Iterator[Worker]:
    running = Worker(place)
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture(params=["local", "redis", "mongodb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store is that other processes can write to: a path, or a URI."""
    if request.param == "local":
        return str(tmp_path / "store")
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("own_redis")
        return server.uri
    mongo: MongoServer = request.getfixturevalue("mongo_running")
    return mongo.uri(f"pages{os.getpid()}")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    yield server
    server.close()


@pytest.fixture
def stored(place: str) -> Iterator[Backend]:
    """That store, with trials of every kind."""
    with open_backend(place) as backend:
        fill(backend)
        yield backend
        backend.drop("experiment/shown")


@pytest.fixture
def board(stored: Backend) -> Iterator[Dashboard]:
    """A dashboard over it."""
    with serving.start(stored, "shown", port=0) as dashboard:
        yield dashboard


def rows(page: Any) -> list[str]:
    """Numbers of the trials that the table shows."""
    return page.eval_on_selector_all("tr[data-trial]", "them => them.map(it => it.dataset.trial)")  # type: ignore[no-any-return]


# over each kind of store


def test_every_page_shows_what_is_stored(board: Dashboard, open_page: OpenPage) -> None:
    page = open_page("/experiments", board)
    page.get_by_role("link", name="shown").first.click()
    page.wait_for_selector('tr[data-trial="4"]')
    assert rows(page) == ["4", "3", "2", "1"]
    assert page.title() == "Experiment: shown"

    page.get_by_role("link", name="Trial 1", exact=True).click()
    page.wait_for_selector('tr[data-parameter="a"]')
    assert page.title() == "Trial 1 of shown"
    assert "good" in page.inner_text("#main")
    for part, there in [
        ("metrics", 'figure.chart[data-metric="loss"] canvas'),
        ("graph", '[data-node="prepare[0]"]'),
        ("code", '[data-step="prepare"]'),
        ("output", ".output-line"),
        ("environment", '[data-category="packages"]'),
        ("usage", "text=Nothing sampled"),
        ("artifacts", '[data-artifact="plots/true.png"] img'),
    ]:
        page.click(f'.sections a[data-part="{part}"]')
        page.wait_for_selector(there)
    assert page.evaluate("document.querySelector('[data-artifact] img').naturalWidth") == 1

    page.goto(f"{board.url}experiments/shown/compare?trials=1&trials=4")
    page.wait_for_selector('tbody[data-section="parameters"]')
    assert page.locator('tbody[data-section="state"]').inner_text().split()[-2:] == [
        "COMPLETE", "FAILED",
    ]  # fmt: skip


def test_a_trial_of_another_process_moves_while_one_looks(
    place: str, board: Dashboard, open_page: OpenPage
) -> None:
    table = open_page(BOARD, board)
    with worker(place) as running:
        table.wait_for_selector('tr[data-trial="6"][data-state="RUNNING"]')
        trial = open_page(f"{BOARD}/trials/6#output", board)
        trial.wait_for_selector("text=first line")
        assert trial.locator("text=second line").count() == 0
        running.go_on()
        trial.wait_for_selector("text=second line")
        table.wait_for_selector('tr[data-trial="6"] >> text=2.5')
        running.go_on()
        table.wait_for_selector('tr[data-trial="6"][data-state="COMPLETE"]')
        trial.click('.sections a[data-part="overview"]')
        trial.wait_for_selector("h1 + * >> text=Complete")


def test_a_trial_that_is_killed_shows_as_crashed(
    place: str, board: Dashboard, open_page: OpenPage
) -> None:
    table = open_page(BOARD, board)
    with worker(place) as running:
        table.wait_for_selector('tr[data-trial="6"][data-state="RUNNING"]')
        running.kill()
        table.wait_for_selector('tr[data-trial="6"][data-state="CRASHED"]')
    assert table.locator('.chip[data-state="CRASHED"]').inner_text().split() == ["Crashed", "1"]


# the table


def test_a_click_on_a_head_sorts_at_the_server_and_is_in_the_address(open_page: OpenPage) -> None:
    page = open_page(BOARD)

    page.click('th[data-column="a"] button')
    page.wait_for_selector('th[data-column="a"][aria-sort="ascending"]')
    page.wait_for_function("() => document.querySelector('tr[data-trial]').dataset.trial === '4'")
    upwards = rows(page)
    page.click('th[data-column="a"] button')
    page.wait_for_selector('th[data-column="a"][aria-sort="descending"]')
    page.wait_for_function("() => document.querySelector('tr[data-trial]').dataset.trial === '3'")

    assert (upwards, rows(page)) == (["4", "1", "2", "3"], ["3", "2", "1", "4"])
    assert "order_by=-a" in page.url
    page.reload()
    page.wait_for_selector('tr[data-trial="3"]')
    assert rows(page) == ["3", "2", "1", "4"]


def test_a_condition_filters_and_a_wrong_one_says_where(open_page: OpenPage) -> None:
    page = open_page(BOARD, expecting="400")
    box = page.get_by_label("Condition on trials")

    box.fill("a > 1 and Success")
    box.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('tr[data-trial]').length === 2")
    assert "where=a+%3E+1+and+Success" in page.url or "where=a%20%3E" in page.url
    box.fill("a >")
    box.press("Enter")
    page.wait_for_selector("#trouble:not([hidden])")

    assert "at character 4" in page.inner_text("#trouble")
    assert rows(page) == ["3", "2"]


def test_a_state_is_chosen_by_its_chip(open_page: OpenPage) -> None:
    page = open_page(BOARD)

    page.click('.chip[data-state="FAILED"]')
    page.wait_for_function("() => document.querySelectorAll('tr[data-trial]').length === 1")

    assert rows(page) == ["4"]
    assert page.get_attribute('.chip[data-state="FAILED"]', "aria-pressed") == "true"


def test_chosen_columns_are_kept(open_page: OpenPage) -> None:
    page = open_page(BOARD)

    page.get_by_role("button", name="Columns").click()
    page.get_by_role("checkbox", name="Seed").check()
    page.keyboard.press("Escape")
    page.wait_for_selector('th[data-column="Seed"]')
    page.goto(page.url.partition("?")[0])
    page.wait_for_selector('th[data-column="Seed"]')

    assert "7" in page.locator('tr[data-trial="1"]').inner_text().split()


def test_marked_trials_are_compared(open_page: OpenPage) -> None:
    page = open_page(BOARD)

    for number in (1, 4):
        page.get_by_role("checkbox", name=f"Select trial {number}").check()
    page.get_by_role("link", name="Compare 2 trials").click()
    page.wait_for_selector('th[data-trial="4"]')

    assert re.search(r"/compare\?trials=1&trials=4$", page.url)


# one trial


def test_a_click_on_a_step_shows_its_record(open_page: OpenPage) -> None:
    page = open_page(f"{BOARD}/trials/1#graph")

    page.click('[data-node="prepare[0]"]')
    page.wait_for_selector(".record")
    shown = page.inner_text(".record")

    assert "prepare" in shown
    assert "v1:" in shown
    assert "#graph/prepare" in page.url
    page.keyboard.press("Escape")
    page.wait_for_selector(".record", state="hidden")


def test_a_click_on_a_step_says_why_it_has_run(tmp_path: Path, open_page: OpenPage) -> None:
    ex = Experiment("reused", backend=tmp_path / "reused", seed=1, reuse=True)

    @ex
    def clean(a: int) -> int:
        return a

    @ex.result
    def score(data: int, b: int) -> int:
        return data + b

    s = score(clean(ex.parameter("a", default=1)), ex.parameter("b", default=2))
    s.compute()
    s.compute(parameters={"b": 3})
    with serving.start(ex.backend, "reused", port=0) as dashboard:
        page = open_page("/experiments/reused/trials/2#graph", dashboard)

        page.click('[data-node="score[0]"]')
        page.wait_for_selector(".record .why:not([hidden])")
        assert page.inner_text(".record .why") == "ran: input 'b' is 3, it was 2 in trial 1"
        page.click('[data-node="clean[0]"]')
        page.wait_for_selector(".record .why:has-text('reused from trial 1')")


def test_two_trials_that_are_compared_say_which_change_moved_the_score(
    tmp_path: Path, open_page: OpenPage
) -> None:
    ex = Experiment("moved", backend=tmp_path / "moved", seed=1)

    @ex
    def clean(a: int) -> int:
        return a

    @ex.result
    def score(data: int) -> int:
        return 2 * data

    s = score(clean(ex.parameter("a")))
    s.compute(parameters={"a": 1})
    s.compute(parameters={"a": 3})
    with serving.start(ex.backend, "moved", port=0) as dashboard:
        page = open_page("/experiments/moved/compare?trials=1&trials=2", dashboard)

        page.wait_for_selector(".why-card")
        assert page.inner_text(".why-first") == "clean"
        assert (
            page.inner_text('.why-cause[data-kind="parameter"]') == "parameter a: 1 -> 3 in clean"
        )
        assert "Only because their inputs differ: score" in page.inner_text(".why-card")


def test_a_tainted_trial_has_a_badge_and_its_page_the_reason(
    tmp_path: Path, open_page: OpenPage
) -> None:
    ex = Experiment("tainted", backend=tmp_path / "tainted", seed=1)
    ex.result(lambda a: a, name="score")(ex.parameter("a", default=1)).compute()
    with serving.start(ex.backend, "tainted", port=0) as dashboard:
        page = open_page("/experiments/tainted", dashboard)
        page.wait_for_selector('tr[data-trial="1"]')

        ex.taint("score", reason="off by one")

        page.wait_for_selector('tr[data-trial="1"] [data-tainted="off by one"]')
        page.goto(page.url + "/trials/1")
        page.wait_for_selector("text=Tainted: off by one")


def test_tainted_trials_are_chosen_by_their_chip(tmp_path: Path, open_page: OpenPage) -> None:
    ex = Experiment("tainted", backend=tmp_path / "tainted", seed=1)
    s = ex.result(lambda a: a, name="score")(ex.parameter("a"))
    for a in (1, 2, 3):
        s.compute(parameters={"a": a})
    with serving.start(ex.backend, "tainted", port=0) as dashboard:
        page = open_page("/experiments/tainted", dashboard)
        page.wait_for_selector('tr[data-trial="3"]')
        assert page.locator(".chip").count() == 1

        ex.taint("score", input=2, reason="two is wrong")
        page.get_by_role("button", name="Tainted 1").click()
        page.wait_for_function("() => document.querySelectorAll('tr[data-trial]').length === 1")
        page.wait_for_selector('[aria-pressed="true"] >> text=Tainted')
        assert rows(page) == ["2"]
        page.reload()
        page.wait_for_selector('tr[data-trial="2"]')
        assert rows(page) == ["2"]
        page.get_by_role("button", name="Tainted 1").click()
        page.wait_for_selector('tr[data-trial="3"]')


HOSTILE = '<script>window.__pwned = 1</script> "it\'s"'


def test_a_taint_says_why_by_whom_and_which_calls_and_they_are_marked_in_the_graph(
    tmp_path: Path, open_page: OpenPage
) -> None:
    ex = Experiment("tainted", backend=tmp_path / "tainted", seed=1)
    clean = ex(lambda a: a, name=HOSTILE)
    ex.result(lambda a, b: a, name="score")(clean(ex.parameter("a", default=1)), 2).compute()
    with serving.start(ex.backend, "tainted", port=0) as dashboard:
        page = open_page("/experiments/tainted/trials/1#graph", dashboard)
        page.wait_for_selector('[data-node="score[0]"]')
        assert page.locator(".node-taint").count() == 0

        ex.taint(HOSTILE, reason=HOSTILE)

        page.wait_for_selector(".node-taint >> nth=1")
        told = page.get_by_role("list", name="Taints")
        assert f"Tainted: {HOSTILE}" in told.inner_text()
        assert f"by {ex[1].taints[0].by}" in told.inner_text()
        told.get_by_role("link", name=f"{HOSTILE}[0]").click()
        page.wait_for_selector(f".record >> text=Tainted: {HOSTILE}")
        assert page.inner_text(".record h2") == f"{HOSTILE}[0]"
        assert page.get_by_role("button", name="tainted").count() == 2
        page.wait_for_selector('[data-kin="Descendants"] [data-kin-name="score"]')
        assert page.evaluate("window.__pwned === undefined")
        ex[1].untaint()
        page.wait_for_selector(".taints", state="detached", timeout=20_000)
        page.wait_for_selector(".node-taint", state="detached")


@pytest.fixture
def reused(tmp_path: Path) -> Iterator[Dashboard]:
    """Three trials, of which the last ones have taken ``clean`` from the first."""
    ex = Experiment("reused", backend=tmp_path / "reused", seed=1, reuse=True)

    @ex
    def clean(a: int) -> int:
        return a

    @ex
    def other(a: int) -> int:
        return a

    @ex.result
    def score(data: int, b: int, more: int) -> int:
        return data + b + more

    a, b = ex.parameter("a", default=1), ex.parameter("b")
    for value in (2, 3, 4):
        score(clean(a), b, other(b)).compute(parameters={"b": value})
    with serving.start(ex.backend, "reused", port=0) as dashboard:
        yield dashboard


def kin(page: Any, title: str) -> list[str]:
    """Names of what a step descends from, or of its descendants."""
    page.wait_for_selector(f'[data-kin="{title}"]')
    return page.eval_on_selector_all(  # type: ignore[no-any-return]
        f'[data-kin="{title}"] [data-kin-name]', "them => them.map(it => it.dataset.kinName)"
    )


def marked(page: Any, how: str) -> list[str]:
    return page.eval_on_selector_all(f".node.{how}", "them => them.map(it => it.dataset.node)")  # type: ignore[no-any-return]


def test_a_click_on_a_step_shows_its_lineage_here_and_in_other_trials(
    reused: Dashboard, open_page: OpenPage
) -> None:
    page = open_page("/experiments/reused/trials/1#graph", reused)

    page.click('[data-node="clean[0]"]')
    assert (kin(page, "Descends from"), kin(page, "Descendants")) == (["a"], ["score"])
    assert (marked(page, "above"), marked(page, "below")) == (["a"], ["score[0]"])
    taker = page.locator('[data-taker="2"]')
    taker.wait_for()
    assert "clean, score" in taker.inner_text()
    assert "Result 7" in " ".join(taker.inner_text().split())
    assert page.locator("[data-taker]").count() == 2

    page.get_by_role("link", name="score[0]").click()
    page.wait_for_selector('.record h2:has-text("score[0]")')
    page.wait_for_selector('[data-kin="Descends from"] [data-kin-name="other"]')
    assert sorted(kin(page, "Descends from")) == ["a", "b", "clean", "other"]
    assert page.locator(".edge.below").count() == 0
    page.wait_for_selector("text=None has taken its output")
    page.goto(page.url.replace("/1#", "/2#").replace("score", "clean"))
    page.wait_for_selector('.record dd a:has-text("trial 1")')


def test_the_lineage_of_a_parameter_is_reached_by_the_keyboard(
    reused: Dashboard, open_page: OpenPage
) -> None:
    page = open_page("/experiments/reused/trials/1#graph", reused)
    page.locator('[data-node="a"]').focus()

    page.keyboard.press("Enter")
    assert kin(page, "Descendants") == ["clean", "score"]
    page.get_by_role("list", name="Descendants").get_by_role("link").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector('.record h2:has-text("clean[0]")')
    page.keyboard.press("Escape")
    page.wait_for_selector(".record", state="hidden")
    assert page.evaluate("document.activeElement.dataset.node") == "clean[0]"
    assert marked(page, "above") == ["a"]  # for it has the focus


def test_a_lineage_that_was_cut_off_says_so_and_goes_further(
    reused: Dashboard, open_page: OpenPage, page: Callable[..., Any]
) -> None:
    made = page()
    made.route(
        re.compile(r"/takers\?step=clean&call=0$"),
        lambda route: route.continue_(url=f"{route.request.url}&most=1"),
    )
    made.goto(reused.url.rstrip("/") + "/experiments/reused/trials/1#graph/clean%5B0%5D")

    made.wait_for_selector("text=Not complete: 1 trial was looked at, 1 more may have taken it.")
    assert made.locator("[data-taker]").count() == 1
    made.get_by_role("button", name="Look further").click()
    made.wait_for_selector('[data-taker="3"]')
    assert made.locator("text=Not complete").count() == 0


def test_a_thousand_steps_stay_fluent_and_each_call_has_a_lineage(open_page: OpenPage) -> None:
    ex = Experiment("many", backend="memory://", seed=1)

    @ex
    def part(i: int) -> int:
        return i

    @ex
    def twice(i: int) -> int:
        return 2 * i

    total = ex.result(lambda values: sum(values), name="total")
    total([twice(part(i)) for i in range(500)]).compute(scheduler="synchronous")
    with serving.start(ex.backend, "many", port=0) as dashboard:
        page = open_page("/experiments/many/trials/1#graph", dashboard)
        page.wait_for_selector('[data-node="twice[*]"]')
        began = time.monotonic()
        page.click('[data-node="twice[*]"]')
        assert (kin(page, "Descends from"), kin(page, "Descendants")) == (["part"], ["total"])
        assert "part \u00d7 500" in page.inner_text('[data-kin="Descends from"]')
        page.get_by_label("Which call of twice").fill("17")
        page.keyboard.press("Enter")
        page.wait_for_selector('[data-kin="Descends from"] >> text="part[17]"')
        page.click('[data-kin="Descendants"] a')
        page.wait_for_selector('[data-kin="Descends from"] >> text=twice \u00d7 500')
        assert time.monotonic() - began < 10
        assert page.locator(".record .inputs a, .record .kin li").count() < 50


def test_a_reproduction_and_its_original_tell_of_each_other_with_the_verdict(
    tmp_path: Path, open_page: OpenPage
) -> None:
    ex = Experiment("again", backend=tmp_path / "again", seed=1)
    ex.result(lambda a: a, name="score")(ex.parameter("a", default=1)).compute()
    with serving.start(ex.backend, "again", port=0) as dashboard:
        page = open_page("/experiments/again/trials/1", dashboard)
        page.wait_for_selector("text=Took")
        assert not page.locator(".reproductions").is_visible()

        assert ex[1].reproduce().match == "bitwise"

        page.wait_for_selector('.reproductions [data-verdict="bitwise"]', timeout=20_000)
        page.wait_for_selector("text=Reproduced by trial 2: bitwise")
        page.get_by_role("link", name="trial 2", exact=True).click()
        page.wait_for_selector("text=Reproduces trial 1: bitwise")
        assert page.title() == "Trial 2 of again"
        page.click(".reproductions >> text=Compare")
        page.wait_for_selector("text=No output of a step differs")
        assert page.url.endswith("/compare?trials=1&trials=2")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_lineage_taints_and_verdicts_can_be_read_and_fit_the_page(
    tmp_path: Path, open_page: OpenPage, scheme: str, width: int
) -> None:
    ex = Experiment("again", backend=tmp_path / "again", seed=1)
    s = ex.result(lambda a: a, name="score")(ex(lambda a: a, name="clean")(ex.parameter("a")))
    for _ in range(2):
        s.compute(parameters={"a": "x" * 200})
    ex.taint("clean", reason="off by one " * 20)
    trials = Trials(ex.backend, ex.id)
    trials.edit(1, {"reproduces": ex[2].uid, "verdict": "different"})
    trials.edit(2, {"reproduces": ex[1].uid, "verdict": "tolerance"})
    with serving.start(ex.backend, "again", port=0) as dashboard:
        for number in (1, 2):
            path = f"/experiments/again/trials/{number}#graph/clean%5B0%5D"
            page = open_page(path, dashboard, width=width, height=740, color_scheme=scheme)
            page.wait_for_selector(".reproductions p >> nth=1")
            page.wait_for_selector('[data-kin="Descendants"] .digest')

            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(POOR_CONTRAST) == []


def test_a_plan_in_a_notebook_is_coloured_by_what_would_happen(page: Callable[..., Any]) -> None:
    ex = Experiment("planned", backend="memory://", seed=1, reuse=True)

    @ex
    def load(a: int) -> int:
        return a

    @ex
    def clean(data: int, b: int) -> int:
        return data * b

    @ex.result
    def score(data: int) -> int:
        return data

    s = score(clean(load(ex.parameter("a", default=1)), ex.parameter("b", default=2)))
    s.compute()
    shown = page()
    shown.set_content(ex.plan(s, {"b": 3})._repr_html_())

    colours, told = {}, {}
    for box in shown.query_selector_all("svg g:has(> title)"):
        name, _, rest = box.query_selector("title").text_content().partition("\n")
        colours[name.partition(":")[0]] = box.query_selector("rect").get_attribute("fill")
        told[name.partition(":")[0]] = rest.partition("\n")[0]
    assert len({colours[step] for step in ("load", "clean", "score")}) == 3
    assert told["load"] == "reuse from trial 1"
    assert told["clean"] == "run input 'b' is 3, it was 2 in trial 1"
    assert told["score"] == "depends on clean, which runs"
    assert shown.get_by_role("cell", name=re.compile("input 'b' is 3")).is_visible()


def test_a_step_has_an_address(open_page: OpenPage) -> None:
    page = open_page(f"{BOARD}/trials/4#graph/prepare%5B0%5D")

    page.wait_for_selector(".record")

    assert "failed" in page.inner_text(".record").lower()


def test_a_failure_says_where(open_page: OpenPage) -> None:
    page = open_page(f"{BOARD}/trials/4")
    page.wait_for_selector('tr[data-parameter="a"]')

    assert "ValueError(a is -1)" in page.inner_text("#main")
    assert "Traceback (most recent call last)" in page.inner_text("#main")


def test_a_curve_is_exact_where_one_looks_closer(open_page: OpenPage) -> None:
    ex = Experiment("shown", backend="memory://")

    @ex.result
    def train() -> int:
        for epoch in range(20_000):
            ex.log_metric("loss", epoch % 100)
        return 1

    train().compute(scheduler="synchronous")
    with serving.start(ex.backend, "shown", port=0) as board:
        page = open_page(f"{BOARD}/trials/1#metrics", board)
        chart = page.locator('figure.chart[data-metric="loss"]')
        chart.locator("canvas").wait_for()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        for _ in range(6):
            with page.expect_response(lambda reply: "start=" in reply.url) as reply:
                chart.get_by_role("button", name="Zoom in").click()
        series = reply.value.json()["series"][0]

    assert series["exact"]
    assert series["epochs"] == list(range(series["epochs"][0], series["epochs"][-1] + 1))


# everyone can use it


def test_the_keyboard_alone_is_enough(open_page: OpenPage) -> None:
    page = open_page(BOARD)
    page.wait_for_selector("tr[data-trial]")

    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == (
        "Condition on trials"
    )
    page.keyboard.type("Success")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('tr[data-trial]').length === 3")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.wait_for_selector("text=Compare 2 trials")
    page.keyboard.press("c")
    page.wait_for_selector('th[data-trial="3"]')
    page.go_back()
    page.wait_for_selector('tr[data-trial="3"]')
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sections")
    title = page.title()
    page.keyboard.press("[")
    page.wait_for_function(f"() => document.title !== {title!r}")


def test_everything_that_can_be_clicked_can_be_reached_by_tab(open_page: OpenPage) -> None:
    page = open_page(f"{BOARD}/trials/1")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
    everything = page.eval_on_selector_all(
        "a[href], button, summary, input[type=checkbox]",
        "them => them.filter(it => it.checkVisibility() && it.tabIndex >= 0 && !it.disabled)"
        ".map(it => it.outerHTML.slice(0, 200))",
    )

    assert set(everything) <= reached


@pytest.mark.parametrize(
    "path",
    [
        "/experiments", BOARD, f"{BOARD}/trials/1", f"{BOARD}/trials/1#graph",
        f"{BOARD}/trials/1#environment", f"{BOARD}/compare?trials=1&trials=4",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_does_not_scroll_sideways_and_its_text_can_be_read(
    open_page: OpenPage, path: str, scheme: str
) -> None:
    page = open_page(path, width=360, height=740, color_scheme=scheme)

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(POOR_CONTRAST) == []


POOR_CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  function rgba(colour) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  }
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]));
  function light(colour) {
    const part = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = colour.map((v) => part(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function ground(element) {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.unshift(rgba(getComputedStyle(at).backgroundColor));
    }
    return layers.reduce((under, layer) => over(layer, under), [255, 255, 255]);
  }
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim().slice(0, 40);
    if (!text || !element.checkVisibility()) continue;
    if (element.closest("svg, :disabled, noscript")) continue;
    const style = getComputedStyle(element);
    const under = ground(element);
    const [one, other] = [light(over(rgba(style.color), under)), light(under)];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) poor.push([text, ratio.toFixed(2)]);
  }
  return poor;
}"""
"""Texts whose contrast is below WCAG 2.2 AA, success criterion 1.4.3."""


def test_the_theme_follows_the_system_and_can_be_set(open_page: OpenPage) -> None:
    page = open_page(BOARD, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)

    page.get_by_role("radio", name="Light").check(force=True)
    light = page.evaluate(ground)
    page.reload()
    page.wait_for_selector("tr[data-trial]")

    assert dark != light
    assert page.evaluate(ground) == light


@pytest.mark.parametrize(
    "path", [BOARD, f"{BOARD}/trials/1#metrics", f"{BOARD}/compare?trials=1&trials=4"]
)
def test_every_control_has_a_name_for_a_screen_reader(open_page: OpenPage, path: str) -> None:
    page = open_page(path)

    unnamed = page.eval_on_selector_all(
        "button, input, select, a[href], figure",
        """them => them.filter(it => it.checkVisibility() && !(
            it.ariaLabel || it.textContent.trim() || it.labels?.length || it.title ||
            it.getAttribute('aria-labelledby')
        )).map(it => it.outerHTML)""",
    )
    assert unnamed == []
    assert page.get_attribute("html", "lang") == "en"


# when there is nothing, and when something is wrong


def test_before_the_first_trial_the_page_says_what_to_do(open_page: OpenPage) -> None:
    ex = Experiment("fresh", backend="memory://")
    with serving.start(ex.backend, "fresh", port=0) as board:
        page = open_page("/", board)
        page.wait_for_selector("text=compute")

        @ex.result
        def score(a: int) -> int:
            return a

        score(ex.parameter("a")).compute(parameters={"a": 1})
        page.wait_for_selector('tr[data-trial="1"]')


def test_what_is_not_there_says_so_and_leads_back(open_page: OpenPage) -> None:
    for path in (f"{BOARD}/trials/999", "/experiments/nothing", "/experiments/shown/trials/5"):
        page = open_page(path, expecting="404")
        page.wait_for_function("() => document.querySelector('#main').innerText.length > 20")
        page.locator("#main a").first.wait_for()


def test_a_store_that_goes_away_is_told_and_comes_back(
    own_redis: RedisServer, open_page: OpenPage
) -> None:
    with open_backend(own_redis.uri) as backend:
        fill(backend)
        with serving.start(backend, "shown", port=0) as board:
            page = open_page(BOARD, board, expecting="503")
            page.wait_for_selector('tr[data-trial="1"]')
            own_redis.kill()
            page.wait_for_selector("#banner:not([hidden])", timeout=60_000)
            assert rows(page) == ["4", "3", "2", "1"]
            own_redis.start()
            page.wait_for_selector("#banner", state="hidden", timeout=60_000)


def test_a_page_with_a_token_opens_by_the_printed_address_alone(
    shown: Experiment, page: Callable[..., Any]
) -> None:
    with serving.start(shown.backend, "shown", port=0, token="a token of good length") as board:
        stranger = page(expecting="401")
        stranger.goto(board.url.partition("?")[0])
        stranger.wait_for_selector("text=token")
        known = page()
        known.goto(board.url)
        known.wait_for_selector('tr[data-trial="1"]')

        assert "token" not in known.url
        assert known.evaluate("document.cookie") == ""
        assert stranger.locator("tr[data-trial]").count() == 0


def test_a_hidden_page_asks_for_nothing_and_is_up_to_date_when_it_is_seen_again(
    shown: Experiment, served: Dashboard, open_page: OpenPage
) -> None:
    page = open_page(BOARD)
    page.wait_for_selector('tr[data-trial="4"]')
    page.evaluate(HIDE.replace("HIDDEN", "true"))
    page.wait_for_timeout(500)  # what was asked before has been answered
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.wait_for_timeout(4000)
    while_hidden = list(asked)
    shown[1].tags = ["seen again"]
    page.evaluate(HIDE.replace("HIDDEN", "false"))
    page.wait_for_selector("text=seen again")

    assert while_hidden == []


HIDE = """() => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => HIDDEN });
  Object.defineProperty(document, "visibilityState", {
    configurable: true, get: () => HIDDEN ? "hidden" : "visible",
  });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_what_has_not_changed_is_not_sent_again(open_page: OpenPage) -> None:
    page = open_page(BOARD)
    page.wait_for_selector('tr[data-trial="4"]')

    with page.expect_response(re.compile("/api/v1/experiments/shown/trials")) as reply:
        pass

    assert reply.value.status == 304


def test_a_thousand_columns_can_be_searched(open_page: OpenPage) -> None:
    ex = Experiment("wide", backend="memory://")

    @ex.result
    def count(values: list[int]) -> int:
        return len(values)

    count([ex.parameter(f"p{i}", default=i) for i in range(1000)]).compute(scheduler="synchronous")
    with serving.start(ex.backend, "wide", port=0) as board:
        page = open_page("/experiments/wide", board)
        page.wait_for_selector('tr[data-trial="1"]')
        assert page.locator("th[data-column]").count() < 40
        page.get_by_role("button", name="Columns").click()
        page.get_by_role("searchbox").last.fill("p777")
        page.get_by_role("checkbox", name="p777").check()
        page.wait_for_selector('th[data-column="p777"]')
