"""Callbacks are told of trials, steps and metrics, on every route, and disturb none of them."""

from __future__ import annotations

import importlib
import json
import os
import textwrap
import threading
import warnings
from pathlib import Path
from typing import Any

import dask
import pytest

from daskperiment import (
    CallbackError,
    CallbackWarning,
    Experiment,
    Secret,
    TrialState,
)
from daskperiment.callbacks import HOOKS, Callback
from tests.servers import RedisServer, redis_server

PAIRS = ["before_trial", "before_step", "after_step", "before_step", "after_step", "after_trial"]


class Seen(list[tuple[str, dict[str, Any]]]):
    """A function that keeps what it is told."""

    def __call__(self, event: str, **arguments: Any) -> None:
        self.append((event, arguments))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [arguments for told, arguments in self if told == event]

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self]


class InAFile(Callback):
    """Appends the steps and metrics that it hears of to a file, from whatever process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0

    def after_step(self, *, step: str, trial: Any, error: Any, **rest: Any) -> None:
        self._write(step, trial, repr(error))

    def on_metric(self, *, name: str, value: Any, epoch: Any, trial: Any) -> None:
        self._write(name, trial, value)

    def _write(self, *told: Any) -> None:
        self.count += 1
        with self.path.open("a") as file:
            file.write(json.dumps([*told, os.getpid(), self.count]) + "\n")

    @property
    def lines(self) -> list[list[Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


class Unpicklable(InAFile):
    """Cannot leave its process."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.lock = threading.Lock()


class Unloadable(InAFile):
    """Leaves its process, and arrives nowhere."""

    def __reduce__(self) -> Any:
        return json.loads, ("no JSON",)


def graph(ex: Experiment) -> Any:
    """Two steps; 0 fails in the second one."""

    @ex
    def double(a: int) -> int:
        ex.log_metric("doubled", 2 * a, 3)
        return 2 * a

    @ex.result
    def invert(doubled: int) -> float:
        return 1 / doubled

    return invert(double(ex.parameter("a", default=2)))


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_a_trial_and_its_steps_are_told_in_pairs(backend: Any, seen: Seen) -> None:
    ex = Experiment("hooks", backend=backend, callbacks=[seen])

    graph(ex).compute(parameters={"a": 4})

    assert [event for event in seen.events if event != "on_metric"] == PAIRS
    before, *_ = seen.of("before_trial")
    assert before == {"experiment": "hooks", "parameters": {"a": 4}, "batch": None}
    assert seen.of("before_step") == [
        {"step": "double", "call": 0, "trial": 1},
        {"step": "invert", "call": 0, "trial": 1},
    ]
    assert [told["error"] for told in seen.of("after_step")] == [None, None]
    assert all(told["seconds"] >= 0 for told in seen.of("after_step"))
    assert seen.of("on_metric") == [{"name": "doubled", "value": 8, "epoch": 3, "trial": 1}]
    (after,) = seen.of("after_trial")
    assert (after["trial"].number, after["trial"].state) == (1, TrialState.COMPLETE)
    assert (after["trial"].result, after["batch"]) == (0.125, None)


def test_a_failure_is_told_to_the_hooks_after_it(memory_ex: Experiment, seen: Seen) -> None:
    memory_ex.add_callback(seen)

    with pytest.raises(ZeroDivisionError) as caught:
        graph(memory_ex).compute(parameters={"a": 0})

    assert [told["error"] for told in seen.of("after_step")] == [None, caught.value]
    assert seen.of("after_trial")[0]["trial"].state is TrialState.FAILED


def test_a_step_is_recorded_before_its_end_is_told(memory_ex: Experiment) -> None:
    recorded = []

    class Looks(Callback):
        def after_trial(self, *, trial: Any, batch: Any) -> None:
            recorded.append((list(trial.steps["step"]), trial.duration is not None))

    memory_ex.add_callback(Looks())
    graph(memory_ex).compute()

    assert recorded == [(["double", "invert"], True)]


