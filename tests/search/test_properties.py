"""Whatever the space: samples lie in it, ids are stable, what is written reads back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskperiment import SearchSpaceError
from daskperiment.search import (
    Branch,
    Categorical,
    Constant,
    Distribution,
    Draws,
    Exponential,
    Float,
    Int,
    Linspace,
    LogNormal,
    Logspace,
    Normal,
    Poisson,
    SearchSpace,
    configuration_id,
    configuration_names,
    read_configuration,
    read_csv,
    write_configurations,
    write_csv,
)

few = settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)

# Cs: no lone surrogates, which no file can hold; Cc: what no name may have.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=4).map(
    lambda name: name.replace(".", "_") + "_"  # none is reserved, or the group of another
)
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), floats, texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def ranges(draw: Any) -> Distribution:
    log = draw(st.booleans())
    low = draw(st.floats(1e-9 if log else -1e9, 1e9))
    span = draw(st.floats(1e-3, 1e9))
    if draw(st.booleans()) or log:
        return Float(low, low + max(span, low), log=log) if log else Float(low, low + 2 * span)
    return Float(low, low + 2 * span, step=span / draw(st.integers(1, 9)))


@st.composite
def integers(draw: Any) -> Distribution:
    low, span = draw(st.integers(-(2**50), 2**50)), draw(st.integers(1, 2**50))
    if draw(st.booleans()):
        return Int(abs(low) + 1, abs(low) + 1 + span, log=True)
    return Int(low, low + span, step=draw(st.integers(1, span)))


laws = st.one_of(
    st.builds(Normal, st.floats(-1e6, 1e6), st.floats(1e-6, 1e6)),
    st.builds(LogNormal, st.floats(-9, 9), st.floats(0.01, 9)),
    st.builds(Exponential, st.floats(1e-6, 1e6)),
    st.builds(Poisson, st.floats(1e-3, 500)),
)
finite: st.SearchStrategy[Distribution] = st.one_of(
    st.builds(Categorical, st.lists(values, min_size=1, max_size=3)),
    st.builds(Constant, values),
    st.builds(lambda low, n: Int(low, low + n), st.integers(-9, 9), st.integers(1, 2)),
    st.builds(lambda low, n: Linspace(low, low + 1, n), st.floats(-9, 9), st.integers(2, 3)),
    st.builds(lambda low, n: Logspace(low, low + 1, n), st.floats(-9, 9), st.integers(2, 3)),
    st.builds(lambda seed: Draws.take(Normal(0, 1), 2, np.random.default_rng(seed)),
              st.integers(0, 99)),
)  # fmt: skip
any_distribution = st.one_of(finite, ranges(), integers(), laws)


def levels(distributions: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Nested mappings of distributions and branches, no two names of which are equal."""
    tree = st.recursive(
        st.lists(distributions, min_size=1, max_size=3),
        lambda inner: st.lists(
            st.one_of(
                distributions,
                st.builds(lambda *parts: ("branch", parts), inner, inner),
                st.builds(lambda part: ("group", part), inner),
            ),
            min_size=1,
            max_size=3,
        ),
        max_leaves=4,
    )
    return st.builds(_named, tree, st.lists(names, min_size=1, max_size=3))


def _named(tree: Any, stems: list[str]) -> dict[str, Any]:
    numbers = itertools.count()

    def level(parts: Any) -> dict[str, Any]:
        return {f"{stems[i % len(stems)]}{next(numbers)}": value(part)
                for i, part in enumerate(parts)}  # fmt: skip

    def value(part: Any) -> Any:
        if isinstance(part, Distribution):
            return part
        kind, inner = part
        if kind == "group":
            return level(inner)
        return Branch({f"{stems[0]}{i}": level(one) for i, one in enumerate(inner)})

    return level(tree)


def spaces(distributions: st.SearchStrategy[Any]) -> st.SearchStrategy[SearchSpace]:
    level = levels(distributions)
    return st.builds(SearchSpace, st.one_of(level, st.lists(level, min_size=1, max_size=3)))


def samples(space: SearchSpace, seed: int, n: int = 5) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(n)]


seeds = st.integers(0, 2**32 - 1)


@few
@given(spaces(any_distribution), seeds)
def test_every_sample_lies_in_its_space(space: SearchSpace, seed: int) -> None:
    for one in samples(space, seed):
        assert one in space
        assert set(one) <= set(space.names)
        assert all(is_plain(value) for value in one.values())
    assert list(map(repr, samples(space, seed))) == list(map(repr, samples(space, seed)))


def is_plain(value: Any) -> bool:
    if type(value) is list:
        return all(map(is_plain, value))
    if type(value) is dict:
        return all(map(is_plain, value.values()))
    return type(value) in (bool, int, float, str, type(None))


