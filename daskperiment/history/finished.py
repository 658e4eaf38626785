"""Finished trials: those of equal parameters and code, which need not run again."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping

from daskperiment.history.snapshots import Snapshots
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState


class Finished:
    """The COMPLETE trials of an experiment whose steps have certain code; each is taken once.

    Parameters
    ----------
    trials : Trials
        The trials; they are read once.
    code : mapping of str to str
        Digest of the closure of each step.
    """

    def __init__(self, trials: Trials, code: Mapping[str, str]) -> None:
        self._snapshots = Snapshots(trials.backend)
        self._code = dict(code)
        self._same: dict[str, bool] = {}
        self._found: dict[str, deque[tuple[int, int]]] = defaultdict(deque)
        fields = ["parameters_digest", "code", "seed"]
        for number, row in trials.find({"state": TrialState.COMPLETE.value}, fields):
            parameters, code_of = row.get("parameters_digest"), row.get("code")
            if parameters is not None and code_of is not None and self._is_same(code_of):
                self._found[parameters].append((number, row["seed"]))

    def _is_same(self, snapshot: str) -> bool:
        if snapshot not in self._same:
            document = self._snapshots.find(snapshot) or {"steps": []}
            digests = {step["name"]: step["digest"] for step in document["steps"]}
            self._same[snapshot] = digests == self._code
        return self._same[snapshot]

    def take(self, parameters: str | None, seed: int | None) -> int | None:
        """Number of a trial with these parameters that was not taken; None where there is none.

        Parameters
        ----------
        parameters : str or None
            Digest of the values; None where they cannot be hashed, and nothing equals them.
        seed : int or None
            Seed that it must have; None for any.
        """
        found = self._found.get(parameters or "", deque())
        for position, (number, has) in enumerate(found):
            if seed in (None, has):
                del found[position]
                return number
        return None
