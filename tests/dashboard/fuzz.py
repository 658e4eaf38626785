"""Requests of every kind, sound and senseless, and what no reply to them may be."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from flask import Flask
from werkzeug.test import run_wsgi_app

from daskperiment.dashboard.app import PAGES
from daskperiment.dashboard.endpoint import ENDPOINTS, ROOT
from daskperiment.dashboard.files import static_files
from daskperiment.dashboard.guard import HEADERS
from tests.dashboard.stores import ARTIFACTS, NAME, PIXEL

ORIGINAL = ("/json/table", "/json/summary/result", "/json/metric/", "/data/code/1", "/data/env/1")
_SENT = 64 * 1024


class Request(NamedTuple):
    """A request as a server hands it to an application."""

    method: str = "GET"
    path: str = "/"
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def __str__(self) -> str:
        text = f"{self.method!r} {self.path!r}?{self.query!r} {dict(self.headers)}"
        return text if len(text) < 400 else f"{text[:400]}... ({len(text)})"


class Reply(NamedTuple):
    """A reply."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: Any) -> Any:
        found = [value for key, value in self.headers if key.lower() == str(name).lower()]
        return ", ".join(found)

    @property
    def content(self) -> bytes:
        """The body as it was before it was compressed."""
        packed = self["Content-Encoding"] == "gzip"
        return gzip.decompress(self.body) if packed and self.body else self.body


