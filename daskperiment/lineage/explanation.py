"""What explains the difference of two trials, as a report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from daskperiment.typing import Document

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 12
"""Steps that a line names, at most."""


class Cause(NamedTuple):
    """Something that was changed from one trial to the other.

    Parameters
    ----------
    kind : str
        ``parameter``, ``code`` (of a step itself), ``helper`` (a function that steps call),
        ``package``, ``seed``, ``threads``, ``file`` (one that a step reads), ``input`` (of a step,
        not made by any other), ``graph`` (a step that only one of the trials has),
        ``environment`` or ``impurity`` (a step gives what nothing of this explains).
    name : str
        What was changed: the parameter, step, function, distribution, file or setting.
    steps : tuple of str
        The step calls in which it acts, in graph order.
    change : str
        What it was and is, in one line.
    diff : str
        Unified diff of the code, where it is kept.
    sure : bool
        Whether one of the steps has nothing else that is new; where it is False, a step with new
        inputs might give another output without it, too.
    """

    kind: str
    name: str
    steps: tuple[str, ...]
    change: str
    diff: str = ""
    sure: bool = True

    def __str__(self) -> str:
        return f"{self.kind} {self.change}{f' ({_listed(self.steps)})' if self.steps else ''}"

    def document(self) -> Document:
        """The cause as JSON."""
        return {**self._asdict(), "steps": list(self.steps)}


class Step(NamedTuple):
    """What became of a step call.

    Parameters
    ----------
    name : str
        The step, with the call where there are several.
    verdict : str
        ``equal``: its output is the same; ``differs``: it is not, for causes of its own;
        ``follows``: it is not, as its inputs differ; ``added``, ``removed``: only one trial has
        it; ``not run``: one trial ended before; ``unknown``: there is nothing to compare.
    causes : tuple of str
        Names of the causes that act in it.
    """

    name: str
    verdict: str
    causes: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Explanation:
    """Which changes moved the outputs of one trial to those of another.

    It is true when there is a cause.  ``str()`` is a report for people, :meth:`document` the same
    as JSON, ``frame`` a table of the steps.

    Attributes
    ----------
    a, b : str
        The trials.
    result : str or None
        What the results are, where they differ.
    first : str or None
        The first step, in graph order, whose output is another one.
    causes : tuple of Cause
        In graph order of the steps in which they act; those of ``first`` come first.
    harmless : tuple of Cause
        What was changed without any effect on an output.
    steps : tuple of Step
        All step calls in graph order.
    notes : tuple of str
        What could not be compared, and why.
    """

    a: str
    b: str
    result: str | None
    first: str | None
    causes: tuple[Cause, ...]
    harmless: tuple[Cause, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.causes)

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each step call: ``step``, ``verdict``, ``causes``."""
        import pandas as pd

        rows = [(step.name, step.verdict, ", ".join(step.causes)) for step in self.steps]
        return pd.DataFrame(rows, columns=["step", "verdict", "causes"])

    def document(self) -> Document:
        """The explanation as JSON of a stable shape."""
        return {
            "a": self.a, "b": self.b, "result": self.result, "first": self.first,
            "causes": [cause.document() for cause in self.causes],
            "harmless": [cause.document() for cause in self.harmless],
            "steps": [{**step._asdict(), "causes": list(step.causes)} for step in self.steps],
            "notes": list(self.notes),
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{self.a} -> {self.b}"]
        if self.result is not None:
            lines.append(f"result: {self.result}")
        for title, entries in self._report():
            shown = [line for entry in entries for line in entry.split("\n")]
            lines += [title, *(f"  {line}" for line in shown)]
        return "\n".join(lines)

    def _report(self) -> Iterator[tuple[str, list[str]]]:
        """Titles, and the entries below each."""
        here = [cause for cause in self.causes if self.first in cause.steps]
        further = [cause for cause in self.causes if self.first not in cause.steps]
        sure = [cause for cause in further if cause.sure]
        perhaps = [cause for cause in further if not cause.sure]
        if self.first is not None:
            yield f"first difference: the output of step {self.first}", list(map(_told, here))
        elif not self.causes:
            yield "no cause: no output differs", []
        for title, causes in (
            ("further causes", sure),
            ("changed as well, in steps whose inputs differ", perhaps),
            ("changed without effect", self.harmless),
        ):
            if causes:
                yield title, list(map(_told, causes))
        for verdict, title in _CLEARED.items():
            if names := [step.name for step in self.steps if step.verdict == verdict]:
                yield title, [_listed(names)]
        if self.notes:
            yield "not compared", list(self.notes)

    def __repr__(self) -> str:
        names = ", ".join(f"{cause.kind} {cause.name}" for cause in self.causes) or "no cause"
        return f"<Explanation of {self.a} -> {self.b}: {names}>"

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr><th>{escape(title)}</th><td><pre>{escape(entry)}</pre></td></tr>"
            for title, entries in self._report()
            for entry in entries or [""]
        )
        return f"<table><caption>{escape(f'{self.a} -> {self.b}')}</caption>{body}</table>"


_CLEARED = {
    "follows": "differ only because their inputs do",
    "not run": "did not run in both",
    "equal": "equal",
    "unknown": "nothing is known of",
}


def _told(cause: Cause) -> str:
    return "\n".join(filter(None, (str(cause), cause.diff)))


def _listed(names: tuple[str, ...] | list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
