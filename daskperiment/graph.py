"""Decorated functions as a Dask graph, and that graph bound to one trial.

A :class:`Node` is a real :class:`dask.delayed.Delayed`, so it mixes with plain
functions, operators and Dask collections.  Its graph has holes: one for the trial
and one for the values of the parameters.  A :class:`Layout` is such a graph flattened
and put in order once; from it come the graphs that really run, each with the holes
filled in the way its route of computing needs.

Keys of graphs that run end in a random tag.  Two graphs with equal keys and different
contents on one distributed scheduler silently return the first one's result, so no two
runs may share a key; stripping the tag makes copies of one node the same node again.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import operator
import re
import types
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from threading import get_ident
from typing import Any, Generic, ParamSpec, Protocol, TypeAlias, TypeVar

from dask._task_spec import convert_legacy_graph
from dask.delayed import Delayed, DelayedAttr, call_function, delayed, right, unpack_collections
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.task_spec import Alias, DataNode, GraphNode, Task, TaskRef
from dask.utils import ensure_dict
from dask.utils import methodcaller as dask_methodcaller

from daskperiment.errors import ParameterUndefinedError, StepDefinitionError
from daskperiment.importing import by_path, import_path
from daskperiment.records import Origin
from daskperiment.tracebacks import without_ours

P = ParamSpec("P")
R = TypeVar("R")
GraphKey: TypeAlias = Any
Input: TypeAlias = tuple[str, tuple[Origin, ...], bool]
Nodes: TypeAlias = dict[GraphKey, GraphNode]

_TAG = re.compile(r"~[0-9a-f]{12}$")


class RunningTrial(Protocol):
    """What a graph asks of the trial that travels through it."""

    def run(self, call: StepCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one step call and record it."""

    def complete(self) -> None:
        """End the trial as COMPLETE."""

    def fail(self, error: BaseException) -> None:
        """Note that a node failed; a later :meth:`complete` overrides it."""


class Owner(Protocol):
    """What a graph asks of the experiment that it belongs to."""

    id: str

    def values(self) -> dict[str, Any]:
        """Values of the parameters now; undefined ones are absent."""

    def begin(self, steps: Mapping[str, Step[..., Any]], values: dict[str, Any]) -> Beginning:
        """Prepare a trial: all that must be known before it has a number."""

    def compute(self, node: Node, **arguments: Any) -> Any:
        """Compute a node, as a trial when it holds a result."""


class Beginning(Protocol):
    """A trial about to begin; pickled, it can be started once however often it is sent."""

    def start(self) -> RunningTrial:
        """Insert the RUNNING row and return the trial."""


# ---------------------------------------------------------------------------------------
# keys


def _retagged(key: GraphKey, tag: str) -> GraphKey:
    if isinstance(key, str):
        return _TAG.sub("", key) + tag
    if isinstance(key, tuple) and key and isinstance(key[0], str):
        return (_TAG.sub("", key[0]) + tag, *key[1:])
    return key


def canonical(key: GraphKey) -> GraphKey:
    """Name of a node without the tag of one run.

    Examples
    --------
    >>> canonical(("sum-0f~0123456789ab", 0, 1))
    ('sum-0f', 0, 1)
    """
    return _retagged(key, "")


def _fresh_tag() -> str:
    return f"~{uuid.uuid4().hex[:12]}"


# ---------------------------------------------------------------------------------------
# nodes of the graph


class Fixed(Task):  # type: ignore[misc]
    """A task that graph optimisers leave alone, so that it can be found and filled later."""

    __slots__ = ()
    block_fusion = True


class NoTrial:
    """Task of the trial's hole in a graph that is computed outside a trial."""

    def __call__(self) -> None:
        return None


class Values:
    """Task that gives the parameters' values at the time of computing or of submission."""

    def __init__(self, owner: Owner, values: dict[str, Any] | None = None) -> None:
        self.owner = owner
        self.given = values

    def __call__(self) -> dict[str, Any]:
        return self.owner.values() if self.given is None else self.given

    def __reduce__(self) -> tuple[Any, ...]:
        return Values, (self.owner, self())


