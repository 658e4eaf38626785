"""Around many trials: a batch runs them at the same time, and every one of them ends."""

from __future__ import annotations

import logging
import queue
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from daskperiment.callbacks import Callbacks
from daskperiment.errors import BatchError, ConflictError
from daskperiment.execution import heart
from daskperiment.execution.attempt import Ended, Task, Work, run, run_sent
from daskperiment.execution.executors import Place, kept, opened
from daskperiment.execution.interrupts import HeldBack
from daskperiment.execution.jobs import Job, OnError
from daskperiment.execution.settling import found, numbered, settled
from daskperiment.execution.shards import Share
from daskperiment.execution.stopping import GRACE
from daskperiment.execution.workers import Common
from daskperiment.graph import Node, layout_of
from daskperiment.history.batches import Batches
from daskperiment.history.reusable import Reusable
from daskperiment.history.spooling import AWAY
from daskperiment.history.steps import Steps
from daskperiment.history.trials import Trials
from daskperiment.records import Number
from daskperiment.serializers.preview import preview_error
from daskperiment.tracking import environment
from daskperiment.tracking.code import CodeCapture
from daskperiment.typing import Document

logger = logging.getLogger(__name__)

Starter = Callable[[Job], "Future[Ended]"]
_TRIES = 3
"""How often a trial is begun whose process dies before it has a number."""
_TICK = 1.0
"""Seconds between two looks at what nobody tells."""
_GRACE = 10.0
"""Seconds that trials have for ending after Ctrl-C."""
_LATE = 3 * GRACE
"""Seconds past its timeout after which a process that does not react is ended."""
_TELL = 1.0
"""Seconds between two updates of a batch's document."""


def needed(node: Node) -> dict[str, float]:
    """What a whole trial of a graph needs: of each resource the most that one of its steps does."""
    most: dict[str, float] = {}
    for step in layout_of(node).steps.values():
        for name, amount in (step.resources or {}).items():
            most[name] = max(most.get(name, 0), amount)
    return most


def _sender(
    place: Place, node: Node, captured: CodeCapture, callbacks: Callbacks, timeout: float | None
) -> Callable[[Task], Future[Ended]]:
    """What begins an attempt at a trial of a graph, pickled once where that is in others' hands."""
    limit, here = None if timeout is None else timeout + _LATE, Work(node, None, callbacks)
    if not place.elsewhere:
        return lambda task: place.submit(task.about["uid"], limit, run, here, task)
    import cloudpickle

    work = Work(node, captured, callbacks)
    sent = Common(uuid.uuid4().hex, cloudpickle.dumps(work))
    return lambda task: place.submit(task.about["uid"], limit, run_sent, sent, task)


@dataclass
class Alone:
    """Trials that are not of a batch, of which nobody waits for one; arguments as for `Batch`."""

    node: Node
    history: Trials
    captured: CodeCapture
    callbacks: Callbacks
    handle: Callable[[int], Any]
    executor: Any = None
    timeout: float | None = None

    def submit(self, job: Job) -> Future[Any]:
        """Begin the trial of a job."""
        place = kept(self.executor, needed(self.node))
        task = Task(job.parameters, job.seed, job.about(), self.timeout, repeats=place.repeats)
        attempt = _sender(place, self.node, self.captured, self.callbacks, self.timeout)(task)
        promised: Future[Any] = Future()
        attempt.add_done_callback(lambda done: self._keep(promised, job.uid, done))
        return promised

    def _keep(self, promised: Future[Any], uid: str, attempt: Future[Ended]) -> None:
        try:
            ended = settled(self.history, uid, attempt)
            if ended is None:
                raise CancelledError
            if ended.error is not None:
                raise ended.error
            (number,) = numbered(self.history, [ended.number])
            promised.set_result(self.handle(number))
        except BaseException as error:
            promised.set_exception(error)


class Source(Protocol):
    """Where the jobs of a batch come from that are not known when it begins."""

    @property
    def total(self) -> int | None:
        """How many trials there will be; None if nobody knows."""

    def take(self) -> Job | None:
        """The next job; None where none can begin, until one has ended or for good."""

    def tell(self, job: Job, ended: Ended) -> None:
        """Take in how one has ended."""

    def over(self) -> str | None:
        """Why no more are to begin, and None as long as some are."""

    @property
    def cancels(self) -> bool:
        """Whether those that run are to be ended, too, when it is over."""


