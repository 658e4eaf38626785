"""The Redis backend: one script for a group of writes, one for a page of documents.

All keys begin with ``{daskperiment}``.  The braces keep them in one slot of a Redis Cluster,
because a group of writes reaches into an experiment and into the common pool of payloads.

================================  ===========  ==================================================
key behind the prefix             type         content
================================  ===========  ==================================================
``:store``                        hash         id and schema number of the store
``:paths``                        sorted set   paths that have documents or logs
``:documents:PATH``               hash         document by key
``:numbers:PATH`` ``:texts:PATH`` sorted sets  keys in their order: integers by value, texts
``:highest``                      hash         highest number by path
``:log:PATH``                     list         entries
``:payload:DIGEST``               hash         pieces of bytes by number
``:sizes``                        hash         size of each payload by digest
``:done:GROUP``                   list         results of a group of writes, for ten minutes
``:part:RANDOM``                  hash         a large payload that is being uploaded, for an hour
================================  ===========  ==================================================
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from blake3 import blake3

from daskperiment.backends import redis_errors
from daskperiment.backends.base import (
    Append,
    Clear,
    Discard,
    Finding,
    Hold,
    Insert,
    Order,
    Put,
    Remove,
    Update,
    Write,
)
from daskperiment.backends.documents import (
    check_find,
    check_key,
    check_path,
    check_texts,
    encode,
    matches,
    project,
)
from daskperiment.backends.server import ServerBackend, client_library
from daskperiment.errors import (
    BackendError,
    ConflictError,
    DamagedRowError,
    DocumentError,
    PayloadNotFoundError,
    StoreCorruptError,
    StoreTooNewError,
)
from daskperiment.typing import JSON, Document, Key, Where

SCHEMA = 1
PREFIX = "daskperiment"
PIECE = 32 * 1024 * 1024
"""Bytes of one piece of a payload that is larger than this."""

_REMEMBERED = 600
"""Seconds for which a repeated group is known; a call is repeated for some seconds only."""
_UPLOADING = 3600
_FIRST_PAGE, _LARGEST_PAGE = 64, 1024
_TIMEOUT = 5.0

_decode = json.JSONDecoder().decode
_REFUSED = {
    b"exists": "{key!r} exists at {path!r}",
    b"absent": "there is no {key!r} at {path!r}",
    b"not as expected": "{key!r} at {path!r} is not as expected",
    b"no payload": "there is no payload {digest!r}",
}


class RedisBackend(ServerBackend[Any]):  # its types say str where it gives bytes
    """A store in a Redis server, version 6 or later.

    Parameters
    ----------
    address : str, redis.Redis or redis.ConnectionPool
        A ``redis://``, ``rediss://`` or ``unix://`` URI as :meth:`redis.Redis.from_url` reads
        it, in which ``${NAME}`` stands for an environment variable; or a live object.
    expected : str, optional
        Id of the store that must be found there.
    prefix : str
        What all keys begin with, in braces.

    Notes
    -----
    A group of writes is one script: it is carried out whole, and nothing else meanwhile.  How
    much of it outlives the server is the server's matter, see :meth:`diagnose`.
    """

    def __init__(self, address: Any, expected: str | None = None, *, prefix: str = PREFIX) -> None:
        redis = client_library("redis", "redis")
        if isinstance(address, redis.ConnectionPool):
            address = redis.Redis(connection_pool=address)
        super().__init__(_of_bytes(address), expected)
        self._prefix = f"{{{prefix}}}"
        self._name = prefix

    @classmethod
    def from_uri(cls, uri: str) -> RedisBackend:
        """Return the backend of a URI."""
        return cls(uri)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the address, see :class:`~daskperiment.backends.server.ServerBackend`."""
        _, arguments = super().__reduce__()
        return _reopened, (*arguments, self._name)

    # -- the contract

    def apply(self, *writes: Write) -> list[Any]:
        """Commit the writes by one script; large payloads are uploaded before it."""
        words = chain.from_iterable(map(self._words, writes))
        reply = self._run("apply", [self._group(), _REMEMBERED, self.store_id, *words])
        if reply == [b"lost"]:
            raise self._lost()
        if reply[:1] == [b"conflict"]:
            raise _conflict(reply[1], writes[reply[2]])
        return [_result(write, each) for write, each in zip(writes, reply, strict=True)]

    def get(self, path: str, key: Key) -> Document | None:
        """Return the document, or None."""
        return self.get_many(path, [key])[0]

    def get_many(self, path: str, keys: Iterable[Key]) -> list[Document | None]:
        """Return the document of each key, in one round trip."""
        check_path(path)
        wanted = list(keys)
        for key in wanted:
            check_key(key)
        if not wanted:
            return []
        at = self._key("documents", path)
        found = self._call(lambda client: client.hmget(at, [_field(key) for key in wanted]))
        return [
            None if text is None else _document(path, key, text)
            for key, text in zip(wanted, found, strict=True)
        ]

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
        """Iterate over documents, by pages that grow up to a thousand."""
        check_find(path, order_by, after, limit)
        accepted = check_texts(where)
        keys_alone = fields is not None and not fields and not accepted
        found = self._pages(path, order_by, after, None if accepted else limit, keys_alone)
        matching = (
            (key, project(document, fields))
            for key, document in found
            if matches(document, accepted)
        )
        return islice(matching, limit)

    def read(self, path: str, start: int = 0) -> list[JSON]:
        """Return the entries."""
        check_path(path)
        at = self._key("log", path)
        entries = self._call(lambda client: client.lrange(at, start, -1))
        return [_decoded(f"an entry of log {path!r}", entry) for entry in entries]

    def fetch(self, digest: str) -> bytes:
        """Return the bytes, put together from their pieces."""
        with self.open(digest) as payload:
            return payload.read()

    def open(self, digest: str) -> BinaryIO:
        """Open a payload; one of several pieces is read piece by piece."""
        size, first = self._call(
            lambda client: (
                client.pipeline(transaction=True)
                .hget(self._key("sizes"), _raw(digest))
                .hget(self._key("payload", digest), "0")
                .execute()
            )
        )
        if size is None or first is None:
            raise PayloadNotFoundError(f"{self!r} holds no payload {digest!r}")
        if not first or len(first) >= _number(size):
            return io.BytesIO(first)  # whoever decodes it compares its digest
        return io.BufferedReader(_Pieces(self, digest, first, _number(size)), PIECE)

    def piece(self, digest: str, number: int) -> bytes:
        """Return one piece of a payload.

        Raises
        ------
        PayloadNotFoundError
            If it is gone.
        """
        at = self._key("payload", digest)
        found: bytes | None = self._call(lambda client: client.hget(at, str(number)))
        if found is None:
            raise PayloadNotFoundError(f"piece {number} of the payload {digest!r} is gone")
        return found

    def blobs(self) -> Iterator[tuple[str, int]]:
        """Iterate over digests and sizes."""
        sizes = self._call(lambda client: client.hgetall(self._key("sizes")))
        return iter([(_text(digest), _number(size)) for digest, size in sizes.items()])

    def drop(self, path: str) -> None:
        """Remove documents, logs and numbers at and under the path, by one script."""
        check_path(path)
        self._run("drop", [_raw(path)])

    def erase(self) -> None:
        """Remove everything that this prefix has in the server, and nothing beside it."""
        self._run("erase", [])

    def compact(self) -> None:
        """Let the server write its files anew, without what was deleted; it does so by itself.

        A server that forbids it to this user keeps deleted bytes in its files until it
        writes them anew for another reason.
        """
        self._call(redis_errors.rewrite_files)

    def diagnose(self) -> Iterator[Finding]:
        """Iterate over what there is to say of the server and how it keeps what it has."""
        return iter(self._call(lambda client: list(redis_errors.findings(client))))

    # -- what the base class asks for

    def _risks(self) -> Sequence[Finding]:
        return self._call(lambda client: list(redis_errors.risks(client)))

    def _connect(self, uri: str) -> Any:
        redis = client_library("redis", "redis")
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        options = {"socket_connect_timeout": _TIMEOUT, "socket_timeout": _TIMEOUT}
        if uri.startswith("unix:"):
            del options["socket_connect_timeout"]
        try:
            # Patience is ours: the library's own would add to it.
            client = redis.Redis.from_url(uri, **options, retry=Retry(NoBackoff(), 0))
        except (ValueError, TypeError) as error:
            raise redis_errors.bad_uri(uri, error) from None
        return _of_bytes(client)

    def _identify(self, client: Any, make: bool) -> str | None:
        at = self._key("store")
        found, schema = client.hmget(at, ["id", "schema"])
        if found is None and not make:
            return None
        if found is None:
            client.hsetnx(at, "schema", str(SCHEMA))
            client.hsetnx(at, "id", uuid4().hex)
            found, schema = client.hmget(at, ["id", "schema"])
        if (made := _number(schema or str(SCHEMA).encode())) > SCHEMA:
            raise StoreTooNewError(
                f"{self!r} was written by a newer release (schema {made}, this one knows "
                f"{SCHEMA}): upgrade daskperiment here"
            )
        return _text(found)

    def _disconnect(self, client: Any) -> None:
        client.close()
        client.connection_pool.disconnect()

    def _failure(self, error: Exception) -> BackendError | None:
        return redis_errors.meaning(error, repr(self))

    def _described(self) -> str:
        return _address(self._given, password="***") or "live connection"

    def _travelling(self) -> str | None:
        return _address(self._given, password=None)

    # -- what the operations share

    def _key(self, *parts: str) -> bytes:
        return b":".join([self._prefix.encode(), *map(_raw, parts)])

    def _run(self, name: str, arguments: Sequence[Any]) -> Any:
        text = _script(name)

        def run(client: Any) -> Any:
            return client.register_script(text)(keys=[self._prefix], args=arguments)

        return self._call(run)

    def _pages(
        self, path: str, order: Order, after: Key | None, limit: int | None, keys_alone: bool
    ) -> Iterator[tuple[Key, Document]]:
        size, left = _FIRST_PAGE, limit
        while left is None or left > 0:
            count = size if left is None else min(size, left)
            begin = b"" if after is None else _field(after)
            keys, texts = self._run(
                "find", [_raw(path), int(order == "-key"), begin, count, int(keys_alone)]
            )
            found = [_key(each) for each in keys]
            if keys_alone:
                yield from ((key, {}) for key in found)
            else:
                for key, text in zip(found, texts, strict=True):
                    if text is not None:
                        yield key, _document(path, key, text)
            if len(found) < count:
                return
            after, size = found[-1], min(4 * size, _LARGEST_PAGE)
            left = None if left is None else left - len(found)

    def _words(self, write: Write) -> list[Any]:
        """A write as the script reads it."""
        match write:
            case Insert(path, document, key):
                return ["insert", _raw(path), b"" if key is None else _field(key), _lines(document)]
            case Update(path, key, changes, expect):
                words: list[Any] = ["update", _raw(path), _field(key), len(changes)]
                for name, value in changes.items():
                    words += [_encoded(name), _line(name, value)]
                expected = check_texts(expect)
                words.append(len(expected))
                for name, texts in expected.items():
                    words += [len(texts), *(_line(name, text) for text in texts)]
                return words
            case Remove(path, key):
                return ["remove", _raw(path), _field(key)]
            case Append(path, entries):
                return ["append", _raw(path), len(entries), *map(_encoded, entries)]
            case Clear(path):
                return ["clear", _raw(path)]
            case Put(data):
                return ["put", *self._uploaded(data)]
            case Hold(digest):
                return ["hold", _raw(digest)]
            case Discard(digest):
                return ["discard", _raw(digest)]
        raise DocumentError(f"{type(write).__qualname__} is no write")

    def _uploaded(self, data: bytes | Path) -> list[Any]:
        """Digest, size, key of the upload and bytes of a payload; one of the last two is empty."""
        if isinstance(data, bytes) and len(data) <= PIECE:
            return [blake3(data).hexdigest(), len(data), b"", data]
        part, hasher, size = self._key("part", uuid4().hex), blake3(), 0
        with _opened(data) as source:
            number = 0
            while (piece := source.read(PIECE)) or not number:
                hasher.update(piece)
                size += len(piece)
                self._upload(part, number, piece)
                number += 1
        return [hasher.hexdigest(), size, part, b""]

    def _upload(self, part: bytes, number: int, piece: bytes) -> None:
        def upload(client: Any) -> None:
            client.pipeline().hset(part, str(number), piece).expire(part, _UPLOADING).execute()

        self._call(upload)


