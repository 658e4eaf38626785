"""Who is let in: every combination of what a request says of itself, and what it deserves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import NamedTuple
from urllib.parse import quote

from flask import Flask

from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.guard import Guard
from tests.dashboard.fuzz import Request

TOKEN = "a-token-of-this-test-0123456789"

# Where it listens, whether a token is needed.
LOCAL, LOCKED, OPEN, NAMED = (
    ("127.0.0.1", None), ("127.0.0.1", TOKEN), ("0.0.0.0", TOKEN), ("192.0.2.7", TOKEN),
)  # fmt: skip
PLACES = (LOCAL, LOCKED, OPEN, NAMED)
EXTRA = "dash.example"
"""A further name that was allowed."""

# Where a host is right.
HOSTS: dict[str, tuple[tuple[str, str | None], ...]] = {
    **dict.fromkeys(
        ("127.0.0.1", "127.0.0.1:5000", "localhost", "localhost:5000", "LocalHost:80", "[::1]",
         "[::1]:5000", "127.0.0.1:", EXTRA, f"{EXTRA}:443", EXTRA.upper()), PLACES,
    ),
    **dict.fromkeys(("203.0.113.9", "[2001:db8::1]:5000", "127.0.0.2"), (OPEN,)),
    "192.0.2.7:5000": (OPEN, NAMED),
    **dict.fromkeys(
        ("", ":5000", "evil.com", "evil.com:5000", "127.0.0.1.evil.com", "localhost.evil.com",
         "evil.com@127.0.0.1", "127.0.0.1@evil.com", "127.0.0.1:5000@evil.com", "localhost.",
         "127.0.0.1.", "127.0.0.1, evil.com", "evil.com 127.0.0.1", "127.0.0.1:x",
         "127.0.0.1:99999", "[::1", "[::1].evil.com", "[127.0.0.1]", "localhost\xa0",
         "127.0.0.1/", "127.0.0.1#evil.com", "127.0.0.1\\evil.com", "127.0.0.1%2eevil.com",
         "::1", "2130706433", "0x7f.1", "127.1", "xlocalhost",
         f"evil.{EXTRA}", f"{EXTRA}.evil.com", "192.0.2.7.nip.io"), (),
    ),
}  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "OPTIONS")
TOKENS = (
    "none", "query", "cookie", "bearer", "wrong query", "wrong cookie", "wrong bearer",
    "prefix in query", "prefix as bearer",
)  # fmt: skip
_RIGHT = ("query", "cookie", "bearer")
ORIGINS = ("none", "own", "own by https", "null", "other", "own with a suffix")
SITES: dict[tuple[str, str] | None, bool] = {
    None: True, ("same-origin", "cors"): True, ("cross-site", "navigate"): True,
    ("cross-site", "no-cors"): False, ("same-site", "cors"): False,
}  # fmt: skip


class Cell(NamedTuple):
    """One combination."""

    place: tuple[str, str | None]
    host: str
    method: str
    token: str
    origin: str
    site: tuple[str, str] | None

    @property
    def request(self) -> Request:
        """The request of it."""
        headers = [("Host", self.host)]
        if self.site:
            headers += [("Sec-Fetch-Site", self.site[0]), ("Sec-Fetch-Mode", self.site[1])]
        own = f"http://{self.host}"
        origins = {
            "own": own, "own by https": f"https://{self.host}", "null": "null",
            "other": "http://evil.com", "own with a suffix": f"{own}.evil.com",
        }  # fmt: skip
        if self.origin in origins:
            headers.append(("Origin", origins[self.origin]))
        query, more = _brought(self.token, self.place)
        return Request(self.method, "/", query, (*headers, *more))

    @property
    def status(self) -> int:
        """What it deserves."""
        if self.place not in HOSTS[self.host]:
            return 403
        if self.method not in ("GET", "HEAD"):
            return 405
        own = SITES[self.site] if self.origin == "none" else self.origin in ("own", "own by https")
        if not own:
            return 403
        if self.place[1] is None:
            return 200
        return 401 if self.token not in _RIGHT else 303 if self.token == "query" else 200


def _brought(token: str, place: tuple[str, str | None]) -> tuple[str, list[tuple[str, str]]]:
    guard = Guard(place[0], TOKEN)
    wrong = "x" * len(TOKEN)
    queries = {
        "query": f"token={quote(TOKEN)}", "wrong query": f"token={wrong}",
        "prefix in query": f"token={TOKEN[:-1]}",
    }  # fmt: skip
    headers = {
        "cookie": ("Cookie", f"{guard.cookie_name}={guard.cookie}"),
        "wrong cookie": ("Cookie", f"{guard.cookie_name}={guard.cookie[:-1]}"),
        "bearer": ("Authorization", f"Bearer {TOKEN}"),
        "wrong bearer": ("Authorization", f"Bearer {wrong}"),
        "prefix as bearer": ("Authorization", f"Bearer {TOKEN[:16]}"),
    }
    return queries.get(token, ""), [headers[token]] if token in headers else []


def cells() -> Iterator[Cell]:
    """All of them."""
    parts = product(PLACES, HOSTS, METHODS, TOKENS, ORIGINS, SITES)
    return (Cell(*each) for each in parts)


@cache
def app(place: tuple[str, str | None]) -> Flask:
    """A dashboard that listens there."""
    return create_app(Board(MemoryBackend(), "example"), Guard(*place, allowed=(EXTRA,)))
