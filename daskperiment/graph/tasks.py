"""The nodes of a graph: what stands in its holes, around foreign nodes, and for a step call."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from dask.task_spec import Task

from daskperiment.errors import ParameterUndefinedError
from daskperiment.graph.lazy import Resolve, resolved
from daskperiment.namespace import namespaced
from daskperiment.records import Origin
from daskperiment.typing import Audit

if TYPE_CHECKING:
    from daskperiment.graph.node import Node
    from daskperiment.graph.step import Step

GraphKey: TypeAlias = Any
Input: TypeAlias = tuple[str, tuple[Origin, ...], bool]
"""Name of an argument, what it was made from, and whether it is passed by name."""

PLACES = ("id", "run")
"""Arguments that tell a step which configuration of a batch its trial is, and which repeat."""
OUTSIDE = (0, 1)
"""Their values outside of batches."""


class RunningTrial(Protocol):
    """What a graph asks of the trial that travels through it."""

    @property
    def place(self) -> tuple[int, int]:
        """Which configuration of its batch it is, from 0, and which repeat of it, from 1."""

    @property
    def lazy(self) -> bool:
        """Whether outputs of steps may be lazy."""

    def run(self, call: StepCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one step call and record it."""

    def complete(self) -> None:
        """End the trial as COMPLETE."""

    def fail(self, error: BaseException) -> None:
        """Note that a node failed; a later :meth:`complete` overrides it."""


class Owner(Protocol):
    """What a graph asks of the experiment that it belongs to."""

    id: str
    handle: str

    def values(self) -> dict[str, Any]:
        """Values of the parameters now; undefined ones are absent."""

    def begin(
        self, steps: Mapping[str, Step[..., Any]], values: dict[str, Any], graph: bytes | None
    ) -> Beginning:
        """Prepare a trial: all that must be known before it has a number."""

    def built(self, result: Node) -> None:
        """Take note of a result that was built."""

    def compute(self, node: Node, **arguments: Any) -> Any:
        """Compute a node, as a trial when it holds a result."""

    @property
    def backend(self) -> Any:
        """Where trials are recorded."""

    @property
    def audit(self) -> Audit:
        """Whether it is noted what steps touch that do not say so themselves."""

    def attempt(
        self, node: Node, task: Any, captured: Any, backend: Any, callbacks: Any, began: Any
    ) -> Any:
        """Run one trial of a batch."""


class Beginning(Protocol):
    """A trial about to begin; pickled, it can be started once however often it is sent."""

    def start(self) -> RunningTrial:
        """Insert the RUNNING row and return the trial."""

    def announce(self) -> Any:
        """Do here what needs the driver, as it will be started in another process."""


class Fixed(Task):  # type: ignore[misc]
    """A task that graph optimisers leave alone, so that it can be found and filled later."""

    __slots__ = ()
    block_fusion = True


class NoTrial:
    """Task of the trial's hole in a graph that is computed outside a trial."""

    def __call__(self) -> None:
        return None


class Values:
    """Task that gives the parameters' values at the time of computing or of submission.

    Submitted to other processes, the owner is pickled with the values that it has.
    """

    def __init__(self, owner: Owner) -> None:
        self.owner = owner

    def __call__(self) -> dict[str, Any]:
        return self.owner.values()


class Lookup:
    """Task that picks one parameter out of the values."""

    def __init__(self, owner: Owner, name: str) -> None:
        self.experiment = owner.id
        self.handle = owner.handle
        self.name = name

    def __call__(self, values: dict[str, Any]) -> Any:
        try:
            return namespaced(values[self.name])
        except KeyError:
            raise undefined([self.name]) from None


class Begin:
    """Task that starts the trial inside the graph.

    Parameters
    ----------
    owner : Owner
        The experiment.
    steps : mapping of str to Step
        The steps of the graph.
    names : tuple of str
        The parameters that it uses.
    graph : callable
        Gives the recipe of the graph, None where it has none.
    """

    def __init__(
        self, owner: Owner, steps: Mapping[str, Step[..., Any]], names: tuple[str, ...],
        graph: Callable[[], bytes | None],
    ) -> None:  # fmt: skip
        self.owner = owner
        self.steps = steps
        self.names = names
        self.graph = graph
        self.sent: Beginning | None = None

    def __call__(self, values: dict[str, Any]) -> RunningTrial:
        return (self.sent or self._prepare(values)).start()

    def _prepare(self, values: dict[str, Any]) -> Beginning:
        missing = [name for name in self.names if name not in values]
        if missing:
            raise undefined(missing)
        used = {name: values[name] for name in self.names}
        return self.owner.begin(self.steps, used, self.graph())

    def __reduce__(self) -> tuple[Any, ...]:
        # Sent to a cluster, the task may run again after a lost worker: what it will begin is
        # settled here, once, so that a repetition finds the same trial.
        values = {} if self.sent else self.owner.values()
        if not self.sent and any(name not in values for name in self.names):
            return _unprepared, (self.owner, self.steps, self.names)
        return _sent_begin, (self.sent or self._announced(values),)

    def _announced(self, values: dict[str, Any]) -> Beginning:
        beginning = self._prepare(values)
        beginning.announce()
        return beginning


