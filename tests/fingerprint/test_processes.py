"""Digests of values agree between processes, whatever their hash seeds."""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import functools
import os
import pathlib
import pickle
import struct
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from daskperiment.fingerprint.values import try_digest

OTHER = """
import pickle, struct, sys
sys.path.insert(0, sys.argv[1])
import test_processes
from daskperiment.fingerprint.values import try_digest
given, back = sys.stdin.buffer, sys.stdout.buffer
while head := given.read(4):
    value = pickle.loads(given.read(*struct.unpack("<I", head)))
    answer = pickle.dumps(try_digest(value))
    back.write(struct.pack("<I", len(answer)) + answer)
    back.flush()
"""


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Plain:
    name: object
    tags: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: object
    tags: object = None


@dataclasses.dataclass(slots=True)
class Slotted:
    name: object
    tags: object = None


class Words(set):
    pass


@pytest.fixture(scope="module")
def other():
    """Gives the digest that another process finds."""
    # Under one name there and here, by which the classes of this module are found.
    sys.modules.setdefault("test_processes", sys.modules[__name__])
    for kind in (Color, Access, Point, Plain, Frozen, Slotted, Words):
        kind.__module__ = "test_processes"
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(pathlib.Path(__file__).parent)],
        env=os.environ | {"PYTHONHASHSEED": "4242"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def ask(value):
        sent = pickle.dumps(value)
        process.stdin.write(struct.pack("<I", len(sent)) + sent)
        process.stdin.flush()
        size = struct.unpack("<I", process.stdout.read(4))
        return pickle.loads(process.stdout.read(*size))

    with process:
        yield ask
        process.stdin.close()


words = st.text("abcxyz", max_size=3)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(max_size=80),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.timedeltas(),
    st.uuids(),
    st.ip_addresses(),
    st.sampled_from([*Color, *Access, Access.READ | Access.WRITE, len, str.upper, Plain, ...]),
    st.builds(range, st.integers(-5, 5), st.integers(-5, 5), st.integers(1, 3)),
    st.builds(slice, st.integers(), st.integers(), st.none() | st.integers()),
)
dtypes = st.one_of(
    arrays.scalar_dtypes(),
    arrays.unicode_string_dtypes(max_len=3),
    arrays.byte_string_dtypes(max_len=3),
    arrays.array_dtypes(arrays.integer_dtypes() | arrays.floating_dtypes(), max_size=3),
).filter(lambda dtype: dtype.char not in "gG")
many = arrays.arrays(dtypes, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
columns = st.sampled_from(["i8", "f8", "str", "string", "category", "Int64", "boolean", "M8[ns]"])


@st.composite
def frames(draw):
    rows = draw(st.integers(0, 4))
    made = {}
    for name in draw(st.lists(words, max_size=3, unique=True)):
        kind = draw(columns)
        items = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
        if kind in ("str", "string", "category"):
            items = [None if item == 3 else "abc"[item] for item in items]
        elif kind == "boolean":
            items = [None if item == 3 else bool(item % 2) for item in items]
        made[name] = pd.Series(items, dtype=kind)
    return pd.DataFrame(made, index=pd.Index(draw(st.permutations(range(rows)))[:rows]))


def containers(inner):
    hashable = st.frozensets(st.one_of(words, st.integers()), max_size=5)
    named = st.dictionaries(words, inner, max_size=4)
    return st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        named,
        hashable,
        hashable.map(set),
        hashable.map(Words),
        named.map(collections.OrderedDict),
        named.map(lambda items: collections.defaultdict(list, items)),
        named.map(lambda items: collections.ChainMap(items, {})),
        st.lists(inner, max_size=3).map(collections.deque),
        st.lists(words, max_size=5).map(collections.Counter),
        st.builds(Point, inner, inner),
        st.builds(Plain, inner, hashable),
        st.builds(Frozen, inner, hashable),
        st.builds(Slotted, inner, hashable),
        named.map(lambda items: functools.partial(dict, **items)),
    )


values = st.recursive(scalars | many | frames(), containers, max_leaves=8)


@given(values)
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_equal_values_have_equal_digests_in_both_processes(other, value):
    found, reason = try_digest(value)
    assert found is not None, reason
    assert other(value)[0] == try_digest(copy.deepcopy(value))[0] == found


@given(many, st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_array_with_one_item_changed_has_another_digest(value, data):
    if not value.size:
        return
    place = data.draw(st.integers(0, value.size - 1))
    item = data.draw(arrays.from_dtype(value.dtype))
    changed = value.copy()
    changed.reshape(-1)[place] = item
    assert (try_digest(value) == try_digest(changed)) == same(value, changed)


def same(one, other):
    """Whether all items are written alike, all NaNs as one."""
    return one.dtype == other.dtype and repr(one.tolist()) == repr(other.tolist())


@given(frames(), st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_frame_with_one_item_changed_has_another_digest(frame, data):
    if not frame.size:
        return
    row = data.draw(st.integers(0, frame.shape[0] - 1))
    column = data.draw(st.integers(0, frame.shape[1] - 1))
    changed = frame.copy()
    changed.iloc[row, column] = data.draw(st.sampled_from(list(frame.iloc[:, column])))
    assert (try_digest(frame) == try_digest(changed)) == frame.equals(changed)


@given(st.dictionaries(words, st.integers(), min_size=1), words, st.integers())
def test_a_mapping_with_one_item_changed_has_another_digest(value, key, item):
    changed = value | {key: item}
    for kind in (dict, collections.OrderedDict, collections.ChainMap, Plain):
        assert (try_digest(kind(value)) == try_digest(kind(changed))) == (value == changed)


def test_the_digest_of_nan_items_of_an_array_does_not_depend_on_their_bits(other):
    bits = np.array([0x7FF8000000000000, 0xFFF8000000000001], "u8").view("f8")
    assert other(bits)[0] == try_digest(np.array([np.nan, np.nan]))[0]
