"""Plots show what a search has found, whatever it is called, and for whoever looks."""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.errors import SearchError, TrialPruned
from daskperiment.search import Branch, Categorical, Float, Int, Search
from daskperiment.search.pruners import Threshold

pytest.importorskip("matplotlib")

DIRECTIONS = {"minimize": [3.0, 2.0, 2.0, 1.0, 1.0], "maximize": [3.0, 3.0, 3.0, 3.0, 4.0]}


def searched(values: dict[Any, Any], **options: Any) -> Search:
    """A search that has tried these values of x, and got what each stands for."""
    ex = Experiment("example", backend="memory://")

    @ex.result
    def score(x: Any) -> Any:
        found = values[x]
        if found == "failed":
            raise ValueError(x)
        if found == "pruned":
            ex.report(9.5, 1)
            if ex.should_prune():
                raise TrialPruned("not good enough")
        return found

    return ex.search(score(ex.parameter("x")), {"x": list(values)}, sampler="grid", **options)


def data(axes: Any, label: str) -> list[tuple[float, float]]:
    """The points of the line of a label."""
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return [(float(x), float(y)) for x, y in line.get_xydata()]


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


# -- convergence ------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_convergence_shows_the_best_so_far(direction: Any) -> None:
    search = searched(dict(enumerate([3.0, 2.0, 2.5, 1.0, 4.0])), direction=direction)

    (axes,) = search.plot().axes

    assert [y for _, y in data(axes, "trial")] == [3.0, 2.0, 2.5, 1.0, 4.0]
    assert [y for _, y in data(axes, "best so far")][:5] == DIRECTIONS[direction]
    assert axes.get_ylabel() == f"result ({direction})"


def test_convergence_marks_what_failed_was_pruned_or_gave_no_number() -> None:
    values = {0: 3.0, 1: "failed", 2: math.nan, 3: "pruned", 4: math.inf}
    search = searched(values, pruner=Threshold(upper=5))

    (axes,) = search.plot("convergence").axes

    assert data(axes, "trial") == [(0, 3.0)]
    assert data(axes, "pruned, last report") == [(3, 9.5)]
    assert [x for x, _ in data(axes, "failed, or without a number")] == [1, 2, 4]
    assert data(axes, "best so far")[-1] == (4, 3.0)


def test_values_of_very_different_size_have_a_logarithmic_axis() -> None:
    def scale(*values: float) -> str:
        return str(searched(dict(enumerate(values))).plot().axes[0].get_yscale())

    assert (scale(1e-5, 1e90), scale(1, 2), scale(-1, 1e9)) == ("log", "linear", "linear")


# -- parallel coordinates ---------------------------------------------------------------------


def branching() -> Search:
    ex = Experiment("example", backend="memory://")

    @ex.result
    def score(kind: str, rate: float, C: float | None, depth: int | None, always: int) -> float:  # noqa: N803
        return rate if C is None else C + rate

    names = ("kind", "rate", "C", "depth", "always")
    branch = Branch({"svm": {"C": Float(0, 4)}, "tree": {"depth": Int(1, 3)}, "none": {}})
    space = {"kind": branch, "rate": Float(0.01, 1, log=True), "always": 5}
    tried = [
        {"kind": "svm", "C": 1.0, "rate": 0.1, "always": 5},
        {"kind": "tree", "depth": 3, "rate": 1.0, "always": 5},
        {"kind": "none", "rate": 0.01, "always": 5},
    ]
    s = score(*(ex.parameter(name, default=None) for name in names))
    return ex.search(s, space, 3, sampler="random", enqueue=tried)


def test_parallel_coordinates_scale_each_parameter_and_leave_gaps_in_other_branches() -> None:
    (axes,) = branching().plot("parallel").axes

    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["kind", "C", "depth", "rate", "result (minimize)"]
    (trials,) = [c for c in axes.collections if c.get_label() == "trials"]
    lines = [[None if y != y else round(float(y), 6) for _, y in path.vertices]
             for path in trials.get_paths()]  # fmt: skip
    assert sorted(lines, key=str) == [
        [0.0, 0.25, None, 0.5, 1.0],
        [0.5, None, 1.0, 1.0, round((1 - 0.01) / (1.1 - 0.01), 6)],
        [1.0, None, None, 0.0, 0.0],
    ]
    assert [line[-1] for line in lines] == sorted((line[-1] for line in lines), reverse=True)
    assert {"svm", "tree", "none", "0.01", "0.1", "1"} <= set(texts(axes))


def test_lines_are_coloured_by_value_and_dark_is_good() -> None:
    def colours(direction: Any) -> dict[float, float]:
        (axes,) = searched({0: 1.0, 1: 2.0}, direction=direction).plot("parallel").axes
        (trials,) = [c for c in axes.collections if c.get_label() == "trials"]
        shades = [sum(trials.to_rgba(value)[:3]) for value in trials.get_array()]
        return dict(zip(map(float, trials.get_array()), shades, strict=True))

    low_is_good, high_is_good = colours("minimize"), colours("maximize")

    assert low_is_good[0.0] < low_is_good[1.0]
    assert high_is_good[0.0] > high_is_good[1.0]


