"""A real workflow after each of many edits: exactly what depends on the edit runs again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from daskperiment import Experiment

pytest.importorskip("sklearn")

WORKFLOW = Path(__file__).parent.parent / "examples" / "workflow"
ORDER = ["load", "clean", "tidy", "featurise", "split", "train", "describe", "score"]
STEPS = {*ORDER} - {"tidy"}
BELOW = {"featurise", "split", "train", "score"}
"""What runs again when other features are made."""


class Edit(NamedTuple):
    """A change of a file, what runs again after it, and why the first of that does."""

    file: str
    before: str
    after: str
    ran: set[str]
    why: str | None = None


EDITS = {
    "a comment": Edit("units.py", "FLOOR = 0.001", "# Not zero.\nFLOOR  =  0.001", set()),
    "a constant in a helper of a helper": Edit(
        "units.py", "0.001", "1.0", BELOW,
        "ran: a value that units.not_negative reads changed at line 3",
    ),
    "a default argument": Edit(
        "features.py", "power=1", "power=2", BELOW, "ran: helper features.scaled changed at line 21"
    ),
    "a function that is not used": Edit("units.py", "return values\n", "return None\n", set()),
    "a data file": Edit(
        "wine.csv", "1065.0", "1066.0", STEPS,
        "ran: the file wine.csv is not what it was (trial 1)",
    ),
    "the name of a step": Edit(
        "pipeline.py", "clean(", "tidy(", {"tidy"}, "ran: no earlier trial ran this step"
    ),
    "the order of definitions": Edit(
        "pipeline.py",
        '@ex\ndef clean(table):\n    """Without rows in which something is missing."""\n'
        "    return table.dropna().reset_index(drop=True)\n\n\n",
        "",
        set(),
    ),
    "a decorator": Edit(
        "pipeline.py", "@ex\ndef clean", "@ex\n@features.traced\ndef clean", {"clean"},
        "ran: its code changed at line 38",
    ),
    "a global list that is changed in place": Edit(
        "pipeline.py", "ex = Experiment", "features.SCALES.clear()\nex = Experiment", BELOW,
        "ran: a value that features.scaled reads changed",
    ),
    "a variable of a closure": Edit(
        "features.py", "weighing(1.0)", "weighing(2.0)", BELOW,
        "ran: a value that features.weighing.<locals>.weigh reads changed",
    ),
    "a method of a class": Edit(
        "features.py", "ascending=False", "ascending=True", BELOW,
        "ran: helper features.Ranker.chosen changed at line 36",
    ),
    "the text of one step": Edit(
        "pipeline.py", "table.describe()", "table.describe().round(3)", {"describe", "score"},
        "ran: its code changed at line 71",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def ran_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workflow") / "first"
    shutil.copytree(WORKFLOW, folder, ignore=shutil.ignore_patterns("__pycache__"))
    assert run(folder) == STEPS
    return folder


@pytest.fixture
def folder(ran_once: Path, tmp_path: Path) -> Path:
    """A copy of the workflow that was run once, on another machine so to say."""
    return Path(shutil.copytree(ran_once, tmp_path / "again"))


PLAN_AND_RUN = """
import json, runpy, sys
from daskperiment.script import plan_path
plan, error = plan_path(sys.argv[1], sys.argv[2:])
print(json.dumps(plan.document()["calls"]))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(folder: Path, *arguments: str, script: str = "pipeline.py") -> set[str]:
    """Plan the workflow and run it; return the steps that were not reused.

    What the plan says must be what happens, and the reason before must be the reason after.
    """
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "DASKPERIMENT_USAGE": "0"}
    command = [sys.executable, "-c", PLAN_AND_RUN, script, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    trial = Experiment("workflow", backend=folder / "daskperiment_cache").latest
    outcomes = dict(zip(trial.steps["step"], trial.steps["outcome"], strict=True))
    calls = json.loads(done.stdout.splitlines()[0])
    assert {call["step"] for call in calls} == set(outcomes)
    for call in calls:
        step, action = call["step"], call["action"]
        if action != "depends":
            told = {"run": "ran: ", "reuse": "reused "}[action] + call["reason"]
            assert (step, trial.why(step)) == (step, told)
        assert outcomes[step] in {"run": ["ran"], "reuse": ["reused"]}.get(action, outcomes[step])
    return {step for step, outcome in outcomes.items() if outcome == "ran"}


def why(folder: Path) -> str | None:
    """Why the first step has run that did; None where all were reused."""
    trial = Experiment("workflow", backend=folder / "daskperiment_cache").latest
    ran = trial.steps[trial.steps["outcome"] == "ran"]["step"]
    steps = sorted(ran, key=ORDER.index)
    return trial.why(steps[0]) if steps else None


def edit(folder: Path, file: str, before: str, after: str) -> None:
    text = (folder / file).read_text()
    assert before in text
    (folder / file).write_text(text.replace(before, after))


def test_nothing_runs_again_where_nothing_was_changed(folder: Path) -> None:
    assert run(folder) == set()


@pytest.mark.parametrize("what", EDITS)
def test_after_an_edit_runs_exactly_what_depends_on_it(folder: Path, what: str) -> None:
    change = EDITS[what]
    edit(folder, change.file, change.before, change.after)
    if what == "the order of definitions":
        edit(folder, "pipeline.py", "@ex\ndef describe", f"{change.before}@ex\ndef describe")

    assert run(folder) == change.ran
    assert why(folder) == change.why


def test_another_value_of_a_parameter_runs_its_branch(folder: Path) -> None:
    assert run(folder, "trees=30") == {"train", "score"}
    assert why(folder) == "ran: input 'trees' is 30, it was 20 in trial 1"
    assert run(folder, "trees=20") == set()


def test_another_version_of_a_package_runs_the_steps_that_reach_it(folder: Path) -> None:
    (folder / "newer.py").write_text(
        "import importlib.metadata, runpy, sys\n"
        "real = importlib.metadata.version\n"
        "def version(name):\n"
        "    return '99.0' if name == 'scikit-learn' else real(name)\n"
        "importlib.metadata.version = version\n"
        "sys.argv = ['pipeline.py']\n"
        "runpy.run_path('pipeline.py', run_name='__main__')\n"
    )

    assert run(folder, script="newer.py") == {"split", "train"}
    assert "ran: package scikit-learn " in str(why(folder))
    assert str(why(folder)).endswith(" -> 99.0")


def test_a_helper_that_is_moved_to_another_module_runs_nothing(folder: Path) -> None:
    text = (folder / "features.py").read_text()
    begin, end = text.index("def scaled"), text.index("class Ranker")
    (folder / "shapes.py").write_text(
        "import numpy as np\nimport units\n\nSCALES = ['log']\n\n\n" + text[begin:end]
    )
    (folder / "features.py").write_text(
        text[:begin] + "from shapes import scaled\n\n\n" + text[end:]
    )

    assert run(folder) == set()
