"""Running a recorded trial again among the files that git had."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from daskperiment import Experiment
from daskperiment.backends.base import Insert
from daskperiment.fingerprint.values import digest
from daskperiment.history import paths
from daskperiment.history.snapshots import Snapshots
from tests.conftest import needs_program

FILES = {
    "analysis/script.py": """
        import importlib
        import sys
        from pathlib import Path

        from lab.used import scale

        from daskperiment import Experiment

        ex = Experiment("versioned", backend=sys.argv[1], seed=3)


        @ex
        def load(n):
            here = Path("data/rows.csv").read_text().split()
            beside = (Path(__file__).parent / "more.csv").read_text().split()
            return [float(row) for row in here + beside][:n]


        @ex.result
        def total(rows):
            return scale(sum(rows)) + importlib.import_module("late").LATE


        if __name__ == "__main__":
            total(load(ex.parameter("n", default=4))).compute(scheduler="synchronous")
    """,
    "analysis/late.py": "LATE = 100\n",
    "analysis/more.csv": "3\n4\n",
    "data/rows.csv": "1\n2\n",
    "lab/__init__.py": "",
    "lab/used.py": """
        import lab.other


        def scale(x):
            return x * 2


        def unused(x):
            return lab.other.answer(x)
    """,
    "lab/other.py": "def answer(x):\n    return x\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository whose data were changed since the commit, and a store with a trial."""
    needs_program("git")
    root = tmp_path / "project"
    for name, text in FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    who = ["-c", "user.name=me", "-c", "user.email=me@localhost"]
    for arguments in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    (root / "data" / "rows.csv").write_text("1\n7\n")
    return root


@pytest.fixture
def ex(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """The experiment of that trial."""
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent.parent.parent}:{project}")
    store = tmp_path / "store"
    subprocess.run(
        [sys.executable, "analysis/script.py", str(store)], cwd=project, check=True,
        capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    return Experiment("versioned", backend=store)


def test_data_and_modules_of_the_commit_and_its_changes_are_there(
    ex: Experiment, project: Path
) -> None:
    assert ex[1].result == 130.0
    for name in FILES:
        (project / name).unlink()
    assert ex[1].reproduce().match == "error"

    again = ex[1].reproduce(code="git")

    assert again.match == "bitwise", str(again)
    assert ex[again.number or 0].result == 130.0
    assert not (project / "data" / "rows.csv").exists()


def test_recorded_sources_run_and_not_those_of_the_commit(ex: Experiment, project: Path) -> None:
    snapshots, path = Snapshots(ex.backend), paths.trials("versioned")
    row = ex.backend.get(path, 1) or {}
    session = snapshots.get(row["session"])
    diff = snapshots.text(session["git"]["diff"])
    edit = """\
diff --git a/lab/used.py b/lab/used.py
--- a/lab/used.py
+++ b/lab/used.py
@@ -5,4 +5,4 @@
 def scale(x):
-    return x * 2
+    return x * 3
 %
 %
""".replace("%", "")
    text = ex.backend.put((diff + edit).encode())
    changed = {**session, "git": {**session["git"], "diff": text}}
    ex.backend.apply(Insert(paths.SNAPSHOTS, changed, digest(changed)))
    ex.backend.update(path, 1, {"session": digest(changed)})

    again = ex[1].reproduce(code="git")

    assert again.match == "bitwise", str(again)


def test_what_git_has_lost_is_an_error(ex: Experiment, project: Path) -> None:
    shutil.rmtree(project / ".git")
    assert "is not in" in str(ex[1].reproduce(code="git"))

    ex[1].forget("git")

    again = ex[1].reproduce(code="git")
    assert (again.match, again.number) == ("error", None)
    assert "forgotten" in str(again)