def _unprepared(owner: Owner, steps: Mapping[str, Step[..., Any]], names: tuple[str, ...]) -> Begin:
    return Begin(owner, steps, names, lambda: None)


def _sent_begin(beginning: Beginning) -> Begin:
    begin = Begin.__new__(Begin)
    begin.sent = beginning
    return begin


class Guard:
    """Task around a node that is not ours: its failure is the trial's failure."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    def __call__(self, trial: RunningTrial, /, *args: Any, **kwargs: Any) -> Any:
        try:
            if trial.lazy:
                return Resolve(self.func)(*args, **kwargs)
            return self.func(*args, **kwargs)
        except BaseException as error:
            trial.fail(error)
            raise


class Finish:
    """Task that ends the trial and passes the computed value on."""

    def __call__(self, trial: RunningTrial, value: Any) -> Any:
        value = resolved(value) if trial.lazy else value
        trial.complete()
        return value


class StepCall:
    """Task of one step call.

    Parameters
    ----------
    step : Step
        What is called.
    call : int
        Which call of the step in graph order, from 0.
    final : bool
        Whether the output is the trial's result.
    inputs : tuple of (str, tuple, bool)
        Name and origins of each argument, and whether it is passed by name.
    ends : bool
        Whether the trial is complete after it: true in graphs that somebody else goes on
        composing, where no later node of ours can end it.
    asked : tuple of str
        Names of :data:`PLACES` that the trial gives it, as nothing in the graph does.
    """

    def __init__(
        self,
        step: Step[..., Any],
        call: int = 0,
        final: bool = False,
        inputs: tuple[Input, ...] = (),
        ends: bool = False,
        asked: tuple[str, ...] = (),
    ) -> None:
        self.step = step
        self.handle = step.owner.handle
        self.call = call
        self.final = final
        self.inputs = inputs
        self.ends = ends
        self.asked = asked

    def placed(self, call: int, final: bool, inputs: tuple[Input, ...]) -> StepCall:
        """The same call at its place in a graph."""
        placed = copy.copy(self)
        placed.call, placed.final, placed.inputs, placed.ends = call, final, inputs, False
        return placed

    def ending(self) -> StepCall:
        """The same call, after which the trial is complete."""
        ending = copy.copy(self)
        ending.ends = True
        return ending

    def taking(self, names: Collection[str]) -> StepCall:
        """The same call with values of parameters that the graph has no node for, at the end."""
        taking = copy.copy(self)
        taking.asked = tuple(name for name in self.asked if name not in names)
        inputs = (item for item in self.inputs if item[1] or item[0] not in names)
        others = ((name, (("parameter", name, 0),), True) for name in names)
        taking.inputs = (*inputs, *others)
        return taking

    def completed(self, kwargs: dict[str, Any], place: tuple[int, int]) -> dict[str, Any]:
        """Arguments by name with those that only the place of the trial in a batch gives."""
        if not self.asked:
            return kwargs
        given = dict(zip(PLACES, place, strict=True))
        # Before the others, as in `inputs`.
        return {**{name: given[name] for name in self.asked}, **kwargs}

    @property
    def __name__(self) -> str:
        return self.step.name

    def __call__(self, trial: RunningTrial | None, /, *args: Any, **kwargs: Any) -> Any:
        kwargs = self.completed(kwargs, OUTSIDE if trial is None else trial.place)
        if trial is None:
            return self.step.invoke(*args, **kwargs)
        value = trial.run(self, args, kwargs)
        if self.ends:
            value = resolved(value) if trial.lazy else value
            trial.complete()
        return value


OURS = (NoTrial, Values, Lookup, Begin, Guard, Finish, StepCall)
"""What the tasks of our own nodes call."""


def trial_key(owner: Owner) -> str:
    """Key of the trial in graphs of this handle."""
    return f"daskperiment-trial-{owner.handle}"


def values_key(owner: Owner) -> str:
    """Key of the parameters' values in graphs of this handle."""
    return f"daskperiment-values-{owner.handle}"


def undefined(names: list[str]) -> ParameterUndefinedError:
    """The error for parameters without a value."""
    listed = ", ".join(sorted(names))
    example = ", ".join(f"{name}=..." for name in sorted(names))
    return ParameterUndefinedError(
        f"Parameters are not defined: {listed}. Give them values with "
        f"set_parameters({example}) or compute(parameters={{...}}), or declare a default"
    )
