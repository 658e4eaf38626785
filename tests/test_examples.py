"""Each example runs as it is, in an empty folder, and shows what it promises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daskperiment import Experiment
from daskperiment.history.paths import running

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: str, folder: Path | None = None) -> list[str]:
    """Run an example, in the working directory unless told, and return the lines it prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_quickstart_goes_on_where_it_ended() -> None:
    first, second = run("quickstart.py"), run("quickstart.py")

    assert first[:3] == ["a=3: score 2.0", "a=8: score 1.0", "a=-2: division by zero"]
    assert "ZeroDivisionError(division by zero)" in first[8]
    assert [line.split()[0] for line in second[6:12]] == list("123456")


def test_a_script_takes_values_and_shows_its_own_trial() -> None:
    first, second = run("script.py", "a=1", "b=2"), run("script.py", "a=1", "b=2", "times=3")

    assert first[-1].split() == ["1", "1.0", "2.0", "1", "3.0"]
    assert second[-1].split() == ["2", "1.0", "2.0", "3", "9.0"]


def test_the_demo_warns_once_and_names_the_cause() -> None:
    pytest.importorskip("sklearn")

    lines = run("breast_cancer.py")

    (warning,) = [line for line in lines if line.startswith("PurityWarning")]
    assert "Step 'score'" in warning
    assert warning.endswith("Cause: code, entropy")
    assert "+    rows = np.random.default_rng().choice(len(y), size=100)" in lines
    (header,) = [line for line in lines if line.split()[:2] == ["C", "columns"]]
    assert header.split()[2:4] == ["Result", "Success"]
    assert len([line for line in lines if line.split()[4:5] == ["True"]]) == 7
    assert any(line.startswith("Best: Trial(3, COMPLETE") for line in lines)
    assert [line.split()[1] for line in lines if " ran " in line] == [
        "load", "split", "fit", "score",
    ]  # fmt: skip


def test_the_demo_warns_again_when_it_is_run_again() -> None:
    pytest.importorskip("sklearn")

    run("breast_cancer.py")

    (warning,) = [line for line in run("breast_cancer.py") if line.startswith("PurityWarning")]
    assert warning.endswith("Cause: entropy")


def test_metrics_stand_side_by_side_and_artifacts_are_copied(tmp_path: Path) -> None:
    lines = run("metrics_and_artifacts.py")

    assert "Trial(2, COMPLETE, experiment='line'): ['line', 'plots/line.json']" in lines
    assert "saved best/plots/line.json" in lines
    assert (tmp_path / "best" / "plots" / "line.json").read_text().startswith("[2.8")


def test_a_file_that_a_step_reads_by_itself_is_named_as_the_cause() -> None:
    lines = run("inputs.py")

    assert lines[:2] == ["at 2.5: 25.0", "at 3: 30.0"]
    assert lines[2].startswith("Step 'price' reads the file prices.txt, which is no input of it")
    assert lines[4].split()[:5] == ["0", "price", "0", "file", "prices.txt"]
    assert "  file prices.txt has another content (price)" in lines


def test_networks_are_watched_while_they_learn() -> None:
    pytest.importorskip("sklearn")

    address, *lines = run("dashboard.py", "--no-wait")

    assert address.startswith("Dashboard at http://127.0.0.1:")
    assert lines[-2].startswith("A rate of 30 is too high: the loss is ")
    assert lines[-1].startswith("Best: 0.9")


def test_a_killed_training_goes_on_and_ends_as_one_that_was_not() -> None:
    lines = run("checkpoints.py")

    assert lines[:3] == ["loading", "training from epoch 0", "training from epoch 12"]
    assert lines[3].startswith("Trial(1, CRASHED")
    assert [line.split() for line in lines[6:8]] == [
        ["load", "reused", "1", "None"], ["train", "ran", "None", "1"],
    ]  # fmt: skip
    assert lines[8] == "30 values of the loss"
    assert lines[-1] == "as without the interruption: True"


def test_a_batch_stops_without_improvement_and_tells_a_server() -> None:
    lines = run("callbacks.py")

    better = [line for line in lines if line.startswith("rate ")]
    assert better[0] == "rate 0.05: error 4.324578"
    assert len(better) == 10
    assert [line for line in lines if line.startswith("10 of 100 trials were run")]
    (received,) = [line for line in lines if line.startswith("received: ")]
    assert received.endswith("10 complete, 90 not run")
    assert lines[-1].endswith("delivered everything: True")


def test_functions_classes_and_blocks_run_as_they_are() -> None:
    squares, again, one, two, three, block, _, _, *rows = run("targets.py")

    assert (squares, again) == ("squares: [4.0, 0.0, 4.0]", "again: [0.0, 1.0] in 4 trials")
    assert [line.split(":")[0] for line in (one, two, three)] == [
        "100 steps", "200 steps", "300 steps",
    ]  # fmt: skip
    assert one.endswith("part of Trial(5, COMPLETE, experiment='targets')")
    assert block == "block: 9"
    assert [row.split()[0] for row in rows] == list("12345678")


