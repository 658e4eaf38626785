"""Recipe: a graph as data of its own, from which the same graph is built again elsewhere.

It names steps and parameters, and holds what the graph itself brings: values that stand in it, and
functions of undecorated nodes.  Dask's own classes are in it only where Dask has fused nodes, so
that another version of Dask builds it, too.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, NamedTuple

import cloudpickle
from cloudpickle import cloudpickle as reducing
from dask._task_spec import Dict, List, Set, Tuple
from dask.task_spec import Alias, DataNode, GraphNode, Task, TaskRef

from daskperiment.backends.base import Backend
from daskperiment.errors import PayloadError
from daskperiment.fingerprint.origin import border
from daskperiment.graph.layout import Layout
from daskperiment.graph.step import Step
from daskperiment.graph.tasks import (
    Fixed,
    GraphKey,
    Lookup,
    NoTrial,
    Owner,
    StepCall,
    Values,
    trial_key,
    values_key,
)


class Ref(NamedTuple):
    """What another node gives, by its place in the recipe."""

    number: int


class Held(NamedTuple):
    """A list, tuple, set or dict of parts; of a dict keys and values in turn."""

    kind: str
    parts: tuple[Any, ...]


class Called(NamedTuple):
    """A call of an undecorated function."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Stepped(NamedTuple):
    """A call of a step; ``asked`` as for :class:`~daskperiment.graph.StepCall`."""

    step: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    asked: tuple[str, ...]


class Given(NamedTuple):
    """The value of a parameter."""

    name: str


class Data(NamedTuple):
    """A value that is a node of its own."""

    value: Any


class Value(NamedTuple):
    """A value that stands in the graph."""

    value: Any


class Recipe(NamedTuple):
    """A graph.

    Parameters
    ----------
    nodes : tuple
        Each behind those that it needs; the last one is the output.
    options : dict of str to dict
        How each step was decorated, by its name.
    functions : dict of str to callable
        Functions of steps that no module has under a name of its own, as those that a function
        has made.
    """

    nodes: tuple[Any, ...]
    options: dict[str, dict[str, Any]]
    functions: dict[str, Any]

    def pickled(self, owner: Owner | None = None) -> bytes:
        """The recipe as bytes, without the experiment and without any backend.

        What refers to these gets others where it is read.  Errors are those of what cannot be
        pickled.
        """
        with io.BytesIO() as stream:
            _Pickler(stream, owner).dump(tuple(self))
            return stream.getvalue()


_NODES = {"list": List, "tuple": Tuple, "set": Set, "dict": Dict}
_EXPERIMENT, _BACKEND = "experiment", "backend"
_KINDS = {cls: kind for kind, cls in _NODES.items()}


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles what is of the user by value, so that it is read without any of the user's files."""

    def __init__(self, stream: io.BytesIO, owner: Owner | None) -> None:
        super().__init__(stream, protocol=5)
        self._owner = owner

    def persistent_id(self, obj: Any) -> str | None:
        """Leave out what knows addresses and passwords, and would ask its server."""
        if obj is self._owner and obj is not None:
            return _EXPERIMENT
        return _BACKEND if isinstance(obj, Backend) else None

    def reducer_override(self, obj: Any) -> Any:
        """As of :mod:`cloudpickle`, but for functions and classes of the user's modules."""
        kind = type(obj)
        if kind is FunctionType and border(obj.__module__) is None:
            return self._dynamic_function_reduce(obj)
        if issubclass(kind, type) and border(getattr(obj, "__module__", None)) is None:
            return reducing._dynamic_class_reduce(obj)
        return super().reducer_override(obj)


def recipe_of(layout: Layout) -> Recipe:
    """The recipe of a graph."""
    holes = {layout.trial_key, layout.values_key}
    keys = [key for key in layout.nodes if key not in holes]
    numbers = {key: number for number, key in enumerate(keys)}
    nodes = tuple(_part(layout.nodes[key], numbers) for key in keys)
    options = {
        name: {"persist": step.persist, "is_result": step.is_result, "timeout": step.timeout,
               "resources": step.resources, "reuse": step.reuse, "compare": step.compare,
               "rtol": step.rtol, "atol": step.atol,
               **({"audit": step.audited} if step.audited else {})}
        for name, step in layout.steps.items()
    }  # fmt: skip
    functions = {name: step.fn for name, step in layout.steps.items() if is_unnamed(step.fn)}
    return Recipe(nodes, options, functions)


