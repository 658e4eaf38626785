"""Real servers for tests: on loopback, on free ports, in folders of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import WriteConcern


def missing(what: str) -> None:
    """Skip the test that needs something; fail it in CI, where it must be there."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {what}")


def program(name: str) -> str:
    """Path of a program, also one of this environment."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        missing(f"the program {name}")
    assert found is not None
    return found


def free_port() -> int:
    """A port of the loopback device that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class RedisServer:
    """A redis-server that can be killed and started again; it keeps an append-only file."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        self.program = program("redis-server")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port or free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def uri(self) -> str:
        """The address of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        arguments = [
            self.program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir",
            str(self.folder), "--save", "", "--appendonly", "yes", *self.options,
        ]  # fmt: skip
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(arguments, stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                reply = connection.recv(100)
        except OSError:
            return False
        return reply.startswith((b"+PONG", b"-NOAUTH"))

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it as a crash ends it, or by another signal."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(20)

    def close(self) -> None:
        """Stop it, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()


@contextmanager
def redis_server(folder: Path, *options: str, port: int | None = None) -> Iterator[RedisServer]:
    """A running redis-server, stopped at the end."""
    server = RedisServer(folder, *options, port=port)
    try:
        yield server
    finally:
        server.close()


class MongoServer:
    """A server that speaks MongoDB's protocol, with its data in memory or in a folder."""

    def __init__(self, folder: Path, data: str = "memory") -> None:
        self.folder, self.data, self.port = folder, data, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [program("nx-27017"), "--data-dir", self.data, "-p", str(self.port)]
        files = ["--log-file", self.folder / "log", "--pid-file", self.folder / "pid"]
        self._process = subprocess.Popen(
            [*command, *files], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def uri(self, database: str) -> str:
        return f"mongodb://127.0.0.1:{self.port}/{database}"


@contextmanager
def mongo_server(data: str = "memory") -> Iterator[MongoServer]:
    """A running server, which is killed at the end."""
    with tempfile.TemporaryDirectory(prefix="daskperiment-") as folder:
        server = MongoServer(Path(folder), data)
        server.start()
        try:
            yield server
        finally:
            server.kill()


class _Locked:
    """mongomock's objects, which threads must not use at once, behind one lock."""

    def __init__(self, wrapped: Any, lock: Any) -> None:
        self._wrapped, self._lock = wrapped, lock

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        return self._under_lock(found) if callable(found) else found

    def _under_lock(self, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                found = function(*args, **kwargs)
            inner = type(found).__name__ in ("Collection", "Cursor")
            return _Locked(found, self._lock) if inner else found

        return call

    def __iter__(self) -> Iterator[Any]:
        with self._lock:
            return iter(list(self._wrapped))


def mock_database(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty database of mongomock."""
    mongomock = pytest.importorskip("mongomock")
    builder = mongomock.collection.BulkOperationBuilder
    monkeypatch.setattr(builder, "add_update", _without_sort(builder.add_update))
    database = _Locked(mongomock.MongoClient().get_database("test"), threading.RLock())
    database.write_concern = WriteConcern()  # which its databases do not have
    return database


def _without_sort(function: Any) -> Any:
    def call(*args: Any, sort: None = None, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call
