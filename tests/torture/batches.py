"""What campaigns of batches run: a graph of three steps, its trials, and a driver of them."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import daskperiment
from daskperiment import Experiment
from daskperiment.backends import Backend, open_backend
from daskperiment.callbacks import Callback
from daskperiment.history.batches import Batches
from daskperiment.history.trials import Trials
from tests.torture.harness import WATCHDOG, AckLog, check, events

NAME = "batch"
POINTS = 5
QUIET = 0.5
"""Seconds without a trial after which nothing goes on to run any."""
IMPURE = ("draw", "fail once")


# -- the graph; what its steps referred to by name would be part of their code ------------------


def first(a: int, label: str, log: str) -> int:
    """Log that the trial has begun, and in which process."""
    trial, harness = daskperiment.current(), sys.modules["tests.torture.harness"]
    harness.log_at(log).write(
        began=trial.number, uid=trial.uid, label=label, pid=os.getpid(), at=time.monotonic()
    )
    return a + 1


def second(x: int, pause: float, log: str) -> int:
    """Take some time, and as long as a file is there."""
    time.sleep(pause)
    while os.path.exists(f"{log}.hold"):  # noqa: PTH110  (a path's methods would be its code)
        time.sleep(0.01)
    return 2 * x


def last(y: int, fate: str, log: str, label: str) -> int:
    """Log metrics, and end as the parameter says as long as a file is there."""
    trial, drawn = daskperiment.current(), 0
    for epoch in range(5):
        trial.log_metric("loss", y / (epoch + 1), epoch)
    if not os.path.exists(f"{log}.armed"):  # noqa: PTH110
        pass
    elif fate == "die":
        os.kill(os.getpid(), 9)
    elif fate == "segfault":
        ctypes.string_at(0)
    elif fate == "exit":
        sys.exit(0)
    elif fate == "_exit":
        os._exit(0)
    elif fate:  # another value each time, as of a step that is not pure
        drawn = int.from_bytes(os.urandom(3), "big")
        trial.log_metric("drawn", drawn, 0)
        once = f"{log}.{label.partition('/')[2]}.once"
        if fate == "fail once" and not os.path.exists(once):  # noqa: PTH110
            os.close(os.open(once, os.O_CREAT))
            raise ValueError("once")
    return y - 1 + drawn


def experiment(backend: Backend, seed: int = 5) -> tuple[Experiment, Any]:
    """The experiment of batches, and its result node."""
    ex = Experiment(NAME, backend=backend, seed=seed)
    a, label, log = (ex.parameter(name) for name in ("a", "label", "log"))
    pause, fate = ex.parameter("pause", default=0), ex.parameter("fate", default="")
    result = ex.result(last)
    return ex, result(ex(second)(ex(first)(a, label, log), pause, log), fate, log, label)


def intention(argument: dict[str, Any], k: int) -> dict[str, Any]:
    """What the k-th trial is asked for, and what it must give."""
    a = random.Random(f"{argument['seed']}/{k}").randrange(1000)
    y, label = 2 * (a + 1), f"{argument['worker']}/{k}"
    fate = argument.get("fates", {}).get(str(k), "")
    return {
        "intent": k, "experiment": NAME, "label": label, "seed": 5, "attempts": True,
        "parameters": {
            "a": a, "label": label, "log": argument["steps_log"], "pause": argument["pause"],
            "fate": fate,
        },
        "metrics": {"loss": [[epoch, y / (epoch + 1)] for epoch in range(POINTS)]},
        "expected": y - 1, "steps": 3, "impure": fate in IMPURE,
    }  # fmt: skip


def batch(folder: Path, name: str, **more: Any) -> dict[str, Any]:
    """The argument of a driver, with a store and logs of its own in a folder."""
    return {
        "worker": name, "store": str(folder / name), "log": str(folder / f"{name}.log"),
        "steps_log": str(folder / f"{name}.steps"), "program": f"{__name__}:drive", "pause": 0.05,
        **more,
    }  # fmt: skip


# -- its driver ---------------------------------------------------------------------------------


class Acks(Callback):
    """Logs what the batch tells of a trial's end."""

    def __init__(self, log: AckLog) -> None:
        self._log = log

    def after_trial(self, *, trial: Any, batch: Any) -> None:
        """Log it: what is complete is promised."""
        about = {"uid": trial.uid, "label": trial.parameters["label"]}
        if str(trial.state) == "COMPLETE":
            self._log.write(ack=trial.number, value=trial.result, recorded=True, **about)
        else:
            self._log.write(ended=str(trial.state), description=trial.description, **about)


