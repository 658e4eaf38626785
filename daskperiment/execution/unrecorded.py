"""Trials while recording is switched off: the same values, and nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from daskperiment.execution.current import CURRENT
from daskperiment.execution.pruning import Pruning
from daskperiment.execution.step import Running, seed_of
from daskperiment.execution.trial import compute
from daskperiment.graph import OUTSIDE, Layout, Step, StepCall
from daskperiment.records import Number
from daskperiment.secrets import revealed
from daskperiment.tracking import seeds


class UnrecordedTrial:
    """A trial without a number: its steps are seeded as ever, what they save is dropped."""

    number: Number = 0
    uid = ""
    place = OUTSIDE
    lazy = False
    pruning: Pruning | None = None

    def __init__(self, name: str, seed: int, values: Mapping[str, Any]) -> None:
        self.name = name
        self.seed = seed
        self._values = {name: revealed(value) for name, value in values.items()}

    def start(self) -> UnrecordedTrial:
        """Return the trial itself: there is nothing to begin."""
        return self

    def announce(self) -> None:
        """Do nothing: there is no trial before."""

    @contextmanager
    def running(self, call: StepCall) -> Iterator[Running]:
        """A context in which one step call runs."""
        running = Running(self, call, CURRENT.get(), seeds.seeded(seed_of(self.seed, call)))
        token = CURRENT.set(running)
        try:
            with running.draws:
                yield running
        finally:
            CURRENT.reset(token)
            running.leave()

    def run(self, call: StepCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one step call."""
        with self.running(call):
            return call.step.invoke(*args, **kwargs)

    def parameters(self) -> dict[str, Any]:
        """Values of the trial's parameters."""
        return dict(self._values)

    def save_metrics(
        self, values: Mapping[str, int | float], epoch: int | None, now: float | None = None
    ) -> None:
        """Drop the values."""

    def save_artifact(self, name: str, content: Any) -> None:
        """Drop the artifact."""

    def complete(self) -> None:
        """Do nothing: there is no row to end."""

    def fail(self, error: BaseException) -> None:
        """Do nothing: the error reaches the caller."""


class Bypass:
    """What stands in the place of the recorder while recording is switched off.

    Parameters
    ----------
    name : str
        Id of the experiment.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def prepare(
        self,
        steps: Mapping[str, Step[..., Any]],
        values: Mapping[str, Any],
        seed: int | None,
        loaded: Any = None,
        *,
        callbacks: Any = None,
        handle: Any = None,
        reuse: Any = None,
        graph: Any = None,
    ) -> UnrecordedTrial:
        """Settle the seed of a trial."""
        seeds.install()
        settled = seeds.draw_seed() if seed is None else seeds.check_seed(seed)
        return UnrecordedTrial(self.name, settled, values)

    def redefine(self, old: Step[..., Any], new: Step[..., Any]) -> None:
        """Do nothing."""

    def run(
        self,
        layout: Layout,
        values: dict[str, Any],
        seed: int | None,
        options: Any,
        loaded: Any = None,
        about: Any = None,
        captured: Any = None,
        began: Any = None,
        callbacks: Any = None,
        handle: Any = None,
        alone: bool = False,
        reuse: Any = None,
    ) -> Any:
        """Compute a graph as a trial would."""
        return compute(layout, self.prepare(layout.steps, values, seed), values, options)
