"""Reuse: what is taken from an earlier trial, what is not, and what is said of it."""

from __future__ import annotations

import logging
import os
import pickle
import random
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daskperiment import (
    Experiment,
    MutationWarning,
    OptionError,
    PurityWarning,
    StepDefinitionError,
)


@pytest.fixture
def ex(tmp_path: Path) -> Experiment:
    return Experiment("reuse", backend=tmp_path / "store", seed=5, reuse=True)


_ran: list[str] = []
_values: Iterator[Any] = iter(())


def here() -> Any:
    """This module; what is looked up in it while a step runs is no part of the step's code."""
    return sys.modules[__name__]


def ran(name: str) -> None:
    """Note that a step runs."""
    here()._ran.append(name)


def what_ran() -> list[str]:
    """Names of the steps that have run since this was asked last."""
    found, here()._ran = sorted(_ran), []
    return found


@pytest.fixture(autouse=True)
def fresh() -> None:
    what_ran()


def graph(ex: Experiment) -> Any:
    """Three steps in a row, of which the first one makes something large."""

    @ex(name="load")
    def load(a: int) -> Any:
        ran("load")
        return np.arange(100_000.0) + a

    @ex(name="clean")
    def clean(data: Any, b: int) -> Any:
        ran("clean")
        ex.log_metric("size", len(data))
        ex.save_artifact("note", f"b is {b}")
        return data * b

    @ex.result(name="score")
    def score(data: Any, c: int) -> float:
        ran("score")
        return float(data.sum()) + c

    a, b, c = (ex.parameter(name, default=1) for name in "abc")
    return score(clean(load(a), b), c)


def test_only_what_has_changed_and_what_stands_below_it_runs_again(ex: Experiment) -> None:
    s = graph(ex)

    first = s.compute()
    assert what_ran() == ["clean", "load", "score"]
    again, other = s.compute(), s.compute(parameters={"b": 2})

    assert what_ran() == ["clean", "score"]
    assert again == first
    assert other == 2 * (first - 1) + 1
    assert list(ex[2].steps["outcome"]) == ["reused"] * 3
    assert list(ex[3].steps["outcome"]) == ["reused", "ran", "ran"]
    assert list(ex[2].steps["reused_from"]) == [1, 1, 1]
    assert ex[2].result == first
    assert ex.get_history(columns=["time_saved"])["time_saved"].notna().tolist() == [
        False, True, True,
    ]  # fmt: skip


def test_what_a_step_has_logged_comes_along(ex: Experiment) -> None:
    s = graph(ex)
    s.compute()
    s.compute(parameters={"c": 3})

    assert what_ran() == ["clean", "load", "score", "score"]
    assert ex[2].metrics["size"][0].value == 100_000
    assert ex[2].artifacts["note"].read() == b"b is 1"


