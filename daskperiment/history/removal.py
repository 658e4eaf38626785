"""Removal: trials that are put aside, restored, and in the end collected."""

from __future__ import annotations

import time
from collections.abc import Container, Iterator
from typing import NamedTuple

from daskperiment.backends.base import Backend, Clear, Insert, Remove, Update, Write
from daskperiment.errors import ConflictError, TrialRunningError
from daskperiment.history import checkpoints, paths
from daskperiment.history.collection import Freed, collect, unused
from daskperiment.history.experiments import experiments
from daskperiment.history.holders import rows
from daskperiment.history.mirror import changed
from daskperiment.history.trials import Trials
from daskperiment.platform import is_alive
from daskperiment.records import TrialState
from daskperiment.typing import Document

_DAY = 86_400.0
_GROUP = 100


class Collected(NamedTuple):
    """What a collection has deleted, or would delete.

    Parameters
    ----------
    trials, payloads : int
        Removed trials whose content is gone for ever, and contents that nothing refers to.
    bytes : int
        Size of these contents.
    """

    trials: int
    payloads: int
    bytes: int


def check_ended(number: int, row: Document, what: str) -> None:
    """Refuse to touch a trial that is still recording, with TrialRunningError."""
    if not TrialState(row["state"]).ended:
        raise TrialRunningError(
            f"Trial {number} is still {row['state']} and cannot be {what}: wait for its end, or "
            "stop the process that runs it"
        )


def remove(trials: Trials, number: int) -> None:
    """Put a trial aside: nobody sees it any more, its number stays reserved.

    Raises
    ------
    TrialIDNotFoundError
        There is no such trial, or it was removed already.
    TrialRunningError
        It has not ended.
    """
    done = False
    while not done:  # again where it has changed its state meanwhile
        row = trials.get(number)
        check_ended(number, row, "removed")
        seen = {"uid": row["uid"], "state": row["state"]}
        # As text: only text can be compared when it is restored or collected.
        marked = {"removed": repr(time.time())}
        done = trials.edit(number, marked, seen)


def restore(trials: Trials, number: int) -> None:
    """Bring a removed trial back; one that was not removed stays as it is.

    Raises
    ------
    TrialIDNotFoundError
        There is no such trial, or it was collected.
    """
    row = trials.backend.get(paths.trials(trials.name), number) or {}
    if mark := row.get("removed"):
        back: Document = {"removed": None}
        seen = {"uid": row["uid"], "removed": mark}
        if not row.get("collected"):
            trials.edit(number, back, seen)
    trials.get(number)


def removed(trials: Trials) -> list[int]:
    """Numbers of the trials that can be restored."""
    found = rows(trials.backend, trials.name)
    return [number for number, row in found if row.get("removed") and not row.get("collected")]


def collect_removed(
    backend: Backend, name: str | None = None, *, dry_run: bool = False
) -> Collected:
    """Delete the content of removed trials, and whatever no trial refers to.

    Others may record meanwhile: nothing that they refer to is deleted.

    Parameters
    ----------
    backend : Backend
        Where to collect.  Contents are shared: those of all experiments are looked at.
    name : str, optional
        Only the removed trials of this experiment.
    dry_run : bool
        Only count.
    """
    names = experiments(backend) if name is None else [name]
    doomed = {each: dict(_doomed(backend, each)) for each in names}
    fresh = [r for found in doomed.values() for r in found.values() if not r.get("collected")]
    if dry_run:
        spare = unused(backend, without=[row["uid"] for row in fresh])
        sizes = [spare[digest] for digest, _ in backend.blobs() if digest in spare]
        return Collected(len(fresh), len(sizes), sum(sizes))
    for each, found in doomed.items():
        for number, row in found.items():
            _bury(backend, each, number, row)
        if found:
            drop_observations(backend, each, found.keys())
        _drop_prepared(backend, each)
        for write in checkpoints.abandoned(backend, each):
            backend.apply(write)
    freed: Freed = collect(backend)
    backend.compact()
    return Collected(len(fresh), *freed)


def drop_experiment(trials: Trials) -> Collected:
    """Delete an experiment with all of its trials for ever, and whatever no other refers to.

    Other experiments, and what is not ours in the store, are not touched.

    Raises
    ------
    TrialRunningError
        A trial of it runs; nothing was deleted.
    """
    backend, name = trials.backend, trials.name
    trials.bury()
    for _, row in backend.find(paths.running(name), limit=1):
        where = f"process {row.get('pid')} on {row.get('host')}"
        raise TrialRunningError(
            f"A trial of {name!r} runs in {where}: wait for its end, or stop that process"
        )
    count = sum(1 for _ in backend.find(paths.trials(name), fields=[]))
    backend.drop(paths.experiment(name))
    backend.apply(Remove(paths.EXPERIMENTS, name))
    freed: Freed = collect(backend)
    backend.compact()
    return Collected(count, *freed)


def _doomed(backend: Backend, name: str) -> Iterator[tuple[int, Document]]:
    for number, row in rows(backend, name):
        if row.get("removed"):
            yield number, {key: row.get(key) for key in ("uid", "removed", "collected")}


def _bury(backend: Backend, name: str, number: int, row: Document) -> None:
    """Leave nothing of a trial but its number; also what came after it was buried before."""
    uid, path = row["uid"], paths.trials(name)
    stone = {**row, "collected": row["collected"] or time.time()}
    logs = (paths.steps, paths.metrics, paths.artifacts, paths.output, paths.usage)
    writes: list[Write] = [
        Update(path, number, {}, {"uid": uid, "removed": row["removed"]}),
        Remove(path, number),
        Insert(path, stone, number),
        Remove(paths.begun(name), uid),
        Remove(paths.running(name), uid),
        *(Clear(log(name, uid)) for log in logs),
        *checkpoints.removing(backend, name, uid),
        changed(name, number),
    ]
    try:
        backend.apply(*writes)
    except ConflictError:  # it was restored just now
        return


def drop_observations(backend: Backend, name: str, numbers: Container[int]) -> None:
    """Remove what purity has learned from some trials."""
    for path in (paths.latest(name), paths.exact(name), paths.impure(name)):
        found = backend.find(path, fields=["trial"])
        gone = [Remove(path, key) for key, seen in found if seen["trial"] in numbers]
        for at in range(0, len(gone), _GROUP):
            backend.apply(*gone[at : at + _GROUP])


def _drop_prepared(backend: Backend, name: str) -> None:
    """Remove what keeps the values of trials that were prepared and can never begin."""
    for uid, row in backend.find(paths.prepared(name), fields=["owner", "started"]):
        if time.time() - row["started"] > _DAY and not is_alive(row["owner"]):
            backend.apply(Remove(paths.prepared(name), uid))
