"""How another process of this host reaches a store in this process's memory.

The first time that a memory store is pickled, one daemon thread begins to listen on a
Unix socket (a pipe on Windows, the loopback device where neither can be had).  What is
pickled is its address, a random key and the store's id; unpickled elsewhere, that makes
a :class:`MemoryProxy`, which sends each operation to the owner.

The messages are pickles, as always with :mod:`multiprocessing.connection`, and they are
read only after both ends have proved by HMAC that they hold the key.  Who can read the
pickled backend can therefore run code as its owner: send it to your own workers only.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from multiprocessing import AuthenticationError
from multiprocessing.connection import (
    Client,
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from daskperiment import platform
from daskperiment.backends.base import Backend, Order, Put, Write
from daskperiment.backends.documents import check_find, check_texts
from daskperiment.errors import BackendError, BackendUnreachableError, DaskperimentError
from daskperiment.typing import JSON, Document, Key, Where

Address = str | tuple[str, int]

PAGE = 500
"""Documents that one message of :meth:`MemoryProxy.find` brings."""

_OPERATIONS = frozenset(
    {"apply", "get", "get_many", "find", "read", "fetch", "blobs", "drop", "compact"}
)
_served: WeakValueDictionary[str, Backend] = WeakValueDictionary()
_servers: list[_Server] = []
_starting = threading.Lock()


def serve(backend: Backend) -> tuple[Address, bytes]:
    """Let holders of the returned key use a backend of this process at the address.

    One thread listens for all stores of a process, as long as the process lives; a
    store that is garbage-collected is no longer reached.
    """
    with _starting:
        if not _servers:
            _servers.append(_Server())
        _served[backend.store_id] = backend
        return _servers[0].address, _servers[0].key


def reach(address: Address, key: bytes, store_id: str, owned: bool) -> Backend:
    """Return the backend itself where it lives in this process, and a proxy elsewhere."""
    return _served.get(store_id) or _proxy(address, key, store_id, owned)


class MemoryProxy(Backend):
    """A :class:`~daskperiment.backends.memory.MemoryBackend` of another process of this host.

    Each operation is one message; errors arrive as the same errors.  When the owner is
    gone they are :class:`~daskperiment.errors.BackendUnreachableError`.
    """

    def __init__(self, address: Address, key: bytes, store_id: str, owned: bool = True) -> None:
        self._address = address
        self._key = key
        self._store_id = store_id
        self._owned = owned
        self._connections: dict[tuple[int, int], Connection] = {}

    def __repr__(self) -> str:
        """Return text without the key."""
        return f"<MemoryProxy of store {self._store_id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the owner's address."""
        return reach, (self._address, self._key, self._store_id, self._owned)

    @property
    def store_id(self) -> str:
        """Random text made with the owner's store."""
        return self._store_id

    @property
    def owned(self) -> bool:
        """What the owner's store said when it was pickled."""
        return self._owned

    def apply(self, *writes: Write) -> list[Any]:
        """Let the owner commit the writes; files are read here."""
        return self._ask("apply", *map(_with_content, writes))  # type: ignore[no-any-return]

    def get(self, path: str, key: Key) -> Document | None:
        """Return the owner's document, or None."""
        return self._ask("get", path, key)  # type: ignore[no-any-return]

    def get_many(self, path: str, keys: Any) -> list[Document | None]:
        """Return the owner's documents in one message."""
        return self._ask("get_many", path, list(keys))  # type: ignore[no-any-return]

    def find(
        self,
        path: str,
        where: Where | None = None,
        *,
        fields: Sequence[str] | None = None,
        order_by: Order = "key",
        after: Key | None = None,
        limit: int | None = None,
    ) -> Iterator[tuple[Key, Document]]:
        """Iterate over the owner's documents, a page at a time."""
        check_find(path, order_by, after, limit)
        return self._pages(path, check_texts(where), fields, order_by, after, limit)

    def read(self, path: str, start: int = 0) -> list[JSON]:
        """Return the owner's entries."""
        return self._ask("read", path, start)  # type: ignore[no-any-return]

    def fetch(self, digest: str) -> bytes:
        """Return the owner's bytes."""
        return self._ask("fetch", digest)  # type: ignore[no-any-return]

    def blobs(self) -> Iterator[tuple[str, int]]:
        """Iterate over the owner's digests and sizes."""
        return iter(self._ask("blobs"))

    def drop(self, path: str) -> None:
        """Let the owner remove what is at and under the path."""
        self._ask("drop", path)

    def compact(self) -> None:
        """Let the owner leave no trace of what was deleted."""
        self._ask("compact")

    def locate(self, path: str) -> str:
        """Return what the owner's method returns."""
        return f"MemoryBackend({path!r})"

    def close(self) -> None:
        """Close this process's connections."""
        for here in [each for each in self._connections if each[0] == os.getpid()]:
            self._connections.pop(here).close()

    def _pages(
        self,
        path: str,
        where: Where,
        fields: Sequence[str] | None,
        order_by: Order,
        after: Key | None,
        limit: int | None,
    ) -> Iterator[tuple[Key, Document]]:
        while size := PAGE if limit is None else min(limit, PAGE):
            page = self._ask(
                "find", path, where, fields=fields, order_by=order_by, after=after, limit=size
            )
            yield from page
            if len(page) < size:
                return
            after = page[-1][0]
            limit = None if limit is None else limit - size

    def _ask(self, operation: str, *arguments: Any, **options: Any) -> Any:
        here = os.getpid(), threading.get_ident()
        try:
            connection = self._connections.get(here)
            if connection is None:
                connection = Client(self._address, authkey=self._key)
                self._connections[here] = connection
            connection.send((self._store_id, operation, arguments, options))
            answer = connection.recv()
        except BaseException as error:
            # An interrupt may leave the answer unread: it must not meet the next question.
            if stale := self._connections.pop(here, None):
                stale.close()
            if isinstance(error, (EOFError, OSError, AuthenticationError)):
                raise BackendUnreachableError(
                    "the process that holds this store is gone or on another host: "
                    "keep it alive, or use a backend that all processes can open"
                ) from error
            raise
        if isinstance(answer, DaskperimentError):
            raise answer
        return answer


