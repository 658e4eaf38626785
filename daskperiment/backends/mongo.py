"""A store in a database of MongoDB, for the processes of any number of hosts.

Four collections hold it, beside whatever else is in the database:

``daskperiment_store``
    One document, the *head*: id of the store, number of the latest group, its effects until
    they are applied.
``daskperiment_rows``
    Documents, logs (at most 500 entries or a million characters in each row) and the highest
    number and the length of the log of each path.
``daskperiment_payloads``, ``daskperiment_chunks``
    Payloads up to 64 KB, and where larger ones are; the pieces of larger ones, 4 MB each.

Content is JSON text, see :mod:`daskperiment.backends.mongo_rows`; how a group is made atomic on
any server, replica set or not, is told in :mod:`daskperiment.backends.mongo_groups`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit
from weakref import finalize

from daskperiment.backends import mongo_chance, mongo_failures, mongo_payloads, mongo_reading
from daskperiment.backends.base import Finding, Order, Write
from daskperiment.backends.documents import (
    check_find,
    check_key,
    check_path,
    check_texts,
    matches,
    project,
)
from daskperiment.backends.mongo_groups import Group
from daskperiment.backends.mongo_rows import (
    DAMAGED,
    Row,
    document_id,
    document_of,
    key_of,
    key_text,
)
from daskperiment.backends.mongo_session import Session
from daskperiment.backends.server import PATIENCE, ServerBackend, client_library
from daskperiment.errors import (
    BackendError,
    BackendURIError,
    DocumentError,
    PayloadNotFoundError,
    StoreCorruptError,
    StoreReadOnlyError,
)
from daskperiment.typing import JSON, Document, Key, Where

if TYPE_CHECKING:
    from pymongo.database import Database

FIRST_PAGE, PAGE = 50, 500
"""Documents that :meth:`MongoBackend.find` reads first, and later, at a time."""

SILENCE = 60.0
"""Seconds without an answer after which a connection is given up, unless the URI says another."""

T = TypeVar("T")


class MongoBackend(ServerBackend["Database[Row]"]):
    """A store in a database of MongoDB.

    Parameters
    ----------
    address : str or pymongo.database.Database
        A URI with the name of the database, ``mongodb://host:27017/name``; options and
        percent-encoding are those of pymongo.  Or a live database, whose client stays the
        caller's to close.
    expected : str, optional
        Id of the store that must be found there.

    Raises
    ------
    BackendURIError
        When it is used first, if the URI names no database or cannot be read, or if pymongo
        is not installed.
    BackendError
        From any method, when the server fails or cannot be reached; the cause is chained.

    Notes
    -----
    Writes wait for a majority of the replica set and for the disk (``w=majority``,
    ``journal=true``), unless the URI says otherwise.  Everything is read from the primary.

    Examples
    --------
    >>> MongoBackend("mongodb://me:pa55@host:27017/experiments")
    MongoBackend('mongodb://me:***@host:27017/experiments')
    """

    def __init__(self, address: str | Database[Row], expected: str | None = None) -> None:
        super().__init__(address, expected)
        self._opened: tuple[int, Session] | None = None

    @classmethod
    def from_uri(cls, uri: str) -> MongoBackend:
        """Return the store that a URI leads to; the server is asked when it is used first."""
        return cls(uri)

    # -- writing

    def apply(self, *writes: Write) -> list[Any]:
        """Commit the writes by one update of one document, then carry them out."""
        for write in writes:
            if not isinstance(write, Write):
                raise DocumentError(f"{type(write).__qualname__} is no write")
        return self._do(Group(writes).carry_out) if writes else []

    def drop(self, path: str) -> None:
        """Remove documents and logs at and under the path as one group."""
        check_path(path)
        self._do(Group((), drop=path).carry_out)

    def compact(self) -> None:
        """Delete tombstones and chunks without a payload, of yesterday and before.

        Then the server is asked to give space back, which it may refuse: that needs the right
        to ``compact``.
        """
        self._do(mongo_reading.tidy)

    # -- reading

    def get(self, path: str, key: Key) -> Document | None:
        """Return the document, or None."""
        check_path(path)
        check_key(key)
        return self.get_many(path, [key])[0]

    def get_many(self, path: str, keys: Iterable[Key]) -> list[Document | None]:
        """Return the documents, which are read by one query."""
        check_path(path)
        keys = list(keys)
        for key in keys:
            check_key(key)
        names = [document_id(path, key) for key in keys]

        def work(session: Session) -> list[Row]:
            query = {"_id": {"$in": names}}
            found = list(session.rows.find(query, {"content": 1, "g": 1, "gone": 1}))
            session.seen(found)
            return [row for row in found if "gone" not in row]

        rows = {row["_id"]: row for row in self._do(work)} if names else {}
        return [document_of(rows[name]) if name in rows else None for name in names]

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
        """Iterate over documents, at first some, then some hundred at a time."""
        check_find(path, order_by, after, limit)
        accepted = check_texts(where)
        keys_alone = fields is not None and not fields and not accepted
        found = self._matching(path, accepted, order_by, after, limit, content=not keys_alone)
        return ((key, project(document, fields)) for key, document in islice(found, limit))

    def read(self, path: str, start: int = 0) -> list[JSON]:
        """Return the entries."""
        check_path(path)
        return self._do(lambda session: mongo_reading.read(session, path, start))

    def fetch(self, digest: str) -> bytes:
        """Return the bytes of the row, or of all chunks."""
        with self.open(digest) as payload:
            return payload.read()

    def open(self, digest: str) -> BinaryIO:
        """Open a payload; a large one is read chunk by chunk."""
        row = self._do(lambda session: mongo_reading.payload(session, digest))
        if row is None:
            raise PayloadNotFoundError(f"{self!r} holds no payload {digest!r}")
        size, token, data = row.get("size"), row.get("token"), row.get("data")
        if token is None and isinstance(data, bytes):
            return io.BytesIO(data)
        if not isinstance(size, int) or not isinstance(token, str):
            raise StoreCorruptError(f"the row of payload {digest!r} cannot be read: {DAMAGED}")

        def chunk(number: int) -> bytes:
            name = f"{token}/{number:08d}"
            found = self._do(lambda session: session.chunks.find_one({"_id": name}))
            return bytes(found["data"]) if found else b""

        return cast(BinaryIO, io.BufferedReader(mongo_payloads.Reader(chunk, size)))

    def blobs(self) -> Iterator[tuple[str, int]]:
        """Iterate over the digests and sizes in the rows of payloads."""

        def work(session: Session) -> list[tuple[str, int]]:
            found = list(session.payloads.find({"size": {"$gte": 0}}, {"size": 1, "g": 1}))
            session.seen(found)
            return [(str(row["_id"]), int(row["size"])) for row in found]

        return iter(self._do(work))

    def diagnose(self) -> Iterator[Finding]:
        """Say what kind of server it is, how fast, and how safely it is written to."""
        from daskperiment.backends.mongo_diagnosis import examine

        return iter(self._do(lambda session: list(examine(session))))

    # -- what the base class asks

    def _connect(self, uri: str) -> Database[Row]:
        pymongo = client_library("pymongo", "mongodb")
        patience = int(1000 * PATIENCE)
        try:
            given = {pair.partition("=")[0].lower() for pair in urlsplit(uri).query.split("&")}
            wanted = {
                "serverSelectionTimeoutMS": patience // 5,
                "connectTimeoutMS": patience,
                "socketTimeoutMS": int(1000 * SILENCE),
                "appname": "daskperiment",
            }
            options = {name: value for name, value in wanted.items() if name.lower() not in given}
            client = pymongo.MongoClient(uri, **options)
        except (pymongo.errors.PyMongoError, ValueError) as error:
            # The original message may quote a part of a password that is not percent-encoded.
            raise BackendURIError(
                f"pymongo cannot read the address ({type(error).__name__}): write it as "
                "mongodb://user:${NAME}@host:27017/database, with special characters "
                "percent-encoded; mongodb+srv:// needs a name that DNS knows"
            ) from None
        try:
            database: Database[Row] = client.get_default_database()
        except pymongo.errors.ConfigurationError:
            client.close()
            raise BackendURIError(
                f"{self!r} names no database: write it behind the host, as in "
                "mongodb://host:27017/experiments"
            ) from None
        finalize(self, _close, client, os.getpid())
        return database

    def _identify(self, client: Database[Row], make: bool) -> str | None:
        mongo_chance.separate()
        return Session(client).identify(make)

    def _disconnect(self, client: Database[Row]) -> None:
        client.client.close()

    def _failure(self, error: Exception) -> BackendError | None:
        return mongo_failures.translate(error, repr(self))

    def _unreachable(self, error: Exception) -> BackendError:
        if mongo_failures.is_read_only(error):
            return StoreReadOnlyError(
                f"{self!r} has no server that may be written to: name all members of the replica "
                "set and replicaSet= in the URI, or wait for the election of a primary"
            )
        return super()._unreachable(error)

    def _described(self) -> str:
        return f"mongodb://{self._hosts()}/{self._given.name}" if self._given is not None else ""

    def _travelling(self) -> str | None:
        assert self._given is not None
        options = self._given.client.options
        pool = options.pool_options
        if pool._credentials is not None or pool._ssl_context is not None:
            return None
        chosen = {"replicaSet": options.replica_set_name}
        query = "&".join(f"{name}={value}" for name, value in chosen.items() if value)
        return f"{self._described()}{'?' if query else ''}{query}"

    def _hosts(self) -> str:
        assert self._given is not None
        try:
            seeds = self._given.client.topology_description.server_descriptions()
            return ",".join(f"{host}:{port}" for host, port in sorted(seeds))
        except (AttributeError, TypeError, ValueError):  # another implementation of pymongo's API
            return "..."

    # -- inside

    def _do(self, work: Callable[[Session], T]) -> T:
        return self._call(lambda database: work(self._session(database)))

    def _session(self, database: Database[Row]) -> Session:
        opened = self._opened
        if opened is None or opened[0] != os.getpid() or opened[1].database is not database:
            self._opened = opened = (os.getpid(), Session(database, self._store_id))
        return opened[1]

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
        query = mongo_reading.query(path, accepted)
        fields = ["key", "g", "content"] if content else ["key", "g"]
        descending = order_by == "-key"
        behind = "$lt" if descending else "$gt"
        bound: dict[str, str] = {"$gte": ""} if after is None else {behind: key_text(after)}
        # What the server cannot compare is compared here, and a page may hold nothing of it.
        exact = limit is not None and len(query.get("$and", ())) == len(accepted)
        size = min(limit, FIRST_PAGE) if exact and limit else FIRST_PAGE
        while True:

            def work(session: Session, bound: Any = bound, size: int = size) -> list[Row]:
                found = session.rows.find({**query, "key": bound}, fields)
                rows = list(found.sort("key", -1 if descending else 1).limit(size))
                session.seen(rows)
                return rows

            rows = self._do(work)
            for row in rows:
                key, document = key_of(row["key"]), document_of(row) if content else {}
                if matches(document, accepted):
                    yield key, document
            if len(rows) < size:
                return
            bound, size = {behind: rows[-1]["key"]}, min(size * 3, PAGE)


def _close(client: Any, pid: int) -> None:
    if pid == os.getpid():
        client.close()
