"""All that a function reaches, written so that two of them can be compared."""

from __future__ import annotations

import ast
import functools
import inspect
import logging
import sys
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import PurePath
from types import BuiltinMethodType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, NamedTuple

from daskperiment.fingerprint.imports import ModuleText, absolute, find
from daskperiment.fingerprint.origin import OWN, PYTHON, border
from daskperiment.fingerprint.reading import SourceText, module_name, module_of, read
from daskperiment.fingerprint.source import place_of_class, qualname
from daskperiment.fingerprint.spelling import Path
from daskperiment.fingerprint.syntax import Import, Outline, combine, outline, statement
from daskperiment.fingerprint.values import Unhashed, digest, digest_and_named, try_digest
from daskperiment.fingerprint.watch import (
    MISSING,
    Attributes,
    Cells,
    Items,
    Members,
    Slot,
    Watch,
    constants,
    is_constant,
    states,
)

# Where a module stands, which differs from machine to machine.
_PLACES = {"__file__", "__name__", "__package__", "__path__", "__spec__", "__doc__", "__builtins__"}

_NOTHING = f"value {digest(None)}"
_METHODS = (FunctionType, staticmethod, classmethod, property)

# Builtins by which a function reaches what no name in its text tells.
_HIDING = {"eval", "exec", "globals"}


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
        self._written: dict[tuple[str, str], str] = {}
        self._looking: set[tuple[str, Path]] = set()
        self._forms: dict[tuple[int, Any], str] = {}
        self._todo: deque[tuple[str, Iterator[str]]] = deque()
        self._open: set[int] = set()
        self._modules: dict[str, ModuleText | None] = {}
        self._kept: list[object] = []  # or their ids would be given to others
        self._form = self._described(root, Slot({}, "", type(root).__qualname__))
        while self._todo:
            self._look(*self._todo.popleft())

    @property
    def digest(self) -> str:
        """One digest for all."""
        own = sorted(f"{label}={found}" for label, found in self._digests.items())
        return combine(self._form, *own)

    @property
    def functions(self) -> dict[str, str]:
        """The digest of each function and class, by its full name."""
        return {shown: self._digests[self._shown[shown]] for shown in sorted(self._shown)}

    @property
    def first(self) -> str:
        """Full name of the function or class that was met first; empty where there is none."""
        return next(iter(self._shown), "")

    def _look(self, label: str, parts: Iterator[str]) -> None:
        self._digests[label] = combine(*parts)

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
        if value is not MISSING and _is_plain(value):  # most of what is read
            return self._value(value, slot)
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
                return self._module(value, slot)
            case MethodType():
                owner = _owner_by_name(value)
                if owner is not None:
                    return self._foreign(owner, value)
                return self._made("method", value, slot, "__func__", "__self__")
            case BuiltinMethodType() if not isinstance(value.__self__, ModuleType | None):
                owner = _owner_by_name(value)
                if owner is not None:
                    return self._foreign(owner, value)
                return self._made("method", value, slot, "__name__", "__self__")
            case functools.partial() | functools.partialmethod():
                return self._made("partial", value, slot, "func", "args", "keywords")
            case staticmethod() | classmethod():
                return self._made(type(value).__name__, value, slot, "__func__")
            case property():
                return self._made("property", value, slot, "fget", "fset", "fdel")
            case functools.cached_property():
                return self._made("cached_property", value, slot, "func")
            case functools.singledispatchmethod():
                return self._made("dispatch", value, slot, "func", "dispatcher")
        return self._object(value, slot)

    def _module(self, module: ModuleType, slot: Slot) -> str:
        name = module.__name__
        owner = border(name)
        if owner is None:
            self.unhashed.add(f"{slot.shown}: what is read of the module by a name made meanwhile")
        return self._border(owner, name) or f"module {name}"

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
        cells: Any = Cells(function) if function.__closure__ else {}
        spaces = Spaces(cells, function.__globals__, shown)
        yield from self._outline(reading.outline, spaces)
        attributes = Attributes(function)
        for part in ("__defaults__", "__kwdefaults__"):
            slot = Slot(attributes, part, f"{shown}.{part}")
            if getattr(function, part) is None:
                self.watch.same(slot, None)
                yield _NOTHING
            else:
                yield self._reference(slot)
        own = reading.outline.own
        cls = _class_of(function) if own else None
        if cls is not None and id(cls) not in self._labels and own & {*dir(cls)}:
            yield f"class={self._reference(Slot(function.__globals__, cls.__name__, shown))}"

    def _found(self, file: str, text: SourceText | None, shown: str) -> None:
        self.files.add(file)
        if text is None:
            self.bytecode.add(shown)
        else:
            self.texts.add(text)

    def _outline(self, found: Outline, spaces: Spaces) -> Iterator[str]:
        yield found.digest
        for path in found.paths:
            form = self._known(path, spaces)
            if form is not None:
                yield f"{'.'.join(path)}={form}"
                continue
            slot = self._slot(path, spaces)
            if slot.key not in _PLACES:
                yield f"{'.'.join(path)}={self._reference(slot)}"
            if slot.key in _HIDING and slot.get() is MISSING:
                self.unhashed.add(f"{spaces.shown}: what {slot.key}() leads to")
        for decorator in found.decorators:
            if self._counts(decorator, spaces):
                yield from self._outline(decorator, spaces)
        package = str(spaces.names.get("__package__") or "")
        for item in found.imports:
            yield self._imported(Import(absolute(item.module, package), item.path), spaces.shown)

    def _known(self, path: Path, spaces: Spaces) -> str | None:
        """The form of what a path leads to, where another one has led there: most of them."""
        name = path[0]
        if name in spaces.cells or name in _HIDING:
            return None
        form = self._forms.get((id(spaces.names), name))
        return form if form is not None and (len(path) == 1 or form[:7] != "module ") else None

    def _slot(self, path: Path, spaces: Spaces) -> Slot:
        """The place that a path leads to: its first that is not a module of the user's own."""
        slot = spaces.slot(path[0])
        for name in path[1:]:
            value = slot.get()
            if not isinstance(value, ModuleType) or border(value.__name__):
                break
            self.watch.same(slot, value)
            shown = f"{module_name(value.__name__)}.{name}"
            if name not in vars(value) and "__getattr__" in vars(value):
                self.unhashed.add(f"{shown}: what __getattr__ of the module makes")
                name = "__getattr__"
            slot = Slot(vars(value), name, shown)
        return slot

    def _counts(self, decorator: Outline, spaces: Spaces) -> bool:
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
            yield from self._outline(found, Spaces({}, _globals(cls), shown))
        space = Members(cls)
        for name in sorted(vars(cls)):
            if _is_member(cls, name, found):
                yield f"{name}={self._reference(Slot(space, name, f'{shown}.{name}'))}"

    # Modules that are imported when a function runs

    def _imported(self, item: Import, shown: str) -> str:
        """What a function reads of a module that it imports, by the module's text."""
        if not item.module:
            self.unhashed.add(f"{shown}: import of a module by a name made when it runs")
            return "import"
        owner = border(item.module)
        if owner is not None:
            return self._border(owner, ".".join((item.module, *(item.path or ()))))
        module = self._text(item.module)
        if module is None:
            self.unhashed.add(f"{shown}: import of {item.module} when it runs")
            return f"import {item.module}"
        forms = [f"import {item.module}"]
        if module.actions:
            forms.append(self._statements(module, "", module.actions))
        if item.path is not None:
            forms.append(self._name_in(module, item.path, shown))
        return " ".join(forms)

    def _text(self, name: str) -> ModuleText | None:
        if name not in self._modules:
            module = self._modules[name] = find(name)
            if module is not None:
                self.watch.shape(module.state, module.state())
        return self._modules[name]

    def _name_in(self, module: ModuleText, path: Path, shown: str) -> str:
        key = (module.name, path)
        if key in self._looking:  # modules that import from each other
            return "cycle"
        self._looking.add(key)
        try:
            return self._looked_up(module, path, shown)
        finally:
            self._looking.remove(key)

    def _looked_up(self, module: ModuleText, path: Path, shown: str) -> str:
        if not path:
            names = sorted({*module.bindings, *module.imports})
            return combine(*(self._name_in(module, (name,), shown) for name in names))
        name, *rest = path
        if name in module.bindings:
            return self._binding(module, name)
        if module.imports.get(name, (module.name, (name,))) != (module.name, (name,)):
            source, before = module.imports[name]
            return self._imported(Import(source, (*before, *rest)), shown)
        if module.is_package and self._text(f"{module.name}.{name}") is not None:
            return self._imported(Import(f"{module.name}.{name}", tuple(rest)), shown)
        return " ".join(self._imported(Import(star, path), shown) for star in module.stars)

    def _binding(self, module: ModuleText, name: str) -> str:
        shown = f"{module_name(module.name)}.{name}"
        if module.is_made(name):
            self.unhashed.add(f"{shown}: made when {module.name} is imported by a function")
        elif module.differs(name):
            self.unhashed.add(f"{shown}: not what the file says, which a function imports")
        if module.live is not None:
            self._watched(Slot(vars(module.live), name, shown))
        return self._statements(module, name, module.bindings[name])

    def _watched(self, slot: Slot) -> None:
        value = slot.get()
        self._kept.append(slot)
        found = None if _holds_code(value, set()) else try_digest(value)[0]
        if found is None:
            self.watch.same(slot, value)
        else:
            self.watch.equal(slot, value, found)

    def _statements(self, module: ModuleText, name: str, nodes: list[ast.stmt]) -> str:
        key = (module.name, name)
        if key not in self._written:
            label = _unique(name or "import", self._digests)
            shown = _unique(f"{module_name(module.name)}.{name}".rstrip("."), self._shown)
            self._written[key], self._digests[label], self._shown[shown] = label, "", label
            self._todo.append((label, self._statement_parts(module, nodes, shown)))
        return f"code {self._written[key]}"

    def _statement_parts(
        self, module: ModuleText, nodes: list[ast.stmt], shown: str
    ) -> Iterator[str]:
        if module.text is not None:
            whole = SourceText(module.text.name, module_name(module.name), module.text.text)
            self._found(module.text.name, whole, shown)
        for node in nodes:
            found = statement(node)
            yield found.digest
            for path in found.paths:
                yield f"{'.'.join(path)}={self._name_in(module, path, shown)}"
            for item in found.imports:
                name = absolute(item.module, module.package)
                yield self._imported(Import(name, item.path), shown)

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
        if isinstance(value, logging.Logger | logging.LoggerAdapter):
            return self._border(owner, kind.__name__)
        if isinstance(value, PurePath):
            return self._path(value, slot)
        if kind in (list, tuple, dict, MappingProxyType) and _holds_code(value, set()):
            return self._items(value, slot)
        if callable(value) and isinstance(getattr(value, "__name__", None), str):
            return self._foreign(_border_of(value) or owner, value)
        return self._value(value, slot)

    def _path(self, value: PurePath, slot: Slot) -> str:
        """A path by its text, as another machine has it.

        So it is relative where it leads below the folder from which the module that holds it is
        imported, or the one in which the walk began.
        """
        for space in (slot.space, getattr(self._root, "__globals__", None)):
            folder = _folder(space) if isinstance(space, dict) else None
            if folder is not None and value.is_relative_to(folder):
                return f"path here {value.relative_to(folder).as_posix()}"
        return f"path {value.as_posix()}"

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
        named: list[object] = []
        try:
            if _is_plain(value):
                found = digest(value, slot.shown)
            else:
                found, named = digest_and_named(value, slot.shown)
        except Unhashed as error:
            return self._unknown(value, str(error))
        self.watch.equal(slot, value, found)
        codes = {self._describe(item, slot) for item in _in_order(named) if _is_users(item)}
        return f"value {found} {combine(*sorted(codes))}" if codes else f"value {found}"

    def _unknown(self, value: object, why: str) -> str:
        self.unhashed.add(why)
        kind = type(value)
        self._border(border(kind.__module__), "")
        return f"unhashed {kind.__module__}.{kind.__qualname__}"

    # The border

    def _foreign(self, owner: str, value: Any) -> str:
        name = getattr(value, "__qualname__", None) or value.__name__
        if isinstance(value, type) or _owner_by_name(value) is not None:
            return self._border(owner, name)
        parts = [self._reference(slot) for slot in _held(value, name)]
        if not parts:
            return self._border(owner, name)
        # Made by others: its name may be that of the function that it wraps.
        maker = getattr(value, "__code__", None) if "__wrapped__" not in states(value) else None
        kind = type(value).__qualname__ if maker is None else maker.co_qualname
        return f"{self._border(owner, kind)} of {' '.join(parts)}"

    def _border(self, owner: str | None, name: str) -> str:
        if owner is None:
            return ""
        self.borders.add(owner)
        return f"border {owner} {name}"


