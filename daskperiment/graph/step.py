"""Steps: decorated functions whose calls are nodes of the graph."""

from __future__ import annotations

import inspect
import itertools
import pickle
import threading
import types
import uuid
from collections.abc import Callable, Container, Mapping
from functools import cached_property
from typing import Any, Generic, Literal, ParamSpec, TypeAlias, TypedDict, TypeVar

from dask.delayed import Delayed, unpack_collections
from dask.highlevelgraph import HighLevelGraph
from dask.utils import ensure_dict

from daskperiment.errors import StepDefinitionError
from daskperiment.graph.layout import Layout
from daskperiment.graph.node import Node, Result
from daskperiment.graph.tasks import PLACES, Begin, Fixed, NoTrial, Owner, StepCall, trial_key
from daskperiment.importing import by_path, by_value, import_path
from daskperiment.names import check_name
from daskperiment.typing import Audit

P = ParamSpec("P")
R = TypeVar("R")
Compare: TypeAlias = Literal["allclose"] | Callable[[Any, Any], bool] | None


class StepOptions(TypedDict, total=False):
    """What a decorator of steps takes by name."""

    name: str | None
    nout: int | None
    resources: Mapping[str, float] | None
    timeout: float | None
    reuse: bool | None
    audit: Audit
    compare: Compare
    rtol: float | None
    atol: float | None


