"""Modules of the user's that a function imports when it runs, as their texts tell of them.

They are never run for it, and what counts of one is the same before and after the function
imported it: definitions and assignments by their text, and all else that the module does when
it is imported.  Once it is imported, what is in it is compared with the text.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path as FilePath
from types import ModuleType
from typing import Any

from daskperiment.fingerprint.source import Text, current_text, place_of_class
from daskperiment.fingerprint.spelling import Path
from daskperiment.fingerprint.syntax import bound
from daskperiment.fingerprint.values import try_digest

_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPOUND = (ast.If, ast.Try, ast.TryStar, ast.With, ast.For, ast.While, ast.Match)
_ASSIGNED = (ast.Assign, ast.AnnAssign, ast.AugAssign)


class ModuleText:
    """A module as its text says.

    Parameters
    ----------
    name : str
        Its full name.
    spec : ModuleSpec
        Where it is.
    text : Text or None
        Its text; None for a folder without one.

    Attributes
    ----------
    is_package : bool
        Whether it may have modules in it.
    package : str
        The package from which leading dots count.
    bindings : dict of str to list
        The statements that bind each name, in order.
    imports : dict of str to (str, tuple of str)
        The modules, and the names in them, that import statements bind names to.
    stars : list of str
        Modules of which it imports everything.
    actions : list
        What it does besides when it is imported.
    """

    def __init__(self, name: str, spec: ModuleSpec, text: Text | None) -> None:
        self.name = name
        self.text = text
        self.is_package = spec.submodule_search_locations is not None
        self.package = name if self.is_package else name.rpartition(".")[0]
        self.bindings: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, tuple[str, Path]] = {}
        self.stars: list[str] = []
        self.actions: list[ast.stmt] = []
        for node in text.tree.body if text else ():
            self._sort(node)

    def _sort(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._imported(node)
        elif isinstance(node, _NAMED):
            self.bindings.setdefault(node.name, []).append(node)
        elif not _for_main_only(node) and not _is_remark(node):
            for name in _stored(node):
                self.bindings.setdefault(name, []).append(node)
            if not isinstance(node, _ASSIGNED) or _changes(node):
                self.actions.append(node)

    def _imported(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, (module, path) in bound(node).items():
            module = absolute(module, self.package)
            if path == ("*",):
                self.stars.append(module)
            else:
                self.imports[name] = module, path

    @property
    def live(self) -> ModuleType | None:
        """The module itself, once something has imported it."""
        return sys.modules.get(self.name)

    def state(self) -> object:
        """What changes when the module is imported, exchanged or written anew."""
        if self.text is None:
            return None
        try:
            found = FilePath(self.text.name).stat()
        except OSError:
            return id(self.live)
        return id(self.live), found.st_mtime_ns, found.st_size

    def differs(self, name: str) -> bool:
        """Whether what is under this name in the imported module is not what the text says."""
        live, statements = self.live, self.bindings[name]
        if live is None or len(statements) > 1 or isinstance(statements[0], _COMPOUND):
            return False
        value, node = vars(live).get(name), statements[0]
        if isinstance(node, _ASSIGNED):
            return _differs(value, node)
        if isinstance(node, ast.ClassDef):
            place = place_of_class(value) if isinstance(value, type) else None
            return place is None or place.text != self._whole
        function = inspect.unwrap(value) if callable(value) else None
        code = getattr(function, "__code__", None)
        return code is None or self.text is None or self.text.function(code) is None

    @property
    def _whole(self) -> str:
        return self.text.text if self.text else ""

    def is_made(self, name: str) -> bool:
        """Whether an assignment of this name calls something, so that its text is not all."""
        return any(
            isinstance(node, _ASSIGNED) and any(isinstance(n, ast.Call) for n in ast.walk(node))
            for node in self.bindings[name]
        )


def find(name: str) -> ModuleText | None:
    """The module of this name as its text says, found without importing anything.

    None where there is none, or one that was not written in Python.
    """
    try:
        spec = _spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if spec.origin is None or spec.origin in ("namespace", "frozen", "built-in"):
        return ModuleText(name, spec, None) if spec.submodule_search_locations else None
    text = current_text(spec.origin, name in sys.modules) if spec.has_location else None
    return None if text is None else ModuleText(name, spec, text)


def absolute(module: str, package: str) -> str:
    """The full name of a module that a package names with leading dots.

    Examples
    --------
    >>> absolute("..data", "lab.models"), absolute(".", "lab"), absolute("json", "lab")
    ('lab.data', 'lab', 'json')
    """
    name = module.lstrip(".")
    above = len(module) - len(name) - 1
    if above < 0:
        return module
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - above], *([name] if name else [])])


def _spec(name: str) -> ModuleSpec | None:
    module = sys.modules.get(name)
    if module is not None:
        return module.__spec__
    parent = name.rpartition(".")[0]
    if not parent:
        return importlib.util.find_spec(name)
    above = sys.modules.get(parent)
    places: Any = getattr(above, "__path__", None)
    if above is None:
        places = getattr(_spec(parent), "submodule_search_locations", None)
    return None if places is None else PathFinder.find_spec(name, places)


def _for_main_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "__name__ == '__main__'",
        "'__main__' == __name__",
    )


def _is_remark(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _stored(node: ast.stmt) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
        elif isinstance(part, _NAMED):
            yield part.name
        elif isinstance(part, ast.Import | ast.ImportFrom):
            yield from bound(part)


def _changes(node: ast.stmt) -> bool:
    """Whether an assignment changes an object instead of binding a name."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]  # type: ignore[attr-defined]
    return any(
        isinstance(part, ast.Attribute | ast.Subscript) and isinstance(part.ctx, ast.Store)
        for target in targets
        for part in ast.walk(target)
    )


def _differs(value: object, node: ast.stmt) -> bool:
    """Whether a value is another than the literal that a statement assigns to one name."""
    written = getattr(node, "value", None)
    alone = isinstance(node, ast.AnnAssign) or (
        isinstance(node, ast.Assign) and [type(target) for target in node.targets] == [ast.Name]
    )
    if written is None or not alone:
        return False
    try:
        literal = ast.literal_eval(written)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return try_digest(value)[0] != try_digest(literal)[0]