class Spaces(NamedTuple):
    """Where a definition finds its free names.

    Parameters
    ----------
    cells : Cells or dict
        The variables of its closure.
    names : dict
        The globals of its module.
    shown : str
        Its own name.
    """

    cells: Any
    names: dict[str, Any]
    shown: str

    def slot(self, name: str) -> Slot:
        """The place of a name."""
        if name in self.cells:
            return Slot(self.cells, name, f"{self.shown}.{name}")
        return Slot(self.names, name, f"{module_name(self.names.get('__name__'))}.{name}")


def _is_plain(value: object) -> bool:
    """Whether a value holds no functions, classes or instances of any."""
    return is_constant(value) or constants(value) is not None


def _held(value: Any, name: str) -> Iterator[Slot]:
    """What a callable of others holds of the user's: the function that it wraps, and the like."""
    attributes = Attributes(value)
    if getattr(value, "__wrapped__", None) is not None:
        yield Slot(attributes, "__wrapped__", name)
        if isinstance(getattr(value, "registry", None), MappingProxyType):  # a generic function
            yield Slot(attributes, "registry", f"{name}.registry")
    elif isinstance(value, FunctionType):
        cells = Cells(value)
        for free in value.__code__.co_freevars:
            yield Slot(cells, free, f"{name}.{free}")
    else:
        for key in states(value):
            held = getattr(value, key, None)
            if not key.startswith("_") or _holds_code(held, set()):
                yield Slot(attributes, key, f"{name}.{key}")


