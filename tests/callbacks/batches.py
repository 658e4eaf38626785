"""A batch that runs real trials one after the other, and is what callbacks see of one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from daskperiment import Experiment, Trial
from daskperiment.callbacks import Callbacks


class Batch:
    """Trials of one graph, in this thread; callbacks are told as ``ex.map`` tells them."""

    def __init__(
        self, ex: Experiment, node: Any, places: Iterable[Mapping[str, Any]], *callbacks: object
    ) -> None:
        self.experiment = ex.id
        self.started = time.monotonic()
        self.trials: list[Trial] = []
        self.done = self.pruned = self.failed = self.running = self.skipped = 0
        self.reason: str | None = None
        self._ex, self._node, self._places = ex, node, list(places)
        self._callbacks = Callbacks(callbacks)

    @property
    def total(self) -> int:
        return len(self._places)

    def stop(self, reason: str) -> None:
        self.reason = self.reason or reason

    def run(self) -> Batch:
        """Run them all, or as many as callbacks let begin."""
        self._callbacks.tell("before_batch", batch=self)
        for values in self._places[self.skipped :]:
            if self.reason is None:
                self._begin(values)
        self._callbacks.tell("after_batch", batch=self)
        return self

    def _begin(self, values: Mapping[str, Any]) -> None:
        told = {"experiment": self.experiment, "parameters": values, "batch": self}
        self._callbacks.tell("before_trial", **told)
        if self.reason is not None:
            return
        self.running = 1
        try:
            self._node.compute(parameters=values)
            self.done += 1
        except ArithmeticError:
            self.failed += 1
        self.running = 0
        self.trials.append(self._ex.latest)
        self._callbacks.tell("after_trial", trial=self._ex.latest, batch=self)


def inverse(ex: Experiment) -> Any:
    """A graph whose result is ``1 / a``, and fails for 0; its metric ``a`` is ``a``."""

    @ex.result
    def invert(a: float) -> Any:
        ex.log_metric("a", a)
        return 1 / a if a != 5 else "no number"

    return invert(ex.parameter("a"))
