"""Explain: walk the graphs of two trials and tell which changes moved the outputs.

Only records are read.  A call is *moved* when its output is another one.  What is new in a moved
call, beside inputs that moved calls have made, is a cause; what is new in a call that was not
moved is harmless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import NamedTuple, TypeAlias

from daskperiment.errors import BackendError
from daskperiment.history.comparison import (
    ABSENT,
    Change,
    Code,
    CodeChange,
    changes_between,
    code_changes,
    comparable,
    environment_changes,
)
from daskperiment.history.inputs import files, outside, variables
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.steps import Steps
from daskperiment.lineage.difference import Side, noting, parameter_changes, result_changes
from daskperiment.lineage.explanation import Cause, Explanation, Step
from daskperiment.records import Argument, StepRecord, TrialState
from daskperiment.serializers import preview

Place: TypeAlias = tuple[str, int]
Records: TypeAlias = Mapping[Place, StepRecord]
_PREVIEW = 60


class _Key(NamedTuple):
    """Which cause it is; further steps in which it acts are added to it."""

    kind: str
    name: str
    change: str
    diff: str = ""


def explain(a: Side, b: Side) -> Explanation:
    """Tell which changes moved the outputs of trial ``a`` to those of trial ``b``.

    What is gone from the store is told in the notes, not by an error.

    Examples
    --------
    >>> import daskperiment
    >>> ex = daskperiment.Experiment("doc_explain", backend="memory://", seed=1)
    >>> @ex.result
    ... def score(a):
    ...     return 10 / a
    >>> s = score(ex.parameter("a"))
    >>> s.compute(parameters={"a": 4}), s.compute(parameters={"a": 5})
    (2.5, 2.0)
    >>> print(ex.explain(1, 2))
    trial 1 of 'doc_explain' -> trial 2 of 'doc_explain'
    result: 2.5 -> 2.0
    first difference: the output of step score
      parameter a: 4 -> 5 (score)
    """
    return _Walk(a, b).explanation()


class _Walk:
    """The two graphs, and what was found in them so far."""

    def __init__(self, a: Side, b: Side) -> None:
        self._a, self._b = a, b
        self._notes: list[str] = []
        self._old, self._new = (_records(side) for side in (a, b))
        self._order = _in_graph_order(self._old, self._new)
        self._parameters = {change.name: change for change in parameter_changes(a, b, self._notes)}
        self._codes: list[Code | None] = [noting(self._notes, side.code) for side in (a, b)]
        self._environments: dict[str, dict[str, list[Change]]] = {}
        self._helpers: dict[object, CodeChange] = {}
        self._renamed = _renamed(self._old, self._new)
        self._hides_threads = False
        self._moved: set[Place] = set()
        self._causes: dict[_Key, dict[Place, bool]] = {}
        self._harmless: dict[_Key, dict[Place, bool]] = {}
        self._often = Counter(step for step, _ in self._order)

    def explanation(self) -> Explanation:
        """Walk through both."""
        verdicts = {place: self._look(place) for place in self._order}
        self._untaken()
        if self._hides_threads and not any(key.kind == "threads" for key in self._causes):
            self._notes.append("numbers of threads, which differ in steps whose inputs do, too")
        steps = tuple(
            Step(self._label(place), verdict, tuple(self._acting(place)))
            for place, verdict in verdicts.items()
        )
        first = next((place for place in self._order if place in self._moved), None)
        results = result_changes(self._a, self._b, self._notes)
        shown = [f"{preview(c.old, _PREVIEW)} -> {preview(c.new, _PREVIEW)}" for c in results]
        return Explanation(
            str(self._a), str(self._b), ", ".join(shown) or None,
            None if first is None else self._label(first),
            tuple(self._told(self._causes)),
            tuple(self._told({k: v for k, v in self._harmless.items() if k not in self._causes})),
            steps, tuple(dict.fromkeys(self._notes)),
        )  # fmt: skip

    # -- one call

    def _look(self, place: Place) -> str:
        """Note what is new in a call, and return what became of it."""
        old, new = self._old.get(place), self._new.get(place)
        if old is None or new is None:
            return self._look_at_one(place, old is None)
        given, follows = self._given(place, old, new)
        fresh = [*given, *self._own(place, old, new)]
        moved = _is_moved(old, new)
        if moved is None:
            moved = bool(fresh) or follows
            reason = new.unhashed or old.unhashed or "it has no digest"
            self._notes.append(f"the output of step {self._label(place)}: {reason}")
            if not moved:
                return "unknown"
        if not moved:
            self._note(self._harmless, fresh, place, sure=True)
            return "equal"
        self._moved.add(place)
        if old.entropy or new.entropy:
            text = f"of step {place[0]}: it reads randomness that no seed controls"
            fresh.append(_Key("impurity", place[0], text))
        if not fresh and not follows:
            fresh = list(self._around(old, new)) or [_unexplained(place, outside(old, new))]
        self._note(self._causes, fresh, place, sure=not follows)
        self._hides_threads |= follows and old.threads != new.threads
        return "differs" if fresh else "follows"

    def _look_at_one(self, place: Place, added: bool) -> str:
        lacking, having = (self._a, self._b) if added else (self._b, self._a)
        if lacking.row["state"] != TrialState.COMPLETE:
            return "not run"
        if other := self._renamed.get(place):
            step = place[0] if added else other[0]
            before = other[0] if added else place[0]
            key = _Key("graph", step, f"names step {before} now {step}")
            self._note(self._harmless, [key], place, sure=True)
            return "equal"
        self._moved.add(place)
        key = _Key("graph", place[0], f"has step {self._label(place)} only in {having}")
        self._note(self._causes, [key], place, sure=True)
        return "added" if added else "removed"

    def _given(self, place: Place, old: StepRecord, new: StepRecord) -> tuple[list[_Key], bool]:
        """What is new in the inputs, and whether moved calls made any of them."""
        before, now = ({each.name: each for each in record.inputs} for record in (old, new))
        found: list[_Key] = []
        follows = False
        for name in dict.fromkeys((*before, *now)):
            one, other = before.get(name), now.get(name)
            if one and other and one.digest == other.digest is not None:
                continue
            origins = {origin for each in (one, other) if each for origin in each.origins}
            above = any((step, call) in self._moved for kind, step, call in origins
                        if kind == "step")  # fmt: skip
            changed = [self._parameter(source) for kind, source, _ in sorted(origins)
                       if kind == "parameter" and source in self._parameters]  # fmt: skip
            follows |= above
            found += changed
            if not above and not changed:
                found += self._unmade(place, name, one, other)
        return found, follows

    def _unmade(
        self, place: Place, name: str, one: Argument | None, other: Argument | None
    ) -> Iterator[_Key]:
        """An input that is new though nothing is that it was made from."""
        where = f"{name} of step {self._label(place)}"
        if one and other and not comparable(one.digest, other.digest):
            self._notes.append(f"the input {where}: it has no digest")
            return
        then, now = ("absent" if each is None else _short(each.preview) for each in (one, other))
        change = f"{where}: {then} -> {now}" if then != now else f"{where} is another one"
        yield _Key("input", f"{place[0]}.{name}", change)

    def _parameter(self, name: str) -> _Key:
        _, old, new = self._parameters[name]
        change = f"{name}: {preview(old, _PREVIEW)} -> {preview(new, _PREVIEW)}"
        return _Key("parameter", name, change)

    def _own(self, place: Place, old: StepRecord, new: StepRecord) -> Iterator[_Key]:
        """What is new in a call whatever it is given."""
        if old.fingerprint != new.fingerprint:
            yield from self._code(place, old, new)
        if (old.drew or new.drew) and old.seed != new.seed:
            seeds = self._a.row.get("seed"), self._b.row.get("seed")
            if seeds[0] == seeds[1]:
                seeds = old.seed, new.seed
            yield _Key("seed", "seed", f"{seeds[0]} -> {seeds[1]}")
        yield from self._packages(place[0])
        for kind, asked in (("file", files), ("environment", variables)):
            if (before := asked(old)) is not None and (now := asked(new)) is not None:
                yield from _touched(kind, before, now)

    def _code(self, place: Place, old: StepRecord, new: StepRecord) -> Iterator[_Key]:
        step = place[0]
        if not comparable(old.fingerprint, new.fingerprint):
            self._notes.append(f"the code of step {step}: it has no digest of the same scheme")
            return
        known = [code for code in self._codes if code is not None and step in code.steps]
        changes = []
        if len(known) == 2:
            changes = code_changes(known[0], known[1], step, self._helpers)
        # What a changed function calls now, or calls no more, is a part of its change.
        changes = [change for change in changes if None not in change.digests] or changes
        for change in changes:
            yield _code_key(change, step)
        if not changes:
            yield _Key("code", step, f"of step {step} is another one")

    def _packages(self, step: str) -> Iterator[_Key]:
        known = [code.steps[step].get("borders") or {} for code in self._codes
                 if code is not None and step in code.steps]  # fmt: skip
        if len(known) == 2 and known[0] != known[1]:
            for change in _between(*known):
                yield _Key("package", change.name, str(change))

    def _around(self, old: StepRecord, new: StepRecord) -> Iterator[_Key]:
        """What is new around a call that nothing else explains."""
        if changes := _between(old.threads, new.threads):
            yield _Key("threads", "threads", ", ".join(map(str, changes)))
        for category, found in self._environment(old.environment, new.environment).items():
            for change in found:
                if category == "packages":
                    yield _Key("package", change.name, str(change))
                else:
                    name = f"{category}.{change.name}".rstrip(".")
                    yield _Key("environment", name, str(change._replace(name=name)))

    def _environment(self, old: str, new: str) -> dict[str, list[Change]]:
        key = f"{old} {new}"
        if old != new and key not in self._environments:
            try:
                one, other = (
                    Snapshots(side.backend).get(digest)
                    for side, digest in ((self._a, old), (self._b, new))
                )
                self._environments[key] = environment_changes(one, other)
            except BackendError as error:
                self._notes.append(f"the environments: {error}")
                self._environments[key] = {}
        return self._environments.get(key, {})

    # -- what was found

    def _note(
        self, found: dict[_Key, dict[Place, bool]], keys: Iterable[_Key], place: Place, sure: bool
    ) -> None:
        for key in keys:
            found.setdefault(key, {})[place] = sure

    def _untaken(self) -> None:
        """Parameters that moved nothing."""
        for name in self._parameters:
            key = self._parameter(name)
            if key not in self._causes:
                self._harmless.setdefault(key, {})

    def _told(self, found: Mapping[_Key, Mapping[Place, bool]]) -> Iterator[Cause]:
        for key, places in found.items():
            steps = tuple(dict.fromkeys(map(self._label, places)))
            sure = not places or any(places.values())
            yield Cause(key.kind, key.name, steps, key.change, key.diff, sure)

    def _acting(self, place: Place) -> Iterator[str]:
        for key, places in self._causes.items():
            if place in places:
                yield key.name

    def _label(self, place: Place) -> str:
        step, call = place
        return f"{step}[{call}]" if self._often[step] > 1 else step


def _records(side: Side) -> dict[Place, StepRecord]:
    """The last record of each call."""
    records = Steps(side.backend, side.experiment).read(side.row["uid"])
    return {record.place: record for record in records}


def _renamed(old: Records, new: Records) -> dict[Place, Place]:
    """Calls that only one trial has, and that another name in the other one stands for."""
    gone = {_did(old[place]): place for place in old if place not in new}
    found = {}
    for place in new:
        did = _did(new[place])
        if place not in old and did[0] is not None and did in gone:
            found[place] = gone[did]
            found[gone.pop(did)] = place
    return found


def _did(record: StepRecord) -> tuple[str | None, tuple[str | None, ...]]:
    """What a call gave for what."""
    return record.output, tuple(argument.digest for argument in record.inputs)


def _is_moved(old: StepRecord, new: StepRecord) -> bool | None:
    """Whether the output is another one; None where that cannot be told."""
    if old.broken_off != new.broken_off:
        return True
    if not comparable(old.output, new.output):
        return None
    return old.output != new.output


_WHAT = {"file": ("", "content"), "environment": ("variable ", "value")}


def _touched(
    kind: str, old: Mapping[str, str | None], new: Mapping[str, str | None]
) -> Iterator[_Key]:
    """What a call reads beside its arguments and that is another thing."""
    for name in dict.fromkeys((*old, *new)):
        digests = old.get(name), new.get(name)
        unlike = None not in digests and not comparable(*digests)  # of secrets, by two keys
        if digests[0] != digests[1] and not unlike:
            what, part = _WHAT[kind]
            news = f"has another {part}" if name in old and name in new else "is read in one only"
            yield _Key(kind, name, f"{what}{name} {news}")


def _unexplained(place: Place, outside: str) -> _Key:
    text = f"of step {place[0]}: its code, inputs, seed and environment are the same"
    return _Key("impurity", place[0], f"{text}; {outside}" if outside else text)


def _code_key(change: CodeChange, step: str) -> _Key:
    where = "" if change.line is None else f" at line {change.line}"
    old, new = change.digests
    if change.own:
        what = f"of step {step}{': a value that it reads' if change.value else ''} changed{where}"
        return _Key("code", step, what, change.diff())
    if old is None or new is None:
        text = f"{change.function} {'is new' if old is None else 'is gone'}"
    else:
        value = ": a value that it reads" if change.value else ""
        text = f"{change.function}{value} changed{where}"
    return _Key("helper", change.function, text, change.diff())


def _between(old: Mapping[str, object], new: Mapping[str, object]) -> list[Change]:
    """What differs between two mappings, whose names may have dots in them."""
    return [
        Change(name, change.old, change.new)
        for name in dict.fromkeys((*old, *new))
        for change in changes_between(old.get(name, ABSENT), new.get(name, ABSENT), name)
    ]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _PREVIEW else f"{line[: _PREVIEW - 1]}…"


def _in_graph_order(old: Records, new: Records) -> list[Place]:
    """The calls of both, each behind those that it was made from, else in their own order.

    Kahn's algorithm; where the two graphs together have a cycle it goes on at the next call.
    """
    places = list(dict.fromkeys((*new, *old)))
    number = {place: n for n, place in enumerate(places)}
    below: dict[int, set[int]] = {n: set() for n in range(len(places))}
    above: dict[int, set[int]] = {n: set() for n in range(len(places))}
    for records in (old, new):
        for place, record in records.items():
            for argument in record.inputs:
                for kind, step, call in argument.origins:
                    if kind == "step" and (step, call) in number:
                        above[number[place]].add(number[step, call])
                        below[number[step, call]].add(number[place])
    ready = [n for n in above if not above[n]]
    heapify(ready)
    left = dict.fromkeys(range(len(places)))
    found = []
    while left:
        n = heappop(ready) if ready else next(iter(left))
        if n not in left:
            continue
        del left[n]
        found.append(places[n])
        for each in below[n]:
            above[each].discard(n)
            if not above[each] and each in left:
                heappush(ready, each)
    return found
