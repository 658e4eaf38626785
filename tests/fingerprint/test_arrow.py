"""Arrow's values count by their types and values, however they are laid out."""

from __future__ import annotations

import datetime
import decimal
import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskperiment.fingerprint.values import digest

pa = pytest.importorskip("pyarrow")

DAY = datetime.date(2020, 1, 2)
MOMENT = datetime.datetime(2020, 1, 2, 3, 4, 5)
COLUMNS = [
    (pa.null(), [None, None, None]),
    (pa.bool_(), [True, None, False]),
    (pa.int8(), [1, None, -3]),
    (pa.uint64(), [1, None, 2**63]),
    (pa.float16(), [np.float16(1), None, np.float16(0.5)]),
    (pa.float32(), [1.0, None, 0.5]),
    (pa.float64(), [1.0, None, float("nan")]),
    (pa.decimal128(10, 2), [decimal.Decimal("1.50"), None, decimal.Decimal("-2.25")]),
    (pa.decimal256(50, 2), [decimal.Decimal("1.50"), None, decimal.Decimal("-2.25")]),
    (pa.date32(), [DAY, None, DAY.replace(day=3)]),
    (pa.date64(), [DAY, None, DAY.replace(day=3)]),
    (pa.time64("ns"), [datetime.time(1), None, datetime.time(2)]),
    (pa.timestamp("us", "Europe/Berlin"), [MOMENT, None, MOMENT.replace(year=2021)]),
    (pa.duration("s"), [datetime.timedelta(1), None, datetime.timedelta(2)]),
    (pa.month_day_nano_interval(), [(1, 2, 3), None, (4, 5, 6)]),
    (pa.string(), ["a", None, "äö" * 40]),
    (pa.large_string(), ["a", None, ""]),
    (pa.string_view(), ["a", None, "longer than what is inlined"]),
    (pa.binary(), [b"a", None, b"\0"]),
    (pa.large_binary(), [b"a", None, b"\0"]),
    (pa.binary_view(), [b"a", None, b"longer than what is inlined"]),
    (pa.binary(2), [b"ab", None, b"cd"]),
    (pa.list_(pa.int64()), [[1, 2], None, []]),
    (pa.large_list(pa.string()), [["a"], None, ["b", None]]),
    (pa.list_view(pa.int64()), [[1, 2], None, [3]]),
    (pa.list_(pa.float64(), 2), [[1.0, 2.0], None, [3.0, None]]),
    (pa.list_(pa.list_(pa.bool_())), [[[True], None], None, [[]]]),
    (pa.struct({"a": pa.int64(), "b": pa.string()}), [{"a": 1, "b": "x"}, None, {"a": 2}]),
    (pa.map_(pa.string(), pa.int64()), [[("a", 1)], None, [("b", 2), ("c", None)]]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", None, "b"]),
]
ids = [str(kind) for kind, _ in COLUMNS]


def array(kind, values):
    if kind == pa.map_(pa.string(), pa.int64()):
        return pa.array([None if v is None else list(v) for v in values], kind)
    return pa.array(values, kind)


@pytest.mark.parametrize(("kind", "values"), COLUMNS, ids=ids)
def test_chunks_and_offsets_do_not_count(kind, values):
    whole = pa.chunked_array([array(kind, values)])
    expected = digest(whole)
    cut = [[array(kind, values[:n]), array(kind, values[n:])] for n in range(4)]
    assert {digest(pa.chunked_array(chunks, kind)) for chunks in cut} == {expected}
    longer = array(kind, [*values * 5, *values, *values])
    assert digest(longer.slice(15, 3)) == digest(array(kind, values))
    assert digest(pa.chunked_array([longer.slice(15, 2), longer.slice(20, 1)], kind)) == expected
    assert digest(pickle.loads(pickle.dumps(whole))) == expected


@pytest.mark.parametrize(("kind", "values"), COLUMNS, ids=ids)
def test_each_value_and_the_number_of_values_count(kind, values):
    variants = [values, values[:2], values[::-1] if values[0] != values[2] else values[:1], []]
    assert len({digest(array(kind, variant)) for variant in variants}) == 4


def test_types_differ_and_so_do_the_kinds_of_containers():
    found = {digest(pa.array([None], kind)) for kind, _ in COLUMNS}
    assert len(found) == len(COLUMNS)
    one = pa.array([1, 2])
    chunked, batch = pa.chunked_array([one]), pa.record_batch({"x": one})
    kinds = [one, chunked, batch, pa.table({"x": one}), batch.schema, one.type, one[0], [1, 2]]
    assert len(set(map(digest, kinds))) == len(kinds)


def test_what_lies_under_a_null_does_not_count():
    valid = pa.py_buffer(b"\x01")
    hidden = [
        pa.Array.from_buffers(pa.int32(), 2, [valid, pa.py_buffer(np.array([1, n], "i4"))])
        for n in (2, 3)
    ]
    assert digest(hidden[0]) == digest(hidden[1]) == digest(pa.array([1, None], pa.int32()))
    places = pa.py_buffer(np.array([0, 1, 3], "i4"))
    texts = [
        pa.Array.from_buffers(pa.string(), 2, [valid, places, pa.py_buffer(content)])
        for content in (b"abc", b"axy")
    ]
    assert digest(texts[0]) == digest(texts[1]) == digest(pa.array(["a", None]))


def test_all_nans_are_one_and_zeros_keep_their_sign():
    nans = np.array([np.nan, np.nan])
    assert digest(pa.array(nans)) == digest(pa.array(-nans))
    assert digest(pa.array([0.0])) != digest(pa.array([-0.0]))
    assert digest(pa.array([float("nan")])) != digest(pa.array([None], pa.float64()))


def test_the_order_of_a_dictionary_does_not_count():
    one = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", "b"]))
    other = pa.DictionaryArray.from_arrays(pa.array([2, 0], pa.int8()), pa.array(["b", "c", "a"]))
    assert digest(one) == digest(other) != digest(pa.array(["a", "b"]))
    chunks = pa.chunked_array([other.slice(0, 1), one.slice(1)])
    assert digest(chunks) == digest(pa.chunked_array([one]))


def test_runs_count_by_the_values_that_they_stand_for():
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([7, 8]))
    cut = pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3], pa.int32()), pa.array([7, 7, 8]))
    assert digest(runs) == digest(cut) != digest(pa.array([7, 7, 8]))


