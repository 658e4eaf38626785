"""Columns: the rows of trials turned on their side, so that questions are fast.

A column holds one value of each trial.  Plain values that cannot be changed are held as they
are; what can be changed, such as a list, is held as its text and made anew for whoever asks, so
that nobody can change what is held.
"""

from __future__ import annotations

import functools
import operator
from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

from daskperiment.backends import documents
from daskperiment.history import query
from daskperiment.history.places import Place, Slot
from daskperiment.history.reproductions import verdict_of
from daskperiment.history.taints import tainted
from daskperiment.records import TrialState
from daskperiment.serializers import decode
from daskperiment.typing import Document

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

INDEX = "Trial ID"
ENDED = frozenset(state.value for state in TrialState if state.ended)
_COMPLETE = TrialState.COMPLETE.value
_RENAMED = " (parameter)"
_EXACT = 2**53
"""Integers up to it are floats, too."""
_DIGITS = frozenset("-0123456789")
_CHANGEABLE = (list, dict, set, tuple, frozenset)


class _Absent:
    """Stands where a trial has no such parameter."""


class _Text(str):
    """JSON of a value that could be changed."""

    __slots__ = ()

    def make(self) -> Any:
        return decode("json", self.encode())


class _Words(tuple[str, ...]):
    """A list of tags."""

    __slots__ = ()

    def make(self) -> list[str]:
        return list(self)


ABSENT = _Absent()
_NO_WORDS = _Words()
_MADE = frozenset((_Text, _Words))


def local_time(seconds: float | None) -> datetime | None:
    """A Unix time as naive local time, the form that the history has always shown."""
    return None if seconds is None else datetime.fromtimestamp(seconds)


