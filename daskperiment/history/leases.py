"""Leases: who computes a call now, so that others wait for it instead of computing it too."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from daskperiment.backends.base import Backend, Insert, Remove, Update, Write
from daskperiment.errors import ConflictError
from daskperiment.history import paths
from daskperiment.history.liveness import Liveness
from daskperiment.typing import Document


class Lease(NamedTuple):
    """The right to compute a call, until it is given back or its owner is gone.

    Parameters
    ----------
    key : str
        What the call is.
    token : str
        What tells this lease from those before and after it.
    """

    key: str
    token: str


class Leases:
    """The leases of one experiment.

    Parameters
    ----------
    backend : Backend
        Where they are.
    name : str
        Id of the experiment.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self._backend = backend
        self._path = paths.leases(name)
        self._running = paths.running(name)
        self._liveness = Liveness(backend)

    def take(self, key: str, trial: str, owner: Document) -> Lease | Document:
        """Take a lease, also over from a process that is gone or a trial that has ended.

        Parameters
        ----------
        key : str
            What the call is.
        trial : str
            Uid of the trial that would compute it.
        owner : dict
            The process that would.

        Returns
        -------
        Lease or dict
            The lease; or the document of who has it and is alive.
        """
        token = uuid.uuid4().hex
        mine = {"trial": trial, "owner": owner, "token": token}
        while True:
            held = self._backend.get(self._path, key)
            if held is not None and not self._is_over(held):
                return held
            try:
                if held is None:
                    self._backend.apply(Insert(self._path, mine, key))
                else:
                    seen = {"token": held["token"]}
                    self._backend.apply(Update(self._path, key, mine, seen))
            except ConflictError:  # others were faster
                continue
            return Lease(key, token)

    def _is_over(self, held: Document) -> bool:
        ended = self._backend.get(self._running, held["trial"]) is None
        return ended or self._liveness.is_gone(held["owner"])

    def giving_back(self, lease: Lease) -> list[Write]:
        """The writes that give it back; refused as a group where others have taken it over."""
        return [
            Update(self._path, lease.key, {}, {"token": lease.token}),
            Remove(self._path, lease.key),
        ]
