"""Claims: places of a search, or of a batch that is shared, that one of several batches has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

from daskperiment.backends.base import Backend, Insert
from daskperiment.errors import ConflictError
from daskperiment.history import paths
from daskperiment.history.batches import Batches
from daskperiment.typing import Document


class Taken(NamedTuple):
    """Something that was asked for.

    Parameters
    ----------
    mine : bool
        Whether it is this batch's now.
    said : mapping
        What is said of it, as far as it can be read.
    before : str, optional
        The batch that has had it; None where none has.
    """

    mine: bool
    said: Mapping[str, Any] = MappingProxyType({})
    before: str | None = None


class Claims:
    """What one batch takes, so that no other one does.

    Each is a document that stays: ``by`` (the batch that has it), ``owner`` (its process), and what
    was said of it when it was first taken.  It holds as long as the batch runs.

    Parameters
    ----------
    backend : Backend
        Where they are.
    name : str
        Id of the experiment.
    plan : str
        What the batches have in common that share.
    by : str
        This batch.
    owner : dict
        This process.
    """

    def __init__(self, backend: Backend, name: str, plan: str, by: str, owner: Document) -> None:
        self._backend = backend
        self._path = paths.claims(name)
        self._batches = Batches(backend, name)
        self._plan = plan
        self._mine: Document = {"by": by, "owner": owner}

    def take(self, what: str) -> Taken:
        """Take something, such as a place; atomic.

        It is this batch's where no other one has had it, or one that runs no more.
        """
        if self.take_all([what]):
            return Taken(True)
        claim = self.get(what)
        if claim is None:
            return Taken(False)
        return Taken(self._take_over(what, claim), claim, claim["by"])

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

    def get(self, what: str) -> Document | None:
        """The claim of something; None where there is none, or others have written it."""
        found = self._backend.get(self._path, self._key(what))
        is_one = found is not None and isinstance(found.get("by"), str) and "owner" in found
        return found if is_one else None

    def _take_over(self, what: str, claim: Document) -> bool:
        by, here = claim["by"], self._mine["owner"]
        if by == self._mine["by"]:
            return True
        if not self._batches.is_over(by, claim["owner"], here):
            return False
        return self._backend.update(self._path, self._key(what), self._mine, {"by": by})

    def _key(self, what: str) -> str:
        return f"{self._plan}-{what}"
