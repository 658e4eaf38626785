"""NumPy arrays and scalars in the pickles of strangers: made anew from their bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from daskperiment.errors import ImportFormatError
from daskperiment.importers.inert import inert

_TEXT = re.compile(r"([?bBhHiIlLqQefd]|[biufcSU][0-9]+|[mM]8)")


class _Type:
    """Stands in for a dtype until its state is known."""

    def __init__(self, text: Any, *_: Any) -> None:
        self.text = str(text)
        self.order = "|"
        self.simple = _TEXT.fullmatch(self.text) is not None
        self.unit = ""

    def __setstate__(self, state: Any) -> None:
        _, order, *rest = state
        self.order = str(order)
        self.simple = self.simple and not any(part is not None for part in rest[:3])
        if len(rest) > 6 and rest[6] is not None:  # unit of a datetime64
            unit, count = rest[6][1][:2]
            name = unit.decode() if isinstance(unit, bytes) else str(unit)
            self.unit = f"[{int(count)}{name}]"

    def make(self) -> Any:
        import numpy as np

        if not self.simple:
            raise ImportFormatError(f"an array of the NumPy type {self.text!r}")
        return np.dtype(("<" if self.order == "|" else self.order) + self.text + self.unit)


def _scalar(kind: _Type, data: bytes = b"") -> Any:
    if not kind.simple:  # it costs only the value that it is a part of
        return inert(f"a number of the NumPy type {kind.text!r}")
    return _from_bytes(data, kind, (-1,))[0]


class Rebuilt:
    """Stands in for an array until its state is known."""

    def __init__(self, *_: Any) -> None:
        self._state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self._state = tuple(state)

    def array(self) -> Any:
        """The array.

        Raises
        ------
        ImportFormatError
            Its items are no plain numbers or texts.
        """
        if len(self._state) != 5 or not isinstance(self._state[4], bytes):
            raise ImportFormatError("it is or holds a NumPy array of objects")
        _, shape, kind, fortran, data = self._state
        return _from_bytes(data, kind, shape, "F" if fortran else "C")


def _from_bytes(data: Any, kind: _Type, shape: Any, order: str = "C") -> Any:
    import numpy as np

    flat = np.frombuffer(bytes(data), kind.make())
    return flat.reshape(tuple(shape), order="F" if order == "F" else "C").copy()


def _at_once(data: Any, kind: _Type, shape: Any, order: str = "C") -> Any:
    if not kind.simple:
        return inert(f"an array of the NumPy type {kind.text!r}")
    return _from_bytes(data, kind, shape, order)


ADMITTED: Mapping[str, Callable[..., Any]] = {
    "numpy.dtype": _Type,
    "numpy.ndarray": Rebuilt,
    **{f"numpy.{core}.multiarray._reconstruct": Rebuilt for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _at_once for core in ("core", "_core")},
}
"""What pickles of arrays name, and what stands in for it."""
