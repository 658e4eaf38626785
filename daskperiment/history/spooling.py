"""Recording while a server is away: groups of writes go to a local spool, and then to it."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from daskperiment import platform
from daskperiment.backends.base import (
    Append,
    Backend,
    Clear,
    Discard,
    Finding,
    Insert,
    Order,
    Put,
    Write,
)
from daskperiment.backends.server import ServerBackend, masked
from daskperiment.backends.spool import Spool
from daskperiment.errors import (
    BackendAccessError,
    BackendError,
    BackendUnreachableError,
    BackendURIError,
    DaskperimentWarning,
    StoreFullError,
    StoreIOError,
    StoreReadOnlyError,
)
from daskperiment.history import syncing
from daskperiment.records import Number, Provisional
from daskperiment.typing import JSON, Document, Key, Where

logger = logging.getLogger(__name__)

AWAY = (
    BackendUnreachableError,
    BackendAccessError,
    StoreFullError,
    StoreIOError,
    StoreReadOnlyError,
)
"""For a trial that runs it is the same whether its server is away or takes nothing."""
HURRY = 0.2
"""Seconds for which a write is repeated before it goes to the spool."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
LAST_WAIT = 10.0
"""Seconds that the end of a process waits for a server to come back."""


def spool_folder() -> Path:
    """Where the spools of this user lie."""
    return platform.state_directory() / "daskperiment" / "spool"


