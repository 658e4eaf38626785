"""Searches on the dashboard: the answers about them, and their pages."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote

import pytest

from daskperiment import Experiment
from daskperiment.backends import Backend, Insert, Update
from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard import serving
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import ROOT
from daskperiment.dashboard.serving import Dashboard
from daskperiment.history import paths
from daskperiment.search import Branch, Float, Int
from daskperiment.search.handle import Search
from tests.dashboard.fuzz import Request, ask, problems
from tests.dashboard.scripts import CANARY, PAYLOADS
from tests.dashboard.stores import JUNK, Foreign
from tests.dashboard.test_pages import POOR_CONTRAST

OpenPage = Callable[..., Any]
SPACE = {
    "kind": Branch(
        {"svm": {"penalty": Float(1e-2, 100, log=True)}, "net": {"layers": [[32], [64, 64]]}}
    ),
    "rate": Float(1e-5, 1, log=True),
    "batch": Int(16, 256),
}
NAMES = (
    "plain", "a/b", "/a//b/", "..//..", ".", "..", "%2E", "a?b=c#d", "a b+c&d", "\\x", "<b>ü</b>",
    "searches",
)  # fmt: skip


class Asked:
    """Asks a dashboard of a store."""

    def __init__(self, backend: Backend) -> None:
        self.client = create_app(Board(backend)).test_client()

    def __call__(self, name: str = "", **query: Any) -> Any:
        reply = self.client.get(address(name), query_string=query)
        assert reply.status_code == 200, reply.text
        return json.loads(reply.text, parse_constant=pytest.fail)


def address(name: str = "") -> str:
    """Where the searches of the experiment, or one of them, are asked for."""
    return f"{ROOT}/experiments/lab/searches" + (f"/{quote(name, safe='')}" if name else "")


def branches(backend: Backend) -> Search:
    """A search of 60 trials in two branches, of which some fail."""
    ex = Experiment("lab", backend=backend)

    @ex.result
    def score(kind: str, rate: float, batch: int, penalty: float | None, layers: Any) -> float:
        if rate > 0.3:
            raise ValueError("it diverges")
        return math.log10(rate) ** 2 + batch / 100 + len(kind)

    defaults = {name: ex.parameter(name, default=None) for name in ("penalty", "layers")}
    node = score(*(ex.parameter(name) for name in ("kind", "rate", "batch")), **defaults)
    return ex.search(node, SPACE, 60, sampler="random", seed=4, name="branches", progress=False)


def fronted(backend: Backend) -> Search:
    """A search by two metrics."""
    ex = Experiment("lab", backend=backend)

    @ex.result
    def both(rate: float, width: int) -> dict[str, float]:
        return {"error": (rate - 0.3) ** 2 + 1 / width, "gain": 5 - width / 50 - rate}

    node = both(ex.parameter("rate"), ex.parameter("width"))
    metrics: Any = {"error": "minimize", "gain": "maximize"}
    space = {"rate": Float(0.01, 1), "width": Int(4, 128, log=True)}
    return ex.search(
        node, space, 40, sampler="random", seed=4, metrics=metrics, name="front", progress=False
    )


def squares(backend: Backend, name: str = "squares", values: Any = (3, -1, 2)) -> Search:
    ex = Experiment("lab", backend=backend)

    @ex.result
    def square(x: float) -> float:
        return x * x

    node = square(ex.parameter("x"))
    return ex.search(node, {"x": list(values)}, sampler="grid", name=name, progress=False)


# -- answers -----------------------------------------------------------------------------------


def test_searches_are_listed_with_what_has_become_of_them() -> None:
    backend = MemoryBackend()
    single, several = branches(backend), fronted(backend)

    newest, first = Asked(backend)()["searches"]

    assert (first["search"], first["sampler"], first["main"]) == (
        "branches", {"name": "random"}, "result",
    )  # fmt: skip
    assert first["metrics"] == [{"name": "result", "direction": "minimize"}]
    told = single.document()
    assert {key: first[key] for key in ("trials", "complete", "pruned", "failed")} == {
        key: told[key] for key in ("trials", "complete", "pruned", "failed")
    }
    assert first["failed"] > 0 and first["running"] == 0 and first["n_trials"] == 60
    assert (first["best"]["trial"], first["best"]["value"]) == (
        told["best"]["number"], told["best"]["value"],
    )  # fmt: skip
    assert (newest["state"], newest["main"], newest["best"]) == ("COMPLETE", None, None)
    assert newest["pareto"] == [each["number"] for each in several.document()["pareto"]]


def test_a_search_has_scales_and_each_trial_only_what_is_active() -> None:
    backend = MemoryBackend()
    search = branches(backend)

    found = Asked(backend)("branches")

    scales = {scale.pop("name"): scale for scale in found["scales"]}
    assert scales["rate"] == {
        "kind": "number", "low": 1e-5, "high": 1, "log": True, "integer": False,
    }  # fmt: skip
    assert scales["kind"] == {"kind": "category", "choices": ["svm", "net"]}
    assert scales["layers"]["choices"] == [[32], [64, 64]]
    table = search.history()
    for row in found["rows"]:
        other = {"svm": "penalty", "net": "layers"}[row["parameters"]["kind"]]
        assert row["parameters"].keys() == {"kind", "rate", "batch", other}
        assert (row["trial"], row["state"]) == tuple(table.loc[row["place"], ["Trial ID", "State"]])
        assert row["values"][0] == (
            None if row["state"] == "FAILED" else table.loc[row["place"], "result"]
        )
    assert {row["place"] for row in found["rows"]} == set(range(60))


def test_only_what_has_changed_is_told_and_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = MemoryBackend()
    squares(backend)
    ask = Asked(backend)
    first = ask("squares")
    read: list[Any] = []
    find, many = backend.find, backend.get_many

    def finding(path: str, *arguments: Any, **options: Any) -> Iterator[Any]:
        for key, row in find(path, *arguments, **options):
            if path == paths.trials("lab") and options.get("limit") != 1:
                read.append(key)
            yield key, row

    monkeypatch.setattr(backend, "find", finding)
    monkeypatch.setattr(
        backend, "get_many", lambda path, keys: (read.extend(keys), many(path, keys))[1]
    )

    again = ask("squares", since=first["cursor"])
    assert (again["rows"], again["cursor"], again["whole"]) == ([], first["cursor"], False)
    row = backend.get(paths.trials("lab"), 3)
    assert row is not None
    backend.apply(Insert(paths.trials("lab"), {**row, "uid": "f" * 32, "place": 3}, 4))
    more = ask("squares", since=first["cursor"])

    assert first["whole"] and len(first["rows"]) == 3
    assert [each["trial"] for each in more["rows"]] == [4]
    assert (more["trials"], more["whole"]) == (4, False)
    assert read == [4]


def test_a_cursor_of_another_dashboard_begins_anew() -> None:
    backend = MemoryBackend()
    squares(backend)
    cursor = Asked(backend)("squares")["cursor"]

    for odd in (cursor, "", "x", "1-2-3", "-5"):
        found = Asked(backend)("squares", since=odd)
        assert (found["whole"], len(found["rows"])) == (True, 3)


def test_many_trials_come_one_part_after_the_other() -> None:
    backend = MemoryBackend()
    squares(backend, values=range(10))
    ask = Asked(backend)

    parts, cursor = [], None
    while not parts or parts[-1]["more"]:
        parts.append(ask("squares", limit=4, **({"since": cursor} if cursor else {})))
        cursor = parts[-1]["cursor"]

    assert [len(part["rows"]) for part in parts] == [4, 4, 2]
    assert {row["place"] for part in parts for row in part["rows"]} == set(range(10))


def test_what_has_not_changed_is_not_sent_again() -> None:
    backend = MemoryBackend()
    squares(backend)
    client = create_app(Board(backend)).test_client()

    for path in (address(), address("squares")):
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


def test_any_name_can_be_asked_for_and_so_can_its_uid() -> None:
    backend = MemoryBackend()
    for name in NAMES:
        squares(backend, name, [1])
    ask = Asked(backend)

    for listed in ask()["searches"]:
        for asked in (listed["search"], listed["uid"]):
            assert ask(asked)["search"] == listed["search"]
    assert {listed["search"] for listed in ask()["searches"]} == set(NAMES)


def test_a_search_that_is_not_there_is_not_found() -> None:
    backend = MemoryBackend()
    squares(backend)

    reply = Asked(backend).client.get(address("other"))

    assert reply.status_code == 404
    assert "'lab' has no search 'other'" in reply.json["error"]["message"]


def test_of_a_place_that_was_tried_again_the_last_trial_counts() -> None:
    backend = MemoryBackend()
    squares(backend)
    row = backend.get(paths.trials("lab"), 1)
    assert row is not None
    ask = Asked(backend)
    cursor = ask("squares")["cursor"]

    backend.apply(Insert(paths.trials("lab"), {**row, "uid": "f" * 32}, 4))

    (told,) = ask("squares", since=cursor)["rows"]
    assert (told["place"], told["trial"]) == (row["place"], 4)
    assert ask("squares")["trials"] == 3


def test_a_search_is_shown_also_if_its_space_is_of_another_version() -> None:
    backend = MemoryBackend()
    squares(backend)
    space = {"x": {"type": "of tomorrow"}}
    backend.apply(Update(paths.searches("lab"), "squares", {"space": space}))

    found = Asked(backend)("squares")

    assert found["scales"] == []
    assert sorted(row["parameters"]["x"] for row in found["rows"]) == [-1, 2, 3]


def test_a_search_that_others_have_spoilt_hides_no_other() -> None:
    backend = Foreign()
    squares(backend, "spoilt")
    squares(backend, "sound")
    sound = backend.get(paths.searches("lab"), "spoilt")
    assert sound is not None
    for at, field in enumerate(sound):
        for junk in JUNK[at % 12 :: 12] if field != "started" else ():
            backend.apply(Update(paths.searches("lab"), "spoilt", {field: junk}))
            app = create_app(Board(backend))
            for name in ("", "spoilt", "sound"):
                request = Request("GET", address(name))
                reply = ask(app, request)
                assert [*problems(request, reply, foreign=True)] == [], (field, junk, name)
                assert reply.status == 200 or name == "spoilt", (field, junk, reply.body)
        backend.apply(Update(paths.searches("lab"), "spoilt", {field: sound[field]}))


# -- pages -------------------------------------------------------------------------------------


PAGE = "/experiments/lab/searches"


@pytest.fixture(scope="module")
def store() -> Backend:
    return MemoryBackend()


@pytest.fixture(scope="module")
def searched(store: Backend) -> dict[str, Search]:
    """Two searches of one store."""
    return {"branches": branches(store), "front": fronted(store)}


@pytest.fixture(scope="module")
def board(store: Backend) -> Iterator[Dashboard]:
    """A dashboard that shows them."""
    with serving.start(store, "lab", port=0) as dashboard:
        yield dashboard


def drag(page: Any, axis: str, start: float, end: float) -> None:
    """Drag along an axis of the parallel coordinates, from one share of it to another."""
    hit = page.locator(f'[data-hit="{axis}"]')
    hit.scroll_into_view_if_needed()
    box = hit.bounding_box()
    middle = box["x"] + box["width"] / 2
    up = [box["y"] + 6 + (1 - share) * (box["height"] - 12) for share in (start, end)]
    page.mouse.move(middle, up[0])
    page.mouse.down()
    page.mouse.move(middle, sum(up) / 2)
    page.mouse.move(middle, up[1])
    page.mouse.up()


def order(page: Any, selector: str = "tr[data-trial]") -> list[int]:
    """Numbers of the trials in the table, or of other elements, from above."""
    found = page.eval_on_selector_all(selector, "them => them.map(it => it.dataset.trial)")
    return list(map(int, found))


def trials(page: Any, selector: str = "tr[data-trial]") -> set[int]:
    """The same in no order."""
    return set(order(page, selector))


SCATTER = "[data-chart=scatter] .mark"


def test_what_is_marked_on_axes_chooses_the_trials(
    searched: dict[str, Search], board: Dashboard, open_page: OpenPage
) -> None:
    all_ = {each.number: each.parameters for each in searched["branches"].trials}
    page = open_page(f"{PAGE}/branches", board)
    page.wait_for_selector(".trial-line")
    assert trials(page) == trials(page, SCATTER) == set(all_)

    drag(page, "p:rate", 0.4, 0.8)
    chosen = {n for n, each in all_.items() if 1e-3 < each["rate"] < 1e-1}
    assert trials(page) == trials(page, SCATTER) == chosen
    assert trials(page, ".trial-line:not(.out)") == chosen
    drag(page, "p:penalty", 0.5, 1)
    both = {n for n in chosen if (all_[n]["penalty"] or 0) > 1}
    assert trials(page) == trials(page, SCATTER) == both and 0 < len(both) < len(chosen)

    page.reload()
    page.wait_for_selector(".range")
    assert trials(page) == both
    page.keyboard.press("Escape")
    assert trials(page) == trials(page, SCATTER) == set(all_)
    drag(page, "p:kind", 0.1, 0.4)
    assert trials(page) == {n for n, each in all_.items() if each["kind"] == "svm"}
    page.locator('[data-hit="p:batch"]').dblclick(position={"x": 13, "y": 30})
    assert trials(page) == set(all_)


def test_ranges_are_set_by_the_keyboard_alone(
    searched: dict[str, Search], board: Dashboard, open_page: OpenPage
) -> None:
    all_ = {each.number: each.parameters for each in searched["branches"].trials}
    page = open_page(f"{PAGE}/branches", board)
    page.get_by_text("Choose ranges by values").focus()

    page.keyboard.press("Enter")
    page.get_by_label("rate from").focus()
    page.keyboard.type("0.001")
    page.keyboard.press("Tab")
    page.get_by_role("checkbox", name="net").press("Space")
    chosen = {n for n, e in all_.items() if e["rate"] >= 0.001 and e["kind"] == "net"}
    assert trials(page) == chosen and chosen
    page.get_by_role("button", name="Clear rate: from 0.001").press("Enter")

    assert trials(page) == {n for n, each in all_.items() if each["kind"] == "net"}
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sections")


def test_states_are_told_apart_and_what_is_absent_is_a_gap(
    searched: dict[str, Search], board: Dashboard, open_page: OpenPage
) -> None:
    page = open_page(f"{PAGE}/branches", board)
    page.wait_for_selector(".trial-line")
    trials_ = searched["branches"].trials
    failed = {each.number for each in trials_ if each.state == "FAILED"}
    nets = [each.number for each in trials_ if each.parameters["kind"] == "net"]
    net = next(number for number in nets if number not in failed)
    bad = next(number for number in nets if number in failed)

    def line(number: int) -> str:
        return str(page.get_attribute(f'.trial-line[data-trial="{number}"]', "d"))

    # kind | no penalty | layers, rate, batch and the value, without a value where it has failed
    assert line(net).count("M") == 2 and line(net).count("L") == 3
    assert trials(page, '.trial-line[data-state="FAILED"]') == failed
    assert line(bad).count("M") == 2 and line(bad).count("L") == 2
    assert trials(page, '[data-chart=convergence] .mark[data-state="FAILED"]') == failed
    assert page.locator(".marks", has_text="Failed").is_visible()
    row = page.locator(f'tr[data-trial="{net}"]')
    assert row.locator("text=not active in this trial").count() == 1


def test_the_table_is_sorted_by_its_heads(
    searched: dict[str, Search], board: Dashboard, open_page: OpenPage
) -> None:
    page = open_page(f"{PAGE}/branches", board)
    table = searched["branches"].history()

    best = table.dropna(subset="result").sort_values("result", kind="stable")["Trial ID"].tolist()
    assert order(page)[: len(best)] == best
    page.get_by_role("button", name="rate", exact=True).click()
    page.get_by_role("button", name="rate", exact=True).click()
    assert order(page) == table.sort_values("rate", ascending=False)["Trial ID"].tolist()
    assert page.get_attribute('[data-column="p:rate"]', "aria-sort") == "descending"


def test_with_several_metrics_the_pareto_front_is_marked(
    searched: dict[str, Search], board: Dashboard, open_page: OpenPage
) -> None:
    page = open_page(f"{PAGE}/front", board)
    page.wait_for_selector("[data-chart=pareto] .mark")
    front = {each.number for each in searched["front"].pareto}

    assert trials(page, "[data-chart=pareto] .mark.front") == front
    assert trials(page, "[data-chart=pareto] .mark") == {t.number for t in searched["front"].trials}
    assert page.locator("[data-chart=convergence]").count() == 0
    figure = page.locator("[data-chart=pareto] [role=img]")
    assert f"Pareto front of error and gain: {len(front)} trials of 40" == figure.get_attribute(
        "aria-label"
    )
    page.get_by_label("Metric across").select_option("gain")
    page.wait_for_selector('[aria-label^="Pareto front of gain and error"]')
    assert trials(page, "[data-chart=pareto] .mark.front") == front


def test_a_search_begins_and_its_page_follows_it(open_page: OpenPage) -> None:
    ex = Experiment("lab", backend=MemoryBackend())
    gate = threading.Semaphore(0)

    @ex.result
    def slow(x: float) -> float:
        assert gate.acquire(timeout=60)
        return x * x

    def search() -> None:
        node, space = slow(ex.parameter("x")), {"x": [3, -1, 2]}
        ex.search(node, space, sampler="grid", name="live", max_workers=1, progress=False)

    running = threading.Thread(target=search)
    with serving.start(ex.backend, "lab", port=0) as board:
        page = open_page("/experiments/lab", board)
        page.get_by_role("link", name="Searches").click()
        page.wait_for_selector("text=No search yet")
        running.start()
        try:
            page.get_by_role("link", name="live", exact=True).click()
            page.wait_for_selector('.trial-title [data-state="RUNNING"]')
            page.wait_for_selector("tr[data-trial]")
            gate.release()
            page.wait_for_selector('.result[data-best="1"] >> text=9')
            page.get_by_role("link", name="Running", exact=True).click()
            page.locator(".batch").get_by_role("link", name="live", exact=True).click()
        finally:
            gate.release(3)
            running.join()
        page.wait_for_selector('.trial-title [data-state="COMPLETE"]')
        assert trials(page) == trials(page, "[data-chart=convergence] .mark") == {1, 2, 3}
        assert page.inner_text('.result[data-best="2"]') == "1"
        assert page.locator(".bar-legend", has_text="3 complete").count() == 1
        page.click('tr[data-trial="2"] a')
        page.wait_for_selector("text=place 1")
        page.locator(".details").get_by_role("link", name="live", exact=True).click()
        page.wait_for_selector('.trial-title [data-state="COMPLETE"]')


def test_more_trials_than_can_be_elements_are_painted_and_chosen_all_the_same(
    open_page: OpenPage,
) -> None:
    backend = MemoryBackend()
    squares(backend, values=[0.5])
    row = backend.get(paths.trials("lab"), 1)
    assert row is not None
    ((name, kept),) = row["parameters"]
    for number in range(2, 2102):
        value = {**kept, "json": str(number), "preview": str(number)}
        more = {"uid": f"{number:032x}", "place": number - 1, "parameters": [[name, value]]}
        backend.apply(Insert(paths.trials("lab"), {**row, **more}, number))
    with serving.start(backend, "lab", port=0) as board:
        page = open_page(f"{PAGE}/squares", board)
        page.wait_for_selector("text=2,101 trials")

        assert page.locator(".mark-word, .trial-line, [data-chart=convergence] .mark").count() == 0
        for chart in ("parallel", "convergence"):
            inked = page.evaluate(
                "(it) => { const one = document.querySelector(it); return one.getContext('2d')"
                ".getImageData(0, 0, one.width, one.height).data.some((byte) => byte > 0); }",
                f"[data-chart={chart}] canvas",
            )
            assert inked, chart
        drag(page, "p:x", 0, 0.5)
        page.wait_for_selector("text=of 2,101 trials are in the ranges")
        chosen = page.inner_text(".pager .muted").partition(" ")[0].replace(",", "")
        assert abs(int(chosen) - 1050) < 20


UNNAMED = """[...document.getElementById("main")
  .querySelectorAll("button, input, select, a[href], figure, [role]")]
