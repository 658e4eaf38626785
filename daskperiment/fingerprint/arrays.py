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

NAN, NA = 2, 3  # how missing text is marked
_BLOCK = 1 << 22  # bytes: of what has to be copied
_LARGE = 1 << 27  # bytes: of what has not, so that threads that hash are seldom woken


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
    marks: dict[type, int] = {str: 0, types.NoneType: 1, float: NAN}
    if "pandas" in sys.modules:
        marks[type(sys.modules["pandas"].NA)] = NA
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
        yield from _written(value)


def _written(value: Array) -> Iterator[Array]:
    """The bytes of an array, as they are in memory where these are canonical."""
    if not (value.flags.c_contiguous and value.dtype.isnative):
        yield from map(canonical_bytes, _blocks(value))
        return
    items = value.reshape(-1)
    step = max(1, _LARGE // value.itemsize)
    for start in range(0, len(items), step):
        part = items[start : start + step]
        if part.dtype.kind in "biumMSU" or (part.dtype.char in "efd" and not _has_nan(part)):
            yield part.view("u1")
        else:
            yield from map(canonical_bytes, _blocks(part))


def _has_nan(block: Array) -> bool:
    import numpy as np

    # The largest item is NaN if any is: found twice as fast as by looking at each.
    return bool(np.isnan(block.max()))


def _objects(walk: Walk, items: list[object]) -> bytes:
    words = texts(items)
    return walk.sequence(items) if words is None else seal(b"texts", *words)


def _blocks(value: Array) -> Iterator[Array]:
    """The items in C order, in contiguous blocks of about `_BLOCK` bytes."""
    import numpy as np

    rows = value.reshape(-1) if value.flags.c_contiguous else value
    step = _BLOCK * len(rows) // value.nbytes
    if step == 0 and rows.ndim > 1:
        for row in rows:
            yield from _blocks(row)
        return
    step = max(1, step)
    for start in range(0, len(rows), step):
        yield np.ascontiguousarray(rows[start : start + step]).reshape(-1)


def canonical_bytes(block: Array) -> Array:
    """The bytes of a contiguous block: little-endian, with one NaN."""
    import numpy as np

    if block.dtype.str.startswith(">"):
        block = block.astype(block.dtype.newbyteorder("<"))
    if block.dtype.kind == "c":
        block = block.view(block.real.dtype)
    if block.dtype.char == "g":
        block = _doubles(block)
    if block.dtype.kind == "f" and _has_nan(block):
        block = np.where(np.isnan(block), block.dtype.type(np.nan), block)
    return block.view(np.uint8)


def _doubles(block: Array) -> Array:
    """Long doubles, whose size and padding differ between machines, as numbers that do not.

    Three doubles hold the digits of the widest of them, and a fourth the exponent.
    """
    import numpy as np

    rest, exponent = np.frexp(block)
    parts = [exponent.astype("<f8")]
    with np.errstate(invalid="ignore"):  # of infinity less itself
        for _ in range(3):
            parts.append(rest.astype("<f8"))
            rest = rest - parts[-1]
    return np.stack(parts, axis=-1).reshape(-1)


def _dtype(walk: Walk, dtype: numpy.dtype[Any]) -> bytes:
    import numpy as np

    if dtype.names is not None:
        fields = [(name, dtype[name]) for name in dtype.names]
        return seal(b"numpy.dtype", walk.sequence(fields))
    if dtype.subdtype is not None:
        return seal(b"numpy.dtype", walk.sequence(dtype.subdtype))
    if dtype.kind == "T":
        return seal(b"numpy.dtype T", walk.encode(getattr(dtype, "na_object", None)))
    if dtype.kind == "V" and dtype.type is not np.void:
        raise Stuck(f"numpy.dtype {dtype}")
    if dtype.char in "gG":
        return atom(b"numpy.dtype", b"long " + dtype.kind.encode())
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
    deep = len(value.shape) > 2
    held = value.tocoo() if deep else value.tocsr()
    if not held.has_canonical_format:
        held = held.copy()
        held.sum_duplicates()
    indices = held.coords if deep else (held.indptr, held.indices)
    parts = [array(walk, held.data), *(_integers(walk, part) for part in indices)]
    name = text(type(value).__name__)
    return seal(b"scipy.sparse", name, walk.encode(value.shape), *parts)


def _integers(walk: Walk, value: Array) -> bytes:
    """The form that an array of integers has when it is of 64 bits."""
    import numpy as np

    def content() -> Iterator[Any]:
        yield atom(b"shape", repr(value.shape).encode())
        yield _dtype(walk, np.dtype("<i8"))
        for block in _blocks(value) if value.nbytes else ():
            yield block.astype("<i8").view(np.uint8)

    return seal_stream(b"numpy.ndarray", content(), value.nbytes)


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
