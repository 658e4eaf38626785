"""Reading a graph that others have worked on: flat, in canonical form, and in order.

Keys of graphs that run end in a random tag.  Two graphs with equal keys and different
contents on one distributed scheduler silently return the first one's result, so no two
runs may share a key; stripping the tag makes copies of one node the same node again.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from dask._task_spec import _execute_subgraph, convert_legacy_graph
from dask.task_spec import Alias, DataNode, GraphNode, Task, TaskRef
from dask.utils import ensure_dict

from daskperiment.graph.tasks import (
    OURS,
    Begin,
    Finish,
    Fixed,
    GraphKey,
    Guard,
    Lookup,
    NoTrial,
    StepCall,
)

Nodes: TypeAlias = dict[GraphKey, GraphNode]

_TAG = re.compile(r"~run-[0-9a-f]{12}$")


def retagged(key: GraphKey, tag: str) -> GraphKey:
    """The key with this tag in place of the one it has."""
    if isinstance(key, str):
        return _TAG.sub("", key) + tag
    if isinstance(key, tuple) and key and isinstance(key[0], str):
        return (_TAG.sub("", key[0]) + tag, *key[1:])
    return key


def canonical(key: GraphKey) -> GraphKey:
    """Name of a node without the tag of one run.

    Examples
    --------
    >>> canonical(("sum-0f~run-0123456789ab", 0, 1))
    ('sum-0f', 0, 1)
    """
    return retagged(key, "")


def fresh_tag() -> str:
    """A tag that no other run has."""
    return f"~run-{uuid.uuid4().hex[:12]}"


def flattened(graph: Mapping[GraphKey, Any]) -> tuple[Nodes, dict[GraphKey, dict[str, Any]]]:
    """Canonical nodes with the holes open again, and the annotations by key."""
    flat = _unfused(convert_legacy_graph(ensure_dict(graph)))
    names = {key: _named(_unwrapped(node)) for key, node in flat.items()}
    nodes: Nodes = {}
    for key, node in flat.items():
        opened = _opened(_unwrapped(node), names[key], names)
        nodes |= {names[key]: _outlined(opened), **_inner(opened)}
    annotations: dict[GraphKey, dict[str, Any]] = {}
    for layer in getattr(graph, "layers", {}).values():
        if layer.annotations:
            for key in layer:
                notes = annotations.setdefault(names.get(key, canonical(key)), {})
                notes.update(_notes(layer.annotations, key))
    return nodes, annotations


def inlined(nodes: Nodes, parameters: Iterable[GraphKey], output: GraphKey) -> Nodes:
    """The graph with parameters that are only arguments of steps within the calls of these.

    A scheduler takes longer for a node than a lookup takes.
    """
    elsewhere = {output}
    for node in nodes.values():
        elsewhere.update(references(node) if not _is_call(node) else _deep(node))
    inner = {key: nodes[key] for key in parameters if key not in elsewhere}
    return {
        key: _replaced(node, {TaskRef(k): n for k, n in inner.items()}) if _is_call(node) else node
        for key, node in nodes.items()
        if key not in inner
    }


def _outlined(node: GraphNode) -> GraphNode:
    """The node with references in place of the parameters within it."""
    inner = _inner(node)
    return _replaced(node, {n: TaskRef(k) for k, n in inner.items()}) if inner else node


def _inner(node: GraphNode) -> Nodes:
    if not _is_call(node):
        return {}
    parts = (*node.args, *node.kwargs.values())
    return {part.key: part for part in parts if isinstance(_func(part), Lookup)}


def _is_call(node: Any) -> bool:
    return isinstance(_func(node), StepCall)


def _deep(node: GraphNode) -> Iterator[GraphKey]:
    """Keys that a call uses within its arguments, in lists for example."""
    for part in (*node.args, *node.kwargs.values()):
        if not isinstance(part, TaskRef) and isinstance(part, GraphNode):
            yield from references(part)


def _replaced(node: GraphNode, others: Mapping[Any, Any]) -> GraphNode:
    def other(part: Any) -> Any:
        return others.get(part, part) if isinstance(part, (TaskRef, Task)) else part

    kwargs = {name: other(part) for name, part in node.kwargs.items()}
    return Fixed(node.key, node.func, *map(other, node.args), **kwargs)


def _named(node: GraphNode) -> GraphKey:
    # A value that one run has computed is not the node: that of another run stays beside it.
    if isinstance(node, DataNode) and isinstance(node.key, str):
        return node.key.replace("~run-", "-run-")
    return canonical(node.key)


def _unfused(nodes: Nodes) -> Nodes:
    """The graph with nodes of ours taken out of tasks into which an optimiser fused them."""
    flat: Nodes = {}
    waiting = list(nodes.items())
    while waiting:
        key, node = waiting.pop()
        fused = _unguarded(_unwrapped(node))
        if _func(fused) is not _execute_subgraph or not _holds_ours(fused):
            flat[key] = node
            continue
        inner, output, names, *outer = fused.args
        refs = {name: ref.key for name, ref in zip(names, outer, strict=True)}
        waiting += [(k, n.substitute(refs, key=k)) for k, n in inner.items()]
        if key != output:
            flat[key] = Alias(key, output)
    return flat


def _holds_ours(node: GraphNode) -> bool:
    for part in node.args[0].values():
        inner = _unguarded(_unwrapped(part))
        func = _func(inner)
        if isinstance(func, OURS) or (func is _execute_subgraph and _holds_ours(inner)):
            return True
    return False


def _unguarded(node: GraphNode) -> GraphNode:
    if isinstance(_func(node), Guard):
        return Task(node.key, node.func.func, *node.args[1:], **node.kwargs)
    return node


def _unwrapped(node: GraphNode) -> GraphNode:
    """The node itself, where Dask made a private copy of a collection passed to a delayed call.

    Such a copy has keys of its own and holds the nodes, with theirs, in calls of an identity.
    """
    while getattr(_func(node), "__qualname__", "") == "ProhibitReuse._identity":
        node = node.args[0]
    return node


def _func(node: GraphNode) -> Any:
    return getattr(node, "func", None)


def _notes(annotations: Mapping[str, Any], key: GraphKey) -> dict[str, Any]:
    values = {name: v(key) if callable(v) else v for name, v in annotations.items()}
    # Dask marks "nothing for this key" by an object of a private class.
    return {n: v for n, v in values.items() if type(v).__name__ != "_AnnotationsTombstone"}


def _opened(node: GraphNode, key: GraphKey, names: Mapping[GraphKey, GraphKey]) -> GraphNode:
    node = renamed(node, key, {name: names.get(name, name) for name in node.dependencies})
    func = _func(node)
    if isinstance(func, (Begin, NoTrial)):
        return Fixed(key, NoTrial())
    if isinstance(func, Finish):
        return Alias(key, node.args[1].key)
    if isinstance(func, OURS) and not isinstance(func, Guard):
        return Fixed(key, func, *node.args, **node.kwargs)
    return _unguarded(node)


def renamed(node: GraphNode, key: GraphKey, names: Mapping[GraphKey, GraphKey]) -> GraphNode:
    """The node under another key, with other keys in its references."""
    if isinstance(node, Alias):
        return Alias(key, names.get(node.target, node.target))
    return node.substitute(names, key=key)


def references(node: GraphNode) -> Iterator[GraphKey]:
    """Keys that a node uses, in the order of its arguments."""
    if isinstance(node, TaskRef):
        yield node.key
    elif isinstance(node, Alias):
        yield node.target
    elif isinstance(node, Task) and node.func is _execute_subgraph:
        # Fused by dask, which sorts the references by hash: theirs is the order of the parts.
        inner, output, names, *outer = node.args
        refs = dict(zip(names, outer, strict=True))
        used = (ref for part in postorder(inner, output) for ref in references(inner[part]))
        yield from (refs[ref].key for ref in dict.fromkeys(used) if ref in refs)
    elif isinstance(node, Task):
        for part in (*node.args, *node.kwargs.values()):
            if isinstance(part, (TaskRef, GraphNode)):
                yield from references(part)
    elif isinstance(node, GraphNode):
        yield from sorted(node.dependencies, key=str)


def postorder(nodes: Nodes, output: GraphKey) -> Iterator[GraphKey]:
    """Keys that the output needs, inputs first, each once; needs no recursion."""
    seen = {output}
    stack = [(output, references(nodes[output]))]
    while stack:
        key, needed = stack[-1]
        for reference in needed:
            if reference in nodes and reference not in seen:
                seen.add(reference)
                stack.append((reference, references(nodes[reference])))
                break
        else:
            stack.pop()
            yield key
