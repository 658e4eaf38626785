"""Around one call of a step: seed it, observe it, record it."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from daskperiment.errors import DaskperimentError, DaskperimentWarning, TrialTimeoutError
from daskperiment.execution import reuse, stopping
from daskperiment.execution.checkpoints import CallCheckpoints
from daskperiment.execution.current import CURRENT
from daskperiment.execution.stopping import Deadline, Stop
from daskperiment.fingerprint.values import try_digest
from daskperiment.graph import StepCall
from daskperiment.history import artifacts
from daskperiment.history.belongings import Logged
from daskperiment.history.steps import output_slot
from daskperiment.records import Argument, CallIdentity, Number, Origin, StepRecord
from daskperiment.secrets import Hidden, hide, holds_living, is_secret
from daskperiment.serializers import preview
from daskperiment.tracking import environment, seeds
from daskperiment.tracking.output import Capture

if TYPE_CHECKING:
    from daskperiment.execution.context import TrialContext

logger = logging.getLogger(__name__)

_PREVIEW = 80


class Host(Protocol):
    """A trial, recorded or not, as one of its running step calls sees it."""

    number: Number
    uid: str
    name: str
    seed: int

    def parameters(self) -> dict[str, Any]:
        """Values of the trial's parameters."""

    def save_metrics(
        self, values: dict[str, int | float], epoch: int | None, now: float | None = None
    ) -> None:
        """Add a point to each metric."""

    def save_artifact(self, name: str, content: Any) -> None:
        """Keep an artifact."""


class Running:
    """One step call while it runs: what its code reaches through the experiment."""

    def __init__(
        self,
        trial: Host,
        call: StepCall,
        outer: Running | None,
        draws: seeds.Draws,
    ) -> None:
        self.trial = trial
        self.call = call
        self.outer = outer
        self.draws = draws
        self.logged = Logged()
        self.checkpoints: CallCheckpoints | None = None
        self._folder: Path | None = None
        self._files: list[str] = []

    def rng(self) -> Any:
        """The generator of this call, a ``numpy.random.Generator``."""
        return self.draws.rng()

    def checkpoint(self, state: Any, keep: bool) -> None:
        """Keep a state to go on from; dropped while recording is switched off."""
        if self.checkpoints is not None:
            self.checkpoints.save(state, keep)

    @property
    def resumed_from(self) -> str | None:
        """Uid of the trial from whose checkpoint it went on."""
        return None if self.checkpoints is None else self.checkpoints.resumed_from

    def resume_state(self, default: Any) -> Any:
        """The newest state of this call, the default where there is none."""
        return default if self.checkpoints is None else self.checkpoints.resume(default)

    def save_metrics(self, values: dict[str, int | float], epoch: int | None) -> None:
        """Add a point to each metric."""
        now = time.time()
        self.trial.save_metrics(values, epoch, now)
        self.logged.points(values, now)

    def save_artifact(self, name: str, content: Any) -> None:
        """Keep an artifact."""
        self.trial.save_artifact(name, content)
        self.logged.artifact(name)

    def artifact_path(self, name: str) -> Path:
        """A file to write; kept under ``name`` when the call ends, also when it fails."""
        artifacts.check_name(name)
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="daskperiment-"))
        path = self._folder.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files.append(name)
        return path

    def leave(self) -> None:
        """Keep the files that the call has written, and remove its folder in any case."""
        if self._folder is None:
            return
        try:
            for name in dict.fromkeys(self._files):
                self._keep(name, self._folder.joinpath(*name.split("/")))
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _keep(self, name: str, path: Path) -> None:
        if not path.exists():
            return
        try:
            self.save_artifact(name, path)
        except (DaskperimentError, OSError) as error:
            message = f"Artifact {name!r} of trial {self.trial.number} was not kept: {error}"
            logger.error("%s", message)
            with suppress(DaskperimentWarning):  # made an error, it would end the step
                warnings.warn(message, DaskperimentWarning, stacklevel=2)


def seed_of(trial_seed: int, call: StepCall) -> int:
    """The seed of a step call: the result step has the trial's own."""
    return trial_seed if call.final else seeds.derive(trial_seed, call.step.name, call.call)


