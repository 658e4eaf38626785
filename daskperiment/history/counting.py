"""Counting trials: each is counted once, and later only those that came since."""

from __future__ import annotations

from typing import Any, NamedTuple

from daskperiment.backends.base import Backend
from daskperiment.errors import DamagedRowError
from daskperiment.history import paths
from daskperiment.history.news import news


class _Counted(NamedTuple):
    """What was counted before."""

    rows: int = 0
    last: int | None = None
    uid: Any = None
    removed: frozenset[int] = frozenset()
    entries: int = 0
    entry: Any = None


class Count:
    """How many trials an experiment has.

    It relies on the same as :class:`~daskperiment.history.mirror.Mirror`: numbers only grow, and
    removals are told in the log of changes.  May be used by many threads.

    Parameters
    ----------
    backend : Backend
        Where the trials are.
    name : str
        Id of the experiment.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self._backend = backend
        self._trials = paths.trials(name)
        self._changes = paths.changes(name)
        self._before = _Counted()

    def now(self) -> int:
        """The number, without removed ones; rows that were never edited are not decoded."""
        number = self._counted(self._before)
        while number is None:
            number = self._counted(_Counted())
        return number

    def _counted(self, before: _Counted) -> int | None:
        """The number; None if the store is another one than before."""
        # In this order a trial that is removed meanwhile counts either as there or as gone.
        told = news(self._backend, self._changes, before.entries, before.entry)
        if told is None:
            return None
        edited = sorted({number for number, _ in told})
        rows = self._backend.get_many(self._trials, edited)
        removed = {n for n, row in zip(edited, rows, strict=True) if row and row.get("removed")}
        after = None if before.last is None else before.last - 1
        found = self._backend.find(self._trials, fields=[], after=after)
        count, last, others = before.rows, before.last, 0
        if last is not None:
            first = next(found, None)
            if first is None or first[0] != last or self._uid(last) != before.uid:
                return None
        for number, _ in found:
            if isinstance(number, int):
                count, last = count + 1, number
            else:  # in a store that others write to; it is behind all numbers, for ever
                others += 1
        gone = (before.removed - set(edited)) | removed
        length, entry = before.entries + len(told), told[-1] if told else before.entry
        uid = before.uid if last == before.last else self._uid(last)
        self._before = _Counted(count, last, uid, gone, length, entry)
        return count + others - len(gone)

    def _uid(self, number: int | None) -> Any:
        try:
            row = None if number is None else self._backend.get(self._trials, number)
        except DamagedRowError:
            return None
        return None if row is None else row.get("uid")
