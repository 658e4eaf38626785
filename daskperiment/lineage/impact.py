"""Impact: what descends from a version of a step or helper, or from an input.

Only records are read: those of all trials, of all experiments of the backend.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from daskperiment.backends.base import Backend
from daskperiment.errors import BackendError, QueryError
from daskperiment.fingerprint.values import try_digest
from daskperiment.history import taints
from daskperiment.history.artifacts import Artifacts
from daskperiment.history.comparison import Code
from daskperiment.history.experiments import experiments
from daskperiment.history.places import Place as Where
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.steps import Steps, with_numbers
from daskperiment.history.taints import check_reason
from daskperiment.history.trials import Trials
from daskperiment.lineage.dag import node_of
from daskperiment.lineage.descent import descent
from daskperiment.lineage.why import label
from daskperiment.records import StepRecord
from daskperiment.serializers import preview
from daskperiment.tracking import environment
from daskperiment.typing import Document

if TYPE_CHECKING:
    import pandas as pd

Place: TypeAlias = tuple[str, int]
COLUMNS = ("experiment", "trial", "state", "calls", "result", "artifacts", "reused")
_PREFIX = re.compile(r"(?:v\d+:)?[0-9a-f]{4,}\Z")


class Affected(NamedTuple):
    """A trial that something has reached.

    Parameters
    ----------
    experiment : str
        Id of its experiment.
    number : int
        Its number.
    state : str
        Its state.
    places : tuple of (str, int)
        The calls, in the order in which they ended.
    calls : tuple of str
        The same as people read it.
    result : str or None
        Preview of its result where that descends from it.
    artifacts : tuple of str
        Names of its artifacts, of whichever call.
    reused : tuple of (str, str)
        Calls that were taken from another trial, each with its number.
    """

    experiment: str
    number: int
    state: str
    places: tuple[Place, ...]
    calls: tuple[str, ...]
    result: str | None
    artifacts: tuple[str, ...]
    reused: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"trial {self.number} of {self.experiment!r}: {', '.join(self.calls)}"]
        if self.result is not None:
            lines.append(f"  result {self.result}")
        if self.artifacts:
            lines.append(f"  artifacts {', '.join(self.artifacts)}")
        lines += (f"  {call} reused from trial {number}" for call, number in self.reused)
        return "\n".join(lines)


@dataclass(frozen=True, repr=False)
class Impact:
    """What descends from something; true when there is anything.

    Attributes
    ----------
    of : str
        What it was asked for.
    affected : tuple of Affected
        The trials, by experiment and number.
    notes : tuple of str
        What could not be looked at, and why.
    """

    of: str
    affected: tuple[Affected, ...]
    notes: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.affected)

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each trial, with the attributes of `Affected` that people read."""
        import pandas as pd

        rows = [
            (e.experiment, e.number, e.state, list(e.calls), e.result, list(e.artifacts),
             dict(e.reused))
            for e in self.affected
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def document(self) -> Document:
        """The impact as JSON of a stable shape."""
        return {
            "of": self.of,
            "trials": [
                {"experiment": e.experiment, "trial": e.number, "state": e.state,
                 "calls": list(e.calls), "result": e.result, "artifacts": list(e.artifacts),
                 "reused": [{"call": call, "from": number} for call, number in e.reused]}
                for e in self.affected
            ],
            "notes": list(self.notes),
        }  # fmt: skip

    def __str__(self) -> str:
        count = len(self.affected)
        trials = {0: "no trial descends", 1: "1 trial descends"}.get(
            count, f"{count} trials descend"
        )
        lines = [f"{trials} from {self.of}"]
        lines += (f"  {line}" for each in self.affected for line in str(each).split("\n"))
        return "\n".join([*lines, *(f"not looked at: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return f"<Impact of {self.of}: {len(self.affected)} trials>"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


class Selector:
    """What calls are asked for: by a step or helper, a version of its code, an input.

    Parameters
    ----------
    name : str, optional
        A step, or the full name of a function that steps call.
    code : str, optional
        Beginning of the digest of its code.
    value : str, optional
        Beginning of the digest of an input, or of a file that was read.

    Raises
    ------
    QueryError
        Nothing is asked for, or a digest is none.
    """

    def __init__(self, name: str | None, code: str | None, value: str | None) -> None:
        if code is not None and name is None:
            raise QueryError("code is a version of a step or helper: name it, too")
        if name is None and value is None:
            raise QueryError(
                "Ask for a step or helper, such as impact('clean'), for a version of it, such as "
                "impact('clean', code=7), or for an input, such as impact(input=Path('data.csv'))"
            )
        self._name, self._code, self._value = name, _hex(code), _hex(value)

    def __str__(self) -> str:
        parts = [] if self._name is None else [self._name]
        if self._code is not None:
            parts.append(f"in the version {self._code[:12]}")
        if self._value is not None:
            parts.append(f"{'with ' if parts else ''}the input {self._value[:12]}")
        return " ".join(parts)

    def matches(self, record: StepRecord, code: Callable[[], Code | None]) -> bool:
        """Whether a call is asked for."""
        return self._is_code(record, code) and self._is_input(record)

    def _is_code(self, record: StepRecord, code: Callable[[], Code | None]) -> bool:
        if self._name is None:
            return True
        if record.step == self._name:
            return self._code is None or _begins(record.fingerprint, self._code)
        known = code()
        step = None if known is None else known.steps.get(record.step)
        digest = None if step is None else step["functions"].get(self._name)
        return digest is not None and (self._code is None or _begins(digest, self._code))

    def _is_input(self, record: StepRecord) -> bool:
        if self._value is None:
            return True
        digests = [argument.digest for argument in record.inputs]
        digests += (record.files or {}).values()
        return any(_begins(digest, self._value) for digest in digests)


def _hex(digest: str | None) -> str | None:
    if digest is None:
        return None
    if not isinstance(digest, str) or not _PREFIX.match(digest):
        raise QueryError(f"{preview(digest, 80)} is no beginning of a digest, such as '77de90'")
    return digest.rpartition(":")[2]


def _begins(digest: object, prefix: str) -> bool:
    return isinstance(digest, str) and digest.rpartition(":")[2].startswith(prefix)


def input_digest(value: Any) -> str:
    """The digest of an input that is given as a value, as the path of a file, or as a digest.

    Raises
    ------
    QueryError
        The value has no digest.
    """
    if isinstance(value, str) and _PREFIX.match(value):
        return value
    digest, reason = try_digest(value, "input")
    if digest is None:
        raise QueryError(f"What descends from this input cannot be found: {reason}")
    return digest


def impact(backend: Backend, selector: Selector, names: Sequence[str] | None = None) -> Impact:
    """What descends from the calls that a selector matches, in all experiments of a backend.

    ``names`` are those experiments, where they are known.
    """
    affected: list[Affected] = []
    notes: list[str] = []
    for name in experiments(backend) if names is None else names:
        look = Look(Trials(backend, name), selector)
        for number, row in look.trials.find():
            try:
                found = look.at(number, row)
            except BackendError as error:
                notes.append(f"trial {number} of {name!r}: {error}")
                continue
            if found is not None:
                affected.append(found)
    return Impact(str(selector), tuple(affected), tuple(notes))


def taint(
    backend: Backend, selector: Selector, reason: str, names: Sequence[str] | None = None
) -> Impact:
    """Mark what descends from the calls that a selector matches; errors as for `check_reason`."""
    text = check_reason(reason)
    found = impact(backend, selector, names)
    by = environment.process()["user"]
    for each in found.affected:
        taints.taint(Trials(backend, each.experiment), each.number, each.places, text, by)
    return found


class Selects(Protocol):
    """Whatever says which calls are asked for."""

    def matches(self, record: StepRecord, code: Callable[[], Code | None]) -> bool:
        """Whether a call is one; ``code`` gives the code of its trial."""


class Look:
    """A look at the trials of one experiment.

    Parameters
    ----------
    trials : Trials
        The trials.
    selector : Selects
        Which calls are asked for.
    """

    def __init__(self, trials: Trials, selector: Selects) -> None:
        self.trials = trials
        self._selector = selector
        self._steps = Steps(trials.backend, trials.name)
        self._snapshots = Snapshots(trials.backend)
        self._codes: dict[str, Code | None] = {}

    def at(self, number: int, row: Document) -> Affected | None:
        """What a trial has of it; None where it has nothing."""
        records = {record.place: record for record in self._steps.read(row["uid"])}
        reached = descending(
            list(records.values()),
            lambda record: self._selector.matches(record, lambda: self._code(row.get("code"))),
        )
        if not reached:
            return None
        names = [step for step, _ in records]
        used = {(step, call) for record in records.values() for argument in record.inputs
                for kind, step, call in argument.origins if kind == "step"}  # fmt: skip
        ends = any(place not in used for place in reached)
        result = row.get("result", {}).get("preview") if ends else None
        taken = with_numbers(
            [records[p] for p in reached if records[p].reused_from], self.trials.number_of
        )
        place = Where(self.trials.backend, self.trials.name, row["uid"])
        return Affected(
            self.trials.name, number, str(row["state"]), tuple(reached),
            tuple(label(each, names) for each in reached), result,
            tuple(Artifacts(place).read()),
            tuple((label(each.place, names), str(each.reused_from)) for each in taken),
        )  # fmt: skip

    def _code(self, digest: str | None) -> Code | None:
        if digest is None:
            return None
        if digest not in self._codes:
            try:
                self._codes[digest] = Code.kept(self._snapshots, digest)
            except BackendError:
                self._codes[digest] = None
        return self._codes[digest]


def descending(records: Sequence[StepRecord], matches: Callable[[StepRecord], bool]) -> list[Place]:
    """The calls that match, and those that were made from them, in the order of the records.

    Examples
    --------
    >>> from daskperiment.records import Argument
    >>> def record(step, *above):
    ...     made = tuple(Argument("x", None, "", (("step", name, 0),)) for name in above)
    ...     return StepRecord("0f", step, 0, made, None, None, 0, False, False, {}, "", "", 0,
    ...                       0.0, 0.5, "ran")
    >>> graph = [record("load"), record("clean", "load"), record("score", "clean")]
    >>> descending(graph, lambda record: record.step == "clean")
    [('clean', 0), ('score', 0)]
    """
    start = [node_of(record) for record in records if matches(record)]
    reached = {*start, *descent(records, start).below}
    return [record.place for record in records if node_of(record) in reached]


def version(trials: Trials, number: int, name: str | None) -> str:
    """The digest that the code of a step or helper had in a trial.

    Raises
    ------
    QueryError
        It knows neither a step nor a function of this name.
    """
    row = trials.get(number)
    for record in Steps(trials.backend, trials.name).read(row["uid"]):
        if record.step == name and record.fingerprint is not None:
            return record.fingerprint
    known: Mapping[str, Document] = {}
    if (digest := row.get("code")) is not None:
        known = Code.kept(Snapshots(trials.backend), digest).steps
    for step in known.values():
        if name is not None and name in step["functions"]:
            return str(step["functions"][name])
    raise QueryError(f"Trial {number} has called neither a step nor a function {name!r}")
