"""The code that a step reaches as a tree that people read."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple, TypeAlias

from daskperiment.fingerprint.imports import ModuleText
from daskperiment.fingerprint.origin import OWN, versions
from daskperiment.fingerprint.reach import Reach, Spaces
from daskperiment.fingerprint.source import current_text, place_of_class
from daskperiment.fingerprint.spelling import Path as CodePath
from daskperiment.fingerprint.watch import Attributes, Slot
from daskperiment.typing import Document

_EVERYWHERE = {"", "object", "type"}
_SHORT = 8
"""Characters of a digest that are shown."""


class CodeTree:
    """All that a function reaches, below what reads it first; ``print`` shows it.

    Attributes
    ----------
    digest : str
        The digest of the whole, as in `daskperiment.fingerprint.code.Closure`.
    tree : dict
        The root: ``name``, ``kind``, ``digest``, ``place`` as ``file.py:3``, and what it
        ``reached``, each of these such a dict again.  The kind is ``function``, ``class``,
        ``module``, ``value`` or ``package``, which has ``version`` and ``names`` instead of a
        digest and a place.  What was met before has ``seen`` and is not opened again.
    unfollowed : tuple of str
        What could not be followed or hashed, and why.

    Examples
    --------
    >>> def score(x, scale=2):
    ...     return x * scale
    >>> print(code_tree(score, "score"))
    score  ...  ...
    └─ ...score.__defaults__  ...
    """

    def __init__(self, digest: str, tree: Document, unfollowed: tuple[str, ...]) -> None:
        self.digest = digest
        self.tree = tree
        self.unfollowed = unfollowed

    def __str__(self) -> str:
        lines = [_line(self.tree), *_below(self.tree["reached"])]
        if self.unfollowed:
            lines += ["Not followed:", *(f"  {what}" for what in self.unfollowed)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def code_tree(function: Callable[..., Any], name: str) -> CodeTree:
    """The tree of what `function` reaches now.

    Parameters
    ----------
    function : callable
        As for `daskperiment.fingerprint.code.fingerprint`.
    name : str
        What the root is called.
    """
    traced = _Traced(function)
    bare = (
        f"{bare}: counts by its bytecode, as no source agrees with it" for bare in traced.bytecode
    )
    return CodeTree(traced.digest, traced.tree(name), (*sorted(traced.unhashed), *sorted(bare)))


class _Value(NamedTuple):
    """A constant, by the name that leads to it."""

    name: str
    digest: str
    place: str


class _Package(NamedTuple):
    """What is read of a module of others."""

    owner: str
    name: str


_Reached: TypeAlias = "str | _Value | _Package"
"""What something reaches; code by its label."""


class _Traced(Reach):
    """A walk that notes who reached what."""

    def __init__(self, root: Callable[..., Any]) -> None:
        self._noted: list[_Reached] = []
        self._reached: dict[str, list[_Reached]] = {"": self._noted}
        self._below: dict[tuple[int, Any], list[_Reached]] = {}
        self._about: dict[str, tuple[str, str]] = {}  # kind and place by label
        super().__init__(root)

    # -- noting ---------------------------------------------------------------------------

    def _look(self, label: str, parts: Iterator[str]) -> None:
        self._noted = self._reached[label] = []
        super()._look(label, parts)

    def _known(self, path: CodePath, spaces: Spaces) -> str | None:
        return None  # who reaches a thing again is noted, too

    def _reference(self, slot: Slot) -> str:
        key = id(slot.space), slot.key
        outer, self._noted = self._noted, []
        form = super()._reference(slot)
        outer += self._below.setdefault(key, self._noted)
        self._noted = outer
        return form

    def _note_code(self, form: str, kind: str, place: Callable[[], str]) -> str:
        if form.startswith("code "):
            label = form.removeprefix("code ")
            self._noted.append(label)
            if label not in self._about:
                self._about[label] = kind, place()
        return form

    def _function(self, function: FunctionType) -> str:
        code = function.__code__
        place = functools.partial(_place, code.co_filename, code.co_firstlineno)
        return self._note_code(super()._function(function), "function", place)

    def _class(self, cls: type) -> str:
        return self._note_code(super()._class(cls), "class", functools.partial(_class_place, cls))

    def _statements(self, module: ModuleText, name: str, nodes: list[ast.stmt]) -> str:
        file = module.text.name if module.text is not None else ""
        kind = {
            ast.ClassDef: "class",
            ast.FunctionDef: "function",
            ast.AsyncFunctionDef: "function",
        }
        return self._note_code(
            super()._statements(module, name, nodes),
            kind.get(type(nodes[0]), "value") if name else "module",
            functools.partial(_place, file, nodes[0].lineno),
        )

    def _value(self, value: object, slot: Slot) -> str:
        form = super()._value(value, slot)
        nothing = value is None and isinstance(slot.space, Attributes)  # no default, no setter
        if form.startswith("value ") and not nothing:
            self._noted.append(_Value(slot.shown, form.split(" ")[1], self._place_of(slot)))
        return form

    def _border(self, owner: str | None, name: str) -> str:
        if owner is not None and owner != OWN and name not in _EVERYWHERE:
            self._noted.append(_Package(owner, name))
        return super()._border(owner, name)

    def _place_of(self, slot: Slot) -> str:
        """Where a module assigns a global; empty for all else."""
        module = slot.space.get("__name__", None) if isinstance(slot.space, dict) else None
        if module is None:
            return ""
        file = slot.space.get("__file__", None)
        files = [file] if file else [text.file for text in self.texts if text.module == module]
        for file in files:
            text = current_text(file, at_hand=True)
            for node in reversed(text.tree.body) if text is not None else ():
                if slot.key in _assigned(node):
                    return _place(file, node.lineno)
        return ""

    # -- telling --------------------------------------------------------------------------

    def tree(self, name: str) -> Document:
        """The nested data of `CodeTree.tree`."""
        first = self._reached[""]
        top = first[0] if len(first) == 1 and isinstance(first[0], str) else ""
        kind, place = self._about.get(top, ("function", ""))
        root: Document = {"name": name, "kind": kind, "digest": self.digest, "place": place}
        shown = {label: shown for shown, label in self._shown.items()}
        seen: set[str] = set()
        todo = [(root, top)]
        while todo:
            node, label = todo.pop()
            node["reached"] = []
            if label in seen:
                node["seen"] = True
                continue
            seen.add(label)
            below = dict.fromkeys(self._reached[label])
            codes = [
                (self._code(item, shown[item]), item) for item in below if isinstance(item, str)
            ]
            values = [item for item in below if isinstance(item, _Value)]
            node["reached"] += [code for code, _ in codes]
            node["reached"] += [{"kind": "value", **v._asdict(), "reached": []} for v in values]
            node["reached"] += _packages(item for item in below if isinstance(item, _Package))
            todo += reversed(codes)
        return root

    def _code(self, label: str, shown: str) -> Document:
        kind, place = self._about[label]
        return {"name": shown, "kind": kind, "digest": self._digests[label], "place": place}


def _packages(read: Iterable[_Package]) -> Iterator[Document]:
    names: dict[str, list[str]] = {}
    for item in read:
        of_owner = names.setdefault(item.owner, [])
        of_owner += [item.name] if item.name != item.owner else []
    for owner, found in names.items():
        for distribution, version in versions({owner}).items():
            about = {"name": distribution, "kind": "package", "version": version}
            yield {**about, "names": found, "reached": []}


def _below(reached: list[Document]) -> Iterator[str]:
    todo = [(node, "", node is reached[-1]) for node in reversed(reached)]
    while todo:
        node, before, last = todo.pop()
        yield f"{before}{'└─ ' if last else '├─ '}{_line(node)}"
        before += "   " if last else "│  "
        below = node["reached"]
        todo += [(each, before, each is below[-1]) for each in reversed(below)]


def _line(node: Document) -> str:
    if node["kind"] == "package":
        names = f": {', '.join(node['names'])}" if node["names"] else ""
        return f"{node['name']} {node['version']}{names}"
    name = node["name"] if node["kind"] != "class" else f"class {node['name']}"
    digest = node["digest"].rpartition(":")[2][:_SHORT]
    place = "see above" if node.get("seen") else node["place"]
    return "  ".join(part for part in (name, digest, place) if part)


def _class_place(cls: type) -> str:
    place = place_of_class(cls)
    return "" if place is None else _place(place.file, getattr(place.node, "lineno", 1))


def _place(file: str, line: int) -> str:
    path = Path(file)
    if path.is_absolute():
        here = Path.cwd()
        file = str(path.relative_to(here)) if path.is_relative_to(here) else path.name
    return f"{file}:{line}"


def _assigned(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return set()
    return {
        part.id
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }
