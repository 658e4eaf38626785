"""Attempts: the trials that a trial is a new attempt at, with what their steps left."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from daskperiment.history.places import Place
from daskperiment.history.steps import Steps
from daskperiment.history.trials import Trials
from daskperiment.records import Number, StepRecord
from daskperiment.typing import Document


class Attempt:
    """One earlier attempt.

    Parameters
    ----------
    trials : Trials
        Where it is recorded.
    number : Number
        Its number.
    row : dict
        Its row.
    """

    def __init__(self, trials: Trials, number: Number, row: Document) -> None:
        self.number = number
        self.row = row
        self.place: Place = trials.place(row["uid"])

    @cached_property
    def records(self) -> list[StepRecord]:
        """Its step records, in the order in which the calls ended."""
        return Steps(self.place.backend, self.place.experiment).read(self.place.uid)

    def others(self, step: str, call: int) -> Iterator[StepRecord]:
        """The records of all calls but one."""
        return (record for record in self.records if record.place != (step, call))


class Attempts:
    """The attempts before a trial, the latest first; each is read once, when it is asked for.

    Parameters
    ----------
    trials : Trials
        Where they are recorded.
    retry_of : str or None
        Uid of the latest one, as the row of the trial has it.
    """

    def __init__(self, trials: Trials, retry_of: str | None) -> None:
        self._trials = trials
        self._retry_of = retry_of

    @cached_property
    def _found(self) -> list[Attempt]:
        rows = self._trials.attempts(self._retry_of)
        return [Attempt(self._trials, number, row) for number, row in rows]

    def __iter__(self) -> Iterator[Attempt]:
        return iter(self._found if self._retry_of else ())

    @property
    def uids(self) -> set[str]:
        """Their uids."""
        found = {attempt.place.uid for attempt in self}
        return found | {self._retry_of} if self._retry_of else found
