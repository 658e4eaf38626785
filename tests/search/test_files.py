"""Files of search spaces: of this package, EXP, smallab and Labs; what is written and refused."""

from __future__ import annotations

import json
import math
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
    Logspace,
    Normal,
    Poisson,
    SearchSpace,
)
from tests.search.test_distributions import ALL


def write(name: str, content: Any) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    Path(name).write_text(textwrap.dedent(text), encoding="utf-8")
    return name


def read(name: str, content: Any, **options: Any) -> SearchSpace:
    return SearchSpace.read(write(name, content), **options)


# -- our own --

EVERYTHING = SearchSpace(
    {
        **{f"p{i}": one for i, one in enumerate(ALL) if not isinstance(one, (Branch, Categorical))},
        "strange \"name'": ["é\n\t\x7f\\", "", "🙂", 1e-300, -0.0, 2**62],
        "model": {
            "kind": Branch(
                {"svm": {"C": Float(0, 1), "kernel": Branch({"rbf": {"g": [1, 2]}})}, "a b.c": {}}
            )
        },
        "value": Constant({"type": "text", "x": [{"y": []}, {}]}),
        "tables": [{"a": 1}, {}],
    }
)


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_written_space_reads_back_equal_in_the_same_order(suffix: str) -> None:
    for space in (EVERYTHING, SearchSpace([{"a": [1, 2], "m": Branch({"x": {}})}, {"b.c": True}])):
        space.write(f"space{suffix}")
        back = SearchSpace.read(f"space{suffix}")

        assert back == space
        assert back.axes == space.axes
        assert back.sample(np.random.default_rng(1)) == space.sample(np.random.default_rng(1))


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_names_that_mean_something_in_files_are_names_as_any(suffix: str) -> None:
    for name in ("type", "blocks", "experiments", "tune_config", "search_vals", "value"):
        for space in (SearchSpace({name: [1, 2]}), SearchSpace({"m": Branch({name: {name: 1}})})):
            space.write(f"space{suffix}")

            assert SearchSpace.read(f"space{suffix}") == space


def test_none_is_written_to_json_and_refused_in_toml() -> None:
    space = SearchSpace({"depth": [None, 3]})
    space.write("space.json")

    assert SearchSpace.read("space.json") == space
    with pytest.raises(
        SearchSpaceError, match=r"space\.toml: depth\.choices: TOML has no None; .*\.json"
    ):
        space.write("space.toml")
    assert not Path("space.toml").exists()


def test_documents_are_plain_data() -> None:
    document = EVERYTHING.document()

    assert SearchSpace.from_document(json.loads(json.dumps(document))) == EVERYTHING


def test_own_files_are_easily_written_by_hand() -> None:
    space = read(
        "space.toml",
        """
        epochs = 10
        layers = [[32], [64, 64]]

        [model.lr]
        type = "Float"
        low = 1e-4
        high = 1
        log = true

        [model.kind]
        type = "branch"
        branches.svm.C = {type = "int", low = 1, high = 3}
        branches.mean = {}
        """,
    )

    assert space == SearchSpace(
        {
            "epochs": 10,
            "layers": [[32], [64, 64]],
            "model": {
                "lr": Float(1e-4, 1, log=True),
                "kind": Branch({"svm": {"C": Int(1, 3)}, "mean": {}}),
            },
        }
    )


def test_yaml_is_read_as_well() -> None:
    space = read("space.yaml", "rate: {type: float, low: 0, high: 1}\nn: [1, 2]\n")

    assert space == SearchSpace({"rate": Float(0, 1), "n": [1, 2]})


# -- EXP --


def test_the_four_types_of_exp_are_read() -> None:
    space = read(
        "params.toml",
        """
        [seed]
        type = "value"
        value = 42
        [units]
        type = "list"
        value = [32, 64, 32]
        [momentum]
        type = "range"
        bounds = [0, 1]
        step = 0.25
        [depth]
        type = "range"
        bounds = [1, 10]
        step = 3
        dtype = "int"
        [rate]
        type = "random"
        bounds = [1e-4, 0.1]
        prior = "log-uniform"
        n = 3
        """,
    )

    assert space.get("seed") == Constant(42)
    assert space.get("units") == Categorical([32, 64])
    assert list(space.get("momentum").values()) == np.arange(0, 1, 0.25).tolist()
    assert list(space.get("depth").values()) == [1, 4, 7]
    assert space.get("rate", Draws).distribution == Float(1e-4, 0.1, log=True)
    assert space.size == 1 * 2 * 4 * 3 * 3