@pytest.mark.parametrize("route", ["compute", "dask.compute", "plus one", "several"])
def test_every_route_in_this_process_tells_a_trial(
    memory_ex: Experiment, seen: Seen, route: str
) -> None:
    s = graph(memory_ex)
    memory_ex.add_callback(seen)

    if route == "compute":
        s.compute()
    elif route == "dask.compute":
        dask.compute(s)
    elif route == "plus one":
        (s + 1).compute()
    else:
        dask.compute(s, s + 1, scheduler="threads")

    trials = 2 if route == "several" else 1
    assert len(seen.of("before_trial")) == trials
    assert sorted(told["trial"].number for told in seen.of("after_trial")) == [1, 2][:trials]
    assert {told["trial"].state for told in seen.of("after_trial")} == {TrialState.COMPLETE}


def test_steps_are_told_where_they_run_on_every_scheduler(scheduler: Any, tmp_path: Path) -> None:
    told, seen = InAFile(tmp_path / "told"), Seen()
    ex = Experiment("hooks", backend=tmp_path / "store", callbacks=[told])

    class Driver(Callback):
        def before_trial(self, **rest: Any) -> None:
            seen("before_trial", pid=os.getpid())

        def after_trial(self, *, trial: Any, batch: Any) -> None:
            seen("after_trial", pid=os.getpid(), state=trial.state)

    ex.add_callback(Driver())
    graph(ex).compute(scheduler=scheduler)

    assert sorted(line[:3] for line in told.lines) == [
        ["double", 1, "None"], ["doubled", 1, 4], ["invert", 1, "None"],
    ]  # fmt: skip
    assert {line[3] for line in told.lines} == set(ex[1].steps["pid"])
    assert seen == [
        ("before_trial", {"pid": os.getpid()}),
        ("after_trial", {"pid": os.getpid(), "state": TrialState.COMPLETE}),
    ]


def test_a_trial_that_a_cluster_begins_is_told_where_it_was_submitted(
    client: Any, tmp_path: Path
) -> None:
    told, seen = InAFile(tmp_path / "told"), Seen()
    ex = Experiment("hooks", backend=tmp_path / "store", callbacks=[told])

    class Driver(Callback):
        def before_trial(self, **rest: Any) -> None:
            seen("before_trial", pid=os.getpid())

    ex.add_callback(Driver())
    client.compute(graph(ex)).result()

    assert seen == [("before_trial", {"pid": os.getpid()})]
    assert sorted(line[0] for line in told.lines) == ["double", "doubled", "invert"]


def test_a_copy_in_another_process_is_one_for_all_trials_of_a_batch(tmp_path: Path) -> None:
    told = InAFile(tmp_path / "told")
    ex = Experiment("hooks", backend=tmp_path / "store", callbacks=[told])

    ex.map(graph(ex), [{"a": 1}, {"a": 2}], "processes", max_workers=1)

    assert [line[4] for line in told.lines] == [1, 2, 3, 4, 5, 6]
    assert os.getpid() not in {line[3] for line in told.lines}
    assert told.count == 0


def test_a_callback_that_cannot_be_pickled_stays_here_and_that_is_said_once(
    tmp_path: Path,
) -> None:
    told = Unpicklable(tmp_path / "told")
    ex = Experiment("hooks", backend=tmp_path / "store", callbacks=[told])
    s = graph(ex)

    with pytest.warns(CallbackWarning, match="Unpicklable hears nothing of steps") as caught:
        s.compute(scheduler="processes")
        s.compute(scheduler="processes")
    s.compute()

    assert len(caught) == 1
    assert [str(trial.state) for trial in ex.trials] == ["COMPLETE"] * 3
    assert {line[3] for line in told.lines} == {os.getpid()}


def test_one_that_hears_of_trials_only_never_travels(tmp_path: Path) -> None:
    class Counts(Callback):
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.count = 0

        def after_trial(self, *, trial: Any, batch: Any) -> None:
            self.count += 1

    counts = Counts()
    ex = Experiment("hooks", backend=tmp_path / "store", callbacks=[counts])

    graph(ex).compute(scheduler="processes")  # a warning would be an error

    assert counts.count == 1