class Lookup:
    """Task that picks one parameter out of the values."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, values: dict[str, Any]) -> Any:
        try:
            return values[self.name]
        except KeyError:
            raise undefined([self.name]) from None


class Begin:
    """Task that starts the trial inside the graph."""

    def __init__(
        self, owner: Owner, steps: Mapping[str, Step[..., Any]], names: tuple[str, ...]
    ) -> None:
        self.owner = owner
        self.steps = steps
        self.names = names
        self.sent: Beginning | None = None

    def __call__(self, values: dict[str, Any]) -> RunningTrial:
        return (self.sent or self._prepare(values)).start()

    def _prepare(self, values: dict[str, Any]) -> Beginning:
        missing = [name for name in self.names if name not in values]
        if missing:
            raise undefined(missing)
        return self.owner.begin(self.steps, {name: values[name] for name in self.names})

    def __reduce__(self) -> tuple[Any, ...]:
        # Sent to a cluster, the task may run again after a lost worker: what it will begin is
        # settled here, once, so that a repetition finds the same trial.
        values = {} if self.sent else self.owner.values()
        if not self.sent and any(name not in values for name in self.names):
            return Begin, (self.owner, self.steps, self.names)
        return _sent_begin, (self.sent or self._prepare(values),)


def _sent_begin(beginning: Beginning) -> Begin:
    begin = Begin.__new__(Begin)
    begin.sent = beginning
    return begin


class Guard:
    """Task around a node that is not ours: its failure is the trial's failure."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    def __call__(self, trial: RunningTrial, /, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.func(*args, **kwargs)
        except BaseException as error:
            trial.fail(error)
            raise


class Finish:
    """Task that ends the trial and passes the computed value on."""

    def __call__(self, trial: RunningTrial, value: Any) -> Any:
        trial.complete()
        return value


class StepCall:
    """Task of one step call.

    Parameters
    ----------
    step : Step
        What is called.
    call : int
        Which call of the step in graph order, from 0.
    final : bool
        Whether the output is the trial's result.
    inputs : tuple of (str, tuple, bool)
        Name and origins of each argument, and whether it is passed by name.
    ends : bool
        Whether the trial is complete after it: true in graphs that somebody else goes on
        composing, where no later node of ours can end it.
    """

    def __init__(
        self,
        step: Step[..., Any],
        call: int = 0,
        final: bool = False,
        inputs: tuple[Input, ...] = (),
        ends: bool = False,
    ) -> None:
        self.step = step
        self.call = call
        self.final = final
        self.inputs = inputs
        self.ends = ends

    @property
    def __name__(self) -> str:
        return self.step.name

    def __call__(self, trial: RunningTrial | None, /, *args: Any, **kwargs: Any) -> Any:
        if trial is None:
            return self.step.fn(*args, **kwargs)
        value = trial.run(self, args, kwargs)
        if self.ends:
            trial.complete()
        return value


def undefined(names: list[str]) -> ParameterUndefinedError:
    """The error for parameters without a value."""
    listed = ", ".join(sorted(names))
    example = ", ".join(f"{name}=..." for name in sorted(names))
    return ParameterUndefinedError(
        f"Parameters are not defined: {listed}. Give them values with "
        f"set_parameters({example}) or compute(parameters={{...}}), or declare a default"
    )


# ---------------------------------------------------------------------------------------
# a graph in order


