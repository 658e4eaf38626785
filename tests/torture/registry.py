"""All scenarios, by name."""

from tests.torture import (  # noqa: F401  (importing registers)
    clock,
    crowds,
    damage,
    errors,
    kills,
    power,
    signals,
    trust,
    versions,
)
from tests.torture.harness import SCENARIOS as _FOUND

SCENARIOS = dict(sorted(_FOUND.items()))
