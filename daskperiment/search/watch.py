"""Watch: a search that is looked at again and again, of which each look reads what is new."""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Mapping
from itertools import takewhile
from typing import Any, NamedTuple

from daskperiment.errors import SearchError, SearchSpaceError
from daskperiment.history.documents import plain, short, time
from daskperiment.history.searches import Searches, SearchRows, Tried
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState
from daskperiment.search.levels import BLOCK
from daskperiment.search.objective import Objective
from daskperiment.search.scales import scales
from daskperiment.search.space import SearchSpace
from daskperiment.typing import Document

_BAD = (TrialState.FAILED, TrialState.CRASHED, TrialState.CANCELLED)


class Changes(NamedTuple):
    """What has changed in the trials of a search.

    Parameters
    ----------
    trials : list of dict
        Each as it is now: ``place``, ``trial`` (its number), ``state``, ``parameters``, ``values``
        of the metrics in their order (None where there is none), ``reported`` (the last report of
        one that is PRUNED), ``started`` and ``seconds``.
    cursor : str
        What the next look begins from.
    whole : bool
        Whether these are all, so that what was known before is forgotten.
    more : bool
        Whether there are others, which the next look gives.
    """

    trials: list[Document]
    cursor: str
    whole: bool
    more: bool


class Watch:
    """One search.  Threads may share it.

    Parameters
    ----------
    trials : Trials
        The trials of its experiment.
    name : str
        Its name.
    document : dict
        What it is, see :class:`Searches`.
    """

    def __init__(self, trials: Trials, name: str, document: Document) -> None:
        self.name = name
        self.uid = str(document["uid"])
        self._objective = Objective.from_document(document)
        self._rows = SearchRows(trials, self.uid, self._objective.names)
        self._space = _space(document)
        self._scales = [] if self._space is None else scales(self._space)
        self._names = () if self._space is None else self._space.names
        self._conditional = self._space is not None and _is_conditional(self._space)
        self._lock = threading.Lock()
        # Cursors of another process, or of before, begin with something else.
        self._begin = uuid.uuid4().hex[:12]
        self._known: dict[int, tuple[int, Tried]] = {}  # by place, what changed last at the end
        self._count = 0
        self._standing: tuple[int, Document] | None = None

    def look(self) -> None:
        """Read what is new."""
        with self._lock:
            for tried in self._rows.look():
                _, known = self._known.get(tried.place, (0, None))
                if known is None or _differ(known, tried):
                    self._count += 1
                    self._known.pop(tried.place, None)
                    self._known[tried.place] = self._count, tried

    def since(self, cursor: str | None, most: int) -> Changes:
        """What has changed since a look, as far as it was read.

        Parameters
        ----------
        cursor : str or None
            That of the changes of before; None for all.
        most : int
            How many trials at most, at least 1.
        """
        begin, _, text = (cursor or "").partition("-")
        known = begin == self._begin and text.isascii() and text.isdigit()
        start = int(text) if known else 0
        with self._lock:
            newer = takewhile(lambda each: each[0] > start, reversed(self._known.values()))
            found = [*newer][::-1]
        last = max(start, *(count for count, _ in found[:most]), 0)
        told = [self._entry(tried) for _, tried in found[:most]]
        return Changes(told, f"{self._begin}-{last}", not known, len(found) > most)

    def document(self, search: Document, state: str) -> Document:
        """How it stands, as plain data.

        Parameters
        ----------
        search : dict
            What it is, as it is kept now.
        state : str
            Its state.

        Returns
        -------
        dict
            ``search`` (its name), ``uid``, ``state``, ``description``, ``sampler``, ``metrics``
            with their directions, ``main`` (that it searches by, None for all), ``n_trials``,
            ``seed``, ``started``; of trials the numbers ``trials``, ``complete``, ``pruned``,
            ``failed`` and ``running``; ``best`` with one metric to search by, else None, and
            ``pareto``, the numbers of the trials that none is better than, with several.
        """
        metrics = self._objective.metrics
        sought = self._objective.sought
        return {
            "search": self.name,
            "uid": self.uid,
            "state": state,
            "description": str(search.get("description") or ""),
            "sampler": plain(search["sampler"]),
            "metrics": [{"name": m.title, "direction": m.direction} for m in metrics],
            "main": sought[0].title if len(sought) == 1 else None,
            "n_trials": plain(search.get("n_trials")),
            "seed": plain(search.get("seed")),
            "started": time(search["started"]),
            **self._stands(),
        }

    @property
    def scales(self) -> list[Document]:
        """The scales of its parameters; none where its space cannot be read here."""
        return self._scales

    def _stands(self) -> Document:
        with self._lock:
            if self._standing is None or self._standing[0] != self._count:
                tried = [each for _, each in sorted(self._known.values(), key=_place)]
                self._standing = self._count, self._counted(tried)
            return self._standing[1]

    def _counted(self, tried: list[Tried]) -> Document:
        states = [each.state for each in tried]
        best = front = None
        if len(self._objective.sought) > 1:
            front = [each.number for each in self._objective.front(tried)]
        elif (found := self._objective.best(tried)) is not None:
            best = self._best(found)
        return {
            "trials": len(tried),
            "complete": states.count(TrialState.COMPLETE),
            "pruned": states.count(TrialState.PRUNED),
            "failed": sum(state in _BAD for state in states),
            "running": sum(not state.ended for state in states),
            "best": best,
            "pareto": front,
        }

    def _best(self, tried: Tried) -> Document:
        entry = self._entry(tried)
        value = entry["values"][self._objective.main or 0]
        return {"trial": tried.number, "value": value, "parameters": entry["parameters"]}

    def _entry(self, tried: Tried) -> Document:
        last = max(tried.reports, default=None)
        return {
            "place": tried.place,
            "trial": tried.number,
            "state": tried.state.value,
            "parameters": {name: short(value) for name, value in self._active(tried).items()},
            "values": [_finite(value) for value in tried.values],
            "reported": None if last is None else _finite(tried.reports[last]),
            "started": time(tried.row.get("started")),
            "seconds": tried.row.get("seconds"),
        }

    def _active(self, tried: Tried) -> Mapping[str, Any]:
        """Its configuration: what else it was given, such as defaults, is no part of the search."""
        if self._space is None:
            return tried.parameters
        found = self._space.within(tried.parameters) if self._conditional else None
        if found is not None:
            return found
        return {name: tried.parameters[name] for name in self._names if name in tried.parameters}


