"""One trial, as users hold it."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from daskperiment import notebooks
from daskperiment.backends.base import Backend
from daskperiment.errors import TrialIDNotFoundError, ValueNotKeptError
from daskperiment.history import forgetting, removal
from daskperiment.history.artifacts import ArtifactList, Artifacts
from daskperiment.history.checkpoints import Checkpoint, Checkpoints
from daskperiment.history.columns import utc_time
from daskperiment.history.forgetting import Forgotten, check_kept
from daskperiment.history.inputs import frame as inputs_frame
from daskperiment.history.metrics import Metrics, Point
from daskperiment.history.output import Output, Outputs
from daskperiment.history.places import Place, Trust, Values
from daskperiment.history.reports import SEARCH
from daskperiment.history.reproductions import verdict_of
from daskperiment.history.searches import Searches
from daskperiment.history.snapshots import Snapshots, with_texts
from daskperiment.history.steps import Steps, frame, with_numbers
from daskperiment.history.taints import Taint, taints_of, untaint
from daskperiment.history.trials import Trials, facts
from daskperiment.history.usage import Usage
from daskperiment.history.usage import frame as usage_frame
from daskperiment.lineage.difference import Difference, Side, difference
from daskperiment.lineage.explain import explain
from daskperiment.lineage.explanation import Explanation
from daskperiment.lineage.impact import version
from daskperiment.lineage.reproduce import Reproduction, reproduce
from daskperiment.lineage.why import Reasons
from daskperiment.namespace import Namespace, namespaced
from daskperiment.records import StepRecord, TrialState
from daskperiment.search.handle import Search
from daskperiment.serializers import from_json, preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    import pandas as pd


_SHOWN = 20
"""Trials that a notebook shows of a list."""
_METRICS = 4
"""Metrics that it shows of each."""


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
    trust : str
        Which pickles of a store that others may write to are loaded: ``"signed"`` or ``"all"``.
    trials : Trials, optional
        The rows of its experiment, where they are at hand; they say what is trusted.
    later : bool
        Whether its row is read at the first question, and not at once.

    Attributes
    ----------
    experiment : str
        Id of its experiment.
    number : int
        Its number.

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
    >>> trial.experiment, trial.number, str(trial.state), trial.parameters, trial.result
    ('doc_trial', 1, 'COMPLETE', {'a': 4}, 2.5)
    """

    def __init__(
        self,
        backend: Backend,
        experiment: str,
        number: int,
        row: Document | None = None,
        *,
        trust: Trust = "signed",
        trials: Trials | None = None,
        later: bool = False,
    ) -> None:
        self._backend = backend
        self.experiment = experiment
        self._trials = Trials(backend, experiment, trust) if trials is None else trials
        self.number = number
        self._read: Document | None = row
        if not later:
            _ = self._known

    @property
    def _known(self) -> Document:
        """Its row as it was read once, where that does not change after its beginning."""
        if self._read is None:
            self._read = self._trials.get(self.number)
        return self._read

    @property
    def _row(self) -> Document:
        # What a step or another process took for the end may be followed by a later one.
        if self._read is None or self._read.get("ended_by") != "driver":
            self._read = self._trials.get(self.number)
        return self._read

    @property
    def _place(self) -> Place:
        return self._trials.place(self.uid)

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
        return Values(self._place, self._row["parameters"])

    @property
    def configuration(self) -> dict[str, Any]:
        """What :meth:`Experiment.load_parameters` had loaded, with secrets masked.

        ``resolved`` is the merged mapping, ``files`` the text of each file by its name; both
        are empty when nothing was loaded.
        """
        if "configuration" not in self._row:
            return {"resolved": Namespace(), "files": {}}
        snapshots, document = Snapshots(self._backend), self._snapshot("configuration")
        resolved = from_json(json.loads(snapshots.text(document["resolved"])))
        files = {name: snapshots.text(digest) for name, digest in document["files"].items()}
        return {"resolved": namespaced(resolved), "files": files}

    @property
    def result(self) -> Any:
        """Value of the result step; None unless the trial is COMPLETE.

        Raises
        ------
        ValueNotKeptError
            It could not be encoded; the message says why.
        UntrustedPayloadError
            It is a pickle without a valid signature, in a store that others may write to.
        """
        row = self._row
        if row["state"] != TrialState.COMPLETE:
            return None
        if "result" not in row:
            raise ValueNotKeptError("The result was not recorded: the backend was in trouble")
        return self._place.load(("result",), row["result"])

    @property
    def seed(self) -> int:
        """The trial's seed.

        Raises
        ------
        ValueNotKeptError
            It is an imported trial, of which no seed is known.
        """
        if self._known["seed"] is None:
            raise ValueNotKeptError("No seed is known of this trial, which was imported")
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
    def retry_of(self) -> Trial | None:
        """The trial that it was run again for; None where there is none, or it was removed."""
        return self._linked("retry_of")

    @property
    def part_of(self) -> Trial | None:
        """The long run that has reached it, see :class:`~daskperiment.Milestone`; else None."""
        return self._linked("part_of")

    @property
    def search(self) -> Search | None:
        """The search that it is part of; None where it is of none."""
        uid = self._known.get(SEARCH)
        name = Searches(self._backend, self.experiment).named(uid) if uid else None
        return None if name is None else Search(self._trials, name, self._beside)

    def _beside(self, number: int) -> Trial:
        return Trial(self._backend, self.experiment, number, trials=self._trials, later=True)

    def _linked(self, field: str) -> Trial | None:
        uid = self._known.get(field)
        found = self._trials.find({"uid": uid}, newest=True, limit=1) if uid else ()
        for number, row in found:
            return Trial(self._backend, self.experiment, number, row, trust=self._trials.trust)
        return None

    @property
    def steps(self) -> pd.DataFrame:
        """Step records, one row a call; see :meth:`Experiment.get_steps`."""
        return frame(self._records)

    @property
    def inputs(self) -> pd.DataFrame:
        """What its steps have touched beside their arguments, as far as that was looked at.

        A row for each call and thing, with the columns ``step``, ``call``, ``kind``, ``name`` and
        ``digest``.  The kinds are ``file`` (that was read, and of which no path was an argument),
        ``environment`` (a variable), ``socket`` (an address) and ``process`` (a program with its
        arguments); of the last two there is no digest.  It is looked at with
        ``Experiment(audit="warn")``; files also for steps that may be reused.

        Examples
        --------
        >>> import daskperiment, pathlib, tempfile, warnings
        >>> warnings.simplefilter("ignore", daskperiment.UndeclaredInputWarning)
        >>> ex = daskperiment.Experiment("doc_inputs", backend="memory://", audit="warn")
        >>> file = pathlib.Path(tempfile.mkdtemp(), "words.txt")
        >>> _ = file.write_text("one two")
        >>> @ex.result
        ... def count():
        ...     return len(file.read_text().split())
        >>> count().compute()
        2
        >>> ex.latest.inputs[["step", "kind", "name"]]
            step  kind                name
        0  count  file  ...words.txt
        """
        return inputs_frame(self._records)

    @property
    def _records(self) -> list[StepRecord]:
        records = Steps(self._backend, self.experiment).read(self.uid)
        return with_numbers(records, self._trials.number_of)

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """What its running steps have left to go on from, and what is kept of it.

        Empty for a trial that is complete, but for what was left with ``keep=True``.
        """
        check_kept(self._row, "checkpoints")
        return Checkpoints(self._place).all()

    @property
    def metrics(self) -> dict[str, list[Point]]:
        """Every saved point of every metric, in the order in which they were saved."""
        check_kept(self._row, "metrics")
        return Metrics(self._backend, self.experiment).read(self.uid)

    @property
    def output(self) -> Output:
        """What its steps have printed and logged up to now.

        Raises
        ------
        ValueNotKeptError
            It was forgotten.
        """
        check_kept(self._row, "output")
        return Outputs(self._backend, self.experiment).read(self.uid)

    @property
    def usage(self) -> pd.DataFrame:
        """What its processes have used while its steps ran in them, up to now.

        The index ``seconds`` counts from the beginning of the trial.  The columns are

        - ``cpu``: processor time in percent of one processor since the row before of the same
          process, so that two busy ones are 200;
        - ``memory``: resident memory in bytes;
        - ``gpu0``, ``gpu0_memory`` and so on, of each NVIDIA device that the process may see: its
          load in percent and its memory in use in bytes, whoever uses it;
        - ``host``, ``pid``: the process.

        Its child processes are in ``cpu`` and ``memory``, and so is what else it does: trials that
        run in one process at the same time show the same.  Empty where the trial was shorter than
        half a second, and where the option ``usage`` is off.

        Raises
        ------
        ValueNotKeptError
            It was forgotten.

        Examples
        --------
        >>> import time, daskperiment
        >>> ex = daskperiment.Experiment("doc_usage", backend="memory://")
        >>> @ex.result
        ... def wait():
        ...     time.sleep(0.8)
        >>> wait().compute()
        >>> usage = ex.latest.usage
        >>> list(usage.columns)[:2], bool((usage["memory"] > 1_000_000).all())
        (['cpu', 'memory'], True)
        """
        check_kept(self._row, "usage")
        return usage_frame(Usage(self._backend, self.experiment).read(self.uid))

    @property
    def artifacts(self) -> ArtifactList:
        """Artifacts by name: list, open, load, or save to a folder."""
        return Artifacts(self._place).read()

    @property
    def code(self) -> str:
        """Source of the steps, decorator lines included, in the order of definition."""
        snapshots = Snapshots(self._backend)
        document = self._snapshot("code")
        digests = {step["name"]: step["source"] for step in document["steps"]}
        if not document["with_text"]:
            return "\n\n".join(f"# {name}: the source was not kept" for name in digests)
        texts = {name: snapshots.text(digest) for name, digest in digests.items()}
        return "\n\n".join(text or f"# {name}: no source" for name, text in texts.items())

    @property
    def sources(self) -> dict[str, str]:
        """Whole source files and cells that the steps reach, by name."""
        snapshots = Snapshots(self._backend)
        files = self._snapshot("code")["sources"]
        return {name: snapshots.text(digest) for name, digest in files.items()}

    @property
    def environment(self) -> Document:
        """What surrounded it, by category, in the process that started it.

        The categories ``platform``, ``cpu``, ``gpu``, ``python``, ``packages``, ``conda``,
        ``variables`` and ``daskperiment`` can change results; ``git``, ``script``,
        ``working_directory``, ``shell``, ``memory``, ``numpy``, ``scipy`` and ``pandas`` only
        explain.  Users' own collectors come on top.
        """
        snapshots = Snapshots(self._backend)
        document = self._snapshot("environment")
        if "session" not in self._row.get("forgotten", {}):
            document |= self._snapshot("session")
        return with_texts(document, snapshots.text)

    def _check_kept(self, *fields: str) -> None:
        check_kept(self._row, *fields)

    def _snapshot(self, kind: str) -> Document:
        check_kept(self._row, kind)
        return Snapshots(self._backend).get(self._row[kind])

    def remove(self) -> None:
        """Put the trial aside: histories, searches and comparisons no longer see it.

        Its number stays reserved.  ``ex.restore(number)`` brings it back until
        :meth:`Experiment.gc` deletes its content.

        Raises
        ------
        TrialRunningError
            It has not ended: wait for it, or stop it.
        """
        known = self._known  # it is not there to be read afterwards
        removal.remove(self._trials, self.number)
        self._read = {**known, "ended_by": None}

    def forget(self, field: str, *, everywhere: bool = False) -> Forgotten:
        """Delete one part of the trial, so that its bytes are in no file of the store.

        What is asked for later is a ValueNotKeptError that tells when it was forgotten, or
        empty.  Takes time in proportion to the store; others may use it meanwhile.  After an
        interruption, forget the part again or collect with :meth:`Experiment.gc`.

        Parameters
        ----------
        field : str
            ``result``, ``parameters.NAME``, ``code``, ``environment``, ``session``, ``git``,
            ``configuration``, ``checkpoints``, ``output``, ``error`` (description and traceback),
            ``note``, ``tags``, ``usage``, ``metrics`` or ``metrics.NAME``, ``artifacts`` or
            ``artifacts.NAME``, ``persisted.STEP``, ``reuse`` (what is kept only for trials
            that may take it), or ``steps.previews`` (the shortened texts of all inputs).
        everywhere : bool
            Forget the same content also in all other trials that have ended, of any
            experiment of the store.

        Returns
        -------
        Forgotten
            Where it was forgotten and how much was deleted.  Content that other trials refer
            to stays for them; they are listed in ``held``.

        Raises
        ------
        FieldNotFoundError
            The trial has no such part; the message lists its parts.
        TrialRunningError
            It has not ended.

        Examples
        --------
        >>> import daskperiment
        >>> ex = daskperiment.Experiment("doc_forget", backend="memory://")
        >>> @ex.result
        ... def score(a):
        ...     return 10 / a
        >>> score(ex.parameter("a", default=4)).compute()
        2.5
        >>> trial = ex.latest
        >>> print(trial.forget("parameters.a"))
        Forgot parameters.a of trial 1 of 'doc_forget'.
        >>> trial.parameters
        {}
        """
        try:
            return forgetting.forget(
                self._backend, self.experiment, self.number, field, everywhere=everywhere
            )
        finally:
            self._read = self._trials.get(self.number)

    def diff(self, other: Trial) -> Difference:
        """What differs from it in another trial, also of another experiment or store."""
        return difference(self._side, other._side)

    def explain(self, other: Trial) -> Explanation:
        """Which changes moved its outputs to those of another trial, as from records alone."""
        return explain(self._side, other._side)

    @property
    def _side(self) -> Side:
        return Side(self._backend, self.experiment, self.number, self._row, self._trials.trust)

    def why(self, step: str, call: int = 0) -> str:
        """Why a call of a step has run, or from which trial its output was taken, in one sentence.

        It is compared with the latest of the twenty trials before it that called the step as
        often.

        Parameters
        ----------
        step : str
            Name of the step.
        call : int
            Which call of it in graph order, from 0.

        Raises
        ------
        StepNotFoundError
            The trial has no record of such a call.

        Examples
        --------
        >>> import daskperiment
        >>> ex = daskperiment.Experiment("doc_why", backend="memory://", reuse=True)
        >>> @ex.result
        ... def score(a):
        ...     return 10 / a
        >>> s = score(ex.parameter("a"))
        >>> s.compute(parameters={"a": 4}), s.compute(parameters={"a": 5})
        (2.5, 2.0)
        >>> s.compute(parameters={"a": 4})
        2.5
        >>> ex[2].why("score")
        "ran: input 'a' is 5, it was 4 in trial 1"
        >>> ex[3].why("score")
        'reused from trial 1'
        """
        return Reasons(self._trials, self.number, self._row, self._records).why(step, call)

    def persisted(self, step: str, call: int | None = None) -> Any:
        """Kept output of a step; see :meth:`Experiment.get_persisted`."""
        return Steps(self._backend, self.experiment).persisted(self._place, step, call)

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

    def reproduce(
        self, parameters: Mapping[str, Any] | None = None, *, env: Literal["uv"] | None = None,
        code: Literal["git"] | None = None,
    ) -> Reproduction:  # fmt: skip
        """Run it again from its record, and compare every step.

        The recorded sources run, with the recorded parameters, seed and numbers of threads and
        without reuse, in a process and a folder of their own: what became of the working tree
        does not matter.  The new trial names this one in :attr:`reproduces`.

        Parameters
        ----------
        parameters : mapping of str to value, optional
            Values that were not kept, such as secrets.
        env : {"uv"}, optional
            ``"uv"`` makes a virtual environment of the recorded Python and packages, which goes
            with the folder.
        code : {"git"}, optional
            ``"git"`` restores the files of the recorded commit and the changes since into the
            folder, for data and for modules whose sources were not recorded.

        Returns
        -------
        Reproduction
            Its ``match`` is ``bitwise``, ``tolerance``, ``different`` or ``error``, its ``steps``
            are a table.

        Raises
        ------
        OptionError
            ``env`` or ``code`` is something else, or there is no uv.
        """
        return reproduce(self._trials, self.number, parameters, env=env, code=code)

    @property
    def reproduces(self) -> Trial | None:
        """The trial that it has run again."""
        return self._linked("reproduces")

    @property
    def verdict(self) -> str | None:
        """What came of it, if it has run another trial again: the ``match`` of the reproduction.

        ``bitwise``, ``tolerance`` or ``different``; None where :attr:`reproduces` is.
        """
        return verdict_of(self._known)

    @property
    def reproductions(self) -> list[Trial]:
        """The trials that have run it again, each with its :attr:`verdict`."""
        found = self._trials.find({"reproduces": self.uid})
        return [
            Trial(self._backend, self.experiment, number, row, trust=self._trials.trust)
            for number, row in found
        ]

    def version(self, name: str | None) -> str:
        """The digest that the code of a step or helper had in it; QueryError where it has none."""
        return version(self._trials, self.number, name)

    @property
    def taints(self) -> list[Taint]:
        """Why some of its calls should not be used; see :meth:`Experiment.taint`."""
        return taints_of(self._trials.get(self.number))

    def untaint(self) -> None:
        """Let its calls be used again; other trials that are tainted stay so."""
        untaint(self._trials, self.number)

    def __repr__(self) -> str:
        return f"Trial({self.number}, {self.state.value}, experiment={self.experiment!r})"

    def _repr_html_(self) -> str:
        row = self._row
        table = notebooks.table(f"Trial {self.number} of {self.experiment}", facts(row))
        try:
            return table + self._picture(row)
        except Exception:  # the store is in trouble, or others wrote to it: there is the table
            return table

    def _picture(self, row: Document) -> str:
        from daskperiment.lineage.dag import dag
        from daskperiment.lineage.picture import picture

        records = self._records
        values = {name: document["preview"] for name, document in row["parameters"]}
        reasons = Reasons(self._trials, self.number, row, records)
        sentences = {
            record.place: reasons.why(*record.place)
            for record in records
            if record.why is not None or record.reused_from is not None
        }
        return picture(dag(records), values, sentences) if records else ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trial) and self.uid == other.uid

    def __hash__(self) -> int:
        return hash(self.uid)