def utc_time(seconds: float | None) -> datetime | None:
    """A Unix time as an aware datetime in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


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


# -- what is held of a row ----------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _inline(text: str) -> Any:
    """Value of an inline text; one that could be changed stays a text."""
    value = decode("json", text.encode())
    return _Text(text) if isinstance(value, _CHANGEABLE) else value


def _held(place: Callable[[str], Place], uid: str, slot: Slot, kept: Document) -> Any:
    text = kept.get("json")
    if text is None:
        return place(uid).shown(slot, kept)
    if text[:1] in _DIGITS:  # no more than a number: most values are, and all different
        return documents.decode(text)
    return _inline(text)


_STONE: Document = {
    "seed": 0,
    "state": "",
    "started": 0.0,
    "owner": {"user": "", "host": "", "pid": 0},
    "parameters": [],
}
"""What stands in for what is gone of a collected row: of usual types, and never shown."""


def _fields(place: Callable[[str], Place], number: int, row: Document) -> tuple[Any, ...]:
    """What is held of one row: its number, `COLUMNS` in their order, and whether it is shown."""
    state, owner, tags = row["state"], row["owner"], row.get("tags")
    complete = state == _COMPLETE
    result = row.get("result") if complete else None
    return (
        number,
        row["seed"],
        None if result is None else _held(place, row["uid"], ("result",), result),
        "None" if result is None else _same(result["type"]),
        complete,
        row.get("finished"),
        row.get("seconds"),
        row.get("description"),
        _same(state),
        row["started"],
        row["uid"],
        _same(owner.get("user")),
        _same(owner.get("host")),
        _same(owner.get("pid")),
        _Words(tags) if tags else _NO_WORDS,
        _same(row.get("note", "")),
        bool(row.get("late")),
        row.get("time_saved"),
        tainted(row),
        row.get("reproduces"),
        _same(verdict_of(row)),
        not row.get("removed"),
    )


@functools.lru_cache(maxsize=256, typed=True)
def _same(value: Any) -> Any:
    """An equal value, mostly the same object, so that many rows do not hold many."""
    return value


# -- one column ---------------------------------------------------------------------------------


class Column:
    """One value of each row, and arrays of them once a question needs some.

    The arrays are for the first rows, up to the earliest that was set since; a question adds
    what is missing.

    Parameters
    ----------
    values : iterable
        What is held; ``ABSENT`` where a row has no such value.
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self.held: list[Any] = list(values)
        self._kinds: set[type] = set()
        self._looked = 0
        self._numbers: Array | None = None
        self._codes: Array | None = None
        self._distinct: dict[Any, int] = {}
        self._ranks: Array | None = None

    def __getitem__(self, at: int) -> Any:
        """The value of a row, ``ABSENT`` where it has none; what can be changed is new."""
        held = self.held[at]
        return held.make() if type(held) in _MADE else held

    def get(self, at: int) -> Any:
        """The value of a row, None where it has none."""
        value = self[at]
        return None if value is ABSENT else value

    def extend(self, values: Iterable[Any]) -> None:
        """Add rows."""
        self.held.extend(values)

    def put(self, at: int, value: Any) -> None:
        """Set the value of one row."""
        held = self.held[at]
        if held is value or (type(held) is type(value) and held == value):
            return
        self.held[at] = value
        self._cut(at)

    def _cut(self, at: int) -> None:
        """Let go of the arrays from a row on."""
        self._looked = min(self._looked, at)
        self._numbers = None if self._numbers is None else self._numbers[:at]
        self._codes = None if self._codes is None else self._codes[:at]

    # -- arrays

    def _kind(self) -> set[type]:
        """Types of the values; perhaps also of some that were replaced."""
        self._kinds.update(map(type, self.held[self._looked :]))
        self._looked = len(self.held)
        return self._kinds

    def numbers(self) -> Array | None:
        """The values as floats, NaN where there is none; None unless that is exact."""
        import numpy as np

        if not self._kind() <= {float, int, np.float64, np.int64, type(None), _Absent}:
            return None
        done = self._numbers if self._numbers is not None else np.empty(0)
        if len(done) < len(self.held):
            added = _floats(self.held[len(done) :], self._kinds)
            if added is None:
                return None
            done = self._numbers = np.concatenate((done, added))
        return done

    def codes(self) -> tuple[Array, list[Any]] | None:
        """Positions of the values among the distinct ones; None unless all are texts or truths."""
        import numpy as np

        if not self._kind() <= {str, bool, type(None), _Absent}:
            return None
        done = self._codes if self._codes is not None else np.empty(0, np.intp)
        if len(done) < len(self.held):
            distinct = self._distinct
            added = [distinct.setdefault(v, len(distinct)) for v in self.held[len(done) :]]
            done = self._codes = np.concatenate((done, np.array(added, np.intp)))
        return done, list(self._distinct)

    def order(self) -> Array | None:
        """Floats that are ordered as the values are, NaN last; None where there are none."""
        import numpy as np

        if (numbers := self.numbers()) is not None:
            return numbers
        if (coded := self.codes()) is None or {str, bool} <= self._kinds:
            return None
        codes, distinct = coded
        if self._ranks is None or len(self._ranks) < len(distinct):
            self._ranks = np.full(len(distinct), np.nan)
            present = [at for at, value in enumerate(distinct) if isinstance(value, (str, bool))]
            present.sort(key=distinct.__getitem__)
            self._ranks[present] = np.arange(len(present))
        return self._ranks[codes]  # type: ignore[no-any-return,unused-ignore]

    # -- conditions: what `query` asks

    def true(self) -> Array:
        """Where the value is True."""
        return self.each(lambda value: value is True)

    def there(self) -> Array:
        """Where a row has such a value."""
        import numpy as np

        if _Absent not in self._kind():
            return np.ones(len(self.held), bool)
        return np.array([value is not ABSENT for value in self.held], bool)

    def equal(self, wanted: Any) -> Array:
        """Where the value equals a literal."""
        if (compared := self._compared(wanted)) is not None:
            return operator.eq(*compared)  # type: ignore[no-any-return]
        if type(wanted) is str and type(self) is Column and self.numbers() is not None:
            import numpy as np

            return np.zeros(len(self.held), bool)  # a text equals no number
        return self.each(lambda value: query.equal(value, wanted))

    def ordered(self, compare: Callable[[Any, Any], Any], limit: Any) -> Array:
        """Where the value stands in an order to a literal."""
        if (compared := self._compared(limit)) is not None:
            return compare(*compared)  # type: ignore[no-any-return]
        return self.each(lambda value: query.ordered(compare, value, limit))

    def _compared(self, literal: Any) -> tuple[Array, float] | None:
        """Floats that compare with a float as the values compare with the literal."""
        if type(literal) is not float and (type(literal) is not int or abs(literal) > _EXACT):
            return None
        numbers = self.numbers()
        return None if numbers is None else (numbers, float(literal))

    def each(self, test: Callable[[Any], bool]) -> Array:
        """Where a test of the value holds; None stands for what is absent."""
        import numpy as np

        if (coded := self.codes()) is not None:
            codes, distinct = coded
            found = [test(None if value is ABSENT else value) for value in distinct]
            return np.array(found, bool)[codes]  # type: ignore[no-any-return,unused-ignore]
        return np.array([test(self.get(at)) for at in range(len(self.held))], bool)

    # -- series

    def series(self, positions: Array) -> pd.Series[Any]:
        """The values of some rows as pandas has them."""
        return self._from_arrays(positions) if len(positions) else series([])

    def _from_arrays(self, positions: Array) -> pd.Series[Any]:
        import numpy as np
        import pandas as pd

        kinds = self._kind() - {type(None), _Absent}
        if kinds <= {float, np.float64} or kinds == {int}:
            if (numbers := self.numbers()) is not None:
                chosen = numbers[positions]
                whole = kinds == {int} and not np.isnan(chosen).any()
                return pd.Series(chosen.astype("int64") if whole else chosen)
        elif kinds == {str} or self._kind() == {bool}:
            found = self._decoded(positions)
            return series([self.get(at) for at in positions]) if found is None else found
        return series([self.get(at) for at in positions])

    def _decoded(self, positions: Array) -> pd.Series[Any] | None:
        """Series made of the distinct values; None where that would be another one."""
        import numpy as np

        coded = self.codes()
        assert coded is not None
        codes, distinct = coded[0][positions], coded[1]
        if len(distinct) > len(positions):
            return None
        shown = series([None if value is ABSENT else value for value in distinct])
        same = shown.dtype == bool or shown.dtype == float
        some = np.array([isinstance(value, str) for value in distinct])[codes].any()
        if shown.dtype == object or not (same or some):
            return None
        return type(shown)(shown.array.take(codes))


