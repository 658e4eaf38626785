"""The history as a table: one row for each trial that has ended."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from daskperiment.backends.base import Backend
from daskperiment.errors import QueryError
from daskperiment.history import payloads, query
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState
from daskperiment.typing import Document

if TYPE_CHECKING:
    import pandas as pd

ENDED = [state.value for state in TrialState if state.ended]
INDEX = "Trial ID"
_RENAMED = " (parameter)"


def _result(backend: Backend, row: Document) -> Any:
    if row["state"] != TrialState.COMPLETE or "result" not in row:
        return None
    return payloads.shown(backend, row["result"])


def _result_type(backend: Backend, row: Document) -> str:
    completed = row["state"] == TrialState.COMPLETE and "result" in row
    return row["result"]["type"] if completed else "None"


def local_time(seconds: float | None) -> datetime | None:
    """A Unix time as naive local time, the form that the history has always shown."""
    return None if seconds is None else datetime.fromtimestamp(seconds)


def utc_time(seconds: float | None) -> datetime | None:
    """A Unix time as an aware datetime in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


Reader = Callable[[Backend, Document], Any]
COLUMNS: dict[str, Reader] = {
    "Seed": lambda backend, row: row["seed"],
    "Result": _result,
    "Result Type": _result_type,
    "Success": lambda backend, row: row["state"] == TrialState.COMPLETE,
    "Finished": lambda backend, row: local_time(row.get("finished")),
    "Process Time": lambda backend, row: row.get("seconds"),
    "Description": lambda backend, row: row.get("description"),
    "State": lambda backend, row: row["state"],
    "Started": lambda backend, row: local_time(row["started"]),
    "Uid": lambda backend, row: row["uid"],
    "User": lambda backend, row: row["owner"].get("user"),
    "Host": lambda backend, row: row["owner"].get("host"),
    "PID": lambda backend, row: row["owner"].get("pid"),
    "Tags": lambda backend, row: row.get("tags", []),
    "Note": lambda backend, row: row.get("note", ""),
    "Late": lambda backend, row: bool(row.get("late")),
}
SHORT = ("Result", "Success", "Finished", "Process Time", "Description")
VERBOSE = ("Seed", "Result", "Result Type", *SHORT[1:])


def parameter_column(name: str) -> str:
    """Column of a parameter; one that has the name of a column of ours says so.

    Two parameters never share a column.

    Examples
    --------
    >>> parameter_column("a"), parameter_column("Result")
    ('a', 'Result (parameter)')
    """
    bare = name
    while bare.endswith(_RENAMED):
        bare = bare.removesuffix(_RENAMED)
    return name + _RENAMED if bare in COLUMNS or bare == INDEX else name


