"""How values of NumPy, sparse matrices and tensors are written.

An array is its dtype, its shape and its items in C order, little-endian; the layout in
memory does not count.  All NaNs of a float array are one value, since machines and
operations give different bits.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from daskperiment.fingerprint.walk import Rule, Stuck, Walk, atom, seal, seal_stream, text

if TYPE_CHECKING:
    import numpy

    Array: TypeAlias = numpy.ndarray[Any, Any]

_BLOCK = 1 << 22  # bytes: still in the processor's cache when read a second time


def rule_for(kind: type) -> Rule | None:
    """The rule of a type that NumPy defines, or None."""
    import numpy as np

    if kind in (np.ndarray, np.memmap):
        return array
    for base, rule in _RULES.items():
        family = getattr(np.random, base, None) or getattr(np, base, None)
        if issubclass(kind, family or getattr(np.ma, base)):
            return rule
    return _ufunc if kind.__name__ in ("ufunc", "_ArrayFunctionDispatcher") else None


def sparse_rule_for(kind: type) -> Rule | None:
    """The rule of a type that SciPy defines, or None."""
    return _sparse if hasattr(kind, "tocsr") else None


def tensor_rule_for(kind: type) -> Rule | None:
    """The rule of a type that torch defines, or None."""
    return _tensor if issubclass(kind, sys.modules["torch"].Tensor) else None


def array(walk: Walk, value: Array) -> bytes:
    """The form of an array of any dtype."""
    return seal_stream(b"numpy.ndarray", _content(walk, value), value.nbytes)


def texts(items: Sequence[object]) -> Iterator[bytes] | None:
    """The content of strings and missing values in a few buffers, or None for other items.

    None, NaN and ``pandas.NA`` stay distinct.
    """
    marks = _marks()
    kinds = set(map(type, items))
    if not kinds <= marks.keys():
        return None
    if float in kinds and any(item == item for item in items if type(item) is float):
        return None
    return _joined(items, marks if kinds - {str} else {})


def _joined(items: Sequence[Any], marks: Mapping[type, int]) -> Iterator[bytes]:
    import numpy as np

    words = [item if type(item) is str else "" for item in items] if marks else items
    yield len(words).to_bytes(8, "little")
    yield np.fromiter(map(len, words), "<i8", len(words)).tobytes()
    yield text("".join(words))
    yield bytes(map(marks.__getitem__, map(type, items))) if marks else b""


def _marks() -> dict[type, int]:
    marks: dict[type, int] = {str: 0, types.NoneType: 1, float: 2}
    if "pandas" in sys.modules:
        marks[type(sys.modules["pandas"].NA)] = 3
    return marks


def _content(walk: Walk, value: Array) -> Iterator[Any]:
    yield atom(b"shape", repr(value.shape).encode())
    dtype = value.dtype
    if dtype.names is not None:
        for name in dtype.names:
            yield text(name) + array(walk, value[name])
        return
    yield _dtype(walk, dtype)
    if dtype.hasobject or dtype.kind == "T":
        yield _objects(walk, value.astype(object).ravel().tolist())
    elif value.nbytes:
        yield from map(_canonical_bytes, _blocks(value))


def _objects(walk: Walk, items: list[object]) -> bytes:
    words = texts(items)
    return walk.sequence(items) if words is None else seal(b"texts", *words)


def _blocks(value: Array) -> Iterator[Array]:
    """The items in C order, in contiguous blocks of about `_BLOCK` bytes."""
    import numpy as np

    rows = value.reshape(-1) if value.flags.c_contiguous else value
    step = max(1, _BLOCK * len(rows) // value.nbytes)
    for start in range(0, len(rows), step):
        yield np.ascontiguousarray(rows[start : start + step]).reshape(-1)


def _canonical_bytes(block: Array) -> Array:
    import numpy as np

    if block.dtype.str.startswith(">"):
        block = block.astype(block.dtype.newbyteorder("<"))
    if block.dtype.kind == "c":
        block = block.view(block.real.dtype)
    if block.dtype.kind == "f" and (missing := np.isnan(block)).any():
        block = np.where(missing, block.dtype.type(np.nan), block)
    return block.view(np.uint8)


def _dtype(walk: Walk, dtype: numpy.dtype[Any]) -> bytes:
    import numpy as np

    if dtype.names is not None:
        fields = [(name, dtype[name]) for name in dtype.names]
        return seal(b"numpy.dtype", walk.sequence(fields))
    if dtype.subdtype is not None:
        return seal(b"numpy.dtype", walk.sequence(dtype.subdtype))
    if dtype.kind == "T":
        return seal(b"numpy.dtype T", walk.encode(getattr(dtype, "na_object", None)))
    strange = dtype.kind == "V" and dtype.type is not np.void
    if strange or dtype.char in "gG":  # long doubles: the padding is garbage, the size varies
        raise Stuck(f"numpy.dtype {dtype}")
    return atom(b"numpy.dtype", dtype.str.replace(">", "<").encode())


def _scalar(walk: Walk, value: numpy.generic) -> bytes:
    import numpy as np

    return seal_stream(b"numpy.generic", _content(walk, np.asarray(value)), value.nbytes)


def _subclass(walk: Walk, value: Array) -> bytes:
    import numpy as np

    return seal(b"numpy." + type(value).__name__.encode(), array(walk, value.view(np.ndarray)))


def _masked(walk: Walk, value: numpy.ma.MaskedArray[Any, Any]) -> bytes:
    import numpy as np

    zero: Any = np.zeros((), value.dtype)[()]
    parts = np.asarray(value.filled(zero)), np.ma.getmaskarray(value), np.asarray(value.fill_value)
    return seal(b"numpy.ma", *(array(walk, part) for part in parts))


def _ufunc(walk: Walk, value: Any) -> bytes:
    name = value.__name__
    for module in ("numpy", "numpy.linalg", "scipy.special"):
        if getattr(sys.modules.get(module), name, None) is value:
            return seal(b"reference", text(f"{module}:{name}"))
    raise Stuck(f"numpy.ufunc {name} (its name does not lead to it)")


def _generator(walk: Walk, value: numpy.random.Generator) -> bytes:
    return seal(b"numpy.random.Generator", _bit_generator(walk, value.bit_generator))


def _bit_generator(walk: Walk, value: numpy.random.BitGenerator) -> bytes:
    # The seed sequence decides what `spawn` gives.
    parts = walk.encode(value.state), walk.encode(value.seed_seq)
    return seal(b"numpy.random.BitGenerator", *parts)


def _seed_sequence(walk: Walk, value: Any) -> bytes:
    state = value.entropy, value.spawn_key, value.pool_size, value.n_children_spawned
    return seal(b"numpy.random.SeedSequence", walk.sequence(state))


def _random_state(walk: Walk, value: numpy.random.RandomState) -> bytes:
    return seal(b"numpy.random.RandomState", walk.encode(value.get_state(legacy=False)))


def _sparse(walk: Walk, value: Any) -> bytes:
    rows = value.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    indices = rows.indptr.astype("<i8"), rows.indices.astype("<i8")
    parts = [array(walk, part) for part in (rows.data, *indices)]
    name = text(type(value).__name__)
    return seal(b"scipy.sparse", name, walk.encode(value.shape), *parts)


def _tensor(walk: Walk, value: Any) -> bytes:
    held = value.detach().cpu()
    if str(held.dtype) == "torch.bfloat16":  # NumPy has no such dtype
        held = held.view(sys.modules["torch"].int16)
    parts = text(type(value).__name__), text(str(value.dtype)), array(walk, held.numpy())
    return seal(b"torch.Tensor", *parts)


_RULES: Mapping[str, Rule] = {
    "MaskedArray": _masked,
    "ndarray": _subclass,
    "generic": _scalar,
    "dtype": _dtype,
    "Generator": _generator,
    "RandomState": _random_state,
    "BitGenerator": _bit_generator,
    "SeedSequence": _seed_sequence,
}
