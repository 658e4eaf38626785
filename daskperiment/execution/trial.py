"""Around one trial: prepare it, run its graph on a scheduler, end it in every case."""

from __future__ import annotations

import ast
import logging
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.config
import dask.local
from dask.base import get_scheduler, named_schedulers
from dask.callbacks import Callback
from dask.delayed import Delayed

from daskperiment.backends.base import Backend, Write
from daskperiment.callbacks import Callbacks
from daskperiment.errors import MissingMainGuardError
from daskperiment.execution.changes import Changes
from daskperiment.execution.context import Ticket, TrialContext, row_of, state_after
from daskperiment.execution.reuse import Reuse
from daskperiment.execution.surroundings import Surroundings
from daskperiment.graph import Layout, RunningTrial, Step
from daskperiment.graph.lazy import resolved
from daskperiment.history.experiments import enlist
from daskperiment.history.observations import Observations
from daskperiment.history.places import Place, check_key
from daskperiment.history.signatures import signed
from daskperiment.history.snapshots import Snapshots
from daskperiment.parameters import check_may_travel, summary
from daskperiment.records import Number, TrialState
from daskperiment.secrets import is_secret
from daskperiment.tracking import code, environment, seeds
from daskperiment.tracking.inputs import Unseen
from daskperiment.tracking.output import LISTENING
from daskperiment.typing import Document

if TYPE_CHECKING:
    from daskperiment.configuration import Configuration

logger = logging.getLogger(__name__)

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
        self._changes = Changes(backend, name)
        self._enlisted = False
        self._surroundings = Surroundings()

    def prepare(
        self,
        steps: Mapping[str, Step[..., Any]],
        values: Mapping[str, Any],
        seed: int | None,
        loaded: Configuration | None = None,
        about: Document | None = None,
        captured: code.CodeCapture | None = None,
        callbacks: Callbacks | None = None,
        handle: Callable[[Number, Document | None], Any] | None = None,
        reuse: Reuse | None = None,
        graph: bytes | None = None,
    ) -> Ticket:
        """Capture code and environment and settle the seed: all that precedes the number.

        Parameters
        ----------
        steps : mapping of str to Step
            The steps of the graph.
        values : mapping
            Values of its parameters.
        seed : int, optional
            The seed; None draws one.
        loaded : Configuration, optional
            What was loaded from files.
        about : dict, optional
            Further fields of the row, its uid among them.
        captured : CodeCapture, optional
            The code, where another process has captured it and has told what is new in it.
        callbacks : Callbacks, optional
            Who is told of its steps and metrics.
        handle : callable, optional
            Gives the trial as users hold it, by its number and perhaps its row; with it callbacks
            are told of its beginning, here, and of its end.
        reuse : Reuse, optional
            Which calls may be taken from other trials.
        graph : bytes, optional
            The recipe of its graph, to be kept.

        Raises
        ------
        SeedError
            The seed is no integer from 0 to 2**32 - 1.
        KeyFileError
            Others may write to the store, and the key to sign with cannot be used.
        MissingMainGuardError
            The calling script is being imported by a worker process that it starts itself.
        """
        check_main_guard()
        seeds.install()  # before steps are pickled: then functions of `random` go by reference
        settled = seeds.draw_seed() if seed is None else seeds.check_seed(seed)
        self._enlist()
        _log_start(settled, seed is not None, values)
        told = captured is not None
        captured, kept = self._keep_snapshots(steps, loaded, captured, graph)
        uid = (about or {}).get("uid") or uuid.uuid4().hex
        described, writes = self._row(uid, values)
        row = (
            described
            | {
                "uid": uid,
                "seed": settled,
                "started": time.time(),
                **kept,
                **signed(Place(self.backend, self.name, uid), kept),
                "owner": environment.process(),
            }
            | (about or {})
        )
        logger.info("Saved code context: %s", kept["code"])
        fingerprints = {name: step.digest for name, step in captured.steps.items()}
        secrets = tuple(value for value in values.values() if is_secret(value))
        if callbacks and handle is not None:
            given = {"experiment": self.name, "parameters": dict(values), "batch": None}
            callbacks.tell("before_trial", **given)
        return Ticket(
            self.backend, self.name, row, fingerprints, self._observations, secrets,
            None if told else self._changes, writes,
            partial(self._keep_again, steps, loaded, captured, graph), time.monotonic(),
            callbacks=callbacks, handle=handle,
            usage=self._surroundings.keeps_usage,
            rules=None if reuse is None else reuse.rules(steps, captured),
        )  # fmt: skip

    def redefine(self, old: Step[..., Any], new: Step[..., Any]) -> None:
        """Tell that a step got another function, if its text differs.

        Raises
        ------
        CodeChangedWarning
            Only where warnings are made errors.
        """
        self._changes.tell_redefined(new.name, old.fn, new.fn)

    def _enlist(self) -> None:
        if not self._enlisted:
            enlist(self.backend, self.name)
            check_key(self.backend)
            self._enlisted = True

    def capture(
        self, steps: Mapping[str, Step[..., Any]], loaded: Configuration | None
    ) -> tuple[code.CodeCapture, dict[str, str]]:
        """Keep code and environment for trials of other processes, and tell what is new in them.

        Returns the code, and the digests of the snapshots by kind.

        Errors as for :meth:`prepare`; CodeChangedWarning and EnvironmentChangedWarning only
        where warnings are made errors.
        """
        check_main_guard()
        seeds.install()  # before steps are pickled: then functions of `random` go by reference
        self._enlist()
        captured, kept = self._keep_snapshots(steps, loaded)
        self._changes.tell_ahead(kept)
        return captured, kept

    def _keep_snapshots(
        self,
        steps: Mapping[str, Step[..., Any]],
        loaded: Configuration | None,
        captured: code.CodeCapture | None = None,
        graph: bytes | None = None,
    ) -> tuple[code.CodeCapture, dict[str, str]]:
        if captured is None:
            captured = code.capture({name: step.fn for name, step in steps.items()})
        kept = captured if self._surroundings.keeps_code else captured.bare
        here, session = environment.snapshot(), self._surroundings.session(captured.digest)
        self._snapshots.keep(kept.digest, kept.document, kept.texts)
        self._snapshots.keep(*here)
        self._snapshots.keep(*session)
        self._surroundings.log(here.document, session.document)
        digests = {"code": kept.digest, "environment": here.digest, "session": session.digest}
        if loaded is not None:
            self._snapshots.keep(loaded.digest, loaded.document, loaded.texts)
            digests["configuration"] = loaded.digest
        if graph is not None and self._surroundings.keeps_code:
            digests["graph"] = self._snapshots.keep_bytes(graph)
        return captured, digests

    def _keep_again(
        self,
        steps: Mapping[str, Step[..., Any]],
        loaded: Configuration | None,
        captured: code.CodeCapture,
        graph: bytes | None,
    ) -> dict[str, str]:
        self._snapshots.forget()
        enlist(self.backend, self.name)
        return self._keep_snapshots(steps, loaded, captured, graph)[1]

    def _row(self, uid: str, values: Mapping[str, Any]) -> tuple[Document, list[Write]]:
        return row_of(Place(self.backend, self.name, uid), values)

    def run(
        self,
        layout: Layout,
        values: dict[str, Any],
        seed: int | None,
        options: Any,
        loaded: Configuration | None = None,
        about: Document | None = None,
        captured: code.CodeCapture | None = None,
        began: Callable[[Number], object] = lambda number: None,
        callbacks: Callbacks | None = None,
        handle: Callable[[Number, Document | None], Any] | None = None,
        alone: bool = False,
        reuse: Reuse | None = None,
    ) -> Any:
        """Run one trial to its end and return the computed value.

        ``about``, ``captured``, ``callbacks``, ``handle`` and ``reuse`` as for :meth:`prepare`;
        ``began`` is told its number.  With ``alone`` ConflictError is raised where somebody else
        has begun it.

        The trial ends in every case: COMPLETE, FAILED after an exception or ``SystemExit``, PRUNED
        after ``TrialPruned``, CANCELLED after ``KeyboardInterrupt``.
        """
        with Unseen():  # it may be begun inside a step of another one
            ticket = self.prepare(
                layout.steps, values, seed, loaded, about, captured, callbacks, handle, reuse,
                layout.pickled,
            )  # fmt: skip
        if alone:
            ticket = replace(ticket, alone=True)
        context: TrialContext | None = None
        try:
            context = ticket.begin()
            context.supervised = True
            began(context.number)
            ticket.tell(context.number)
            with LISTENING:
                value = compute(layout, context, values, options)
                if context.lazy:
                    value = resolved(value)
            context.end(TrialState.COMPLETE)
        except BaseException as error:
            original = _original(error)
            if context is None and not isinstance(error, Exception):
                context = ticket.begun()
            if context is not None:
                context.end(state_after(original), original)
            if original is error:
                raise
            raise original from error
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
    get = _chosen(scheduler)
    if _is_client(get) or get is named_schedulers["processes"]:
        for name, value in values.items():
            check_may_travel(name, value)
    if _is_client(get):
        client = get.__self__
        fetched = trial.fetching(client) if isinstance(trial, TrialContext) else nullcontext()
        with fetched:
            return layout.bound(trial, values).compute(**options)
    in_turn = get is dask.local.get_sync or (layout.serial and get is named_schedulers["threads"])
    if in_turn and not Callback.active:
        return _in_sequence(layout, layout.local(trial, values))
    dropped = ("scheduler", "optimize_graph", "traverse")
    rest = {name: value for name, value in options.items() if name not in dropped}
    if get is named_schedulers["processes"]:
        rest.setdefault("chunksize", 1)  # by default dask sends six steps to one process
    (value,) = get(layout.local(trial, values), [layout.key], **rest)
    return value