def test_one_line_says_from_where_and_what_is_saved(
    ex: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    s = graph(ex)
    s.compute()
    with caplog.at_level(logging.INFO, "daskperiment"):
        s.compute()

    lines = [line for line in caplog.messages if "reused" in line]
    assert len(lines) == 3
    assert "load: reused from trial 1 (" in lines[0]
    assert " ago, saved 0.0" in lines[0]
    assert lines[0].endswith(", 800 kB)")


def test_an_output_is_not_read_where_all_that_use_it_are_reused_too(
    ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = graph(ex)
    s.compute()
    read: list[str] = []
    monkeypatch.setattr(type(ex.backend), "fetch", lambda self, digest: read.append(digest))

    s.compute()

    assert read == []


def test_lazy_outputs_are_themselves_in_lists_and_in_steps_of_others(ex: Experiment) -> None:
    import dask

    @ex(name="part")
    def part(i: int) -> Any:
        ran("part")
        return np.full(50_000, float(i))

    @ex.result(name="total")
    def total(parts: list[Any], more: dict[str, Any], plain: Any, c: int) -> float:
        ran("total")
        here()._kinds = {type(each) for each in (*parts, more["x"], plain)}
        return float(sum(each[0] for each in parts) + more["x"][0] + plain[0]) + c

    made = [part(i) for i in range(3)]
    plain = dask.delayed(lambda x: x + 1)(made[2])
    s = total(made, {"x": made[1]}, plain, ex.parameter("c", default=0))

    assert s.compute() == 7.0
    assert s.compute() == 7.0
    assert s.compute(parameters={"c": 1}) == 8.0
    assert dask.compute(s)[0] == 7.0
    assert (s + 1).compute() == 8.0
    assert here()._kinds == {np.ndarray}
    assert what_ran() == ["part"] * 3 + ["total"] * 2


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes", "cluster"])
def test_every_scheduler_takes_what_another_one_has_computed(
    ex: Experiment, scheduler: str, request: pytest.FixtureRequest
) -> None:
    client = request.getfixturevalue("client") if scheduler == "cluster" else scheduler
    s = graph(ex)
    first = s.compute()

    assert s.compute(scheduler=client) == first
    assert s.compute(scheduler=client, parameters={"c": 5}) == first + 4

    assert list(ex[2].steps["outcome"]) == ["reused"] * 3
    assert sorted(ex[3].steps["outcome"]) == ["ran", "reused", "reused"]


def test_a_step_says_whether_it_is_reused_and_a_computation_may_say_otherwise(
    tmp_path: Path,
) -> None:
    ex = Experiment("some", backend=tmp_path / "store", seed=5)

    @ex(reuse=True)
    def some(a: int) -> int:
        ran("some")
        return a

    @ex.result
    def last(a: int) -> int:
        ran("last")
        return a

    s = last(some(ex.parameter("a", default=1)))
    s.compute()
    assert what_ran() == ["last", "some"]
    s.compute()
    assert what_ran() == ["last"]
    s.compute(reuse=False)
    assert what_ran() == ["last", "some"]
    s.compute(reuse=True)
    assert what_ran() == ["last"]
    s.compute(reuse=True)
    assert what_ran() == []


def test_a_step_that_drew_is_taken_only_with_its_seed(ex: Experiment) -> None:
    @ex(name="draw")
    def draw(a: int) -> float:
        ran("draw")
        return random.random() + a

    @ex.result(name="last")
    def last(x: float) -> float:
        return x

    s = last(draw(ex.parameter("a", default=0)))
    first = s.compute(seed=1)
    with pytest.warns(PurityWarning, match="seed"):
        other = s.compute(seed=2)

    assert (s.compute(seed=1), s.compute(seed=2)) == (first, other)
    assert first != other
    assert what_ran() == ["draw", "draw"]


def _entropy(ex: Experiment) -> Any:
    return os.urandom(4).hex()


def _unhashed(ex: Experiment) -> Any:
    return threading.Lock()


@pytest.mark.parametrize("function", [_entropy, _unhashed])
def test_what_cannot_be_the_same_again_runs_each_time(ex: Experiment, function: Any) -> None:
    @ex(name="odd")
    def odd(a: int) -> Any:
        ran("odd")
        return function(None)

    @ex.result(name="last")
    def last(x: Any) -> int:
        return 1

    s = last(odd(ex.parameter("a", default=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PurityWarning)
        s.compute()
        s.compute()

    assert what_ran() == ["odd", "odd"]


def test_a_step_that_was_seen_to_be_impure_runs_each_time(ex: Experiment) -> None:
    values = iter(range(10))

    @ex(name="odd")
    def odd(a: int) -> int:
        ran("odd")
        return next(here()._values)

    @ex.result(name="last")
    def last(x: int) -> int:
        return x

    here()._values = values
    s = last(odd(ex.parameter("a", default=0)))
    s.compute(reuse=False)
    with pytest.warns(PurityWarning, match="unexplained"):
        s.compute(reuse=False)
    for _ in range(2):
        with pytest.warns(PurityWarning, match="unexplained"):
            s.compute()

    assert what_ran() == ["odd"] * 4


def test_a_file_that_a_step_opens_is_looked_at_before_it_is_taken(
    ex: Experiment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1,2,3")
    os.utime(data, (1, 1))
    name = str(data)

    @ex(name="read")
    def read(path: str) -> int:
        ran("read")
        with Path(path).open() as file:
            return sum(map(int, file.read().split(",")))

    @ex.result(name="last")
    def last(x: int) -> int:
        return x

    s = last(read(ex.parameter("path", default=name)))
    assert [s.compute(), s.compute()] == [6, 6]
    assert what_ran() == ["read"]

    data.write_text("1,2,4")
    os.utime(data, (1, 1))
    with caplog.at_level(logging.INFO, "daskperiment"), pytest.warns(PurityWarning, match="file"):
        assert s.compute() == 7

    assert f"read runs: the file {name} is not what it was" in caplog.text
    assert s.compute() == 7
    assert what_ran() == ["read"]


def test_files_that_a_step_writes_or_keeps_as_artifacts_are_not_its_inputs(
    ex: Experiment, tmp_path: Path
) -> None:
    name = str(tmp_path / "made")

    @ex.result(name="write")
    def write(path: str) -> int:
        ran("write")
        Path(path).write_text("x")
        length = len(Path(path).read_text())
        ex.save_artifact("made", Path(path))
        Path(path).unlink()
        return length

    s = write(ex.parameter("path", default=name))
    s.compute()
    s.compute()

    assert what_ran() == ["write"]
    assert ex[2].artifacts["made"].read() == b"x"


def test_a_stored_output_that_is_damaged_is_computed_again(ex: Experiment, tmp_path: Path) -> None:
    s = graph(ex)
    s.compute()
    files = list(tmp_path.glob("store/blobs/*/*"))
    assert files
    for file in files:
        file.chmod(0o600)
        file.write_bytes(b"damaged")

    value = s.compute(parameters={"c": 2})

    assert value == s.compute(parameters={"c": 2}, reuse=False)


def test_a_removed_trial_is_taken_from_no_more(ex: Experiment) -> None:
    s = graph(ex)
    s.compute()
    ex[1].remove()
    ex.gc()
    what_ran()

    s.compute()

    assert what_ran() == ["clean", "load", "score"]


def test_some_hits_are_compared_and_one_that_differs_blocks_the_step(tmp_path: Path) -> None:
    ex = Experiment("verify", backend=tmp_path / "store", seed=5, reuse=True, reuse_verify=1.0)
    values = iter([1, 1, 2, 2, 2])

    @ex.result(name="odd")
    def odd(a: int) -> int:
        ran("odd")
        return next(here()._values)

    here()._values = values
    s = odd(ex.parameter("a", default=0))
    s.compute()
    s.compute()
    assert what_ran() == ["odd", "odd"]
    with pytest.warns(PurityWarning):
        assert s.compute() == 2

    with pytest.warns(PurityWarning):
        s.compute()
    assert what_ran() == ["odd", "odd"]


# -- once for all that want it now


def test_threads_of_a_batch_compute_what_they_share_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ex = Experiment("share", backend=tmp_path / "store", seed=5)

    @ex(name="load")
    def load(a: int) -> int:
        ran("load")
        time.sleep(0.1)
        return a

    @ex.result(name="fit")
    def fit(data: int, k: int) -> int:
        ran("fit")
        return data * k

    s = fit(load(ex.parameter("a")), ex.parameter("k"))
    jobs = [{"a": k % 2, "k": k} for k in range(8)]

    with caplog.at_level(logging.INFO, "daskperiment"):
        trials = ex.map(s, jobs, "threads", 4, share=True)
        ex.map(s, jobs[:1], share=True)

    assert [trial.result for trial in trials] == [(k % 2) * k for k in range(8)]
    assert what_ran() == ["fit"] * 9 + ["load"] * 3
    assert "steps requested 16, executed 10, shared 6" in caplog.text


def test_a_call_that_fails_is_computed_by_the_next_that_wants_it(tmp_path: Path) -> None:
    ex = Experiment("fails", backend=tmp_path / "store", seed=5, reuse=True)
    fates = iter([True, False, False])

    @ex.result(name="odd")
    def odd(a: int) -> int:
        ran("odd")
        time.sleep(0.05)
        if next(here()._values):
            raise ValueError("once")
        return a

    here()._values = fates
    s = odd(ex.parameter("a", default=3))

    trials = ex.map(s, [{}, {}, {}], "threads", 3, on_error="continue")

    assert sorted(str(trial.state) for trial in trials) == ["COMPLETE", "COMPLETE", "FAILED"]
    assert what_ran() == ["odd", "odd"]


# -- arguments that are changed in place


def test_a_step_that_changes_its_argument_is_named_with_all_who_use_it(tmp_path: Path) -> None:
    ex = Experiment("mutation", backend=tmp_path / "store")

    @ex
    def load(a: int) -> list[int]:
        return [3, 1, 2]

    @ex
    def order(items: list[int]) -> int:
        items.sort()
        return items[0]

    @ex
    def show(items: list[int]) -> int:
        return len(items)

    @ex.result
    def last(x: int, y: int) -> int:
        return x + y

    loaded = load(ex.parameter("a", default=1))
    s = last(order(loaded), show(loaded))

    with pytest.warns(
        MutationWarning,
        match=r"'order' of trial 1 has changed its argument 'items' in place: the output of step "
        r"'load', which 'show' uses too",
    ):
        s.compute()


@pytest.mark.filterwarnings("ignore::daskperiment.MutationWarning")
def test_a_step_that_changes_its_argument_is_taken_from_nowhere(ex: Experiment) -> None:
    @ex.result(name="order")
    def order(items: list[int]) -> int:
        ran("order")
        items.sort()
        return items[0]

    s = order(ex.parameter("items", default=[3, 1, 2]))
    s.compute(parameters={"items": [3, 1, 2]})
    s.compute(parameters={"items": [3, 1, 2]})

    assert what_ran() == ["order", "order"]


# -- arguments


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"reuse": 1}, "reuse is True or False"),
        ({"packages": "all"}, "packages must be"),
        ({"reuse_verify": 2}, "a number from 0 to 1"),
        ({"reuse_verify": True}, "a number from 0 to 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        Experiment("wrong", backend="memory://", **options)


def test_a_wrong_option_of_a_step_is_refused(ex: Experiment) -> None:
    with pytest.raises(StepDefinitionError, match="reuse is True, False or None"):
        ex(lambda a: a, name="wrong", reuse="yes")  # type: ignore[call-overload]


def test_an_experiment_keeps_its_settings_on_its_way_to_a_worker(ex: Experiment) -> None:
    import cloudpickle

    assert pickle.loads(cloudpickle.dumps(ex))._reuse == ex._reuse
