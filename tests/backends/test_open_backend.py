from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daskperiment import Experiment
from daskperiment.backends import open_backend
from daskperiment.backends.local import LocalBackend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.errors import BackendURIError, OptionError


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "project" / "inner"
    directory.mkdir(parents=True)
    monkeypatch.chdir(directory)
    monkeypatch.delenv("DASKPERIMENT_BACKEND", raising=False)
    return directory


def configure(directory: Path, text: str) -> None:
    (directory / "pyproject.toml").write_text(f"[tool.daskperiment]\nbackend = {text}\n")


@pytest.mark.parametrize("backend", [None, "local"])
def test_the_default_is_a_directory_here(backend: str | None) -> None:
    assert open_backend(backend) == LocalBackend("daskperiment_cache")
    assert repr(open_backend(backend)) == "LocalBackend('daskperiment_cache')"


@pytest.mark.parametrize("name", ["results", "a/b", "local", "C:", "mem:"])
def test_a_path_is_a_directory(name: str) -> None:
    assert repr(open_backend(Path(name))) == f"LocalBackend('{name}')"


def test_a_text_is_a_path(tmp_path: Path) -> None:
    assert open_backend(str(tmp_path)) == open_backend(tmp_path) == LocalBackend(tmp_path)


def test_each_memory_is_a_new_store() -> None:
    one, other = open_backend("memory://"), open_backend("MEMORY://")

    assert isinstance(one, MemoryBackend)
    assert one.store_id != other.store_id


def test_a_backend_is_taken_as_it_is() -> None:
    backend = MemoryBackend()

    assert open_backend(backend) is backend


def test_nothing_is_made_by_opening(working_directory: Path) -> None:
    open_backend()

    assert list(working_directory.iterdir()) == []


def test_the_environment_goes_before_the_project(
    working_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(working_directory, '"configured"')
    assert repr(open_backend()) == "LocalBackend('configured')"

    monkeypatch.setenv("DASKPERIMENT_BACKEND", "memory://")
    assert isinstance(open_backend(), MemoryBackend)
    assert repr(open_backend("local")) == "LocalBackend('daskperiment_cache')"


def test_a_path_in_the_project_begins_at_its_file(working_directory: Path) -> None:
    project = working_directory.parent
    (working_directory / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    configure(project, '"results"')

    assert open_backend() == LocalBackend(project / "results")


@pytest.mark.parametrize("text", ["1", "['local']", "no toml"])
def test_a_wrong_entry_in_the_project_names_the_file(working_directory: Path, text: str) -> None:
    configure(working_directory, text)

    with pytest.raises(OptionError, match=r"pyproject\.toml"):
        open_backend()


@pytest.mark.parametrize(
    "uri", ["redis://:hunter2@host/0", "mysql://me:hunter2@host", "x://hunter2", "://hunter2"]
)
def test_an_unknown_scheme_is_an_error_without_the_password(uri: str) -> None:
    with pytest.raises(BackendURIError, match=r"there is no backend for .*memory://") as caught:
        open_backend(uri)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("backend", [1, b"local", np.str_("local"), [], object(), "", "memory://x"])
def test_what_names_no_backend_is_a_typed_error(backend: Any) -> None:
    with pytest.raises(BackendURIError):
        open_backend(backend)


def test_no_store_is_imported_before_it_is_opened() -> None:
    code = "import sys, daskperiment.backends; print('sqlite3' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout == "False\n"


def test_durability_reaches_the_store_that_is_opened(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store", durability="power")

    assert ex.backend == LocalBackend(tmp_path / "store", durability="power")
    assert Experiment("example", backend=tmp_path / "store").backend != ex.backend


@pytest.mark.parametrize("backend", ["memory://", MemoryBackend()])
def test_durability_of_what_has_none_is_refused(backend: Any) -> None:
    with pytest.raises(BackendURIError, match="give it to the backend itself"):
        Experiment("example", backend=backend, durability="power")


def test_an_unknown_durability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendURIError, match="'process' or 'power', not 'paper'"):
        Experiment("example", backend=tmp_path / "store", durability="paper")