class Layout:
    """A graph with holes, flattened, culled and put in order once.

    Parameters
    ----------
    owner : Owner
        The experiment.
    key : str
        Key of the output.
    graph : Mapping
        The graph; nodes tagged by earlier bindings become one again.

    Raises
    ------
    StepDefinitionError
        The graph holds steps of two experiments, or two functions under one step name.
    """

    def __init__(self, owner: Owner, key: GraphKey, graph: Mapping[GraphKey, Any]) -> None:
        self.owner = owner
        self.key = canonical(key)
        self.trial_key = f"{owner.id}-trial"
        self.values_key = f"{owner.id}-values"
        nodes, self.annotations = _flattened(graph)
        order = list(_postorder(nodes, self.key))
        self.nodes: Nodes = {name: nodes[name] for name in order}
        self.steps: dict[str, Step[..., Any]] = {}
        self.parameters: dict[str, GraphKey] = {}
        self.calls: list[StepCall] = []
        self._place(order)

    @property
    def records(self) -> bool:
        """Whether computing it is a trial: it holds a call of a result step."""
        return any(call.final for call in self.calls)

    def _place(self, order: list[GraphKey]) -> None:
        counts: Counter[str] = Counter()
        origins: dict[GraphKey, tuple[Origin, ...]] = {}
        final = _last_result(self.nodes, order)
        for key in order:
            node = self.nodes[key]
            func = getattr(node, "func", None)
            if isinstance(func, StepCall):
                self._own(func.step)
                call = StepCall(
                    func.step, counts[func.step.name], key == final, _inputs(func, node, origins)
                )
                counts[func.step.name] += 1
                self.calls.append(call)
                self.nodes[key] = Fixed(key, call, *node.args, **node.kwargs)
                origins[key] = (("step", func.step.name, call.call),)
            elif isinstance(func, Lookup):
                self._own_parameter(node)
                self.parameters[func.name] = key
                origins[key] = (("parameter", func.name, 0),)
            else:
                origins[key] = _united(origins, node)

    def _own(self, step: Step[..., Any]) -> None:
        if step.owner.id != self.owner.id:
            raise _two_experiments(step.owner.id, self.owner.id)
        if self.steps.setdefault(step.name, step).fn is not step.fn:
            raise StepDefinitionError(
                f"One graph calls two different functions that are both steps named "
                f"{step.name!r}: give one of them another name, @ex(name=...)"
            )

    def _own_parameter(self, node: GraphNode) -> None:
        if node.args[0].key != self.values_key:
            raise _two_experiments(str(node.args[0].key).removesuffix("-values"), self.owner.id)

    def missing(self, values: Mapping[str, Any]) -> list[str]:
        """Names of the parameters that it uses and ``values`` lacks."""
        return [name for name in self.parameters if name not in values]

    def local(self, trial: RunningTrial | None, values: Mapping[str, Any]) -> dict[GraphKey, Any]:
        """A flat graph for one of Dask's own schedulers; its output is at :attr:`key`."""
        graph = dict(self.nodes)
        graph.pop(self.values_key, None)
        graph[self.trial_key] = DataNode(self.trial_key, trial)
        for name, key in self.parameters.items():
            graph[key] = DataNode(key, values[name])
        return graph

    @cached_property
    def sequence(self) -> list[tuple[GraphKey, list[GraphKey]]]:
        """Keys in an order in which they can be computed, each with those not needed after it."""
        last_use = {ref: key for key, node in self.nodes.items() for ref in node.dependencies}
        done: dict[GraphKey, list[GraphKey]] = {key: [] for key in self.nodes}
        for ref, key in last_use.items():
            done[key].append(ref)
        return list(done.items())

    def bound(self, trial: RunningTrial | None, values: Mapping[str, Any]) -> Delayed:
        """The graph with the holes filled, under fresh keys and with its annotations."""
        nodes = {k: n for k, n in self.local(trial, values).items() if k != self.trial_key}
        if self.calls:
            nodes[self.trial_key] = DataNode(self.trial_key, trial)
        return self._tagged(nodes, self.key)

    def open(self) -> Delayed:
        """The graph under fresh keys, to be computed by whoever takes it; ends its own trial."""
        if not self.records:
            return self._tagged(dict(self.nodes), self.key)
        nodes = self._living(ends=False)
        key = f"{self.owner.id}-finish"
        nodes[key] = Fixed(key, Finish(), TaskRef(self.trial_key), TaskRef(self.key))
        return self._tagged(nodes, key)

    def stable(self) -> Delayed:
        """The graph of a result, to be composed further by anybody: records a trial by itself."""
        return self._tagged(self._living(ends=True), self.key)

    def _living(self, ends: bool) -> Nodes:
        """Nodes of a graph that starts its own trial; foreign ones wait for it and are guarded."""
        trial = TaskRef(self.trial_key)
        begin = Begin(self.owner, self.steps, tuple(self.parameters))
        living = dict(self.nodes)
        living[self.values_key] = Fixed(self.values_key, Values(self.owner))
        living[self.trial_key] = Fixed(self.trial_key, begin, TaskRef(self.values_key))
        for key, node in self.nodes.items():
            if type(node) is Task:
                living[key] = Task(key, Guard(node.func), trial, *node.args, **node.kwargs)
            elif ends and isinstance(call := getattr(node, "func", None), StepCall) and call.final:
                ending = StepCall(call.step, call.call, True, call.inputs, ends=True)
                living[key] = Fixed(key, ending, *node.args, **node.kwargs)
        return living

    def _tagged(self, nodes: Nodes, output: GraphKey) -> Delayed:
        tag = _fresh_tag()
        names = {key: _retagged(key, tag) for key in nodes}
        renamed = {names[key]: _renamed(node, names[key], names) for key, node in nodes.items()}
        notes = {names[key]: note for key, note in self.annotations.items() if key in names}
        return Delayed(names[output], _high_level(names[output], renamed, notes))