class SpoolingBackend(Backend):
    """A backend on a server, of which trials can be recorded while it is away.

    A group of writes that does not reach the server goes to a spool, a file of this process
    in :func:`spool_folder`, and so do all that follow, until a thread has brought them to the
    server in their order.  A trial that begins meanwhile has a provisional number, ``~1``.
    What asks the server raises :class:`~daskperiment.errors.BackendUnreachableError` as ever.

    Parameters
    ----------
    inner : ServerBackend
        The backend.
    offline : bool
        Whether to spool from the start and never ask the server.

    Notes
    -----
    Safe to use from several threads; a forked child and a process that it is sent to have
    spools of their own.
    """

    def __init__(self, inner: ServerBackend[Any], offline: bool = False) -> None:
        self.inner = inner
        self.offline = offline
        self._lock = threading.RLock()
        self._returning = threading.Lock()  # taken before the other one
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._spool: Spool | None = None
        self._done = 0
        self._count = 0
        self._numbers: dict[str, int] = {}
        self._payloads: dict[str, Path | bytes] = {}
        self._back = threading.Event()

    def __repr__(self) -> str:
        """Return the call that makes the backend, without passwords."""
        return repr(self.inner)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the backend; see :class:`~daskperiment.backends.server.ServerBackend`."""
        return SpoolingBackend, (self.inner, self.offline)

    # -- recording

    @property
    def away(self) -> bool:
        """Whether writes go to the spool."""
        return self.offline or self._spool is not None

    @property
    def unsynced(self) -> int:
        """How many groups of writes wait in the spool of this process."""
        with self._lock:
            return 0 if self._spool is None else len(self._spool) - self._done

    def apply(self, *writes: Write) -> list[Any]:
        """Commit the writes, or keep them for later where the server is away.

        Raises
        ------
        BackendUnreachableError
            If it is away and the group is not of those that record a trial.
        """
        with self._lock:
            if self.away:
                return self._keep(writes)
        settled = [syncing.settle(write, self._number) for write in writes]
        group = uuid4().hex
        try:
            with self.inner.hurried(HURRY), self.inner.named(group):
                return self.inner.apply(*settled)
        except AWAY as error:
            if not _may_wait(writes):
                raise
            with self._lock:
                if self._spool is None:
                    self._leave(error)
                unsure = isinstance(error, BackendUnreachableError)
                return self._keep(writes, group if unsure else None)

    def _keep(self, writes: Sequence[Write], unsure: str | None = None) -> list[Any]:
        if not _may_wait(writes):
            raise BackendUnreachableError(
                f"{self!r} is away, and this cannot wait in the spool: try again when it is back"
            )
        self._opened().append(writes, unsure)
        return [self._promised(write) for write in writes]

    def _promised(self, write: Write) -> Any:
        match write:
            case Insert(_, document, None):
                self._count += 1
                return Provisional(self._count, document["uid"])
            case Insert(_, _, key):
                return key
            case Put(data):
                digest = syncing.digest_of(data)
                self._payloads[digest] = data
                return digest
            case Append(_, entries):
                return len(entries)
        return True

    def _opened(self) -> Spool:
        if self._spool is None:
            self._spool = Spool.make(spool_folder(), self._about())
            self._done = 0
            if not self.offline:
                self._back.clear()  # it may have been closed before
                threading.Thread(target=self._return, name="daskperiment-sync", daemon=True).start()
            _register(os.getpid())
        return self._spool

    def _about(self) -> Document:
        return {
            "address": address_of(self.inner),
            "store": self.inner.known_id, "host": socket.gethostname(), "pid": os.getpid(),
            "created": time.time(),
        }  # fmt: skip

    def _leave(self, error: BackendError) -> None:
        self._opened()
        text = (
            f"{error}. Trials are recorded in a spool on this machine until it is back; what a "
            "process leaves there at its end is brought to it by: daskperiment sync"
        )
        logger.warning(text)
        with suppress(DaskperimentWarning):  # made an error, it would end the step
            warnings.warn(text, DaskperimentWarning, stacklevel=2)

    # -- coming back

    def _return(self) -> None:
        pause = _FIRST_PAUSE
        while not self._back.wait(pause):
            if self._try_to_return():
                return
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _try_to_return(self) -> bool:
        """Bring the spool to the server; whether nothing is left, so that writes go there again."""
        with self._returning:
            spool = self._spool
            if spool is None:
                return True
            try:
                with self.inner.hurried(0):
                    self._replay(spool)
                    with self._lock:
                        self._replay(spool)  # what was added just now
                        spool.remove()
                        self._spool = None
                        self._payloads = {}
            except BackendError as error:
                logger.debug("The spool waits on: %s", error)
                return False
        logger.info("%r is back, and has what was recorded meanwhile", self)
        return True

    def _replay(self, spool: Spool) -> None:
        for done in syncing.replay(self.inner, spool, self._done):
            self._done = done.groups
            self._numbers |= done.numbers

    def sync(self, timeout: float = 0.0) -> bool:
        """Bring what waits in this process to the server.

        Parameters
        ----------
        timeout : float
            Seconds for which it is tried.

        Returns
        -------
        bool
            Whether nothing waits any more.
        """
        deadline = time.monotonic() + timeout
        while not (self.unsynced == 0 or self._try_to_return()):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        return True

    def _number(self, provisional: Provisional, path: str) -> int | None:
        known = self._numbers.get(provisional.uid)
        if known is None:
            known = syncing.number_of(self.inner, path, provisional.uid)
            if known is not None:
                self._numbers[provisional.uid] = known
        return known

    def settled(self, number: Number) -> Number:
        """The number that a trial got when it was brought to the server, as far as is known."""
        if isinstance(number, Provisional):
            return self._numbers.get(number.uid, number)
        return number

    # -- asking

    @property
    def store_id(self) -> str:
        """Random text made with the store; it is not asked again where this process knows it."""
        known = self.inner.known_id
        if known is None and self.away:
            raise BackendUnreachableError(
                f"{self!r} is away, and this process has not seen its id: wait until it is back"
            )
        return known or self.inner.store_id

    @property
    def networked(self) -> bool:
        """Whether processes of several machines record in it."""
        return True

    @property
    def owned(self) -> bool:
        """Whether only this user can write to the store."""
        return self.inner.owned

    def _asked(self) -> ServerBackend[Any]:
        if self.offline:
            raise BackendUnreachableError(
                f"{self!r} is not asked with offline=True: leave it out, or run daskperiment sync "
                "and look without it"
            )
        return self.inner

    def get(self, path: str, key: Key) -> Document | None:
        """Return the document, or None."""
        return self._asked().get(path, self.settled(key) if isinstance(key, Provisional) else key)

    def get_many(self, path: str, keys: Iterable[Key]) -> list[Document | None]:
        """Return the document of each key, in the order of the keys."""
        return self._asked().get_many(path, keys)

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
        """Iterate over documents."""
        return self._asked().find(
            path, where, fields=fields, order_by=order_by, after=after, limit=limit
        )

    def read(self, path: str, start: int = 0) -> list[JSON]:
        """Return a log's entries."""
        return self._asked().read(path, start)

    def fetch(self, digest: str) -> bytes:
        """Return a payload's bytes, also of one that waits in this process's spool."""
        waiting = self._payloads.get(digest)
        if waiting is not None:
            return waiting if isinstance(waiting, bytes) else waiting.read_bytes()
        return self._asked().fetch(digest)

    def open(self, digest: str) -> BinaryIO:
        """Open a payload for reading."""
        return super().open(digest) if digest in self._payloads else self._asked().open(digest)

    def blobs(self) -> Iterator[tuple[str, int]]:
        """Iterate over digests and sizes."""
        return self._asked().blobs()

    def drop(self, path: str) -> None:
        """Remove everything at and under a path."""
        self._asked().drop(path)

    def compact(self) -> None:
        """Give the space of deleted content back."""
        self._asked().compact()

    def diagnose(self) -> Iterator[Finding]:
        """Iterate over what there is to say of the store itself."""
        return self._asked().diagnose()

    def locate(self, path: str) -> str:
        """Return the address and the path."""
        return self.inner.locate(path)

    def close(self) -> None:
        """Bring to the server what waits, if it is back, and let go of the connections."""
        self._back.set()
        if not self.offline:
            self.sync()
        self.inner.close()


