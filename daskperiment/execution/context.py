"""The running trial: it travels through the graph and takes in what its steps leave."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daskperiment.backends.base import Backend, Update, Write
from daskperiment.errors import DaskperimentError, DaskperimentWarning
from daskperiment.execution import purity
from daskperiment.execution.step import run_step
from daskperiment.graph import StepCall
from daskperiment.history import paths, payloads
from daskperiment.history.artifacts import Artifacts
from daskperiment.history.metrics import Metrics, Point
from daskperiment.history.observations import Observations
from daskperiment.history.snapshots import Snapshots
from daskperiment.history.steps import Steps
from daskperiment.history.trials import Trials
from daskperiment.records import StepRecord, TrialState
from daskperiment.tracebacks import formatted
from daskperiment.tracking import environment
from daskperiment.typing import Document

logger = logging.getLogger(__name__)

_STEP_FLUSH = 0.05
"""Seconds that a step record may wait in the process that runs the trial."""
_METRIC_FLUSH = 0.2
"""Seconds that a metric's value may wait."""
_METRIC_BATCH = 100


@dataclass(frozen=True)
class Ticket:
    """A trial that is prepared and may be started: all that travels with it.

    Started twice while it runs, it is one trial.

    Parameters
    ----------
    backend : Backend
        Where it is recorded.
    name : str
        Id of the experiment.
    row : dict
        The row to insert.
    fingerprints : dict
        Code digest by step.
    observations : Observations
        What steps gave before; shared by the trials of one handle.
    """

    backend: Backend
    name: str
    row: Document
    fingerprints: dict[str, str]
    observations: Observations

    def start(self) -> TrialContext:
        """Insert the RUNNING row, which gives the number, and return the running trial."""
        number = Trials(self.backend, self.name).begin(self.row)
        logger.info("Started Experiment (trial id=%s)", number)
        return TrialContext(self, number)


