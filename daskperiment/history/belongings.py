"""Belongings: metrics and artifacts of one step call, told apart from those of all others.

The logs of a trial say nothing of steps.  A record says what its call has logged: of each metric
how many points, and when the first and the last, and the names of artifacts.  So they can be
carried along to another trial that goes on where this one was, unless another call has logged
under the same name at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from daskperiment.errors import DaskperimentError
from daskperiment.history.artifacts import Artifacts
from daskperiment.history.metrics import Entry, Metrics
from daskperiment.history.places import Place
from daskperiment.records import StepRecord
from daskperiment.typing import Document


class Logged:
    """What a running call has logged.

    Examples
    --------
    >>> logged = Logged()
    >>> logged.document() is None
    True
    >>> logged.points(["loss"], 3.0), logged.points(["loss"], 4.0), logged.artifact("plot")
    (None, None, None)
    >>> logged.document()
    {'metrics': {'loss': [2, 3.0, 4.0]}, 'artifacts': ['plot']}
    """

    __slots__ = ("_artifacts", "_metrics")

    def __init__(self) -> None:
        self._metrics: dict[str, tuple[int, float, float]] = {}
        self._artifacts: dict[str, None] = {}

    def points(self, names: Iterable[str], now: float) -> None:
        """Note a point of each metric."""
        for name in names:
            self._add(name, 1, now, now)

    def artifact(self, name: str) -> None:
        """Note an artifact."""
        self._artifacts[name] = None

    def carried(self, belongings: Belongings) -> None:
        """Note what was carried along from another trial."""
        for name, points in belongings.points.items():
            times = [time for _, _, time in points]
            self._add(name, len(points), min(times), max(times))
        self._artifacts.update(dict.fromkeys(belongings.artifacts))

    def _add(self, name: str, count: int, first: float, last: float) -> None:
        before = self._metrics.get(name, (0, first, last))
        self._metrics[name] = before[0] + count, min(before[1], first), max(before[2], last)

    def document(self) -> Document | None:
        """It as JSON; None where there is nothing."""
        metrics = {name: list(noted) for name, noted in self._metrics.items()}
        found = {"metrics": metrics, "artifacts": list(self._artifacts)}
        return {kind: names for kind, names in found.items() if names} or None


class Belongings(NamedTuple):
    """What a call has logged.

    Parameters
    ----------
    points : dict
        Points of metrics by name.
    artifacts : list of str
        Names of artifacts, which are there now.
    missing : list of str
        What cannot be told apart, or is gone.
    """

    points: dict[str, list[Entry]]
    artifacts: list[str]
    missing: list[str]


def carry(
    logged: Document | None, source: Place, target: Place, others: Iterable[StepRecord]
) -> Belongings:
    """Find what a call has logged in one trial, and save its artifacts with another one.

    Parameters
    ----------
    logged : dict or None
        What its record says.
    source, target : Place
        The trials.
    others : iterable of StepRecord
        Records of all other calls of the source.
    """
    found = Belongings({}, [], [])
    if not logged:
        return found
    try:
        _find_points(logged.get("metrics", {}), source, found)
        taken = {name for record in others for name in (record.logged or {}).get("artifacts", ())}
        _save_artifacts(logged.get("artifacts", ()), taken, source, target, found)
    except (DaskperimentError, KeyError, TypeError, ValueError, AttributeError) as error:
        found.missing.append(f"what it has logged ({error!r:.80})")
    return found


def _find_points(metrics: Mapping[str, Any], source: Place, found: Belongings) -> None:
    saved = Metrics(source.backend, source.experiment).read(source.uid) if metrics else {}
    for name, (count, first, last) in metrics.items():
        points = [point for point in saved.get(name, ()) if first <= point.time <= last]
        if len(points) == count:
            found.points[name] = [(point.epoch, point.value, point.time) for point in points]
        else:
            found.missing.append(f"metric {name!r}")


def _save_artifacts(
    names: Sequence[str], taken: set[str], source: Place, target: Place, found: Belongings
) -> None:
    there = Artifacts(source).read() if names else {}
    for name in names:
        inside = [each for each in there if each == name or each.startswith(f"{name}/")]
        apart = not any(each in taken or _is_in(each, taken) for each in inside)
        for each in inside if apart else ():
            try:
                Artifacts(target).adopt(there[each])
                found.artifacts.append(each)
            except DaskperimentError:
                found.missing.append(f"artifact {each!r}")
        if not (inside and apart):
            found.missing.append(f"artifact {name!r}")


def _is_in(name: str, folders: set[str]) -> bool:
    return any(folder in folders for folder in _folders(name))


def _folders(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
