"""The graph of a trial: its step calls and parameters, laid out in layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from daskperiment.lineage.layout import Bend, Edge, Layout, layout
from daskperiment.records import Origin, StepRecord
from daskperiment.serializers import preview

_OUTCOMES = ("ran", "failed", "pruned", "reused", "run", "reuse", "depends")
"""Of calls that have ended, and of those that are planned."""
_LONGEST = 80
"""Characters of a label."""
_MOST_CALLS = 2**63
_MOST_SECONDS = 1e11


class Node(NamedTuple):
    """A step call, the calls of one step, or a parameter.

    Parameters
    ----------
    id : str
        ``clean[0]`` for call 0 of step ``clean``, ``clean[*]`` for all its calls, the name for a
        parameter; unique in the graph.
    kind : str
        ``step`` or ``parameter``.
    label : str
        What to show: the name, with the call where the step was called more than once.
    call : int or None
        Which call it is; None for a parameter and for several calls.
    calls : int
        How many step calls it stands for; 0 for a parameter.
    outcome : str or None
        ``ran``, ``failed`` or ``reused``; None while nothing is recorded; in a plan ``run``,
        ``reuse`` or ``depends``.  Of several calls it is ``failed`` where one failed, else the
        most frequent one.
    seconds : float or None
        How long it took, of several calls all together.
    layer : int
        Which column, 0 leftmost.
    slot : float
        Height in units of one row, downwards from 0.
    record : StepRecord or None
        Last record of the call.
    name : str
        Name of the step or parameter.
    """

    id: str
    kind: str
    label: str
    call: int | None
    calls: int
    outcome: str | None
    seconds: float | None
    layer: int
    slot: float
    record: StepRecord | None
    name: str


class Dag(NamedTuple):
    """The graph of a trial.

    Parameters
    ----------
    nodes : tuple of Node
        Parameters, then steps, each in the order in which they appear in the records.
    edges : tuple of (str, str)
        Ids of what went into what.  They lead to a higher layer, except for those that close a
        cycle, which only records of others can have, or several calls that are shown as one.
    bends : dict
        What an edge that spans several layers passes on its way, as (layer, slot).
    layers : int
        How many columns there are.
    slots : float
        How many rows they take.
    collapsed : bool
        Whether the calls of one step are shown as one node.
    omitted : int
        Parameters and steps that are left out, because there are too many.
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    bends: dict[tuple[str, str], tuple[Bend, ...]]
    layers: int
    slots: float
    collapsed: bool
    omitted: int


def dag(records: Sequence[StepRecord], most: int = 200) -> Dag:
    """The graph that the step records of one trial tell of.

    Edges come from the origins of the arguments.  A call that others were made from and that has
    no record, since it has not ended or the process died, is a node without outcome.  Of several
    attempts of one call the last one counts.

    Parameters
    ----------
    records : sequence of StepRecord
        What :meth:`daskperiment.history.steps.Steps.read` gave.
    most : int
        Most step calls that are shown one by one, and most nodes of each kind.  More parameters
        are left out, all of them; more calls are shown as one node a step.

    Returns
    -------
    Dag
        The same for the same records.

    Examples
    --------
    >>> from daskperiment.records import Argument, StepRecord
    >>> def record(step, *origins):
    ...     inputs = (Argument("x", None, "1", origins),)
    ...     return StepRecord("0f", step, 0, inputs, None, None, 0, False, False, {}, "", "", 0,
    ...                       0.0, 0.5, "ran")
    >>> graph = dag([record("clean", ("parameter", "a", 0)), record("fit", ("step", "clean", 0))])
    >>> [(node.id, node.layer) for node in graph.nodes]
    [('a', 0), ('clean[0]', 1), ('fit[0]', 2)]
    >>> graph.edges
    (('a', 'clean[0]'), ('clean[0]', 'fit[0]'))
    """
    calls: dict[Origin, StepRecord | None] = {node_of(record): record for record in records}
    parameters: dict[Origin, None] = {}
    edges: dict[tuple[Origin, Origin], None] = {}
    for key, record in list(calls.items()):
        for origin in origins_of(record):
            if origin[0] == "step":
                calls.setdefault(origin, None)
            else:
                parameters.setdefault(origin)
            edges.setdefault((origin, key))

    collapsed = len(calls) > most
    shown, omitted = list(parameters), 0
    if len(shown) > most:
        shown, omitted = [], len(shown)
    groups: dict[object, list[Origin]] = {}
    for key in calls:
        groups.setdefault(key[1] if collapsed else key, []).append(key)
    omitted += max(0, len(groups) - most)
    steps = list(groups.values())[:most]

    number = {key: i for i, key in enumerate(shown)}
    number |= {key: len(shown) + i for i, keys in enumerate(steps) for key in keys}
    pairs = [(number[a], number[b]) for a, b in edges if a in number and b in number]
    pairs = list(dict.fromkeys((a, b) for a, b in pairs if a != b))
    drawn = layout(len(shown) + len(steps), pairs, late=range(len(shown)), budget=5 * most)

    often = Counter(name for _, name, _ in calls)
    ids = _ids([name for _, name, _ in shown], list(map(_id, steps)))
    nodes = [
        Node(ids[i], "parameter", _short(key[1]), None, 0, None, None, *_at(drawn, i), None, key[1])
        for i, key in enumerate(shown)
    ]
    for i, keys in enumerate(steps, len(shown)):
        nodes.append(_step(ids[i], keys, calls, often, _at(drawn, i)))
    return _dag(nodes, pairs, drawn, collapsed, omitted)


