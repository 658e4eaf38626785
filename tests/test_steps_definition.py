"""Steps: what can be decorated, how, and what stays as it was."""

from __future__ import annotations

import asyncio
import functools
import inspect
import operator
import pydoc
from collections.abc import AsyncIterator, Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

from daskperiment import Experiment, InvalidNameError, StepDefinitionError, StepNotFoundError
from tests.conftest import needs_program


@pytest.fixture
def ex() -> Experiment:
    return Experiment("example", backend="memory://")


def steps(ex: Experiment) -> list[str]:
    return list(ex.latest.steps["step"])


# -- ways to decorate --


def double(x: int = 1, *, more: int = 0) -> int:
    """Twice a number."""
    return 2 * x + more


DECORATORS: dict[str, Callable[[Experiment], Callable[..., Any]]] = {
    "@ex": lambda ex: ex,
    "@ex.persist": lambda ex: ex.persist,
    "@ex.result": lambda ex: ex.result,
}


@pytest.mark.parametrize("kind", DECORATORS)
def test_a_decorator_works_with_and_without_parentheses(ex: Experiment, kind: str) -> None:
    decorate = DECORATORS[kind](ex)
    total = ex.result(lambda *parts: sum(parts), name="total")

    plain, called = decorate(double), decorate()(double)
    named, direct = decorate(name="twice")(double), decorate(double, name="direct")

    s = total(plain(1), called(2, more=1), named(3), direct(x=4))
    assert s.compute(scheduler="synchronous") == 21
    assert steps(ex) == ["double", "double", "twice", "direct", "total"]
    assert list(ex.latest.steps["call"]) == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("kind", DECORATORS)
def test_a_step_is_its_function_to_an_editor(ex: Experiment, kind: str) -> None:
    step = DECORATORS[kind](ex)(double)

    assert inspect.signature(step) == inspect.signature(double)
    assert inspect.getdoc(step) == "Twice a number."
    assert (step.__name__, step.__qualname__, step.__module__) == ("double", "double", __name__)
    assert step.__wrapped__ is step.fn is double
    assert "Twice a number." in pydoc.render_doc(step)


@pytest.mark.parametrize("kind", DECORATORS)
def test_fn_is_the_function_eager_and_unrecorded(ex: Experiment, kind: str) -> None:
    step = DECORATORS[kind](ex)(double)

    assert step.fn(3, more=1) == 7
    assert ex.trial_id == 0


@pytest.mark.parametrize("kind", DECORATORS)
def test_nout_allows_unpacking(ex: Experiment, kind: str) -> None:
    @DECORATORS[kind](ex)(nout=2)
    def halves(x: int) -> tuple[int, int]:
        return x // 2, x - x // 2

    low, high = halves(7)
    assert len(halves(7)) == 2

    both = ex.result(lambda low, high: [low, high], name="both")
    assert both(low, high).compute(scheduler="synchronous") == [3, 4]
    assert steps(ex) == ["halves", "both"]
    with pytest.raises(TypeError, match="[Uu]nspecified length"):
        list(ex(double)(1))


def test_a_step_says_what_it_is(ex: Experiment) -> None:
    assert repr(ex(double)) == "<step 'double' of 'example'>"
    assert repr(ex.result(double)) == "<result step 'double' of 'example'>"


def test_only_a_persisted_step_keeps_its_output(ex: Experiment) -> None:
    kept = ex.persist(double, name="kept")
    s = ex.result(double, name="last")(kept(ex(double)(1)))

    assert s.compute() == 8
    assert ex.get_persisted("kept", 1) == 4
    with pytest.raises(StepNotFoundError, match="'double' has no kept output.*@ex.persist"):
        ex.get_persisted("double", 1)


# -- what is no plain function --


class Model:
    """A class whose methods are steps."""

    ex = Experiment("model", backend="memory://")

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @ex
    def scale(self, x: int) -> int:
        """Scale a number."""
        return self.factor * x

    @staticmethod
    @ex.persist
    def shift(x: int) -> int:
        return x + 1

    @classmethod
    @ex
    def name(cls, x: int) -> str:
        return f"{cls.__name__}{x}"

    @ex.result
    def score(self, *parts: Any) -> tuple[Any, ...]:
        return parts


def test_a_method_is_a_step_of_its_instance() -> None:
    model = Model(3)
    s = model.score(model.scale(2), Model.scale(Model(5), x=2), Model.shift(1), Model.name(7))

    assert s.compute(scheduler="synchronous") == (6, 10, 2, "Model7")
    assert steps(Model.ex) == ["scale", "scale", "shift", "name", "score"]
    assert list(Model.ex.latest.steps["inputs"][0]) == ["self", "x"]
    assert Model.scale.fn(model, 2) == 6
    assert inspect.getdoc(model.scale) == "Scale a number."
    assert list(inspect.signature(model.scale).parameters) == ["x"]


class Adder:
    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, x: int) -> int:
        return x + self.n

    def add(self, x: int) -> int:
        return x + self.n


CALLABLES: dict[str, tuple[Callable[..., Any], str, Any]] = {
    "partial": (functools.partial(double, more=1), "double", 5),
    "partial of a partial": (functools.partial(functools.partial(double), more=1), "double", 5),
    "builtin": (abs, "abs", 2),
    "builtin of C": (operator.neg, "neg", -2),
    "NumPy function": (np.square, "square", 4),
    "class": (str, "str", "2"),
    "class with a module": (Fraction, "Fraction", Fraction(2)),
    "object": (Adder(3), "Adder", 5),
    "bound method": (Adder(3).add, "add", 5),
    "cached": (functools.lru_cache(double), "double", 4),
}