@dataclass
class Batch:
    """Trials of one graph that run at the same time.

    Callbacks see it while it runs: ``total``, ``done``, ``failed``, ``running`` and ``skipped``
    are numbers of trials, and ``pruned`` that of those among ``done``; ``trials`` are those that
    have ended, ``started`` is a time of :func:`time.monotonic`, and :meth:`stop` begins no more.

    Parameters
    ----------
    node : Node
        The graph, which holds a result.
    history : Trials
        Where they are recorded.
    jobs : list of Job
        What is to be run.
    captured : CodeCapture
        The code of its steps.
    callbacks : Callbacks
        Who is told.
    handle : callable
        Makes what they get of a trial from its number.
    values : callable
        Makes the values that a trial has from those that are given for it, with secrets hidden.
    executor : Any
        Where; see :func:`daskperiment.execution.executors.opened`.
    max_workers : int, optional
        How many at a time.
    gpus : sequence of str, optional
        What each worker sees of them.
    timeout : float, optional
        Seconds that a trial may take.
    spread : bool
        Whether the steps of a trial are spread over the workers of a cluster.
    about : dict
        What its document says besides.
    share : Share, optional
        What it shares with other computers.
    shared : frozenset of str, optional
        Steps whose calls its trials take from one another; None where they are not asked to.
    rows : dict
        What the row of each of its trials says besides.
    source : Source, optional
        Where jobs come from besides those that are given.
    """

    node: Node
    history: Trials
    jobs: list[Job]
    captured: CodeCapture
    callbacks: Callbacks
    handle: Callable[[int], Any]
    values: Callable[[dict[str, Any]], dict[str, Any]]
    executor: Any = None
    max_workers: int | None = None
    gpus: Sequence[str] | None = None
    timeout: float | None = None
    spread: bool = False
    about: Document = field(default_factory=dict)
    skipped: int = 0
    done: int = 0
    pruned: int = 0
    failed: int = 0
    trials: list[Any] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    share: Share | None = None
    shared: frozenset[str] | None = None
    rows: Document = field(default_factory=dict)
    source: Source | None = None
    _waiting: deque[Job] = field(default_factory=deque)
    _running: dict[Future[Ended], Job] = field(default_factory=dict)
    _over: queue.SimpleQueue[Future[Ended]] = field(default_factory=queue.SimpleQueue)
    _stopped: str | None = None
    _cancelled: bool = False
    _cut: bool = False
    _failure: BaseException | None = None
    _on_error: OnError = "raise"
    _retries: int = 0

    @property
    def experiment(self) -> str:
        """Id of the experiment."""
        return self.history.name

    @property
    def total(self) -> int:
        """How many trials it has; of a search without an end as many as have begun."""
        known = None if self.source is None else self.source.total
        return len(self.jobs) if known is None else known

    @property
    def running(self) -> int:
        """How many run, or wait at their executor."""
        return len(self._running)

    def stop(self, reason: str) -> None:
        """Begin no more trials; those that run go on to their ends."""
        if self._stopped is None:
            logger.info("The batch begins no more trials: %s", reason)
            self._stopped = reason
            self._waiting.clear()

    def run(self, on_error: OnError, retries: int) -> None:
        """Run all jobs to their ends.

        Parameters
        ----------
        on_error : str
            ``"raise"``: begin no other trial after a failure, and raise it; ``"continue"``: go
            on.
        retries : int
            How often a trial that has failed or lost its process is run again.

        Raises
        ------
        BaseException
            With ``on_error="raise"``, what the step of the first trial that failed has raised.
        BatchError
            A process died so often that a trial was given up, or the executor is broken.
        KeyboardInterrupt
            Those that were running are asked to end, and are CANCELLED after 10 s, or at once
            when it comes again.
        """
        self._on_error, self._retries = on_error, retries
        if self.spread:
            opening = opened("threads", self._width(), {})
        else:
            opening = opened(self.executor, self.max_workers, needed(self.node), self.gpus)
        with opening as place, self._recorded():
            if self.callbacks:
                self.trials += [self.handle(n) for n in self._skipped() if isinstance(n, int)]
            self.callbacks.tell("before_batch", batch=self)
            try:
                self._work(place)
            except KeyboardInterrupt:
                self._cancel(place, "it was interrupted")
                raise
            finally:
                self.callbacks.tell("after_batch", batch=self)
        if self.shared is not None:
            self._tell_shared()
        if self._failure is not None:
            raise self._failure

    def _width(self) -> int:
        return self.max_workers or max(1, sum(self.executor.nthreads().values()))

    def _work(self, place: Place) -> None:
        send = _sender(place, self.node, self.captured, self.callbacks, self.timeout)

        def start(job: Job) -> Future[Ended]:
            return send(self._task(job, place))

        self._loop(place, start, (job for job in self.jobs if not job.ended))
        while self.share is not None and self._stopped is None:
            more = self.share.taken_over()
            if not more:
                return
            self.jobs = [*self.jobs, *more]
            self._loop(place, start, more)

    def _loop(self, place: Place, start: Starter, jobs: Iterable[Job]) -> None:
        self._waiting.extend(jobs)
        while True:
            while len(self._running) < place.width and (job := self._next()) is not None:
                self._begin(start, job, place)
            if not self._running:
                if self._waiting:
                    continue
                return
            try:
                future = self._over.get(timeout=_TICK)
            except queue.Empty:
                self._look_after(place)
            else:
                self._end(future, place)
            self._tell()
            if self._is_over() and self.source is not None and self.source.cancels:
                self._cut = True
                self._cancel(place, str(self._stopped))
                return

    def _next(self) -> Job | None:
        if self._waiting:
            return self._waiting.popleft()
        if self.source is None or self._is_over():
            return None
        try:
            job = self.source.take()
        except Exception as error:  # of a sampler, or of a value that is none of its parameter
            self._failure = error
            self.stop(f"there is nothing to run: {preview_error(error)}")
            return None
        if job is not None:
            self.jobs.append(job)
        return job

    def _is_over(self) -> bool:
        """Whether no more begin; asks the source, too."""
        if self._stopped is None and self.source is not None:
            reason = self.source.over()
            if reason is not None:
                self.stop(reason)
        return self._stopped is not None

    def _skipped(self) -> Iterator[Number | None]:
        return (job.number for job in self.jobs if job.ended)

    def _begin(self, start: Starter, job: Job, place: Place) -> None:
        if self.share is not None and not self.share.take(job.place):
            logger.info("Another computer has taken place %s", job.place)
            return
        if self.callbacks:
            parameters = self.values(job.parameters)
            self.callbacks.tell(
                "before_trial", experiment=self.experiment, parameters=parameters, batch=self
            )
        if self._stopped is not None:
            return
        with HeldBack():  # or a trial might run of which nobody knows
            try:
                future = start(job)
            except Exception:
                if (reason := place.lost(cancelled=True)) is None:
                    raise
                self._give_up(reason)
                return
            self._running[future] = job
            future.add_done_callback(self._over.put)

    def _task(self, job: Job, place: Place) -> Task:
        about = {**job.about(), **self.rows, "batch": self.uid}
        if self.share is not None:
            about["plan"] = self.share.plan
        scheduler = self.executor if self.spread else "synchronous"
        shared = self.shared or frozenset()
        return Task(
            job.parameters, job.seed, about, self.timeout, scheduler, place.repeats, shared
        )  # fmt: skip

    def _end(self, future: Future[Ended], place: Place) -> None:
        job = self._running.pop(future, None)
        if job is None:
            return
        ended = settled(self.history, job.uid, future)
        if ended is None:
            if self._cancelled:
                return
            if (reason := place.lost(cancelled=True)) is not None:
                self._running[future] = job
                self._give_up(reason)
                return
            reason = "its executor has cancelled it, or has lost its scheduler"
            ended = found(self.history, job.uid, BatchError(reason))
        again = job.attempts <= self._retries or (ended.number is None and job.attempts < _TRIES)
        if ended.error is not None and again and self._stopped is None:
            logger.info("A trial has failed and is run again: %s", preview_error(ended.error))
            # A scheduler may have made attempts of its own; none at all where it has not begun.
            job.uid = "" if ended.number is None else ended.uid or job.uid
            self._waiting.append(job)
            return
        self._settle(job, ended)

    def _settle(self, job: Job, ended: Ended) -> None:
        job.end(ended.number)  # without the error, which holds the values of its step
        as_asked = self._cut and isinstance(ended.error, KeyboardInterrupt)
        failed = ended.error is not None and not as_asked
        self.failed += failed
        self.done += ended.error is None
        self.pruned += ended.pruned
        if self.source is not None:
            self.source.tell(job, ended)
        if self.callbacks and isinstance(ended.number, int):
            # Two handles: that of the callbacks keeps what they have read of it.
            self.trials.append(self.handle(ended.number))
            self.callbacks.tell("after_trial", trial=self.handle(ended.number), batch=self)
        if failed and (self._on_error == "raise" or ended.number is None):
            self._failure = self._failure or ended.error
            self.stop("a trial has failed")

    def _look_after(self, place: Place) -> None:
        """Give up what runs where nothing comes back from any more."""
        if (reason := place.lost()) is not None:
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        self._failure = self._failure or BatchError(f"The batch cannot go on: {reason}")
        self.stop(reason)
        running, self._running = self._running, {}
        for job in running.values():
            ended = found(self.history, job.uid, BatchError(reason))
            if ended.number is not None:  # the others have not begun
                self._settle(job, ended)

    def _cancel(self, place: Place, reason: str) -> None:
        """End what runs, and wait for that a little; after a second interrupt do not wait."""
        with suppress(KeyboardInterrupt, queue.Empty):
            with HeldBack():  # a second one, which may come at once
                self._interrupt(place, reason)
            deadline = time.monotonic() + _GRACE
            while self._running:
                # Not by what is told: the interrupt may have come when one had just been.
                for future in [each for each in self._running if each.done()]:
                    self._end(future, place)
                if self._running:
                    self._over.get(timeout=max(0.0, deadline - time.monotonic()))
        with HeldBack():
            running, self._running = self._running, {}
            for future, job in running.items():
                future.cancel()
                place.kill(job.uid)
                number = self.history.running(job.uid)
                if number is not None:
                    self.history.cancel(
                        number, job.uid, f"{reason}, and the trial did not end by itself"
                    )
                    job.end(number)

    def _interrupt(self, place: Place, reason: str) -> None:
        self.stop(reason)
        self._cancelled = True
        for future, job in self._running.items():
            # Of what a cluster runs nothing is heard any more once it is cancelled.
            if not (place.repeats and self._has_begun(job)):
                future.cancel()
        place.interrupt([job.uid for job in self._running.values()])

    def _has_begun(self, job: Job) -> bool:
        with suppress(*AWAY):
            return self.history.running(job.uid) is not None
        return False

    def _tell_shared(self) -> None:
        """Log how many calls its trials have taken from one another."""
        steps, outcomes = Steps(self.history.backend, self.experiment), Counter[str]()
        with suppress(*AWAY):
            for number in numbered(self.history, [job.number for job in self.jobs if job.ended]):
                outcomes.update(
                    each.outcome for each in steps.read(self.history.get(number)["uid"])
                )
            Reusable(self.history).drop_within(self.uid)
        shared = outcomes.pop("reused", 0)
        logger.info(
            "steps requested %s, executed %s, shared %s",
            shared + outcomes.total(), outcomes.total(), shared,
        )  # fmt: skip

    # -- its document

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        heart.beat(self.history.backend)  # also where trials run in other processes
        self._document = Batches(self.history.backend, self.experiment)
        owner = environment.process()
        begun = {
            "state": "RUNNING", "started": time.time(), "finished": None, "owner": owner,
            "best": None, **self.about, **self._counts(),
        }  # fmt: skip
        with suppress(*AWAY):
            self._document.begin(self.uid, begun)
        self._told = time.monotonic()
        state = "FAILED"
        try:
            yield
            # A search goes on without the trials that have failed.
            failed = self._failure or (self.failed and self.source is None)
            state = "FAILED" if failed else "COMPLETE"
        except KeyboardInterrupt:
            state = "CANCELLED"
            raise
        finally:
            end = {"state": state, "finished": time.time(), "stopped": self._stopped}
            with HeldBack(), suppress(*AWAY):  # or others would wait for it
                self._document.end(self.uid, {**self._counts(), **end}, begun)

    def _counts(self) -> Document:
        return {
            "total": self.total, "done": self.done, "pruned": self.pruned, "failed": self.failed,
            "running": self.running, "skipped": self.skipped,
        }  # fmt: skip

    def _tell(self) -> None:
        if time.monotonic() - self._told > _TELL:
            self._told = time.monotonic()
            with suppress(*AWAY, ConflictError):  # its beginning could not be kept
                # Others may have taken this process for dead.
                self._document.update(self.uid, {"state": "RUNNING", **self._counts()})
