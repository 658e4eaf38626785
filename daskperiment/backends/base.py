"""The backend contract: documents, logs and payloads behind eight operations.

A *document* is a small JSON object under a key, a *log* is an append-only list of
JSON entries, a *payload* is a run of bytes named by its digest.  Documents and logs
are addressed by a path such as ``my%2Fexp/trials``: any text, whose ``/`` separates
segments; callers percent-quote names into segments.  Payloads form one pool.

No word of trials, metrics or code appears below the history package.
"""

from __future__ import annotations

import io
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Self, TypeAlias

from daskperiment.backends.documents import (
    check_document,
    check_entries,
    check_key,
    check_path,
    check_texts,
)
from daskperiment.errors import BackendError, ConflictError, DocumentError
from daskperiment.typing import JSON, Document, Key, Where

Order: TypeAlias = Literal["key", "-key"]
"""Ascending or descending by key: integers by value, then text by code points."""


@dataclass(frozen=True, slots=True)
class Insert:
    """Add a document; the result is its key.

    Parameters
    ----------
    path, document
        Where, and what.
    key
        None takes the integer after the highest ever inserted at the path, from 1 on:
        without gaps, unique across processes, never given twice, not even after a
        :class:`Remove`.  An existing key is a conflict.
    """

    path: str
    document: Document
    key: Key | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be stored."""
        check_path(self.path)
        check_document(self.document)
        if self.key is not None:
            check_key(self.key)


@dataclass(frozen=True, slots=True)
class Update:
    """Replace top-level fields of a document, keep its others; the result is True.

    An absent document is a conflict, and so is one whose text fields are not equal to
    ``expect`` (compare-and-set).  Without changes it only checks, and writes nothing.
    """

    path: str
    key: Key
    changes: Document
    expect: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be stored or compared."""
        check_path(self.path)
        check_key(self.key)
        check_document(self.changes)
        if self.expect:
            check_texts(self.expect)


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a document; the result is whether it existed."""

    path: str
    key: Key

    def __post_init__(self) -> None:
        """Refuse a bad path or key."""
        check_path(self.path)
        check_key(self.key)


@dataclass(frozen=True, slots=True)
class Append:
    """Append entries to a log, adjacent and in order; the result is its new length."""

    path: str
    entries: Sequence[JSON]

    def __post_init__(self) -> None:
        """Refuse what cannot be stored."""
        check_path(self.path)
        check_entries(self.entries)


@dataclass(frozen=True, slots=True)
class Put:
    """Keep bytes, or a file's content (streamed); the result is the digest.

    The digest is the hexadecimal BLAKE3 of the bytes, 64 characters.  Putting the same
    bytes again changes nothing.
    """

    data: bytes | Path

    def __post_init__(self) -> None:
        """Refuse all but bytes and paths."""
        if not isinstance(self.data, (bytes, Path)):
            kind = type(self.data).__qualname__
            raise DocumentError(f"a payload must be bytes or a pathlib.Path, not {kind}")

    def content(self) -> bytes:
        """Return the bytes, read from the file if it is one.

        Raises
        ------
        BackendError
            If the file cannot be read.
        """
        if isinstance(self.data, bytes):
            return self.data
        try:
            return self.data.read_bytes()
        except OSError as error:
            raise BackendError(f"the payload {self.data} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Hold:
    """Demand that a payload is there, so that the group may refer to it; the result is True.

    An absent payload is a conflict.
    """

    digest: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Delete a payload's bytes; the result is whether there were any.

    Putting the same bytes later keeps them again.  A group that holds or puts them while
    another discards them comes before it or after it: there are no half-deleted bytes.

    What refers to them must be gone before the group begins: where payloads are files,
    they stay deleted when the store fails to commit the rest of the group.
    """

    digest: str


@dataclass(frozen=True, slots=True)
class Clear:
    """Delete all entries of one log; the result is the length that it had.

    It begins at 0 again, also for a later :class:`Append` of the same group: together
    they replace a log's entries.
    """

    path: str

    def __post_init__(self) -> None:
        """Refuse a bad path."""
        check_path(self.path)


Write: TypeAlias = Insert | Update | Remove | Append | Put | Hold | Discard | Clear


class Finding(NamedTuple):
    """Something that an examination of a store has found.

    Parameters
    ----------
    level : str
        ``ok``, ``note`` (good to know) or ``problem`` (something is lost, or will be).
    what, advice : str
        What was found, and what to do about it.
    """

    level: Literal["ok", "note", "problem"]
    what: str
    advice: str = ""