def _floats(values: Sequence[Any], kinds: set[type]) -> Array | None:
    import numpy as np

    if any(map({type(None), _Absent}.__contains__, kinds)):
        missing = float("nan")
        values = [missing if v is None or v is ABSENT else v for v in values]
    if not kinds & {int, np.int64}:
        return np.array(values, float)
    try:
        floats = np.array(values, float)
    except OverflowError:
        return None
    # One that was rounded to 2**53 was larger before.
    return None if (np.abs(floats) >= _EXACT).any() else floats


class _Times(Column):
    """Unix times, shown as local ones."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__(values)
        self._moments: Array | None = None

    def __getitem__(self, at: int) -> Any:
        return local_time(self.held[at])

    def _cut(self, at: int) -> None:
        super()._cut(at)
        self._moments = None if self._moments is None else self._moments[:at]

    def _local(self) -> Array:
        import numpy as np

        done = self._moments if self._moments is not None else np.empty(0, "M8[us]")
        if len(done) < len(self.held):
            added = [local_time(value) for value in self.held[len(done) :]]
            done = self._moments = np.concatenate((done, np.array(added, "M8[us]")))
        return done

    def numbers(self) -> Array:
        """Microseconds of the local time since 1970."""
        return _microseconds(self._local())

    def codes(self) -> None:
        """They are all different."""

    def _compared(self, literal: Any) -> tuple[Array, float] | None:
        import numpy as np

        try:
            moment = datetime.fromisoformat(literal)
        except Exception:
            return None
        if moment.tzinfo is not None:
            return None
        return self.numbers(), float(_microseconds(np.array([moment], "M8[us]"))[0])

    def series(self, positions: Array) -> pd.Series[Any]:
        """The values of some rows as pandas has them."""
        import pandas as pd

        return pd.Series(self._local()[positions], dtype="datetime64[us]")


def _microseconds(moments: Array) -> Array:
    import numpy as np

    return np.where(np.isnat(moments), np.nan, moments.view("int64").astype(float))


class _Durations(Column):
    """Seconds."""

    def series(self, positions: Array) -> pd.Series[Any]:
        """The values of some rows as pandas has them."""
        import pandas as pd

        numbers = self.numbers()
        assert numbers is not None
        return pd.to_timedelta(pd.Series(numbers[positions], dtype="float64"), unit="s")


COLUMNS: dict[str, type[Column]] = {
    "Seed": Column,
    "Result": Column,
    "Result Type": Column,
    "Success": Column,
    "Finished": _Times,
    "Process Time": _Durations,
    "Description": Column,
    "State": Column,
    "Started": _Times,
    "Uid": Column,
    "User": Column,
    "Host": Column,
    "PID": Column,
    "Tags": Column,
    "Note": Column,
    "Late": Column,
    "time_saved": _Durations,
    "Tainted": Column,
    "Reproduces": Column,
    "Verdict": Column,
}


# -- all columns --------------------------------------------------------------------------------


class Columns:
    """Rows of trials, in the order of their numbers, as columns.

    Parameters
    ----------
    place : callable
        Makes of a trial's uid the place of values that are not in the rows.
    """

    def __init__(self, place: Callable[[str], Place]) -> None:
        self._place = place
        self.standard = {INDEX: Column(), **{name: kind() for name, kind in COLUMNS.items()}}
        self.parameters: dict[str, Column] = {}
        self.count = 0
        """Rows that were not removed."""
        self._shown = Column()
        self._names: list[tuple[str, ...]] = []
        self._same_names: dict[tuple[str, ...], tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._names)

    @property
    def numbers(self) -> list[int]:
        """Numbers of the rows, removed ones too."""
        return self.standard[INDEX].held

    def extend(self, rows: Sequence[tuple[int, Document]]) -> None:
        """Add rows; their numbers are higher than those that are there."""
        if not rows:
            return
        whole = [(number, row if "owner" in row else _STONE | row) for number, row in rows]
        fields = [_fields(self._place, number, row) for number, row in whole]
        *fields, shown = zip(*fields, strict=True)
        kept = [self._kept(row) for _, row in whole]
        for name in dict.fromkeys(chain(*kept)):
            if name not in self.parameters:
                self.parameters[name] = Column([ABSENT] * len(self))
        for name, column in self.parameters.items():
            column.extend([values.get(name, ABSENT) for values in kept])
        for column, values in zip(self.standard.values(), fields, strict=True):
            column.extend(values)
        self._shown.extend(shown)
        self.count += sum(shown)
        self._names.extend([self._same_names.setdefault(n, n) for n in map(tuple, kept)])

    def _kept(self, row: Document) -> dict[str, Any]:
        place = self._place
        return {
            name: _held(place, row["uid"], ("parameters", name), document)
            for name, document in row["parameters"]
        }

    def put(self, number: int, row: Document) -> None:
        """Change a row that is there."""
        at = self.at(number)
        assert at is not None, number
        row = row if "owner" in row else _STONE | row
        *fields, shown = _fields(self._place, number, row)
        kept = self._kept(row)
        for name in kept.keys() - self.parameters.keys():
            self.parameters[name] = Column([ABSENT] * len(self))
        for name, column in self.parameters.items():
            column.put(at, kept.get(name, ABSENT))
        for column, value in zip(self.standard.values(), fields, strict=True):
            column.put(at, value)
        self.count += shown - self._shown.held[at]
        self._shown.put(at, shown)
        names = tuple(kept)
        self._names[at] = self._same_names.setdefault(names, names)

    def at(self, number: int) -> int | None:
        """Position of a trial; None where there is no row of it."""
        at = bisect_left(self.numbers, number)
        return at if at < len(self) and self.numbers[at] == number else None

    def newest(self) -> int | None:
        """Highest number of a trial that was not removed."""
        for at in range(len(self) - 1, -1, -1):
            if self._shown.held[at]:
                return self.numbers[at]
        return None

    def positions(self, states: Container[str] | None = None) -> Array:
        """Where the rows are that were not removed, of trials in one of these states."""
        import numpy as np

        chosen = self._shown.true()
        if states is not None:
            chosen = chosen & self.standard["State"].each(lambda state: state in states)
        return np.flatnonzero(chosen)

    def having(self, name: str, text: str) -> list[int]:
        """Positions of the rows that were not removed, and have this text in a column of ours."""
        shown = self._shown.held
        held = enumerate(self.standard[name].held)
        return [at for at, value in held if value == text and shown[at]]

    def names(self, positions: Array) -> Iterable[str]:
        """Parameters of some rows, in the order in which the rows name them."""
        if len(self._same_names) == 1 and len(positions):
            return next(iter(self._same_names))
        return dict.fromkeys(
            chain(*dict.fromkeys(map(self._names.__getitem__, positions.tolist())))
        )

    def record(self, at: int, by_column: Mapping[str, str]) -> dict[str, Any]:
        """The values of one row by column; a parameter that it has not is left out."""
        record = {INDEX: self.numbers[at]}
        for column, name in by_column.items():
            if name in self._names[at]:
                record[column] = self.parameters[name][at]
        return record | {name: column[at] for name, column in self.standard.items()}

    def frame(
        self, positions: Array, wanted: Sequence[str], column: Callable[[str], Column]
    ) -> pd.DataFrame:
        """Some rows of some columns, which are found by their names."""
        import pandas as pd

        numbers = self.standard[INDEX].series(positions)
        index = pd.Index(numbers, name=INDEX, dtype="int64")
        found = {name: column(name).series(positions).set_axis(index) for name in wanted}
        return pd.DataFrame(found, index=index, columns=list(wanted))


def series(values: list[Any]) -> pd.Series[Any]:
    """Values as pandas has them: None is NaN, and lists stay what they are."""
    import pandas as pd

    if any(isinstance(value, (list, tuple, dict, set)) for value in values):
        return pd.Series(pd.array(values, dtype=object))
    missing = float("nan")
    plain = [missing if value is None else value for value in values]
    kept = pd.Series(plain, dtype=object)
    try:
        return kept.infer_objects()
    except UnicodeEncodeError:  # lone surrogates, which pandas' text on Arrow cannot hold
        return kept
