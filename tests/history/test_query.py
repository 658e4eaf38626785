"""Conditions on trials: what they mean, and how they refuse."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest

from daskperiment import QueryError
from daskperiment.history.query import parse

ROW: dict[str, Any] = {
    "a": 2,
    "rate": 0.1,
    "name": "it's",
    "Success": True,
    "off": False,
    "none": None,
    "nan": float("nan"),
    "minus": -3,
    "tags": ["x"],
    "array": np.arange(3),
    "numpy": np.float64(0.5),
    "large": 10**30,
    "learning rate": 1,
    "train/loss": 2,
    "a`b": 3,
    "and": 4,
    "naïve": 5,
    "Finished": datetime(2026, 3, 1, 12),
}

TRUE = [
    "a == 2", "a = 2", "a == 2.0", "a != 3", "a > 1", "a >= 2", "a < 2.5", "a <= 2", "a>1",
    "rate == 0.1", "rate == 1e-1", "rate < .2", "minus == -3", "minus < +1", "large > 1e29",
    "name == \"it's\"", r"name == 'it\'s'", "name > 'a'", "name != ''",
    "Success", "Success == true", "Success == True", "not off", "off == false", "Success != false",
    "none == none", "none == None", "a != none", "nan != 1", "rate < inf", "minus > -1e400",
    "numpy == 0.5", "numpy in [0.5]",
    "a in [1, 2]", "a in [2]", "name in ['x', \"it's\"]", "not a in []", "none in [none]",
    "a == 2 and rate == 0.1", "a == 3 or rate == 0.1", "not a == 3", "not not Success",
    "(a == 2)", "((a == 2))", "not (a == 3 or a == 4)",
    "a == 2 or a == 3 and a == 4", "(a == 3 or a == 2) and Success",
    "`learning rate` == 1", "`train/loss` > 1", "`a``b` == 3", "`and` == 4", "naïve == 5",
    "`a` == 2 and `and` == 4", "\n a\t== 2  ",
    "Finished > '2026-03-01'", "Finished == '2026-03-01 12:00'", "Finished < '2026-03-01T12:00:01'",
]  # fmt: skip

FALSE = [
    "a == 3", "a == '2'", "a > 'x'", "a != 2", "a in []", "a in ['2']", "a", "name", "off", "none",
    "missing == 1", "missing != 1", "missing > 1", "missing", "missing in [1]", "nan == nan",
    "nan > 0", "none > 0", "none < 0", "Success > 0", "Success == 1", "a == true", "off == 0",
    "tags == 'x'", "array == 1", "array > 0", "array in [1]", "not Success", "a == 2 and off",
    "Finished > 'tomorrow'", "Finished > 5", "Finished == '2026-03-01T12:00+00:00'",
]  # fmt: skip


@pytest.mark.parametrize("condition", TRUE)
def test_a_condition_holds(condition: str) -> None:
    assert parse(condition)(ROW) is True


@pytest.mark.parametrize("condition", FALSE)
def test_a_condition_does_not_hold(condition: str) -> None:
    assert parse(condition)(ROW) is False


BROKEN: list[tuple[str, int, str]] = [
    ("", 1, "the name of a column was expected"),
    ("   ", 4, "the name of a column was expected"),
    ("a >", 4, "a number, a quoted text, true, false or none was expected"),
    ("a > b", 5, "a number, a quoted text, true, false or none was expected"),
    ("1 > a", 1, "the name of a column was expected"),
    ("a == 1 b == 2", 8, "'and', 'or' or the end was expected"),
    ("a == 1 and", 11, "the name of a column was expected"),
    ("(a == 1", 8, "')' was expected"),
    ("a == 1)", 7, "'and', 'or' or the end was expected"),
    ("a in 1", 6, "'[' was expected after 'in'"),
    ("a in [1", 8, "']' was expected"),
    ("a in [1,]", 9, "a number, a quoted text, true, false or none was expected"),
    ("a == 'x", 6, "a name, a number or a quoted text was expected"),
    ("a == 1.2.3", 6, "a name, a number or a quoted text was expected"),
    ("a == 12abc", 6, "a name, a number or a quoted text was expected"),
    ("a. == 1", 2, "a name, a number or a quoted text was expected"),
    ("`a", 1, "a name, a number or a quoted text was expected"),
    ("``", 1, "a name, a number or a quoted text was expected"),
    ("a & b", 3, "a name, a number or a quoted text was expected"),
    ("__import__('os')", 11, "'and', 'or' or the end was expected"),
    ("a == (1)", 6, "a number, a quoted text, true, false or none was expected"),
    ("a < 1 < 2", 7, "'and', 'or' or the end was expected"),
]


@pytest.mark.parametrize(("condition", "character", "problem"), BROKEN)
def test_a_broken_condition_is_pointed_at(condition: str, character: int, problem: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(condition)

    first, shown, pointer, advice = str(caught.value).splitlines()
    assert first == f"Cannot read the condition at character {character}: {problem}"
    assert shown == f"  {condition}"
    assert pointer == " " * (character + 1) + "^"
    assert advice == "Write it like: a > 1 and (Success or State == 'CRASHED')"


def test_a_column_that_there_is_not_is_pointed_at() -> None:
    known = {"a", "learning rate"}

    assert parse("a > 1 and `learning rate` < 1", known)({"a": 2, "learning rate": 0.1})
    with pytest.raises(QueryError, match="at character 11: there is no column 'rate'"):
        parse("a > 1 and rate < 1", known)


@pytest.mark.parametrize("condition", [None, 5, b"a > 1", ["a > 1"], lambda row: True])
def test_a_condition_is_a_text(condition: Any) -> None:
    with pytest.raises(QueryError, match="A condition is a text such as 'a > 1', not "):
        parse(condition)


def test_a_condition_from_anywhere_cannot_exhaust_the_reader() -> None:
    assert parse("not " * 40 + "Success")(ROW) is True
    assert parse(" or ".join(["a == 2"] * 800))(ROW) is True
    for condition in ("(" * 60 + "a" + ")" * 60, "not " * 60 + "a", "a" * 10_001):
        with pytest.raises(QueryError):
            parse(condition)
    assert parse("a == " + "9" * 5000)(ROW) is False