class _Server:
    """The listening end: a thread that accepts, and one for each connection."""

    def __init__(self) -> None:
        self.key = secrets.token_bytes(32)
        self._listener = _listen()
        self.address: Address = self._listener.address
        self._connections: set[Connection] = set()
        self._closed = False
        atexit.register(self.stop)
        threading.Thread(target=self._accept, name="daskperiment-memory", daemon=True).start()

    def stop(self) -> None:
        """Accept no more clients."""
        self._closed = True
        self._listener.close()

    def forget(self) -> None:
        """Close what a forked child inherited; the parent's own stays open."""
        self.stop()
        for connection in self._connections:
            with contextlib.suppress(OSError):  # the parent was closing it just then
                connection.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection = self._listener.accept()
            except OSError:
                time.sleep(0.05)  # out of descriptors, perhaps: until a client leaves
                continue
            self._connections.add(connection)
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: Connection) -> None:
        # A client proves itself here, so that one who does not answer holds up no other.
        with connection, contextlib.suppress(EOFError, OSError, AuthenticationError):
            deliver_challenge(connection, self.key)
            answer_challenge(connection, self.key)
            while True:
                connection.send(_answer(*connection.recv()))
        self._connections.discard(connection)


def _answer(store_id: str, operation: str, arguments: Any, options: Any) -> Any:
    backend = _served.get(store_id)
    if backend is None:
        return BackendUnreachableError(
            "the owner of the store has let go of it: keep the backend alive while workers run"
        )
    if operation not in _OPERATIONS:
        return BackendError(f"a backend has no operation {operation!r}")
    try:
        result = getattr(backend, operation)(*arguments, **options)
        return list(result) if operation in ("find", "blobs") else result
    except DaskperimentError as error:
        return error
    except Exception as error:
        return BackendError(f"{operation} failed in the owner: {error!r}")


def _listen() -> Listener:
    try:
        return Listener(backlog=128)
    except OSError:  # the temporary directory's path is too long for a socket's name
        return Listener(("127.0.0.1", 0), backlog=128)


def _with_content(write: Write) -> Write:
    if isinstance(write, Put) and isinstance(write.data, Path):
        return Put(write.content())
    return write


@lru_cache(maxsize=16)
def _proxy(address: Address, key: bytes, store_id: str, owned: bool) -> MemoryProxy:
    return MemoryProxy(address, key, store_id, owned)


def _forget_parent() -> None:
    # A child that kept the sockets would keep the owner's clients waiting after its death.
    global _starting
    _starting = threading.Lock()
    _served.clear()
    for server in _servers:
        server.forget()
    _servers.clear()


platform.at_fork(after_in_child=_forget_parent)
