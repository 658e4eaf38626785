"""The fingerprint of a function's code: its own, and all of the user's code that it reaches.

From a function the walk follows the names that it reads, through modules of the user's own,
to helpers, classes, constants, the variables of closures, defaults and decorators.  It ends
at the *border*: the standard library, installed distributions and daskperiment itself, which
count by name.  Their versions are reported, but they are not part of the digest: an upgraded
package is another cause of a changed output than changed code.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from daskperiment.fingerprint import bytecode
from daskperiment.fingerprint.origin import OWN, PYTHON, border, versions
from daskperiment.fingerprint.source import place_of_class, place_of_function, source
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


class SourceText(NamedTuple):
    """The whole text of a file or cell, as it was when the code in it was compiled."""

    file: str
    module: str
    text: str


@dataclass(frozen=True, eq=False)
class Closure:
    """The code that a function computes with; compared by its `digest`.

    Attributes
    ----------
    digest : str
        One digest for all of it, with the scheme as prefix.  Names of modules are not part of
        it, so a script and the module made of it agree.  Versions of distributions are not
        part of it either: compare `borders`.
    functions : dict of str to str
        The user's own functions and classes that are reached, by qualified name, each with a
        digest of its text and of the values it reads.  Lambdas and others of equal name are
        numbered in the order in which they are reached.
    borders : dict of str to str
        The distributions at the border, and ``"python"``, with their versions.
    unhashed : tuple of str
        What is read but could not be hashed, such as ``"pipeline.LOCK: _thread.lock"``; the
        digest knows only its type.
    bytecode : tuple of str
        The functions and classes that no source text agrees with: made by ``exec``, or edited
        on disk after the import.  Functions count by bytecode, which changes between releases
        of Python; classes by their members.
    files : tuple of str
        The names of the files and cells that the reached functions were compiled from.
    sources : tuple of SourceText
        The texts of those that source was found in.
    source : str
        The function's own text, decorators included.
    """

    digest: str
    functions: dict[str, str]
    borders: dict[str, str]
    unhashed: tuple[str, ...]
    bytecode: tuple[str, ...]
    files: tuple[str, ...]
    sources: tuple[SourceText, ...]
    source: str


_lock = threading.RLock()
_closures: weakref.WeakKeyDictionary[FunctionType, tuple[Closure, Watch]] = (
    weakref.WeakKeyDictionary()
)


def fingerprint(function: Callable[..., Any]) -> Closure:
    """The code that `function` computes with, as it is now.

    Comments, docstrings, formatting and annotations do not count, nor do decorators of
    daskperiment itself; the digest is equal on all supported releases of Python.  As long as
    nothing changed, a repeated call gives the same object after one look at each name
    and value that was read.  A helper that was bound anew, a changed constant and a list that
    was changed in place are noticed.

    Not followed: what is found by name at run time (``getattr``, ``eval``), attributes given
    to a class after its definition, and the user's modules imported inside a function, which
    are listed as unhashed.  A decorator counts by its text only while the name it begins with
    can be looked up; what it returned is followed in any case.

    May be called from several threads.

    Parameters
    ----------
    function : callable
        A function; also a method, partial, class or callable object.  Only functions are
        remembered.

    Examples
    --------
    >>> def double(x):
    ...     return 2 * x
    >>> def double_and_one(x):
    ...     return double(x) + 1
    >>> [name.rpartition(".")[2] for name in fingerprint(double).functions]
    ['double']
    >>> fingerprint(double).digest == fingerprint(double_and_one).digest
    False
    """
    known = _known(function)
    if known is not None and known[1].unchanged():
        return known[0]
    with _lock:
        again = _known(function)
        if again is not known and again is not None:
            return again[0]
        return _walk(function, known)


def _known(function: Callable[..., Any]) -> tuple[Closure, Watch] | None:
    return _closures.get(function) if isinstance(function, FunctionType) else None


def _walk(function: Callable[..., Any], known: tuple[Closure, Watch] | None) -> Closure:
    walk = _Walk(function)
    closure = walk.closure()
    if known is not None and vars(known[0]) == vars(closure):
        closure = known[0]
    if isinstance(function, FunctionType):
        _closures[function] = closure, walk.watch
    return closure


class _Reading(NamedTuple):
    """What was read of a function's code; kept, since to find and parse it takes long."""

    code: CodeType
    outline: Outline
    text: SourceText | None


_readings: weakref.WeakKeyDictionary[FunctionType, _Reading] = weakref.WeakKeyDictionary()


def _read(function: FunctionType) -> _Reading:
    known = _readings.get(function)
    if known is not None and known.code is function.__code__:
        return known
    code = function.__code__
    place = place_of_function(function)
    if place is None:
        reading = _Reading(code, bytecode.outline(code), None)
    else:
        text = SourceText(place.file, _module(function), place.text)
        reading = _Reading(code, outline(place.node, bytecode.names(code)), text)
    _readings[function] = reading
    return reading


