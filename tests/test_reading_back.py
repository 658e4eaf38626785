"""Reading back: histories, trials, step records, persisted outputs and code."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from daskperiment import (
    Experiment,
    QueryError,
    StepNotFoundError,
    TrialIDNotFoundError,
    TrialState,
)
from daskperiment.backends import Backend


def define(ex: Experiment, *names: str) -> Any:
    """A graph that persists twice, and fails for ``a == 0``."""

    @ex.persist
    def inverse(a: float) -> float:
        return 1 / a

    @ex
    def unkept(x: float) -> float:
        return x

    @ex.result
    def score(*values: float) -> float:
        return sum(values)

    a = ex.parameter("a")
    return score(inverse(a), inverse(unkept(a * 2)), *map(ex.parameter, names))


@pytest.fixture
def four(ex: Experiment) -> Experiment:
    """Trials with ``a`` of 4, 0 (which fails), 1 and 2."""
    s = define(ex)
    for a in (4, 0, 1, 2):
        try:
            s.compute(parameters={"a": a}, seed=a, scheduler="synchronous")
        except ZeroDivisionError:
            continue
    return ex


# -- get_history --


def test_the_short_history_has_its_columns_for_ever(four: Experiment) -> None:
    history = four.get_history()

    assert history.index.name == "Trial ID"
    assert list(history.index) == [1, 2, 3, 4]
    assert list(history.columns) == [
        "a", "Result", "Success", "Finished", "Process Time", "Description",
    ]  # fmt: skip
    assert list(history["a"]) == [4, 0, 1, 2]
    assert list(history["Success"]) == [True, False, True, True]
    assert list(history["Result"].fillna(-1)) == [0.375, -1, 1.5, 0.75]
    assert list(history["Description"].fillna("")) == [
        "", "ZeroDivisionError(division by zero)", "", "",
    ]  # fmt: skip
    assert (history["Process Time"] >= timedelta(0)).all()
    assert (history["Finished"] <= datetime.now() + timedelta(seconds=1)).all()


def test_the_verbose_history_adds_two_columns(four: Experiment) -> None:
    history = four.get_history(verbose=True)

    assert list(history.columns) == [
        "a", "Seed", "Result", "Result Type", "Success", "Finished", "Process Time", "Description",
    ]  # fmt: skip
    assert list(history["Seed"]) == [4, 0, 1, 2]
    assert history.loc[1, "Result Type"] == "<class 'float'>"


def test_an_empty_history_has_the_same_columns(ex: Experiment) -> None:
    ex.parameter("a")
    history = ex.get_history()

    assert list(history.columns)[:2] == ["a", "Result"]
    assert len(history) == 0
    assert ex.get_history(where="a > 1", order_by="a", columns="a").empty


QUESTIONS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "condition": ({"where": "a > 1"}, [1, 4]),
    "success": ({"where": "Success"}, [1, 3, 4]),
    "state": ({"where": "State == 'FAILED'"}, [2]),
    "number": ({"where": "`Trial ID` in [1, 3]"}, [1, 3]),
    "no match": ({"where": "a > 100"}, []),
    "upwards": ({"order_by": "a"}, [2, 3, 4, 1]),
    "downwards": ({"order_by": "-a"}, [1, 4, 3, 2]),
    "missing last": ({"order_by": "Result"}, [1, 4, 3, 2]),
    "missing last, downwards": ({"order_by": "-Result"}, [3, 4, 1, 2]),
    "newest": ({"order_by": "-Trial ID"}, [4, 3, 2, 1]),
    "two columns": ({"order_by": ["Success", "-a"]}, [2, 1, 4, 3]),
    "time": ({"order_by": "-Finished"}, [4, 3, 2, 1]),
    "limit": ({"limit": 2}, [1, 2]),
    "limit of NumPy": ({"limit": np.int64(2)}, [1, 2]),
    "no rows": ({"limit": 0}, []),
    "large limit": ({"limit": 10**6}, [1, 2, 3, 4]),
    "all": ({"where": "Success", "order_by": "-a", "limit": 2}, [1, 4]),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_rows_are_chosen_ordered_and_limited(four: Experiment, question: str) -> None:
    arguments, expected = QUESTIONS[question]

    assert list(four.get_history(**arguments).index) == expected
    assert list(four.get_history(columns=["State"], **arguments).columns) == ["State"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "column": ({"columns": ["a", "b"]}, "There is no column 'b'; choose among a, Seed, Result"),
    "text as columns": ({"columns": "nothing"}, "There is no column 'nothing'"),
    "column of a condition": ({"where": "b > 1"}, "there is no column 'b'"),
    "column of the order": ({"order_by": "b"}, "Cannot order by 'b': there is no such column"),
    "downwards": ({"order_by": "-b"}, "Cannot order by 'b': there is no such column"),
    "condition": ({"where": "a >"}, "Cannot read the condition at character 4"),
    "no text": ({"where": 5}, "A condition is a text"),
    "limit": ({"limit": -1}, "limit is a number of rows from 0 on, not -1"),
}


@pytest.mark.parametrize("question", WRONG)
def test_a_question_that_cannot_be_answered_is_refused(four: Experiment, question: str) -> None:
    arguments, message = WRONG[question]

    with pytest.raises(QueryError, match=message):
        four.get_history(**arguments)


def test_values_without_an_order_cannot_be_ordered_by(ex: Experiment) -> None:
    s = ex.result(lambda a: a, name="same")(ex.parameter("a"))
    for a in ("text", 1):
        s.compute(parameters={"a": a})

    with pytest.raises(QueryError, match="Cannot order by 'a': '<' not supported"):
        ex.get_history(order_by="a")


@pytest.mark.parametrize("columns", ["a", ["a"], ("a",), ["Note", "a"], ["a", "a"], []])
def test_columns_are_exactly_those_asked_for(four: Experiment, columns: Any) -> None:
    history = four.get_history(columns=columns)

    assert list(history.columns) == ([columns] if isinstance(columns, str) else list(columns))
    assert list(history.index) == [1, 2, 3, 4]


def test_every_column_can_be_asked_for(four: Experiment) -> None:
    columns = [
        "Uid", "User", "Host", "PID", "State", "Started", "Finished", "Tags", "Note", "Late",
        "Seed", "Result", "Result Type", "Success", "Process Time", "Description", "a",
    ]  # fmt: skip
    row = four.get_history(columns=columns).loc[1]

    trial = four[1]
    assert (row["Uid"], row["State"], row["Tags"], row["Note"], row["Late"]) == (
        trial.uid, "COMPLETE", [], "", False,
    )  # fmt: skip
    assert (row["Host"], row["User"]) == (trial.host, trial.user)
    assert row["Started"] <= row["Finished"]


HOSTILE = [
    "a b", "train/lr", "$set", "c.b", "naïve", "and", "`", "a`b", '"', "'", "Trial ID", "Result",
    "Result (parameter)", "Success", "-a", "limit", "1", "  ",
]  # fmt: skip


def test_hostile_names_are_columns_of_their_own(ex: Experiment) -> None:
    values = {name: number for number, name in enumerate(HOSTILE)}
    s = define(ex, *HOSTILE)
    s.compute(parameters={"a": 1, **values})
    s.compute(parameters={"a": 1, **dict.fromkeys(HOSTILE, 50)})

    history = ex.get_history()
    shown = list(history.columns[1 : 1 + len(HOSTILE)])
    assert list(history.loc[1, shown]) == list(values.values())
    assert len(set(history.columns)) == len(history.columns)
    for column, number in zip(shown, values.values(), strict=True):
        quoted = column.replace("`", "``")
        found = ex.get_history(columns=[column], where=f"`{quoted}` == {number}", order_by=column)
        assert (list(found.index), found.loc[1, column]) == ([1], number)
        assert list(ex.get_history(order_by=f"-{column}").index) == [2, 1]


def test_a_parameter_of_one_trial_only_is_a_column_whatever_the_limit(ex: Experiment) -> None:
    define(ex).compute(parameters={"a": 1})
    define(ex, "late").compute(parameters={"a": 1, "late": 2})
    other = Experiment("example", backend=ex.backend)

    history = other.get_history()
    assert list(history["late"].fillna(-1)) == [-1, 2]
    assert list(other.get_history(columns=["late"], limit=1).index) == [1]


def test_a_running_trial_has_no_row(ex: Experiment) -> None:
    seen: list[Any] = []

    @ex.result
    def look() -> int:
        seen.append((list(ex.get_history().index), [t.state for t in ex.trials], len(ex.trials)))
        seen.append((ex.latest.state, ex.latest.result, ex.latest.finished, ex.latest.duration))
        return 1

    look().compute(scheduler="synchronous")

    assert seen == [([], ["RUNNING"], 1), ("RUNNING", None, None, None)]
    assert list(ex.get_history().index) == [1]


OBJECTS: dict[str, tuple[Any, str]] = {
    "array": (np.arange(3), "ndarray int64 (3,)"),
    "frame": (pd.DataFrame({"x": [1, 2]}), "DataFrame 2 x 1"),
    "large": (list(range(5000)), "[0, 1, 2, "),
    "class": (TrialState, "<enum 'TrialState'>"),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_result_that_is_no_plain_data_is_shown_and_loaded_on_demand(
    ex: Experiment, kind: str
) -> None:
    value, preview = OBJECTS[kind]
    s = ex.result(lambda a: a, name="same")(ex.parameter("a"))
    s.compute(parameters={"a": value}, scheduler="synchronous")

    row = ex.get_history().loc[1]
    for column in ("a", "Result"):
        assert repr(row[column]).startswith(preview)
        assert pickle.dumps(row[column].load()) == pickle.dumps(value)
    assert len(ex.get_history(where="Result == 1 or a > 0")) == 0


def test_plain_results_of_many_kinds_stand_in_one_column(ex: Experiment) -> None:
    values = [1, 2.5, "text", None, True, [1, 2], {"a": (1, 2)}, np.float32(0.5), {3}, np.arange(2)]
    s = ex.result(lambda a: a, name="same")(ex.parameter("a"))
    for value in values:
        s.compute(parameters={"a": value}, scheduler="synchronous")

    found = list(ex.get_history()["Result"])
    assert found[:3] == values[:3]
    assert found[4:9] == values[4:9]
    assert str(found[9]) == "ndarray int64 (2,)"


# -- trials by number --


INTEGERS: list[Any] = [2, np.int8(2), np.uint64(2), np.int64(2), np.array(2)]
NO_TRIALS: list[Any] = [
    0, -1, 5, 2**53, 10**400, True, False, np.True_, "2", b"2", 2.0, np.float64(2), None, [2], (),
    slice(1, 2), np.array([2]), float("nan"),
]  # fmt: skip
ASKING: dict[str, Callable[[Experiment, Any], Any]] = {
    "ex[...]": lambda ex, n: ex[n],
    "ex.trials[...]": lambda ex, n: ex.trials[n],
    "get_steps": lambda ex, n: ex.get_steps(n),
    "get_persisted": lambda ex, n: ex.get_persisted("inverse", n, call=0),
    "get_code": lambda ex, n: ex.get_code(n) if n is not None else ex[n],
    "get_parameters": lambda ex, n: ex.get_parameters(n) if n is not None else ex[n],
}


@pytest.mark.parametrize("number", INTEGERS, ids=lambda n: type(n).__name__)
def test_a_trial_is_named_by_any_kind_of_integer(four: Experiment, number: Any) -> None:
    trial = four[number]

    assert (trial.number, type(trial.number)) == (2, int)
    assert trial == four.trials[2]
    assert four.get_parameters(number) == {"a": 0}


@pytest.mark.parametrize("ask", ASKING)
def test_what_is_no_number_of_a_trial_is_refused(four: Experiment, ask: str) -> None:
    for number in NO_TRIALS:
        with pytest.raises(TrialIDNotFoundError) as caught:
            ASKING[ask](four, number)
        assert str(caught.value) in (
            "There is no trial 5 in experiment 'example': its trials are 1 to 4",
        ) or str(caught.value).startswith("A trial is named by an integer from 1 on, not by ")


def test_trials_are_counted_iterated_and_compared(four: Experiment) -> None:
    trials = four.trials

    assert (len(trials), four.trial_id) == (4, 4)
    assert [trial.number for trial in trials] == [1, 2, 3, 4]
    assert len({trial.uid for trial in trials} | {four[1].uid}) == 4
    assert len({*trials, four[1], four.latest}) == 4
    assert (trials[1] == four[1], trials[1] == four[2], trials[1] == 1) == (True, False, False)
    assert repr(trials) == "<4 trials of 'example'>"
    assert repr(trials[2]) == "Trial(2, FAILED, experiment='example')"


def test_an_experiment_without_trials_says_so(ex: Experiment) -> None:
    assert (len(ex.trials), list(ex.trials), ex.trial_id) == (0, [], 0)
    for ask in (lambda: ex.latest, lambda: ex[1]):
        with pytest.raises(TrialIDNotFoundError, match="'example'.* has no trial yet"):
            ask()
    with pytest.raises(TrialIDNotFoundError, match="No complete trial has a number as its result"):
        ex.best("maximize")


# -- the best trial --


def test_the_best_trial_is_the_one_at_the_end_asked_for(four: Experiment) -> None:
    assert four.best("maximize").number == 3
    assert four.best(direction="minimize").number == 1


@pytest.mark.parametrize("direction", ["max", "Maximize", "", None, True, 1])
def test_a_direction_is_one_of_two_words(four: Experiment, direction: Any) -> None:
    with pytest.raises(ValueError, match="direction must be 'minimize' or 'maximize', not"):
        four.best(direction)


def test_only_numbers_of_complete_trials_are_compared(ex: Experiment) -> None:
    results = [float("nan"), "9", None, [9], np.float64(2), 3, np.array([99, 99]), True, -1.5]
    s = ex.result(lambda a: a, name="same")(ex.parameter("a"))
    for result in results:
        s.compute(parameters={"a": result}, scheduler="synchronous")

    assert ex.best("maximize").result == 3
    assert ex.best("minimize").result == -1.5


def test_infinity_is_a_number(ex: Experiment) -> None:
    s = ex.result(lambda a: a, name="same")(ex.parameter("a"))
    for result in (1.0, float("inf"), float("-inf")):
        s.compute(parameters={"a": result})

    assert (ex.best("maximize").number, ex.best("minimize").number) == (2, 3)


def test_of_equal_results_the_first_is_the_best(ex: Experiment) -> None:
    s = ex.result(lambda a: 1, name="one")(ex.parameter("a", default=1))
    s.compute(seed=1)
    s.compute(seed=1)

    assert ex.best("maximize").number == ex.best("minimize").number == 1


def test_trials_are_compared_by_the_last_value_of_a_metric(ex: Experiment) -> None:
    @ex.result
    def train(series: list[float]) -> str:
        for value in series:
            ex.log_metric("loss", value)
        return "done"

    s = train(ex.parameter("series"))
    for series in ([9, 3], [1, 5], [], [0, float("nan")]):
        s.compute(parameters={"series": series})

    assert ex.best("minimize", metric="loss").number == 1
    assert ex.best("maximize", metric="loss").number == 2
    with pytest.raises(TrialIDNotFoundError, match="No complete trial has a number as its metric"):
        ex.best("minimize", metric="accuracy")


# -- one trial --


def test_a_trial_answers_for_itself(four: Experiment) -> None:
    trial = four[1]

    assert len(trial.uid) == 32
    assert int(trial.uid, 16)
    assert (trial.number, trial.parameters, trial.result, trial.seed) == (1, {"a": 4}, 0.375, 4)
    assert isinstance(trial.state, TrialState)
    assert (trial.state == "COMPLETE", trial.state.value, str(trial.state)) == (
        True, "COMPLETE", "COMPLETE",
    )  # fmt: skip
    assert trial.started.tzinfo is UTC
    assert trial.finished is not None
    assert trial.finished >= trial.started
    assert trial.duration >= timedelta(0)
    assert (trial.description, trial.traceback) == (None, None)


def test_a_failed_trial_tells_why(four: Experiment) -> None:
    trial = four[2]

    assert (trial.state, trial.result) == ("FAILED", None)
    assert trial.description == "ZeroDivisionError(division by zero)"
    assert "return 1 / a" in str(trial.traceback)
    assert "in step 'inverse' of trial 2 of experiment 'example'" in str(trial.traceback)


def test_tags_and_note_are_seen_by_every_handle(ex: Experiment, backend: Backend) -> None:
    ex.result(lambda: 1, name="one")().compute()
    here, there = ex[1], Experiment("example", backend=backend)[1]
    assert (there.tags, there.note, there.state) == ([], "", "COMPLETE")

    here.tags = ("good", "paper", "good")
    here.note = "line one\nline two"
    assert (here.tags, here.note) == (there.tags, there.note)
    assert (there.tags, there.note) == (["good", "paper"], "line one\nline two")
    there.tags = "one word"
    here.tags.append("not kept")
    assert here.tags == ["one word"]
    assert ex.get_history(columns=["Tags", "Note"]).loc[1].tolist() == [
        ["one word"], "line one\nline two",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "a\0b", "naïve 🙂", "$set", "x" * 100_000, "a\ud800"])
def test_any_text_can_be_a_tag_or_a_note(ex: Experiment, text: str) -> None:
    ex.result(lambda: 1, name="one")().compute()

    ex[1].tags = [text]
    ex[1].note = text

    assert (ex[1].tags, ex[1].note) == ([text], text)


def test_tags_can_be_set_while_the_trial_runs(ex: Experiment) -> None:
    @ex.result
    def mark() -> int:
        ex.latest.tags = ["running"]
        ex[ex.current_trial_id].note = "soon"
        return 1

    mark().compute()

    assert (ex[1].tags, ex[1].note, ex[1].state) == (["running"], "soon", "COMPLETE")


# -- steps, outputs, code --


def test_step_records_are_a_table_with_a_row_a_call(four: Experiment) -> None:
    steps = four.get_steps(1)

    asked = [
        "step",
        "call",
        "outcome",
        "seconds",
        "seed",
        "fingerprint",
        "inputs",
        "output",
        "host",
    ]
    assert [column for column in [*asked, "pid"] if column not in steps.columns] == []
    by_call = steps.sort_values(["step", "call"]).reset_index()
    assert list(zip(by_call["step"], by_call["call"], strict=True)) == [
        ("inverse", 0), ("inverse", 1), ("score", 0), ("unkept", 0),
    ]  # fmt: skip
    assert set(steps["outcome"]) == {"ran"}
    assert set(steps["attempt"]) == {0}
    first, second, score, unkept = (by_call.loc[i] for i in range(4))
    assert first["output"] == score["inputs"]["values[0]"]
    assert unkept["output"] == second["inputs"]["a"]
    assert (first["parameters"], unkept["parameters"]) == (["a"], ["a"])
    assert score["upstream"] == ["inverse[0]", "inverse[1]"]
    assert score["seed"] == 4
    assert steps["started"].dt.tz is not None


def test_a_failed_call_is_recorded_with_its_outcome(four: Experiment) -> None:
    steps = four.get_steps(2)

    failed = steps[steps["outcome"] == "failed"]
    assert list(failed["step"]) == ["inverse"]
    assert failed["output"].isna().all()


def test_a_trial_without_step_records_has_the_columns(ex: Experiment) -> None:
    @ex.result
    def look() -> list[str]:
        return list(ex.get_steps(ex.current_trial_id).columns)

    assert "fingerprint" in look().compute()


def test_a_persisted_output_is_found_by_step_and_call(four: Experiment) -> None:
    assert four.get_persisted("inverse", 1) == four.get_persisted("inverse", 1, call=1) == 0.125
    assert four.get_persisted("inverse", trial_id=1, call=0) == 0.25
    assert four.get_persisted("inverse", 1, call=np.int64(0)) == 0.25
    assert four[1].persisted("inverse") == 0.125


MISSING: list[tuple[tuple[Any, ...], str]] = [
    (("invers", 1), "No step 'invers' ran in this trial; those that ran: inverse, score, unkept"),
    (("unkept", 1), "Step 'unkept' has no kept output in this trial: it failed, or was not decor"),
    (("inverse", 2), "Step 'inverse' has no kept output in this trial: it failed, or was not "),
    (("inverse", 1, 2), "Step 'inverse' has no kept output of call 2 in this trial; kept .*: 0, 1"),
    (("inverse", 1, -1), "no kept output of call -1"),
    (("inverse", 1, True), "no kept output of call True"),
    (("inverse", 1, "0"), "no kept output of call '0'"),
    ((None, 1), "No step None ran"),
]


@pytest.mark.parametrize(("asked", "message"), MISSING)
def test_an_output_that_was_not_kept_is_explained(
    four: Experiment, asked: Any, message: str
) -> None:
    with pytest.raises(StepNotFoundError, match=message):
        four.get_persisted(*asked)


def test_code_is_that_of_the_trial_or_of_now(ex: Experiment) -> None:
    assert ex.get_code() == ""
    s = ex.result(lambda: 1, name="one")()
    s.compute()

    @ex.persist
    def clean(x: int) -> int:
        return x

    assert "def clean(x: int)" in ex.get_code()
    assert "@ex.persist" in ex.get_code()
    assert "clean" not in ex.get_code(1)
    assert "lambda: 1" in ex.get_code(1)


def test_a_step_without_source_says_so(ex: Experiment) -> None:
    ex.result(abs)(-1).compute()

    assert "abs" in ex.get_code(1)
    assert ex[1].result == 1


def test_parameters_are_those_that_the_trial_used(ex: Experiment) -> None:
    s = define(ex, "b")
    ex.parameter("unused", default=3)
    s.compute(parameters={"a": 1, "b": 2})

    assert ex.get_parameters(1) == {"a": 1, "b": 2}
    assert str(ex.get_parameters()) == "{'a': Undefined, 'b': Undefined, 'unused': 3}"
    assert {**ex[1].parameters, "b": 5} == {"a": 1, "b": 5}


def test_another_handle_reads_everything(four: Experiment) -> None:
    other = Experiment("example", backend=four.backend)

    assert other.get_history().equals(four.get_history())
    assert list(other.trials) == list(four.trials)
    assert other.get_steps(1).equals(four.get_steps(1))
    assert other.get_code(1) == four.get_code(1)
    assert other.get_persisted("inverse", 1) == 0.125