class Backend(ABC):
    r"""A store that threads, and processes it is pickled to, can use at the same time.

    Values are JSON: NaN, infinities, ``-0.0``, integers of 64 bits and any text, with
    lone surrogates and NUL, come back equal and as new objects.  What is not JSON, and
    what is no path or key, is a :class:`~daskperiment.errors.DocumentError` before
    anything is written.  A path that holds nothing is empty, not an error.  Trouble of
    the store itself is a :class:`~daskperiment.errors.BackendError`.

    Eight operations and :attr:`store_id` make a backend; the other methods are built
    on them, and a store overrides one only to be faster.

    Notes
    -----
    Usable from many threads and after ``fork``.  Pickling keeps what is needed to reach
    the same store, never its content.

    Examples
    --------
    >>> from daskperiment.backends.memory import MemoryBackend
    >>> backend = MemoryBackend()
    >>> backend.apply(Insert("x/trials", {"state": "RUNNING"}), Append("x/events", ["begun"]))
    [1, 1]
    >>> backend.update("x/trials", 1, {"state": "COMPLETE"}, expect={"state": "RUNNING"})
    True
    >>> list(backend.find("x/trials", {"state": ["COMPLETE", "FAILED"]}))
    [(1, {'state': 'COMPLETE'})]
    """

    @property
    @abstractmethod
    def store_id(self) -> str:
        """Random text made with the store; asking for it makes a store that is absent."""

    @property
    def networked(self) -> bool:
        """Whether processes of several machines record in it."""
        return False

    @property
    def owned(self) -> bool:
        """Whether only this user can write to the store, so that what is in it can be trusted.

        False where a store does not know.
        """
        return False

    @abstractmethod
    def apply(self, *writes: Write) -> list[Any]:
        """Commit the writes in order, as one group; return the result of each.

        All or nothing, for readers and after a crash; only payloads may stay behind a
        group that was refused.  A later write of the group sees the earlier ones.

        Raises
        ------
        ConflictError
            If a key to insert exists or a document to update is not as expected;
            nothing of the group is then stored.
        """

    @abstractmethod
    def get(self, path: str, key: Key) -> Document | None:
        """Return the latest complete document, or None."""

    @abstractmethod
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
        """Iterate over keys and documents of a path, not of paths under it.

        Parameters
        ----------
        where
            Top-level text fields that equal the text, or one of a list of texts.
        fields
            Return only these top-level fields; absent ones are left out.
        order_by
            ``"key"`` or ``"-key"``.
        after
            Begin strictly behind this key, in the chosen order.
        limit
            At most so many documents.

        Notes
        -----
        Each document is complete; the sequence is read in pages, so that a document
        inserted or removed meanwhile may or may not be among them.
        """

    @abstractmethod
    def read(self, path: str, start: int = 0) -> list[JSON]:
        """Return a log's entries from a position on, or its last ``-start`` entries.

        Reading again from the returned entries' end gives only what is new.
        """

    @abstractmethod
    def fetch(self, digest: str) -> bytes:
        """Return a payload's bytes, complete; they are not compared with the digest here.

        Raises
        ------
        PayloadNotFoundError
            If there is none of this digest.
        """

    @abstractmethod
    def blobs(self) -> Iterator[tuple[str, int]]:
        """Iterate over the digest and the size in bytes of each payload, in no order."""

    @abstractmethod
    def drop(self, path: str) -> None:
        """Remove all documents and logs at and under a path, nothing beside it.

        Payloads stay; numbers at the path begin at 1 again.
        """

    @abstractmethod
    def compact(self) -> None:
        """Give the space of deleted content back, and leave no trace of it in the store.

        Takes time in proportion to the store; others may use it meanwhile.

        Raises
        ------
        BackendError
            If others use the store so much that it cannot be done now.
        """

    def diagnose(self) -> Iterator[Finding]:
        """Iterate over what there is to say of the store itself, without changing it."""
        return iter(())

    def insert(self, path: str, document: Document, key: Key | None = None) -> Key:
        """Apply one :class:`Insert` and return the key."""
        (inserted,) = self.apply(Insert(path, document, key))
        return inserted  # type: ignore[no-any-return]

    def update(
        self, path: str, key: Key, changes: Document, expect: Mapping[str, str] | None = None
    ) -> bool:
        """Apply one :class:`Update`; return False where it is a conflict."""
        try:
            self.apply(Update(path, key, changes, expect))
        except ConflictError:
            return False
        return True

    def append(self, path: str, entries: Sequence[JSON]) -> int:
        """Apply one :class:`Append` and return the log's new length."""
        (length,) = self.apply(Append(path, entries))
        return length  # type: ignore[no-any-return]

    def put(self, data: bytes | Path) -> str:
        """Apply one :class:`Put` and return the digest."""
        (digest,) = self.apply(Put(data))
        return digest  # type: ignore[no-any-return]

    def get_many(self, path: str, keys: Iterable[Key]) -> list[Document | None]:
        """Return the document of each key, in the order of the keys."""
        return [self.get(path, key) for key in keys]

    def open(self, digest: str) -> BinaryIO:
        """Open a payload for reading; a store that keeps files does not read it whole.

        Raises
        ------
        PayloadNotFoundError
            If there is none of this digest.
        """
        return io.BytesIO(self.fetch(digest))

    def claim(self, path: str, where: Where, changes: Document) -> tuple[Key, Document] | None:
        """Update the first document that matches, and return it; None if none does.

        If ``changes`` makes a document match no longer, each is claimed once, however
        many threads and processes claim.
        """
        for key, document in self.find(path, where):
            seen = {field: document[field] for field in where}
            if self.update(path, key, changes, expect=seen):
                return key, self.get(path, key) or {**document, **changes}
        return None

    def wait(self, path: str, start: int, timeout: float) -> list[JSON]:
        """Return entries from a position on as soon as there are any; [] after ``timeout`` s."""
        deadline = time.monotonic() + timeout
        pause = 0.001
        while not (entries := self.read(path, start)):
            if (left := deadline - time.monotonic()) <= 0:
                break
            time.sleep(min(pause, left))
            pause = min(2 * pause, 0.1)
        return entries

    def locate(self, path: str) -> str:
        """Return text that shows a user where a path lies."""
        return f"{type(self).__name__}({path!r})"

    def close(self) -> None:  # noqa: B027
        """Let go of connections; the next use makes new ones."""

    def __enter__(self) -> Self:
        """Return the backend itself."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the backend."""
        self.close()
