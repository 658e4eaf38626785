"""Options come from the environment, else from the nearest project file, else by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskperiment import OptionError, options


def project(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "pyproject.toml"
    file.write_text(f"[tool.daskperiment]\n{text}\n")
    return file


def test_the_environment_goes_before_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert options.setting("git_limit") == (1_000_000, "default", None)

    file = project(tmp_path, "git_limit = 5")
    assert options.setting("git_limit") == (5, str(file), tmp_path)

    monkeypatch.setenv("DASKPERIMENT_GIT_LIMIT", "7")
    assert options.setting("git_limit") == (7, "DASKPERIMENT_GIT_LIMIT", None)


def test_the_nearest_file_that_names_the_option_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = project(tmp_path, "git_limit = 5\nlog_level = 'debug'")
    inner = project(tmp_path / "inner", "git_limit = 6")
    monkeypatch.chdir(tmp_path / "inner")

    assert options.setting("git_limit")[:2] == (6, str(inner))
    assert options.setting("log_level")[:2] == ("DEBUG", str(outer))


@pytest.mark.parametrize(("text", "kept"), [("1", False), ("true", False), ("0", True)])
def test_a_variable_that_disables_switches_the_option_off(
    monkeypatch: pytest.MonkeyPatch, text: str, kept: bool
) -> None:
    monkeypatch.setenv("DASKPERIMENT_DISABLE_CODE", text)

    assert options.value("code") is kept


@pytest.mark.parametrize("text", ["false", "'off'"])
def test_a_project_switches_an_option_off_by_its_name(tmp_path: Path, text: str) -> None:
    project(tmp_path, f"git = {text}")

    assert options.value("git") is False


@pytest.mark.parametrize(
    ("name", "text"),
    [("git_limit", "-1"), ("git_limit", "many"), ("log_level", "loud"), ("mode", "off")],
)
def test_a_value_that_cannot_be_used_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    variable = options.OPTIONS[name].variable
    monkeypatch.setenv(variable, text)

    with pytest.raises(OptionError, match=variable):
        options.value(name)


@pytest.mark.parametrize("text", ["git_limit = -1", "git_limit = [", "mode = 1"])
def test_a_project_that_cannot_be_read_names_the_file(tmp_path: Path, text: str) -> None:
    project(tmp_path, text)

    with pytest.raises(OptionError, match=r"pyproject\.toml"):
        [options.value(name) for name in options.OPTIONS]
