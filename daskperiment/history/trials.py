"""Trials: their rows, their numbers and the one way in which each ends."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from daskperiment.backends.base import Backend, Insert, Order, Remove, Update, Write
from daskperiment.errors import (
    ConflictError,
    DamagedRowError,
    StoreReadOnlyError,
    TrialIDNotFoundError,
)
from daskperiment.history import paths
from daskperiment.history.counting import Count
from daskperiment.history.crashes import CRASH, presumed
from daskperiment.history.liveness import Liveness
from daskperiment.history.mirror import Mirror, changed
from daskperiment.history.places import Place, Trust
from daskperiment.history.shape import problem
from daskperiment.history.taints import tainted
from daskperiment.platform import is_alive
from daskperiment.records import Number, Provisional, TrialState
from daskperiment.typing import Document, Key, Where

_MOST = 500
"""Rows that are read at a time where removed ones are passed over."""
# A state may be left only from these: an end only as long as it is that of a step (a scheduler
# may run the step again), CRASHED only by the process that was thought dead.
_RUNNING = {"state": TrialState.RUNNING.value}
_PROVISIONAL = {"ended_by": "step"}
PRESUMED_DEAD = {"state": TrialState.CRASHED.value}


class Trials:
    """Rows of one experiment's trials.

    Parameters
    ----------
    backend : Backend
        Where they are.
    name : str
        Id of the experiment.
    trust : str
        Which pickles of a shared store are loaded, ``"signed"`` or ``"all"``.
    """

    def __init__(self, backend: Backend, name: str, trust: Trust = "signed") -> None:
        self.backend = backend
        self.name = name
        self.trust: Trust = trust
        self._path = paths.trials(name)
        self._running = paths.running(name)
        self._count = Count(backend, name)
        self._liveness = Liveness(backend)

    @functools.cached_property
    def mirror(self) -> Mirror:
        """The rows in memory, for questions that are asked of many."""
        return Mirror(self.backend, self.name, self.trust)

    def place(self, uid: str) -> Place:
        """Where values of one trial are kept and read back."""
        return Place(self.backend, self.name, uid, self.trust)

    def begin(
        self,
        document: Document,
        once: bool = False,
        writes: Sequence[Write] = (),
        alone: bool = False,
    ) -> Number:
        """Insert the RUNNING row; the row is the number, provisional while its backend is away.

        Called again for a uid that is running, it returns that trial's number: a scheduler
        that repeats the beginning of a trial does not begin another.  With ``once`` that
        holds for ever, at the price of a mark that stays.  With ``alone`` it is refused then.
        ``writes`` are of the same group.

        Raises
        ------
        ConflictError
            The trial of this uid has begun already, and ``alone`` was asked for.
        TrialIDNotFoundError
            One of the ``writes`` was refused, so that the trial has not begun.
        """
        uid, owner = document["uid"], document["owner"]
        marks = [Insert(self._running, owner, uid)]
        if once:
            marks.append(Insert(paths.begun(self.name), {}, uid))
        try:
            number, *_ = self.backend.apply(Insert(self._path, document), *marks, *writes)
        except ConflictError:
            if alone:
                raise
            return self._number(uid)
        return number if isinstance(number, Provisional) else int(number)

    def running(self, uid: str) -> int | None:
        """Number of the trial of this uid, None unless it has begun and not ended."""
        begun = self.backend.get(self._running, uid) is not None
        return self._number(uid) if begun else None

    def _number(self, uid: str) -> int:
        for number, _ in self.find(where={"uid": uid}, fields=[], newest=True, limit=1):
            return number
        raise TrialIDNotFoundError(f"There is no trial with uid {uid}")

    def end(
        self, number: Number, uid: str, changes: Document, writes: Sequence[Write] = ()
    ) -> bool:
        """End a trial once: ``changes`` holds its final state.

        Parameters
        ----------
        number, uid : Number, str
            The trial.
        changes : dict
            Fields to set, with ``state``.
        writes : sequence of Write
            Records of the trial that are committed in the same group; they are kept also
            when the trial has ended already.

        Returns
        -------
        bool
            Whether the trial ended by this call.
        """
        row = (self._path, number)
        gone = Remove(self._running, uid)
        edges: list[tuple[dict[str, str], Document, list[Write]]] = [
            (_RUNNING, {}, []),
            (_PROVISIONAL, {}, []),
        ]
        if TrialState(changes["state"]).done:
            edges.append((PRESUMED_DEAD, {"late": True}, [changed(self.name, number)]))
        for expected, mark, told in edges:
            update = Update(*row, {**changes, **mark}, {**expected, "uid": uid})
            try:
                self.backend.apply(*writes, update, gone, *told)
                return True
            except ConflictError:
                continue
        self.backend.apply(*writes, gone)
        return False

    def fail_for_now(self, number: Number, uid: str, changes: Document) -> None:
        """Give a RUNNING trial the end of a step; its completion may still override it."""
        provisional = {**changes, **_PROVISIONAL}
        self.backend.update(self._path, number, provisional, expect={**_RUNNING, "uid": uid})

    def change(self, number: int, changes: Document) -> None:
        """Set fields of a row."""
        self.edit(number, changes)

    def edit(self, number: int, changes: Document, expect: Mapping[str, str] | None = None) -> bool:
        """Set fields of a row whose trial may have ended; False where it is not as expected."""
        update = Update(self._path, number, changes, expect)
        try:
            self.backend.apply(update, changed(self.name, number))
        except ConflictError:
            return False
        return True

    def count(self) -> int:
        """How many trials there are, running ones too; those that were counted are not read."""
        if self.mirror.filled:
            with self.mirror.columns() as columns:
                return columns.count
        return self._count.now()

    def newest(self) -> int | None:
        """Number of the last trial that was not removed, None where there is none."""
        for number, row in self.backend.find(self._path, order_by="-key", limit=1):
            if not row.get("removed"):
                return int(number)
        with self.mirror.columns() as columns:
            return columns.newest()

    def last(self) -> int:
        """Highest number given so far, 0 before the first trial; removed trials count."""
        newest = self.backend.find(self._path, fields=[], order_by="-key", limit=1)
        return next((int(number) for number, _ in newest), 0)

    def get(self, number: Number) -> Document:
        """One row; TrialIDNotFoundError when there is none, or when it was removed.

        DamagedRowError when others have written something else to a shared store.
        """
        document = self.backend.get(self._path, number)
        if document is None:
            last = self.last()
            known = f"its trials are 1 to {last}" if last else "it has no trial yet"
            raise TrialIDNotFoundError(
                f"There is no trial {number} in experiment {self.name!r}: {known}"
            )
        wrong = None if self.backend.owned else problem(number, document)
        if wrong is not None:
            raise DamagedRowError(f"Trial {number} of {self.name!r} cannot be read: {wrong}")
        if document.get("removed"):
            raise self._removed(number, document)
        return presumed(document, self._liveness.is_gone)

    def _removed(self, number: Number, row: Document) -> TrialIDNotFoundError:
        day = datetime.fromtimestamp(float(row["removed"])).date()
        hint = (
            "its content was deleted since, and only its number stays"
            if row.get("collected")
            else f"ex.restore({number}) brings it back, in a shell daskperiment restore {number}"
        )
        return TrialIDNotFoundError(
            f"Trial {number} of experiment {self.name!r} was removed on {day}: {hint}"
        )

    def before(self, number: int | None) -> tuple[int, str, str] | None:
        """The latest trial before a number, of all for None: number, code and environment.

        Code and environment are the digests of its snapshots.  Trials that were removed or
        whose code or environment was forgotten are passed over; the result is None where there
        is no other.
        """
        fields = ["code", "environment", "removed", "imported"]
        for limit in (1, None):  # nearly always the first one will do
            rows = self.backend.find(
                self._path, fields=fields, order_by="-key", after=number, limit=limit
            )
            for other, row in rows:
                whole = row.get("code") and row.get("environment")
                if whole and not row.get("removed") and not row.get("imported"):
                    return int(other), row["code"], row["environment"]
        return None

    def find(
        self,
        where: Where | None = None,
        fields: Sequence[str] | None = None,
        newest: bool = False,
        limit: int | None = None,
        after: Key | None = None,
    ) -> Iterator[tuple[int, Document]]:
        """Rows in the order of their numbers, or newest first, without removed ones.

        ``after`` is a number behind which they begin, in that order.
        """
        wanted = None if fields is None else [*fields, "removed"]
        order: Order = "-key" if newest else "key"
        left, size, more = limit, limit, True
        while more:
            rows = self.backend.find(
                self._path, where, fields=wanted, order_by=order, after=after, limit=size
            )
            seen = 0
            for after, row in rows:
                seen += 1
                if not row.pop("removed", None):
                    yield int(after), presumed(row, self._liveness.is_gone)
                    left = None if left is None else left - 1
                    if left == 0:
                        return
            more = bool(size and seen == size)
            # Where many were removed, many rows at a time.
            size = size and max(size, min(2 * size, _MOST))

    def rows(self, numbers: Sequence[int]) -> list[Document | None]:
        """The rows of these trials; None for one that was removed or cannot be read."""
        found = self.backend.get_many(self._path, numbers)
        owned = self.backend.owned
        return [
            None
            if row is None or row.get("removed") or not (owned or problem(number, row) is None)
            else presumed(row, self._liveness.is_gone)
            for number, row in zip(numbers, found, strict=True)
        ]

    def neighbours(self, number: int) -> tuple[int | None, int | None]:
        """Numbers of the trials before and behind one, None where there is none."""
        return self._beside(number, newest=True), self._beside(number, newest=False)

    def _beside(self, number: int, newest: bool) -> int | None:
        found = self.find(fields=[], newest=newest, limit=1, after=number)
        return next((other for other, _ in found), None)

    def attempts(self, uid: str | None) -> Iterator[tuple[int, Document]]:
        """The row of an attempt, then those of the attempts before it, the first one last.

        Parameters
        ----------
        uid : str or None
            The ``retry_of`` of the trial whose earlier attempts are asked for.
        """
        seen: set[str] = set()
        while uid and uid not in seen:
            seen.add(uid)
            found = next(self.find({"uid": uid}, newest=True, limit=1), None)
            if found is None:
                return
            yield found
            uid = found[1].get("retry_of")

    def number_of(self, uid: str) -> int | None:
        """Number of the trial of a uid, None where it is not there, or not any more."""
        found = self.find({"uid": uid}, fields=[], newest=True, limit=1)
        return next((number for number, _ in found), None)

    def begun(self, uid: str) -> int | None:
        """Number of a trial that was begun ``once`` or ``alone``, None where it was not.

        Of one that was not begun that is known without looking through the others.
        """
        marked = self.backend.get(paths.begun(self.name), uid) is not None
        return self.number_of(uid) if marked else None

    def bar(self, uid: str) -> bool:
        """Let no worker begin a trial of this uid ``alone``; False where one has begun it; atomic.

        A task that was given up may still be on its way to a worker, or wait in one.
        """
        try:
            self.backend.apply(Insert(paths.begun(self.name), {}, uid))
        except ConflictError:
            return self.number_of(uid) is None  # barred before
        return True

    def is_over(self, row: Document) -> bool:
        """Whether a trial has ended, also one whose process is gone and of which nobody says so."""
        ended = TrialState(presumed(row, self._liveness.is_gone)["state"]).ended
        return ended or ("owner" in row and self._liveness.is_gone(row["owner"]))

    def lose(self, number: Number, uid: str, reason: str) -> bool:
        """Mark a trial as CRASHED whose process was seen to die; whether it had not ended."""
        description = f"{TrialState.CRASHED.value}({reason})"
        return self._interrupt(number, uid, {**CRASH, "description": description})

    def cancel(self, number: Number, uid: str, reason: str) -> bool:
        """Mark a trial as CANCELLED that does not end by itself; whether it had not ended."""
        description = f"{TrialState.CANCELLED.value}({reason})"
        state = {"state": TrialState.CANCELLED.value, "ended_by": "batch"}
        return self._interrupt(number, uid, {**state, "description": description})

    def give_up(self, number: Number, uid: str, reason: str) -> bool:
        """Mark a trial as FAILED that does not end by itself; whether it had not ended."""
        state = {"state": TrialState.FAILED.value, "ended_by": "batch", "description": reason}
        return self._interrupt(number, uid, state)

    def _interrupt(self, number: Number, uid: str, changes: Document) -> bool:
        return self.end(number, uid, {"finished": time.time(), **changes})

    def alive(self) -> int:
        """How many trials have not ended, as far as is known here."""
        owners = self.backend.find(self._running)
        return sum(is_alive(owner) for _, owner in owners)

    def bury(self) -> None:
        """Mark trials whose process is gone as CRASHED, if they can be changed."""
        gone = self._liveness.is_gone
        dead = {str(u): owner for u, owner in self.backend.find(self._running) if gone(owner)}
        with suppress(StoreReadOnlyError):
            for uid, owner in dead.items():
                self._bury(uid)
                self._liveness.forget(owner)

    def _bury(self, uid: str) -> None:
        number = self._number(uid)
        for expected, changes in ((_RUNNING, CRASH), (_PROVISIONAL, {"ended_by": "owner gone"})):
            if self.backend.update(self._path, number, changes, {**expected, "uid": uid}):
                break
        self.backend.apply(Remove(self._running, uid))


def facts(row: Document) -> dict[str, str]:
    """What a person wants to know of a trial first, as text by name; nothing is decoded."""
    told: dict[str, Any] = {
        "State": row["state"],
        "Result": row.get("result", {}).get("preview"),
        "Description": row.get("description"),
        "Seed": row["seed"],
        "Started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["started"])),
        "Process Time": duration(row.get("seconds")),
        "Tags": ", ".join(row.get("tags", [])),
        "Note": row.get("note"),
        "Tainted": tainted(row),
    }
    known = {name: str(value) for name, value in told.items() if value not in (None, "")}
    return {name: document["preview"] for name, document in row["parameters"]} | known


def duration(seconds: float | None) -> str | None:
    """A duration as people write it.

    Examples
    --------
    >>> duration(0.0123), duration(75), duration(7384)
    ('0.012 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds is None:
        return None
    minutes, rest = divmod(round(seconds), 60)
    if seconds < 10:
        return f"{seconds:.3f} s"
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
