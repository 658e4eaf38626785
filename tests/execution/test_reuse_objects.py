"""Steps that are given objects of the user's own classes, or files, run again once these change."""

from __future__ import annotations

import importlib
import linecache
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment, PurityWarning

MODULE = """
def doubled(x):
    return 2 * x


class Model:
    def __init__(self, weight):
        self.weight = weight

    def predict(self):
        return doubled(self.weight)


class Wrapped:
    def __init__(self, model):
        self.model = model
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of this text, or again once it was edited."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(text: str) -> Any:
        (tmp_path / "reused_models.py").write_text(text)
        sys.modules.pop("reused_models", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return importlib.import_module("reused_models")

    yield load
    sys.modules.pop("reused_models", None)


def scores(ex: Experiment, module: Any) -> Any:
    """A model that is made, passed on by a step that knows nothing of it, and asked."""

    @ex(name="train")
    def train(weight: int) -> Any:
        return module.Model(weight)

    @ex(name="pass_on")
    def pass_on(model: Any) -> Any:
        return [model]

    @ex.result(name="score")
    def score(held: Any) -> Any:
        return held[0].predict()

    return score(pass_on(train(ex.parameter("weight", default=3))))


def outcomes(ex: Experiment) -> dict[str, str]:
    return dict(ex.latest.steps[["step", "outcome"]].to_numpy().tolist())


@pytest.mark.parametrize("old", ["doubled(self.weight)", "2 * x"])
def test_a_step_that_calls_a_method_runs_again_once_that_or_its_helper_was_edited(
    models: Callable[[str], Any], tmp_path: Path, old: str
) -> None:
    ex = Experiment("models", backend=tmp_path / "store", seed=1, reuse=True)
    assert scores(ex, models(MODULE)).compute() == 6
    assert scores(ex, models(MODULE)).compute() == 6
    assert set(outcomes(ex).values()) == {"reused"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", PurityWarning)
        assert scores(ex, models(MODULE.replace(old, f"10 * ({old})"))).compute() == 60
    assert set(outcomes(ex).values()) == {"ran"}


def test_a_parameter_of_an_edited_class_is_another_input(
    models: Callable[[str], Any], tmp_path: Path
) -> None:
    ex = Experiment("models", backend=tmp_path / "store", seed=1, reuse=True)

    @ex.result(name="score")
    def score(model: Any) -> Any:
        return model.predict()

    s, edited = score(ex.parameter("model")), MODULE.replace("2 * x", "5 * x")
    values = [
        s.compute(parameters={"model": models(text).Model(1)}) for text in (MODULE, MODULE, edited)
    ]
    assert values == [2, 2, 5]
    assert [trial.steps.loc[0, "outcome"] for trial in ex.trials] == ["ran", "reused", "ran"]


def test_a_step_that_is_given_a_file_runs_again_once_its_content_has_changed(
    tmp_path: Path,
) -> None:
    ex = Experiment("files", backend=tmp_path / "store", seed=1, reuse=True)

    @ex.result(name="load")
    def load(path: Path) -> int:
        return sum(int(word) for word in path.read_text().split())

    s, data, copy = load(ex.parameter("path")), tmp_path / "data", tmp_path / "copy"
    values = []
    for content, path in (("1 2", data), ("1 2", copy), ("1 3", data), ("1 2", data)):
        path.write_text(content)
        values.append(s.compute(parameters={"path": path}))
    assert values == [3, 3, 4, 3]
