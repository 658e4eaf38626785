"""What workers run: experiments with three shapes of trials, told by a JSON argument."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

import dask.threaded  # noqa: F401  (so that forked workers need not)
import numpy as np
import pandas as pd  # noqa: F401

import daskperiment
from daskperiment.backends import open_backend
from daskperiment.backends.local import LocalBackend
from daskperiment.history import spooling
from tests.torture import batch_plants, hooks, plants  # noqa: F401  (importing registers)
from tests.torture.harness import BEGUN, AckLog, told

POINTS = 250
SIZE = 1024 * 1024
SHAPES = ("tiny", "big", "metrics")
NOT_RECORDED = "not recorded"


def first(a: int, label: str) -> int:
    """The first step: by now the trial must have its row."""
    time.sleep(0)  # other threads run now, and another trial of theirs may become current
    # Looked up while it runs: what a step refers to by name would be part of its code.
    sys.modules["tests.torture.harness"].began(label, daskperiment.current())
    return a + 1


def second(x: int, pause: float) -> int:
    """The step between, which may take its time."""
    if pause:
        time.sleep(pause)
    return 2 * x


def tiny(y: int, size: int) -> int:
    """A small result."""
    return y - 1


def big(y: int, size: int) -> Any:
    """A result that is kept as a file."""
    return np.frombuffer(random.Random(y).randbytes(size), dtype=np.uint8)


def metrics(y: int, size: int) -> int:
    """A stream of metrics."""
    trial = daskperiment.current()
    for epoch in range(POINTS):
        trial.log_metric("loss", y / (epoch + 1), epoch)
    return y - 1


def memory(y: int, size: int) -> Any:
    """A result that is too large; every third is too large already for the step."""
    if size < 0:
        raise MemoryError
    return np.zeros(size, dtype=np.uint8)


def experiment(name: str, shape: str, backend: Any) -> tuple[daskperiment.Experiment, Any]:
    """The experiment of a shape: its handle and its result node."""
    ex = daskperiment.Experiment(name, backend=backend)
    a, label = ex.parameter("a"), ex.parameter("label")
    pause, size = ex.parameter("pause", default=0), ex.parameter("size", default=SIZE)
    result = ex.result(globals()[shape])
    return ex, result(ex(second)(ex(first)(a, label), pause), size)


def intention(argument: dict[str, Any], k: int) -> dict[str, Any]:
    """What the k-th trial of a worker is asked for, and what it must give."""
    shape = argument["shape"] if argument["shape"] != "mixed" else SHAPES[k % len(SHAPES)]
    a = random.Random(f"{argument['seed']}/{k}").randrange(1000)
    size = argument.get("size", SIZE)
    y = 2 * (a + 1)
    label = f"{argument['worker']}/{k}"
    points = [[epoch, y / (epoch + 1)] for epoch in range(POINTS)]
    intent = {
        "intent": k,
        "experiment": argument.get("experiment", "torture") + ("" if shape == "tiny" else shape),
        "shape": shape,
        "label": label,
        "seed": a,
        "parameters": {"a": a, "label": label, "pause": argument.get("pause", 0), "size": size},
        "metrics": {"loss": points} if shape == "metrics" else {},
        "expected": told(globals()[shape](y, size)) if shape == "big" else y - 1,
        "steps": 3,
    }
    return _too_large(intent, size) if shape == "memory" else intent


def _too_large(intent: dict[str, Any], size: int) -> dict[str, Any]:
    """In turn a small result, one that cannot be encoded, a step without memory, a small one."""
    k = intent["intent"]
    size = (10, size, -1, 10)[k]
    return intent | {
        "parameters": {**intent["parameters"], "size": size},
        "expected": told(memory(0, size)) if size > 0 else None,
        "raises": ["builtins.MemoryError"] if size < 0 else [],
        "lossy": k == 1,
    }


def one_trial(
    nodes: dict[str, Any], log: AckLog, intent: dict[str, Any], scheduler: str = "synchronous"
) -> None:
    """Run a trial, and log what it was asked for and what it gave."""
    log.write(**intent)
    label = intent["label"]
    BEGUN[label] = log, 0, ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            node = nodes[intent["shape"]][1]
            value = node.compute(
                seed=intent["seed"], parameters=intent["parameters"], scheduler=scheduler
            )
        except Exception as error:
            _log_error(log, error, label)
            return
    trouble = [str(w.message) for w in caught if NOT_RECORDED in str(w.message)]
    _, number, uid = BEGUN[label]
    log.write(
        ack=number, uid=uid, label=label, value=told(value),
        recorded=not trouble, trouble=trouble[:1],
    )  # fmt: skip


def run(argument: dict[str, Any]) -> int:
    """Run trials as a worker; the exit status is 0.

    ``store``, ``log`` : paths; the store may be a URI.  ``worker`` : a name, unique in the
    store.  ``seed``.  ``shape`` : one of SHAPES or ``mixed``.  ``trials`` : how many.  Optional
    are ``experiment``, ``durability``, ``scheduler`` of Dask, ``size`` of big results, ``pause``
    in the second step, ``state`` : where spools lie, ``last_wait`` : for how long the end waits
    for a server, ``plant``, ``before`` : hooks by number of the trial, ``copy`` : where the
    store is copied to in the end, ``program`` : dotted name of a function of argument and log to
    run instead of trials in turn.
    """
    if plant := argument.get("plant"):
        plants.PLANTS[plant]()
    if state := argument.get("state"):
        os.environ["XDG_STATE_HOME"] = state
    spooling.LAST_WAIT = argument.get("last_wait", spooling.LAST_WAIT)
    log = AckLog(argument["log"])
    hooks.prepare()
    try:
        resolve_name(argument.get("program", "tests.torture.programs:run_trials"))(argument, log)
    except Exception as error:
        _log_error(log, error)
    if copy := argument.get("copy"):  # from where only this process sees it
        shutil.copytree(argument["store"], copy)
    return 0


def run_trials(argument: dict[str, Any], log: AckLog) -> None:
    """Run the trials one after the other."""
    with opened(argument) as nodes:
        for k in range(argument["trials"]):
            if hook := argument.get("before", {}).get(str(k)):
                hooks.HOOKS[hook](argument, log)
            one_trial(nodes, log, intention(argument, k), argument.get("scheduler", "synchronous"))


def _log_error(log: AckLog, error: Exception, label: str = "") -> None:
    kind = type(error)
    log.write(error=f"{kind.__module__}.{kind.__qualname__}", message=str(error), label=label)


@contextmanager
def opened(argument: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The experiments of all shapes that a worker needs, by shape."""
    store = argument["store"]
    backend = (
        open_backend(store)
        if "://" in store
        else LocalBackend(store, argument.get("durability", "process"))
    )
    wanted = SHAPES if argument["shape"] == "mixed" else (argument["shape"],)
    name = argument.get("experiment", "torture")
    with backend:
        yield {s: experiment(name + ("" if s == "tiny" else s), s, backend) for s in wanted}


def warm_up() -> None:
    """Do what does not depend on the store, so that forked workers begin at once."""
    with patch("daskperiment.execution.flusher.wake"):  # which starts a thread
        for shape in SHAPES:
            _, node = experiment(shape, shape, "memory://")
            BEGUN["warm"] = AckLog(os.devnull), 0, ""
            node.compute(parameters={"a": 1, "label": "warm"}, scheduler="synchronous")
    for thread in threading.enumerate():  # git's watchers, which end by themselves
        if thread is not threading.main_thread():
            thread.join(10)
    assert threading.active_count() == 1, threading.enumerate()


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1])))
