"""A score has dropped: one story on real data, told to its end in a shell."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.users import ANOTHER, AS_ANOTHER, folder_of_another, needs_another_user

pytest.importorskip("sklearn")

pytestmark = pytest.mark.xdist_group("story")  # it is told once

STORY = Path(__file__).parent.parent / "examples" / "story"
PAGE = Path(__file__).parent.parent / "doc" / "story.rst"
BEFORE, AFTER = "np.std(table, axis=0)", "np.std(table)"
"""An edit of a helper's helper that looks like a simplification."""


def ask(folder: Path, *arguments: str, before: tuple[str, ...] = ()) -> Any:
    return subprocess.run(
        [*before, sys.executable, *arguments], cwd=folder, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=100, check=False,
        env={**os.environ, "DASKPERIMENT_BACKEND": "history"},
    )  # fmt: skip


def daskperiment(folder: Path, verb: str, *arguments: str) -> Any:
    return ask(folder, "-m", "daskperiment", verb, *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three trials, the last one after the edit; and then the working tree has moved on."""
    place = tmp_path_factory.mktemp("story")
    for each in STORY.glob("*.py"):
        shutil.copy(each, place)
    for script in ("classify.py", "cluster.py", "classify.py"):
        done = ask(place, script)
        assert done.returncode == 0, done.stderr
        helpers = place / "scaling.py"
        if script == "cluster.py":
            helpers.write_text(helpers.read_text().replace(BEFORE, AFTER))
    helpers.write_text("raise RuntimeError('being rewritten')\n")
    (place / "classify.py").unlink()
    yield place


def test_explain_names_the_helper_that_has_made_the_score_drop(folder: Path) -> None:
    done = daskperiment(folder, "explain", "-e", "classify", "1", "2", "--json")

    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["result"] == "1.0 -> 0.7586206896551724"
    assert found["first"] == "prepare"
    (cause,) = found["causes"]
    assert (cause["kind"], cause["name"], cause["steps"]) == (
        "helper",
        "scaling.spread",
        ["prepare"],
    )
    assert f"-    return {BEFORE}" in cause["diff"]
    assert {step["name"]: step["verdict"] for step in found["steps"]} == {
        "load": "equal", "shuffle": "equal", "prepare": "differs", "score": "follows",
    }  # fmt: skip


def test_the_old_trial_is_the_same_to_the_last_bit_though_the_code_has_moved_on(
    folder: Path,
) -> None:
    done = daskperiment(folder, "reproduce", "-e", "classify", "1", "--json")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["match"] == "bitwise"
    assert [step["match"] for step in found["steps"]] == ["bitwise"] * 4


def test_impact_lists_what_else_has_used_the_helper(folder: Path) -> None:
    done = daskperiment(
        folder, "impact", "-e", "classify", "scaling.spread", "--as-in", "2", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert told(done) == {("classify", 2)}

    done = daskperiment(folder, "impact", "-e", "classify", "scaling.spread", "--json")
    assert told(done) >= {("classify", 1), ("classify", 2), ("cluster", 1)}


def told(done: Any) -> set[tuple[str, int]]:
    return {(each["experiment"], each["trial"]) for each in json.loads(done.stdout)["trials"]}


@pytest.fixture(scope="module")
def packed(folder: Path) -> Path:
    done = daskperiment(folder, "bundle", "-e", "classify", "1", "-o", "wine.zip")
    assert done.returncode == 0, done.stderr
    return folder / "wine.zip"


def test_the_bundle_verifies_in_an_empty_folder(packed: Path, tmp_path: Path) -> None:
    done = daskperiment(tmp_path, "verify", str(packed), "--yes")

    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["match"] == "bitwise"


@needs_another_user
def test_the_bundle_verifies_as_another_user(packed: Path) -> None:
    with folder_of_another(packed) as place:
        done = ask(place, "-m", "daskperiment", "verify", packed.name, "--yes", before=AS_ANOTHER)
        assert done.returncode == 0, done.stderr
        assert json.loads((place / "report.json").read_text())["match"] == "bitwise"
        assert (place / "report.json").stat().st_uid == ANOTHER


def test_the_page_shows_what_the_commands_print(folder: Path, packed: Path, tmp_path: Path) -> None:
    page = PAGE.read_text()
    for done in (
        daskperiment(folder, "explain", "-e", "classify", "1", "2"),
        daskperiment(folder, "impact", "-e", "classify", "scaling.spread", "--as-in", "2"),
        daskperiment(tmp_path, "verify", str(packed), "--yes"),
    ):
        shown = "\n".join(f"    {line}".rstrip() for line in done.stdout.splitlines())
        assert shown in page
