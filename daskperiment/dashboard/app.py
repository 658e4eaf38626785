"""The web application: routes, replies and errors."""

from __future__ import annotations

import gzip
import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from blake3 import blake3

import daskperiment
from daskperiment.dashboard import api, original
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import ENDPOINTS, ROOT, Endpoint
from daskperiment.dashboard.files import SHELL, File, static_files
from daskperiment.dashboard.guard import HEADERS, PUBLIC, TOKEN, Guard
from daskperiment.dashboard.openapi import description
from daskperiment.errors import (
    ArtifactNotFoundError,
    BackendError,
    DaskperimentError,
    ExperimentNotFoundError,
    InvalidNameError,
    MetricNotFoundError,
    PayloadError,
    QueryError,
    SearchError,
    SnapshotNotFoundError,
    StepNotFoundError,
    StoreCorruptError,
    TrialIDNotFoundError,
    ValueNotKeptError,
)
from daskperiment.secrets import scrub

if TYPE_CHECKING:
    from flask import Flask, Request, Response

__all__ = ["api", "create_app"]

logger = logging.getLogger(__name__)

PAGES = (
    "/",
    "/experiments",
    "/experiments/<experiment>",
    "/experiments/<experiment>/trials/<trial:number>",
    "/experiments/<experiment>/compare",
    "/experiments/<experiment>/searches",
    "/experiments/<experiment>/searches/<search:name>",
    "/running",
)
"""Addresses of pages, of which the script in them knows what to show."""
_STATUS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], int], ...] = (
    ((QueryError, InvalidNameError), 400),
    (
        (ExperimentNotFoundError, TrialIDNotFoundError, StepNotFoundError, MetricNotFoundError,
         ArtifactNotFoundError, ValueNotKeptError, SnapshotNotFoundError, SearchError),
        404,
    ),
    ((StoreCorruptError, PayloadError), 422),
    (BackendError, 503),
)  # fmt: skip
_WORTH_PACKING = 1500
"""Bytes from which a reply is compressed: what is shorter is one packet anyway."""


def create_app(board: Board, guard: Guard | None = None) -> Flask:
    """The dashboard as a WSGI application.

    It answers GET and HEAD only and changes nothing.  Every reply tells the browser to run no
    script but the dashboard's own.

    Parameters
    ----------
    board : Board
        What it shows.
    guard : Guard, optional
        Who may ask; by default whoever reaches it as ``localhost``.

    Returns
    -------
    Flask
        The application.
    """
    from flask import Flask
    from werkzeug.routing import BaseConverter

    class Number(BaseConverter):
        """Number of a trial."""

        regex = "[1-9][0-9]{0,15}"

        def to_python(self, value: str) -> int:
            return int(value)

    class Name(BaseConverter):
        """Name of a search: any text, also one with slashes."""

        regex = ".+"
        part_isolating = False

    app = Flask("daskperiment.dashboard", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 0
    app.url_map.converters.update(trial=Number, search=Name)
    _guard(app, guard or Guard())
    _answer_errors(app, board)

    def add(path: str, view: Callable[..., Any], name: str) -> None:
        app.add_url_rule(path, name, view, methods=["GET"], provide_automatic_options=False)

    for path in PAGES:
        add(path, lambda **parts: _sent(static_files()[SHELL]), f"page {path}")
    add(f"{PUBLIC}<path:path>", _static, "static")
    for endpoint in ENDPOINTS:
        add(endpoint.path, _view(board, endpoint), endpoint.name)
    openapi = description(ENDPOINTS, daskperiment.__version__)
    add(f"{ROOT}/openapi.json", lambda: reply(openapi), "openapi")
    original.add(add, board)
    return app


def _guard(app: Flask, guard: Guard) -> None:
    from flask import redirect, request

    @app.before_request
    def refuse() -> Any:
        try:
            refusal = guard.refuse(request)
            _ = refusal or request.args
        except UnicodeDecodeError:
            return _error(400, "QueryError", "The query of the address is not UTF-8")
        if refusal is not None:
            return _error(refusal.status, "Refusal", refusal.reason)
        if guard.brings_token(request):
            rest = {name: request.args.getlist(name) for name in request.args if name != TOKEN}
            path = _own_path(request)
            response = redirect(f"{path}?{_query(rest)}" if rest else path, 303)
            response.set_cookie(
                guard.cookie_name, guard.cookie, httponly=True, samesite="Strict", path="/"
            )
            return response
        return None

    @app.after_request
    def describe(response: Response) -> Response:
        response.headers.update(HEADERS)
        response.headers.setdefault("Cache-Control", "private, no-cache")
        return response


def _own_path(request: Request) -> str:
    from werkzeug.urls import iri_to_uri

    # Two slashes at the beginning would be the name of another host.
    return "/" + iri_to_uri(request.path).lstrip("/\\")


def _query(values: Mapping[str, list[str]]) -> str:
    from urllib.parse import urlencode

    return urlencode(values, doseq=True)


# -- replies ------------------------------------------------------------------------------------


def _view(board: Board, endpoint: Endpoint) -> Callable[..., Any]:
    def view(**parts: Any) -> Any:
        from flask import Response, request

        found = endpoint.answer(board, **parts, query=endpoint.read(request.args))
        return found if isinstance(found, Response) else reply(found)

    return view


def reply(document: Any, status: int = 200) -> Response:
    """A JSON document as a reply that the browser need not fetch again while it is the same."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    content = text.encode()
    found = File(content, b"", "application/json", blake3(content).hexdigest()[:32])
    return _sent(found, status)


def _sent(found: File, status: int = 200) -> Response:
    from flask import Response, request

    packs = len(found.content) >= _WORTH_PACKING and request.accept_encodings["gzip"] > 0
    packed = found.packed or gzip.compress(found.content, 1, mtime=0) if packs else b""
    response = Response(packed or found.content, status, content_type=found.type)
    response.headers["Vary"] = "Accept-Encoding"
    if packs:
        response.headers["Content-Encoding"] = "gzip"
    if status == 200:
        response.set_etag(found.etag + ("z" if packs else ""))
        response.make_conditional(request)
    return response


def _static(path: str) -> Response:
    found = static_files().get(path)
    return _error(404, "NotFound", "There is no such file") if found is None else _sent(found)


# -- errors -------------------------------------------------------------------------------------


def _error(status: int, kind: str, message: str) -> Response:
    from flask import request

    if status == 401 and re.match("text/html|.*,text/html", request.headers.get("Accept", "")):
        response = _sent(static_files()[SHELL], 401)
    else:
        response = reply({"error": {"type": kind, "message": message}}, status)
    if status == 405:
        response.headers["Allow"] = "GET, HEAD"
    return response


def _answer_errors(app: Flask, board: Board) -> None:
    from werkzeug.exceptions import HTTPException

    @app.errorhandler(HTTPException)
    def of_http(error: HTTPException) -> Response:
        return _error(error.code or 400, error.name.replace(" ", ""), error.description or "")

    @app.errorhandler(Exception)
    def of_ours(error: Exception) -> Response:
        if isinstance(error, DaskperimentError):
            status = next((code for kinds, code in _STATUS if isinstance(error, kinds)), 400)
            return _error(status, type(error).__name__, scrub(str(error)))
        if not board.backend.owned:  # others may have written anything to it
            logger.info("What is stored cannot be read", exc_info=error)
            message = "What is stored here cannot be read: it is not of the form that is written"
            return _error(422, "DamagedRowError", message)
        logger.error("The dashboard failed", exc_info=error)
        return _error(500, "InternalError", "The dashboard failed: its log says where")
