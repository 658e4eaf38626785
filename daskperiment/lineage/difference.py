"""What differs between two trials."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

from daskperiment.backends.base import Backend
from daskperiment.errors import BackendError, SnapshotNotFoundError
from daskperiment.history.comparison import (
    ABSENT,
    Change,
    Code,
    CodeChange,
    changes_between,
    code_changes,
    comparable,
    environment_changes,
    text,
)
from daskperiment.history.metrics import Metrics, Point
from daskperiment.history.places import Place, Slot, Trust
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.steps import Steps
from daskperiment.history.trials import duration
from daskperiment.records import TrialState
from daskperiment.serializers import preview
from daskperiment.typing import JSON, Document

_LONGEST = 1000
"""Characters of JSON that a value may have; a longer one is shown by its preview."""


class Side(NamedTuple):
    """One of the two trials.

    Parameters
    ----------
    backend : Backend
        Where it is recorded.
    experiment : str
        Id of its experiment.
    number : int
        Its number.
    row : dict
        Its row.
    trust : str
        Which pickles of a shared store the handles of its values load.
    """

    backend: Backend
    experiment: str
    number: int
    row: Document
    trust: Trust = "signed"

    def __str__(self) -> str:
        return f"trial {self.number} of {self.experiment!r}"

    def shown(self, slot: Slot, kept: Document | None) -> Any:
        """A value of it, or a handle; nothing is unpickled."""
        place = Place(self.backend, self.experiment, self.row["uid"], self.trust)
        return ABSENT if kept is None else place.shown(slot, kept)

    def snapshot(self, kind: str) -> Document:
        """Its snapshot of a kind; SnapshotNotFoundError where there is none any more."""
        return Snapshots(self.backend).get(self._digest(kind))

    def code(self) -> Code:
        """Its code; SnapshotNotFoundError where there is none any more."""
        return Code.kept(Snapshots(self.backend), self._digest("code"))

    def _digest(self, kind: str) -> str:
        if (digest := self.row.get(kind)) is None:
            raise SnapshotNotFoundError(f"{self} has no {kind}: it was removed or never recorded")
        return str(digest)


@dataclass(frozen=True, repr=False)
class Difference:
    """What differs between two trials, and nothing else.

    It is true when anything differs; how long the trials took does not count.  ``str()`` is a
    report for people, :meth:`document` the same as JSON.

    Attributes
    ----------
    a, b : Side
        The trials.
    parameters, seed, state, result, metrics : tuple of Change
        Values, each with a ``name``, ``old`` (of a) and ``new`` (of b).  Of a metric they are
        the last ones, which may be equal where earlier ones differ.  A value that is not plain
        data is a handle with its preview; it is never unpickled.
    packages, environment, session : tuple of Change
        What surrounded the trials, named like ``cpu.model``; the session explains a trial, but
        does not change its results.
    outputs : tuple of Change
        Digests of the outputs of step calls, named like ``clean[0]``.
    added, removed : tuple of str
        Steps that only b, or only a, has.
    code : tuple of (str, CodeChange)
        Steps that both have, each with a function that it reaches and that differs.
    seconds : Change
        How long the trials took.
    notes : tuple of str
        What could not be compared, and why.
    """

    a: Side
    b: Side
    parameters: tuple[Change, ...]
    seed: tuple[Change, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    code: tuple[tuple[str, CodeChange], ...]
    packages: tuple[Change, ...]
    environment: tuple[Change, ...]
    session: tuple[Change, ...]
    metrics: tuple[Change, ...]
    outputs: tuple[Change, ...]
    state: tuple[Change, ...]
    result: tuple[Change, ...]
    seconds: Change
    notes: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.code or any(self._sections.values()))

    @property
    def _sections(self) -> dict[str, tuple[Change, ...]]:
        return {name: getattr(self, name) for name in SECTIONS}

    def document(self) -> Document:
        """The difference as JSON of a stable shape.

        ``a`` and ``b`` name the trials, ``differs`` says whether anything differs.  Each of
        ``parameters``, ``seed``, ``packages``, ``environment``, ``session``, ``metrics``,
        ``outputs``, ``state`` and ``result`` is a list of ``name``, ``a`` and ``b``, without
        the key of a side that has no such value.  NaN, infinities and what is long or not plain
        data are texts.  ``code`` has ``added``, ``removed`` and ``changed`` steps, ``duration``
        seconds, and ``notes`` tell what could not be compared.
        """
        changed = [
            {"step": step, "function": change.function, "what": change.what,
             "diff": change.diff(context=3, limit=None)}
            for step, change in self.code
        ]  # fmt: skip
        return {
            "a": _named(self.a),
            "b": _named(self.b),
            "differs": bool(self),
            **{name: list(map(_cells, changes)) for name, changes in self._sections.items()},
            "code": {
                "added": list(self.added),
                "removed": list(self.removed),
                "changed": changed,
            },
            "duration": {"a": self.seconds.old, "b": self.seconds.new},
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        one, other = str(self.a), str(self.b)
        if self.a.experiment == self.b.experiment:
            one = one.partition(" of ")[0]
        lines = [f"{one} -> {other}"]
        for title, entries in self._report():
            shown = [line for entry in entries for line in entry.split("\n")]
            lines += shown if title in _SINGLE else [title, *(f"  {line}" for line in shown)]
        if not self:
            lines.append("nothing differs")
        took = [duration(seconds) or "unknown" for seconds in self.seconds[1:]]
        return "\n".join([*lines, f"duration: {' -> '.join(took)}"])

    def _report(self) -> Iterator[tuple[str, list[str]]]:
        """Titles, and the lines below each."""
        for name, changes in self._sections.items():
            if name == "packages" and (code := list(self._code_report())):
                yield "code", code
            if changes:
                yield name, list(map(SECTIONS[name], changes))
        if self.notes:
            yield "not compared", list(self.notes)

    def _code_report(self) -> Iterator[str]:
        yield from (f"step {step!r} only in the second" for step in self.added)
        yield from (f"step {step!r} only in the first" for step in self.removed)
        for step, change in self.code:
            what = f", {change.what}" if change.what else ""
            yield "\n".join(filter(None, (f"step {step!r}{what}", change.diff(context=3))))

    def __repr__(self) -> str:
        verdict = "different" if self else "equal"
        return f"<Difference of {self.a} and {self.b}: {verdict}>"

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr><th>{escape(title)}</th><td><pre>{escape(entry)}</pre></td></tr>"
            for title, entries in self._report()
            for entry in entries
        )
        return f"<table><caption>{escape(f'{self.a} -> {self.b}')}</caption>{body}</table>"


def _lines(change: Change) -> str:
    return f"{change.name}: {text(change.old)} -> {text(change.new)}"


def _values(change: Change) -> str:
    return f"{change.name}: {preview(change.old)} -> {preview(change.new)}"


def _metrics(change: Change) -> str:
    note = " (earlier values differ)" if repr(change.old) == repr(change.new) else ""
    return _values(change) + note


def _digests(change: Change) -> str:
    return f"{change.name}: {text(change.old)[:19]} -> {text(change.new)[:19]}"


_SINGLE = ("state", "seed", "result")
SECTIONS: dict[str, Callable[[Change], str]] = {
    "state": _lines,
    "parameters": _values,
    "seed": _lines,
    "packages": _lines,
    "environment": _lines,
    "session": _lines,
    "metrics": _metrics,
    "outputs": _digests,
    "result": _values,
}
"""Parts of a difference that are lists of changes, each with how a line of it is written."""


def difference(a: Side, b: Side) -> Difference:
    """Compare two trials, of one experiment or of two.

    What is gone from the store is told in the notes, not by an error.

    Examples
    --------
    >>> import daskperiment
    >>> ex = daskperiment.Experiment("doc_difference", backend="memory://", seed=1)
    >>> @ex.result
    ... def score(a):
    ...     return 10 / a
    >>> s = score(ex.parameter("a"))
    >>> s.compute(parameters={"a": 4}), s.compute(parameters={"a": 5})
    (2.5, 2.0)
    >>> ex.diff(1, 2).document()["parameters"]
    [{'name': 'a', 'a': 4, 'b': 5}]
    """
    notes = [note for side in (a, b) for note in _missing(side)]
    added, removed, code = noting(notes, _code, a, b, notes) or ((), (), ())
    surroundings = noting(notes, _surroundings, "environment", a, b, notes) or {}
    return Difference(
        a,
        b,
        parameters=tuple(parameter_changes(a, b, notes)),
        seed=tuple(changes_between(a.row["seed"], b.row["seed"], "seed")),
        added=added,
        removed=removed,
        code=code,
        packages=tuple(surroundings.pop("packages", ())),
        environment=tuple(_flat(surroundings)),
        session=tuple(_flat(noting(notes, _surroundings, "session", a, b, notes) or {})),
        metrics=tuple(_series(a, b)),
        outputs=tuple(_outputs(a, b)),
        state=tuple(changes_between(a.row["state"], b.row["state"], "state")),
        result=tuple(result_changes(a, b, notes)),
        seconds=Change("duration", a.row.get("seconds"), b.row.get("seconds")),
        notes=tuple(notes),
    )


def _missing(side: Side) -> Iterator[str]:
    if not TrialState(side.row["state"]).ended:
        yield f"{side} is still running"
    for name in side.row.get("forgotten", ()):
        yield f"{name} of {side} was forgotten"


def noting(notes: list[str], compare: Callable[..., Any], *arguments: Any) -> Any:
    """What a comparison gives; where something of it is gone None, and a note that says so."""
    try:
        return compare(*arguments)
    except BackendError as error:
        notes.append(str(error))
        return None


def parameter_changes(a: Side, b: Side, notes: list[str]) -> Iterator[Change]:
    """Parameters that differ; what could not be compared is added to the notes."""
    one, other = dict(a.row["parameters"]), dict(b.row["parameters"])
    for name in dict.fromkeys((*one, *other)):
        slot = ("parameters", name)
        yield from _kept_changes(slot, a, b, one.get(name), other.get(name), notes)


def result_changes(a: Side, b: Side, notes: list[str]) -> Iterator[Change]:
    """The result, where it differs."""
    yield from _kept_changes(("result",), a, b, _result(a), _result(b), notes)


def _result(side: Side) -> Document | None:
    kept: Document | None = side.row.get("result")
    return kept if side.row["state"] == TrialState.COMPLETE else None


def _kept_changes(
    slot: Slot, a: Side, b: Side, one: Document | None, other: Document | None, notes: list[str]
) -> Iterator[Change]:
    name, old, new = slot[-1], a.shown(slot, one), b.shown(slot, other)
    if one and other and "json" in one and "json" in other:
        yield from changes_between(old, new, name)
    elif one and other and (reason := one.get("reason") or other.get("reason")):
        if not comparable(one.get("keyed"), other.get("keyed")):
            notes.append(f"{name} was not kept: {reason}")
        elif one["keyed"] != other["keyed"]:
            yield Change(name, old, new)
    elif _identity(one) != _identity(other):
        yield Change(name, old, new)


def _identity(kept: Document | None) -> tuple[Any, ...] | None:
    if kept is None:
        return None
    return tuple(kept.get(field) for field in ("type", "json", "codec", "digest"))


def _code(
    a: Side, b: Side, notes: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, CodeChange], ...]]:
    old, new = a.code(), b.code()
    both = [step for step in new.steps if step in old.steps]
    notes += (
        f"the code of step {step!r}: its digests are of different schemes"
        for step in both
        if not comparable(old.steps[step]["digest"], new.steps[step]["digest"])
    )
    return (
        tuple(step for step in new.steps if step not in old.steps),
        tuple(step for step in old.steps if step not in new.steps),
        tuple((step, change) for step in both for change in code_changes(old, new, step)),
    )


def _surroundings(kind: str, a: Side, b: Side, notes: list[str]) -> dict[str, list[Change]]:
    one, other = a.snapshot(kind), b.snapshot(kind)
    for here, there, side in ((one, other, a), (other, one, b)):
        notes += (f"{name}: captured for {side} only" for name in here if name not in there)
    return environment_changes(one, other)


def _flat(categories: Mapping[str, list[Change]]) -> Iterator[Change]:
    for category, changes in categories.items():
        for name, old, new in changes:
            yield Change(f"{category}.{name}".rstrip("."), old, new)


def _series(a: Side, b: Side) -> Iterator[Change]:
    one, other = (Metrics(side.backend, side.experiment).read(side.row["uid"]) for side in (a, b))
    for name in dict.fromkeys((*one, *other)):
        old, new = one.get(name, []), other.get(name, [])
        if repr([point[:2] for point in old]) != repr([point[:2] for point in new]):
            yield Change(name, _last(old), _last(new))


def _last(points: list[Point]) -> Any:
    return points[-1].value if points else ABSENT


def _outputs(a: Side, b: Side) -> Iterator[Change]:
    one, other = (dict(_digests_of(side)) for side in (a, b))
    for name in dict.fromkeys((*one, *other)):
        yield from changes_between(one.get(name, ABSENT), other.get(name, ABSENT), name)


def _digests_of(side: Side) -> Iterator[tuple[str, str]]:
    for record in Steps(side.backend, side.experiment).read(side.row["uid"]):
        if record.output is not None:
            yield f"{record.step}[{record.call}]", record.output


def _named(side: Side) -> Document:
    return {"experiment": side.experiment, "number": side.number, "uid": side.row["uid"]}


def _cells(change: Change) -> Document:
    sides = {"a": change.old, "b": change.new}
    present = {side: _plain(value) for side, value in sides.items() if value is not ABSENT}
    return {"name": change.name, **present}


def _plain(value: Any) -> JSON:
    try:
        encoded = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return preview(value)
    return json.loads(encoded) if len(encoded) <= _LONGEST else preview(value)
