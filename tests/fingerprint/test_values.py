"""The digest of a value: equal for equal values everywhere, different for different ones."""

from __future__ import annotations

import array
import collections
import contextlib
import copy
import csv
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import importlib
import io
import ipaddress
import itertools
import json
import linecache
import operator
import os
import pathlib
import pickle
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import types
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskperiment import Secret
from daskperiment.fingerprint.values import (
    SCHEME,
    Known,
    Unhashed,
    digest,
    digest_of_form,
    form,
    try_digest,
)

# A change here is a new scheme: records of the old one could not be compared any more.
GOLDEN = [
    (None, "v1:8fbba9df8a3e692066608c778acd3c1b"),
    (..., "v1:d80dd81e9796ec62e059c159fe4b0ef9"),
    (True, "v1:cfa64118505dd3c6ba8434d06a415afc"),
    (1, "v1:be87e4b47ba2be33bef496816e9fa88a"),
    (-(2**70), "v1:d044f04afed1e4611acfcbc9b3d3a1df"),
    (10**5000, "v1:6801524354a23ac4e95a7eab63b7f6d2"),
    (1.0, "v1:e9c45f82de98f68f47e8850cc8c75f4a"),
    (-0.0, "v1:aedd3c80ae9c33ea1391afc95df3d395"),
    (float("nan"), "v1:b3c9ff488a87c0785b114686878d2b87"),
    (complex(0.5, float("nan")), "v1:241eb7f0855a559777ed08dd0ee2142c"),
    ("text", "v1:6c00b4b105f36a7551740bdc0f9e7b02"),
    ("\ud800", "v1:fe0f6c1ad35817d6ee071a65e8bd3cfe"),
    (b"bytes", "v1:a1334f605f3940c9aab8861d83b60762"),
    (decimal.Decimal("1.50"), "v1:5a088be2cbdc99c50188451c0241c7d4"),
    (fractions.Fraction(1, 3), "v1:cf303d2af87bd5db4d4b7872561af8cf"),
    (uuid.UUID(int=7), "v1:6849185297469af6c8c62eeb10928932"),
    (
        datetime.datetime(2020, 1, 2, 3, 4, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        "v1:83b07b24201ff924b1a28c8775d1f0e3",
    ),
    (datetime.timedelta(days=-1, microseconds=3), "v1:ed5b3372032a46153470a6740add1f96"),
    (range(3, 9, 2), "v1:849886a56dbfd45945503698e8b48b65"),
    ([1, [2, (3,)], "x" * 1000], "v1:da9074cdd92414d64906b91a12e113fd"),
    ({"b": 1, "a": {2, 3, "c"}, 4: frozenset([None])}, "v1:1f3f2fc580e48ba631a2af77923579ca"),
    (collections.OrderedDict(b=1, a=2), "v1:c774277051886dab4c54a11ec1236b0a"),
    (pathlib.PurePosixPath("data/x.csv"), "v1:a9b90ea37c8c728199f22dfe893a35f6"),
    (re.compile("a+", re.IGNORECASE), "v1:3aa4b7b933be72aead42d74db9e04aa1"),
    (random.Random(1), "v1:3fe308d89e1724b8556d1ac5a7164192"),
    (types.SimpleNamespace(a=1), "v1:28c2a7d0a70a8ec00c30a5b90a22bfdc"),
    (len, "v1:1e9fe50ed0f8cde3b98383bb2a688bca"),
    (np.float64, "v1:6a2d6094504b81c053ff96243d36fd7b"),
    (np.float32(0.5), "v1:4dca05433c7329a7785a259989d0cfff"),
    (np.dtype(">i4"), "v1:8d97a6dfd19706279bcb844d3a20b51c"),
    (np.arange(6.0).reshape(2, 3), "v1:ba92f60d590ebed3e5fcca679d1ca3b8"),
    (np.array(["2020-01-01", "NaT"], "M8[D]"), "v1:503b4ae5c3de316f096230449ecd9fce"),
    (
        np.array([(1, "a", np.nan)], [("x", "<i2"), ("y", "U3"), ("z", "f4")]),
        "v1:3e08f473532c63d371c2f2d9e3331b6a",
    ),
    (np.array(["a", None, "ä", 2], object), "v1:256030ee1c836e61bbaa48b473e62119"),
    (np.ma.MaskedArray([1, 2], [True, False]), "v1:2ac70b420ce177e8da7b5c4e61396ad3"),
    (np.random.default_rng(1), "v1:1a5e25bf8b189c01495c3c3e5e7ff4d1"),
    (np.random.RandomState(1), "v1:1bcb9acfe6b11b254d49b446f857b95d"),
    (
        pd.DataFrame({"x": [1.5, np.nan], "y": ["a", np.nan], "z": [True, False]}),
        "v1:edda7ff3cdc891978cab076605be26cf",
    ),
    (pd.Series([1, None], dtype="Int64", name="n"), "v1:c26923419d97c722795500c6eb5b4d44"),
    (pd.Series(["a", pd.NA], dtype="string"), "v1:0af60ea8172702b24df7feef0ddd6089"),
    (pd.Categorical(["a", "b", None]), "v1:8e08ba846b59112fc7967daab602203e"),
    (
        pd.DatetimeIndex(["2020-01-01"], dtype="datetime64[ns, Europe/Berlin]"),
        "v1:0bb77efb6a56092daf18782e2c4d1fe7",
    ),
    (
        pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["k", None]),
        "v1:f7c769364dc18fe7bbdfc53eb30935b1",
    ),
    (pd.IntervalIndex.from_breaks([0, 1, 2]), "v1:7b959616bcddb9e5626e6c1a3e4f0f82"),
    (pd.PeriodIndex(["2020-01"], freq="M"), "v1:423e6f967ae7bb7f39ed1bb47cd7bd5b"),
    (
        pd.Timestamp("2020-01-01 00:00:00.000000001", tz="UTC"),
        "v1:9ecf105f85ec4d0b92bf262e89a9279c",
    ),
    ([pd.NA, pd.NaT, pd.Timedelta("1s"), pd.Interval(0, 1)], "v1:4e63aa691cea2e741d042ec04ec73d1e"),
]

