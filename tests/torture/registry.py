"""All scenarios, by name."""

from tests.torture import (  # noqa: F401  (importing registers)
    canaries,
    carried,
    clock,
    clusters,
    crowds,
    damage,
    dashboard,
    drivers,
    errors,
    hosts,
    kills,
    leases,
    model,
    outages,
    power,
    resuming,
    scale,
    shared,
    signals,
    trust,
    values,
    versions,
)
from tests.torture.harness import SCENARIOS as _FOUND

SCENARIOS = dict(sorted(_FOUND.items()))
