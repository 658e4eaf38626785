"""Large arrays are read into their place, and whatever is wrong with their bytes is said."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as of_numpy

from daskperiment.errors import PayloadError
from daskperiment.serializers import decode, encode, read_array


def read(data: bytes, size: int | None = None) -> tuple[Any, bytes]:
    """The array, and what was seen of its bytes."""
    seen = bytearray()
    found = read_array(BytesIO(data), len(data) if size is None else size, seen.extend)
    return found, bytes(seen)


@given(of_numpy.arrays(of_numpy.scalar_dtypes(), of_numpy.array_shapes(min_dims=0, min_side=0)))
def test_an_array_is_read_as_it_is_decoded(array: Any) -> None:
    for value in (array, np.asfortranarray(array), array[..., :1] if array.ndim else array):
        data = encode(value).data
        found, seen = read(data)
        expected = decode("npy", data)

        assert seen == data
        assert found.tobytes() == expected.tobytes()
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert found.flags.f_contiguous == expected.flags.f_contiguous
        assert found.flags.writeable


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"x" + data,
        lambda data: data.replace(b"(3,)", b"(9,)"),
        lambda data: data.replace(b"<f8", b"|O "),
        lambda data: b"",
    ],
)
def test_bytes_that_are_no_array_are_refused(spoil: Any) -> None:
    with pytest.raises(PayloadError, match="cannot be read"):
        read(spoil(encode(np.arange(3.0)).data))


def test_no_more_memory_is_taken_than_there_are_bytes() -> None:
    data = encode(np.arange(3.0)).data.replace(b"(3,)", b"(9" + b"9" * 11 + b",)")

    with pytest.raises(PayloadError, match="larger than it is"):
        read(data[:128])
