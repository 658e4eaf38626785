"""Design functions of Labs: their scores are metrics and the result, their files artifacts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment, ScoresError


@pytest.fixture(params=["threads", "processes", "cluster"])
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield request.getfixturevalue("client") if request.param == "cluster" else request.param


@pytest.fixture
def ex(tmp_path: Path) -> Experiment:
    return Experiment("labs", backend=tmp_path / "store")


def design(experiment: dict[str, Any], artifacts_path: str, metrics: list[str]) -> str:
    """As Labs's own examples are: what it returns is of no interest."""
    slope = experiment["hyperparams"]["slope"]
    os.makedirs(os.path.join(artifacts_path, "model", "empty"))  # noqa: PTH103, PTH118
    Path(artifacts_path, "model", "weights.txt").write_text(str(slope))
    if slope == 0:
        raise ZeroDivisionError("flat")
    scores = {"MSE": slope**2, "MAE": abs(slope), "asked": len(metrics)}
    if slope == 13:
        del scores["MAE"]
    if slope != 7:
        file = os.path.join(artifacts_path, "scores.json")  # noqa: PTH118
        Path(file).write_text(json.dumps({"scores": scores}))
    return "ignored"


def test_scores_are_metrics_and_the_result_and_files_are_artifacts(ex: Experiment) -> None:
    trial = ex.run(design, slope=-2, metrics=["MSE", "MAE"])

    assert trial.result == {"MSE": 4, "MAE": 2, "asked": 2}
    assert {name: points[0].value for name, points in trial.metrics.items()} == trial.result
    assert sorted(trial.artifacts) == ["model/weights.txt", "scores.json"]
    assert trial.artifacts["model/weights.txt"].read() == b"-2"
    assert trial.parameters == {"slope": -2, "metrics": ["MSE", "MAE"]}
    assert "def design" in trial.code
    assert "slope**2" in trial.code
    assert ex.best("minimize", metric="MSE") == trial


def test_without_metrics_every_score_counts(ex: Experiment) -> None:
    assert ex.run(design, slope=1).result == {"MSE": 1, "MAE": 1, "asked": 0}
    assert ex.latest.parameters == {"slope": 1}


def test_a_design_knows_its_trial_and_its_hyperparameters(ex: Experiment) -> None:
    def look(experiment: Any, artifacts_path: Any, metrics: Any) -> dict[str, float]:
        assert Path(artifacts_path).is_dir()
        assert metrics == []
        assert list(experiment) == ["ix", "hyperparams"]
        return {"ix": experiment["ix"], **experiment["hyperparams"]}

    ex.run(look, a=5)
    assert ex.run(look, {"b": 6, "experiment": 7}).result == {"ix": 2, "b": 6, "experiment": 7}


def test_each_of_a_batch_fails_alone(ex: Experiment, executor: Any) -> None:
    jobs = [{"slope": s, "metrics": ["MSE", "MAE"]} for s in (1, 0, 7, 13, 2)]

    trials = ex.map(design, jobs, executor, on_error="continue")

    assert [str(t.state) for t in trials] == [
        "COMPLETE", "FAILED", "FAILED", "FAILED", "COMPLETE",
    ]  # fmt: skip
    assert trials[4].result == {"MSE": 4, "MAE": 2, "asked": 2}
    assert trials[1].description == "ZeroDivisionError(flat)"
    assert str(trials[2].description).startswith(
        "ScoresError(The design has written no scores.json into artifacts_path"
    )
    assert str(trials[3].description).startswith("ScoresError(The design has no score 'MAE'")
    assert [sorted(t.artifacts) for t in trials[1:4]] == [
        ["model/weights.txt"],
        ["model/weights.txt"],
        ["model/weights.txt", "scores.json"],
    ]
    assert all("model/weights.txt" in t.artifacts for t in trials)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("{", "scores.json of the design is no JSON"),
        ("[1]", "must hold a mapping of scores"),
        ('{"scores": 3}', "must hold a mapping of scores"),
        ('{"scores": {"a": "x"}}', "Score 'a' of the design"),
        ('{"scores": {"": 1}}', "Score '' of the design"),
    ],
)
def test_scores_that_cannot_be_read_are_told(ex: Experiment, written: str, reason: str) -> None:
    def write(experiment: Any, artifacts_path: str, metrics: Any) -> dict[str, float]:
        Path(artifacts_path, "scores.json").write_text(written)
        return {"returned": 1}

    with pytest.raises(ScoresError, match=reason):
        ex.run(write)
    assert str(ex.latest.state) == "FAILED"
    assert ex.latest.artifacts["scores.json"].read() == written.encode()


def test_what_is_asked_for_is_a_list_of_names(ex: Experiment) -> None:
    with pytest.raises(ScoresError, match="metrics is a list of names"):
        ex.run(design, slope=1, metrics=3)
    assert ex.run(design, slope=1, metrics={"MSE": "min"}).result["asked"] == 1


def test_other_arguments_make_a_plain_function(ex: Experiment) -> None:
    def plain(experiment: int, artifacts_path: int, metrics: int, more: int = 1) -> int:
        return experiment + artifacts_path + metrics + more

    assert ex.run(plain, experiment=1, artifacts_path=2, metrics=3).result == 7


def test_no_folder_is_left(ex: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    ex.run(design, slope=1)
    with pytest.raises(ZeroDivisionError):
        ex.run(design, slope=0)

    assert list((tmp_path / "temporary").iterdir()) == []
