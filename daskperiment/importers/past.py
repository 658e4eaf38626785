"""Past runs as plain values, whoever has run them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from daskperiment.errors import ImportFormatError
from daskperiment.history.metrics import Entry, check_epoch, check_value
from daskperiment.records import TrialState
from daskperiment.typing import JSON, Document

NOTHING: Any = object()
"""The result of a run that has none."""


class LeftOut(NamedTuple):
    """What could not be imported.

    Parameters
    ----------
    place : str
        What the other tool calls the run; empty for what belongs to none.
    field : str
        The part; empty for the whole run.
    reason : str
        Why.
    """

    place: str
    field: str
    reason: str

    def __str__(self) -> str:
        what = " of ".join(filter(None, [self.field, self.place]))
        return f"{what}: {self.reason}" if what else self.reason


@dataclass
class Past:
    """One run of the past.

    Parameters
    ----------
    place : str
        What the other tool calls it, such as ``trial 3``.
    identity : str
        Text that is the same whenever this run is read, and different for every other one.
    origin : str
        Where it comes from, for the note of the trial.
    state : TrialState
        How it ended.
    started, finished, seconds : float or None
        Unix times and the duration, as far as they are known.
    parameters, result : dict, Any
        Its inputs, and its value or ``NOTHING``.
    seed : int, optional
        Its seed.
    description : str, optional
        Why it failed.
    metrics : dict of str to list
        Epoch, value and time of the points of each metric.
    persisted : dict of str to Any
        Kept outputs by step.
    code : str
        Source of its steps.
    environment, session : dict
        What surrounded it, by category.
    artifacts : dict of str to Path
        Files by name.
    left_out : dict of str to str
        By part, why it could not be read.
    about : dict
        What its row says besides.
    """

    place: str
    identity: str
    origin: str
    state: TrialState
    started: float
    finished: float | None = None
    seconds: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    result: Any = NOTHING
    seed: int | None = None
    description: str | None = None
    metrics: dict[str, list[Entry]] = field(default_factory=dict)
    persisted: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    environment: Document = field(default_factory=dict)
    session: Document = field(default_factory=dict)
    artifacts: dict[str, Path] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    about: Document = field(default_factory=dict)

    def take(self, part: str, read: Callable[..., Any], *given: Any, default: Any = None) -> Any:
        """What a function reads; where it fails, the part is left out and its default given."""
        try:
            return read(*given)
        except Exception as error:  # whatever a value of strangers makes it raise
            self.left_out[part] = str(error) or type(error).__name__
            return default

    def add_points(self, name: str, points: list[tuple[Any, Any, float]]) -> None:
        """Add points to a metric; one that is no number is left out."""
        for epoch, value, time in points:
            checked = self.take(f"metrics.{name}", _checked, epoch, value)
            if checked is not None:
                self.metrics.setdefault(name, []).append((*checked, time))

    def add_numbers(self, values: Any, time: float) -> None:
        """Make metrics of the numbers, and the lists of numbers, that a mapping holds."""
        for name, value in values.items() if isinstance(values, dict) else ():
            series = value if isinstance(value, list) else [value]
            if series and all(type(v) in (int, float) for v in series):
                self.add_points(str(name), [(n, v, time) for n, v in enumerate(series)])


def _checked(epoch: Any, value: Any) -> tuple[int, int | float]:
    return check_epoch(epoch), check_value(value)


class Reading(NamedTuple):
    """All that was read: the experiment's id, its runs in their order, and what is lost."""

    experiment: str
    pasts: list[Past]
    left_out: list[LeftOut]


def read_json(path: Path) -> JSON:
    """The JSON of a file; ImportFormatError where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ImportFormatError(f"{path.name} holds no JSON: {error}") from error


def canonical(*parts: JSON) -> str:
    """One text for equal JSON, for the identity of a run."""
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))
