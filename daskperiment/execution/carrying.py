"""Carrying: records of a trial whose process cannot reach the store travel with its value."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daskperiment.backends.base import Backend, Remove
from daskperiment.backends.spool import SUFFIX, Spool
from daskperiment.history import paths, syncing
from daskperiment.history.spooling import SpoolingBackend
from daskperiment.typing import Document


class CarryingBackend(SpoolingBackend):
    """A backend that never asks its store and gives what is recorded as bytes.

    Parameters
    ----------
    inner : Backend
        The backend that cannot be reached from here.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__(inner.inner if isinstance(inner, SpoolingBackend) else inner, offline=True)
        self._folder: Path | None = None

    def _opened(self) -> Spool:
        if self._spool is None:
            self._folder = Path(tempfile.mkdtemp(prefix="daskperiment-"))
            self._spool = Spool.make(self._folder, self._about())
        return self._spool

    def _about(self) -> Document:
        return {"address": "carried", "created": time.time(), "id": uuid.uuid4().hex}

    def taken(self) -> bytes:
        """What was recorded; it is gone from here then."""
        spool, self._spool = self._spool, None
        if spool is None:
            return b""
        assert self._folder is not None
        try:
            return spool.file.read_bytes()
        finally:
            spool.close()
            shutil.rmtree(self._folder, ignore_errors=True)


def arrive(backend: Backend, carried: bytes) -> int | None:
    """Bring carried records to the store, once, and return the number of their trial.

    Raises
    ------
    BackendError
        The store cannot be reached from here either.
    """
    target = backend.inner if isinstance(backend, SpoolingBackend) else backend
    with _spool(carried) as spool:
        numbers: dict[str, int] = {}
        for done in syncing.replay(target, spool):
            numbers |= done.numbers
        target.apply(Remove(paths.SPOOLS, spool.id))
    return next(iter(numbers.values()), None)


@contextmanager
def _spool(carried: bytes) -> Iterator[Spool]:
    with tempfile.TemporaryDirectory(prefix="daskperiment-") as folder:
        file = Path(folder) / f"carried{SUFFIX}"
        file.write_bytes(carried)
        spool = Spool(file)
        try:
            yield spool
        finally:
            spool.close()
