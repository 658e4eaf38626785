"""A tour through all pages of the dashboard, which touches whatever can be touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

from tests.dashboard.conftest import loaded
from tests.dashboard.scripts import CANARY, GOING, PAYLOADS
from tests.dashboard.stores import NAME

SECTIONS = (
    "overview", "metrics", "graph", "code", "output", "environment", "artifacts", "usage",
)  # fmt: skip
NAMELESS = r"status of 404 .*/(artifact|file)\?name=[^)]*%EF%BF%BD"
"""What is told of files by whose names no address can ask: half of a character is in them."""
_TOUCH = """
() => {
  const places = "#main button, #main summary, #main [role=button], #main svg [tabindex]";
  for (const it of document.querySelectorAll(places)) {
    for (const kind of ["pointerover", "mouseover", "pointermove", "focusin", "click"]) {
      it.dispatchEvent(new MouseEvent(kind, { bubbles: true, cancelable: true }));
    }
  }
  document.querySelector("dialog[open]")?.close();
}
"""


def tour(page: Any, base: str, numbers: Iterable[int]) -> Iterator[str]:
    """Open every page of an infested store, and the trials of some numbers; tells what ran."""
    board = f"/experiments/{NAME}"
    chosen = list(numbers)
    ways = ["/experiments", "/running", f"/running?experiment={GOING}", f"{board}?limit=100"]
    ways.append(f"{board}/searches")
    ways += [f"{board}/searches/{number:032x}" for number in chosen]
    for number in chosen:
        ways += [f"{board}/trials/{number}#{section}" for section in SECTIONS]
    for at in range(0, len(chosen), 10):
        query = urlencode({"trials": chosen[at : at + 10]}, doseq=True)
        ways += [f"{board}/compare?{query}"] if len(chosen[at : at + 10]) > 1 else []
    for path in ways:
        page.goto(base + path)
        try:
            loaded(page)
        except Exception as error:
            yield f"I8: {path} never shows its data: {error}"
            continue
        text = page.evaluate("document.documentElement.innerText ?? ''")
        page.evaluate(_TOUCH)
        loaded(page)
        if page.evaluate("window.__pwned !== undefined"):
            yield f"I6: a script ran on {path}"
        expected = not _number(path) or CANARY in PAYLOADS[_number(path) - 1]
        if path != "/experiments" and expected and "__pwned" not in text:
            yield f"I1: nothing of the trials is on {path}"


def _number(path: str) -> int:
    """Of which trial, or of whose search, a page is; 0 of one of many."""
    if "/searches/" in path:
        return int(path.rpartition("/")[2], 16)
    last = path.rpartition("trials")[2].lstrip("/=")
    return int(last.partition("#")[0].partition("&")[0]) if "trials" in path else 0
