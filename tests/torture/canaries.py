"""Secrets that must be nowhere: two hundred of them, planted in every place that is captured."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from tests.test_secrets import canaries, hits, run_script
from tests.torture.harness import Outcome, scenario

UNSCRUBBED = """
import daskperiment.secrets
from daskperiment.secrets import scrubbing

daskperiment.secrets.scrub = scrubbing.scrub = lambda text: text
"""
_MODES = ("threads", "processes")


@scenario(
    "S6",
    "secrets in variables, arguments, remotes, parameters, output and errors",
    plants=("unscrubbed",),
    short={"modes": ["threads"]},
    long={"modes": _MODES},
)
def planted_secrets(seed: int, folder: Path, plant: str | None, *, modes: list[str]) -> Outcome:
    """Every file, cell, payload, log and sent task of a run is searched for the secrets."""
    outcome = Outcome("S6", seed)
    for mode in modes:
        place = folder / mode
        place.mkdir()
        planted = canaries()
        (place / "sitecustomize.py").write_text(UNSCRUBBED if plant else "")
        with mock.patch.dict(os.environ, {"PYTHONPATH": before(place)}):
            run_script(mode, place, planted)
        found = hits(planted, place / "out")
        secret = sorted(hit for hit in found if hit[0] != "ordinary")
        told = [f"I10: a secret of kind {kind!r} is in {where}" for kind, where in secret]
        if secret == sorted(found):
            told.append("I10: the search did not even find what is no secret")
        outcome.add(mode, told)
        outcome.faults += sum(map(len, planted.values())) - 1
        outcome.rounds += 1
    outcome.figures["secrets found"] = len(outcome.violations)
    return outcome


def before(place: Path) -> str:
    """The search path of Python with a folder in front, and this repository."""
    root = Path(__file__).resolve().parents[2]
    return os.pathsep.join([str(place), str(root)])
