"""Usage: what a trial has used of processors, memory and graphics processors while it ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from daskperiment.backends.base import Append, Backend
from daskperiment.history import paths
from daskperiment.typing import JSON, Document

if TYPE_CHECKING:
    import pandas as pd

Call: TypeAlias = tuple[str, int]
"""A step, and which call of it."""

FIRST_COLUMNS = ("cpu", "memory")
"""What is sampled everywhere."""


class Sample(NamedTuple):
    """What a process used at one moment.

    Parameters
    ----------
    seconds : float
        Since the trial began.
    values : mapping
        Number by name.
    calls : tuple of (str, int)
        Step calls of the trial that were running in it.
    """

    seconds: float
    values: Mapping[str, int | float]
    calls: tuple[Call, ...] = ()


class Series:
    """What one process has used while it ran steps of a trial.

    Parameters
    ----------
    host, pid : str, int
        The process.

    Attributes
    ----------
    host, pid : str, int
        The process.
    seconds : list of float
        When, since the trial began.
    columns : dict of str to list
        Numbers by name, of each as many as there are seconds; None where there is none.
    calls : list of (str, int)
        Step calls that were running at the last of these moments.
    """

    def __init__(self, host: str, pid: int) -> None:
        self.host = host
        self.pid = pid
        self.seconds: list[float] = []
        self.columns: dict[str, list[int | float | None]] = {}
        self.calls: list[Call] = []

    def add(self, seconds: Sequence[float], values: Mapping[str, Sequence[Any]]) -> None:
        """Add the moments of an entry, of which each column has one number for each."""
        before = len(self.seconds)
        self.seconds += seconds
        for name in {**self.columns, **values}:
            column = self.columns.setdefault(name, [None] * before)
            column += values.get(name) or [None] * len(seconds)


class Usage:
    """Usage of one experiment's trials.

    Notes
    -----
    The log has an entry for each process and each time that it has written: ``{"host", "pid",
    "seconds": [...], "values": {"cpu": [...], ...}, "calls": [[step, call], ...]}``, the calls
    that ran at the last of the moments.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self.name = name

    def writing(self, uid: str, host: str, pid: int, samples: Sequence[Sample]) -> Append:
        """The write that adds what a process has used: one entry of the log."""
        names = dict.fromkeys(name for sample in samples for name in sample.values)
        entry: Document = {
            "host": host,
            "pid": pid,
            "seconds": [sample.seconds for sample in samples],
            "values": {name: [sample.values.get(name) for sample in samples] for name in names},
            "calls": [list(call) for call in samples[-1].calls],
        }
        return Append(paths.usage(self.name, uid), [entry])

    def read(self, uid: str) -> list[Series]:
        """What each process has used up to now, in the order in which they first wrote."""
        return list(series_of(self.backend.read(paths.usage(self.name, uid))).values())


def series_of(
    entries: Iterable[JSON], known: dict[tuple[str, int], Series] | None = None
) -> dict[tuple[str, int], Series]:
    """The series that the entries of a trial's log hold, by process; added to what is known.

    Entries that we have not written are left out: others may write to a shared store.
    """
    found = {} if known is None else known
    for entry in entries:
        if not isinstance(entry, dict) or not _is_ours(entry):
            continue
        place = (entry["host"], entry["pid"])
        series = found.setdefault(place, Series(*place))
        series.add(entry["seconds"], entry["values"])
        series.calls = [(step, call) for step, call in entry["calls"]]
    return found


def _is_ours(entry: Mapping[str, Any]) -> bool:
    seconds, values, calls = (entry.get(name) for name in ("seconds", "values", "calls"))
    return (
        isinstance(entry.get("host"), str)
        and type(entry.get("pid")) is int
        and isinstance(values, dict)
        and isinstance(calls, list)
        and isinstance(seconds, list)
        and all(map(_is_number, seconds))
        and all(_is_column(column, len(seconds)) for column in values.values())
        and all(map(_is_call, calls))
    )


def _is_column(column: Any, length: int) -> bool:
    return (
        isinstance(column, list)
        and len(column) == length
        and all(value is None or _is_number(value) for value in column)
    )


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and -(2**63) <= value < 2**63)


def _is_call(call: Any) -> bool:
    return (
        isinstance(call, list)
        and len(call) == 2
        and isinstance(call[0], str)
        and type(call[1]) is int
    )


def frame(found: Iterable[Series]) -> pd.DataFrame:
    """Series as one table; see :attr:`daskperiment.Trial.usage`."""
    import pandas as pd

    tables = [
        pd.DataFrame(
            {**series.columns, "host": series.host, "pid": series.pid},
            index=pd.Index(series.seconds, name="seconds", dtype=float),
        )
        for series in found
    ]
    standard = pd.DataFrame(columns=[*FIRST_COLUMNS, "host", "pid"])
    standard.index = pd.Index([], name="seconds", dtype=float)
    table = pd.concat(tables).sort_index(kind="stable") if tables else standard
    more = sorted(set(table.columns) - set(standard.columns))
    return table.reindex(columns=[*FIRST_COLUMNS, *more, "host", "pid"])
