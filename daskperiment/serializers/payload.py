"""The bytes of a value, with the name of the codec that reads them.

The codecs are tried in an order of trust: ``json`` and ``npy`` can express no code, ``pickle``
runs whatever its writer wanted.  Whoever decodes checks the digest of the bytes, and for a
pickle who wrote it, beforehand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

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


def _read_pickle(data: bytes) -> Any:
    import cloudpickle

    return cloudpickle.loads(data)


_READERS: Mapping[str, Callable[[bytes], Any]] = {
    "json": _read_json,
    "npy": _read_npy,
    "pickle": _read_pickle,
}
