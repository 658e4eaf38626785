"""Takers: trials that have taken the outputs of some step calls instead of running them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from daskperiment.errors import BackendError
from daskperiment.history.trials import Trials
from daskperiment.lineage.impact import Affected, Look
from daskperiment.records import StepRecord, TrialState
from daskperiment.typing import Document

_PAGE = 50
"""Rows that are read at a time."""


class Takers(NamedTuple):
    """Who has taken something, as far as was looked.

    Parameters
    ----------
    affected : tuple of Affected
        The trials, with the calls that they have taken and what was made from these.
    looked : int
        How many trials were looked at.
    left : int
        How many others may have taken it, too, and were not looked at.
    """

    affected: tuple[Affected, ...]
    looked: int
    left: int


def takers(
    trials: Trials, number: int, records: Iterable[StepRecord], most: int, seconds: float
) -> Takers:
    """The other trials of an experiment that have taken the outputs of calls of one trial.

    Of a call that was taken itself they are those that took it from the same trial.  Only trials
    that have taken anything are looked at, those after the trial first.

    Parameters
    ----------
    trials : Trials
        The trials of the experiment.
    number : int
        The trial.
    records : iterable of StepRecord
        Calls of it.
    most, seconds : int, float
        How many trials are looked at at most, and for how long.
    """
    same = _Same(records)
    others = _candidates(trials, number, same.origins)
    look = Look(trials, same)
    end = time.monotonic() + seconds
    affected, looked = [], 0
    rows: list[Document | None] = []
    for other in others[:most]:
        if time.monotonic() > end:
            break
        if looked % _PAGE == 0:
            rows = trials.rows(others[looked : looked + _PAGE])
        row = rows[looked % _PAGE]
        looked += 1
        try:
            found = None if row is None else look.at(other, row)
        except BackendError:  # its records cannot be read: whoever opens it is told
            continue
        if found is not None:
            affected.append(found)
    return Takers(tuple(affected), looked, len(others) - looked)


class _Same:
    """Selects calls that were taken from where some calls have run."""

    def __init__(self, records: Iterable[StepRecord]) -> None:
        ran_in = [(record, record.reused_from or record.trial) for record in records]
        self.origins = {uid for _, uid in ran_in}
        self._keys = {_key(record, uid) for record, uid in ran_in}

    def matches(self, record: StepRecord, code: object) -> bool:
        """Whether a call is one of them."""
        return record.reused_from is not None and _key(record, record.reused_from) in self._keys


def _key(record: StepRecord, ran_in: str) -> tuple[object, ...]:
    inputs = tuple((argument.name, argument.digest) for argument in record.inputs)
    return ran_in, record.step, record.fingerprint, inputs, record.output


def _candidates(trials: Trials, number: int, origins: set[str]) -> list[int]:
    """Numbers of the other trials that may have taken something."""
    names = ("time_saved", "State", "Uid", "Late")
    with trials.mirror.columns() as columns:
        saved, state, uids, late = (columns.standard[name].held for name in names)
        # One that is complete says what it has saved by that, unless it is a new attempt.
        may = {
            columns.numbers[at]
            for at in columns.positions().tolist()
            if saved[at] is not None or state[at] != TrialState.COMPLETE
        }
        tried = [
            uid
            for at, uid in enumerate(uids)
            if uid in origins and (state[at] != TrialState.COMPLETE or late[at])
        ]
    may |= set(_attempts(trials, tried))
    after = sorted(other for other in may if other > number)
    return after + sorted((other for other in may if other < number), reverse=True)


def _attempts(trials: Trials, uids: list[str]) -> Iterator[int]:
    """The trials that were run again for some, for those that were, and so on."""
    known = list(uids)
    for uid in known:  # which grows meanwhile
        for number, row in trials.find({"retry_of": uid}, fields=["uid"]):
            if row["uid"] not in known:
                known.append(row["uid"])
                yield number
