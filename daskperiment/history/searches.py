"""Searches: what each looks for, and what has become of its trials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daskperiment.backends.base import Append, Backend, Clear, Insert, Update, Write
from daskperiment.errors import ConflictError, SearchError
from daskperiment.history import metrics, paths, ranking, shape
from daskperiment.history.batches import Batches
from daskperiment.history.reports import REPORT, SEARCH
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState
from daskperiment.serializers import preview
from daskperiment.typing import Document

QUEUED = "queued"
"""Field of a row with the position in the queue that its configuration has come from."""
_FIELDS = (
    "uid", "state", "place", "parameters", "result", "seed", QUEUED, "started", "finished",
    "seconds", "owner", "retry_of", "ended_by",
)  # fmt: skip


class Searches:
    """The searches of one experiment.

    Each is a document under its name: ``uid`` (what the rows of its trials call it), ``started``
    (seconds of the epoch), ``space`` (see ``SearchSpace.document``), ``sampler`` and ``pruner``
    (documents, or None), ``metrics`` (pairs of a name, None for the result, and a direction),
    ``main`` (the position of the one that is searched by; None for all), ``seed``, ``n_trials``,
    ``batch_size``, ``window`` (None unless it is deterministic), ``warm`` (uids of the trials that
    it begins from), ``stop`` (its other rules), ``code`` (a digest), ``description``, and
    ``imported`` where another tool has run it.

    Parameters
    ----------
    backend : Backend
        Where they are.
    name : str
        Id of the experiment.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self._name = name
        self._path = paths.searches(name)
        self._batches = Batches(backend, name)

    def begin(self, name: str, document: Document) -> bool:
        """Keep a search that begins; False where there is one of that name; atomic.

        Raises
        ------
        BackendUnreachableError
            The server is away; no search waits in a spool, as it could not go on from there.
        """
        if self.backend.get(self._path, name) is not None:
            return False
        try:
            self.backend.apply(Insert(self._path, document, name))
        except ConflictError:
            return False
        return True

    def take_in(self, uid: str, other: Searches) -> None:
        """Keep a search of another store with its queue, once, whatever its name is there.

        Where there is another search of its name, it is kept under ``name-2`` and so on.  What has
        come into its queue since it was taken in is added.
        """
        for name, document in other.backend.find(other._path, {"uid": uid}):
            if shape.problem_of_search(document) is not None:
                continue
            queue = other.backend.read(paths.queue(other._name, uid))
            if next(iter(self.backend.find(self._path, {"uid": uid})), None) is None:
                self._begin_as(str(name), document, queue)
            else:
                self._add_to_queue(uid, queue)

    def _begin_as(self, name: str, document: Document, queue: Sequence[Any]) -> None:
        path, count, free = paths.queue(self._name, document["uid"]), 1, name
        queued: list[Write] = [Clear(path), Append(path, queue)] if queue else []
        while True:
            try:
                self.backend.apply(Insert(self._path, document, free), *queued)
            except ConflictError:
                there = self.backend.get(self._path, free)
                if there is not None and there.get("uid") == document["uid"]:
                    return  # another copy was faster
                count += 1
                free = f"{name}-{count}"
            else:
                return

    def _add_to_queue(self, uid: str, queue: Sequence[Any]) -> None:
        path = paths.queue(self._name, uid)
        there = self.backend.read(path)
        if len(there) < len(queue) and list(queue[: len(there)]) == list(there):
            self.backend.apply(Clear(path), Append(path, queue))

    def update(self, name: str, changes: Document) -> None:
        """Set fields of a search."""
        self.backend.apply(Update(self._path, name, changes))

    def get(self, name: str) -> Document | None:
        """The search of a name.

        Raises
        ------
        SearchError
            Others have written something else there.
        """
        found = self.backend.get(self._path, name)
        wrong = None if found is None else shape.problem_of_search(found)
        if wrong is not None:
            raise SearchError(f"Search {preview(name, 80)} of {self._name!r} is none: {wrong}")
        return found

    def find(self) -> list[tuple[str, Document]]:
        """All searches by name, the last one first, without what others have written there."""
        found = [
            (str(name), row)
            for name, row in self.backend.find(self._path)
            if shape.problem_of_search(row) is None
        ]
        found.sort(key=lambda search: (float(search[1]["started"]), search[0]), reverse=True)
        return found

    def named(self, uid: str) -> str | None:
        """The name of the search of a uid; None where there is none."""
        found = self.backend.find(self._path, {"uid": uid})
        sound = (str(name) for name, row in found if shape.problem_of_search(row) is None)
        return next(sound, None)

    def state(self, document: Document) -> str:
        """That of the last batch of a search, as of batches; ``WAITING`` where there is none."""
        batches = self._batches.find({SEARCH: document["uid"]})
        return _state(document, [str(row["state"]) for _, row in batches])

    def states(self, documents: Iterable[Document]) -> dict[str, str]:
        """Those of several searches, by uid."""
        found: dict[str, list[str]] = {}
        for _, row in self._batches.find():
            if row.get(SEARCH) is not None:
                found.setdefault(str(row[SEARCH]), []).append(str(row["state"]))
        uids = [(str(each.get("uid")), each) for each in documents]
        return {uid: _state(each, found.get(uid, [])) for uid, each in uids}

    # -- configurations that somebody wants to be tried

    def enqueue(self, uid: str, configurations: Iterable[Mapping[str, Any]]) -> None:
        """Put configurations at the end of the queue of a search; all or none."""
        entries = [{"parameters": dict(each)} for each in configurations]
        self.backend.apply(Append(paths.queue(self._name, uid), entries))

    def queue(self, uid: str, start: int = 0) -> list[dict[str, Any]]:
        """What is in the queue from a position on, also what was tried already.

        Where others have written something else, there is an empty configuration.
        """
        entries: Sequence[Any] = self.backend.read(paths.queue(self._name, uid), start)
        found = (each.get("parameters") if isinstance(each, dict) else None for each in entries)
        return [dict(each) if isinstance(each, dict) else {} for each in found]


