"""Parameters: their declarations, their values, and the nodes that stand for them."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.task_spec import TaskRef

from daskperiment.errors import ParameterError, ParameterUndeclaredError
from daskperiment.graph import Fixed, Lookup, Node, Owner, Values, undefined, values_key
from daskperiment.names import check_name
from daskperiment.serializers import preview

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_CONTAINERS = (list, tuple, set, frozenset)


class Undefined:
    """The value of a parameter that has none; shown as ``Undefined``."""

    def __repr__(self) -> str:
        return "Undefined"

    def __reduce__(self) -> str:
        return "UNDEFINED"


UNDEFINED = Undefined()


@dataclass(frozen=True)
class Declaration:
    """What is known of a parameter beside its value.

    Parameters
    ----------
    name : str
        Its name: printable, 1 to 250 characters.
    default : Any
        Value when none is set; ``UNDEFINED`` when there is none, ``None`` is a value.
    type : callable, optional
        A class or converter that every value other than a ``None`` default must pass.
    choices : tuple, optional
        The only values allowed.
    help : str, optional
        A sentence for whoever sets it.
    """

    name: str
    default: Any = UNDEFINED
    type: Callable[[Any], Any] | None = None
    choices: tuple[Any, ...] | None = None
    help: str | None = None

    def accept(self, value: Any) -> Any:
        """Return the value as it will be used, or raise ParameterError."""
        if value is None and self.default is None:
            return None
        if issubclass(type(value), Delayed):
            raise ParameterError(
                f"Parameter {self.name!r} cannot have a node of a graph as its value: pass the "
                "node to the step instead of the parameter"
            )
        if self.type is not None:
            value = self._convert(value)
        if self.choices is not None and not any(_same(value, choice) for choice in self.choices):
            raise ParameterError(
                f"Parameter {self.name!r} must be one of {preview(self.choices)}, "
                f"not {preview(value)}"
            )
        return value

    def _convert(self, value: Any) -> Any:
        kind = self.type
        assert kind is not None
        try:
            if isinstance(kind, type) and isinstance(value, kind) and not _is_bool_as(kind, value):
                return value
            if kind is bool:
                return _BOOLEANS[str(value).strip().lower()]
            if kind in _CONTAINERS and isinstance(value, str):
                raise TypeError("text would be taken apart into its letters")
            converted = kind(value)
            if isinstance(value, str) or not isinstance(kind, type) or _same(converted, value):
                return converted
        except Exception as error:
            raise self._refuse(value) from error
        raise self._refuse(value)

    def _refuse(self, value: Any) -> ParameterError:
        kind = getattr(self.type, "__name__", None) or preview(self.type)
        return ParameterError(
            f"Parameter {self.name!r} must be of type {kind}: {preview(value)} is of type "
            f"{type(value).__name__} and cannot be converted without loss"
        )


def _is_bool_as(kind: type, value: Any) -> bool:
    return isinstance(value, bool) and kind is not bool and kind is not object


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:
        return False


class Parameters:
    """Declared parameters of one experiment handle and their current values.

    Reads and writes are atomic: a trial takes one consistent set of values.
    """

    def __init__(self) -> None:
        self.declared: dict[str, Declaration] = {}
        self._set: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.declared, self._set)

    def declare(self, declaration: Declaration) -> None:
        """Add a declaration, or replace that of the same name, whose value must still fit."""
        name = check_name(declaration.name, "Parameter")
        if declaration.type is not None and not callable(declaration.type):
            raise ParameterError(
                f"The type of parameter {name!r} must be a class or a function that converts, "
                f"not {preview(declaration.type)}"
            )
        if declaration.default is not UNDEFINED:
            default = declaration.accept(declaration.default)
            declaration = replace(declaration, default=default)
        with self._lock:
            if name in self._set:
                self._set = {**self._set, name: declaration.accept(self._set[name])}
            self.declared = {**self.declared, name: declaration}

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Accepted values, or an error naming the first that is wrong; nothing is set."""
        return {name: self._declaration(name).accept(value) for name, value in values.items()}

    def set(self, values: Mapping[str, Any]) -> None:
        """Set all of the values or, when one is wrong, none."""
        accepted = self.checked(values)
        with self._lock:
            self._set = {**self._set, **accepted}

    def values(self) -> dict[str, Any]:
        """Values by name in the order of declaration; parameters without one are absent."""
        with self._lock:
            given, declared = self._set, self.declared
        values = {name: given.get(name, d.default) for name, d in declared.items()}
        return {name: value for name, value in values.items() if value is not UNDEFINED}

    def undefined(self, names: Iterable[str] | None = None) -> list[str]:
        """Names, of these or of all declared ones, that have no value."""
        values = self.values()
        return [name for name in (self.declared if names is None else names) if name not in values]

    def _declaration(self, name: str) -> Declaration:
        try:
            return self.declared[name]
        except KeyError:
            raise self._undeclared(name) from None

    def _undeclared(self, name: str) -> ParameterUndeclaredError:
        near = difflib.get_close_matches(str(name), self.declared, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"declare it with ex.parameter({name!r})"
        known = ", ".join(self.declared) or "none"
        return ParameterUndeclaredError(
            f"Parameter is not declared: {name}; {hint} (declared: {known})"
        )


def _restored(declared: dict[str, Declaration], values: dict[str, Any]) -> Parameters:
    parameters = Parameters()
    parameters.declared, parameters._set = declared, values
    return parameters


def summary(values: Mapping[str, Any]) -> str:
    """Values as one line, ``a=1<class 'int'>, b=2<class 'int'>``.

    Examples
    --------
    >>> summary({"a": 1})
    "a=1<class 'int'>"
    """
    return ", ".join(
        f"{name}={preview(value)}{preview(type(value))}" for name, value in values.items()
    )


class Parameter(Node):
    """A parameter in a graph: a Delayed whose value is filled in when a trial runs.

    It mixes with operators, plain functions and Dask collections like any Delayed.
    """

    __slots__ = ("_declared", "name")

    def __init__(self, owner: Owner, name: str, declared: Parameters) -> None:
        key, values = f"{name}-{owner.handle}", values_key(owner)
        layers = {
            values: {values: Fixed(values, Values(owner))},
            key: {key: Fixed(key, Lookup(owner, name), TaskRef(values))},
        }
        super().__init__(key, HighLevelGraph(layers, {values: set(), key: {values}}), owner)
        self.name = name
        self._declared = declared

    def __reduce__(self) -> tuple[Any, ...]:
        return Node, (self._key, self._dask, self._owner)

    @property
    def is_undefined(self) -> bool:
        """Whether it has neither a value nor a default."""
        return bool(self._declared.undefined([self.name]))

    def resolve(self, allow_undefined: bool = False) -> Any:
        """Return the current value; without one raise ParameterUndefinedError or, when
        allowed, return the object shown as ``Undefined``.
        """
        if self.is_undefined and not allow_undefined:
            raise undefined([self.name])
        return self._declared.values().get(self.name, UNDEFINED)

    def set(self, value: Any) -> None:
        """Set the value for the next trials."""
        self._declared.set({self.name: value})

    def summarize(self) -> str:
        """Name and value as in the log, ``a=1<class 'int'>``."""
        return f"{self.name}={self._text()}"

    def _text(self) -> str:
        value = self.resolve(allow_undefined=True)
        return "Undefined" if value is UNDEFINED else summary({"": value})[1:]

    def __repr__(self) -> str:
        return f"Parameter({self.name}: {self._text()})"
