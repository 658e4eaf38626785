"""Snapshots: captures of code and environment, each kept once per content."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress

from daskperiment.backends.base import Backend, Insert, Put, Write
from daskperiment.errors import BackendError, ConflictError
from daskperiment.history import paths
from daskperiment.typing import Document


class Snapshots:
    """Content-addressed captures, shared by all experiments of a backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def keep(self, digest: str, document: Document, texts: Mapping[str, str] | None = None) -> None:
        """Keep a capture under its digest, once.

        Parameters
        ----------
        digest : str
            Digest of the document.
        document : dict
            The capture, naming long texts by the digest of their UTF-8 bytes.
        texts : mapping of str to str, optional
            These texts.
        """
        if digest in self._known:
            return
        blobs: list[Write] = [
            Put(text.encode("utf-8", "surrogatepass")) for text in (texts or {}).values()
        ]
        with suppress(ConflictError):  # an earlier trial kept it
            self.backend.apply(*blobs, Insert(paths.SNAPSHOTS, document, digest))
        with self._lock:
            self._known.add(digest)

    def forget(self) -> None:
        """Forget which captures are kept, and ask the backend the next time."""
        with self._lock:
            self._known.clear()

    def get(self, digest: str) -> Document:
        """The capture of this digest."""
        document = self.backend.get(paths.SNAPSHOTS, digest)
        if document is None:
            raise BackendError(
                f"The store has no snapshot {digest}: it was removed or is a partial copy"
            )
        return document

    def text(self, digest: str) -> str:
        """A text that a capture names by digest."""
        return self.backend.fetch(digest).decode("utf-8", "surrogatepass")