def _module(function: FunctionType) -> str:
    # Where its code is: functools.wraps sets `__module__` to that of the wrapped function.
    return _main(function.__globals__.get("__name__"))


def _main(module: object) -> str:
    return "__main__" if module == "__mp_main__" else str(module or "")


class _Walk:
    """One walk from a function to all that it reaches.

    What a name leads to is written as a *form*: a short text that is equal exactly when the
    same is reached.  Functions and classes are written by a label and looked at later, so that
    cycles end and a long chain of calls needs no deep stack.
    """

    def __init__(self, root: Callable[..., Any]) -> None:
        self.root = root
        self.watch = Watch()
        self._digests: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        self._labels: dict[int, str] = {}
        self._forms: dict[tuple[int, Any], str] = {}
        self._todo: deque[tuple[str, Iterator[str]]] = deque()
        self._open: set[int] = set()
        self._kept: list[object] = []  # or their ids would be given to others
        self._tops = {PYTHON}
        self._unhashed: set[str] = set()
        self._bytecode: set[str] = set()
        self._files: set[str] = set()
        self._texts: set[SourceText] = set()

    def closure(self) -> Closure:
        name = getattr(self.root, "__qualname__", type(self.root).__qualname__)
        form = self._describe(self.root, Slot({}, "", name))
        while self._todo:
            label, parts = self._todo.popleft()
            self._digests[label] = combine(*parts)
        own = sorted(f"{label}={value}" for label, value in self._digests.items())
        return Closure(
            digest=combine(form, *own),
            functions=dict(sorted((self._shown[k], v) for k, v in self._digests.items())),
            borders=versions(self._tops),
            unhashed=tuple(sorted(self._unhashed)),
            bytecode=tuple(sorted(self._bytecode)),
            files=tuple(sorted(self._files)),
            sources=tuple(sorted(self._texts, key=lambda text: (text.module, text.file))),
            source=source(self.root),
        )

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
        shown = _unique(f"{_main(module)}.{name}", set(self._shown.values()))
        self._kept.append(value)
        self._labels[id(value)] = label
        self._digests[label], self._shown[label] = "", shown
        return label, shown

    # Functions

    def _function(self, function: FunctionType) -> str:
        if id(function) in self._labels:
            return f"code {self._labels[id(function)]}"
        owner = border(_module(function))
        if owner is not None and function is not self.root:
            return self._foreign(owner, function)
        label, shown = self._enter(function, _module(function), function.__code__.co_qualname)
        self.watch.function(function)
        self._todo.append((label, self._function_parts(function, shown)))
        return f"code {label}"

    def _function_parts(self, function: FunctionType, shown: str) -> Iterator[str]:
        reading = _read(function)
        self._found(function.__code__.co_filename, reading.text, shown)
        spaces = _Spaces(Cells(function), function.__globals__, shown)
        yield from self._outline(reading.outline, spaces)
        attributes = Attributes(function)
        for part in ("__defaults__", "__kwdefaults__"):
            yield self._reference(Slot(attributes, part, f"{shown}.{part}"))

    def _found(self, file: str, text: SourceText | None, shown: str) -> None:
        self._files.add(file)
        if text is None:
            self._bytecode.add(shown)
        else:
            self._texts.add(text)

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
                self._unhashed.add(f"{spaces.shown}: import of {module} when it runs")

    def _slot(self, path: Path, spaces: _Spaces) -> Slot:
        """The place that a path leads to: its first that is not a module of the user's own."""
        slot = spaces.slot(path[0])
        for name in path[1:]:
            value = slot.get()
            if not isinstance(value, ModuleType) or border(value.__name__):
                break
            self.watch.same(slot, value)
            slot = Slot(vars(value), name, f"{_main(value.__name__)}.{name}")
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
            self._bytecode.add(shown)
        else:
            text = SourceText(place.file, _main(cls.__module__), place.text)
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
            self.watch.same(slot, value)
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
        self._unhashed.add(why)
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
        return f"{form} of {self._describe(wrapped, Slot(Attributes(value), '__wrapped__', name))}"

    def _border(self, owner: str | None, name: str) -> str:
        if owner is None:
            return ""
        self._tops.add(owner)
        return f"border {owner} {name}"


class _Spaces(NamedTuple):
    """Where a definition finds its free names."""

    cells: Any
    names: dict[str, Any]
    shown: str

    def slot(self, name: str) -> Slot:
        if name in self.cells:
            return Slot(self.cells, name, f"{self.shown}.{name}")
        return Slot(self.names, name, f"{_main(self.names.get('__name__'))}.{name}")


def _unique(name: str, taken: Any) -> str:
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