def ask(app: Flask, request: Request) -> Reply:
    """What an application answers."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method, "SCRIPT_NAME": "", "PATH_INFO": request.path,
        "QUERY_STRING": request.query, "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "5000",
        "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "127.0.0.1:5000", "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": io.StringIO(), "wsgi.multithread": True, "wsgi.multiprocess": False,
        "wsgi.run_once": False, "wsgi.input_terminated": True,
    }  # fmt: skip
    for name, value in request.headers:
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    parts, status, headers = run_wsgi_app(app, environ)
    try:
        body = b"".join(parts)
    finally:
        if hasattr(parts, "close"):
            parts.close()
    return Reply(int(status.split()[0]), list(headers), body)


# -- what no reply may be -----------------------------------------------------------------------


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def strict(body: bytes) -> Any:
    """The document of a body that is JSON; ValueError where it is none."""
    return json.loads(body, parse_constant=_refuse)


_ENDS = {"png": PIXEL[:8], "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF"}


def problems(request: Request, reply: Reply, *, foreign: bool = False) -> Iterator[str]:
    """What is wrong with a reply of the application."""
    if reply.status >= 500 or (reply.status == 422 and not foreign):
        yield f"I7: status {reply.status}: {reply.body[:200]!r}"
    if request.method.upper() not in ("GET", "HEAD") and reply.status not in (403, 405):
        yield f"I7: status {reply.status} for another method than GET and HEAD"
    if request.method == "HEAD" and reply.body:
        yield "I7: a body for HEAD"
    for name, value in HEADERS.items():
        if reply[name] != value:
            yield f"I10: the header {name} is {reply[name]!r}"
    if any(name.lower().startswith("access-control-") for name, _ in reply.headers):
        yield "I10: another origin is let in"
    if request.method != "HEAD" and reply.status not in (204, 304):
        yield from _of_unknown_type(request, reply)


def _of_unknown_type(request: Request, reply: Reply) -> Iterator[str]:
    kind = reply["Content-Type"]
    static = request.path.lstrip("/").startswith("static/") and reply.status == 200
    if kind == "application/json":
        try:
            strict(reply.content)
        except ValueError as error:
            yield f"I7: no strict JSON: {error}"
    elif kind == "text/html; charset=utf-8":
        ours = [f.content for name, f in static_files().items() if name.endswith(".html")]
        if reply.content not in ours and not _is_redirect(reply):
            yield f"I10: HTML that is not ours: {reply.content[:200]!r}"
    elif kind.startswith("image/") and not static:
        if not reply.content.startswith(_ENDS.get(kind.removeprefix("image/"), b"\0none")):
            yield f"I10: what is no image as {kind}"
    elif kind == "application/octet-stream":
        if not reply["Content-Disposition"].startswith("attachment"):
            yield "I10: bytes that are not to be saved"
    elif kind == "text/plain; charset=utf-8":
        if not static and not request.path.lstrip("/").startswith("data/"):
            yield f"I10: text at {request.path!r}"
    elif not static:
        yield f"I10: a reply of the type {kind!r}"


def _is_redirect(reply: Reply) -> bool:
    host = re.match("(?:http://127.0.0.1:5000)?/(?![/\\\\])", reply["Location"])
    return reply.status in (303, 308) and host is not None and b"<script" not in reply.body.lower()


# -- requests -----------------------------------------------------------------------------------

_METHODS = (
    "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "Get", "",
    "GET ", "G\0T", "\xff", "HEAD,GET", "M" * 9000,
)  # fmt: skip
_PARTS = (
    NAME, "1", "2", "3", "4", "5", "0", "-1", "1e3", "1.0", "01", "9" * 15, "9" * 17, "9" * 5000,
    "..", ".", "", "%00", "\0", "\xff\xfe", "\xed\xa0\x80", "%2e%2e%2f", "a/b", "//", "\\", "<b>",
    "\u0661".encode().decode("latin-1"), "x" * 5000, "None", "null", "trials", "{{7*7}}",
)  # fmt: skip
_VALUES = (
    "", "1", "2", "0", "-1", "1.5", "nan", "9" * 16, "9" * 17, "9" * 5000, "\0", "\xff", "%ff",
    "[1,2]", '["loss"]', "[" * 5000, '{"a":1}', "loss", "prepare", "stdout", "text", *ARTIFACTS,
    "a > 1", "a > 1 and (Success or State == 'FAILED')", "(" * 500, "not " * 300, "a" * 1999,
    "a == '" + "x" * 1900 + "'", "__import__('os').system('true')", "a.__class__ == 1", "a >",
    "a in (1, 2, 3)", "'unclosed", "\u202e", "-a", "--a", "Started", "-Tags", "Result", "\ud800",
)  # fmt: skip
_FITTING: dict[str, tuple[str, ...]] = {
    "name": (*ARTIFACTS, "tests.dashboard.stores:stores.py"),
    "trials": ("1", "2", "3", "4"), "names": ("loss", "odd"), "metrics": ("loss", "odd"),
    "as": ("text",), "stream": ("stdout",), "step": ("prepare",), "experiment": (NAME,),
    "where": ("a > 1", "Success", "kind == 'json' or not Success"), "points": ("4", "10", "1000"),
    "order_by": ("-a", "Started", "Result"), "columns": ("a", "Result", "Tags"),
    "since": ("0-1",),
    "ids": ("[1,2]", "[]", "[4]"), "keys": ('["loss"]', '["loss","odd"]'),
}  # fmt: skip
_QUERIES = {
    **{each.path: [query.name for query in each.queries] for each in ENDPOINTS},
    "/json/metric/": ["experiment", "ids", "keys"],
}
_NAMES = ("experiment", "limit", "where", "trials", "token", "a", "", "a[]", "__proto__")
_HOSTS = (
    "", "localhost", "evil.com", "127.0.0.1@evil.com", "[::1]", "[", "127.0.0.1:x", "\xff",
    "127.0.0.1.evil.com", "127.0.0.1:99999", "a" * 5000, "127.0.0.1, evil.com", "localhost\t",
)  # fmt: skip
_HEADERS: dict[str, tuple[str, ...]] = {
    "Host": _HOSTS,
    "Accept-Encoding": ("gzip", "gzip;q=0", "gzip;q=x", "*", ";;;", ",", "br, gzip;q=1e9", "\xff"),
    "Accept": ("text/html", "*/*", "application/xml", ";q=", "\xff", "text/html;q=0.1,a/b"),
    "If-None-Match": ("*", '"x"', "W/", '"' * 1000, "\xff", '"a", W/"b"'),
    "If-Modified-Since": ("Thu, 01 Jan 1970 00:00:00 GMT", "never", "Fri, 31 Feb 99999", "\xff"),
    "If-Range": ('"x"', "never", "\xff"),
    "Range": ("bytes=0-0", "bytes=5-1", "bytes=-1", "bytes=0-,1-2", "lines=1", "bytes=" + "9" * 99),
    "Cookie": ("a=b", "=", ";;;", "daskperiment_=x", "\xff=\xff", "a=" + "b" * 5000),
    "Authorization": ("Bearer", "Bearer x", "Basic eDp5", "Basic \xff", "Negotiate", "x" * 5000),
    "Origin": ("null", "http://127.0.0.1:5000", "https://evil.com", "\xff", ""),
    "Referer": ("https://evil.com/", "\xff"),
    "Sec-Fetch-Site": ("same-origin", "cross-site", "same-site", "none", "odd"),
    "Sec-Fetch-Mode": ("navigate", "cors", "no-cors", "odd"),
    "Content-Length": ("0", "-1", "x", "9" * 30, "5"),
    "Content-Type": ("application/json", "multipart/form-data", "text/plain; charset=odd", "\xff"),
    "X-Forwarded-Host": ("evil.com",),
    "X-HTTP-Method-Override": ("DELETE",),
    "Upgrade": ("websocket",),
    "Expect": ("100-continue", "odd"),
}


_PATHS = [
    *_QUERIES, *(each.path for each in ENDPOINTS), *PAGES, *ORIGINAL, f"{ROOT}/openapi.json",
    "/static/index.html", "/static/x", "/console", *[p for p in _QUERIES if "artifact" in p] * 3,
]  # fmt: skip


def requests(chance: random.Random) -> Iterator[Request]:
    """Requests without end: of addresses that there are, with a few things changed."""
    while True:
        path = chance.choice(_PATHS)
        known = _QUERIES.get(path, [])
        yield Request(
            _method(chance), _filled(chance, path), _query(chance, known),
            tuple(_some_headers(chance)), chance.randbytes(chance.choice([0, 0, 0, 5, 100])),
        )  # fmt: skip


def _method(chance: random.Random) -> str:
    drawn = chance.random()
    return "GET" if drawn < 0.75 else "HEAD" if drawn < 0.85 else chance.choice(_METHODS)


def _filled(chance: random.Random, path: str) -> str:
    drawn = chance.random()
    if drawn < 0.05:
        return "/" + chance.randbytes(chance.randrange(40)).decode("latin-1")
    sound = drawn < 0.85
    name = NAME if sound else chance.choice(_PARTS)
    number = str(chance.randrange(1, 6)) if sound else chance.choice(_PARTS)
    path = path.replace("<experiment>", name).replace("<trial:number>", number)
    path = path.replace("<search:name>", "fits" if sound else chance.choice(_PARTS))
    if drawn > 0.9:
        at = chance.randrange(len(path) + 1)
        path = path[:at] + chance.choice(_PARTS) + path[at + chance.randrange(3) :]
    return path


def _query(chance: random.Random, known: list[str]) -> str:
    drawn = chance.random()
    if drawn < 0.4:
        return ""
    if drawn < 0.45:
        return chance.randbytes(chance.randrange(60)).decode("latin-1")
    if drawn < 0.46:
        return "&".join(f"trials={n}" for n in range(10_000))
    if drawn > 0.85 and "name" in known:
        return urlencode({"name": chance.choice(_FITTING["name"])})
    names = _NAMES if drawn < 0.6 or not known else known
    chosen = [chance.choice(names) for _ in range(chance.randrange(1, 4))]
    fit = drawn > 0.7
    pairs = [(n, chance.choice(_FITTING.get(n, ("1",)) if fit else _VALUES)) for n in chosen]
    return urlencode([(name, value.encode("utf-8", "surrogatepass")) for name, value in pairs])


def _some_headers(chance: random.Random) -> Iterator[tuple[str, str]]:
    for name in chance.sample(sorted(_HEADERS), chance.choice([0, 0, 1, 1, 2, 4])):
        if name != "Host" or chance.random() < 0.3:
            yield name, chance.choice(_HEADERS[name])


def written(values: dict[str, Any]) -> str:
    """A query, also of texts that UTF-8 has not."""
    return urlencode(values, doseq=True, errors="surrogatepass")


# -- bytes for a socket -------------------------------------------------------------------------


def raw(chance: random.Random) -> bytes:
    """Bytes that are more or less a request."""
    request = next(requests(chance))
    target = quote(request.path, safe="/", encoding="latin-1") if chance.random() < 0.7 else (
        request.path
    )  # fmt: skip
    lines = [f"{request.method} {target}?{request.query} HTTP/1.{chance.choice('0112')}"]
    lines += [f"{name}: {value}" for name, value in (("Host", "127.0.0.1"), *request.headers)]
    end = chance.choice(["\r\n", "\r\n", "\r\n", "\n", "\r"])
    sent = bytearray(end.join([*lines, "Connection: close", "", ""]).encode("latin-1", "replace"))
    sent += request.body
    for _ in range(chance.choice([0, 0, 1, 5, 50])):
        if sent:
            sent[chance.randrange(len(sent))] = chance.randrange(256)
    cut = len(sent) if chance.random() < 0.8 else chance.randrange(len(sent) + 1)
    return bytes(sent[: min(cut, _SENT)])


def exchanged(port: int, sent: bytes, timeout: float = 20) -> bytes:
    """What a server answers to bytes, after which nothing more is sent."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                received += part
        except TimeoutError:
            raise
        except OSError:  # it need not listen to the end
            pass
    return received


