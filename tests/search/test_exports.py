"""Ids, names and files of configurations."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskperiment import Experiment, SearchSpaceError
from daskperiment.fingerprint import digest
from daskperiment.search import (
    Branch,
    Float,
    SearchSpace,
    configuration_id,
    configuration_names,
    read_configuration,
    read_csv,
    write_configurations,
    write_csv,
)

MIXED: list[dict[str, Any]] = [
    {"a": 1, "model.lr": 0.1, "b": "text"},
    {"a": 1.0, "model.lr": 1e-300, "b": ""},
    {"a": True, "b": "1", "c": [1, [2.0, "x"], {}]},
    {"a": None, "b": "True", "c": {"x": [None]}},
    {"a": -0.0, "b": " padded ", "c": "a,b\n\"c'"},
    {"a": 2**62, "b": "null", "c": "nan"},
    {"a": "[1, 2]", "b": "1e3", "c": "é🙂\x00\x7f\r"},
    {"a": "'quoted'", "b": '"quoted"', "c": "1_000"},
    {"a": "1+2j", "b": "b'x'", "c": "(1, 2)"},
]


def typed(value: Any) -> str:
    return repr(value)  # equal for equal values of equal types, -0.0 included


# -- ids --


def test_an_id_is_that_of_the_values_and_not_of_the_order() -> None:
    assert configuration_id({"a": 1, "b": [1]}) == configuration_id({"b": [1], "a": 1})
    assert len({configuration_id(one) for one in MIXED}) == len(MIXED)
    assert len({configuration_id({"a": value}) for value in (1, 1.0, True, "1", [1])}) == 5


def test_an_id_stays_what_it_is() -> None:
    assert configuration_id({"rate": 0.1, "layers": [64, 64], "loss": None}) == "50635929e2ae"


def test_an_id_is_the_same_in_every_process() -> None:
    script = "from daskperiment.search import *; print(configuration_id({'b': 'x', 'a': [1.5]}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == configuration_id({"a": [1.5], "b": "x"})


def test_an_id_is_the_beginning_of_the_digest_that_history_keeps() -> None:
    one = {"rate": 0.1, "layers": [64, 64]}

    assert digest(one).split(":")[1].startswith(configuration_id(one))


# -- names --


def test_names_are_made_of_the_keys_that_differ() -> None:
    space = SearchSpace({"rate": [0.1, 0.2], "loss": "l1", "layers": [[32], [64, 64]]})

    names = configuration_names(space.grid())
    assert names == [
        "rate=0.1,layers=_32_",
        "rate=0.1,layers=_64,64_",
        "rate=0.2,layers=_32_",
        "rate=0.2,layers=_64,64_",
    ]


def test_names_leave_out_what_is_not_active() -> None:
    space = SearchSpace({"m": Branch({"svm": {"C": [1, 2]}, "mean": {}})})

    assert configuration_names(space.grid()) == ["m=svm,C=1", "m=svm,C=2", "m=mean"]


def test_names_of_many_repeats_are_numbered_in_turn() -> None:
    given = [{"a": "x"}] * 3 + [{"a": "x-2"}]

    assert configuration_names(given) == ["a=x", "a=x-2", "a=x-3", "a=x-2-2"]


def test_repeats_are_numbered_and_one_configuration_has_its_id() -> None:
    space = SearchSpace({"a": [1, 2]})
    only = {"a": 1}

    assert configuration_names(space.grid(repeats=2)) == ["a=1", "a=1-2", "a=2", "a=2-2"]
    assert configuration_names([only]) == [configuration_id(only)]
    assert configuration_names([]) == []


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a", "A", "b", ".c", "-d", "../e", "f" * 200]),
            st.one_of(st.text(max_size=3), st.text(min_size=150, max_size=160), st.integers(0, 2)),
            max_size=3,
        ),
        max_size=6,
    )
)
def test_names_are_unique_short_and_safe_for_files(configurations: list[dict[str, Any]]) -> None:
    configurations = [{k: v for k, v in one.items() if encodable(v)} for one in configurations]
    names = configuration_names(configurations)

    assert len({name.casefold() for name in names}) == len(configurations)
    for name in names:
        assert 0 < len(name) <= 125
        assert name.isascii() and not set(name) & set('/\\:*?"<>| ')
        assert name[0] not in ".-" and name[-1] != "."


def encodable(value: Any) -> bool:
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


# -- tables --


def test_a_table_reads_back_with_types() -> None:
    write_csv("configurations.csv", MIXED)

    back = read_csv("configurations.csv")
    assert list(map(typed, back)) == list(map(typed, MIXED))


def test_a_table_is_what_runs() -> None:
    space = SearchSpace.from_document({"rate": {"type": "random", "n": 3}, "depth": [1, 2]})
    write_csv("configurations.csv", space.grid(repeats=2))
    ex = Experiment("table", backend="memory://")
    rate, depth = ex.parameter("rate"), ex.parameter("depth")

    @ex.result
    def run(rate: float, depth: int) -> float:
        return rate * depth

    trials = ex.map(run(rate, depth), space.grid(repeats=2), max_workers=1)
    assert [dict(trial.parameters) for trial in trials] == read_csv("configurations.csv")


def test_a_table_has_ids_and_counts_equal_configurations() -> None:
    write_csv("table.csv", SearchSpace({"a": ["x", "y"], "b.c": 1.5}).grid(repeats=2))

    rows = list(csv.reader(Path("table.csv").read_text().splitlines()))
    assert rows[0] == ["id", "run", "a", "b.c"]
    assert [row[1:] for row in rows[1:]] == [
        ["1", "x", "1.5"],
        ["2", "x", "1.5"],
        ["1", "y", "1.5"],
        ["2", "y", "1.5"],
    ]
    assert rows[1][0] == rows[2][0] == configuration_id({"a": "x", "b.c": 1.5})


def test_a_table_of_a_spreadsheet_is_read() -> None:
    Path("table.csv").write_text("\ufeffa,b\r\n1,two words\r\nTrue,\r\n\r\n", encoding="utf-8")

    assert read_csv("table.csv") == [{"a": 1, "b": "two words"}, {"a": True}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1\n", r"table\.csv: line 2: expected 2 cells, as line 1 has, not 1"),
        ("a,b\n1,2\n1,2,3\n", r"table\.csv: line 3: expected 2 cells"),
        ("a,b\n1,1+2j\n", r"table\.csv: line 2: b: a value must be plain data"),
        ("a,a\n1,2\n", r"table\.csv: a column stands twice"),
        (",a\n0,2\n", r"table\.csv: a column of line 1 has no name"),
        ("id;a\n0;2\n", r"table\.csv: columns are separated by commas, not as 'id;a'"),
    ],
)
def test_a_bad_table_names_the_line(text: str, message: str) -> None:
    Path("table.csv").write_text(text)

    with pytest.raises(SearchSpaceError, match=message):
        read_csv("table.csv")


def test_a_table_that_cannot_be_read_or_written_is_refused() -> None:
    with pytest.raises(SearchSpaceError, match=r"none\.csv cannot be read: No such file"):
        read_csv("none.csv")
    Path("table.csv").write_bytes(b"a\n\xff\n")
    with pytest.raises(SearchSpaceError, match=r"table\.csv cannot be read as CSV"):
        read_csv("table.csv")
    with pytest.raises(SearchSpaceError, match=r"none.table\.csv cannot be written: No such file"):
        write_csv("none/table.csv", [{"a": 1}])
    with pytest.raises(SearchSpaceError, match=r"none.a\.toml cannot be written: No such file"):
        SearchSpace({"a": 1}).write("none/a.toml")
    with pytest.raises(SearchSpaceError, match="id: the table has a column of this name"):
        write_csv("table.csv", [{"id": 1}])


# -- one file each --


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_each_configuration_is_a_file_that_reads_back_with_types(suffix: str) -> None:
    given = [one for one in MIXED if suffix == ".json" or "null" not in json.dumps(one)]
    given = [one for one in given if suffix == ".json" or one["a"] is not None]
    paths = write_configurations("out/configs", given, prefix="try_", suffix=suffix)

    assert {path.parent.as_posix() for path in paths} == {"out/configs"}
    assert all(path.name.startswith("try_") and path.suffix == suffix for path in paths)
    assert sorted(Path("out/configs").iterdir()) == sorted(paths)
    back = map(read_configuration, paths)
    assert sorted(map(typed, map(ordered, back))) == sorted(map(typed, map(ordered, given)))


def ordered(one: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(one.items())


def test_a_file_of_a_configuration_sets_the_parameters_of_an_experiment() -> None:
    (path,) = write_configurations(".", [{"model.lr": 0.5, "n": 3}], suffix=".toml")
    ex = Experiment("one_file", backend="memory://")
    ex.parameter("model.lr")
    ex.parameter("n")
    ex.load_parameters(path)

    assert ex.get_parameters() == {"model.lr": 0.5, "n": 3}


def test_a_file_that_holds_no_configuration_is_named() -> None:
    Path("list.json").write_text("[1]")

    with pytest.raises(
        SearchSpaceError, match=r"list\.json: expected a mapping of names to values"
    ):
        read_configuration("list.json")


def test_samples_are_exported_as_any_configurations() -> None:
    space, rng = SearchSpace({"rate": Float(0, 1), "x": np.float64(0.1)}), np.random.default_rng(0)
    samples = [space.sample(rng) for _ in range(20)]
    write_csv("samples.csv", samples)

    assert read_csv("samples.csv") == samples
