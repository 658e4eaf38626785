"""Descent: what some step calls of a trial were made from, and what was made from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from daskperiment.lineage.dag import node_of, origins_of
from daskperiment.records import Origin, StepRecord


class Descent(NamedTuple):
    """Relatives of some nodes of a trial's graph, the nearest first.

    Parameters
    ----------
    above : tuple of (str, str, int)
        Parameters and step calls that they were made from.
    below : tuple of (str, str, int)
        Step calls that were made from them.
    """

    above: tuple[Origin, ...]
    below: tuple[Origin, ...]


def descent(records: Sequence[StepRecord], of: Iterable[Origin]) -> Descent:
    """The relatives of some nodes, which are not among them.

    Parameters
    ----------
    records : sequence of StepRecord
        Records of one trial.
    of : iterable of (str, str, int)
        Step calls or parameters, as origins of arguments name them.

    Examples
    --------
    >>> from daskperiment.records import Argument
    >>> def record(step, *origins):
    ...     made = (Argument("x", None, "", origins),)
    ...     return StepRecord("0f", step, 0, made, None, None, 0, False, False, {}, "", "", 0,
    ...                       0.0, 0.5, "ran")
    >>> graph = [record("load", ("parameter", "a", 0)), record("clean", ("step", "load", 0)),
    ...          record("score", ("step", "clean", 0))]
    >>> found = descent(graph, [("step", "clean", 0)])
    >>> found.above
    (('step', 'load', 0), ('parameter', 'a', 0))
    >>> found.below
    (('step', 'score', 0),)
    """
    up: dict[Origin, list[Origin]] = {}
    down: dict[Origin, list[Origin]] = {}
    for record in records:
        node = node_of(record)
        for origin in dict.fromkeys(origins_of(record)):
            up.setdefault(node, []).append(origin)
            down.setdefault(origin, []).append(node)
    start = dict.fromkeys(of)
    return Descent(_reached(up, start), _reached(down, start))


def _reached(
    edges: Mapping[Origin, Sequence[Origin]], start: Collection[Origin]
) -> tuple[Origin, ...]:
    seen, found = set(start), list(start)
    for node in found:  # which grows meanwhile
        for other in edges.get(node, ()):
            if other not in seen:
                seen.add(other)
                found.append(other)
    return tuple(found[len(start) :])
