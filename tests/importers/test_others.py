"""The files of EXP, smallab and Labs become trials."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.backends import open_backend
from daskperiment.importers import READERS, record
from tests.cli.conftest import Command, command

__all__ = ["command"]
TIME = 1_700_000_000.0
# As csv.DictWriter of exp.gopt has them: names of the space, id, evaluation; ends are CR LF.
EXP = (
    "x,kind,layers,id,evaluation\r\n"
    "0.25,relu,2,0,0.0625\r\n"
    "-1e-05,tanh,3,1,1.0000000000000002e-10\r\n"
    "1.5,relu,4,3,2.25\r\n"
)


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, newline="")
    os.utime(path, (TIME, TIME))
    return path


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """What smallab leaves: two results, one of which JSON cannot hold, and a failure."""
    folder = tmp_path / "experiment_runs" / "digits"
    result = {"score": 0.5, "loss": [1.0, 0.25], "name": "first"}
    write(
        folder / "experiments" / "lr-0.1_seed-1" / "run.json",
        {"specification": {"lr": 0.1, "seed": 1}, "result": result},
    )
    second = folder / "experiments" / "lr-0.2_seed-1"
    write(second / "specification.json", {"lr": 0.2, "seed": 1})
    pickled = {"specification": {"lr": 0.2, "seed": 1}, "result": {"classes": {1, 2}}}
    (second / "run.pkl").write_bytes(pickle.dumps(pickled))
    os.utime(second / "run.pkl", (TIME + 1, TIME + 1))
    write(folder / "completed.json", [{"lr": 0.1, "seed": 1}, {"lr": 0.2, "seed": 1}])
    write(folder / "failed.json", [{"lr": 9, "seed": 1}])
    return folder


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """What Labs leaves: a report, metadata, and the artifacts of an experiment."""
    folder = tmp_path / "artifacts" / "forest"
    entries = [
        {"ix": 1, "hyperparams": {"depth": 2}, "scores": {"MSE": 0.5}},
        {"ix": 2, "hyperparams": {"depth": 4}, "scores": {"MSE": 0.25}},
    ]
    metadata = {
        "experiment_name": "forest", "run_id": "", "description": "trees", "problem_name": "x",
        "artifacts_path": "artifacts", "mode": "research", "start": "2021-05-06 07:08:09.100000",
        "end": "2021-05-06 07:08:19.100000", "total_time_secs": 10.0,
    }  # fmt: skip
    write(folder / "final_model" / "forest_metadata.json", metadata)
    write(folder / "experiment_2" / "scores.json", {"scores": {"MSE": 0.25}})
    return write(folder / "final_model" / "forest_report.json", entries)


def test_evaluations_of_exp_become_trials(command: Command, tmp_path: Path) -> None:
    write(tmp_path / "opt_configurations.csv", EXP)

    answer = command("import", "exp", "opt_configurations.csv")

    assert answer.code == 0
    assert answer.out.splitlines()[2] == "imported  configuration 3 as trial 3 of opt"
    ex = Experiment("opt")
    assert [trial.result for trial in ex.trials] == [0.0625, 1.0000000000000002e-10, 2.25]
    assert ex[2].parameters == {"x": -1e-05, "kind": "tanh", "layers": 3}
    assert ex[1].finished is not None and ex[1].finished.timestamp() == TIME
    assert ex[1].note == ("Imported from EXP, configuration 0 of opt; the time is that of the file")


def test_lines_of_exp_without_an_evaluation_are_named(command: Command, tmp_path: Path) -> None:
    write(tmp_path / "opt.csv", EXP + "7,relu,1,4\r\n1,relu,1,5,\r\n")

    answer = command("import", "exp", "opt.csv", "--json")

    assert answer.code == 1
    (done,) = answer.document
    assert len(done["imported"]) == 3
    assert [left["from"] for left in done["left_out"]] == ["configuration 4", "configuration 5"]


def test_a_list_of_configurations_is_no_past(command: Command, tmp_path: Path) -> None:
    write(tmp_path / "exp_params.csv", "id,run,x\r\n0,1,0.5\r\n")

    answer = command("import", "exp", "exp_params.csv")

    assert answer.code == 2 and "without their evaluations" in answer.err


def test_results_of_smallab_become_trials(command: Command, batch: Path) -> None:
    answer = command("import", "smallab", "experiment_runs/digits")

    assert answer.code == 0
    ex = Experiment("digits")
    assert ex[1].parameters == {"lr": 0.1, "seed": 1}
    assert ex[1].result == {"score": 0.5, "loss": [1.0, 0.25], "name": "first"}
    assert [point.value for point in ex[1].metrics["loss"]] == [1.0, 0.25]
    assert ex[2].result == {"classes": {1, 2}}
    assert (ex[3].state, ex[3].parameters) == ("FAILED", {"lr": 9, "seed": 1})


def test_a_pickle_of_smallab_runs_nothing(command: Command, batch: Path, tmp_path: Path) -> None:
    class Marker:
        def __reduce__(self) -> Any:
            return os.system, ("touch marker",)

    found = {"specification": {"lr": 0.2}, "result": {"model": Marker()}}
    (batch / "experiments" / "lr-0.2_seed-1" / "run.pkl").write_bytes(pickle.dumps(found))

    answer = command("import", "smallab", str(batch))

    assert answer.code == 1 and not (tmp_path / "marker").exists()
    assert answer.out.startswith("left out  result of lr-0.2_seed-1: it is or holds")
    assert len(Experiment("digits").trials) == 3


def test_a_report_of_labs_becomes_trials(command: Command, report: Path) -> None:
    answer = command("import", "labs", "artifacts/forest", "-e", "trees")

    assert answer.code == 0
    ex = Experiment("trees")
    assert [trial.result for trial in ex.trials] == [0.5, 0.25]
    assert ex[2].parameters == {"depth": 4} and ex[2].metrics["MSE"][0].value == 0.25
    assert json.loads(ex[2].artifacts["scores.json"].read()) == {"scores": {"MSE": 0.25}}
    assert ex[2].environment["labs"]["description"] == "trees"
    assert ex[2].started.year == 2021


@pytest.mark.parametrize("kind", ["exp", "smallab", "labs"])
def test_importing_again_or_from_another_place_adds_nothing(
    kind: str, batch: Path, report: Path, tmp_path: Path
) -> None:
    csv = write(tmp_path / "opt_configurations.csv", EXP)
    path = {"exp": csv, "smallab": batch, "labs": report}[kind]
    backend = open_backend("memory://")

    first = record(READERS[kind](path), backend)
    shutil.copytree(tmp_path, tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / path.relative_to(tmp_path)
    os.utime(moved)
    again = record(READERS[kind](moved), backend)

    assert (len(first.imported), first.present) in [(3, 0), (2, 0)]
    assert (again.imported, again.present) == ([], len(first.imported))


@pytest.mark.parametrize(
    ("kind", "content"), [("labs", "{}"), ("labs", "nonsense"), ("exp", "a,b\n1,2\n")]
)
def test_what_is_of_another_format_is_refused(
    command: Command, tmp_path: Path, kind: str, content: str
) -> None:
    write(tmp_path / "file", content)

    answer = command("import", kind, "file")

    assert answer.code == 2 and answer.err.startswith("Error: file")


def test_a_report_with_strange_entries_costs_only_these(command: Command, report: Path) -> None:
    entries = json.loads(report.read_text())
    write(report, [*entries, {"ix": 3}, 4, {"ix": 5, "hyperparams": 1, "scores": {}}])

    answer = command("import", "labs", str(report), "--json")

    assert answer.code == 1
    (done,) = answer.document
    assert len(done["imported"]) == 2 and len(done["left_out"]) == 3
