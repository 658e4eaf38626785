"""Experiment: the facade over parameters, steps, trials and history."""

from __future__ import annotations

import difflib
import functools
import logging
import sys
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from daskperiment import caller, logs, notebooks, options, reloads, script
from daskperiment.backends import open_backend
from daskperiment.backends.base import Backend
from daskperiment.backends.memory import MemoryBackend
from daskperiment.callbacks import Callbacks
from daskperiment.errors import (
    BackendUnreachableError,
    BatchArgumentError,
    ComputeArgumentError,
    InvalidNameError,
    ParameterError,
    SearchError,
    StepNotFoundError,
    TrialIDNotFoundError,
)
from daskperiment.execution import batch, jobs, pruning, searching
from daskperiment.execution.attempt import Task
from daskperiment.execution.audit import checked_audit
from daskperiment.execution.block import Block
from daskperiment.execution.context import Ticket
from daskperiment.execution.current import CurrentTrial, current_in
from daskperiment.execution.executors import check_executor, check_gpus, describe_executor
from daskperiment.execution.jobs import OnError
from daskperiment.execution.reuse import Reuse, checked_reuse
from daskperiment.execution.settling import numbered
from daskperiment.execution.shards import Share, check_shard
from daskperiment.execution.surroundings import Surroundings
from daskperiment.execution.trial import Recorder, compute
from daskperiment.execution.unrecorded import Bypass, UnrecordedTrial
from daskperiment.fingerprint.values import try_digest
from daskperiment.graph import Node, Step, StepOptions, check_reuse, layout_of, undefined
from daskperiment.history import metrics, ranking, removal, table
from daskperiment.history.claims import Claims
from daskperiment.history.finished import Finished
from daskperiment.history.places import Trust, check_trust
from daskperiment.history.ranking import Direction
from daskperiment.history.removal import Collected
from daskperiment.history.reports import SEARCH
from daskperiment.history.searches import Searches, SearchRows
from daskperiment.history.spooling import SpoolingBackend, settled, spooling
from daskperiment.history.trials import Trials
from daskperiment.lineage.determinism import Determinism, check_determinism
from daskperiment.lineage.difference import Difference
from daskperiment.lineage.explanation import Explanation
from daskperiment.lineage.impact import Impact, Selector, impact, input_digest, taint
from daskperiment.lineage.plan import Plan, plan
from daskperiment.names import check_name
from daskperiment.namespace import namespaced
from daskperiment.parameters import UNDEFINED, Declaration, Parameter, Parameters, summary
from daskperiment.records import Number
from daskperiment.search.handle import Search
from daskperiment.search.loop import Loop, Terms
from daskperiment.search.objective import Objective, objective_of
from daskperiment.search.pruners import Pruner, check_pruner
from daskperiment.search.rules import OnStop, Rules, check_count
from daskperiment.search.samplers import Samples
from daskperiment.search.space import SearchSpace
from daskperiment.serializers import preview
from daskperiment.targets import Target, Targets, merged
from daskperiment.tracebacks import without_ours
from daskperiment.tracking import code, environment, seeds
from daskperiment.tracking.inputs import Unseen
from daskperiment.trial import Trial, TrialList, check_number
from daskperiment.typing import Audit, Document

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    import optuna
    import pandas as pd
    from matplotlib.figure import Figure

    from daskperiment.dashboard.serving import Dashboard
    from daskperiment.fingerprint.tree import CodeTree

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

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
        Where trials are recorded: ``"local"`` or a path for a folder, ``"memory://"``, the URI
        of a server such as ``redis://host/0``, a live client of one, or a Backend.  None takes
        the environment variable ``DASKPERIMENT_BACKEND``, then ``[tool.daskperiment]`` of
        ``pyproject.toml``, then ``"local"``: the folder ``daskperiment_cache`` of the working
        directory.  Nothing is created before the first trial.
    seed : int, optional
        Seed of every trial that is not given its own; None draws one for each.
    durability : str, optional
        What the records in a local store survive: ``"process"``, the default, for the death of
        the process; ``"power"`` for that of the machine, where each write waits for the disk.
    trust : str
        Which pickles are loaded from a store that others may write to: ``"signed"``, the
        default, those that are signed with your own key or the team's; ``"all"`` any, which
        lets everybody who can write to the store run code here.
    offline : bool
        Whether to record in a spool on this machine and never ask the server; what was recorded
        is brought to it by ``daskperiment sync``.
    strict : bool
        Whether to refuse a server that is set up to lose what it is given, instead of warning.
    callbacks : iterable
        Who is told of batches, trials, steps and metrics; see :meth:`add_callback`.
    reuse : bool
        Whether calls of steps that do not say so themselves, by ``@ex(reuse=...)``, may be taken
        from earlier trials with the same code and inputs, and if they drew random numbers with
        the same seed.
    packages : str
        How exactly the versions of the distributions that a step reaches must be the same for
        that: ``"exact"``, ``"major"`` for their first numbers, or ``"ignore"``.
    reuse_verify : float
        The part of the calls that may be taken which run all the same, from 0 to 1; where one
        gives another output a :class:`~daskperiment.PurityWarning` tells, and the step is taken
        from nowhere any more.
    audit : str, optional
        What becomes of what steps touch beside their arguments: files, environment variables,
        sockets and programs.  ``"warn"`` records it, see :attr:`Trial.inputs
        <daskperiment.Trial.inputs>`, and tells by an
        :class:`~daskperiment.UndeclaredInputWarning`; ``"strict"`` besides lets nobody take such a
        call from there.  Steps may say otherwise, by ``@ex(audit="off")``.

    Raises
    ------
    InvalidNameError
        The id is no identifier.
    BackendURIError
        The backend argument names none, ``durability`` is given for one that has none, or
        ``offline`` for one that is on this machine.
    BackendUnsafeError
        The server is set up to lose what it is given, and ``strict`` is true.
    SeedError
        The seed is no integer from 0 to 2**32 - 1.
    OptionError
        ``trust``, ``reuse``, ``packages``, ``reuse_verify``, ``audit`` or an option from outside
        is none.
    CallbackError
        One of the callbacks is none, or is there twice.

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
        self,
        id: str,
        backend: str | Path | Backend | None = None,
        seed: int | None = None,
        *,
        durability: str | None = None,
        trust: Trust = "signed",
        offline: bool = False,
        strict: bool = False,
        callbacks: Iterable[object] = (),
        reuse: bool = False,
        packages: str = "exact",
        reuse_verify: float = 0.0,
        audit: Audit = None,
    ) -> None:
        name, recording = _check_id(id), options.value("mode") == "enabled"
        check_trust(trust)
        listening, taking = Callbacks(callbacks), checked_reuse(reuse, packages, reuse_verify)
        auditing = checked_audit(audit)
        place = spooling(open_backend(backend, durability), offline, strict)
        earlier = reloads.predecessor(self, name, sys._getframe(1))
        reloads.follow(Step)
        if earlier is None:
            self._define(name, place, seed, uuid.uuid4().hex, recording, trust, listening)
        else:
            self._succeed(earlier, place, seed, recording, trust, listening)
        self._reuse, self.audit = taking, auditing
        if not recording:
            return
        logs.follow()
        kind = "Loaded existing" if self._last() else "Initialized new"
        logger.info("%s experiment: %s", kind, self)

    def _last(self) -> int | None:
        """Highest number of a trial, None while the backend is away."""
        try:
            return self._trials.last()
        except BackendUnreachableError:
            return None

    def _define(
        self,
        id: str,
        backend: Backend,
        seed: int | None,
        handle: str,
        recording: bool,
        trust: Trust,
        callbacks: Callbacks,
    ) -> None:
        self.id = id
        self.handle = handle
        self.backend = backend
        self.seed = None if seed is None else seeds.check_seed(seed)
        self._parameters = Parameters()
        self._steps: dict[str, Step[..., Any]] = {}
        self._recorder = Recorder(backend, id) if recording else Bypass(id)
        self._trials = Trials(backend, id, trust)
        self._targets = Targets(self)
        self._callbacks = callbacks
        self._script = caller.script()

    def _succeed(
        self,
        earlier: Experiment,
        backend: Backend,
        seed: int | None,
        recording: bool,
        trust: Trust,
        callbacks: Callbacks,
    ) -> None:
        """Become one with the handle that the module made before it was reloaded.

        So its nodes and those made anew go together, and values that were set stay.
        """
        parameters, steps = earlier._parameters, earlier._steps
        in_memory = type(backend) is type(earlier.backend) is MemoryBackend
        self.__dict__ = earlier.__dict__
        place = earlier.backend if in_memory else backend
        # Callbacks are those of the module as it is now: it adds its own again.
        self._define(earlier.id, place, seed, earlier.handle, recording, trust, callbacks)
        self._parameters, self._steps = parameters, steps

    def __reduce__(self) -> tuple[Any, ...]:
        recording = isinstance(self._recorder, Recorder)
        trust = self._trials.trust
        parts = (self.id, self.backend, self.seed, self.handle, recording, trust, self._callbacks)
        return _rebuilt, (parts, self._parameters, self._reuse, self.audit)

    def __repr__(self) -> str:
        where = self.backend.locate(self.id)
        last = self._last()
        trial_id = "unknown, as the backend is away" if last is None else last
        waiting = f", unsynced: {self.unsynced}" if self.unsynced else ""
        return f"Experiment(id: {self.id}, trial_id: {trial_id}, backend: {where}{waiting})"

    def _repr_html_(self) -> str:
        about = {
            "History": self.backend.locate(self.id),
            "Trials": self.trial_id,
            "Parameters": summary(self._shown()),
            "Steps": ", ".join(self._steps),
        }
        return notebooks.table(f"Experiment {self.id}", about)

    # -- definition -----------------------------------------------------------------------

    def parameter(
        self,
        name: str | Callable[[], Any] | None = None,
        default: Any = UNDEFINED,
        *,
        type: Callable[[Any], Any] | None = None,
        choices: Sequence[Any] | None = None,
        help: str | None = None,
        secret: bool | None = None,
        space: Any = None,
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
        secret : bool, optional
            Whether steps get the value and records do not.  None: where it is a
            :class:`~daskperiment.Secret`, a token by its shape, or text under a name such as
            ``api_key``; False: names do not count.
        space : Distribution or list, optional
            Values that :meth:`search` tries where it is given no space, such as
            ``Float(1e-5, 1, log=True)``.

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

        def declare(name: str, default: Any, about: str | None) -> Parameter:
            if space is not None:
                SearchSpace({"space": space})  # says what is wrong with it
            return self._declare(
                Declaration(name, default, type, limited, about, secret, space=space)
            )

        def from_function(function: Callable[[], Any]) -> Parameter:
            about = help or function.__doc__
            name, default = function.__name__, function()
            return declare(name, default, about)

        if name is None:
            return from_function
        if callable(name):
            return from_function(name)
        return declare(name, default, help)

    def _declare(self, declaration: Declaration) -> Parameter:
        self._parameters.declare(declaration)
        return Parameter(self, declaration.name, self._parameters)

    @overload
    def __call__(self, fn: Callable[P, R]) -> Step[P, R]: ...

    @overload
    def __call__(
        self, fn: None = None, **options: Unpack[StepOptions]
    ) -> Callable[[Callable[P, R]], Step[P, R]]: ...

    @overload
    def __call__(self, fn: Callable[P, R], **options: Unpack[StepOptions]) -> Step[P, R]: ...

    def __call__(self, fn: Any = None, **options: Unpack[StepOptions]) -> Any:
        """Decorate a function: every call of it in a trial is a recorded step.

        Parameters
        ----------
        fn : callable
            The function; left out when options are given to a decorator.
        name : str, optional
            Name of the step; default the function's own.
        nout : int, optional
            Number of outputs, so that ``x, y = step(...)`` works.
        resources : mapping of str to number, optional
            What each call needs, as ``{"GPU": 1}``: an executor that cannot offer it is refused.
        timeout : float, optional
            Seconds that each call may take; then it is ended by
            :class:`~daskperiment.TrialTimeoutError`.  A thread that computes outside Python
            cannot be ended, and is abandoned in a batch.
        audit : str, optional
            As for the experiment, for this step alone; ``"off"`` where it is not to be looked at.

        Returns
        -------
        Step
            Calling it builds a node of the graph; ``step.fn`` is the plain function.

        Raises
        ------
        StepDefinitionError
            The object cannot be a step; the message says what to do.
        """
        return self._step(fn, **options)

    @overload
    def persist(self, fn: Callable[P, R]) -> Step[P, R]: ...

    @overload
    def persist(
        self, fn: None = None, **options: Unpack[StepOptions]
    ) -> Callable[[Callable[P, R]], Step[P, R]]: ...

    def persist(self, fn: Any = None, **options: Unpack[StepOptions]) -> Any:
        """Decorate a function as a step whose every output is kept with the trial.

        Read it back by :meth:`get_persisted`.  Not to be confused with ``node.persist()``,
        Dask's method that computes a node and holds its value in memory.
        Options as for a plain step.
        """
        return self._step(fn, persist=True, **options)

    @overload
    def result(self, fn: Callable[P, R]) -> Step[P, R]: ...

    @overload
    def result(
        self, fn: None = None, **options: Unpack[StepOptions]
    ) -> Callable[[Callable[P, R]], Step[P, R]]: ...

    def result(self, fn: Any = None, **options: Unpack[StepOptions]) -> Any:
        """Decorate a function as the result step: its output is the trial's result.

        Calling it gives a :class:`~daskperiment.graph.Result`, whose ``compute`` runs one
        trial.  Options as for a plain step.
        """
        return self._step(fn, is_result=True, **options)

    def _step(self, fn: Any, **options: Any) -> Any:
        def decorate(function: Callable[..., Any]) -> Step[..., Any]:
            step = Step(self, function, **options)
            earlier = self._steps.pop(step.name, None)
            self._steps[step.name] = step
            if earlier is not None:
                self._recorder.redefine(earlier, step)
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
        self._log_update()

    def load_parameters(
        self,
        /,
        *sources: str | PathLike[str] | Mapping[str, Any],
        overrides: Mapping[str, Any] | None = None,
        evaluate: bool = False,
    ) -> None:
        """Set values from files for the next trials: all of them or, when one is wrong, none.

        Later sources win, nested mappings are merged, and ``overrides`` come last; loading
        them one after the other is as loading them at once.  The
        merged mapping and the texts of the files are kept with each later trial of this
        handle, see :attr:`Trial.configuration <daskperiment.Trial.configuration>`; what is
        or looks like a secret is masked in them.

        Parameters
        ----------
        *sources : path or mapping
            Files with the suffix ``.toml``, ``.json``, ``.yaml``, ``.yml`` or ``.py``, or
            mappings.  ``model.lr`` is a parameter of that name or a part of ``model``.
        overrides : mapping, optional
            Values by nested or dotted names.
        evaluate : bool
            Whether a Python file may be run; its public names that are data are taken.

        Raises
        ------
        ParameterFileError
            A file cannot be read; the message says where and what was expected.
        ParameterUndeclaredError
            A name is not declared; the nearest one is suggested.
        ParameterError
            A value does not fit its declaration.

        Examples
        --------
        >>> ex = Experiment("doc_load_parameters", backend="memory://")
        >>> ex.parameter("model.lr", type=float), ex.parameter("steps", default=10, type=int)
        (Parameter(model.lr: Undefined), Parameter(steps: 10<class 'int'>))
        >>> ex.load_parameters({"model": {"lr": 1}, "steps": "1e3"}, overrides={"model.lr": 0.5})
        >>> ex.get_parameters()
        {'model.lr': 0.5, 'steps': 1000}
        """
        from daskperiment.configuration import read

        self._parameters.load(read(sources, overrides, evaluate))
        self._log_update()

    def reset_parameters(self, *names: str) -> None:
        """Take back the values that were set for these names, or for all: defaults hold again.

        Without names, files loaded before are no longer kept with later trials.

        Raises
        ------
        ParameterUndeclaredError
            A name is not declared; nothing is reset.
        """
        self._parameters.reset(names)
        self._log_update()

    def _log_update(self) -> None:
        logger.info("Updated parameters: %s", summary(self._parameters.hidden(self._shown())))

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

    def begin(
        self, steps: Mapping[str, Step[..., Any]], values: dict[str, Any],
        graph: bytes | None = None,
    ) -> Ticket | UnrecordedTrial:  # fmt: skip
        """Prepare a trial of a graph that somebody else computes."""
        return self._prepared(self.seed, steps, self._parameters.hidden(values), graph)

    def built(self, result: Node) -> None:
        """Take note of a result that was built: in a script it may wait for its trial."""
        script.built(result, self._parameters, self._script)

    def compute(self, node: Node, **arguments: Any) -> Any:
        """Compute a node; see :meth:`Node.compute <daskperiment.graph.Node.compute>`."""
        seed, given = arguments.pop("seed"), arguments.pop("parameters")
        reuse = arguments.pop("reuse", None)
        self._check_options(arguments)
        layout, used = layout_of(node), self._used(node, given or {})
        if not layout.records:
            return compute(layout, None, used, arguments)
        script.begun(self.backend, self.id, partial(self._plan, node, given or {}, seed, reuse))
        loaded = self._parameters.configuration
        seed = self.seed if seed is None else seed
        return self._recorder.run(
            layout, used, seed, arguments, loaded, callbacks=self._callbacks, handle=self._handle,
            reuse=replace(self._reuse, override=check_reuse(reuse)),
        )  # fmt: skip

    def _handle(self, number: Number, row: Document | None) -> Trial:
        """The trial of a number, which is provisional while its backend is away."""
        trials = self._trials
        return Trial(self.backend, self.id, number, row, trials=trials)  # type: ignore[arg-type]

    def _ended(self, number: int) -> Trial:
        """The trial of a number that has ended, of which nothing is read until it is asked."""
        return Trial(self.backend, self.id, number, trials=self._trials, later=True)

    def _used(self, node: Node, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the parameters that a graph uses."""
        layout = layout_of(node)
        if isinstance(layout.result, Target):
            return layout.result.values(self._parameters, given)
        values = self.values() | self._parameters.checked(given)
        if missing := layout.missing(values):
            raise undefined(missing)
        names = (name for name in self._parameters.declared if name in layout.parameters)
        return self._parameters.hidden({name: namespaced(values[name]) for name in names})

    def attempt(
        self,
        node: Node,
        task: Task,
        captured: code.CodeCapture | None,
        backend: Backend | None,
        callbacks: Callbacks,
        began: Callable[[Number], object],
    ) -> Any:
        """Run one trial of a batch in the calling thread, and return its result.

        ``backend`` records it, where that is not the experiment's; ``callbacks`` are told of its
        steps, and ``began`` its number.
        """
        recorder = self._recorder if backend is None else Recorder(backend, self.id)
        options, loaded = {"scheduler": task.scheduler}, self._parameters.configuration
        seed, used = self._seed(task.seed), self._used(node, task.parameters)
        layout = layout_of(node)
        return recorder.run(
            layout, used, seed, options, loaded, task.about, captured, began,
            callbacks=callbacks, alone=task.repeats,
            reuse=replace(self._reuse, shared=task.shared, within=task.about.get("batch", "")),
        )  # fmt: skip

    def _node(self, target: Any) -> Node:
        """The graph that runs a target: a graph, a function, or a class."""
        node = self._targets.node(target, self._parameters)
        step = layout_of(node).result
        if isinstance(step, Target):
            self._steps[step.name] = step
        return node

    @overload
    def run(self, target: Any, /, *, seed: int | None = None, **values: Any) -> Trial: ...

    @overload
    def run(
        self,
        target: Any,
        parameters: Mapping[str, Any],
        /,
        *,
        seed: int | None = None,
        **values: Any,
    ) -> Trial: ...

    def run(
        self,
        target: Any,
        parameters: Mapping[str, Any] | None = None,
        /,
        *,
        seed: int | None = None,
        **values: Any,
    ) -> Trial:
        """Run one trial of a graph or of a function that was not decorated.

        Parameters
        ----------
        target : Node, callable or class
            What calling a result step has given; or a function, whose arguments are the
            parameters of the trial, declared by their defaults and by annotations such as
            ``int`` and ``float | None``, and whose ``**kwargs`` take all others that are given.
            Arguments ``id`` and ``run`` are the place in a batch, 0 and 1 here.
        parameters : mapping, optional
            Values of parameters.
        seed : int, optional
            Seed of the trial; default the experiment's, else drawn.  Where the target has a
            parameter of this name, it stands in ``parameters``.
        **values
            Values of parameters, too.

        Returns
        -------
        Trial
            The trial.  An exception is raised unchanged, after it has been recorded as FAILED;
            ``TrialPruned``, too, after it has been recorded as PRUNED.

        Raises
        ------
        ParameterUndeclaredError
            The target takes no such parameter; the nearest one is suggested.
        ParameterUndefinedError
            One has neither a value nor a default; no trial is recorded.
        ParameterError
            A value does not fit, or ``seed`` could mean either.
        StepDefinitionError
            The target cannot be run.
        ComputeArgumentError
            The graph has no result, or recording is switched off, so that there is no trial.

        Examples
        --------
        >>> ex = Experiment("doc_run", backend="memory://")
        >>> def train(rate: float, epochs: int = 10):
        ...     return rate * epochs
        >>> ex.run(train, rate=0.5).result
        5.0
        >>> ex.run(train, {"rate": 1}, seed=7).parameters
        {'rate': 1.0, 'epochs': 10}
        """
        node = self._node(target)
        if not isinstance(self._recorder, Recorder):
            raise ComputeArgumentError(
                "Recording is switched off (DASKPERIMENT_MODE=disabled), so that there is no trial "
                "to return: call the function, or compute() the graph"
            )
        if seed is not None and parameters is None and "seed" in layout_of(node).parameters:
            raise ParameterError(
                "seed= is the seed of the trial, and there is a parameter of that name: give "
                'parameters as a mapping, run(..., {"seed": 1}) or run(..., {"seed": 1}, seed=2)'
            )
        given = merged(parameters, values)
        used = self._used(node, given)
        script.begun(self.backend, self.id, partial(self._plan, node, given, seed, None))
        begun: list[Number] = []
        try:
            self._recorder.run(
                layout_of(node), used, self._seed(seed), {}, self._parameters.configuration,
                began=begun.append, callbacks=self._callbacks, handle=self._handle,
                reuse=self._reuse,
            )  # fmt: skip
        except BaseException as error:
            without_ours(error)
            raise
        return self._handle(settled(self.backend, begun[0]), None)

    def trial(
        self,
        parameters: Mapping[str, Any] | None = None,
        /,
        *,
        seed: int | None = None,
        **values: Any,
    ) -> Block:
        """Make a trial of a block of code: ``with ex.trial(a=1) as t:``.

        The block is its one step, named like the function, script or cell that it stands in,
        whose code is recorded.  Inside, everything is as in a step: seeds, output, metrics.

        Parameters
        ----------
        parameters : mapping, optional
            Values of parameters.  Those that are not declared are, then.
        seed : int, optional
            Seed of the trial; default the experiment's, else drawn.
        **values
            Values of parameters, too.

        Returns
        -------
        Block
            The running trial: ``t.parameters``, ``t.log_metric(...)``, ``t.rng()`` and the like;
            ``t.result`` is for assigning.  An exception leaves the block unchanged.

        Raises
        ------
        ParameterError
            A value does not fit its declaration.
        SeedError
            The seed is no integer from 0 to 2**32 - 1.

        Examples
        --------
        >>> ex = Experiment("doc_block", backend="memory://")
        >>> with ex.trial(a=3, seed=1) as t:
        ...     t.log_metric("half", t.parameters["a"] / 2)
        ...     t.result = t.parameters["a"] ** 2
        >>> ex[t.number]
        Trial(1, COMPLETE, experiment='doc_block')
        >>> ex[t.number].result
        9
        """
        frame = sys._getframe(1)
        given = merged(parameters, values)
        self._parameters.imply(given)
        accepted = self._parameters.checked(given)
        used = self._parameters.hidden({n: namespaced(v) for n, v in accepted.items()})
        code, name = caller.enclosing(frame), caller.place_name(frame)
        prepare = functools.partial(self._prepared, self._seed(seed))
        return Block(prepare, self, code, name, used)

    def _prepared(
        self, seed: int | None, steps: Mapping[str, Step[..., Any]], values: Mapping[str, Any],
        graph: bytes | None = None,
    ) -> Ticket | UnrecordedTrial:  # fmt: skip
        script.begun(self.backend, self.id)
        with Unseen():
            return self._recorder.prepare(
                steps, values, seed, self._parameters.configuration,
                callbacks=self._callbacks, handle=self._handle, reuse=self._reuse, graph=graph,
            )  # fmt: skip

    def map(
        self,
        result: Any,
        parameters: Iterable[Mapping[str, Any]],
        executor: Any = None,
        max_workers: int | None = None,
        *,
        repeats: int = 1,
        seed: int | None = None,
        on_error: OnError = "raise",
        skip_completed: bool = False,
        retries: int = 0,
        timeout: float | None = None,
        progress: bool = True,
        callbacks: Sequence[object] = (),
        spread: bool = False,
        gpus: Sequence[Any] | None = None,
        shard: Any = None,
        claim: bool = False,
        share: bool = False,
        pruner: Pruner | None = None,
        direction: Direction = "minimize",
    ) -> list[Trial]:
        """Run many trials at the same time.

        Parameters
        ----------
        result : Node, callable or class
            What calling a result step has given, or what :meth:`run` takes besides.
        parameters : iterable of mapping
            Values of parameters, one mapping for each trial; all are checked before any runs.
        executor : str, Executor or Client, optional
            Where: ``"threads"`` of this process, the default; ``"processes"``, or
            ``"processes:fork"`` and ``"processes:forkserver"`` by their start method; a module
            such as ``torch.multiprocessing``; an executor of :mod:`concurrent.futures`; a
            ``distributed.Client``, or the address of a scheduler.  The steps of one trial run one
            after the other.
        max_workers : int, optional
            How many trials at a time; default as many as there are processors.
        repeats : int
            How many trials for each mapping.
        seed : int, optional
            Seed of each trial; of repeated ones the first has it, and the others have seeds that
            follow from it.  Default the experiment's, else each draws its own.
        on_error : {"raise", "continue"}
            What a trial that fails does to the others: ``"raise"`` begins no more, waits for
            those that run, and raises what the step has raised; ``"continue"`` runs them all.
            One that is PRUNED has not failed.
        skip_completed : bool
            Whether a trial is left out of which a COMPLETE or PRUNED one with equal parameters and
            equal code is there, also with an equal seed where one is asked for.  That one is
            returned in its place.  One of which only a trial is there that has failed, crashed
            or was cancelled is run again, with its seed.
        retries : int
            How often a trial that has failed, or whose process has died, is run again.  Each
            attempt is a trial of its own with the same seed, whose :attr:`Trial.retry_of` names
            the one before.
        timeout : float, optional
            Seconds that a trial may take; then it is ended and FAILED.  A thread that computes
            outside Python cannot be ended, only abandoned: worker processes can.
        progress : bool
            Whether a bar is shown, where there is a terminal or notebook.
        callbacks : sequence
            Who is told what happens, besides those of the experiment; see
            :mod:`daskperiment.callbacks`.
        spread : bool
            Whether the steps of each trial are spread over the workers of a cluster.  Without
            it a trial is one task.
        gpus : sequence, optional
            For ``"processes"``: an entry for each worker, such as ``[0, 0, 1]``; each sees only
            its own, by ``CUDA_VISIBLE_DEVICES``.  Where a step needs GPUs by ``resources=``, the
            default are those that are free.
        shard : tuple of int or str, optional
            ``(0, 3)`` runs every third trial, from the first one on; ``(1, 3)`` and ``(2, 3)``,
            on other computers, run the others.  Default what ``--shard`` says to the command.
        claim : bool
            Whether this shard, when it is done, waits for the others that have begun and takes
            over what a computer that has died leaves undone.
        share : bool
            Whether a call that several of the trials have in common is computed once, by one of
            them, and taken from there by the others, whatever steps say of ``reuse``.  How many
            were is logged in the end.  Outputs of steps that differ between all trials anyway are
            not kept for that.
        pruner : Pruner, optional
            What ``ex.should_prune()`` asks: one of :mod:`daskperiment.search.pruners`.  Trials are
            compared with each other, and with those of other batches of the same trials, code and
            pruner, as are shards and what was resumed.
        direction : {"minimize", "maximize"}
            Which values are good that trials report.

        Returns
        -------
        list of Trial
            In the order given, the repeated ones of a mapping side by side; of a trial that was
            run again the last attempt.  A trial that was not run, as the batch was stopped, is
            left out, as are those of other shards.

        Raises
        ------
        ExecutorError
            There is no such executor.
        BatchArgumentError
            Another argument cannot be used.
        PrunerError
            It is no pruner, or no direction.
        ResourceError
            Nothing there can offer what a step needs.
        ParameterError
            A value is wrong or missing; no trial has begun.
        BatchError
            A process has died, and ``on_error`` is ``"raise"``.
        TrialTimeoutError
            A trial took too long, and ``on_error`` is ``"raise"``.
        KeyboardInterrupt
            After Ctrl-C; no more trials begin, and those that run are ended and CANCELLED.

        Examples
        --------
        >>> ex = Experiment("doc_map", backend="memory://")
        >>> @ex.result
        ... def square(a):
        ...     return a * a
        >>> trials = ex.map(square(ex.parameter("a")), [{"a": 1}, {"a": 2}, {"a": 3}])
        >>> [trial.result for trial in trials]
        [1, 4, 9]
        """
        result = self._node(result)
        check_executor(executor, max_workers)
        given = [dict(values) for values in parameters]
        own = self._seed(seed)
        every = jobs.planned(given, jobs.check_repeats(repeats), own)
        part = check_shard(options.value("shard") if shard is None else shard)
        jobs.check_sharing(part, claim)
        jobs.check_spread(spread, executor)
        seen = check_gpus(gpus, executor)
        used, recorder = [self._used(result, values) for values in given], self._recording()
        captured, kept = recorder.capture(layout_of(result).steps, self._parameters.configuration)
        each = [try_digest(dict(values))[0] for values in used]
        digests = [digest for digest in each for _ in range(repeats)]
        plan = jobs.plan(digests, own)
        mine = every if part is None else every[part[0] :: part[1]]
        skipped = 0
        if skip_completed or claim or options.value("resume"):
            done = Finished(self._trials, {n: s.digest for n, s in captured.steps.items()})
            skipped = jobs.skip(mine, digests, done)
        script.begun(self.backend, self.id)
        told = self._told(callbacks, progress)
        about: Document = {
            "plan": plan, "executor": describe_executor(executor), "session": kept["session"],
        }  # fmt: skip
        if part is not None:
            about["shard"] = f"{part[0]}/{part[1]}"
        uid = uuid.uuid4().hex
        many = batch.Batch(
            result, self._trials, mine, captured, told, self._ended,
            partial(self._used, result), executor, max_workers, seen,
            jobs.check_timeout(timeout), spread, about, skipped,
            uid=uid, share=Share(self._trials, every, part, plan, uid) if claim and part else None,
            shared=jobs.shared(layout_of(result), used, repeats) if share else None,
            rows=pruning.about_batch(plan, captured.digest, pruner, direction),
        )  # fmt: skip
        many.run(jobs.check_on_error(on_error), jobs.check_retries(retries))
        ended = [job for job in many.jobs if job.ended]
        ended.sort(key=lambda job: job.place)
        return [self._ended(number) for number in numbered(self._trials, [j.number for j in ended])]

    def search(
        self,
        result: Any,
        space: Any = None,
        n_trials: int | None = None,
        *,
        sampler: Any = "tpe",
        direction: Direction | None = None,
        metrics: Mapping[str, Direction] | None = None,
        main_metric: str | None = None,
        pruner: Pruner | None = None,
        seed: int | None = None,
        name: str | None = None,
        resume: bool = False,
        enqueue: Iterable[Mapping[str, Any]] = (),
        warm_start: Any = (),
        deterministic: bool | int = False,
        batch_size: int | None = None,
        timeout: float | None = None,
        target: float | None = None,
        patience: int | None = None,
        delta: float = 0.0,
        on_stop: OnStop = "finish",
        executor: Any = None,
        max_workers: int | None = None,
        on_error: OnError = "continue",
        retries: int = 0,
        trial_timeout: float | None = None,
        progress: bool = True,
        callbacks: Sequence[object] = (),
        spread: bool = False,
        gpus: Sequence[Any] | None = None,
        description: str = "",
    ) -> Search:
        """Search for the values of parameters with which a result is best.

        Parameters
        ----------
        result : Node, callable or class
            As for :meth:`map`.
        space : SearchSpace, mapping or list, optional
            What there is to try: a :class:`~daskperiment.search.SearchSpace`, or what makes one.
            Default the ``space=`` of the parameters that the graph uses.
        n_trials : int, optional
            How many trials the search has in the end, those of before included; default all that
            its sampler has, which for a grid is its size.
        sampler : str, mapping or object
            Who suggests: ``"tpe"``, ``"cma-es"``, ``"quasi-random"``, ``"random"``, ``"grid"``,
            ``"list"``, ``"gp"``, ``"forest"``, ``"extra-trees"``, one of
            :mod:`daskperiment.search.samplers` with its options, or any object with a method
            ``sample(space, trials, rng)``.
        direction : {"minimize", "maximize"}
            Which results are good; default ``"minimize"``.
        metrics : mapping of str to direction, optional
            What to look at instead of the result: names of metrics that trials save, or of entries
            of a result that is a mapping, such as ``{"loss": "minimize", "accuracy":
            "maximize"}``.  ``result`` is the result.
        main_metric : str, optional
            The one to search by; default all of them, and :attr:`Search.pareto` has the trials that
            none is better than.
        pruner : Pruner, optional
            What ``ex.should_prune()`` asks; see :meth:`map`.
        seed : int, optional
            From what all suggestions, and the seeds of the trials, follow; default the
            experiment's, else one is drawn.
        name : str, optional
            Its name; default ``search-1`` and so on.
        resume : bool
            Whether a search of that name goes on, or without a name the last one for the same
            space, metrics and sampler.  Trials that were interrupted are run again, with their
            parameters and seeds.  One that is not there begins.
        enqueue : iterable of mapping
            Configurations to try first.
        warm_start : bool, Search, str or iterable
            Trials from which it begins to learn: True for all of the experiment that are COMPLETE
            and lie in the space, a search or its name, or trials or their numbers.
        deterministic : bool or int
            Whether the table of trials is to be the same on any number of workers, and whether it
            was interrupted or not: each suggestion then knows of all trials but the 7 before it,
            which is for 8 workers; a number says for how many.
        batch_size : int, optional
            How many trials begin together and are waited for together; default one begins whenever
            one has ended.
        timeout : float, optional
            Seconds after which no more trials begin.
        target : float, optional
            The value of the metric that is good enough.
        patience : int, optional
            After how many trials that have not been better than the best one it ends.
        delta : float
            By how much a trial must be better for that.
        on_stop : {"finish", "cancel"}
            What becomes of trials that run when it is over, by time or one of these rules.
        executor, max_workers, on_error, retries, progress, callbacks, spread, gpus
            As for :meth:`map`; ``on_error="continue"`` is the default.
        trial_timeout : float, optional
            Seconds that one trial may take.
        description : str
            What it is for.

        Returns
        -------
        Search
            The search, with its trials, the best one, and a table of all.

        Raises
        ------
        SearchSpaceError, SamplerError, SearchError, PrunerError
            An argument cannot be used; nothing has begun.
        ExecutorError, BatchArgumentError, ResourceError, ParameterError, BatchError
            As for :meth:`map`.
        KeyboardInterrupt
            After Ctrl-C; ``resume=True`` goes on from there.

        Examples
        --------
        >>> from daskperiment.search import Float
        >>> ex = Experiment("doc_search", backend="memory://")
        >>> @ex.result
        ... def loss(rate):
        ...     return (rate - 0.3) ** 2
        >>> search = ex.search(
        ...     loss(ex.parameter("rate")), {"rate": Float(0, 1)}, 20, sampler="random", seed=1
        ... )
        >>> len(search.trials), search.best.parameters
        (20, {'rate': 0.3093...})
        """
        result = self._node(result)
        check_executor(executor, max_workers)
        jobs.check_spread(spread, executor)
        seen = check_gpus(gpus, executor)
        chosen, given = self._space(result, space, sampler)
        searched = objective_of(metrics, main_metric, direction)
        window = searching.check_window(deterministic)
        cancels = searching.check_on_stop(on_stop, window)
        asked = self._seed(seed)
        terms = Terms(
            uuid.uuid4().hex, chosen, searched, given,
            seeds.draw_seed() if asked is None else asked, check_count("n_trials", n_trials),
            check_count("batch_size", batch_size), window, Rules(target, patience, delta),
        )  # fmt: skip
        searching.check_terms(terms, jobs.check_timeout(timeout))
        queue = [dict(each) for each in enqueue]
        for each in queue:
            chosen.check(each)
        example = queue[0] if queue else searching.example(chosen, terms.seed)
        searching.check_used(example, self._used(result, example))
        recorder = self._recording()
        captured, stored = recorder.capture(layout_of(result).steps, self._parameters.configuration)
        searches = Searches(self.backend, self.id)
        pruned = pruning.about_search(
            "", None if pruner is None else check_pruner(pruner), searched.sought[0].direction
        )
        document = {
            **searched.document(), "uid": terms.uid, "started": time.time(),
            "space": chosen.document(), "sampler": searching.sampler_document(given),
            "pruner": pruned.get(pruning.PRUNER), "seed": terms.seed, "n_trials": terms.n_trials,
            "batch_size": terms.batch_size, "window": window, "code": captured.digest,
            "stop": {**terms.rules.document(), "timeout": timeout, "on_stop": on_stop},
            "warm": self._warm(warm_start, terms), "description": str(description),
        }  # fmt: skip
        script.begun(self.backend, self.id)
        resume = resume or bool(options.value("resume"))
        named = searching.kept(searches, name, document, resume)
        search = self.get_search(named)
        if search.uid == terms.uid:
            searches.enqueue(terms.uid, queue)
        terms = replace(terms, uid=search.uid, seed=search.seed)
        rows = SearchRows(self._trials, search.uid, searched.names)
        uid = uuid.uuid4().hex
        claims = Claims(self.backend, self.id, search.uid, uid, environment.process())
        loop = Loop(terms, searches, rows, claims, search.warm())
        source = searching.Suggested(
            loop, {**pruned, SEARCH: search.uid}, partial(self._used, result), timeout, cancels
        )
        many = batch.Batch(
            result, self._trials, searching.ended(loop), captured,
            self._told(callbacks, progress, searched), self._ended, partial(self._used, result),
            executor, max_workers, seen, jobs.check_timeout(trial_timeout), spread,
            {"executor": describe_executor(executor), "session": stored["session"],
             SEARCH: search.uid, "name": named},
            len(loop.there), uid=uid, source=source,
        )  # fmt: skip
        many.run(jobs.check_on_error(on_error), jobs.check_retries(retries))
        return search

    def get_search(self, name: str | None = None) -> Search:
        """A search by its name, the last one without.

        Raises
        ------
        SearchError
            There is none.
        """
        if name is None:
            found = Searches(self.backend, self.id).find()
            if not found:
                raise SearchError(f"Experiment {self.id!r} has no search yet: see ex.search()")
            name = found[0][0]
        return Search(self._trials, name, self._ended)

    @property
    def searches(self) -> list[Search]:
        """All searches, the last one first."""
        return [self.get_search(name) for name, _ in Searches(self.backend, self.id).find()]

    def plot(
        self,
        search: Search | str | None = None,
        kind: str = "convergence",
        path: str | PathLike[str] | None = None,
    ) -> Figure:
        """Draw a search, by default the last one; see :meth:`daskperiment.search.Search.plot`.

        Parameters
        ----------
        search : Search or str, optional
            Which one, or its name.
        kind, path
            As there.

        Raises
        ------
        SearchError
            There is none, or it cannot be drawn so.
        """
        found = search if isinstance(search, Search) else self.get_search(search)
        return found.plot(kind, path)

    def import_study(self, study: optuna.Study, name: str | None = None) -> Search:
        """Make trials of those of a study of Optuna, and a search of it.

        Each becomes a trial once, also where that is repeated; such a search can be looked at, and
        others begin from it by ``warm_start=``.

        Parameters
        ----------
        study : optuna.Study
            Of any storage.
        name : str, optional
            Name of the search; default that of the study.

        Returns
        -------
        Search
            With the trials that have ended.

        Raises
        ------
        SearchError
            There is another search of that name, or the study has no trial that has ended.
        SearchSpaceError
            Its parameters are none for a search space; the message says which.

        Examples
        --------
        >>> import optuna
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(study_name="parabola")
        >>> study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=5)
        >>> ex = Experiment("doc_import_study", backend="memory://")
        >>> search = ex.import_study(study)
        >>> search.name, search.space, search.best.result == study.best_value
        ('parabola', SearchSpace({'x': Float(low=-1.0, high=1.0, log=False, step=None)}), True)
        """
        from daskperiment.importers import read_study, record

        reading, document = read_study(study, self.id)
        name, searches = name or study.study_name, Searches(self.backend, self.id)
        check_name(name, "Search")
        if not searches.begin(name, document):
            there = searches.get(name)
            if there is None or there["uid"] != document["uid"]:
                raise SearchError(f"There is a search {name!r} already: give another name=")
            searches.update(name, {"n_trials": document["n_trials"]})
        record(reading, self.backend, self.id)
        return self.get_search(name)

    def _space(self, node: Node, space: Any, sampler: Any) -> tuple[SearchSpace, Samples]:
        """The space of a search, and its sampler."""
        declared = self._parameters.declared
        own = {n: declared[n].space for n in declared if n in layout_of(node).parameters}
        return searching.space_of(own, space, sampler)

    def _warm(self, given: Any, terms: Terms) -> list[Document]:
        """What a search learns from trials that were there before it."""
        if given is False or given == ():
            return []
        if given is True:
            numbers = [number for number, _ in self._trials.find({"state": "COMPLETE"}, [])]
        elif isinstance(given, (str, Search)):
            search = self.get_search(given) if isinstance(given, str) else given
            numbers = [trial.number for trial in search.trials]
        elif isinstance(given, Iterable):
            numbers = [check_number(getattr(each, "number", each)) for each in given]
        else:
            raise SearchError(
                "warm_start is True, a search or its name, or a list of trials or their numbers, "
                f"not {preview(given, 80)}"
            )
        return searching.warm(self._trials, numbers, terms)

    def submit(
        self,
        result: Any,
        parameters: Mapping[str, Any] | None = None,
        executor: Any = None,
        *,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> Future[Trial]:
        """Begin one trial and do not wait for it.

        Parameters
        ----------
        result : Node, callable or class
            What calling a result step has given, or what :meth:`run` takes besides.
        parameters : mapping, optional
            Values of parameters, besides those that are set.
        executor, seed, timeout
            As for :meth:`map`.  Threads and processes of ours are as many as there are
            processors; more trials wait for their turn.

        Returns
        -------
        concurrent.futures.Future
            Its result is the trial, also one that is PRUNED; it raises what a step has raised.

        Raises
        ------
        ExecutorError, BatchArgumentError, ResourceError, ParameterError
            As for :meth:`map`, at once.

        Examples
        --------
        >>> ex = Experiment("doc_submit", backend="memory://")
        >>> @ex.result
        ... def square(a):
        ...     return a * a
        >>> future = ex.submit(square(ex.parameter("a")), {"a": 3})
        >>> future.result().result
        9
        """
        result = self._node(result)
        check_executor(executor, None)
        self._used(result, parameters or {})
        recorder = self._recording()
        captured, _ = recorder.capture(layout_of(result).steps, self._parameters.configuration)
        (job,) = jobs.planned([dict(parameters or {})], 1, self._seed(seed))
        script.begun(self.backend, self.id)
        alone = batch.Alone(
            result, self._trials, captured, self._callbacks, self._ended, executor,
            jobs.check_timeout(timeout),
        )  # fmt: skip
        return alone.submit(job)

    def _recording(self) -> Recorder:
        if isinstance(self._recorder, Recorder):
            return self._recorder
        raise BatchArgumentError(
            "Recording is switched off (DASKPERIMENT_MODE=disabled), so that there are no "
            "trials to return: compute() one by one"
        )

    def _told(
        self, callbacks: Iterable[object], progress: bool, objective: Objective | None = None
    ) -> Callbacks:
        """Who is told of a batch."""
        if progress:
            from daskperiment.callbacks.progress import Progress, is_seen

            known = (*self._callbacks, *callbacks)
            if is_seen() and not any(isinstance(each, Progress) for each in known):
                main = objective.sought[0] if objective and len(objective.sought) == 1 else None
                bar = Progress() if main is None else Progress(main.direction, main.name)
                callbacks = [*callbacks, bar]
        return self._callbacks.joined(callbacks)

    def _seed(self, seed: int | None) -> int | None:
        seed = self.seed if seed is None else seed
        return None if seed is None else seeds.check_seed(seed)

    def _check_options(self, options: Mapping[str, Any]) -> None:
        named = [name for name in options if name in self._parameters.declared]
        if named:
            shown = self._parameters.hidden({name: options[name] for name in named})
            hint = ", ".join(f'"{name}": {preview(value)}' for name, value in shown.items())
            raise ComputeArgumentError(
                f"compute() takes no argument {named[0]!r}: to bind parameters for this trial "
                f"write compute(parameters={{{hint}}})"
            )

    def plan(
        self, result: Any, parameters: Mapping[str, Any] | None = None, seed: int | None = None
    ) -> Plan:
        """What each step call of a trial would do, and why; none of them runs.

        Nothing is written.  Outputs of steps that run, and of functions that are no steps, are
        not known: a call that they go into ``depends`` on them.

        Parameters
        ----------
        result : Node, callable or class
            What calling a result step has given, or what :meth:`run` takes besides.
        parameters : mapping, optional
            Values of parameters, besides those that are set.
        seed : int, optional
            Seed of the trial; default the experiment's.

        Returns
        -------
        Plan
            A row for each call: step, call, action (``reuse``, ``run`` or ``depends``), reason,
            and from the history the seconds that it takes, or that reuse saves, and the bytes
            of its output.

        Raises
        ------
        ParameterError
            A value is wrong or missing.
        ComputeArgumentError
            The graph has no result.
        """
        return self._plan(self._node(result), parameters or {}, seed, None)

    def _plan(
        self, node: Node, given: Mapping[str, Any], seed: int | None, reuse: bool | None
    ) -> Plan:
        layout = layout_of(node)
        if not layout.records:
            raise ComputeArgumentError("plan() takes what calling a result step has given")
        taking = replace(self._reuse, override=check_reuse(reuse))
        recording = taking if isinstance(self._recorder, Recorder) else None
        return plan(layout, self._trials, recording, self._used(node, given), self._seed(seed))

    def main(self, result: Node, argv: Sequence[str] | None = None) -> Any:
        """Run one trial with values and seed from the command line.

        Understood are ``name=value``, ``--seed N`` and ``--help``.  Values are Python
        literals or JSON, made to fit the declared type; all other text is itself.

        Parameters
        ----------
        result : Node
            What calling a result step has given.
        argv : sequence of str, optional
            The arguments; default those of the script, ``sys.argv[1:]``.

        Returns
        -------
        Any
            The value; an exception of a step is raised unchanged.

        Raises
        ------
        SystemExit
            With code 2, after one line on stderr and without a trial, if an argument cannot
            be used or a parameter of the graph has no value; with code 0 after ``--help``.

        Examples
        --------
        >>> ex = Experiment("doc_main", backend="memory://")
        >>> @ex.result
        ... def double(a):
        ...     return 2 * a
        >>> ex.main(double(ex.parameter("a")), argv=["a=[1, 2]"])
        [1, 2, 1, 2]
        """
        return script.main(result, self._parameters, argv)

    # -- callbacks ---------------------------------------------------------------------------

    def add_callback(self, callback: object) -> None:
        """Tell a callback of what runs from now on, behind those that were added before.

        Parameters
        ----------
        callback : Callback or callable
            A :class:`~daskperiment.callbacks.Callback`, any object with some of its methods, or
            a function ``f(event, **arguments)``.

        Raises
        ------
        CallbackError
            It is none of these, or is there already.

        Examples
        --------
        >>> ex = Experiment("doc_add_callback", backend="memory://")
        >>> @ex.result
        ... def half(a):
        ...     return a / 2
        >>> def tell(event, **arguments):
        ...     print(event, *arguments)
        >>> ex.add_callback(tell)
        >>> half(ex.parameter("a", default=3)).compute()
        before_trial experiment parameters batch
        before_step step call trial
        after_step step call trial seconds error
        after_trial trial batch
        1.5
        >>> ex.remove_callback(tell)
        """
        self._callbacks.add(callback)

    def remove_callback(self, callback: object) -> None:
        """Tell a callback nothing more; it is the very object that was added.

        Raises
        ------
        CallbackError
            It is not there; the message lists those that are.
        """
        self._callbacks.remove(callback)

    # -- inside a step ----------------------------------------------------------------------

    def _current(self, what: str) -> CurrentTrial:
        return current_in(self.id, what)

    @property
    def current_trial_id(self) -> Number:
        """Number of the trial that runs here; TrialIDNotFoundError outside a step."""
        return self._current("current_trial_id").number

    def rng(self) -> np.random.Generator:
        """Random generator of the running step call; see :meth:`CurrentTrial.rng`."""
        return self._current("rng()").rng()

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
        self._current("save_metric()").log_metric(metric_key, value, epoch)

    def log_metric(
        self, name: str, value: float, epoch: int | None = None, *, step: int | None = None
    ) -> None:
        """Save a point of a metric; without an epoch at the one after its last.

        ``step`` is another name for ``epoch``.  Errors as for :meth:`save_metric`.
        """
        self._current("log_metric()").log_metric(name, value, epoch, step=step)

    def log_metrics(
        self, values: Mapping[str, float], epoch: int | None = None, *, step: int | None = None
    ) -> None:
        """Save a point of several metrics at one epoch; see :meth:`log_metric`."""
        self._current("log_metrics()").log_metrics(values, epoch, step=step)

    def report(self, value: float, epoch: int) -> None:
        """Tell how good the running trial is at an epoch; see :meth:`CurrentTrial.report`.

        Examples
        --------
        >>> from daskperiment import TrialPruned
        >>> ex = Experiment("doc_report", backend="memory://")
        >>> @ex.result
        ... def train(rate):
        ...     loss = 1.0
        ...     for epoch in range(3):
        ...         loss *= rate
        ...         ex.report(loss, epoch)
        ...         if ex.should_prune():
        ...             raise TrialPruned
        ...     return loss
        >>> train(ex.parameter("rate", default=0.5)).compute()
        0.125
        >>> ex.load_metric("report", 1)[1].tolist()
        [0.5, 0.25, 0.125]
        """
        self._current("report()").report(value, epoch)

    def should_prune(self) -> bool:
        """Whether the running trial should end early; see :meth:`CurrentTrial.should_prune`."""
        return self._current("should_prune()").should_prune()

    def save_artifact(self, name: str, content: Any) -> None:
        """Keep a file, a folder, bytes or an object with the running trial.

        See :meth:`CurrentTrial.save_artifact`; TrialIDNotFoundError where no trial runs.
        """
        self._current("save_artifact()").save_artifact(name, content)

    def artifact_path(self, name: str) -> Path:
        """A path for the running step to write a file to, kept when the step ends."""
        return self._current("artifact_path()").artifact_path(name)

    def checkpoint(self, state: Any, *, keep: bool = False) -> None:
        """Keep a state of the running step call, from which a later trial can go on.

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
        TrialIDNotFoundError
            No trial runs here.
        CheckpointError
            The state cannot be encoded, or holds a secret; earlier ones are still there.

        Examples
        --------
        >>> from contextlib import suppress
        >>> ex = Experiment("doc_checkpoint", backend="memory://", seed=1)
        >>> @ex.result
        ... def train(epochs):
        ...     done, loss = ex.resume_state((0, 100.0))
        ...     for epoch in range(done, epochs):
        ...         loss = loss / 2
        ...         ex.checkpoint((epoch + 1, loss))
        ...         if epoch == 2 and ex.current_trial_id == 1:
        ...             raise MemoryError
        ...     return f"{loss}, of which {done} epochs were done before"
        >>> s = train(ex.parameter("epochs", default=5))
        >>> with suppress(MemoryError):
        ...     s.compute()
        >>> s.compute()
        '3.125, of which 3 epochs were done before'
        """
        self._current("checkpoint()").checkpoint(state, keep=keep)

    def resume_state(self, default: Any = None) -> Any:
        """The state of the newest checkpoint of the running call, the default where there is none.

        See :meth:`CurrentTrial.resume_state`; TrialIDNotFoundError where no trial runs.
        """
        return self._current("resume_state()").resume_state(default)

    # -- reading back -----------------------------------------------------------------------

    @property
    def unsynced(self) -> int:
        """How many groups of records of this process wait until the backend is back."""
        return self.backend.unsynced if isinstance(self.backend, SpoolingBackend) else 0

    @property
    def trial_id(self) -> int:
        """Number of the last trial, 0 before the first; removed trials keep their numbers."""
        script.reading()
        return self._trials.last()

    @property
    def trials(self) -> TrialList:
        """All trials in the order of their numbers, running ones too."""
        script.reading()
        return TrialList(self.backend, self.id, self._trials)

    def __getitem__(self, trial_id: int) -> Trial:
        """The trial of this number; any integer type, TrialIDNotFoundError for all else."""
        return self.trials[trial_id]

    @property
    def latest(self) -> Trial:
        """The trial with the highest number; TrialIDNotFoundError before the first."""
        script.reading()
        number = self._trials.newest()
        if number is None:
            raise TrialIDNotFoundError(f"Experiment {self.id!r} has no trial yet")
        return self[number]

    def restore(self, number: int) -> Trial:
        """Bring a removed trial back and return it; one that is there stays as it is.

        Raises
        ------
        TrialIDNotFoundError
            There is no such trial, or :meth:`gc` has deleted its content.
        """
        removal.restore(self._trials, check_number(number))
        return self[number]

    @property
    def removed(self) -> list[int]:
        """Numbers of the trials that :meth:`restore` can bring back."""
        return removal.removed(self._trials)

    def gc(self, *, dry_run: bool = False) -> Collected:
        """Delete the content of removed trials, and what no trial of the store refers to.

        Of a removed trial nothing stays but its number.  Contents are shared by all
        experiments of a store, and so is what is deleted besides.  Takes time in proportion
        to the store; others may record meanwhile, and lose nothing.

        Parameters
        ----------
        dry_run : bool
            Only count.

        Returns
        -------
        Collected
            Number of ``trials``, and number and size of the ``payloads``.

        Examples
        --------
        >>> ex = Experiment("doc_gc", backend="memory://")
        >>> @ex.result
        ... def score(a):
        ...     return "long" * 10_000
        >>> _ = score(ex.parameter("a", default=4)).compute()
        >>> ex.latest.remove()
        >>> ex.removed, ex.gc(dry_run=True).trials
        ([1], 1)
        >>> ex.gc().trials, ex.removed, ex.trial_id
        (1, [], 1)
        """
        return removal.collect_removed(self.backend, self.id, dry_run=dry_run)

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
        script.reading()
        return self[ranking.best(self._trials, direction, metric)]

    def diff(self, a: int | Trial, b: int | Trial) -> Difference:
        """What differs from trial ``a`` to trial ``b``.

        Parameters
        ----------
        a, b : int or Trial
            Numbers, or trials, which may be of other experiments.

        Returns
        -------
        Difference
            True when anything differs; printed it is a report, and its ``document()`` is JSON.

        Raises
        ------
        TrialIDNotFoundError
            There is no such trial.
        """
        return self._trial(a).diff(self._trial(b))

    def explain(self, a: int | Trial, b: int | Trial) -> Explanation:
        """Which changes moved the outputs of trial ``a`` to those of trial ``b``.

        Both graphs are walked in order, from their records alone: the first step whose output
        differs is named with the cause (a parameter, its code or a helper with the diff, a
        package, the seed, threads, a file, the environment, or the step itself), then further
        causes, then what was changed without effect.

        Parameters
        ----------
        a, b : int or Trial
            Numbers, or trials, which may be of other experiments.

        Returns
        -------
        Explanation
            True when there is a cause; printed it is a report, its ``frame`` is a table of the
            steps, and its ``document()`` is JSON.

        Raises
        ------
        TrialIDNotFoundError
            There is no such trial.
        """
        return self._trial(a).explain(self._trial(b))

    def _trial(self, item: int | Trial) -> Trial:
        return item if isinstance(item, Trial) else self[item]

    def impact(
        self,
        name: str | None = None,
        *,
        code: str | int | Trial | None = None,
        input: Any = UNDEFINED,
    ) -> Impact:
        """What descends from a step, a helper, a version of its code, or an input.

        Parameters
        ----------
        name : str, optional
            A step, or the full name of a function that steps call, such as ``"utils.scale"``.
        code : str, int or Trial, optional
            A version of it: the beginning of its digest, or the trial in which it was called.
        input : optional
            An input of a step, or a file that one has read: the value, the path of the file as
            it is now, or the beginning of its digest.

        Returns
        -------
        Impact
            Trials, artifacts and reuses of all experiments of the backend: printed it is a
            report, its ``frame`` is a table, and its ``document()`` is JSON.

        Raises
        ------
        QueryError
            Nothing is asked for, or there is no such version.

        Examples
        --------
        >>> import daskperiment
        >>> ex = daskperiment.Experiment("doc_impact", backend="memory://")
        >>> @ex
        ... def clean(a):
        ...     return a + 1
        >>> @ex.result
        ... def score(x):
        ...     return 10 / x
        >>> score(clean(ex.parameter("a", default=4))).compute()
        2.0
        >>> print(ex.impact("clean"))
        1 trial descends from clean
          trial 1 of 'doc_impact': clean, score
            result 2.0
        """
        return impact(self.backend, self._selector(name, code, input))

    def _selector(self, name: str | None, code: str | int | Trial | None, input: Any) -> Selector:
        if not isinstance(code, str | None):
            code = self._trial(code).version(name)
        return Selector(name, code, None if input is UNDEFINED else input_digest(input))

    def taint(
        self,
        name: str | None = None,
        *,
        code: str | int | Trial | None = None,
        input: Any = UNDEFINED,
        reason: str,
    ) -> Impact:
        """Mark what descends from something, so that nobody uses it any more.

        The calls are never taken by other trials, ``trial.taints`` has the reason, and so have
        the column ``Tainted`` of the history and a badge in the dashboard.  It counts in all
        experiments of the backend; :meth:`Trial.untaint` takes it back for one trial.

        Parameters
        ----------
        name, code, input
            As for :meth:`impact`.
        reason : str
            Why, in a few words.

        Returns
        -------
        Impact
            What was marked.

        Raises
        ------
        OptionError
            There is no reason.  Besides errors of :meth:`impact`.
        """
        return taint(self.backend, self._selector(name, code, input), reason)

    def check_determinism(self, step: str, n: int = 5) -> Determinism:
        """What the output of a step depends on, beside its inputs.

        The step of the latest trial that can be run again is called with its inputs of then, as
        recorded, in processes of their own: ``n`` times with nothing varied, and with the seed,
        Python's hash seed, numbers of threads and the scheduler varied one at a time.

        Parameters
        ----------
        step : str
            Name of the step.
        n : int
            How many values each of them gets.

        Returns
        -------
        Determinism
            Its ``depends_on`` names what changed the output; its ``frame`` has every call.

        Raises
        ------
        StepNotFoundError
            No trial that can be run again has called it.
        RebuildError
            It cannot be called again; the message says why.
        """
        return check_determinism(self._trials, step, n)

    def start_dashboard(
        self,
        port: int = 5000,
        blocking: bool | None = None,
        host: str = "127.0.0.1",
        token: str | None = None,
    ) -> Dashboard:
        """Serve pages that show the trials, live, in a browser; nothing can be changed there.

        Parameters
        ----------
        port : int
            The port; where it is taken the next one that is free.
        blocking : bool, optional
            Whether to wait until the dashboard is stopped.  None waits, but not in a notebook,
            which shows a link.  Without waiting it ends with the process.
        host : str
            The address to listen at; ``"0.0.0.0"`` lets other machines in.
        token : str, optional
            What whoever opens the pages has to bring.  None needs none on this machine, and
            makes one, which is printed once, at any other address.

        Returns
        -------
        Dashboard
            It has an ``url``, and ``close()`` stops it.

        Raises
        ------
        DashboardError
            It cannot listen there, or a library is missing; the message says what to do.

        Examples
        --------
        >>> ex = Experiment("doc_dashboard", backend="memory://")
        >>> dashboard = ex.start_dashboard(port=0, blocking=False)
        Dashboard at http://127.0.0.1:...
        >>> dashboard.close()
        """
        from daskperiment.dashboard import serving

        script.reading()
        served = serving.start(self.backend, self.id, host=host, port=port, token=token)
        return serving.show(served, blocking)

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
        script.reading()
        self._trials.bury()
        declared = list(self._parameters.declared)
        standard = table.VERBOSE if verbose else table.SHORT
        question = table.Question(declared, standard, columns, where, order_by, limit)
        return table.read(self._trials, question)

    def get_steps(self, trial_id: int) -> pd.DataFrame:
        """Step records of a trial, one row a call, in the order in which the calls ended.

        Columns: ``step``, ``call``, ``attempt``, ``outcome``, ``seconds``, ``seed``,
        ``drew``, ``fingerprint``, ``inputs`` (digests by argument), ``output`` (digest),
        ``parameters``, ``upstream``, ``threads``, ``environment``, ``host``, ``pid``,
        ``started`` (UTC), ``entropy``, ``reused_from``, ``resumed_from`` (numbers of trials),
        ``unhashed``.
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

    def fingerprint(self, step: str | Step[..., Any]) -> CodeTree:
        """The code that a step reaches now: what its fingerprint is made from, as a tree.

        Printed, it shows below the step the functions, classes and constants of yours that it
        reaches, with the beginnings of their digests and where they stand, the packages that
        they call, and at the end what could not be followed.

        Parameters
        ----------
        step : str or Step
            The step or its name.

        Returns
        -------
        CodeTree
            It has a ``digest``, the ``tree`` as nested data, and ``unfollowed``.

        Raises
        ------
        StepNotFoundError
            No step of this name is defined; the nearest one is suggested.

        Examples
        --------
        >>> ex = Experiment("doc_fingerprint", backend="memory://")
        >>> @ex
        ... def clip(x, limit=3):
        ...     return min(x, limit)
        >>> ex.fingerprint("clip").digest
        'v1:...'
        """
        from daskperiment.fingerprint.tree import code_tree

        found = step if isinstance(step, Step) else self._steps.get(step)
        if found is None:
            near = difflib.get_close_matches(str(step), self._steps, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(self._steps)}"
            raise StepNotFoundError(f"Experiment {self.id!r} defines no step {step!r}; {hint}")
        return code_tree(found.fn, found.name)

    def get_environment(self, trial_id: int | None = None, category: str | None = None) -> str:
        """What surrounded a trial, or what would surround one that began now, as text.

        Parameters
        ----------
        trial_id : int, optional
            Number of the trial; None for now.
        category : str, optional
            One category in full, such as ``"cpu"``, ``"packages"`` or ``"git"``, which shows
            the uncommitted changes too; None for a summary.

        Raises
        ------
        CategoryError
            There is no such category; the message lists them all.

        Examples
        --------
        >>> ex = Experiment("doc_environment", backend="memory://")
        >>> print(ex.get_environment())
        Platform Information: ...
        Device CPU Count: ...
        >>> print(ex.get_environment(category="python"))
        implementation: CPython
        ...
        """
        document = self._environment(trial_id)
        if category is None:
            return "\n".join(environment.summary(document))
        return environment.detail(document, category)

    def get_python_packages(self, trial_id: int | None = None) -> str:
        """Installed distributions of a trial, or those of now, as a requirements file.

        Examples
        --------
        >>> ex = Experiment("doc_packages", backend="memory://")
        >>> "dask==2" in ex.get_python_packages()
        True
        """
        return environment.requirements(self._environment(trial_id))

    def _environment(self, trial_id: int | None) -> Document:
        return Surroundings().document() if trial_id is None else self[trial_id].environment

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
        for trial in found:
            trial._check_kept("metrics", f"metrics.{metric_key}")
        uids = {trial.number: trial.uid for trial in found}
        return metrics.Metrics(self.backend, self.id).frame(metrics.check_name(metric_key), uids)


def _rebuilt(
    parts: tuple[Any, ...], parameters: Parameters, reuse: Reuse, audit: Audit
) -> Experiment:
    experiment = Experiment.__new__(Experiment)
    experiment._define(*parts)
    experiment._parameters, experiment._reuse, experiment.audit = parameters, reuse, audit
    return experiment


def _check_id(id: object) -> str:
    if isinstance(id, str):
        normal = unicodedata.normalize("NFKC", id)
        if normal.isidentifier() and len(normal) <= _ID_LENGTH:
            return normal
    raise InvalidNameError(
        f"Experiment ID must be a text that is a Python identifier of at most {_ID_LENGTH} "
        f"characters, such as 'quickstart', not {str(id)[:80]!r}"
    )