def _dag(nodes: list[Node], pairs: list[Edge], drawn: Layout, collapsed: bool, omitted: int) -> Dag:
    edges = tuple((nodes[a].id, nodes[b].id) for a, b in pairs)
    bends = {(nodes[a].id, nodes[b].id): passed for (a, b), passed in drawn.bends.items()}
    heights = [*drawn.slots, *(slot for passed in bends.values() for _, slot in passed)]
    layers = max(drawn.layers, default=-1) + 1
    return Dag(
        tuple(nodes), edges, bends, layers, max(heights, default=-1.0) + 1, collapsed, omitted
    )


def _step(
    id_: str,
    keys: list[Origin],
    calls: Mapping[Origin, StepRecord | None],
    often: Mapping[str, int],
    at: tuple[int, float],
) -> Node:
    records = [calls[key] for key in keys]
    outcomes = Counter(map(_outcome, records))
    ends = (outcome for outcome in ("failed", "pruned") if outcomes[outcome])
    outcome = next(ends, outcomes.most_common(1)[0][0])
    took = [seconds for seconds in map(_seconds, records) if seconds is not None]
    _, name, call = keys[0]
    alone = len(keys) == 1
    label = _short(name) + (f"[{call}]" if alone and often[name] > 1 else "")
    return Node(
        id_,
        "step",
        label,
        call if alone else None,
        len(keys),
        outcome,
        sum(took) if took else None,
        *at,
        records[0] if alone else None,
        name,
    )


def _at(drawn: Layout, number: int) -> tuple[int, float]:
    return drawn.layers[number], drawn.slots[number]


def _id(keys: list[Origin]) -> str:
    _, name, call = keys[0]
    return f"{name}[{call if len(keys) == 1 else '*'}]"


def _ids(parameters: list[str], steps: list[str]) -> list[str]:
    """Ids of all nodes: a parameter gives way where it is named like a step call."""
    taken = {*parameters, *steps}
    clashing = set(steps)
    ids = []
    for name in parameters:
        id_ = name
        while id_ in clashing or (id_ != name and id_ in taken):
            id_ += " (parameter)"
        taken.add(id_)
        ids.append(id_)
    return ids + steps


# -- what stands in a shared store may be anything --------------------------------------------


def node_of(record: StepRecord) -> Origin:
    """The node of a record, as origins of arguments name it."""
    call: Any = record.call
    known = isinstance(call, int) and -_MOST_CALLS <= call < _MOST_CALLS
    return "step", _name(record.step), int(call) if known else 0


def origins_of(record: StepRecord | None) -> list[Origin]:
    """The nodes that a call was made from, one for each origin of each argument."""
    arguments = record.inputs if record is not None else ()
    return [
        (kind, _name(name), call if kind == "step" else 0)
        for argument in arguments
        for kind, name, call in argument.origins
        if kind in ("step", "parameter")
    ]


def _name(name: Any) -> str:
    return name if isinstance(name, str) else preview(name, _LONGEST)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _outcome(record: StepRecord | None) -> str | None:
    outcome = record.outcome if record is not None else None
    return outcome if isinstance(outcome, str) and outcome in _OUTCOMES else None


def _seconds(record: StepRecord | None) -> float | None:
    seconds: Any = record.seconds if record is not None else None
    known = isinstance(seconds, (int, float)) and -_MOST_SECONDS < seconds < _MOST_SECONDS
    return float(seconds) if known else None
