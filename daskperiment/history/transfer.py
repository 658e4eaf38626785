"""Transfer: payloads and snapshots on their way from one backend to another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from daskperiment.backends.base import Backend, Hold, Insert, Remove, Write
from daskperiment.errors import ConflictError, PayloadError
from daskperiment.history import paths, payloads
from daskperiment.history.collection import demanding, referring
from daskperiment.history.holders import mentioned, named, texts
from daskperiment.history.snapshots import KINDS, Snapshots
from daskperiment.typing import JSON, Document

_CHUNK = 1024 * 1024
_SMALL = 64 * 1024
"""Bytes of a payload that goes into the group that refers to it."""
_ROOM = 4 * 1024 * 1024
"""Bytes that such a group may have."""


class Transfer:
    """What the target needs of the source before it can refer to it.

    Parameters
    ----------
    source, target : Backend
        Where payloads and snapshots are taken from, and where they are put.
    """

    def __init__(self, source: Backend, target: Backend) -> None:
        self.source = source
        self.target = target
        self.sizes = dict(source.blobs())
        self._snapshots = {
            str(digest)
            for path in (paths.SNAPSHOTS, paths.CONDEMNED_SNAPSHOTS)
            for digest, _ in source.find(path, fields=[])
        }
        self._room = _ROOM
        self.look_again()

    def __contains__(self, text: object) -> bool:
        """Whether a text names a payload or a snapshot of the source."""
        return text in self.sizes or text in self._snapshots

    def look_again(self) -> None:
        """Look anew for what the target has: a collection may have deleted something."""
        self._there = {digest for digest, _ in self.target.blobs()}
        self._kept: set[str] = set()

    @property
    def missing(self) -> set[str]:
        """Payloads of the source that the target does not have."""
        return self.sizes.keys() - self._there

    def writes(self, parts: Iterable[tuple[str, JSON]]) -> tuple[list[Write], dict[str, str]]:
        """The writes of the group that commits the parts of a trial, and what is lost.

        Large payloads and snapshots are put at once.

        Returns
        -------
        writes : list of Write
            Those by which the group refers to payloads and snapshots.
        lost : dict of str to str
            By part, why some of its bytes are not there.
        """
        self._room = _ROOM
        writes: list[Write] = []
        lost: dict[str, str] = {}
        for field, digest in dict.fromkeys(self._referred(parts)):
            try:
                writes += self._for(digest)
            except PayloadError as error:
                lost.setdefault(field, str(error))
        return writes, lost

    def _referred(self, parts: Iterable[tuple[str, JSON]]) -> Iterator[tuple[str, str]]:
        for field, value in parts:
            if field in KINDS and value:
                yield field, str(value)
            for digest in (*mentioned(value, self), *named(value)):
                yield field, digest

    def _for(self, digest: str) -> list[Write]:
        # What was recorded since this began is in neither set.
        document = None if digest in self.sizes else Snapshots(self.source).find(digest)
        if document is None:
            return self._payload(digest)
        if digest not in self._kept:
            self._keep(digest, document)
        return [demanding(digest)]

    # -- snapshots

    def _keep(self, digest: str, document: Document) -> None:
        """Keep a snapshot, also one that lacks some of its texts, of which it then tells."""
        writes: list[Write] = []
        lost: list[PayloadError] = []
        for text in {*mentioned(document, self.sizes), *texts(document)}:
            try:
                writes += self._payload(text)
            except PayloadError as error:
                lost.append(error)
        with suppress(ConflictError):  # it is there already, or a text was collected just then
            self.target.apply(*writes, Insert(paths.SNAPSHOTS, document, digest))
        self._kept.add(digest)
        if lost:
            raise lost[0]

    # -- payloads

    def _payload(self, digest: str) -> list[Write]:
        if digest not in self._there:
            size = self.sizes.get(digest, _SMALL + 1)
            if size <= min(_SMALL, self._room):
                self._room -= size
                return referring(digest, payloads.fetch(self.source, digest, "a payload"))
            self._stream(digest)
            self._there.add(digest)
        return [Hold(digest), Remove(paths.CONDEMNED, digest)]

    def _stream(self, digest: str) -> None:
        """Put a payload by way of a file, so that it is never in memory as a whole."""
        hasher = blake3()
        handle, name = tempfile.mkstemp(prefix="daskperiment-")
        try:
            with self.source.open(digest) as stream, os.fdopen(handle, "wb") as file:
                while chunk := stream.read(_CHUNK):
                    hasher.update(chunk)
                    file.write(chunk)
            if hasher.hexdigest() != digest:
                raise payloads.changed(digest, "a payload")
            self.target.put(Path(name))
        finally:
            Path(name).unlink()
