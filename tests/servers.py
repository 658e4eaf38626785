"""Real servers for tests: on loopback, on free ports, in folders of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def missing(what: str) -> None:
    """Skip the test that needs something; fail it in CI, where it must be there."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {what}")


def free_port() -> int:
    """A port of the loopback device that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class RedisServer:
    """A redis-server that can be killed and started again; it keeps an append-only file."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        if shutil.which("redis-server") is None:
            missing("the program redis-server")
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
            "redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir",
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
