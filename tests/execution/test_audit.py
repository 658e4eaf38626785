"""Audit: what steps touch beside their arguments is recorded, told, named and may refuse reuse."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import daskperiment
from daskperiment import (
    Experiment,
    OptionError,
    PurityWarning,
    StepDefinitionError,
    UndeclaredInputWarning,
)
from daskperiment.backends import Backend
from daskperiment.cli.main import run

quiet = pytest.mark.filterwarnings("ignore::daskperiment.UndeclaredInputWarning")
COLUMNS = ["step", "call", "kind", "name", "digest"]


def audited(backend: Any = "memory://", audit: Any = "warn", **options: Any) -> Experiment:
    return Experiment("audited", backend=backend, seed=1, audit=audit, **options)


def touched(ex: Experiment) -> list[tuple[str, str]]:
    """Kind and name of each input of the latest trial."""
    return list(ex.latest.inputs[["kind", "name"]].itertuples(index=False, name=None))


def told(caught: Any) -> list[str]:
    return [str(w.message) for w in caught if issubclass(w.category, UndeclaredInputWarning)]


def reading(ex: Experiment, **options: Any) -> Any:
    """A graph of one step that counts the words of a file."""

    @ex.result(name="count", **options)
    def count(name: Any) -> int:
        return len(Path(name).read_text().split())

    return count(ex.parameter("name", default="words.txt"))


@pytest.fixture
def words() -> Path:
    file = Path("words.txt")
    file.write_text("one two")
    os.utime(file, (1, 1))  # not while a step runs
    return file


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# -- what is recorded


@quiet
def test_inputs_is_a_table_of_what_each_call_has_touched(backend: Backend, words: Path) -> None:
    ex = audited(backend)
    assert reading(ex).compute() == 2

    inputs = ex.latest.inputs

    assert list(inputs.columns) == COLUMNS
    ((step, call, kind, name, digest),) = inputs.itertuples(index=False, name=None)
    assert (step, call, kind, name) == ("count", 0, "file", "words.txt")
    assert digest == daskperiment.fingerprint.digest(words)


@pytest.mark.parametrize("audit", [None, "off"])
def test_nothing_is_recorded_or_told_without_audit(words: Path, audit: Any) -> None:
    ex = audited(audit=audit)
    reading(ex).compute()  # warnings are errors here

    assert list(ex.latest.inputs.columns) == COLUMNS
    assert ex.latest.inputs.empty


@quiet
@pytest.mark.parametrize("kind", ["ex", "persist", "result"])
def test_a_step_overrides_its_experiment(words: Path, kind: str) -> None:
    ex, off = Experiment("one", "memory://"), audited(audit="strict")

    def count() -> int:
        return len(words.read_text().split())

    for experiment, audit in ((ex, "warn"), (off, "off")):
        decorate: Any = experiment if kind == "ex" else getattr(experiment, kind)
        step: Any = decorate(name="count", audit=audit)(count)
        last: Any = experiment.result(name="last")(lambda x: x)
        (step() if kind == "result" else last(step())).compute()

    assert touched(ex) == [("file", "words.txt")]
    assert touched(off) == []


def test_a_wrong_value_is_an_error_that_says_what_is_right() -> None:
    with pytest.raises(OptionError, match="audit is 'off', 'warn', 'strict' or None, not 'loud'"):
        audited(audit="loud")
    with pytest.raises(StepDefinitionError, match="audit of 'count' is 'off'.*not True"):
        reading(audited(), audit=True)


@quiet
def test_what_the_step_has_written_is_no_input() -> None:
    ex = audited()

    @ex.result
    def write() -> str:
        Path("made").write_text("x")
        Path("draft").write_text("y")
        Path("draft").replace("renamed")
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "inner").mkdir()
            Path(folder, "inner", "file").write_text("z")
            Path(folder, "inner").rename("moved")
        assert Path("moved", "file").read_text() == "z"
        os.environ["MADE_BY_THE_STEP"] = "1"
        try:
            return Path("made").read_text() + Path("renamed").read_text()
        finally:
            assert os.environ.pop("MADE_BY_THE_STEP") == "1"

    assert write().compute() == "xy"
    assert touched(ex) == []


def test_files_that_were_given_as_paths_are_no_undeclared_inputs(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "part").write_text("in a folder")
    Path("alone").write_text("alone")
    ex = audited(audit="strict", reuse=True)

    @ex.result
    def read(folder: Path, files: dict[str, list[Path]]) -> list[str]:
        with open(files["all"][0]) as file:  # noqa: PTH123
            return [(folder / "part").read_text(), file.read()]

    read(ex.parameter("folder"), {"all": [Path("alone")]}).compute(parameters={"folder": folder})

    assert touched(ex) == []


@quiet
def test_the_file_beside_a_folder_that_was_given_is_an_undeclared_input(tmp_path: Path) -> None:
    Path("data").mkdir()
    Path("data.txt").write_text("x")
    ex = audited()

    @ex.result
    def read(folder: Path) -> str:
        return Path(f"{folder}.txt").read_text()

    read(Path("data")).compute()

    assert touched(ex) == [("file", "data.txt")]


@quiet
def test_environment_variables_are_recorded_however_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RATE", "3")
    ex = audited()

    @ex.result
    def read() -> Any:
        asked = os.environ["RATE"], os.getenv("LIMIT"), os.environ.get("LEAST", "0")
        return *asked, "WISH" in os.environ

    assert read().compute() == ("3", None, "0", False)
    inputs = ex.latest.inputs.set_index("name")["digest"].to_dict()
    assert inputs == {
        "RATE": daskperiment.fingerprint.digest("3"),
        "LIMIT": None,
        "LEAST": None,
        "WISH": None,
    }


@quiet
def test_a_missing_variable_is_the_same_error_as_ever() -> None:
    ex = audited()

    @ex.result
    def read() -> str:
        return os.environ["NOT_THERE"]

    with pytest.raises(KeyError, match="'NOT_THERE'"):
        read().compute()

    assert touched(ex) == [("environment", "NOT_THERE")]


@quiet
def test_neither_copies_of_the_environment_nor_what_libraries_read_is_recorded() -> None:
    ex = audited()

    @ex.result
    def copy() -> int:
        copies = dict(os.environ), os.environ.copy(), {**os.environ}, list(os.environ.items())
        shutil.which("sh")  # reads PATH
        Path.home()  # reads HOME
        return len({len(each) for each in copies})

    assert copy().compute() == 1
    assert touched(ex) == []


@quiet
def test_nothing_is_recorded_from_which_a_secret_variable_can_be_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not spelt out here: this source is kept with the trial.
    words = [uuid4().hex for _ in range(2)]
    secrets = {"SERVICE_TOKEN": words[0], "DATABASE": f"postgres://me:{words[1]}@host/db"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    ex = audited(tmp_path / "store")

    @ex.result
    def read() -> int:
        return sum(len(os.environ[name]) for name in ("SERVICE_TOKEN", "DATABASE"))

    read().compute()
    ex.backend.close()

    found = ex.latest.inputs.set_index("name")["digest"].to_dict()
    assert list(found) == list(secrets)
    for name, value in secrets.items():
        assert found[name] != daskperiment.fingerprint.digest(value)
    for file in (tmp_path / "store").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        for value in secrets.values():
            assert not any(word.encode() in content for word in words)
            assert daskperiment.fingerprint.digest(value).partition(":")[2].encode() not in content


@quiet
def test_sockets_and_programs_are_recorded_without_secrets(port: int) -> None:
    ex = audited()

    @ex.result
    def ask(port: int) -> int:
        socket.create_connection(("localhost", port)).close()
        subprocess.run([sys.executable, "-c", "", "--password", "hunter2"], check=True)
        return os.system("true api_key=hunter2")

    assert ask(port).compute() == 0
    assert touched(ex) == [
        ("socket", f"localhost:{port}"),
        ("process", f"{sys.executable} -c '' --password '***'"),
        ("process", "true api_key=***"),
    ]


@quiet
@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs sockets with a path")
def test_processes_of_multiprocessing_are_neither_programs_nor_sockets() -> None:
    ex = audited()

    @ex.result
    def start() -> int:
        with multiprocessing.get_context("forkserver").Manager() as manager:
            return len(manager.list([1, 2]))

    assert start().compute() == 2
    assert touched(ex) == []


@quiet
def test_what_the_library_itself_does_is_not_recorded(every_backend: Backend) -> None:
    ex, inner = audited(every_backend), Experiment("inner", every_backend)

    @inner.result
    def half(a: int) -> float:
        return a / 2

    @ex.result
    def score(a: int) -> float:
        for epoch in range(3):
            ex.log_metric("loss", epoch)
        ex.save_artifact("note", "text")
        ex.artifact_path("file").write_text("x")
        daskperiment.current().checkpoint([a])
        return half(a).compute() + daskperiment.current().parameters["a"]

    assert score(ex.parameter("a", default=2)).compute() == 3.0
    assert touched(ex) == []


@quiet
def test_a_failed_call_has_its_inputs(words: Path) -> None:
    ex = audited()

    @ex.result
    def fail() -> None:
        raise ValueError(words.read_text())

    with pytest.raises(ValueError, match="one two"):
        fail().compute()

    assert touched(ex) == [("file", "words.txt")]


@quiet
def test_a_block_is_audited_like_a_step(words: Path) -> None:
    ex = audited()

    with ex.trial() as trial:
        trial.result = words.read_text()

    assert touched(ex) == [("file", "words.txt")]


@quiet
def test_what_other_threads_of_a_step_open_is_not_seen(words: Path) -> None:
    ex = audited()

    @ex.result
    def read() -> str:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(words.read_text()))
        thread.start()
        thread.join()
        return found[0]

    assert read().compute() == "one two"
    assert touched(ex) == []


@quiet
@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_every_scheduler_records_the_same(
    tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    monkeypatch.setenv("RATE", "3")
    ex = audited(tmp_path / "store")

    assert _graph(ex).compute(scheduler=scheduler) == ["2", "3"]
    assert sorted(touched(ex)) == [("environment", "RATE"), ("file", str(words.resolve()))]


@pytest.mark.cluster
def test_workers_of_a_cluster_record_and_the_driver_tells(
    tmp_path: Path, words: Path, client: Any
) -> None:
    ex = audited(tmp_path / "store")

    with pytest.warns(UndeclaredInputWarning) as caught:
        _graph(ex).compute(scheduler=client)

    assert sorted(touched(ex)) == [("environment", "RATE"), ("file", str(words.resolve()))]
    assert len(told(caught)) == 2


def _graph(ex: Experiment) -> Any:
    name = str(Path("words.txt").resolve())

    @ex(name="count")
    def count() -> str:
        return str(len(Path(name).read_text().split()))

    @ex(name="rate")
    def rate() -> str:
        return os.environ.get("RATE", "0")

    @ex.result(name="both")
    def both(one: str, other: str) -> list[str]:
        return [one, other]

    return both(count(), rate())


@quiet
def test_trials_of_a_batch_in_processes_are_audited(tmp_path: Path, words: Path) -> None:
    ex = audited(tmp_path / "store")
    s = _graph(ex)

    ex.map(s, [{}, {}], executor="processes", max_workers=1)

    for trial in ex.trials:
        assert set(trial.inputs["kind"]) == {"file", "environment"}


# -- what is told


def test_each_thing_is_told_once_and_how_to_declare_it(
    words: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATE", "3")
    ex = audited()

    @ex
    def load() -> str:
        words.read_text()
        socket.create_connection(("127.0.0.1", port)).close()
        subprocess.run(["true"], check=True)
        return words.read_text() + os.environ["RATE"]

    @ex.result
    def last(one: str, other: str) -> str:
        return one + other

    s = last(load(), load())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        s.compute()
        s.compute()

    outside = (
        "which is no input of it: do that outside of steps, and give the step what comes of it"
    )
    assert told(caught) == [
        "Step 'load' reads the file words.txt, which is no input of it: give it to the step as a "
        "pathlib.Path, so that its content counts",
        "Step 'load' reads the environment variable RATE, which is no input of it: give its value "
        "to the step as a parameter",
        f"Step 'load' talks to 127.0.0.1:{port}, {outside}",
        f"Step 'load' runs true, {outside}",
    ]
    assert {w.filename for w in caught} == {__file__}


def test_many_files_of_a_step_are_told_in_short() -> None:
    for number in range(30):
        Path(f"part{number}").write_text("x")
    ex = audited()

    @ex.result
    def read() -> int:
        return sum(len(Path(f"part{number}").read_text()) for number in range(30))

    with pytest.warns(UndeclaredInputWarning) as caught:
        read().compute()

    assert len(told(caught)) == 21
    assert told(caught)[-1] == "Step 'read' has 10 more such inputs: see trial.inputs"
    assert len(ex.latest.inputs) == 30


def test_a_warning_made_an_error_comes_after_the_trial_has_ended(words: Path) -> None:
    ex = audited()

    with pytest.raises(UndeclaredInputWarning), warnings.catch_warnings():
        warnings.simplefilter("error", UndeclaredInputWarning)
        reading(ex).compute()

    assert ex.latest.state == "COMPLETE"


# -- what is named as a cause


@quiet
def test_a_changed_file_is_named_as_the_cause(backend: Backend, words: Path) -> None:
    ex = audited(backend)
    s = reading(ex)
    s.compute()
    words.write_text("one two three")

    with pytest.warns(PurityWarning) as caught:
        assert s.compute() == 3

    assert str(caught[-1].message).endswith("Cause: file\n  file: words.txt")
    found = ex.explain(1, 2)
    assert [(cause.kind, cause.name) for cause in found.causes] == [("file", "words.txt")]
    assert "file words.txt has another content (count)" in str(found)


@quiet
def test_without_audit_a_changed_file_is_unexplained(words: Path) -> None:
    ex = audited(audit=None)
    s = reading(ex)
    s.compute()
    words.write_text("one two three")

    with pytest.warns(PurityWarning, match="Cause: unexplained"):
        s.compute()

    assert [cause.kind for cause in ex.explain(1, 2).causes] == ["impurity"]


@quiet
@pytest.mark.parametrize("name", ["RATE", "SERVICE_TOKEN"])
def test_a_changed_environment_variable_is_named_as_the_cause(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ex = audited()

    @ex.result
    def read(name: str) -> int:
        return len(os.environ.get(name, ""))

    s = read(name)
    monkeypatch.setenv(name, "one")
    s.compute()
    monkeypatch.setenv(name, "another")

    with pytest.warns(PurityWarning, match=f"Cause: environment\n  environment: {name}$"):
        s.compute()

    (cause,) = ex.explain(1, 2).causes
    assert (cause.kind, cause.name) == ("environment", name)
    assert str(cause) == f"environment variable {name} has another value (read)"


@quiet
def test_sockets_and_programs_are_hints_where_nothing_else_explains(port: int) -> None:
    ex = audited()

    @ex.result
    def ask(port: int) -> str:
        socket.create_connection(("127.0.0.1", port)).close()
        return subprocess.run(
            ["date", "+%N"], check=True, capture_output=True, text=True
        ).stdout  # fmt: skip

    s = ask(port)
    s.compute()
    with pytest.warns(PurityWarning, match="Cause: unexplained") as caught:
        s.compute()

    hint = f"it talks to 127.0.0.1:{port}, it runs date +%N"
    assert str(caught[-1].message).endswith(hint)
    assert hint in str(ex.explain(1, 2))


# -- reuse


@quiet
def test_strict_lets_nobody_take_a_call_that_has_touched_something(
    tmp_path: Path, words: Path
) -> None:
    ex = audited(tmp_path / "store", audit="strict", reuse=True)
    s = reading(ex)
    assert [s.compute(), s.compute()] == [2, 2]

    reason = "it reads the file words.txt, which is no input of it (audit='strict')"
    assert list(ex.latest.steps["outcome"]) == ["ran"]
    assert ex.latest.why("count") == f"ran: {reason}"
    assert list(ex.plan(s)["reason"]) == [reason]


def test_strict_lets_others_take_a_call_that_was_given_all(tmp_path: Path, words: Path) -> None:
    ex = audited(tmp_path / "store", audit="strict", reuse=True)
    s = reading(ex)
    given = {"name": words}

    s.compute(parameters=given)
    s.compute(parameters=given)
    assert list(ex.latest.steps["outcome"]) == ["reused"]

    words.write_text("one two three")
    assert s.compute(parameters=given) == 3


def test_strict_takes_nothing_that_was_not_audited_strictly(tmp_path: Path, words: Path) -> None:
    loose = audited(tmp_path / "store", audit=None, reuse=True)
    strict = audited(tmp_path / "store", audit="strict", reuse=True)

    reading(loose).compute()
    with pytest.warns(UndeclaredInputWarning):
        reading(strict).compute()

    assert list(strict.latest.steps["outcome"]) == ["ran"]


@quiet
def test_without_strict_a_call_is_taken_as_long_as_what_it_read_is_the_same(
    tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATE", "3")
    ex = audited(tmp_path / "store", reuse=True)

    @ex.result(name="read")
    def read() -> str:
        return words.read_text() + os.environ["RATE"]

    s = read()
    s.compute()
    s.compute()
    assert list(ex.latest.steps["outcome"]) == ["reused"]
    assert set(ex.latest.inputs["name"]) == {"words.txt", "RATE"}

    monkeypatch.setenv("RATE", "4")
    with pytest.warns(PurityWarning, match="environment: RATE"):
        assert s.compute() == "one two4"
    assert "the environment variable RATE is not what it was" in ex.latest.why("read")


@quiet
def test_a_new_attempt_takes_no_call_that_has_touched_something(
    tmp_path: Path, words: Path
) -> None:
    for audit, outcomes in (("warn", ["reused", "ran"]), ("strict", ["ran", "ran"])):
        ex = audited(tmp_path / audit, audit=audit)
        _fails[:] = [False, True]

        @ex.persist(name="load")
        def load() -> str:
            return words.read_text()

        @ex.result(name="last")
        def last(text: str) -> str:
            if sys.modules[__name__]._fails.pop():
                raise ValueError(text)
            return text

        ex.map(last(load()), [{}], retries=1)

        assert list(ex.latest.steps["outcome"]) == outcomes


_fails: list[bool] = []


# -- the command line


@quiet
def test_show_lists_the_inputs_of_a_trial(
    tmp_path: Path, words: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reading(audited(tmp_path / "store")).compute()
    capfd.readouterr()

    assert run(["show", "1", "--backend", str(tmp_path / "store")]) == 0

    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert ["count", "0", "file", "words.txt"] in lines
