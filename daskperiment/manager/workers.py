"""Where the trials of a search run, as its file describes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from daskperiment.errors import ExperimentsFileError
from daskperiment.execution import jobs
from daskperiment.execution.executors import check_executor, check_gpus
from daskperiment.manager.grammar import told_of


def check(values: Mapping[str, Any]) -> None:
    """Refuse what cannot run trials.

    Raises
    ------
    ExperimentsFileError
        There is no such executor, it does not go with other keys, or a library is missing.
    """
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
def cluster(options: Mapping[str, Any] | None) -> Iterator[Any]:
    """A client of a cluster of this machine, if one is asked for."""
    if options is None:
        yield None
        return
    from distributed import Client, LocalCluster

    # The port that its own page has by default is that of one cluster only.
    chosen = {"dashboard_address": "127.0.0.1:0", **options}
    with LocalCluster(**chosen) as made, Client(made, set_as_default=False) as client:
        yield client


def shown(values: Mapping[str, Any]) -> str:
    """It for people.

    Examples
    --------
    >>> shown({"max_workers": 3}), shown({"cluster": {"n_workers": 2}})
    ('3 threads', 'LocalCluster(n_workers=2)')
    """
    if "cluster" in values:
        told = ", ".join(f"{key}={value!r}" for key, value in values["cluster"].items())
        return f"LocalCluster({told})"
    count = values.get("max_workers")
    where = values.get("executor", "threads")
    return where if count is None or "://" in where else f"{count} {where}"
