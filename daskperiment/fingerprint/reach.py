"""All that a function reaches, written so that two of them can be compared."""

from __future__ import annotations

import functools
import inspect
import sys
from collections import deque
from collections.abc import Callable, Container, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from daskperiment.fingerprint.origin import OWN, PYTHON, border
from daskperiment.fingerprint.reading import SourceText, module_name, module_of, read
from daskperiment.fingerprint.source import place_of_class, qualname
from daskperiment.fingerprint.syntax import Outline, Path, combine, outline
from daskperiment.fingerprint.values import Unhashed, digest, try_digest
from daskperiment.fingerprint.watch import (
    MISSING,
    Attributes,
    Cells,
    Items,
    Members,
    Slot,
    Watch,
    states,
)

# Where a module stands, which differs from machine to machine.
_PLACES = {"__file__", "__name__", "__package__", "__path__", "__spec__", "__doc__", "__builtins__"}


class Reach:
    """All that a function reaches, found in one walk.

    What a name leads to is written as a *form*: a short text that is equal exactly when the
    same is reached.  Functions and classes are written by a label and looked at later, so that
    cycles end and a long chain of calls needs no deep stack.

    Attributes
    ----------
    watch : Watch
        Whether all is still as it was found.
    borders : set of str
        The foreign top-level modules at which the walk ended.
    unhashed, bytecode, files, texts
        As in `daskperiment.fingerprint.code.Closure`.
    """

    def __init__(self, root: Callable[..., Any]) -> None:
        self.watch = Watch()
        self.borders = {PYTHON}
        self.unhashed: set[str] = set()
        self.bytecode: set[str] = set()
        self.files: set[str] = set()
        self.texts: set[SourceText] = set()
        self._root = root
        self._digests: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        self._labels: dict[int, str] = {}
        self._forms: dict[tuple[int, Any], str] = {}
        self._todo: deque[tuple[str, Iterator[str]]] = deque()
        self._open: set[int] = set()
        self._kept: list[object] = []  # or their ids would be given to others
        self._form = self._described(root, Slot({}, "", type(root).__qualname__))
        while self._todo:
            label, parts = self._todo.popleft()
            self._digests[label] = combine(*parts)

    @property
    def digest(self) -> str:
        """One digest for all."""
        own = sorted(f"{label}={digest}" for label, digest in self._digests.items())
        return combine(self._form, *own)

    @property
    def functions(self) -> dict[str, str]:
        """The digest of each function and class, by its full name."""
        return {shown: self._digests[self._shown[shown]] for shown in sorted(self._shown)}

    @property
    def first(self) -> str:
        """Full name of the function or class that was met first; empty where there is none."""
        return next(iter(self._shown), "")

    def _reference(self, slot: Slot) -> str:
        key = id(slot.space), slot.key
        if key not in self._forms:
            self._kept.append(slot)
            value = slot.get()
            form = self._forms[key] = self._described(value, slot)
            if not form.startswith("value "):
                self.watch.same(slot, value)
        return self._forms[key]

    def _described(self, value: Any, slot: Slot) -> str:
        try:
            return self._describe(value, slot)
        except Exception as error:  # of the user's own properties and proxies
            return self._unknown(value, f"{slot.shown}: reading it raised {type(error).__name__}")

    def _describe(self, value: Any, slot: Slot) -> str:
        match value:
            case FunctionType():
                return self._function(value)
            case type():
                return self._class(value)
            case ModuleType():
                name = value.__name__
                return self._border(border(name), name) or f"module {name}"
            case MethodType():
                return self._made("method", value, slot, "__func__", "__self__")
            case functools.partial() | functools.partialmethod():
                return self._made("partial", value, slot, "func", "args", "keywords")
            case staticmethod() | classmethod():
                return self._made(type(value).__name__, value, slot, "__func__")
            case property():
                return self._made("property", value, slot, "fget", "fset", "fdel")
            case functools.cached_property():
                return self._made("cached_property", value, slot, "func")
        return self._object(value, slot)

    def _made(self, kind: str, value: object, slot: Slot, *parts: str) -> str:
        attributes = Attributes(value)
        forms = (self._reference(Slot(attributes, part, f"{slot.shown}.{part}")) for part in parts)
        return f"{kind} {combine(*forms)}"

    def _enter(self, value: object, module: str, name: str) -> tuple[str, str]:
        label = _unique(name, self._digests)
        shown = _unique(f"{module_name(module)}.{name}", self._shown)
        self._kept.append(value)
        self._labels[id(value)] = label
        self._digests[label], self._shown[shown] = "", label
        return label, shown

    # Functions

    def _function(self, function: FunctionType) -> str:
        if id(function) in self._labels:
            return f"code {self._labels[id(function)]}"
        owner = border(module_of(function))
        if owner is not None and function is not self._root:
            return self._foreign(owner, function)
        label, shown = self._enter(function, module_of(function), qualname(function))
        self.watch.function(function)
        self._todo.append((label, self._function_parts(function, shown)))
        return f"code {label}"

    def _function_parts(self, function: FunctionType, shown: str) -> Iterator[str]:
        reading = read(function)
        self._found(function.__code__.co_filename, reading.text, shown)
        spaces = _Spaces(Cells(function), function.__globals__, shown)
        yield from self._outline(reading.outline, spaces)
        attributes = Attributes(function)
        for part in ("__defaults__", "__kwdefaults__"):
            yield self._reference(Slot(attributes, part, f"{shown}.{part}"))

    def _found(self, file: str, text: SourceText | None, shown: str) -> None:
        self.files.add(file)
        if text is None:
            self.bytecode.add(shown)
        else:
            self.texts.add(text)

    def _outline(self, found: Outline, spaces: _Spaces) -> Iterator[str]:
        yield found.digest
        for path in found.paths:
            slot = self._slot(path, spaces)
            if slot.key not in _PLACES:
                yield f"{'.'.join(path)}={self._reference(slot)}"
        for decorator in found.decorators:
            if self._counts(decorator, spaces):
                yield from self._outline(decorator, spaces)
        for module in found.imports:
            owner = None if module.startswith(".") else border(module)
            if not self._border(owner, ""):
                self.unhashed.add(f"{spaces.shown}: import of {module} when it runs")

    def _slot(self, path: Path, spaces: _Spaces) -> Slot:
        """The place that a path leads to: its first that is not a module of the user's own."""
        slot = spaces.slot(path[0])
        for name in path[1:]:
            value = slot.get()
            if not isinstance(value, ModuleType) or border(value.__name__):
                break
            self.watch.same(slot, value)
            slot = Slot(vars(value), name, f"{module_name(value.__name__)}.{name}")
        return slot

    def _counts(self, decorator: Outline, spaces: _Spaces) -> bool:
        if not decorator.called:
            return True
        value = self._slot(decorator.called, spaces).get()
        return value is not MISSING and not _is_ours(value)

    # Classes

    def _class(self, cls: type) -> str:
        if id(cls) in self._labels:
            return f"code {self._labels[id(cls)]}"
        owner = border(cls.__module__)
        if owner is not None:
            return self._foreign(owner, cls)
        label, shown = self._enter(cls, cls.__module__, cls.__qualname__)
        self._todo.append((label, self._class_parts(cls, shown)))
        return f"code {label}"

    def _class_parts(self, cls: type, shown: str) -> Iterator[str]:
        nowhere = Slot({}, "", shown)
        for base in (type(cls), *cls.__bases__):
            yield self._describe(base, nowhere)
        place = place_of_class(cls)
        found: Outline | None = None
        if place is None:
            self.bytecode.add(shown)
        else:
            text = SourceText(place.file, module_name(cls.__module__), place.text)
            self._found(place.file, text, shown)
            found = outline(place.node, ())
            yield from self._outline(found, _Spaces({}, _globals(cls), shown))
        space = Members(cls)
        for name in sorted(vars(cls)):
            if _is_member(cls, name, found):
                yield f"{name}={self._reference(Slot(space, name, f'{shown}.{name}'))}"

    # Other objects

    def _object(self, value: Any, slot: Slot) -> str:
        kind = type(value)
        owner = border(kind.__module__)
        if value is MISSING:
            return "missing"
        if owner == OWN:
            # A step leads to its function; of an experiment nothing counts.
            step = getattr(value, "__wrapped__", None)
            return OWN if step is None else self._describe(step, slot)
        if owner is None:
            return self._instance(value, slot)
        if kind in (list, tuple, dict) and _holds_code(value, set()):
            return self._items(value, slot)
        if callable(value) and isinstance(getattr(value, "__name__", None), str):
            return self._foreign(_border_of(value) or owner, value)
        return self._value(value, slot)

    def _instance(self, value: Any, slot: Slot) -> str:
        code = self._class(type(value))
        names = list(states(value))
        held = [getattr(value, name, None) for name in names]
        if not _holds_code(held, set()) and try_digest(value)[0] is not None:
            return f"instance {code} {self._value(value, slot)}"
        self.watch.shape(lambda: list(states(value)), names)
        space = Attributes(value)
        slots = [Slot(space, name, f"{slot.shown}.{name}") for name in names]
        return f"instance {code} {self._parts(value, slots)}"

    def _items(self, value: Any, slot: Slot) -> str:
        keys = _keys(value)
        self.watch.shape(lambda: _keys(value), keys)
        space = Items(value)
        slots = [Slot(space, key, f"{slot.shown}[{key!r:.80}]") for key in keys]
        return f"{type(value).__name__} {self._parts(value, slots)}"

    def _parts(self, value: object, slots: list[Slot]) -> str:
        if id(value) in self._open:
            return "cycle"
        self._open.add(id(value))
        forms = [f"{try_digest(slot.key)[0]}={self._reference(slot)}" for slot in slots]
        self._open.remove(id(value))
        return combine(*sorted(forms))

    def _value(self, value: object, slot: Slot) -> str:
        try:
            found = digest(value, slot.shown)
        except Unhashed as error:
            return self._unknown(value, str(error))
        self.watch.equal(slot, value, found)
        return f"value {found}"

    def _unknown(self, value: object, why: str) -> str:
        self.unhashed.add(why)
        kind = type(value)
        self._border(border(kind.__module__), "")
        return f"unhashed {kind.__module__}.{kind.__qualname__}"

    # The border

    def _foreign(self, owner: str, value: Any) -> str:
        name = getattr(value, "__qualname__", None) or value.__name__
        form = self._border(owner, name)
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is None or isinstance(value, type):
            return form
        return f"{form} of {self._reference(Slot(Attributes(value), '__wrapped__', name))}"

    def _border(self, owner: str | None, name: str) -> str:
        if owner is None:
            return ""
        self.borders.add(owner)
        return f"border {owner} {name}"


