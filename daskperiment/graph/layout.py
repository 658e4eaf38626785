"""A graph in order, and the graphs that run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.task_spec import DataNode, GraphNode, Task, TaskRef

from daskperiment.errors import StepDefinitionError
from daskperiment.graph.flat import (
    Nodes,
    canonical,
    flattened,
    fresh_tag,
    inlined,
    postorder,
    references,
    renamed,
    retagged,
)
from daskperiment.graph.lazy import Resolve
from daskperiment.graph.tasks import (
    Begin,
    Finish,
    Fixed,
    GraphKey,
    Guard,
    Input,
    Lookup,
    Owner,
    RunningTrial,
    StepCall,
    Values,
    trial_key,
    values_key,
)
from daskperiment.records import Origin
from daskperiment.secrets import Hidden, holds_living

if TYPE_CHECKING:
    from daskperiment.graph.step import Step


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
        self.trial_key = trial_key(owner)
        self.values_key = values_key(owner)
        nodes, self.annotations = flattened(graph)
        order = list(postorder(nodes, self.key))
        self.nodes: Nodes = {name: nodes[name] for name in order}
        self.steps: dict[str, Step[..., Any]] = {}
        self.parameters: dict[str, GraphKey] = {}
        self.calls: list[StepCall] = []
        self.final = _last_result(self.nodes, order)
        self._place(order)

    @property
    def records(self) -> bool:
        """Whether computing it is a trial: it holds a call of a result step."""
        return self.final is not None

    @property
    def result(self) -> Step[Any, Any] | None:
        """The step whose output is the trial's result."""
        return None if self.final is None else self.nodes[self.final].func.step

    def _place(self, order: list[GraphKey]) -> None:
        counts: Counter[str] = Counter()
        origins: dict[GraphKey, tuple[Origin, ...]] = {}
        for key in order:
            node = self.nodes[key]
            func = getattr(node, "func", None)
            if isinstance(func, StepCall):
                self._own(func)
                call = func.placed(
                    counts[func.step.name], key == self.final, _inputs(func, node, origins)
                )
                counts[func.step.name] += 1
                self.calls.append(call)
                self.nodes[key] = Fixed(key, call, *node.args, **node.kwargs)
                if func.step.resources:
                    notes = dict(self.annotations.get(key, {}))
                    self.annotations[key] = {"resources": dict(func.step.resources), **notes}
                origins[key] = (("step", func.step.name, call.call),)
            elif isinstance(func, Lookup):
                self._check_owner(func.handle, func.experiment, f"the parameter {func.name!r}")
                self.parameters[func.name] = key
                origins[key] = (("parameter", func.name, 0),)
            else:
                origins[key] = _united(origins, node)

    def _own(self, call: StepCall) -> None:
        step = call.step
        self._check_owner(call.handle, step.owner.id, f"the step {step.name!r}")
        if self.steps.setdefault(step.name, step).fn is not step.fn:
            raise StepDefinitionError(
                f"One graph calls two different functions that are both steps named "
                f"{step.name!r}: give one of them another name, @ex(name=...)"
            )

    def _check_owner(self, handle: str, experiment: str, what: str) -> None:
        if handle == self.owner.handle:
            return
        if experiment == self.owner.id:
            raise StepDefinitionError(
                f"One graph mixes two handles: {what} belongs to an earlier "
                f"Experiment({experiment!r}). Run the definitions of all parameters and steps "
                f"again with the handle in use"
            )
        raise StepDefinitionError(
            f"One graph mixes two experiments: {what} belongs to {experiment!r}, not to "
            f"{self.owner.id!r}. Compute the first one and pass its value as a parameter, or "
            f"define all steps in one experiment"
        )

    @cached_property
    def pickled(self) -> bytes | None:
        """Its :class:`~daskperiment.graph.recipe.Recipe`; None where that cannot be pickled."""
        from daskperiment.graph.recipe import recipe_of

        try:
            found = recipe_of(self).pickled(self.owner)
            return None if holds_living(found) else found
        except (Exception, SystemExit):  # whatever pickling raises
            return None

    def missing(self, values: Mapping[str, Any]) -> list[str]:
        """Names of the parameters that it uses and ``values`` lacks."""
        return [name for name in self.parameters if name not in values]

    def local(self, trial: RunningTrial | None, values: Mapping[str, Any]) -> dict[GraphKey, Any]:
        """A flat graph for one of Dask's own schedulers; its output is at :attr:`key`.

        Values of parameters that it has no node for go to the result step, by name.
        """
        graph = dict(self.nodes if trial is None or not trial.lazy else self._resolving)
        graph.pop(self.values_key, None)
        graph[self.trial_key] = DataNode(self.trial_key, trial)
        for name, key in self.parameters.items():
            graph[key] = _parameter(key, values[name])
        others = {name: value for name, value in values.items() if name not in self.parameters}
        if others and self.final is not None:
            graph[self.final] = _taking(self.nodes[self.final], others)
        return graph

    @cached_property
    def _resolving(self) -> Nodes:
        """The nodes, of which those that are not ours get the values themselves."""
        return {
            key: Task(key, Resolve(node.func), *node.args, **node.kwargs)
            if type(node) is Task
            else node
            for key, node in self.nodes.items()
        }

    @cached_property
    def sequence(self) -> list[tuple[GraphKey, list[GraphKey]]]:
        """Keys in an order in which they can be computed, each with those not needed after it."""
        last_use = {ref: key for key, node in self.nodes.items() for ref in node.dependencies}
        done: dict[GraphKey, list[GraphKey]] = {key: [] for key in self.nodes}
        for ref, key in last_use.items():
            done[key].append(ref)
        return list(done.items())

    @cached_property
    def serial(self) -> bool:
        """Whether each of its nodes waits for the one before, so that no two can run at once."""
        holes = {self.trial_key, self.values_key, *self.parameters.values()}
        keys = [key for key in self.nodes if key not in holes]
        return all(before in self.nodes[key].dependencies for before, key in pairwise(keys))

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
        if isinstance(getattr(self.nodes[self.key], "func", None), StepCall):
            return self.stable()
        nodes = dict(self._living)
        key = f"finish-{self.key}"
        nodes[key] = Fixed(key, Finish(), TaskRef(self.trial_key), TaskRef(self.key))
        return self._tagged(nodes, key)

    def stable(self) -> Delayed:
        """The graph of a step with a result in it, to be composed further by anybody.

        It records a trial by itself, which ends with that step.
        """
        last = self._living[self.key]
        ending = Fixed(self.key, last.func.ending(), *last.args, **last.kwargs)
        return self._tagged({**self._living, self.key: ending}, self.key)

    @cached_property
    def _living(self) -> Nodes:
        """Nodes of a graph that starts its own trial; foreign ones wait for it and are guarded."""
        trial = TaskRef(self.trial_key)
        begin = Begin(self.owner, self.steps, tuple(self.parameters), lambda: self.pickled)
        living = dict(self.nodes)
        living[self.values_key] = Fixed(self.values_key, Values(self.owner))
        living[self.trial_key] = Fixed(self.trial_key, begin, TaskRef(self.values_key))
        for key, node in self.nodes.items():
            if type(node) is Task:
                living[key] = Task(key, Guard(node.func), trial, *node.args, **node.kwargs)
        return inlined(living, self.parameters.values(), self.key)

    def _tagged(self, nodes: Nodes, output: GraphKey) -> Delayed:
        tag = fresh_tag()
        names = {key: retagged(key, tag) for key in nodes}
        tagged = {names[key]: renamed(node, names[key], names) for key, node in nodes.items()}
        notes = {names[key]: note for key, note in self.annotations.items() if key in names}
        return Delayed(names[output], _high_level(names[output], tagged, notes))


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


