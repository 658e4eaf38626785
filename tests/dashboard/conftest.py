"""Fixtures of the dashboard: a store that is shown, a client, and a browser that is watched."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from daskperiment import Experiment
from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard import serving
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.files import static_files
from daskperiment.dashboard.guard import Guard
from daskperiment.dashboard.serving import Dashboard
from tests.conftest import needs_program
from tests.dashboard.stores import fill

_OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_WATCH = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


@pytest.fixture
def shown() -> Experiment:
    """An experiment with trials that ended in every way, in memory."""
    return fill(MemoryBackend())


@pytest.fixture
def client(shown: Experiment) -> FlaskClient:
    """Asks a dashboard of `shown` without a server."""
    return create_app(Board(shown.backend, shown.id), Guard()).test_client()


@pytest.fixture
def served(shown: Experiment) -> Iterator[Dashboard]:
    """A dashboard of `shown` that is being served."""
    with serving.start(shown.backend, shown.id, port=0) as dashboard:
        yield dashboard


# While Playwright is started, this thread is within a loop of asyncio, which notebooks and
# clusters in other tests could not bear: a browser lives as long as the tests of one module.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, of the system."""
    needs_program("chromium")
    with chromium() as browser:
        yield browser


@contextmanager
def chromium() -> Iterator[Any]:
    """Chromium, for the block."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(_OPTIONS)
        )
        yield browser
        browser.close()


class Watched:
    """Makes pages of a browser, and collects what must not happen on them."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self._contexts: list[Any] = []
        self.problems: list[str] = []

    def __call__(
        self,
        width: int = 1280,
        height: int = 800,
        color_scheme: str = "light",
        expecting: str | None = None,
        **options: Any,
    ) -> Any:
        """An empty page of its own; ``expecting`` is a pattern of errors that may be told."""
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=color_scheme, **options
        )
        self._contexts.append(context)
        context.add_init_script(_WATCH)
        page = context.new_page()
        own: list[str] = []

        def told(what: str) -> None:
            if expecting is None or not re.search(expecting, what):
                self.problems.append(what)

        def asked(request: Any) -> None:
            parts = urlsplit(request.url)
            if parts.scheme in ("http", "https", "ws", "wss", "ftp", "file"):
                if request.is_navigation_request() and not own:
                    own.append(parts.netloc)
                if parts.netloc not in own:
                    told(f"a request to another origin: {request.url}")

        def asks(dialog: Any) -> None:
            told(f"a dialog: {dialog.message}")
            dialog.dismiss()

        context.on("request", asked)
        context.on("console", lambda it: told(_said(it)) if _bad(it) else None)
        context.on(
            "weberror",
            lambda it: None if _STOPPED.search(str(it.error)) else told(f"an error: {it.error}"),
        )
        context.on("dialog", asks)
        context.on("page", lambda it: None if it == page else told(f"another page: {it.url}"))
        return page

    def close(self) -> None:
        """Close all pages."""
        for context in self._contexts:
            context.close()


_STOPPED = re.compile(
    "|".join(
        (
            "ERR_CONNECTION_REFUSED",
            "ERR_CONNECTION_RESET",
            "ERR_CONTENT_LENGTH_MISMATCH",
            "dynamically imported module",
        )
    )
)
"""What a page says when the dashboard of a test has been stopped before it."""


def _bad(message: Any) -> bool:
    if _STOPPED.search(message.text):
        return False
    return message.type in ("error", "assert") or "Content Security Policy" in message.text


def _said(message: Any) -> str:
    return f"{message.type}: {message.text} ({message.location.get('url', '')[:300]})"


@pytest.fixture
def page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Makes a page, with ``width``, ``height``, ``color_scheme`` and ``expecting`` if wanted.

    The test fails at its end if a page has told an error, has broken the policy of its content,
    has opened a dialog or another page, or has asked another origin for anything.
    """
    watched = Watched(browser)
    yield watched
    watched.close()
    assert watched.problems == []


@pytest.fixture
def open_page(page: Callable[..., Any], request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Opens a page of the dashboard of `served`, or of another one, and waits for its data."""
    if "js/main.js" not in static_files():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the page itself is not here")

    def open_one(path: str = "/", dashboard: Dashboard | None = None, **options: Any) -> Any:
        dashboard = dashboard or request.getfixturevalue("served")
        made = page(**options)
        made.goto(dashboard.url.rstrip("/") + path)
        loaded(made)
        return made

    return open_one


def loaded(page: Any) -> None:
    """Wait until a page of the dashboard shows what it has asked for."""
    page.wait_for_function(
        "() => document.querySelector('#main > .page')"
        " && ![...document.querySelectorAll('#main .waiting')]"
        ".some((it) => it.textContent.startsWith('Loading'))"
    )
