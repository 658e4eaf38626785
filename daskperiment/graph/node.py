"""What users hold of a graph: a Delayed that records a trial when it is computed."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from threading import get_ident
from typing import Any

from dask.delayed import Delayed, DelayedAttr, call_function, delayed, right
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.task_spec import GraphNode, Task, TaskRef
from dask.utils import methodcaller

from daskperiment.graph.layout import Layout
from daskperiment.graph.tasks import GraphKey, Owner
from daskperiment.tracebacks import without_ours


class Node(Delayed):  # type: ignore[misc]
    """A Delayed of an experiment: computing it records a trial when it holds a result.

    Every operator, item, attribute and method call gives a Node again.  As with any
    Delayed, ``node == 1`` is a Node and ``hasattr(node, "anything")`` is true.
    """

    __slots__ = ("_attributes", "_layout", "_opened", "_owner", "_records", "_taken")

    def __init__(
        self,
        key: GraphKey,
        graph: Any,
        owner: Owner,
        length: int | None = None,
        records: bool = False,
    ) -> None:
        super().__init__(key, graph, length)
        self._owner = owner
        self._records = records
        self._layout: Layout | None = None
        self._attributes: dict[str, _Attribute] = {}
        # By thread: a graph taken by `.dask` waits for `__dask_keys__`, which dask reads next.
        self._opened: dict[int, Delayed] = {}
        self._taken: dict[int, GraphKey] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Node, (self._key, self._dask, self._owner, self._length, self._records)

    def compute(
        self,
        seed: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        reuse: bool | None = None,
        **dask_kwargs: Any,
    ) -> Any:
        """Compute the value; with a result in the graph this is one trial.

        Parameters
        ----------
        seed : int, optional
            Seed of the trial, from 0 to 2**32 - 1; default the experiment's, else drawn.
        parameters : mapping, optional
            Values of parameters for this computation only.
        reuse : bool, optional
            Whether calls of its steps may be taken from earlier trials: True for all, False for
            none; default what each step, or else the experiment, says.
        **dask_kwargs
            ``scheduler=``, ``num_workers=`` and whatever else Dask's schedulers take.

        Returns
        -------
        Any
            The value.  An exception of a step is raised unchanged, after the trial has
            been recorded as FAILED; ``TrialPruned``, too, after it has as PRUNED.

        Raises
        ------
        ParameterUndefinedError
            A parameter of the graph has no value; no trial is recorded.
        ComputeArgumentError
            A parameter was passed as a keyword of its own.
        """
        try:
            return self._owner.compute(
                self, seed=seed, parameters=parameters, reuse=reuse, **dask_kwargs
            )
        except BaseException as error:
            without_ours(error)
            raise

    def visualize(self, *args: Any, **kwargs: Any) -> Any:
        """Draw the graph as it was written; needs graphviz."""
        layout = layout_of(self)
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
            self._opened[here] = layout_of(self).open()
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
        graph = node.__dask_graph__()
        return Node(node._key, graph, self._owner, node._length, self._records)

    def __getattr__(self, attr: str) -> Any:
        if attr.startswith("_"):
            raise AttributeError(f"Attribute {attr} not found")
        if (known := self._attributes.get(attr)) is None:  # dask asks for some at each computing
            known = self._attributes[attr] = _Attribute(self, attr)
        return known

    def __call__(self, *args: Any, **kwargs: Any) -> Node:
        return self._wrap(super().__call__(*args, **kwargs))

    @classmethod
    def _get_binary_operator(cls, op: Any, inv: bool = False) -> Any:
        def apply(*operands: Any) -> Node:
            node = next(x for x in operands if isinstance(x, Node))
            return node._wrap(_delayed_operator(op, inv)(*operands))

        return apply

    _get_unary_operator = _get_binary_operator


def layout_of(node: Node) -> Layout:
    """The graph of a node in order; made once, as a Delayed never changes."""
    if node._layout is None:
        node._layout = Layout(node._owner, node._key, node.__dask_graph__())
    return node._layout


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
        super().__init__(found._key, found.dask, source._owner, records=source._records)
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
        method = methodcaller(self._attr)
        return self._wrap(call_function(method, self._attr, (self._source, *args), kwargs))


class Result(Node):
    """Output of a result step; computing it runs one trial."""

    __slots__ = ()
