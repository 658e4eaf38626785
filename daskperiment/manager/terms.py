"""What a search is, as its file describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daskperiment.errors import ExperimentsFileError
from daskperiment.execution import searching
from daskperiment.experiment import Experiment
from daskperiment.manager.entries import Entry
from daskperiment.manager.grammar import told_of
from daskperiment.search import Constant, SearchSpace, files, reading
from daskperiment.search.loop import Terms
from daskperiment.search.objective import RESULT, objective_of
from daskperiment.search.rules import Rules
from daskperiment.search.samplers import ListSampler, Sampler, Samples, sampler_of
from daskperiment.targets.designs import is_design


def terms_of(entry: Entry, experiment: Experiment, result: Any) -> Terms:
    """What a search is, as :meth:`Experiment.search` makes it, but before it runs.

    Parameters
    ----------
    entry : Entry
        What the file says.
    experiment : Experiment
        One in which it could run.
    result : Node or callable
        What it runs.

    Raises
    ------
    DaskperimentError
        It cannot be so, also as what it runs takes no such parameters; the message says where.
    """
    values = entry.values
    with told_of("" if "script" in values else "function"):
        node = experiment._node(result)
    with told_of("metrics" if "metrics" in values else ""):
        objective = objective_of(
            values.get("metrics"), values.get("main_metric"), values.get("direction")
        )
    fixed = fixed_of(result, values)
    with told_of("sampler"):
        sampler = sampler_of(values.get("sampler", "tpe"))
    with told_of("space"):
        if "space" in values:
            space, sampler = _space(entry, sampler, fixed)
        else:
            space, sampler = experiment._space(node, None, sampler)
        example = searching.example(space, 0)
        searching.check_used(example, experiment._used(node, example))
        if isinstance(sampler, Sampler):
            sampler.size(space)  # a grid has no end in some spaces
    rules = Rules(values.get("target"), values.get("patience"), values.get("delta", 0.0))
    terms = Terms(
        "", space, objective, sampler, values.get("seed", 0), values.get("n_trials"),
        values.get("batch_size"), searching.check_window(values.get("deterministic", False)), rules,
    )  # fmt: skip
    searching.check_on_stop(values.get("on_stop", "finish"), terms.window)
    searching.check_terms(terms, values.get("timeout"))
    for number, each in enumerate(enqueued(values, fixed), 1):
        with told_of(f"enqueue {number}"):
            space.check(each)
    return terms


def fixed_of(result: Any, values: Mapping[str, Any]) -> dict[str, Any]:
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


def enqueued(values: Mapping[str, Any], fixed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The configurations that are to be tried first."""
    return [{**each, **fixed} for each in values.get("enqueue", [])]
