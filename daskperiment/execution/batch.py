"""Around many trials: a batch runs them at the same time, and every one of them ends."""

from __future__ import annotations

import functools
import logging
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from daskperiment.errors import BatchArgumentError, BatchError
from daskperiment.execution.executors import Place, opened
from daskperiment.execution.trial import main_is_guarded, missing_main_guard
from daskperiment.graph import Node
from daskperiment.history.finished import Finished
from daskperiment.history.trials import Trials
from daskperiment.records import Number, TrialState
from daskperiment.serializers.preview import preview, preview_error
from daskperiment.tracking import seeds
from daskperiment.tracking.code import CodeCapture
from daskperiment.typing import Document

logger = logging.getLogger(__name__)

OnError = Literal["raise", "continue"]
_TRIES = 3
"""How often a trial is begun whose process dies before it has a number."""


class Ended(NamedTuple):
    """How an attempt at a trial has ended.

    Parameters
    ----------
    number : Number or None
        The trial; None where none has begun.
    error : BaseException or None
        What a step has raised.
    """

    number: Number | None
    error: BaseException | None


@dataclass
class Job:
    """One place of a batch.

    Parameters
    ----------
    parameters : dict
        Values for this trial.
    seed : int, optional
        Its seed.
    repeat : int, optional
        Which of several trials with these parameters it is.
    """

    parameters: dict[str, Any]
    seed: int | None
    repeat: int | None = None
    attempts: int = 0
    uid: str = ""
    before: str | None = None
    ended: Ended | None = None

    @property
    def number(self) -> Number:
        """Number of its trial, once it has ended."""
        assert self.ended is not None
        assert self.ended.number is not None
        return self.ended.number

    def next(self) -> Document:
        """What the row of the next attempt says besides."""
        self.attempts += 1
        self.before, self.uid = self.uid or None, uuid.uuid4().hex
        about = {"uid": self.uid, "retry_of": self.before, "repeat": self.repeat}
        return {name: value for name, value in about.items() if value is not None}


def planned(parameters: Sequence[dict[str, Any]], repeats: int, seed: int | None) -> list[Job]:
    """The jobs of a batch: those that repeat the same parameters side by side."""
    jobs = []
    for values in parameters:
        for repeat in range(repeats):
            own = seed if seed is None or not repeat else seeds.derive(seed, "repeats", repeat)
            jobs.append(Job(values, own, repeat if repeats > 1 else None))
    return jobs


def skip(jobs: Sequence[Job], digests: Sequence[str | None], finished: Finished) -> None:
    """Let earlier trials stand for jobs; one line for each in the log."""
    repeats = len(jobs) // max(1, len(digests))
    for position, job in enumerate(jobs):
        number = finished.take(digests[position // repeats], job.seed)
        if number is not None:
            logger.info("Skipped: trial %s is complete with these parameters and this code", number)
            job.ended = Ended(number, None)


def check_repeats(repeats: int) -> int:
    """Return a number of repeats, or raise BatchArgumentError."""
    return _count("repeats", repeats, 1)


def check_retries(retries: int) -> int:
    """Return a number of retries, or raise BatchArgumentError."""
    return _count("retries", retries, 0)


def _count(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BatchArgumentError(f"{name} is an integer from {least} on, not {preview(value)}")
    return value


def check_on_error(on_error: str) -> OnError:
    """Return how to go on after a failure, or raise BatchArgumentError."""
    if on_error in ("raise", "continue"):
        return on_error  # type: ignore[return-value]
    raise BatchArgumentError(f"on_error is 'raise' or 'continue', not {preview(on_error)}")


class Task(NamedTuple):
    """What a worker needs to run one trial."""

    parameters: dict[str, Any]
    seed: int | None
    about: Document


def run(node: Node, task: Task) -> Ended:
    """Run one trial of a graph here; what a step raises is told and not raised."""
    return _ended(node, task, None)


def _ended(node: Node, task: Task, captured: CodeCapture | None) -> Ended:
    found = node._owner.attempt(node, task.parameters, task.seed, task.about, captured)
    return Ended(*found)


def run_sent(sent: bytes, task: Task) -> Ended:
    """The same in another process, of a graph that was pickled."""
    node, captured = _received(sent)
    return _ended(node, task, captured)


@functools.lru_cache(maxsize=8)
def _received(sent: bytes) -> tuple[Node, CodeCapture]:
    # Kept, so that what a process captures once is not captured for each trial.
    import cloudpickle

    return cloudpickle.loads(sent)  # type: ignore[no-any-return]


@dataclass
class Batch:
    """Trials of one graph that run at the same time.

    Parameters
    ----------
    node : Node
        The graph, which holds a result.
    trials : Trials
        Where they are recorded.
    jobs : list of Job
        What is to be run.
    captured : CodeCapture
        The code of its steps.
    executor : Any
        Where; see :func:`daskperiment.execution.executors.opened`.
    max_workers : int, optional
        How many at a time.
    """

    node: Node
    trials: Trials
    jobs: Sequence[Job]
    captured: CodeCapture
    executor: Any = None
    max_workers: int | None = None
    _waiting: deque[Job] = field(default_factory=deque)
    _on_error: OnError = "raise"
    _retries: int = 0

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
        """
        self._on_error, self._retries = on_error, retries
        self._waiting.extend(job for job in self.jobs if job.ended is None)
        running: dict[Future[Ended], Job] = {}
        try:
            with opened(self.executor, self.max_workers) as place:
                start = self._starter(place)
                while self._waiting or running:
                    while self._waiting and len(running) < place.width:
                        job = self._waiting.popleft()
                        running[start(job)] = job
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for each in done:
                        self._settle(running.pop(each), each)
        finally:
            self._leave(running)

    def _starter(self, place: Place) -> Callable[[Job], Future[Ended]]:
        if not place.elsewhere:
            return lambda job: place.submit(run, self.node, self._task(job))
        import cloudpickle

        sent = cloudpickle.dumps((self.node, self.captured))
        return lambda job: place.submit(run_sent, sent, self._task(job))

    def _task(self, job: Job) -> Task:
        return Task(job.parameters, job.seed, job.next())

    def _settle(self, job: Job, future: Future[Ended]) -> None:
        try:
            ended = future.result()
        except Exception as error:  # not of a step: of the executor, or of what was sent
            ended = self._found(job, error)
        again = job.attempts <= self._retries or (ended.number is None and job.attempts < _TRIES)
        if ended.error is not None and again:
            logger.info("A trial has failed and is run again: %s", preview_error(ended.error))
            self._waiting.append(job)
            return
        job.ended = ended
        if ended.error is not None and (self._on_error == "raise" or ended.number is None):
            raise ended.error

    def _found(self, job: Job, error: Exception) -> Ended:
        """How a trial has ended of which nobody told, by its row."""
        self.trials.bury()
        for number, row in self.trials.find(where={"uid": job.uid}, newest=True, limit=1):
            if row["state"] == TrialState.COMPLETE:
                return Ended(number, None)
            return Ended(number, BatchError(f"Trial {number} was lost: {preview_error(error)}"))
        if isinstance(error, BrokenExecutor) and not main_is_guarded():
            return Ended(None, missing_main_guard())
        job.uid = ""  # it has not begun
        return Ended(None, error)

    def _leave(self, running: dict[Future[Ended], Job]) -> None:
        """Begin nothing more, and wait for what runs; a second interrupt does not wait."""
        for future in running:
            future.cancel()
        for future, job in running.items():
            with suppress(Exception, CancelledError):
                job.ended = future.result()
