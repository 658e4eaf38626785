"""Where history puts things in a backend: the only place that knows."""

from __future__ import annotations

from urllib.parse import quote

SNAPSHOTS = "snapshots"


def experiment(name: str) -> str:
    """Path of everything that belongs to one experiment: one percent-quoted segment."""
    return f"experiment/{quote(name, safe='')}"


def trials(name: str) -> str:
    """Documents of the trials, by number."""
    return f"{experiment(name)}/trials"


def running(name: str) -> str:
    """Documents of the owners of trials that have not ended, by uid."""
    return f"{experiment(name)}/running"


def begun(name: str) -> str:
    """Empty documents of the trials that were begun on workers, by uid."""
    return f"{experiment(name)}/begun"


def steps(name: str, uid: str) -> str:
    """Log of the step records of one trial."""
    return f"{experiment(name)}/steps/{uid}"


def metrics(name: str, uid: str) -> str:
    """Log of the metric batches of one trial."""
    return f"{experiment(name)}/metrics/{uid}"


def artifacts(name: str, uid: str) -> str:
    """Log of the artifacts of one trial."""
    return f"{experiment(name)}/artifacts/{uid}"


def latest(name: str) -> str:
    """Documents of the latest observation of each step, occurrence and inputs."""
    return f"{experiment(name)}/purity/latest"


def exact(name: str) -> str:
    """Documents of the output seen under exactly the same circumstances."""
    return f"{experiment(name)}/purity/exact"
