"""Options: settings that come from the environment or from ``pyproject.toml``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from daskperiment.errors import OptionError

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_DISABLE = "_DISABLE_"


class Option(NamedTuple):
    """A setting that has a default.

    Parameters
    ----------
    variable : str
        The environment variable that sets it, or with ``DISABLE`` in its name negates it.
    default : Any
        Value when nothing sets it.
    read : callable
        Makes a value of the variable's text or of the TOML value; raises ValueError.
    help : str
        What it decides, as a clause.
    """

    variable: str
    default: Any
    read: Callable[[Any], Any]
    help: str


class Setting(NamedTuple):
    """The value of an option, and where it comes from.

    Parameters
    ----------
    value : Any
        The value.
    origin : str
        ``default``, the name of the variable, or the path of the file.
    folder : Path or None
        Folder of the file, where relative paths in it begin.
    """

    value: Any
    origin: str
    folder: Path | None = None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def _boolean(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("must be true or false")


def _size(value: Any) -> int:
    size = int(value)
    if size < 0:
        raise ValueError("must be a number of bytes from 0 on")
    return size


def _mode(value: Any) -> str:
    text = _text(value).strip().lower()
    if text not in ("enabled", "disabled"):
        raise ValueError('must be "enabled" or "disabled"')
    return text


def _level(value: Any) -> str:
    text = _text(value).strip().upper()
    if text not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise ValueError("must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return text


OPTIONS: dict[str, Option] = {
    "backend": Option("DASKPERIMENT_BACKEND", "local", _text, "where trials are recorded"),
    "mode": Option("DASKPERIMENT_MODE", "enabled", _mode, '"disabled" records nothing'),
    "code": Option(
        "DASKPERIMENT_DISABLE_CODE", True, _boolean, "whether source text is kept with a trial"
    ),
    "git": Option(
        "DASKPERIMENT_DISABLE_GIT", True, _boolean, "whether the git repository is looked at"
    ),
    "git_limit": Option(
        "DASKPERIMENT_GIT_LIMIT",
        1_000_000,
        _size,
        "bytes of uncommitted text kept with a trial; 0 keeps none",
    ),
    "usage": Option(
        "DASKPERIMENT_USAGE",
        True,
        _boolean,
        "whether CPU, memory and GPU are sampled while a trial runs",
    ),
    "reuse": Option(
        "DASKPERIMENT_DISABLE_REUSE",
        True,
        _boolean,
        "whether calls of steps may be taken from other trials",
    ),
    "log_level": Option(
        "DASKPERIMENT_LOG_LEVEL", "INFO", _level, "what scripts and notebooks show of the log"
    ),
    "resume": Option(
        "DASKPERIMENT_RESUME", False, _boolean, "whether batches leave out what is complete"
    ),
    "shard": Option("DASKPERIMENT_SHARD", None, _text, 'which part of a batch runs here, as "0/3"'),
    "log_file": Option("DASKPERIMENT_LOG_FILE", None, _text, "a file that the log goes to as well"),
}
"""Every option; in ``pyproject.toml`` they stand under ``[tool.daskperiment]``."""


def setting(name: str) -> Setting:
    """The value of an option: of the environment, else of ``pyproject.toml``, else its default.

    The nearest ``pyproject.toml`` that has it counts, in the working directory or above.

    Raises
    ------
    OptionError
        What sets it cannot be read.

    Examples
    --------
    >>> setting("git_limit")
    Setting(value=1000000, origin='default', folder=None)
    """
    option = OPTIONS[name]
    if text := os.environ.get(option.variable):
        given = _read(option, text, option.variable)
        return Setting(not given if _DISABLE in option.variable else given, option.variable)
    for file, table in _files():
        if name in table:
            value = _read(option, table[name], f"{name} in [tool.daskperiment] of {file}")
            return Setting(value, str(file), file.parent)
    return Setting(option.default, "default")


def value(name: str) -> Any:
    """The value alone; see :func:`setting`."""
    return setting(name).value


def _read(option: Option, given: Any, place: str) -> Any:
    try:
        return option.read(given)
    except (TypeError, ValueError) as error:
        raise OptionError(f"{place} cannot be used: it {error}") from error


def _files() -> Iterator[tuple[Path, dict[str, Any]]]:
    here = Path.cwd()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if _is_there(file):
            yield file, _table(file)


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except PermissionError:  # of a folder that is closed to this user
        return False


def _table(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"{file} cannot be read: {error}") from error
    table = content.get("tool", {}).get("daskperiment", {})
    if not isinstance(table, dict):
        raise OptionError(f"[tool.daskperiment] of {file} must be a table")
    return table
