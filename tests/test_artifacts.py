"""Artifacts: files and values that a step keeps with its trial."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from daskperiment import (
    ArtifactNotFoundError,
    Experiment,
    InvalidNameError,
    PayloadError,
    TrialIDNotFoundError,
    ValueNotKeptError,
)
from daskperiment.backends.local import LocalBackend


def save(ex: Experiment, **content: Any) -> Any:
    """Run a trial that saves artifacts, and give those that it has."""

    @ex.result
    def keep(content: dict[str, Any]) -> int:
        for name, value in content.items():
            ex.save_artifact(name, value)
        return len(content)

    keep(dict(content)).compute(scheduler="synchronous")
    return ex.latest.artifacts


def contents(trial: Any) -> dict[str, bytes]:
    return {name: artifact.read() for name, artifact in trial.artifacts.items()}


# -- what can be saved --


def test_a_file_is_kept_as_it_was_when_it_was_saved(ex: Experiment) -> None:
    Path("data.bin").write_bytes(b"first")

    @ex.result
    def keep() -> int:
        ex.save_artifact("path", Path("data.bin"))
        ex.save_artifact("named by text", "data.bin")
        Path("data.bin").write_bytes(b"second")
        return 1

    keep().compute(scheduler="synchronous")
    Path("data.bin").unlink()

    assert contents(ex.latest) == {"path": b"first", "named by text": b"first"}
    assert ex.latest.artifacts["path"].load() == b"first"


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_a_file_of_any_size_is_kept(ex: Experiment, size: int) -> None:
    data = os.urandom(size)
    Path("large").write_bytes(data)

    artifacts = save(ex, file=Path("large"), bytes=data)

    assert artifacts["file"].read() == artifacts["bytes"].read() == data
    assert artifacts["file"].size == artifacts["bytes"].size == size
    assert artifacts["file"].digest == artifacts["bytes"].digest


def test_a_folder_is_kept_file_by_file(ex: Experiment) -> None:
    Path("model/layers/empty").mkdir(parents=True)
    Path("model/config.json").write_text("{}")
    Path("model/layers/0.bin").write_bytes(b"\0")

    artifacts = save(ex, model=Path("model"))

    assert list(artifacts) == ["model/config.json", "model/layers/0.bin"]
    assert artifacts["model/layers/0.bin"].read() == b"\0"


TEXTS = ["", ".", "..", "/", "plain", "a\0b", "x" * 300, "é" * 5000, "a\ud800", "no/such/file"]


@pytest.mark.parametrize("text", TEXTS)
def test_text_that_names_no_file_is_kept_as_text(ex: Experiment, text: str) -> None:
    artifact = save(ex, note=text)["note"]

    assert artifact.load() == text
    assert artifact.read() == text.encode("utf-8", "surrogatepass")


def test_an_object_is_loaded_as_it_was_and_opened_as_its_encoding(ex: Experiment) -> None:
    artifact = save(ex, config={"layers": (1, 2)})["config"]

    assert artifact.load() == {"layers": (1, 2)}
    assert artifact.read().startswith(b'{"layers":')
    assert artifact.size == len(artifact.read())
    with artifact.open() as stream:
        assert stream.read(1) == b"{"


def test_an_object_that_cannot_be_kept_is_listed_with_the_reason(ex: Experiment) -> None:
    artifacts = save(ex, generator=(x for x in [1]), note=b"n")

    assert list(artifacts) == ["generator", "note"]
    artifact = artifacts["generator"]
    assert (artifact.size, artifact.digest) == (0, None)
    for read in (
        artifact.load,
        artifact.read,
        lambda: artifact.save("x"),
        lambda: artifacts.save("y"),
    ):
        with pytest.raises(ValueNotKeptError, match="'generator' was not kept.*cannot pickle"):
            read()
    assert not Path("x").exists()
    assert not Path("y").exists()


def test_a_missing_file_is_the_error_of_the_step(ex: Experiment) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        save(ex, data=Path("nowhere"))
    assert ex.latest.state == "FAILED"


# -- files that a step writes --


def test_a_path_to_write_to_is_kept_when_the_step_ends(ex: Experiment, scheduler: Any) -> None:
    @ex.result
    def write() -> int:
        ex.artifact_path("a.txt").write_text("a")
        ex.artifact_path("plots/roc.png").write_bytes(b"png")
        ex.artifact_path("never written")
        folder = ex.artifact_path("model")
        folder.mkdir()
        (folder / "weights").write_bytes(b"w")
        return 1

    write().compute(scheduler=scheduler)

    assert contents(ex.latest) == {"a.txt": b"a", "plots/roc.png": b"png", "model/weights": b"w"}


def test_a_failing_step_keeps_what_it_has_saved(ex: Experiment, scheduler: Any) -> None:
    @ex.result
    def fail() -> None:
        ex.save_artifact("before", b"saved")
        ex.artifact_path("log.txt").write_text("up to here")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail().compute(scheduler=scheduler)

    assert ex.latest.state == "FAILED"
    assert contents(ex.latest) == {"before": b"saved", "log.txt": b"up to here"}


def test_a_path_is_gone_when_the_step_has_ended(memory_ex: Experiment) -> None:
    @memory_ex.result
    def write() -> str:
        path = memory_ex.artifact_path("a.txt")
        path.write_text("a")
        return str(path)

    assert not Path(write().compute()).parent.exists()


# -- names --


NAMES = [
    "a",
    "a.b",
    "plots/roc.png",
    "naïve 🙂.txt",
    "-rf",
    "~",
    "$HOME",
    "%s",
    "a" * 250,
    "CONfig",
]
BAD_NAMES = [
    "", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "./a", "a\0b", "a\nb",
    "a\\b", "C:", "C:x", "a" * 251, "é" * 126, "\ud800", "CON", "con.txt", "a/nul", "COM1",
    "lpt9.x", "NUL .txt", "a.", "a ", "a?", "*", "<a>", "a|b", '"', None, 5, b"a", Path("a"),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_kept_to_the_letter(ex: Experiment, name: str) -> None:
    artifacts = save(ex, **{name: b"x"})

    assert list(artifacts) == [name]
    (path,) = artifacts.save("copy")
    assert path == Path("copy", name)
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name)[:20])
def test_a_name_that_could_leave_its_folder_is_refused(ex: Experiment, name: Any) -> None:
    @ex.result
    def keep() -> list[str]:
        said = []
        for call in (lambda: ex.save_artifact(name, b"x"), lambda: ex.artifact_path(name)):
            try:
                call()
            except InvalidNameError as error:
                said.append(str(error))
        return said

    said = keep().compute(scheduler="synchronous")

    assert [text.partition(", such as")[0] for text in said] == [
        "Artifact name must be a relative path of at most 250 bytes"
    ] * 2
    assert len(ex.latest.artifacts) == 0


@pytest.mark.parametrize("name", ["a:b", "con", "a\\b"])
def test_a_folder_with_a_name_that_is_not_portable_is_refused(ex: Experiment, name: str) -> None:
    Path("data").mkdir()
    Path("data", name).write_text("x")

    with pytest.raises(InvalidNameError, match="Artifact name"):
        save(ex, data=Path("data"))
    assert len(ex.latest.artifacts) == 0


def test_of_two_of_one_name_the_last_counts(ex: Experiment) -> None:
    @ex.result
    def keep() -> int:
        ex.save_artifact("a", b"first")
        ex.save_artifact("b", b"b")
        ex.save_artifact("a", b"second")
        return 1

    keep().compute()

    assert contents(ex.latest) == {"a": b"second", "b": b"b"}


# -- reading --


def test_artifacts_are_a_mapping_by_name(ex: Experiment) -> None:
    artifacts = save(ex, a=b"1", b=b"22")

    assert (list(artifacts), len(artifacts), "a" in artifacts, "c" in artifacts) == (
        ["a", "b"],
        2,
        True,
        False,
    )
    assert repr(artifacts) == "ArtifactList([Artifact('a', 1 bytes), Artifact('b', 2 bytes)])"
    with pytest.raises(ArtifactNotFoundError) as caught:
        artifacts["c"]
    assert str(caught.value) == "This trial has no artifact 'c'; it has: a, b"


def test_a_trial_without_artifacts_has_an_empty_list(ex: Experiment) -> None:
    artifacts = save(ex)

    assert list(artifacts) == []
    assert artifacts.save("copy") == []
    with pytest.raises(ArtifactNotFoundError, match="it has: none"):
        artifacts["a"]


def test_artifacts_are_copied_beside_what_is_there(ex: Experiment) -> None:
    artifacts = save(ex, **{"a": b"new", "deep/er/b": b"b"})
    Path("copy").mkdir()
    Path("copy/a").write_bytes(b"old")
    Path("copy/other").write_bytes(b"other")

    assert artifacts.save("copy") == [Path("copy/a"), Path("copy/deep/er/b")]
    assert Path("copy/a").read_bytes() == b"new"
    assert Path("copy/other").read_bytes() == b"other"
    assert artifacts["a"].save(Path("one/more.txt")).read_bytes() == b"new"


def test_the_best_trials_artifacts_are_copied_on_request(ex: Experiment) -> None:
    @ex.result
    def train(rate: float) -> float:
        ex.artifact_path("model.txt").write_text(f"rate {rate}")
        return -abs(rate - 0.1)

    s = train(ex.parameter("rate"))
    for rate in (1.0, 0.1, 0.01):
        s.compute(parameters={"rate": rate})

    ex.best("maximize").artifacts.save("best")

    assert Path("best/model.txt").read_text() == "rate 0.1"


def test_a_later_trial_never_touches_an_earlier_ones_artifacts(ex: Experiment) -> None:
    large = os.urandom(200_000)
    save(ex, a=b"same", b=large, c=b"first")
    save(ex, a=b"same", b=large[::-1], c=b"second")
    save(ex)

    assert contents(ex[1]) == {"a": b"same", "b": large, "c": b"first"}
    assert contents(ex[2]) == {"a": b"same", "b": large[::-1], "c": b"second"}
    assert ex[1].artifacts["a"].digest == ex[2].artifacts["a"].digest


def test_outside_a_step_nothing_is_saved(ex: Experiment) -> None:
    with pytest.raises(TrialIDNotFoundError, match=r"^save_artifact\(\) works only inside a step"):
        ex.save_artifact("a", b"x")
    with pytest.raises(TrialIDNotFoundError, match=r"^artifact_path\(\) works only inside a step"):
        ex.artifact_path("a")


def test_bytes_that_were_changed_in_the_store_are_never_given(
    tmp_path: Path,
) -> None:
    with LocalBackend(tmp_path / "store") as backend:
        ex = Experiment("changed", backend=backend)

        def save() -> None:
            ex.save_artifact("text", "text" * 50_000)
            ex.save_artifact("bytes", b"bytes" * 50_000)

        ex.result(save, name="s")().compute()
        for file in (tmp_path / "store" / "blobs").glob("??/*"):
            file.write_bytes(b"!" + file.read_bytes()[1:])

        for artifact in ex[1].artifacts.values():
            for use in (artifact.read, artifact.load, lambda a=artifact: a.save(tmp_path / "out")):
                with pytest.raises(PayloadError, match=f"artifact '{artifact.name}' were changed"):
                    use()
        assert not (tmp_path / "out").exists()
