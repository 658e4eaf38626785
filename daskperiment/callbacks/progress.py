"""A bar that shows how far a batch is."""

from __future__ import annotations

import functools
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard
from weakref import WeakSet

from daskperiment import notebooks, platform
from daskperiment.callbacks.base import BatchView, Callback
from daskperiment.callbacks.scores import check_direction, is_better, score, shown
from daskperiment.history.ranking import Direction
from daskperiment.tracking.output.hooks import RECEIVER

if TYPE_CHECKING:
    from daskperiment.trial import Trial

_DIRECTIONS: tuple[Direction, ...] = ("minimize", "maximize")
_PAUSE = 1.0
"""Seconds between two drawings while no trial begins or ends."""


class Progress(Callback):
    """A bar of what is done, running, failed, skipped, the best score so far and the time left.

    It is shown on stderr if that is a terminal, and in notebooks; elsewhere nothing is.  Lines of
    the log, and warnings, stand above it.

    Parameters
    ----------
    direction : {"minimize", "maximize"}, optional
        Which score is best; without it the lowest and the highest one are shown.
    metric : str, optional
        Compare its last saved value instead of the result.

    Raises
    ------
    CallbackError
        The direction is none of these.

    Examples
    --------
    >>> Progress("maximize", metric="accuracy")
    Progress('maximize', metric='accuracy')
    """

    def __init__(self, direction: Direction | None = None, metric: str | None = None) -> None:
        self.direction = None if direction is None else check_direction(direction)
        self.metric = metric
        self._bar: _Drawn | None = None
        self._scores: dict[str, tuple[float, int]] = {}

    def __repr__(self) -> str:
        return f"Progress({self.direction!r}, metric={self.metric!r})"

    def before_batch(self, *, batch: BatchView) -> None:
        """Draw the bar, if anybody sees it."""
        self._close()
        self._scores = {}
        for trial in batch.trials:
            self._compare(trial)
        if is_seen():
            self._bar = _Drawn(batch, self._best)

    def before_trial(self, *, batch: BatchView | None, **rest: Any) -> None:
        """Draw what runs."""
        if batch is not None and self._bar is not None:
            self._bar.draw()

    def after_trial(self, *, trial: Trial, batch: BatchView | None) -> None:
        """Draw what has ended."""
        if batch is not None and self._bar is not None:
            self._compare(trial)
            self._bar.draw()

    def after_batch(self, *, batch: BatchView) -> None:
        """Leave the bar as it is."""
        self._close()

    def aside(self) -> AbstractContextManager[None]:
        """A block in which others write where the bar is."""
        return nullcontext() if self._bar is None else self._bar.aside()

    def _close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def _compare(self, trial: Trial) -> None:
        value = score(trial, self.metric)
        if value is None:
            return
        for direction in _DIRECTIONS:
            best = self._scores.get(direction)
            if best is None or is_better(value, best[0], direction):
                self._scores[direction] = (value, trial.number)

    def _best(self) -> str:
        if not self._scores:
            return ""
        if self.direction is not None:
            value, number = self._scores[self.direction]
            return f"best {shown(value)} (trial {number})"
        low, high = (shown(value) for value, _ in self._scores.values())
        return f"scores {low}" if low == high else f"scores {low} to {high}"


