"""Payloads as files named by their digest, in a directory of their own."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from daskperiment.platform import sync_directory

CHUNK = 1024 * 1024
"""Bytes that are read and written at a time."""

_STALE = 3600.0
"""Seconds without a write after which a draft is a crashed process's."""

_DIGEST = re.compile("[0-9a-f]{64}")


def is_digest(digest: object) -> bool:
    """Whether this is the text of a digest, and therefore safe as a file's name.

    Examples
    --------
    >>> is_digest("0f" * 32), is_digest("../../etc/passwd")
    (True, False)
    """
    return isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None


class PayloadFiles:
    """Files at ``ab/abcd...`` that are complete or absent, also after a power failure."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Iterate over digests and sizes in bytes."""
        for file in self._directory.glob("??/*"):
            with suppress(FileNotFoundError):  # it was removed just now
                yield file.name, file.stat().st_size

    def __contains__(self, digest: object) -> bool:
        """Whether there is a file of this digest."""
        return is_digest(digest) and self.path(str(digest)).is_file()

    def path(self, digest: str) -> Path:
        """Return where a payload's file is, or would be."""
        return self._directory / digest[:2] / digest

    def write(self, source: BinaryIO) -> str:
        """Keep what a seekable file holds, and return its digest.

        The bytes are written under a draft's name and synced before they get their own.
        """
        digest, size = _copy(source, None)
        if self._holds(digest, size):
            return digest
        self._directory.mkdir(exist_ok=True)
        draft = self._directory / f".{secrets.token_hex(8)}.draft"
        try:
            with draft.open("xb") as target:
                digest, size = _copy(source, target)  # it may have changed since
                target.flush()
                os.fsync(target.fileno())
            self._publish(draft, digest)
        finally:
            draft.unlink(missing_ok=True)
        return digest

    def remove(self, digest: str) -> None:
        """Delete a file, if it is there."""
        self.path(digest).unlink(missing_ok=True)

    def leftovers(self) -> Iterator[Path]:
        """Iterate over the drafts that crashed processes left: of payloads and of the store.

        A store that was never finished lies beside this directory, maybe with its journal; one
        that has its own name already as well is as young as the store itself.
        """
        beside = self._directory.parent.glob(".*.draft*")
        for draft in (*beside, *self._directory.glob(".*.draft")):
            with suppress(FileNotFoundError):  # it has got its own name just now
                about = draft.stat()
                if about.st_nlink > 1 or time.time() - about.st_mtime > _STALE:
                    yield draft

    def tidy(self) -> None:
        """Delete the drafts that crashed processes left."""
        for draft in self.leftovers():
            draft.unlink(missing_ok=True)

    def _holds(self, digest: str, size: int) -> bool:
        try:
            return self.path(digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def _publish(self, draft: Path, digest: str) -> None:
        file = self.path(digest)
        file.parent.mkdir(exist_ok=True)
        draft.replace(file)
        sync_directory(file.parent)
        sync_directory(self._directory)


def _copy(source: BinaryIO, target: BinaryIO | None) -> tuple[str, int]:
    source.seek(0)
    digest = blake3()
    size = 0
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest(), size
