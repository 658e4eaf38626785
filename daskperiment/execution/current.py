"""The trial that runs here: in this thread, or in a context copied from it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskperiment.errors import TrialIDNotFoundError
from daskperiment.history import artifacts, metrics
from daskperiment.records import Number
from daskperiment.tracking.inputs import Unseen

if TYPE_CHECKING:
    import numpy as np

    from daskperiment.execution.step import Running

# Set inside the step itself: context variables do not travel to the workers of a cluster.
CURRENT: ContextVar[Running | None] = ContextVar("daskperiment_current", default=None)


class CurrentTrial:
    """The running trial, as the code of its steps sees it."""

    __slots__ = ("_running",)

    def __init__(self, running: Running) -> None:
        self._running = running

    @property
    def number(self) -> Number:
        """Number of the trial; 0 when recording is switched off."""
        return self._running.trial.number

    @property
    def uid(self) -> str:
        """Its identity."""
        return self._running.trial.uid

    @property
    def experiment(self) -> str:
        """Id of its experiment."""
        return self._running.trial.name

    @property
    def seed(self) -> int:
        """Its seed."""
        return self._running.trial.seed

    @property
    def step(self) -> str:
        """Name of the step that runs here."""
        return self._running.call.step.name

    @property
    def call(self) -> int:
        """Which call of the step in graph order, from 0."""
        return self._running.call.call

    def __repr__(self) -> str:
        return f"<trial {self.number} of {self.experiment!r}, in step {self.step!r}>"

    @property
    def parameters(self) -> dict[str, Any]:
        """Values of the trial's parameters."""
        with Unseen():
            return self._running.trial.parameters()

    def rng(self) -> np.random.Generator:
        """Random generator of this step call, seeded for it alone.

        The same object within one call, independent of all others, equal in every run of
        the same trial whatever the scheduler.
        """
        generator: np.random.Generator = self._running.rng()
        return generator

    def log_metric(
        self, name: str, value: float, epoch: int | None = None, *, step: int | None = None
    ) -> None:
        """Save a point of a metric; without an epoch at the one after its last.

        Parameters
        ----------
        name : str
            Any printable name, such as ``train/loss``.
        value : number
            A number, or anything with one ``item()``.
        epoch : int, optional
            Position; ``step`` is another name for it.

        Raises
        ------
        InvalidNameError, TypeError
            The name, epoch or value is none.
        """
        position = _position(epoch, step)
        at = None if position is None else metrics.check_epoch(position)
        point = {metrics.check_name(name): metrics.check_value(value)}
        self._running.save_metrics(point, at)

    def log_metrics(
        self, values: Mapping[str, float], epoch: int | None = None, *, step: int | None = None
    ) -> None:
        """Save a point of several metrics at one epoch; see :meth:`log_metric`."""
        position = _position(epoch, step)
        points = {metrics.check_name(n): metrics.check_value(v) for n, v in values.items()}
        at = None if position is None else metrics.check_epoch(position)
        self._running.save_metrics(points, at)

    def report(self, value: float, epoch: int) -> None:
        """Tell how good the trial is at an epoch, for whoever decides whether it goes on.

        It is a point of the metric ``report``.  Reported again for an epoch, the last value counts.

        Parameters
        ----------
        value : number
            A number, or anything with one ``item()``.
        epoch : int
            Position; count from 1 where a pruner counts what a trial has cost.

        Raises
        ------
        TypeError
            The value or the epoch is none.
        """
        self._running.report(metrics.check_value(value), metrics.check_epoch(epoch))

    def should_prune(self) -> bool:
        """Whether the pruner of its search would end the trial at its latest report.

        Where it says so, ``raise daskperiment.TrialPruned``.  False outside of a search, of one
        without a pruner, and where its store cannot be asked; it raises no error.
        """
        return self._running.should_prune()

    def save_artifact(self, name: str, content: Any) -> None:
        """Keep a file, a folder, bytes or an object under a name with the trial.

        Parameters
        ----------
        name : str
            A relative path such as ``plots/roc.png``.
        content : path, bytes or object
            A ``pathlib.Path``, or text that names an existing file, is streamed; bytes are
            kept as they are; any other object is encoded like a persisted output.

        Raises
        ------
        InvalidNameError
            The name could leave a folder.
        """
        self._running.save_artifact(artifacts.check_name(name), content)

    def checkpoint(self, state: Any, *, keep: bool = False) -> None:
        """Keep a state of the running call, from which a later trial can go on.

        It is kept at once and whole, together with the state of the random generators: of a
        process that is killed meanwhile the checkpoint before is there.  The last three of a call
        are kept until its trial is complete.

        Parameters
        ----------
        state : Any
            Whatever the step needs to go on.
        keep : bool
            Whether it stays, beside the last three and when the trial is complete.

        Raises
        ------
        CheckpointError
            The state cannot be encoded, or holds a secret; earlier ones are still there.
        """
        self._running.checkpoint(state, keep)

    def resume_state(self, default: Any = None) -> Any:
        """The state of the newest checkpoint of this call; the random generators go on there.

        It is one of this trial or of one that has ended and is not COMPLETE, whose call of the
        same step had equal code, equal inputs and the same seed.  One that is damaged, or not
        trusted, is passed over with a warning.

        Parameters
        ----------
        default : Any
            What is returned where there is none.
        """
        return self._running.resume_state(default)

    def artifact_path(self, name: str) -> Path:
        """A path to write a file to, kept under the name when the step ends."""
        return self._running.artifact_path(name)


def current() -> CurrentTrial:
    """The trial that runs here, for code inside steps that has no experiment at hand.

    Raises
    ------
    TrialIDNotFoundError
        No step runs here.  A thread that a step starts itself sees none; pass it on.

    Examples
    --------
    >>> import daskperiment
    >>> ex = daskperiment.Experiment("doc_current", backend="memory://")
    >>> @ex.result
    ... def train(a):
    ...     trial = daskperiment.current()
    ...     trial.log_metric("loss", 1 / a)
    ...     return trial.number, trial.step, trial.parameters
    >>> train(ex.parameter("a", default=4)).compute()
    (1, 'train', {'a': 4})
    """
    running = CURRENT.get()
    if running is None:
        raise _outside("daskperiment.current()", "")
    return CurrentTrial(running)


def current_in(experiment: str, what: str) -> CurrentTrial:
    """The innermost running trial of one experiment.

    Steps of other experiments' trials that run inside it are looked through.

    Raises
    ------
    TrialIDNotFoundError
        None runs here; the message names ``what`` was asked for.
    """
    running = CURRENT.get()
    while running is not None and running.trial.name != experiment:
        running = running.outer
    if running is None:
        raise _outside(what, f" of experiment {experiment!r}")
    return CurrentTrial(running)


def _outside(what: str, where: str) -> TrialIDNotFoundError:
    return TrialIDNotFoundError(f"{what} works only inside a step of a running trial{where}")


def _position(epoch: int | None, step: int | None) -> int | None:
    if epoch is not None and step is not None:
        raise TypeError("epoch and step are two names of one thing: give one of them")
    return step if epoch is None else epoch
