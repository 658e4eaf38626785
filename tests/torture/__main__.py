"""``python -m tests.torture``: the long forms of all scenarios, and one table."""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.torture import registry
from tests.torture.harness import Outcome, Scenario

COLUMNS = "{:<5} {:>10} {:>6} {:>6} {:>10} {:>7}  {:<10} {}"
HANGS = 3 * 3600
"""Seconds after which a scenario counts as hanging: the stacks are printed, the run ends."""
HEAD = ("name", "seed", "rounds", "faults", "violations", "seconds", "verdict", "figures")


def main() -> int:
    """Run what was asked for; 1 when an invariant was violated or no fault hit a write."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--only", help="names such as F01,F14")
    parser.add_argument("--seed", type=int, help="seed of every scenario, default a fresh one")
    parser.add_argument("--short", action="store_true", help="the short forms")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else list(registry.SCENARIOS)
    print(COLUMNS.format(*HEAD))
    bad = [name for name in names if not _tell(registry.SCENARIOS[name], given)]
    return 1 if bad else 0


def _tell(scenario: Scenario, given: argparse.Namespace) -> bool:
    seed = random.SystemRandom().randrange(10**9) if given.seed is None else given.seed
    form = scenario.short if given.short else scenario.long
    began = time.monotonic()
    faulthandler.dump_traceback_later(HANGS, exit=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        outcome = scenario.run(seed, Path(folder), None, **form)
        os.chdir("/")
    faulthandler.cancel_dump_traceback_later()
    verdict = _verdict(outcome)
    figures = ", ".join(f"{name} {value}" for name, value in outcome.figures.items())
    print(
        COLUMNS.format(
            scenario.name, seed, outcome.rounds, outcome.faults, len(outcome.violations),
            f"{time.monotonic() - began:.1f}", verdict,
            f"{scenario.title}: {outcome.not_run or figures}",
        ),
        flush=True,
    )  # fmt: skip
    for violation in outcome.violations[:20]:
        print(f"      {violation}", flush=True)
    return verdict in ("holds", "not run")


def _verdict(outcome: Outcome) -> str:
    if outcome.not_run:
        return "not run"
    if outcome.violations:
        return "VIOLATED"
    return "holds" if outcome.faults else "NO FAULT"


if __name__ == "__main__":
    sys.exit(main())
