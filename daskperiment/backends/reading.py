"""A backend that is only read, whatever is asked of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NoReturn

from daskperiment.backends.base import Backend, Finding, Order, Write
from daskperiment.errors import StoreReadOnlyError
from daskperiment.typing import JSON, Document, Key, Where


class ReadOnlyBackend(Backend):
    """Another backend, of which nothing is changed: writes raise StoreReadOnlyError.

    Parameters
    ----------
    inner : Backend
        The backend.

    Examples
    --------
    >>> from daskperiment.backends.memory import MemoryBackend
    >>> backend = ReadOnlyBackend(MemoryBackend())
    >>> backend.get("x", 1) is None
    True
    >>> backend.insert("x", {})
    Traceback (most recent call last):
    daskperiment.errors.StoreReadOnlyError: MemoryBackend() is only read here
    """

    def __init__(self, inner: Backend) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        """Return the text of the backend."""
        return repr(self.inner)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the backend."""
        return ReadOnlyBackend, (self.inner,)

    def _refuse(self) -> NoReturn:
        raise StoreReadOnlyError(f"{self.inner!r} is only read here")

    @property
    def store_id(self) -> str:
        """Not to be had: asking for it would make a store that is absent."""
        self._refuse()

    @property
    def networked(self) -> bool:
        """Whether processes of several machines record in it."""
        return self.inner.networked

    @property
    def owned(self) -> bool:
        """Whether what is in it can be trusted."""
        return self.inner.owned

    def apply(self, *writes: Write) -> list[Any]:
        """Refuse."""
        self._refuse()

    def get(self, path: str, key: Key) -> Document | None:
        """Return the document, or None."""
        return self.inner.get(path, key)

    def get_many(self, path: str, keys: Iterable[Key]) -> list[Document | None]:
        """Return the document of each key."""
        return self.inner.get_many(path, keys)

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
        return self.inner.find(
            path, where, fields=fields, order_by=order_by, after=after, limit=limit
        )

    def read(self, path: str, start: int = 0) -> list[JSON]:
        """Return the entries."""
        return self.inner.read(path, start)

    def fetch(self, digest: str) -> bytes:
        """Return a payload's bytes."""
        return self.inner.fetch(digest)

    def open(self, digest: str) -> BinaryIO:
        """Open a payload for reading."""
        return self.inner.open(digest)

    def blobs(self) -> Iterator[tuple[str, int]]:
        """Iterate over the payloads."""
        return self.inner.blobs()

    def drop(self, path: str) -> None:
        """Refuse."""
        self._refuse()

    def compact(self) -> None:
        """Refuse."""
        self._refuse()

    def diagnose(self) -> Iterator[Finding]:
        """Iterate over what there is to say of the store."""
        return self.inner.diagnose()

    def locate(self, path: str) -> str:
        """Return where a path lies."""
        return self.inner.locate(path)

    def close(self) -> None:
        """Let go of connections."""
        self.inner.close()