# NumPy 1.26 pickles a generator without what its `spawn` starts from: another value.
PICKLES_KEEP_SPAWNING = np.lib.NumpyVersion(np.__version__) >= "2.0.0"

FRESH = """
import json, sys
sys.path.insert(0, sys.argv[1])
from test_values import GOLDEN, digest
print(json.dumps([digest(value) for value, _ in GOLDEN]))
"""


@pytest.mark.parametrize(("value", "expected"), GOLDEN, ids=range(len(GOLDEN)))
def test_the_scheme_gives_the_digests_of_its_first_release(value, expected):
    assert digest(value) == expected


def test_no_two_golden_values_share_a_digest():
    assert len({expected for _, expected in GOLDEN}) == len(GOLDEN)


def test_another_process_with_another_hash_seed_gives_equal_digests():
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(pathlib.Path(__file__).parent)],
        env=os.environ | {"PYTHONHASHSEED": "4242"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [expected for _, expected in GOLDEN]


# Plain values


def test_numbers_that_are_equal_but_of_different_types_differ():
    same = [1, 1.0, True, 1 + 0j, decimal.Decimal(1), fractions.Fraction(1), np.float64(1)]
    assert len(set(map(digest, [*same, np.int64(1), np.float32(1), np.True_, "1", b"1"]))) == 12


def test_the_sign_of_zero_counts_and_the_bits_of_a_nan_do_not():
    assert digest(-0.0) != digest(0.0)
    assert digest(float("nan")) == digest(-float("nan"))
    negative = np.copysign(np.full(4, np.nan), -1)
    assert digest(negative) == digest(np.full(4, np.nan))
    assert digest(negative.astype("f2")) == digest(np.full(4, np.nan, "f2"))
    assert digest(negative + 0j) == digest(np.full(4, np.nan) + 0j)
    assert digest(negative[0]) == digest(np.float64("nan"))


def test_containers_of_equal_items_differ_by_their_type():
    kinds = [list, tuple, set, frozenset, collections.deque, dict.fromkeys, bytes, bytearray]
    assert len({digest(kind([1, 2])) for kind in kinds}) == len(kinds)
    dicts = [dict, collections.OrderedDict, collections.Counter, Bag]
    assert len({digest(kind({"a": 1})) for kind in dicts}) == len(dicts)
    assert digest(collections.defaultdict(int, a=1)) != digest(collections.defaultdict(list, a=1))


def test_where_one_part_ends_and_the_next_begins_counts():
    variants = [["ab", "c"], ["a", "bc"], ["abc"], [["ab"], "c"], ["ab", ["c"]], ["ab", "c", ""]]
    assert len(set(map(digest, variants))) == len(variants)
    words = [np.array(value, object) for value in (["ab", "c"], ["a", "bc"], ["abc", ""])]
    assert len(set(map(digest, words))) == 3


def test_the_order_of_a_dict_does_not_count_and_that_of_an_ordered_dict_does():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    ordered = collections.OrderedDict
    assert digest(ordered(a=1, b=2)) != digest(ordered(b=2, a=1))
    assert digest(Sorted(a=1, b=2)) != digest(Sorted(b=2, a=1))
    assert digest({"a": "b"}) != digest({"b": "a"})


def test_moments_differ_by_zone_and_fold():
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    zones = [None, datetime.UTC, berlin, datetime.timezone(datetime.timedelta(hours=1))]
    moments = [datetime.datetime(2020, 10, 25, 2, 30, tzinfo=zone) for zone in zones]
    moments.append(moments[2].replace(fold=1))
    assert len(set(map(digest, moments))) == len(moments)
    assert digest(moments[1]) == digest(moments[1].replace(tzinfo=zoneinfo.ZoneInfo("UTC")))


def test_equal_ranges_are_one_value():
    assert digest(range(0)) == digest(range(5, 5))
    assert digest(range(0, 1, 5)) == digest(range(1))
    assert digest(range(0, 3, 2)) == digest(range(0, 4, 2))
    assert digest(range(3)) != digest([0, 1, 2])


def test_ranges_longer_than_len_can_tell_have_digests():
    assert digest(range(0, 10**30, 7)) == digest(range(0, 10**30 + 3, 7))
    assert digest(range(10**30, 0, -7)) != digest(range(10**30, 0, -8))
    assert digest(range(10**30)[::-1][::-1]) == digest(range(10**30))


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(max_size=80),
    st.decimals(allow_nan=False),
    st.datetimes(),
    st.timedeltas(),
    st.uuids(),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4),
        st.frozensets(leaves, max_size=4),
    ),
    max_leaves=12,
)