def test_one_that_cannot_be_loaded_elsewhere_fails_no_step(tmp_path: Path) -> None:
    ex = Experiment("hooks", backend=tmp_path / "store", callbacks=[Unloadable(tmp_path / "told")])

    assert graph(ex).compute(scheduler="processes") == 0.25
    assert not (tmp_path / "told").exists()


def test_a_callback_may_hold_its_experiment(tmp_path: Path) -> None:
    told = InAFile(tmp_path / "told")
    ex = Experiment("hooks", backend=tmp_path / "store", callbacks=[told])
    told.ex = ex  # type: ignore[attr-defined]

    assert graph(ex).compute(scheduler="processes") == 0.25
    assert len(told.lines) == 3


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if "batch" not in hook])
def test_an_error_in_a_callback_is_told_once_and_fails_nothing(
    memory_ex: Experiment, seen: Seen, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(event: str, **arguments: Any) -> None:
        if event == hook:
            raise RuntimeError("token=abc is wrong")

    memory_ex.add_callback(faulty)
    memory_ex.add_callback(seen)
    s = graph(memory_ex)

    with pytest.warns(CallbackWarning) as caught:
        assert (s.compute(), s.compute()) == (0.25, 0.25)

    (warning,) = caught
    assert f"faulty has failed in {hook}," in str(warning.message)
    assert "RuntimeError: token=*** is wrong" in str(warning.message)
    assert warning.filename == __file__
    assert caplog.text.count("is told once") == 1
    assert [str(trial.state) for trial in memory_ex.trials] == ["COMPLETE"] * 2
    assert [event for event in seen.events if event != "on_metric"] == 2 * PAIRS


def test_an_error_in_a_callback_fails_nothing_where_warnings_are_errors(
    memory_ex: Experiment,
) -> None:
    def faulty(event: str, **arguments: Any) -> None:
        raise RuntimeError

    memory_ex.add_callback(faulty)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert graph(memory_ex).compute() == 0.25

    assert memory_ex.latest.state is TrialState.COMPLETE


@pytest.mark.parametrize(
    ("hook", "state"),
    [
        ("before_step", TrialState.CANCELLED),
        ("on_metric", TrialState.CANCELLED),
        ("after_step", TrialState.CANCELLED),
        ("after_trial", TrialState.COMPLETE),
    ],
)
def test_an_interrupt_goes_through_a_callback(
    memory_ex: Experiment, hook: str, state: TrialState
) -> None:
    def interrupts(event: str, **arguments: Any) -> None:
        if event == hook:
            raise KeyboardInterrupt

    memory_ex.add_callback(interrupts)

    with pytest.raises(KeyboardInterrupt):
        graph(memory_ex).compute()

    assert memory_ex.latest.state is state


def test_callbacks_are_told_in_the_order_in_which_they_were_added(memory_ex: Experiment) -> None:
    order: list[str] = []

    def first(event: str, **arguments: Any) -> None:
        order.append("first")

    def second(event: str, **arguments: Any) -> None:
        order.append("second")

    memory_ex.add_callback(second)
    memory_ex.add_callback(first)
    graph(memory_ex).compute()

    assert order == ["second", "first"] * 7


def test_any_object_with_some_of_the_methods_is_a_callback(memory_ex: Experiment) -> None:
    class Plain:
        steps: list[str] = []

        def after_step(self, *, step: str, **rest: Any) -> None:
            self.steps.append(step)

    memory_ex.add_callback(Plain())
    graph(memory_ex).compute()

    assert Plain.steps == ["double", "invert"]


def test_one_that_was_removed_hears_nothing_more(memory_ex: Experiment, seen: Seen) -> None:
    s = graph(memory_ex)
    memory_ex.add_callback(seen)
    s.compute()
    memory_ex.remove_callback(seen)
    s.compute()

    assert len(seen.of("after_trial")) == 1


def test_a_module_that_is_reloaded_has_its_callbacks_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("reloaded.py").write_text(
        textwrap.dedent("""
            from pathlib import Path
            from daskperiment import Experiment

            def told(event, **arguments):
                with Path("told").open("a") as file:
                    print(event, file=file)

            ex = Experiment("reloaded", backend="memory://", callbacks=[told])
            ex.add_callback(lambda event, **arguments: told(event, **arguments))

            @ex.result
            def half(a):
                return a / 2

            s = half(ex.parameter("a", default=3))
            """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("reloaded")
    importlib.reload(module)
    module.s.compute()

    assert Path("told").read_text().split().count("after_trial") == 2


def test_secrets_are_hidden_from_callbacks(memory_ex: Experiment, seen: Seen) -> None:
    @memory_ex.result
    def login(password: str, key: Secret) -> int:
        return len(password) + len(key.reveal())

    password = memory_ex.parameter("password", default="hunter2")
    key = memory_ex.parameter("key", default=Secret("swordfish"))
    memory_ex.add_callback(seen)
    login(password, key).compute()

    assert "hunter2" not in repr(seen)
    assert "swordfish" not in repr(seen)
    assert repr(seen.of("before_trial")[0]["parameters"]["password"]) == "***"


def test_nodes_without_a_result_are_no_trials_to_tell_of(memory_ex: Experiment, seen: Seen) -> None:
    @memory_ex
    def double(a: int) -> int:
        return 2 * a

    memory_ex.add_callback(seen)

    assert double(2).compute() == 4
    assert seen == []


def test_nothing_is_told_while_recording_is_switched_off(
    monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    monkeypatch.setenv("DASKPERIMENT_MODE", "disabled")
    ex = Experiment("hooks", callbacks=[seen])

    assert graph(ex).compute() == 0.25
    assert dask.compute(graph(ex)) == (0.25,)
    assert seen == []


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("daskperiment.backends.server.PATIENCE", 0.1)
    with redis_server(tmp_path / "redis") as running:
        yield running


@pytest.mark.filterwarnings("ignore:.*cannot be reached:daskperiment.DaskperimentWarning")
def test_a_trial_is_told_also_while_its_server_is_away(running: RedisServer, seen: Seen) -> None:
    ex = Experiment("hooks", backend=running.uri, callbacks=[seen])
    s = graph(ex)
    s.compute()
    running.kill()
    s.compute()

    first, second = (told["trial"] for told in seen.of("after_trial"))
    assert (first.number, str(second.number)) == (1, "~1")
    assert (second.state, second.result) == (TrialState.COMPLETE, 0.25)


@pytest.mark.parametrize(
    ("callback", "says"),
    [
        (Callback, "an object, not the class Callback: add Callback"),
        (7, "7 is no callback: it needs one of the methods before_batch, "),
    ],
)
def test_what_is_no_callback_is_refused(memory_ex: Experiment, callback: Any, says: str) -> None:
    with pytest.raises(CallbackError, match=says):
        memory_ex.add_callback(callback)
    with pytest.raises(CallbackError, match=says):
        Experiment("hooks", backend="memory://", callbacks=[callback])


def test_callbacks_that_are_no_list_are_refused() -> None:
    with pytest.raises(CallbackError, match="put brackets around it"):
        Experiment("hooks", backend="memory://", callbacks=Callback())  # type: ignore[arg-type]


def test_a_callback_is_added_once_and_removed_once(memory_ex: Experiment, seen: Seen) -> None:
    memory_ex.add_callback(seen)
    with pytest.raises(CallbackError, match="Seen is there already"):
        memory_ex.add_callback(seen)

    with pytest.raises(CallbackError, match="Seen cannot be removed.*those that are there: Seen"):
        memory_ex.remove_callback(Seen())
    memory_ex.remove_callback(seen)
    with pytest.raises(CallbackError, match="those that are there: none"):
        memory_ex.remove_callback(seen)