def usual_handlers() -> None:
    """Python's own handlers, in a session of its own as in a terminal."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def drive(argument: dict[str, Any], log: AckLog, executor: Any = None) -> None:
    """Run a batch of ``trials`` on an ``executor``; ``options`` are those of `Experiment.map`."""
    usual_handlers()
    intents = [intention(argument, k) for k in range(argument["trials"])]
    for intent in intents:
        log.write(**intent)
    with open_backend(argument["store"]) as backend:
        ex, node = experiment(backend)
        log.write(ready=True, pid=os.getpid())
        where = argument["executor"] if executor is None else executor
        run(ex, node, intents, where, log, **argument.get("options", {}))


def run(
    ex: Experiment, node: Any, intents: list[dict[str, Any]], executor: Any, log: AckLog,
    **options: Any,
) -> list[Any]:  # fmt: skip
    """Run a batch, and log which trials it returns."""
    made = isinstance(executor, str) and "://" not in executor
    options = {"on_error": "continue", "progress": False, **options}
    trials = ex.map(
        node, [intent["parameters"] for intent in intents], executor, 2 if made else None,
        callbacks=[Acks(log)], **options,
    )  # fmt: skip
    log.write(
        returned=[[t.number, t.parameters["label"], str(t.state), t.uid] for t in trials],
        asked=len(intents),
    )
    return trials


SCRIPT = """
import json, sys
from pathlib import Path
from tests.torture.programs import run

if __name__ == "__main__":
    sys.exit(run(json.loads(Path(sys.argv[1]).read_text())))
"""


# -- what campaigns look at ---------------------------------------------------------------------


def returned(log: Path) -> list[list[Any]] | None:
    """The trials that the last batch of a log has returned; None where it has not."""
    found = [event["returned"] for event in events(log) if "returned" in event]
    return found[-1] if found else None


def states(store: str) -> Counter[str]:
    """How many trials of a store are in each state."""
    with open_backend(store) as backend:
        return Counter(str(trial.state) for trial in Experiment(NAME, backend).trials)


def await_idle(store: str, timeout: float = WATCHDOG) -> list[str]:
    """Wait until no process runs a trial any more, as tasks of a cluster do without a driver."""
    deadline, since = time.monotonic() + timeout, time.monotonic()
    with open_backend(store) as backend:
        while time.monotonic() - since < QUIET:  # a scheduler hears of a dead client a little later
            if Trials(backend, NAME).alive():
                since = time.monotonic()
            if since > deadline:
                return ["I8: a trial runs on without a driver"]
            time.sleep(0.02)
    return []


def check_batch(argument: dict[str, Any], logs: list[Path], complete: bool = False) -> list[str]:
    """`check`, and that no batch is RUNNING; with ``complete`` that all its trials are COMPLETE."""
    store = argument["store"]
    known = [*logs, Path(argument["steps_log"])]
    found = [] if "://" in store else check(store, known)
    with suppress(FileNotFoundError), open_backend(store) as backend:
        found += check(backend, known) if "://" in store else []
        for uid, row in Batches(Experiment(NAME, backend).backend, NAME).find():
            if row["state"] == "RUNNING":
                found.append(f"I3: batch {uid[:6]} is RUNNING")
        if complete:
            found += _incomplete(backend, argument, returned(logs[-1]))
    return found


def _incomplete(
    backend: Backend, argument: dict[str, Any], told: list[list[Any]] | None
) -> Iterator[str]:
    if told is None:
        yield "I1: the last batch has not come to its end"
        return
    labels = [f"{argument['worker']}/{k}" for k in range(argument["trials"])]
    if [label for _, label, *_ in told] != labels:
        yield f"I1: the batch returned {[label for _, label, *_ in told]}"
    ex = Experiment(NAME, backend)
    for number, label, state, uid in told:
        trial = ex[number]
        if (trial.uid, trial.parameters["label"]) != (uid, label) or state != "COMPLETE":
            yield f"I1: in the place of {label} trial {number} was returned, {state}"


@contextmanager
def there(argument: dict[str, Any], what: str, asked: bool = True) -> Iterator[None]:
    """A block during which steps see a file.

    With ``hold`` they do not get further than the second one; with ``armed`` their fates come
    true.
    """
    file = Path(f"{argument['steps_log']}.{what}")
    if asked:
        file.touch()
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
