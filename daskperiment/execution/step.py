"""Around one call of a step: seed it, observe it, record it."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from daskperiment.errors import (
    DaskperimentError,
    DaskperimentWarning,
    TrialPruned,
    TrialTimeoutError,
)
from daskperiment.execution import mutation, reuse, stopping
from daskperiment.execution.checkpoints import CallCheckpoints
from daskperiment.execution.current import CURRENT
from daskperiment.execution.offers import NEW
from daskperiment.execution.pruning import Pruning
from daskperiment.execution.shared import SharedCall
from daskperiment.execution.stopping import Deadline, Stop
from daskperiment.fingerprint.values import (
    Known,
    Unhashed,
    digest_of_form,
    form,
    try_digest,
)
from daskperiment.graph import StepCall
from daskperiment.graph.lazy import resolved
from daskperiment.history import artifacts
from daskperiment.history.belongings import Logged
from daskperiment.history.reports import REPORT
from daskperiment.history.steps import output_slot
from daskperiment.records import Argument, CallIdentity, Number, Origin, StepRecord
from daskperiment.secrets import Hidden, hide, holds_living, is_secret, scrub
from daskperiment.serializers import preview
from daskperiment.tracking import environment, seeds
from daskperiment.tracking.inputs import Touched, Unseen, paths_in
from daskperiment.tracking.output import Capture

if TYPE_CHECKING:
    from daskperiment.execution.context import TrialContext

logger = logging.getLogger(__name__)

_PREVIEW = 80

Inputs: TypeAlias = tuple[tuple[Argument, ...], str | None]
"""The arguments of a call, and why one of them has no digest."""


class Host(Protocol):
    """A trial, recorded or not, as one of its running step calls sees it."""

    number: Number
    uid: str
    name: str
    seed: int
    pruning: Pruning | None

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
        self._reports = 0
        self.checkpoints: CallCheckpoints | None = None
        self._folder: Path | None = None
        self._files: list[str] = []
        self._keeps_all = False

    def rng(self) -> Any:
        """The generator of this call, a ``numpy.random.Generator``."""
        return self.draws.rng()

    def checkpoint(self, state: Any, keep: bool) -> None:
        """Keep a state to go on from; dropped while recording is switched off."""
        if self.checkpoints is not None:
            with Unseen():
                self.checkpoints.save(state, keep)

    @property
    def resumed_from(self) -> str | None:
        """Uid of the trial from whose checkpoint it went on."""
        return None if self.checkpoints is None else self.checkpoints.resumed_from

    def resume_state(self, default: Any) -> Any:
        """The newest state of this call, the default where there is none."""
        with Unseen():
            return default if self.checkpoints is None else self.checkpoints.resume(default)

    def save_metrics(self, values: dict[str, int | float], epoch: int | None) -> None:
        """Add a point to each metric."""
        now = time.time()
        with Unseen():
            self.trial.save_metrics(values, epoch, now)
        self.logged.points(values, now)

    def report(self, value: int | float, epoch: int) -> None:
        """Tell how good the trial is so far, which is a point of a metric, too."""
        self._reports += 1
        self.save_metrics({REPORT: value}, epoch)
        if self.trial.pruning is not None:
            self.trial.pruning.report(epoch, value)

    def should_prune(self) -> bool:
        """Whether it should end, by what it and others have reported."""
        if self.trial.pruning is None:
            return False
        with Unseen():
            at = self.call.step.name, self.call.call, self._reports
            return self.trial.pruning.should_prune(at)

    def save_artifact(self, name: str, content: Any) -> None:
        """Keep an artifact."""
        with Unseen():
            self.trial.save_artifact(name, content)
        self.logged.artifact(name)

    def artifact_path(self, name: str) -> Path:
        """A file to write; kept under ``name`` when the call ends, also when it fails."""
        artifacts.check_name(name)
        path = self._opened().joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files.append(name)
        return path

    def artifact_folder(self) -> Path:
        """A folder of which each file is kept, under its path in it, also when the call fails."""
        self._keeps_all = True
        return self._opened()

    def _opened(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="daskperiment-"))
        return self._folder

    def _left(self, folder: Path) -> Iterator[str]:
        yield from self._files
        if self._keeps_all:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    yield path.relative_to(folder).as_posix()

    def leave(self) -> None:
        """Keep the files that the call has written, and remove its folder in any case."""
        if self._folder is None:
            return
        try:
            for name in dict.fromkeys(self._left(self._folder)):
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


def identity_of(
    call: StepCall, fingerprint: str | None, inputs: Iterable[Argument], seed: int
) -> CallIdentity:
    """What makes another call the same as this one with these inputs and its seed."""
    digests = tuple((argument.name, argument.digest) for argument in inputs)
    return CallIdentity(call.step.name, call.call, fingerprint, digests, seed)


def run_step(trial: TrialContext, call: StepCall, args: tuple[Any, ...], kwargs: Any) -> Any:
    """Run one step call inside a trial and record it.

    The call is seeded, its draws are observed, and its record is added to the trial
    whether it returns or raises.  An exception of the step is raised unchanged, with a
    note that names trial and step.
    """
    recorded = Recorded(trial, call, args, kwargs)
    if (taken := recorded.taken()) is not None:
        return taken.value
    return recorded.run()


def run_anew(
    trial: TrialContext, call: StepCall, args: tuple[Any, ...], kwargs: Any, why: str
) -> Any:
    """Run a step call that was taken from another trial, as its output is gone there."""
    return Recorded(trial, call, args, kwargs, why).run()


class Recorded:
    """A context around one step call of a trial, which ends with its record.

    An exception passes through it, with a note that names trial and step.

    Parameters
    ----------
    trial : TrialContext
        The trial.
    call : StepCall
        The call.
    args, kwargs : tuple, dict
        Its arguments.
    why : str, optional
        Why it runs, where it might have been taken from another trial.

    Attributes
    ----------
    draws : Draws
        Its generators, to be entered inside.
    running : Running
        What its code reaches.
    value : Any
        What it gives, to be set inside.
    touched : Touched or context
        What it touches, as far as that is looked at; to be entered inside.
    """

    def __init__(
        self, trial: TrialContext, call: StepCall, args: tuple[Any, ...], kwargs: dict[str, Any],
        why: str | None = None,
    ) -> None:  # fmt: skip
        self._tell("before_step", trial, call)
        self._arguments = args, kwargs
        self._inputs = inputs, unhashed = digested(
            trial.secret_parameters, call, (*args, *kwargs.values())
        )
        self.draws = draws = seeds.seeded(seed_of(trial.seed, call))
        fingerprint = trial.fingerprints.get(call.step.name)
        self._identity = identity_of(call, fingerprint, inputs, draws.seed)
        self.running = running = Running(trial, call, CURRENT.get(), draws)
        running.checkpoints = CallCheckpoints(
            trial, self._identity, unhashed, draws, running.logged
        )
        self._trial, self._call = trial, call
        self._begin()
        self.value: Any = None
        self._used: tuple[Any, ...] | None = None
        self.touched = _touched(trial, call)
        self._shared: SharedCall | None = None
        self.why = why

    def _begin(self) -> None:
        self._started, self._clock = time.time(), time.perf_counter()

    def run(self) -> Any:
        """Call the function, and record that."""
        trial, call, (args, kwargs) = self._trial, self._call, self._arguments
        if trial.lazy:
            args, kwargs = self._resolved(args, kwargs)
        self._used = (*args, *kwargs.values())
        with self:
            with (
                self.draws, Capture((call.step.name, call.call), trial), _stoppable(call),
                self.touched,
            ):  # fmt: skip
                value = call.step.invoke(*args, **kwargs)
            self.value = value
        return value

    def _resolved(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            args = tuple(map(resolved, args))
            kwargs = {name: resolved(value) for name, value in kwargs.items()}
        except BaseException:  # of a step before it, which had to run after all
            self._release()
            raise
        self._begin()  # what was read or had to run is not of this call
        return args, kwargs

    def taken(self) -> reuse.Taken | None:
        """What another trial has given, which is then recorded as that."""
        trial, call = self._trial, self._call
        taken = reuse.take(trial, call, self._identity) if trial.retried else None
        if (
            taken is None
            and trial.ticket.rules is not None
            and call.step.name in trial.ticket.rules.packages
        ):
            taken = self._take_shared()
        if taken is not None:
            with trial.recording():
                trial.accept(taken, call)
                trial.add(self._reused(taken))
            seconds = time.perf_counter() - self._clock
            self._tell("after_step", trial, call, seconds=seconds, error=None)
        return taken

    def _take_shared(self) -> reuse.Taken | None:
        trial, call = self._trial, self._call
        self._shared = shared = SharedCall(trial, call, self._identity)
        taken = shared.take(self._arguments)
        if taken is not None:
            reuse.tell(taken)
            return taken
        self.why = shared.why
        if self.why not in (None, NEW):
            logger.info("%s runs: %s", call.step.name, scrub(self.why))
        self._begin()  # it may have waited for others
        return None

    def _reused(self, taken: reuse.Taken) -> StepRecord:
        seconds = time.perf_counter() - self._clock
        self.running.logged.carried(taken.belongings)
        arguments, _ = self._inputs
        return _reused(self.running, self._trial, arguments, self._started, seconds, taken)

    def __enter__(self) -> None:
        self._token = CURRENT.set(self.running)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        seconds = time.perf_counter() - self._clock
        CURRENT.reset(self._token)
        trial, inputs = self._trial, self._inputs
        if error is not None:
            _note(error, trial, self._call)
        with trial.recording():
            try:
                with Unseen():
                    self.running.leave()
                self._end(error, inputs, seconds)
            finally:
                self._release()
        self._tell("after_step", trial, self._call, seconds=seconds, error=error)

    def _end(self, error: BaseException | None, inputs: Inputs, seconds: float) -> None:
        running, trial, call, begun = self.running, self._trial, self._call, self._started
        if error is not None:
            outcome = "pruned" if isinstance(error, TrialPruned) else "failed"
            end = seconds, outcome, None, inputs[1]
            looks = isinstance(error, Exception) and call.step.audited
            noted = self._noted() if looks else {}  # whoever interrupts waits for no file
            record = _record(running, trial, inputs[0], begun, *end)
            trial.add(record._replace(why=self.why, **noted))
            return
        shared, touched = self._shared, self.touched
        more: dict[str, Any] = {"why": self.why, **self._noted()}
        if self._used is not None and (mutated := mutation.changed(inputs[0], self._used)):
            more["mutated"] = mutated
        if shared is None or not isinstance(touched, Touched):
            keep(running, trial, inputs, begun, seconds, self.value, more)
            return
        record, found = keep(running, trial, inputs, begun, seconds, self.value, more, keeps=True)
        trial.commit([])
        if (doubt := touched.doubt(begun)) is not None:
            logger.info("%s is not taken from here: %s", record.step, doubt)
        else:
            shared.done(record, found)

    def _noted(self) -> dict[str, Any]:
        """Fields of the record that tell what it has touched."""
        touched = self.touched
        if not isinstance(touched, Touched) or not (touched.audited or self._shared):
            return {}
        files = touched.files()
        if not touched.audited:
            return {"files": files} if files else {}
        args, kwargs = self._arguments
        used = (*args, *kwargs.values()) if self._used is None else self._used
        given = paths_in(used) if files else ()
        return {"files": files, "touched": touched.document(given)}

    def _release(self) -> None:
        if self._shared is not None:
            self._shared.release()

    def _tell(self, hook: str, trial: TrialContext, call: StepCall, **how: Any) -> None:
        if trial.callbacks:
            about = {"step": call.step.name, "call": call.call, "trial": trial.number}
            trial.callbacks.tell(hook, **about, **how)


def keep(
    running: Running, trial: TrialContext, inputs: Inputs, started: float, seconds: float,
    value: Any, more: dict[str, Any] | None = None, keeps: bool = False,
) -> tuple[StepRecord, tuple[str, bytes] | None]:  # fmt: skip
    """Record a call that has ended, and keep its value where that is asked for.

    ``more`` are further fields of the record; ``keeps`` keeps the value of any step.

    Returns
    -------
    record, form : StepRecord, tuple or None
        The record; scheme and form of the value, None where it has none.
    """
    call, (arguments, unhashed) = running.call, inputs
    found, reason = _form(Hidden(value) if holds_living(value) else value)
    kept = None
    if call.step.persist or ((keeps or call.step.compare is not None) and not call.final):
        kept = trial.keep(output_slot(call.step.name, call.call), value)
    if call.final:
        trial.keep_result(value)
    end = seconds, "ran", found and digest_of_form(*found), unhashed or reason, kept
    record = _record(running, trial, arguments, started, *end)
    spare = True if kept is not None and not call.step.persist else None
    record = record._replace(spare=spare, **(more or {}))
    trial.add(record)
    return record, found


def _form(value: Any) -> tuple[tuple[str, bytes] | None, str | None]:
    try:
        return form(value, "output"), None
    except Unhashed as error:
        return None, str(error)


_NEVER = nullcontext()


def _touched(trial: TrialContext, call: StepCall) -> AbstractContextManager[Any]:
    audited = call.step.audited is not None
    return _NEVER if trial.ticket.rules is None and not audited else Touched(audited)


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
    return record._replace(
        drew=before.drew, reused_from=taken.origin, saved=reuse.saved(before), files=before.files,
        touched=before.touched,
    )  # fmt: skip


def digested(secret: Collection[str], call: StepCall, values: Iterable[Any]) -> Inputs:
    """The arguments of a call as they are recorded, and why one has no digest.

    ``secret`` are the names of the parameters that are secret.
    """
    arguments: list[Argument] = []
    unhashed: str | None = None
    for (name, origins, keyword), given in zip(call.inputs, values, strict=True):
        lazy = issubclass(type(given), Known)  # some values answer no question
        value = given if lazy else _hidden(secret, name, origins, given)
        found, reason = try_digest(value, name)
        unhashed = unhashed or reason
        shown = repr(value)[:_PREVIEW] if lazy else preview(value, _PREVIEW)
        arguments.append(Argument(name, found, shown, origins, keyword))
    return tuple(arguments), unhashed


def _hidden(secret: Collection[str], name: str, origins: tuple[Origin, ...], value: Any) -> Any:
    """The value, hidden when it was made from a secret, holds one, or has the name of one."""
    if is_secret(value):
        return value
    parameters = {origin[1] for origin in origins if origin[0] == "parameter"}
    if not parameters.isdisjoint(secret) or holds_living(value):
        return Hidden(value)
    return value if parameters else hide(name, value)


def _note(error: BaseException, trial: TrialContext, call: StepCall) -> None:
    note = f"in step {call.step.name!r} of trial {trial.number} of experiment {trial.name!r}"
    with suppress(Exception):  # of an exception class that has its own idea of notes
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
