"""Parameters from files: how they are read, merged, converted, refused and kept."""

from __future__ import annotations

import copy
import json
import math
import pickle
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daskperiment import (
    Experiment,
    MutationWarning,
    Namespace,
    ParameterError,
    ParameterFileError,
    ParameterUndeclaredError,
)
from daskperiment.configuration import Configuration, merge
from daskperiment.configuration import read as read_sources
from daskperiment.fingerprint.values import digest
from daskperiment.serializers import from_json, preview, to_json
from tests.stores import cells


@pytest.fixture
def ex() -> Experiment:
    return Experiment("example", backend="memory://")


def write(name: str, text: str) -> str:
    Path(name).write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return name


def read(name: str, text: str, **options: Any) -> dict[str, Any]:
    """What a file of this text holds."""
    return Configuration().then(read_sources([write(name, text)], **options), {}).resolved


BASE = """
    epochs = 5
    [model]
    lr = 0.01
    layers = [32, 32]
    [model.optimizer]
    name = "adam"
"""
SMALL = """
    model:
      layers: [8]
      optimizer: {momentum: 9e-1}
"""
RESOLVED = {
    "epochs": 5,
    "model": {"lr": 0.1, "layers": [8], "optimizer": {"name": "adam", "momentum": 0.9}},
}


def load_both(ex: Experiment) -> None:
    ex.load_parameters(
        write("base.toml", BASE), write("small.yaml", SMALL), overrides={"model.lr": 0.1}
    )


# -- merging and names --


def test_later_files_win_mappings_are_merged_lists_replaced_and_overrides_are_last(
    ex: Experiment,
) -> None:
    ex.parameter("epochs")
    ex.parameter("model")

    load_both(ex)

    assert ex.get_parameters() == RESOLVED


def test_dotted_parameters_take_their_part_of_the_mapping(ex: Experiment) -> None:
    for name in ("epochs", "model.lr", "model.layers", "model.optimizer"):
        ex.parameter(name)

    load_both(ex)

    assert ex.get_parameters() == {
        "epochs": 5,
        "model.lr": 0.1,
        "model.layers": [8],
        "model.optimizer": {"name": "adam", "momentum": 0.9},
    }


@pytest.mark.parametrize(
    "values",
    [
        {"model": {"opt": {"lr": 3}}},
        {"model.opt": {"lr": 3}},
        {"model": {"opt.lr": 3}},
        {"model.opt.lr": 3},
    ],
)
def test_nested_and_dotted_names_are_the_same(ex: Experiment, values: dict[str, Any]) -> None:
    ex.parameter("model.opt.lr", default=1)
    ex.parameter("model.depth", default=2)

    ex.set_parameters(**values)
    assert ex.get_parameters() == {"model.opt.lr": 3, "model.depth": 2}
    ex.reset_parameters()
    ex.load_parameters(values)
    assert ex.get_parameters() == {"model.opt.lr": 3, "model.depth": 2}


def test_a_nested_value_may_be_bound_for_one_trial(ex: Experiment) -> None:
    s = ex.result(lambda lr: lr, name="same")(ex.parameter("model.lr", default=1))

    assert s.compute(parameters={"model": {"lr": 5}}) == 5
    assert ex.latest.parameters == {"model.lr": 5}
    assert ex.get_history(where="model.lr > 4")["model.lr"].tolist() == [5]


@pytest.mark.parametrize(("first", "second"), [("m", "m.lr"), ("m.lr", "m"), ("a.b.c", "a.b")])
def test_a_mapping_and_a_part_of_it_are_not_both_parameters(
    ex: Experiment, first: str, second: str
) -> None:
    ex.parameter(first)
    ex.parameter("mm")

    with pytest.raises(ParameterError, match="declare only one of them"):
        ex.parameter(second)
    assert set(ex.get_parameters()) == {first, "mm"}


def test_one_value_is_not_given_twice(ex: Experiment) -> None:
    ex.parameter("m.lr")

    with pytest.raises(ParameterError, match=r"'m.lr' is given twice"):
        ex.set_parameters(**{"m": {"lr": 1}, "m.lr": 2})
    with pytest.raises(ParameterFileError, match=r"a.json: 'm.lr' is given twice"):
        ex.load_parameters(write("a.json", '{"m": {"lr": 1}, "m.lr": 2}'))
    assert "Undefined" in repr(ex.get_parameters())