class _Spaces(NamedTuple):
    """Where a definition finds its free names."""

    cells: Any
    names: dict[str, Any]
    shown: str

    def slot(self, name: str) -> Slot:
        if name in self.cells:
            return Slot(self.cells, name, f"{self.shown}.{name}")
        return Slot(self.names, name, f"{module_name(self.names.get('__name__'))}.{name}")


def _unique(name: str, taken: Container[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}#{number}"
    return found


def _globals(cls: type) -> dict[str, Any]:
    return vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}


def _is_member(cls: type, name: str, found: Outline | None) -> bool:
    """Whether an attribute of a class counts: all that its statement binds.

    What others added (dataclasses, enum, abc) follows from the text, and differs between
    releases of Python.
    """
    value = vars(cls)[name]
    if type(value) is cls or _is_foreign_descriptor(value):
        return False
    if found is None:
        return not name.startswith("_") or isinstance(value, FunctionType)
    return name in found.stored


def _is_foreign_descriptor(value: object) -> bool:
    # Of slots and named tuples; a property leads to the user's code.
    foreign = border(type(value).__module__) is not None
    return foreign and inspect.isdatadescriptor(value) and not isinstance(value, property)


def _border_of(value: Any) -> str | None:
    module = getattr(value, "__name__" if isinstance(value, ModuleType) else "__module__", None)
    return border(module) if isinstance(module, str) else None


def _is_ours(value: Any) -> bool:
    return OWN in (border(type(value).__module__), _border_of(value))


def _keys(value: Any) -> list[Any]:
    return list(value) if type(value) is dict else list(range(len(value)))


def _holds_code(value: Any, seen: set[int]) -> bool:
    """Whether a value is, or a list, tuple or dict holds, something with code of the user's."""
    kind = type(value)
    if kind in (list, tuple, dict):
        if id(value) in seen:
            return False
        seen.add(id(value))
        return any(_holds_code(item, seen) for item in (value.values() if kind is dict else value))
    if isinstance(value, FunctionType | type | MethodType | functools.partial):
        return True
    return border(kind.__module__) in (None, OWN)
