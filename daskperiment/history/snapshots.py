"""Snapshots: captures of code and environment, each kept once per content."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from blake3 import blake3

from daskperiment.backends.base import Backend, Insert, Write
from daskperiment.errors import AlteredRecordError, ConflictError, SnapshotNotFoundError
from daskperiment.fingerprint.values import digest
from daskperiment.history import paths, payloads
from daskperiment.history.collection import referring
from daskperiment.typing import Document

KINDS = ("code", "environment", "session", "configuration", "graph")
"""Fields of a trial's row that name a snapshot; the last two are not always there."""


class Snapshots:
    """Content-addressed captures, shared by all experiments of a backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._known: set[str] = set()
        self._bytes: dict[str, str] = {}
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
            These texts by digest.
        """
        if digest in self._known:
            return
        blobs: list[Write] = []
        for name, text in (texts or {}).items():
            blobs += referring(name, text.encode("utf-8", "surrogatepass"))
        with suppress(ConflictError):  # an earlier trial kept it
            self.backend.apply(*blobs, Insert(paths.SNAPSHOTS, document, digest))
        with self._lock:
            self._known.add(digest)

    def keep_bytes(self, content: bytes) -> str:
        """Keep bytes as a capture of their own, once, and return its digest."""
        text = base64.b64encode(content).decode("ascii")
        name = blake3(text.encode()).hexdigest()
        with self._lock:
            known = self._bytes.get(name)
        if known is None:
            document = {"bytes": name}
            known = digest(document)
            self.keep(known, document, {name: text})
            with self._lock:
                self._bytes[name] = known
        return known

    def content(self, digest: str) -> bytes:
        """The bytes of a capture; errors as for :meth:`checked` and :meth:`text`."""
        return base64.b64decode(self.text(self.checked(digest)["bytes"]))

    def forget(self) -> None:
        """Forget which captures are kept, and ask the backend the next time."""
        with self._lock:
            self._known.clear()
            self._bytes.clear()

    def get(self, digest: str) -> Document:
        """The capture of this digest; SnapshotNotFoundError where it is gone."""
        document = self.find(digest)
        if document is None:
            raise SnapshotNotFoundError(
                f"The store has no snapshot {digest}: it was removed or is a partial copy"
            )
        return document

    def checked(self, name: str) -> Document:
        """As :meth:`get`, for what is to be run.

        Raises
        ------
        AlteredRecordError
            It was changed: a signature covers no more than the digest.
        """
        document = self.get(name)
        if digest(document) != name:
            raise AlteredRecordError(f"The snapshot {name} was changed in the store")
        return document

    def find(self, digest: str | None) -> Document | None:
        """The capture of this digest, None where it was forgotten."""
        if digest is None:
            return None
        for _ in range(2):  # it may be moved back between the two questions
            if (document := self.backend.get(paths.SNAPSHOTS, digest)) is not None:
                return document
            if condemned := self.backend.get(paths.CONDEMNED_SNAPSHOTS, digest):
                return condemned["document"]  # type: ignore[no-any-return]
        return None

    def text(self, digest: str) -> str:
        """A text that a capture names by digest; PayloadError where it was changed."""
        content = payloads.fetch(self.backend, digest, "a text of a snapshot")
        return content.decode("utf-8", "surrogatepass")


def with_texts(document: Document, text: Callable[[str], str]) -> Document:
    """A session with the uncommitted texts of its git repository in place of their digests.

    Parameters
    ----------
    document : dict
        Categories of the environment.
    text : callable
        Gives the text of a digest.
    """
    git = document.get("git")
    if not git or "diff" not in git:
        return document
    untracked = {name: text(digest) for name, digest in git["untracked"].items()}
    diff = git["diff"] and text(git["diff"])
    return {**document, "git": {**git, "diff": diff, "untracked": untracked}}
