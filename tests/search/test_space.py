"""Search spaces: names, sizes, grids, samples, branches, blocks and what is refused."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest

from daskperiment import Experiment, SearchSpaceError
from daskperiment.search import (
    Branch,
    Categorical,
    Constant,
    Distribution,
    Float,
    Int,
    Linspace,
    SearchSpace,
    configuration_id,
)

MODEL = Branch({"svm": {"C": Float(0.1, 10, log=True)}, "forest": {"depth": Int(1, 3)}, "mean": {}})


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# -- names and sizes --


def test_nested_names_are_flattened_with_dots() -> None:
    space = SearchSpace({"model": {"net": {"depth": Int(1, 2)}, "lr": [0.1]}, "data.name": "iris"})

    assert space.names == ("model.net.depth", "model.lr", "data.name")
    assert next(space.grid()) == {"model.net.depth": 1, "model.lr": 0.1, "data.name": "iris"}


def test_nested_names_bind_to_the_parameters_of_an_experiment() -> None:
    ex = Experiment("nested", backend="memory://")
    ex.parameter("model")
    ex.load_parameters(next(SearchSpace({"model": {"lr": [0.1], "depth": 2}}).grid()))

    assert ex.get_parameters() == {"model": {"lr": 0.1, "depth": 2}}


def test_a_list_is_an_axis_and_any_other_value_a_constant() -> None:
    space = SearchSpace({"a": [1, 2], "b": "text", "c": [[1, 2]], "d": range(2), "e": np.arange(2)})

    assert space.get("a") == Categorical([1, 2])
    assert space.get("b") == Constant("text")
    assert space.get("c") == Categorical([[1, 2]])
    assert space.get("d") == space.get("e") == Categorical([0, 1])


def test_the_size_counts_unique_configurations() -> None:
    assert SearchSpace({"a": [1, 2, 2], "b": Int(1, 5), "c": 3}).size == 10
    assert SearchSpace({"a": [1, 2], "b": Float(0, 1)}).size == math.inf
    assert SearchSpace({str(i): Int(0, 9) for i in range(400)}).size == 10**400


def test_the_size_of_branches_is_the_sum_of_theirs() -> None:
    space = SearchSpace({"model": Branch({"svm": {"C": [1, 2]}, "mean": {}}), "b": [0, 1]})

    assert space.size == len(list(space.grid())) == (2 + 1) * 2


def test_distributions_are_read_by_name_and_type() -> None:
    space = SearchSpace({"rate": Float(0, 1), "depth": [1, 2]})

    assert space.get("rate", Float).high == 1.0
    with pytest.raises(SearchSpaceError, match=r"rate must be of type Int, but it is a Float"):
        space.get("rate", Int)
    with pytest.raises(SearchSpaceError, match=r"no parameter 'rat': did you mean 'rate'\?"):
        space.get("rat")
    with pytest.raises(LookupError):
        space.get("x")


def test_domains_are_for_optimisers() -> None:
    space = SearchSpace({"rate": Float(0.1, 1, log=True), "n": Int(0, 9, step=3), "c": ["a", "b"]})

    rate = {"kind": "float", "low": 0.1, "high": 1.0, "log": True, "step": None}
    assert space.domain("rate") == rate
    assert space.domain("n") == {"kind": "int", "low": 0, "high": 9, "log": False, "step": 3}
    assert space.domain("c") == {"kind": "categorical", "choices": ["a", "b"]}


# -- grids --


def test_a_grid_is_in_the_order_given_and_the_last_name_varies_fastest() -> None:
    space = SearchSpace({"b": [1, 2], "a": ["x", "y"]})

    pairs = [(one["b"], one["a"]) for one in space.grid()]
    assert pairs == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]
    assert list(next(space.grid())) == ["b", "a"]


def test_a_grid_is_the_product_of_its_axes() -> None:
    values = {"a": [1, 2, 3], "b": [True, None], "c": ["x"], "d": [[1], [2]]}

    expected = [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]
    assert list(SearchSpace(values).grid()) == expected


def test_repeats_come_one_after_the_other() -> None:
    space = SearchSpace({"a": [1, 2]})

    assert [one["a"] for one in space.grid(repeats=2)] == [1, 1, 2, 2]
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(SearchSpaceError, match="repeats must be"):
            space.grid(repeats=wrong)  # type: ignore[arg-type]


def test_a_grid_over_infinitely_many_values_says_what_to_do() -> None:
    space = SearchSpace({"m": Branch({"a": {"rate": Float(0, 1)}})})

    with pytest.raises(SearchSpaceError, match=r"^rate: .* give it a step, use Linspace"):
        space.grid()


def test_a_grid_keeps_nothing_of_what_it_does_not_need() -> None:
    space = SearchSpace({"a": Int(0, 10**12), "b": Int(0, 10**12)})

    assert next(itertools.islice(space.grid(), 5, None)) == {"a": 0, "b": 5}


def test_configurations_given_out_may_be_changed() -> None:
    space = SearchSpace({"layers": [[1, 2]], "c": Constant({"x": []})})
    for one in (*space.grid(repeats=2), space.sample(seeded())):
        assert one == {"layers": [1, 2], "c": {"x": []}}
        one["c"]["x"].append(1)
        one["layers"].append(3)
        one["new"] = 1
    assert list(space.grid()) == [{"layers": [1, 2], "c": {"x": []}}]


# -- samples --


def test_samples_are_seeded() -> None:
    space = SearchSpace({"rate": Float(0, 1), "model": MODEL, "n": Int(1, 9)})
    np.random.seed(0)
    random.seed(0)
    first = [space.sample(rng) for rng in [seeded(3)] for _ in range(50)]
    np.random.seed(1)
    random.seed(1)

    assert [space.sample(rng) for rng in [seeded(3)] for _ in range(50)] == first
    assert len({configuration_id(one) for one in first}) == 50


def test_names_constants_and_later_parameters_do_not_change_a_sample() -> None:
    first = SearchSpace({"rate": Float(0, 1), "n": Int(1, 9)}).sample(seeded())
    more = {"z": 3, "y": Float(0, 1), "constant": [7], "x": Int(1, 9), "later": Float(5, 6)}

    assert list(SearchSpace(more).sample(seeded()).values())[1:4:2] == list(first.values())


def test_samples_of_branches_have_the_parameters_of_the_branch_only() -> None:
    space, rng = SearchSpace({"model": MODEL, "rate": [0.1]}), seeded()
    names = {one["model"]: list(one) for one in (space.sample(rng) for _ in range(50))}

    assert names == {
        "svm": ["model", "C", "rate"],
        "forest": ["model", "depth", "rate"],
        "mean": ["model", "rate"],
    }


# -- branches and blocks --


def test_a_branch_in_a_group_names_its_parameters_within_the_group() -> None:
    space = SearchSpace({"model": {"kind": Branch({"svm": {"C": [1], "net": {"lr": [2]}}})}})

    assert list(space.grid()) == [{"model.kind": "svm", "model.C": 1, "model.net.lr": 2}]


def test_branches_may_have_branches_and_share_names() -> None:
    kernel = Branch({"rbf": {"gamma": [1, 2]}, "linear": {}})
    space = SearchSpace({"m": Branch({"svm": {"kernel": kernel, "C": [1]}, "net": {"C": [5]}})})

    assert list(space.grid()) == [
        {"m": "svm", "kernel": "rbf", "gamma": 1, "C": 1},
        {"m": "svm", "kernel": "rbf", "gamma": 2, "C": 1},
        {"m": "svm", "kernel": "linear", "C": 1},
        {"m": "net", "C": 5},
    ]
    assert space.names == ("m", "kernel", "gamma", "C")
    assert [axis.address for axis in space.axes if axis.name == "C"] == ["m=svm/C", "m=net/C"]
    with pytest.raises(SearchSpaceError, match="C has a distribution at each of m=svm/C, m=net/C"):
        space.get("C")


def test_no_two_axes_have_one_address() -> None:
    inner = {"a": {"n": Branch({"b": {"C": [1, 2]}})}, "a/n=b": {"C": [3, 4]}}
    space = SearchSpace({"m": Branch(inner)})

    assert len({axis.address for axis in space.axes}) == len(space.axes)
    assert all(space.decode(space.encode(one)) == one for one in space.grid())


def test_blocks_are_one_grid_after_the_other_without_what_was_there_before() -> None:
    space = SearchSpace([{"a": [1, 2], "b": 0}, {"a": [2, 3], "b": 0}, {"c": [[1, 2]]}])

    assert list(space.grid()) == [
        {"a": 1, "b": 0},
        {"a": 2, "b": 0},
        {"a": 3, "b": 0},
        {"c": [1, 2]},
    ]
    assert space.size == 4


def test_blocks_of_other_names_are_counted_without_listing_them() -> None:
    space = SearchSpace([{"a": Int(1, 10**15)}, {"b": Int(1, 10**15)}])

    assert space.size == 2 * 10**15


def test_a_sample_of_blocks_is_of_one_of_them() -> None:
    space, rng = SearchSpace([{"a": [1, 2]}, {"b": Float(0, 1)}]), seeded()
    found = [space.sample(rng) for _ in range(50)]

    assert {tuple(one) for one in found} == {("a",), ("b",)}
    assert all(one in space for one in found)


def test_ready_configurations_are_a_space_of_exactly_these() -> None:
    ready: list[dict[str, Any]] = [{"a": [1, 2]}, {"a": 3, "b.c": None}, {"a": [1, 2]}]

    assert list(SearchSpace.of(ready).grid()) == ready[:2]


def test_many_ready_configurations_are_found_without_trying_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = SearchSpace([{"a": Int(1, 3)}, *({"b": [n]} for n in range(300))])
    ready = SearchSpace.of({"a": n, "b": "x"} for n in range(300))
    tried, follow = [], SearchSpace._follow_block

    def counted(self: SearchSpace, configuration: Any, block: int) -> Any:
        tried.append(block)
        return follow(self, configuration, block)

    monkeypatch.setattr(SearchSpace, "_follow_block", counted)

    assert {"a": 299, "b": "x"} in ready and {"a": 2} in space and {"b": 299} in space
    assert {"a": 300, "b": "x"} not in ready and {"a": {1}, "b": "x"} not in ready
    assert len(tried) < 20
    assert ready.decode(ready.encode({"a": 7, "b": "x"})) == {"a": 7, "b": "x"}


# -- belonging --


@pytest.mark.parametrize(
    ("configuration", "reason"),
    [
        ({"model": "svm", "C": 1.0}, "rate: the value is missing"),
        ({"model": "svm", "C": 99.0, "rate": 0.5}, r"C: 99\.0 is no value of Float"),
        ({"model": "mean", "C": 1.0, "rate": 0.5}, "C: no parameter here"),
        ({"model": "tree", "rate": 0.5}, "model: 'tree' is no value of Branch"),
        ({"model": "forest", "depth": 2.0, "rate": 0.5}, r"depth: 2\.0 is no value of Int"),
        ({"model": "mean", "rates": 0.5}, "rate: the value is missing"),
        ([1], "a configuration is a mapping"),
    ],
)
def test_what_is_no_configuration_is_refused_with_the_reason(
    configuration: Any, reason: str
) -> None:
    space = SearchSpace({"model": MODEL, "rate": Float(0, 1)})

    assert configuration not in space
    with pytest.raises(SearchSpaceError, match=reason):
        space.check(configuration)
    with pytest.raises(SearchSpaceError, match=reason):
        space.encode(configuration)


def test_coordinates_are_of_all_axes_and_zero_where_inactive() -> None:
    space = SearchSpace({"model": MODEL, "layers": [[1], [2]], "n": 5})

    assert space.width == 3 + 1 + 1 + 2
    assert space.encode({"model": "mean", "layers": [2], "n": 5}) == (0, 0, 1, 0, 0, 0, 1)
    assert space.decode((0.2, 0.9, 0.1, 0.5, 0.99, 1, 0)) == {
        "model": "forest",
        "depth": 3,
        "layers": [1],
        "n": 5,
    }
    with pytest.raises(SearchSpaceError, match="expected 7 coordinates, as encode gives, not 2"):
        space.decode([0.5, 0.5])


def test_a_function_may_choose_for_each_active_axis() -> None:
    space = SearchSpace([{"model": MODEL}, {"b": [1, 2]}])
    asked: list[str] = []

    def choose(axis: Any) -> Any:
        asked.append(axis.address)
        return axis.distribution.quantile(0.0)

    assert space.build(choose) == {"model": "svm", "C": 0.1}
    assert asked == ["*", "*=0/model", "*=0/model=svm/C"]
    assert set(asked) <= {axis.address for axis in space.axes}


def test_spaces_of_equal_parameters_are_equal_and_shown() -> None:
    space = SearchSpace({"a": {"b": [1, 2]}})

    assert space == SearchSpace({"a.b": Categorical([1, 2])}) != SearchSpace({"a.b": [1.0, 2.0]})
    assert repr(space) == "SearchSpace({'a.b': Categorical(choices=(1, 2))})"
    assert len({space, SearchSpace({"a": {"b": [1, 2]}})}) == 1


# -- what is refused --


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "expected one parameter or more"),
        ([], "expected a mapping of names"),
        ({"a": [Int(1, 2), 5]}, "a: a list has values, no distributions; to choose one use Branch"),
        ("a", "expected a mapping of names"),
        ([{"a": 1}, 3], "block 2: expected a mapping of names to distributions, not 3"),
        ([{"a": 1}, {"b": []}], "block 2: b: choices must have one value or more"),
        ({"a": []}, "a: choices must have one value or more; the list is empty"),
        ({"a": {}}, r"a: the group is empty; for an empty mapping write \[\{\}\]"),
        ({"a": {"b": {1, 2}}}, r"a\.b: a value must be plain data"),
        ({1: 2}, "a name must be text, not 1"),
        ({"": 2}, "Parameter name must be a printable text"),
        ({"a\n": 2}, "Parameter name must be a printable text"),
        ({"id": 2}, "id: the name is reserved"),
        ({"run": [1]}, "run: the name is reserved, .*; rename it, such as run_"),
        ({"repeat": 2}, "repeat: the name is reserved"),
        ({"*": 2}, "reserved"),
        ({"m": Branch({"a": {"id": 1}})}, "id: the name is reserved"),
        ({"a": {"b": 1}, "a.b": 2}, r"a\.b: the name is given twice"),
        ({"a": 1, "a.b": 2}, r"a\.b: a is a parameter, and cannot be a group too"),
        ({"a.b": 1, "a": 2}, r"a\.b: a is a parameter, and cannot be a group too"),
        ({"m": Branch({"a": {"x": 1}}), "x": 2}, "x: the name is given twice"),
        ({"m": Branch({"a": {"m": 1}})}, "m: the name is given twice"),
        ({"m": Branch({"a": {"x": 1}}), "n": Branch({"b": {"x": 1}})}, "x: the name is given"),
        ({"m": Branch({"a": {"m.x": 1}})}, r"m\.x: m is a parameter"),
    ],
)
def test_a_wrong_space_is_refused_with_the_name(parameters: Any, message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        SearchSpace(parameters)


def test_reserved_names_may_be_parts_of_names() -> None:
    assert SearchSpace({"model": {"id": 1, "run": 2}}).names == ("model.id", "model.run")


def test_many_parameters_are_no_trouble() -> None:
    space = SearchSpace({f"p{i}": Linspace(0, 1, 2) if i < 2 else 0 for i in range(3000)})

    assert len(list(space.grid())) == space.size == 4
    assert space.sample(seeded()) in space
    assert isinstance(space.get("p0"), Distribution)
