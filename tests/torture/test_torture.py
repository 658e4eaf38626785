"""Short forms of all scenarios, and a proof for each that it finds a planted bug."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.torture.harness import Outcome
from tests.torture.registry import SCENARIOS

SEED = 20240229

pytestmark = pytest.mark.timeout(150)


def _run(name: str, folder: Path, plant: str | None) -> Outcome:
    scenario = SCENARIOS[name]
    form = scenario.short if plant is None else scenario.planted
    outcome = scenario.run(SEED, folder, plant, **form)
    if outcome.not_run:
        refused = shutil.which("strace") is not None
        may_skip = refused or not os.environ.get("CI")
        (pytest.skip if may_skip else pytest.fail)(f"not run: {outcome.not_run}")
    print(outcome)
    return outcome


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_holds(name: str, tmp_path: Path) -> None:
    outcome = _run(name, tmp_path, None)
    assert outcome.violations == [], outcome
    assert outcome.faults > 0, outcome


@pytest.mark.parametrize(
    ("name", "plant"),
    [(name, plant) for name, scenario in SCENARIOS.items() for plant in scenario.plants],
    ids=lambda part: part,
)
def test_planted_bug_is_caught(name: str, plant: str, tmp_path: Path) -> None:
    assert _run(name, tmp_path, plant).violations


def test_every_scenario_is_shown_to_catch_a_planted_bug() -> None:
    assert [name for name, scenario in SCENARIOS.items() if not scenario.plants] == []
