"""A new attempt at a trial does not run again what an earlier attempt has finished."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask
import numpy as np
import pytest

import daskperiment
from daskperiment import Experiment, Trial, copy_trials
from daskperiment.backends import Backend, Discard, open_backend
from daskperiment.history import paths
from daskperiment.history.doctor import examine

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def count(name: str) -> None:
    """Note that a step has run; in a file, so that it counts in any process."""
    with Path("runs").open("a") as file:
        file.write(f"{name}\n")


def runs() -> list[str]:
    """The steps that have run since this was asked last."""
    file = Path("runs")
    found = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return found


def graph(ex: Experiment) -> Any:
    """Three steps that leave something; the last one ends the first attempts as it is told."""

    @ex.persist
    def load(a: int) -> Any:
        count("load")
        ex.log_metric("size", a)
        ex.save_artifact("notes", f"a is {a}")
        return np.random.normal(size=3) + a

    @ex
    def scale(data: Any) -> Any:
        count("scale")
        return data * 2

    @ex.persist
    def fit(data: Any) -> float:
        count("fit")
        for epoch in range(3):
            ex.log_metric("loss", random.random() + float(data.sum()), epoch)
        ex.artifact_path("plots/loss.txt").write_text("some text")
        return float(data.sum())

    @ex.result
    def score(model: float, fate: str) -> float:
        count("score")
        ex.log_metric("loss", -1.0, 99)
        if daskperiment.current().number < 2 and fate == "fail":
            raise ValueError("once")
        if daskperiment.current().number < 2 and fate == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return model + random.random()

    return score(fit(scale(load(ex.parameter("a", default=1)))), ex.parameter("fate"))


def attempt(node: Any, **options: Any) -> Trial:
    (trial,) = node._owner.map(node, [{"fate": "fail"}], retries=1, **options)
    assert trial.retry_of is not None
    return trial


def uninterrupted(seed: int) -> Trial:
    ex = Experiment("example", backend="memory://", seed=seed)
    graph(ex).compute(parameters={"fate": ""})
    runs()
    return ex[1]


def without_times(trial: Trial) -> Any:
    metrics = {name: [point[:2] for point in points] for name, points in trial.metrics.items()}
    return metrics, {name: each.read() for name, each in trial.artifacts.items()}


def test_finished_steps_do_not_run_again(every_backend: Backend) -> None:
    ex = Experiment("example", backend=every_backend, seed=5)
    whole = uninterrupted(5)

    trial = attempt(graph(ex))

    assert runs() == ["load", "scale", "fit", "score", "scale", "score"]
    steps = trial.steps
    assert steps["outcome"].tolist() == ["reused", "ran", "reused", "ran"]
    assert steps["reused_from"].tolist() == [1, None, 1, None]
    assert steps["output"].tolist() == whole.steps["output"].tolist()
    assert steps["seed"].tolist() == whole.steps["seed"].tolist()
    assert steps["drew"].tolist() == whole.steps["drew"].tolist() == [True, False, True, True]
    assert (trial.result, trial.seed) == (whole.result, whole.seed)
    assert without_times(trial) == without_times(whole)
    assert trial.persisted("fit") == whole.persisted("fit")
    assert np.array_equal(trial.persisted("load"), whole.persisted("load"))


@pytest.mark.parametrize("executor", ["processes", "processes:fork"])
def test_after_the_death_of_a_process_neither(tmp_path: Path, executor: str) -> None:
    ex = Experiment("example", backend=tmp_path / "store", seed=5)

    (trial,) = ex.map(graph(ex), [{"fate": "die"}], executor, retries=1)

    assert str(trial.retry_of.state) == "CRASHED"
    assert runs() == ["load", "scale", "fit", "score", "scale", "score"]
    assert without_times(trial) == without_times(uninterrupted(5))


@pytest.mark.parametrize("scheduler", ["threads", "processes", "cluster"], indirect=True)
def test_wherever_steps_run(tmp_path: Path, scheduler: Any) -> None:
    ex = Experiment("example", backend=tmp_path / "store", seed=5)
    node = graph(ex)
    with pytest.raises(ValueError, match="once"):
        node.compute(parameters={"fate": "fail"}, scheduler=scheduler)
    row = {"uid": uuid4().hex, "retry_of": ex[1].uid}
    from daskperiment.graph import layout_of

    used = ex._used(node, {"fate": "fail"})
    ex._recorder.run(layout_of(node), used, 5, {"scheduler": scheduler}, about=row)

    assert ex[2].steps["outcome"].tolist() == ["reused", "ran", "reused", "ran"]
    assert without_times(ex[2]) == without_times(uninterrupted(5))


def test_an_interrupted_batch_goes_on(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store", seed=5)
    node = graph(ex)
    ex.map(node, [{"fate": "fail"}], on_error="continue")
    runs()

    (trial,) = ex.map(node, [{"fate": "fail"}], skip_completed=True)

    assert trial.retry_of == ex[1]
    assert runs() == ["scale", "score"]


def test_a_third_attempt_looks_through_the_second(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store", seed=5)

    @ex.persist
    def first() -> float:
        count("first")
        return random.random()

    @ex.persist
    def second(x: float) -> float:
        count("second")
        if daskperiment.current().number == 1:
            raise ValueError
        return x + random.random()

    @ex.result
    def third(x: float) -> float:
        if daskperiment.current().number == 2:
            raise ValueError
        return x

    (trial,) = ex.map(third(second(first())), [{}], retries=2)

    assert runs() == ["first", "second", "second"]
    assert trial.steps["outcome"].tolist() == ["reused", "reused", "ran"]
    assert trial.steps["reused_from"].tolist() == [1, 2, None]


def test_a_result_that_was_there_is_taken(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store", seed=5)

    @ex.result
    def score(a: int) -> list[float]:
        count("score")
        return [random.random() for _ in range(2000)]

    def last(value: list[float]) -> int:
        if len(ex.trials) == 1:
            raise ValueError("behind the result")
        return len(value)

    node = score(ex.parameter("a", default=1))
    node = node._wrap(dask.delayed(last)(node))
    (trial,) = ex.map(node, [{}], retries=1)

    assert runs() == ["score"]
    assert trial.steps["outcome"].tolist() == ["reused"]
    assert len(trial.result) == 2000


# -- when it runs again -------------------------------------------------------------------


def again(ex: Experiment, step: Any, between: Any = lambda trial: None, **options: Any) -> Trial:
    """Run a step and then another attempt at its trial, with something done between."""

    @ex.result
    def end(x: Any) -> str:
        if daskperiment.current().number == 1:
            raise ValueError
        return "done"

    node = end(step(ex.parameter("a", default=1)))
    ex.map(node, [{}], on_error="continue", **options)
    between(ex[1])
    (trial,) = ex.map(node, [{}], skip_completed=True, **options)
    assert trial.retry_of == ex[1]
    return trial


def outcome(trial: Trial) -> str:
    found: str = trial.steps["outcome"].tolist()[0]
    return found


def test_a_step_whose_output_is_not_kept_runs_again(ex: Experiment) -> None:
    assert outcome(again(ex, ex(lambda a: a, name="plain"))) == "ran"


def test_an_output_that_cannot_be_kept_is_computed_again(ex: Experiment) -> None:
    assert outcome(again(ex, ex.persist(lambda a: (x for x in [a]), name="lazy"))) == "ran"


def test_a_step_that_read_entropy_runs_again(ex: Experiment) -> None:
    def wild(a: int) -> int:
        return a + 0 * int(np.random.default_rng().integers(10))

    assert outcome(again(ex, ex.persist(wild))) == "ran"


def test_what_was_forgotten_is_computed_again(ex: Experiment) -> None:
    step = ex.persist(lambda a: a, name="clean")

    assert outcome(again(ex, step, lambda trial: trial.forget("persisted.clean"))) == "ran"


@pytest.mark.parametrize("spoilt", ["removed", "changed"])
def test_bytes_that_are_gone_or_changed_are_computed_again(
    tmp_path: Path, spoilt: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ex = Experiment("example", backend=tmp_path / "store", seed=5)
    step = ex.persist(lambda a: np.arange(100_000) + a, name="large")

    trial = again(ex, step, _remove if spoilt == "removed" else _change)

    assert outcome(trial) == "ran"
    assert "large runs again: its output cannot be read: Payload" in caplog.text


def _kept(trial: Trial) -> dict[str, Any]:
    (entry,) = [
        entry["kept"]
        for entry in trial._backend.read(paths.steps(trial.experiment, trial.uid))
        if "kept" in entry
    ]
    return dict(entry)


def _remove(trial: Trial) -> None:
    trial._backend.apply(Discard(_kept(trial)["digest"]))


def _change(trial: Trial) -> None:
    digest = _kept(trial)["digest"]
    (file,) = Path().rglob(digest)
    file.chmod(0o600)
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_another_output_in_an_earlier_attempt_is_a_reason_to_run(ex: Experiment) -> None:
    step = ex.persist(lambda a: time.time_ns(), name="clock")

    with pytest.warns(daskperiment.PurityWarning):
        trial = again(ex, step, lambda trial: _run_once_more(ex, trial))

    assert outcome(trial) == "ran"


def _run_once_more(ex: Experiment, trial: Trial) -> None:
    step = ex._steps["clock"]

    @ex.result
    def other(x: Any) -> None: ...

    with pytest.warns(daskperiment.PurityWarning):
        other(step(ex.parameter("a", default=1))).compute()


def test_changed_code_runs_again_and_the_rest_does_not(ex: Experiment) -> None:
    def define(constant: int) -> Any:
        @ex.persist
        def first(a: int) -> int:
            count("first")
            return a

        @ex.persist
        def second(x: int) -> int:
            count("second")
            return x + constant

        @ex.result
        def end(x: int) -> int:
            if daskperiment.current().number == 1:
                raise ValueError
            return x

        return end(second(first(ex.parameter("a", default=1))))

    import warnings

    ex.map(define(1), [{}], on_error="continue", seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (trial,) = ex.map(define(2), [{}], skip_completed=True, seed=1)

    assert trial.result == 3
    assert runs() == ["first", "second", "second"]
    assert trial.steps["outcome"].tolist() == ["reused", "ran", "ran"]


# -- what comes along ---------------------------------------------------------------------


def test_what_cannot_be_told_apart_is_told(
    ex: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    @ex.persist
    def part(a: int) -> int:
        ex.save_artifact("shared", f"of {a}")
        ex.save_artifact(f"own{a}", "text")
        ex.log_metric("shared", a)
        return a

    @ex.result
    def end(x: int, y: int) -> int:
        ex.save_artifact("shared", "of the end")
        if daskperiment.current().number == 1:
            raise ValueError
        return x + y

    (trial,) = ex.map(end(part(1), part(2)), [{}], retries=1, seed=1)

    assert trial.steps["outcome"].tolist() == ["reused", "reused", "ran"]
    assert [point.value for point in trial.metrics["shared"]] == [1, 2]
    assert set(trial.artifacts) == {"own1", "own2", "shared"}
    assert trial.artifacts["shared"].load() == "of the end"
    assert "part: not carried along from trial 1: artifact 'shared'" in caplog.text


def belongings(trial: Trial) -> Any:
    return without_times(trial), trial.persisted("fit"), list(trial.persisted("load"))


def test_nothing_of_an_attempt_is_lost_to_collection(every_backend: Backend) -> None:
    ex = Experiment("example", backend=every_backend, seed=5)
    trial = attempt(graph(ex))
    first, before = ex[1].uid, belongings(trial)

    ex[1].remove()
    ex.gc()

    assert belongings(ex[2]) == before
    assert "problem" not in {finding.level for finding in examine(ex.backend, deep=True)}
    assert ex[2].steps["reused_from"].tolist()[0] == first


def test_a_copy_says_the_same(tmp_path: Path) -> None:
    source, target = open_backend(tmp_path / "source"), open_backend("memory://")
    attempt(graph(Experiment("example", backend=source, seed=5)))

    copy_trials(source, target)

    assert Experiment("example", backend=target)[2].steps["reused_from"].tolist()[0] == 1


def test_metrics_and_artifacts_before_a_checkpoint_come_along(ex: Experiment) -> None:
    @ex.result
    def train(epochs: int) -> int:
        for epoch in range(ex.resume_state(0), epochs):
            ex.log_metric("loss", 1 / (epoch + 1), epoch)
            ex.log_metric("plain", epoch)
            ex.save_artifact(f"epoch{epoch}", f"of {epoch}")
            ex.checkpoint(epoch + 1)
            if epoch == 4 * daskperiment.current().number and epoch < 9:
                ex.log_metric("loss", -1, 1000)
                raise ValueError
        return epochs

    (trial,) = ex.map(train(ex.parameter("n")), [{"n": 10}], retries=2, seed=1)

    assert trial.number == 3
    assert trial.steps["resumed_from"].tolist() == [2]
    assert [(p.epoch, p.value) for p in trial.metrics["loss"]] == [
        (epoch, 1 / (epoch + 1)) for epoch in range(10)
    ]
    assert [(p.epoch, p.value) for p in trial.metrics["plain"]] == [(e, e) for e in range(10)]
    assert [trial.artifacts[f"epoch{n}"].load() for n in range(10)] == [
        f"of {n}" for n in range(10)
    ]
