"""Carrying: records of a process that cannot reach the store travel with the values.

Those of a whole trial are part of what its task returns.  Where the steps of a trial run on
several workers of a cluster, their values go on to other steps; each of the workers keeps its
records, says by an event that it has some, and the process that runs the trial fetches them before
it ends the trial.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from daskperiment import platform
from daskperiment.backends.base import Backend, Remove
from daskperiment.backends.spool import SUFFIX, Spool
from daskperiment.errors import BackendError, BackendUnreachableError, DaskperimentWarning
from daskperiment.history import paths, syncing
from daskperiment.history.spooling import SpoolingBackend, address_of, spool_folder
from daskperiment.typing import Document

logger = logging.getLogger(__name__)

_AGAIN = 30.0
"""Seconds after which it is looked again whether a store can be reached."""
_TOPIC = "daskperiment-carried"


class CarryingBackend(SpoolingBackend):
    """A backend that never asks its store and gives what is recorded as bytes.

    Another process that it is sent to gets the backend itself, as it may reach the store.

    Parameters
    ----------
    inner : Backend
        The backend that cannot be reached from here.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__(inner.inner if isinstance(inner, SpoolingBackend) else inner, offline=True)
        self._itself = inner
        self._folder: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the backend that cannot be reached from here."""
        return _arrived, (self._itself,)

    def _opened(self) -> Spool:
        if self._spool is None:
            self._folder = Path(tempfile.mkdtemp(prefix="daskperiment-"))
            self._spool = Spool.make(self._folder, self._about())
        return self._spool

    def _about(self) -> Document:
        return {
            "address": address_of(self.inner), "store": getattr(self.inner, "known_id", None),
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


def _arrived(backend: Backend) -> Backend:
    return backend


_looked: dict[str, tuple[float, bool]] = {}


def is_reached(backend: Backend, name: str) -> bool:
    """Whether the store can be reached from this process, looked at every half a minute."""
    when, reached = _looked.get(repr(backend), (-_AGAIN, False))
    if time.monotonic() - when < _AGAIN:
        return reached
    try:
        backend.get(paths.EXPERIMENTS, name)
        reached = True
    except BackendError as error:
        logger.info("Records travel back with the values: %s", error)
        reached = False
    note_reached(backend, reached)
    return reached


def note_reached(backend: Backend, reached: bool) -> None:
    """Note whether it could be reached just now."""
    _looked[repr(backend)] = time.monotonic(), reached


# -- of steps that run on workers of a cluster --------------------------------------------------

_carriers: dict[str, CarryingBackend] = {}
_awaited: dict[str, dict[str, None]] = {}
_listening: weakref.WeakSet[Any] = weakref.WeakSet()
_lock = threading.Lock()
platform.hold_across_fork(_lock)


def carrier(backend: Backend, name: str, uid: str) -> Backend:
    """The backend for steps of a trial: where the store is out of reach, one that carries."""
    worker = _worker()
    if worker is None or is_reached(backend, name):
        return backend
    with _lock:
        if uid not in _carriers:
            _carriers[uid] = CarryingBackend(backend)
            # By the same stream as what tells that a task has ended: it arrives before that.
            worker.log_event(_TOPIC, {"trial": uid, "worker": worker.address})
        return _carriers[uid]


def _worker() -> Any:
    if "distributed.worker" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def _taken(uid: str) -> bytes:
    with _lock:
        carrying = _carriers.pop(uid, None)
    return b"" if carrying is None else carrying.taken()


@contextmanager
def fetching(client: Any, backend: Backend, uid: str) -> Iterator[None]:
    """A block that computes a trial on a cluster, and then has what its workers have carried.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    backend : Backend
        Where the trial is recorded.
    uid : str
        Uid of the trial.
    """
    if client not in _listening:
        _listening.add(client)
        client.subscribe_topic(_TOPIC, _heard)
    workers = _awaited[uid] = {}
    try:
        yield
    finally:
        del _awaited[uid]
        for worker in workers:
            _fetch(client, backend, uid, worker)


def _heard(event: tuple[float, dict[str, str]]) -> None:
    told = event[1]
    if (workers := _awaited.get(told["trial"])) is not None:
        workers[told["worker"]] = None


def _fetch(client: Any, backend: Backend, uid: str, worker: str) -> None:
    try:
        (carried,) = client.run(_taken, uid, workers=[worker]).values()
        if carried:
            arrive(backend, carried)
    except Exception as error:  # of the cluster, when the worker is gone; the values are there
        text = f"What steps have recorded on {worker}, which did not reach the store, is lost"
        logger.error("%s: %s", text, error)
        with suppress(DaskperimentWarning):  # made an error, it would end the trial
            warnings.warn(f"{text}: {error}", DaskperimentWarning, stacklevel=2)


# -- their arrival ------------------------------------------------------------------------------


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
        address = address_of(backend.inner)
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
