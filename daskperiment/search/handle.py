"""One search, as users hold it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from daskperiment import notebooks
from daskperiment.errors import SearchError
from daskperiment.history.columns import parameter_column, utc_time
from daskperiment.history.searches import Searches, SearchRows, Tried
from daskperiment.history.trials import Trials
from daskperiment.records import TrialState
from daskperiment.search.importance import importance
from daskperiment.search.loop import Terms, differing
from daskperiment.search.objective import Objective
from daskperiment.search.samplers import Samples, sampler_of
from daskperiment.search.space import SearchSpace
from daskperiment.search.trials import SearchTrial
from daskperiment.serializers import preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from daskperiment.trial import Trial

_COUNTED = ("complete", "pruned", "failed")
_SHOWN = 5
"""Trials that a notebook shows."""


class Search:
    """A handle on one search; every look reads what is new in the store.

    Parameters
    ----------
    trials : Trials
        The trials of its experiment.
    name : str
        Its name.
    handle : callable
        Makes a :class:`~daskperiment.Trial` of a number.

    Raises
    ------
    SearchError
        There is no such search.

    Examples
    --------
    >>> from daskperiment import Experiment
    >>> from daskperiment.search import Int
    >>> ex = Experiment("doc_search_handle", backend="memory://")
    >>> @ex.result
    ... def square(x):
    ...     return x * x
    >>> search = ex.search(square(ex.parameter("x")), {"x": Int(-2, 2)}, sampler="grid")
    >>> search.best.parameters, search.best.result, len(search.trials)
    ({'x': 0}, 0, 5)
    """

    def __init__(self, trials: Trials, name: str, handle: Callable[[int], Trial]) -> None:
        self.name = name
        self._trials = trials
        self._handle = handle
        self._searches = Searches(trials.backend, trials.name)
        document = self._searches.get(name)
        if document is None:
            known = ", ".join(known for known, _ in self._searches.find()[:8])
            there = f"there are {known}" if known else "there is none yet"
            raise SearchError(f"Experiment {trials.name!r} has no search {name!r}: {there}")
        self._document = document
        self._rows = SearchRows(trials, self.uid, self._objective.names)
        self._found: dict[int, Tried] = {}

    # -- what it is

    @property
    def uid(self) -> str:
        """Random identity, 32 hexadecimal digits."""
        return str(self._document["uid"])

    @property
    def experiment(self) -> str:
        """Id of its experiment."""
        return self._trials.name

    @property
    def space(self) -> SearchSpace:
        """Where it searches."""
        return SearchSpace.from_document(self._document["space"])

    @property
    def metrics(self) -> dict[str, str]:
        """The direction of each metric by its name, ``result`` for the result."""
        return {metric.title: metric.direction for metric in self._objective.metrics}

    @property
    def main_metric(self) -> str | None:
        """The metric that it searches by; None if that is all of several."""
        sought = self._objective.sought
        return sought[0].title if len(sought) == 1 else None

    @property
    def sampler(self) -> Document:
        """What describes its sampler: the name and the options."""
        return dict(self._document["sampler"])

    @property
    def seed(self) -> int:
        """From what all its chance follows."""
        return int(self._document["seed"])

    @property
    def description(self) -> str:
        """What was said of it."""
        return str(self._document.get("description") or "")

    @property
    def state(self) -> str:
        """``RUNNING``, ``COMPLETE``, ``CANCELLED``, ``CRASHED``, or ``FAILED`` by an error.

        A trial that has failed is no such error, unless the search was to end with it.  ``WAITING``
        is one of which no trial has begun.
        """
        state = self._searches.state(self._document)
        if state == "WAITING" and self._tried():  # it was copied, and its batches were not
            return "COMPLETE"
        return state

    # -- what has become of it

    @property
    def trials(self) -> list[Trial]:
        """Its trials by place; of one that was repeated the last attempt."""
        return [self._handle(tried.number) for tried in self._tried()]

    @property
    def best(self) -> Trial:
        """The best COMPLETE trial by the main metric; of equal ones the first.

        Raises
        ------
        SearchError
            There is none, or there are several metrics to search by; see :attr:`pareto`.
        """
        if len(self._objective.sought) > 1:
            raise SearchError(
                f"Search {self.name!r} has several metrics and no main_metric, so that no trial "
                "is the best one: see search.pareto"
            )
        best = self._objective.best(self._tried())
        if best is None:
            raise SearchError(f"No trial of search {self.name!r} is complete with a number")
        return self._handle(best.number)

    @property
    def pareto(self) -> list[Trial]:
        """The COMPLETE trials than which no other one is better in all metrics, by place."""
        return [self._handle(tried.number) for tried in self._objective.front(self._tried())]

    def history(self) -> pd.DataFrame:
        """A table of its trials.

        Returns
        -------
        pandas.DataFrame
            A row for each place, its index; columns ``Trial ID``, ``State``, one for each
            parameter of the space, one for each metric (float, NaN where there is none), ``Best``
            (the best value so far, with one metric to search by), ``Seed``, ``Started`` and
            ``Seconds``.

        Examples
        --------
        >>> from daskperiment import Experiment
        >>> ex = Experiment("doc_search_history", backend="memory://")
        >>> @ex.result
        ... def half(x):
        ...     return x / 2
        >>> search = ex.search(half(ex.parameter("x")), {"x": [4, 2, 3]}, sampler="grid")
        >>> search.history()[["x", "result", "Best"]]
               x  result  Best
        Place
        0      4     2.0   2.0
        1      2     1.0   1.0
        2      3     1.5   1.0
        """
        import pandas as pd

        tried, names = self._tried(), self.space.names
        columns: dict[str, Any] = {
            "Trial ID": [each.number for each in tried],
            "State": [each.state.value for each in tried],
        }
        for name in names:
            columns[parameter_column(name)] = [each.parameters.get(name) for each in tried]
        for index, metric in enumerate(self._objective.metrics):
            title = f"metric {metric.title}" if metric.title in columns else metric.title
            columns[title] = pd.Series(
                [each.values[index] for each in tried], dtype="float64"
            ).array
        if len(self._objective.sought) == 1:
            columns["Best"] = self._so_far(tried)
        columns["Seed"] = [each.row["seed"] for each in tried]
        columns["Started"] = [utc_time(each.row.get("started")) for each in tried]
        columns["Seconds"] = [each.row.get("seconds") for each in tried]
        places = pd.Index([each.place for each in tried], name="Place", dtype="int64")
        return pd.DataFrame(columns, index=places)

    def document(self) -> Document:
        """How it stands, as plain data: name, state, counts, and ``best`` or ``pareto``."""
        tried = self._tried()
        states = [each.state for each in tried]
        told: Document = {
            "experiment": self.experiment,
            "search": self.name,
            "state": self.state,
            "trials": len(tried),
            "complete": states.count(TrialState.COMPLETE),
            "pruned": states.count(TrialState.PRUNED),
            "failed": sum(s in (TrialState.FAILED, TrialState.CRASHED) for s in states),
            "cancelled": states.count(TrialState.CANCELLED),
        }
        if len(self._objective.sought) > 1:
            return {**told, "pareto": [self._shown(each) for each in self._objective.front(tried)]}
        best = self._objective.best(tried)
        return {**told, "best": None if best is None else self._shown(best)}

    def importance(self, metric: str | None = None) -> dict[str, float]:
        """How much of what a metric depends on comes from each parameter, the largest share first.

        Parameters
        ----------
        metric : str, optional
            Which one; default the main metric, or the first one.

        Returns
        -------
        dict of str to float
            Shares from 0 to 1 of all parameters of the space, 1 together, as
            :func:`~daskperiment.search.importance.importance` learns them by a random forest.

        Raises
        ------
        SearchError
            There is no such metric, there are too few trials, or scikit-learn is not installed.

        Examples
        --------
        >>> from daskperiment import Experiment
        >>> ex = Experiment("doc_search_importance", backend="memory://")
        >>> @ex.result
        ... def square(x, y):
        ...     return x * x
        >>> s, space = square(ex.parameter("x"), ex.parameter("y")), {"x": [0, 1, 2], "y": [3, 4]}
        >>> list(ex.search(s, space, sampler="grid").importance())
        ['x', 'y']
        """
        return self._shares(self._position(metric), self._tried())

    def plot(
        self,
        kind: str = "convergence",
        path: str | PathLike[str] | None = None,
        ax: Axes | None = None,
        metric: str | None = None,
    ) -> Figure:
        """Draw it.

        Parameters
        ----------
        kind : {"convergence", "parallel", "importance", "pareto"}
            ``"convergence"`` shows the value of each trial and the best so far; ``"parallel"`` a
            line for each trial through its parameters, dark where it is good, with a gap where one
            is not active; ``"importance"`` what :meth:`importance` says; ``"pareto"`` the trials
            by the first two of several metrics, and those that no other one is better than.
        path : path, optional
            A file to write it to, whose suffix names the format, such as ``.png`` or ``.svg``.
        ax : matplotlib.axes.Axes, optional
            Where to draw it; default a figure of its own.
        metric : str, optional
            Which one is shown; default the main metric, or the first one.

        Returns
        -------
        matplotlib.figure.Figure
            Pyplot does not know it, and nothing is left open.

        Raises
        ------
        SearchError
            There is no such kind, metric, format or folder; it cannot be drawn of this search; or
            matplotlib is not installed.

        Examples
        --------
        >>> from daskperiment import Experiment
        >>> ex = Experiment("doc_search_plot", backend="memory://")
        >>> @ex.result
        ... def half(x):
        ...     return x / 2
        >>> search = ex.search(half(ex.parameter("x")), {"x": [4, 2, 3]}, sampler="grid")
        >>> axes, = search.plot().axes
        >>> axes.get_ylabel()
        'result (minimize)'
        """
        try:
            from daskperiment.search import plots
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "matplotlib":
                raise
            raise SearchError(
                'Plots need the library matplotlib: pip install "daskperiment[plot]"'
            ) from None
        position, tried = self._position(metric), self._tried()
        shares = partial(self._shares, position, tried)
        seen = plots.Seen(self.name, self.space, self._objective, position, tried, shares)
        return plots.plot(seen, kind, path, ax)

    # -- what can be done with it

    def enqueue(self, *configurations: Mapping[str, Any]) -> None:
        """Have configurations tried next, by whatever process runs the search.

        Parameters
        ----------
        *configurations : mapping
            Each a configuration of the space.

        Raises
        ------
        SearchSpaceError
            One is none.
        SearchError
            The search is deterministic, so that what it tries cannot depend on when it is told.
        """
        if self._document["window"] is not None:
            raise SearchError(
                f"Search {self.name!r} is deterministic: give enqueue= where it begins"
            )
        for each in configurations:
            self.space.check(each)
        self._searches.enqueue(self.uid, configurations)

    def replay(self, sampler: Samples | None = None) -> list[int]:
        """Suggest every trial again from what was known then; the places that differ.

        Parameters
        ----------
        sampler : object, optional
            The sampler, where it is one of yours.

        Raises
        ------
        SearchError
            The search is not deterministic, or its sampler is needed.

        Examples
        --------
        >>> from daskperiment import Experiment
        >>> from daskperiment.search import Float
        >>> ex = Experiment("doc_search_replay", backend="memory://")
        >>> @ex.result
        ... def square(x):
        ...     return x * x
        >>> s, space = square(ex.parameter("x")), {"x": Float(-1, 1)}
        >>> ex.search(s, space, 4, sampler="random", seed=1, deterministic=True).replay()
        []
        """
        if self._document["window"] is None:
            raise SearchError(
                f"Search {self.name!r} is not deterministic, so that nobody knows what its sampler "
                "knew: run it with deterministic=True"
            )
        return differing(self.terms(sampler), self._tried(), self.warm())

    def to_optuna(self) -> optuna.Study:
        """The search as a study of Optuna, in memory, with its trials by place.

        Raises
        ------
        SearchError
            Optuna is not installed.

        Examples
        --------
        >>> from daskperiment import Experiment
        >>> ex = Experiment("doc_to_optuna", backend="memory://")
        >>> @ex.result
        ... def square(x):
        ...     return x * x
        >>> search = ex.search(square(ex.parameter("x")), {"x": [2, 1]}, sampler="grid")
        >>> search.to_optuna().best_params
        {'x': 1}
        """
        try:
            from daskperiment.search.studies import StudyTrial, to_study
        except ImportError as error:
            raise SearchError('Studies need optuna: pip install "daskperiment[search]"') from error
        trials = []
        for tried in self._tried():
            parameters, row = self.space.within(tried.parameters), tried.row
            if parameters is None:
                continue
            values = [value for value in tried.values if value is not None]
            whole = tuple(values) if len(values) == len(tried.values) else None
            times = utc_time(row.get("started")), utc_time(row.get("finished"))
            trials.append(
                StudyTrial(parameters, whole, tried.state, *times, tried.reports, tried.place)
            )
        directions = [metric.direction for metric in self._objective.metrics]
        return to_study(self.space, directions, trials)

    def terms(self, sampler: Samples | None = None) -> Terms:
        """What it is, for a :class:`~daskperiment.search.loop.Loop`."""
        known = self._document
        if sampler is None:
            if known["sampler"].get("own"):
                raise SearchError(f"Search {self.name!r} has a sampler of yours: give sampler=")
            sampler = sampler_of(known["sampler"])
        return Terms(
            self.uid, self.space, self._objective, sampler, self.seed, known["n_trials"],
            known["batch_size"], known["window"],
        )  # fmt: skip

    def warm(self) -> list[SearchTrial]:
        """The trials that it began from."""
        known: list[Mapping[str, Any]] = self._document.get("warm") or []
        return [
            SearchTrial(-1, each["parameters"], TrialState.COMPLETE, tuple(each["losses"]))
            for each in known
        ]

    # -- within

    @property
    def _objective(self) -> Objective:
        return Objective.from_document(self._document)

    def _tried(self) -> list[Tried]:
        edited = dict(self._rows.edited())
        self._found = {p: each for p, each in self._found.items() if each.number not in edited}
        for tried in (*filter(None, edited.values()), *self._rows.look()):
            there = self._found.get(tried.place)
            if there is None or there.number <= tried.number:
                self._found[tried.place] = tried
        return [self._found[place] for place in sorted(self._found)]

    def _position(self, metric: str | None) -> int:
        """Which of its metrics is meant."""
        if metric is None:
            return self._objective.main or 0
        titles = list(self.metrics)
        if metric not in titles:
            raise SearchError(f"metric is one of {', '.join(titles)}, not {preview(metric, 80)}")
        return titles.index(metric)

    def _shares(self, metric: int, tried: Iterable[Tried]) -> dict[str, float]:
        configurations, values = [], []
        for each in tried:
            value, found = each.values[metric], self.space.within(each.parameters)
            if value is not None and math.isfinite(value) and found is not None:
                configurations.append(found)
                values.append(value)
        return importance(self.space, configurations, values)

    def _so_far(self, tried: Iterable[Tried]) -> list[float | None]:
        (metric,) = self._objective.sought
        best, found = None, []
        for each in tried:
            losses = self._objective.losses(each.values)
            if losses is not None:
                best = losses[0] if best is None else min(best, losses[0])
            found.append(None if best is None else float(metric.loss(best)))
        return found

    def _shown(self, tried: Tried) -> Document:
        values = dict(zip(self.metrics, tried.values, strict=True))
        shown: Document = {"number": tried.number}
        if self.main_metric is not None:
            shown["value"] = values[self.main_metric]
        if len(values) > 1:
            shown["values"] = values
        found = self.space.within(tried.parameters)
        return {**shown, "parameters": tried.parameters if found is None else found}

    def __repr__(self) -> str:
        told = self.document()
        best = told.get("best")
        shown = "" if best is None else f", best {best['value']:g} (trial {best['number']})"
        return f"Search({self.name!r}, {told['state']}, {told['trials']} trials{shown})"

    def _repr_html_(self) -> str:
        told = self.document()
        about = {
            "State": told["state"],
            "Trials": ", ".join(f"{told[kind]} {kind}" for kind in _COUNTED),
            "Metrics": ", ".join(f"{name} ({way})" for name, way in self.metrics.items()),
            "Sampler": self.sampler["name"],
            "Description": self.description,
        }
        rows = {each.number: self._row(each) for each in self._shown_best()}
        title = (
            "Best trials" if len(self._objective.sought) == 1 else "Trials that none is better than"
        )
        return notebooks.table(f"Search {self.name} of {self.experiment}", about) + (
            notebooks.grid(title, rows) if rows else ""
        )

    def _shown_best(self) -> list[Tried]:
        """What a notebook shows: the best trials, or some of the Pareto set."""
        if len(self._objective.sought) > 1:
            return self._objective.front(self._tried())[:_SHOWN]
        known = sorted(self._objective.compared(self._tried()), key=lambda each: each[0])
        return [tried for _, tried in known[:_SHOWN]]

    def _row(self, tried: Tried) -> dict[str, str]:
        values = dict(zip(self.metrics, tried.values, strict=True))
        shown = {name: "" if value is None else f"{value:g}" for name, value in values.items()}
        named = {
            name: tried.parameters[name] for name in self.space.names if name in tried.parameters
        }
        columns = {parameter_column(name): preview(value, 40) for name, value in named.items()}
        return {**columns, **{f"metric {n}" if n in columns else n: v for n, v in shown.items()}}