.filter((it) => it.checkVisibility() && !(it.ariaLabel || it.textContent.trim()
    || it.labels?.length || it.getAttribute("aria-labelledby") || it.ariaHidden))
.map((it) => it.outerHTML)"""
"""Controls without a name for a screen reader."""
HOSTILE = f"{PAYLOADS[0]}<img src=x onerror={CANARY}>/../%2e?a=b#c" + "x" * 120


def test_hostile_names_are_texts_and_fit_a_narrow_page(open_page: OpenPage) -> None:
    ex = Experiment("lab", backend=MemoryBackend())

    @ex.result
    def odd(x: Any) -> dict[str, float]:
        return {HOSTILE: 1.0, "other": 2.0}

    metrics: Any = {HOSTILE: "min", "other": "max"}
    ex.search(
        odd(ex.parameter(HOSTILE)), {HOSTILE: [HOSTILE, f"{HOSTILE}!", 3]}, sampler="grid",
        metrics=metrics, name=HOSTILE, description=HOSTILE, progress=False,
    )  # fmt: skip
    with serving.start(ex.backend, "lab", port=0) as board:
        page = open_page(PAGE, board, width=360, height=740)
        page.get_by_role("link", name=HOSTILE, exact=True).click()
        page.wait_for_selector(".trial-line", state="attached")
        page.hover("[data-chart=pareto] .mark >> nth=-1")
        page.get_by_text("Choose ranges by values").click()
        page.get_by_role("checkbox").first.check()
        page.get_by_role("button", name="Clear all").wait_for()

        assert page.inner_text("h1") == HOSTILE
        assert unquote(page.url.partition("/searches/")[2].partition("?")[0]) == HOSTILE
        assert page.locator(".tip dt", has_text="<script>").count() == 2
        assert page.evaluate("window.__pwned") is None
        assert page.locator("#main img, #main script").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate(UNNAMED) == []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(POOR_CONTRAST) == []
