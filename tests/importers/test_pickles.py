"""Pickles of strangers give plain data; whatever else they hold is named."""

from __future__ import annotations

import collections
import datetime
import decimal
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from daskperiment.errors import ImportFormatError
from daskperiment.fingerprint.values import digest
from daskperiment.importers.pickles import loads, plain

PLAIN = [
    None, True, 3, 2**80, 0.5, float("inf"), 1 + 2j, "text", b"bytes", bytearray(b"x"),
    [1, [2]], (1, "a"), {1, 2}, frozenset("ab"), {"a": {"b": (1,)}, 2: None},
    collections.OrderedDict(a=1), decimal.Decimal("0.1"), Path("data/x.csv"),
    datetime.datetime(2019, 2, 3, 4, 5, 6, 7), datetime.date(2019, 2, 3),
    datetime.timedelta(1, 2, 3), datetime.datetime(2019, 2, 3, tzinfo=datetime.UTC),
    pd.Timestamp("2019-02-03 04:05:06.000000007"), pd.Timedelta("3ns"),
]  # fmt: skip
ARRAYS = [
    np.float64(1.5), np.int8(-3), np.bool_(True), np.float32("nan"), np.str_("text"),
    np.datetime64("2019-02-03T04:05", "m"), np.timedelta64(5, "s"),
    np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros((0, 2)),
    np.arange(10)[::3], np.array(["a", "bcd"]), np.array([b"x"]), np.arange(3, dtype=">i4"),
    np.array(["2019-01-01"], "M8[D]"), np.array([True, False]), np.array(5),
]  # fmt: skip


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_plain_values_are_read_as_they_were(value: Any, protocol: int) -> None:
    found = plain(loads(pickle.dumps(value, protocol)))

    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("value", ARRAYS, ids=repr)
def test_arrays_and_numbers_are_read_as_they_were(value: Any, protocol: int) -> None:
    found = plain(loads(pickle.dumps([value], protocol)))[0]

    assert type(found) is type(value) and found.dtype == value.dtype
    assert digest(found) == digest(value)


class Own:
    """Of whoever wrote the pickle."""

    def __init__(self) -> None:
        self.numbers = [1, 2]


STRANGE = [
    Own, Own(), len, [Own()], {"a": {"b": Own()}}, {Own()}, pd.DataFrame({"a": [1]}),
    np.array([Own()], dtype=object), np.zeros(2, "i4,f8"), np.zeros(1, "f4,i1")[0],
    pd.Timestamp("2019-01-01", tz="Europe/Paris"), collections.Counter("ab"),
    collections.defaultdict(list),
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("value", STRANGE, ids=lambda value: type(value).__name__)
def test_what_is_not_plain_is_named_and_costs_nothing_beside_it(value: Any, protocol: int) -> None:
    found = loads(pickle.dumps({"strange": value, "plain": [1, 2]}, protocol))

    assert plain(found["plain"]) == [1, 2]
    with pytest.raises(ImportFormatError):
        plain(found["strange"])


def test_a_value_that_holds_itself_or_doubles_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    doubled: Any = ()
    for _ in range(60):
        doubled = (doubled, doubled)

    with pytest.raises(ImportFormatError, match="holds itself"):
        plain(loads(pickle.dumps(loop)))
    assert len(plain(loads(pickle.dumps(doubled)))) == 2
