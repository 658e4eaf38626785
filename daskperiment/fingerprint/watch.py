"""Looking again, cheaply, at all that a code fingerprint was made from."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from operator import is_
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple, Protocol

from daskperiment.fingerprint.registry import generation
from daskperiment.fingerprint.values import Unhashed, digest

MISSING = object()
"""What a place holds where there is nothing."""

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, type(...), type(MISSING)})


class Space(Protocol):
    """A namespace: a dict of globals, the dict of a class or module, or a view made here."""

    def get(self, key: Any, default: Any, /) -> Any:
        """What stands under `key` now."""


class Slot(NamedTuple):
    """A place in a namespace, and the name that messages give it."""

    space: Space
    key: Any
    shown: str

    def get(self) -> Any:
        """What is there now, or `MISSING`."""
        return self.space.get(self.key, MISSING)


class Attributes:
    """The attributes of an object, held weakly where it can be."""

    def __init__(self, owner: object) -> None:
        self._owner = _reference(owner)

    def get(self, key: str, default: Any, /) -> Any:
        """The attribute, or `default`."""
        return getattr(self._owner(), key, default)


class Members:
    """What a class itself defines, the class held weakly."""

    def __init__(self, cls: type) -> None:
        self._cls = weakref.ref(cls)

    def get(self, key: str, default: Any, /) -> Any:
        """The member as it is stored, or `default`."""
        cls = self._cls()
        return default if cls is None else vars(cls).get(key, default)


class Cells:
    """What the variables of a closure hold."""

    def __init__(self, function: FunctionType) -> None:
        self._function = weakref.ref(function)

    def __contains__(self, key: str) -> bool:
        function = self._function()
        return function is not None and key in function.__code__.co_freevars

    def get(self, key: str, default: Any, /) -> Any:
        """The content of a cell, or `default` where it is empty."""
        function = self._function()
        try:
            cells = function.__closure__  # type: ignore[union-attr]
            names = function.__code__.co_freevars  # type: ignore[union-attr]
            return cells[names.index(key)].cell_contents  # type: ignore[index]
        except (AttributeError, ValueError, TypeError):
            return default


class Items:
    """The items of a list, tuple or dict."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def get(self, key: Any, default: Any, /) -> Any:
        """The item, or `default`."""
        try:
            return self._container[key]
        except LookupError:
            return default


class Watch:
    """What was found where, each place once.

    Functions, classes and modules that were found are held weakly, so that a remembered
    fingerprint keeps no outdated definition alive.  It is filled by one thread, then only read.
    """

    def __init__(self) -> None:
        self._same: dict[tuple[int, Any], tuple[Space, Any, Any]] = {}
        self._alive: dict[tuple[int, Any], tuple[Space, Any, weakref.ref[Any]]] = {}
        self._equal: dict[tuple[int, Any], tuple[Slot, str, list[object] | None]] = {}
        self._functions: dict[int, tuple[weakref.ref[FunctionType], CodeType]] = {}
        self._shapes: list[tuple[Callable[[], object], object]] = [(generation, generation())]

    def same(self, slot: Slot, value: object) -> None:
        """Expect the very object."""
        key = id(slot.space), slot.key
        if issubclass(type(value), FunctionType | type | ModuleType):  # a proxy may lie
            self._alive[key] = slot.space, slot.key, weakref.ref(value)
        else:
            self._same[key] = slot.space, slot.key, value

    def equal(self, slot: Slot, value: object, expected: str) -> None:
        """Expect a value of the digest `expected`."""
        if is_constant(value):
            self.same(slot, value)
        else:
            self._equal[id(slot.space), slot.key] = slot, expected, constants(value)

    def function(self, function: FunctionType) -> None:
        """Expect the function's code, which tools that reload modules exchange in place."""
        self._functions[id(function)] = weakref.ref(function), function.__code__

    def shape(self, look: Callable[[], object], expected: object) -> None:
        """Expect `look` to give an equal of `expected`."""
        self._shapes.append((look, expected))

    def unchanged(self) -> bool:
        """Whether everything is as it was."""
        for space, key, value in self._same.values():
            if space.get(key, MISSING) is not value:
                return False
        for space, key, reference in self._alive.values():
            now = space.get(key, None)
            if now is None or now is not reference():
                return False
        return self._unchanged_functions() and self._unchanged_values()

    def _unchanged_functions(self) -> bool:
        for reference, code in self._functions.values():
            function = reference()
            if function is None or function.__code__ is not code:
                return False
        return True

    def _unchanged_values(self) -> bool:
        try:
            values = all(_is_equal(*item) for item in self._equal.values())
            return values and all(look() == found for look, found in self._shapes)
        except Unhashed:
            return False


def _is_equal(slot: Slot, expected: str, held: list[object] | None) -> bool:
    value = slot.get()
    if held is not None:
        now = constants(value)
        # The same objects, which cannot change: no need to look into them.
        if now is not None and len(now) == len(held) and all(map(is_, now, held)):
            return True
    return digest(value) == expected


def constants(value: Any) -> list[object] | None:
    """The type and the items of a list or dict of constants; None for any other value."""
    kind = type(value)
    if kind is list:
        items = value
    elif kind is dict:
        items = [*value, *value.values()]
    else:
        return None
    return [kind, *items] if all(map(is_constant, items)) else None


def is_constant(value: object) -> bool:
    """Whether the value cannot change in place."""
    kind = type(value)
    return kind in _ATOMS or (kind in (tuple, frozenset) and all(map(is_constant, value)))  # type: ignore[call-overload]


def _reference(owner: object) -> Callable[[], object]:
    try:
        return weakref.ref(owner)
    except TypeError:
        return lambda: owner


def states(value: object) -> Iterator[str]:
    """The names of the attributes that an instance holds, sorted.

    Of those that :func:`functools.update_wrapper` sets only ``__wrapped__`` counts.
    """
    names = set(getattr(value, "__dict__", ()))
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        names.update([slots] if isinstance(slots, str) else slots)
    yield from sorted(name for name in names if name == "__wrapped__" or name[:2] != "__")