def test_files_are_merged_and_a_misspelt_name_is_told() -> None:
    base, small, misspelt, kept = run("parameter_files.py")

    assert (base, small) == ("base:  1.947", "small: 1.914")
    assert "a mapping: Parameter is not declared: nose; did you mean 'noise'?" in misspelt
    assert kept.endswith("{'points': 20, 'noise': '1e-2', 'model': {'lr': 1.5, 'epochs': 5}}")


def test_searches_that_a_file_describes_run_by_one_command() -> None:
    pytest.importorskip("sklearn")

    done = subprocess.run(
        [sys.executable, "-m", "daskperiment", "run", str(EXAMPLES / "experiments.toml")],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    _, tree, svm = (line.split() for line in done.stdout.splitlines())
    assert (tree[:4], tree[-3:-1]) == (["tree", "COMPLETE", "search-1", "8"], ["depth=4", "leaf=1"])
    assert (svm[:3], float(svm[4]) > 0.97) == (["svm", "COMPLETE", "search-1"], True)
    kept = [bool(trial.artifacts["folds.json"].digest) for trial in Experiment("tree").trials]
    assert kept.count(True) == 1


def test_a_history_moves_and_the_past_joins_it() -> None:
    copied, imported, *table = run("moving.py")

    assert copied == "copied 3, then 0: 3 were there"
    assert imported == "imported as trials [4, 5]"
    assert table[-1].split() == ["5", "0.125", "0.015625"]


@pytest.mark.cluster
def test_every_scheduler_gives_the_same_numbers() -> None:
    pytest.importorskip("distributed")

    rows = [line.split(maxsplit=2) for line in run("schedulers.py")]

    assert [name for name, _, _ in rows] == ["synchronous", "threads", "processes", "cluster"]
    assert len({value for _, value, _ in rows}) == 1
    assert [text.removeprefix("computed in ") for _, _, text in rows] == [
        "this process", "this process", "worker processes", "worker processes",
    ]  # fmt: skip


# -- many trials, in one process of pytest: what the second of these needs the first has made


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, str, str]:
    """A batch on processes, of which one was killed, and what was told before it was resumed."""
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("killed")
    batch = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "many_trials.py"), "processes"], cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    ex = Experiment("forests", backend=folder / "daskperiment_cache")
    victim = await_worker(ex, batch)
    os.kill(victim, signal.SIGKILL)
    told, _ = batch.communicate(timeout=100)

    done = subprocess.run(
        [sys.executable, "-m", "daskperiment", "resume"], cwd=folder,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return ex, told, done.stdout + done.stderr


@pytest.mark.xdist_group("many trials")
def test_a_killed_worker_loses_what_it_was_running_and_resume_completes_the_batch(
    killed: tuple[Experiment, str, str],
) -> None:
    ex, told, resumed = killed

    assert told.startswith("60 trials: 59 COMPLETE")
    (lost,) = [trial for trial in ex.trials if str(trial.state) == "CRASHED"]
    assert "signal 9 (SIGKILL" in lost.description

    assert "60 trials: 60 COMPLETE" in resumed, resumed
    assert len(ex.trials) == 61
    assert ex[61].retry_of == lost
    assert ex[61].parameters == lost.parameters


@pytest.mark.xdist_group("many trials")
def test_sixty_trials_are_equal_wherever_they_run_and_whoever_is_killed(
    killed: tuple[Experiment, str, str],
) -> None:
    stores = [killed[0]]
    for executor in ("threads", "cluster"):
        folder = Path(executor)
        folder.mkdir()
        lines = run("many_trials.py", executor, folder=folder)
        assert lines[0] == "60 trials: 60 COMPLETE"
        stores.append(Experiment("forests", backend=folder / "daskperiment_cache"))

    found = [
        {
            tuple(sorted(trial.parameters.items())): (
                trial.result, trial.seed, tuple(trial.steps["output"]),
                tuple(trial.steps["fingerprint"]), trial.metrics["right"][0].value,
            )
            for trial in ex.trials
            if str(trial.state) == "COMPLETE"
        }
        for ex in stores
    ]  # fmt: skip

    assert len(found[0]) == 60
    assert found[0] == found[1] == found[2]


def await_worker(ex: Experiment, batch: subprocess.Popen[str]) -> int:
    """A worker process in the middle of a trial, and stopped there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and batch.poll() is None:
        for uid, owner in ex.backend.find(running("forests")):
            os.kill(owner["pid"], signal.SIGSTOP)
            time.sleep(0.05)
            if len(ex.trials) > 10 and ex.backend.get(running("forests"), uid):
                return int(owner["pid"])
            os.kill(owner["pid"], signal.SIGCONT)
    raise AssertionError("no trial was seen to run")
