"""The running trial: it travels through the graph and takes in what its steps leave."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import queue
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from daskperiment import notebooks, platform
from daskperiment.backends.base import Backend, Hold, Insert, Remove, Update, Write
from daskperiment.callbacks import Callbacks
from daskperiment.errors import (
    BackendError,
    BackendUnreachableError,
    ConflictError,
    DaskperimentWarning,
    TrialIDNotFoundError,
    TrialPruned,
)
from daskperiment.execution import audit, flusher, heart, mutation, purity
from daskperiment.execution.carrying import carrier, fetching
from daskperiment.execution.changes import Changes
from daskperiment.execution.interrupts import HeldBack
from daskperiment.execution.pruning import pruning_of
from daskperiment.execution.reuse import Earlier, Rules, Taken
from daskperiment.execution.sampler import Sampling
from daskperiment.execution.step import run_anew, run_step
from daskperiment.fingerprint.values import try_digest
from daskperiment.graph import StepCall
from daskperiment.history import paths
from daskperiment.history.artifacts import Artifacts
from daskperiment.history.attempts import Attempts
from daskperiment.history.belongings import Belongings
from daskperiment.history.checkpoints import Checkpoints, Spare
from daskperiment.history.collection import demanding
from daskperiment.history.metrics import Entry, Metrics
from daskperiment.history.mirror import changed
from daskperiment.history.observations import Observations
from daskperiment.history.output import Outputs
from daskperiment.history.places import Place, Slot, Values
from daskperiment.history.snapshots import KINDS, Snapshots
from daskperiment.history.spooling import settled, tolerated
from daskperiment.history.steps import Steps
from daskperiment.history.trials import Trials, facts
from daskperiment.history.usage import Sample, Usage
from daskperiment.records import Number, StepRecord, TrialState
from daskperiment.secrets import Secret, scrub
from daskperiment.secrets.signing import TrialKey
from daskperiment.tracebacks import formatted
from daskperiment.tracking import environment
from daskperiment.tracking.output import Capture
from daskperiment.typing import Document

logger = logging.getLogger(__name__)
T = TypeVar("T")

_SCHEMA = 1
_ATTEMPTS = 5
"""How often to keep snapshots anew that others have collected just then."""
_STEP_FLUSH = 0.05
"""Seconds that a step record may wait in the process that runs the trial."""
_METRIC_FLUSH = 0.2
"""Seconds that a metric's value may wait."""
_METRIC_BATCH = 1000
_USAGE_FLUSH = 2.0
"""Seconds that what is used may wait, unless something else is written anyway."""
_USAGE_OF_ITS_AGE = 200
"""The part of a trial's age for which it may wait in a longer one."""