@pytest.mark.parametrize(
    ("low", "high", "step"),
    [
        (0, 1, 0.1),
        (0, 1, 0.3),
        (-1, 1, 0.5),
        (0.1, 0.7, 0.2),
        (0, 1, 1 / 3),
        (0.1, 7, 0.7),
        (0, 5, 9),
    ],
)
def test_a_range_of_exp_excludes_its_end(low: float, high: float, step: float) -> None:
    entry = {"type": "range", "bounds": [low, high], "step": step}
    values = list(read("a.json", {"a": entry}).get("a").values())

    assert values == pytest.approx(np.arange(low, high - 1e-9, step).tolist())
    assert high not in values


def test_random_values_of_exp_are_drawn_once_from_a_seed() -> None:
    entry = {"type": "random", "n": 4}
    space = read("a.json", {"a": entry, "b": entry})

    assert list(space.grid()) == list(space.grid()) == list(SearchSpace.read("a.json").grid())
    assert set(space.get("a").values()).isdisjoint(space.get("b").values())
    assert SearchSpace.read("a.json", seed=1) != space
    space.write("b.toml")
    assert list(SearchSpace.read("b.toml").grid()) == list(space.grid())


def test_what_is_random_in_exp_stays_so_for_samplers() -> None:
    space = read("a.json", {"a": {"type": "random", "bounds": [0, 5], "dtype": "int"}})

    assert space.domain("a") == {"kind": "int", "low": 0, "high": 5, "log": False, "step": 1}
    assert len({space.sample(np.random.default_rng(i))["a"] for i in range(50)}) == 6


def test_words_of_exp_are_read_whatever_their_case() -> None:
    lower = {"type": "random", "bounds": [1, 9], "prior": "log-uniform", "dtype": "int", "n": 2}
    upper = {"TYPE": "RANDOM", "Bounds": [1, 9], "prior": "Log-Uniform", "dtype": "INT", "N": 2}

    assert read("a.json", {"a": upper}) == read("a.json", {"a": lower})
    assert read("a.json", {"a": {"type": "RANGE", "bounds": [0, 2]}}).size == 2


def test_a_dtype_of_exp_tells_what_numbers_are() -> None:
    space = read(
        "a.json",
        {
            "a": {"type": "value", "value": 1, "dtype": "float"},
            "b": {"type": "list", "value": [1, 2.0], "dtype": "int"},
            "c": {"type": "list", "value": [1, 2.0], "dtype": "Categorical"},
        },
    )

    assert space == SearchSpace({"a": 1.0, "b": [1, 2], "c": [1, 2.0]})


# -- smallab --


def test_a_cross_product_of_smallab_expands_lists_and_keeps_the_rest() -> None:
    space = read("a.json", {"a": [1, 2], "b": "x", "c": [[1, 2]], "d": [True, None]})

    assert list(space.grid()) == [
        {"a": 1, "b": "x", "c": [1, 2], "d": True},
        {"a": 1, "b": "x", "c": [1, 2], "d": None},
        {"a": 2, "b": "x", "c": [1, 2], "d": True},
        {"a": 2, "b": "x", "c": [1, 2], "d": None},
    ]


def test_a_list_of_blocks_of_smallab_is_all_of_them() -> None:
    space = read("a.json", [{"a": [1, 2], "b": [1, 2]}, {"a": 2, "b": [2, 3], "c": 0}])

    assert space.size == 4 + 2
    assert list(space.grid())[-1] == {"a": 2, "b": 3, "c": 0}


def test_a_mapping_is_a_group_and_in_a_list_a_value() -> None:
    space = read("a.json", {"net": {"depth": [1, 2]}, "data": [{"depth": [1, 2]}]})

    assert list(space.grid()) == [
        {"net.depth": 1, "data": {"depth": [1, 2]}},
        {"net.depth": 2, "data": {"depth": [1, 2]}},
    ]


# -- Labs --


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"type": "static", "search_vals": [1, 2]}, Constant([1, 2])),
        ({"type": "list", "search_vals": [1, 2]}, Categorical([1, 2])),
        ({"type": "categorical", "search_vals": ["a"]}, Categorical(["a"])),
        ({"type": "linear-space", "search_vals": [0, 1], "count": 5}, Linspace(0, 1, 5)),
        (
            {"type": "linear-space-int", "search_vals": [0, 9], "count": 4},
            Linspace(0, 9, 4, integer=True),
        ),
        ({"type": "log-space", "search_vals": [-3, 0], "count": 4}, Logspace(-3, 0, 4)),
        (
            {"type": "log-space-int", "search_vals": [0, 2], "count": 3},
            Logspace(0, 2, 3, integer=True),
        ),
        ({"type": "uniform", "search_vals": [10, 12]}, Float(10, 12)),
        ({"type": "log-uniform", "search_vals": [0.1, 10]}, Float(0.1, 10, log=True)),
        ({"type": "int-uniform", "search_vals": [1, 5]}, Int(1, 4)),
        ({"type": "int-uniform", "search_vals": [1, 2]}, Constant(1)),
        ({"type": "normal", "search_vals": [10, 2]}, Normal(10, 2)),
        ({"type": "exp", "search_vals": [5]}, Exponential(0.2)),
        ({"type": "poisson", "search_vals": [3]}, Poisson(3)),
        ({"type": "Integer", "search_vals": [1, 5]}, Int(1, 5)),
        ({"type": "real", "search_vals": [1, 5]}, Float(1, 5)),
    ],
    ids=lambda one: one["type"] if isinstance(one, dict) else "",
)
def test_entries_of_labs_mean_what_their_names_say(
    entry: dict[str, Any], expected: Distribution
) -> None:
    assert read("a.json", {"a": entry}).get("a") == expected