def _two_experiments(one: str, other: str) -> StepDefinitionError:
    return StepDefinitionError(
        f"One graph mixes the experiments {one!r} and {other!r}: compute the first one and pass "
        f"its value as a parameter, or define all steps in one experiment"
    )


def _flattened(graph: Mapping[GraphKey, Any]) -> tuple[Nodes, dict[GraphKey, dict[str, Any]]]:
    """Canonical nodes with the holes open again, and the annotations by key."""
    flat = convert_legacy_graph(ensure_dict(graph))
    names = {key: canonical(_unwrapped(node).key) for key, node in flat.items()}
    nodes = {names[key]: _opened(_unwrapped(n), names[key], names) for key, n in flat.items()}
    annotations: dict[GraphKey, dict[str, Any]] = {}
    for layer in getattr(graph, "layers", {}).values():
        if layer.annotations:
            for key in layer:
                notes = annotations.setdefault(names.get(key, canonical(key)), {})
                notes.update(_notes(layer.annotations, key))
    return nodes, annotations


def _unwrapped(node: GraphNode) -> GraphNode:
    """The node itself, where Dask made a private copy of a collection passed to a delayed call.

    Such a copy has keys of its own and holds the nodes, with theirs, in calls of an identity.
    """
    func = getattr(node, "func", None)
    if getattr(func, "__qualname__", "") == "ProhibitReuse._identity":
        return node.args[0]
    return node


def _notes(annotations: Mapping[str, Any], key: GraphKey) -> dict[str, Any]:
    values = {name: v(key) if callable(v) else v for name, v in annotations.items()}
    # Dask marks "nothing for this key" by an object of a private class.
    return {n: v for n, v in values.items() if type(v).__name__ != "_AnnotationsTombstone"}


def _opened(node: GraphNode, key: GraphKey, names: Mapping[GraphKey, GraphKey]) -> GraphNode:
    node = _renamed(node, key, {name: names.get(name, name) for name in node.dependencies})
    func = getattr(node, "func", None)
    if isinstance(func, Begin):
        return Fixed(key, NoTrial())
    if isinstance(func, Guard):
        return Task(key, func.func, *node.args[1:], **node.kwargs)
    if isinstance(func, Finish):
        return Alias(key, node.args[1].key)
    return node


def _renamed(node: GraphNode, key: GraphKey, names: Mapping[GraphKey, GraphKey]) -> GraphNode:
    if isinstance(node, Alias):
        return Alias(key, names.get(node.target, node.target))
    return node.substitute(names, key=key)


def _high_level(
    output: GraphKey, nodes: Nodes, notes: Mapping[GraphKey, Mapping[str, Any]]
) -> HighLevelGraph:
    if not notes:
        return HighLevelGraph({output: MaterializedLayer(nodes)}, {output: set()})
    # Annotations belong to layers: with a layer per node each keeps exactly its own.
    names = {key: key if key == output else str(key) for key in nodes}
    layers = {
        names[key]: MaterializedLayer({key: node}, annotations=notes.get(key))
        for key, node in nodes.items()
    }
    edges = {
        names[key]: {names[ref] for ref in node.dependencies if ref in names}
        for key, node in nodes.items()
    }
    return HighLevelGraph(layers, edges)