def spooling(backend: Backend, offline: bool = False, strict: bool = False) -> Backend:
    """The backend, with a spool if it is one on a server, which is checked first.

    Raises
    ------
    BackendURIError
        If it is not, and ``offline`` is asked for.
    BackendUnsafeError
        If the server is set up to lose what it is given, and that is refused by ``strict``.
    """
    if isinstance(backend, ServerBackend):
        if not offline:
            with suppress(BackendUnreachableError):  # it is checked by who connects next
                backend.check(strict)
        return SpoolingBackend(backend, offline)
    if offline and not isinstance(backend, SpoolingBackend):
        raise BackendURIError(
            f"offline=True is for a backend on a server, and {backend!r} is on this machine: "
            "leave it out"
        )
    return backend


def tolerated(backend: Backend) -> tuple[type[BackendError], ...]:
    """Errors of asking that a trial may pass over, as its records are kept all the same."""
    return AWAY if isinstance(backend, SpoolingBackend) else ()


def settled(backend: Backend, number: Number) -> Number:
    """The number of a trial that began while the backend was away, as far as it is known."""
    return backend.settled(number) if isinstance(backend, SpoolingBackend) else number


def address_of(backend: Backend) -> str:
    """What a spool calls its store, without passwords."""
    return masked(getattr(backend, "address", None) or repr(backend))


def is_away(backend: Backend) -> bool:
    """Whether what is recorded goes to a spool."""
    return isinstance(backend, SpoolingBackend) and backend.away


def _may_wait(writes: Iterable[Write]) -> bool:
    """Whether writes can be carried out later: they record, and delete no content."""
    return not any(
        isinstance(write, (Discard, Clear)) or (isinstance(write, Insert) and not _known(write))
        for write in writes
    )


def _known(write: Insert) -> bool:
    return write.key is not None or isinstance(write.document.get("uid"), str)


_all: weakref.WeakSet[SpoolingBackend] = weakref.WeakSet()
_registered: set[int] = set()


def _register(pid: int) -> None:
    if pid not in _registered:
        _registered.add(pid)
        atexit.register(_at_the_end, pid)


def _at_the_end(pid: int) -> None:
    """Wait a little for servers that are away, and tell what is left."""
    if pid != os.getpid():
        return
    deadline = time.monotonic() + LAST_WAIT
    for backend in list(_all):
        backend._back.set()
        if not backend.offline:
            backend.sync(max(0.0, deadline - time.monotonic()))
        if waiting := backend.unsynced:
            sys.stderr.write(
                f"{waiting} groups of records for {backend!r} wait on this machine: "
                "daskperiment sync brings them there\n"
            )


def _begin_anew_in_a_child() -> None:
    """The spool is the parent's, and so is its lock."""
    for backend in list(_all):
        backend._lock, backend._returning = threading.RLock(), threading.Lock()
        if backend._spool is not None:
            backend._spool.close()
        backend._reset()


platform.at_fork(after_in_child=_begin_anew_in_a_child)