@dataclass(frozen=True)
class Ticket:
    """A trial that is prepared and may be started: all that travels with it.

    Started twice while it runs it is one trial; once sent to another process, for ever.

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
    secrets : tuple of Secret
        Kept alive as long as the trial, so that their text is masked; they never travel.
    changes : Changes, optional
        Who tells what differs from the trial before; None where that was told already.
    writes : sequence of Write
        What must be committed together with the row, as the row refers to it.
    keep_again : callable, optional
        Keeps the snapshots anew and returns their digests; None in another process.
    clock : float, optional
        What `time.monotonic` said when it was prepared; None in another process, as it may be
        of another host.
    sent : bool
        Whether it has come from another process.
    usage : bool
        Whether it is sampled what the trial uses.
    key : TrialKey, optional
        What signs the trial's pickles in another process; see `TrialKey`.  It is not in the row.
    callbacks : Callbacks, optional
        Who is told of its steps and metrics.
    handle : callable, optional
        Gives the trial as users hold it, by its number and perhaps its row, so that callbacks are
        told of its end; None where somebody else tells them, and in another process.
    rules : Rules, optional
        Which of its calls may be taken from other trials; None for none.
    alone : bool
        Whether it is refused to begin a trial that somebody else has begun.
    """

    backend: Backend
    name: str
    row: Document
    fingerprints: dict[str, str]
    observations: Observations
    secrets: tuple[Secret, ...] = ()
    changes: Changes | None = None
    writes: Sequence[Write] = ()
    keep_again: Callable[[], Mapping[str, str]] | None = None
    clock: float | None = None
    sent: bool = False
    usage: bool = True
    key: TrialKey | None = field(default=None, repr=False, compare=False)
    callbacks: Callbacks | None = None
    handle: Callable[[Number, Document | None], Any] | None = None
    alone: bool = False
    rules: Rules | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker may hold no key, and none may travel but the one that is good for this trial.
        parts = (self.backend, self.name, self.row, self.fingerprints, self.observations)
        return _arrived, (
            environment.sent(), self.place.travelling_key(), self.callbacks or None,
            self.usage, self.rules, *parts,
        )  # fmt: skip

    @functools.cached_property
    def place(self) -> Place:
        """Where values of the trial are kept."""
        return Place(self.backend, self.name, self.row["uid"], key=self.key)

    def begin(self) -> TrialContext:
        """Insert the RUNNING row, which gives the number, and return the running trial."""
        trials, uid = Trials(self.backend, self.name), self.row["uid"]
        if self.sent:
            number = trials.begin(self.row, True, [Remove(paths.prepared(self.name), uid)])
        else:
            alone = self.alone
            number = self._referring(lambda writes: trials.begin(self.row, alone, writes, alone))
        logger.info("Started Experiment (trial id=%s)", number)
        return TrialContext(self, number)

    def begun(self) -> TrialContext | None:
        """The running trial, where an interrupt has hidden whether it has begun."""
        number = Trials(self.backend, self.name).running(self.row["uid"])
        return None if number is None else TrialContext(self, number)

    def _referring(self, commit: Callable[[Sequence[Write]], T]) -> T:
        """Commit the row together with what it refers to.

        A snapshot that this process has kept before may be gone: collected, or removed by
        the user with the store.  Then it is kept anew.
        """
        for _ in range(_ATTEMPTS):
            snapshots = [demanding(self.row[kind]) for kind in KINDS if kind in self.row]
            try:
                return commit([*self.writes, *snapshots])
            except (ConflictError, TrialIDNotFoundError) as error:
                if self.keep_again is None:
                    raise
                refused = error
                self.row.update(self.keep_again())
        raise refused

    def start(self) -> Unattended:
        """Begin a trial of a graph that nobody of ours waits for."""
        with HeldBack():
            context = self.begin()
            unattended = Unattended(context)
        try:
            self.tell(context.number)
        except BaseException as error:
            context.end(state_after(error), error)
            raise
        return unattended

    def tell(self, number: Number) -> None:
        """Tell what differs from the trial before the one that has begun with this number.

        Raises
        ------
        CodeChangedWarning, EnvironmentChangedWarning
            Only where warnings are made errors.
        """
        if self.changes is not None:
            self.changes.tell(number, self.row)

    def tell_end(self, number: Number, changes: Document) -> None:
        """Tell callbacks that the trial has ended; ``changes`` are those of its row."""
        if not self.callbacks or self.handle is None:
            return
        try:
            trial = self.handle(number, None)
        except BackendUnreachableError:  # it is in the spool, which nobody reads
            trial = self.handle(number, self.row | changes)
        except Exception as error:
            logger.error("Callbacks do not hear of trial %s: %s", number, scrub(str(error)))
            return
        self.callbacks.tell("after_trial", trial=trial, batch=None)

    def announce(self) -> None:
        """Settle that it will begin in another process.

        What the row refers to is kept until then, and what differs from the latest trial is
        told, as nobody sees it where this one begins.  Errors as for :meth:`tell`.
        """
        heart.beat(self.backend)  # this process is its owner, wherever it begins
        waiting = Insert(paths.prepared(self.name), self.row, self.row["uid"])
        self._referring(lambda writes: self.backend.apply(*writes, waiting))
        if self.changes is not None:
            self.changes.tell_ahead(self.row)


def _arrived(
    collectors: Any, key: TrialKey | None, callbacks: Callbacks | None, usage: bool,
    rules: Rules | None, *parts: Any,
) -> Ticket:  # fmt: skip
    environment.receive(collectors)
    return replace(
        Ticket(*parts), sent=True, key=key, callbacks=callbacks, usage=usage, rules=rules
    )