def _references(node: GraphNode) -> Iterator[GraphKey]:
    """Keys that a node uses, in the order of its arguments."""
    if isinstance(node, TaskRef):
        yield node.key
    elif isinstance(node, Alias):
        yield node.target
    elif isinstance(node, Task):
        for part in (*node.args, *node.kwargs.values()):
            if isinstance(part, (TaskRef, GraphNode)):
                yield from _references(part)
    elif isinstance(node, GraphNode):
        yield from sorted(node.dependencies, key=str)


def _postorder(nodes: Nodes, output: GraphKey) -> Iterator[GraphKey]:
    """Keys that the output needs, inputs first, each once; needs no recursion."""
    seen = {output}
    stack = [(output, _references(nodes[output]))]
    while stack:
        key, references = stack[-1]
        for reference in references:
            if reference in nodes and reference not in seen:
                seen.add(reference)
                stack.append((reference, _references(nodes[reference])))
                break
        else:
            stack.pop()
            yield key


def _last_result(nodes: Nodes, order: list[GraphKey]) -> GraphKey:
    for key in reversed(order):
        func = getattr(nodes[key], "func", None)
        if isinstance(func, StepCall) and func.step.is_result:
            return key
    return None


def _united(origins: Mapping[GraphKey, tuple[Origin, ...]], node: Any) -> tuple[Origin, ...]:
    if not isinstance(node, (TaskRef, GraphNode)):
        return ()
    united = (origins.get(key, ()) for key in _references(node))
    return tuple(dict.fromkeys(origin for part in united for origin in part))


def _inputs(
    call: StepCall, node: GraphNode, origins: Mapping[GraphKey, tuple[Origin, ...]]
) -> tuple[Input, ...]:
    values = node.args[1:]
    names = call.step.positional(len(values))
    positional = [
        (name, _united(origins, value), False) for name, value in zip(names, values, strict=True)
    ]
    keyword = [(name, _united(origins, value), True) for name, value in node.kwargs.items()]
    return (*positional, *keyword)


# ---------------------------------------------------------------------------------------
# what users hold


class Node(Delayed):  # type: ignore[misc]
    """A Delayed of an experiment: computing it records a trial when it holds a result.

    Every operator, item, attribute and method call gives a Node again.  As with any
    Delayed, ``node == 1`` is a Node and ``hasattr(node, "anything")`` is true.
    """

    __slots__ = ("_layout", "_opened", "_owner", "_taken")

    def __init__(self, key: GraphKey, graph: Any, owner: Owner, length: int | None = None) -> None:
        super().__init__(key, graph, length)
        self._owner = owner
        self._layout: Layout | None = None
        # By thread: a graph taken by `.dask` waits for `__dask_keys__`, which dask reads next.
        self._opened: dict[int, Delayed] = {}
        self._taken: dict[int, GraphKey] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Node, (self._key, self.__dask_graph__(), self._owner, self._length)

    def layout(self) -> Layout:
        """The graph in order; made once, as a Delayed never changes."""
        if self._layout is None:
            self._layout = Layout(self._owner, self._key, self.__dask_graph__())
        return self._layout

    def compute(
        self,
        seed: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        **dask_kwargs: Any,
    ) -> Any:
        """Compute the value; with a result in the graph this is one trial.

        Parameters
        ----------
        seed : int, optional
            Seed of the trial, from 0 to 2**32 - 1; default the experiment's, else drawn.
        parameters : mapping, optional
            Values of parameters for this computation only.
        **dask_kwargs
            ``scheduler=``, ``num_workers=`` and whatever else Dask's schedulers take.

        Returns
        -------
        Any
            The value.  An exception of a step is raised unchanged, after the trial has
            been recorded as FAILED.

        Raises
        ------
        ParameterUndefinedError
            A parameter of the graph has no value; no trial is recorded.
        ComputeArgumentError
            A parameter was passed as a keyword of its own.
        """
        try:
            return self._owner.compute(self, seed=seed, parameters=parameters, **dask_kwargs)
        except BaseException as error:
            without_ours(error)
            raise

    def visualize(self, *args: Any, **kwargs: Any) -> Any:
        """Draw the graph as it was written; needs graphviz."""
        layout = self.layout()
        hidden = (layout.trial_key, layout.values_key)
        nodes = {k: _without(n, hidden) for k, n in layout.nodes.items() if k not in hidden}
        graph = HighLevelGraph({layout.key: MaterializedLayer(nodes)}, {layout.key: set()})
        return Delayed(layout.key, graph).visualize(*args, **kwargs)

    def __dask_graph__(self) -> Any:
        return self._dask

    @property
    def dask(self) -> Any:
        """The graph that a compute, persist or submission takes: holes open, fresh keys."""
        here = get_ident()
        if here not in self._opened:
            self._opened[here] = self.layout().open()
        return self._opened[here]._dask

    def __dask_keys__(self) -> list[GraphKey]:
        opened = self._opened.pop(get_ident(), None)
        if opened is None:
            return [self._key]
        self._taken[get_ident()] = opened._key
        return [opened._key]

    def __dask_postpersist__(self) -> tuple[Any, ...]:
        return _persisted, (self._taken.get(get_ident(), self._key),)

    def _wrap(self, node: Delayed) -> Node:
        return Node(node._key, node.__dask_graph__(), self._owner, node._length)

    def __getattr__(self, attr: str) -> Any:
        if attr.startswith("_"):
            raise AttributeError(f"Attribute {attr} not found")
        return _Attribute(self, attr)

    def __call__(self, *args: Any, **kwargs: Any) -> Node:
        return self._wrap(super().__call__(*args, **kwargs))

    @classmethod
    def _get_binary_operator(cls, op: Any, inv: bool = False) -> Any:
        def apply(*operands: Any) -> Node:
            node = next(x for x in operands if isinstance(x, Node))
            return node._wrap(_delayed_operator(op, inv)(*operands))

        return apply

    _get_unary_operator = _get_binary_operator