@given(values)
def test_a_copy_has_the_digest_of_its_original(value):
    expected = digest(value)
    assert digest(copy.deepcopy(value)) == expected
    assert digest(pickle.loads(pickle.dumps(value))) == expected


@given(values, values)
def test_values_of_one_digest_look_the_same(one, other):
    def shown(value):
        if type(value) is dict:
            return "{" + ", ".join(sorted(f"{shown(k)}: {shown(v)}" for k, v in value.items()))
        if type(value) is frozenset:
            return "set " + ", ".join(sorted(map(shown, value)))
        if type(value) in (list, tuple):
            return f"{type(value).__name__}({', '.join(map(shown, value))})"
        return repr(value)

    assert (digest(one) == digest(other)) == (shown(one) == shown(other))


# Values that are not at hand


class Absent(Known):
    def __init__(self, value):
        scheme, found = form(value)
        super().__init__(found, scheme)


@given(values)
def test_what_holds_a_known_form_has_the_digest_of_what_holds_its_value(value):
    absent = Absent(value)
    assert digest_of_form(*form(value)) == digest(value) == digest(absent)
    assert digest([1, {"k": (absent, absent)}]) == digest([1, {"k": (value, value)}])
    assert digest(pickle.loads(pickle.dumps(Known(absent.form)))) == digest(value)


def test_a_form_is_short_whatever_the_size_of_its_value():
    assert max(len(form(value)[1]) for value, _ in GOLDEN) < 100
    assert digest({"a": Absent(np.zeros(10**6))}) == digest({"a": np.zeros(10**6)})


def test_the_known_form_of_a_secret_counts_as_the_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", str(tmp_path))
    secret = Secret("s3cret")
    assert digest([Absent(secret)]) == digest([secret])
    assert try_digest([Known(b"None:", "v1-0badc0de")])[1] == (
        "value[0]: a digest of the scheme v1-0badc0de"
    )


# Shared parts, cycles and depth


def test_it_does_not_count_whether_equal_parts_are_one_object():
    part = [1, 2]
    assert digest([part, part]) == digest([[1, 2], [1, 2]])


def test_parts_shared_at_each_of_many_levels_are_read_once():
    value = [1]
    for _ in range(90):
        value = [value, value]
    assert digest(value) == digest(copy.deepcopy(value))


def test_a_cycle_ends_and_its_place_counts():
    one = [1]
    one.append(one)
    assert digest(one) == digest(copy.deepcopy(one))
    two = [1, [1]]
    two[1].append(two)
    to_itself = [1, [1]]
    to_itself[1].append(to_itself[1])
    assert len(set(map(digest, [one, two, to_itself]))) == 3


def test_a_cycle_is_the_same_from_whichever_entry_of_a_dict_it_is_met_first():
    left, right = ["left"], ["right"]
    left.append(right)
    right.append(left)
    assert digest({"a": left, "b": right}) == digest({"b": right, "a": left})


def test_a_graph_of_objects_that_all_know_each_other_ends():
    nodes = [types.SimpleNamespace(name=name) for name in range(30)]
    for node in nodes:
        node.peers = [peer for peer in nodes if peer is not node]
    with pytest.raises(Unhashed, match="too entangled"):
        digest(nodes)


def test_a_list_nested_10000_deep_is_unhashed():
    value = []
    for _ in range(10_000):
        value = [value]
    with pytest.raises(Unhashed, match="nested deeper than 100 levels"):
        digest(value)
    while value:  # the interpreter's own recursion when it is freed
        value = value.pop()


def test_equal_values_that_live_shortly_are_not_taken_for_each_other():
    assert len({digest([Fresh(0), Fresh(n)]) for n in range(20)}) == 20


# Arrays


def test_the_layout_of_an_array_does_not_count():
    array = np.arange(24, dtype="<i4").reshape(4, 6)
    backing = np.zeros((8, 6), "<i4")
    backing[::2] = array
    same = [
        np.asfortranarray(array),
        backing[::2],
        array[::-1][::-1],
        array.astype(">i4"),
        np.require(array, requirements="W").copy(),
    ]
    assert {digest(value) for value in same} == {digest(array)}


@pytest.mark.parametrize("shape", [(3_000_000,), (3, 1_000_000), (1_000_000, 3), (1500, 2000)])
def test_the_layout_of_a_large_array_does_not_count(shape):
    array = np.random.default_rng(0).random(shape)
    array.flat[-1] = np.nan
    expected = digest(array)
    assert digest(np.asfortranarray(array)) == expected
    assert digest(array.astype(">f8")) == expected
    array.flat[-2] += 1
    assert digest(array) != expected


