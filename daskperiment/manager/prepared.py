"""One search that a file describes, checked as far as nothing needs to run for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daskperiment import options
from daskperiment.backends import open_backend
from daskperiment.callbacks.base import Callback
from daskperiment.errors import ExperimentsFileError
from daskperiment.execution import searching
from daskperiment.experiment import Experiment
from daskperiment.history.forgetting import forget_artifacts
from daskperiment.history.searches import Searches
from daskperiment.manager import workers
from daskperiment.manager.entries import Entry
from daskperiment.manager.grammar import ARGUMENTS, told_of
from daskperiment.manager.notify import notifications
from daskperiment.manager.sources import Source, ready
from daskperiment.manager.terms import enqueued, fixed_of, terms_of
from daskperiment.search import Search
from daskperiment.search.loop import Terms
from daskperiment.search.pruners import Pruner, pruner_of
from daskperiment.search.samplers import Sampler
from daskperiment.typing import Document


@dataclass(frozen=True)
class Prepared:
    """A search that can begin.

    Parameters
    ----------
    entry : Entry
        What the file says.
    source : Source
        What it runs.
    backend : str, Path or Backend, optional
        Where its trials are recorded.
    experiment : str
        Id of the experiment.
    terms : Terms
        What it is.
    pruner : Pruner, optional
        Who ends trials early.
    callbacks : sequence of Callback
        Who is notified.
    store : str
        Where its trials are recorded, for people.
    """

    entry: Entry
    source: Source
    backend: Any
    experiment: str
    terms: Terms
    pruner: Pruner | None
    callbacks: Sequence[Callback]
    store: str

    @property
    def name(self) -> str:
        """Its name in the file."""
        return self.entry.name

    @property
    def trials(self) -> int | None:
        """How many trials there will be at most; None if nobody knows."""
        sampler, space = self.terms.sampler, self.terms.space
        size = sampler.size(space) if isinstance(sampler, Sampler) else None
        known = [number for number in (size, self.terms.n_trials) if number is not None]
        return min(known, default=None)

    def document(self) -> Document:
        """The plan, as plain data."""
        values, terms = self.entry.values, self.terms
        size = terms.space.size
        rules = {**terms.rules.document(), "timeout": values.get("timeout")}
        stop = {name: rule for name, rule in rules.items() if rule not in (None, 0.0)}
        return {
            "name": self.name,
            "description": values.get("description", ""),
            "runs": self.source.shown,
            "experiment": self.experiment,
            "space": terms.space.document(),
            "size": None if size == math.inf else size,
            "sampler": searching.sampler_document(terms.sampler),
            "pruner": None if self.pruner is None else self.pruner.document(),
            "metrics": {each.title: each.direction for each in terms.objective.metrics},
            "main_metric": values.get("main_metric"),
            "trials": self.trials,
            "batch_size": terms.batch_size,
            "workers": workers.shown(values),
            "stop": {**stop, "on_stop": values.get("on_stop", "finish")},
            "seed": values.get("seed"),
            "resume": values.get("resume", False),
            "artifacts": values.get("artifacts", "all"),
            "notify": [repr(each) for each in self.callbacks],
            "store": self.store,
            "ignored": list(self.entry.ignored),
        }

    def run(self, progress: bool, watching: Sequence[object]) -> Search:
        """Run the search to its end, and keep the artifacts that are asked for."""
        values = self.entry.values
        arguments = {key: values[key] for key in ARGUMENTS if key in values}
        with (
            ready(self.source, self.experiment, self.backend) as (experiment, result),
            workers.cluster(values.get("cluster")) as client,
        ):
            arguments["enqueue"] = enqueued(values, fixed_of(result, values))
            if client is not None:
                arguments["executor"] = client
            search = experiment.search(
                result, self.terms.space, **arguments, sampler=self.terms.sampler,
                pruner=self.pruner, callbacks=[*self.callbacks, *watching], progress=progress,
            )  # fmt: skip
        _thin_out(experiment, search, values.get("artifacts", "all"))
        return search


def prepare(entry: Entry, source: Source, backend: Any) -> Prepared:
    """Check all that can be checked of a search before it runs.

    Raises
    ------
    DaskperimentError
        Something cannot be so; the message says what.
    """
    values = entry.values
    if source.script is None:
        with told_of("experiment"):
            name = Experiment(values.get("experiment", entry.name), backend="memory://").id
    elif "experiment" in values:
        raise ExperimentsFileError("experiment: the script names its own: leave it out")
    else:
        name = ""
    place = "memory://" if source.script is None else backend
    with ready(source, name, place) as (experiment, result):
        terms = terms_of(entry, experiment, result)
        store = experiment.backend if source.script else open_backend(backend)
        if "name" in values and not (values.get("resume") or options.value("resume")):
            _check_new(Searches(store, experiment.id), values["name"])
    workers.check(values)
    with told_of("pruner"):
        pruner = _pruner(values.get("pruner"))
    callbacks = notifications(values.get("notify", []))
    return Prepared(entry, source, backend, experiment.id, terms, pruner, callbacks, repr(store))


def _check_new(searches: Searches, name: str) -> None:
    if searches.get(name) is not None:
        raise ExperimentsFileError(
            f"name: there is a search {name!r} already: resume = true goes on with it, another "
            "name begins a new one"
        )


def _pruner(given: Any) -> Pruner | None:
    if given is None:
        return None
    return pruner_of({"name": given} if isinstance(given, str) else given)


def _thin_out(experiment: Experiment, search: Search, keep: str) -> None:
    """Forget the artifacts of the trials of a search, but for those that are to be kept."""
    if keep == "all":
        return
    kept = _best(search) if keep == "best" else set()
    spare = [trial.number for trial in search.trials if trial.number not in kept]
    forget_artifacts(experiment.backend, experiment.id, spare)


def _best(search: Search) -> set[int]:
    if len(search.metrics) > 1 and search.main_metric is None:
        return {trial.number for trial in search.pareto}
    told = search.document()["best"]
    return set() if told is None else {told["number"]}