def test_unions_have_a_digest():
    kinds = pa.array([0, 1], pa.int8())
    unions = [
        pa.UnionArray.from_sparse(kinds, [pa.array([1, 0]), pa.array(["", text])])
        for text in ("a", "a", "b")
    ]
    assert digest(unions[0]) == digest(unions[1]) != digest(unions[2])


def test_extension_types_count_by_their_name_and_storage():
    ids = pa.array([b"0" * 16, None], pa.binary(16))
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), ids)
    assert digest(uuids) != digest(ids)
    assert digest(uuids) == digest(pa.ExtensionArray.from_storage(pa.uuid(), ids))
    assert digest(uuids) != digest(uuids[:1])


def test_what_a_table_shows_counts():
    base = pa.table({"a": [1, 2], "b": ["x", "y"]})
    again = pa.concat_tables([base.slice(0, 1), base.slice(1)])
    assert digest(again) == digest(base)
    different = [
        base,
        base.select(["b", "a"]),
        base.rename_columns(["a", "c"]),
        base.slice(1),
        base.slice(0, 0),
        base.drop_columns(["b"]),
        base.set_column(0, "a", pa.array([1, 3])),
        base.set_column(0, "a", pa.array([1, 2], pa.int32())),
        base.set_column(0, pa.field("a", pa.int64(), nullable=False), pa.array([1, 2])),
        base.replace_schema_metadata({"unit": "m"}),
        base.to_batches()[0],
        base.to_pandas(),
    ]
    assert len(set(map(digest, different))) == len(different)


