"""Pruning: whether a running trial is worth going on with, asked of the pruner of its search."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from daskperiment.backends.base import Backend
from daskperiment.errors import BackendError
from daskperiment.fingerprint.values import try_digest
from daskperiment.history.reports import PLACE, SEARCH, Reported, Reports, Series, joined
from daskperiment.history.spooling import HURRY, SpoolingBackend, is_away
from daskperiment.history.trials import Trials
from daskperiment.search.pruners import Other, Pruner, check_direction, check_pruner, pruner_of
from daskperiment.secrets import scrub
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.execution.context import TrialContext
    from daskperiment.history.ranking import Direction

logger = logging.getLogger(__name__)
T = TypeVar("T")
At: TypeAlias = tuple[str, int, int]
"""A report: the step and the call that has made it, and which one of that call it is, from 1."""

PRUNER = "pruner"
"""Field of a row with the pruner of the trial, the direction, and perhaps BEFORE."""
BEFORE = "before"
"""Only trials of places before this one are compared with, and trials are known by their places."""
PRUNED_AT = "pruned_at"
"""Field of a row with the report after which the trial was told that it should end."""
_AGAIN = 10.0
"""Seconds after which a store is asked again that could not be asked."""


def about_search(search: str, pruner: Pruner | None, direction: Direction) -> Document:
    """What the row of each trial of a search says of it.

    Parameters
    ----------
    search : str
        Tells its trials from those of others.
    pruner : Pruner, optional
        Who ends them early.
    direction : {"minimize", "maximize"}
        Which reports are good.

    Raises
    ------
    PrunerError
        There is no such direction.

    Examples
    --------
    >>> from daskperiment.search.pruners import Threshold
    >>> about_search("0f", Threshold(upper=3), "minimize")["pruner"]
    {'name': 'Threshold', 'lower': None, 'upper': 3, 'direction': 'minimize'}
    """
    told: Document = {SEARCH: search}
    if pruner is not None:
        told[PRUNER] = {**pruner.document(), "direction": check_direction(direction)}
    return told


def about_batch(plan: str, code: str, pruner: Pruner | None, direction: Direction) -> Document:
    """What the row of each trial of a batch says of its pruner: nothing, where it has none.

    Batches of the same ``plan``, ``code`` and pruner are one search: shards, and what is resumed.

    Raises
    ------
    PrunerError
        It is no pruner, or there is no such direction.
    """
    check_direction(direction)
    if pruner is None:
        return {}
    same = [plan, code, check_pruner(pruner).document(), direction]
    return about_search(str(try_digest(same)[0]), pruner, direction)


class Pruning(Protocol):
    """Who is told the reports of a trial, and says whether it should end."""

    def report(self, epoch: int, value: int | float) -> None:
        """Take in a report."""

    def should_prune(self, at: At) -> bool:
        """Whether the trial should end at a report, the latest one; never raises an error."""


def pruning_of(trial: TrialContext) -> Pruning | None:
    """Who decides on a trial, by its row; None where nobody does."""
    row = trial.ticket.row
    try:
        if PRUNED_AT in row:
            return _Again(*row[PRUNED_AT])
        if row.get(PRUNER) is not None:
            return _Asking(trial, row[PRUNER], row.get(SEARCH, trial.uid))
    except (LookupError, TypeError, ValueError) as error:  # written by a later version
        logger.warning("Trial %s is not pruned: %s", trial.number, scrub(str(error)))
    return None


class _Again:
    """The answers that a trial had got which is run again."""

    def __init__(self, step: str, call: int, count: int) -> None:
        self._call, self._count = (step, call), count

    def report(self, epoch: int, value: int | float) -> None:
        pass

    def should_prune(self, at: At) -> bool:
        return at[:2] == self._call and at[2] >= self._count


class _Asking:
    """A pruner that is asked, with what the store knows of other trials."""

    def __init__(self, trial: TrialContext, document: Mapping[str, Any], search: str) -> None:
        self._trial = trial
        self._pruner = pruner_of(document)
        self._direction: Direction = document.get("direction", "minimize")
        self._search = search
        self._before = _place(document.get(BEFORE))
        self._name = trial.uid if self._before is None else str(trial.ticket.row[PLACE])
        self._settled: Sequence[Reported] | None = None
        self._lock = threading.RLock()
        self._own: dict[int, float] = {}
        self._elsewhere = Series(trial.backend, trial.name, trial.uid)
        self._earlier: dict[int, float] | None = None
        self._last: int | None = None
        self._asked: int | None = None
        self._since: int | None = None
        self._looked = False
        self._ends = False
        self._warned = False
        self._not_before = 0.0

    def report(self, epoch: int, value: int | float) -> None:
        with self._lock:
            self._own[epoch] = value
            self._last, self._since = epoch, self._asked

    def should_prune(self, at: At) -> bool:
        with self._lock:
            if not self._ends and self._last is not None:
                try:
                    self._ends = self._ask(self._last)
                except Exception as error:  # whatever others have written to a store
                    self._trouble(error)
                self._asked = self._last
                if self._ends:
                    self._trial.note({PRUNED_AT: list(at)})
            return self._ends

    def _trouble(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            number, reason = self._trial.number, scrub(f"{type(error).__name__}: {error}")
            logger.warning("It is not known whether trial %s should end: %s", number, reason)

    def _ask(self, epoch: int) -> bool:
        own = self._own
        if self._trial.shared:  # another process may have run a step of it
            own = {**self._read(self._elsewhere.read, self._elsewhere.reports), **own}
        if self._earlier is None:
            self._earlier = self._read(self._of_attempts_before, None)
        first, since = min(own), self._since
        if self._earlier:  # it may have gone on from a checkpoint
            own = joined(self._earlier, own)
        if since is None:  # for what an attempt before has reported that one was asked
            since = max((each for each in own if each < first), default=min(0, first) - 1)
        return self._pruner.prunes(
            epoch, self._own[epoch], own, self._others(), direction=self._direction,
            trial=self._name, since=since,
        )  # fmt: skip

    def _of_attempts_before(self) -> dict[int, float]:
        trial, found = self._trial, None
        attempts = Trials(trial.backend, trial.name).attempts(trial.ticket.row.get("retry_of"))
        for _, row in reversed(list(attempts)):
            found = Series(trial.backend, trial.name, row["uid"], before=found)
        return {} if found is None else found.read()

    def _others(self) -> Iterator[Other]:
        """The other trials of the search; a pruner that does not look at them costs nothing."""
        found = self._so_far() if self._before is None else self._those_before(self._before)
        yield from (Other(*each) for each in found)

    def _so_far(self) -> Iterable[Reported]:
        trial = self._trial
        if self._pruner.running:
            trial.flush()  # others are to see what this one is compared by
        now, self._looked = not self._looked, True
        return self._read(lambda: self._reports().others(trial.uid, now), ())

    def _those_before(self, place: int) -> Iterable[Reported]:
        if self._settled is None:  # they have all ended, and are asked for once
            self._settled = self._read(lambda: self._reports().before(place), None)
        return self._settled or ()

    def _reports(self) -> Reports:
        trial = self._trial
        return _of_search(
            trial.backend, trial.name, self._search, self._pruner.running, os.getpid()
        )

    def _read(self, ask: Callable[[], T], otherwise: T) -> T:
        """What the store says, or something else where it cannot be asked now."""
        backend = self._trial.backend
        if is_away(backend) or time.monotonic() < self._not_before:
            return otherwise
        hurried = backend.inner.hurried(HURRY) if isinstance(backend, SpoolingBackend) else None
        try:
            with hurried or nullcontext():
                return ask()
        except BackendError as error:
            logger.debug("Trial %s goes on: %s", self._trial.number, scrub(str(error)))
            self._not_before = time.monotonic() + _AGAIN
            return otherwise


def _place(given: object) -> int | None:
    if given is None or (isinstance(given, int) and not isinstance(given, bool)):
        return given
    raise ValueError(f"{BEFORE} is a place, not {given!r}")


@functools.lru_cache(maxsize=8)
def _of_search(backend: Backend, name: str, search: str, running: bool, pid: int) -> Reports:
    """Of each search one in a process, so that its trials read nothing twice."""
    return Reports(Trials(backend, name), search, running)