def test_loading_one_after_the_other_is_loading_both_and_leaves_what_was_set_between(
    ex: Experiment,
) -> None:
    for name in ("model", "epochs", "rate"):
        ex.parameter(name)

    ex.load_parameters(write("base.toml", BASE), {"rate": 1})
    ex.set_parameters(rate=2)
    ex.load_parameters(write("small.yaml", SMALL), overrides={"model.lr": 0.1})

    assert ex.get_parameters() == {**RESOLVED, "rate": 2}


# -- all or nothing, and where it went wrong --


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[modle]\nlr = 1",
            r"a.toml: Parameter is not declared: modle.lr; did you mean 'model.lr'",
        ),
        ("[model]\nrate = 1", r"a.toml: Parameter is not declared: model.rate"),
        ("epoch = 1", r"a.toml: Parameter is not declared: epoch; did you mean 'epochs'"),
        ("[model]\nlr = 'x'", r"a.toml: Parameter 'model.lr' must be of type float: 'x' is"),
        ("epochs = 1.5", r"a.toml: Parameter 'epochs' must be of type int: 1.5 is"),
        ("model = 5", r"a.toml: Parameter is not declared: model; did you mean 'model.lr'"),
    ],
)
def test_what_does_not_fit_sets_nothing_and_names_the_file(
    ex: Experiment, text: str, message: str
) -> None:
    ex.parameter("model.lr", default=0.5, type=float)
    ex.parameter("epochs", default=3, type=int)
    good = write("good.json", '{"epochs": 7}')
    other = write("other.yaml", "model: {lr: 9}")

    with pytest.raises(ParameterError, match=f"^{message}"):
        ex.load_parameters(good, other, write("a.toml", text))
    assert ex.get_parameters() == {"model.lr": 0.5, "epochs": 3}


UNREADABLE: list[tuple[str, str, str]] = [
    ("a.toml", "a = 1\nb = = 2", r"a.toml cannot be read as TOML: .*line 2"),
    ("a.toml", "a = 1\na = 2\n", r"a.toml cannot be read as TOML: .*line 2"),
    ("a.json", '{"a": 1,\n "b": }', r"a.json cannot be read as JSON: .*line 2, column 7"),
    ("a.json", "[1]", r"a.json: expected a mapping of parameter names to values .* not list"),
    ("a.json", '{"a": 1,\n\n "a": 2}', r"the key 'a' stands twice in one object .*lines 1 and 3"),
    ("a.json", "[" * 5000, r"a.json cannot be read as JSON: .*deep"),
    ("a.json", '{"a": %s}' % ("9" * 5000), r"a.json cannot be read as JSON: .*digits"),
    ("a.yaml", "a: 1\nb: [1,", r"a.yaml cannot be read as YAML: .*line 2"),
    ("a.yaml", "a: 1\nb: 2\na: 3", r"the key 'a' stands twice in one mapping \(at line 3"),
    ("a.yaml", "a: !!python/object/apply:os.getpid []", r"a.yaml .*could not determine a constr"),
    ("a.yaml", "a: 1\n---\nb: 2", r"a.yaml .*another document \(at line 2"),
    ("a.yaml", "a: &x [*x]", r"a.yaml cannot be read as YAML: it holds itself"),
    ("a.yaml", "1: 2", r"a.yaml: expected a parameter's name, a text, not 1"),
    ("a.yaml", "text", r"a.yaml: expected a mapping .* not str"),
    ("a.yaml", "a: \x00", r"a.yaml cannot be read as YAML: "),
    ("a.py", "a = 1\nb = a / 0", r"a.py cannot be read as Python: ZeroDivisionError.*line 2"),
    ("a.py", "a = 1\nb = = 2", r"a.py cannot be read as Python: .*line 2"),
    ("a.ini", "a = 1", r"a.ini: expected a file with the suffix .toml, .json, .*, not '.ini'"),
]


@pytest.mark.parametrize(("name", "text", "message"), UNREADABLE)
def test_a_file_that_cannot_be_read_says_where(
    ex: Experiment, name: str, text: str, message: str
) -> None:
    ex.parameter("a", default=0)

    with pytest.raises(ParameterFileError, match=message) as caught:
        ex.load_parameters({"a": 1}, write(name, text), evaluate=True)
    assert str(caught.value).startswith(name)
    assert ex.get_parameters() == {"a": 0}


