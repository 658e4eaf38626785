"""Histories in memory: they show what the store holds, whoever has written it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from daskperiment import Experiment
from daskperiment.backends import Backend
from daskperiment.history import paths
from daskperiment.history.trials import Trials


def define(ex: Experiment) -> Any:
    """A result that fails for ``a == 0``."""

    @ex.result
    def score(a: float) -> float:
        return 6 / a

    return score(ex.parameter("a"))


def run(ex: Experiment, *values: Any) -> None:
    s = define(ex)
    for value in values:
        with suppress(ZeroDivisionError):
            s.compute(parameters={"a": value}, scheduler="synchronous")


def shown(ex: Experiment) -> pd.DataFrame:
    columns = ["a", "Result", "State", "Tags", "Note", "Uid", "Description", "Late"]
    return ex.get_history(columns=columns)


def assert_equal_to_a_new_reader(ex: Experiment) -> None:
    """A handle that has read before answers as one that reads for the first time."""
    other = Experiment(ex.id, backend=ex.backend)
    other.parameter("a")
    pd.testing.assert_frame_equal(shown(ex), shown(other))
    assert len(ex.trials) == len(other.trials) == len(list(other.trials))
    assert [trial.number for trial in ex.trials][-1:] == [ex.latest.number]


def begin_and_die(ex: Experiment) -> None:
    """Begin a copy of trial 1 of which the process is gone at once."""
    row = {**Trials(ex.backend, ex.id).get(1), "uid": "0" * 32, "state": "RUNNING"}
    for field in ("result", "finished", "seconds", "ended_by"):
        del row[field]
    row["owner"] = {**row["owner"], "pid": 2**22 + 1, "start": 1.0}
    Trials(ex.backend, ex.id).begin(row)


EDITS: dict[str, Callable[[Experiment], object]] = {
    "a trial that completes": lambda ex: run(ex, 3),
    "a trial that fails": lambda ex: run(ex, 0),
    "tags": lambda ex: setattr(ex[1], "tags", ["good"]),
    "a note": lambda ex: setattr(ex[2], "note", "see page 4"),
    "removal": lambda ex: ex[2].remove(),
    "removal of the newest": lambda ex: ex.latest.remove(),
    "removal and restoration": lambda ex: (ex[2].remove(), shown(ex), ex.restore(2)),
    "collection": lambda ex: (ex[2].remove(), shown(ex), ex.gc()),
    "a result that is forgotten": lambda ex: ex[1].forget("result"),
    "a parameter that is forgotten": lambda ex: ex[1].forget("parameters.a"),
    "an error that is forgotten": lambda ex: ex[2].forget("error"),
    "a late end": lambda ex: Trials(ex.backend, ex.id).end(
        3, ex[3].uid, {"state": "COMPLETE", "ended_by": "driver"}
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_by_another_handle_is_seen_by_one_that_has_read(
    ex: Experiment, backend: Backend, edit: str
) -> None:
    run(ex, 1, 0, 2)
    ex.backend.update(paths.trials(ex.id), 3, {"state": "CRASHED", "ended_by": "owner gone"})
    before = shown(ex)
    assert len(before) == 3

    EDITS[edit](Experiment(ex.id, backend=backend))

    assert_equal_to_a_new_reader(ex)
    if edit != "removal and restoration":
        assert not shown(ex).equals(before)


def test_the_end_of_a_trial_that_was_seen_running_is_seen(ex: Experiment, backend: Backend) -> None:
    reader = Experiment(ex.id, backend=backend)
    seen = []

    @ex.result
    def look() -> int:
        seen.append((len(reader.get_history()), len(reader.trials)))
        return 1

    look().compute(scheduler="synchronous")

    assert seen == [(0, 1)]
    assert list(reader.get_history()["Success"]) == [True]
    assert list(reader.get_history()["Result"]) == [1]


def test_a_failure_that_a_repetition_overrides_is_seen_both_times(ex: Experiment) -> None:
    run(ex, 1)
    trials = Trials(ex.backend, ex.id)
    at = (paths.trials(ex.id), 1)
    ex.backend.update(*at, {"state": "FAILED", "ended_by": "step"})
    assert list(shown(ex)["State"]) == ["FAILED"]

    trials.end(1, ex[1].uid, {"state": "COMPLETE", "ended_by": "driver"})

    assert list(shown(ex)["State"]) == ["COMPLETE"]


def test_a_frame_may_be_changed_without_changing_the_next(ex: Experiment) -> None:
    s = ex.result(lambda a: a, name="same")(ex.parameter("a"))
    for value in (1, [1], {"x": [2]}):
        s.compute(parameters={"a": value}, scheduler="synchronous")
    ex[1].tags = ["good"]
    ask = {"columns": ["a", "Result", "Started", "Tags", "Success"]}
    first, untouched = ex.get_history(**ask), ex.get_history(**ask)

    first.loc[2, "Result"].append(9)
    first.loc[3, "a"]["x"].append(9)
    first.loc[1, "Tags"].append("bad")
    first["Success"] = False
    first.iloc[:, 2] = pd.Timestamp(0)

    pd.testing.assert_frame_equal(ex.get_history(**ask), untouched)


def test_a_store_that_was_emptied_removed_or_put_back_is_read_anew(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")
    run(ex, 1, 2)
    ex[1].tags = ["one"]
    shown(ex)
    ex.backend.close()
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    ex[1].tags = ["two"]
    assert shown(ex).loc[1, "Tags"] == ["two"]

    ex.backend.close()
    shutil.rmtree(tmp_path / "store")
    assert (len(shown(ex)), len(ex.trials), ex.trial_id) == (0, 0, 0)
    shutil.copytree(tmp_path / "copy", tmp_path / "store")
    ex[1].tags = ["three"]  # the log is as long as it was
    assert shown(ex).loc[1, "Tags"] == ["three"]
    ex.backend.drop(paths.experiment("example"))
    assert len(shown(ex)) == 0
    run(ex, 5, 6, 7)
    assert list(shown(ex)["a"]) == [5, 6, 7]


def test_a_store_with_other_trials_of_the_same_numbers_is_noticed(
    ex: Experiment, backend: Backend
) -> None:
    run(ex, 1, 2)
    shown(ex)

    backend.drop(paths.experiment(ex.id))
    run(Experiment(ex.id, backend=backend), 5, 6, 7)

    assert list(shown(ex)["a"]) == [5, 6, 7]


def test_a_store_put_back_with_another_edit_is_noticed(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")
    run(ex, 1, 2)
    ex.backend.close()
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    ex[1].tags = ["two"]
    assert shown(ex).loc[1, "Tags"] == ["two"]

    ex.backend.close()
    shutil.rmtree(tmp_path / "store")
    shutil.copytree(tmp_path / "copy", tmp_path / "store")
    other = Experiment("example", backend=tmp_path / "store")
    other[1].tags = ["three"]

    assert shown(ex).loc[1, "Tags"] == ["three"]


def test_a_trial_whose_process_is_gone_is_shown_as_crashed(ex: Experiment) -> None:
    run(ex, 1)
    begin_and_die(ex)
    assert len(ex.trials) == 2

    assert list(shown(ex)["State"]) == ["COMPLETE", "CRASHED"]
    assert_equal_to_a_new_reader(ex)


def test_newest_trials_are_a_page_whether_or_not_all_were_read(ex: Experiment) -> None:
    run(ex, *range(1, 8))
    for number in (7, 6, 4):
        ex[number].remove()
    ask = {"order_by": "-Trial ID", "limit": 2}

    page = ex.get_history(**ask)

    assert list(page.index) == [5, 3]
    pd.testing.assert_frame_equal(page, ex.get_history().loc[[5, 3]])
    assert list(ex.get_history(limit=2).index) == [1, 2]
    assert (ex.latest.number, ex.trial_id, len(ex.trials)) == (5, 7, 4)


def test_trials_are_counted_alike_before_and_after_the_history_was_read(ex: Experiment) -> None:
    run(ex, *range(1, 7))
    ex[2].remove()
    ex[4].remove()
    ex.gc()
    ex[5].remove()
    ex[6].remove()
    ex.restore(6)
    ex[1].tags = ["edited"]
    begin_and_die(ex)
    cold = Experiment("example", backend=ex.backend)

    before = len(cold.trials)
    shown(cold)

    assert before == len(cold.trials) == 4


def test_threads_may_ask_while_others_record_and_edit(ex: Experiment) -> None:
    run(ex, 1)
    wrong: list[object] = []
    done = threading.Event()

    def ask() -> None:
        last = 0
        while not done.is_set():
            found = shown(ex)
            if not (found["a"] * found["Result"] == 6).all() or len(found) < last:
                wrong.append(found)
            last = len(found)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for value in range(1, 12):
            run(ex, value)
            ex[value].note = str(value)
    finally:
        done.set()
        for thread in threads:
            thread.join()

    assert wrong == []
    assert_equal_to_a_new_reader(ex)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_asks_although_another_thread_was_asking(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")
    run(ex, 1, 2)
    shown(ex)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with ex._trials.mirror.columns():
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(60)
    child = os.fork()
    if child == 0:
        os._exit(len(ex.trials) if len(shown(ex)) == 2 else 99)
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join()

    assert os.waitstatus_to_exitcode(status) == 2


def test_reading_writes_nothing(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")
    run(ex, 1, 0, 2)
    ex[2].remove()
    before = logs(ex)

    assert len(shown(ex)) == len(ex.trials) == 2
    assert (ex.latest.number, ex.best("maximize").number) == (3, 1)

    assert logs(ex) == before


def logs(ex: Experiment) -> list[Any]:
    with ex.backend._session() as connection:
        return sorted(connection.execute("SELECT * FROM logs").fetchall())