@functools.cache
def _delayed_operator(op: Any, inv: bool) -> Any:
    return delayed(right(op) if inv else op, pure=True)


_OPERATORS = """
    abs neg pos invert add sub mul floordiv truediv mod pow and_ or_ xor lshift rshift
    eq ge gt ne le lt getitem matmul
"""
for _name in _OPERATORS.split():
    Node._bind_operator(getattr(operator, _name))


def _without(node: GraphNode, hidden: tuple[GraphKey, ...]) -> GraphNode:
    if not isinstance(node, Task):
        return node
    args = (a for a in node.args if not (isinstance(a, TaskRef) and a.key in hidden))
    return Task(node.key, node.func, *args, **node.kwargs)


def _persisted(graph: Any, key: GraphKey, rename: Mapping[str, str] | None = None) -> Delayed:
    if key not in graph:  # a scheduler may have renamed the one key that was asked for
        (key,) = graph
    return Delayed(key, graph if not isinstance(graph, HighLevelGraph) else dict(graph))


class _Attribute(Node):
    """Attribute of a node, callable as a method."""

    __slots__ = ("_attr", "_source")

    def __init__(self, source: Node, attr: str) -> None:
        # Of a plain Delayed: building the graph asks its collections for attributes again.
        found = DelayedAttr(Delayed(source._key, source.__dask_graph__()), attr)
        super().__init__(found._key, found.dask, source._owner)
        self._source = source
        self._attr = attr

    def __reduce__(self) -> tuple[Any, ...]:
        return _Attribute, (self._source, self._attr)

    def __getattr__(self, attr: str) -> Any:
        # numpy asks every object for dtype.dtype without end
        if attr == "dtype" and self._attr == "dtype":
            raise AttributeError("Attribute dtype not found")
        return super().__getattr__(attr)

    def __call__(self, *args: Any, **kwargs: Any) -> Node:
        method = dask_methodcaller(self._attr)
        return self._wrap(call_function(method, self._attr, (self._source, *args), kwargs))


class Result(Node):
    """Output of a result step; computing it runs one trial."""

    __slots__ = ()