class TrialContext:
    """A running trial.

    As long as it has not travelled to another process, records wait up to 50 ms, so that
    a short trial is written by two groups; from then on each process writes its own after
    each step.  That of a persisted step never waits.  During a step metrics, artifacts and
    output wait up to 0.2 s.  Safe to use from several threads.

    Attributes
    ----------
    supervised : bool
        Whether somebody waits for the graph and will end the trial, also after a failure.
    shared : bool
        Whether it has copies in other processes.
    fetched : bool
        Whether records that these cannot bring to the store are fetched from there.
    checkpointed : bool
        Whether a call here has left a checkpoint or has gone on from one.
    pruning : Pruning or None
        Who says whether it should end early.
    """

    def __init__(
        self, ticket: Ticket, number: Number, shared: bool = False, fetched: bool = False
    ) -> None:
        self.ticket = ticket
        self.number = number
        self.backend = ticket.backend
        self.name = ticket.name
        self.uid: str = ticket.row["uid"]
        self.seed: int = ticket.row["seed"]
        self.fingerprints = ticket.fingerprints
        self.callbacks = ticket.callbacks
        self.supervised = False
        self.shared = shared
        self.fetched = fetched
        self.secret_parameters = frozenset(
            name for name, kept in ticket.row["parameters"] if kept.get("secret")
        )
        self._forked = False  # whether this is the copy in a process that a step has forked
        self._failed: TrialState | None = None
        self._ended = False
        self.records: list[StepRecord] = []
        self._lock = threading.RLock()
        self._waiting: list[StepRecord] = []
        self._points: dict[str, list[Entry]] = {}
        self._many = 0
        self._captures: dict[Capture, None] = {}
        self._samples: deque[Sample] = deque()
        self._writes: list[Write] = []
        self._row: Document = {}
        self._written: Document = {}
        self._awaited = False
        self._flushed = time.monotonic()
        self._warned = False
        self._surroundings: set[str] = set()
        self.checkpointed = False
        self.kept_result: Document | None = None
        self.pruning = pruning_of(self)
        _contexts.add(self)
        if not shared:
            heart.beat(self.backend)

    def __reduce__(self) -> tuple[Any, ...]:
        # Whoever ends the trial may do so elsewhere: nothing may wait here any longer.
        self.shared = True
        self.flush()
        return TrialContext, (self.ticket, self.number, True, self.fetched)

    # -- what steps do ------------------------------------------------------------------

    def run(self, call: StepCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one step call and record it; whatever it raises is the trial's failure."""
        self._reach()
        try:
            if not self.ticket.usage or self._forked:
                return run_step(self, call, args, kwargs)
            with Sampling(self, (call.step.name, call.call)):
                return run_step(self, call, args, kwargs)
        except BaseException as error:
            self.fail(error, call)
            raise

    def _reach(self) -> None:
        if self.shared and self.fetched and not self._forked:
            backend = carrier(self.backend, self.name, self.uid)
            if backend is not self.backend:
                self.ticket, self.backend = replace(self.ticket, backend=backend), backend

    def fetching(self, client: Any) -> AbstractContextManager[None]:
        """A block that computes its graph on a cluster, whose workers may not reach the store."""
        self.fetched = True
        return fetching(client, self.backend, self.uid)

    @property
    def place(self) -> tuple[int, int]:
        """Which configuration of its batch it is, from 0, and which repeat of it, from 1."""
        row = self.ticket.row
        return row.get("place", 0) // row.get("repeats", 1), row.get("repeat", 0) + 1

    @property
    def lazy(self) -> bool:
        """Whether outputs of its steps may be lazy, as they are taken from other trials."""
        return self.ticket.rules is not None

    def run_anew(self, call: StepCall, args: tuple[Any, ...], kwargs: Any, why: str) -> Any:
        """Run a call that was taken from another trial, as what it gave there is gone."""
        return run_anew(self, call, args, kwargs, why)

    def parameters(self) -> dict[str, Any]:
        """Values of the trial's parameters, as they were recorded."""
        # This row comes from this process or with the task, not from the store.
        place = replace(self.ticket.place, trust="all")
        return Values(place, self.ticket.row["parameters"])

    def environment_here(self) -> str:
        """Digest of this process's environment snapshot, kept when it is another one."""
        digest = environment.snapshot().digest
        if digest != self.ticket.row["environment"]:
            with self.recording():
                _keep_environment(self.backend, digest)
            with self._lock:
                self._surroundings.add(digest)
        return digest

    def keep(self, slot: Slot, value: Any) -> Document:
        """Keep a value with the next flush and return its description."""
        document, writes = self.ticket.place.keep(slot, value)
        with self._lock:
            self._writes += writes
        return document

    def keep_result(self, value: Any) -> None:
        """Keep the trial's result."""
        document = self.keep(("result",), value)
        with self._lock:
            self._row["result"] = self.kept_result = document

    def save_metrics(
        self, values: dict[str, int | float], epoch: int | None, now: float | None = None
    ) -> None:
        """Add a point to each metric; without an epoch, the one after the metric's last."""
        now = time.time() if now is None else now
        with self._lock:
            for name, value in values.items():
                self._points.setdefault(name, []).append((epoch, value, now))
            self._many += len(values)
        old = time.monotonic() - self._flushed > _METRIC_FLUSH
        if old or self._many >= _METRIC_BATCH or self._forked:
            self.flush()
        else:
            self._await()
        if self.callbacks:
            for name, value in values.items():
                self.callbacks.tell(
                    "on_metric", name=name, value=value, epoch=epoch, trial=self.number
                )

    def save_artifact(self, name: str, content: Any) -> None:
        """Keep an artifact; files at once, as the step may change or remove them."""
        try:
            writes = Artifacts(self.ticket.place).saving(name, content)
        except BackendError as error:
            self._trouble(error)
            return
        with self._lock:
            self._writes += writes
        self._await()

    @functools.cached_property
    def checkpoints(self) -> Checkpoints:
        """Checkpoints of its calls."""
        return Checkpoints(self.ticket.place)

    @functools.cached_property
    def attempts(self) -> Attempts:
        """The trials that it is a new attempt at."""
        return Attempts(Trials(self.backend, self.name), self.ticket.row.get("retry_of"))

    @functools.cached_property
    def earlier(self) -> Earlier:
        """Records that its calls may be taken from."""
        return Earlier(self.attempts)

    @property
    def retried(self) -> bool:
        """Whether there are attempts before it."""
        return self.ticket.row.get("retry_of") is not None

    def accept(self, taken: Taken, call: StepCall) -> None:
        """Keep an output that was taken from another trial with the next flush."""
        with self._lock:
            self._writes += taken.writes
            if call.final:
                self._row["result"] = taken.kept
        self.carry(taken.belongings)

    def carry(self, belongings: Belongings) -> None:
        """Add metrics that were saved in another trial; the artifacts are here already."""
        with self._lock:
            for name, points in belongings.points.items():
                self._points.setdefault(name, []).extend(points)
                self._many += len(points)
        self._await()

    def note(self, fields: Document) -> None:
        """Set fields of its row with the next flush."""
        with self._lock:
            self._row |= fields
        self._await()

    def printed(self, capture: Capture) -> None:
        """Take what a step has put out, soon."""
        self._captures[capture] = None
        self._await()

    @property
    def ended(self) -> bool:
        """Whether it has ended here."""
        return self._ended

    def elapsed(self) -> float:
        """Seconds since it began."""
        if self.ticket.clock is not None:
            return time.monotonic() - self.ticket.clock
        # Begun elsewhere: only the time of day is common, and it may have been set back.
        return max(0.0, time.time() - float(self.ticket.row["started"]))

    def sampled(self, sample: Sample) -> None:
        """Take in what this process uses; no lock is taken, as a write may hold it for long."""
        if not self._ended:
            self._samples.append(sample)
            pause = max(_USAGE_FLUSH, sample.seconds / _USAGE_OF_ITS_AGE)
            if time.monotonic() - self._flushed > pause:
                self._await()

    def flushed(self) -> None:
        """Write at once in a process that a step has forked: nobody knows how it will end."""
        if self._forked:
            self.flush()

    def add(self, record: StepRecord) -> None:
        """Add the record of a call that has ended; not of one that a forked child ends again."""
        if self._forked:
            return
        with self._lock:
            self.records.append(record)
            self._waiting.append(record)
            young = time.monotonic() - self._flushed < _STEP_FLUSH
        # An output that is kept need not be computed again, however soon the process dies.
        kept = record.kept is not None and record.outcome == "ran"
        if self.shared or not young or kept:
            self.flush()
        else:
            self._await()

    # -- writing ------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what waits."""
        with self.recording():
            self._write()

    def commit(self, writes: Sequence[Write]) -> None:
        """Write now, behind what waits; errors are those of the backend."""
        with HeldBack(), self._lock:
            self._write()
            self._apply(list(writes))

    def flush_behind(self) -> bool:
        """Write what waits; False after trouble, of which a later write will tell."""
        try:
            self._write()
        except Exception as error:
            logger.debug("Trial %s is written later: %s", self.number, scrub(str(error)))
            return False
        return True

    def _await(self) -> None:
        if not self._awaited:
            self._awaited = True
            flusher.wake(self)

    def _write(self) -> None:
        with HeldBack(), self._lock:
            writes, row = self._take()
            if not writes and not row:
                return
            try:
                self._write_row(writes, row) if row else self._apply(writes)
            except BaseException:
                self._put_back(writes, row)
                raise

    def _write_row(self, writes: list[Write], row: Document) -> None:
        place, uid = (paths.trials(self.name), self.number), {"uid": self.uid}
        try:
            self._apply([*writes, Update(*place, row, uid | {"state": TrialState.RUNNING.value})])
        except ConflictError:  # it has ended elsewhere, or was thought dead: mirrors must be told
            self._apply([*writes, Update(*place, row, uid), changed(self.name, self.number)])

    def _apply(self, writes: list[Write]) -> None:
        """Commit records together with a check of the snapshots that only they refer to."""
        try:
            self.backend.apply(*writes, *map(demanding, self._surroundings))
        except ConflictError:
            there = [write for write in writes if not self._is_gone(write)]
            if len(there) < len(writes):
                self._apply(there)
                return
            if not self._surroundings:
                raise
            _keep_environment.cache_clear()  # it was collected since this process kept it
            _keep_environment(self.backend, self.environment_here())
            self.backend.apply(*writes, *map(demanding, self._surroundings))
        self._surroundings.clear()

    def _is_gone(self, write: Write) -> bool:
        """Whether an output that was taken from another trial was deleted just now.

        The record names it all the same: whoever wants it computes it again.
        """
        if not isinstance(write, Hold):
            return False
        return all(digest != write.digest for digest, _ in self.backend.blobs())

    def _put_back(self, writes: list[Write], row: Document) -> None:
        self._writes = writes + self._writes
        self._row = row | self._row

    def _take(self) -> tuple[list[Write], Document]:
        self._awaited = False  # before anything is taken: what comes meanwhile is awaited anew
        writes, self._writes = self._writes, []
        waiting, self._waiting = self._waiting, []
        points, self._points, self._many = self._points, {}, 0
        row, self._row = self._row, {}
        self._written |= row
        if waiting:
            writes.append(Steps(self.backend, self.name).writing(self.uid, waiting))
        if points:
            writes.append(Metrics(self.backend, self.name).writing(self.uid, points))
        if self._captures and (taken := self._take_output()):
            writes.append(Outputs(self.backend, self.name).writing(self.uid, taken))
        if samples := self._take_samples():
            here = environment.process()
            usage = Usage(self.backend, self.name)
            writes.append(usage.writing(self.uid, here["host"], here["pid"], samples))
        self._flushed = time.monotonic()
        return writes, row

    def _take_samples(self) -> list[Sample]:
        samples = []
        while self._samples:  # the sampler may add to them at any point
            samples.append(self._samples.popleft())
        return samples

    def _take_output(self) -> list[Any]:
        captures = []
        while self._captures:  # `print` in another thread may add to them at any point
            captures.append(self._captures.popitem()[0])
        return [(c.place, pieces) for c in captures if (pieces := c.take())]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """A block whose errors are the record's: they are warned of and never reach the step."""
        try:
            yield
        except Exception as error:
            self._trouble(error)

    def _trouble(self, error: Exception) -> None:
        reason = scrub(str(error))
        logger.error("Unable to record trial %s: %s", self.number, reason)
        if not self._warned:
            self._warned = True
            message = f"Trial {self.number} of {self.name!r} runs on, but is not recorded: {reason}"
            with suppress(DaskperimentWarning):  # made an error, it would end the step
                warnings.warn(message, DaskperimentWarning, stacklevel=3)

    # -- its end ------------------------------------------------------------------------

    def complete(self) -> None:
        """End the trial as COMPLETE."""
        self.end(TrialState.COMPLETE)

    def fail(self, error: BaseException, call: StepCall | None = None) -> None:
        """Note a failure; whoever runs the trial decides, as a scheduler may try again."""
        if self._forked:
            return
        self._failed = state_after(error)
        failure = failed(error)
        if call is not None and self._failed is not TrialState.PRUNED:
            failure["failed_step"] = call.step.name
        with self._lock:
            self._row |= failure
        if not self.supervised:
            self.flush()
            ended = {**self._times(), "state": self._failed.value}
            with self.recording():
                Trials(self.backend, self.name).fail_for_now(self.number, self.uid, ended)

    def abandon(self) -> None:
        """End a trial that nobody holds any more, if it has not travelled and not ended."""
        if not (self._ended or self.shared or self._forked):
            if self._failed is None:
                self._row["description"] = "CANCELLED(the computation that it was part of ended)"
            with suppress(DaskperimentWarning):  # made an error, it has nobody to go to
                self.end(self._failed or TrialState.CANCELLED)

    def end(self, state: TrialState, error: BaseException | None = None) -> None:
        """End the trial, once, and warn of steps that were seen to be impure."""
        if self._forked or self._ended:
            return
        contradictions: Sequence[purity.Contradiction] = ()
        observed: Sequence[StepRecord] = ()
        with HeldBack(), self.recording():
            self._ended = True
            try:
                self._end(state, error)
            except Exception:
                raise
            except BaseException:
                self._ended = False  # who insists on an interrupt ends the trial otherwise
                raise
            self._log(state, error)
            self.number = settled(self.backend, self.number)
            with suppress(*tolerated(self.backend)):  # then it is indexed when it is synced
                observed = self._observed()
                contradictions = purity.find(self, observed)
                self._tell()
        try:
            # Where warnings are made errors, that of the user goes first.
            with suppress(*[DaskperimentWarning] if error is not None else []):
                purity.warn(self, contradictions)
                mutation.warn(self, observed)
                audit.warn(self, observed)
        finally:
            self.ticket.tell_end(self.number, self._written)

    def _end(self, state: TrialState, error: BaseException | None) -> None:
        spare = self._spare_checkpoints() if state is TrialState.COMPLETE else None
        gone = [] if spare is None else spare.writes
        with self._lock:
            writes, row = self._take()
            if error is not None and not self._failed_elsewhere():
                row = {**failed(error), **row}
            elif state is TrialState.COMPLETE:
                row |= {"description": None, "traceback": None, "failed_step": None}
            row |= {**self._times(), "state": state.value, "ended_by": "driver"}
            if self.lazy and (saved := self._saved()):
                row["time_saved"] = saved
            self._written |= row
            try:
                trials = Trials(self.backend, self.name)
                trials.end(self.number, self.uid, row, [*writes, *gone])
            except BaseException:
                self._put_back(writes, row)
                raise
        if spare is not None:
            self.checkpoints.clear(spare)

    def _spare_checkpoints(self) -> Spare | None:
        if not (self.checkpointed or self.shared):
            return None
        try:
            if self.checkpointed or self.checkpoints.any():
                went_on = (record for record in self._observed() if record.resumed_from)
                return self.checkpoints.spare(record.identity for record in went_on)
        except Exception as error:  # of a store that is away, or that others have written to
            logger.debug("Checkpoints of trial %s are left to gc: %s", self.number, error)
        return None

    def _failed_elsewhere(self) -> bool:
        # A worker saw the exception itself; what arrives from there may be a substitute.
        row: Document = {}
        with suppress(*tolerated(self.backend)):
            row = Trials(self.backend, self.name).get(self.number) if self.shared else {}
        return row.get("failed_step") is not None

    def _times(self) -> Document:
        return {"finished": time.time(), "seconds": self.elapsed()}

    def _observed(self) -> Sequence[StepRecord]:
        return Steps(self.backend, self.name).read(self.uid) if self.shared else self.records

    def _saved(self) -> float:
        with suppress(*tolerated(self.backend)):
            return sum(record.saved or 0.0 for record in self._observed())
        return 0.0

    def _tell(self) -> None:
        if not notebooks.is_kernel():
            return
        told = facts(Trials(self.backend, self.name).get(self.number))
        what = told.get("Result", told.get("Description", ""))
        ended = f"{told['State']} in {told['Process Time']}"
        line = f"Trial {self.number} of {self.name}: {ended}: {what}"
        notebooks.tell(notebooks.Line(line[:200], told))

    def _log(self, state: TrialState, error: BaseException | None) -> None:
        if state is TrialState.COMPLETE:
            logger.info("Finished Experiment (trial id=%s)", self.number)
        elif state is TrialState.PRUNED:
            logger.info("Pruned Experiment (trial id=%s)", self.number)
        elif error is not None:
            logger.error("Experiment failed: %s", describe(error))


@functools.lru_cache(maxsize=64)
def _keep_environment(backend: Backend, digest: str) -> None:
    """Keep the environment snapshot of this process, once for each store."""
    Snapshots(backend).keep(*environment.snapshot())


class Unattended:
    """A running trial in a graph that nobody of ours waits for.

    When the last node lets go of it, after an interrupt or because another part of the
    computation has failed, the trial ends.
    """

    def __init__(self, context: TrialContext) -> None:
        self._context = context
        _start_to_end_abandoned(os.getpid())
        self._finalizer = weakref.finalize(self, _abandoned.put, context)
        self._finalizer.atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        return self._context.__reduce__()

    @property
    def place(self) -> tuple[int, int]:
        """Which configuration of its batch it is, and which repeat of it."""
        return self._context.place

    @property
    def lazy(self) -> bool:
        """Whether outputs of its steps may be lazy."""
        return self._context.lazy

    def run(self, call: StepCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one step call and record it."""
        return self._context.run(call, args, kwargs)

    def complete(self) -> None:
        """End the trial as COMPLETE."""
        self._context.complete()
        self._finalizer.detach()  # or another thread would wake up for nothing

    def fail(self, error: BaseException) -> None:
        """Note the failure of a node that is no step."""
        self._context.fail(error)


_contexts: weakref.WeakSet[TrialContext] = weakref.WeakSet()
# A finalizer may run anywhere, also while this very thread holds the backend's lock: it must
# not write. This queue may be put to at any point.
_abandoned: queue.SimpleQueue[TrialContext] = queue.SimpleQueue()


@functools.lru_cache(maxsize=1)
def _start_to_end_abandoned(pid: int) -> None:
    threading.Thread(target=_end_abandoned, name="daskperiment-abandoned", daemon=True).start()
    atexit.register(_end_unattended)


def _end_abandoned() -> None:
    while True:
        _abandoned.get().abandon()


def _end_unattended() -> None:
    for context in list(_contexts):
        if not context.supervised:
            context.abandon()


def _leave_to_the_parent() -> None:
    """In a forked child: what waits is the parent's to write, and its lock is not ours."""
    for context in list(_contexts):
        context._lock, context._forked = threading.RLock(), True
        context._captures.clear()
        context._take()
        context.shared = True


platform.at_fork(after_in_child=_leave_to_the_parent)


def row_of(place: Place, values: Mapping[str, Any]) -> tuple[Document, list[Write]]:
    """The row of a trial with these parameters that begins, and what is committed with it."""
    kept = [(name, *place.keep(("parameters", name), value)) for name, value in values.items()]
    row = {
        "schema": _SCHEMA,
        "state": TrialState.RUNNING.value,
        "parameters": [[name, document] for name, document, _ in kept],
        "parameters_digest": try_digest(dict(values))[0],
        "tags": [],
        "note": "",
    }
    return row, [write for _, _, writes in kept for write in writes]


def state_after(error: BaseException) -> TrialState:
    """State of a trial that an exception has ended."""
    if isinstance(error, TrialPruned):
        return TrialState.PRUNED
    return TrialState.CANCELLED if isinstance(error, KeyboardInterrupt) else TrialState.FAILED


def describe(error: BaseException) -> str:
    """Type and message of an exception, ``ZeroDivisionError(division by zero)``."""
    try:
        return scrub(f"{type(error).__name__}({error})")
    except Exception:
        return f"{type(error).__name__}(no message: its __str__ failed)"


def failed(error: BaseException) -> Document:
    """Fields of a trial's row that tell of an exception."""
    if isinstance(error, TrialPruned):
        return {"description": describe(error)[:10_000]}
    try:
        text = scrub(formatted(error))
    except Exception:
        text = describe(error)
    return {"description": describe(error)[:10_000], "traceback": text[-100_000:]}