class TrialContext:
    """A running trial.

    As long as it has not travelled to another process, records wait up to 50 ms, so that
    a short trial is written by two groups; from then on each process writes its own after
    each step.  Safe to use from several threads.

    Attributes
    ----------
    supervised : bool
        Whether somebody waits for the graph and will end the trial, also after a failure.
    shared : bool
        Whether it has copies in other processes.
    """

    def __init__(self, ticket: Ticket, number: int, shared: bool = False) -> None:
        self.ticket = ticket
        self.number = number
        self.backend = ticket.backend
        self.name = ticket.name
        self.uid: str = ticket.row["uid"]
        self.seed: int = ticket.row["seed"]
        self.fingerprints = ticket.fingerprints
        self.supervised = False
        self.shared = shared
        self.records: list[StepRecord] = []
        self._lock = threading.RLock()
        self._waiting: list[StepRecord] = []
        self._points: dict[str, list[Point]] = {}
        self._writes: list[Write] = []
        self._row: Document = {}
        self._epochs: dict[str, int] = {}
        self._flushed = time.monotonic()
        self._warned = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Whoever ends the trial may do so elsewhere: nothing may wait here any longer.
        self.shared = True
        self.flush()
        return TrialContext, (self.ticket, self.number, True)

    # -- what steps do ------------------------------------------------------------------

    def run(self, call: StepCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one step call and record it."""
        return run_step(self, call, args, kwargs)

    def environment_here(self) -> str:
        """Digest of this process's environment snapshot, kept when it is another one."""
        digest, document = environment.snapshot()
        if digest != self.ticket.row["environment"]:
            Snapshots(self.backend).keep(digest, document)
        return digest

    def keep(self, value: Any) -> Document:
        """Keep a value with the next flush and return its description."""
        document, writes = payloads.keep(value)
        with self._lock:
            self._writes += writes
        return document

    def keep_result(self, value: Any) -> None:
        """Keep the trial's result."""
        document = self.keep(value)
        with self._lock:
            self._row["result"] = document

    def save_metrics(self, values: dict[str, int | float], epoch: int | None) -> None:
        """Add a point to each metric; without an epoch, the one after the metric's last."""
        now = time.time()
        with self._lock:
            for name, value in values.items():
                at = self._next_epoch(name) if epoch is None else epoch
                self._epochs[name] = at + 1
                self._points.setdefault(name, []).append(Point(at, value, now))
            many = sum(map(len, self._points.values())) >= _METRIC_BATCH
            old = time.monotonic() - self._flushed > _METRIC_FLUSH
        if many or old:
            self.flush()

    def _next_epoch(self, name: str) -> int:
        if name not in self._epochs:
            stored = Metrics(self.backend, self.name).read(self.uid).get(name, [])
            self._epochs[name] = stored[-1].epoch + 1 if stored else 0
        return self._epochs[name]

    def save_artifact(self, name: str, content: Any) -> None:
        """Keep an artifact; files at once, as the step may change or remove them."""
        writes = Artifacts(self.backend, self.name).saving(self.uid, name, content)
        with self._lock:
            self._writes += writes

    def add(self, record: StepRecord) -> None:
        """Add the record of a call that has ended."""
        with self._lock:
            self.records.append(record)
            self._waiting.append(record)
            young = time.monotonic() - self._flushed < _STEP_FLUSH
        if self.shared or not young:
            self.flush()

    # -- writing ------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what waits.  Trouble of the backend is warned of and never reaches the step."""
        with self._lock:
            writes, row = self._take()
            if row:
                writes.append(Update(paths.trials(self.name), self.number, row))
            if not writes:
                return
            try:
                self.backend.apply(*writes)
            except DaskperimentError as error:
                self._writes = writes
                self._trouble(error)

    def _take(self) -> tuple[list[Write], Document]:
        writes, self._writes = self._writes, []
        waiting, self._waiting = self._waiting, []
        points, self._points = self._points, {}
        row, self._row = self._row, {}
        if waiting:
            writes.append(Steps(self.backend, self.name).writing(self.uid, waiting))
        if points:
            writes.append(Metrics(self.backend, self.name).writing(self.uid, points))
        self._flushed = time.monotonic()
        return writes, row

    def _trouble(self, error: DaskperimentError) -> None:
        logger.error("Unable to record trial %s: %s", self.number, error)
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"Trial {self.number} of {self.name!r} runs on, but is not recorded: {error}",
                DaskperimentWarning,
                stacklevel=2,
            )

    # -- its end ------------------------------------------------------------------------

    def complete(self) -> None:
        """End the trial as COMPLETE."""
        self.end(TrialState.COMPLETE)

    def fail(self, error: BaseException, call: StepCall | None = None) -> None:
        """Note a failure; whoever runs the trial decides, as a scheduler may try again."""
        failure = failed(error)
        if call is not None:
            failure["failed_step"] = call.step.name
        with self._lock:
            self._row |= failure
        if not self.supervised:
            self.flush()
            Trials(self.backend, self.name).fail_for_now(self.number, self.uid, {})

    def end(self, state: TrialState, error: BaseException | None = None) -> None:
        """End the trial, once, and warn of steps that were seen to be impure."""
        try:
            self._end(state, error)
            observed = self._observed()
        except DaskperimentError as trouble:
            self._trouble(trouble)
            return
        self._log(state, error)
        purity.check(self, observed)

    def _end(self, state: TrialState, error: BaseException | None) -> None:
        now = time.time()
        with self._lock:
            writes, row = self._take()
            if error is not None:
                row = {**failed(error), **row}
            elif state is TrialState.COMPLETE:
                row |= {"description": None, "traceback": None, "failed_step": None}
            row |= {
                "state": state.value,
                "ended_by": "driver",
                "finished": now,
                "seconds": now - self.ticket.row["started"],
            }
            Trials(self.backend, self.name).end(self.number, self.uid, row, writes)

    def _observed(self) -> Sequence[StepRecord]:
        return Steps(self.backend, self.name).read(self.uid) if self.shared else self.records

    def _log(self, state: TrialState, error: BaseException | None) -> None:
        if state is TrialState.COMPLETE:
            logger.info("Finished Experiment (trial id=%s)", self.number)
        elif error is not None:
            logger.error("Experiment failed: %s", describe(error))


def describe(error: BaseException) -> str:
    """Type and message of an exception, ``ZeroDivisionError(division by zero)``."""
    try:
        return f"{type(error).__name__}({error})"
    except Exception:
        return f"{type(error).__name__}(no message: its __str__ failed)"


def failed(error: BaseException) -> Document:
    """Fields of a trial's row that tell of an exception."""
    try:
        text = formatted(error)
    except Exception:
        text = describe(error)
    return {"description": describe(error)[:10_000], "traceback": text[-100_000:]}