class Step(Generic[P, R]):
    """A decorated function: calling it builds a node, ``fn`` is the function itself.

    Parameters
    ----------
    owner : Owner
        The experiment.
    fn : callable
        The function.
    name : str, optional
        Name in records; default the function's own.
    persist : bool
        Whether the output of every call is kept with the trial.
    is_result : bool
        Whether its output is the trial's result.
    nout : int, optional
        Number of outputs, so that the node can be unpacked.

    Raises
    ------
    StepDefinitionError
        The object is not a function that can be a step; the message says what to do.
    """

    def __init__(
        self,
        owner: Owner,
        fn: Callable[P, R],
        name: str | None = None,
        persist: bool = False,
        is_result: bool = False,
        nout: int | None = None,
    ) -> None:
        self.owner = owner
        self.fn = fn
        self.name = name or _step_name(fn)
        self.persist = persist
        self.is_result = is_result
        self.nout = nout
        _check_function(fn, self.name)
        self.__wrapped__ = fn
        self.__name__ = self.name
        self.__doc__ = getattr(fn, "__doc__", None)
        self.__module__ = getattr(fn, "__module__", None) or __name__
        self.__qualname__ = getattr(fn, "__qualname__", self.name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        key = f"{self.name}-{uuid.uuid4()}"
        unpacked = [unpack_collections(part) for part in (_trial_hole(self.owner), *args, kwargs)]
        (*values, keywords), collections = zip(*unpacked, strict=True)
        task = Fixed(key, StepCall(self), *values, **keywords)
        graph = HighLevelGraph.from_collections(
            key, {key: task}, dependencies=list(itertools.chain(*collections))
        )
        if not self.is_result:
            return Node(key, graph, self.owner, self.nout)
        stable = Layout(self.owner, key, graph).stable()
        return Result(stable._key, stable._dask, self.owner, self.nout)

    def __get__(self, instance: Any, cls: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<{'result ' if self.is_result else ''}step {self.name!r} of {self.owner.id!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # By import path where the worker can import it: pickled by value, a function drags
        # along the globals of its module, which may hold locks and clients.
        path = import_path(self)
        if path is not None:
            return by_path, path
        return Step, (self.owner, self.fn, self.name, self.persist, self.is_result, self.nout)

    @cached_property
    def _positional(self) -> tuple[list[str], str]:
        try:
            parameters = list(inspect.signature(self.fn).parameters.values())
        except (TypeError, ValueError):
            return [], "args"
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        rest = [p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
        return [p.name for p in parameters if p.kind in kinds], rest[0] if rest else "args"

    def positional(self, count: int) -> list[str]:
        """Names of the first ``count`` positional arguments."""
        names, rest = self._positional
        return names[:count] + [f"{rest}[{i}]" for i in range(max(0, count - len(names)))]


def _trial_hole(owner: Owner) -> Delayed:
    key = f"{owner.id}-trial"
    return Delayed(key, HighLevelGraph.from_collections(key, {key: Fixed(key, NoTrial())}))


def _step_name(fn: Any) -> str:
    inner = fn
    while hasattr(inner, "func") and not hasattr(inner, "__name__"):
        inner = inner.func
    name = getattr(inner, "__name__", type(inner).__name__)
    if name == "<lambda>":
        raise StepDefinitionError(
            "A lambda has no name to be recorded under: give it one, ex(lambda ..., name='scale'), "
            "or write a function with def"
        )
    return str(name)


def _check_function(fn: Any, name: str) -> None:
    advice = None
    if isinstance(fn, Step):
        advice = "is a step already: use one decorator, @ex, @ex.persist or @ex.result"
    elif isinstance(fn, (staticmethod, classmethod)):
        advice = "must be decorated below @staticmethod or @classmethod, not above"
    elif isinstance(fn, Delayed):
        advice = "is a dask Delayed already: decorate the plain function"
    elif not callable(fn):
        advice = "is not callable: decorate a function"
    elif inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn):
        advice = "is async, steps are not: call asyncio.run(...) in a plain function"
    elif inspect.isgeneratorfunction(fn):
        advice = "is a generator, which can be read only once: return a list"
    if advice:
        raise StepDefinitionError(f"{name!r} cannot be a step: it {advice}")
