"""The bytes of a value, with the name of the codec that reads them.

The codecs are tried in an order of trust: ``json`` and ``npy`` can express no code, ``pickle``
runs whatever its writer wanted.  Whoever decodes checks the digest of the bytes, and for a
pickle who wrote it, beforehand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

from daskperiment.errors import DaskperimentError, PayloadError
from daskperiment.serializers.plain import NotPlain, from_json, to_json
from daskperiment.serializers.preview import preview_error


class NotEncodable(DaskperimentError, TypeError):  # noqa: N818 - kept in the record, not raised
    """No codec takes the value; the message says why."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A payload: the name of its codec and its bytes."""

    codec: str
    data: bytes


def encode(value: object) -> Encoded:
    """`value` as bytes: as JSON if it is plain data, as ``.npy`` if an array, else as a pickle.

    Raises
    ------
    NotEncodable
        Pickling failed, in whatever way.

    Examples
    --------
    >>> encode({"accuracy": 0.97, "n": 3})
    Encoded(codec='json', data=b'{"accuracy":0.97,"n":3}')
    """
    try:
        return Encoded("json", _write_json(to_json(value)))
    except NotPlain:
        pass
    try:
        if _is_bare_array(value):
            return Encoded("npy", _write_npy(value))
        return Encoded("pickle", _write_pickle(value))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the object's own methods run here, whatever they raise
        kind = type(value)
        reason = preview_error(error)
        raise NotEncodable(f"{kind.__module__}.{kind.__qualname__}: {reason}") from error


def decode(codec: str, data: bytes, *, allow_pickle: bool = True) -> Any:
    """The value that `encode` wrote.

    Parameters
    ----------
    codec, data
        As `encode` gave them.
    allow_pickle
        Whether a pickle may be loaded, which runs the code that it names.

    Raises
    ------
    PayloadError
        The codec is unknown or not allowed, or it cannot read the bytes.

    Examples
    --------
    >>> decode("json", b'{"$":"tuple","v":[1,2]}')
    (1, 2)
    """
    reader = _READERS.get(codec) if isinstance(codec, str) else None
    if reader is None:
        raise PayloadError(f"no codec is named {codec!r:.80}; a newer daskperiment may have it")
    if codec == "pickle" and not allow_pickle:
        raise PayloadError("the payload is a pickle, which is not loaded here: it may run code")
    try:
        return reader(data)
    except Exception as error:
        reason = preview_error(error)
        raise PayloadError(f"the {codec} payload cannot be read: {reason}") from error


def _write_json(plain: Any) -> bytes:
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _is_bare_array(value: Any) -> bool:
    """Whether the ``.npy`` format gives back the same dtype and items without any pickle."""
    if not type(value).__module__.startswith("numpy"):
        return False
    import numpy as np

    if type(value) not in (np.ndarray, np.memmap) or value.dtype.metadata is not None:
        return False
    dtype = value.dtype
    if dtype.hasobject or dtype.kind == "T" or (dtype.kind == "V" and dtype.type is not np.void):
        return False
    return bool(np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype)) == dtype)


def _write_npy(value: Any) -> bytes:
    import numpy as np

    stream = BytesIO()
    np.lib.format.write_array(stream, value, allow_pickle=False)
    return stream.getvalue()


def _write_pickle(value: object) -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(value, protocol=5)
    return data


def _read_json(data: bytes) -> Any:
    return from_json(json.loads(data, parse_constant=_refuse))


def _refuse(token: str) -> None:
    raise ValueError(f"{token} is not JSON")


def _read_npy(data: bytes) -> Any:
    import numpy as np

    return np.lib.format.read_array(BytesIO(data), allow_pickle=False)


_PIECE = 1 << 22


def read_array(file: BinaryIO, size: int, seen: Callable[[Any], object]) -> Any:
    """The array of an ``.npy`` file, read into its place piece by piece.

    Parameters
    ----------
    file : binary file
        What `encode` wrote.
    size : int
        How many bytes it has; no more memory is taken.
    seen : callable
        Gets all bytes of it, in order, in pieces that it must not keep.

    Raises
    ------
    PayloadError
        It cannot be read.
    """
    import numpy as np

    head: Any = _Heard(file, seen)
    try:
        version = np.lib.format.read_magic(head)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(head)
        if dtype.hasobject:
            raise ValueError("it holds objects")
        if math.prod(shape) * dtype.itemsize > size:
            raise ValueError("it claims to be larger than it is")
        flat = np.empty(math.prod(shape), dtype)
        place = flat.view(np.uint8).data if flat.nbytes else memoryview(b"")
        for start in range(0, len(place), _PIECE):
            piece = place[start : start + _PIECE]
            if file.readinto(piece) != len(piece):  # type: ignore[attr-defined]
                raise ValueError("it ends too early")
            seen(piece)
        if file.read(1):
            raise ValueError("it goes on behind its end")
    except PayloadError:
        raise
    except Exception as error:
        raise PayloadError(f"the npy payload cannot be read: {preview_error(error)}") from error
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


class _Heard:
    """A file of which somebody else sees what is read."""

    def __init__(self, file: BinaryIO, seen: Callable[[Any], object]) -> None:
        self._file, self._seen = file, seen

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._seen(data)
        return data


def _read_pickle(data: bytes) -> Any:
    import cloudpickle

    return cloudpickle.loads(data)


_READERS: Mapping[str, Callable[[bytes], Any]] = {
    "json": _read_json,
    "npy": _read_npy,
    "pickle": _read_pickle,
}
