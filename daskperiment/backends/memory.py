"""A store in this process's memory: the reference for what every backend does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from functools import partial
from itertools import islice
from typing import Any
from uuid import uuid4

from blake3 import blake3

from daskperiment.backends import shared
from daskperiment.backends.base import (
    Append,
    Backend,
    Clear,
    Discard,
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
    decode,
    encode,
    key_order,
    matches,
    project,
)
from daskperiment.errors import (
    BackendUnreachableError,
    BackendURIError,
    ConflictError,
    DocumentError,
    PayloadNotFoundError,
)
from daskperiment.typing import JSON, Document, Key, Where

Undo = list[Callable[[], object]]


class MemoryBackend(Backend):
    """A store that lives as long as this object.

    Pickled, it is reached by other processes of this host through a socket, see
    :mod:`daskperiment.backends.shared`; unpickled here, it is this very object.

    Notes
    -----
    A forked child's copy refuses to work: what it wrote would be lost.  Pass the
    backend pickled, as an argument of the work that is sent to the child.

    Examples
    --------
    >>> backend = MemoryBackend()
    >>> backend.insert("quickstart/trials", {"state": "RUNNING"})
    1
    >>> backend.locate("quickstart")
    "MemoryBackend('quickstart')"
    """

    def __init__(self) -> None:
        self._store_id = uuid4().hex
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._documents: dict[str, dict[Key, str]] = {}
        self._numbers: dict[str, int] = {}
        self._logs: dict[str, list[str]] = {}
        self._payloads: dict[str, bytes] = {}

    @classmethod
    def from_uri(cls, uri: str) -> MemoryBackend:
        """Return a new store for ``memory://``."""
        if uri.partition("://")[2]:
            raise BackendURIError("memory:// takes no name: pass one MemoryBackend() around")
        return cls()

    def __repr__(self) -> str:
        """Return the call that makes an empty one."""
        return "MemoryBackend()"

    def __reduce__(self) -> tuple[Callable[..., Backend], tuple[object, ...]]:
        """Pickle the address of a server thread in this process."""
        with self._held():
            return shared.reach, (*shared.serve(self), self._store_id, self.owned)

    @property
    def store_id(self) -> str:
        """Random text made with the store."""
        return self._store_id

    @property
    def owned(self) -> bool:
        """True: others reach it by a key alone."""
        return True

    def apply(self, *writes: Write) -> list[Any]:
        """Commit the writes under the lock; undo them if one is refused."""
        undo: Undo = []
        with self._held():
            try:
                return [self._write(write, undo) for write in writes]
            except BaseException:
                for step in reversed(undo):
                    step()
                raise

    def get(self, path: str, key: Key) -> Document | None:
        """Return a copy of the document, or None."""
        check_path(path)
        check_key(key)
        with self._held():
            text = self._documents.get(path, {}).get(key)
        return None if text is None else decode(text)

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
        """Iterate over the documents as they were when this was called."""
        check_find(path, order_by, after, limit)
        accepted = check_texts(where)
        with self._held():
            texts = dict(self._documents.get(path, {}))
        found = (
            (key, project(document, fields))
            for key in _ordered(texts, order_by, after)
            if matches(document := decode(texts[key]), accepted)
        )
        return islice(found, limit)

    def read(self, path: str, start: int = 0) -> list[JSON]:
        """Return copies of the entries."""
        check_path(path)
        with self._held():
            texts = self._logs.get(path, [])[start:]
        return [decode(text) for text in texts]

    def fetch(self, digest: str) -> bytes:
        """Return the bytes."""
        with self._held():
            if digest not in self._payloads:
                raise PayloadNotFoundError(f"{self!r} holds no payload {digest!r}")
            return self._payloads[digest]

    def blobs(self) -> Iterator[tuple[str, int]]:
        """Iterate over digests and sizes as they were when this was called."""
        with self._held():
            return iter([(digest, len(data)) for digest, data in self._payloads.items()])

    def drop(self, path: str) -> None:
        """Remove documents, logs and numbers at and under the path."""
        check_path(path)
        kept: tuple[MutableMapping[str, Any], ...] = (self._documents, self._numbers, self._logs)
        with self._held():
            for mapping in kept:
                for each in [p for p in mapping if p == path or p.startswith(f"{path}/")]:
                    del mapping[each]

    def compact(self) -> None:
        """Do nothing: memory of what was deleted is free at once."""

    def _held(self) -> threading.Lock:
        if os.getpid() != self._owner:
            raise BackendUnreachableError(
                "this copy of a MemoryBackend came here by fork and nobody would see what it "
                "is told: pass the backend as an argument, or use a LocalBackend"
            )
        return self._lock

    def _write(self, write: Write, undo: Undo) -> Any:
        match write:
            case Insert():
                return self._insert(write, undo)
            case Update():
                return self._update(write, undo)
            case Remove(path, key):
                return self._remove(path, key, undo)
            case Append(path, entries):
                return self._append(path, entries, undo)
            case Put():
                return self._put(write.content())
            case Hold(digest):
                return self._hold(digest)
            case Discard(digest):
                return self._discard(digest, undo)
            case Clear(path):
                return self._clear(path, undo)
        raise DocumentError(f"{type(write).__qualname__} is no write")

    def _insert(self, write: Insert, undo: Undo) -> Key:
        documents = self._documents.setdefault(write.path, {})
        highest = self._numbers.get(write.path, 0)
        key = highest + 1 if write.key is None else write.key
        if key in documents:
            raise ConflictError(f"{key!r} exists at {write.path!r}")
        _replace(documents, key, encode(write.document), undo)
        if isinstance(key, int):
            _replace(self._numbers, write.path, max(highest, key), undo)
        return key

    def _update(self, write: Update, undo: Undo) -> bool:
        documents = self._documents.get(write.path, {})
        if write.key not in documents:
            raise ConflictError(f"there is no {write.key!r} at {write.path!r}")
        if not write.changes and not write.expect:
            return True
        document = decode(documents[write.key])
        if not matches(document, check_texts(write.expect)):
            raise ConflictError(f"{write.key!r} at {write.path!r} is not as expected")
        if write.changes:
            _replace(documents, write.key, encode({**document, **write.changes}), undo)
        return True

    def _remove(self, path: str, key: Key, undo: Undo) -> bool:
        documents = self._documents.get(path, {})
        if key not in documents:
            return False
        undo.append(partial(documents.__setitem__, key, documents.pop(key)))
        return True

    def _append(self, path: str, entries: Sequence[JSON], undo: Undo) -> int:
        log = self._logs.setdefault(path, [])
        undo.append(partial(log.__delitem__, slice(len(log), None)))
        log.extend(encode(entry) for entry in entries)
        return len(log)

    def _put(self, content: bytes) -> str:
        digest = blake3(content).hexdigest()
        self._payloads[digest] = content
        return digest

    def _hold(self, digest: str) -> bool:
        if digest not in self._payloads:
            raise ConflictError(f"there is no payload {digest!r}")
        return True

    def _discard(self, digest: str, undo: Undo) -> bool:
        if digest not in self._payloads:
            return False
        undo.append(partial(self._payloads.__setitem__, digest, self._payloads.pop(digest)))
        return True

    def _clear(self, path: str, undo: Undo) -> int:
        log = self._logs.get(path, [])
        undo.append(partial(log.extend, list(log)))
        length = len(log)
        log.clear()
        return length


def _replace(mapping: MutableMapping[Any, Any], key: Key, value: object, undo: Undo) -> None:
    if key in mapping:
        undo.append(partial(mapping.__setitem__, key, mapping[key]))
    else:
        undo.append(partial(mapping.pop, key))
    mapping[key] = value


def _ordered(keys: Iterable[Key], order_by: Order, after: Key | None) -> Iterator[Key]:
    descending = order_by == "-key"
    for key in sorted(keys, key=key_order, reverse=descending):
        if after is None or (
            key_order(key) < key_order(after) if descending else key_order(key) > key_order(after)
        ):
            yield key