def test_dtype_shape_and_items_of_an_array_count():
    base = np.zeros((2, 3), "i4")
    changed = base.copy()
    changed[1, 2] = 1
    different = [
        base,
        changed,
        base.T,
        base.ravel(),
        base[None],
        base.astype("u4"),
        base.view("f4"),
        base.view("S4"),
        np.zeros((0, 3), "i4"),
        np.zeros((3, 0), "i4"),
        base.astype(object),
        base.tolist(),
        base.view(np.recarray),
        np.ma.MaskedArray(base),
        np.float64(0),
        np.zeros((), "f8"),
    ]
    assert len(set(map(digest, different))) == len(different)


def test_a_memory_map_is_an_array(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(9.0))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert digest(mapped) == digest(np.arange(9.0))
    mapped._mmap.close()


def test_padding_and_masked_items_do_not_count():
    fields = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    one, other = np.zeros(2, fields), np.frombuffer(b"\xff" * 32, fields).copy()
    other["a"] = other["b"] = 0
    assert digest(one) == digest(other)
    masked = [np.ma.MaskedArray([1, hidden], [False, True]) for hidden in (2, 3)]
    assert digest(masked[0]) == digest(masked[1]) != digest(np.ma.MaskedArray([1, 2]))


def test_missing_values_among_objects_stay_distinct():
    missing = [None, np.nan, pd.NA, pd.NaT, "", "nan", 0.0]
    arrays = [np.array(["a", value], object) for value in missing]
    assert len(set(map(digest, arrays))) == len(missing)
    assert len({digest(np.array([1, value], object)) for value in missing}) == len(missing)


def test_an_object_array_may_hold_itself():
    one, other = np.array([1, None], object), np.array([1, None], object)
    one[1], other[1] = one, other
    assert digest(one) == digest(other)


def test_a_generator_counts_by_its_state():
    rng = np.random.default_rng(1)
    before = digest(rng)
    assert before == digest(np.random.default_rng(1))
    if PICKLES_KEEP_SPAWNING:
        assert before == digest(pickle.loads(pickle.dumps(rng)))
    rng.random()
    after_draw = digest(rng)
    assert after_draw != before
    rng.bit_generator.seed_seq.spawn(1)
    assert digest(rng) != after_draw


def test_long_doubles_count_by_their_numbers_and_not_by_their_padding():
    third = np.longdouble(1) / 3
    raw = np.zeros(3 * third.itemsize, "u1")
    values = raw.view(np.longdouble)
    values[:] = [third, -0.0, np.inf]
    padded = raw.copy()
    if third.itemsize == 16 and np.finfo(np.longdouble).nmant == 63:
        padded.reshape(3, 16)[:, 10:] = 0xFF
    assert digest(values) == digest(padded.view(np.longdouble)) == digest(values.astype(">g"))
    different = [third, np.nextafter(third, np.longdouble(1)), np.float64(third), -third]
    different += [np.longdouble(x) for x in (0.0, -0.0, np.inf, -np.inf, np.nan, 2, 4)]
    different += [np.clongdouble(third), np.clongdouble(third * 1j)]
    assert len(set(map(digest, different))) == len(different)
    assert digest(np.zeros((2, 3), "g")) != digest(np.zeros((3, 2), "g"))


def test_a_subclass_of_array_or_frame_is_unhashed():
    class Quantity(np.ndarray):
        unit = "m"

    class Table(pd.DataFrame):
        pass

    assert "a subclass from outside" in try_digest(np.zeros(2).view(Quantity))[1]
    assert "a subclass from outside" in try_digest([Table()])[1]


# Frames


def test_storage_of_text_does_not_count():
    words = ["a", "ä", ""]
    plain = pd.Series(words, dtype=object)
    assert digest(plain) == digest(pd.Series(words))
    assert digest(plain) != digest(plain.astype("string"))
    assert digest(pd.Series([*words, None], dtype=object)) != digest(
        pd.Series([*words, np.nan], dtype=object)
    )


def test_text_in_arrow_equals_text_in_python():
    pytest.importorskip("pyarrow")
    words = ["a", "ä", "", None, "\N{PILE OF POO}" * 30]
    python, arrow = (pd.Series(words, dtype=f"string[{kind}]") for kind in ("python", "pyarrow"))
    assert digest(python) == digest(arrow) == digest(arrow.iloc[::-1].iloc[::-1])
    assert digest(python) != digest(arrow.str.upper())


def test_the_blocks_of_a_frame_do_not_count():
    whole = pd.DataFrame(np.arange(6.0).reshape(3, 2), columns=["a", "b"])
    pieces = pd.DataFrame({"a": [0.0, 2.0, 4.0]})
    pieces["b"] = [1.0, 3.0, 5.0]
    assert digest(whole) == digest(pieces)


def test_what_a_frame_shows_counts():
    base = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    noted = base.copy()
    noted.attrs["unit"] = "m"
    different = [
        base,
        base[["b", "a"]],
        base.iloc[::-1],
        base.rename(columns={"a": "c"}),
        base.set_axis([1, 2]),
        base.rename_axis("rows"),
        base.astype({"a": "float64"}),
        base.astype({"a": "Int64"}),
        base.astype({"a": "category"}),
        base.astype(object),
        base.iloc[:0],
        base["a"],
        noted,
    ]
    assert len(set(map(digest, different))) == len(different)


