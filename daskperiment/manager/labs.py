"""Configurations of Labs, as experiments of our own grammar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from daskperiment.errors import ExperimentsFileError
from daskperiment.manager.grammar import COUNT, FLAG, NUMBER, TABLE, Kind, check, told_of
from daskperiment.search.labs import is_file
from daskperiment.search.values import nearest
from daskperiment.serializers import preview

_ANY = Kind("anything", lambda value: True)
_TOP = dict.fromkeys(("experiments", "mode", "type", "slack_config"), _ANY)
_EXPERIMENT: Mapping[str, Kind] = {
    **dict.fromkeys(
        ("run_id", "experiment_name", "description", "problem_name", "artifacts_path", "mode",
         "logger", "slack_config", "function"),
        _ANY,
    ),
    "tune_config": TABLE,
    "evaluation_config": TABLE,
    "dask_config": TABLE,
}  # fmt: skip
_TUNE: Mapping[str, Kind] = {
    "type": _ANY,
    "space": _ANY,
    "search_params": TABLE,
    "n_experiments": COUNT,
    "experiments_batch_size": COUNT,
    "score_threshold": NUMBER,
    "delete_experiments": FLAG,
}
_EVALUATION: Mapping[str, Kind] = {"metrics": TABLE, "main_metric": _ANY}
_SEARCHES = {"list": "list", "grid-search": "grid", "random-search": "random", "skopt": "gp"}
_ESTIMATORS = {"GP": "gp", "RF": "forest", "ET": "extra-trees"}
_IGNORED = ("run_id", "artifacts_path", "mode", "logger", "slack_config")
"""What means nothing here: trials and their artifacts are in the store, and ``notify`` tells."""
_DIRECTIONS = {"min": "minimize", "max": "maximize"}


class Translated(NamedTuple):
    """One experiment of Labs.

    Parameters
    ----------
    name : str
        Its name.
    values : dict
        It in our own grammar.
    ignored : tuple of str
        Its keys that mean nothing here.
    """

    name: str
    values: dict[str, Any]
    ignored: tuple[str, ...]


def is_labs(found: Any) -> bool:
    """Whether this is what a configuration of Labs holds."""
    return is_file(found)


def experiments(found: Mapping[str, Any]) -> Iterator[Translated]:
    """The experiments of a configuration.

    Raises
    ------
    ExperimentsFileError
        It has a key or value that Labs does not know, or that cannot be so here.

    Examples
    --------
    >>> space = {"a": {"type": "uniform", "search_vals": [0, 1]}}
    >>> tune = {"type": "random-search", "space": space, "n_experiments": 5}
    >>> (one,) = experiments({"experiment_name": "my line", "tune_config": tune})
    >>> one.name, one.values["experiment"], one.values["n_trials"]
    ('my line', 'my_line', 5)
    """
    several = "experiments" in found
    if several:
        check(found, _TOP)
        if found.get("type", "local") != "local":
            raise ExperimentsFileError(
                f"type: expected 'local', not {preview(found['type'], 80)}: a cluster is named by "
                "executor, in a file of daskperiment"
            )
    seen: set[str] = set()
    for number, one in enumerate(found["experiments"] if several else [found], 1):
        name = one.get("experiment_name") or f"experiment {number}"
        with told_of(name):
            if name in seen:
                raise ExperimentsFileError("experiment_name: the name is given twice")
            seen.add(name)
            check(one, _EXPERIMENT)
            ignored = tuple(key for key in _IGNORED if one.get(key) or found.get(key))
            yield Translated(name, _values(name, one), ignored)


def _values(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    tune, evaluation = one["tune_config"], one.get("evaluation_config") or {}
    cluster = one.get("dask_config") or {}
    with told_of("tune_config"):
        check(tune, _TUNE)
        searched = _searched(tune)
    with told_of("evaluation_config"):
        check(evaluation, _EVALUATION)
        metrics = {n: _DIRECTIONS.get(d, d) for n, d in evaluation.get("metrics", {}).items()}
    described = [one.get("description"), one.get("problem_name")]
    together = tune.get("experiments_batch_size") or cluster.get("n_workers") or 1
    values = {
        "function": one.get("function"),
        "experiment": "".join(c if c.isalnum() else "_" for c in name),
        "description": ", ".join(str(each) for each in described if each),
        "metrics": metrics,
        "main_metric": evaluation.get("main_metric"),
        "batch_size": together,
        "max_workers": None if cluster else together,
        "target": tune.get("score_threshold"),
        "artifacts": "best" if tune.get("delete_experiments") else None,
        "cluster": cluster,
        **searched,
    }
    return {key: value for key, value in values.items() if value not in (None, "", {})}


def _searched(tune: Mapping[str, Any]) -> dict[str, Any]:
    """Space, sampler, seed and number of trials."""
    kind = tune.get("type", "grid-search")
    if kind not in _SEARCHES:
        raise ExperimentsFileError(
            f"type: {preview(kind, 80)} is no search of Labs: {nearest(kind, _SEARCHES)}"
        )
    if "space" not in tune:
        raise ExperimentsFileError("the key 'space' is missing")
    with told_of("search_params"):
        sampler, seed = _sampler(kind, tune.get("search_params") or {})
    endless = kind in ("random-search", "skopt")
    return {
        "space": tune["space"],
        "sampler": sampler,
        "seed": seed,
        "n_trials": tune.get("n_experiments") if endless else None,
    }


def _sampler(kind: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
    """The sampler, and the seed, that the parameters of a search of Labs ask for."""
    known = ["random_state"]
    if kind == "skopt":
        known += ["base_estimator", "acq_func", "acq_func_kwargs", "n_initial_points"]
    check(given, dict.fromkeys(known, _ANY))
    estimator = given.get("base_estimator", "GP")
    if estimator not in _ESTIMATORS:
        raise ExperimentsFileError(
            f"base_estimator: expected GP, RF or ET, not {preview(estimator, 80)}"
        )
    options = {
        "acquisition": given.get("acq_func"),
        "startup": given.get("n_initial_points"),
        **given.get("acq_func_kwargs", {}),
    }
    name = _ESTIMATORS[estimator] if kind == "skopt" else _SEARCHES[kind]
    chosen = {key: value for key, value in options.items() if value is not None}
    return {"name": name, **chosen}, given.get("random_state")
