"""Pruning: what is kept so that other trials can take it, how large it is, and less of it.

Only what nothing else needs is deleted: results, persisted outputs and artifacts stay with their
trials, and bytes that are the same stay for whoever else refers to them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import NamedTuple

from daskperiment.history.collection import collect
from daskperiment.history.forgetting import forget_spare
from daskperiment.history.holders import holders
from daskperiment.history.reusable import Entry, Reusable
from daskperiment.history.steps import Steps
from daskperiment.history.trials import Trials
from daskperiment.records import StepRecord, TrialState
from daskperiment.typing import Document


class Offered(NamedTuple):
    """A call that other trials may take.

    Parameters
    ----------
    key : str
        What the call is.
    step, call, trial : str, int, int
        Where it was computed.
    started : float
        Unix time of that.
    seconds : float
        How long it took.
    bytes : int or None
        Size of its output.
    kept : str
        ``result``, ``persist``, or ``reuse`` where it is kept for nothing else; ``gone`` where it
        is kept no more.
    """

    key: str
    step: str
    call: int
    trial: int
    started: float
    seconds: float
    bytes: int | None
    kept: str


class Pruned(NamedTuple):
    """What pruning has deleted, or would delete.

    Parameters
    ----------
    calls : int
        Calls that other trials can take no more.
    payloads, bytes : int
        Contents, and their size.
    """

    calls: int
    payloads: int
    bytes: int


class Size(NamedTuple):
    """How much is kept for other trials.

    Parameters
    ----------
    calls : int
        Calls that they may take.
    bytes : int
        Size of their outputs.
    free : int
        How much of that is kept for nothing else, so that pruning can free it.
    """

    calls: int
    bytes: int
    free: int


def offered(trials: Trials) -> Iterator[Offered]:
    """The calls that other trials may take, the latest trial first."""
    by_trial: dict[int, list[tuple[str, Entry]]] = {}
    for key, entry in Reusable(trials).entries():
        by_trial.setdefault(entry.number, []).append((key, entry))
    numbers = sorted(by_trial, reverse=True)
    for number, row in zip(numbers, trials.rows(numbers), strict=True):
        uid = None if row is None else row["uid"]
        read = {} if uid is None else _records(trials, uid)
        for key, entry in sorted(by_trial[number], key=lambda each: each[1][2:4]):
            record = read.get((entry.step, entry.call)) if entry.trial == uid else None
            yield _offered(key, entry, row or {}, record)


def _records(trials: Trials, uid: str) -> dict[tuple[str, int], StepRecord]:
    return {record.place: record for record in Steps(trials.backend, trials.name).read(uid)}


def _offered(key: str, entry: Entry, row: Document, record: StepRecord | None) -> Offered:
    if record is None:
        return Offered(key, entry.step, entry.call, entry.number, 0.0, 0.0, None, "gone")
    kept, why = record.kept, "reuse" if record.spare else "persist"
    if kept is None:
        kept, why = row.get("result"), "result"
    if kept is None or "reason" in kept:
        kept, why = {}, "gone"
    size = kept.get("size", len(kept["json"]) if "json" in kept else None)
    place = entry.step, entry.call, entry.number
    return Offered(key, *place, record.started, record.seconds, size, why)


def size(trials: Trials) -> Size:
    """How much is kept for other trials."""
    found = list(offered(trials))
    numbers = {number for number, _ in trials.find(fields=[])}
    _, freed = _spare(trials, numbers)
    return Size(len(found), sum(each.bytes or 0 for each in found), freed)


def prune(
    trials: Trials, older: float | None = None, newest: int | None = None, *, dry_run: bool = False
) -> Pruned:
    """Delete what is kept only for other trials.

    Parameters
    ----------
    trials : Trials
        The trials of an experiment.
    older : float, optional
        Only of trials that have begun so many seconds ago.
    newest : int, optional
        Not of the last so many trials.
    dry_run : bool
        Only count.
    """
    chosen = _chosen(trials, older, newest)
    there = {number for number, _ in trials.find(fields=[])}
    reusable = Reusable(trials)
    keys = [
        key
        for key, entry in reusable.entries()
        if entry.number in chosen or entry.number not in there
    ]
    if dry_run:
        return Pruned(len(keys), *_spare(trials, chosen))
    reusable.drop(keys)
    freed = collect(trials.backend, forget_spare(trials.backend, trials.name, sorted(chosen)))
    trials.backend.compact()
    return Pruned(len(keys), *freed)


def _chosen(trials: Trials, older: float | None, newest: int | None) -> set[int]:
    begun = trials.find(fields=["started", "state"], newest=True)
    latest = None if older is None else time.time() - older
    return {
        number
        for position, (number, row) in enumerate(begun)
        if TrialState(row["state"]).ended
        and (latest is None or row["started"] <= latest)
        and position >= (newest or 0)
    }


def _spare(trials: Trials, numbers: Collection[int]) -> tuple[int, int]:
    """How many contents only spare outputs of some trials refer to, and their size."""
    sizes: dict[str, int] = {}
    places: set[tuple[int, str]] = set()
    for number, row in trials.find(fields=["uid"]):
        for record in _records(trials, row["uid"]).values() if number in numbers else ():
            if record.spare and record.kept and "digest" in record.kept:
                sizes[record.kept["digest"]] = record.kept["size"]
                places.add((number, f"persisted.{record.step}"))
    for digest, holder in holders(trials.backend, set(sizes)) if sizes else ():
        if (holder.trial, holder.field) not in places or holder.experiment != trials.name:
            sizes.pop(digest, None)
    return len(sizes), sum(sizes.values())
