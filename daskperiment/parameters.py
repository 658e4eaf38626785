"""Parameters: their declarations, their values, and the nodes that stand for them."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.task_spec import TaskRef

from daskperiment.conversion import Unfit, convert, literal, reads_literals, supports
from daskperiment.errors import ParameterError, ParameterUndeclaredError, SecretError
from daskperiment.graph import Fixed, Lookup, Node, Owner, Values, undefined, values_key
from daskperiment.names import check_name
from daskperiment.secrets import MASK, hide, is_secret
from daskperiment.serializers import preview, preview_type

if TYPE_CHECKING:
    from daskperiment.configuration import Configuration, Source


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
    type : type, callable or form of typing, optional
        What every value other than a ``None`` default must be or be converted to; see
        :func:`daskperiment.conversion.convert`.
    choices : tuple, optional
        The only values allowed.
    help : str, optional
        A sentence for whoever sets it.
    secret : bool, optional
        Whether the value is a secret; None lets the name and the value tell.
    implied : bool
        Whether nobody has declared it, and something that was run has it.
    space : Any
        Values that a search tries; None where it does not vary.
    """

    name: str
    default: Any = UNDEFINED
    type: Any = None
    choices: tuple[Any, ...] | None = None
    help: str | None = None
    secret: bool | None = None
    implied: bool = False
    space: Any = None

    def accept(self, value: Any) -> Any:
        """Return the value as it will be used, or raise ParameterError."""
        if value is None and self.default is None:
            return None
        if issubclass(type(value), Delayed):
            raise ParameterError(
                f"Parameter {self.name!r} cannot have a node of a graph as its value: pass the "
                "node to the step instead of the parameter"
            )
        if is_secret(value):
            return value
        if self.type is not None:
            value = self._convert(value)
        if self.choices is not None and not any(_same(value, choice) for choice in self.choices):
            raise ParameterError(
                f"Parameter {self.name!r} must be one of {preview(self.hidden(self.choices))}, "
                f"not {preview(self.hidden(value))}"
            )
        return value

    def _convert(self, value: Any) -> Any:
        try:
            return convert(self.type, value)
        except Unfit as error:
            message, cause = f"Parameter {self.name!r}{error.where} {error.why}", error.__cause__
        if is_secret(self.hidden(value)):
            message, cause = f"Parameter {self.name!r} must be of its type: {MASK} is not", None
        raise ParameterError(message) from cause

    def hidden(self, value: Any) -> Any:
        """The value, hidden where it is or holds a secret; see :func:`daskperiment.secrets.hide`.

        Examples
        --------
        >>> Declaration("api_key").hidden("abc"), Declaration("n").hidden(3)
        (***, 3)
        """
        return hide(self.name, value, self.secret)

    def from_text(self, text: str) -> Any:
        """Return the value that a text stands for, as on a command line.

        The declared type converts the text as it is, so that ``007`` stays a text where
        text is declared and ``yes`` is a bool; what it refuses, and all text where no type
        is declared, is read as a literal, see :func:`daskperiment.conversion.literal`.

        Raises
        ------
        ParameterError
            It fits neither way.

        Examples
        --------
        >>> Declaration("id", type=str).from_text("007")
        '007'
        >>> Declaration("sizes", type=list[int]).from_text("[1, 2]")
        [1, 2]
        >>> Declaration("a").from_text("0.5"), Declaration("a").from_text("two words")
        (0.5, 'two words')
        """
        readings = [text, literal(text)]
        if reads_literals(self.type):
            readings.reverse()
        try:
            return self.accept(readings[0])
        except ParameterError:
            with suppress(ParameterError):
                return self.accept(readings[1])
            raise


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
        self.configuration: Configuration | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        for name, value in self.hidden(self.values()).items():
            check_may_travel(name, value)
        # A default that is a secret, where a value of the environment stands in for it.
        declared = {
            name: replace(d, default=UNDEFINED) if _stays(d.hidden(d.default)) else d
            for name, d in self.declared.items()
        }
        return _restored, (declared, self._set, self.configuration)

    def declare(self, declaration: Declaration) -> None:
        """Add a declaration, or replace that of the same name, whose value must still fit."""
        name = check_name(declaration.name, "Parameter")
        if not supports(declaration.type):
            raise ParameterError(
                f"The type of parameter {name!r} must be a class, a function that converts, or "
                f"a form such as list[int], int | None or Literal, not {preview(declaration.type)}"
            )
        if declaration.default is not UNDEFINED:
            default = declaration.accept(declaration.default)
            declaration = replace(declaration, default=default)
        self._check_unambiguous(name)
        with self._lock:
            if name in self._set:
                self._set = {**self._set, name: declaration.accept(self._set[name])}
            self.declared = {**self.declared, name: declaration}
            loaded = self.configuration
            if loaded is not None and loaded.secret != self._declared_secret:
                self.configuration = loaded.then((), self._declared_secret)

    def imply(self, values: Mapping[str, Any]) -> None:
        """Declare the names of these values that are not declared."""
        for name, _ in self._spread(values):
            if name not in self.declared:
                self.declare(Declaration(name, implied=True))

    def is_implied(self, name: str) -> bool:
        """Whether nobody has declared it."""
        return name not in self.declared or self.declared[name].implied

    @property
    def _declared_secret(self) -> dict[str, bool]:
        return {name: d.secret for name, d in self.declared.items() if d.secret is not None}

    def checked(
        self, values: Mapping[str, Any], origin: Callable[[str], str] | None = None
    ) -> dict[str, Any]:
        """Accepted values, or an error naming the first that is wrong; nothing is set.

        A mapping under a name that is none, but begins names such as ``model.lr``, is spread
        over these.  ``origin`` tells errors where the value of a name comes from.
        """
        accepted: dict[str, Any] = {}
        for name, value in self._spread(values):
            try:
                if name in accepted:
                    raise ParameterError(f"Parameter {name!r} is given twice; keep one value")
                accepted[name] = self._declaration(name, value).accept(value)
            except ParameterError as error:
                if origin is None:
                    raise
                raise type(error)(f"{origin(name)}: {error}") from None
        return accepted

    def _spread(self, values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            name = f"{before}{key}" if before else key
            inside = f"{name}."
            if (
                name not in self.declared
                and isinstance(value, Mapping)
                and any(declared.startswith(inside) for declared in self.declared)
            ):
                yield from self._spread(value, inside)
            else:
                yield name, value

    def from_text(self, name: str, text: str) -> Any:
        """Return the value that a text stands for; see :meth:`Declaration.from_text`.

        Raises
        ------
        ParameterUndeclaredError
            The name is not declared.
        ParameterError
            The text does not fit.
        """
        return self._declaration(name).from_text(text)

    def set(self, values: Mapping[str, Any]) -> None:
        """Set all of the values or, when one is wrong, none."""
        accepted = self.checked(values)
        with self._lock:
            self._set = {**self._set, **accepted}

    def load(self, sources: Sequence[Source]) -> None:
        """Set all values of these sources, after those loaded before, or when one is wrong none.

        Loading two sources one after the other is as loading both at once.
        """
        from daskperiment.configuration import Configuration

        loaded = (self.configuration or Configuration()).then(sources, self._declared_secret)
        named = {name for source in sources for name, _ in self._spread(source.values)}
        accepted = self.checked(loaded.resolved, loaded.origin)
        with self._lock:
            accepted = {name: accepted[name] for name in named}
            self._set = {**self._set, **accepted}
            self.configuration = loaded

    def reset(self, names: Iterable[str]) -> None:
        """Take back what was set for these names, or for all, and with it the configuration."""
        chosen = [self._declaration(name).name for name in names]
        with self._lock:
            kept = {name: value for name, value in self._set.items() if name not in chosen}
            self._set = kept if chosen else {}
            self.configuration = self.configuration if chosen else None

    def values(self) -> dict[str, Any]:
        """Values by name in the order of declaration; parameters without one are absent."""
        with self._lock:
            given, declared = self._set, self.declared
        values = {name: given.get(name, d.default) for name, d in declared.items()}
        return {name: value for name, value in values.items() if value is not UNDEFINED}

    def hidden(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values with those hidden that are secrets: for all that shows or keeps them."""
        return {name: self.declared[name].hidden(value) for name, value in values.items()}

    def undefined(self, names: Iterable[str] | None = None) -> list[str]:
        """Names, of these or of all that users have declared, that have no value."""
        values = self.values()
        declared = [name for name, each in self.declared.items() if not each.implied]
        return [name for name in (declared if names is None else names) if name not in values]

    def _check_unambiguous(self, name: str) -> None:
        for other in self.declared:
            whole, part = sorted((name, other), key=len)
            if part.startswith(f"{whole}."):
                raise ParameterError(
                    f"Parameter {whole!r} would take a whole mapping and {part!r} a part of it: "
                    "declare only one of them on this handle"
                )

    def _declaration(self, name: str, value: Any = None) -> Declaration:
        try:
            return self.declared[name]
        except KeyError:
            raise self._undeclared(name, value) from None

    def _undeclared(self, name: str, value: Any) -> ParameterUndeclaredError:
        near, inner = self._near(name), _first_inside(name, value)
        if (found := self._near(inner)) and "." in found[0]:
            name, near = inner, found
        hint = f"did you mean {near[0]!r}?" if near else f"declare it with ex.parameter({name!r})"
        known = ", ".join(self.declared) or "none"
        return ParameterUndeclaredError(
            f"Parameter is not declared: {name}; {hint} (declared: {known})"
        )

    def _near(self, name: object) -> list[str]:
        return difflib.get_close_matches(str(name), self.declared, n=1)


def _first_inside(name: str, value: Any) -> str:
    """Dotted name of the first value of nested mappings."""
    while isinstance(value, Mapping) and value:
        key, value = next(iter(value.items()))
        name = f"{name}.{key}"
    return name


def _restored(
    declared: dict[str, Declaration], values: dict[str, Any], loaded: Configuration | None
) -> Parameters:
    parameters = Parameters()
    parameters.declared, parameters._set, parameters.configuration = declared, values, loaded
    return parameters


def check_may_travel(name: str, value: Any) -> None:
    """Raise SecretError when a value, hidden where need be, must not leave this process."""
    if _stays(value):
        raise SecretError(
            f"Parameter {name!r} is a secret, which does not leave this process; worker "
            'processes take it from their environment: Secret.from_env("NAME"). If it is none, '
            "declare it with secret=False"
        )


def _stays(value: Any) -> bool:
    return is_secret(value) and value.stays


def summary(values: Mapping[str, Any]) -> str:
    """Values as one line, ``a=1<class 'int'>, b=2<class 'int'>``.

    Examples
    --------
    >>> summary({"a": 1})
    "a=1<class 'int'>"
    """
    return ", ".join(
        f"{name}={preview(value)}{preview_type(value)}" for name, value in values.items()
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
        if value is UNDEFINED:
            return "Undefined"
        return summary({"": self._declared.declared[self.name].hidden(value)})[1:]

    def __repr__(self) -> str:
        return f"Parameter({self.name}: {self._text()})"
