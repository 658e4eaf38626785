"""A TCP proxy that cuts, delays, trickles and swallows what passes through it."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

_CHUNK = 65536
_GREETINGS = (b"HELLO", b"hello", b"SETINFO", b"AUTH", b"SELECT")


class Proxy:
    """A port of the loopback device behind which a server stands.

    Parameters
    ----------
    port : int
        Port of the server.
    seed : int
        What chance begins with.

    Attributes
    ----------
    delay : float
        Seconds that every reply is held back.
    trickle : bool
        Whether replies come byte by byte.
    hole : bool
        Whether nothing passes, in either direction, and nobody is told.
    swallow : float
        The part of the replies that is dropped, and whose connection is broken; those of a
        client that greets its server are not.
    struck : int
        How many connections a fault has hit while something was on its way.
    """

    def __init__(self, port: int, seed: int) -> None:
        self._target = port
        self._chance = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.calm()
        self.struck = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return int(self._listener.getsockname()[1])

    def calm(self) -> None:
        """End all faults."""
        self.delay, self.trickle, self.hole, self.swallow = 0.0, False, False, 0.0
        self._left: int | None = None

    def cut(self, after: int = 0) -> None:
        """Break all connections, after so many bytes of a reply."""
        if after:
            self._left = after
        else:
            self._break()

    def strike(self) -> None:
        """Begin a fault of some kind."""
        self.calm()
        chance = self._chance
        kind = chance.choice(["cut", "cut inside", "delay", "trickle", "hole", "swallow"])
        if kind == "cut":
            self.cut()
        elif kind == "cut inside":
            self.cut(chance.randrange(1, 40))
        elif kind == "delay":
            self.delay = chance.uniform(0.01, 0.5)
        elif kind == "swallow":
            self.swallow = chance.choice([1.0, 0.5, 0.3])
        else:
            setattr(self, kind, True)

    def close(self) -> None:
        """Stop listening and break all connections."""
        self._listener.close()
        self._break()
        self.hole = False  # threads that wait in it find their connections closed

    def _break(self) -> None:
        with self._lock:
            broken, self._open = self._open, set()
        for connection in broken:
            self.struck += 1
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
                    server.settimeout(None)
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    self._open |= {client, server}
                asked: list[bytes] = []
                for source, target, pump in (
                    (client, server, self._asking),
                    (server, client, self._replying),
                ):
                    threading.Thread(target=self._pump, args=(source, target, pump, asked)).start()

    def _pump(
        self,
        source: socket.socket,
        target: socket.socket,
        passing: Callable[[socket.socket, bytes, list[bytes]], bool],
        asked: list[bytes],
    ) -> None:
        try:
            while data := source.recv(_CHUNK):
                while self.hole:
                    self.struck += 1
                    time.sleep(0.02)
                if not passing(target, data, asked):
                    break
        except OSError:
            pass
        for connection in (source, target):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _asking(self, target: socket.socket, data: bytes, asked: list[bytes]) -> bool:
        asked[:] = [data[:200]]
        target.sendall(data)
        return True

    def _replying(self, target: socket.socket, data: bytes, asked: list[bytes]) -> bool:
        if self.delay:
            self.struck += 1
            time.sleep(self.delay)
        greeting = any(word in asked[0] for word in _GREETINGS)
        if not greeting and self._chance.random() < self.swallow:
            self.struck += 1
            return False
        left = self._left  # which the end of the fault takes away at any moment
        if left is not None:
            target.sendall(data[:left])
            cut = left < len(data)
            self.struck += cut
            self._left = None if cut else left - len(data)
            return not cut
        if self.trickle:
            self.struck += 1
            for at in range(min(len(data), 50)):
                target.sendall(data[at : at + 1])
                time.sleep(0.001)
            data = data[50:]
        target.sendall(data)
        return True
