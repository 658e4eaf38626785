"""Pickles of strangers: plain data is read, everything else is named, and nothing is run.

The unpickler finds no class and no function but those below.  In place of any other it finds
an inert class that takes whatever it is given and does nothing, so that one such object in the
middle of a long history costs only itself.
"""

from __future__ import annotations

import datetime
import decimal
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from daskperiment.errors import ImportFormatError
from daskperiment.importers import arrays
from daskperiment.importers.inert import Inert, inert

_DEEPEST = 64


class NotAdmittedError(ImportFormatError):
    """A value holds something that is not plain data; the message names it."""


class Record:
    """Stands in for an object of another tool: its fields and nothing else."""


def _path(kind: type[Any]) -> Callable[..., Any]:
    return lambda *parts: kind(*(str(part) for part in parts))


def _encoded(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise NotAdmittedError(f"a text in {encoding!r}")
    return text.encode("latin1")


def _bytearray(content: Any = b"", encoding: str = "latin-1") -> bytearray:
    if isinstance(content, int):  # of so many bytes
        raise NotAdmittedError("the size of an array of bytes")
    return bytearray(content.encode(encoding) if isinstance(content, str) else content)


def _timestamp(value: int, freq: Any = None, tz: Any = None, resolution: int = 10) -> Any:
    import pandas as pd

    if resolution != 10 or (tz is not None and type(tz) is not datetime.timezone):
        return inert("a pandas.Timestamp with a time zone or resolution of its own")
    return pd.Timestamp(int(value), unit="ns", tz=tz)


def _timedelta(value: int, resolution: int = 10) -> Any:
    import pandas as pd

    if resolution != 10:
        return inert("a pandas.Timedelta with a resolution of its own")
    return pd.Timedelta(int(value), unit="ns")


_TIMES = "pandas._libs.tslibs"
_ADMITTED: Mapping[str, Callable[..., Any]] = {
    **{f"builtins.{kind.__name__}": kind for kind in (set, frozenset, complex)},
    "builtins.bytes": lambda: b"",
    "builtins.bytearray": _bytearray,
    "collections.OrderedDict": OrderedDict,
    **{
        f"datetime.{kind.__name__}": kind
        for kind in (
            datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone
        )
    },
    "decimal.Decimal": decimal.Decimal,
    "pathlib.PosixPath": _path(Path),
    "pathlib.PurePosixPath": _path(PurePosixPath),
    "pathlib.WindowsPath": _path(PureWindowsPath),
    "pathlib.PureWindowsPath": _path(PureWindowsPath),
    "pathlib._local.PosixPath": _path(Path),
    "_codecs.encode": _encoded,
    f"{_TIMES}.timestamps._unpickle_timestamp": _timestamp,
    f"{_TIMES}.timestamps.Timestamp": _timestamp,
    f"{_TIMES}.timedeltas._timedelta_unpickle": _timedelta,
    f"{_TIMES}.timedeltas.Timedelta": _timedelta,
    **arrays.ADMITTED,
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    """Finds what is admitted; records are the classes for which fields are wanted."""

    def __init__(self, data: bytes, records: Mapping[str, type[Record]]) -> None:
        super().__init__(io.BytesIO(data))
        self._records = records

    def find_class(self, module: str, name: str) -> Any:
        dotted = f"{'builtins' if module == '__builtin__' else module}.{name}"
        return self._records.get(dotted) or _ADMITTED.get(dotted) or inert(dotted)

    def persistent_load(self, pid: Any) -> Any:
        return inert("a persistent id")


def loads(data: bytes, records: Mapping[str, type[Record]] | None = None) -> Any:
    """The object that a pickle holds, with inert classes in place of what is not admitted.

    Parameters
    ----------
    data : bytes
        The pickle, of whomever.
    records : mapping of str to type, optional
        Stand-ins by the names of the classes that they stand for.

    Raises
    ------
    ImportFormatError
        It cannot be read.
    """
    try:
        return _Unpickler(data, records or {}).load()
    except Exception as error:  # whatever bytes make it raise
        kind = type(error).__name__
        raise ImportFormatError(f"the pickle cannot be read: {kind}: {error}") from error


def plain(value: Any) -> Any:
    """A value of which every part is plain data.

    Raises
    ------
    NotAdmittedError
        Some part is not; the message names it.

    Examples
    --------
    >>> plain(loads(b"cposix\\nsystem\\n(S'touch x'\\ntR."))
    Traceback (most recent call last):
    daskperiment.importers.pickles.NotAdmittedError: it is or holds ... posix.system
    """
    return _Plain().of(value, 0)


class _Plain:
    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any, level: int) -> Any:
        if isinstance(value, Inert):
            raise NotAdmittedError(f"it is or holds what is no plain data: {value.named}")
        if isinstance(value, Record):
            raise NotAdmittedError(f"it is or holds an object of the tool: {type(value).__name__}")
        if level > _DEEPEST:
            raise NotAdmittedError(f"it holds itself or is nested deeper than {_DEEPEST} levels")
        if isinstance(value, arrays.Rebuilt):
            return value.array()
        if type(value) not in (dict, OrderedDict, list, tuple, set, frozenset):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = value, self._container(value, level + 1)
        return self._done[id(value)][1]

    def _container(self, value: Any, level: int) -> Any:
        if isinstance(value, dict):
            pairs = ((self.of(k, level), self.of(v, level)) for k, v in value.items())
            return type(value)(pairs)
        return type(value)(self.of(item, level) for item in value)
