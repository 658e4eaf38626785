"""A trial that differs from the one before it in code or environment says so, once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import pytest

from daskperiment import (
    CodeChangedWarning,
    EnvironmentChangedWarning,
    Experiment,
)
from daskperiment.backends import Backend, open_backend
from daskperiment.execution import changes

pytestmark = pytest.mark.filterwarnings("ignore::daskperiment.PurityWarning")

SCRIPT = """
    import warnings
    from daskperiment import Experiment, PurityWarning
    from tools import scale

    warnings.simplefilter("ignore", PurityWarning)
    LIMIT = 100
    ex = Experiment("changes")

    @ex
    def prepare(a):
        return scale(a)

    @ex.result
    def score(x):
        return min(x, LIMIT)

    if __name__ == "__main__":
        s = score(prepare(ex.parameter("a", default=3)))
        for _ in range(3):
            {compute}
"""
TOOLS = """
    import units

    def scale(x):
        return units.convert(x)
"""
UNITS = """
    def convert(x):
        return 2 * x
"""


def write(compute: str = "s.compute()") -> None:
    for name, text in (("script", SCRIPT), ("tools", TOOLS), ("units", UNITS)):
        Path(f"{name}.py").write_text(textwrap.dedent(text).replace("{compute}", compute))


def edit(file: str, old: str, new: str) -> None:
    text = Path(file).read_text()
    assert text.count(old) == 1
    Path(file).write_text(text.replace(old, new))


def run(*options: str, ok: bool = True, **variables: str) -> list[str]:
    """Run the script in a process of its own; return what it told as warnings."""
    done = subprocess.run(
        [sys.executable, "-B", *options, "script.py"],
        env={**os.environ, "DASKPERIMENT_LOG_LEVEL": "CRITICAL", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.returncode == 0) is ok, done.stderr
    return done.stderr.splitlines()


def given(lines: list[str], category: str = "ChangedWarning") -> list[str]:
    return [line for line in lines if f"{category}: " in line]


# -- another process ------------------------------------------------------------------------


def test_an_unchanged_script_is_silent_in_another_process() -> None:
    write()

    assert run() == []
    assert run() == []


def test_an_edited_step_is_told_once_with_its_diff() -> None:
    write()
    run()
    edit("script.py", "return min(x, LIMIT)", "return max(x, LIMIT)")

    told = run()

    assert len(given(told)) == 1  # of three trials
    assert "CodeChangedWarning: Code has changed since trial 3:" in given(told)[0]
    assert "step 'score'" in told
    assert "  -    return min(x, LIMIT)" in told
    assert "  +    return max(x, LIMIT)" in told
    assert run() == []


def test_the_warning_points_at_the_users_line() -> None:
    write()
    run()
    edit("script.py", "return min(x, LIMIT)", "return max(x, LIMIT)")

    (line,) = given(run())

    number = Path("script.py").read_text().splitlines().index("        s.compute()") + 1
    assert line.startswith(f"{Path('script.py').absolute()}:{number}: ")


def test_a_helper_of_a_helper_in_another_module_is_told_with_its_diff() -> None:
    write()
    run()
    edit("units.py", "2 * x", "3 * x")

    told = run()

    assert told[told.index("step 'prepare'") :][:5] == [
        "step 'prepare'",
        "  helper units.convert",
        "  @@ -2 +2 @@",
        "  -    return 2 * x",
        "  +    return 3 * x",
    ]
    assert "step 'score'" not in told


def test_a_changed_constant_is_told_as_a_value_that_the_step_reads() -> None:
    write()
    run()
    edit("script.py", "LIMIT = 100", "LIMIT = 5")

    told = run()

    assert told[told.index("step 'score'") :][1:5] == [
        "  a value that it reads",
        "  @@ -1 +1 @@",
        "  -LIMIT = 100",
        "  +LIMIT = 5",
    ]


def test_comments_docstrings_formatting_and_other_steps_change_nothing() -> None:
    write()
    run()
    edit("script.py", "return min(x, LIMIT)", '"""Cut."""\n    return min(  # why\n  x, LIMIT)')
    edit("units.py", "def convert(x):", "def unused(): return 1\n\ndef convert(x):")

    assert run() == []


def test_a_helper_that_moved_to_another_module_changes_nothing() -> None:
    write()
    run()
    Path("tools.py").rename("kit.py")
    edit("script.py", "from tools", "from kit")
    assert run() == []

    Path("kit.py").rename("box.py")
    edit("script.py", "from kit", "from box")
    edit("script.py", "return scale(a)", "return scale(a) + 0")
    told = run()

    assert "step 'prepare'" in told
    assert not [line for line in told if line.startswith("  helper")]


@pytest.mark.parametrize(
    "compute",
    [
        "dask.compute(s, scheduler='threads')",
        "dask.compute(s, scheduler='processes', num_workers=1)",
        "(s + 1).compute(scheduler='synchronous')",
        "s.compute(scheduler='processes', num_workers=1)",
    ],
)
def test_every_route_tells_it_in_the_driver(compute: str) -> None:
    write(compute)
    edit("script.py", "import warnings", "import warnings, dask")
    edit("script.py", "range(3)", "range(2)")
    assert given(run()) == []
    edit("units.py", "2 * x", "3 * x")

    told = run()

    assert len(given(told, "CodeChangedWarning")) == 1
    assert "  helper units.convert" in told
    assert given(run()) == []


def test_a_cluster_tells_it_in_the_driver(client: Any, tmp_path: Path) -> None:
    with open_backend(tmp_path / "store") as backend:
        _multiplied(backend, 2).compute(scheduler="synchronous")
        with pytest.warns(CodeChangedWarning, match="factor"):
            client.compute(_multiplied(backend, 3)).result()


def test_a_cluster_that_was_started_is_no_change_of_the_environment() -> None:
    pytest.importorskip("distributed")
    write()
    run()
    edit(
        "script.py",
        "    s = score",
        "    from distributed import Client, LocalCluster\n"
        "    client = Client(LocalCluster(n_workers=1, dashboard_address=None))\n"
        "    s = score",
    )

    assert given(run(), "EnvironmentChangedWarning") == []
    assert Experiment("changes").latest.number == 6


def _multiplied(backend: Backend, by: int) -> Any:
    ex = Experiment("cluster", backend=backend)

    def factor(n: int) -> int:
        return n * by

    @ex.result
    def score(n: int) -> int:
        return factor(n)

    return score(ex.parameter("n", default=by))


def test_python_can_be_told_to_fail_and_the_trial_has_failed_then() -> None:
    write()
    run()
    edit("units.py", "2 * x", "3 * x")

    told = run("-W", "error::daskperiment.errors.CodeChangedWarning", ok=False)

    assert "daskperiment.errors.CodeChangedWarning: Code has changed since trial 3:" in told
    trial = Experiment("changes").latest
    assert (trial.number, trial.state) == (4, "FAILED")
    assert trial.description is not None
    assert trial.description.startswith("CodeChangedWarning(")
    assert given(run()) == []


def test_without_source_text_it_is_told_without_a_diff() -> None:
    write()
    run(DASKPERIMENT_DISABLE_CODE="1")
    edit("units.py", "2 * x", "3 * x")

    told = run(DASKPERIMENT_DISABLE_CODE="1")

    assert told[told.index("step 'prepare'") :][1] == "  helper units.convert"
    assert "@@" not in "".join(told)


def test_a_changed_setting_is_told_by_its_category() -> None:
    write()
    run(LANG="C", OMP_NUM_THREADS="1")

    told = run(LANG="C", OMP_NUM_THREADS="2")

    (line,) = given(told)
    assert "EnvironmentChangedWarning: Environment has changed since trial 3:" in line
    assert "variables: OMP_NUM_THREADS 1 -> 2" in told
    assert run(LANG="C", OMP_NUM_THREADS="2") == []


def test_a_changed_package_is_told_by_its_versions(tmp_path: Path) -> None:
    def install(version: str) -> None:
        folder = tmp_path / "site" / f"flour-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Name: flour\nVersion: {version}\n")

    write()
    install("1.0")
    run(PYTHONPATH=str(tmp_path / "site"))
    (tmp_path / "site" / "flour-1.0.dist-info" / "METADATA").unlink()
    install("2.0")

    assert "packages: flour 1.0 -> 2.0" in run(PYTHONPATH=str(tmp_path / "site"))


def test_the_working_directory_is_no_change_of_the_environment(tmp_path: Path) -> None:
    write()
    store = {
        "DASKPERIMENT_BACKEND": str(tmp_path / "store"),
        "DASKPERIMENT_LOG_LEVEL": "CRITICAL",
    }
    run(**store)
    Path("elsewhere").mkdir()
    script = Path("script.py").absolute()

    done = subprocess.run(
        [sys.executable, script], cwd="elsewhere", env={**os.environ, **store}, capture_output=True
    )

    assert (done.returncode, done.stderr) == (0, b"")


def test_two_processes_that_alternate_tell_each_other_once() -> None:
    loop = """
        import sys, warnings
        from daskperiment import Experiment, PurityWarning
        warnings.simplefilter("ignore", PurityWarning)
        ex = Experiment("changes")

        @ex.result
        def score(x):
            return {value}

        s = score(ex.parameter("x", default=1))
        for line in sys.stdin:
            s.compute()
            print(ex.trial_id, flush=True)
    """
    processes = []
    for value in (1, 2):
        Path(f"loop{value}.py").write_text(textwrap.dedent(loop.replace("{value}", str(value))))
        processes.append(
            subprocess.Popen(
                [sys.executable, f"loop{value}.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for _ in range(4):
        for process in processes:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            process.stdout.readline()

    told = [process.communicate(timeout=60)[1].splitlines() for process in processes]

    assert [len(given(lines)) for lines in told] == [1, 1]
    assert "  +    return 1" in told[0]
    assert "  +    return 2" in told[1]
    assert Experiment("changes").trial_id == 8


# -- one process ------------------------------------------------------------------------------


def defined(ex: Experiment, source: Callable[[Experiment], Any]) -> Any:
    return source(ex)(ex.parameter("x", default=1))


def plain(ex: Experiment) -> Any:
    @ex.result
    def score(x: int) -> int:
        return x

    return score


def same_but_for_looks(ex: Experiment) -> Any:
    @ex.result
    def score(x):  # type: ignore[no-untyped-def]  # a comment
        """A docstring."""
        return x

    return score


def doubled(ex: Experiment) -> Any:
    @ex.result
    def score(x: int) -> int:
        return 2 * x

    return score


def test_a_redefined_step_is_told_at_once_and_not_again(
    ex: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    defined(ex, plain).compute()
    with pytest.warns(CodeChangedWarning, match="Step 'score' has been redefined") as caught:
        s = defined(ex, doubled)

    assert caught.list[0].filename == __file__
    assert "-    return x\n+    return 2 * x" in str(caught.list[0].message)
    assert "Code context has been changed: score\n@@" in caplog.text
    assert (s.compute(), s.compute()) == (2, 2)  # a warning would be an error


def test_code_whose_text_is_not_known_is_not_shown_as_deleted(ex: Experiment) -> None:
    def without_text(ex: Experiment) -> Any:
        names: dict[str, Any] = {}
        exec("def score(x): return 2 * x", names)
        return ex.result(names["score"])

    defined(ex, plain).compute()
    with pytest.warns(CodeChangedWarning) as caught:
        defined(Experiment(ex.id, backend=ex.backend), without_text).compute()

    assert str(caught[0].message).splitlines()[1:] == ["step 'score'"]


def test_a_step_defined_again_with_equal_code_is_silent(ex: Experiment) -> None:
    defined(ex, plain).compute()
    defined(ex, same_but_for_looks)
    defined(ex, plain).compute()

    assert ex.trial_id == 2  # a warning would be an error


def test_a_step_that_raises_its_warning_is_redefined_nevertheless(ex: Experiment) -> None:
    defined(ex, plain).compute()
    with warnings.catch_warnings(), pytest.raises(CodeChangedWarning):
        warnings.simplefilter("error")
        doubled(ex)

    assert "return 2 * x" in ex.get_code()


def test_two_handles_tell_their_difference_once(backend: Backend) -> None:
    one = defined(Experiment("handles", backend=backend), plain)
    other = defined(Experiment("handles", backend=backend), doubled)
    one.compute()
    with pytest.warns(CodeChangedWarning, match="since trial 1"):
        other.compute()
    with pytest.warns(CodeChangedWarning, match="since trial 2"):
        one.compute()

    for _ in range(3):
        other.compute()
        one.compute()


def test_a_value_that_changes_with_every_trial_is_told_once(memory_ex: Experiment) -> None:
    limits: list[int] = []

    @memory_ex.result
    def count(x: int) -> int:
        return len(limits)

    s = count(memory_ex.parameter("x", default=1))
    s.compute()
    limits.append(1)
    with pytest.warns(CodeChangedWarning, match="a value that it reads"):
        s.compute()
    for _ in range(3):
        limits.append(1)
        s.compute()


def test_steps_that_only_one_of_two_trials_has_are_no_change(ex: Experiment) -> None:
    @ex
    def half(x: int) -> float:
        return x / 2

    @ex.result
    def whole(x: float) -> float:
        return x

    x = ex.parameter("x", default=1)
    whole(half(x)).compute()
    whole(x).compute()

    assert ex.trial_id == 2


def test_a_removed_trial_is_not_compared_with(backend: Backend) -> None:
    ex = Experiment("removed", backend=backend)
    defined(ex, plain).compute()
    defined(Experiment("other", backend=backend), plain).compute()
    with pytest.warns(CodeChangedWarning):
        defined(Experiment("removed", backend=backend), doubled).compute()
    ex[2].remove()

    defined(Experiment("removed", backend=backend), plain).compute()


def test_a_loop_reads_nothing_to_compare(ex: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    s = defined(ex, plain)
    s.compute()
    monkeypatch.setattr(changes.Trials, "before", lambda *_: reads.append(1))
    monkeypatch.setattr(changes.Snapshots, "get", lambda *_: reads.append(1))
    for _ in range(3):
        s.compute()
        dask.compute(s)

    assert reads == []


def test_trouble_while_comparing_is_logged_and_stops_nothing(
    ex: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    defined(ex, plain).compute()
    ex.backend.drop("snapshots")

    assert defined(Experiment(ex.id, backend=ex.backend), doubled).compute() == 2
    assert "Unable to compare with the trial before: The store has no snapshot" in caplog.text


def test_a_warning_made_an_error_ends_the_trial_of_a_foreign_graph(ex: Experiment) -> None:
    defined(ex, plain).compute()
    s = defined(Experiment(ex.id, backend=ex.backend), doubled)
    with pytest.raises(CodeChangedWarning):
        dask.compute(s, scheduler="synchronous")

    assert [trial.state for trial in ex.trials] == ["COMPLETE", "FAILED"]


def test_the_users_error_goes_before_a_warning_made_an_error(ex: Experiment) -> None:
    def fails(message: str) -> Any:
        outputs = iter([1, 2])

        @ex
        def impure(x: int) -> int:
            return next(outputs)

        @ex.result
        def score(x: int) -> int:
            raise ValueError(message)

        return score(impure(ex.parameter("x", default=1)))

    s = fails("mine")
    with pytest.raises(ValueError, match="mine"):
        s.compute()
    with warnings.catch_warnings(), pytest.raises(ValueError, match="mine"):
        warnings.simplefilter("error")
        s.compute()

    assert [trial.state for trial in ex.trials] == ["FAILED", "FAILED"]


def test_the_environment_of_this_process_is_compared(
    ex: Experiment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    s = defined(ex, plain)
    s.compute()
    row = ex.backend.get("experiment/example/trials", 1)
    assert row is not None
    document = ex.backend.get("snapshots", row["environment"])
    assert document is not None
    document["cpu"]["model"] = "an older one"
    ex.backend.insert("snapshots", document, "v1:older")
    ex.backend.update("experiment/example/trials", 1, {"environment": "v1:older"})

    caplog.set_level(logging.WARNING, "daskperiment")
    with pytest.warns(EnvironmentChangedWarning, match="cpu: model an older one -> "):
        defined(Experiment(ex.id, backend=ex.backend), plain).compute()

    assert "Environment information has been changed: cpu\nmodel an older one" in caplog.text