def _owner_by_name(value: Any) -> str | None:
    """The owner of the foreign module in which a callable stands under its own name."""
    names = {getattr(value, "__qualname__", None), getattr(value, "__name__", None)}
    owners = (value, type(value), type(getattr(value, "__self__", None)))
    for module in {str(getattr(owner, "__module__", "")) for owner in owners}:
        owner = border(module)
        for name in names if owner is not None else ():
            found: object = sys.modules.get(module)
            for part in str(name).split("."):
                found = getattr(found, part, None)
            if found is value:
                return owner
    return None


def _class_of(function: FunctionType) -> type | None:
    """The class at the top of a module in whose body a function is written."""
    cls = function.__globals__.get(qualname(function).rpartition(".")[0])
    return cls if isinstance(cls, type) and border(cls.__module__) is None else None


def _in_order(named: Iterable[Any]) -> list[Any]:
    return sorted(named, key=lambda item: (str(item.__module__), item.__qualname__))


def _is_users(value: object) -> bool:
    return isinstance(value, FunctionType | type) and _border_of(value) is None


def _unique(name: str, taken: Container[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}#{number}"
    return found


def _folder(space: dict[str, Any]) -> PurePath | None:
    """The folder from which a module was imported, by its globals."""
    file, package = space.get("__file__"), space.get("__package__") or ""
    if not isinstance(file, str):
        return None
    return PurePath(file).parents[len(package.split(".")) if package else 0]


def _globals(cls: type) -> dict[str, Any]:
    return vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}


def _is_member(cls: type, name: str, found: Outline | None) -> bool:
    """Whether an attribute of a class counts: all that its statement binds.

    What others added (dataclasses, enum, abc) follows from the text, and differs between
    releases of Python; only public methods that somebody has given to the class are not.
    """
    value = vars(cls)[name]
    if type(value) is cls or _is_foreign_descriptor(value):
        return False
    if found is None:
        return not name.startswith("_") or isinstance(value, FunctionType)
    return name in found.stored or (not name.startswith("_") and isinstance(value, _METHODS))


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
    return list(range(len(value))) if isinstance(value, list | tuple) else list(value)


def _holds_code(value: Any, seen: set[int]) -> bool:
    """Whether a value is, or a list, tuple or dict holds, something with code of the user's."""
    kind = type(value)
    if kind in (list, tuple, dict, MappingProxyType):
        if id(value) in seen:
            return False
        seen.add(id(value))
        items = value if kind in (list, tuple) else value.values()
        return any(_holds_code(item, seen) for item in items)
    if isinstance(value, FunctionType | type | MethodType | functools.partial | PurePath):
        return True
    return border(kind.__module__) in (None, OWN)
