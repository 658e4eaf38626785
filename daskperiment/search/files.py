"""Files of plain data: TOML and JSON, in both directions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from daskperiment.configuration.formats import read_file
from daskperiment.errors import ParameterFileError, SearchSpaceError
from daskperiment.search.levels import told_of

_READ = (".toml", ".json", ".yaml", ".yml")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def read(path: str | PathLike[str]) -> Any:
    """What a file holds.

    Raises
    ------
    SearchSpaceError
        It cannot be read; the message says where and what was expected.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _READ:
        raise SearchSpaceError(
            f"{fspath(path)}: expected a file {', '.join(_READ)}, not {suffix!r}"
        )
    try:
        return read_file(path, evaluate=False)[2]
    except ParameterFileError as error:
        raise SearchSpaceError(str(error)) from error.__cause__


def write(path: str | PathLike[str], data: Mapping[str, Any]) -> None:
    """Write plain data to a file ``.toml`` or ``.json``.

    Raises
    ------
    SearchSpaceError
        The file is neither, cannot be written, or TOML has no such value.
    """
    with told_of(fspath(path)):
        text = text_of(data, Path(path).suffix)
    with written(path):
        Path(path).write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def written(path: str | PathLike[str]) -> Iterator[None]:
    """Let a file that cannot be written be a SearchSpaceError."""
    try:
        yield
    except OSError as error:
        raise SearchSpaceError(f"{fspath(path)} cannot be written: {error.strerror}") from error


def text_of(data: Mapping[str, Any], suffix: str) -> str:
    """Plain data as the text of a file with this suffix.

    Examples
    --------
    >>> print(text_of({"n": 3, "model.lr": [0.1, "a"], "rate": {"low": 0.5}}, ".toml"), end="")
    n = 3
    "model.lr" = [0.1, "a"]
    <BLANKLINE>
    [rate]
    low = 0.5
    """
    if suffix.lower() == ".json":
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if suffix.lower() == ".toml":
        return "\n".join(_table(data, ())).lstrip("\n") + "\n"
    raise SearchSpaceError(f"expected a file .toml or .json, not {suffix!r}")


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in table.items():
        if not _tables(value):
            yield f"{_key(key)} = {_value('.'.join((*path, key)), value)}"
    for key, value in table.items():
        inner, name = (*path, key), ".".join(map(_key, (*path, key)))
        for part in _tables(value):
            yield f"\n[[{name}]]" if isinstance(value, list) else f"\n[{name}]"
            yield from _table(part, inner)


def _tables(value: Any) -> list[Mapping[str, Any]]:
    """The value as tables of their own, if it is one or some."""
    if isinstance(value, Mapping):
        return [value]
    if isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
        return value
    return []


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(key: str, value: Any) -> str:
    if value is None:
        raise SearchSpaceError(f"{key}: TOML has no None; write a file .json instead")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(key, item) for item in value)}]"
    if isinstance(value, Mapping):
        pairs = (f"{_key(name)} = {_value(name, item)}" for name, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    return json.dumps(value)
