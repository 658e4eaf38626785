"""The sampler: one thread of a process that looks at what it uses, as long as trials run in it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from types import TracebackType
from typing import Protocol

from daskperiment import platform
from daskperiment.history.usage import Call, Sample
from daskperiment.tracking.usage import Meter

logger = logging.getLogger(__name__)

_TICK = 0.5
"""Seconds between two looks for what is due, and before the first sample of a trial."""
_PAUSE = 1.0
_OF_ITS_AGE = 400
_AT_REST = 100
"""How much longer than the reading itself no other follows: it takes one percent at most."""
_MOST = 256
"""Trials of which is known, after a step has ended here, when they are due again."""


def pause(age: float) -> float:
    """Seconds between two samples of a trial that has run for so many.

    So there are 400 in its first 400 seconds, and 400 more each time that its age has grown by
    the factor e: some 2,500 after a day, some 5,000 after a year.

    Examples
    --------
    >>> pause(60), pause(86_400)
    (1.0, 216.0)
    """
    return max(_PAUSE, age / _OF_ITS_AGE)


class Sampled(Protocol):
    """A running trial."""

    uid: str

    @property
    def ended(self) -> bool:
        """Whether it has ended here."""

    def elapsed(self) -> float:
        """Seconds since it began."""

    def sampled(self, sample: Sample) -> None:
        """Take a sample; this is called in another thread, which must not wait."""


class Sampling:
    """A context manager around a step call: while it runs, its process is sampled for its trial.

    What goes wrong with that is never the step's.  In a process that is forked in between
    nothing is sampled for it.

    Parameters
    ----------
    trial : Sampled
        The trial.
    call : tuple of str and int
        The step, and which call of it.
    """

    __slots__ = ("call", "trial")

    def __init__(self, trial: Sampled, call: Call) -> None:
        self.trial = trial
        self.call = call

    def __enter__(self) -> None:
        _sampler.running[self] = None
        if not _sampler.alive:
            _sampler.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _sampler.running.pop(self, None)


class _Watch:
    """One trial, as this process watches it."""

    __slots__ = ("at", "cpu", "due", "tick")

    def __init__(self) -> None:
        self.due = 0.0
        self.tick = -1  # when it was last seen to run
        self.at = self.cpu = 0.0  # since when, and from where on, processor time is counted


class _Sampler:
    """All trials of this process."""

    def __init__(self) -> None:
        # Steps come and go without a lock, which would cost each of them some microseconds.
        self.running: dict[Sampling, None] = {}
        self.alive = False
        self._lock = threading.Lock()
        self._tick = 0
        self._watches: OrderedDict[str, _Watch] = OrderedDict()
        self._rest = 0.0

    def start(self) -> None:
        """Begin to look, unless a thread does."""
        with self._lock:
            if self.alive:
                return
            thread = threading.Thread(target=self._run, name="daskperiment-sampler", daemon=True)
            with suppress(RuntimeError):  # the interpreter ends, or there are too many threads
                self.alive = True
                thread.start()
                return
            self.alive = False

    def _run(self) -> None:
        meter = Meter()
        self._tick += 1  # none was seen to run a tick ago, while there was no thread
        while True:
            steps = self._steps()
            if not steps:
                # In this order: a step that begins just now sees this, or is seen here.
                self.alive = False
                if not self.running:
                    return
                with self._lock:
                    if self.alive:
                        return
                    self.alive = True
                continue
            try:
                self._look(meter, steps)
            except Exception as error:
                logger.debug("No sample of what is used: %r", error)
            time.sleep(_TICK)

    def _steps(self) -> dict[str, list[Sampling]]:
        """Steps that run, by trial; one whose end an interrupt has hidden is dropped."""
        found: dict[str, list[Sampling]] = {}
        for step in list(self.running):
            if step.trial.ended:
                self.running.pop(step, None)
            else:
                found.setdefault(step.trial.uid, []).append(step)
        return found

    def _look(self, meter: Meter, steps: dict[str, list[Sampling]]) -> None:
        self._tick += 1
        now = time.monotonic()
        watches = {uid: self._watch(uid, now, meter) for uid in steps}
        due = {uid: watch for uid, watch in watches.items() if watch.due <= now + _TICK / 2}
        if not due or now < self._rest:
            return
        begun = time.thread_time()
        reading = meter.read()
        now = time.monotonic()
        self._rest = now + _AT_REST * (time.thread_time() - begun)
        for uid, watch in due.items():
            trial = steps[uid][0].trial
            age = trial.elapsed()
            values = {"cpu": _share(reading.cpu - watch.cpu, now - watch.at), **reading.values}
            watch.at, watch.cpu = now, reading.cpu
            watch.due = now + pause(age)
            trial.sampled(Sample(round(age, 3), values, tuple(step.call for step in steps[uid])))

    def _watch(self, uid: str, now: float, meter: Meter) -> _Watch:
        watch = self._watches.setdefault(uid, _Watch())
        self._watches.move_to_end(uid)
        if len(self._watches) > max(_MOST, len(self.running)):
            self._watches.popitem(last=False)
        if watch.tick != self._tick - 1:  # it has begun, or goes on after a pause
            watch.at, watch.cpu = now, meter.cpu()
            watch.due = max(watch.due, now + _TICK)
        watch.tick = self._tick
        return watch


def _share(used: float, seconds: float) -> float:
    # Of a child that ends at this moment the time may be counted twice: there is no more.
    most = 100.0 * (os.cpu_count() or 1)
    return round(min(most, 100 * max(0.0, used) / seconds), 1)


_sampler = _Sampler()


def _leave_to_the_parent() -> None:
    """In a forked child: there is no thread, and the lock may be held by one that is not here."""
    global _sampler
    _sampler = _Sampler()


platform.at_fork(after_in_child=_leave_to_the_parent)
