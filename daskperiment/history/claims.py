"""Claims: places of a search or a batch that one of several processes has taken."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from daskperiment.backends.base import Backend, Insert
from daskperiment.errors import ConflictError
from daskperiment.history import paths
from daskperiment.history.liveness import Liveness
from daskperiment.typing import Document

_NOBODY = ""


class Claims:
    """What one process takes, so that no other one does.

    Each is a document that stays: ``by`` (who has it, empty where it was given back), ``owner``
    (its process), and what was said of it when it was first taken.

    Parameters
    ----------
    backend : Backend
        Where they are.
    name : str
        Id of the experiment.
    plan : str
        What those have in common that share.
    owner : dict
        This process.
    by : str, optional
        Who takes; default the whole process.
    """

    def __init__(
        self, backend: Backend, name: str, plan: str, owner: Document, by: str | None = None
    ) -> None:
        self._backend = backend
        self._path = paths.claims(name)
        self._plan = plan
        self._by = by or f"{owner['host']} {owner['pid']} {owner['started']}"
        self._mine = {"owner": owner, "by": self._by}
        self._liveness = Liveness(backend)

    def take(self, what: str) -> bool:
        """Take something, such as a place; atomic.

        Parameters
        ----------
        what : str
            What.

        Returns
        -------
        bool
            Whether it is this one's now: nobody has had it, or whoever has had is gone or has
            given it back.
        """
        if self.take_all([what]):
            return True
        claim = self.get(what)
        return claim is not None and self.take_over(what, claim)

    def take_all(self, several: Iterable[str], **said: Any) -> bool:
        """Take all of it if nobody has had any, and nothing otherwise; atomic, in one write.

        Parameters
        ----------
        several : iterable of str
            What.
        **said
            What is said of it to others.
        """
        document = {**self._mine, **said}
        keys = map(self._key, several)
        with suppress(ConflictError):
            self._backend.apply(*(Insert(self._path, document, key) for key in keys))
            return True
        return False

    def take_over(self, what: str, claim: Document) -> bool:
        """Take what was given back, or whose owner is gone; atomic.

        Parameters
        ----------
        what : str
            What.
        claim : dict
            Its claim, as it was read.

        Returns
        -------
        bool
            Whether it is this one's now, or was before.
        """
        by = claim["by"]
        if by == self._by:
            return True
        if by != _NOBODY and not self._liveness.is_gone(claim["owner"]):
            return False
        return self._backend.update(self._path, self._key(what), self._mine, {"by": by})

    def get(self, what: str) -> Document | None:
        """The claim of something; None where there is none, or others have written it."""
        found = self._backend.get(self._path, self._key(what))
        is_one = found is not None and isinstance(found.get("by"), str) and "owner" in found
        return found if is_one else None

    def give_back(self, several: Iterable[str]) -> None:
        """Leave to others what was taken and is not needed, unless it is another's now."""
        for what in several:
            self._backend.update(
                self._path, self._key(what), {"by": _NOBODY, "owner": None}, {"by": self._by}
            )

    def _key(self, what: str) -> str:
        return f"{self._plan}-{what}"
