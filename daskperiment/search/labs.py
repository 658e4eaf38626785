"""Entries and files as Labs has them: ``search_vals`` with a ``type``, in a ``tune_config``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from daskperiment.errors import SearchSpaceError
from daskperiment.search.choices import Categorical, Constant
from daskperiment.search.distribution import Distribution
from daskperiment.search.entries import Entry, check_keys, numbers, word
from daskperiment.search.laws import Exponential, Normal, Poisson
from daskperiment.search.levels import told_of
from daskperiment.search.ranges import Float, Int, Linspace, Logspace
from daskperiment.search.values import integer, nearest, positive
from daskperiment.serializers import preview

VALUES = "search_vals"
"""The key that every entry of Labs has."""

_SEARCHES = ("list", "grid-search", "random-search", "skopt")


def entry_distribution(entry: Entry) -> Distribution:
    """The distribution of an entry of Labs."""
    kind = word(entry, "type", tuple(KINDS), "")
    check_keys(entry, [VALUES, "count"] if "-space" in kind else [VALUES])
    with told_of(VALUES):
        return KINDS[kind](entry)


def _spaced(kind: type[Linspace] | type[Logspace], whole: bool) -> Callable[[Entry], Distribution]:
    def read(entry: Entry) -> Distribution:
        start, stop = numbers(entry, VALUES, 2)
        return kind(start, stop, entry["count"], integer=whole)

    return read


def _below(entry: Entry) -> Distribution:
    """Integers from the first number on, without the second."""
    low, end = (integer("a bound", value) for value in numbers(entry, VALUES, 2))
    if low >= end:
        raise SearchSpaceError(f"high, which is excluded, must be above low={low}, not {end}")
    return Constant(low) if low == end - 1 else Int(low, end - 1)


def _exponential(entry: Entry) -> Distribution:
    return Exponential(1 / positive("lambda", numbers(entry, VALUES, 1)[0]))


KINDS: Mapping[str, Callable[[Entry], Distribution]] = {
    "static": lambda entry: Constant(entry[VALUES]),
    "list": lambda entry: Categorical(entry[VALUES]),
    "categorical": lambda entry: Categorical(entry[VALUES]),
    "linear-space": _spaced(Linspace, False),
    "linear-space-int": _spaced(Linspace, True),
    "log-space": _spaced(Logspace, False),
    "log-space-int": _spaced(Logspace, True),
    "uniform": lambda entry: Float(*numbers(entry, VALUES, 2)),
    "log-uniform": lambda entry: Float(*numbers(entry, VALUES, 2), log=True),
    "int-uniform": _below,
    "normal": lambda entry: Normal(*numbers(entry, VALUES, 2)),
    "exp": _exponential,
    "poisson": lambda entry: Poisson(*numbers(entry, VALUES, 1)),
    "integer": lambda entry: Int(*numbers(entry, VALUES, 2)),
    "real": lambda entry: Float(*numbers(entry, VALUES, 2)),
}


def is_file(found: Any) -> bool:
    """Whether this is what a configuration file of Labs holds."""
    if not isinstance(found, Mapping):
        return False
    config = found.get("tune_config")
    if isinstance(config, Mapping) and "space" in config:
        return True
    experiments = found.get("experiments")
    return (
        isinstance(experiments, list)
        and bool(experiments)
        and all(isinstance(one, Mapping) and "tune_config" in one for one in experiments)
    )


def space(found: Mapping[str, Any], experiment: str | None) -> Any:
    """The ``space`` of an experiment in a file of Labs; ready combinations as constants."""
    name, chosen = _experiment(found.get("experiments", [found]), experiment)
    with told_of(f"{name}.tune_config"):
        config = chosen["tune_config"]
        if not isinstance(config, Mapping) or "space" not in config:
            raise SearchSpaceError("the key 'space' is missing")
        search, values = word(config, "type", _SEARCHES, "grid-search"), config["space"]
        if search != "list":
            return values
        if not isinstance(values, list) or not all(isinstance(one, Mapping) for one in values):
            raise SearchSpaceError(f"space must be a list of mappings, not {preview(values, 80)}")
        return [{name: Constant(value) for name, value in one.items()} for one in values]


def _experiment(
    experiments: list[Mapping[str, Any]], wanted: str | None
) -> tuple[str, Mapping[str, Any]]:
    names = {str(one.get("experiment_name", f"experiment {i}")): one
             for i, one in enumerate(experiments, 1)}  # fmt: skip
    if wanted is None and len(names) == 1:
        return next(iter(names.items()))
    if wanted is None:
        raise SearchSpaceError(
            f"the file has several experiments: say which by experiment=, {', '.join(names)}"
        )
    if wanted not in names:
        raise SearchSpaceError(f"there is no experiment {wanted!r}: {nearest(wanted, names)}")
    return wanted, names[wanted]
