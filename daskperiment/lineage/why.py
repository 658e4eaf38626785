"""Why: one sentence for each call of a trial, which tells why it has run or where it comes from.

A call is compared with the latest of the trials before it that has called the same step as often.
Only some trials are looked at, so that the answer takes no longer in a long history.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from daskperiment.errors import BackendError, StepNotFoundError
from daskperiment.execution.offers import NEW, OFF
from daskperiment.fingerprint.borders import Packages, packages_digest
from daskperiment.history.comparison import Code, CodeChange, code_changes
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.steps import Steps
from daskperiment.history.trials import Trials
from daskperiment.records import Argument, Number, Origin, StepRecord
from daskperiment.typing import Document

MOST = 20
"""Trials that are looked at, at most."""
_PREVIEW = 40
Place: TypeAlias = tuple[str, int]
"""A step, and which call of it."""


class Before(NamedTuple):
    """The latest call before one.

    Parameters
    ----------
    number : int
        Its trial.
    row : dict
        The row of that.
    record : StepRecord
        What it did.
    """

    number: int
    row: Document
    record: StepRecord


class Past:
    """The latest trials before one, each read once and not before it is needed.

    Parameters
    ----------
    trials : Trials
        The trials of its experiment.
    number : Number, optional
        The trial; None for one that has not begun.
    """

    def __init__(self, trials: Trials, number: Number | None = None) -> None:
        self._trials = trials
        self._steps = Steps(trials.backend, trials.name)
        self._snapshots = Snapshots(trials.backend)
        self._codes: dict[str, Code | None] = {}
        after = number if isinstance(number, int) else None
        self._rest = trials.find(newest=True, limit=MOST, after=after)
        self._read: list[tuple[int, Document, list[StepRecord]]] = []

    def _all(self) -> Iterator[tuple[int, Document, list[StepRecord]]]:
        yield from self._read
        for number, row in self._rest:
            self._read.append((number, row, self._steps.read(row["uid"])))
            yield self._read[-1]

    def latest(self, place: Place) -> Before | None:
        """The latest call; None where there is none in these trials."""
        for number, row, records in self._all():
            for record in reversed(records):
                if record.place == place:
                    return Before(number, row, record)
        return None

    @property
    def whole(self) -> bool:
        """Whether these are all trials that there are."""
        return sum(1 for _ in self._all()) < MOST

    def has_run(self, step: str, fingerprint: str | None) -> bool:
        """Whether one of them has called a step with this code."""
        return any(
            (record.step, record.fingerprint) == (step, fingerprint)
            for _, _, records in self._all()
            for record in records
        )

    def never(self, place: Place) -> str:
        """What to say where there is no such call."""
        step, call = place
        called = any(r.step == step for _, _, records in self._all() for r in records)
        whose = "no earlier trial" if self.whole else f"none of the {MOST} trials before"
        if call and called:
            return f"{whose} called this step more than {call} times"
        return f"{whose} ran this step"

    def code(self, digest: str | None) -> Code | None:
        """The code of a trial by its digest; None where it is not kept any more."""
        if digest is not None and digest not in self._codes:
            try:
                self._codes[digest] = Code.kept(self._snapshots, digest)
            except BackendError:
                self._codes[digest] = None
        return None if digest is None else self._codes[digest]


class Call(NamedTuple):
    """A call that is compared.

    Parameters
    ----------
    place : tuple of (str, int)
        The step, and which call of it.
    fingerprint : str or None
        Digest of its code.
    inputs : tuple of Argument
        Its arguments.
    code : Code or None
        The code of its trial.
    seed : int or None
        The seed of its trial.
    packages : str
        How exactly versions count.
    """

    place: Place
    fingerprint: str | None
    inputs: tuple[Argument, ...]
    code: Code | None
    seed: int | None
    packages: Packages = "exact"


class Reason(NamedTuple):
    """Why a call runs.

    Parameters
    ----------
    text : str
        As a clause.
    root : str or None
        Where that lies in another call, what became of that and why.
    """

    text: str
    root: str | None = None


def compared(past: Past, call: Call, above: Callable[[Sequence[Origin]], str | None]) -> Reason:
    """What is new in a call.

    Parameters
    ----------
    past : Past
        The trials before.
    call : Call
        The call.
    above : callable
        Tells what became of the first of some calls that it was made from; None where it was made
        from none.

    Returns
    -------
    Reason
        The first cause.
    """
    before = past.latest(call.place)
    if before is None:
        return Reason(past.never(call.place))
    code = past.code(before.row.get("code"))
    if call.fingerprint != before.record.fingerprint:
        return Reason(_code(code, call.code, call.place[0], before))
    return _input(call, before, above) or Reason(
        _package(code, call) or _seed(call, before) or _nothing(before)
    )


def _code(old: Code | None, new: Code | None, step: str, before: Before) -> str:
    if old is not None and new is not None and step in old.steps and step in new.steps:
        changes = code_changes(old, new, step)
        if changes:
            return _change(changes[0])
    return f"its code is not that of trial {before.number}"


def _change(change: CodeChange) -> str:
    old, new = change.digests
    where = "" if change.line is None else f" at line {change.line}"
    if change.own:
        return f"{change.what or 'its code'} changed{where}"
    if old is None or new is None:
        return f"helper {change.function} {'is new' if old is None else 'is gone'}"
    return f"{change.what} changed{where}"


def _input(
    call: Call, before: Before, above: Callable[[Sequence[Origin]], str | None]
) -> Reason | None:
    known = {argument.name: argument for argument in before.record.inputs}
    for argument in call.inputs:
        old = known.pop(argument.name, None)
        if old is None or old.digest != argument.digest:
            return _differs(argument, old, before.number, above)
    gone = next(iter(known), None)
    return None if gone is None else Reason(f"input {gone!r} is gone")


def _differs(
    argument: Argument, old: Argument | None, number: int,
    above: Callable[[Sequence[Origin]], str | None],
) -> Reason:  # fmt: skip
    name, now = argument.name, _short(argument.preview)
    root = above(argument.origins)
    if root is not None:
        return Reason(f"its input {name!r} is new: {root}", root)
    if old is None:
        return Reason(f"input {name!r} is new: {now}")
    then = _short(old.preview)
    if then == now:
        return Reason(f"input {name!r} is not what it was in trial {number}")
    return Reason(f"input {name!r} is {now}, it was {then} in trial {number}")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _PREVIEW else f"{line[: _PREVIEW - 1]}…"


def _package(old: Code | None, call: Call) -> str | None:
    step = call.place[0]
    if old is None or call.code is None or step not in old.steps or step not in call.code.steps:
        return None
    before, now = (code.steps[step].get("borders") or {} for code in (old, call.code))
    if packages_digest(before, call.packages) == packages_digest(now, call.packages):
        return None
    for name in sorted({*before, *now}):
        one, other = before.get(name, "none"), now.get(name, "none")
        if one != other:
            return f"{'' if name == 'python' else 'package '}{name} {one} -> {other}"
    return None


def _seed(call: Call, before: Before) -> str | None:
    seed = before.row.get("seed")
    if not before.record.drew or seed == call.seed:
        return None
    return f"the seed is {call.seed}, it was {seed} in trial {before.number}"


def _nothing(before: Before) -> str:
    if before.record.outcome == "failed":
        return f"it has failed in trial {before.number}"
    if before.record.outcome == "pruned":
        return f"trial {before.number} was pruned in it"
    return f"what it gave in trial {before.number} was not kept to be reused"


class Reasons:
    """Why the calls of one trial have run, or not.

    Parameters
    ----------
    trials : Trials
        The trials of its experiment.
    number : Number
        The trial.
    row : dict
        Its row.
    records : sequence of StepRecord
        Its step records, which name other trials by their numbers.
    """

    def __init__(
        self, trials: Trials, number: Number, row: Document, records: Sequence[StepRecord]
    ) -> None:
        self._past = Past(trials, number)
        self._row = row
        self._records = {record.place: record for record in records}

    def why(self, step: str, call: int = 0) -> str:
        """The sentence for a call.

        Raises
        ------
        StepNotFoundError
            The trial has no such call.
        """
        record = self._records.get((step, call))
        if record is None:
            names = {name for name, _ in self._records}
            known = ", ".join(sorted(names)) or "none"
            what = f"No call {call!r} of step {step!r}" if step in names else f"No step {step!r}"
            raise StepNotFoundError(f"{what} ran in this trial; those that ran: {known}")
        if record.outcome == "reused":
            return f"reused from trial {record.reused_from}"
        ends = {"failed": "ran and failed", "pruned": "ran and was pruned"}
        verb = ends.get(record.outcome, "ran")
        return f"{verb}: {self._reason(record, frozenset()).text}"

    def _reason(self, record: StepRecord, seen: frozenset[Place]) -> Reason:
        if record.why is None:
            return Reason(OFF)
        if record.why != NEW:
            return Reason(str(record.why))
        call = Call(
            record.place, record.fingerprint, record.inputs,
            self._past.code(self._row.get("code")), self._row.get("seed"),
        )  # fmt: skip
        return compared(
            self._past, call, functools.partial(self._above, seen=seen | {record.place})
        )

    def _above(self, origins: Sequence[Origin], seen: frozenset[Place]) -> str | None:
        reused: str | None = None
        for kind, step, call in origins:
            record = self._records.get((step, call)) if kind == "step" else None
            if record is None or record.place in seen:
                continue
            if record.outcome != "reused":
                reason = self._reason(record, seen)
                return reason.root or f"{self.label(record.place)} ran: {reason.text}"
            reused = reused or gives(self.label(record.place), record.reused_from)
        return reused

    def label(self, place: Place) -> str:
        """Name of a step, with the call where there are several."""
        return label(place, [step for step, _ in self._records])


def gives(name: str, number: object) -> str:
    """What is said of a call that was taken from a trial."""
    return f"{name} gives what it gave in trial {number}"


def label(place: Place, steps: Sequence[str]) -> str:
    """Name of a step, with the call where it is called more than once.

    Examples
    --------
    >>> label(("fit", 1), ["load", "fit", "fit"]), label(("load", 0), ["load", "fit", "fit"])
    ('fit[1]', 'load')
    """
    step, call = place
    return f"{step}[{call}]" if steps.count(step) > 1 else step
