"""Configurations in files: a table of all, or one file for each."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from daskperiment.conversion import literal
from daskperiment.errors import SearchSpaceError
from daskperiment.search import files
from daskperiment.search.configurations import configuration_id, configuration_names
from daskperiment.search.levels import told_of
from daskperiment.search.values import plain

_OURS = ("id", "run")


def write_csv(path: str | PathLike[str], configurations: Iterable[Mapping[str, Any]]) -> None:
    """Write configurations as a table, one line each, for :func:`read_csv`.

    The columns are ``id``, ``run``, which counts equal configurations from 1, and the names of
    all parameters.  Numbers stand as they are, text too unless it could be taken for another
    value, and anything else as JSON; a cell is empty where a configuration has no such parameter.

    Raises
    ------
    SearchSpaceError
        A parameter has the name of a column, or the file cannot be written.
    """
    given = [plain(configuration) for configuration in configurations]
    names = list(dict.fromkeys(name for one in given for name in one))
    runs: dict[str, int] = {}
    if taken := set(names) & set(_OURS):
        raise SearchSpaceError(f"{min(taken)}: the table has a column of this name; rename it")
    with files.written(path), Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_OURS, *names])
        for one in given:
            key = configuration_id(one)
            runs[key] = runs.get(key, 0) + 1
            cells = [cell(one[name]) if name in one else "" for name in names]
            writer.writerow([key, runs[key], *cells])


def cell(value: Any) -> str:
    """A value as a cell of a table, which :func:`read_csv` reads.

    Examples
    --------
    >>> cell(0.5), cell("adam"), cell("0.5"), cell([1, None])
    ('0.5', 'adam', '"0.5"', '[1, null]')
    """
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    found = literal(value)
    safe = value and value.isprintable() and isinstance(found, str) and found == value
    return value if safe else json.dumps(value, ensure_ascii=False)


def read_csv(path: str | PathLike[str]) -> list[dict[str, Any]]:
    """Read the configurations of a table that :func:`write_csv`, or a spreadsheet, has written.

    Columns ``id`` and ``run`` are left out, and so is an empty cell.

    Raises
    ------
    SearchSpaceError
        A line has more or fewer cells than the first, or a cell holds what no parameter can be.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return _rows(fspath(path), csv.reader(file))
    except OSError as error:
        raise SearchSpaceError(f"{fspath(path)} cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise SearchSpaceError(f"{fspath(path)} cannot be read as CSV: {error}") from error


def _rows(path: str, rows: Any) -> list[dict[str, Any]]:
    names: list[str] = next(rows, [])
    if len(set(names)) < len(names):
        raise SearchSpaceError(f"{path}: a column stands twice in line 1; keep one of them")
    if not all(names):
        raise SearchSpaceError(f"{path}: a column of line 1 has no name; name or remove it")
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise SearchSpaceError(f"{path}: columns are separated by commas, not as {names[0]!r}")
    found = []
    for row in filter(None, rows):  # without blank lines
        with told_of(f"{path}: line {rows.line_num}"):
            found.append(_configuration(names, row))
    return found


def _configuration(names: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) != len(names):
        raise SearchSpaceError(f"expected {len(names)} cells, as line 1 has, not {len(row)}")
    configuration = {}
    for name, cell in zip(names, row, strict=True):
        if cell and name not in _OURS:
            with told_of(name):
                configuration[name] = plain(literal(cell))
    return configuration


def write_configurations(
    folder: str | PathLike[str],
    configurations: Iterable[Mapping[str, Any]],
    *,
    prefix: str = "",
    suffix: str = ".json",
) -> list[Path]:
    """Write each configuration to a file of its own, and return the files.

    ``ex.load_parameters`` and :func:`read_configuration` read them.

    Parameters
    ----------
    folder : path
        Made if it does not exist; files of these names in it are replaced.
    configurations : iterable of mapping
        The configurations.
    prefix : str
        What names begin with, before that of :func:`configuration_names`.
    suffix : str
        ``.json`` or ``.toml``.
    """
    given = [plain(configuration) for configuration in configurations]
    found = []
    for name, one in zip(configuration_names(given), given, strict=True):
        path = Path(folder, f"{prefix}{name}{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, one)
        found.append(path)
    return found


def read_configuration(path: str | PathLike[str]) -> dict[str, Any]:
    """Read one configuration.

    Raises
    ------
    SearchSpaceError
        The file cannot be read, or holds no mapping.
    """
    found = files.read(path)
    with told_of(fspath(path)):
        if not isinstance(found, Mapping):
            raise SearchSpaceError("expected a mapping of names to values")
        return dict(plain(found))