def test_the_release_that_made_a_table_of_a_frame_does_not_count():
    table = pa.Table.from_pandas(pd.DataFrame({"a": [1]}, index=["x"]))
    known = table.schema.metadata[b"pandas"]
    version = pd.__version__.encode()
    assert version in known
    later = table.replace_schema_metadata({b"pandas": known.replace(version, b"99.0")})
    assert digest(later) == digest(table)
    assert digest(table.replace_schema_metadata({b"pandas": b"no JSON"})) != digest(table)
    assert digest(table.replace_schema_metadata(None)) != digest(table)


@given(st.lists(st.one_of(st.none(), st.text()), max_size=20), st.integers(0, 20))
def test_text_of_pandas_is_equal_in_python_and_in_arrow(words, cut):
    words = [word if word is None else word.encode("utf-8", "replace").decode() for word in words]
    for missing in (pd.NA, np.nan):
        kinds = (pd.StringDtype(storage, na_value=missing) for storage in ("python", "pyarrow"))
        python, arrow = (pd.Series(words, dtype=kind) for kind in kinds)
        pieces = pd.concat([arrow.iloc[:cut], arrow.iloc[cut:]])
        assert digest(python) == digest(arrow) == digest(pieces)
        assert digest(arrow) != digest(pd.concat([arrow, pd.Series([""], dtype=arrow.dtype)]))


@pytest.mark.parametrize(("kind", "values"), COLUMNS, ids=ids)
def test_columns_of_pandas_in_arrow_count_by_type_and_values(kind, values):
    column = pd.Series(pd.array(array(kind, values), dtype=pd.ArrowDtype(kind)))
    assert digest(column) == digest(column.copy()) != digest(column.iloc[:2])
    assert digest(pd.concat([column.iloc[:1], column.iloc[1:]])) == digest(column)


@given(
    st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(-9, 9))))),
    st.lists(st.integers(0, 30), max_size=3),
)
def test_however_nested_lists_are_cut_they_are_equal(values, cuts):
    kind = pa.list_(pa.int64())
    ends = sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    chunks = [pa.array(values[a:b], kind) for a, b in itertools.pairwise(ends)]
    cut, whole = pa.chunked_array(chunks, kind), pa.chunked_array([pa.array(values, kind)])
    assert digest(cut) == digest(whole)


def test_pieces_of_a_long_column_are_one_column():
    numbers = pa.array(np.arange(300_000))
    cut = pa.chunked_array([numbers.slice(0, 7), numbers.slice(7, 200_001), numbers.slice(200_008)])
    assert digest(cut) == digest(pa.chunked_array([numbers]))
    texts = pd.Series(np.arange(150_000)).astype("string[python]")
    assert digest(texts.astype("string[pyarrow]")) == digest(texts)
    changed = texts.copy()
    changed.iloc[-1] = "x"
    assert digest(changed.astype("string[pyarrow]")) != digest(texts)


def test_buffers_and_tensors_count_by_their_content():
    assert digest(pa.py_buffer(b"ab")) == digest(pa.py_buffer(bytearray(b"ab")))
    assert digest(pa.py_buffer(b"ab")) != digest(pa.py_buffer(b"ac"))
    tensors = [pa.Tensor.from_numpy(np.array(values)) for values in ([1, 2], [1, 2], [1, 3])]
    assert digest(tensors[0]) == digest(tensors[1]) != digest(tensors[2])


@pytest.mark.parametrize(("kind", "values"), COLUMNS, ids=ids)
def test_scalars_differ_by_type_and_value(kind, values):
    scalars = array(kind, values)
    assert digest(scalars[0]) == digest(array(kind, values)[0])
    assert len({digest(scalar) for scalar in scalars}) == len({str(s) for s in scalars})
