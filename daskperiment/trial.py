"""One trial, as users hold it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from daskperiment.backends.base import Backend
from daskperiment.errors import TrialIDNotFoundError, ValueNotKeptError
from daskperiment.history import payloads
from daskperiment.history.artifacts import ArtifactList, Artifacts
from daskperiment.history.metrics import Metrics, Point
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.steps import Steps, frame
from daskperiment.history.table import utc_time
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState
from daskperiment.serializers import preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    import pandas as pd


class Trial:
    """A handle on one trial; every question about it is asked here.

    A trial that may still change is read anew at each question, one that has ended for good
    is read once, except for its tags and its note.

    Parameters
    ----------
    backend : Backend
        Where it is recorded.
    experiment : str
        Id of its experiment.
    number : int
        Its number.
    row : dict, optional
        Its row, when it is at hand.

    Raises
    ------
    TrialIDNotFoundError
        There is no such trial.

    Examples
    --------
    >>> import daskperiment
    >>> ex = daskperiment.Experiment("doc_trial", backend="memory://")
    >>> @ex.result
    ... def score(a):
    ...     return 10 / a
    >>> score(ex.parameter("a", default=4)).compute()
    2.5
    >>> trial = ex.latest
    >>> trial.number, str(trial.state), trial.parameters, trial.result
    (1, 'COMPLETE', {'a': 4}, 2.5)
    """

    def __init__(
        self, backend: Backend, experiment: str, number: int, row: Document | None = None
    ) -> None:
        self._backend = backend
        self._experiment = experiment
        self._trials = Trials(backend, experiment)
        self.number = number
        self._known: Document = self._trials.get(number) if row is None else row

    @property
    def _row(self) -> Document:
        # What a step or another process took for the end may be followed by a later one.
        if self._known.get("ended_by") != "driver":
            self._known = self._trials.get(self.number)
        return self._known

    @property
    def uid(self) -> str:
        """Random 128-bit identity, 32 hexadecimal digits: equal in every copy of the store."""
        return str(self._known["uid"])

    @property
    def state(self) -> TrialState:
        """Where it stands."""
        return TrialState(self._row["state"])

    @property
    def parameters(self) -> dict[str, Any]:
        """Values that its graph used; those that are not plain data are decoded here.

        A value that could not be encoded is absent, and ``parameters[name]`` raises
        ValueNotKeptError, which says why.
        """
        return _Values(self._backend, self._known["parameters"])

    @property
    def result(self) -> Any:
        """Value of the result step; None unless the trial is COMPLETE.

        Raises
        ------
        ValueNotKeptError
            It could not be encoded; the message says why.
        """
        row = self._row
        if row["state"] != TrialState.COMPLETE:
            return None
        if "result" not in row:
            raise ValueNotKeptError("The result was not recorded: the backend was in trouble")
        return payloads.load(self._backend, row["result"])

    @property
    def seed(self) -> int:
        """The trial's seed."""
        return int(self._known["seed"])

    @property
    def started(self) -> datetime:
        """When it started, in UTC."""
        started = utc_time(self._known["started"])
        assert started is not None
        return started

    @property
    def finished(self) -> datetime | None:
        """When it ended, in UTC; None while it runs and when nobody saw its end."""
        return utc_time(self._row.get("finished"))

    @property
    def duration(self) -> timedelta | None:
        """How long it took; None while it runs and when nobody saw its end."""
        seconds = self._row.get("seconds")
        return None if seconds is None else timedelta(seconds=seconds)

    @property
    def description(self) -> str | None:
        """Type and message of the failure, ``ZeroDivisionError(division by zero)``."""
        text: str | None = self._row.get("description")
        return text

    @property
    def traceback(self) -> str | None:
        """Traceback of the failure as text."""
        text: str | None = self._row.get("traceback")
        return text

    @property
    def user(self) -> str | None:
        """Who ran it."""
        name: str | None = self._known["owner"].get("user")
        return name

    @property
    def host(self) -> str:
        """Where it was started."""
        return str(self._known["owner"]["host"])

    @property
    def steps(self) -> pd.DataFrame:
        """Step records, one row a call; see :meth:`Experiment.get_steps`."""
        return frame(Steps(self._backend, self._experiment).read(self.uid))

    @property
    def metrics(self) -> dict[str, list[Point]]:
        """Every saved point of every metric, in the order in which they were saved."""
        return Metrics(self._backend, self._experiment).read(self.uid)

    @property
    def artifacts(self) -> ArtifactList:
        """Artifacts by name: list, open, load, or save to a folder."""
        return Artifacts(self._backend, self._experiment).read(self.uid)

    @property
    def code(self) -> str:
        """Source of the steps, decorator lines included, in the order of definition."""
        snapshots = Snapshots(self._backend)
        steps = {step["name"]: step["source"] for step in self._snapshot("code")["steps"]}
        texts = {name: snapshots.text(digest) for name, digest in steps.items()}
        return "\n\n".join(text or f"# {name}: no source" for name, text in texts.items())

    @property
    def sources(self) -> dict[str, str]:
        """Whole source files and cells that the steps reach, by name."""
        snapshots = Snapshots(self._backend)
        files = self._snapshot("code")["sources"]
        return {name: snapshots.text(digest) for name, digest in files.items()}

    @property
    def environment(self) -> Document:
        """Environment snapshot of the process that started it."""
        return self._snapshot("environment")

    def _snapshot(self, kind: str) -> Document:
        return Snapshots(self._backend).get(self._known[kind])

    def persisted(self, step: str, call: int | None = None) -> Any:
        """Kept output of a step; see :meth:`Experiment.get_persisted`."""
        return Steps(self._backend, self._experiment).persisted(self.uid, step, call)

    @property
    def tags(self) -> list[str]:
        """Short words for finding it again; assign a list to change them."""
        return list(self._trials.get(self.number).get("tags", []))

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        words = [tags] if isinstance(tags, str) else list(tags)
        self._trials.change(self.number, {"tags": list(dict.fromkeys(map(str, words)))})

    @property
    def note(self) -> str:
        """Free text about it; assign to change it."""
        return str(self._trials.get(self.number).get("note", ""))

    @note.setter
    def note(self, note: str) -> None:
        self._trials.change(self.number, {"note": str(note)})

    def __repr__(self) -> str:
        return f"Trial({self.number}, {self.state.value}, experiment={self._experiment!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trial) and self.uid == other.uid

    def __hash__(self) -> int:
        return hash(self.uid)


