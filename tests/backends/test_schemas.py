"""Stores of every released schema: they open, all of them can be read, and trials are added."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from daskperiment import Experiment
from daskperiment.backends import migration
from daskperiment.backends.local import LocalBackend
from daskperiment.backends.salvage import salvage
from daskperiment.history.doctor import examine
from tests.backends.schemas.make import FOLDER, content

FIXTURES = sorted(FOLDER.glob("schema_*.zip"))


@pytest.fixture(params=FIXTURES, ids=lambda file: file.stem)
def unpacked(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def told(folder: Path) -> object:
    return json.loads((folder / "content.json").read_text())


def test_there_is_a_fixture_of_every_schema() -> None:
    numbers = range(migration.OLDEST, migration.version() + 1)

    assert [file.stem for file in FIXTURES] == [f"schema_{number}" for number in numbers]


def test_a_store_of_a_released_schema_is_read_whole(unpacked: Path) -> None:
    with LocalBackend(unpacked / "store") as backend:
        assert content(backend) == told(unpacked)
        assert [f for f in examine(backend, deep=True) if f.level == "problem"] == []


@pytest.mark.filterwarnings("ignore::daskperiment.errors.EnvironmentChangedWarning")
def test_a_store_of_a_released_schema_takes_new_trials(unpacked: Path) -> None:
    with LocalBackend(unpacked / "store") as backend:
        ex = Experiment("fixture", backend=backend)
        last = ex.trial_id
        ex.result(lambda: 42, name="s")().compute()

        assert (ex.trial_id, ex.latest.result) == (last + 1, 42)
        assert ex[1].result == {"length": 100_000, "a": 0}
        assert ex.load_metric("loss", trial_id=1).shape == (20, 1)
        assert len(ex.get_history()) >= 3


def test_a_store_of_the_present_schema_is_salvaged_whole(unpacked: Path) -> None:
    done = salvage(unpacked / "store", unpacked / "new")

    assert done.lost == []
    with LocalBackend(unpacked / "new") as backend:
        assert content(backend) == told(unpacked)
