"""No text of a store becomes a script: on the pages, in replies, and in notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import ENDPOINTS
from tests.dashboard import fuzz
from tests.dashboard.fuzz import Request, ask, problems
from tests.dashboard.scripts import CANARY, PAYLOADS, infested
from tests.dashboard.stores import NAME

ACTIVE = """
[...document.querySelectorAll("*")].filter((it) =>
  ["script", "img", "iframe", "object", "embed", "form", "base", "input", "select", "video",
   "details", "a", "button", "math", "marquee"].includes(it.localName)
  || (it.localName === "meta" && it.httpEquiv)
  || [...it.attributes].some(({ name }) => /^on|^href$|:href$|^src/.test(name))
).map((it) => it.outerHTML)
"""
"""What is in nothing that notebooks are given."""
Page = Callable[..., Any]


@pytest.fixture(scope="module")
def ex() -> Experiment:
    return Experiment(NAME, backend=infested())


def test_there_are_many_ways() -> None:
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 60


def test_the_canary_tells_of_a_text_that_is_taken_for_markup(page: Page) -> None:
    watched = page(expecting="")
    for text in ("<img src=x onerror=window.__pwned=1>", "<svg onload=window.__pwned=1>"):
        watched.set_content(f"<p>{text}")
        watched.wait_for_function("window.__pwned === 1")


def test_no_reply_about_hostile_texts_is_markup(ex: Experiment) -> None:
    app = create_app(Board(ex.backend, NAME))
    kinds = set()
    for request in _requests(ex):
        reply = ask(app, request)
        assert [*problems(request, reply, foreign=True)] == []
        cannot_be_asked = "%ED%A0" in request.query  # half of a character
        assert reply.status == (404 if cannot_be_asked else 200), (request, reply.body)
        kinds.add(reply["Content-Type"])
        if reply["Content-Type"] == "application/octet-stream":
            assert reply["Content-Disposition"].startswith("attachment")
            assert reply["X-Content-Type-Options"] == "nosniff"
    assert kinds == {
        "application/json", "text/plain; charset=utf-8", "application/octet-stream",
    }  # fmt: skip


def _requests(ex: Experiment) -> Iterator[Request]:
    yield from (Request("GET", path) for path in fuzz.ORIGINAL)
    for endpoint in ENDPOINTS:
        one = "<trial" in endpoint.path or "<search" in endpoint.path
        numbers = range(1, len(PAYLOADS) + 1) if one else [1]
        for number in numbers:
            path = endpoint.path.replace("<experiment>", NAME)
            path = path.replace("<trial:number>", str(number))
            path = path.replace("<search:name>", f"{number:032x}")
            query = {"trials": [1, 2, 3]} if path.endswith(("/compare", "/metrics")) else {}
            name = PAYLOADS[number - 1]
            if path.endswith(("/why", "/lineage", "/takers")):
                query = {"step": name}
            if not path.endswith(("/artifact", "/file")):
                yield Request("GET", path, fuzz.written(query))
                continue
            yield Request("GET", path, fuzz.written({"name": name}))
            if path.endswith("/artifact"):
                for suffix in (".html", ".svg", ".png", ".js"):
                    yield Request("GET", path, fuzz.written({"name": name + suffix}))
                yield Request("GET", path, fuzz.written({"name": name, "as": "text"}))


def test_what_notebooks_show_of_hostile_texts_runs_no_script(ex: Experiment, page: Page) -> None:
    shown = [
        ex._repr_html_(), ex.trials._repr_html_(), ex.diff(1, 2)._repr_html_(),
        ex.get_history(verbose=True)._repr_html_(),  # type: ignore[operator]
        *(trial._repr_html_() for trial in ex.trials),
        *(trial.output._repr_html_() for trial in ex.trials),
    ]  # fmt: skip
    watched = page()
    for html in shown:
        watched.set_content(f"<!doctype html><meta charset=utf-8>{html}<p id=end>end</p>")
        watched.wait_for_selector("#end")
        assert watched.evaluate("window.__pwned") is None
        assert watched.evaluate(ACTIVE) == []
    assert sum(CANARY in html for html in shown) > len(PAYLOADS)