def _parameter(key: GraphKey, value: Any) -> GraphNode:
    # As data a hidden value would travel in clear; as a task it refuses to be pickled.
    return Fixed(key, value.reveal) if type(value) is Hidden else DataNode(key, value)


def _taking(node: GraphNode, values: Mapping[str, Any]) -> GraphNode:
    """The call of a step with these values besides."""
    # Within the call: the order in which nodes are computed stays as it is.
    others = {name: _parameter(name, value) for name, value in values.items()}
    return Fixed(node.key, node.func.taking(others), *node.args, **node.kwargs, **others)


def _last_result(nodes: Nodes, order: list[GraphKey]) -> GraphKey:
    for key in reversed(order):
        func = getattr(nodes[key], "func", None)
        if isinstance(func, StepCall) and func.step.is_result:
            return key
    return None


def _united(origins: Mapping[GraphKey, tuple[Origin, ...]], node: Any) -> tuple[Origin, ...]:
    if not isinstance(node, (TaskRef, GraphNode)):
        return ()
    united = (origins.get(key, ()) for key in references(node))
    return tuple(dict.fromkeys(origin for part in united for origin in part))


def _inputs(
    call: StepCall, node: GraphNode, origins: Mapping[GraphKey, tuple[Origin, ...]]
) -> tuple[Input, ...]:
    values = node.args[1:]
    names = call.step.positional(len(values))
    positional = [
        (name, _united(origins, value), False) for name, value in zip(names, values, strict=True)
    ]
    asked: list[Input] = [(name, (), True) for name in call.asked]
    keyword = [(name, _united(origins, value), True) for name, value in node.kwargs.items()]
    return (*positional, *asked, *keyword)