class Step(Generic[P, R]):
    """A decorated function: calling it builds a node, ``fn`` is the function itself.

    Parameters
    ----------
    owner : Owner
        The experiment.
    fn : callable
        The function.
    name : str, optional
        Name in records; default the function's own.
    persist : bool
        Whether the output of every call is kept with the trial.
    is_result : bool
        Whether its output is the trial's result.
    nout : int, optional
        Number of outputs, so that the node can be unpacked.
    resources : mapping of str to number, optional
        What each call needs, as ``{"GPU": 1}``.
    timeout : float, optional
        Seconds that each call may take.
    reuse : bool, optional
        Whether a call may be taken from an earlier trial; None leaves it to the experiment.
    audit : str, optional
        Whether it is noted what a call touches beside its arguments: ``"off"``, ``"warn"`` or
        ``"strict"``; None leaves it to the experiment.
    compare : str or callable, optional
        How a reproduction compares its outputs, which are kept for that: ``"allclose"``, or a
        function of the recorded one and the new one that tells whether they are near enough.
    rtol, atol : float, optional
        As for :func:`numpy.allclose`, with its defaults.

    Raises
    ------
    StepDefinitionError
        The object is not a function that can be a step; the message says what to do.
    """

    def __init__(
        self,
        owner: Owner,
        fn: Callable[P, R],
        name: str | None = None,
        persist: bool = False,
        is_result: bool = False,
        nout: int | None = None,
        resources: Mapping[str, float] | None = None,
        timeout: float | None = None,
        reuse: bool | None = None,
        compare: Compare = None,
        rtol: float | None = None,
        atol: float | None = None,
        audit: Audit = None,
    ) -> None:
        self.owner = owner
        self.fn = fn
        self.name = check_name(_step_name(fn) if name is None else name, "Step")
        self.persist = persist
        self.is_result = is_result
        self.nout = nout
        self.resources = _checked_resources(resources, self.name)
        self.timeout = _checked_timeout(timeout, self.name)
        self.reuse = check_reuse(reuse)
        self.audit = _checked_audit(audit, self.name)
        _check_compare(compare, rtol, atol, self.name)
        self.compare, self.rtol, self.atol = compare, rtol, atol
        self._check()
        self.__wrapped__ = fn
        self.__name__ = self.name
        self.__doc__ = getattr(fn, "__doc__", None)
        self.__module__ = getattr(fn, "__module__", None) or __name__
        self.__qualname__ = getattr(fn, "__qualname__", self.name)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        node = self._node(args, kwargs, self._asked(len(args), kwargs))
        if self.is_result:
            self.owner.built(node)
        return node

    def _check(self) -> None:
        _check_function(self.fn, self.name)

    @property
    def audited(self) -> Audit:
        """Whether it is noted what a call touches: ``"warn"`` or ``"strict"``, None where not."""
        audit = self.owner.audit if self.audit is None else self.audit
        return None if audit == "off" else audit

    def invoke(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function, as a graph that runs does."""
        return self.fn(*args, **kwargs)

    def _node(self, args: Any, kwargs: Any, asked: tuple[str, ...] = ()) -> Node:
        if "_data_producer" in kwargs:
            raise StepDefinitionError("Dask takes an argument _data_producer for itself: rename it")
        key = f"{self.name}-{uuid.uuid4()}"
        try:
            parts = (_trial_hole(self.owner), *args, kwargs)
            unpacked = [unpack_collections(part) for part in parts]
        except RecursionError:
            raise StepDefinitionError(
                f"An argument of {self.name!r} holds itself, or is nested too deeply to look for "
                f"nodes in it: pass it as the value of a parameter"
            ) from None
        (*values, keywords), collections = zip(*unpacked, strict=True)
        task = Fixed(key, StepCall(self, asked=asked), *values, **keywords)
        graph = HighLevelGraph.from_collections(
            key, {key: task}, dependencies=list(itertools.chain(*collections))
        )
        node_type = Result if self.is_result else Node
        if self.is_result or any(map(_records, itertools.chain(*collections))):
            stable = Layout(self.owner, key, graph).stable()
            return node_type(stable._key, stable._dask, self.owner, self.nout, records=True)
        return node_type(key, graph, self.owner, self.nout)

    def become(self, new: Step[P, R]) -> None:
        """Take the state of another step, which has its place in a reloaded module."""
        self.__dict__ = new.__dict__

    def __get__(self, instance: Any, cls: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<{'result ' if self.is_result else ''}step {self.name!r} of {self.owner.id!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # By import path where the worker can import it: pickled by value, a function drags
        # along the globals of its module, which may hold locks and clients.
        path = import_path(self)
        if path is not None:
            return by_path, path
        rest = (
            self.owner, self.name, self.persist, self.is_result, self.nout, self.resources,
            self.timeout, self.reuse, self.compare, self.rtol, self.atol, self.audit,
        )  # fmt: skip
        if getattr(_pickling, "now", False):  # a function that refers to steps, perhaps its own
            return _rebuilt, (self.fn, *rest)
        _pickling.now = True
        try:
            return _rebuilt, (by_value(self.fn), *rest)
        finally:
            _pickling.now = False

    @cached_property
    def _signature(self) -> list[inspect.Parameter]:
        try:
            return list(inspect.signature(self.fn).parameters.values())
        except (TypeError, ValueError):
            return []

    @cached_property
    def _positional(self) -> tuple[list[str], str]:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        rest = [p.name for p in self._signature if p.kind is inspect.Parameter.VAR_POSITIONAL]
        return [p.name for p in self._signature if p.kind in kinds], rest[0] if rest else "args"

    @cached_property
    def _asks(self) -> tuple[str, ...]:
        """Arguments without a default that a batch can give."""
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return tuple(
            p.name
            for p in self._signature
            if p.name in PLACES and p.kind in kinds and p.default is p.empty
        )

    def _asked(self, count: int, kwargs: Container[str]) -> tuple[str, ...]:
        """Those of them that a call leaves open."""
        if not self._asks:
            return ()
        bound = self._positional[0][:count]
        return tuple(name for name in self._asks if name not in bound and name not in kwargs)

    def positional(self, count: int) -> list[str]:
        """Names of the first ``count`` positional arguments."""
        names, rest = self._positional
        return names[:count] + [f"{rest}[{i}]" for i in range(max(0, count - len(names)))]


_pickling = threading.local()


def _rebuilt(fn: Any, owner: Owner, *options: Any) -> Step[..., Any]:
    function = pickle.loads(fn) if isinstance(fn, bytes) else fn
    return Step(owner, function, *options)


def _checked_resources(resources: Mapping[str, float] | None, name: str) -> dict[str, float] | None:
    if resources is None:
        return None
    if isinstance(resources, Mapping) and all(
        isinstance(key, str) and _is_positive(amount) for key, amount in resources.items()
    ):
        return dict(resources)
    raise StepDefinitionError(
        f"resources of {name!r} maps names to amounts above 0, as {{'GPU': 1}}, not {resources!r}"
    )


def _checked_timeout(timeout: float | None, name: str) -> float | None:
    if timeout is None or _is_positive(timeout):
        return timeout
    raise StepDefinitionError(
        f"timeout of {name!r} is a number of seconds above 0, not {timeout!r}"
    )


def check_reuse(reuse: bool | None) -> bool | None:
    """Return whether calls may be taken from earlier trials, or raise StepDefinitionError."""
    if reuse is None or isinstance(reuse, bool):
        return reuse
    raise StepDefinitionError(f"reuse is True, False or None, not {reuse!r}")


def _checked_audit(audit: Any, name: str) -> Audit:
    if is_audit(audit):
        return audit  # type: ignore[no-any-return]
    raise StepDefinitionError(
        f"audit of {name!r} is 'off', 'warn', 'strict' or None, not {audit!r}"
    )


def is_audit(audit: object) -> bool:
    """Whether a value says what becomes of what steps touch."""
    return audit is None or (isinstance(audit, str) and audit in ("off", "warn", "strict"))


def _check_compare(compare: Any, rtol: Any, atol: Any, name: str) -> None:
    if not (compare is None or compare == "allclose" or callable(compare)):
        raise StepDefinitionError(
            f"compare of {name!r} is 'allclose' or a function of the recorded output and the new "
            f"one, not {compare!r}"
        )
    for what, value in (("rtol", rtol), ("atol", atol)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and value >= 0):
            raise StepDefinitionError(f"{what} of {name!r} is a number from 0 on, not {value!r}")
        if value is not None and compare != "allclose":
            raise StepDefinitionError(f"{what} of {name!r} is for compare='allclose' only")


def _is_positive(amount: object) -> bool:
    return isinstance(amount, (int, float)) and not isinstance(amount, bool) and amount > 0


def _records(collection: Delayed) -> bool:
    """Whether a graph holds a result, so that it begins a trial by itself."""
    if isinstance(collection, Node):
        return collection._records
    nodes = ensure_dict(collection.__dask_graph__()).values()
    return any(isinstance(getattr(node, "func", None), Begin) for node in nodes)


def _trial_hole(owner: Owner) -> Delayed:
    key = trial_key(owner)
    return Delayed(key, HighLevelGraph.from_collections(key, {key: Fixed(key, NoTrial())}))


def _step_name(fn: Any) -> str:
    inner = fn
    while hasattr(inner, "func") and not hasattr(inner, "__name__"):
        inner = inner.func
    name = getattr(inner, "__name__", type(inner).__name__)
    if name == "<lambda>":
        raise StepDefinitionError(
            "A lambda has no name to be recorded under: give it one, ex(lambda ..., name='scale'), "
            "or write a function with def"
        )
    return str(name)


def _check_function(fn: Any, name: str) -> None:
    advice = None
    if isinstance(fn, Step):
        advice = "is a step already: use one decorator, @ex, @ex.persist or @ex.result"
    elif isinstance(fn, (staticmethod, classmethod)):
        advice = "must be decorated below @staticmethod or @classmethod, not above"
    elif isinstance(fn, Delayed):
        advice = "is a dask Delayed already: decorate the plain function"
    elif not callable(fn):
        advice = "is not callable: decorate a function"
    elif any(map(_is_async, (fn, getattr(fn, "__call__", None)))):  # noqa: B004
        advice = "is async, steps are not: call asyncio.run(...) in a plain function"
    elif inspect.isgeneratorfunction(fn):
        advice = "is a generator, which can be read only once: return a list"
    if advice:
        raise StepDefinitionError(f"{name!r} cannot be a step: it {advice}")


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