def _state(document: Document, batches: Sequence[str]) -> str:
    if document.get("imported"):
        return "COMPLETE"
    return "RUNNING" if "RUNNING" in batches else batches[0] if batches else "WAITING"


@dataclass(frozen=True, slots=True)
class Tried:
    """One trial of a search, as the store has it.

    Parameters
    ----------
    number, uid : int, str
        Which trial.
    place : int
        Its place in the search.
    state : TrialState
        Where it stands.
    parameters : dict
        Its values; of one that is no plain data a handle.
    values : tuple
        Of each metric of the search the value, None where there is none.
    reports : dict of int to float
        What it has reported, if it is PRUNED.
    row : dict
        Its row, in part.
    """

    number: int
    uid: str
    place: int
    state: TrialState
    parameters: dict[str, Any]
    values: tuple[float | None, ...]
    reports: dict[int, float]
    row: Document

    @property
    def interrupted(self) -> bool:
        """Whether its place is still to be run, as a search that goes on repeats it."""
        return self.state in (TrialState.CRASHED, TrialState.CANCELLED)


class SearchRows:
    """The trials of one search, of which each look reads what is new.

    Parameters
    ----------
    trials : Trials
        The trials of its experiment.
    uid : str
        Which search.
    names : sequence of str or None
        Its metrics; None is the result.
    """

    def __init__(self, trials: Trials, uid: str, names: Sequence[str | None]) -> None:
        self._trials = trials
        self._uid = uid
        self._names = tuple(names)
        self._metrics = metrics.Metrics(trials.backend, trials.name)
        self._seen: int | None = None
        self._edits: int | None = None
        self._open: dict[int, None] = {}
        self._passed: set[int] = set()

    def pass_over(self, number: int) -> None:
        """Let a trial that has ended not be read, as what has become of it is known."""
        self._open.pop(number, None)
        if number > (self._seen or 0):
            self._passed.add(number)

    def look(self) -> Iterator[Tried]:
        """The trials that are new, and those that had not ended at the look before."""
        known = list(self._open)
        for number, row in zip(known, self._trials.rows(known), strict=True):
            if row is None:  # removed, or spoilt by others
                del self._open[number]
            else:
                yield self._tried(number, row)
        newest = self._trials.last()
        while self._seen is not None and self._seen + 1 in self._passed:
            self._seen += 1
            self._passed.remove(self._seen)
        if newest <= (self._seen or 0):
            return
        for number, row in self._trials.find({SEARCH: self._uid}, _FIELDS, after=self._seen):
            newest = max(newest, number)
            if number in self._passed:
                self._passed.remove(number)
            elif self._trials.backend.owned or shape.problem(number, row) is None:
                yield self._tried(number, row)
        self._seen = newest

    def edited(self) -> Iterator[tuple[int, Tried | None]]:
        """Trials that were edited since the look before, by number; None where one was removed."""
        path, known = paths.changes(self._trials.name), self._edits
        entries: Sequence[Any] = self._trials.backend.read(path, known or 0)
        self._edits = (known or 0) + len(entries)
        if known is None:
            return
        known_as = (each[0] for each in entries if isinstance(each, list) and each)
        numbers = list(dict.fromkeys(each for each in known_as if isinstance(each, int)))
        for number, row in zip(numbers, self._trials.rows(numbers), strict=True):
            if row is None:
                yield number, None
            elif row.get(SEARCH) == self._uid:
                yield number, self._tried(number, row)

    def read(self, number: int) -> Tried:
        """One trial, as it is now."""
        return self._tried(number, self._trials.get(number))

    def _tried(self, number: int, row: Document) -> Tried:
        state = TrialState(row["state"])
        values: tuple[float | None, ...] = (None,) * len(self._names)
        reports: dict[int, float] = {}
        if state is TrialState.COMPLETE:
            values = tuple(ranking.score(self._trials, row, name) for name in self._names)
        elif state is TrialState.PRUNED:
            points = self._metrics.read(row["uid"]).get(REPORT, [])
            reports = {point.epoch: point.value for point in points}
        place, parameters = int(row.get("place", -1)), self._parameters(row)
        # The end that a step has told is none: a scheduler may run it again.
        if state.ended and row.get("ended_by") != "step":
            self._open.pop(number, None)
        else:
            self._open[number] = None
        return Tried(number, row["uid"], place, state, parameters, values, reports, row)

    def _parameters(self, row: Document) -> dict[str, Any]:
        place = self._trials.place(row["uid"])
        return {
            name: place.shown(("parameters", name), kept)
            for name, kept in row["parameters"]
            if "reason" not in kept
        }
