"""No value that a user's code makes stops a trial, and none comes back as another one."""

from __future__ import annotations

import dataclasses
import enum
import math
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from daskperiment import Experiment, Namespace, ValueNotKeptError

# Steps are made with a value that each test gives: their code differs on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::daskperiment.CodeChangedWarning")


class Text(str):
    """Text with a class of its own."""


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


@dataclasses.dataclass
class Reluctant:
    """Equal to its like, but unwilling to be shown, counted or hashed."""

    x: int = 3

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __len__(self) -> int:
        raise RuntimeError("no len")

    def __bool__(self) -> bool:
        raise RuntimeError("no bool")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


class Incomparable:
    x = 3

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


class Nameless(type):
    def __repr__(cls) -> str:
        raise RuntimeError("no repr of the class")


class OfNameless(metaclass=Nameless):
    x = 3


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def equal(one: Any, other: Any) -> bool:
    kinds = [dict if type(value) is Namespace else type(value) for value in (one, other)]
    return bool(kinds[0] is kinds[1] and one == other)


def same_float(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (math.isnan(one) if math.isnan(other) else one == other)


def same_array(one: Any, other: Any) -> bool:
    return one.dtype == other.dtype and bool(np.array_equal(one, other))


def same_frame(one: Any, other: Any) -> bool:
    pd.testing.assert_frame_equal(one, other)
    return True


def is_cyclic(one: Any, other: Any) -> bool:
    return one[0] == 1 and one[1] is one


def same_x(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one.x == 3


Same = Callable[[Any, Any], bool]
STRUCTURE = np.dtype([("a", "i4"), ("b", "f8")])

KEPT: dict[str, tuple[Callable[[], Any], Same]] = {
    "NaN": (lambda: float("nan"), same_float),
    "infinity": (lambda: float("-inf"), equal),
    "minus zero": (lambda: -0.0, lambda one, other: math.copysign(1, one) == -1),
    "5,000 digits": (lambda: 10**5000 + 1, equal),
    "lone surrogate": (lambda: "a\ud800\udfffb", equal),
    "NUL": (lambda: "a\0b", equal),
    "empty containers": (lambda: [(), [], {}, set(), frozenset(), "", b""], equal),
    "200 levels": (lambda: nested(200), equal),
    "cyclic list": (cyclic, is_cyclic),
    "1 MB": (lambda: bytes(1_000_000), equal),
    "keys with $": (lambda: {"$": "tuple", "v": [1], "$set": {"a.b": 2, "": 3}}, equal),
    "keys of other types": (lambda: {1: 2, (1, "a"): None, None: 4, 2.5: 5}, equal),
    "subclass of str": (lambda: Text("a"), equal),
    "enum": (lambda: Colour.RED, lambda one, other: one is Colour.RED),
    "dataclass": (lambda: Point(3), equal),
    "NumPy scalar": (lambda: np.float32("nan"), same_float),
    "array without axes": (lambda: np.array(3.0), same_array),
    "structured array": (lambda: np.array([(1, 2.5)], dtype=STRUCTURE), same_array),
    "array of objects": (lambda: np.array([1, "a", None], dtype=object), same_array),
    "frame": (lambda: pd.DataFrame({"a": [1, None], "b": ["x", None]}), same_frame),
    "missing": (lambda: pd.NA, lambda one, other: one is pd.NA),
    "class": (lambda: Point, lambda one, other: one is Point),
    "module": (lambda: sys, lambda one, other: one is sys),
    "exception": (lambda: KeyError("\ud800"), lambda one, other: one.args == other.args),
    "unwilling object": (Reluctant, same_x),
    "incomparable object": (Incomparable, same_x),
    "class without repr": (OfNameless, same_x),
}


class Unreducible:
    def __reduce__(self) -> Any:
        raise RuntimeError("it refuses")


class Leaving:
    def __getstate__(self) -> Any:
        raise SystemExit("it leaves")


class Lying:
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("it has none")


class Closed:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("it answers nothing")


def generator() -> Iterator[int]:
    yield 1


LOST: dict[str, tuple[Callable[[], Any], str]] = {
    "lock": (threading.Lock, "cannot pickle '_thread.lock'"),
    "lock inside": (lambda: {"a": [1, threading.Lock()]}, "cannot pickle '_thread.lock'"),
    "generator": (generator, "cannot pickle 'generator'"),
    "5,000 levels": (lambda: nested(5000), "recursion"),
    "unreducible": (Unreducible, "RuntimeError: it refuses"),
    "leaving": (Leaving, "SystemExit: it leaves"),
    "lying": (Lying, "RuntimeError: it has none"),
    "closed": (Closed, "RuntimeError: it answers nothing"),
}
VALUES = {name: make for name, (make, _) in (KEPT | LOST).items()}

# Dask looks for nodes in every literal argument: it follows these without end, or is refused.
NO_LITERALS = {"cyclic list", "5,000 levels", "lying", "closed"}
PLACES = ("parameter", "output", "result", "argument")


def everywhere(names: dict[str, Any]) -> list[tuple[str, str]]:
    places = [(name, place) for name in names for place in PLACES]
    return [
        (name, place) for name, place in places if place != "argument" or name not in NO_LITERALS
    ]


def run(ex: Experiment, value: Any, place: str) -> Any:
    """One trial with the value in one place; gives what the caller got."""
    given = value if place in ("output", "result") else 1

    @ex.persist
    def output(x: Any) -> Any:
        return given if place == "output" else 1

    @ex.result
    def result(x: Any, y: Any) -> Any:
        return given if place == "result" else x

    a = ex.parameter("a", default=1)
    if place == "argument":
        return result(value, output(a)).compute(scheduler="synchronous")
    if place == "parameter":
        return result(a, output(a)).compute(parameters={"a": value}, scheduler="synchronous")
    if place == "output":
        return result(output(a), a).compute(scheduler="synchronous")
    return result(a, output(a)).compute(scheduler="synchronous")


def read(ex: Experiment, place: str) -> Any:
    """The value as it was recorded."""
    if place == "parameter":
        return ex.get_parameters(1)["a"]
    return ex.get_persisted("output", 1) if place == "output" else ex[1].result


@pytest.mark.parametrize(("name", "place"), everywhere(KEPT))
def test_a_value_reads_back_as_it_was(ex: Experiment, name: str, place: str) -> None:
    make, same = KEPT[name]
    value = make()

    returned = run(ex, value, place)

    assert returned is value or same(returned, value)
    assert ex.latest.state == "COMPLETE"
    assert same(read(ex, place), value)


@pytest.mark.parametrize(("name", "place"), everywhere(LOST))
def test_a_value_that_cannot_be_kept_is_recorded_with_the_reason(
    ex: Experiment, name: str, place: str
) -> None:
    make, reason = LOST[name]
    value = make()

    returned = run(ex, value, place)

    assert returned is value or returned == value
    assert ex.latest.state == "COMPLETE"
    with pytest.raises(ValueNotKeptError, match=reason):
        read(ex, place)


@pytest.mark.parametrize("name", VALUES)
def test_every_reading_of_a_history_shows_any_value(ex: Experiment, name: str) -> None:
    for place in ("parameter", "result"):
        run(ex, VALUES[name](), place)

    assert len(str(ex.get_history(verbose=True)).splitlines()) > 2
    assert len(ex.get_history(where="a == 1 or Result != 2", order_by="-Trial ID")) == 2
    assert list(ex.get_steps(2)["step"]) == ["output", "result"]
    assert repr(ex.latest) == "Trial(2, COMPLETE, experiment='example')"
    assert ex.get_parameters(2) == {"a": 1}


@pytest.mark.parametrize("name", VALUES)
def test_any_value_may_be_current_for_a_parameter(memory_ex: Experiment, name: str) -> None:
    value = VALUES[name]()
    a = memory_ex.parameter("a")

    memory_ex.set_parameters(a=value)

    assert a.resolve() is value
    assert repr(a).startswith("Parameter(a: ")
    with pytest.raises(ValueError, match="'b'"):
        memory_ex.parameter("b", default=value, choices=["one", "two"])


@pytest.mark.parametrize("name", VALUES)
def test_an_artifact_may_be_any_value(ex: Experiment, name: str) -> None:
    value = VALUES[name]()

    @ex.result
    def save() -> int:
        ex.save_artifact("object", value)
        return 1

    assert save().compute(scheduler="synchronous") == 1

    artifact = ex.latest.artifacts["object"]
    if name in KEPT:
        assert KEPT[name][1](artifact.load(), value)
        assert artifact.size == len(artifact.read()) > 0
    else:
        with pytest.raises(ValueNotKeptError, match=LOST[name][1]):
            artifact.load()


@pytest.mark.parametrize("name", VALUES)
def test_a_metric_takes_a_number_or_refuses_it_aloud(ex: Experiment, name: str) -> None:
    value = VALUES[name]()

    @ex.result
    def log() -> str:
        try:
            ex.log_metric("m", value)
        except TypeError as error:
            return str(error)
        return "taken"

    said = log().compute(scheduler="synchronous")

    assert ex.latest.state == "COMPLETE"
    if said == "taken":
        (point,) = ex.latest.metrics["m"]
        assert same_float(point.value, float(value))
    else:
        assert said.startswith("Metric value must be one number, not ")
        assert ex.latest.metrics == {}


def test_a_value_that_was_not_kept_does_not_hide_the_others(ex: Experiment) -> None:
    count = ex.result(lambda *values: len(values), name="count")
    s = count(ex.parameter("lock"), ex.parameter("rate"))
    s.compute(parameters={"lock": threading.Lock(), "rate": 0.5}, scheduler="synchronous")

    parameters = ex[1].parameters
    assert parameters == {"rate": 0.5}
    with pytest.raises(ValueNotKeptError, match="lock.*could not be encoded"):
        parameters["lock"]
    with pytest.raises(KeyError):
        parameters["other"]
