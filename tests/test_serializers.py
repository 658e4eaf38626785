"""From values to bytes, JSON and text, and back."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import json
import math
import sys
import threading
import types
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskperiment.errors import PayloadError
from daskperiment.serializers import (
    Encoded,
    NotEncodable,
    NotPlain,
    decode,
    encode,
    from_json,
    preview,
    to_json,
)


def exact(value):
    """A text that is equal only for values of equal types, parts and signs of zero."""
    kind = type(value)
    if kind is dict:
        return f"{{{', '.join(f'{exact(k)}: {exact(v)}' for k, v in value.items())}}}"
    if kind in (set, frozenset):
        return f"{kind.__name__} {sorted(map(exact, value))}"
    if kind in (list, tuple):
        return f"{kind.__name__} [{', '.join(map(exact, value))}]"
    if kind is int:
        return hex(value)
    if isinstance(value, datetime.datetime | datetime.time):
        return f"{value!r} {value.fold}"
    return f"{kind.__name__} {value!r} {getattr(value, 'dtype', '')}"


class Liar(int):
    """An int to isinstance, and something else to the user."""


offsets = st.timedeltas(
    min_value=datetime.timedelta(hours=-23), max_value=datetime.timedelta(hours=23)
)
zones = st.one_of(
    st.none(),
    st.just(datetime.UTC),
    st.just(zoneinfo.ZoneInfo("Europe/Berlin")),
    offsets.map(datetime.timezone),
    st.builds(datetime.timezone, offsets, st.text()),
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(codec=None)),
    st.binary(max_size=20),
    st.decimals(allow_nan=False),
    st.datetimes(timezones=zones),
    st.times(timezones=zones),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from([np.float64(0.1), np.int8(-3), np.bool_(True), np.float16("nan")]),
    st.sampled_from(
        [np.datetime64("2020-01-01"), np.str_("\ud800"), np.bytes_(b"a\0"), np.complex64(1j)]
    ),
)
keys = st.one_of(leaves, st.just("$"), st.tuples(leaves, leaves), st.frozensets(leaves, max_size=2))
plain = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
        st.sets(leaves, max_size=3),
        st.frozensets(leaves, max_size=3),
    ),
    max_leaves=10,
)


# Plain data


@given(plain)
def test_plain_data_reads_back_exactly_from_strict_json_text(value):
    text = json.dumps(to_json(value), allow_nan=False, ensure_ascii=False)
    assert exact(from_json(json.loads(text.encode()))) == exact(value)


@pytest.mark.parametrize(
    "value",
    [
        10**5000,
        -(10**5000),
        {"$": "tuple", "v": [1]},
        {"$": {"$": 1}},
        {1: "int", "1": "str", 1.5: "float", None: 0, (1, "a"): 0},
        {True: 0},
        "\ud800 and \0",
        {"\ud800": 1},
        [float("nan"), float("inf"), -float("inf"), -0.0, 1e300],
        decimal.Decimal("sNaN12"),
        datetime.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        datetime.time(1, 2, 3, 4, tzinfo=datetime.timezone(datetime.timedelta(minutes=-1), "x")),
        uuid.UUID(int=1),
        np.datetime64("NaT", "ns"),
        [np.str_(""), np.str_("ä\0"), np.bytes_(b""), np.bytes_(b"a\0")],
    ],
    ids=range(15),
)
def test_what_json_lacks_reads_back_exactly(value):
    encoded = encode(value)
    assert encoded.codec == "json"
    assert exact(decode("json", encoded.data)) == exact(value)


def test_plain_json_stays_as_it_is():
    document = {"accuracy": 0.97, "n": 3, "names": ["a", None], "nested": {"ok": True}}
    assert to_json(document) == document


def test_equal_sets_give_equal_text():
    clashing = [8 * n for n in range(5)]  # their order in a set is that of their insertion
    assert list({*clashing}) != list({*reversed(clashing)})
    assert encode({*clashing}) == encode({*reversed(clashing)})


@pytest.mark.parametrize(
    "value",
    [
        Liar(1),
        np.zeros(2),
        np.longdouble(1),
        object(),
        bytearray(b"a"),
        pd.Timestamp("2020"),
        [1, {"a": {1, Liar(2)}}],
        {Liar(1): 1},
        datetime.datetime(2020, 1, 1, tzinfo=pd.Timestamp("2020", tz="dateutil/UTC").tz),
    ],
    ids=range(9),
)
def test_other_types_and_subclasses_are_not_plain(value):
    with pytest.raises(NotPlain):
        to_json(value)


def test_64_levels_are_plain_and_more_are_not():
    value = 1 + 2j
    for _ in range(64):
        value = (value,)
    assert from_json(to_json(value)) == value
    with pytest.raises(NotPlain, match="64 levels"):
        to_json([value])


def test_a_cycle_is_not_plain_and_its_pickle_keeps_it():
    cycle = {"n": 1}
    cycle["self"] = [cycle]
    encoded = encode(cycle)
    assert encoded.codec == "pickle"
    again = decode(encoded.codec, encoded.data)
    assert again["self"][0] is again


def test_a_list_that_occurs_twice_reads_back_as_two_equal_ones():
    part = [1]
    first, second = from_json(to_json([part, part]))
    assert first == second == part
    assert first is not second


def test_parts_shared_at_each_of_many_levels_do_not_grow_without_end():
    value = (1,)
    for _ in range(60):
        value = (value, value)
    with pytest.raises(NotPlain, match="repeats"):
        to_json(value)


@pytest.mark.parametrize(
    "document",
    [
        {"$": "unknown", "v": 1},
        {"$": "tuple"},
        {"$": ["tuple"], "v": []},
        {"$": "set", "v": [[]]},
        {"$": "int", "v": "text"},
        {"$": "float", "v": None},
        {"$": "bytes", "v": "???"},
        {"$": "dict", "v": [[1]]},
        {"$": "datetime", "v": ["yesterday", 0, None]},
        {"$": "datetime", "v": ["2020-01-01", 0, "../../etc/passwd"]},
        {"$": "numpy", "v": ["|O", "AAAAAAAAAAA="]},
        {"$": "numpy", "v": ["<f8", "AAAA"]},
        {"$": "numpy", "v": ["no such dtype", ""]},
        {"$": "UUID", "v": 7},
    ],
    ids=range(14),
)
def test_json_that_to_json_never_writes_is_a_payload_error(document):
    with pytest.raises(PayloadError):
        from_json([document])


def test_json_nested_too_deep_is_a_payload_error():
    document = []
    for _ in range(500):
        document = [document]
    with pytest.raises(PayloadError, match="64 levels"):
        from_json(document)
    with pytest.raises(PayloadError):
        decode("json", b"[" * 100_000)


# Payloads


class Model:
    def __init__(self, **state):
        self.__dict__ = state

    def __eq__(self, other):
        return vars(self) == vars(other)


class Refusing:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


def same_array(one, other):
    return (
        type(other) is np.ndarray
        and one.dtype == other.dtype
        and one.flags.f_contiguous == other.flags.f_contiguous
        and repr(one.tolist()) == repr(other.tolist())
    )


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.eye(3, 4)),
        np.array(np.nan),
        np.zeros((0, 3), ">i2"),
        np.array(["a", "bc"]),
        np.array(["2020", "NaT"], "M8[D]"),
        np.zeros(2, np.dtype([("a", "i1"), ("b", "f8", 2)], align=True)),
    ],
    ids=lambda array: str(array.dtype),
)
def test_an_array_without_objects_needs_no_pickle(array):
    encoded = encode(array)
    assert encoded.codec == "npy"
    assert same_array(array, decode("npy", encoded.data, allow_pickle=False))


def test_what_npy_would_change_is_pickled():
    noted = np.zeros(2, np.dtype("f8", metadata={"unit": "m"}))
    masked = np.ma.MaskedArray([1, 2], [True, False])
    objects = np.array([1, "a"], object)
    encoded = [encode(value) for value in (noted, masked, objects)]
    assert [e.codec for e in encoded] == ["pickle"] * 3
    again = [decode(e.codec, e.data) for e in encoded]
    assert again[0].dtype.metadata == {"unit": "m"}
    assert again[1].mask.tolist() == [True, False]
    assert again[2].tolist() == [1, "a"]


def test_any_other_value_is_pickled():
    values = [Model(weights=[1, 2]), Liar(3), pd.DataFrame({"a": [1, None]}), {"f": np.zeros(2)}]
    for value in values:
        encoded = encode(value)
        again = decode(encoded.codec, encoded.data)
        assert encoded.codec == "pickle"
        assert type(again) is type(value)
        assert repr(vars(again) if isinstance(again, Model) else again) == repr(
            vars(value) if isinstance(value, Model) else value
        )


def test_a_function_that_is_defined_here_is_pickled_by_value():
    encoded = encode(lambda x: x + 1)
    assert decode(encoded.codec, encoded.data)(1) == 2


@pytest.mark.parametrize(
    "error", [ValueError("no"), OSError(), MemoryError(), AttributeError("x" * 10_000)]
)
def test_a_value_that_cannot_be_pickled_is_reported_with_the_reason(error):
    with pytest.raises(NotEncodable, match=rf"Refusing: {type(error).__name__}") as caught:
        encode(Refusing(error))
    assert len(str(caught.value)) < 300


def test_a_lock_deep_inside_is_not_encodable():
    with pytest.raises(NotEncodable, match=r"Model: TypeError: .*_thread\.lock"):
        encode(Model(lock=threading.Lock()))


def test_an_error_whose_text_raises_is_reported_too():
    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError

    with pytest.raises(NotEncodable, match="MuteError object"):
        encode(Refusing(MuteError()))


def test_an_interrupt_while_encoding_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        encode(Refusing(KeyboardInterrupt()))


def test_a_pickle_is_not_loaded_where_that_is_not_allowed():
    loaded = []
    sys.addaudithook(lambda event, _: loaded.append(event) if event.startswith("pickle") else None)
    encoded = encode(Model(n=1))
    with pytest.raises(PayloadError, match="pickle"):
        decode(encoded.codec, encoded.data, allow_pickle=False)
    assert loaded == []
    assert decode(encoded.codec, encoded.data) == Model(n=1)
    assert loaded != []


def test_an_object_array_in_npy_is_refused_whatever_is_allowed(tmp_path):
    np.save(tmp_path / "x.npy", np.array([Model()], object), allow_pickle=True)
    with pytest.raises(PayloadError, match="npy"):
        decode("npy", (tmp_path / "x.npy").read_bytes())


@pytest.mark.parametrize("codec", ["json", "npy", "pickle"])
@pytest.mark.parametrize("data", [b"", b"\xff\xfe garbage", b"NaN", b"\x93NUMPY\x01\x00v\x00{"])
def test_garbage_is_a_payload_error_that_names_the_codec(codec, data):
    with pytest.raises(PayloadError, match=codec):
        decode(codec, data)


@given(st.sampled_from(["json", "npy"]), st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_payload_error(codec, data):
    with contextlib.suppress(PayloadError):
        decode(codec, data)


@pytest.mark.parametrize("codec", ["", "arrow", "PICKLE", "json "])
def test_an_unknown_codec_is_a_payload_error(codec):
    with pytest.raises(PayloadError, match="no codec is named"):
        decode(codec, b"{}")


def test_an_encoded_value_cannot_be_changed():
    with pytest.raises(AttributeError):
        Encoded("json", b"1").codec = "pickle"


# Previews


def showing(result):
    """An object whose repr is, or raises, `result`."""

    class Shown:
        def __repr__(self):
            if isinstance(result, BaseException):
                raise result
            return result

    return Shown()


class Slippery(str):
    def __getitem__(self, index):
        raise ValueError

    __iter__ = __len__ = __getitem__


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.97, "0.97"),
        (np.float64(0.5), repr(np.float64(0.5))),
        ("text", "'text'"),
        ({"b": 1, "a": [None, (True,)]}, "{'b': 1, 'a': [None, (True,)]}"),
        (np.zeros((569, 30)), "ndarray float64 (569, 30)"),
        ({"X": np.zeros((2, 2), "i1")}, "{'X': ndarray int8 (2, 2)}"),
        (pd.DataFrame(np.zeros((569, 30))), "DataFrame 569 x 30"),
        (pd.Series([1, 2]), "Series int64 (2,)"),
        (showing("two\nlines\x1b[31m\ud800"), "two lines [31m "),
        (showing(Slippery("fine")), "fine"),
    ],
    ids=range(10),
)
def test_a_preview_is_a_line_of_text(value, expected):
    assert preview(value) == expected


@pytest.mark.parametrize(
    "result", [ValueError(), RecursionError(), SystemExit(), GeneratorExit(), 7, None]
)
def test_a_preview_never_raises(result):
    shown = preview(showing(result))
    name = type(result).__name__ if isinstance(result, BaseException) else "TypeError"
    assert shown.endswith(f"Shown object (repr failed: {name})>")
    assert shown.startswith(f"<{__name__}.showing.")
    assert preview([showing(result)]) == f"[{shown}]"


def test_an_interrupt_while_previewing_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        preview([showing(KeyboardInterrupt())])


def test_a_module_name_that_cannot_be_shown_does_no_harm():
    strange = showing(ValueError())
    type(strange).__module__ = showing(ValueError())
    assert preview(strange).endswith("Shown object (repr failed: ValueError)>")


def test_a_preview_is_cut_at_its_limit():
    long = [
        "x" * 10_000,
        list(range(10_000)),
        {n: n for n in range(10_000)},
        showing("y" * 10_000),
        10**5000,
        {"nested": [[[[[["deep"] * 9] * 9] * 9] * 9] * 9]},
    ]
    for value in long:
        assert 20 < len(preview(value)) <= 200
        assert len(preview(value, limit=30)) <= 30


def test_a_preview_does_not_write_out_a_large_value_first():
    written = []

    class Counted:
        def __repr__(self):
            written.append(1)
            return "1"

    preview({"rows": [Counted() for _ in range(100_000)]})
    preview({n: Counted() for n in range(100_000)})
    assert len(written) <= 1000


def test_a_value_that_holds_itself_has_a_preview():
    cycle = []
    cycle.append(cycle)
    assert preview(cycle).startswith("[[")
    space = types.SimpleNamespace()
    space.me = space
    assert preview(space) == "namespace(me=namespace(...))"


def test_numbers_that_are_not_finite_read_back_as_what_they_were():
    again = from_json(to_json([float("nan"), -0.0]))
    assert math.isnan(again[0])
    assert math.copysign(1, again[1]) == -1
