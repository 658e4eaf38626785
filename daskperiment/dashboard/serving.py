"""The server: an address for the dashboard, on a thread of its own."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterable
from html import escape
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote

from daskperiment import notebooks
from daskperiment.backends.base import Backend
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.guard import TOKEN, Guard, is_loopback, new_token
from daskperiment.errors import DashboardError

PORT = 5000
_THREADS = 16
_TRIED = 100
"""Ports that are tried, one after the other."""
_LONGEST_HEADER = 32 * 1024
_SHORTEST_TOKEN = 16


class Dashboard:
    """A dashboard that is being served.

    It runs on daemon threads, so that it ends with the process at the latest.

    Parameters
    ----------
    app : callable
        The WSGI application.
    listening : socket
        Where it listens.
    url : str
        Address to open, with the token if there is one.

    Attributes
    ----------
    url : str
        Address to open.
    """

    def __init__(self, app: Any, listening: socket.socket, url: str) -> None:
        from waitress.server import create_server

        self.url = url
        self._sockets: dict[int, Any] = {}
        self._server: Any = create_server(
            app,
            map=self._sockets,
            sockets=[listening],
            threads=_THREADS,
            ident=None,
            max_request_body_size=_LONGEST_HEADER,
            max_request_header_size=_LONGEST_HEADER,
            channel_timeout=30,
        )
        self._thread = threading.Thread(
            target=self._server.run, name="daskperiment-dashboard", daemon=True
        )
        self._thread.start()

    def wait(self) -> None:
        """Wait until it is closed; an interrupt of the keyboard closes it."""
        try:
            while self._thread.is_alive():
                self._thread.join(0.5)
        except KeyboardInterrupt:
            self.close()

    def close(self) -> None:
        """Stop it; its port is free then."""
        from waitress import wasyncore

        if self._thread.is_alive():
            # Whoever still writes a reply needs the sockets, so that they are closed afterwards.
            self._server.task_dispatcher.shutdown()
            everything = self._sockets
            try:
                self._server.trigger.pull_trigger(lambda: wasyncore.close_all(everything, True))
            except OSError:  # nobody listens to the trigger any more
                wasyncore.close_all(everything, True)
            self._thread.join(10)

    def __enter__(self) -> Dashboard:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Dashboard at {self.url}"

    def _repr_html_(self) -> str:
        url = escape(self.url)
        return f'Dashboard at <a href="{url}" target="_blank" rel="noopener">{url}</a>'


def start(
    backend: Backend,
    experiment: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    token: str | None = None,
    allowed_hosts: Iterable[str] = (),
) -> Dashboard:
    """Serve a dashboard.

    Parameters
    ----------
    backend : Backend
        The store; nothing in it is changed.
    experiment : str, optional
        The experiment that the first page shows.
    host : str
        The address to listen at.  At any but the loopback device a token is needed.
    port : int
        The port; where it is taken the next one that is free.
    token : str, optional
        The token that is needed; None makes one where one is needed.
    allowed_hosts : iterable of str
        Further names under which the dashboard is reached.

    Returns
    -------
    Dashboard
        It is being served.

    Raises
    ------
    DashboardError
        The address is none of this machine, no port is free, the token could be guessed, or a
        library is missing.

    Examples
    --------
    >>> from daskperiment.backends.memory import MemoryBackend
    >>> with start(MemoryBackend(), port=0) as dashboard:
    ...     dashboard
    Dashboard at http://127.0.0.1:...
    """
    _check_libraries()
    from daskperiment.dashboard.app import create_app

    if token is None and not is_loopback(host):
        token = new_token()
    if token is not None:
        _check_token(token)
    listening = _listen(host, port)
    board = Board(backend, experiment)
    app = create_app(board, Guard(host, token, allowed_hosts))
    dashboard = Dashboard(app, listening, _url(host, listening.getsockname()[1], token))
    threading.Thread(target=board.warm, name="daskperiment-dashboard-warm", daemon=True).start()
    return dashboard


def show(dashboard: Dashboard, blocking: bool | None) -> Dashboard:
    """Tell where a dashboard is, and wait for its end unless told otherwise.

    Parameters
    ----------
    dashboard : Dashboard
        It is being served.
    blocking : bool, optional
        Whether to wait; None waits but in a notebook.

    Returns
    -------
    Dashboard
        The same, which a notebook shows as a link.
    """
    in_notebook = notebooks.is_kernel()
    if not in_notebook:
        print(dashboard, flush=True)
    if blocking or (blocking is None and not in_notebook):
        dashboard.wait()
    return dashboard


def _check_libraries() -> None:
    for name in ("flask", "waitress", "pygments"):
        if find_spec(name) is None:
            raise DashboardError(
                f'The dashboard needs the library {name}: pip install "daskperiment[dashboard]"'
            )


def _check_token(token: str) -> None:
    fits = isinstance(token, str) and token.isascii() and token.isprintable()
    if not fits or len(token) < _SHORTEST_TOKEN:
        raise DashboardError(
            f"A token is a text of at least {_SHORTEST_TOKEN} printable ASCII characters, so that "
            "nobody can guess it: leave it out, and one is made"
        )


def _listen(host: str, port: int) -> socket.socket:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise DashboardError(f"A port is an integer from 0 to 65535, not {port!r}")
    if not _may_be_address(host):
        raise DashboardError(f"Give an address, such as 127.0.0.1 or 0.0.0.0, not {host!r}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()  # IPv4 too, as its name says everywhere
    ports = [port] if port == 0 else range(port, min(port + _TRIED, 65536))
    for tried in ports:
        try:
            return socket.create_server((host, tried), family=family, dualstack_ipv6=both)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise DashboardError(
                    f"The dashboard cannot listen at {host!r}: {error.strerror or error}. Give "
                    "an address of this machine, such as 127.0.0.1 or 0.0.0.0"
                ) from error
    raise DashboardError(f"No port from {ports[0]} to {ports[-1]} is free: choose another one")


def _may_be_address(host: str) -> bool:
    try:
        return isinstance(host, str) and bool(host.encode("idna")) and host.isprintable()
    except UnicodeError:
        return False


def _url(host: str, port: int, token: str | None) -> str:
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    name = f"[{shown}]" if ":" in shown else shown
    return f"http://{name}:{port}/" + (f"?{TOKEN}={quote(token, safe='')}" if token else "")