def read(
    backend: Backend,
    trials: Trials,
    parameters: Sequence[str],
    standard: Sequence[str],
    columns: str | Sequence[str] | None = None,
    where: str | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Read the history of an experiment.

    Parameters
    ----------
    backend, trials
        Where the rows are.
    parameters : sequence of str
        Parameters to put first; those that rows name beside them follow.
    standard : sequence of str
        Columns that follow those of the parameters.
    columns : str or sequence of str, optional
        Exactly these columns instead.
    where : str, optional
        Condition, see :mod:`daskperiment.history.query`.
    order_by : str or sequence of str, optional
        Columns to sort by, ``-`` before a name sorts downwards; missing values come last.
    limit : int, optional
        At most so many rows.
    """
    records, wanted = select(backend, trials, parameters, standard, columns, where, order_by, limit)
    return _frame(records, [record[INDEX] for record in records], wanted)


def select(
    backend: Backend,
    trials: Trials,
    parameters: Sequence[str],
    standard: Sequence[str],
    columns: str | Sequence[str] | None = None,
    where: str | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
    running: bool = False,
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of :func:`read`, each with every column, and the columns that were asked for.

    With ``running`` also those of trials that have not ended.
    """
    most = _limit(limit)
    plain = columns is None and where is None and order_by is None
    states = None if running else {"state": ENDED}
    rows = dict(trials.find(where=states, limit=most if plain else None))
    names = list(dict.fromkeys([*parameters, *_named(rows.values())]))
    by_column = {parameter_column(name): name for name in names}
    wanted = [*by_column, *standard] if columns is None else _listed(columns)
    _check(wanted, by_column)
    records = {number: _record(backend, number, row, by_column) for number, row in rows.items()}
    known = {*by_column, *COLUMNS, INDEX}
    if where is not None:
        holds = query.parse(where, known)
        records = {number: record for number, record in records.items() if holds(record)}
    chosen = _ordered(records, order_by, known)[:most]
    return [records[number] for number in chosen], wanted


def _limit(limit: int | None) -> int | None:
    if limit is None:
        return None
    number = operator.index(limit)
    if number < 0:
        raise QueryError(f"limit is a number of rows from 0 on, not {number}")
    return number


def _listed(columns: str | Sequence[str]) -> list[str]:
    return [columns] if isinstance(columns, str) else list(columns)


def _named(rows: Iterable[Document]) -> Iterable[str]:
    return (name for row in rows for name, _ in row["parameters"])


def _record(
    backend: Backend, number: int, row: Document, by_column: dict[str, str]
) -> dict[str, Any]:
    kept = dict(row["parameters"])
    record: dict[str, Any] = {INDEX: number}
    for column, name in by_column.items():
        if name in kept:
            record[column] = payloads.shown(backend, kept[name])
    return record | {column: value(backend, row) for column, value in COLUMNS.items()}


def _check(columns: Sequence[str], known: Iterable[str]) -> None:
    unknown = [column for column in columns if column not in COLUMNS and column not in known]
    if unknown:
        raise QueryError(
            f"There is no column {unknown[0]!r}; choose among {', '.join([*known, *COLUMNS])}"
        )


def _ordered(
    records: dict[int, dict[str, Any]], order_by: str | Sequence[str] | None, known: set[str]
) -> list[int]:
    numbers = list(records)
    keys = _listed(order_by or ())
    for key in reversed(keys):
        column = key[1:] if key.startswith("-") and key not in known else key
        if column not in known:
            raise QueryError(
                f"Cannot order by {column!r}: there is no such column; choose among "
                f"{', '.join(sorted(known))}"
            )
        present = [n for n in numbers if _sortable(records[n].get(column))]
        try:
            present.sort(key=lambda n: records[n][column], reverse=column != key)
        except TypeError as error:
            raise QueryError(f"Cannot order by {column!r}: {error}") from error
        there = set(present)
        numbers = present + [n for n in numbers if n not in there]
    return numbers


def _sortable(value: Any) -> bool:
    if value is None:
        return False
    try:
        return bool(value == value)
    except Exception:
        return False


def _frame(
    records: list[dict[str, Any]], numbers: list[int], columns: Sequence[str]
) -> pd.DataFrame:
    import pandas as pd

    index = pd.Index(numbers, name=INDEX, dtype="int64")
    series = {column: _series([r.get(column) for r in records], column) for column in columns}
    return pd.DataFrame(
        {column: values.set_axis(index) for column, values in series.items()},
        index=index,
        columns=list(columns),
    )


def _series(values: list[Any], column: str) -> pd.Series[Any]:
    import pandas as pd

    if column in ("Finished", "Started"):
        return pd.Series(values, dtype="datetime64[us]")
    if column == "Process Time":
        return pd.to_timedelta(pd.Series(values, dtype="float64"), unit="s")
    if any(isinstance(value, (list, tuple, dict, set)) for value in values):
        return pd.Series(pd.array(values, dtype=object))
    missing = float("nan")
    plain = [missing if value is None else value for value in values]
    kept = pd.Series(plain, dtype=object)
    try:
        return kept.infer_objects()
    except UnicodeEncodeError:  # lone surrogates, which pandas' text on Arrow cannot hold
        return kept
