"""What a file of experiments says: one entry for each search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from daskperiment.configuration.formats import read_file
from daskperiment.errors import ExperimentsFileError, ParameterFileError
from daskperiment.manager import labs
from daskperiment.manager.grammar import TABLE, TEXT, Kind, check, told_of
from daskperiment.search.values import nearest
from daskperiment.serializers import preview

SUFFIXES = (".toml", ".json", ".yaml", ".yml")
"""How files of experiments end."""

_TOP: Mapping[str, Kind] = {
    "experiments": TABLE, "defaults": TABLE, "backend": TEXT, "description": TEXT
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One search, as its file describes it.

    Parameters
    ----------
    source : str
        Name of the file.
    folder : Path
        Where relative paths begin.
    name : str
        Its name in the file.
    values : dict
        Its keys, each holding what the grammar wants there.
    ignored : tuple of str
        What the file says that means nothing here.
    """

    source: str
    folder: Path
    name: str
    values: Mapping[str, Any]
    ignored: tuple[str, ...] = ()


class Described(NamedTuple):
    """A whole file.

    Parameters
    ----------
    source : str
        Its name.
    entries : list of Entry
        The searches.
    backend : str or Path, optional
        Where trials are recorded.
    description : str
        What it is for.
    """

    source: str
    entries: list[Entry]
    backend: str | Path | None
    description: str


def read(source: str | PathLike[str] | Mapping[str, Any]) -> Described:
    """Read a file of experiments: our own, or a configuration of Labs.

    Parameters
    ----------
    source : path or mapping
        A file ``.toml``, ``.json`` or ``.yaml``, or what one holds.

    Raises
    ------
    ExperimentsFileError
        It cannot be read, has a key that there is not, or a value of the wrong kind; the message
        names the file, the experiment and the key.

    Examples
    --------
    >>> read({"experiments": {"a": {"function": "a.py:run"}}}).entries[0].values
    {'function': 'a.py:run'}
    """
    name, folder, found = _found(source)
    with told_of(name):
        if labs.is_labs(found):
            return _of_labs(name, folder, found)
        if not isinstance(found, Mapping) or not found.get("experiments"):
            raise ExperimentsFileError(
                "expected tables of experiments, as [experiments.forest] in TOML, not "
                f"{preview(found, 80)}"
            )
        check(found, _TOP)
    defaults, entries = found.get("defaults", {}), []
    with told_of(name, "defaults"):
        check(defaults)
    for label, values in found["experiments"].items():
        with told_of(name, label):
            TABLE.check("an experiment", values)
            check(values)
        entries.append(Entry(name, folder, label, _with(defaults, values)))
    return Described(
        name, entries, _place(found.get("backend"), folder), found.get("description", "")
    )


def _found(source: str | PathLike[str] | Mapping[str, Any]) -> tuple[str, Path, Any]:
    if isinstance(source, Mapping):
        return "a mapping", Path(), source
    if Path(source).suffix.lower() not in SUFFIXES:
        raise ExperimentsFileError(
            f"{source}: expected a file {', '.join(SUFFIXES)}, not {Path(source).suffix!r}"
        )
    try:
        name, _, found = read_file(source, evaluate=False)
    except ParameterFileError as error:
        raise ExperimentsFileError(str(error)) from error.__cause__
    return name, Path(source).parent, found


_ONE_OF = (("function", "script"), ("executor", "cluster"), ("metrics", "direction"))
"""Keys of which an experiment has one: the other one is no default of it."""


def _with(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with defaults for what they leave out."""
    others = {b if key == a else a for a, b in _ONE_OF for key in values if key in (a, b)}
    return {key: value for key, value in defaults.items() if key not in others} | dict(values)


def _place(backend: str | None, folder: Path) -> str | Path | None:
    """Where a file's store is: a relative path begins at the file."""
    if backend is None or "://" in backend or backend == "local":
        return backend
    return folder / backend


def _of_labs(name: str, folder: Path, found: Mapping[str, Any]) -> Described:
    entries = []
    for label, values, ignored in labs.experiments(found):
        with told_of(name, label):
            check(values)
        entries.append(Entry(name, folder, label, values, ignored))
    return Described(name, entries, None, "")


def chosen(entries: list[Entry], only: Iterable[str] | None) -> list[Entry]:
    """The entries of these names, in the order of the file; all of them without.

    Raises
    ------
    ExperimentsFileError
        There is none of a name.
    """
    if only is None:
        return entries
    names, wanted = [entry.name for entry in entries], list(only)
    for name in wanted:
        if name not in names:
            raise ExperimentsFileError(
                f"{entries[0].source}: there is no experiment {name!r}: {nearest(name, names)}"
            )
    return [entry for entry in entries if entry.name in wanted]
