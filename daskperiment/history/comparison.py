"""What differs between two trials' code, and between their environments."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from daskperiment.errors import PayloadNotFoundError
from daskperiment.fingerprint.definitions import (
    changed_line,
    changed_value,
    definition,
    equal_code,
    read_values,
)
from daskperiment.history.snapshots import Snapshots
from daskperiment.typing import JSON, Document

A_VALUE = "a value that it reads"


class Code:
    """The code of a trial.

    Parameters
    ----------
    document : dict
        The capture, as a snapshot keeps it.
    text : callable
        Gives the text of a digest; PayloadNotFoundError where it is not kept.

    Attributes
    ----------
    steps : dict of str to dict
        What is known of each step.
    """

    def __init__(self, document: Document, text: Callable[[str], str]) -> None:
        self._read = text
        self._sources: dict[str, str] = document["sources"]
        self.steps: dict[str, Document] = {step["name"]: step for step in document["steps"]}

    @classmethod
    def kept(cls, snapshots: Snapshots, digest: str) -> Code:
        """The code that a snapshot has kept.

        Raises
        ------
        BackendError
            The store has no such snapshot.
        """
        return cls(snapshots.get(digest), snapshots.text)

    def source(self, step: str) -> str:
        """Text of a step, decorators included; empty where none is kept."""
        return self._text(self.steps[step]["source"])

    def function(self, step: str, name: str) -> tuple[str, str]:
        """Text of a function, and of the file that it is in.

        Both are empty where the step does not reach it, and where no text is kept.
        """
        reached = name in self.steps[step]["functions"]
        for file in self.steps[step]["files"] if reached else ():
            module = file.partition(":")[0]
            if name.startswith(f"{module}.") and file in self._sources:
                text = self._text(self._sources[file])
                if found := definition(text, name.removeprefix(f"{module}.").partition("#")[0]):
                    return found, text
        return "", ""

    def file_of(self, step: str) -> str:
        """Text of the file that a step is in; empty where none is kept."""
        source = self.source(step)
        files = (self._text(self._sources[f]) for f in self.steps[step]["files"]
                 if f in self._sources)  # fmt: skip
        return next((text for text in files if source and source in text), "")

    def _text(self, digest: str) -> str:
        try:
            return self._read(digest)
        except PayloadNotFoundError:
            return ""


class CodeChange(NamedTuple):
    """A function that a step reaches and that differs between two trials.

    Parameters
    ----------
    function : str
        Its full name.
    own : bool
        Whether it is the step's own function.
    value : bool
        Whether its text is equal, so that a value that it reads must have changed.
    old, new : str
        Its text; of a value the assignments to names that it reads.  Empty where it is absent
        or not kept.
    digests : tuple of (str or None)
        Its digests, None where it is absent.
    line : int or None
        Where the first difference is in the new text of its file, from 1; None where that is not
        known.
    """

    function: str
    own: bool
    value: bool
    old: str
    new: str
    digests: tuple[str | None, str | None]
    line: int | None = None

    def diff(self, context: int = 0, limit: int | None = 30) -> str:
        """Unified diff of the texts, without a header; empty where it tells nothing."""
        sides = zip((self.old, self.new), self.digests, strict=True)
        if not self.value and any(digest and not text for text, digest in sides):
            return ""  # there is code whose text is not known
        return diff(self.old, self.new, context, limit)

    @property
    def what(self) -> str:
        """What it is to the step: empty for the step's own text."""
        if self.own:
            return A_VALUE if self.value else ""
        return f"a value that {self.function} reads" if self.value else f"helper {self.function}"


def code_changes(
    old: Code, new: Code, step: str, known: dict[Any, CodeChange] | None = None
) -> list[CodeChange]:
    """Functions of a step whose digests differ, the step's own first.

    There are none when the code is equal, when the step has only another name or place, and
    when digests of different schemes were recorded.  In ``known`` helpers are kept that many
    steps call.
    """
    before, now = old.steps[step], new.steps[step]
    if before["digest"] == now["digest"] or not comparable(before["digest"], now["digest"]):
        return []
    own = before["function"], now["function"]
    changed = sorted(_changed(before["functions"], now["functions"]))
    helpers = [_helper(old, new, step, name, known) for name in changed if name not in own]
    if not {*own} & {*changed} and (helpers or own[0] != own[1]):
        return helpers
    return [_change(old, new, step, *own, own=True), *helpers]