def test_a_file_that_is_missing_a_folder_or_not_text_is_named(ex: Experiment) -> None:
    Path("folder.toml").mkdir()
    Path("latin.yaml").write_bytes(b"a: 1\nb: \xe9")

    for name, reason in (("no.toml", "No such file"), ("folder.toml", "")):
        with pytest.raises(ParameterFileError, match=f"{name} cannot be read: {reason}"):
            ex.load_parameters(Path(name))
    with pytest.raises(ParameterFileError, match=r"latin.yaml is not UTF-8 text \(at line 2\)"):
        ex.load_parameters("latin.yaml")
    with pytest.raises(TypeError, match="a path or a mapping, not from 3"):
        ex.load_parameters(3)  # type: ignore[arg-type]


# -- formats --


def test_yaml_follows_version_1_2() -> None:
    text = """
        number: 1e3
        octal: [0o17, 010]
        words: [yes, no, on, off, y, n]
        time: [12:30:45, 2020-01-31, 1_000]
        truth: [true, False]
        nothing: [~, null, ]
        special: [.inf, -.INF]
        base: &base {x: 1, deep: {z: 0}}
        merged: {<<: *base, x: 2}
        again: {<<: {<<: *base, x: 3}, y: 4}
    """
    assert read("a.yaml", text) == {
        "number": 1000.0,
        "octal": [15, 10],
        "words": ["yes", "no", "on", "off", "y", "n"],
        "time": ["12:30:45", "2020-01-31", "1_000"],
        "truth": [True, False],
        "nothing": [None, None],
        "special": [math.inf, -math.inf],
        "base": {"x": 1, "deep": {"z": 0}},
        "merged": {"x": 2, "deep": {"z": 0}},
        "again": {"x": 3, "y": 4, "deep": {"z": 0}},
    }


@pytest.mark.parametrize("text", ["", "# nothing\n", "\ufeff# nothing\n"])
@pytest.mark.parametrize("name", ["a.yaml", "a.yml", "a.toml"])
def test_an_empty_file_sets_nothing(name: str, text: str) -> None:
    assert read(name, text) == {}


def test_no_number_and_infinity_are_read_from_every_format() -> None:
    files = {
        "a.toml": "a = nan\nb = -inf",
        "a.json": '{"a": NaN, "b": -Infinity}',
        "a.yaml": "a: .nan\nb: -.inf",
        "a.py": "a = float('nan')\nb = -float('inf')",
    }
    for name, text in files.items():
        values = read(name, text, evaluate=True)
        assert math.isnan(values["a"]), name
        assert values["b"] == -math.inf


def test_a_python_file_is_run_only_when_asked(ex: Experiment) -> None:
    a = ex.parameter("a")
    text = """
        from __future__ import annotations
        import math
        from typing import Optional
        from pathlib import Path

        _half = 0.5
        a = [math.floor(_half * 4), __name__]

        def helper(): ...
        class Helper: ...
        Path("was run").touch()
    """

    with pytest.raises(ParameterFileError, match=r"conf.py is a Python file.*evaluate=True"):
        ex.load_parameters(write("conf.py", text))
    assert not Path("was run").exists()
    ex.load_parameters("conf.py", evaluate=True)
    assert a.resolve() == [2, "conf"]


KEYS = st.text("abcxyz-_é", min_size=1, max_size=4)
LEAVES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\x85\u2028\u2029"), max_size=8),
)
TREES = st.dictionaries(
    KEYS,
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner)),
    max_size=4,
)


class Quoting(yaml.SafeDumper):
    """Quotes text, as that which version 1.1 takes for text may be a number in 1.2."""

    def represent_str(self, data: str) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"')


Quoting.add_representer(str, Quoting.represent_str)


