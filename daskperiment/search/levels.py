"""Levels: parameters that are active together, from nested mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from daskperiment.errors import InvalidNameError, SearchSpaceError
from daskperiment.names import check_name
from daskperiment.search.choices import Categorical, Constant
from daskperiment.search.distribution import Distribution, Level
from daskperiment.search.values import listed
from daskperiment.serializers import preview

BLOCK = "*"
"""The name under which a space of several blocks chooses one."""

RESERVED = ("id", "run", "repeat", BLOCK)
"""Names that tables of configurations, or spaces, use themselves."""


def level(parameters: Mapping[str, Any], prefix: str = "") -> Level:
    """Parameters by their dotted names.

    A mapping is a group, a list an axis of a grid, any other value a constant.

    Raises
    ------
    SearchSpaceError
        A name or value cannot be one.

    Examples
    --------
    >>> level({"model": {"depth": [1, 2]}, "data": "iris"})
    (('model.depth', Categorical(choices=(1, 2))), ('data', Constant(value='iris')))
    """
    if not isinstance(parameters, Mapping):
        raise SearchSpaceError(
            f"expected a mapping of names to distributions, not {preview(parameters, 80)}"
        )
    found: list[tuple[str, Distribution]] = []
    for key, value in parameters.items():
        if not isinstance(key, str):
            raise SearchSpaceError(f"a name must be text, not {preview(key, 80)}")
        name = prefix + key
        if isinstance(value, Mapping):
            found += _group(name, value)
        else:
            with told_of(name):
                found.append((name, _distribution(value)))
    return tuple(found)


def _group(name: str, members: Mapping[str, Any]) -> Level:
    if not members:
        raise SearchSpaceError(f"{name}: the group is empty; for an empty mapping write [{{}}]")
    return level(members, f"{name}.")


def _distribution(value: Any) -> Distribution:
    if isinstance(value, Distribution):
        return value
    value = listed(value)
    if isinstance(value, (list, tuple)) and any(isinstance(one, Distribution) for one in value):
        raise SearchSpaceError("a list has values, no distributions; to choose one use Branch")
    return Categorical(value) if isinstance(value, (list, tuple, range)) else Constant(value)


def check_names(
    parameters: Level, prefix: str = "", others: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """The names of a level and of all its branches, and of their groups, none of which is taken.

    Of each name or group the result has a parameter that it is, or is the beginning of.

    Raises
    ------
    SearchSpaceError
        A name is none, reserved, or active together with one that it equals or is a part of.
    """
    own = dict(others)
    for name, _ in parameters:
        _take(prefix + name, own)
    found = dict(own)
    for name, distribution in parameters:
        inner = group(prefix + name)
        for taken in [check_names(part, inner, found) for part in distribution.levels.values()]:
            found |= taken
    return found


def document(parameters: Level) -> dict[str, Any]:
    """What files have for the parameters of a level."""
    return {name: distribution.document() for name, distribution in parameters}


def group(name: str) -> str:
    """What a name has in common with those beside it.

    Examples
    --------
    >>> group("model.kind"), group("kind")
    ('model.', '')
    """
    return name[: name.rfind(".") + 1]


def _take(name: str, known: dict[str, str]) -> None:
    try:
        check_name(name, "Parameter", "model.lr")
    except InvalidNameError as error:
        raise SearchSpaceError(str(error)) from None
    if name in RESERVED:
        raise SearchSpaceError(
            f"{name}: the name is reserved, as tables of configurations have it; rename it, such "
            f"as {name.strip(BLOCK) or 'block'}_"
        )
    if known.get(name) == name:
        raise SearchSpaceError(f"{name}: the name is given twice; keep one of them")
    groups = [name[:at] for at, character in enumerate(name) if character == "."]
    inner, outer = known.get(name), name
    for each in groups:
        if known.get(each) == each:
            inner, outer = name, each
    if inner is not None:
        raise SearchSpaceError(f"{inner}: {outer} is a parameter, and cannot be a group too")
    known |= {name: name, **{each: known.get(each, name) for each in groups}}


@contextmanager
def told_of(where: object) -> Iterator[None]:
    """Let the message of a SearchSpaceError begin with the place."""
    try:
        yield
    except SearchSpaceError as error:
        raise SearchSpaceError(f"{where}: {error}") from error.__cause__
