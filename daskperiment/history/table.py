"""The history as a table: one row for each trial that has ended."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from daskperiment.errors import QueryError
from daskperiment.history import query
from daskperiment.history.columns import (
    ABSENT,
    COLUMNS,
    ENDED,
    INDEX,
    Array,
    Column,
    Columns,
    parameter_column,
)
from daskperiment.history.trials import Trials

if TYPE_CHECKING:
    import pandas as pd

SHORT = ("Result", "Success", "Finished", "Process Time", "Description")
VERBOSE = ("Seed", "Result", "Result Type", *SHORT[1:])
_PAGE = 500
"""Rows up to which a page without a condition is read from the store itself."""


class Question(NamedTuple):
    """What is asked of a history.

    Parameters
    ----------
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
    running : bool
        Also those of trials that have not ended.
    """

    parameters: Sequence[str] = ()
    standard: Sequence[str] = ()
    columns: str | Sequence[str] | None = None
    where: str | None = None
    order_by: str | Sequence[str] | None = None
    limit: int | None = None
    running: bool = False


def read(trials: Trials, question: Question) -> pd.DataFrame:
    """The answer as a data frame."""
    with _answer(trials, question) as answer:
        return answer.columns.frame(answer.positions, answer.wanted, answer.column)


def records(trials: Trials, question: Question) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of the answer, each with every column, and the columns that were asked for."""
    with _answer(trials, question) as answer:
        rows = [answer.columns.record(at, answer.parameters) for at in answer.positions.tolist()]
        return rows, answer.wanted


def numbers(trials: Trials, question: Question) -> list[int]:
    """The numbers of the rows of the answer."""
    with _answer(trials, question) as answer:
        return [answer.columns.numbers[at] for at in answer.positions.tolist()]


class Page(NamedTuple):
    """Some rows of a history, and how many there are.

    Parameters
    ----------
    rows : list of (int, list)
        Number of each trial, and its value of each column; ``ABSENT`` where it has none.
    columns : list of str
        The columns.
    known : list of str
        Every column that can be asked for, those of parameters first.
    parameters : int
        How many of them are of parameters.
    found : int
        How many trials fit the condition.
    states : dict of str to int
        How many trials there are in each state, whatever the condition.
    tainted : int
        How many of them are tainted.
    """

    rows: list[tuple[int, list[Any]]]
    columns: list[str]
    known: list[str]
    parameters: int
    found: int
    states: dict[str, int]
    tainted: int


def page(
    trials: Trials, question: Question, offset: int, limit: int, parameters: int | None = None
) -> Page:
    """Rows of the answer from a position on, running trials too.

    Parameters
    ----------
    trials : Trials
        Where they are.
    question : Question
        What is asked; its ``limit`` and ``running`` do not count.
    offset, limit : int
        How many rows are passed over, and how many are wanted then.
    parameters : int, optional
        Only so many parameters, where no columns are named.
    """
    with trials.mirror.columns() as columns:
        positions = columns.positions()
        answer = _Answer(columns, positions, [*question.parameters, *columns.names(positions)])
        _choose(answer, question)
        if question.columns is None:
            answer.wanted = [*list(answer.parameters)[:parameters], *question.standard]
        states = _states(columns.standard["State"], positions)
        tainted = int(columns.standard["Tainted"].each(bool)[positions].sum())
        if question.where is not None:
            holds = query.parse(question.where, answer.known).among(answer.column)
            positions = positions[holds[positions]]
        keys = _keys(answer, question.order_by)
        shown = _ordered(positions, keys, offset + limit)[offset : offset + limit]
        found = [answer.column(name) for name in answer.wanted]
        rows = [(columns.numbers[at], [each[at] for each in found]) for at in shown.tolist()]
        known = list(dict.fromkeys((*answer.parameters, INDEX, *COLUMNS)))
        return Page(
            rows, answer.wanted, known, len(answer.parameters), len(positions), states, tainted
        )


def _states(column: Column, positions: Array) -> dict[str, int]:
    import numpy as np

    coded = column.codes()
    assert coded is not None
    codes, distinct = coded
    counts = np.bincount(codes[positions], minlength=len(distinct)).tolist()
    return {state: count for state, count in zip(distinct, counts, strict=True) if count}


class _Answer:
    """Where the rows that were asked for are in columns.

    Parameters
    ----------
    columns : Columns
        The rows, and others.
    positions : array
        Those that may be the answer.
    names : iterable of str
        Parameters that can be asked for.
    """

    def __init__(self, columns: Columns, positions: Array, names: Iterable[str]) -> None:
        self.columns = columns
        self.positions = positions
        self.parameters = {parameter_column(name): name for name in names}
        self.wanted: list[str] = []

    @property
    def known(self) -> list[str]:
        return list(dict.fromkeys([*self.parameters, *COLUMNS, INDEX]))

    def column(self, name: str) -> Column:
        if name not in self.parameters:
            return self.columns.standard[name]
        found = self.columns.parameters.get(self.parameters[name])
        return Column([ABSENT] * len(self.columns)) if found is None else found


