"""The page about the command line tells of the verbs as they are."""

from __future__ import annotations

import runpy
from pathlib import Path

PAGES = Path(__file__).parents[2] / "doc"


def test_the_page_is_what_its_generator_writes() -> None:
    generator = runpy.run_path(str(PAGES / "generate_command_line.py"))
    written = (PAGES / "command_line.rst").read_text(encoding="utf-8")

    assert written == generator["page"](), "run: python doc/generate_command_line.py"


def test_the_page_tells_of_every_verb_and_its_document() -> None:
    from daskperiment.cli import cli

    by_hand, _, reference = (PAGES / "command_line.rst").read_text().partition("The rest is")

    for verb in cli.commands:
        assert f"daskperiment {verb} " in reference, verb
        assert f"``{verb}" in by_hand or verb == "completion", verb
