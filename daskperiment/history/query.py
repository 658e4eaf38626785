"""The one grammar of conditions on trials, for Python, command line and dashboard.

A condition compares columns with literals::

    a > 1 and (Success or not State == "CRASHED")
    `learning rate` in [0.1, 0.01] and Result >= 0.9

Columns are names, also dotted ones, or any text between backticks, a backtick in it doubled.
Literals are numbers, quoted text, ``true``, ``false``, ``none`` and lists of these.  It is
parsed here and never evaluated as Python, so it may come from a web page.  A comparison with a
missing value, or of values that have no order, is false.  A time is compared with a text such as
``"2026-01-31 12:00"``.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from daskperiment.errors import QueryError

Row: TypeAlias = Mapping[str, Any]


class Values(Protocol):
    """What a condition asks of a column: of one value, or of each value of an array.

    The answers are truths, or arrays of truths, which combine by ``&``, ``|`` and ``^``.
    """

    def true(self) -> Any:
        """Whether it is True."""

    def there(self) -> Any:
        """Whether there is one, be it None."""

    def equal(self, wanted: Any) -> Any:
        """Whether it equals a literal, see :func:`equal`."""

    def ordered(self, compare: Comparison, limit: Any) -> Any:
        """Whether it stands in an order to a literal, see :func:`ordered`."""


Comparison: TypeAlias = Callable[[Any, Any], Any]
View: TypeAlias = Callable[[str], Values]
Test: TypeAlias = Callable[[View], Any]


class Condition:
    """A condition that was read, for one row or for all rows at once.

    Parameters
    ----------
    test : callable
        Takes a function from the name of a column to its :class:`Values`.
    """

    def __init__(self, test: Test) -> None:
        self._test = test

    def __call__(self, row: Row) -> bool:
        """Whether it holds for a mapping of column to value."""
        return bool(self._test(lambda column: _Value(row, column)))

    def among(self, view: View) -> Any:
        """Where it holds, in arrays of values."""
        return self._test(view)


class _Value:
    """One value of a row."""

    def __init__(self, row: Row, column: str) -> None:
        self._value = row.get(column)
        self._there = column in row

    def true(self) -> bool:
        return self._value is True

    def there(self) -> bool:
        return self._there

    def equal(self, wanted: Any) -> bool:
        return equal(self._value, wanted)

    def ordered(self, compare: Comparison, limit: Any) -> bool:
        return ordered(compare, self._value, limit)


_TOKEN = re.compile(
    r"""(?:
        (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | `(?P<quoted>(?:[^`]|``)+)`(?!`)
      | (?P<symbol><=|>=|==|!=|<|>|=|\(|\)|\[|\]|,)
      | (?P<word>[^\W\d]\w*(?:\.[^\W\d]\w*)*)
    )\s*""",
    re.VERBOSE,
)
_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_EQUAL = {"==": True, "=": True, "!=": False}
_CONSTANTS = {"true": True, "false": False, "none": None, "nan": float("nan"), "inf": float("inf")}
_DEEPEST = 50
_LONGEST = 10_000


def parse(text: str, columns: Container[str] | None = None) -> Condition:
    """Compile a condition.

    Parameters
    ----------
    text : str
        The condition.
    columns : container of str, optional
        The columns that there are; without them any name is taken for one.

    Returns
    -------
    Condition
        Called with a mapping of column to value it says whether it holds.

    Raises
    ------
    QueryError
        The text is no condition; the message points at the place.

    Examples
    --------
    >>> good = parse("a > 1 and not b == 'slow'")
    >>> good({"a": 2, "b": "fast"}), good({"a": 2, "b": "slow"}), good({})
    (True, False, False)
    """
    return Condition(_Parser(text, columns).whole())


class _Parser:
    def __init__(self, text: str, columns: Container[str] | None) -> None:
        if not isinstance(text, str):
            raise QueryError(f"A condition is a text such as 'a > 1', not {type(text).__name__}")
        if len(text) > _LONGEST:
            raise QueryError(f"The condition is longer than {_LONGEST} characters")
        self.text = text
        self.columns = columns
        self.tokens = self._split()
        self.next = 0
        self.depth = 0

    def _split(self) -> list[tuple[str, str, int]]:
        tokens, end = [], len(self.text)
        position = end - len(self.text.lstrip())
        while position < end:
            match = _TOKEN.match(self.text, position)
            if match is None:
                raise self._error("a name, a number or a quoted text was expected", position)
            kind = str(match.lastgroup)
            tokens.append((kind, match.group(kind), match.start(kind)))
            position = match.end()
        return tokens

    def _error(self, problem: str, position: int | None = None) -> QueryError:
        if position is None:
            position = self.tokens[self.next][2] if self.next < len(self.tokens) else len(self.text)
        return QueryError(
            f"Cannot read the condition at character {position + 1}: {problem}\n"
            f"  {self.text}\n  {' ' * position}^\n"
            f"Write it like: a > 1 and (Success or State == 'CRASHED')"
        )

    def _peek(self) -> tuple[str, str]:
        return self.tokens[self.next][:2] if self.next < len(self.tokens) else ("end", "")

    def _accept(self, *values: str) -> str | None:
        kind, value = self._peek()
        if kind in ("word", "symbol") and value in values:
            self.next += 1
            return value
        return None

    def whole(self) -> Test:
        condition = self._any()
        if self._peek()[0] != "end":
            raise self._error("'and', 'or' or the end was expected")
        return condition

    def _any(self) -> Test:
        parts = [self._all()]
        while self._accept("or"):
            parts.append(self._all())
        return _joined(operator.or_, parts)

    def _all(self) -> Test:
        parts = [self._one()]
        while self._accept("and"):
            parts.append(self._one())
        return _joined(operator.and_, parts)

    def _one(self) -> Test:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._error(f"more than {_DEEPEST} levels of parentheses and 'not'")
        try:
            if self._accept("not"):
                inner = self._one()
                return lambda view: inner(view) ^ True
            if self._accept("("):
                inner = self._any()
                if not self._accept(")"):
                    raise self._error("')' was expected")
                return inner
            return self._comparison()
        finally:
            self.depth -= 1

    def _comparison(self) -> Test:
        column = self._column()
        if self._accept("in"):
            tests = [_equals(column, choice) for choice in self._list()]
            return _joined(operator.or_, tests or [lambda view: view(column).there() & False])
        if sign := self._accept(*_EQUAL):
            wanted, other = self._literal(), not _EQUAL[sign]
            return lambda view: view(column).there() & (view(column).equal(wanted) ^ other)
        if sign := self._accept(*_ORDER):
            limit, compare = self._literal(), _ORDER[sign]
            return lambda view: view(column).ordered(compare, limit)
        return lambda view: view(column).true()

    def _column(self) -> str:
        kind, value = self._peek()
        if kind not in ("word", "quoted"):
            raise self._error("the name of a column was expected")
        name = value.replace("``", "`") if kind == "quoted" else value
        if self.columns is not None and name not in self.columns:
            raise self._error(f"there is no column {name!r}")
        self.next += 1
        return name

    def _list(self) -> list[Any]:
        if not self._accept("["):
            raise self._error("'[' was expected after 'in'")
        values = [] if self._peek()[1] == "]" else [self._literal()]
        while self._accept(","):
            values.append(self._literal())
        if not self._accept("]"):
            raise self._error("']' was expected")
        return values

    def _literal(self) -> Any:
        kind, value = self._peek()
        if kind == "word" and value.lower() in _CONSTANTS:
            found: Any = _CONSTANTS[value.lower()]
        elif kind == "number":
            found = _number(value)
        elif kind == "text":
            found = re.sub(r"\\(.)", r"\1", value[1:-1])
        else:
            raise self._error("a number, a quoted text, true, false or none was expected")
        self.next += 1
        return found


def _number(text: str) -> int | float:
    digits = text.lstrip("+-")
    return int(text) if digits.isdigit() and len(digits) < 19 else float(text)


def _equals(column: str, wanted: Any) -> Test:
    return lambda view: view(column).equal(wanted)


def _joined(join: Comparison, tests: Sequence[Test]) -> Test:
    return lambda view: functools.reduce(join, [test(view) for test in tests])


def equal(value: Any, wanted: Any) -> bool:
    """Whether a value equals a literal; a truth never equals a number.

    Examples
    --------
    >>> equal(1.0, 1), equal(True, 1), equal("a", 1)
    (True, False, False)
    """
    if isinstance(value, bool) is not isinstance(wanted, bool):
        return False
    try:
        return bool(value == _like(value, wanted))
    except Exception:
        return False


def ordered(compare: Comparison, value: Any, limit: Any) -> bool:
    """Whether a value stands in an order to a literal; False where there is no order.

    Examples
    --------
    >>> ordered(operator.lt, 1, 2.5), ordered(operator.lt, "a", 1)
    (True, False)
    """
    if value is None or isinstance(value, bool):
        return False
    try:
        return bool(compare(value, _like(value, limit)))
    except Exception:
        return False


def _like(value: Any, literal: Any) -> Any:
    """The literal, read as a time where the value is one."""
    if isinstance(value, datetime) and isinstance(literal, str):
        return datetime.fromisoformat(literal)
    return literal
