"""Changes: say what differs from the latest trial, by whatever process it was run."""

from __future__ import annotations

import functools
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from daskperiment.backends.base import Backend
from daskperiment.errors import (
    CodeChangedWarning,
    DaskperimentError,
    DaskperimentWarning,
    EnvironmentChangedWarning,
)
from daskperiment.fingerprint.definitions import equal_code
from daskperiment.fingerprint.source import source
from daskperiment.history.comparison import (
    Code,
    CodeChange,
    code_changes,
    diff,
    environment_changes,
)
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.trials import Trials
from daskperiment.records import Number, Provisional
from daskperiment.secrets import scrub
from daskperiment.tracebacks import users_frame
from daskperiment.typing import Document

logger = logging.getLogger(__name__)

_MOST_LINES = 30
_MOST_KNOWN = 10_000


class Told:
    """What was told in this process; nothing is told twice.  Safe to use from threads."""

    def __init__(self) -> None:
        self._known: set[Any] = set()
        self._lock = threading.Lock()

    def first(self, fact: Any) -> bool:
        """Whether a fact is new; from now on it is not."""
        with self._lock:
            if fact in self._known:
                return False
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known.add(fact)
            return True

    def __contains__(self, fact: Any) -> bool:
        return fact in self._known


@functools.lru_cache(maxsize=64)
def told(backend: Backend, name: str) -> Told:
    """What was told of an experiment in this process."""
    return Told()


class Changes:
    """Compares each trial of an experiment with the one before it, and tells what changed.

    A trial that follows one of the same handle with equal code and environment costs no
    read, any other one read by key; what a pair of trials shows is told once per process.
    Safe to use from several threads and processes.

    Parameters
    ----------
    backend : Backend
        Where the trials are.
    name : str
        Id of the experiment.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self.name = name
        self._trials = Trials(backend, name)
        self._snapshots = Snapshots(backend)
        self._last = 0, "", ""

    def __reduce__(self) -> tuple[Any, ...]:
        return Changes, (self.backend, self.name)

    def tell(self, number: Number, row: Document) -> None:
        """Compare a trial that has just begun with the one before it.

        Raises
        ------
        CodeChangedWarning, EnvironmentChangedWarning
            Only where warnings are made errors.  Trouble of the backend goes to the log.
        """
        if isinstance(number, Provisional):
            return  # who could tell which was before is away
        last, self._last = self._last, (number, row["code"], row["environment"])
        if number > 1 and last != (number - 1, row["code"], row["environment"]):
            self._compare(number, last if last[0] == number - 1 else None, row)

    def tell_ahead(self, row: Document) -> None:
        """Compare a trial that will begin in another process with the latest one.

        Errors as for :meth:`tell`.
        """
        self._compare(None, None, row)

    def _compare(
        self, number: int | None, known: tuple[int, str, str] | None, row: Document
    ) -> None:
        messages: list[DaskperimentWarning] = []
        try:
            if (before := known or self._trials.before(number)) is not None:
                messages += self._code(*before[:2], row["code"])
                messages += self._environment(before[0], before[2], row["environment"])
        except DaskperimentError as error:
            logger.error("Unable to compare with the trial before: %s", error)
        for message in messages:
            warnings.warn(message, stacklevel=users_frame())

    @property
    def _told(self) -> Told:
        return told(self.backend, self.name)

    def _code(self, number: int, before: str, now: str) -> Iterator[CodeChangedWarning]:
        if before == now or not self._told.first((before, now)):
            return
        old, new = Code.kept(self._snapshots, before), Code.kept(self._snapshots, now)
        helpers: dict[Any, CodeChange] = {}
        both = [step for step in new.steps if step in old.steps]
        changes = {step: list(self._untold(old, new, step, helpers)) for step in both}
        shown: set[str] = set()
        lines: list[str] = []
        for step, found in changes.items():
            if found:
                text = "".join(f"\n{part}" for part in _parts(found, shown))
                logger.warning("Code context has been changed: %s%s", step, text)
                lines.append(f"step {step!r}" + text.replace("\n", "\n  "))
        if lines:
            yield CodeChangedWarning(_titled(f"Code has changed since trial {number}", lines))

    def _untold(
        self, old: Code, new: Code, step: str, helpers: dict[Any, CodeChange]
    ) -> Iterator[CodeChange]:
        for change in code_changes(old, new, step, helpers):
            edited = change.own and not change.value
            if edited and (step, new.source(step)) in self._told:
                continue
            # A value that changes with every trial of a loop is told once.
            fact = change.diff() or change.value or change.digests
            if self._told.first((step, change.function, fact)):
                yield change

    def tell_redefined(self, step: str, old: Any, new: Any) -> None:
        """Tell that a step got another function, if its text differs, decorators included.

        Raises
        ------
        CodeChangedWarning
            Only where warnings are made errors.
        """
        before, now = source(old), source(new)
        if not before or not now or equal_code(before, now):
            return
        self._told.first((step, now))
        text = scrub(diff(before, now))
        logger.warning("Code context has been changed: %s\n%s", step, text)
        message = CodeChangedWarning(_titled(f"Step {step!r} has been redefined", [text]))
        warnings.warn(message, stacklevel=users_frame())

    def _environment(
        self, number: int, before: str, now: str
    ) -> Iterator[EnvironmentChangedWarning]:
        if before == now or not self._told.first((before, now)):
            return
        old, new = self._snapshots.get(before), self._snapshots.get(now)
        lines: list[str] = []
        for category, changes in environment_changes(old, new).items():
            told = _cut([scrub(str(change)) for change in changes])
            text = "\n".join(told)
            logger.warning("Environment information has been changed: %s\n%s", category, text)
            lines += [f"{category}: {line}" for line in told]
        if lines:
            title = f"Environment has changed since trial {number}"
            yield EnvironmentChangedWarning(_titled(title, lines))


def _titled(title: str, lines: list[str]) -> str:
    return "\n".join([f"{title}:", *lines])


def _parts(changes: list[CodeChange], shown: set[str]) -> Iterator[str]:
    """What each change of a step is, and its diff where no other step has shown it."""
    for change in changes:
        text = scrub(change.diff())
        yield from filter(None, (change.what, "" if text in shown else text))
        shown.add(text)


def _cut(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], f"... {more} more"] if more > 0 else lines
