"""The queue of a search: configurations that somebody wants to be tried."""

from __future__ import annotations

import logging
from collections.abc import Container

from daskperiment.history.searches import Searches
from daskperiment.search.space import Configuration, SearchSpace

logger = logging.getLogger(__name__)


class Queue:
    """What is in the queue of a search, as far as it was read.

    Parameters
    ----------
    searches : Searches
        The searches of its experiment.
    uid : str
        Which one.
    space : SearchSpace
        What its configurations lie in; others may have written something else.
    """

    def __init__(self, searches: Searches, uid: str, space: SearchSpace) -> None:
        self._searches = searches
        self._uid = uid
        self._space = space
        self._entries: list[Configuration | None] = []
        self._waiting: dict[int, None] = {}

    def __len__(self) -> int:
        """How many were ever put into it that can be tried."""
        return sum(entry is not None for entry in self._entries)

    def look(self, used: Container[object] = ()) -> None:
        """Read what is new, without the positions that were used."""
        for position, entry in enumerate(
            self._searches.queue(self._uid, len(self._entries)), len(self._entries)
        ):
            possible = entry in self._space
            self._entries.append(entry if possible else None)
            if not possible:
                logger.warning("Position %s of the queue is no configuration of it", position)
            elif position not in used:
                self._waiting[position] = None

    @property
    def next(self) -> int | None:
        """The first position that waits; None where none does."""
        return next(iter(self._waiting), None)

    def pass_over(self, position: int) -> None:
        """Let a position wait no longer."""
        self._waiting.pop(position, None)

    def take(self, position: int) -> Configuration | None:
        """What is to be tried at a position, which waits no longer; None if nothing can be."""
        if position >= len(self._entries):
            self.look()
        self.pass_over(position)
        return self._entries[position] if 0 <= position < len(self._entries) else None
