"""Claims: places of a search or a batch that one of several processes has taken."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from daskperiment.backends.base import Backend, Insert, Remove, Update, Write
from daskperiment.errors import ConflictError
from daskperiment.history import paths
from daskperiment.history.liveness import Liveness
from daskperiment.typing import Document


class Claims:
    """What one process takes, so that no other one does.

    Parameters
    ----------
    backend : Backend
        Where they are.
    name : str
        Id of the experiment.
    plan : str
        What the processes have in common that share.
    owner : dict
        This process.
    """

    def __init__(self, backend: Backend, name: str, plan: str, owner: Document) -> None:
        self._backend = backend
        self._path = paths.claims(name)
        self._plan = plan
        self._by = {"by": f"{owner['host']} {owner['pid']} {owner['started']}"}
        self._mine = {"owner": owner, **self._by}
        self._liveness = Liveness(backend)

    def take(self, what: str) -> Document | None:
        """Take something that nobody has, or whose owner is gone; atomic.

        Parameters
        ----------
        what : str
            Such as a place.

        Returns
        -------
        dict or None
            What is said of it, if it is this process's now or was before; None if another has it.
        """
        if self.take_all([what]):
            return {}
        key, known = self._key(what), self.get(what)
        if known is None:
            return None
        if known["by"] == self._by["by"]:
            return known
        if not self._liveness.is_gone(known["owner"]):
            return None
        taken = self._backend.update(self._path, key, self._mine, {"by": known["by"]})
        return known if taken else None

    def take_all(self, several: Iterable[str], **said: Any) -> bool:
        """Take all of it if nobody has any, and nothing otherwise; atomic, in one write.

        Parameters
        ----------
        several : iterable of str
            What to take.
        **said
            What is said of it to others.
        """
        document = {**self._mine, **said}
        with suppress(ConflictError):
            self._backend.apply(
                *(Insert(self._path, document, self._key(each)) for each in several)
            )
            return True
        return False

    def get(self, what: str) -> Document | None:
        """What is said of something; None where nobody has it."""
        return self._backend.get(self._path, self._key(what))

    def give_back(self, several: Iterable[str]) -> None:
        """Leave to others what was taken and is not needed; nothing where one has taken over."""
        writes: list[Write] = []
        for key in map(self._key, several):
            writes += [Update(self._path, key, {}, self._by), Remove(self._path, key)]
        if writes:
            with suppress(ConflictError):
                self._backend.apply(*writes)

    def _key(self, what: str) -> str:
        return f"{self._plan}-{what}"
