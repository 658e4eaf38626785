"""Which experiments a backend holds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import dask
import pytest

from daskperiment import Experiment, experiments
from daskperiment.backends import Backend, open_backend


def result(backend: Any, name: str) -> Any:
    ex = Experiment(name, backend=backend)
    return ex.result(lambda a: a, name="same")(ex.parameter("a", default=1))


def test_an_experiment_is_listed_once_from_its_first_trial_on(backend: Backend) -> None:
    one, other = result(backend, "one"), result(backend, "another")
    assert experiments(backend) == []

    one.compute(), one.compute(), result(backend, "one").compute()
    assert experiments(backend) == ["one"]
    other.compute()
    assert experiments(backend) == ["another", "one"]


def test_it_is_listed_while_its_first_trial_runs(memory_ex: Experiment) -> None:
    @memory_ex.result
    def look() -> list[str]:
        return experiments(memory_ex.backend)

    assert look().compute(scheduler="synchronous") == ["example"]


def test_it_is_listed_whatever_computes_it(tmp_path: Path, scheduler: Any) -> None:
    backend = open_backend(tmp_path / "store")
    s = result(backend, "one")

    dask.compute(s, scheduler=scheduler)

    assert experiments(backend) == ["one"]


def test_it_is_listed_anew_when_the_store_was_removed(tmp_path: Path) -> None:
    s = result(tmp_path / "store", "one")
    s.compute()
    shutil.rmtree(tmp_path / "store")
    s.compute()

    assert experiments(tmp_path / "store") == ["one"]


def test_asking_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert experiments(tmp_path / "store") == experiments() == []
    assert list(tmp_path.iterdir()) == []

    result(tmp_path / "named", "one").compute()
    monkeypatch.setenv("DASKPERIMENT_BACKEND", "named")
    assert experiments() == ["one"]
