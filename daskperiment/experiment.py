"""Experiment: the facade over parameters, steps, trials and history."""

from __future__ import annotations

import logging
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from daskperiment.backends import open_backend
from daskperiment.backends.base import Backend
from daskperiment.errors import (
    ComputeArgumentError,
    InvalidNameError,
    TrialIDNotFoundError,
)
from daskperiment.execution.context import Ticket
from daskperiment.execution.current import running_in
from daskperiment.execution.step import Running
from daskperiment.execution.trial import Recorder, compute
from daskperiment.graph import Node, Step, layout_of, undefined
from daskperiment.history import artifacts, metrics, table
from daskperiment.history.trials import Trials
from daskperiment.parameters import UNDEFINED, Declaration, Parameter, Parameters, summary
from daskperiment.records import TrialState
from daskperiment.tracking import code, seeds
from daskperiment.trial import Trial, TrialList

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
Direction = Literal["minimize", "maximize"]

_ID_LENGTH = 64


class Experiment:
    """A named definition: parameters, steps and one result, with the history of its trials.

    Decorated functions become steps; calling them builds a Dask graph, and computing that
    graph is a *trial*, recorded without another line of code.

    Parameters
    ----------
    id : str
        Name of the experiment: an identifier of at most 64 characters.
    backend : str, path, Backend or None
        Where trials are recorded: ``"local"`` or a path for a folder, ``"memory://"``, or a
        Backend.  None takes the environment variable ``DASKPERIMENT_BACKEND``, then
        ``[tool.daskperiment]`` of ``pyproject.toml``, then ``"local"``: the folder
        ``daskperiment_cache`` of the working directory.  Nothing is created before the
        first trial.
    seed : int, optional
        Seed of every trial that is not given its own; None draws one for each.

    Raises
    ------
    InvalidNameError
        The id is no identifier.
    BackendURIError
        The backend argument names none.
    SeedError
        The seed is no integer from 0 to 2**32 - 1.

    Notes
    -----
    A handle may be used from several threads at once; several handles and processes may
    work on one experiment.  Parameter values belong to the handle, not to the id.

    Examples
    --------
    >>> ex = Experiment("doc_experiment", backend="memory://")
    >>> a, b = ex.parameter("a"), ex.parameter("b", default=2)
    >>> @ex
    ... def prepare(a, b):
    ...     return a + b
    >>> @ex.result
    ... def score(s):
    ...     return 10 / s
    >>> s = score(prepare(a, b))
    >>> ex.set_parameters(a=3)
    >>> s.compute(), s.compute(parameters={"a": 8})
    (2.0, 1.0)
    >>> ex.get_history()[["a", "b", "Result", "Success"]]
              a  b  Result  Success
    Trial ID
    1         3  2     2.0     True
    2         8  2     1.0     True
    """

    def __init__(
        self, id: str, backend: str | Path | Backend | None = None, seed: int | None = None
    ) -> None:
        self._define(_check_id(id), open_backend(backend), seed, uuid.uuid4().hex)
        kind = "Loaded existing" if self.trial_id else "Initialized new"
        logger.info("%s experiment: %s", kind, self)

    def _define(self, id: str, backend: Backend, seed: int | None, handle: str) -> None:
        self.id = id
        self.handle = handle
        self.backend = backend
        self.seed = None if seed is None else seeds.check_seed(seed)
        self._parameters = Parameters()
        self._steps: dict[str, Step[..., Any]] = {}
        self._recorder = Recorder(backend, id)
        self._trials = Trials(backend, id)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.id, self.backend, self.seed, self.handle, self._parameters)

    def __repr__(self) -> str:
        where = self.backend.locate(self.id)
        return f"Experiment(id: {self.id}, trial_id: {self.trial_id}, backend: {where})"

    # -- definition -----------------------------------------------------------------------

    def parameter(
        self,
        name: str | Callable[[], Any] | None = None,
        default: Any = UNDEFINED,
        *,
        type: Callable[[Any], Any] | None = None,
        choices: Sequence[Any] | None = None,
        help: str | None = None,
    ) -> Any:
        """Declare a parameter; as a decorator, the function names it and returns its default.

        Parameters
        ----------
        name : str
            Its name.
        default : Any, optional
            Value when none is set; ``None`` is a value.
        type : callable, optional
            A class or converter; values that it would change are refused, text is converted.
        choices : sequence, optional
            The only values allowed.
        help : str, optional
            A sentence for whoever sets it.

        Returns
        -------
        Parameter
            A Delayed that stands for the value; typed as Any, so that it may be passed
            where a step declares the type of the value.

        Raises
        ------
        InvalidNameError
            The name is no printable text of 1 to 250 characters.
        ParameterError
            The default, or the value set so far, does not fit.

        Examples
        --------
        >>> ex = Experiment("doc_parameter", backend="memory://")
        >>> ex.parameter("a")
        Parameter(a: Undefined)
        >>> @ex.parameter(type=float)
        ... def rate():
        ...     return 1
        >>> rate
        Parameter(rate: 1.0<class 'float'>)
        """
        limited = None if choices is None else tuple(choices)

        def from_function(function: Callable[[], Any]) -> Parameter:
            about = help or function.__doc__
            return self._declare(Declaration(function.__name__, function(), type, limited, about))

        if name is None:
            return from_function
        if callable(name):
            return from_function(name)
        return self._declare(Declaration(name, default, type, limited, help))

    def _declare(self, declaration: Declaration) -> Parameter:
        self._parameters.declare(declaration)
        return Parameter(self, declaration.name, self._parameters)

    @overload
    def __call__(self, fn: Callable[P, R]) -> Step[P, R]: ...

    @overload
    def __call__(
        self, fn: None = None, *, name: str | None = None, nout: int | None = None
    ) -> Callable[[Callable[P, R]], Step[P, R]]: ...

    @overload
    def __call__(
        self, fn: Callable[P, R], *, name: str | None = None, nout: int | None = None
    ) -> Step[P, R]: ...

    def __call__(self, fn: Any = None, *, name: str | None = None, nout: int | None = None) -> Any:
        """Decorate a function: every call of it in a trial is a recorded step.

        Parameters
        ----------
        fn : callable
            The function; left out when options are given to a decorator.
        name : str, optional
            Name of the step; default the function's own.
        nout : int, optional
            Number of outputs, so that ``x, y = step(...)`` works.

        Returns
        -------
        Step
            Calling it builds a node of the graph; ``step.fn`` is the plain function.

        Raises
        ------
        StepDefinitionError
            The object cannot be a step; the message says what to do.
        """
        return self._step(fn, name, nout)

    @overload
    def persist(self, fn: Callable[P, R]) -> Step[P, R]: ...

    @overload
    def persist(
        self, fn: None = None, *, name: str | None = None, nout: int | None = None
    ) -> Callable[[Callable[P, R]], Step[P, R]]: ...

    def persist(self, fn: Any = None, *, name: str | None = None, nout: int | None = None) -> Any:
        """Decorate a function as a step whose every output is kept with the trial.

        Read it back by :meth:`get_persisted`.  Not to be confused with ``node.persist()``,
        Dask's method that computes a node and holds its value in memory.
        Options as for a plain step.
        """
        return self._step(fn, name, nout, persist=True)

    @overload
    def result(self, fn: Callable[P, R]) -> Step[P, R]: ...

    @overload
    def result(
        self, fn: None = None, *, name: str | None = None, nout: int | None = None
    ) -> Callable[[Callable[P, R]], Step[P, R]]: ...

    def result(self, fn: Any = None, *, name: str | None = None, nout: int | None = None) -> Any:
        """Decorate a function as the result step: its output is the trial's result.

        Calling it gives a :class:`~daskperiment.graph.Result`, whose ``compute`` runs one
        trial.  Options as for a plain step.
        """
        return self._step(fn, name, nout, is_result=True)

    def _step(self, fn: Any, name: str | None, nout: int | None, **kind: bool) -> Any:
        def decorate(function: Callable[..., Any]) -> Step[..., Any]:
            step = Step(self, function, name=name, nout=nout, **kind)
            self._steps.pop(step.name, None)
            self._steps[step.name] = step
            return step

        return decorate if fn is None else decorate(fn)

    # -- parameters -----------------------------------------------------------------------

    def set_parameters(self, /, **values: Any) -> None:
        """Set values for the next trials: all of them or, when one is wrong, none.

        Raises
        ------
        ParameterUndeclaredError
            A name is not declared; the nearest one is suggested.
        ParameterError
            A value does not fit its declaration.
        """
        self._parameters.set(values)
        logger.info("Updated parameters: %s", summary(self._shown()))

    def _shown(self) -> dict[str, Any]:
        values = self._parameters.values()
        return {name: values.get(name, UNDEFINED) for name in self._parameters.declared}

    def get_parameters(self, trial_id: int | None = None) -> dict[str, Any]:
        """Values of a trial, or the current ones; those without a value as ``Undefined``."""
        return self._shown() if trial_id is None else self[trial_id].parameters

    def check_executable(self) -> None:
        """Raise ParameterUndefinedError when a declared parameter has no value."""
        if missing := self._parameters.undefined():
            raise undefined(missing)

    # -- running: what the graph asks of its experiment -------------------------------------

    def values(self) -> dict[str, Any]:
        """Values of the parameters that have one."""
        return self._parameters.values()

    def begin(self, steps: Mapping[str, Step[..., Any]], values: dict[str, Any]) -> Ticket:
        """Prepare a trial of a graph that somebody else computes."""
        return self._recorder.prepare(steps, values, self.seed)

    def compute(self, node: Node, **arguments: Any) -> Any:
        """Compute a node; see :meth:`Node.compute <daskperiment.graph.Node.compute>`."""
        seed, given = arguments.pop("seed"), arguments.pop("parameters")
        self._check_options(arguments)
        layout = layout_of(node)
        values = self.values() | self._parameters.checked(given or {})
        if missing := layout.missing(values):
            raise undefined(missing)
        used = {
            name: values[name] for name in self._parameters.declared if name in layout.parameters
        }
        if not layout.records:
            return compute(layout, None, used, arguments)
        return self._recorder.run(layout, used, self.seed if seed is None else seed, arguments)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        named = [name for name in options if name in self._parameters.declared]
        if named:
            hint = ", ".join(f'"{name}": {options[name]!r}' for name in named)
            raise ComputeArgumentError(
                f"compute() takes no argument {named[0]!r}: to bind parameters for this trial "
                f"write compute(parameters={{{hint}}})"
            )

    # -- inside a step ----------------------------------------------------------------------

    def _running(self, what: str) -> Running:
        running = running_in(self.id)
        if running is None:
            raise TrialIDNotFoundError(
                f"{what} works only inside a step of a running trial of experiment {self.id!r}"
            )
        return running

    @property
    def current_trial_id(self) -> int:
        """Number of the trial that runs here; TrialIDNotFoundError outside a step."""
        return self._running("current_trial_id").trial.number

    def rng(self) -> np.random.Generator:
        """Random generator of the running step call, seeded for it alone.

        The same object within one call, independent of all others, equal in every run of
        the same trial whatever the scheduler.
        """
        generator: np.random.Generator = self._running("rng()").rng()
        return generator

    def save_metric(self, metric_key: str, epoch: int, value: float) -> None:
        """Save a point of a metric of the running trial.

        Parameters
        ----------
        metric_key : str
            Any printable name, such as ``train/loss``.
        epoch : int
            Position.
        value : number
            A number, or anything with one ``item()``.

        Raises
        ------
        TrialIDNotFoundError
            No trial runs here.
        InvalidNameError, TypeError
            The name, epoch or value is none.
        """
        self._save_metrics("save_metric()", {metric_key: value}, epoch)

    def log_metric(
        self, name: str, value: float, epoch: int | None = None, *, step: int | None = None
    ) -> None:
        """Save a point of a metric; without an epoch at the one after its last.

        ``step`` is another name for ``epoch``.  Errors as for :meth:`save_metric`.
        """
        self._save_metrics("log_metric()", {name: value}, _position(epoch, step))

    def log_metrics(
        self, values: Mapping[str, float], epoch: int | None = None, *, step: int | None = None
    ) -> None:
        """Save a point of several metrics at one epoch; see :meth:`log_metric`."""
        self._save_metrics("log_metrics()", values, _position(epoch, step))

    def _save_metrics(self, what: str, values: Mapping[str, Any], epoch: int | None) -> None:
        points = {metrics.check_name(n): metrics.check_value(v) for n, v in values.items()}
        at = None if epoch is None else metrics.check_epoch(epoch)
        self._running(what).trial.save_metrics(points, at)

    def save_artifact(self, name: str, content: Any) -> None:
        """Keep a file, a folder, bytes or an object under a name with the running trial.

        Parameters
        ----------
        name : str
            A relative path such as ``plots/roc.png``.
        content : path, bytes or object
            A ``pathlib.Path``, or text that names an existing file, is streamed; bytes are
            kept as they are; any other object is encoded like a persisted output.

        Raises
        ------
        TrialIDNotFoundError
            No trial runs here.
        InvalidNameError
            The name could leave a folder.
        """
        running = self._running("save_artifact()")
        running.trial.save_artifact(artifacts.check_name(name), content)

    def artifact_path(self, name: str) -> Path:
        """A path for the running step to write a file to, kept when the step ends."""
        return self._running("artifact_path()").artifact_path(name)

    # -- reading back -----------------------------------------------------------------------

    @property
    def trial_id(self) -> int:
        """Number of the last trial, 0 before the first."""
        return self._trials.last()

    @property
    def trials(self) -> TrialList:
        """All trials in the order of their numbers, running ones too."""
        return TrialList(self.backend, self.id)

    def __getitem__(self, trial_id: int) -> Trial:
        """The trial of this number; any integer type, TrialIDNotFoundError for all else."""
        return self.trials[trial_id]

    @property
    def latest(self) -> Trial:
        """The trial with the highest number; TrialIDNotFoundError before the first."""
        if last := self.trial_id:
            return self[last]
        raise TrialIDNotFoundError(f"Experiment {self.id!r} has no trial yet")

    def best(self, direction: Direction, metric: str | None = None) -> Trial:
        """The COMPLETE trial with the best result, or the best last value of a metric.

        Parameters
        ----------
        direction : {"minimize", "maximize"}
            Which end is best.
        metric : str, optional
            Compare its last saved value instead of the result.

        Raises
        ------
        TrialIDNotFoundError
            No complete trial has a number to compare.
        """
        if direction not in ("minimize", "maximize"):
            raise ValueError(f"direction must be 'minimize' or 'maximize', not {direction!r}")
        scores = dict(self._scores(metric))
        if not scores:
            what = "result" if metric is None else f"metric {metric!r}"
            raise TrialIDNotFoundError(f"No complete trial has a number as its {what}")
        choose = min if direction == "minimize" else max
        return self[choose(scores, key=scores.__getitem__)]

    def _scores(self, metric: str | None) -> Iterator[tuple[int, float]]:
        read = metrics.Metrics(self.backend, self.id)
        for number, row in self._trials.find(where={"state": TrialState.COMPLETE.value}):
            if metric is None:
                value = table.COLUMNS["Result"](self.backend, row)
            else:
                points = read.read(row["uid"]).get(metric)
                value = points[-1].value if points else None
            try:
                score = metrics.check_value(value)
            except TypeError:
                continue
            if score == score:
                yield number, score

    def get_history(
        self,
        verbose: bool = False,
        columns: str | Sequence[str] | None = None,
        where: str | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Trials that have ended, one row each.

        Parameters
        ----------
        verbose : bool
            Add ``Seed`` and ``Result Type``.
        columns : sequence of str, optional
            Exactly these columns instead: parameters and any of ``Seed``, ``Result``,
            ``Result Type``, ``Success``, ``Finished``, ``Process Time``, ``Description``,
            ``State``, ``Started``, ``Uid``, ``User``, ``Host``, ``PID``, ``Tags``, ``Note``,
            ``Late``.
        where : str, optional
            A condition such as ``"a > 1 and Success"``; see
            :mod:`daskperiment.history.query`.
        order_by : str or sequence of str, optional
            Columns to sort by, downwards with ``-`` before the name.
        limit : int, optional
            At most so many rows.

        Returns
        -------
        DataFrame
            Index ``Trial ID``.  A column for each parameter, then ``Result``, ``Success``
            (COMPLETE), ``Finished`` (local time), ``Process Time`` and ``Description`` (of a
            failure).  A result that is not plain data is a handle with ``load()``.  A
            parameter named like one of these columns is shown as ``name (parameter)``.

        Raises
        ------
        QueryError
            The condition, order or column cannot be read.
        """
        self._trials.bury()
        return table.read(
            self.backend,
            self._trials,
            list(self._parameters.declared),
            table.VERBOSE if verbose else table.SHORT,
            columns=columns,
            where=where,
            order_by=order_by,
            limit=limit,
        )

    def get_steps(self, trial_id: int) -> pd.DataFrame:
        """Step records of a trial, one row a call, in the order in which the calls ended.

        Columns: ``step``, ``call``, ``attempt``, ``outcome``, ``seconds``, ``seed``,
        ``drew``, ``fingerprint``, ``inputs`` (digests by argument), ``output`` (digest),
        ``parameters``, ``upstream``, ``threads``, ``environment``, ``host``, ``pid``,
        ``started`` (UTC), ``entropy``, ``reused_from``, ``unhashed``.
        """
        return self[trial_id].steps

    def get_persisted(self, step: str, trial_id: int, call: int | None = None) -> Any:
        """Output of a persisted step in a trial; of the last call unless told.

        Raises
        ------
        StepNotFoundError
            The trial kept no output of this step or call.
        ValueNotKeptError
            The output could not be encoded; the message says why.
        """
        return self[trial_id].persisted(step, call)

    def get_code(self, trial_id: int | None = None) -> str:
        """Source of the steps of a trial, or of those defined now."""
        if trial_id is not None:
            return self[trial_id].code
        return code.capture({name: step.fn for name, step in self._steps.items()}).text

    def load_metric(self, metric_key: str, trial_id: int | Iterable[int]) -> pd.DataFrame:
        """One metric of one or several trials as a table.

        Returns
        -------
        DataFrame
            Index ``Epoch``; a column for each trial, the axis named ``Trial ID``.  Of
            several values of one epoch the last one is shown.

        Raises
        ------
        MetricNotFoundError
            None of the trials has the metric.
        TrialIDNotFoundError
            There is no such trial, or only some of them have the metric.
        """
        numbers = list(trial_id) if isinstance(trial_id, Iterable) else [trial_id]
        if not numbers:
            raise TrialIDNotFoundError("No trial was named: give one number or a list of them")
        found = [self[number] for number in numbers]
        uids = {trial.number: trial.uid for trial in found}
        return metrics.Metrics(self.backend, self.id).frame(metrics.check_name(metric_key), uids)


def _rebuilt(
    id: str, backend: Backend, seed: int | None, handle: str, parameters: Parameters
) -> Experiment:
    experiment = Experiment.__new__(Experiment)
    experiment._define(id, backend, seed, handle)
    experiment._parameters = parameters
    return experiment


def _position(epoch: int | None, step: int | None) -> int | None:
    if epoch is not None and step is not None:
        raise TypeError("epoch and step are two names of one thing: give one of them")
    return step if epoch is None else epoch


def _check_id(id: object) -> str:
    if isinstance(id, str):
        normal = unicodedata.normalize("NFKC", id)
        if normal.isidentifier() and len(normal) <= _ID_LENGTH:
            return normal
    raise InvalidNameError(
        f"Experiment ID must be a text that is a Python identifier of at most {_ID_LENGTH} "
        f"characters, such as 'quickstart', not {str(id)[:80]!r}"
    )
