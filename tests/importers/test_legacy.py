"""Stores of daskperiment 0.5 are imported, and nothing in them is run.

``daskperiment-0.5.zip`` is a store that version 0.5.0 has written, on pandas 1.5.3, NumPy 1.24.4
and dask 2022.12.1: a trial with a metric, one that failed, one with a seed of its own, four with
results of other types, and one that was interrupted.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from daskperiment import Experiment, TrialState, ValueNotKeptError
from daskperiment.history.doctor import examine
from tests.cli.conftest import Answer, Command, command

__all__ = ["command"]
FRAME = "it is or holds what is no plain data: pandas.core.frame.DataFrame"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with zipfile.ZipFile(Path(__file__).with_name("daskperiment-0.5.zip")) as archive:
        archive.extractall(tmp_path / "old")
    return tmp_path / "old"


@pytest.fixture
def imported(command: Command, old: Path) -> Answer:
    return command("import-legacy", "old", "--json")


@pytest.fixture
def ex(imported: Answer) -> Experiment:
    return Experiment("past")


def test_a_store_is_imported_and_what_is_left_out_is_named(imported: Answer) -> None:
    (past,) = imported.document

    assert (imported.code, past["experiment"], past["present"]) == (1, "past", 0)
    assert past["imported"] == [{"from": f"trial {n}", "trial": n} for n in range(1, 9)]
    assert past["left_out"] == [{"from": "trial 5", "field": "result", "reason": FRAME}]


def test_importing_again_adds_nothing(command: Command, imported: Answer) -> None:
    again = command("import-legacy", "old/past")

    assert again.out.splitlines() == [
        f"left out  result of trial 5: {FRAME}",
        "present   8 trials of an earlier import",
        "Nothing was imported.",
    ]


def test_an_imported_trial_has_all_that_the_old_one_had(ex: Experiment) -> None:
    first = ex[1]

    assert first.state is TrialState.COMPLETE and first.result == 3.3333333333333335
    assert first.parameters == {"a": 1, "b": 2, "kind": "plain"} and first.seed == 3
    assert first.finished is not None
    assert first.finished - first.started == first.duration == timedelta(seconds=0.043599)
    assert [p.value for p in first.metrics["loss"]] == [1.0, 0.5, 1 / 3]
    assert ex.get_persisted("prepare", 1) == 3
    assert first.code.startswith("def prepare(a, b):\n    return a + b\n")
    assert first.environment["packages"]["dask"] == "2022.12.1"
    assert "Python Version: 3.11.7" in ex.get_environment(1)
    assert first.note == "Imported from daskperiment 0.5, trial 1 of past"


def test_failures_and_interruptions_are_imported(ex: Experiment) -> None:
    assert ex[2].description == "ZeroDivisionError(division by zero)"
    assert ex[2].state is TrialState.FAILED and ex[2].result is None
    assert ex[8].state is TrialState.CRASHED and ex[8].finished is None
    with pytest.raises(ValueNotKeptError, match="No seed is known"):
        ex[8].seed


def test_plain_values_of_numpy_and_pandas_are_read(ex: Experiment) -> None:
    assert ex[3].parameters == {"a": np.float64(1.5), "b": 2, "kind": (1, "two")}
    assert ex[4].result == pd.Timestamp("2019-02-03 04:05:06")
    assert ex[4].parameters["a"].tolist() == [0.0, 1.0, 2.0]
    assert ex[6].result.dtype == np.int32 and ex[6].result.tolist() == [[1, 2], [3, 4]]
    assert ex[7].result["w"].tolist() == [0.0, 2.0]
    assert (ex[7].result["d"], ex[7].result["i"]) == (pd.Timedelta("1s"), 7)


def test_a_value_that_was_left_out_says_so(ex: Experiment) -> None:
    with pytest.raises(ValueNotKeptError, match="was not imported: it is or holds"):
        ex[5].result


def test_every_verb_shows_imported_trials(command: Command, ex: Experiment) -> None:
    for words in (["ls"], ["ls", "-e", "past"], ["show", "8"], ["show", "2"], ["diff", "1", "2"],
                  ["history"], ["code", "1"], ["metrics", "1"], ["logs", "1"]):  # fmt: skip
        for json in ([], ["--json"]):
            answer = command(*words, *json)
            assert answer.code in (0, 1) and not answer.err, words
    findings = [found for found in examine(ex.backend, deep=True) if "SQLite" not in found.what]
    assert {found.level for found in findings} == {"ok"}


def test_a_new_trial_after_an_import_is_not_compared_with_the_old_environment(
    ex: Experiment,
) -> None:
    score = ex.result(lambda a: a, name="score")
    for number in range(3, 9):  # of these the store has no environment
        ex[number].remove()

    score(ex.parameter("a", default=1)).compute()  # warnings are errors

    assert ex.latest.number == 9


def test_one_of_several_stores_is_chosen(command: Command, old: Path) -> None:
    copied = old / "other"
    copied.mkdir()
    for path in sorted((old / "past").rglob("*")):
        target = copied / str(path.relative_to(old / "past")).replace("past", "other")
        target.mkdir() if path.is_dir() else target.write_bytes(path.read_bytes())

    assert command("import-legacy", "old", "-e", "other").code == 1
    assert command("ls", "--json").document[0]["experiment"] == "other"
    refused = command("import-legacy", "old", "-e", "nothing")
    assert refused.code == 2 and "there are: other, past" in refused.err


# -- strangers' pickles ------------------------------------------------------------------------


class Marker:
    """Makes a file where it is unpickled by whoever runs what a pickle names."""

    def __init__(self, how: Any) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return self.how


CODE = "open('marker', 'w').close()"
ATTACKS = {
    "system": (os.system, ("touch marker",)),
    "exec": (exec, (CODE,)),
    "eval": (eval, (CODE,)),
}


def spoil(path: Path, how: Any) -> None:
    """A pickle of the same shape in which a value is an attack."""
    path.write_bytes(pickle.dumps([1, {"x": Marker(how)}]))


@pytest.mark.parametrize("how", ["system", "exec", "eval"])
def test_a_pickle_that_would_run_code_runs_nothing_and_is_named(
    command: Command, old: Path, tmp_path: Path, how: str
) -> None:
    spoil(old / "past" / "persist" / "past_prepare_1.pkl", ATTACKS[how])

    (past,) = command("import-legacy", "old", "--json").document

    left = past["left_out"][0]
    assert (left["from"], left["field"]) == ("trial 1", "persisted.prepare")
    assert left["reason"].endswith(("posix.system", "builtins.exec", "builtins.eval"))
    assert not (tmp_path / "marker").exists()
    pickle.loads((old / "past" / "persist" / "past_prepare_1.pkl").read_bytes())
    assert (tmp_path / "marker").exists()  # so it would have


def test_code_in_the_main_pickle_costs_only_the_value_that_holds_it(
    command: Command, old: Path, tmp_path: Path
) -> None:
    main = old / "past" / "past.pkl"
    data = b"cposix\nsystem\n\x8c\x0ctouch marker\x85R"  # instead of the text of a parameter
    plain = b"\x8c\x05plain"
    assert plain in main.read_bytes()
    spoilt = main.read_bytes().replace(plain, data, 1)
    main.write_bytes(_without_frames(spoilt))

    (past,) = command("import-legacy", "old", "--json").document

    assert not (tmp_path / "marker").exists()
    named = [left for left in past["left_out"] if left["field"] == "parameters.kind"]
    assert named and all("posix.system" in left["reason"] for left in named)
    assert len(past["imported"]) == 8
    with pytest.raises(ValueNotKeptError, match="posix.system"):
        Experiment("past")[1].parameters["kind"]


def _without_frames(data: bytes) -> bytes:
    """A pickle without the lengths of its parts, which are optional."""
    assert data[2:3] == pickle.FRAME
    return data[:2] + data[11:]


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps([1, 2]), b"\x80\x04P1\n."])
def test_a_pickle_that_is_no_store_is_refused(command: Command, old: Path, data: bytes) -> None:
    (old / "past" / "past.pkl").write_bytes(data)

    answer = command("import-legacy", "old")

    assert answer.code == 1 and answer.out.startswith("left out ")
    assert "cannot be read" in answer.out or "no store of daskperiment 0.5" in answer.out
    assert answer.out.endswith("Nothing was imported.\n")


def test_a_folder_without_a_store_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert "there are: none" in command("import-legacy", "empty").err