class _Drawn:
    """The bar on the screen, drawn anew each second, below the lines of the log and warnings."""

    def __init__(self, batch: BatchView, best: Callable[[], str]) -> None:
        self._batch = batch
        self._best = best
        kind = _bar_class(in_widgets=notebooks.is_kernel() and find_spec("ipywidgets") is not None)
        self._bar = kind(
            total=batch.total, initial=batch.skipped, desc=batch.experiment, unit=" trials",
            file=sys.stderr, dynamic_ncols=True, smoothing=0, postfix=self._counts(),
        )  # fmt: skip
        self._loggers = (logging.getLogger(), logging.getLogger("daskperiment"))
        for logger in self._loggers:
            logger.handlers = [
                _Above(each, self.aside) if _is_console(each) else each for each in logger.handlers
            ]
        self._showwarning, self._covering = warnings.showwarning, self._show_above
        warnings.showwarning = self._covering
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._keep_drawing, name="daskperiment-progress", daemon=True
        )
        self._thread.start()

    def draw(self) -> None:
        """Draw how things stand."""
        batch = self._batch
        with self._bar.get_lock():
            self._bar.n = batch.done + batch.failed + batch.skipped
            self._bar.set_postfix_str(self._counts(), refresh=False)
            self._bar.refresh(nolock=True)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A block in which others write where the bar is."""
        with self._bar.get_lock():
            with _uncaptured():
                self._bar.clear(nolock=True)
            try:
                yield
            finally:
                with _uncaptured():
                    self._bar.refresh(nolock=True)

    def close(self) -> None:
        """Draw it for the last time, and let others write as before."""
        self._closed.set()
        self._thread.join()
        for logger in self._loggers:
            logger.handlers = [
                each.inner if isinstance(each, _Above) and each.aside == self.aside else each
                for each in logger.handlers
            ]
        if warnings.showwarning is self._covering:
            warnings.showwarning = self._showwarning
        self.draw()
        self._bar.close()

    def _show_above(self, *args: Any, **kwargs: Any) -> None:
        with self.aside():
            self._showwarning(*args, **kwargs)

    def _keep_drawing(self) -> None:
        with suppress(OSError, ValueError):  # the terminal is gone
            while not self._closed.wait(_PAUSE):
                self.draw()

    def _counts(self) -> str:
        names = ("running", "pruned", "failed", "skipped")
        counts = {name: getattr(self._batch, name) for name in names}
        told = [f"{name} {count}" for name, count in counts.items() if count]
        return ", ".join([*told, *filter(None, [self._best()])])


def is_seen() -> bool:
    """Whether there is anybody to see a bar: a terminal or a notebook."""
    return notebooks.is_kernel() or bool(sys.stderr is not None and sys.stderr.isatty())


@functools.cache
def _bar_class(in_widgets: bool) -> Any:
    if in_widgets:
        from tqdm.notebook import tqdm
    else:
        from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        # Its own: tqdm's are shared with other processes, where one that is killed while it
        # holds the lock would stop this one for ever.
        monitor_interval = 0
        _instances: ClassVar[WeakSet[Any]] = WeakSet()
        _lock = threading.RLock()

    def leave_to_the_parent() -> None:
        for bar in list(Bar._instances):
            bar.disable = True
        Bar._instances, Bar._lock = WeakSet(), threading.RLock()

    # A child that is made while the bar is written would wait for its stderr for ever.
    platform.at_fork(
        before=lambda: Bar._lock.acquire(),
        after_in_parent=lambda: Bar._lock.release(),
        after_in_child=leave_to_the_parent,
    )
    return Bar


class _Above(logging.Handler):
    """Handles records by another handler, while the bar is out of its way."""

    def __init__(
        self, inner: logging.StreamHandler[Any], aside: Callable[[], AbstractContextManager[None]]
    ) -> None:
        super().__init__(inner.level)
        self.inner = inner
        self.aside = aside

    def handle(self, record: logging.LogRecord) -> bool:
        # Without a lock of its own: a warning that is logged takes that of the bar first.
        with self.aside():
            return bool(self.inner.handle(record))


def _is_console(handler: logging.Handler) -> TypeGuard[logging.StreamHandler[Any]]:
    streams = (sys.stdout, sys.stderr)
    return isinstance(handler, logging.StreamHandler) and any(handler.stream is s for s in streams)


@contextmanager
def _uncaptured() -> Iterator[None]:
    """A block in which nothing that is written is the output of a step."""
    token = RECEIVER.set(None)
    try:
        yield
    finally:
        RECEIVER.reset(token)
