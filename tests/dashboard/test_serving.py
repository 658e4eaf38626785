"""The server: where it listens, how it ends, and what it says when it cannot be started."""

from __future__ import annotations

import gzip
import importlib.util
import json
import logging
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from daskperiment import Experiment
from daskperiment.backends import open_backend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard import serving
from daskperiment.dashboard.endpoint import ROOT
from daskperiment.dashboard.serving import Dashboard
from daskperiment.errors import DashboardError
from tests.dashboard.stores import NAME, fill

BASE = f"{ROOT}/experiments/{NAME}"


def asked(dashboard: Dashboard, path: str, method: str = "GET", **headers: str) -> Any:
    address = urlsplit(dashboard.url)
    connection = HTTPConnection("127.0.0.1", address.port or 0, timeout=20)
    connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    reply: HTTPResponse = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply, body


@contextmanager
def taken_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port at which somebody else listens."""
    with socket.create_server((host, 0)) as listening:
        yield listening.getsockname()[1]


def test_a_port_that_is_taken_is_left_to_who_has_it(shown: Experiment) -> None:
    with taken_port() as port, serving.start(shown.backend, port=port) as dashboard:
        chosen = urlsplit(dashboard.url).port or 0
        assert port < chosen < port + 100
        assert asked(dashboard, f"{ROOT}/meta")[0].status == 200


def test_where_no_port_is_free_the_message_says_what_to_do(
    shown: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_TRIED", 1)
    with (
        taken_port() as port,
        pytest.raises(DashboardError, match=f"No port from {port} to {port} is free: choose"),
    ):
        serving.start(shown.backend, port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.1", "0", "LOCALHOST"])
def test_any_address_but_a_local_one_needs_a_token_which_is_made(
    shown: Experiment, host: str
) -> None:
    try:
        dashboard = serving.start(shown.backend, host=host, port=0)
    except DashboardError as error:
        assert "cannot listen" in str(error)  # not every machine has every kind of address
        assert host != "0.0.0.0"
        return
    with dashboard:
        token = urlsplit(dashboard.url).query.removeprefix("token=")
        assert len(token) >= 43
        assert asked(dashboard, f"{ROOT}/meta", Host="localhost")[0].status == 401
        sent = asked(
            dashboard, f"{ROOT}/meta", Host="localhost", Authorization=f"Bearer {token}"
        )  # fmt: skip
        assert sent[0].status == 200


def test_the_address_of_all_devices_is_told_by_the_name_of_the_machine(shown: Experiment) -> None:
    with serving.start(shown.backend, host="0.0.0.0", port=0) as dashboard:
        address = urlsplit(dashboard.url)
        assert address.hostname == socket.gethostname().lower()
        bearer = f"Bearer {address.query.removeprefix('token=')}"
        for host in (address.netloc, f"127.0.0.1:{address.port}", "203.0.113.9"):
            reply, _ = asked(dashboard, "/", Host=host, Authorization=bearer)
            assert reply.status == 200
        assert asked(dashboard, "/", Host="evil.com", Authorization=bearer)[0].status == 403


def test_a_further_name_is_allowed_by_name(shown: Experiment) -> None:
    allowed = ["Board.example"]
    with serving.start(shown.backend, port=0, allowed_hosts=allowed) as dashboard:
        assert asked(dashboard, "/", Host="board.example:443")[0].status == 200
        assert asked(dashboard, "/", Host="a.board.example")[0].status == 403


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "é" * 20, "x" * 20 + "\n", 7, b"x" * 20])
def test_a_token_that_could_be_guessed_or_not_be_sent_is_refused(
    shown: Experiment, token: Any
) -> None:
    with pytest.raises(DashboardError, match="at least 16 printable ASCII.*leave it out"):
        serving.start(shown.backend, port=0, token=token)


@pytest.mark.parametrize("host", [
    "203.0.113.9", "no-such-name.invalid", "256.1.1.1", "127.0.0.1:5000", "[::1]", "http://x", "",
    "a" * 70, "a\0b", "\ud800", None, 7,
])  # fmt: skip
def test_an_address_that_is_not_of_this_machine_is_told_of(shown: Experiment, host: Any) -> None:
    with pytest.raises(DashboardError, match="such as 127.0.0.1 or 0.0.0.0"):
        serving.start(shown.backend, host=host, port=0)


@pytest.mark.parametrize("port", [-1, 65536, 1.5, "5000", None, True])
def test_a_port_is_a_number_of_16_bits(shown: Experiment, port: Any) -> None:
    with pytest.raises(DashboardError, match="A port is an integer from 0 to 65535, not"):
        serving.start(shown.backend, port=port)


@pytest.mark.parametrize("missing", ["flask", "waitress", "pygments"])
def test_a_missing_library_is_named_with_how_to_install_it(
    shown: Experiment, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(serving, "find_spec", lambda name: None if name == missing else find(name))

    with pytest.raises(DashboardError, match=re.escape('pip install "daskperiment[dashboard]"')):
        shown.start_dashboard(port=0, blocking=False)


def test_what_was_closed_gives_its_port_free_and_may_be_closed_again(shown: Experiment) -> None:
    before = threading.active_count()
    dashboard = serving.start(shown.backend, port=0)
    port = urlsplit(dashboard.url).port or 0
    assert asked(dashboard, "/")[0].status == 200
    dashboard.close()
    dashboard.close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
    with serving.start(shown.backend, port=port) as again:
        assert urlsplit(again.url).port == port
    assert threading.active_count() <= before


def test_two_dashboards_of_one_process_show_each_its_own_store() -> None:
    one, other = MemoryBackend(), MemoryBackend()
    fill(one, "one")
    fill(other, "other")
    with serving.start(one, port=0) as first, serving.start(other, port=0) as second:
        for dashboard, name in ((first, "one"), (second, "other")):
            found = json.loads(asked(dashboard, f"{ROOT}/experiments")[1])
            assert [each["experiment"] for each in found["experiments"]] == [name]


def test_head_is_get_without_a_body(served: Dashboard) -> None:
    for path in ("/", f"{BASE}/trials/1", f"{BASE}/trials/1/artifact?name=plots/true.png", "/no"):
        get, content = asked(served, path)
        head, nothing = asked(served, path, "HEAD")
        assert (head.status, nothing) == (get.status, b"")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
        assert int(head.headers["Content-Length"]) == len(content)


def test_long_replies_are_compressed_for_those_who_take_it(served: Dashboard) -> None:
    path = f"{BASE}/trials/1/environment"
    plain, content = asked(served, path)
    packed, less = asked(served, path, Accept_Encoding="gzip, br")

    assert (plain.headers["Content-Encoding"], packed.headers["Content-Encoding"]) == (None, "gzip")
    assert len(less) < len(content) / 2
    assert gzip.decompress(less) == content
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"] != packed.headers["ETag"]
    etag = packed.headers["ETag"]
    assert asked(served, path, Accept_Encoding="gzip", If_None_Match=etag)[0].status == 304


def test_a_large_artifact_is_sent_without_being_held_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    size = 64 * 1024 * 1024
    with open_backend(tmp_path / "store") as backend:
        ex = Experiment("large", backend=backend)

        def save() -> None:
            (tmp_path / "large.bin").write_bytes(b"x" * size)
            ex.save_artifact("large.bin", tmp_path / "large.bin")

        ex.result(save, name="save")().compute(scheduler="synchronous")
        with serving.start(backend, port=0) as dashboard:
            address = urlsplit(dashboard.url)
            connection = HTTPConnection(str(address.hostname), address.port or 0, timeout=30)
            tracemalloc.start()
            connection.request("GET", f"{ROOT}/experiments/large/trials/1/artifact?name=large.bin")
            reply = connection.getresponse()
            received = 0
            while part := reply.read(65536):
                received += len(part)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            connection.close()
    assert received == size
    assert peak < size / 4


@pytest.mark.parametrize(("query", "why"), [
    ("trials?limit=501", "limit is an integer from 1 to 500"),
    ("trials?limit=0", "limit is an integer"), ("trials?limit=1e2", "limit is an integer"),
    ("trials?limit=" + "9" * 5000, "limit is an integer"), ("trials?limit=%D9%A5", "limit is an"),
    ("trials?offset=1000000001", "offset is an integer"), ("trials?limit=1&limit=2", "once"),
    ("trials?where=" + "a" * 2001, "where is a text of 0 to 2000 characters"),
    ("trials?" + "&".join(f"columns={n}" for n in range(201)), "columns may be given 200 times"),
    ("metrics?" + "&".join(f"trials={n}" for n in range(1, 22)), "trials may be given 20 times"),
    ("metrics?trials=1&points=20001", "points is an integer from 4 to 20000"),
    ("compare?" + "&".join(f"trials={n}" for n in range(1, 12)), "trials may be given 10 times"),
    ("compare?trials=1", "Two trials or more"), ("trials/1/output?last=20001", "last is an"),
    ("trials/1/output?stream=all", "stream is one of stdout"), ("trials?x=1", "no parameter 'x'"),
    ("trials?where=" + "(" * 900, "more than 50 levels"),
    ("trials?where=" + "not%20" * 300 + "a", "more than 50 levels"),
])  # fmt: skip
def test_what_may_be_asked_at_once_is_bounded(client: FlaskClient, query: str, why: str) -> None:
    refused = client.get(f"{BASE}/{query}")

    assert (refused.status_code, refused.json["error"]["type"]) == (400, "QueryError")
    assert why in refused.json["error"]["message"]


@pytest.mark.parametrize("number", ["0", "-1", "01", "1.0", "9" * 17, "9" * 5000, "one", "1%00"])
def test_what_is_no_number_of_a_trial_is_not_found(client: FlaskClient, number: str) -> None:
    assert client.get(f"{BASE}/trials/{number}").status_code == 404


def test_a_header_without_end_is_cut_off(served: Dashboard) -> None:
    reply, _ = asked(served, "/", X_Long="x" * 40_000)
    assert reply.status == 431
    assert asked(served, "/")[0].status == 200


# -- in processes of their own ------------------------------------------------------------------


def test_a_dashboard_that_nobody_waits_for_keeps_no_process_alive(tmp_path: Path) -> None:
    script = (
        "from daskperiment import Experiment\n"
        "ex = Experiment('alone', backend='memory://')\n"
        "print(ex.start_dashboard(port=0, blocking=False))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("Dashboard at http://127.0.0.1:") == 2  # shown, and printed


BOARD = Path(sys.executable).with_name("daskperimentboard")
COMMANDS = {
    "daskperiment dashboard": [sys.executable, "-m", "daskperiment", "dashboard", "-e"],
    "daskperimentboard": [str(BOARD)],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_serves_until_it_is_interrupted(tmp_path: Path, command: str) -> None:
    with open_backend(tmp_path / "store") as backend:
        fill(backend)
    process = subprocess.Popen(
        [*COMMANDS[command], NAME, "--backend", str(tmp_path / "store"), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout and process.stderr
    try:
        assert select.select([process.stdout], [], [], 60)[0]
        url = process.stdout.readline().removeprefix("Dashboard at ").strip()
        address = urlsplit(url)
        connection = HTTPConnection(str(address.hostname), address.port or 0, timeout=20)
        connection.request("GET", f"{ROOT}/meta")
        assert json.load(connection.getresponse())["experiment"] == NAME
        connection.close()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_experiment_is_one_line_and_status_2(tmp_path: Path, command: str) -> None:
    with open_backend(tmp_path / "store") as backend:
        fill(backend)
    done = subprocess.run(
        [*COMMANDS[command], "nowhere", "--backend", str(tmp_path / "store"), "--port", "0"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "nowhere" in done.stderr
    assert NAME in done.stderr


def test_a_server_writes_no_log_of_its_own_for_what_is_asked(
    served: Dashboard, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        asked(served, "/")
        asked(served, f"{BASE}/trials/99")
    assert caplog.records == []
