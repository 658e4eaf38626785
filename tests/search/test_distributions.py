"""Distributions: what they give, refuse and say of themselves."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from scipy import stats

from daskperiment import DaskperimentError, SearchSpaceError
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
    from_document,
)

ALL: list[Distribution] = [
    Float(-1, 2),
    Float(1e-4, 10, log=True),
    Float(0.1, 0.75, step=0.1),
    Int(-3, 12),
    Int(1, 1000, log=True),
    Int(0, 10, step=3),
    Linspace(0, 1, 7),
    Linspace(0, 5, 20, integer=True),
    Logspace(-3, 2, 11),
    Logspace(0, 3, 7, integer=True),
    Normal(10, 2),
    LogNormal(1, 0.5),
    Exponential(5),
    Poisson(3.5),
    Poisson(2000),
    Categorical(["a", 1, 1.0, True, None, [1, 2], {"x": 1}]),
    Constant([64, 64]),
    Branch({"svm": {"C": Float(0, 1)}, "forest": {"depth": [1, 2]}, "mean": {}}),
    Draws(Float(0, 1), [0.25, 0.5]),
]
each = pytest.mark.parametrize("distribution", ALL, ids=repr)


def drawn(distribution: Distribution, n: int = 4000, seed: int = 7) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [distribution.sample(rng) for _ in range(n)]


# -- every distribution --


@each
def test_every_sample_is_a_value_and_plain(distribution: Distribution) -> None:
    for value in drawn(distribution, 300):
        assert distribution.contains(value)
        assert type(value) in (float, int, str, bool, type(None), list, dict)


@each
def test_sampling_depends_on_the_generator_alone(distribution: Distribution) -> None:
    first = drawn(distribution, 20)
    np.random.seed(1)

    assert drawn(distribution, 20) == first


@each
def test_coordinates_lead_back_to_the_value(distribution: Distribution) -> None:
    for value in drawn(distribution, 200):
        coordinates = distribution.encode(value)

        assert len(coordinates) == distribution.width
        assert all(0 <= x <= 1 for x in coordinates)
        back = distribution.decode(coordinates)
        assert back == (pytest.approx(value) if isinstance(value, float) else value)
        assert type(back) is type(value)


@each
def test_what_is_no_value_is_refused(distribution: Distribution) -> None:
    hostile = [math.nan, math.inf, -math.inf, 10**400, {1, 2}, "no such", object(), np.float64(0.5)]
    for value in [*hostile, [hostile], {"a": hostile}]:
        assert not distribution.contains(value)
        with pytest.raises(SearchSpaceError, match="is no value of"):
            distribution.encode(value)


@each
def test_every_point_of_the_unit_cube_is_a_value(distribution: Distribution) -> None:
    rng = np.random.default_rng(0)
    points = [rng.random(distribution.width) for _ in range(50)]
    corners = [[0.0] * distribution.width, [1.0] * distribution.width]

    for point in [*points, *corners, [2.0] * distribution.width, [-1.0] * distribution.width]:
        assert distribution.contains(distribution.decode(point))


@each
def test_the_values_of_a_grid_are_as_many_as_the_size_says(distribution: Distribution) -> None:
    if distribution.size == math.inf:
        with pytest.raises(SearchSpaceError, match=r"infinitely many values: for a grid"):
            distribution.values()
    else:
        values = list(distribution.values())
        assert len(values) == distribution.size
        assert all(map(distribution.contains, values))


@each
def test_documents_read_back_as_equal_distributions(distribution: Distribution) -> None:
    assert from_document(distribution.document()) == distribution


@each
def test_pickles_are_equal_and_hash_the_same(distribution: Distribution) -> None:
    copy = pickle.loads(pickle.dumps(distribution))

    assert copy == distribution
    assert hash(copy) == hash(distribution)


@each
def test_every_sample_is_within_the_domain(distribution: Distribution) -> None:
    domain = distribution.domain

    for value in drawn(distribution, 100):
        if domain["kind"] == "categorical":
            assert value in domain["choices"]
        else:
            assert domain["low"] <= value <= domain["high"]
            assert type(value) is {"float": float, "int": int}[domain["kind"]]


@pytest.mark.parametrize("one", ALL, ids=repr)
def test_different_distributions_are_not_equal(one: Distribution) -> None:
    assert [other for other in ALL if other == one] == [one]


def test_distributions_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Float(0, 1).low = 3.0  # type: ignore[misc]


def test_a_value_given_out_may_be_changed() -> None:
    layers = Categorical([[64, 64]])
    next(layers.values()).append(3)
    layers.sample(np.random.default_rng(0)).append(3)
    layers.domain["choices"][0].append(3)

    assert list(layers.values()) == [[64, 64]]


# -- the laws of chance --


@pytest.mark.parametrize(
    ("distribution", "law"),
    [
        (Float(10, 12), stats.uniform(10, 2)),
        (Float(1e-3, 1e2, log=True), stats.loguniform(1e-3, 1e2)),
        (Normal(10, 2), stats.norm(10, 2)),
        (LogNormal(1, 0.5), stats.lognorm(0.5, scale=math.e)),
        (Exponential(5), stats.expon(scale=5)),
    ],
    ids=lambda one: repr(one) if isinstance(one, Distribution) else "",
)
def test_continuous_samples_follow_the_law_of_the_name(
    distribution: Distribution, law: Any
) -> None:
    assert stats.kstest(drawn(distribution), law.cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("distribution", "probability"),
    [
        (Int(3, 8), lambda k: 1 / 6),
        (Int(0, 10, step=5), lambda k: 1 / 3),
        (Float(0, 1, step=0.25), lambda k: 1 / 5),
        (Categorical(["a", "b", "c"]), lambda k: 1 / 3),
        (Linspace(0, 1, 4), lambda k: 1 / 4),
        (Branch({"a": {}, "b": {}}), lambda k: 1 / 2),
        (Int(1, 4, log=True), lambda k: math.log((k + 0.5) / (k - 0.5)) / math.log(4.5 / 0.5)),
        (Poisson(3), stats.poisson(3).pmf),
    ],
    ids=lambda one: repr(one) if isinstance(one, Distribution) else "",
)
def test_discrete_samples_follow_the_law_of_the_name(
    distribution: Distribution, probability: Any
) -> None:
    samples = drawn(distribution)

    for value in set(samples):
        expected = float(probability(value))
        error = math.sqrt(expected * (1 - expected) / len(samples))
        assert samples.count(value) / len(samples) == pytest.approx(expected, abs=4.5 * error)


@pytest.mark.parametrize("mean", [0.001, 1, 40, 5000, 1e6])
def test_poisson_has_its_mean_and_variance(mean: float) -> None:
    samples = drawn(Poisson(mean), 2000)

    assert np.mean(samples) == pytest.approx(mean, abs=5 * math.sqrt(mean / 2000) + 1e-9)
    assert np.var(samples) == pytest.approx(mean, rel=0.3, abs=0.01)


@pytest.mark.parametrize("distribution", [Poisson(3), Poisson(800)], ids=repr)
def test_poisson_quantiles_are_those_of_scipy(distribution: Poisson) -> None:
    for fraction in (0.001, 0.25, 0.5, 0.9, 0.999):
        assert distribution.quantile(fraction) == stats.poisson(distribution.mean).ppf(fraction)


# -- ends and steps --


def test_integers_include_both_ends() -> None:
    assert list(Int(1, 4).values()) == [1, 2, 3, 4]
    assert set(drawn(Int(1, 4), 200)) == {1, 2, 3, 4}


def test_steps_are_decimal_and_include_the_end_if_it_is_hit() -> None:
    assert list(Float(0, 1, step=0.1).values()) == [i / 10 for i in range(11)]
    assert list(Float(0, 1, step=0.3).values()) == [0.0, 0.3, 0.6, 0.9]
    assert Float(0, 1, step=0.3).domain["high"] == 0.9
    assert list(Int(1, 10, step=4).values()) == [1, 5, 9]


def test_a_stepped_float_contains_what_arithmetic_makes_of_its_values() -> None:
    assert Float(0, 1, step=0.1).contains(0.1 + 0.2)
    assert not Float(0, 1, step=0.1).contains(0.35)


@pytest.mark.parametrize("low", [1, 2**53, 2**62])
def test_logarithms_keep_every_integer_of_a_narrow_range(low: int) -> None:
    distribution = Int(low, low + 3, log=True)

    found = [distribution.decode(distribution.encode(low + more)) - low for more in range(4)]

    assert found == [0, 1, 2, 3]
    assert set(drawn(distribution, 100)) == {low, low + 1, low + 2, low + 3}


def test_both_ends_of_the_largest_logarithmic_range_are_hit() -> None:
    distribution = Int(1, 2**63 - 1, log=True)

    assert (distribution.quantile(0), distribution.quantile(1)) == (1, 2**63 - 1)


def test_points_are_found_by_what_is_next_to_them() -> None:
    points = Linspace(0, 1, 5)

    assert [points.contains(value) for value in (-1, 0, 0.2, 0.25, 0.25 + 1e-12, 1, 2)] == [
        False, True, False, True, True, True, False,
    ]  # fmt: skip
    assert Linspace(0, 0.4, 2, integer=True).encode(0) == (0.5,)


def test_a_scalar_of_numpy_is_told_as_which_value_it_would_do() -> None:
    with pytest.raises(SearchSpaceError, match=r"np\.int64\(3\) is no value of Int.*; 3 is one"):
        Int(1, 5).check(np.int64(3))


def test_a_huge_stepped_range_is_sampled_at_once() -> None:
    distribution = Float(0, 1e12, step=1e-3)

    assert distribution.size == 10**15 + 1
    assert distribution.contains(distribution.sample(np.random.default_rng(0)))


def test_linspace_and_logspace_are_those_of_numpy() -> None:
    assert list(Linspace(-1, 2, 7).values()) == pytest.approx(np.linspace(-1, 2, 7).tolist())
    assert list(Logspace(-3, 2, 11).values()) == pytest.approx(np.logspace(-3, 2, 11).tolist())
    assert list(Logspace(-5, -1, 5).values()) == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]


def test_integer_spaces_are_rounded_and_drop_duplicates() -> None:
    assert list(Linspace(0, 3, 7, integer=True).values()) == [0, 1, 2, 3]
    assert list(Logspace(0, 3, 4, integer=True).values()) == [1, 10, 100, 1000]


def test_choices_are_told_apart_by_type_and_duplicates_dropped() -> None:
    assert list(Categorical([1, 1.0, True, 1, "1", [1], [1]]).values()) == [1, 1.0, True, "1", [1]]
    assert not Categorical([1.0]).contains(1)


def test_values_of_numpy_become_plain() -> None:
    choices = Categorical(np.array([1, 2]))
    float_ends = Float(np.float32(0.5), np.int64(3))

    assert [type(value) for value in choices.values()] == [int, int]
    assert (type(float_ends.low), float_ends.high) == (float, 3.0)
    assert type(Int(np.int8(1), np.int64(3)).low) is int


def test_tuples_become_lists() -> None:
    assert list(Categorical([(32,), (64, 64)]).values()) == [[32], [64, 64]]


def test_a_parameter_with_one_value_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    for distribution in (Constant(1), Categorical(["a"]), Branch({"a": {}})):
        distribution.sample(rng)

    assert rng.random() == np.random.default_rng(0).random()


def test_values_are_taken_once_for_a_grid_and_the_distribution_stays() -> None:
    draws = Draws.take(Float(0, 1), 3, np.random.default_rng(0))

    assert draws.size == 3
    assert list(draws.values()) == list(draws.values())
    assert len(set(drawn(draws, 100))) == 100
    assert draws.domain == Float(0, 1).domain


# -- what is refused --


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(1, 0), r"high must be above low=1\.0, not 0\.0"),
        (lambda: Float(1, 1), r"use Constant\(1\.0\)"),
        (lambda: Float(0, 1, log=True), r"low must be above 0 where log is True, not 0\.0"),
        (lambda: Float(-1, 1, log=True), "low must be above 0"),
        (lambda: Float(0, 1, step=0), r"step must be above 0, not 0\.0"),
        (lambda: Float(0, 1, step=-0.1), "step must be above 0"),
        (lambda: Float(0, 1, step=2), r"step must be at most high - low, 1\.0"),
        (lambda: Float(0.1, 1, step=0.1, log=True), "step does not go together with log"),
        (lambda: Float(1e16, 2e16, step=1.5), "step is too small for floats as large as these"),
        (lambda: Float(math.nan, 1), "low must be a finite number, not nan"),
        (lambda: Float(0, math.inf), "high must be a finite number, not inf"),
        (lambda: Float(-1.7e308, 1.7e308), "high - low must be a finite number"),
        (lambda: Float(0, 10**400), "high must be a finite number"),
        (lambda: Float("0", 1), "low must be a number, not '0'"),
        (lambda: Float(False, 1), "low must be a number, not False"),
        (lambda: Float(0, 1, log=1), "log must be True or False, not 1"),
        (lambda: Int(0.5, 1), r"low must be a whole number, not 0\.5"),
        (lambda: Int(0, 2**64), "high must be an integer of 64 bits"),
        (lambda: Int(0, 3, log=True), "low must be above 0"),
        (lambda: Int(1, 9, log=True, step=2), "step does not go together with log"),
        (lambda: Int(3, 3), r"use Constant\(3\)"),
        (lambda: Int(0, 5, step=0), "step must be above 0"),
        (lambda: Linspace(0, 1, 1), r"count must be 2 or more, not 1; use Constant"),
        (lambda: Linspace(1, 0, 3), "stop must be above start"),
        (
            lambda: Logspace(0, 400, 3),
            r"start and stop are exponents from -308 to 308, not 400\.0",
        ),
        (lambda: Logspace(0, 40, 3, integer=True), "stop must be an integer of 64 bits"),
        (lambda: Linspace(-1e30, 1, 3, integer=True), "start must be an integer of 64 bits"),
        (lambda: Normal(0, 0), "sd must be above 0"),
        (lambda: Normal(math.nan, 1), "mean must be a finite number"),
        (lambda: LogNormal(0, 100), "those of the natural logarithm"),
        (lambda: Exponential(0), "mean must be above 0"),
        (lambda: Poisson(-1), "mean must be above 0"),
        (lambda: Poisson(1e7), "Normal"),
        (lambda: Categorical([]), "the list is empty"),
        (lambda: Categorical("abc"), "choices must be a list, not 'abc'"),
        (lambda: Categorical(5), "choices must be a list, not 5"),
        (lambda: Categorical({1, 2}), "choices must be a list, not"),
        (lambda: Categorical({1: 2}), "choices must be a list, not"),
        (lambda: Float(0, 1).sample(3), "rng must be a generator of NumPy, .* not 3"),
        (lambda: Categorical([{1, 2}]), "a value must be plain data"),
        (lambda: Categorical([object()]), "a value must be plain data"),
        (lambda: Categorical([math.nan]), "a value must be a finite number, not nan"),
        (lambda: Categorical([{1: 2}]), "a value must be plain data"),
        (lambda: Categorical(["\ud800"]), "cannot be written as UTF-8"),
        (lambda: Constant(math.inf), "a value must be a finite number"),
        (lambda: Branch({}), "a branch needs a mapping"),
        (lambda: Branch([1]), "a branch needs a mapping"),
        (lambda: Branch({1: {}}), "the name of a branch must be text"),
        (lambda: Branch({"a": 3}), "a: expected a mapping of names to distributions, not 3"),
        (lambda: Draws(Float(0, 1), [2.0]), r"2\.0 is no value of Float"),
        (lambda: Draws(3, [1]), "distribution must be one of numbers or choices"),
        (lambda: Draws.take(Float(0, 1), 0, None), "n must be 1 or more"),
        (lambda: Float(0, 1).quantile(1.5), "a fraction is a number from 0 to 1"),
        (lambda: Float(0, 1).encode(2.0), r"2\.0 is no value of Float"),
        (lambda: Float(0, 1).decode([math.nan]), "expected 1 numbers"),
        (lambda: Float(0, 1).decode(["x"]), "expected 1 numbers"),
        (lambda: Categorical([1, 2]).decode([0.5]), "expected 2 numbers"),
    ],
)
def test_a_wrong_argument_is_one_typed_error_that_says_what_is_expected(
    make: Any, message: str
) -> None:
    with pytest.raises(SearchSpaceError, match=message) as error:
        make()

    assert isinstance(error.value, (ValueError, DaskperimentError))


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(SearchSpaceError, match="a value must be plain data"):
        Constant(endless)
