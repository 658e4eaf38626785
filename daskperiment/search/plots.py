"""Plots of a search, drawn without pyplot: in any thread, headless, and for nobody else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from daskperiment.errors import SearchError
from daskperiment.history.searches import Tried
from daskperiment.search.objective import Metric, Objective, pareto
from daskperiment.search.plot_scales import Scale, scale_of, shortened, value_scale
from daskperiment.search.space import SearchSpace
from daskperiment.serializers import preview

_COLOURS = "viridis"
_GREY = "0.6"
_SMALL = 7
_LARGEST = 1e100
"""Far beyond it, axes with their margins and ticks do not fit into floats."""


class Picture(Figure):
    """A figure that notebooks show, whatever backend they have."""

    def __init__(self, width: float = 6.4, height: float = 4.8) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        written = BytesIO()
        self.savefig(written, format="png")
        return written.getvalue()


@dataclass(frozen=True)
class Seen:
    """What there is to draw of a search.

    Parameters
    ----------
    name : str
        What it is called.
    space : SearchSpace
        Where it searches.
    objective : Objective
        Its metrics.
    metric : int
        The position of the one that is drawn.
    tried : sequence of Tried
        Its trials by place.
    shares : callable
        Gives the importance of each parameter for that metric.
    """

    name: str
    space: SearchSpace
    objective: Objective
    metric: int
    tried: Sequence[Tried]
    shares: Callable[[], Mapping[str, float]]

    @property
    def drawn(self) -> Metric:
        """The metric that is drawn."""
        return self.objective.metrics[self.metric]

    @property
    def label(self) -> str:
        """What is written at an axis of it."""
        return _label(self.drawn)

    def value(self, tried: Tried) -> float | None:
        """That of a COMPLETE trial, if it can be drawn."""
        return _finite(tried.values[self.metric])


Path_ = str | PathLike[str] | None


def plot(seen: Seen, kind: str, path: Path_ = None, ax: Axes | None = None) -> Figure:
    """Draw a search; see :meth:`daskperiment.search.Search.plot`."""
    if not isinstance(kind, str) or kind not in _KINDS:
        raise SearchError(f"kind is one of {', '.join(_KINDS)}, not {preview(kind, 80)}")
    format = None if path is None else _format(path)
    draw, size = _KINDS[kind]
    if ax is None:
        ax = Picture(*size(len(seen.space.names))).add_subplot()
    draw(seen, ax)
    figure = ax.get_figure(root=True)
    assert figure is not None  # the axes of a caller may be without one only while it is removed
    if path is not None:
        figure.savefig(path, format=format)
    return figure


def _format(path: str | PathLike[str]) -> str:
    """The format that a suffix names, if a file can be there."""
    known = FigureCanvasAgg.get_supported_filetypes()
    found = Path(path).suffix.removeprefix(".").lower()
    if found not in known:
        raise SearchError(f"path ends with one of .{', .'.join(known)}, not {str(path)!r}")
    if not Path(path).parent.is_dir():
        raise SearchError(f"There is no folder {str(Path(path).parent)!r}: make it first")
    return found


# -- convergence


def _convergence(seen: Seen, ax: Axes) -> None:
    """The value of each trial, and the best so far."""
    complete = [(each.place, v) for each in seen.tried if (v := seen.value(each)) is not None]
    pruned = [(t.place, v) for t in seen.tried if (v := _last_report(t)) is not None]
    shown = {place for place, _ in (*complete, *pruned)}
    lost = [t.place for t in seen.tried if t.state.ended and t.place not in shown]
    if value_scale([value for _, value in (*complete, *pruned)]).log:
        ax.set_yscale("log")
    if not shown:
        ax.set_yticks([])
    if complete:
        ax.plot(*zip(*complete, strict=True), "o", color="C0", alpha=0.6, ms=5, label="trial")
    if pruned:
        ax.plot(
            *zip(*pruned, strict=True),
            "v",
            color=_GREY,
            mfc="none",
            ms=5,
            label="pruned, last report",
        )
    if complete:
        last = max(each.place for each in seen.tried)
        steps = _best_so_far(seen.drawn, complete, last)
        ax.plot(*steps, color="C1", lw=2, drawstyle="steps-post", label="best so far")
    if lost:
        ax.plot(
            lost, [0.02] * len(lost), "x", color="C3", ms=5, clip_on=False,
            transform=ax.get_xaxis_transform(), label="failed, or without a number",
        )  # fmt: skip
    _named(ax, f"Convergence of {shortened(seen.name, 40)}", "place of the trial", seen.label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _told(ax, bool(complete or pruned or lost))


def _best_so_far(
    metric: Metric, complete: Sequence[tuple[int, float]], last: int
) -> tuple[list[int], list[float]]:
    best = complete[0][1]
    places, values = [], []
    for place, value in complete:
        best = value if metric.loss(value) < metric.loss(best) else best
        places.append(place)
        values.append(best)
    return [*places, last], [*values, best]


def _last_report(tried: Tried) -> float | None:
    return _finite(tried.reports[max(tried.reports)]) if tried.reports else None


# -- parallel coordinates


def _parallel(seen: Seen, ax: Axes) -> None:
    """A line for each trial through its values on an axis for each parameter."""
    rows = [(each, seen.space.within(each.parameters) or {}) for each in seen.tried]
    scales = _scales(seen, [row for _, row in rows])
    best_last = sorted(
        (each for each in rows if seen.value(each[0]) is not None),
        key=lambda each: -seen.drawn.loss(seen.value(each[0]) or 0.0),
    )
    others = [each for each in rows if seen.value(each[0]) is None and each[0].state.ended]
    lost = [_line(seen, scales, *each) for each in others]
    ax.add_collection(LineCollection(lost, colors=_GREY, linestyles=":", lw=0.8, label="others"))
    lines = [_line(seen, scales, *each) for each in best_last]
    coloured = LineCollection(lines, cmap=_colours(seen.drawn), lw=1.2, alpha=0.8, label="trials")
    coloured.set_array([each[-1][1] for each in lines])
    coloured.set_clim(0, 1)
    ax.add_collection(coloured)
    _draw_points(ax, lost, None)
    _draw_points(ax, lines, _colours(seen.drawn))
    _draw_scales(ax, scales)
    ax.set_title(f"Trials of {shortened(seen.name, 40)}", parse_math=False)
    _told(ax, bool(best_last or others), legend=False)


Line = list[tuple[float, float]]


def _draw_points(ax: Axes, lines: Sequence[Line], colours: str | None) -> None:
    """The points of lines: of a value between two gaps there is no line."""
    points = [(x, y, line[-1][1]) for line in lines for x, y in line if y == y]
    x, y, values = ([each[index] for each in points] for index in range(3))
    if colours is None:
        ax.scatter(x, y, s=4, color=_GREY)
    else:
        ax.scatter(x, y, s=8, c=values, cmap=colours, vmin=0, vmax=1, zorder=3)


def _line(seen: Seen, scales: Mapping[str, Scale], tried: Tried, row: Mapping[str, Any]) -> Line:
    *parameters, value = scales.values()
    names = list(scales)[:-1]
    places = [
        scale.place(row[name]) if name in row else math.nan
        for name, scale in zip(names, parameters, strict=True)
    ]
    found = seen.value(tried)
    places.append(math.nan if found is None else value.place(found))
    return list(enumerate(places))


def _scales(seen: Seen, rows: Sequence[Mapping[str, Any]]) -> dict[str, Scale]:
    """Those of all parameters that vary, and of the value as the last one."""
    found: dict[str, Scale] = {}
    for name in seen.space.names:
        kinds = [axis.distribution for axis in seen.space.axes if axis.name == name]
        if len(kinds) > 1 or kinds[0].size > 1:
            found[name] = scale_of(kinds, [row[name] for row in rows if name in row])
    values = [value for each in seen.tried if (value := seen.value(each)) is not None]
    return {**found, f"\0{seen.label}": value_scale(values)}


def _draw_scales(ax: Axes, scales: Mapping[str, Scale]) -> None:
    for position, scale in enumerate(scales.values()):
        ax.axvline(position, color="0.8", lw=0.8, zorder=0)
        for place, text in scale.ticks:
            ax.text(
                position + 0.03, place, shortened(text, 16 if len(scales) <= 9 else 9),
                fontsize=_SMALL, parse_math=False, va="center", zorder=4,
                bbox={"fc": "w", "ec": "none", "alpha": 0.6, "pad": 0.5},
            )  # fmt: skip
    names = [shortened(name.removeprefix("\0"), 28) for name in scales]
    ax.set_xticks(range(len(scales)), names, parse_math=False)
    if not _are_short(names):
        for label in ax.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks([])
    ax.set_xlim(-0.2, len(scales) - 1 + 0.5)
    ax.set_ylim(-0.05, 1.05)
    ax.spines[:].set_visible(False)


def _are_short(names: Sequence[str]) -> bool:
    return len(names) * max(map(len, names)) <= 70


def _colours(metric: Metric) -> str:
    """Dark is good."""
    return _COLOURS if metric.direction == "minimize" else f"{_COLOURS}_r"


# -- importance


def _importance(seen: Seen, ax: Axes) -> None:
    """A bar for each parameter."""
    shares = seen.shares()
    names = [shortened(name, 28) for name in shares]
    bars = ax.barh(range(len(shares)), list(shares.values()), color="C0")
    ax.bar_label(
        bars, [f"{share:.0%}" for share in shares.values()], padding=3, fontsize=_SMALL + 1
    )
    ax.set_yticks(range(len(shares)), names, parse_math=False)
    ax.set_ylim(len(shares) - 0.5, -0.5)
    ax.set_xlim(0, max(shares.values()) * 1.12)
    title = f"Importance of parameters for {shortened(seen.drawn.title, 28)}"
    _named(ax, title, "share of the decrease in impurity of a random forest", "")
    ax.spines[["top", "right"]].set_visible(False)


# -- pareto


def _pareto(seen: Seen, ax: Axes) -> None:
    """Trials by their first two metrics, and those of them that no other one is better than."""
    metrics = seen.objective.metrics
    if len(metrics) < 2:
        raise SearchError(
            f"Search {seen.name!r} has one metric, and a Pareto set is of several: see "
            "kind='convergence'"
        )
    points = [known for each in seen.tried if (known := _all_finite(each.values)) is not None]
    losses = [[m.loss(v) for m, v in zip(metrics, each, strict=True)] for each in points]
    front = sorted(points[index] for index in pareto(losses))
    rest = sorted(set(points) - set(front))
    if rest:
        ax.plot(*_plane(rest), "o", color=_GREY, alpha=0.7, ms=5, label="trial")
    if front and len(metrics) == 2:
        post = metrics[0].direction == "minimize"
        style = "steps-post" if post else "steps-pre"
        ax.plot(*_plane(front), color="C1", lw=1.2, drawstyle=style, zorder=1)
    if front:
        _draw_front(ax, front, metrics)
    for scaled, values in zip((ax.set_xscale, ax.set_yscale), _plane(points), strict=True):
        if value_scale(values).log:
            scaled("log")
    _named(ax, f"Pareto set of {shortened(seen.name, 40)}", *map(_label, metrics[:2]))
    _told(ax, bool(points))


def _draw_front(ax: Axes, front: Sequence[tuple[float, ...]], metrics: Sequence[Metric]) -> None:
    """The front, coloured by the third metric where there is one."""
    label = "none is better in all metrics"
    if len(metrics) == 2:
        ax.plot(*_plane(front), "o", color="C1", ms=6, label=label)
        return
    colours = [each[2] for each in front]
    drawn = ax.scatter(
        *_plane(front), c=colours, cmap=_colours(metrics[2]), edgecolors="0.2", label=label
    )
    figure = ax.get_figure(root=True)
    if figure is not None:
        bar = figure.colorbar(drawn, ax=ax)
        bar.set_label(_label(metrics[2]), parse_math=False)


def _plane(points: Iterable[tuple[float, ...]]) -> tuple[list[float], list[float]]:
    known = list(points)
    return [each[0] for each in known], [each[1] for each in known]


def _all_finite(values: Sequence[float | None]) -> tuple[float, ...] | None:
    found = tuple(value for each in values if (value := _finite(each)) is not None)
    return found if len(found) == len(values) else None


# -- within


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) <= _LARGEST else None


def _label(metric: Metric) -> str:
    return f"{shortened(metric.title, 28)} ({metric.direction})"


def _named(ax: Axes, title: str, x: str, y: str) -> None:
    """Names are no formulas, whatever dollars are in them."""
    ax.set_title(title, parse_math=False)
    ax.set_xlabel(x, parse_math=False)
    ax.set_ylabel(y, parse_math=False)


def _told(ax: Axes, anything: bool, legend: bool = True) -> None:
    if not anything:
        ax.text(0.5, 0.5, "no trial has ended yet", ha="center", transform=ax.transAxes)
    elif legend:
        ax.legend(fontsize=_SMALL + 1)


Size = tuple[float, float]

_KINDS: dict[str, tuple[Callable[[Seen, Axes], None], Callable[[int], Size]]] = {
    "convergence": (_convergence, lambda parameters: (6.4, 4.8)),
    "parallel": (_parallel, lambda parameters: (max(6.4, 0.8 * parameters), 4.8)),
    "importance": (_importance, lambda parameters: (6.4, max(4.8, 0.25 * parameters))),
    "pareto": (_pareto, lambda parameters: (6.4, 4.8)),
}
"""What draws each kind, and inches of width and height for a number of parameters."""
