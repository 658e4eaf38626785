"""Files of parameters: TOML, JSON, YAML, and Python files that are evaluated when asked."""

from __future__ import annotations
import __future__

import json
import os
import re
import traceback
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

from daskperiment.errors import ParameterFileError
from daskperiment.serializers import NotPlain, to_json

_FUTURE = type(__future__.annotations)


class Unreadable(Exception):  # noqa: N818 - told on with the file's name
    """A text is not of its format; the message says where."""


def read_file(path: str | PathLike[str], evaluate: bool) -> tuple[str, str, Any]:
    """Return the name of a file, its text, and what it holds.

    Parameters
    ----------
    path : path
        The suffix tells the format.
    evaluate : bool
        Whether a Python file may be run.

    Raises
    ------
    ParameterFileError
        It cannot be read; the message says where and what was expected.
    """
    name, suffix = os.fspath(path), Path(path).suffix.lower()
    if suffix not in _READERS:
        raise ParameterFileError(
            f"{name}: expected a file with the suffix {', '.join(_READERS)}, not {suffix!r}"
        )
    text = _text(name)
    if suffix == ".py" and not evaluate:
        raise ParameterFileError(
            f"{name} is a Python file, and reading it would run it: pass evaluate=True if you "
            "trust it"
        )
    label, read = _READERS[suffix]
    try:
        return name, text, _read(read, name, text)
    except Unreadable as error:
        raise ParameterFileError(f"{name} cannot be read as {label}: {error}") from error.__cause__


def _text(name: str) -> str:
    try:
        data = Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ParameterFileError(f"{name} cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ParameterFileError(f"{name} is not UTF-8 text (at line {line})") from error


def _read(read: Callable[[str, str], Any], name: str, text: str) -> Any:
    try:
        values = read(text, name)
        if read is not _python:
            to_json(values)  # raises when YAML's references lead round or multiply without end
    except NotPlain as error:
        raise Unreadable(str(error)) from error
    except RecursionError as error:
        raise Unreadable("it is nested too deep") from error
    return values


def _toml(text: str, name: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(text.replace("\r\n", "\n"))
    except ValueError as error:
        raise Unreadable(str(error)) from error


def _json(text: str, name: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            raise Unreadable(_twice(text, next(key for key in keys if keys.count(key) > 1)))
        return values

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        place = f"at line {error.lineno}, column {error.colno}"
        raise Unreadable(f"{error.msg} ({place})") from error
    except ValueError as error:  # an integer of very many digits
        raise Unreadable(str(error)) from error


def _twice(text: str, key: str) -> str:
    places = re.finditer(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", text)
    lines = [str(text.count("\n", 0, place.start()) + 1) for place in places]
    where = f" (at lines {' and '.join(lines)})" if lines else ""
    return f"the key {key!r} stands twice in one object{where}"


def _yaml(text: str, name: str) -> Any:
    from daskperiment.configuration import yaml12

    try:
        return yaml12.parse(text)
    except yaml12.YAMLError as error:
        raise Unreadable(yaml12.reason(error)) from error
    except ValueError as error:
        raise Unreadable(str(error)) from error


def _python(text: str, name: str) -> dict[str, Any]:
    """Run the file in a namespace of its own and return its public names that are data."""
    module: dict[str, Any] = {"__name__": Path(name).stem, "__file__": name}
    try:
        exec(compile(text, name, "exec", dont_inherit=True), module)
    except SyntaxError as error:
        raise Unreadable(f"{error.msg} (at line {error.lineno})") from error
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
        where = f"at line {lines[-1]}" if lines else "in what it calls"
        raise Unreadable(f"{type(error).__name__}: {error} ({where})") from error
    return {key: value for key, value in module.items() if key[0] != "_" and _is_data(value)}


def _is_data(value: Any) -> bool:
    return not (callable(value) or isinstance(value, (ModuleType, _FUTURE)))


_READERS: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    ".toml": ("TOML", _toml),
    ".json": ("JSON", _json),
    ".yaml": ("YAML", _yaml),
    ".yml": ("YAML", _yaml),
    ".py": ("Python", _python),
}
