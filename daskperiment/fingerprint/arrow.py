"""How values of Arrow are written.

An array is its type and its values.  Chunks and offsets do not count, nor what lies under a
null, nor the order in which a dictionary holds its values.  Each kind of buffer is a stream
of its own, so that it does not matter where one chunk ends and the next one begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from daskperiment.fingerprint.arrays import canonical_bytes
from daskperiment.fingerprint.walk import Rule, Walk, atom, seal, seal_stream, text, whole

if TYPE_CHECKING:
    import numpy

_ROWS = 1 << 16  # of one piece
_PANDAS = b"pandas"
_RELEASES = ("creator", "pandas_version")


def rule_for(kind: type) -> Rule | None:
    """The rule of a type that Arrow defines, or None."""
    import pyarrow as pa

    return next(
        (rule for name, rule in _RULES.items() if issubclass(kind, getattr(pa, name))), None
    )


def column(walk: Walk, kind: Any, chunks: Iterable[Any]) -> bytes:
    """The form of a type and of the values in chunks of it."""
    streams, rows = _Streams(walk), 0
    for chunk in chunks:
        streams.feed(b"", chunk)
        rows += len(chunk)
    return seal(b"pyarrow.column", _type(walk, kind), whole(rows), *streams.forms())


def words(chunks: Iterable[Any], missing: int) -> Iterator[bytes]:
    """What :func:`~daskperiment.fingerprint.arrays.texts` gives for the same text and marks."""
    import numpy as np
    import pyarrow.compute as pc

    lengths: list[bytes] = []
    marks: list[numpy.ndarray[Any, Any]] = []
    pieces: list[memoryview] = []
    for chunk in chunks:
        for piece in map(_stored, _pieces(chunk)):
            present = _present(piece)
            count = pc.utf8_length(piece).fill_null(0).to_numpy(zero_copy_only=False)
            lengths.append(count.astype("<i8").tobytes())
            marks.append(np.where(present, 0, missing).astype("u1"))
            pieces.append(_text(piece, present)[1])
    yield sum(map(len, marks)).to_bytes(8, "little")
    yield b"".join(lengths)
    size = sum(map(len, pieces))
    yield atom(b"str", b"".join(pieces)) if size <= _ROWS else seal_stream(b"str", pieces, size)
    yield b"".join(map(bytes, marks)) if any(mark.any() for mark in marks) else b""


class _Streams:
    """A digest for each kind of buffer of an array, which grow piece by piece.

    A buffer of which nothing has come is none, as an empty chunk is no chunk.
    """

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._hashers: dict[bytes, Any] = {}

    def forms(self) -> Iterator[bytes]:
        """The names and digests of the streams."""
        for name in sorted(self._hashers):
            yield atom(b"stream", name) + self._hashers[name].digest()

    def feed(self, way: bytes, array: Any) -> None:
        """Add an array to the streams of the part of the type that `way` leads to."""
        for piece in _pieces(array):
            self._piece(way, _stored(piece))

    def _piece(self, way: bytes, piece: Any) -> None:
        import pyarrow.types as kinds

        kind, present = piece.type, _present(piece)
        self._add(way + b"?", present)
        if kinds.is_null(kind):
            return
        if kinds.is_struct(kind):
            for place, part in enumerate(piece.flatten()):
                self.feed(b"%b.%d" % (way, place), part)
        elif hasattr(piece, "value_lengths"):
            lengths = piece.value_lengths().fill_null(0).to_numpy().astype("<i8")
            self._add(way + b"#", lengths.view("u1"))
            self.feed(way + b"[]", piece.flatten())
        elif kinds.is_boolean(kind):
            self._add(way, _bits(piece, 1) & present)
        elif _is_text(kind):
            lengths, content = _text(piece, present)
            self._add(way + b"#", lengths.view("u1"))
            self._add(way, content)
        elif _is_fixed(kind):
            self._add(way, canonical_bytes(_items(piece, present)))
        else:
            for item in piece.to_pylist():
                self._add(way, self._walk.encode(item))

    def _add(self, name: bytes, buffer: Any) -> None:
        if len(buffer):
            self._hashers.setdefault(name, blake3()).update(buffer)


def _pieces(array: Any) -> Iterator[Any]:
    for start in range(0, len(array), _ROWS):
        yield array.slice(start, _ROWS)


def _stored(piece: Any) -> Any:
    """The values as they are without an extension, a dictionary, runs, views, or as a list."""
    import pyarrow as pa
    import pyarrow.compute as pc

    while True:
        kind = piece.type
        if isinstance(kind, pa.BaseExtensionType):
            piece = piece.storage
        elif pa.types.is_dictionary(kind):
            piece = piece.dictionary_decode()
        elif pa.types.is_run_end_encoded(kind):
            piece = pc.run_end_decode(piece)
        elif pa.types.is_map(kind):
            piece = piece.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
        elif str(kind) == "string_view":
            piece = piece.cast(pa.large_string())
        elif str(kind) == "binary_view":
            piece = piece.cast(pa.large_binary())
        else:
            return piece


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    tests = kinds.is_string, kinds.is_large_string, kinds.is_binary, kinds.is_large_binary
    return any(test(kind) for test in tests)


def _is_fixed(kind: Any) -> bool:
    try:
        return not kind.num_fields and kind.bit_width % 8 == 0
    except ValueError:  # of a type without a width
        return False


def _present(piece: Any) -> numpy.ndarray[Any, Any]:
    """1 for each value, 0 for each null."""
    import numpy as np

    if not piece.null_count:
        return np.ones(len(piece), "u1")
    valid: numpy.ndarray[Any, Any] = piece.is_valid().to_numpy(zero_copy_only=False)
    return valid.view("u1")


def _bits(piece: Any, buffer: int) -> numpy.ndarray[Any, Any]:
    import numpy as np

    first, skipped = divmod(piece.offset, 8)
    size = skipped + len(piece)
    held = np.frombuffer(piece.buffers()[buffer], "u1", (size + 7) // 8, first)
    return np.unpackbits(held, bitorder="little")[skipped:size]


def _items(piece: Any, present: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    """The items of a fixed size, zero where there is none."""
    import numpy as np
    import pyarrow.types as kinds

    width = piece.type.bit_width // 8
    if width == 0:
        return np.empty(0, "u1")
    sizes = {1: "u1", 2: "u2", 4: "u4", 8: "u8"}
    name = f"f{width}" if kinds.is_floating(piece.type) else sizes.get(width, f"V{width}")
    items = np.frombuffer(piece.buffers()[1], name, len(piece), piece.offset * width)
    if piece.null_count:
        items = items.copy()
        items[present == 0] = np.zeros((), name)
    return items


def _text(piece: Any, present: numpy.ndarray[Any, Any]) -> tuple[Any, Any]:
    """The lengths of texts, and all of them in one buffer."""
    import numpy as np

    wide = str(piece.type).startswith("large_")
    _, places, content = piece.buffers()
    name, size = ("i8", 8) if wide else ("i4", 4)
    ends = np.frombuffer(places, name, len(piece) + 1, piece.offset * size)
    lengths = np.diff(ends).astype("<i8")
    if lengths[present == 0].any():  # there is text under a null
        filled = piece.fill_null(b"" if "binary" in str(piece.type) else "")
        return _text(filled, np.ones(len(piece), "u1"))
    return lengths, memoryview(content or b"").cast("B")[ends[0] : ends[-1]]


def _type(walk: Walk, kind: Any) -> bytes:
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        saved = getattr(kind, "__arrow_ext_serialize__", bytes)()
        name = text(kind.extension_name)
        return seal(
            b"pyarrow.extension", name, atom(b"bytes", saved), _type(walk, kind.storage_type)
        )
    if pa.types.is_struct(kind):
        return seal(b"pyarrow.struct", *(_field(walk, part) for part in kind))
    return atom(b"pyarrow.type", str(kind).encode())


def _field(walk: Walk, value: Any) -> bytes:
    parts = text(value.name), _type(walk, value.type), walk.encode(value.nullable)
    return seal(b"pyarrow.Field", *parts, _metadata(walk, value.metadata))


def _metadata(walk: Walk, value: Mapping[bytes, bytes] | None) -> bytes:
    """All but the releases that have written it."""
    known: dict[bytes, Any] = dict(value or {})
    with suppress(ValueError):
        document = json.loads(known.get(_PANDAS, b""))
        if type(document) is dict:
            known[_PANDAS] = {name: document[name] for name in document if name not in _RELEASES}
    return walk.encode(known)


def _schema(walk: Walk, value: Any) -> bytes:
    fields = (_field(walk, field) for field in value)
    return seal(b"pyarrow.Schema", *fields, _metadata(walk, value.metadata))


def _table(walk: Walk, value: Any) -> bytes:
    columns = (_chunks(walk, held) for held in value.columns)
    return seal(b"pyarrow.Table", _schema(walk, value.schema), *columns)


def _batch(walk: Walk, value: Any) -> bytes:
    columns = (column(walk, held.type, [held]) for held in value.columns)
    return seal(b"pyarrow.RecordBatch", _schema(walk, value.schema), *columns)


def _chunks(walk: Walk, value: Any) -> bytes:
    return seal(b"pyarrow.ChunkedArray", column(walk, value.type, value.chunks))


def _array(walk: Walk, value: Any) -> bytes:
    return seal(b"pyarrow.Array", column(walk, value.type, [value]))


def _scalar(walk: Walk, value: Any) -> bytes:
    import pyarrow as pa

    held = pa.array([value.as_py()], value.type)
    return seal(b"pyarrow.Scalar", column(walk, value.type, [held]))


def _buffer(walk: Walk, value: Any) -> bytes:
    return seal_stream(b"pyarrow.Buffer", (memoryview(value),), value.size)


def _tensor(walk: Walk, value: Any) -> bytes:
    return seal(b"pyarrow.Tensor", walk.encode(value.dim_names), walk.encode(value.to_numpy()))


_RULES: Mapping[str, Rule] = {
    "Table": _table,
    "RecordBatch": _batch,
    "ChunkedArray": _chunks,
    "Array": _array,
    "Scalar": _scalar,
    "Schema": _schema,
    "Field": _field,
    "DataType": lambda walk, value: _type(walk, value),
    "Buffer": _buffer,
    "Tensor": _tensor,
}
