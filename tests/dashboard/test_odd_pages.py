"""The pages where things go otherwise than usual: odd names, wrong turns, a server that is away."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard import serving
from daskperiment.dashboard.serving import Dashboard

OpenPage = Callable[..., Any]
INHERITED = ["__proto__", "constructor", "toString"]
"""Names that every object of JavaScript knows without having them."""


def test_names_that_every_object_knows_are_names_as_any_other(open_page: OpenPage) -> None:
    ex = Experiment("odd", backend=MemoryBackend())

    @ex.result
    def add(a: int, b: int, c: int) -> int:
        if a:
            ex.log_metrics(dict.fromkeys(INHERITED, 1.0))
        return a + b + c

    total = add(*[ex.parameter(name) for name in INHERITED])
    for value in (1, 0):
        total.compute(parameters=dict.fromkeys(INHERITED, value), scheduler="synchronous")
    names = [
        *(f"columns={name}" for name in INHERITED),
        *(f"metrics={name}" for name in INHERITED),
    ]

    with serving.start(ex.backend, ex.id, port=0) as dashboard:
        page = open_page("/experiments/odd?" + "&".join(names), dashboard)
        page.wait_for_selector('tr[data-trial="1"]')
        heads = page.eval_on_selector_all(
            "th[data-column] .head-text, th[data-metric]", "all => all.map((it) => it.textContent)"
        )
        texts = page.eval_on_selector_all(
            'tr[data-trial="2"] td', "all => all.map((it) => it.textContent)"
        )

    assert heads == ["Trial", "State", *INHERITED, *INHERITED]
    assert texts == ["Complete", *["0"] * 3, *["\u2013no such metric"] * 3]


def test_columns_that_were_chosen_for_other_trials_hide_nothing(
    shown: Experiment, open_page: OpenPage
) -> None:
    page = open_page("/experiments", expecting="400")
    page.evaluate(
        """() => localStorage.setItem("daskperiment.columns.shown", '{"columns": ["gone"]}')"""
    )

    page.goto(page.url + "/shown")

    page.wait_for_selector('tr[data-trial="1"]')
    assert page.locator('th[data-column="kind"]').count() == 1
    shown[1].tags = ["fresh"]
    page.wait_for_selector("text=fresh")


def test_an_address_that_asks_for_what_is_not_there_has_a_way_out(open_page: OpenPage) -> None:
    page = open_page("/experiments/shown?columns=gone&order_by=lost", expecting="400")
    assert "There is no column 'gone'" in page.locator("#trouble").inner_text()

    page.get_by_role("button", name="Show all trials").click()

    page.wait_for_selector('tr[data-trial="1"]')
    assert page.url.endswith("/experiments/shown")


def test_a_trial_that_is_not_there_can_be_taken_out_of_a_comparison(open_page: OpenPage) -> None:
    page = open_page("/experiments/shown/compare?trials=1&trials=2", expecting="404")
    page.get_by_label("Number of a trial to add").fill("99")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=There is no trial 99")
    assert "differ" not in page.locator("#main").inner_text()

    page.get_by_role("button", name="Remove 99").click()

    page.wait_for_selector('th[data-trial="2"]')
    assert "There is no trial 99" not in page.locator("#main").inner_text()


def test_a_trial_is_compared_whose_metrics_were_forgotten(
    shown: Experiment, open_page: OpenPage
) -> None:
    shown[2].forget("metrics")

    page = open_page("/experiments/shown/compare?trials=1&trials=2")

    page.wait_for_selector('[data-metric="loss"] canvas')
    page.wait_for_timeout(500)
    assert page.locator(".trouble").count() == 0
    assert page.locator('th[data-trial="2"]').count() == 1


def test_a_line_that_is_written_over_is_shown_as_it_is(
    shown: Experiment, open_page: OpenPage
) -> None:
    go_on = threading.Semaphore(0)

    @shown.result
    def count() -> None:
        print("before")
        for text in ("1 of 2\r", "2 of 2\n", "after\n"):
            print(text, end="", flush=True)
            go_on.acquire(timeout=20)

    node = count()
    running = threading.Thread(target=node.compute, kwargs={"scheduler": "synchronous"})
    running.start()
    try:
        page = open_page("/experiments/shown/trials/6#output")
        for lines in (
            ["before", "1 of 2"],
            ["before", "2 of 2"],
            ["before", "2 of 2", "after"],
        ):
            page.wait_for_function(
                "(lines) => JSON.stringify([...document.querySelectorAll('.output-text')]"
                ".map((it) => it.textContent)) === JSON.stringify(lines)",
                arg=lines,
                timeout=10_000,
            )
            go_on.release()
    finally:
        go_on.release(9)
        running.join()


def test_a_page_that_cannot_be_loaded_says_so(shown: Experiment, open_page: OpenPage) -> None:
    with serving.start(shown.backend, port=0) as dashboard:
        page = open_page("/experiments", dashboard)
    page.wait_for_selector("#banner:not([hidden])")

    page.get_by_role("link", name="shown").first.click()

    page.wait_for_selector("text=This page cannot be loaded")
    assert not page.is_visible("#health")


@pytest.mark.parametrize(
    ("part", "shows"),
    [("metrics", "canvas"), ("graph", "[data-node]"), ("output", ".output-line")],
)
def test_a_part_comes_back_after_an_error(
    part: str, shows: str, page: OpenPage, served: Dashboard
) -> None:
    page = page(expecting="500")
    page.clock.install()  # so that nobody has to wait until the page asks again
    page.goto(f"{served.url.rstrip('/')}/experiments/shown/trials/1#{part}")
    page.wait_for_selector(shows)
    page.route(
        re.compile(f"/{part}"),
        lambda route: route.fulfill(
            status=500, json={"error": {"type": "InternalError", "message": "It failed"}}
        ),
    )
    page.clock.fast_forward(15_000)
    page.wait_for_selector("text=It failed", timeout=15_000)
    page.unroute_all()

    page.clock.fast_forward(30_000)
    page.wait_for_selector(shows, timeout=30_000)
    assert page.locator("text=It failed").count() == 0


def test_a_long_note_does_not_push_the_title_away(shown: Experiment, open_page: OpenPage) -> None:
    shown[1].note = "a long note " * 700

    page = open_page("/experiments/shown/trials/1#artifacts", width=360)
    page.wait_for_selector('[data-part="artifacts"][aria-current]')

    assert page.evaluate("window.scrollY") == 0
    inside = "(it) => it.getBoundingClientRect().right < innerWidth + 1"
    assert page.locator('[data-part="artifacts"]').evaluate(inside)


def test_what_a_graph_leaves_out_is_told(open_page: OpenPage) -> None:
    ex = Experiment("wide", backend=MemoryBackend())

    @ex.result
    def last(*values: int) -> int:
        return len(values)

    last(*[ex.parameter(f"a{i}", default=1) for i in range(201)]).compute()

    with serving.start(ex.backend, ex.id, port=0) as dashboard:
        page = open_page("/experiments/wide/trials/1#graph", dashboard)
        page.wait_for_selector("text=201 parameters and steps are left out")


def test_the_focus_stays_on_a_step_while_others_come(
    shown: Experiment, open_page: OpenPage
) -> None:
    go_on = threading.Event()

    @shown
    def early() -> int:
        return 1

    @shown
    def late(value: int) -> int:
        go_on.wait(20)
        return value

    @shown.result
    def end(value: int) -> int:
        return value

    node = end(late(early()))
    running = threading.Thread(target=node.compute, kwargs={"scheduler": "synchronous"})
    running.start()
    try:
        page = open_page("/experiments/shown/trials/6#graph")
        page.locator('[data-node="early[0]"]').focus()
        go_on.set()
        page.wait_for_selector('[data-node="end[0]"]')
        assert page.evaluate("document.activeElement.dataset.node") == "early[0]"
    finally:
        go_on.set()
        running.join()


def test_nothing_can_be_searched_before_it_is_there(
    served: Dashboard, page: Callable[..., Any]
) -> None:
    made = page()
    made.route("**/api/v1/experiments", lambda route: None)  # an answer that does not come

    made.goto(served.url + "experiments")
    made.wait_for_selector("text=Loading")

    assert not made.get_by_label("Find an experiment").is_visible()