class Watches:
    """The searches of one experiment, each of which is read once.  Threads may share it.

    Parameters
    ----------
    trials : Trials
        The trials of the experiment.

    Examples
    --------
    >>> from daskperiment import Experiment
    >>> ex = Experiment("doc_watch", backend="memory://")
    >>> @ex.result
    ... def half(x):
    ...     return x / 2
    >>> s = half(ex.parameter("x"))
    >>> _ = ex.search(s, {"x": [4, 2]}, sampler="grid", name="halves", max_workers=1)
    >>> watches = Watches(Trials(ex.backend, "doc_watch"))
    >>> (search,) = watches.documents()
    >>> search["search"], search["state"], search["best"]
    ('halves', 'COMPLETE', {'trial': 2, 'value': 1.0, 'parameters': {'x': 2}})
    >>> told, changes = watches.changes("halves")
    >>> len(changes.trials), len(watches.changes("halves", changes.cursor)[1].trials)
    (2, 0)
    """

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self._searches = Searches(trials.backend, trials.name)
        self._lock = threading.Lock()
        self._known: dict[str, Watch] = {}

    def documents(self) -> list[Document]:
        """All of them, see :meth:`Watch.document`, the last one first.

        One that others have spoilt on a shared store is left out.
        """
        found = self._searches.find()
        states = self._searches.states(document for _, document in found)
        self._forget({str(document.get("uid")) for _, document in found})
        told = []
        for name, document in found:
            try:
                watch = self._watch(name, document)
                watch.look()
                told.append(watch.document(document, states[watch.uid]))
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                if self._trials.backend.owned:
                    raise
        return told

    def changes(
        self, name: str, cursor: str | None = None, most: int = 1000
    ) -> tuple[Document, Changes]:
        """One of them, with its ``scales``, and what has changed in its trials.

        Parameters
        ----------
        name : str
            Its name or its uid.
        cursor : str, optional
            Of the changes of before.
        most : int
            How many trials at most.

        Raises
        ------
        SearchError
            There is no such search.
        """
        name, document = self._find(name)
        watch = self._watch(name, document)
        watch.look()
        changes = watch.since(cursor, most)
        told = watch.document(document, self._searches.state(document))
        return {**told, "scales": watch.scales}, changes

    def _find(self, name: str) -> tuple[str, Document]:
        document = self._searches.get(name)
        if document is not None:
            return name, document
        for other, document in self._searches.find():
            if document["uid"] == name:
                return other, document
        raise SearchError(f"Experiment {self._trials.name!r} has no search {name!r}")

    def _watch(self, name: str, document: Document) -> Watch:
        uid = str(document["uid"])
        with self._lock:
            known = self._known.get(uid)
            if known is None or known.name != name:
                known = self._known[uid] = Watch(self._trials, name, document)
            return known

    def _forget(self, uids: set[str]) -> None:
        """Let go of searches that are not there any more."""
        with self._lock:
            self._known = {uid: watch for uid, watch in self._known.items() if uid in uids}


def _space(document: Document) -> SearchSpace | None:
    try:
        return SearchSpace.from_document(document["space"])
    except SearchSpaceError:  # it may be of a later version
        return None


def _is_conditional(space: SearchSpace) -> bool:
    """Whether some of its configurations have other names than others."""
    blocks: dict[str, set[str]] = {}
    for axis in space.axes:
        if axis.distribution.levels:
            return True
        if axis.name != BLOCK:
            block = axis.address.partition("/")[0] if axis.address.startswith(BLOCK) else ""
            blocks.setdefault(block, set()).add(axis.name)
    return len({frozenset(names) for names in blocks.values()}) > 1


def _place(known: tuple[int, Tried]) -> int:
    return known[1].place


def _differ(known: Tried, tried: Tried) -> bool:
    """Whether a trial of a place is another one than known, or has changed."""
    if known.number != tried.number:
        return tried.number > known.number
    return _facts(known) != _facts(tried)


def _facts(tried: Tried) -> tuple[object, ...]:
    return tried.state, tried.values, tried.reports, tried.row.get("seconds")


def _finite(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return repr(value)
