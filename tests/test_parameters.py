"""Parameters: how they are declared, given values, and refused."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daskperiment import (
    ComputeArgumentError,
    Experiment,
    InvalidNameError,
    ParameterError,
    ParameterUndeclaredError,
    ParameterUndefinedError,
)


@pytest.fixture
def ex() -> Experiment:
    return Experiment("example", backend="memory://")


def same(ex: Experiment) -> Any:
    """A result step that returns its argument."""
    return ex.result(lambda a: a, name="same")


# -- declaring --


def test_a_call_declares_a_parameter(ex: Experiment) -> None:
    a = ex.parameter("a", default=3, type=int, choices=(1, 2, 3), help="How many.")

    assert (a.name, a.resolve(), a.is_undefined) == ("a", 3, False)
    assert same(ex)(a).compute() == 3


def test_a_decorated_function_names_a_parameter_and_returns_its_default(ex: Experiment) -> None:
    @ex.parameter
    def depth() -> int:
        """How deep."""
        return 4

    @ex.parameter()
    def width() -> int:
        return 5

    @ex.parameter(type=float, choices=[0.1, 1.0])
    def rate() -> int:
        return 1

    assert repr([depth, width]) == (
        "[Parameter(depth: 4<class 'int'>), Parameter(width: 5<class 'int'>)]"
    )
    assert repr(rate) == "Parameter(rate: 1.0<class 'float'>)"
    assert same(ex)(rate).compute() == 1.0


def test_none_is_a_default_and_then_a_value_whatever_the_type(ex: Experiment) -> None:
    limit = ex.parameter("limit", default=None, type=int, choices=[1, 2])

    assert (limit.resolve(), limit.is_undefined) == (None, False)
    assert same(ex)(limit).compute() is None
    ex.set_parameters(limit="2")
    assert limit.resolve() == 2
    ex.set_parameters(limit=None)
    assert limit.resolve() is None


def test_a_parameter_without_a_value_says_so(ex: Experiment) -> None:
    a = ex.parameter("a")

    assert (a.is_undefined, repr(a), str(a.resolve(allow_undefined=True))) == (
        True,
        "Parameter(a: Undefined)",
        "Undefined",
    )
    with pytest.raises(ParameterUndefinedError, match="'?a'?.*set_parameters"):
        a.resolve()
    with pytest.raises(ParameterUndefinedError, match="a"):
        same(ex)(a).compute()
    assert ex.trial_id == 0


@pytest.mark.parametrize("name", ["", "a" * 251, "a\nb", "a\0", "\ud800", 5, b"a", ("a",)])
def test_a_name_is_a_short_printable_text(ex: Experiment, name: Any) -> None:
    with pytest.raises(InvalidNameError, match="Parameter name must be a printable text of 1 to"):
        ex.parameter(name)
    assert ex.get_parameters() == {}


NAMES = ["learning rate", "train/lr", "naïve", "$set", "a.b", "and", "1", "self", "Result", "🙂"]


@pytest.mark.parametrize("name", NAMES)
def test_any_such_name_can_be_used_everywhere(ex: Experiment, name: str) -> None:
    s = same(ex)(ex.parameter(name))

    ex.set_parameters(**{name: 1})
    assert s.compute() == 1
    assert s.compute(parameters={name: 2}) == 2
    assert [trial.parameters for trial in ex.trials] == [{name: 1}, {name: 2}]


def test_declaring_again_replaces_the_declaration_and_keeps_the_value(ex: Experiment) -> None:
    ex.parameter("a", default=1)
    ex.set_parameters(a="2")
    a = ex.parameter("a", default=5, type=int)

    assert a.resolve() == 2
    with pytest.raises(ParameterError, match="'a' must be one of \\(7, 8\\), not 2"):
        ex.parameter("a", default=7, choices=[7, 8])
    assert a.resolve() == 2
    ex.set_parameters(a=3)


@pytest.mark.parametrize(
    "declare",
    [
        lambda ex: ex.parameter("a", default=9, choices=[1, 2]),
        lambda ex: ex.parameter("a", default="x", type=int),
        lambda ex: ex.parameter("a", default=ex.parameter("b")),
        lambda ex: ex.parameter("a", type="int"),
        lambda ex: ex.parameter("a", type=list["int"]),
        lambda ex: ex.parameter("a", type=Sequence[int]),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(
    ex: Experiment, declare: Callable[[Experiment], Any]
) -> None:
    with pytest.raises(ParameterError, match="'a'"):
        declare(ex)
    assert "a" not in ex.get_parameters()


# -- types and choices --


ACCEPTED: list[tuple[Any, Any, Any]] = [
    (int, 3, 3),
    (int, "3", 3),
    (int, "-3", -3),
    (int, 3.0, 3),
    (int, np.int64(3), 3),
    (int, 10**400, 10**400),
    (float, 1, 1.0),
    (float, "1e-3", 0.001),
    (float, "nan", float("nan")),
    (float, np.float32(0.5), 0.5),
    (bool, True, True),
    (bool, "No", False),
    (bool, " true ", True),
    (bool, 0, False),
    (str, "3", "3"),
    (list, [1], [1]),
    (tuple, (1,), (1,)),
    (Path, "data", Path("data")),
    (Fraction, "1/3", Fraction(1, 3)),
    (lambda text: text.split(","), "a,b", ["a", "b"]),
    (object, True, True),
]


@pytest.mark.parametrize(("kind", "given", "used"), ACCEPTED)
def test_a_type_converts_text_and_what_loses_nothing(
    ex: Experiment, kind: Any, given: Any, used: Any
) -> None:
    a = ex.parameter("a", type=kind)
    ex.set_parameters(a=given)

    assert type(a.resolve()) is type(used)
    assert a.resolve() == used or used != used


REFUSED: list[tuple[Any, Any]] = [
    (int, "3.5"),
    (int, 3.5),
    (int, None),
    (int, float("nan")),
    (int, float("inf")),
    (float, "fast"),
    (float, 2**60 + 1),
    (float, 1j),
    (float, 10**400),
    (bool, "maybe"),
    (bool, 2),
    (bool, []),
    (str, 3),
    (str, b"a"),
    (list, "abc"),
    (list, (1, 2)),
    (tuple, "abc"),
    (set, [1, 1]),
    (dict, [(1, 2)]),
    (lambda text: text.split(","), 5),
]


@pytest.mark.parametrize(("kind", "given"), REFUSED)
def test_a_type_refuses_what_it_would_change(ex: Experiment, kind: Any, given: Any) -> None:
    a = ex.parameter("a", type=kind)

    with pytest.raises(ParameterError, match="^Parameter 'a' must be of type .* cannot be conv"):
        ex.set_parameters(a=given)
    assert a.is_undefined


def test_choices_are_the_only_values(ex: Experiment) -> None:
    a = ex.parameter("a", choices=["adam", "sgd", 0])

    for value in ("adam", "sgd", 0, np.int64(0)):
        ex.set_parameters(a=value)
        assert a.resolve() == value
    for wrong in ("Adam", 1, None, [], np.zeros(2)):
        with pytest.raises(ParameterError, match="must be one of \\('adam', 'sgd', 0\\), not "):
            ex.set_parameters(a=wrong)
    assert a.resolve() == 0


# -- setting --


def test_values_are_set_all_or_none(ex: Experiment) -> None:
    ex.parameter("a", default=1, type=int)
    ex.parameter("b", default=2, choices=[2, 3])

    for wrong in ({"a": 5, "b": 9}, {"b": 3, "a": "x"}, {"a": 5, "c": 1}):
        with pytest.raises(ParameterError):
            ex.set_parameters(**wrong)
    assert ex.get_parameters() == {"a": 1, "b": 2}


def test_an_unknown_name_suggests_the_nearest(ex: Experiment) -> None:
    with pytest.raises(ParameterUndeclaredError, match=r"declare it with ex.parameter\('rate'\)"):
        ex.set_parameters(rate=1)

    ex.parameter("rate")
    ex.parameter("epochs")
    with pytest.raises(ParameterUndeclaredError) as caught:
        ex.set_parameters(epoch=1)
    assert str(caught.value) == (
        "Parameter is not declared: epoch; did you mean 'epochs'? (declared: rate, epochs)"
    )
    with pytest.raises(ParameterUndeclaredError, match=r"declared: rate, epochs"):
        ex.set_parameters(zzz=1)


def test_a_node_is_no_value(ex: Experiment) -> None:
    a, b = ex.parameter("a"), ex.parameter("b", default=1)

    with pytest.raises(ParameterError, match="'a' cannot have a node.*pass the node to the step"):
        ex.set_parameters(a=b + 1)
    assert a.is_undefined


def test_one_parameter_can_be_set_through_its_node(ex: Experiment) -> None:
    a = ex.parameter("a", type=int)
    a.set("4")

    assert a.summarize() == "a=4<class 'int'>"
    with pytest.raises(ParameterError):
        a.set("four")
    assert ex.get_parameters() == {"a": 4}


# -- binding for one trial --


def test_compute_binds_values_for_one_trial_only(ex: Experiment) -> None:
    a = ex.parameter("a", default=1, type=int)
    s = same(ex)(a)

    assert s.compute(parameters={"a": "5"}) == 5
    assert s.compute() == 1
    assert a.resolve() == 1
    assert [trial.parameters for trial in ex.trials] == [{"a": 5}, {"a": 1}]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"b": 1}, "not declared: b"), ({"a": "x"}, "must be of type int"), ({1: 1}, "declared: 1")],
)
def test_wrong_values_bind_nothing_and_record_nothing(
    ex: Experiment, parameters: Any, message: str
) -> None:
    s = same(ex)(ex.parameter("a", default=1, type=int))

    with pytest.raises(ParameterError, match=message):
        s.compute(parameters=parameters)
    assert ex.trial_id == 0


def test_a_parameter_as_keyword_of_compute_is_refused_with_the_way_to_write_it(
    ex: Experiment,
) -> None:
    s = same(ex)(ex.parameter("a", default=1))

    with pytest.raises(ComputeArgumentError) as caught:
        s.compute(a=5)
    assert str(caught.value) == (
        "compute() takes no argument 'a': to bind parameters for this trial write "
        'compute(parameters={"a": 5})'
    )
    assert (ex.trial_id, ex.get_parameters()) == (0, {"a": 1})


def test_values_belong_to_the_handle_and_travel_with_it(ex: Experiment) -> None:
    a = ex.parameter("a", default=1)
    ex.parameter("b")
    ex.set_parameters(a=2)

    copy = pickle.loads(pickle.dumps(ex))
    ex.set_parameters(a=3)

    assert str(copy.get_parameters()) == "{'a': 2, 'b': Undefined}"
    assert copy.get_parameters()["b"] is ex.get_parameters()["b"]
    assert a.resolve() == 3


def test_a_trial_takes_one_consistent_set_of_values(ex: Experiment) -> None:
    pair = ex.result(lambda a, b: (a, b), name="pair")
    s = pair(ex.parameter("a", default=0), ex.parameter("b", default=0))
    done = threading.Event()

    def change() -> None:
        n = 0
        while not done.is_set():
            n += 1
            ex.set_parameters(a=n, b=n)

    writer = threading.Thread(target=change)
    writer.start()
    try:
        values = [s.compute(scheduler="synchronous") for _ in range(20)]
    finally:
        done.set()
        writer.join()

    assert all(a == b for a, b in values)


# -- scripts without a main guard --


SCRIPT = """
    from daskperiment import Experiment

    ex = Experiment("unguarded")

    @ex.result
    def double(a):
        return 2 * a

    s = double(ex.parameter("a", default=1))
"""
COMPUTE = """
    print(s.compute(scheduler="processes", num_workers=1))
"""


@pytest.mark.parametrize("guarded", [False, True])
def test_a_missing_main_guard_is_named(guarded: bool) -> None:
    compute = textwrap.dedent(COMPUTE)
    if guarded:
        compute = 'if __name__ == "__main__":' + textwrap.indent(compute, "    ")
    Path("script.py").write_text(textwrap.dedent(SCRIPT) + compute)

    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=100, check=False
    )

    if guarded:
        assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    else:
        assert done.returncode != 0
        last = done.stderr.strip().splitlines()[-1]
        assert "MissingMainGuardError: " in last
        assert last.endswith('Put the part that runs trials under  if __name__ == "__main__":')
