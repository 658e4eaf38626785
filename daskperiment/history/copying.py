"""Copying: trials with all that is kept of them, from one backend to another.

A trial is known by its uid, so that a copy that is repeated, also one that was killed, adds
only what is not there yet.  Payloads go first; then the row, the records, what they refer to
and what purity learns from them are one group of writes: a trial is there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from daskperiment.backends import open_backend
from daskperiment.backends.base import Append, Backend, Clear, Insert, Remove, Write
from daskperiment.errors import ConflictError, ExperimentNotFoundError
from daskperiment.history import checkpoints, paths
from daskperiment.history.experiments import experiments
from daskperiment.history.holders import (
    contents,
    log_parts,
    mentioned,
    of_one_row,
    parts,
    readable_rows,
    row_parts,
)
from daskperiment.history.mirror import changed
from daskperiment.history.observations import Observations, observe
from daskperiment.history.places import Place
from daskperiment.history.reports import SEARCH
from daskperiment.history.resigning import Resigning
from daskperiment.history.searches import Searches
from daskperiment.history.transfer import Transfer
from daskperiment.history.trials import Trials
from daskperiment.records import StepRecord, TrialState
from daskperiment.typing import JSON, Document

_ATTEMPTS = 100
"""How often to try a group again that others, who record in the target, have made wrong."""
_LOGS = (paths.steps, paths.metrics, paths.artifacts, paths.output, paths.usage)
_DROPPED = {"parameters", "code", "environment"}
"""Parts without which purity learns nothing, as :mod:`daskperiment.history.forgetting` has it."""


class Moved(NamedTuple):
    """A trial that was copied: its experiment, and its numbers in the source and the target."""

    experiment: str
    source: int
    target: int


class LeftOut(NamedTuple):
    """What was not copied.

    Parameters
    ----------
    experiment, trial : str, int
        The trial, by its number in the source.
    field : str
        The part; empty for the whole trial.
    reason : str
        Why, and what to do about it.
    """

    experiment: str
    trial: int
    field: str
    reason: str

    def __str__(self) -> str:
        what = f"{self.field} of trial" if self.field else "trial"
        return f"{what} {self.trial} of {self.experiment!r}: {self.reason}"


@dataclass
class Copied:
    """What a copy has done.

    Attributes
    ----------
    copied : list of Moved
        The trials that the target did not have, removed ones too.
    present : int
        How many it had already; they were not changed.
    left_out : list of LeftOut
        Trials that have not ended, and what cannot be read.
    """

    copied: list[Moved] = field(default_factory=list)
    present: int = 0
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def renumbered(self) -> list[Moved]:
        """The copied trials that have another number in the target."""
        return [moved for moved in self.copied if moved.source != moved.target]


def copy_trials(
    source: str | Path | Backend,
    target: str | Path | Backend,
    experiment: str | None = None,
    trials: Collection[int] | None = None,
) -> Copied:
    """Copy trials from one backend to another, with all that is kept of them.

    A trial that the target has already, by its uid, stays there as it is.  The others get the
    next numbers of the experiment in the target, in their order: the same numbers as in the
    source where all trials go to where there are none.  Their searches come along, as ``name-2``
    and so on where the target has another one of the name.  It may be killed and repeated at any
    time, and others may record in both backends meanwhile.

    Parameters
    ----------
    source, target : str, path or Backend
        As for :class:`daskperiment.Experiment`.
    experiment : str, optional
        Only this one; all of the source unless told.
    trials : collection of int, optional
        Only these of the experiment.  Unless told, removed trials are copied, too, as removed.

    Returns
    -------
    Copied
        What was copied, what was there, and what was left out.

    Raises
    ------
    ExperimentNotFoundError
        The source has no such experiment, or ``trials`` were given without one.

    Examples
    --------
    >>> import daskperiment
    >>> ex = daskperiment.Experiment("doc_copying", backend="memory://")
    >>> @ex.result
    ... def score(a):
    ...     return 10 / a
    >>> for a in (2, 4, 5):
    ...     _ = score(ex.parameter("a")).compute(parameters={"a": a})
    >>> other = open_backend("memory://")
    >>> copy_trials(ex.backend, other, "doc_copying", trials=[2, 3]).copied
    [Moved(experiment='doc_copying', source=2, target=1),
     Moved(experiment='doc_copying', source=3, target=2)]
    >>> done = copy_trials(ex.backend, other)
    >>> done.renumbered, done.present
    ([Moved(experiment='doc_copying', source=1, target=3)], 2)
    """
    here, there = open_backend(source), open_backend(target)
    known = experiments(here)
    if trials is not None and experiment is None:
        raise ExperimentNotFoundError("Choose the experiment whose trials are to be copied")
    if experiment is not None and experiment not in known:
        raise ExperimentNotFoundError(
            f"There is no experiment {experiment!r}; there are: {', '.join(known) or 'none'}"
        )
    done, transfer = Copied(), Transfer(here, there)
    for name in known if experiment is None else [experiment]:
        _Copy(transfer, name, done).run(trials)
    return done


class _Copy:
    """One experiment on its way."""

    def __init__(self, transfer: Transfer, name: str, done: Copied) -> None:
        self.transfer = transfer
        self.source, self.target = transfer.source, transfer.target
        self.name = name
        self.done = done
        self._path = paths.trials(name)
        self._searched: set[str] = set()
        self._there: dict[str, int] = {}
        self._last = 0
        self._look_again()
        self._wanted = transfer.missing
        self._inside = contents(self.target, self._wanted) if self._wanted else {}
        self._names = self._wanted | self._inside.keys()

    def run(self, numbers: Collection[int] | None) -> None:
        Trials(self.source, self.name).bury()
        chosen = None if numbers is None else set(numbers)
        for number, row in readable_rows(self.source, self.name):
            if chosen is None or number in chosen:
                try:
                    self._trial(number, row)
                except Exception as error:  # whatever reading a damaged record raises
                    if not of_one_row(error):
                        raise
                    self._leave_out(number, "", f"it cannot be read: {error!r}")

    def _leave_out(self, number: int, part: str, reason: str) -> None:
        self.done.left_out.append(LeftOut(self.name, number, part, reason))

    def _look_again(self) -> None:
        """Look for what others have recorded in the target since the last look."""
        for number, row in self.target.find(self._path, fields=["uid"], after=self._last or None):
            self._last = int(number)
            if isinstance(row.get("uid"), str):  # it may have been spoilt by others
                self._there[row["uid"]] = self._last
        self._observations = Observations(self.target, self.name)

    def _trial(self, number: int, row: Document) -> None:
        if not row:
            self._leave_out(number, "", "its row is damaged; `daskperiment doctor` tells more")
        elif row["uid"] in self._there:
            self.done.present += 1
            self._mend(number, self._there[row["uid"]])
            self._search(row)
        elif self._goes_on(row):
            self._leave_out(number, "", "it has not ended; copy again when it has")
        else:
            self._insert(number)

    def _search(self, row: Document) -> None:
        """Bring the search that a trial is of; a batch with a pruner has none."""
        uid = row.get(SEARCH)
        if isinstance(uid, str) and uid not in self._searched:
            self._searched.add(uid)
            Searches(self.target, self.name).take_in(uid, Searches(self.source, self.name))

    def _goes_on(self, row: Document) -> bool:
        if row.get("collected"):
            return False
        waits = row.get("ended_by") == "step"  # then a scheduler may still run it again
        begun = waits and self.source.get(paths.running(self.name), row["uid"]) is not None
        return begun or not TrialState(row["state"]).ended

    def _insert(self, number: int) -> None:
        found, read = self._read(number)
        left = checkpoints.documents(self.source, self.name, found["uid"])
        self._enlist()  # only then is it known who may write to a new folder
        self._search(found)
        row, logs, left, untrusted = self._signed_anew(found, read, left)
        for _ in range(_ATTEMPTS):
            kept, lost = self.transfer.writes([*_parts(row, logs), *_left(left)])
            target = self._last + 1
            try:
                self.target.apply(*kept, *self._left(left), *self._group(row, logs, target))
            except ConflictError as error:
                refused = error
                if self._was_there(row["uid"], target):
                    self.done.present += 1
                    return
                continue
            self._there[row["uid"]] = self._last = target
            self.done.copied.append(Moved(self.name, number, target))
            for part, reason in {**lost, **untrusted}.items():
                self._leave_out(number, part, reason)
            return
        raise refused

    def _left(self, documents: Mapping[str, Document]) -> Iterator[Write]:
        path = paths.checkpoints(self.name)
        for key, document in documents.items():
            yield from (Remove(path, key), Insert(path, document, key))

    def _signed_anew(
        self, row: Document, logs: dict[str, list[JSON]], left: dict[str, Document]
    ) -> tuple[Document, dict[str, list[JSON]], dict[str, Document], dict[str, str]]:
        """What the target keeps of pickles, and why some are not trusted."""
        uid = row["uid"]
        steps, artifacts = paths.steps(self.name, uid), paths.artifacts(self.name, uid)
        places = (Place(backend, self.name, uid) for backend in (self.source, self.target))
        anew = Resigning(*places)
        signed = {steps: anew.steps(logs[steps]), artifacts: anew.artifacts(logs[artifacts])}
        return anew.row(row), {**logs, **signed}, anew.checkpoints(left), anew.refused

    def _was_there(self, uid: str, number: int) -> bool:
        """Look why a group was refused: whether another copy was faster."""
        self._look_again()
        if self._last < number:  # nobody has taken the number: something was collected
            self.transfer.look_again()
        return uid in self._there

    def _read(self, number: int) -> tuple[Document, dict[str, list[JSON]]]:
        """A row with its logs, as they are at one time: somebody may forget a part just now."""
        row = self.source.get(self._path, number)
        while row is not None:
            names = [log(self.name, row["uid"]) for log in _LOGS]
            logs = {path: self.source.read(path) for path in names}
            before, row = row, self.source.get(self._path, number)
            if row == before:
                return row, logs
        raise ConflictError(f"the experiment {self.name!r} was removed meanwhile")

    def _enlist(self) -> None:
        if self.target.get(paths.EXPERIMENTS, self.name) is None:
            document = self.source.get(paths.EXPERIMENTS, self.name) or {}
            with suppress(ConflictError):  # another process was faster
                self.target.insert(paths.EXPERIMENTS, document, self.name)

    def _group(self, row: Document, logs: dict[str, list[JSON]], number: int) -> Iterator[Write]:
        """The writes of a trial, the row behind all but the mark that there is only one."""
        for path, entries in logs.items():
            if entries:
                yield from (Clear(path), Append(path, entries))
        yield from self._learned(row, logs[paths.steps(self.name, row["uid"])], number)
        yield Insert(self._path, row, number)
        if row.get("removed"):
            yield changed(self.name, number)
        yield Insert(paths.begun(self.name), {}, row["uid"])

    def _learned(self, row: Document, entries: list[Any], number: int) -> list[Write]:
        """What purity learns from the trial; its index names trials by their numbers."""
        if any(part.partition(".")[0] in _DROPPED for part in row.get("forgotten", {})):
            return []
        records = [StepRecord.from_document(row["uid"], entry) for entry in entries]
        found = ((record, observe(number, row.get("code"), record)) for record in records)
        return self._observations.indexing([(r, seen) for r, seen in found if seen is not None])

    def _mend(self, number: int, there: int) -> None:
        """Put bytes that the source has, and a trial of the target lacks."""
        row = self.target.get(self._path, there) if self._wanted else None
        if row is None or row.get("collected"):
            return
        left = checkpoints.documents(self.target, self.name, row["uid"])
        for part, value in (*parts(self.target, self.name, row), *_left(left)):
            lacking = {
                each
                for digest in mentioned(value, self._names)
                for each in {digest, *self._inside.get(digest, ())} & self._wanted
            }
            writes, lost = self.transfer.writes([(part, sorted(lacking))])
            if writes:
                self.target.apply(*writes)
            for field_, reason in lost.items():
                self._leave_out(number, field_, reason)


def _left(documents: Mapping[str, Document]) -> Iterator[tuple[str, JSON]]:
    yield from (("checkpoints", document) for document in documents.values())


def _parts(row: Document, logs: dict[str, list[JSON]]) -> Iterator[tuple[str, JSON]]:
    steps, _, artifacts, output, _ = logs.values()
    yield from row_parts(row)
    yield from log_parts(steps, artifacts, output)
