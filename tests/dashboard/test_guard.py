"""Who may ask, what is done with the token, and that no debugger is there.

All combinations of hosts, origins, methods, sites and tokens are in `matrix`, for `torture`.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from daskperiment import Experiment
from daskperiment.dashboard import serving
from daskperiment.dashboard.app import create_app
from daskperiment.dashboard.board import Board
from daskperiment.dashboard.endpoint import ROOT
from daskperiment.dashboard.guard import HEADERS, Guard, new_token
from daskperiment.dashboard.serving import Dashboard
from tests.dashboard.fuzz import Request, ask

TOKEN = "a token of 32 characters, no less"
META = f"{ROOT}/meta"


@pytest.fixture
def locked(shown: Experiment) -> FlaskClient:
    """Asks a dashboard that needs a token."""
    return create_app(Board(shown.backend, shown.id), Guard(token=TOKEN)).test_client()


def test_without_the_token_nothing_is_answered(locked: FlaskClient) -> None:
    for path in ("/", META, "/json/table", "/nowhere", "/data/code/1"):
        refused = locked.get(path)
        assert refused.status_code == 401
        assert "open the address that the dashboard printed" in refused.json["error"]["message"]
        assert "Set-Cookie" not in refused.headers


def test_a_browser_without_the_token_is_shown_a_page_that_says_so(locked: FlaskClient) -> None:
    refused = locked.get("/", headers={"Accept": "text/html,*/*;q=0.8"})

    assert (refused.status_code, refused.mimetype) == (401, "text/html")
    assert TOKEN not in refused.text


def test_the_token_of_an_address_becomes_a_cookie_that_scripts_cannot_read(
    locked: FlaskClient,
) -> None:
    brought = locked.get("/experiments/shown", query_string={"token": TOKEN, "limit": 5, "a": "&"})

    assert (brought.status_code, brought.headers["Location"]) == (
        303, "/experiments/shown?limit=5&a=%26",
    )  # fmt: skip
    name, _, rest = brought.headers["Set-Cookie"].partition("=")
    value, *attributes = rest.split("; ")
    assert set(attributes) == {"HttpOnly", "SameSite=Strict", "Path=/"}
    assert TOKEN not in value
    assert locked.get(META).status_code == 200
    locked.delete_cookie(name)
    assert locked.get(META).status_code == 401


@pytest.mark.parametrize("query", [
    {"token": "x" * 32}, {"token": TOKEN[:-1]}, {"token": TOKEN + "x"}, {"token": ""},
    {"token": ["x", TOKEN]}, {"Token": TOKEN}, {"token": TOKEN.upper()}, {"token": "\0"},
])  # fmt: skip
def test_nothing_but_the_token_itself_is_one(
    locked: FlaskClient, query: dict[str, str | list[str]]
) -> None:
    assert locked.get(META, query_string=query).status_code == 401


@pytest.mark.parametrize("header", [
    f"Bearer {TOKEN[:-1]}", "Bearer ", "Bearer", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}, x", "é",
])  # fmt: skip
def test_a_script_brings_the_token_as_a_bearer(locked: FlaskClient, header: str) -> None:
    assert locked.get(META, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert locked.get(META, headers={"Authorization": header}).status_code == 401


def test_the_token_is_not_a_cookie(locked: FlaskClient) -> None:
    locked.set_cookie(Guard(token=TOKEN).cookie_name, TOKEN)
    assert locked.get(META).status_code == 401


def test_cookies_of_two_dashboards_of_one_host_do_not_replace_each_other() -> None:
    one, other = Guard(token=new_token()), Guard(token=new_token())
    assert one.cookie_name != other.cookie_name
    assert len(new_token()) >= 43
    assert new_token() != new_token()


@pytest.mark.parametrize("path", [
    "//evil.com", "//evil.com/x", "/\\evil.com", "\\\\evil.com", "///evil.com", "/\\/evil.com",
    "/\t/evil.com", "/ /evil.com", "/\n/evil.com", "//evil.com%2f..", "/x:y@evil.com", "/\0//evil",
    "http://evil.com", "//\xe9vil.com",
])  # fmt: skip
def test_the_way_from_the_token_leads_to_no_other_host(shown: Experiment, path: str) -> None:
    app = create_app(Board(shown.backend), Guard(token="t" * 16))

    reply = ask(app, Request("GET", path, "token=" + "t" * 16))

    to = reply["Location"]
    assert reply.status == 303
    assert to.startswith("/") and to[1:2] not in ("/", "\\")
    assert not any(ord(sign) <= 32 for sign in to)
    assert (urlsplit(to).scheme, urlsplit(to).netloc) == ("", "")


def test_every_reply_tells_browsers_to_run_no_script_of_others(locked: FlaskClient) -> None:
    brought = locked.get("/", query_string={"token": TOKEN})
    replies = [
        brought, locked.get("/"), locked.get(META), locked.get("/nowhere"), locked.post(META),
        locked.get(META, headers={"Host": "evil.com"}), locked.get("/json/metric"),
        locked.get(META, headers={"Origin": "null"}), locked.get("/static/index.html"),
        locked.head("/"), locked.get("/data/code/1"), FlaskClient(locked.application).get("/"),
    ]  # fmt: skip
    assert {reply.status_code for reply in replies} == {200, 303, 308, 401, 403, 404, 405}
    for reply in replies:
        assert {name: reply.headers.get(name) for name in HEADERS} == HEADERS
        assert "Access-Control-Allow-Origin" not in reply.headers
    policy = HEADERS["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


@pytest.fixture
def behind(shown: Experiment) -> Iterator[Dashboard]:
    """A dashboard with a token that is being served."""
    with serving.start(shown.backend, shown.id, port=0, token=TOKEN) as dashboard:
        yield dashboard


def test_the_token_is_in_no_record_of_any_log(
    behind: Dashboard, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    address = urlsplit(behind.url)
    connection = HTTPConnection(str(address.hostname), address.port or 0)
    with caplog.at_level(logging.DEBUG):
        for name in ("flask", "werkzeug", "waitress", "waitress.queue", "daskperiment"):
            caplog.set_level(logging.DEBUG, name)
        for target, headers in (
            (f"/?{address.query}", {}), (f"{META}?{address.query}", {"Host": "evil.com"}),
            (f"/nowhere?x=%ff&{address.query}", {}), (META, {"Authorization": f"Bearer {TOKEN}"}),
            (f"{ROOT}/experiments?{address.query}&x=1", {"Origin": "null"}),
        ):  # fmt: skip
            connection.request("GET", target, headers=headers)
            connection.getresponse().read()
    connection.close()

    told = caplog.text + "".join(capfd.readouterr())
    assert TOKEN not in told
    assert address.query not in told


def test_the_token_is_printed_once_in_the_address_to_open(
    behind: Dashboard, capsys: pytest.CaptureFixture[str]
) -> None:
    serving.show(behind, blocking=False)

    assert capsys.readouterr().out == f"Dashboard at {behind.url}\n"
    assert behind.url.count("token=") == 1


def test_an_address_with_any_token_in_it_opens_the_dashboard(shown: Experiment) -> None:
    for token in ("a b&c#d+e/f=g?h%i", "0123456789abcdef", new_token()):
        with serving.start(shown.backend, port=0, token=token) as dashboard:
            address = urlsplit(dashboard.url)
            connection = HTTPConnection(str(address.hostname), address.port or 0)
            connection.request("GET", f"{address.path}?{address.query}")
            assert (connection.getresponse().status, address.fragment) == (303, "")
            connection.close()


DEBUGGED = """
import json
from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard import app as application
from daskperiment.dashboard.board import Board

class Broken(MemoryBackend):
    def find(self, *arguments, **options):
        raise ZeroDivisionError("secret inside")

client = application.create_app(Board(Broken())).test_client()
found = [client.get(path) for path in (
    "/console", "/?__debugger__=yes&cmd=resource&f=debugger.js", "/api/v1/experiments",
    "/__debugger__", "/static/debugger.js",
)]
print(json.dumps([[reply.status_code, reply.text] for reply in found]))
"""


def test_no_debugger_is_there_whatever_the_environment_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "FLASK_DEBUG": "1",
        "FLASK_ENV": "development",
        "PYTHONDEVMODE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WERKZEUG_DEBUG_PIN", "off")
    done = subprocess.run(
        [sys.executable, "-c", DEBUGGED], capture_output=True, text=True, check=True
    )
    replies = json.loads(done.stdout)

    assert [status for status, _ in replies] == [404, 200, 500, 404, 404]
    assert all("debugger" not in text.lower() or status == 404 for status, text in replies)
    assert not any("secret inside" in text or "Traceback" in text for _, text in replies)
    assert "secret inside" in done.stderr