def as_toml(value: Any) -> str:
    """A value in TOML's inline form."""
    if isinstance(value, dict):
        pairs = (f"{as_toml(k)} = {as_toml(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, str):
        inside = "".join(c if c.isalnum() else f"\\U{ord(c):08x}" for c in value)
        return f'"{inside}"'
    return json.dumps(value).replace("Infinity", "inf")


@given(TREES)
def test_every_format_gives_back_nested_mappings(tree: dict[str, Any]) -> None:
    toml = "\n".join(f"{as_toml(key)} = {as_toml(value)}" for key, value in tree.items())
    for name, text in {
        "a.toml": toml,
        "a.json": json.dumps(tree),
        "a.yaml": yaml.dump(tree, Dumper=Quoting, allow_unicode=True),
    }.items():
        assert read(name, text) == tree, name


@given(TREES, TREES)
def test_the_later_mapping_wins_and_nothing_else_is_lost(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    merged = merge(one, other)

    assert merge(one, {}) == one == merge({}, one) == merge(one, one)
    assert merge(merged, other) == merged
    assert set(merged) == {*one, *other}
    for key in merged:
        if isinstance(one.get(key), dict) and isinstance(other.get(key), dict):
            assert merged[key] == merge(one[key], other[key])
        else:
            assert merged[key] == (other if key in other else one)[key]


# -- conversion --


class Colour(Enum):
    RED = "r"
    BLUE = 2


@dataclass
class Optimizer:
    name: str
    lr: float = 0.1
    sizes: list[int] = field(default_factory=list)


CONVERTED: list[tuple[Any, Any, Any]] = [
    *((bool, word, True) for word in ("yes", "True", "T", "on", "Y", "1", 1)),
    *((bool, word, False) for word in ("no", "FALSE", "f", "Off", "n", "0", 0)),
    (int, "1e3", 1000),
    (int, "1_000", 1000),
    (int, 1000.0, 1000),
    (int, "2.0", 2),
    (int, "1e30", 10**30),
    (int, "1.5e1", 15),
    (float, "1_0.5", 10.5),
    (tuple, [1, "a"], (1, "a")),
    (tuple[int, ...], ["1", 2.0], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (list[int], ["1e3", 2.0], [1000, 2]),
    (set[int], [1, 2], {1, 2}),
    (frozenset, [1, 2], frozenset({1, 2})),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
    (dict[str, list[bool]], {"a": ["yes"]}, {"a": [True]}),
    (int | None, None, None),
    (int | None, "none", None),
    (int | None, "3", 3),
    (str | None, "null", "null"),
    (int | str, "5", "5"),
    (float | int, 5, 5),
    (Literal["a", 1], 1, 1),
    (Colour, "RED", Colour.RED),
    (Colour, "r", Colour.RED),
    (Colour, 2, Colour.BLUE),
    (Path, "data", Path("data")),
    (date, "2026-01-31", date(2026, 1, 31)),
    (Optimizer, {"name": "sgd", "sizes": ["2"]}, Optimizer("sgd", sizes=[2])),
    (list[Optimizer], [{"name": "a"}], [Optimizer("a")]),
    (Any, "x", "x"),
]


@pytest.mark.parametrize(("kind", "value", "used"), CONVERTED, ids=repr)
def test_the_declared_type_converts(ex: Experiment, kind: Any, value: Any, used: Any) -> None:
    a = ex.parameter("a", type=kind)

    ex.load_parameters({"a": value})

    assert (a.resolve(), type(a.resolve())) == (used, type(used))


REFUSED: list[tuple[Any, Any, str]] = [
    (bool, "maybe", "'a' must be of type bool: 'maybe'"),
    (int, "1.5", "'a' must be of type int: '1.5'"),
    (int, "1e999999999", "'a' must be of type int"),
    (int, "inf", "'a' must be of type int"),
    (int, True and "yes", "'a' must be of type int"),
    (list[int], [1, "x"], r"'a'\[1\] must be of type int: 'x' is of type str"),
    (list[int], "[1]", "'a' must be of type list"),
    (tuple[int, int], [1], "'a' must hold 2 values, not 1"),
    (dict[str, float], {"k": [1]}, r"'a'\['k'\] must be of type float"),
    (int | None, "x", r"'a' must be of type int \| None: 'x'"),
    (Literal["a", "b"], "c", "'a' must be one of 'a', 'b', not 'c'"),
    (Literal[1], True, "'a' must be one of 1, not True"),
    (Colour, "GREEN", "'a' must be one of RED, BLUE, not 'GREEN'"),
    (Optimizer, {"nam": "a"}, r"'a'\['nam'\] is no field of Optimizer: did you mean 'name'"),
    (Optimizer, {"name": "a", "lr": "x"}, r"'a'\['lr'\] must be of type float"),
    (Optimizer, {}, "'a' must be of type Optimizer"),
    (date, "soon", "'a' must be of type date"),
]


@pytest.mark.parametrize(("kind", "value", "message"), REFUSED, ids=repr)
def test_what_a_type_refuses_is_named(ex: Experiment, kind: Any, value: Any, message: str) -> None:
    a = ex.parameter("a", type=kind)

    with pytest.raises(ParameterError, match=message):
        ex.set_parameters(a=value)
    assert a.is_undefined


def split(text: str) -> list[str]:
    return text.split(",")


TEXTS: list[tuple[Any, str, Any]] = [
    (None, "1", 1),
    (None, "1e-3", 0.001),
    (None, "foo", "foo"),
    (None, "two words", "two words"),
    (None, "'1'", "1"),
    (None, "[1, 'a', None]", [1, "a", None]),
    (None, '{"a": true}', {"a": True}),
    (None, "true", True),
    (None, "null", None),
    (None, "-inf", -math.inf),
    (None, "C:\\new", "C:\\new"),
    (None, "", ""),
    (None, "[" * 500, "[" * 500),
    (str, "007", "007"),
    (str, "[1]", "[1]"),
    (bool, "yes", True),
    (int, "1e3", 1000),
    (Path, "5", Path("5")),
    (list[int], "[1, 2]", [1, 2]),
    (tuple, "(1, 2)", (1, 2)),
    (dict, "{'a': 1}", {"a": 1}),
    (int | str, "5", 5),
    (int | str, "007", "007"),
    (str | None, "None", None),
    (str | None, "5", "5"),
    (bool | None, "yes", True),
    (Colour, "2", Colour.BLUE),
    (Literal[1, "a"], "1", 1),
    (split, "1,2", ["1", "2"]),
]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    TEXTS,
    ids=lambda value: getattr(value, "__name__", None) or repr(value),
)
def test_a_text_stands_for_a_value(ex: Experiment, kind: Any, text: str, value: Any) -> None:
    ex.parameter("a", type=kind)

    found = ex._parameters.from_text("a", text)

    assert (found, type(found)) == (value, type(value))


def test_a_text_may_name_a_choice_or_the_default_none(ex: Experiment) -> None:
    ex.parameter("a", choices=["1", 2])
    ex.parameter("b", default=None, type=int)

    assert [ex._parameters.from_text("a", text) for text in "12"] == ["1", 2]
    assert ex._parameters.from_text("b", "None") is None
    with pytest.raises(ParameterError, match="'b' must be of type int: 'x'"):
        ex._parameters.from_text("b", "x")


# -- back to the defaults --


def test_parameters_are_reset_to_their_defaults(ex: Experiment) -> None:
    ex.parameter("a", default=1)
    ex.parameter("b")
    ex.set_parameters(a=2, b=3)

    with pytest.raises(ParameterUndeclaredError, match="c; declare it"):
        ex.reset_parameters("a", "c")
    ex.reset_parameters("a")
    assert ex.get_parameters() == {"a": 1, "b": 3}
    ex.reset_parameters()
    assert repr(ex.get_parameters()) == "{'a': 1, 'b': Undefined}"


# -- namespaces --


MODEL = {"lr": 0.1, "items": 3, "parts": [{"n": 1}], "pair": ({"n": 2},)}


def test_a_namespace_is_a_dict_with_attributes() -> None:
    model = Namespace(MODEL, new={"x": 1})

    assert (model.lr, model["items"], model.parts[0].n, model.pair[0].n) == (0.1, 3, 1, 2)
    assert list(model.items()) == [*MODEL.items(), ("new", {"x": 1})]
    model.depth = {"y": 2}
    model["width"] = {"y": 3}
    assert (model["depth"].y, model.width.y) == (2, 3)
    del model.depth
    assert "depth" not in model
    assert {"lr", "parts", "items", "keys"} <= set(dir(model))
    for other in (copy.copy(model), copy.deepcopy(model), model.copy(), model | {"z": {"w": 1}}):
        assert (type(other), other.lr, other.new.x) == (Namespace, 0.1, 1)
    assert (model | {"z": {"w": 1}}).z.w == 1
    assert type(pickle.loads(pickle.dumps(model)).new) is Namespace


def test_a_missing_attribute_suggests_the_nearest() -> None:
    model = Namespace(lr=1, optimizer=2)

    with pytest.raises(AttributeError, match="no 'optimiser' in this mapping; did you mean 'optim"):
        model.optimiser
    with pytest.raises(AttributeError, match="no 'zzz' in this mapping; it has lr, optimizer"):
        del model.zzz
    with pytest.raises(AttributeError, match=r"'items' is an attribute of every dict"):
        model.items = 3  # type: ignore[method-assign,assignment]


@given(TREES)
def test_a_namespace_is_recorded_as_the_plain_dict(tree: dict[str, Any]) -> None:
    space = Namespace(tree)

    assert space == tree and preview(space) == preview(tree) and repr(space) == repr(tree)
    assert digest(space) == digest(tree)
    assert to_json(space) == to_json(tree) and type(from_json(to_json(space))) is dict


def use_model(model: Any) -> Any:
    """What a step sees, and the mapping that it passes on."""
    return [model.lr, model["optimizer"].name, model.layers[0].n], model


@pytest.mark.cluster
def test_steps_see_attributes_on_every_scheduler(ex: Experiment, scheduler: Any) -> None:
    ex.parameter("model")
    value = {"lr": 0.1, "optimizer": {"name": "adam"}, "layers": [{"n": 8}]}
    ex.set_parameters(model=value)
    s = ex.result(use_model)(ex.parameter("model"))

    assert s.compute(scheduler=scheduler) == ([0.1, "adam", 8], value)
    assert ex.latest.parameters["model"].optimizer.name == "adam"
    assert ex.latest.parameters == {"model": value} and ex.latest.result[1] == value
    assert type(ex.latest.result[1]) is dict
    assert s.compute(scheduler=scheduler, parameters=ex.latest.parameters)[0] == [0.1, "adam", 8]


def test_attributes_are_there_before_and_beside_a_trial(ex: Experiment) -> None:
    import dask

    model = ex.parameter("model", default={"lr": 2})
    same = ex.result(lambda a: a, name="same")

    assert (model.lr * 2).compute() == 4
    assert dask.compute(same(model.lr + 1))[0] == 3
    assert ex.latest.parameters == {"model": {"lr": 2}}


def test_a_step_that_changes_its_mapping_does_not_change_the_next_trial(ex: Experiment) -> None:
    def grow(model: Any) -> int:
        model.n += 1
        return int(model.n)

    s = ex.result(grow)(ex.parameter("model", default={"n": 1}))

    with pytest.warns(MutationWarning, match="has changed its argument 'model' in place"):
        assert [s.compute(scheduler="synchronous") for _ in range(2)] == [2, 2]


def test_the_history_shows_a_mapping_in_its_column(ex: Experiment) -> None:
    s = ex.result(lambda m: m.lr, name="lr")(ex.parameter("m", default={"lr": 2}))
    s.compute()

    assert ex.get_history()["m"].tolist() == [{"lr": 2}]
    assert ex.get_history(verbose=True)["Result"].tolist() == [2]


# -- kept with the trials --


def count(ex: Experiment) -> Any:
    ex.parameter("epochs", default=1)
    ex.parameter("model", default=None)
    return ex.result(lambda epochs, model: epochs, name="count")(
        ex.parameter("epochs", default=1), ex.parameter("model", default=None)
    )


def test_a_trial_knows_the_files_that_it_was_configured_by(ex: Experiment) -> None:
    s = count(ex)
    s.compute()
    load_both(ex)
    s.compute()
    Path("base.toml").unlink()

    assert ex[1].configuration == {"resolved": {}, "files": {}}
    assert ex[2].configuration["resolved"] == RESOLVED
    assert ex[2].configuration["resolved"].model.optimizer.name == "adam"
    assert ex[2].configuration["files"] == {
        "base.toml": textwrap.dedent(BASE).lstrip("\n"),
        "small.yaml": Path("small.yaml").read_text(),
    }


def test_files_loaded_later_are_added_and_a_reset_forgets_them(ex: Experiment) -> None:
    s = count(ex)
    ex.load_parameters(write("a.toml", "epochs = 1"))
    ex.load_parameters(write("b.json", '{"model": {"x": 1}}'), {"epochs": 2})
    s.compute()
    ex.reset_parameters("model")
    s.compute()
    ex.reset_parameters()
    s.compute()

    for trial in (ex[1], ex[2]):
        assert trial.configuration["resolved"] == {"epochs": 2, "model": {"x": 1}}
        assert list(trial.configuration["files"]) == ["a.toml", "b.json"]
    assert ex[3].configuration["files"] == {}


def test_a_source_that_is_given_again_comes_last(ex: Experiment) -> None:
    s = count(ex)
    ex.parameter("epochs", type=int)
    write("b.toml", "epochs = 3")
    ex.load_parameters(write("a.toml", "epochs = 2"), overrides={"epochs": 4})
    with pytest.raises(ParameterError, match="^overrides: "):
        ex.load_parameters("b.toml", "a.toml", overrides={"epochs": "many"})
    ex.load_parameters("b.toml", "a.toml")
    s.compute()

    assert list(ex.latest.configuration["files"]) == ["b.toml", "a.toml"]


def test_equal_configurations_are_stored_once(ex: Experiment) -> None:
    s = count(ex)
    s.compute()
    before = len(list(ex.backend.find("snapshots")))
    for _ in range(3):
        load_both(ex)
        s.compute()
        ex.reset_parameters()

    assert len(list(ex.backend.find("snapshots"))) == before + 1


def test_the_configuration_travels_with_the_handle(ex: Experiment) -> None:
    count(ex)
    ex.load_parameters(write("a.toml", "epochs = 3\nmodel.password = 'hunter2'"))

    data = pickle.dumps(ex._parameters.configuration)

    assert b"hunter2" not in data
    assert pickle.loads(data).digest == ex._parameters.configuration.digest


SECRET = "-".join(["hunter2", "long"])  # not in this file, which is kept as code
SECRET_FILES: dict[str, Callable[[], str]] = {
    "a.toml": lambda: f'[model]\nuser = "me"\npassword = "{SECRET}"\n# was {SECRET} before',
    "a.json": lambda: json.dumps({"model": {"api_key": SECRET, "keys": {"token": [SECRET]}}}),
    "a.yaml": lambda: f"model:\n  credentials:\n    name: {SECRET}\n",
    "a.yml": lambda: f'model:\n  credentials:\n    name: "\\x{ord(SECRET[0]):02x}{SECRET[1:]}"\n',
    "a.py": lambda: f"model = {{'hf_token': '{SECRET}'}}",
}


@pytest.mark.parametrize("name", SECRET_FILES)
def test_secrets_of_files_are_kept_nowhere(name: str, tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")
    s = count(ex)
    Path(name).write_text(SECRET_FILES[name]())
    ex.load_parameters(name, evaluate=True)

    s.compute()

    kept = ex.latest.configuration
    assert "***" in str(kept["resolved"]) and "***" in kept["files"][name]
    stored = b"".join(cell for _, cell in cells(tmp_path / "store" / "store.sqlite"))
    assert b"configuration" in stored
    assert SECRET[1:].encode() not in stored
    assert SECRET[1:] not in str(kept)


def test_a_declaration_decides_what_is_a_secret_in_files_too(ex: Experiment) -> None:
    pin = ex.parameter("db.pin", secret=True)
    word = ex.parameter("token", secret=False)
    ex.parameter("code", default=0)
    ex.load_parameters(write("a.toml", 'token = "the"\ncode = 42\n[db]\npin = 4711  # 4711'))
    code = ex.parameter("code", default=0, secret=True)  # declared again

    @ex.result
    def score(pin: int, word: str, code: int) -> int:
        return pin + code

    assert score(pin, word, code).compute() == 4753
    kept = ex.latest.configuration
    assert kept["resolved"] == {"token": "the", "code": "***", "db": {"pin": "***"}}
    assert "4711" not in str(kept) and "42" not in str(kept)
    assert pickle.loads(pickle.dumps(ex._parameters.configuration)).document == (
        ex._parameters.configuration.document
    )


def test_a_number_under_the_name_of_a_secret_is_kept_in_both(ex: Experiment) -> None:
    token = ex.parameter("token")
    ex.load_parameters(write("a.json", '{"token": 17}'))

    @ex.result
    def score(token: int) -> int:
        return token

    score(token).compute()

    assert ex.latest.parameters["token"] == 17
    assert ex.latest.configuration["resolved"] == {"token": 17}