class _Values(dict[str, Any]):
    """Parameter values of a trial; asking for one that was not kept says why."""

    def __init__(self, backend: Backend, kept: Iterable[tuple[str, Document]]) -> None:
        documents = dict(kept)
        super().__init__(
            (name, payloads.load(backend, document))
            for name, document in documents.items()
            if "reason" not in document
        )
        self._lost = {name: doc for name, doc in documents.items() if "reason" in doc}

    def __missing__(self, name: str) -> Any:
        if name in self._lost:
            raise payloads.not_kept(self._lost[name])
        raise KeyError(name)


class TrialList:
    """The trials of an experiment: iterate over them, count them, pick one by its number.

    Parameters
    ----------
    backend : Backend
        Where they are recorded.
    experiment : str
        Id of the experiment.
    """

    def __init__(self, backend: Backend, experiment: str) -> None:
        self._backend = backend
        self._experiment = experiment
        self._trials = Trials(backend, experiment)

    def __iter__(self) -> Iterator[Trial]:
        self._trials.bury()
        for number, row in self._trials.find():
            yield Trial(self._backend, self._experiment, number, row)

    def __len__(self) -> int:
        return self._trials.last()

    def __getitem__(self, trial_id: int) -> Trial:
        number = _check_number(trial_id)
        self._trials.bury()
        return Trial(self._backend, self._experiment, number)

    def __repr__(self) -> str:
        return f"<{len(self)} trials of {self._experiment!r}>"


def _check_number(trial_id: object) -> int:
    try:
        if isinstance(trial_id, bool):
            raise TypeError
        number = operator.index(trial_id)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if 0 < number < 2**53:
        return number
    raise TrialIDNotFoundError(
        f"A trial is named by an integer from 1 on, not by {preview(trial_id, 80)} "
        f"({type(trial_id).__name__})"
    )
