"""Every record is there: the store is read again through the public API after each timing."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable
from typing import Any

from benchmarks import work
from daskperiment import Experiment, PurityWarning, Trial, TrialState, options

_SWITCHES = ("mode", "code", "git", "git_limit")
_CATEGORIES = {
    "cpu", "daskperiment", "memory", "packages", "platform", "python", "script",
    "variables", "working_directory",
}  # fmt: skip


class RecordError(AssertionError):
    """A record is not there, or not as it should be: the figures are worth nothing."""


def _require(there: object, what: str) -> None:
    if not there:
        raise RecordError(what)


def check(folder: str, name: str, trials: int, output: bool = True, every: int = 1) -> None:
    """Check a store of the three-step experiment, and that it goes on recording.

    With ``every`` only the steps of every so manyth trial are read, which takes long.

    Raises
    ------
    RecordError
        A record is not there, or an option is set that turns recording off.
    """
    check_switches()
    ex = Experiment(name, backend=folder)
    rows = list(ex.trials)
    _require(len(rows) == trials, f"{len(rows)} trials of {trials} are stored")
    _require([t.number for t in rows] == list(range(1, trials + 1)), "numbers are not dense")
    _require(len({trial.uid for trial in rows}) == trials, "uids are not unique")
    _require(len({trial.seed for trial in rows}) > 0.9 * trials, "seeds were not drawn")
    for trial in rows:
        _check_row(trial)
        if trial.number % every == 0:
            _check_steps(trial)
    _check_snapshots(rows[-1])
    if output:
        _check_goes_on(folder, name, rows[-1])


def check_switches() -> None:
    """Check that no option is set, in the environment or in a file, that could spare recording.

    Raises
    ------
    RecordError
        One is.
    """
    for name in _SWITCHES:
        there = options.setting(name)
        ordinary = options.OPTIONS[name].default
        _require(there.value == ordinary, f"the option {name} is {there.value} by {there.origin}")
    found = [name for name in os.environ if name.startswith("DASKPERIMENT_")]
    _require(not found, f"{', '.join(found)} set")


def _check_row(trial: Trial) -> None:
    values, where = trial.parameters, f"trial {trial.number}"
    _require(trial.state == TrialState.COMPLETE, f"{where} is {trial.state}")
    _require(set(values) == {"a", "b"}, f"{where} has parameters {set(values)}")
    _require(trial.result == work.expected(values["a"], values["b"]), f"{where}: wrong result")
    _require(trial.finished and trial.duration is not None, f"{where} has no end")
    _require(trial.user and trial.host, f"{where} has no owner")


def _check_steps(trial: Trial) -> None:
    steps, where = trial.steps.to_dict("list"), f"steps of trial {trial.number}"
    _require(steps["step"] == ["prepare", "train", "score"], f"{where}: {steps['step']}")
    for column in ("fingerprint", "output", "environment", "host"):
        there = all(isinstance(text, str) and text for text in steps[column])
        _require(there, f"{where}: no {column}")
    _require(len(set(steps["seed"])) == 3, f"{where}: seeds are not their own")
    inputs = [set(given) for given in steps["inputs"]]
    _require(inputs == [{"a", "b"}, {"data"}, {"model"}], f"{where}: inputs {inputs}")
    digests = [digest for given in steps["inputs"] for digest in given.values()]
    _require(all(digests), f"{where}: an input has no digest")
    upstream = [list(names) for names in steps["upstream"]]
    _require(upstream == [[], ["prepare[0]"], ["train[0]"]], f"{where}: upstream {upstream}")
    _require(steps["outcome"] == ["ran"] * 3, f"{where}: {steps['outcome']}")
    _require(steps["output"][0] == steps["inputs"][1]["data"], f"{where}: digests")


def _check_snapshots(trial: Trial) -> None:
    for name in ("prepare", "train", "score"):
        _require(f"def {name}(" in trial.code, f"the code of {name} was not kept")
    _require(any("def prepare(" in text for text in trial.sources.values()), "no source files")
    environment = trial.environment
    _require(set(environment) >= _CATEGORIES, f"environment: {_CATEGORIES - set(environment)}")
    _require("dask" in str(environment["packages"]), "packages were not captured")


def _check_goes_on(folder: str, name: str, last: Trial) -> None:
    """Output and metrics are captured, and an impure step is held against what was recorded."""
    ex = Experiment(name, backend=folder)

    def train(data: float) -> float:
        print("to the screen")
        logging.getLogger("benchmarks").warning("to the log")
        ex.save_metric("loss", 1, 0.5)
        return data * 3

    a, b = ex.parameter("a"), ex.parameter("b")
    values = dict(last.parameters)
    s = ex.result(work.score)(ex(train)(ex(work.prepare)(a, b)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        s.compute(scheduler="synchronous", parameters=values)
    trial = ex.latest
    _require(trial.number == last.number + 1, "the trial after the last has another number")
    text = str(trial.output)
    _require("to the screen" in text and "to the log" in text, f"output is {text!r}")
    points = trial.metrics["loss"]
    _require([(p.epoch, p.value) for p in points] == [(1, 0.5)], f"metrics are {points}")
    found = _texts(w.message for w in caught if issubclass(w.category, PurityWarning))
    _require("train" in found, f"the change of a step was not observed: {_texts(caught)}")


def _texts(messages: Iterable[Any]) -> str:
    return "; ".join(map(str, messages))
