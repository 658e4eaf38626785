"""The default store: one directory with an SQLite file and files of large payloads."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from weakref import finalize

from blake3 import blake3

from daskperiment.backends import diagnosis, tables
from daskperiment.backends.base import Backend, Discard, Finding, Hold, Order, Put, Write
from daskperiment.backends.documents import (
    check_find,
    check_key,
    check_path,
    check_texts,
    matches,
    project,
)
from daskperiment.backends.files import PayloadFiles, is_digest
from daskperiment.backends.session import Session
from daskperiment.backends.sqlite import Durability, Store, compact, store_id_of
from daskperiment.errors import (
    BackendError,
    BackendURIError,
    ConflictError,
    PayloadNotFoundError,
    StoreFullError,
)
from daskperiment.platform import is_owned
from daskperiment.typing import JSON, Document, Key, Where

DEFAULT_DIRECTORY = "daskperiment_cache"

LARGEST_ROW = 64 * 1024
"""Bytes up to which a payload is a row; larger ones are files."""

PAGE = 500
"""Rows that :meth:`LocalBackend.find` reads at a time."""


class LocalBackend(Backend):
    """A store in a directory, for the threads and processes of this host.

    Parameters
    ----------
    directory
        Made by the first write, not before; reading what is not there finds nothing.
        A relative path means the working directory of this moment.  The directory may
        be copied and moved.  On a network file system only this process uses it: others that
        the backend is pickled to reach it through a socket, on this host alone.
    durability
        ``"process"``: what was written survives ``kill -9``.  ``"power"``: it survives
        a power failure too, and a write waits for the disk.

    Raises
    ------
    BackendError
        From any method, when the file system or SQLite fails; the cause is chained.
    BackendUnreachableError
        From any method in a process that the backend was pickled to, if it does not see
        the store of the process that pickled it: it never makes one of its own.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, LocalBackend(folder) as backend:
    ...     backend.insert("quickstart/trials", {"state": "RUNNING"})
    1
    >>> LocalBackend("daskperiment_cache")
    LocalBackend('daskperiment_cache')
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] = DEFAULT_DIRECTORY,
        durability: Durability = "process",
    ) -> None:
        if durability not in ("process", "power"):
            raise BackendURIError(f"durability must be 'process' or 'power', not {durability!r}")
        self._shown = Path(directory).as_posix()
        root = Path(directory).absolute()
        self._store = Store(root / "store.sqlite", durability, repr(self))
        self._files = PayloadFiles(root / "blobs")
        self._writing = threading.Lock()
        self._sessions: dict[int, Session] = {}
        finalize(self, _close, self._sessions)

    @classmethod
    def from_uri(cls, uri: str, durability: Durability = "process") -> LocalBackend:
        """Return the store in ``daskperiment_cache`` for ``local``, else that of a path."""
        return cls(DEFAULT_DIRECTORY if uri == "local" else uri, durability)

    def __repr__(self) -> str:
        """Return the call with the directory as it was given."""
        return f"LocalBackend({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        """Whether both use the same directory in the same way."""
        return isinstance(other, LocalBackend) and self._place == other._place

    def __hash__(self) -> int:
        """Return a hash of the directory."""
        return hash(self._place)

    def __reduce__(self) -> tuple[Callable[..., Backend], tuple[object, ...]]:
        """Pickle the directory and the id of the store in it, which is made if absent.

        On a network file system, pickle the address of a server thread in this process.
        """
        if self._store.network:
            from daskperiment.backends import shared

            return shared.reach, (*shared.serve(self), self.store_id, self.owned)
        known = self._store.store_id or self.store_id
        return _reopen, (self._shown, *self._place, known)

    @property
    def _place(self) -> tuple[str, Durability]:
        return str(self._store.file.parent), self._store.durability

    @property
    def store_id(self) -> str:
        """Random text made with the store, which is made now if it is absent."""
        session = self._session()
        with session as connection:
            return store_id_of(connection or session.create())

    @property
    def owned(self) -> bool:
        """Whether folder and database are this user's and others cannot write to them."""
        return is_owned(self._store.file)

    def apply(self, *writes: Write) -> list[Any]:
        """Commit the writes in one transaction; large payloads are files before it begins."""
        try:
            return self._commit(writes)
        except StoreFullError:
            if not self._empty_log():
                raise
            return self._commit(writes)

    def _empty_log(self) -> bool:
        """Whether the log could be written back, without waiting: what follows has its room."""
        try:
            with self._session() as connection:
                if connection is None:
                    return False
                _, pages, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except BackendError:
            return False
        return bool(pages == done)

    def _commit(self, writes: Sequence[Write]) -> list[Any]:
        session = self._session()
        with session as existing:
            connection = existing or session.create()
            kept = self._kept(writes)
            with _Transaction(connection, self._writing):
                if not self._are_there(kept):
                    kept = self._kept(writes)
                return self._write_all(connection, kept)

    def get(self, path: str, key: Key) -> Document | None:
        """Return the document, or None."""
        check_path(path)
        check_key(key)
        with self._session() as connection:
            return tables.get(connection, path, key) if connection else None

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
        """Iterate over documents, some hundred rows at a time."""
        check_find(path, order_by, after, limit)
        accepted = check_texts(where)
        keys_alone = fields is not None and not fields and not accepted
        found = self._matching(path, accepted, order_by, after, limit, content=not keys_alone)
        return ((key, project(document, fields)) for key, document in found)

    def read(self, path: str, start: int = 0) -> list[JSON]:
        """Return the entries."""
        check_path(path)
        with self._session() as connection:
            return tables.read(connection, path, start) if connection else []

    def fetch(self, digest: str) -> bytes:
        """Return the bytes of the row or of the file."""
        with self.open(digest) as payload:
            return payload.read()

    def open(self, digest: str) -> BinaryIO:
        """Open a payload; of a large one the file itself, which is not read."""
        if is_digest(digest):
            with self._session() as connection:
                content = tables.payload(connection, digest) if connection else None
                if content is not None:
                    return io.BytesIO(content)
                with suppress(FileNotFoundError):
                    return self._files.path(digest).open("rb")
        raise PayloadNotFoundError(f"{self!r} holds no payload {digest!r}")

    def blobs(self) -> Iterator[tuple[str, int]]:
        """Iterate over the payloads in rows, then over those in files."""
        with self._session() as connection:
            in_rows = tables.payloads(connection) if connection else []
            return iter([*in_rows, *self._files])

    def drop(self, path: str) -> None:
        """Remove documents and logs at and under the path in one transaction."""
        check_path(path)
        with self._session() as connection:
            if connection is not None:
                with _Transaction(connection, self._writing):
                    tables.drop(connection, path)

    def compact(self) -> None:
        """Write the database anew without what was deleted, and remove crashed drafts."""
        with self._session() as connection:
            if connection is not None:
                with _Transaction(connection, self._writing):
                    tables.renew(connection)
                with self._writing:
                    compact(connection, repr(self))
            self._files.tidy()

    def diagnose(self) -> Iterator[Finding]:
        """Check the database, the disk under it and the drafts of payloads."""
        return diagnosis.examine(self._store, self._session(), self._files)

    def locate(self, path: str) -> str:
        """Return the call with the path behind the directory."""
        return f"LocalBackend({f'{self._shown}/{path}'!r})"

    def close(self) -> None:
        """Close the connections of all threads; the next use opens them again."""
        _close(self._sessions)

    def _session(self) -> Session:
        here = threading.get_ident()
        session = self._sessions.get(here)
        if session is None:
            self._forget_ended_threads()
            session = self._sessions[here] = Session(self._store)
        return session

    def _forget_ended_threads(self) -> None:
        alive = {thread.ident for thread in threading.enumerate()}
        for ident in [ident for ident in list(self._sessions) if ident not in alive]:
            if (session := self._sessions.pop(ident, None)) is not None:
                session.close()

    def _kept(self, writes: Sequence[Write]) -> list[Write | tables.Payload]:
        return [self._keep(write) if isinstance(write, Put) else write for write in writes]

    def _keep(self, put: Put) -> tuple[str, bytes | None]:
        opened = io.BytesIO(put.data) if isinstance(put.data, bytes) else put.data.open("rb")
        with opened as source:
            if source.seek(0, io.SEEK_END) > LARGEST_ROW:
                return self._files.write(source), None
            source.seek(0)
            content = source.read()
        return blake3(content).hexdigest(), content

    def _are_there(self, writes: Sequence[Write | tables.Payload]) -> bool:
        # A payload's file is written before the transaction, and another process may discard
        # the same bytes in between. It deletes the file while it holds the lock that is held
        # here now: either the file is missing now and is written again, under the lock, or it
        # stays, because that process will find what this group has put in place of the
        # permission to discard.
        files = (write[0] for write in writes if isinstance(write, tuple) and write[1] is None)
        return all(digest in self._files for digest in files)

    def _write_all(
        self, connection: tables.Connection, writes: Sequence[Write | tables.Payload]
    ) -> list[Any]:
        unwanted: set[str] = set()
        results = [self._write(connection, write, unwanted) for write in writes]
        for digest in unwanted:  # last of all: a group that is refused deletes nothing
            self._files.remove(digest)
        return results

    def _write(
        self, connection: tables.Connection, write: Write | tables.Payload, unwanted: set[str]
    ) -> Any:
        match write:
            case (str(digest), None):
                unwanted.discard(digest)
            case Hold(digest):
                if not self._holds(digest, unwanted) | tables.write(connection, write):
                    raise ConflictError(f"there is no payload {digest!r}")
                return True
            case Discard(digest) if self._holds(digest, unwanted):
                unwanted.add(digest)
                return True
        return tables.write(connection, write)

    def _holds(self, digest: str, unwanted: set[str]) -> bool:
        return digest in self._files and digest not in unwanted

    def _matching(
        self,
        path: str,
        accepted: dict[str, list[str]],
        order_by: Order,
        after: Key | None,
        limit: int | None,
        *,
        content: bool,
    ) -> Iterator[tuple[Key, Document]]:
        left = float("inf") if limit is None else limit
        while size := int(min(left, PAGE)):
            with self._session() as connection:
                rows = (
                    tables.page(connection, path, accepted, order_by, after, size, content=content)
                    if connection
                    else []
                )
            for key, document in rows:
                if matches(document, accepted):
                    left -= 1
                    yield key, document
            if len(rows) < size:
                return
            after = rows[-1][0]


class _Transaction:
    """A block that is committed whole, or rolled back when it raises."""

    __slots__ = ("_connection", "_lock")

    def __init__(self, connection: tables.Connection, lock: threading.Lock) -> None:
        self._connection = connection
        self._lock = lock  # it keeps this process's threads from polling for the file's lock

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.rows.begin()
        except BaseException:
            self._roll_back()
            raise

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._roll_back()
            return
        try:
            self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._lock.release()

    def _roll_back(self) -> None:
        try:
            self._connection.rows.roll_back()
            if self._connection.in_transaction:
                self._connection.rollback()
        finally:
            self._lock.release()


@lru_cache(maxsize=8)
def _reopen(shown: str, root: str, durability: Durability, store_id: str) -> LocalBackend:
    # Kept for the next task of this process, so that not each one opens the store.
    backend = LocalBackend(root, durability)
    backend._shown = shown
    backend._store = replace(backend._store, name=repr(backend), store_id=store_id)
    return backend


def _close(sessions: dict[int, Session]) -> None:
    for session in list(sessions.values()):
        session.close()