@pytest.mark.parametrize("kind", CALLABLES)
def test_any_callable_can_be_a_step(ex: Experiment, kind: str) -> None:
    function, name, expected = CALLABLES[kind]
    step = ex(function)
    s = ex.result(lambda x: x, name="last")(step(2))

    assert s.compute(scheduler="synchronous") == expected
    assert steps(ex) == [name, "last"]
    assert ex.get_code(1).count("last") > 0


async def later() -> int:
    return 1


async def one_by_one() -> AsyncIterator[int]:
    yield 1


def items() -> Iterator[int]:
    yield 1


class Later:
    async def __call__(self) -> int:
        return 1


def refused(message: str) -> str:
    return f"cannot be a step: it {message}"


REFUSED: dict[str, tuple[Any, str]] = {
    "lambda": (lambda: 1, r"A lambda has no name.*name='scale'"),
    "partial of a lambda": (functools.partial(lambda x: x, 1), "A lambda has no name"),
    "async": (later, refused(r"is async.*asyncio\.run")),
    "partial of async": (functools.partial(later), refused("is async")),
    "async generator": (one_by_one, refused("is async")),
    "generator": (items, refused("is a generator.*return a list")),
    "staticmethod": (staticmethod(double), refused("must be decorated below @staticmethod")),
    "classmethod": (classmethod(double), refused("must be decorated below @staticmethod")),
    "Delayed": (dask.delayed(double), refused("is a dask Delayed already")),
    "number": (5, refused("is not callable")),
    "text": ("clean", refused("is not callable")),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("decorator", DECORATORS)
def test_what_cannot_be_a_step_is_refused_with_advice(
    ex: Experiment, kind: str, decorator: str
) -> None:
    wrong, message = REFUSED[kind]

    with pytest.raises(StepDefinitionError, match=message):
        DECORATORS[decorator](ex)(wrong)


def test_an_object_with_an_async_call_is_refused(ex: Experiment) -> None:
    with pytest.raises(StepDefinitionError, match="is async"):
        ex(Later())


def test_one_decorator_is_enough(ex: Experiment) -> None:
    with pytest.raises(StepDefinitionError, match="is a step already: use one decorator"):
        ex.result(ex.persist(double))


@pytest.mark.parametrize("name", [5, "", "a\nb", "a\0", "\ud800", "a" * 251])
def test_a_step_name_is_a_short_printable_text(ex: Experiment, name: Any) -> None:
    with pytest.raises(InvalidNameError, match="Step name must be"):
        ex(name=name)(double)


@pytest.mark.parametrize("name", ["a b", "a/b", "clean[0]", "naïve", "$x", "step 1 of 2"])
def test_any_such_name_is_kept(ex: Experiment, name: str) -> None:
    s = ex.result(double, name="last")(ex.persist(double, name=name)(1))

    assert s.compute() == 4
    assert steps(ex) == [name, "last"]
    assert ex.get_persisted(name, 1) == 2
    assert list(ex.latest.steps["upstream"])[1] == [f"{name}[0]"]


def test_a_lambda_with_a_name_is_a_step(ex: Experiment) -> None:
    assert ex.result(lambda x: x + 1, name="next")(1).compute() == 2
    assert steps(ex) == ["next"]


def test_async_code_runs_inside_a_plain_step(ex: Experiment) -> None:
    @ex.result
    def wait() -> int:
        return asyncio.run(later())

    assert wait().compute() == 1


def test_a_step_that_returns_a_generator_hands_it_on(ex: Experiment) -> None:
    @ex.result
    def lazy() -> Iterator[int]:
        return iter([1, 2])

    assert list(lazy().compute()) == [1, 2]
    assert ex.latest.state == "COMPLETE"


# -- graphs --


def test_other_nodes_mix_with_steps(ex: Experiment) -> None:
    a = ex.parameter("a", default=2)
    step = ex(double)

    @ex.result
    def collect(**parts: Any) -> dict[str, Any]:
        return parts

    s = collect(
        plus=a + 3,
        right=3 - step(a),
        item=step(np.arange(3))[1],
        delayed=dask.delayed(str)(step(a)),
        nested=[a, {"x": step(a)}, (a, 1)],
        array=step(da.ones(4, chunks=2).sum()),
        attribute=step(a).real,
        method=dask.delayed(str)(a).upper(),
    )
    got = s.compute(scheduler="synchronous")

    assert got == {
        "plus": 5,
        "right": -1,
        "item": 2,
        "delayed": "4",
        "nested": [2, {"x": 4}, (2, 1)],
        "array": 8.0,
        "attribute": 4,
        "method": "2",
    }
    assert ex.trial_id == 1


def test_a_wrong_call_fails_like_the_function_with_the_step_named(ex: Experiment) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'y'") as caught:
        ex.result(double)(y=1).compute()

    assert "in step 'double' of trial 1 of experiment 'example'" in caught.value.__notes__
    assert ex.latest.state == "FAILED"


def test_a_graph_can_be_drawn_without_a_trial(ex: Experiment, tmp_path: Path) -> None:
    needs_program("dot")
    s = ex.result(double)(ex(double, name="clean")(ex.parameter("a")))

    s.visualize(filename=str(tmp_path / "graph"), format="svg")

    drawing = (tmp_path / "graph.svg").read_text()
    assert [name in drawing for name in ("clean", "double", "trial")] == [True, True, False]
    assert ex.trial_id == 0


def test_an_argument_that_holds_itself_says_what_to_do(memory_ex: Experiment) -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)

    with pytest.raises(StepDefinitionError, match="pass it as the value of a parameter"):
        memory_ex.result(lambda x: 1, name="one")(cyclic)