def run_step(trial: TrialContext, call: StepCall, args: tuple[Any, ...], kwargs: Any) -> Any:
    """Run one step call inside a trial and record it.

    The call is seeded, its draws are observed, and its record is added to the trial
    whether it returns or raises.  An exception of the step is raised unchanged, with a
    note that names trial and step.
    """
    inputs, unhashed = _inputs(trial, call, (*args, *kwargs.values()))
    draws = seeds.seeded(seed_of(trial.seed, call))
    identity = CallIdentity(
        call.step.name, call.call, trial.fingerprints.get(call.step.name),
        tuple((argument.name, argument.digest) for argument in inputs), draws.seed,
    )  # fmt: skip
    running = Running(trial, call, CURRENT.get(), draws)
    started, clock = time.time(), time.perf_counter()
    if trial.retried and (taken := reuse.take(trial, call, identity)) is not None:
        with trial.recording():
            running.logged.carried(taken.belongings)
            trial.accept(taken, call)
            seconds = time.perf_counter() - clock
            trial.add(_reused(running, trial, inputs, started, seconds, taken))
        return taken.value
    running.checkpoints = CallCheckpoints(trial, identity, unhashed, draws, running.logged)
    token = CURRENT.set(running)
    try:
        with draws, Capture((call.step.name, call.call), trial), _stoppable(call):
            value = call.step.fn(*args, **kwargs)
    except BaseException as error:
        seconds = time.perf_counter() - clock
        CURRENT.reset(token)
        _note(error, trial, call)
        with trial.recording():
            running.leave()
            trial.add(_record(running, trial, inputs, started, seconds, "failed", None, unhashed))
        raise
    seconds = time.perf_counter() - clock
    CURRENT.reset(token)
    with trial.recording():
        running.leave()
        output, reason = try_digest(Hidden(value) if holds_living(value) else value, "output")
        kept = None
        if call.step.persist:
            kept = trial.keep(output_slot(call.step.name, call.call), value)
        if call.final:
            trial.keep_result(value)
        reason = unhashed or reason
        trial.add(_record(running, trial, inputs, started, seconds, "ran", output, reason, kept))
    return value


_NEVER = nullcontext()


@contextmanager
def _limited(call: StepCall, seconds: float) -> Iterator[None]:
    stop = stopping.CURRENT.get() or Stop()
    error = TrialTimeoutError(f"Step {call.step.name!r} took longer than its {seconds:g} s.")
    with stop, Deadline(stop, seconds, error, last_resort=True):
        yield


def _stoppable(call: StepCall) -> AbstractContextManager[Any]:
    """What surrounds the function, so that others can end it."""
    if call.step.timeout is not None:
        return _limited(call, call.step.timeout)
    return stopping.CURRENT.get() or _NEVER


def _record(
    running: Running, trial: TrialContext, inputs: tuple[Argument, ...], started: float,
    seconds: float, outcome: str, output: str | None, unhashed: str | None, kept: Any = None,
) -> StepRecord:  # fmt: skip
    process, step, draws = environment.process(), running.call.step, running.draws
    return StepRecord(
        trial=trial.uid, step=step.name, call=running.call.call, inputs=inputs,
        fingerprint=trial.fingerprints.get(step.name), output=output, seed=draws.seed,
        drew=draws.drew, entropy=draws.entropy, threads=environment.threads(),
        environment=trial.environment_here(), host=process["host"], pid=process["pid"],
        started=started, seconds=round(seconds, 9), outcome=outcome, unhashed=unhashed, kept=kept,
        resumed_from=running.resumed_from, logged=running.logged.document(),
    )  # fmt: skip


def _reused(
    running: Running, trial: TrialContext, inputs: tuple[Argument, ...], started: float,
    seconds: float, taken: reuse.Taken,
) -> StepRecord:  # fmt: skip
    before, kept = taken.candidate.record, taken.kept if running.call.step.persist else None
    record = _record(running, trial, inputs, started, seconds, "reused", before.output, None, kept)
    return record._replace(drew=before.drew, reused_from=taken.origin)


def _inputs(
    trial: TrialContext, call: StepCall, values: tuple[Any, ...]
) -> tuple[tuple[Argument, ...], str | None]:
    arguments, unhashed = [], None
    for (name, origins, keyword), given in zip(call.inputs, values, strict=True):
        value = _hidden(trial, name, origins, given)
        found, reason = try_digest(value, name)
        unhashed = unhashed or reason
        arguments.append(Argument(name, found, preview(value, _PREVIEW), origins, keyword))
    return tuple(arguments), unhashed


def _hidden(trial: TrialContext, name: str, origins: tuple[Origin, ...], value: Any) -> Any:
    """The value, hidden when it was made from a secret, holds one, or has the name of one."""
    if is_secret(value):
        return value
    parameters = {origin[1] for origin in origins if origin[0] == "parameter"}
    if parameters & trial.secret_parameters or holds_living(value):
        return Hidden(value)
    return value if parameters else hide(name, value)


def _note(error: BaseException, trial: TrialContext, call: StepCall) -> None:
    note = f"in step {call.step.name!r} of trial {trial.number} of experiment {trial.name!r}"
    with suppress(Exception):  # of an exception class that has its own idea of notes
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