def is_unnamed(function: Any) -> bool:
    """Whether its module does not have a function under its name.

    Examples
    --------
    >>> is_unnamed(is_unnamed), is_unnamed(lambda: None)
    (False, True)
    """
    return "<" in getattr(function, "__qualname__", "<")


def _part(node: Any, numbers: Mapping[GraphKey, int]) -> Any:
    """A node, or an argument of one."""
    if isinstance(node, TaskRef):
        return Ref(numbers[node.key])
    if isinstance(node, Alias):
        return Ref(numbers[node.target])
    if isinstance(node, DataNode):
        return Data(node.value)
    if not isinstance(node, GraphNode):
        return Value(node)
    function = node.func
    if isinstance(function, Lookup):
        return Given(function.name)
    if (kind := _KINDS.get(type(node))) is not None:
        return Held(kind, tuple(_part(each, numbers) for each in node.args))
    args = node.args[1:] if isinstance(function, StepCall) else node.args
    parts = tuple(_part(each, numbers) for each in args)
    kwargs = {name: _part(each, numbers) for name, each in node.kwargs.items()}
    if isinstance(function, StepCall):
        return Stepped(function.step.name, parts, kwargs, function.asked)
    return Called(function, parts, kwargs)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, others: Mapping[str, Any]) -> None:
        super().__init__(stream)
        self._others = others

    def persistent_load(self, pid: str) -> Any:
        """What stands for the experiment, or for a backend."""
        return self._others[pid]


def read(pickled: bytes, owner: Any = None, backend: Backend | None = None) -> Recipe:
    """What :meth:`Recipe.pickled` gave; it runs code of whoever has made it.

    ``owner`` and ``backend`` stand for the experiment and for backends in it.

    Raises
    ------
    PayloadError
        It cannot be read.
    """
    others = {_EXPERIMENT: owner, _BACKEND: backend}
    try:
        return Recipe(*_Unpickler(io.BytesIO(pickled), others).load())
    except Exception as error:  # whatever unpickling raises
        raise PayloadError(f"The graph cannot be read: {type(error).__name__}: {error}") from error


def built(recipe: Recipe, owner: Owner, functions: Mapping[str, Callable[..., Any]]) -> Layout:
    """The graph of a recipe, whose steps call these functions.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    owner : Owner
        The experiment that its trials are of.
    functions : mapping of str to callable
        By the names of the steps.
    """
    steps = {
        name: Step(owner, functions[name], name=name, **options)
        for name, options in recipe.options.items()
    }
    maker = _Maker(owner, steps)
    nodes: dict[GraphKey, GraphNode] = {
        maker.trial: Fixed(maker.trial, NoTrial()),
        maker.values: Fixed(maker.values, Values(owner)),
    }
    for number, part in enumerate(recipe.nodes):
        nodes[_key(number)] = maker.node(_key(number), part)
    return Layout(owner, _key(len(recipe.nodes) - 1), nodes)


def _key(number: int) -> str:
    return f"node-{number}"


class _Maker:
    """Makes nodes of Dask's from parts of a recipe."""

    def __init__(self, owner: Owner, steps: Mapping[str, Step[..., Any]]) -> None:
        self._owner = owner
        self._steps = steps
        self.trial = trial_key(owner)
        self.values = values_key(owner)

    def node(self, key: GraphKey, part: Any) -> GraphNode:
        """A node of the graph."""
        if isinstance(part, Ref):
            return Alias(key, _key(part.number))
        if isinstance(part, Data):
            return DataNode(key, part.value)
        if isinstance(part, Given):
            return Fixed(key, Lookup(self._owner, part.name), TaskRef(self.values))
        if isinstance(part, Held):
            return Task(key, _collected, part.kind, *map(self._argument, part.parts))
        args = tuple(map(self._argument, part.args))
        kwargs = {name: self._argument(each) for name, each in part.kwargs.items()}
        if isinstance(part, Stepped):
            call = StepCall(self._steps[part.step], asked=part.asked)
            return Fixed(key, call, TaskRef(self.trial), *args, **kwargs)
        return Task(key, part.function, *args, **kwargs)

    def _argument(self, part: Any) -> Any:
        if isinstance(part, Ref):
            return TaskRef(_key(part.number))
        if isinstance(part, Value):
            return part.value
        if isinstance(part, Held):
            return _NODES[part.kind](*map(self._argument, part.parts))
        return self.node(None, part)


def _collected(kind: str, *parts: Any) -> Any:
    if kind == "dict":
        return dict(zip(parts[::2], parts[1::2], strict=True))
    return {"list": list, "tuple": tuple, "set": set}[kind](parts)