@contextmanager
def _answer(trials: Trials, question: Question) -> Iterator[_Answer]:
    most = _limit(question.limit)
    newest = _by_number(question)
    if newest is not None and most is not None and most <= _PAGE:
        yield _page(trials, question, newest, most)
        return
    with trials.mirror.columns() as columns:
        positions = columns.positions(None if question.running else ENDED)
        if newest is not None:
            positions = (positions[::-1] if newest else positions)[:most]
        answer = _Answer(columns, positions, [*question.parameters, *columns.names(positions)])
        _choose(answer, question)
        if newest is None:
            _narrow(answer, question, most)
        yield answer


def _by_number(question: Question) -> bool | None:
    """Whether the newest rows are wanted first; None where it takes more to know the rows."""
    sure = COLUMNS.keys() | map(parameter_column, question.parameters)
    columns = () if question.columns is None else _listed(question.columns)
    plain = question.where is None and sure.issuperset(columns)
    orders = {(): False, (INDEX,): False, (f"-{INDEX}",): True}
    return orders.get(tuple(_listed(question.order_by or ()))) if plain else None


def _page(trials: Trials, question: Question, newest: bool, most: int) -> _Answer:
    """The first or the last rows, read without the others."""
    import numpy as np

    states = None if question.running else {"state": sorted(ENDED)}
    rows = sorted(trials.find(where=states, newest=newest, limit=most))
    columns = Columns(trials.place)
    columns.extend(rows)
    positions = np.arange(len(rows))[:: -1 if newest else 1]
    answer = _Answer(columns, positions, [*question.parameters, *columns.names(positions)])
    _choose(answer, question)
    return answer


def _choose(answer: _Answer, question: Question) -> None:
    if question.columns is None:
        answer.wanted = [*answer.parameters, *question.standard]
        return
    answer.wanted = _listed(question.columns)
    known = [*answer.parameters, *COLUMNS]
    if unknown := [column for column in answer.wanted if column not in known]:
        raise QueryError(f"There is no column {unknown[0]!r}; choose among {', '.join(known)}")


def _narrow(answer: _Answer, question: Question, most: int | None) -> None:
    """Keep the rows for which the condition holds, in the order that is wanted."""
    if question.where is not None:
        holds = query.parse(question.where, answer.known).among(answer.column)
        answer.positions = answer.positions[holds[answer.positions]]
    keys = _keys(answer, question.order_by)
    answer.positions = _ordered(answer.positions, keys, most)[:most]


def _limit(limit: int | None) -> int | None:
    if limit is None:
        return None
    number = operator.index(limit)
    if number < 0:
        raise QueryError(f"limit is a number of rows from 0 on, not {number}")
    return number


def _listed(columns: str | Sequence[str]) -> list[str]:
    return [columns] if isinstance(columns, str) else list(columns)


# -- the order ----------------------------------------------------------------------------------


class _Key(NamedTuple):
    """A column to sort by."""

    name: str
    column: Column
    down: bool


def _keys(answer: _Answer, order_by: str | Sequence[str] | None) -> list[_Key]:
    keys = []
    for key in _listed(order_by or ()):
        name = key[1:] if key.startswith("-") and key not in answer.known else key
        if name not in answer.known:
            raise QueryError(
                f"Cannot order by {name!r}: there is no such column; choose among "
                f"{', '.join(sorted(answer.known))}"
            )
        keys.append(_Key(name, answer.column(name), name != key))
    return keys


def _ordered(positions: Array, keys: Sequence[_Key], most: int | None) -> Array:
    """The positions in order; those of equal rows stay as they are.

    Where only so many are wanted, others may be missing.
    """
    import numpy as np

    orders = [key.column.order() for key in keys]
    found = [order[positions] for order in orders if order is not None]
    if not found or len(found) < len(keys):
        return _sorted(positions, keys)
    values = [-each if key.down else each for each, key in zip(found, keys, strict=True)]
    if most and most < len(positions):
        last = np.partition(values[0], most - 1)[most - 1]
        if last == last:  # no row behind the last one that is wanted, but for those equal to it
            few = np.flatnonzero(values[0] <= last)
            positions, values = positions[few], [each[few] for each in values]
    return positions[np.lexsort(values[::-1])]


def _sorted(positions: Array, keys: Sequence[_Key]) -> Array:
    """The positions in the order of values that are no floats."""
    import numpy as np

    chosen: list[int] = positions.tolist()
    for name, column, down in reversed(keys):
        values = {at: column.get(at) for at in chosen}
        present = [at for at in chosen if _sortable(values[at])]
        try:
            present.sort(key=values.__getitem__, reverse=down)
        except (TypeError, ValueError) as error:  # of values that say for themselves what is less
            raise QueryError(f"Cannot order by {name!r}: {error}") from error
        there = set(present)
        chosen = present + [at for at in chosen if at not in there]
    return np.array(chosen, np.intp)


def _sortable(value: Any) -> bool:
    if value is None:
        return False
    try:
        return bool(value == value)
    except Exception:
        return False
