"""A picture of a trial's graph: SVG that stands in a page by itself, light or dark."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from html import escape
from itertools import pairwise
from typing import Any, TypeAlias

from daskperiment.history.trials import duration
from daskperiment.lineage.dag import Dag, Node
from daskperiment.records import StepRecord
from daskperiment.serializers import preview

_LETTER = 6.7
"""Width of a letter in the first line of a box, with room for fonts that are wider."""
_LETTERS = 22
_ROW = 54
_BOX, _PILL = 38, 24
"""Heights of a step and of a parameter."""
_GAP = 46
"""From a column to the next one."""
_MARGIN = 10
_NARROWEST = 72
_MOST_EDGES = 1000
_MOST_INPUTS = 12
_FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
_COLOURS = {
    "ran": "#2f9e6e", "failed": "#d9534a", "pruned": "#7a828e", "reused": "#4a86c8",
    None: "#8a8f98",
    "run": "#2f9e6e", "reuse": "#4a86c8", "depends": "#b7791f",
}  # fmt: skip
# Drawn, since fonts differ in the signs that they have.
_GLYPHS = {
    "ran": '<path d="M-4 0.2L-1.2 3L4 -3"/>',
    "failed": '<path d="M-3.2 -3.2L3.2 3.2M3.2 -3.2L-3.2 3.2"/>',
    "pruned": '<path d="M-4 -3.6V3.6M-1.4 0H3.8M1.4 -2.6L4 0L1.4 2.6"/>',
    "reused": '<path d="M3.4 -1.6A3.8 3.8 0 1 0 3.6 1.2M3.9 -4.2V-1.4H1.1"/>',
    None: '<path d="M-3.6 0h.01M0 0h.01M3.6 0h.01"/>',
    "run": '<path d="M-2.4 -3.8L3.6 0L-2.4 3.8z"/>',
    "depends": '<path d="M-2.6 -1.8A2.7 2.7 0 1 1 0.8 1.2Q0 1.6 0 2.4M0 4.4h.01"/>',
}
_GLYPHS["reuse"] = _GLYPHS["reused"]
_MICROSECONDS = "\N{MICRO SIGN}s"
_OUTCOMES = {
    "ran": "ran", "failed": "failed", "pruned": "pruned", "reused": "reused",
    None: "no end recorded",
    "run": "runs", "reuse": "reused", "depends": "depends",
}  # fmt: skip
_PLANNED = ("run", "reuse", "depends")
Sentences: TypeAlias = Mapping[tuple[str, int], str]
"""What is told of step calls, by step and call."""


def picture(
    graph: Dag, values: Mapping[str, str] | None = None, sentences: Sentences | None = None
) -> str:
    """The graph of a trial as HTML with SVG in it, from left to right.

    Colour and a sign tell the outcome, what one points at tells the inputs.  Nothing is loaded
    and no style reaches beyond it; whatever the records hold is escaped.

    Parameters
    ----------
    graph : Dag
        What :func:`daskperiment.lineage.dag.dag` gave.
    values : mapping of str to str
        Texts of parameters by name.
    sentences : mapping of (str, int) to str
        What is told of step calls, by step and call.

    Returns
    -------
    str
        Empty where the graph has no node.

    Examples
    --------
    >>> from daskperiment.lineage.dag import dag
    >>> picture(dag([]))
    ''
    """
    if not graph.nodes:
        return ""
    values, sentences = values or {}, sentences or {}
    labels = {node.id: _label(node, values) for node in graph.nodes}
    drawing = _Drawing(graph, labels)
    edges = [drawing.edge(edge) for edge in graph.edges[:_MOST_EDGES]]
    targets = {target for _, target in graph.edges[:_MOST_EDGES]}
    heads = "".join(drawing.head(node) for node in graph.nodes if node.id in targets)
    boxes = "".join(drawing.box(node, _title(node, values, sentences)) for node in graph.nodes)
    width, height = drawing.width, round(graph.slots * _ROW - _ROW + _BOX) + 2 * _MARGIN
    return (
        '<div style="overflow-x:auto;text-align:left">'
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="Graph of the steps" font-family="{_FONT}" font-size="11"'
        ' fill="currentColor" style="display:block;max-width:none">'
        '<g fill="none" stroke="currentColor" stroke-opacity="0.35" stroke-width="1.3">'
        f'{"".join(edges)}</g><path d="{heads}" fill-opacity="0.5"/>{boxes}</svg>'
        f"{_note(graph)}</div>"
    )


class _Drawing:
    """Where things are on the paper."""

    def __init__(self, graph: Dag, labels: Mapping[str, str]) -> None:
        self.labels = labels
        self.bends = graph.bends
        self.nodes = {node.id: node for node in graph.nodes}
        self.wide = {node.id: _width(node, labels[node.id]) for node in graph.nodes}
        self.widths = [0] * graph.layers
        for node in graph.nodes:
            self.widths[node.layer] = max(self.widths[node.layer], self.wide[node.id])
        self.lefts, self.width = [], _MARGIN
        for width in self.widths:
            self.lefts.append(self.width)
            self.width += width + _GAP
        self.width += _MARGIN - _GAP

    def _height(self, slot: float) -> float:
        return _MARGIN + _BOX / 2 + slot * _ROW

    def edge(self, edge: tuple[str, str]) -> str:
        """A curve that is level at both ends, and where it passes other columns."""
        source, target = self.nodes[edge[0]], self.nodes[edge[1]]
        if target.layer <= source.layer:
            return self._backward(source, target)
        start = float(self.lefts[source.layer] + self.widths[source.layer])
        points = [(start, self._height(source.slot))]
        points += [
            (float(self.lefts[layer] + side), self._height(slot))
            for layer, slot in self.bends.get(edge, ())
            for side in (0, self.widths[layer])
        ]
        points.append((self.lefts[target.layer] - 5.0, self._height(target.slot)))
        path = [f"M{points[0][0]:g} {points[0][1]:g}"]
        for (x, y), (right, level) in pairwise(points):
            if y == level:
                path.append(f"H{right:g}")
                continue
            pull = (right - x) / 2
            path.append(f"C{x + pull:g} {y:g} {right - pull:g} {level:g} {right:g} {level:g}")
        return f'<path d="{"".join(path)}"/>'

    def _backward(self, source: Node, target: Node) -> str:
        """Below the boxes, since it closes a cycle."""
        x, y = self.lefts[source.layer] + self.widths[source.layer], self._height(source.slot)
        left, level = self.lefts[target.layer] - 5, self._height(target.slot)
        low = max(y, level) + _BOX / 2 + 6
        return (
            f'<path d="M{x:g} {y:g}C{x + 14:g} {y:g} {x + 14:g} {low:g} {x:g} {low:g}H{left:g}'
            f'C{left - 6:g} {low:g} {left - 6:g} {level:g} {left:g} {level:g}"'
            ' stroke-dasharray="4 3"/>'
        )

    def head(self, node: Node) -> str:
        """The head of all arrows that lead to a node."""
        return f"M{self.lefts[node.layer] - 0.5:g} {self._height(node.slot):g}l-6.5 -3.2v6.4z"

    def box(self, node: Node, title: str) -> str:
        """A node: a box for a step, a pill for a parameter."""
        parameter = node.kind == "parameter"
        tall = _PILL if parameter else _BOX
        width = self.wide[node.id] if parameter else self.widths[node.layer]
        colour = "currentColor" if parameter else _COLOURS[node.outcome]
        look = (0.06, 0.3) if parameter else (0.14, 0.9)
        dashes = "" if parameter or node.outcome else ' stroke-dasharray="4 3"'
        x = self.lefts[node.layer] + self.widths[node.layer] - width
        y = self._height(node.slot) - tall / 2
        rounded = tall // 2 if parameter else 7
        return (
            f'<g transform="translate({x:g} {y:g})"><title>{escape(title)}</title>'
            f'<rect width="{width}" height="{tall}" rx="{rounded}" fill="{colour}"'
            f' fill-opacity="{look[0]}" stroke="{colour}" stroke-opacity="{look[1]}"{dashes}/>'
            f'<text x="{width / 2:g}" y="16" text-anchor="middle">'
            f"{escape(self.labels[node.id])}</text>"
            f"{'' if parameter else _second_line(node, width)}</g>"
        )


def _width(node: Node, label: str) -> int:
    first = round(_wide(label) * _LETTER) + 20
    if node.kind == "parameter":
        return first
    return max(first, round(6.1 * len(_short_duration(node.seconds))) + 35, _NARROWEST)


def _second_line(node: Node, width: int) -> str:
    """The sign of the outcome and the duration, together in the middle."""
    took = _short_duration(node.seconds)
    colour = _COLOURS[node.outcome]
    whole = 9 + (6 + 6.1 * len(took) if took else 0)
    left = (width - whole) / 2
    return (
        f'<g transform="translate({left + 4.5:g} 27.5)" fill="none" stroke="{colour}"'
        f' stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round">'
        f"{_GLYPHS[node.outcome]}</g>"
        f'<text x="{left + 15:g}" y="31" font-size="10" fill-opacity="0.7">{took}</text>'
    )


def _label(node: Node, values: Mapping[str, str]) -> str:
    name = _plain(node.label)
    if node.kind == "parameter":
        known = values.get(node.label)
        whole = f"{name} = {_plain(known)}" if known is not None else name
        return _cut(whole) if _wide(whole) <= _LETTERS else _cut(name)
    times = f" \N{MULTIPLICATION SIGN}{node.calls}" if node.calls > 1 else ""
    if node.call is not None and name.endswith(call := f"[{node.call}]"):
        name, times = name.removesuffix(call), call
    return _cut(name, _LETTERS - len(times)) + times


def _title(node: Node, values: Mapping[str, str], sentences: Sentences) -> str:
    if node.kind == "parameter":
        known = values.get(node.label)
        return _lines("parameter " + node.label, *([f"= {known}"] if known is not None else []))
    took = duration(node.seconds)
    ended = _OUTCOMES[node.outcome]
    if node.calls > 1:
        whole = f", {took} in all" if took else ""
        return _lines(f"{node.label}: {node.calls} calls, {ended}{whole}")
    planned = node.outcome in _PLANNED
    first = f"{node.label}: {ended}" + (f" {'about' if planned else 'in'} {took}" if took else "")
    if node.record is None:
        return _lines(first)
    place: tuple[Any, Any] = node.record.place  # others may have recorded anything
    plain = all(isinstance(part, (str, int)) for part in place)
    told = [sentences[place]] if plain and place in sentences else []
    return _lines(first, *told, *_told(node.record, planned))


def _told(record: StepRecord, planned: bool) -> list[str]:
    known = [f" = {each.preview}" if each.preview else " is not known" for each in record.inputs]
    lines = [f"{each.name}{text}" for each, text in zip(record.inputs, known, strict=True)]
    if (more := len(lines) - _MOST_INPUTS) > 0:
        lines[_MOST_INPUTS:] = [f"and {more} more"]
    if not planned:
        lines.append(f"seed {preview(record.seed, 40)}")
    if record.reused_from is not None:
        lines.append(f"output of trial {record.reused_from}")
    return lines


def _lines(*lines: str) -> str:
    return "\n".join(_plain(line)[:200] for line in lines)


def _plain(text: str) -> str:
    """Text without what changes how its surroundings look, or what UTF-8 does not have."""
    return "".join(c if c.isprintable() else " " for c in text[:300])


def _wide(text: str) -> int:
    """How many letters' room a text takes."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, room: int = _LETTERS) -> str:
    if _wide(text) <= room:
        return text
    while text and _wide(text) >= room:
        text = text[: min(len(text) - 1, room - 1)]
    return text + "…"


def _short_duration(seconds: float | None) -> str:
    if seconds is not None and 0 <= seconds < 0.0995:
        unit = 1e6 if seconds < 0.000995 else 1e3
        number = seconds * unit
        shown = f"{number:.0f}" if number >= 9.95 else f"{number:.1f}"
        return f"{shown} {'ms' if unit == 1e3 else _MICROSECONDS}"
    return duration(seconds) or ""


def _note(graph: Dag) -> str:
    told = []
    if graph.collapsed:
        calls = sum(node.calls for node in graph.nodes)
        told.append(f"{calls} calls, those of one step in one box")
    if graph.omitted:
        told.append(f"{graph.omitted} parameters and steps are left out")
    if (more := len(graph.edges) - _MOST_EDGES) > 0:
        told.append(f"{more} lines are left out")
    return f'<div style="opacity:0.7;font-size:smaller">{"; ".join(told)}</div>' if told else ""
