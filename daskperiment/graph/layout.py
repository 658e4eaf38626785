"""A graph flattened and put in order, and the graphs that run.

Keys of graphs that run end in a random tag.  Two graphs with equal keys and different
contents on one distributed scheduler silently return the first one's result, so no two
runs may share a key; stripping the tag makes copies of one node the same node again.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from dask._task_spec import convert_legacy_graph
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.task_spec import Alias, DataNode, GraphNode, Task, TaskRef
from dask.utils import ensure_dict

from daskperiment.errors import StepDefinitionError
from daskperiment.graph.tasks import (
    Begin,
    Finish,
    Fixed,
    GraphKey,
    Guard,
    Input,
    Lookup,
    NoTrial,
    Owner,
    RunningTrial,
    StepCall,
    Values,
)
from daskperiment.records import Origin

if TYPE_CHECKING:
    from daskperiment.graph.step import Step

Nodes: TypeAlias = dict[GraphKey, GraphNode]

_TAG = re.compile(r"~[0-9a-f]{12}$")


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
