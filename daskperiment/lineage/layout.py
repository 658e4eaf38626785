"""The layout of a graph in layers: which column and which height each vertex gets."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeAlias

Edge: TypeAlias = tuple[int, int]
Bend: TypeAlias = tuple[int, float]
"""Where an edge that spans several layers passes one of them: layer and slot."""

_SWEEPS = 4
"""Sweeps in each direction, for the order and for the heights; more change next to nothing."""
_GRID = 16
"""Slots are multiples of 1 / 16, which floats hold exactly: distances are exact too."""
_APART = {0: 1.0, 1: 0.625, 2: 0.25}
"""Least distance of two neighbours of a layer, by how many of them are bends."""
_STRAIGHT = {0: 1.0, 1: 2.0, 2: 8.0}
"""How much an edge wants to be level, by how many of its ends are bends."""
_LATE = 0.001
"""The same for an edge from a late vertex, which gives way to the others of its layer."""


class Layout(NamedTuple):
    """Where the vertices of a graph are.

    Parameters
    ----------
    layers : list of int
        Layer of each vertex, 0 leftmost.
    slots : list of float
        Height of each vertex, from 0 on; two of a layer are at least 1 apart.
    bends : dict
        What the longer edges pass on their way, as (layer, slot) from left to right.
    """

    layers: list[int]
    slots: list[float]
    bends: dict[Edge, tuple[Bend, ...]]


def layout(
    count: int, edges: Iterable[Edge], late: Collection[int] = (), budget: int = 1000
) -> Layout:
    """Lay out a graph: layers by the longest path, few crossings, short and level edges.

    Each edge leads to a higher layer, except for those that close a cycle.

    Parameters
    ----------
    count : int
        Number of vertices, which are 0 to ``count - 1``.
    edges : iterable of (int, int)
        Where from and where to; an edge from a vertex to itself is not regarded.
    late : collection of int
        Vertices without incoming edges that are put just before the first vertex they lead to.
    budget : int
        Most bends; edges beyond it go straight, and have no influence on the order.

    Returns
    -------
    Layout
        The same for the same arguments.

    Examples
    --------
    >>> layout(4, [(0, 1), (0, 2), (1, 3), (2, 3)])
    Layout(layers=[0, 1, 1, 2], slots=[0.5, 0.0, 1.0, 0.5], bends={})
    """
    forward = _without_cycles(count, list(dict.fromkeys(edges)))
    layers = _layers(count, forward, frozenset(late))
    paths = _paths(forward, layers, budget)
    drawing = _Drawing(count, layers, paths, frozenset(late))
    drawing.arrange()
    slots = drawing.place()
    bends = {
        edge: tuple((drawing.layers[v], slots[v]) for v in path[1:-1])
        for edge, path in paths.items()
        if len(path) > 2
    }
    return Layout(layers[:count], slots[:count], bends)


def _without_cycles(count: int, edges: list[Edge]) -> list[Edge]:
    """Edges without those that close a cycle, as a walk finds them."""
    following = _neighbours(count, edges)
    entered = [False] * count
    open_ = [False] * count
    closing: set[Edge] = {(a, b) for a, b in edges if a == b}
    targets = {b for _, b in edges}
    # Where a cycle is entered from outside, its last edge is the one that leads back.
    for root in sorted(range(count), key=targets.__contains__):
        if entered[root]:
            continue
        entered[root] = open_[root] = True
        walk = [(root, iter(following[root]))]  # a path may be longer than Python's stack
        while walk:
            vertex, rest = walk[-1]
            for other in rest:
                if open_[other]:
                    closing.add((vertex, other))
                elif not entered[other]:
                    entered[other] = open_[other] = True
                    walk.append((other, iter(following[other])))
                    break
            else:
                open_[vertex] = False
                walk.pop()
    return [edge for edge in edges if edge not in closing]


def _neighbours(count: int, edges: Iterable[Edge]) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        found[a].append(b)
    return found


def _layers(count: int, edges: list[Edge], late: frozenset[int]) -> list[int]:
    following = _neighbours(count, edges)
    waiting = [0] * count
    for _, b in edges:
        waiting[b] += 1
    layers = [0] * count
    ready = [v for v in range(count) if not waiting[v]]
    for vertex in ready:  # grows
        for other in following[vertex]:
            layers[other] = max(layers[other], layers[vertex] + 1)
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    for vertex in late:
        if following[vertex]:
            layers[vertex] = min(layers[other] for other in following[vertex]) - 1
    return layers


def _paths(edges: list[Edge], layers: list[int], budget: int) -> dict[Edge, list[int]]:
    """Each edge as vertices of successive layers; ``layers`` grows by its bends."""
    paths: dict[Edge, list[int]] = {}
    for a, b in sorted(edges, key=lambda edge: layers[edge[1]] - layers[edge[0]]):
        between = range(layers[a] + 1, layers[b])
        budget -= len(between)
        if budget < 0:
            break
        first = len(layers)
        layers += between
        paths[a, b] = [a, *range(first, first + len(between)), b]
    return paths


class _Drawing:
    """Vertices and bends by layer, and the pieces of edges between successive layers."""

    def __init__(
        self,
        count: int,
        layers: list[int],
        paths: Mapping[Edge, list[int]],
        late: frozenset[int],
    ) -> None:
        self.count = count
        self.late = late
        self.layers = layers
        size = len(layers)
        pieces = [piece for path in paths.values() for piece in pairwise(path)]
        self.right = _neighbours(size, pieces)
        self.left = _neighbours(size, ((b, a) for a, b in pieces))
        source = list(range(size))
        for path in paths.values():
            for bend in path[1:-1]:
                source[bend] = path[0]
        self.rows: list[list[int]] = [[] for _ in range(max(layers, default=-1) + 1)]
        for vertex in sorted(range(size), key=lambda v: (source[v], v)):
            self.rows[layers[vertex]].append(vertex)

    def arrange(self) -> None:
        """Order the vertices of each layer by the mean position of their neighbours."""
        position = [0.0] * len(self.layers)
        for row in self.rows:
            _number(row, position)
        best, fewest = [list(row) for row in self.rows], self._crossings(position)
        for sweep in range(2 * _SWEEPS):
            if not fewest:
                break
            near = self.right if sweep % 2 else self.left
            for row in reversed(self.rows) if sweep % 2 else self.rows:
                wish = {
                    v: sum(position[u] for u in near[v]) / len(near[v]) if near[v] else position[v]
                    for v in row
                }
                row.sort(key=wish.__getitem__)
                _number(row, position)
            if (crossings := self._crossings(position)) < fewest:
                best, fewest = [list(row) for row in self.rows], crossings
        self.rows = best

    def _crossings(self, position: Sequence[float]) -> int:
        """How many pairs of pieces cross: inversions, counted by a tree of sums."""
        found = 0
        for row, following in zip(self.rows, self.rows[1:], strict=False):
            sums, seen = [0] * (len(following) + 1), 0
            for vertex in row:
                ends = sorted(int(position[u]) + 1 for u in self.right[vertex])
                for end in ends:
                    found += seen
                    while end:
                        found -= sums[end]
                        end &= end - 1
                for end in ends:
                    while end < len(sums):
                        sums[end] += 1
                        end += end & -end
                seen += len(ends)
        return found

    def place(self) -> list[float]:
        """Heights that make edges level, with all distances kept; the least one is 0."""
        slots = [0.0] * len(self.layers)
        for row in self.rows:
            self._put(row, [0.0] * len(row), slots)
        for sweep in range(2 * _SWEEPS):
            for row in reversed(self.rows) if sweep % 2 else self.rows:
                self._level(row, slots, [self.right] if sweep % 2 else [self.left])
        for row in self.rows:
            self._level(row, slots, [self.left, self.right])
        for row in self.rows:
            self._snap(row, slots)
        top = min(slots, default=0.0)
        return [slot - top for slot in slots]

    def _least(self, row: list[int]) -> list[float]:
        """Least distances of the vertices of a layer from those above them, 0 for the first."""
        bends = [vertex >= self.count for vertex in row]
        return [0.0, *(_APART[a + b] for a, b in pairwise(bends))][: len(row)]

    def _level(self, row: list[int], slots: list[float], sides: list[list[list[int]]]) -> None:
        wishes = []
        for vertex in row:
            pulls = [(self._pull(vertex, u), slots[u]) for side in sides for u in side[vertex]]
            whole = sum(weight for weight, _ in pulls)
            wishes.append(sum(w * slot for w, slot in pulls) / whole if whole else slots[vertex])
        self._put(row, wishes, slots)

    def _put(self, row: list[int], wishes: list[float], slots: list[float]) -> None:
        weights = [_LATE if vertex in self.late else 1.0 for vertex in row]
        found = _heights(self._least(row), wishes, weights)
        for vertex, slot in zip(row, found, strict=True):
            slots[vertex] = slot

    def _pull(self, one: int, other: int) -> float:
        if one in self.late or other in self.late:
            return _LATE
        return _STRAIGHT[(one >= self.count) + (other >= self.count)]

    def _snap(self, row: list[int], slots: list[float]) -> None:
        above = -math.inf
        for vertex, least in zip(row, self._least(row), strict=True):
            above = max(round(slots[vertex] * _GRID) / _GRID, above + least)
            slots[vertex] = above


def _number(row: list[int], position: list[float]) -> None:
    for i, vertex in enumerate(row):
        position[vertex] = i


def _heights(least: list[float], wishes: list[float], weights: list[float]) -> list[float]:
    """Heights with at least these distances whose squared differences from wishes are least.

    Without the distances it is the search for a rising sequence: neighbours that would fall are
    pooled and get their mean.
    """
    offsets = list(accumulate(least))
    pools: list[tuple[float, float, int]] = []
    for wish, own, offset in zip(wishes, weights, offsets, strict=True):
        mean, weight, size = wish - offset, own, 1
        while pools and pools[-1][0] >= mean:
            other, heavy, more = pools.pop()
            mean = (mean * weight + other * heavy) / (weight + heavy)
            weight, size = weight + heavy, size + more
        pools.append((mean, weight, size))
    level = [mean for mean, _, size in pools for _ in range(size)]
    return [mean + offset for mean, offset in zip(level, offsets, strict=True)]
