"""Short forms of all scenarios, and a proof for each that it finds a planted bug."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.torture.harness import ROOT, Outcome
from tests.torture.model import Elsewhere, history_machine
from tests.torture.registry import SCENARIOS

SEED = 20240229
SLOW = {
    ("F14M", "commits-are-not-compared"),
    ("F23", "spool-forgets"),  # as F20
    ("F23M", "spool-forgets"),
    ("F24", "spool-forgets"),
    ("F27", "spool-forgets"),
    ("F29", "lost-trials-are-nobodys"),
    ("F31", "spool-forgets"),
}
"""Plants that only ``make torture`` runs: others of the same kind are caught each time."""

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
    if (name, plant) in SLOW and not os.environ.get("TORTURE"):
        pytest.skip("it takes long: make torture runs it")
    assert _run(name, tmp_path, plant).violations


def test_the_failure_of_a_trial_that_was_thought_dead_is_seen_by_who_has_looked_before(
    tmp_path: Path,
) -> None:
    with closing(Elsewhere(ROOT)) as other:
        machine = history_machine(tmp_path, other)()
        machine.begin(a=0, hand="a")
        machine.ask_all(question="history")
        machine.go_on(eye="a", how="bury", pick=0)
        machine.ask_all(question="history")
        machine.go_on(eye="a", how="fail for now", pick=0)
        machine.ask_all(question="history")
        machine.teardown()


def test_every_scenario_is_shown_to_catch_a_planted_bug() -> None:
    assert [name for name, scenario in SCENARIOS.items() if not scenario.plants] == []
