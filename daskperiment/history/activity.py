"""Activity: which batches and trials of an experiment run now, where, and how far they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from daskperiment.backends.base import Backend
from daskperiment.history import paths
from daskperiment.history.crashes import CRASH, presumed
from daskperiment.history.liveness import Liveness
from daskperiment.history.shape import problem
from daskperiment.history.summaries import Summaries, Summary, stamp
from daskperiment.history.usage import Call, series_of
from daskperiment.records import TrialState
from daskperiment.spark import Spark
from daskperiment.typing import JSON, Document

_LOOK_BACK = 200
"""Trials among which crashed ones are looked for, from the newest on."""
_RUNNING = {"state": TrialState.RUNNING.value}
_COUNTS = ("total", "done", "failed", "skipped", "running")


@dataclass
class Use:
    """What one process of a running trial uses.

    Attributes
    ----------
    host, pid : str, int
        The process.
    seconds : float
        When it was last sampled, since the trial began.
    values : dict
        What it used then, by name: see :attr:`daskperiment.Trial.usage`.
    sparks : dict of str to Spark
        How that went.
    calls : list of (str, int)
        Step calls of the trial that ran in it then and have not ended since.
    """

    host: str
    pid: int
    seconds: float = 0.0
    values: dict[str, int | float] = field(default_factory=dict)
    sparks: dict[str, Spark] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)


class Running(NamedTuple):
    """A trial that runs.

    Parameters
    ----------
    number, row : int, dict
        The trial.
    metrics : dict of str to Summary
        Its metrics up to now.
    usage : list of Use
        What its processes use; empty in its first seconds.
    """

    number: int
    row: Document
    metrics: dict[str, Summary]
    usage: list[Use]

    @property
    def calls(self) -> list[Call]:
        """The step calls that run, as far as is known."""
        return list(dict.fromkeys(call for use in self.usage for call in use.calls))


class Batch(NamedTuple):
    """A batch that runs, or whose process is gone.

    Parameters
    ----------
    uid : str
        Its identity.
    document : dict
        What is kept of it; its ``state`` is CRASHED where its process is gone.
    """

    uid: str
    document: Document

    @property
    def left(self) -> int:
        """How many of its trials have not begun."""
        total, *others = (self.document[name] for name in _COUNTS)
        return int(max(0, total - sum(others)))

    def seconds_left(self, now: float) -> float | None:
        """How long it takes yet, if it goes on as until now; None before a trial has ended."""
        ended = self.document["done"] + self.document["failed"]
        if not ended or self.document["state"] != TrialState.RUNNING:
            return None
        taken = max(0.0, now - self.document["started"])
        return float(taken / ended * (self.left + self.document["running"]))


class Activity(NamedTuple):
    """What an experiment does now.

    Parameters
    ----------
    batches : list of Batch
        Those that run, the newest last, and the newest one whose process is gone.
    running : list of Running
        Trials that run, the newest last.
    more : int
        How many older ones run besides.
    crashed : list of (int, dict)
        Trials that crashed since the oldest of what runs has begun; where nothing runs, since
        the last one that completed.
    """

    batches: list[Batch]
    running: list[Running]
    more: int
    crashed: list[tuple[int, Document]]


class Activities:
    """Activity of one experiment; a second look reads only what is new.

    Not safe to use from several threads at a time.

    Parameters
    ----------
    backend : Backend
        Where it is; nothing is written to it but what is seen of heartbeats, if that is allowed.
    name : str
        Id of the experiment.
    sparks : bool
        Whether it is wanted how the use of each process went, which takes some time where many
        trials have run for long.
    """

    def __init__(self, backend: Backend, name: str, sparks: bool = True) -> None:
        self._backend = backend
        self._name = name
        self._sparks = sparks
        self._summaries = Summaries(backend, name)
        self._gauges: dict[str, _Gauge] = {}
        self._liveness = Liveness(backend)

    def look(self, most: int | None = None) -> Activity:
        """What runs now.

        Parameters
        ----------
        most : int, optional
            How many running trials are wanted, the newest; all unless given.
        """
        batches = self._batches()
        rows = self._running()
        begun = [batch.document["started"] for batch in batches if _runs(batch.document)]
        begun += [row["started"] for _, row in rows]
        crashed = self._crashed(min(begun, default=None))
        shown = rows if most is None else rows[:most]
        uids = {row["uid"] for _, row in shown}
        self._gauges = {uid: gauge for uid, gauge in self._gauges.items() if uid in uids}
        running = [self._looked(number, row) for number, row in reversed(shown)]
        return Activity(batches, running, len(rows) - len(shown), crashed)

    def _batches(self) -> list[Batch]:
        found = self._backend.find(paths.batches(self._name), _RUNNING)
        batches = [Batch(str(uid), row) for uid, row in found if _is_batch(row)]
        batches.sort(key=lambda batch: batch.document["started"])
        is_gone = self._liveness.is_gone
        alive = [batch for batch in batches if not is_gone(batch.document["owner"])]
        gone = [batch for batch in batches if batch not in alive][-1:]
        return [
            Batch(uid, {**row, "state": CRASH["state"], "running": 0}) for uid, row in gone
        ] + alive

    def _running(self) -> list[tuple[int, Document]]:
        """Rows of the trials that run, the newest first."""
        owners = sum(1 for _ in self._backend.find(paths.running(self._name), fields=[]))
        if not owners:
            return []
        rows = self._rows(_RUNNING, limit=owners)
        return [(number, row) for number, row in rows if _runs(row)]

    def _crashed(self, since: float | None) -> list[tuple[int, Document]]:
        found: list[tuple[int, Document]] = []
        for number, row in self._rows(None, limit=_LOOK_BACK):
            if since is None and row["state"] == TrialState.COMPLETE:
                break
            if row["state"] == TrialState.CRASHED and (since is None or row["started"] >= since):
                found.append((number, row))
        return found[::-1]

    def _rows(self, where: Mapping[str, Any] | None, limit: int) -> Iterator[tuple[int, Document]]:
        """Rows from the newest on; those that cannot be read, or were removed, are left out."""
        found = self._backend.find(paths.trials(self._name), where, order_by="-key", limit=limit)
        for number, row in found:
            if (self._backend.owned or _is_row(number, row)) and not row.get("removed"):
                yield int(number), presumed(row, self._liveness.is_gone)

    def _looked(self, number: int, row: Document) -> Running:
        uid = row["uid"]
        gauge = self._gauges.setdefault(uid, _Gauge(self._sparks))
        gauge.follow(
            self._backend.read(paths.usage(self._name, uid), gauge.read),
            self._backend.read(paths.steps(self._name, uid), gauge.steps),
        )
        return Running(number, row, self._summaries.summary(uid, stamp(row)), gauge.uses())


def _runs(document: Document) -> bool:
    return bool(document["state"] == TrialState.RUNNING)


class _Gauge:
    """What is used by a trial, as far as it was read."""

    def __init__(self, sparks: bool) -> None:
        self._sparks = sparks
        self.read = 0
        self.steps = 0
        self._uses: dict[tuple[str, int], Use] = {}
        self._ended: set[tuple[Any, Any]] = set()

    def follow(self, usage: list[JSON], steps: list[JSON]) -> None:
        """Add entries of both logs that came since."""
        self.read += len(usage)
        self.steps += len(steps)
        for place, series in series_of(usage).items():
            use = self._uses.setdefault(place, Use(*place))
            use.seconds, use.calls = series.seconds[-1] if series.seconds else 0.0, series.calls
            for name, column in series.columns.items() if self._sparks else ():
                use.sparks.setdefault(name, Spark()).extend(
                    math.nan if value is None else value for value in column
                )
            use.values = {
                name: column[-1]
                for name, column in series.columns.items()
                if column and column[-1] is not None
            }
        for entry in steps:
            if isinstance(entry, dict) and isinstance(entry.get("step"), str):
                self._ended.add((entry["step"], entry.get("call")))

    def uses(self) -> list[Use]:
        for use in self._uses.values():
            use.calls = [call for call in use.calls if call not in self._ended]
        return list(self._uses.values())


# Others may write to a shared store.


def _is_row(number: object, row: Document) -> bool:
    return problem(number, row) is None and ("collected" in row or _is_owner(row["owner"]))


def _is_batch(document: Document) -> bool:
    counts = [document.get("pruned", 0), *map(document.get, _COUNTS)]
    if any(type(count) is not int for count in counts):
        return False
    return _is_number(document.get("started")) and _is_owner(document.get("owner"))


def _is_owner(owner: Any) -> bool:
    return (
        isinstance(owner, dict)
        and isinstance(owner.get("host"), str)
        and type(owner.get("pid")) is int
        and 0 <= owner["pid"] < 2**31
        and "boot_id" in owner
        and _is_number(owner.get("started"))
        and (owner.get("since_boot") is None or _is_number(owner["since_boot"]))
    )


def _is_number(value: object) -> bool:
    return type(value) in (int, float)
