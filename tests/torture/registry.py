"""All scenarios, by name."""

from tests.torture import errors, kills, power  # noqa: F401  (importing registers)
from tests.torture.harness import SCENARIOS as _FOUND

SCENARIOS = dict(sorted(_FOUND.items()))