def wrong_on_a_socket(sent: bytes, received: bytes) -> Iterator[str]:
    """What is wrong with the answer to bytes."""
    if not received:
        return  # the connection was closed: that is an answer to what is no request
    begin = re.match(rb"HTTP/1\.[01] (\d{3}) ", received)
    if begin is None:
        yield f"I7: no HTTP for {sent[:200]!r}: {received[:100]!r}"
    elif begin[1] >= b"500" and not (begin[1] == b"501" and b"ransfer" in sent):
        yield f"I7: status {begin[1].decode()} for {sent[:200]!r}"


# -- requests made of the description -----------------------------------------------------------


def described(app: Flask, seed: int, count: int, judge: Callable[[Request, Reply], object]) -> None:
    """Requests that schemathesis makes of the description of the API, sound ones and others.

    ``judge`` is called with each and its reply, also with one that is not as described.
    """
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings, strategies
    from hypothesis import seed as seeded
    from schemathesis.specs.openapi import checks

    found = schemathesis.openapi.from_wsgi(f"{ROOT}/openapi.json", app)
    cases = strategies.one_of(
        *(
            each.ok().as_strategy(generation_mode=mode)
            for each in found.get_all_operations()
            for mode in schemathesis.GenerationMode
        )
    )
    wanted = [
        checks.status_code_conformance, checks.content_type_conformance,
        checks.response_schema_conformance,
    ]  # fmt: skip
    chance = random.Random(seed)

    @seeded(seed)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(cases)
    def run(case: Any) -> None:
        if chance.random() < 0.8:  # else there is never such a trial or search
            known = {"experiment": NAME, "number": chance.randrange(1, 6), "name": "fits"}
            case.path_parameters.update({k: known[k] for k in case.path_parameters})
        response = case.call(headers={"Accept-Encoding": "identity"})
        headers = [(name, value) for name, values in response.headers.items() for value in values]
        request = Request(case.method, case.formatted_path, f"{case.query}")
        judge(request, Reply(response.status_code, headers, response.content))
        if response.status_code < 500:
            case.validate_response(response, checks=wanted)

    run()