@few
@given(spaces(any_distribution), seeds)
def test_coordinates_lead_back_into_the_space(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for one in samples(space, seed, 3):
        coordinates = space.encode(one)
        assert len(coordinates) == space.width
        assert all(0 <= x <= 1 for x in coordinates)
        back = space.decode(coordinates)
        assert list(back) == list(one)
        assert np.allclose(space.encode(back), coordinates, atol=1e-6)
    assert space.decode(rng.random(space.width)) in space


@few
@given(spaces(finite))
def test_the_grid_has_every_configuration_once(space: SearchSpace) -> None:
    if space.size > 2000:
        return
    ids = [configuration_id(one) for one in space.grid()]

    assert len(ids) == len(set(ids)) == space.size
    assert all(one in space for one in space.grid())


@few
@given(spaces(finite), seeds)
def test_samples_of_finite_spaces_without_draws_are_of_the_grid(
    space: SearchSpace, seed: int
) -> None:
    if space.size > 2000 or any(isinstance(axis.distribution, Draws) for axis in space.axes):
        return
    ids = {configuration_id(one) for one in space.grid()}

    assert {configuration_id(one) for one in samples(space, seed)} <= ids


@few
@given(spaces(any_distribution), seeds)
def test_ids_do_not_depend_on_the_order(space: SearchSpace, seed: int) -> None:
    for one in samples(space, seed):
        assert configuration_id(dict(reversed(one.items()))) == configuration_id(one)


@few
@given(spaces(any_distribution), st.sampled_from([".toml", ".json"]), seeds)
def test_written_spaces_read_back(space: SearchSpace, suffix: str, seed: int) -> None:
    space.write(f"space{suffix}")
    back = SearchSpace.read(f"space{suffix}")

    assert back == space
    assert list(map(typed, samples(back, seed))) == list(map(typed, samples(space, seed)))


@few
@given(spaces(any_distribution), st.sampled_from([".toml", ".json"]), seeds)
def test_exported_configurations_read_back(space: SearchSpace, suffix: str, seed: int) -> None:
    given = samples(space, seed)
    write_csv("table.csv", given)
    paths = write_configurations("files", given, suffix=suffix)

    assert list(map(typed, read_csv("table.csv"))) == list(map(typed, given))
    assert list(map(typed, map(read_configuration, paths))) == list(map(typed, given))


def typed(configuration: dict[str, Any]) -> set[tuple[str, str]]:
    return {(name, repr(ordered(value))) for name, value in configuration.items()}


def ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((key, ordered(part)) for key, part in value.items())
    return [ordered(part) for part in value] if isinstance(value, list) else value


@few
@given(spaces(any_distribution), seeds)
def test_names_of_configurations_are_unique(space: SearchSpace, seed: int) -> None:
    given = samples(space, seed, 8)

    assert len(set(configuration_names(given))) == 8


@few
@given(any_distribution, seeds)
def test_sizes_are_counts_or_infinite(distribution: Distribution, seed: int) -> None:
    if distribution.size == math.inf or distribution.size > 5000:
        return
    assert len(list(distribution.values())) == distribution.size


SHAPES: list[Callable[[float], Any]] = [
    lambda u: Float(0, 1).quantile(u),
    lambda u: Float(1e-5, 1, log=True).quantile(u),
    lambda u: Int(1, 100, log=True).quantile(u),
    lambda u: Normal(0, 1).quantile(u),
    lambda u: LogNormal(0, 1).quantile(u),
    lambda u: Poisson(7).quantile(u),
    lambda u: Exponential(2).quantile(u),
]


@given(st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise(one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert all(shape(low) <= shape(high) for shape in SHAPES)


WORDS = ["type", "low", "high", "log", "step", "start", "stop", "count", "integer", "mean", "sd",
         "choices", "value", "branches", "distribution", "drawn", "bounds", "dtype", "prior", "n",
         "search_vals", "blocks", "experiments", "tune_config", "space"]  # fmt: skip
KINDS = ["float", "int", "linspace", "logspace", "normal", "lognormal", "exponential", "poisson",
         "categorical", "constant", "branch", "draws", "value", "list", "range", "random", "static",
         "linear-space", "log-space-int", "uniform", "log-uniform", "int-uniform", "exp", "real",
         "grid-search"]  # fmt: skip
anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 3),
        st.sampled_from([2**70, 1e300, -1e300, 5e-324, math.nan, math.inf]),
        st.sampled_from([*KINDS, *WORDS]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(WORDS) | texts, inner, max_size=4),
        st.builds(
            lambda kind, keys: {"type": kind, **keys},
            st.sampled_from(KINDS),
            st.dictionaries(st.sampled_from(WORDS[1:21]), inner, max_size=3),
        ),
    ),
    max_leaves=12,
)


@settings(few, max_examples=200)
@given(anything)
def test_whatever_a_file_holds_is_a_space_or_one_typed_error(found: Any) -> None:
    try:
        space = SearchSpace.from_document(found)
    except SearchSpaceError as error:
        assert str(error)
    else:
        assert SearchSpace.from_document(space.document()) == space
        assert all(one in space for one in samples(space, 0, 2))
