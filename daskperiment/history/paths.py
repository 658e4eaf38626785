"""Where history puts things in a backend: the only place that knows."""

from __future__ import annotations

import functools
from urllib.parse import quote, unquote

SNAPSHOTS = "snapshots"
EXPERIMENTS = "experiments"
"""Documents of the experiments, by id."""
CONDEMNED = "condemned/payloads"
"""Documents that allow to discard payloads, by digest: whoever refers to one removes its."""
CONDEMNED_SNAPSHOTS = "condemned/snapshots"
"""Snapshots that are about to be removed, by digest: no trial may begin with them."""

HEARTBEATS = "heartbeats"
"""Documents of processes that run trials, by process: how often their hearts have beaten."""
SIGHTINGS = "sightings"
"""Documents of what a machine has seen of another one's heartbeat, by process and machine."""
SPOOLS = "spools"
"""Documents of spools, by their id: how much of each is here."""


@functools.lru_cache(maxsize=64)  # a trial asks ten times
def experiment(name: str) -> str:
    """Path of everything that belongs to one experiment: one percent-quoted segment."""
    return f"experiment/{quote(name, safe='')}"


def experiment_of(path: str) -> str:
    """Id of the experiment that a path belongs to.

    Examples
    --------
    >>> experiment_of(trials("a/b"))
    'a/b'
    """
    return unquote(path.split("/")[1])


def trials(name: str) -> str:
    """Documents of the trials, by number."""
    return f"{experiment(name)}/trials"


def changes(name: str) -> str:
    """Log of the edits of rows whose trial has ended: number and time."""
    return f"{experiment(name)}/changes"


def running(name: str) -> str:
    """Documents of the owners of trials that have not ended, by uid."""
    return f"{experiment(name)}/running"


def claims(name: str) -> str:
    """Documents of who runs a place of a batch that several computers share, by both."""
    return f"{experiment(name)}/claims"


def reusable(name: str) -> str:
    """Documents of the calls that other trials may take, by what the call is."""
    return f"{experiment(name)}/reuse/calls"


def leases(name: str) -> str:
    """Documents of who computes a call that others wait for, by what the call is."""
    return f"{experiment(name)}/reuse/leases"


def begun(name: str) -> str:
    """Empty documents of the trials that workers have begun or must not begin, by uid."""
    return f"{experiment(name)}/begun"


def batches(name: str) -> str:
    """Documents of the batches, by uid."""
    return f"{experiment(name)}/batches"


def searches(name: str) -> str:
    """Documents of the searches, by name."""
    return f"{experiment(name)}/searches"


def queue(name: str, search: str) -> str:
    """Log of the configurations that were put into the queue of a search, by its uid."""
    return f"{experiment(name)}/queue/{search}"


def prepared(name: str) -> str:
    """Documents of the rows of trials that were prepared and have not begun, by uid."""
    return f"{experiment(name)}/prepared"


def steps(name: str, uid: str) -> str:
    """Log of the step records of one trial."""
    return f"{experiment(name)}/steps/{uid}"


def metrics(name: str, uid: str) -> str:
    """Log of the metric batches of one trial."""
    return f"{experiment(name)}/metrics/{uid}"


def artifacts(name: str, uid: str) -> str:
    """Log of the artifacts of one trial."""
    return f"{experiment(name)}/artifacts/{uid}"


def checkpoints(name: str) -> str:
    """Documents of the checkpoints of running calls, by what the call is and a random text."""
    return f"{experiment(name)}/checkpoints"


def output(name: str, uid: str) -> str:
    """Log of what one trial printed and logged."""
    return f"{experiment(name)}/output/{uid}"


def usage(name: str, uid: str) -> str:
    """Log of what one trial has used of processors and memory."""
    return f"{experiment(name)}/usage/{uid}"


def latest(name: str) -> str:
    """Documents of the latest observation of each step, occurrence and inputs."""
    return f"{experiment(name)}/purity/latest"


def exact(name: str) -> str:
    """Documents of the output seen under exactly the same circumstances."""
    return f"{experiment(name)}/purity/exact"


def impure(name: str) -> str:
    """Documents of the steps that were seen to be impure, by step and code."""
    return f"{experiment(name)}/purity/impure"