def test_what_lies_under_a_missing_value_does_not_count():
    mask = np.array([False, True])
    hidden = [pd.arrays.IntegerArray(np.array([1, n]), mask) for n in (2, 3)]
    assert digest(hidden[0]) == digest(hidden[1])
    flags = [pd.arrays.BooleanArray(np.array([True, n]), mask) for n in (False, True)]
    assert digest(flags[0]) == digest(flags[1])


def test_an_index_is_its_names_and_labels():
    assert digest(pd.RangeIndex(3)) == digest(pd.Index([0, 1, 2]))
    frame = pd.DataFrame(
        {"v": [1, 2, 3]}, index=pd.MultiIndex.from_tuples([(1, 2), (3, 4), (5, 6)])
    )
    again = frame.copy().set_axis(pd.MultiIndex.from_tuples([(1, 2), (5, 6), (3, 4)]))
    assert digest(frame) != digest(again)
    assert digest(frame.iloc[:2]) == digest(
        frame.iloc[:2].set_axis(frame.index[:2].remove_unused_levels())
    )


def test_categories_count():
    used = pd.Categorical(["a"], ["a"])
    more = pd.Categorical(["a"], ["a", "b"])
    assert len(set(map(digest, [used, more, more.as_ordered(), more.astype(object)]))) == 4


@pytest.mark.parametrize(
    "column",
    [
        pd.array([1, 2], dtype="Int8"),
        pd.array([1.5, None], dtype="Float32"),
        pd.arrays.SparseArray([0, 0, 1]),
        pd.array(["2020", None], dtype="period[D]"),
        pd.to_datetime(["2020", None]).tz_localize("UTC").array,
        pd.to_timedelta(["1s", None]).array,
        pd.interval_range(0, 2, closed="left").array,
        pd.array(np.array([1, 2])),
    ],
    ids=lambda column: str(column.dtype),
)
def test_extension_columns_differ_by_their_items(column):
    assert digest(column) == digest(column.copy())
    assert digest(column) != digest(column[::-1].copy())
    assert digest(column) != digest(column[:1])


# Objects


class Bag(dict):
    pass


class Sorted(collections.OrderedDict):
    pass


class Plain:
    def __init__(self, n):
        self.n = n

    def show(self):
        return self.n

    def hide(self):
        return -self.n

    @classmethod
    def make(cls):
        return cls(1)


class SimpleHolder:
    def __init__(self, held):
        self.held = held


class Slotted(Plain):
    __slots__ = ("extra",)


class Fresh(Plain):
    """Gives a list that nobody else holds, so that the next one may get its address."""

    def __getstate__(self):
        return [[self.n]]


