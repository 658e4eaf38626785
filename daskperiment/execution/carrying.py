"""Carrying: records of a trial whose process cannot reach the store travel with its value."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from daskperiment.backends.base import Backend, Remove
from daskperiment.backends.server import masked
from daskperiment.backends.spool import SUFFIX, Spool
from daskperiment.errors import BackendError, BackendUnreachableError
from daskperiment.history import paths, syncing
from daskperiment.history.spooling import SpoolingBackend, spool_folder
from daskperiment.typing import Document

logger = logging.getLogger(__name__)


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
        return {
            "address": _address(self.inner), "store": getattr(self.inner, "known_id", None),
            "created": time.time(), "id": uuid.uuid4().hex,
        }  # fmt: skip

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


def _address(backend: Any) -> str:
    return masked(getattr(backend, "address", None) or repr(backend))


def arrive(backend: Backend, carried: bytes) -> None:
    """Bring carried records to the store, once; where it is away they wait in a spool here.

    Raises
    ------
    BackendError
        The store refuses them, and is none that has spools.
    """
    target = backend.inner if isinstance(backend, SpoolingBackend) else backend
    with _spool(carried) as spool:
        try:
            if isinstance(backend, SpoolingBackend) and backend.offline:
                raise BackendUnreachableError(f"{backend!r} is not asked with offline=True")
            for _ in syncing.replay(target, spool):
                pass
            target.apply(Remove(paths.SPOOLS, spool.id))
        except BackendError as error:
            if target is backend:
                raise
            logger.warning("Records of a worker wait in a spool on this machine: %s", error)
            _keep(carried, f"{spool.id}{SUFFIX}")


def _keep(carried: bytes, name: str) -> None:
    folder = spool_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = folder / f"{name}.draft"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(carried)
    draft.replace(folder / name)


def bring(backend: Backend) -> None:
    """Bring to the store what waits for it in spools of this machine, if it can be reached."""
    if isinstance(backend, SpoolingBackend) and not backend.offline:
        address = _address(backend.inner)
        with suppress(BackendError):
            backend.sync()
            for done in syncing.sync(spool_folder(), backend.inner, address=address):
                logger.info("Brought %s groups of records from a spool", done.groups)


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
