"""Columns: whatever is asked of them is answered as by one row after the other."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daskperiment import QueryError
from daskperiment.backends.memory import MemoryBackend
from daskperiment.history import payloads, table
from daskperiment.history.columns import INDEX, Columns, series
from daskperiment.history.query import parse
from daskperiment.history.trials import Trials

NUMBERS = st.one_of(
    st.integers(-3, 3), st.floats(width=16), st.sampled_from([2**53, 2**53 + 1, -(2**62), 10**30])
)
VALUES = st.one_of(
    NUMBERS,
    st.none(),
    st.booleans(),
    st.sampled_from(["", "a", "b", "1", "\ud800"]),
    st.lists(st.integers(0, 2), max_size=2),
    st.sampled_from([np.float64(0.5), np.float32(0.1), np.int64(2), np.bool_(True), (1, 2)]),
    st.datetimes(),
)
# Whole columns of one kind are what is fast, and one odd value among them what is hard.
KINDS = [
    st.integers(-3, 3),
    st.floats(width=16),
    st.floats(width=16).map(np.float64),
    NUMBERS,
    st.booleans(),
    st.sampled_from(["", "a", "b"]),
    VALUES,
]
ABSENT = object()
COLUMN = st.one_of(
    *[st.lists(kind, min_size=1, max_size=8) for kind in KINDS],
    *[st.lists(st.one_of(kind, st.none(), st.just(ABSENT)), max_size=8) for kind in KINDS],
    *[st.tuples(st.lists(k, max_size=5), VALUES).map(lambda t: [*t[0], t[1]]) for k in KINDS],
)
LITERALS = [
    "1", "-2", "0.5", "1e30", "9007199254740992", "9007199254740993", "nan", "inf", "none", "true",
    "false", "'a'", "''", "'2000-01-01'", "'2000-01-01T00:00+00:00'",
]  # fmt: skip
CONDITIONS = [
    "a", "not a", "a in []", "a in [1, 'a', none]", "a != 1 and not a > 0 or a == 'b'",
    *[f"a {sign} {literal}" for sign in ("==", "!=", "<", ">=") for literal in LITERALS],
    "Started > '2001-09-09'", "Finished == none", "Finished != '2001-09-09'", "Started == 'x'",
    "Note == '' and `Trial ID` > 2", "Tags == none", "State in ['COMPLETE']", "Success",
]  # fmt: skip


def written(values: list[Any]) -> tuple[Trials, list[dict[str, Any]]]:
    """Rows with these values of the parameter ``a``, and what a reader of one row sees."""
    trials = Trials(MemoryBackend(), "example")
    for number, value in enumerate(values, 1):
        kept = [] if value is ABSENT else [["a", payloads.keep(value)[0]]]
        ended = {"finished": 1e9 + number, "seconds": 0.5} if number % 3 else {}
        row = {
            "uid": f"{number:032}", "parameters": kept, "state": "COMPLETE", "seed": number,
            "started": 1e9 + number / 7, "owner": {"host": "h"}, "ended_by": "driver", **ended,
        }  # fmt: skip
        trials.begin(row)
    rows = Columns(trials.place)
    rows.extend(list(trials.find()))
    return trials, [rows.record(at, {"a": "a"}) for at in range(len(values))]


@settings(deadline=None)
@given(COLUMN, st.sampled_from(CONDITIONS))
@example([float(2**53)], "a == 9007199254740993")
@example([2**53 + 1, 1], "a == 9007199254740992")
def test_a_condition_on_columns_is_the_condition_on_each_row(
    values: list[Any], condition: str
) -> None:
    trials, rows = written(values)

    found = table.numbers(trials, table.Question(["a"], where=condition))

    assert found == [row[INDEX] for row in rows if parse(condition)(row)]


@settings(deadline=None)
@given(COLUMN, st.sampled_from(CONDITIONS), st.data())
def test_a_column_that_changes_answers_as_one_that_is_new(
    values: list[Any], condition: str, data: st.DataObject
) -> None:
    trials, _ = written(values)
    question = table.Question(["a"], columns=["a"], where=condition)
    table.read(trials, question)
    for number in range(1, len(values) + 1):
        if data.draw(st.booleans()):
            kept = [["a", payloads.keep(data.draw(VALUES))[0]]]
            trials.change(number, {"parameters": kept})

    answer = table.read(trials, question)

    pd.testing.assert_frame_equal(answer, table.read(Trials(trials.backend, "example"), question))


@settings(deadline=None)
@given(COLUMN)
def test_a_frame_is_that_of_a_list_of_the_values(values: list[Any]) -> None:
    trials, rows = written(values)

    frame = table.read(trials, table.Question(["a"], columns=["a", "Started", "Finished"]))

    wanted = series([row.get("a") for row in rows])
    pd.testing.assert_series_equal(frame["a"].reset_index(drop=True), wanted, check_names=False)
    for name in ("Started", "Finished"):
        times = pd.Series([row[name] for row in rows], dtype="datetime64[us]")
        pd.testing.assert_series_equal(frame[name].reset_index(drop=True), times, check_names=False)


def by_hand(rows: list[dict[str, Any]], keys: list[str]) -> list[int]:
    """Sorted by the last key first; what is missing, or no number, comes last."""
    for key in reversed(keys):
        name, down = key.removeprefix("-"), key.startswith("-")
        present = [row for row in rows if row.get(name) is not None and row[name] == row[name]]
        present.sort(key=lambda row, name=name: row[name], reverse=down)  # type: ignore[misc]
        rows = present + [row for row in rows if not any(row is each for each in present)]
    return [row[INDEX] for row in rows]


@settings(deadline=None)
@given(
    COLUMN,
    st.lists(
        st.sampled_from(["a", "-a", "Finished", "-Finished", "-Trial ID", "Uid", "-Success"]),
        max_size=3,
    ),
    st.one_of(st.none(), st.integers(0, 5)),
)
@example([None, 1.0, None, 0.5, float("nan"), 2.0], ["-a"], 4)
@example([1.0, 0.5, 0.5, 2.0, 0.5], ["a", "-Trial ID"], 2)
@example([[], np.float64(0.5)], ["a"], None)
def test_an_order_is_that_of_the_values(
    values: list[Any], order_by: list[str], limit: int | None
) -> None:
    trials, rows = written(values)
    question = table.Question(["a"], order_by=order_by, limit=limit)
    try:
        wanted = by_hand(rows, order_by)
    except (TypeError, ValueError):
        wanted = []
        if order_by not in ([], ["-Trial ID"]):
            try:
                table.numbers(trials, question)
            except QueryError:
                return
            raise AssertionError("values without an order were ordered") from None

    assert table.numbers(trials, question) == wanted[:limit]


def test_times_are_compared_as_they_are_shown() -> None:
    trials, rows = written([1, 2, 3, 4])
    moment = rows[1]["Started"]
    assert isinstance(moment, datetime)

    for sign, numbers in (("<", [1]), ("==", [2]), (">=", [2, 3, 4]), ("!=", [1, 3, 4])):
        question = table.Question(["a"], where=f"Started {sign} '{moment.isoformat()}'")
        assert table.numbers(trials, question) == numbers
