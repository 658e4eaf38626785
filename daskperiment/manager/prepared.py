"""One search that a file describes, checked as far as nothing needs to run for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from daskperiment.backends import open_backend
from daskperiment.callbacks.base import Callback
from daskperiment.errors import ExperimentsFileError
from daskperiment.execution import jobs, searching
from daskperiment.execution.executors import check_executor, check_gpus
from daskperiment.experiment import Experiment
from daskperiment.history.forgetting import forget_artifacts
from daskperiment.manager.entries import Entry
from daskperiment.manager.grammar import ARGUMENTS, told_of
from daskperiment.manager.notify import notifications
from daskperiment.manager.sources import Source, ready
from daskperiment.search import Constant, Search, SearchSpace, files, reading
from daskperiment.search.loop import Terms
from daskperiment.search.objective import RESULT, objective_of
from daskperiment.search.pruners import Pruner, pruner_of
from daskperiment.search.rules import Rules
from daskperiment.search.samplers import ListSampler, Sampler, Samples, sampler_of
from daskperiment.targets.designs import is_design
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
            "workers": _workers(values),
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
            _cluster(values.get("cluster")) as client,
        ):
            arguments["enqueue"] = _enqueued(values, _fixed(result, values))
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
        terms = _terms(entry, experiment, result)
        store = experiment.backend if source.script else open_backend(backend)
    _check_place(terms, values)
    with told_of("pruner"):
        pruner = _pruner(values.get("pruner"))
    callbacks = notifications(values.get("notify", []))
    return Prepared(entry, source, backend, experiment.id, terms, pruner, callbacks, repr(store))


def _terms(entry: Entry, experiment: Experiment, result: Any) -> Terms:
    """What a search is, as :meth:`Experiment.search` makes it: all its errors, before it runs."""
    values = entry.values
    with told_of("" if "script" in values else "function"):
        node = experiment._node(result)
    with told_of("metrics" if "metrics" in values else ""):
        objective = objective_of(
            values.get("metrics"), values.get("main_metric"), values.get("direction")
        )
    fixed = _fixed(result, values)
    with told_of("sampler"):
        sampler = sampler_of(values.get("sampler", "tpe"))
    with told_of("space"):
        if "space" in values:
            space, sampler = _space(entry, sampler, fixed)
        else:
            space, sampler = experiment._space(node, None, sampler)
        experiment._used(node, space.sample(_rng()))
        if isinstance(sampler, Sampler):
            sampler.size(space)  # a grid has no end in some spaces
    rules = Rules(values.get("target"), values.get("patience"), values.get("delta", 0.0))
    terms = Terms(
        "", space, objective, sampler, values.get("seed", 0), values.get("n_trials"),
        values.get("batch_size"), searching.check_window(values.get("deterministic", False)), rules,
    )  # fmt: skip
    searching.check_on_stop(values.get("on_stop", "finish"), terms.window)
    searching.check_terms(terms, values.get("timeout"))
    for number, each in enumerate(_enqueued(values, fixed), 1):
        with told_of(f"enqueue {number}"):
            space.check(each)
    return terms


def _rng() -> Any:
    import numpy as np

    return np.random.default_rng(0)


def _fixed(result: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a design function of Labs gets besides: the names of the metrics."""
    if not is_design(result):
        return {}
    if "metrics" not in values:
        raise ExperimentsFileError(
            'metrics: a design gives scores: say which, such as metrics = {loss = "minimize"}'
        )
    return {"metrics": [name for name in values["metrics"] if name != RESULT]}


def _space(entry: Entry, sampler: Samples, fixed: Mapping[str, Any]) -> tuple[SearchSpace, Samples]:
    """The space of an experiment; of a list of configurations the sampler, too."""
    found, where = entry.values["space"], ""
    if isinstance(found, str):
        where, found = found, files.read(entry.folder / found)
    with told_of(where):
        blocks = reading.blocks(found, 0)
        if isinstance(sampler, ListSampler) and isinstance(found, list):
            configurations = [{**each, **fixed} for each in found]
            listed = ListSampler(configurations, sampler.repeats)
            return SearchSpace.of(configurations), listed
        constants = {name: Constant(value) for name, value in fixed.items()}
        several = isinstance(blocks, list)
        made = [{**block, **constants} for block in (blocks if several else [blocks])]
        return SearchSpace(made if several else made[0]), sampler


def _enqueued(values: Mapping[str, Any], fixed: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**each, **fixed} for each in values.get("enqueue", [])]


def _pruner(given: Any) -> Pruner | None:
    if given is None:
        return None
    return pruner_of({"name": given} if isinstance(given, str) else given)


def _check_place(terms: Terms, values: Mapping[str, Any]) -> None:
    """Refuse what cannot run trials."""
    if "cluster" not in values:
        executor = values.get("executor")
        with told_of("executor"):
            check_executor(executor, values.get("max_workers"))
        with told_of("gpus"):
            check_gpus(values.get("gpus"), executor)
        with told_of("spread"):
            jobs.check_spread(values.get("spread", False), executor)
        return
    if wrong := [key for key in ("executor", "max_workers", "gpus") if key in values]:
        raise ExperimentsFileError(
            f"{wrong[0]}: the cluster runs the trials: leave it out, or cluster"
        )
    if find_spec("distributed") is None:
        raise ExperimentsFileError(
            'cluster: it needs a library: pip install "daskperiment[distributed]"'
        )


@contextmanager
def _cluster(options: Mapping[str, Any] | None) -> Iterator[Any]:
    """A client of a cluster of this machine, if one is asked for."""
    if options is None:
        yield None
        return
    from distributed import Client, LocalCluster

    # The port that its own page has by default is that of one cluster only.
    chosen = {"dashboard_address": "127.0.0.1:0", **options}
    with LocalCluster(**chosen) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


def _workers(values: Mapping[str, Any]) -> str:
    if "cluster" in values:
        told = ", ".join(f"{key}={value!r}" for key, value in values["cluster"].items())
        return f"LocalCluster({told})"
    count = values.get("max_workers")
    where = values.get("executor", "threads")
    return where if count is None or "://" in where else f"{count} {where}"


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