class Color(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    rate: float


class Named:
    def __init__(self, name):
        self.name = name
        self.lock = threading.Lock()

    def __daskperiment_digest__(self):
        return self.name


class Broken:
    def __init__(self, how):
        self.how = how

    def __getstate__(self):
        raise self.how

    def __repr__(self):
        raise self.how


class Remade:
    """Its recipe holds serialized bytes, as those of some neural networks do."""

    def __reduce__(self):
        return pickle.loads, (os.urandom(8),)


def double(x):
    return 2 * x


def test_an_object_is_its_class_and_its_state():
    slotted = Slotted(1)
    slotted.extra = 2
    other = Slotted(1)
    other.extra = 3
    different = [
        Plain(1),
        Plain(2),
        slotted,
        other,
        Point(1, 2),
        (1, 2),
        Setting(1),
        Setting(1.0),
        Color.RED,
        1,
        Access.READ,
        Access.READ | Access.WRITE,
        types.SimpleNamespace(n=1),
        double,
        functools.partial(double, 1),
        functools.partial(double, 2),
        Plain,
        types,
        Bag(a=1),
        {"a": 1},
    ]
    assert len(set(map(digest, different))) == len(different)
    assert [digest(copy.deepcopy(x)) for x in different if x is not types] == [
        digest(x) for x in different if x is not types
    ]


def test_a_class_may_say_what_identifies_its_instances():
    assert digest(Named("a")) == digest(Named("a"))
    assert digest(Named("a")) != digest(Named("b"))
    assert digest(Named("a")) != digest("a")


# What the code of the user's own classes and functions does


MODELS = """
SCALE = 2

def scaled(x):
    return SCALE * x

class Model:
    def __init__(self, weight):
        self.weight = weight

    def predict(self, x):
        return scaled(x) * self.weight
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Imports a module of this text, or again once it was edited."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(text):
        (tmp_path / "edited_models.py").write_text(text)
        sys.modules.pop("edited_models", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return importlib.import_module("edited_models")

    yield load
    sys.modules.pop("edited_models", None)


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("scaled(x) * self.weight", "scaled(x) + self.weight", True),
        ("SCALE * x", "SCALE + x", True),
        ("SCALE = 2", "SCALE = 3", True),
        ("class Model:", "class Model:\n    kind = 1", True),
        ("class Model:", "# only a comment\nclass Model:", False),
        ("SCALE = 2", "SCALE = 2\nOTHER = 3", False),
    ],
)
def test_an_instance_of_an_edited_class_is_another_value_but_no_change(models, old, new, counts):
    before = digest([models(MODELS).Model(1)])
    after = digest([models(MODELS.replace(old, new)).Model(1)])
    assert (after != before) == counts
    scheme, _, found = before.partition(":")
    assert after.partition(":")[2] == found
    assert scheme.startswith(f"{SCHEME}+")


def test_functions_in_a_value_count_by_what_they_do(models):
    before = digest(functools.partial(models(MODELS).scaled, 1))
    assert digest(functools.partial(models(MODELS).scaled, 1)) == before
    assert digest(functools.partial(models(MODELS.replace("2", "3")).scaled, 1)) != before
    assert digest([len, np.float64, dict]).startswith(f"{SCHEME}:")


def test_each_class_counts_once_in_whatever_order_it_is_met():
    point, setting = Point(1, 2), Setting(1.0)
    schemes = {form(value)[0] for value in ([point, setting], [setting, point, point])}
    (scheme,) = schemes
    assert len(scheme.split("+")) == 3
    assert set(form(point)[0].split("+")) | set(form(setting)[0].split("+")) == set(
        scheme.split("+")
    )


@pytest.mark.parametrize("held", [Plain(1), Point(1, 2), Color.RED, double, Named("a")])
def test_what_holds_a_known_form_knows_its_code(held):
    assert digest({"model": [Absent(held), Plain(2)]}) == digest({"model": [held, Plain(2)]})


def local_class():
    class Local:
        pass

    return Local()


def redefined_class():
    """An instance of a class that existed before this module defined another one."""
    return type("Plain", (), {"__module__": __name__})()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Plain([0, {"k": threading.Lock()}]), r"model.n\[1\]\['k'\]: _thread.lock"),
        ([lambda: 0], r"model\[0\]: .*<lambda>"),
        (local_class(), r"local_class.<locals>.Local"),
        (redefined_class(), r"Plain \(its name does not lead to it\)"),
        (Remade(), r"Remade \(its own __reduce__ does not start from its class\)"),
        (iter([1]), "model: builtins.list_iterator|model: list_iterator"),
        ((n for n in ()), "generator"),
        (
            {"a": {1: {object: Broken(KeyError("secret"))}}},
            r"\['a'\]\[1\]\[type\]: .*raised KeyError",
        ),
        (Broken(RecursionError()), "raised RecursionError"),
        (sys.stdin, "TextIOWrapper|DontReadFromInput|EncodedFile"),
    ],
    ids=lambda value: None,
)
def test_what_has_no_readable_structure_is_unhashed_and_the_message_says_where(value, message):
    with pytest.raises(Unhashed, match=message) as caught:
        digest(value, "model")
    assert "secret" not in str(caught.value)
    assert try_digest(value, "model") == (None, str(caught.value))


def test_an_interrupt_is_not_taken_for_an_unhashed_value():
    with pytest.raises(KeyboardInterrupt):
        digest([Broken(KeyboardInterrupt())])


def test_a_lazy_dask_collection_is_unhashed_and_the_message_says_to_compute_it():
    import dask.array
    import dask.bag
    import dask.dataframe

    lazy = [
        dask.delayed(double)(1),
        dask.array.ones(3),
        dask.bag.from_sequence([1]),
        dask.dataframe.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1),
    ]
    for value in lazy:
        found, reason = try_digest({"lazy": [value]})
        assert found is None
        assert reason.endswith("(a lazy collection: compute it first)")


def numbered():
    yield from range(3)


async def later():
    yield 1


ITERATORS = {
    "generator": numbered,
    "expression": lambda: (n for n in range(3)),
    "list": lambda: iter([0, 1, 2]),
    "tuple": lambda: iter((0, 1, 2)),
    "dict": lambda: iter({0: 1, 1: 2}),
    "items": lambda: iter({0: 1, 1: 2}.items()),
    "set": lambda: iter({0, 1, 2}),
    "range": lambda: iter(range(3)),
    "text": lambda: iter("abc"),
    "bytes": lambda: iter(b"abc"),
    "called": lambda: iter(iter([0, 1]).__next__, 1),
    "reversed list": lambda: reversed([0, 1, 2]),
    "reversed": lambda: reversed(collections.UserList([0, 1, 2])),
    "map": lambda: map(str, [0, 1]),
    "zip": lambda: zip([0, 1], [2, 3], strict=True),
    "filter": lambda: filter(None, [1, 2]),
    "enumerate": lambda: enumerate("ab"),
    "count": itertools.count,
    "cycle": lambda: itertools.cycle("ab"),
    "repeat": lambda: itertools.repeat(1, 3),
    "chain": lambda: itertools.chain([0], [1]),
    "islice": lambda: itertools.islice([0, 1], 1),
    "tee": lambda: itertools.tee([0, 1])[0],
    "groupby": lambda: itertools.groupby("aab"),
    "product": lambda: itertools.product("ab", "cd"),
    "permutations": lambda: itertools.permutations("ab"),
    "csv": lambda: csv.reader(["a,b", "c,d"]),
    "csv of dicts": lambda: csv.DictReader(["a,b", "c,d"]),
    "array": lambda: np.arange(3).flat,
    "nditer": lambda: np.nditer(np.arange(3)),
    "frame": lambda: pd.DataFrame({"a": [1, 2]}).iterrows(),
    "chunks": lambda: pd.read_csv(io.StringIO("a\n1\n2"), chunksize=1),
    "text in memory": lambda: io.StringIO("a\nb"),
    "bytes in memory": lambda: io.BytesIO(b"a\nb"),
    "pattern": lambda: re.finditer("a", "aa"),
    "folder": lambda: os.scandir(),
    "paths": lambda: pathlib.Path().glob("*"),
}


def shown(values):
    """The first items without their addresses."""
    return [re.sub("0x[0-9a-f]+", "", str(item)) for item in itertools.islice(values, 5)]


@pytest.mark.parametrize("kind", ITERATORS)
def test_an_iterator_is_unhashed_and_not_consumed(kind):
    pathlib.Path("entry").touch()
    with contextlib.ExitStack() as stack:
        value = ITERATORS[kind]()
        if hasattr(value, "close"):
            stack.callback(value.close)
        found, reason = try_digest({"rows": [value, SimpleHolder(value)]})
        assert found is None
        assert reason.startswith("value['rows'][0]: ")
        assert reason.endswith("(an iterator, which reading would use up)")
        fresh = ITERATORS[kind]()
        if hasattr(fresh, "close"):
            stack.callback(fresh.close)
        assert shown(value) == shown(fresh)


@pytest.mark.parametrize("mode", ["r", "rb", "r+", "w"])
def test_an_open_file_is_unhashed_and_stays_where_it_was(mode):
    pathlib.Path("file").write_text("a\nb\n")
    with pathlib.Path("file").open(mode) as file:
        place = file.tell()
        for value in (file, SimpleHolder(file), {"log": file}):
            assert try_digest(value)[0] is None
        assert file.tell() == place
    with tempfile.NamedTemporaryFile() as file:
        assert try_digest(file)[0] is None


def test_what_is_awaited_is_unhashed():
    async def go():
        return 1

    coroutine = go()
    assert try_digest(coroutine)[0] is None
    assert try_digest(later())[0] is None
    coroutine.close()


def test_a_method_is_its_object_and_its_name():
    different = [Plain(1).show, Plain(2).show, Plain(1).hide, Plain.show, Plain.make, Bag.fromkeys]
    different += [str.upper, str.lower, bytes.upper, str.__add__]
    digests = [try_digest(method)[0] for method in different]
    assert digests.pop(5) is None
    assert None not in digests
    assert len(set(digests)) == len(digests)
    assert digest(Plain(1).show) == digest(Plain(1).show)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize(
    "made",
    [
        lambda n: array.array("i", [n]),
        lambda n: array.array("d", [n]),
        lambda n: memoryview(bytes([n, 1])),
        lambda n: memoryview(np.array([[n, 1], [2, 3]])),
        lambda n: memoryview(np.array([n, 1, 2, 3]))[::2],
        lambda n: collections.ChainMap({"a": n}, {"b": 1}),
        lambda n: collections.UserDict(a=n),
        lambda n: collections.defaultdict(list, a=[n]),
        lambda n: types.MappingProxyType({"a": n}),
        lambda n: types.SimpleNamespace(a=n),
        lambda n: ipaddress.ip_address(n),
        lambda n: ipaddress.ip_network((n << 8, 24)),
        lambda n: operator.itemgetter(n, 1),
        lambda n: functools.partial(double, x=n),
        lambda n: slice(n, None),
        lambda n: re.compile(f"a{{{n}}}"),
        lambda n: datetime.time(n, fold=1),
        lambda n: datetime.timezone(datetime.timedelta(hours=n)),
        lambda n: ValueError("no", n),
        lambda n: statistics.NormalDist(n, 1),
        lambda n: pd.offsets.Day(n),
        lambda n: pd.offsets.MonthEnd(n),
        lambda n: np.random.default_rng(n),
        lambda n: np.random.RandomState(n),
        lambda n: random.Random(n),
        lambda n: np.array([(n, [1, 2])], [("a", "i4"), ("b", "f4", 2)]),
        lambda n: np.array([(n, [1, 2])], [("a", "i4"), ("b", "f4", 2)])[0],
        lambda n: np.matrix([n]),
        lambda n: np.rec.array([(n, "a")]),
        lambda n: np.poly1d([n, 1]),
        lambda n: pd.arrays.SparseArray([0, 0, n, 7], fill_value=7),
        lambda n: pd.arrays.NumpyExtensionArray(np.array([n, None, np.nan], object)),
    ],
)
def test_values_of_many_kinds_count_by_what_they_hold(made):
    assert digest(made(1)) == digest(made(1)) != digest(made(2))


@pytest.mark.parametrize("how", [{"slots": True}, {"slots": False}, {"frozen": True}])
def test_instances_of_attrs_count_by_their_class_and_fields(how, monkeypatch):
    attrs = pytest.importorskip("attrs")
    kind = attrs.make_class("Weather", ["rain", "cold"], **how)
    monkeypatch.setattr(sys.modules[__name__], "Weather", kind, raising=False)
    assert digest(kind(1, 2)) == digest(kind(1, 2)) != digest(kind(1, 3))


def test_a_sparse_column_counts_by_its_items_and_its_fill_value():
    kind = pd.arrays.SparseArray
    base = kind([0, 0, 1])
    assert digest(base) == digest(base[::-1][::-1])
    different = [base, kind([0, 1, 0]), kind([0, 0, 1, 0]), kind([0, 0, 1], fill_value=1)]
    different += [kind([0.0, np.nan, 1.0]), kind([np.nan, np.nan, 1.0]), kind([0.0, 0.0, 1.0])]
    assert len(set(map(digest, different))) == len(different)


def test_missing_objects_of_a_plain_extension_array_stay_distinct():
    kind = pd.arrays.NumpyExtensionArray
    arrays = [kind(np.array([1, x], object)) for x in (None, np.nan, pd.NA, 0)]
    assert len(set(map(digest, arrays))) == 4


def test_long_text_is_equal_however_it_is_made():
    long = "ä\ud800x" * 700_000
    assert digest(long) == digest(
        long.encode("utf-8", "surrogatepass").decode(errors="surrogatepass")
    )
    assert digest(long) != digest(long[:-1] + "y")


def test_a_digest_carries_its_scheme():
    assert re.fullmatch(SCHEME + ":[0-9a-f]{32}", digest("x"))


# Other libraries


def test_sparse_matrices_count_by_their_items():
    sparse = pytest.importorskip("scipy.sparse")
    twice = sparse.csr_matrix(([1.0, 2.0, 3.0], [1, 0, 0], [0, 3, 3]), shape=(2, 2))
    once = sparse.csr_matrix(np.array([[5.0, 1.0], [0.0, 0.0]]))
    assert digest(twice) == digest(once)
    assert twice.nnz == 3  # left as it was
    assert digest(once) != digest(once.tocsc()) != digest(once.tocoo())
    assert digest(once) != digest(sparse.csr_array(once)) != digest(once.T.tocsr())


@pytest.mark.filterwarnings("ignore")
def test_fitted_estimators_count_by_what_they_learnt():
    pytest.importorskip("sklearn")
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    X = np.random.default_rng(0).random((60, 4))
    y = (X[:, 0] > 0.5).astype(int)
    models = [
        RandomForestClassifier(5, random_state=0),
        HistGradientBoostingClassifier(max_iter=3, random_state=0),
        KNeighborsClassifier(algorithm="kd_tree"),
        make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()),
    ]
    for model in models:
        fitted = digest(model.fit(X, y))
        if PICKLES_KEEP_SPAWNING:
            assert digest(pickle.loads(pickle.dumps(model))) == fitted
        assert digest(model.fit(X, y)) == fitted
        assert digest(model.fit(X, 1 - y)) != fitted


def test_estimators_that_have_learnt_nothing_count_by_their_parameters():
    pytest.importorskip("sklearn")
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.svm import SVC

    def made(n):
        return [
            Ridge(alpha=n),
            SVC(C=n),
            GradientBoostingClassifier(random_state=n),
            RandomForestRegressor(random_state=np.random.RandomState(n)),
            Pipeline([("scale", StandardScaler()), ("fit", Ridge(alpha=n))]),
            ColumnTransformer([("one", OneHotEncoder(), [n]), ("two", "passthrough", [0])]),
            GridSearchCV(Ridge(), {"alpha": [n]}),
        ]

    one, again, other = (list(map(digest, made(n))) for n in (1, 1, 2))
    assert one == again
    assert len({*one, *other}) == 2 * len(one)


@pytest.mark.filterwarnings("ignore")
def test_the_release_that_made_an_estimator_does_not_count(monkeypatch):
    sklearn = pytest.importorskip("sklearn")
    from sklearn.linear_model import Ridge

    model = Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
    before = digest(model)
    monkeypatch.setattr(sys.modules[sklearn.base.BaseEstimator.__module__], "__version__", "99.0")
    assert model.__getstate__()["_sklearn_version"] == "99.0"
    assert digest(model) == before


def test_tensors_count_by_kind_dtype_and_items(monkeypatch):
    class Tensor:
        def __init__(self, array, dtype):
            self.array, self.dtype = array, f"torch.{dtype}"

        def detach(self):
            return self

        def cpu(self):
            return self

        def view(self, dtype):
            return Tensor(self.array.view(dtype), "int16")

        def numpy(self):
            assert self.dtype != "torch.bfloat16"
            return self.array

    Tensor.__module__ = "torch"
    torch = types.SimpleNamespace(Tensor=Tensor, int16="i2")
    monkeypatch.setitem(sys.modules, "torch", torch)
    raw = np.arange(4, dtype="u2")
    brain = [digest(Tensor(array, "bfloat16")) for array in (raw, raw.copy(), raw[::-1].copy())]
    assert brain[0] == brain[1] != brain[2]
    assert brain[0] != digest(Tensor(raw.view("i2"), "int16")) != digest(raw.view("i2"))
