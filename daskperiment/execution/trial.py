"""Around one trial: prepare it, run its graph on a scheduler, end it in every case."""

from __future__ import annotations

import ast
import logging
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.local
from dask.base import get_scheduler, named_schedulers
from dask.callbacks import Callback
from dask.delayed import Delayed

from daskperiment.backends.base import Backend
from daskperiment.errors import MissingMainGuardError
from daskperiment.execution.context import Ticket, state_after
from daskperiment.fingerprint.values import try_digest
from daskperiment.graph import Layout, RunningTrial, Step
from daskperiment.history import payloads
from daskperiment.history.observations import Observations
from daskperiment.history.snapshots import Snapshots
from daskperiment.parameters import summary
from daskperiment.records import TrialState
from daskperiment.tracking import code, environment, seeds
from daskperiment.typing import Document

logger = logging.getLogger(__name__)

_SCHEMA = 1
_GUARD = 'if __name__ == "__main__":'


class Recorder:
    """Prepares and runs the trials of one experiment in one backend.

    Parameters
    ----------
    backend : Backend
        Where trials are recorded.
    name : str
        Id of the experiment.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.backend = backend
        self.name = name
        self._snapshots = Snapshots(backend)
        self._observations = Observations(backend, name)

    def prepare(
        self, steps: Mapping[str, Step[..., Any]], values: Mapping[str, Any], seed: int | None
    ) -> Ticket:
        """Capture code and environment and settle the seed: all that precedes the number.

        Raises
        ------
        SeedError
            The seed is no integer from 0 to 2**32 - 1.
        MissingMainGuardError
            The calling script is being imported by a worker process that it starts itself.
        """
        check_main_guard()
        seeds.install()  # before steps are pickled: then functions of `random` go by reference
        settled = seeds.draw_seed() if seed is None else seeds.check_seed(seed)
        _log_start(settled, seed is not None, values)
        captured, surroundings = self._keep_snapshots(steps)
        row = self._row(values) | {
            "uid": uuid.uuid4().hex,
            "seed": settled,
            "started": time.time(),
            "code": captured.digest,
            "environment": surroundings,
            "owner": environment.process(),
        }
        logger.info("Saved code context: %s", captured.digest)
        fingerprints = {name: step.digest for name, step in captured.steps.items()}
        return Ticket(self.backend, self.name, row, fingerprints, self._observations)

    def _keep_snapshots(self, steps: Mapping[str, Step[..., Any]]) -> tuple[code.CodeCapture, str]:
        captured = code.capture({name: step.fn for name, step in steps.items()})
        surroundings, document = environment.snapshot()
        self._snapshots.keep(captured.digest, captured.document, captured.texts)
        self._snapshots.keep(surroundings, document)
        return captured, surroundings

    def _row(self, values: Mapping[str, Any]) -> Document:
        kept = [(name, *payloads.keep(value)) for name, value in values.items()]
        blobs = [write for _, _, writes in kept for write in writes]
        if blobs:
            self.backend.apply(*blobs)
        return {
            "schema": _SCHEMA,
            "state": TrialState.RUNNING.value,
            "parameters": [[name, document] for name, document, _ in kept],
            "parameters_digest": try_digest(dict(values))[0],
            "tags": [],
            "note": "",
        }

    def run(self, layout: Layout, values: dict[str, Any], seed: int | None, options: Any) -> Any:
        """Run one trial to its end and return the computed value.

        The trial ends in every case: COMPLETE, FAILED after an exception or ``SystemExit``,
        CANCELLED after ``KeyboardInterrupt``.
        """
        context = self.prepare(layout.steps, values, seed).begin()
        context.supervised = True
        try:
            if context.number == 1:  # a new store: perhaps the user has removed the one known
                self._snapshots.forget()
                self._keep_snapshots(layout.steps)
            value = compute(layout, context, values, options)
        except BaseException as error:
            original = _original(error)
            context.end(state_after(original), original)
            if original is error:
                raise
            raise original from error
        context.end(TrialState.COMPLETE)
        return value


def _log_start(seed: int, given: bool, values: Mapping[str, Any]) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    if given:
        logger.info("Random seed is initialized with given seed: %s", seed)
    else:
        logger.info("Random seed is not provided, initialized with generated seed: %s", seed)
    logger.info("Parameters: %s", summary(values))


def compute(
    layout: Layout, trial: RunningTrial | None, values: Mapping[str, Any], options: Any
) -> Any:
    """Compute a graph on the scheduler that Dask's own rules choose."""
    scheduler = options.get("scheduler")
    get = get_scheduler(scheduler=scheduler, cls=Delayed)
    if _is_client(get):
        return layout.bound(trial, values).compute(**options)
    if get is dask.local.get_sync and not Callback.active:
        return _in_sequence(layout, layout.local(trial, values))
    dropped = ("scheduler", "optimize_graph", "traverse")
    rest = {name: value for name, value in options.items() if name not in dropped}
    if get is named_schedulers["processes"]:
        rest.setdefault("chunksize", 1)  # by default dask sends six steps to one process
    (value,) = get(layout.local(trial, values), [layout.key], **rest)
    return value


def _in_sequence(layout: Layout, graph: dict[Any, Any]) -> Any:
    """What Dask's synchronous scheduler does, without looking for an order each time."""
    values: dict[Any, Any] = {}
    for key, done in layout.sequence:
        if key in graph:  # the parameters' values were filled in one by one
            node = graph[key]
            values[key] = node({name: values[name] for name in node.dependencies})
        for name in done:
            values.pop(name, None)
    return values[layout.key]


def _is_client(get: Any) -> bool:
    client = getattr(get, "__self__", None)
    return hasattr(client, "persist") and hasattr(client, "submit")


def check_main_guard() -> None:
    """Refuse to run a trial while a worker process imports the main script."""
    # The mark by which multiprocessing itself refuses to start processes at this moment.
    import multiprocessing.process

    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        raise MissingMainGuardError(
            "This script starts worker processes, and each of them imports the script again. "
            f"Put the part that runs trials under  {_GUARD}"
        )


def _original(error: BaseException) -> BaseException:
    """The user's own exception, where dask wrapped one that came from another process."""
    kind = type(error).__mro__
    if any(base.__name__ == "RemoteException" for base in kind):
        return error.exception  # type: ignore[attr-defined,no-any-return]
    if any(base.__name__ == "BrokenProcessPool" for base in kind) and not _main_is_guarded():
        return MissingMainGuardError(
            "The worker processes died while they started: each of them imports this script "
            f"again. Put the part that runs trials under  {_GUARD}"
        )
    return error


def _main_is_guarded() -> bool:
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path is None:
        return True
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True
    tests = (ast.unparse(node.test) for node in ast.walk(tree) if isinstance(node, ast.If))
    return any("__name__" in test for test in tests)
