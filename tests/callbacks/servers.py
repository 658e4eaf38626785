"""Servers that are notified: on loopback, on free ports; and one that never answers."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.servers import free_port


class Hook:
    """A webhook: what was posted, and how it answers.

    Attributes
    ----------
    statuses : list of int
        Of the next answers; then 200.
    gate : threading.Event
        While it is not set, no answer is given.
    """

    def __init__(self, server: ThreadingHTTPServer, scheme: str) -> None:
        self.url = f"{scheme}://localhost:{server.server_port}/T0/B0/x4Zsecret"
        self.requests: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.first_came = threading.Event()

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [request["document"] for request in self.requests]

    @property
    def events(self) -> list[str]:
        return [document["event"] for document in self.documents]


@contextmanager
def webhook(secure: ssl.SSLContext | None = None) -> Iterator[Hook]:
    """A running server that takes webhooks."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = {"path": self.path, "headers": dict(self.headers)}
            hook.requests.append({**request, "document": json.loads(body)})
            hook.first_came.set()
            hook.gate.wait(60)
            status = hook.statuses.pop(0) if hook.statuses else 200
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # whoever asked has gone
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *args: None  # type: ignore[method-assign]
    if secure is not None:
        server.socket = secure.wrap_socket(server.socket, server_side=True)
    hook = Hook(server, "http" if secure is None else "https")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hook
    finally:
        hook.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def black_hole() -> Iterator[int]:
    """A port on which connections are taken and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


class Certificates:
    """An authority of one's own, and a certificate of ``localhost`` by it."""

    def __init__(self, folder: Path) -> None:
        trustme = pytest.importorskip("trustme")
        authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(self.server)
        self.authority = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.authority)


class Post:
    """An SMTP server: the mails that it took, and who tried to log in."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.mails: list[dict[str, Any]] = []
        self.logins: list[tuple[str, str]] = []
        self.refused: set[str] = set()


@contextmanager
def post_office(
    login: tuple[str, str] | None = None,
    starttls: ssl.SSLContext | None = None,
    implicit: ssl.SSLContext | None = None,
) -> Iterator[Post]:
    """A running SMTP server."""
    controller = pytest.importorskip("aiosmtpd.controller")
    smtp = pytest.importorskip("aiosmtpd.smtp")

    class Handler:
        async def handle_RCPT(  # noqa: N802
            self, server: Any, session: Any, envelope: Any, address: str, options: Any
        ) -> str:
            if address in post.refused:
                return "550 nobody of this name"
            envelope.rcpt_tos.append(address)
            return "250 OK"

        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            secret = session.ssl is not None or implicit is not None
            mail = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "secret": secret}
            post.mails.append({**mail, "text": envelope.content})
            return "250 OK"

    def authenticate(server: Any, session: Any, envelope: Any, kind: str, data: Any) -> Any:
        given = data.login.decode(), data.password.decode()
        post.logins.append(given)
        return smtp.AuthResult(success=given == login, handled=False)

    post = Post(free_port())
    running = controller.Controller(
        Handler(), hostname="127.0.0.1", port=post.port, ssl_context=implicit,
        tls_context=starttls, require_starttls=starttls is not None,
        authenticator=authenticate, auth_required=login is not None,
        auth_require_tls=implicit is None,
    )  # fmt: skip
    running.start()
    try:
        yield post
    finally:
        running.stop()
