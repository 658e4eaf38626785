"""What the dashboard can be asked: a page with data of its own brings a module here."""

from daskperiment.dashboard.api import (  # noqa: F401  # importing them makes the endpoints
    artifacts,
    code,
    compare,
    environment,
    experiments,
    graph,
    lineage,
    metrics,
    output,
    reproductions,
    running,
    searches,
    trial,
    trials,
    usage,
    why,
)
