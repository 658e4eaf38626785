"""A mirror: the trials of one experiment in memory, made equal to the store before each question.

Rows stay as they are once their trial has ended for good, except for the few edits that are
named in the log of :func:`daskperiment.history.paths.changes`, in the same group of writes.  So
a question reads what the log tells since the last one, the rows that came since, and those that
had not ended at the last look.  It reads everything again where the store is not the one that
was mirrored: removed, replaced or emptied.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any
from weakref import WeakSet

from daskperiment import platform
from daskperiment.backends.base import Append, Backend
from daskperiment.errors import DamagedRowError, DaskperimentWarning
from daskperiment.history import paths, shape
from daskperiment.history.columns import ENDED, Columns
from daskperiment.history.crashes import presumed
from daskperiment.history.liveness import Liveness
from daskperiment.history.places import Place, Trust
from daskperiment.records import Number
from daskperiment.tracebacks import users_frame
from daskperiment.typing import Document

_BATCH = 1000
_mirrors: WeakSet[Mirror] = WeakSet()


def changed(name: str, number: Number) -> Append:
    """The write that tells mirrors of an edit of a row, behind the edit in its group.

    The end of a RUNNING trial needs none: rows that have not ended are looked at again.
    """
    # The time makes entries differ, so that a store that was put back in place is noticed.
    return Append(paths.changes(name), [[number, time.time()]])


class Mirror:
    """The rows of one experiment's trials as columns.

    It may be used by several threads, one after the other, and after ``fork``.

    Parameters
    ----------
    backend : Backend
        Where the trials are; nothing is written to it.
    name : str
        Id of the experiment.
    trust : str
        Which pickles of a shared store its handles load.
    """

    def __init__(self, backend: Backend, name: str, trust: Trust = "signed") -> None:
        self._backend = backend
        self._name = name
        self._trust: Trust = trust
        self._trials = paths.trials(name)
        self._liveness = Liveness(backend)
        self._lock = threading.Lock()
        self._forget()
        _mirrors.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Mirror, (self._backend, self._name, self._trust)

    @contextmanager
    def columns(self) -> Iterator[Columns]:
        """All rows as they are now; they must not be used after the ``with``."""
        with self._lock:
            try:
                while not self._follow():
                    self._forget()
            except BaseException:  # also an interrupt: some columns may have more rows than others
                self._forget()
                raise
            yield self._columns

    @property
    def filled(self) -> bool:
        """Whether rows were read before, so that the next question reads only what is new."""
        return len(self._columns) > 0

    def after_fork(self) -> None:
        """Begin anew if another thread was in the middle of something when this was forked."""
        if self._lock.locked():
            self._lock = threading.Lock()
            self._forget()

    def _forget(self) -> None:
        self._unreadable: set[Any] = getattr(self, "_unreadable", set())
        self._columns = Columns(partial(Place, self._backend, self._name, trust=self._trust))
        self._entries = 0
        self._entry: Any = None
        self._unfinished: set[int] = set()

    def _follow(self) -> bool:
        """Make the columns equal to the store; False if it is another one than before."""
        # The log is read first: what is edited behind it is told at the next look.
        entries = self._backend.read(paths.changes(self._name), max(0, self._entries - 1))
        if self._entries:
            if not entries or entries.pop(0) != self._entry:
                return False
            if entries:
                self._entry = entries[-1]
        elif entries:
            self._entry = entries[-1]
        self._entries += len(entries)
        known = len(self._columns)
        numbers = {number for number, _ in entries} if known else set()
        return self._add() and self._look_again(numbers, known)

    def _add(self) -> bool:
        """Add the rows that came since; the last one that is known tells the store."""
        columns = self._columns
        last = columns.numbers[-1] if len(columns) else None
        after = None if last is None else last - 1
        found: Iterator[Any] = self._rows(after)
        if last is not None:
            first = next(found, None)
            uid = columns.standard["Uid"].held[-1]
            if first is None or first[0] != last or first[1]["uid"] != uid:
                return False
        while rows := list(islice(found, _BATCH)):
            columns.extend(
                [(number, presumed(row, self._liveness.is_gone)) for number, row in rows]
            )
            self._unfinished.update(number for number, row in rows if not _final(row))
        return True

    def _rows(self, after: Any) -> Iterator[tuple[int, Document]]:
        """Rows behind a number; those that are damaged are told of and left out."""
        owned = self._backend.owned  # which looks at files: not for every row
        while True:
            try:
                for number, row in self._backend.find(self._trials, after=after):
                    after = number
                    if owned or (problem := shape.problem(number, row)) is None:
                        yield int(number), row
                    else:
                        self._tell_unreadable(number, problem)
                return
            except DamagedRowError as error:
                if error.key is None:
                    raise
                self._tell_unreadable(error.key, str(error))
                after = error.key

    def _tell_unreadable(self, number: Any, reason: str) -> None:
        if number not in self._unreadable:
            self._unreadable.add(number)
            text = f"Trial {number} of {self._name!r} cannot be read and is left out: {reason}"
            warnings.warn(text, DaskperimentWarning, stacklevel=users_frame())

    def _look_again(self, numbers: set[int], known: int) -> bool:
        """Read the rows that may have changed, of those that were known."""
        columns = self._columns
        last = columns.numbers[known - 1] if known else 0
        asked = sorted(n for n in self._unfinished | numbers if n <= last)
        owned = not asked or self._backend.owned
        for number, row in zip(asked, self._backend.get_many(self._trials, asked), strict=True):
            if row is None or columns.at(number) is None:
                return False
            if not owned and (problem := shape.problem(number, row)) is not None:
                self._tell_unreadable(number, problem)
                continue
            columns.put(number, presumed(row, self._liveness.is_gone))
            if _final(row):
                self._unfinished.discard(number)
        return True


def _final(row: Document) -> bool:
    """Whether only what the log tells of can change it: the end of a step may be overridden."""
    return (row.get("state", "") in ENDED and row.get("ended_by") != "step") or "collected" in row


def _after_fork() -> None:
    for mirror in list(_mirrors):
        mirror.after_fork()


platform.at_fork(after_in_child=_after_fork)