class _Pieces(io.RawIOBase):
    """The bytes of a payload of several pieces, of which one is in memory."""

    def __init__(self, backend: RedisBackend, digest: str, first: bytes, size: int) -> None:
        self._backend = backend
        self._digest = digest
        self._piece = first
        self._size = size
        self._length = len(first)
        self._number = 0
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        number, offset = divmod(self._at, self._length)
        if self._at >= self._size:
            return 0
        if number != self._number:
            self._piece, self._number = self._backend.piece(self._digest, number), number
        data = self._piece[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _reopened(address: str, expected: str, prefix: str) -> RedisBackend:
    return RedisBackend(address, expected, prefix=prefix)


def _opened(data: bytes | Path) -> BinaryIO:
    if isinstance(data, bytes):
        return io.BytesIO(data)
    try:
        return data.open("rb")
    except OSError as error:
        raise BackendError(f"the payload {data} cannot be read: {error}") from error


def _of_bytes(address: Any) -> Any:
    """The client, or one like it that gives bytes where it gives texts."""
    if isinstance(address, str):
        return address
    redis = client_library("redis", "redis")
    pool = address.connection_pool
    if not pool.connection_kwargs.get("decode_responses"):
        return address
    options = pool.connection_kwargs | {"decode_responses": False}
    own = redis.ConnectionPool(connection_class=pool.connection_class, **options)
    return redis.Redis(connection_pool=own)


def _address(client: Any, password: str | None) -> str | None:
    """A URI that leads where a live client leads, with a text in place of its password.

    None where it has a password and there is no text for it, or what a URI cannot say.
    """
    options = client.connection_pool.connection_kwargs
    if options.get("password") is not None and password is None:
        return None
    if options.get("credential_provider") is not None or "server" in options:
        return None
    user = options.get("username") or ""
    login = f"{user}:{password}@" if options.get("password") is not None else ""
    database = options.get("db") or 0
    if "path" in options:
        return f"unix://{login}{options['path']}?db={database}"
    secure = "ssl" in client.connection_pool.connection_class.__name__.lower()
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    host = f"[{host}]" if ":" in host else host
    return f"redis{'s' * secure}://{login}{host}:{port}/{database}"


@lru_cache(maxsize=8)
def _script(name: str) -> str:
    return (Path(__file__).parent / "lua" / f"{name}.lua").read_text()


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _encoded(value: JSON) -> bytes:
    return _raw(encode(value))


def _line(name: str, value: JSON) -> bytes:
    return _encoded(name) + b":" + _encoded(value)


def _lines(document: Document) -> bytes:
    return b"\n" + b",\n".join(_line(*item) for item in document.items()) + b"\n" * bool(document)


def _document(path: str, key: Key, text: bytes) -> Document:
    try:
        return _decoded(f"document {key!r} at {path!r}", b"{" + text + b"}")  # type: ignore[no-any-return]
    except DamagedRowError as error:
        error.key = key
        raise


def _decoded(what: str, text: bytes) -> Any:
    try:
        return _decode(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise _damaged(what) from error


def _damaged(what: str) -> DamagedRowError:
    return DamagedRowError(f"{what} was not written by daskperiment: remove it, or restore a copy")


def _field(key: Key) -> bytes:
    return b'"' + _raw(key) if isinstance(key, str) else b"%d" % key


def _key(field: bytes) -> Key:
    return _text(field[1:]) if field.startswith(b'"') else _number(field)


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise _foreign(raw) from error


def _number(raw: bytes) -> int:
    try:
        return int(raw)
    except ValueError as error:
        raise _foreign(raw) from error


def _foreign(raw: bytes) -> StoreCorruptError:
    return StoreCorruptError(
        f"{raw[:40]!r} in a key that begins with {{daskperiment}} was not written by daskperiment: "
        "remove it, or restore a copy"
    )


def _result(write: Write, reply: Any) -> Any:
    match write:
        case Insert():
            return _key(reply)
        case Put():
            return reply.decode()
        case Append() | Clear():
            return int(reply)
    return int(reply) == 1


def _conflict(reason: bytes, write: Write) -> ConflictError:
    told = {name: getattr(write, name, None) for name in ("path", "key", "digest")}
    return ConflictError(_REFUSED[reason].format(**told))
