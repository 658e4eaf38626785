"""The guard: who may ask, and what every reply tells the browser."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

if TYPE_CHECKING:
    from flask import Request

TOKEN = "token"
"""Name of the query parameter that brings the token."""
PUBLIC = "/static/"
"""Where the files of the page are, which need no token."""
_LOCAL = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(
    r"(\[[0-9A-Fa-f:]+:[0-9A-Fa-f:.]*\]|[^][:@/\\?#\s]+)(?::([0-9]{0,5}))?", re.ASCII
)
_METHODS = ("GET", "HEAD")
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every reply."""


class Refusal(NamedTuple):
    """Why a request is not answered.

    Parameters
    ----------
    status : int
        401 (token), 403 (host or origin) or 405 (method).
    reason : str
        What the user can do.
    """

    status: int
    reason: str


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def new_token() -> str:
    """A random token of 256 bits."""
    return secrets.token_urlsafe(32)


class Guard:
    """Decides which requests are answered.

    A request must name a host that is allowed, so that no page of another site can reach the
    dashboard under a name of its own; it must not come from a page of another origin; and where
    there is a token it must bring it, as ``?token=``, in the cookie that is set then, or as
    ``Authorization: Bearer``.

    Parameters
    ----------
    host : str
        The address that the server listens at.
    token : str, optional
        The token that is needed.
    allowed : iterable of str
        Further names under which the dashboard is reached.

    Attributes
    ----------
    token : str or None
        The token.
    cookie : str
        Value of the cookie, from which the token cannot be computed.
    """

    def __init__(
        self, host: str = "127.0.0.1", token: str | None = None, allowed: Iterable[str] = ()
    ) -> None:
        self.token = token
        self.cookie = "" if token is None else blake3(token.encode()).hexdigest()
        self.cookie_name = f"daskperiment_{self.cookie[:8]}"
        bound = _address(host)
        self._any_address = bound is not None and bound.is_unspecified
        own = (socket.gethostname(), socket.getfqdn()) if self._any_address else (host,)
        self._names = {name.lower() for name in (*_LOCAL, *own, *allowed)}

    def refuse(self, request: Request) -> Refusal | None:
        """Why a request is not answered; None where it is."""
        host = request.headers.get("Host", "")
        if not self._is_allowed(host):
            return Refusal(
                403,
                f"The dashboard is not reached as {host[:100]!r}: start it with "
                "--allowed-host NAME, or open it by an address that it has printed",
            )
        if request.method not in _METHODS:
            return Refusal(405, "The dashboard only shows: GET and HEAD are answered")
        if not self._is_own_page(request, host):
            return Refusal(403, "The dashboard does not answer pages of other sites")
        # The files of the page are the same for everybody.  A link on another site leads to it
        # without the cookie, and only what it asks for itself then brings it.
        public = request.path.startswith(PUBLIC)
        if self.token is not None and not public and not self._knows_token(request):
            return Refusal(
                401, "A token is needed: open the address that the dashboard printed at its start"
            )
        return None

    def _is_allowed(self, host: str) -> bool:
        name = _name(host)
        if name is None:
            return False
        # An address is nobody's name: no other site's page can be at one of this machine.
        return name in self._names or (self._any_address and _address(name) is not None)

    def _is_own_page(self, request: Request, host: str) -> bool:
        origin = request.headers.get("Origin")
        if origin is not None:
            return origin in (f"http://{host}", f"https://{host}")
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        followed = request.headers.get("Sec-Fetch-Mode") == "navigate"
        return site in ("same-origin", "none") or followed

    def _knows_token(self, request: Request) -> bool:
        return self.brings_token(request) or any(
            _equal(given, expected)
            for given, expected in (
                (request.cookies.get(self.cookie_name, ""), self.cookie),
                (request.headers.get("Authorization", ""), f"Bearer {self.token}"),
            )
        )

    def brings_token(self, request: Request) -> bool:
        """Whether the token is in the address of a request."""
        return self.token is not None and _equal(request.args.get(TOKEN, ""), self.token)


def _name(host: str) -> str | None:
    """Name in a Host header, without the port; None where it is none."""
    found = _HOST.fullmatch(host)
    if found is None or int(found[2] or 0) > 65535:
        return None
    return found[1].strip("[]").lower()


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