def _chosen(scheduler: Any) -> Any:
    """The scheduler that Dask chooses, which would import ``distributed`` to look for a client."""
    if isinstance(scheduler, str) and (named := named_schedulers.get(scheduler.lower())):
        return named
    chosen = scheduler is not None or dask.config.get("scheduler", None)
    if not chosen and "distributed" not in sys.modules:
        return Delayed.__dask_scheduler__
    return get_scheduler(scheduler=scheduler, cls=Delayed)


def _in_sequence(layout: Layout, graph: dict[Any, Any]) -> Any:
    """What Dask's synchronous scheduler does, without looking for an order each time."""
    values: dict[Any, Any] = {}
    for key, done in layout.sequence:
        if key in graph:  # the parameters' values were filled in one by one
            values[key] = graph[key](values)
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
    if any(base.__name__ == "BrokenProcessPool" for base in kind) and not main_is_guarded():
        return missing_main_guard()
    return error


def missing_main_guard() -> MissingMainGuardError:
    """The error for worker processes that died because they import the script that starts them."""
    return MissingMainGuardError(
        "The worker processes died while they started: each of them imports this script "
        f"again. Put the part that runs trials under  {_GUARD}"
    )


def main_is_guarded() -> bool:
    """Whether the main script may be imported by worker processes, as far as can be seen."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path is None:
        return True
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True
    tests = (ast.unparse(node.test) for node in ast.walk(tree) if isinstance(node, ast.If))
    return any("__name__" in test for test in tests)
