"""Batches: many trials that were asked for at once, and how far they have come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from daskperiment.backends.base import Backend, Insert, Update
from daskperiment.errors import BackendError, ConflictError
from daskperiment.history import paths
from daskperiment.history.liveness import Liveness
from daskperiment.typing import Document, Where

_here: set[str] = set()
"""The batches that run in this process."""
LOST = "CRASHED"
"""State of a batch whose process is gone."""
_RUNNING = {"state": "RUNNING"}


class Batches:
    """The batches of one experiment.

    Each is a document: ``state`` (``RUNNING``, ``COMPLETE``, ``FAILED`` by an error or, unless it
    is of a search, by a trial that has failed, ``CANCELLED``, or ``CRASHED`` where its process is
    gone), ``started`` and ``finished`` (seconds of the epoch), ``owner`` (the process),
    ``executor``, ``total``, ``done``, ``pruned`` (of those done), ``failed``, ``running`` and
    ``skipped`` (numbers of trials), ``best``, ``plan`` (equal for batches of the same parameters),
    ``search`` (the uid of one that it is of), ``shard``, ``waiting`` (whether it is done with its
    shard, and waits for the others) and ``script``.

    Parameters
    ----------
    backend : Backend
        Where they are.
    name : str
        Id of the experiment.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self._path = paths.batches(name)
        self._liveness = Liveness(backend)

    def begin(self, uid: str, document: Document) -> None:
        """Keep a batch that begins in this process."""
        _here.add(uid)
        self.backend.apply(Insert(self._path, document, uid))

    def end(self, uid: str, changes: Document, begun: Document) -> None:
        """Keep how one has ended, and how it has begun where that could not be kept."""
        _here.discard(uid)
        try:
            self.update(uid, changes)
        except ConflictError:
            self.backend.apply(Insert(self._path, {**begun, **changes}, uid))

    def is_over(self, uid: str, owner: Document, here: Document) -> bool:
        """Whether a batch runs no more, as far as can be known.

        Parameters
        ----------
        uid : str
            Which one.
        owner : dict
            Its process.
        here : dict
            This process, which knows of its own also where the store does not.
        """
        if owner == here:
            return uid not in _here
        row = self.backend.get(self._path, uid)
        if row is not None and row.get("state") != "RUNNING":
            return True
        return self._liveness.is_gone(owner)

    def update(self, uid: str, changes: Document) -> None:
        """Keep how far it has come."""
        self.backend.apply(Update(self._path, uid, changes))

    def find(self, where: Where | None = None) -> Iterator[tuple[str, Document]]:
        """Batches by uid, the last one first; those whose process is gone are ``CRASHED``."""
        found = [(str(uid), row) for uid, row in self.backend.find(self._path, where)]
        found.sort(key=lambda batch: float(batch[1]["started"]), reverse=True)
        for uid, row in found:
            if row["state"] == "RUNNING" and self._liveness.is_gone(row["owner"]):
                row["state"] = LOST
                # Kept, as what was seen of its process is forgotten with the last of its trials.
                with suppress(BackendError, ConflictError):  # it may have ended, or is only read
                    self.backend.apply(Update(self._path, uid, {"state": LOST}, _RUNNING))
            yield uid, row

    def running(self) -> Iterator[tuple[str, Document]]:
        """Those that have not ended."""
        return ((u, row) for u, row in self.find(_RUNNING) if row["state"] != LOST)