def test_failed_trials_have_points_without_a_value() -> None:
    (axes,) = searched({0: 1.0, 1: "failed", 2: 2.0}).plot("parallel").axes

    (others,) = [c for c in axes.collections if c.get_label() == "others"]
    ((x, y),) = [[float(y) for _, y in path.vertices] for path in others.get_paths()]
    assert x == 0.5 and math.isnan(y)


# -- importance -------------------------------------------------------------------------------


def three_parameters(**options: Any) -> Search:
    ex = Experiment("example", backend="memory://")

    @ex.result
    def score(x: float, y: float, kind: str, always: int) -> dict[str, float]:
        loss = 10 * x + y + (3 if kind == "b" else 0)
        return {"loss": loss, "time": y}

    space = {"x": Float(0, 1), "y": Float(0, 1), "kind": Categorical(["a", "b", "c"]), "always": 1}
    s = score(*(ex.parameter(name) for name in space))
    metrics = {"loss": "minimize", "time": "minimize"}
    return ex.search(s, space, 30, sampler="random", seed=2, metrics=metrics, **options)


def test_importance_is_shared_by_what_a_metric_depends_on() -> None:
    search = three_parameters()

    shares = search.importance()

    assert list(shares) == ["x", "kind", "y", "always"]
    assert shares["x"] > 0.6 and shares["always"] == 0
    assert sum(shares.values()) == pytest.approx(1)
    assert max(search.importance("time").items(), key=lambda each: each[1])[0] == "y"
    with pytest.raises(SearchError, match="metric is one of loss, time, not 'speed'"):
        search.importance("speed")


def test_bars_are_as_long_as_the_shares() -> None:
    search = three_parameters()

    (axes,) = search.plot("importance", metric="time").axes

    shares = search.importance("time")
    assert [float(bar.get_width()) for bar in axes.patches] == list(shares.values())
    assert [label.get_text() for label in axes.get_yticklabels()] == list(shares)


def test_importance_says_how_many_trials_it_lacks() -> None:
    with pytest.raises(SearchError, match="needs 5 COMPLETE trials with a number, and there are 2"):
        searched({0: 1.0, 1: 2.0, 2: "failed"}).importance()


def test_importance_where_nothing_makes_a_difference_is_an_error() -> None:
    with pytest.raises(SearchError, match="No parameter has made a difference"):
        searched(dict.fromkeys(range(6), 1.0)).plot("importance")


# -- pareto -----------------------------------------------------------------------------------


def test_the_pareto_set_stands_out() -> None:
    points = [{"loss": 1.0, "right": 0.2}, {"loss": 2.0, "right": 0.9}, {"loss": 3.0, "right": 0.5}]
    search = searched(dict(enumerate(points)), metrics={"loss": "minimize", "right": "maximize"})

    (axes,) = search.plot("pareto").axes

    assert data(axes, "none is better in all metrics") == [(1.0, 0.2), (2.0, 0.9)]
    assert data(axes, "trial") == [(3.0, 0.5)]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("loss (minimize)", "right (maximize)")


