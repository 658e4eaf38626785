"""The log is shown where a person reads along, and nowhere else."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path

import pytest

from daskperiment import Experiment, OptionError, logs

SCRIPT = """
    from daskperiment import Experiment

    ex = Experiment("logged")
    ex.result(lambda: 2, name="two")().compute()
    """
LINE = re.compile(r"\d\d:\d\d:\d\d \[daskperiment\] \[INFO\] (.*)")


@contextmanager
def without_a_runner() -> Iterator[logging.Logger]:
    """The logger as it is in a program without the handlers of the test runner."""
    logger, root = logging.getLogger("daskperiment"), logging.getLogger()
    others, root.handlers[:] = root.handlers[:], []
    try:
        yield logger
    finally:
        root.handlers[:] = others
        for handler in logger.handlers[:]:
            handler.close()
            logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def run(script: str, *options: str, **environment: str) -> list[str]:
    """Run a script and return its lines on stderr."""
    Path("script.py").write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, *options, "script.py"],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_script_shows_the_log_on_stderr() -> None:
    lines = run(SCRIPT)

    shown = [match[1] for match in map(LINE.fullmatch, lines) if match]
    assert len(shown) == len(lines)
    assert shown[0].startswith("Initialized new experiment: Experiment(id: logged, trial_id: 0")
    assert "Started Experiment (trial id=1)" in shown
    assert shown[-1] == "Finished Experiment (trial id=1)"


def test_a_script_shows_the_log_of_an_experiment_that_it_imports() -> None:
    Path("defined.py").write_text(
        textwrap.dedent(SCRIPT).replace(".compute()", "").replace("ex.r", "s = ex.r")
    )

    lines = run("from defined import s\ns.compute()")

    assert lines[-1].endswith("[INFO] Finished Experiment (trial id=1)")


def test_the_level_and_a_file_are_options() -> None:
    shown = run(SCRIPT, DASKPERIMENT_LOG_LEVEL="warning")
    run(SCRIPT, DASKPERIMENT_LOG_FILE="trials.log")
    run(SCRIPT, DASKPERIMENT_LOG_FILE="trials.log")

    assert shown == []
    lines = Path("trials.log").read_text(encoding="utf-8").splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d .* \[INFO\] Loaded existing experiment", lines[0])
    assert [line.rpartition("] ")[2] for line in lines if "Finished" in line] == [
        "Finished Experiment (trial id=2)",
        "Finished Experiment (trial id=3)",
    ]


@pytest.mark.parametrize(
    "setup",
    [
        'logging.basicConfig(format="own %(message)s", level="INFO")',
        'logging.getLogger("daskperiment").addHandler(logging.NullHandler())',
    ],
)
def test_logging_that_a_script_sets_up_is_left_alone(setup: str) -> None:
    lines = run(f"import logging\n{setup}\n" + textwrap.dedent(SCRIPT))

    assert [line for line in lines if LINE.fullmatch(line)] == []
    assert len([line for line in lines if "Finished" in line]) == ("basic" in setup)


def test_logging_that_is_set_up_later_doubles_no_line() -> None:
    lines = run(textwrap.dedent(SCRIPT) + "import logging\nlogging.basicConfig()\nex[1]\n"
                "ex.result(lambda: 2, name='two')().compute()\n")  # fmt: skip

    assert len([line for line in lines if "Finished Experiment (trial id=2)" in line]) == 1


def test_no_other_program_is_given_a_handler() -> None:
    with without_a_runner() as logger:
        Experiment("quiet", backend="memory://").result(lambda: 2, name="two")().compute()

        assert logger.handlers == []
        assert logger.level == logging.NOTSET


def test_show_adds_handlers_once_and_writes_to_the_stderr_of_the_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DASKPERIMENT_LOG_FILE", "a.log")
    with without_a_runner() as logger:
        logs.show()
        logs.show()
        with redirect_stderr(StringIO()) as first:
            logger.info("one")
        with redirect_stderr(StringIO()) as second:
            logger.getChild("part").warning("two")

        assert len(logger.handlers) == 2
        assert logging.getLogger().handlers == []
    assert first.getvalue()[9:] == "[daskperiment] [INFO] one\n"
    assert second.getvalue()[9:] == "[daskperiment] [WARNING] two\n"
    assert len(Path("a.log").read_text().splitlines()) == 2


def test_a_file_in_the_configuration_lies_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("pyproject.toml").write_text('[tool.daskperiment]\nlog_file = "own.log"\n')
    Path("below").mkdir()
    monkeypatch.chdir("below")

    with without_a_runner() as logger:
        logs.show()
        logger.info("größer")

    assert "größer" in (tmp_path / "own.log").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_opened_is_an_error_of_the_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DASKPERIMENT_LOG_FILE", "no/such/folder/a.log")

    with without_a_runner() as logger:
        with pytest.raises(OptionError, match=r"log file cannot be opened.*a\.log"):
            logs.show()

        assert logger.handlers == []