LABS = {
    "experiments": [
        {
            "experiment_name": "grid",
            "tune_config": {
                "type": "grid-search",
                "space": {"lr": {"type": "log-space", "search_vals": [-2, 0], "count": 3}},
            },
        },
        {
            "experiment_name": "ready",
            "tune_config": {"type": "list", "space": [{"a": [1, 2]}, {"a": {"b": 1}}]},
        },
    ]
}


def test_an_experiment_of_a_lab_is_read_by_its_name() -> None:
    assert read("lab.json", LABS, experiment="grid").size == 3
    assert read("lab.json", LABS["experiments"][0]).names == ("lr",)
    assert read("lab.json", {"experiments": LABS["experiments"][:1]}).size == 3


def test_ready_combinations_of_labs_are_run_as_they_are() -> None:
    space = read("lab.json", LABS, experiment="ready")

    assert list(space.grid()) == [{"a": [1, 2]}, {"a": {"b": 1}}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"lab\.json: the file has several experiments: say which by experiment=, grid, ready"),
        ({"experiment": "grit"}, r"lab\.json: there is no experiment 'grit': did you mean 'grid'"),
    ],
)
def test_which_experiment_of_a_lab_has_to_be_known(options: Any, message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        read("lab.json", LABS, **options)


# -- what is refused --


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "flaot", "low": 0}, r"unknown type 'flaot': did you mean 'float'\?"),
        ({"type": "adam"}, "for a parameter called type give its values in a list"),
        ({"type": "float", "lo": 0, "high": 1}, r"unknown key 'lo': did you mean 'low'\?"),
        ({"type": "float", "low": 0}, "the key 'high' is missing, type 'float' needs it"),
        ({"type": "float", "low": 2, "high": 1}, r"high must be above low=2\.0, not 1\.0"),
        ({"type": "float", "low": "0", "high": 1}, "low must be a number, not '0'"),
        ({"type": "categorical", "choices": []}, "the list is empty"),
        ({"type": "categorical", "choices": 3}, "choices must be a list, not 3"),
        ({"type": "value"}, "the key 'value' is missing"),
        ({"type": "list", "value": []}, "value: choices must have one value or more"),
        ({"type": "list", "value": [1, "x"], "dtype": "int"}, "value must be a number, not 'x'"),
        ({"type": "range", "step": 1}, "the key 'bounds' is missing, type 'range' needs it"),
        ({"type": "range", "bounds": 3}, "bounds must be a list of 2 numbers, not 3"),
        ({"type": "range", "bounds": [1]}, r"bounds must be a list of 2 numbers, not \[1\]"),
        (
            {"type": "range", "bounds": [1, 0]},
            r"bounds must be \[low, high\] with low below high, not \[1, 0\]",
        ),
        (
            {"type": "range", "bounds": ["0", 1]},
            r"bounds must be a list of 2 numbers, not \['0', 1",
        ),
        ({"bounds": [0, 1], "step": 0.1}, "the key 'type' is missing, such as 'range'"),
        ({"LOW": 0, "high": 1}, "the key 'type' is missing, such as 'float'"),
        ({"search_vals": [0, 1]}, "the key 'type' is missing, such as 'uniform'"),
        ({"type": "linspace", "start": 0, "stop": 1, "count": 10**9}, "count must be at most"),
        ({"type": "random", "n": 10**9}, "n must be at most"),
        ({"type": "range", "bounds": [0, 1], "step": 0}, r"step must be above 0, not 0\.0"),
        (
            {"type": "range", "bounds": [0, 1], "dtype": "ints"},
            r"dtype cannot be 'ints': did you m",
        ),
        ({"type": "range", "bounds": [0, 1.5], "dtype": "int"}, "bounds must be a whole number"),
        ({"type": "random", "prior": "log"}, r"prior cannot be 'log': .*log-uniform"),
        ({"type": "random", "prior": "log-uniform"}, "bounds: low must be above 0 where log"),
        ({"type": "random", "dtype": 3}, "dtype cannot be 3"),
        ({"type": "random", "n": 0}, "n must be 1 or more, not 0"),
        ({"type": "uniform"}, "the key 'search_vals' is missing, type 'uniform' needs it"),
        ({"type": "unifrom", "search_vals": [0, 1]}, r"'unifrom': did you mean 'uniform'\?"),
        ({"type": "linear-space", "search_vals": [0, 1]}, "the key 'count' is missing"),
        ({"type": "normal", "search_vals": [0]}, "search_vals: search_vals must be a list of 2"),
        ({"type": "exp", "search_vals": [0]}, "search_vals: lambda must be above 0"),
        (
            {"type": "int-uniform", "search_vals": [3, 3]},
            "search_vals: high, which is excluded, must be above low=3, not 3",
        ),
        ({"type": "float", "low": 0, "LOW": 1, "high": 2}, "a key stands twice, in other letters"),
        ({"type": "branch"}, "the key 'branches' is missing"),
        ({"type": "branch", "branches": [1]}, "branches must be a mapping of names to parameters"),
        (
            {"type": "branch", "branches": {"a": 3}},
            "branches.a: expected names with their distributions",
        ),
        (
            {"type": "branch", "branches": {"a": {"x": {"type": "flot"}}}},
            r"branches\.a: x: unknown type",
        ),
        ({"type": "draws", "distribution": 3, "drawn": [1]}, "distribution must be a mapping"),
    ],
    ids=lambda one: json.dumps(one) if isinstance(one, dict) else "",
)
def test_a_bad_entry_names_file_key_and_what_was_expected(
    entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(SearchSpaceError, match=rf"^space\.json: model\.a: .*{message}"):
        read("space.json", {"ok": 1, "model": {"a": entry}})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", r"a\.json cannot be read as JSON"),
        ("a.json", '{"a": 1, "a": 2}', r"a\.json cannot be read as JSON: the key 'a' stands twice"),
        ("a.json", "3", r"a\.json: expected names with their distributions, .* not 3"),
        ("a.json", "[]", r"a\.json: expected"),
        ("a.json", "[1]", r"a\.json: block 1: expected names"),
        ("a.json", '[{"a": 1}, 5]', r"a\.json: block 2: expected names .* not 5"),
        ("a.json", '{"a": NaN}', r"a\.json: a: a value must be a finite number, not nan"),
        ("a.json", "{}", r"a\.json: expected one parameter or more"),
        ("a.json", '{"id": [1]}', r"a\.json: id: the name is reserved"),
        ("a.json", '[{"a": 1}, {"a": {"type": "x"}}]', r"a\.json: block 2: a: unknown type 'x'"),
        (
            "a.json",
            '{"experiments": [{"tune_config": {}}]}',
            r"tune_config: the key 'space' is missing",
        ),
        ("a.json", '{"tune_config": {"type": "grid", "space": {}}}', r"did you mean 'grid-search'"),
        ("a.json", '{"tune_config": {"type": "list", "space": {}}}', "must be a list of mappings"),
        ("a.toml", "a = [", r"a\.toml cannot be read as TOML"),
        ("a.toml", "d = 2020-01-01", r"a\.toml: d: a value must be plain data"),
        ("a.py", "a = 1", r"a\.py: expected a file \.toml, \.json"),
        ("a.csv", "a\n1", r"a\.csv: expected a file \.toml, \.json"),
    ],
)
def test_a_bad_file_is_named(name: str, content: str, message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        read(name, content)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SearchSpaceError, match=r"none\.toml cannot be read: No such file"):
        SearchSpace.read("none.toml")


def test_an_experiment_is_asked_of_labs_alone() -> None:
    with pytest.raises(SearchSpaceError, match="no experiments in it"):
        read("a.json", {"a": 1}, experiment="x")


def test_a_group_may_have_the_names_of_arguments() -> None:
    space = read("a.json", {"a": {"low": [0, 1], "high": 5}, "b": {"value": 3, "bounds": 2}})

    assert space.names == ("a.low", "a.high", "b.value", "b.bounds")


@pytest.mark.parametrize("seed", [-1, "x", 0.5])
def test_a_seed_is_a_whole_number_from_0_on(seed: Any) -> None:
    with pytest.raises(SearchSpaceError, match=r"a\.json: seed must be"):
        read("a.json", {"a": {"type": "random"}}, seed=seed)


def test_spaces_are_written_to_toml_and_json_alone() -> None:
    with pytest.raises(SearchSpaceError, match=r"a\.txt: expected a file \.toml or \.json"):
        SearchSpace({"a": 1}).write("a.txt")


def test_an_infinite_space_is_written_as_well() -> None:
    assert EVERYTHING.size == math.inf