def test_a_third_metric_is_a_colour() -> None:
    points = [{"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 2.0, "b": 1.0, "c": 4.0}]
    metrics: Any = dict.fromkeys("abc", "minimize")

    axes, bar = searched(dict(enumerate(points)), metrics=metrics).plot("pareto").axes

    assert list(axes.collections[0].get_array()) == [3.0, 4.0]
    assert bar.get_ylabel() == "c (minimize)"


def test_one_metric_has_no_pareto_set() -> None:
    with pytest.raises(SearchError, match="one metric"):
        searched({0: 1.0}).plot("pareto")


# -- any search -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["convergence", "parallel"])
@pytest.mark.parametrize("values", [{0: 1.0}, {0: "failed", 1: "failed"}, {0: math.nan}])
def test_few_trials_or_none_with_a_number_are_drawn(kind: str, values: Any, tmp_path: Path) -> None:
    search = searched(values)

    search.plot(kind, tmp_path / "plot.png")

    assert (tmp_path / "plot.png").stat().st_size > 1000


@pytest.mark.parametrize("kind", ["convergence", "parallel"])
def test_a_search_of_which_no_trial_has_begun_says_so(kind: str) -> None:
    (axes,) = searched({0: 1.0}, timeout=1e-9).plot(kind).axes

    assert "no trial has ended yet" in texts(axes)


def test_names_with_dollars_and_great_length_are_no_formulas(tmp_path: Path) -> None:
    ex = Experiment("example", backend="memory://")
    name, metric = "$x_{^" + "a" * 100, "$\\frac{<b>"

    @ex.result
    def score(x: str) -> dict[str, Any]:
        return {metric: float(len(x)), "other": 1.0}

    values = ["$\\x{", "a\n" * 50, "", "$$", "\\"]
    search = ex.search(
        score(ex.parameter(name)), {name: values}, sampler="grid", name="$search_{$",
        metrics={metric: "minimize", "other": "maximize"},
    )  # fmt: skip

    for kind in ("convergence", "parallel", "importance", "pareto"):
        search.plot(kind, tmp_path / f"{kind}.svg")
    (axes,) = search.plot("parallel").axes
    (label, _) = [label.get_text() for label in axes.get_xticklabels()]
    assert label.startswith("$x_{^aa") and len(label) < 40


def test_thirty_parameters_have_room(tmp_path: Path) -> None:
    ex = Experiment("example", backend="memory://")
    names = [f"group.parameter_number_{index}" for index in range(30)]

    @ex.result
    def score(*values: float) -> float:
        return sum(values)

    search = ex.search(
        score(*map(ex.parameter, names)), dict.fromkeys(names, Float(0, 1)), 6, sampler="random"
    )

    figure = search.plot("parallel", tmp_path / "parallel.png")

    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len({round(box.x1) for box in boxes}) == 31
    assert min(box.y0 for box in boxes) >= 0
    assert search.plot("importance").get_figheight() > 6


# -- where it goes ----------------------------------------------------------------------------


def test_the_experiment_plots_its_last_search_or_that_of_a_name() -> None:
    ex = Experiment("example", backend="memory://")

    @ex.result
    def double(x: float) -> float:
        return 2 * x

    s = double(ex.parameter("x"))
    first = ex.search(s, {"x": [1, 2]}, sampler="grid", name="first")
    ex.search(s, {"x": [1, 2]}, sampler="grid", name="second")

    titles = [f.axes[0].get_title() for f in (ex.plot(), ex.plot("first"), ex.plot(first))]

    assert titles == ["Convergence of second", "Convergence of first", "Convergence of first"]
    assert ex.plot(kind="parallel").axes[0].get_title() == "Trials of second"
    with pytest.raises(SearchError, match="has no search 'third'"):
        ex.plot("third")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_suffix_names_the_format(suffix: str, tmp_path: Path) -> None:
    searched({0: 1.0}).plot(path=tmp_path / f"plot.{suffix}")

    begins = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert (tmp_path / f"plot.{suffix}").read_bytes().startswith(begins[suffix])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"path": "plot.doc"}, r"path ends with one of \..*\.png, .*not 'plot.doc'"),
        ({"path": "plot"}, "path ends with one of"),
        ({"path": "nowhere/plot.png"}, "There is no folder 'nowhere': make it first"),
        ({"kind": "pie"}, "kind is one of convergence, parallel, importance, pareto, not 'pie'"),
        ({"kind": ["convergence"]}, "kind is one of"),
        ({"metric": "speed"}, "metric is one of result, not 'speed'"),
    ],
)
def test_what_cannot_be_drawn_is_an_error_before_anything(
    options: Any, told: str, tmp_path: Path
) -> None:
    with pytest.raises(SearchError, match=told):
        searched({0: 1.0}).plot(**options)

    assert not [each for each in tmp_path.rglob("*") if "plot" in each.name or "now" in each.name]


def test_a_plot_goes_into_axes_that_are_there() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    left, right = figure.subplots(1, 2)
    search = searched({0: 1.0, 1: 2.0})

    assert search.plot(ax=left) is search.plot("parallel", ax=right) is figure
    assert data(left, "trial") == [(0, 1.0), (1, 2.0)]
    assert len(figure.axes) == 2


def test_threads_draw_at_once_without_pyplot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it is an error
    search = searched(dict(enumerate(map(float, range(6)))))
    kinds = ["convergence", "parallel", "importance"] * 2

    with ThreadPoolExecutor(6) as pool:
        figures = list(pool.map(lambda i: search.plot(kinds[i], f"{i}.png"), range(6)))

    assert [len(figure.axes) for figure in figures] == [1] * 6
    written = [Path(f"{index}.png").read_bytes() for index in range(6)]
    assert written[:3] == written[3:]


def test_notebooks_show_a_plot_whatever_backend_they_have() -> None:
    figure: Any = searched({0: 1.0}).plot()

    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_missing_library_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    search = searched(dict(enumerate(map(float, range(6)))))
    search.plot(), search.importance()
    for name in [name for name in sys.modules if name.startswith(("matplotlib", "sklearn"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "daskperiment.search.plots")
    monkeypatch.delattr("daskperiment.search.plots")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)

    with pytest.raises(SearchError, match=r'pip install "daskperiment\[plot\]"'):
        search.plot()
    with pytest.raises(SearchError, match=r'pip install "daskperiment\[search\]"'):
        search.importance()