def _helper(
    old: Code, new: Code, step: str, name: str, known: dict[Any, CodeChange] | None
) -> CodeChange:
    if known is None:
        return _change(old, new, step, name, name, own=False)
    key = name, old.steps[step]["functions"].get(name), new.steps[step]["functions"].get(name)
    if key not in known:
        known[key] = _change(old, new, step, name, name, own=False)
    return known[key]


def _changed(before: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    kept = {*before.values()} & {*now.values()}
    for name in {*before, *now}:
        one, other = before.get(name), now.get(name)
        moved = None in (one, other) and (one or other) in kept  # to a module of another name
        if one != other and not moved:
            yield name


def _change(old: Code, new: Code, step: str, before: str, now: str, *, own: bool) -> CodeChange:
    (one, file), (other, file_now) = old.function(step, before), new.function(step, now)
    if own:
        one, other = old.source(step), new.source(step)
    value = bool(one) and equal_code(one, other)
    if value:
        one, other = read_values(file, one), read_values(file_now, other)
    digests = old.steps[step]["functions"].get(before), new.steps[step]["functions"].get(now)
    find = changed_value if value else changed_line
    if own and not value:
        file_now = new.file_of(step)
    line = find(one, other, file_now) if one and other else None
    return CodeChange(now, own, value, one, other, digests, line)


def comparable(one: str | None, other: str | None) -> bool:
    """Whether both are digests of one scheme; those of different ones tell nothing."""
    return None not in (one, other) and str(one).partition(":")[0] == str(other).partition(":")[0]


def diff(old: str, new: str, context: int = 0, limit: int | None = 30) -> str:
    """Unified diff of two texts without a header, cut after ``limit`` lines.

    Examples
    --------
    >>> print(diff("@ex\\ndef f(): ...", "@ex.persist\\ndef f(): ..."))
    @@ -1 +1 @@
    -@ex
    +@ex.persist
    """
    between = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=context)
    lines = list(between)[2:]
    if limit is not None and len(lines) > limit:
        lines[limit:] = [f"... {len(lines) - limit} more lines"]
    return "\n".join(lines)


class Change(NamedTuple):
    """A value that differs; ``ABSENT`` where there is none."""

    name: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.name} {text(self.old)} -> {text(self.new)}".strip()


class Absent:
    """What stands where there is no value."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = Absent()


def environment_changes(old: Document, new: Document) -> dict[str, list[Change]]:
    """What differs between two environments, by category, in nested names.

    A category that only one of them has was not captured for the other, and tells nothing.

    Examples
    --------
    >>> old, new = {"cpu": {"count": 4, "model": "x"}}, {"cpu": {"count": 8, "model": "x"}}
    >>> environment_changes(old, new)
    {'cpu': [Change(name='count', old=4, new=8)]}
    """
    found = {
        category: changes_between(old[category], new[category])
        for category in old
        if category in new
    }
    return {category: changes for category, changes in found.items() if changes}


def changes_between(old: Any, new: Any, name: str = "") -> list[Change]:
    """What differs between two pieces of plain data, by the dotted names of nested values.

    Equal numbers of different types differ, NaN equals NaN.

    Examples
    --------
    >>> changes_between({"lr": 0.1, "n": 2}, {"lr": 0.1, "n": 2.0}, "model")
    [Change(name='model.n', old=2, new=2.0)]
    """
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            change
            for key in dict.fromkeys((*old, *new))
            for change in changes_between(
                old.get(key, ABSENT), new.get(key, ABSENT), f"{name}.{key}" if name else str(key)
            )
        ]
    return [] if repr(old) == repr(new) else [Change(name, old, new)]


def text(value: JSON | Absent) -> str:
    """A value in one line of at most 200 characters."""
    shown = value if isinstance(value, str) else repr(value)
    if isinstance(value, dict | list):
        shown = json.dumps(value, ensure_ascii=False)
    line = " ".join(str(shown).split())
    return line if len(line) <= 200 else f"{line[:199]}…"