class TrialList:
    """The trials of an experiment: iterate over them, count them, pick one by its number.

    Parameters
    ----------
    backend : Backend
        Where they are recorded.
    experiment : str
        Id of the experiment.
    trials : Trials, optional
        Their rows, where some are at hand.
    """

    def __init__(self, backend: Backend, experiment: str, trials: Trials | None = None) -> None:
        self._backend = backend
        self._experiment = experiment
        self._trials = Trials(backend, experiment) if trials is None else trials

    def __iter__(self) -> Iterator[Trial]:
        self._trials.bury()
        for number, row in self._trials.find():
            yield Trial(self._backend, self._experiment, number, row, trust=self._trials.trust)

    def __len__(self) -> int:
        return self._trials.count()

    def __getitem__(self, trial_id: int) -> Trial:
        number = check_number(trial_id)
        self._trials.bury()
        return Trial(self._backend, self._experiment, number, trust=self._trials.trust)

    def __repr__(self) -> str:
        return f"<{len(self)} trials of {self._experiment!r}>"

    def _repr_html_(self) -> str:
        newest = list(self._trials.find(newest=True, limit=_SHOWN))
        rows = {number: facts(row) for number, row in newest}
        try:
            shown = self._with_metrics(dict(newest), rows)
        except Exception:  # the store is in trouble, or others wrote to it: there are the rows
            shown = rows
        return notebooks.grid(f"Newest of {len(self)} trials of {self._experiment}", shown)

    def _with_metrics(
        self, rows: dict[int, Document], shown: Mapping[int, Mapping[str, str]]
    ) -> dict[int, dict[str, str]]:
        """The rows with a column behind them for each of the first few metrics."""
        from daskperiment.history.summaries import Summaries, stamp
        from daskperiment.spark import sparkline

        reader = Summaries(self._backend, self._experiment)
        saved = {n: reader.summary(row["uid"], stamp(row)) for n, row in rows.items()}
        metrics = list(dict.fromkeys(name for series in saved.values() for name in series))
        columns = dict.fromkeys((name for row in shown.values() for name in row), "")
        cells = {number: {**columns, **row} for number, row in shown.items()}
        for metric in metrics[:_METRICS]:
            name = metric
            while name in columns:
                name += " (metric)"
            columns[name] = ""
            for number, series in saved.items():
                if metric in series:
                    summary = series[metric]
                    title = f"{metric}: {summary.points} points up to epoch {summary.epoch}"
                    line = sparkline(summary.spark, title)
                    cells[number][name] = notebooks.Html(f"{line} {summary.last:.4g}")
                else:
                    cells[number][name] = ""
        return cells


def check_number(trial_id: object) -> int:
    """Return the number of a trial, or raise TrialIDNotFoundError for what is none."""
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
