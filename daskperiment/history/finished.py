"""Finished trials: those of equal parameters and code, which need not run again."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from typing import NamedTuple

from daskperiment.history.snapshots import Snapshots
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState

_FAILED = (TrialState.FAILED, TrialState.CRASHED, TrialState.CANCELLED)


class Earlier(NamedTuple):
    """A trial that has ended.

    Parameters
    ----------
    number : int
        Its number.
    seed : int
        Its seed.
    uid : str
        Its identity.
    """

    number: int
    seed: int
    uid: str


_Found = defaultdict[str, deque[Earlier]]


class Finished:
    """The trials of an experiment that have ended; each is taken once.

    Parameters
    ----------
    trials : Trials
        The trials; they are read once.
    code : mapping of str to str
        Digest of the closure of each step, which that of a trial that is done must equal.
    """

    def __init__(self, trials: Trials, code: Mapping[str, str]) -> None:
        trials.bury()
        self._snapshots = Snapshots(trials.backend)
        self._code = dict(code)
        self._same: dict[str, bool] = {}
        self._complete: _Found = defaultdict(deque)
        self._pruned: _Found = defaultdict(deque)
        self._failed: _Found = defaultdict(deque)
        again: set[str] = set()
        fields = ["parameters_digest", "code", "seed", "state", "uid", "retry_of"]
        for number, row in trials.find(None, fields):
            again.add(row.get("retry_of", ""))
            parameters, earlier = (
                row.get("parameters_digest"),
                Earlier(number, row["seed"], row["uid"]),
            )
            if parameters is None:
                continue
            if row["state"] in _FAILED:
                self._failed[parameters].append(earlier)
            elif TrialState(row["state"]).done and self._is_same(row.get("code")):
                pruned = row["state"] == TrialState.PRUNED
                (self._pruned if pruned else self._complete)[parameters].append(earlier)
        for parameters, found in self._failed.items():
            self._failed[parameters] = deque(each for each in found if each.uid not in again)

    def _is_same(self, snapshot: str | None) -> bool:
        if snapshot is None:
            return False
        if snapshot not in self._same:
            document = self._snapshots.find(snapshot) or {"steps": []}
            digests = {step["name"]: step["digest"] for step in document["steps"]}
            self._same[snapshot] = digests == self._code
        return self._same[snapshot]

    def take(self, parameters: str | None, seed: int | None) -> int | None:
        """Number of a COMPLETE trial that was not taken, else of a PRUNED one; None for none.

        Parameters
        ----------
        parameters : str or None
            Digest of its values; None where they cannot be hashed, and nothing equals them.
        seed : int or None
            Seed that it must have; None for any.
        """
        found = _take(self._complete, parameters, seed) or _take(self._pruned, parameters, seed)
        return None if found is None else found.number

    def take_failed(self, parameters: str | None, seed: int | None) -> Earlier | None:
        """A trial that has failed, crashed or was cancelled and was not attempted again since."""
        return _take(self._failed, parameters, seed)


def _take(known: _Found, parameters: str | None, seed: int | None) -> Earlier | None:
    found = known.get(parameters or "", deque())
    for position, earlier in enumerate(found):
        if seed in (None, earlier.seed):
            del found[position]
            return earlier
    return None
