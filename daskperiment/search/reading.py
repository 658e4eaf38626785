"""What files of search spaces hold, as distributions: one schema for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from daskperiment.errors import SearchSpaceError
from daskperiment.search import exp, labs
from daskperiment.search.branch import Branch
from daskperiment.search.choices import Categorical, Constant, Draws
from daskperiment.search.distribution import Distribution
from daskperiment.search.entries import Entry, check_keys
from daskperiment.search.laws import Exponential, LogNormal, Normal, Poisson
from daskperiment.search.levels import told_of
from daskperiment.search.ranges import Float, Int, Linspace, Logspace
from daskperiment.search.values import integer, nearest
from daskperiment.serializers import preview

if TYPE_CHECKING:
    import numpy as np

_OWN = (Float, Int, Linspace, Logspace, Normal, LogNormal, Exponential, Poisson, Categorical,
        Constant, Branch, Draws)  # fmt: skip
_KINDS: Mapping[str, type[Distribution]] = {kind.type: kind for kind in _OWN}
_UNTYPED = (
    ({"low", "high"}, {"log", "step"}, Float.type),
    ({"bounds"}, {"step", "dtype", "prior", "n"}, "range"),
    ({labs.VALUES}, {"count"}, "uniform"),
)
"""Keys that an entry has, and may have, from which its type is told."""


def from_document(document: Mapping[str, Any], *, seed: int = 0) -> Distribution:
    """The distribution that a document describes, as files have it.

    Parameters
    ----------
    document : mapping
        Of :meth:`Distribution.document`, or an entry of a file of EXP or Labs.
    seed : int
        From what EXP's random values are drawn.

    Examples
    --------
    >>> from_document({"type": "float", "low": 0, "high": 1})
    Float(low=0.0, high=1.0, log=False, step=None)
    """
    entry = _entry(document) if isinstance(document, Mapping) else None
    if entry is None:
        raise SearchSpaceError(f"expected a mapping with a type, not {preview(document, 80)}")
    return _distribution(entry, _Drawing(seed))


def blocks(found: Any, seed: int, experiment: str | None = None) -> Any:
    """What :class:`SearchSpace` takes, from what a file holds.

    Raises
    ------
    SearchSpaceError
        The message begins with the key.
    """
    if labs.is_file(found):
        found = labs.space(found, experiment)
    elif experiment is not None:
        raise SearchSpaceError(
            "there are no experiments in it with a tune_config: leave out experiment="
        )
    if isinstance(found, Mapping) and list(found) == ["blocks"] and _are_blocks(found["blocks"]):
        found = found["blocks"]
    draw = _Drawing(seed)
    if isinstance(found, Mapping):
        return _level(found, draw)
    if not isinstance(found, list):
        raise SearchSpaceError(
            "expected names with their distributions, or a list of such blocks, not "
            f"{preview(found, 80)}"
        )
    return [_block(number, block, draw) for number, block in enumerate(found, 1)]


def _are_blocks(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(block, Mapping) for block in found)


class _Drawing:
    """Takes values of distributions, one after the other, from one generator."""

    def __init__(self, seed: int) -> None:
        self._seed = integer("seed", seed)
        if seed < 0:
            raise SearchSpaceError(f"seed must be 0 or more, not {seed}")

    @cached_property
    def _rng(self) -> np.random.Generator:
        import numpy as np

        return np.random.default_rng(self._seed)

    def __call__(self, distribution: Distribution, n: int) -> Draws:
        return Draws.take(distribution, n, self._rng)


def _block(number: int, block: Mapping[str, Any], draw: exp.Drawing) -> dict[str, Any]:
    with told_of(f"block {number}"):
        return _level(block, draw)


def _branch(name: str, parameters: Any, draw: exp.Drawing) -> dict[str, Any]:
    with told_of(f"branches.{name}"):
        return _level(parameters, draw)


def _level(found: Any, draw: exp.Drawing, prefix: str = "") -> dict[str, Any]:
    """The mapping with a distribution in place of each entry."""
    if not isinstance(found, Mapping):
        raise SearchSpaceError(f"expected names with their distributions, not {preview(found, 80)}")
    level: dict[str, Any] = {}
    for key, value in found.items():
        level[key] = value
        if not isinstance(value, Mapping):
            continue
        with told_of(f"{prefix}{key}"):
            entry = _entry(value)
            if entry is None:
                _check_group(value)
            else:
                level[key] = _distribution(entry, draw)
        if entry is None:
            level[key] = _level(value, draw, f"{prefix}{key}.")
    return level


def _check_group(value: Mapping[str, Any]) -> None:
    """Raise SearchSpaceError for what is no group, but an entry that lacks its type."""
    keys = {str(key).lower() for key in value}
    scalars = not any(isinstance(part, (list, Mapping)) for part in value.values())
    for needed, others, kind in _UNTYPED:
        if needed <= keys <= needed | others and scalars == (kind == Float.type):
            raise SearchSpaceError(
                f"the key 'type' is missing, such as {kind!r}; to have a group of parameters with "
                "these names, give each a type"
            )


def _entry(value: Mapping[str, Any]) -> Entry | None:
    """The value with its keys in lower case, if it is the entry of a parameter, not a group."""
    entry = {str(key).lower(): part for key, part in value.items()}
    if not isinstance(entry.get("type"), str):
        return None
    if len(entry) < len(value):
        raise SearchSpaceError(
            f"a key stands twice, in other letters: {', '.join(map(str, value))}"
        )
    return entry


def _distribution(entry: Entry, draw: exp.Drawing) -> Distribution:
    kind = entry["type"].lower()
    if labs.VALUES in entry:
        return labs.entry_distribution(entry)
    if kind in exp.KINDS:
        return exp.KINDS[kind](entry, draw)
    if kind not in _KINDS:
        if kind in labs.KINDS:
            raise SearchSpaceError(f"the key {labs.VALUES!r} is missing, type {kind!r} needs it")
        known = [*_KINDS, *exp.KINDS]
        raise SearchSpaceError(
            f"unknown type {entry['type']!r}: {nearest(kind, known)} (for a parameter called type "
            "give its values in a list)"
        )
    return _own(_KINDS[kind], entry, draw)


def _own(kind: type[Distribution], entry: Entry, draw: exp.Drawing) -> Distribution:
    fields = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    needed = [name for name, default in fields.items() if default is dataclasses.MISSING]
    check_keys(entry, needed, list(fields))
    arguments = {key: value for key, value in entry.items() if key != "type"}
    if kind is Draws:
        inner = (
            _entry(entry["distribution"]) if isinstance(entry["distribution"], Mapping) else None
        )
        if inner is None:
            raise SearchSpaceError("distribution must be a mapping with a type")
        arguments["distribution"] = _distribution(inner, draw)
    if kind is Branch:
        if not isinstance(entry["branches"], Mapping):
            raise SearchSpaceError("branches must be a mapping of names to parameters")
        arguments["branches"] = {
            name: _branch(name, part, draw) for name, part in entry["branches"].items()
        }
    return kind(**arguments)
