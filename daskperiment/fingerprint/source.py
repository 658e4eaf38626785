"""Where running code is written: from a function or class to its place in a file or cell.

Text comes from :mod:`linecache`, so scripts, modules, notebook cells, doctests and any other
source that a tool registers there are found alike.  The text may be newer than the code that
runs, as when a file was edited after its import.  Therefore a place counts only when compiling
it again gives the code object that runs.  Its line may be another one: ``%autoreload`` compiles
an edited function apart from its module and leaves the others as they are.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import functools
import inspect
import linecache
import sys
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from daskperiment.fingerprint.bytecode import nested
from daskperiment.fingerprint.compiled import compiled
from daskperiment.fingerprint.parsing import parse
from daskperiment.fingerprint.syntax import Code, Definition

KEPT_FILES = 16
# The last where a text is nested deeper than Python reads it from here.
_UNREADABLE = (SyntaxError, ValueError, RecursionError)
_FUTURE = functools.reduce(
    lambda flags, name: flags | getattr(__future__, name).compiler_flag,
    __future__.all_feature_names,
    0,
)


@dataclass(frozen=True)
class Place:
    """A definition and the whole text of the file or cell that it stands in, or that itself."""

    node: Code
    file: str
    text: str

    @property
    def source(self) -> str:
        """Its own lines, those of its decorators included, indentation trimmed."""
        if isinstance(self.node, ast.Module):
            return self.text.rstrip("\n")
        return cut(self.text, *self.lines)

    @property
    def lines(self) -> tuple[int, int]:
        """Its first and its last line, from 1; of a whole text both are 1."""
        if isinstance(self.node, ast.Module):
            return 1, 1
        return _first_line(self.node), _last(self.node)


def cut(text: str, first: int, last: int) -> str:
    """Some lines of a text, from 1, indentation trimmed.

    Examples
    --------
    >>> cut("class A:\\n    x = 1\\n    y = 2", 2, 3)
    'x = 1\\ny = 2'
    """
    return textwrap.dedent("\n".join(text.split("\n")[first - 1 : last]))


def place_of_function(function: FunctionType) -> Place | None:
    """Where the code of `function` is written, or None where no text agrees with it."""
    code = function.__code__
    text = None
    for text in _texts_of(code.co_filename, function.__globals__):
        node = text.top_level(code) if code.co_name == "<module>" else text.function(code)
        if node is not None:
            return Place(node, text.name, text.text)
    if text is not None and (node := text.named(qualname(function), code)) is not None:
        return Place(node, text.name, text.text)
    return None


def qualname(function: FunctionType) -> str:
    """The name of a function in its text, which ``functools.wraps`` changes in the function.

    ``%autoreload`` changes it in the code of a method.
    """
    name = function.__code__.co_qualname
    return function.__qualname__ if name.startswith("__autoreload_class__.") else name


def place_of_class(cls: type) -> Place | None:
    """Where `cls` is written, or None where no text agrees with its methods.

    A class without methods of its own is found by its name alone.
    """
    methods = list(_methods(cls))
    module = sys.modules.get(cls.__module__)
    name = methods[0].co_filename if methods else getattr(module, "__file__", None)
    text = None
    for text in _texts_of(name, vars(module) if module else None) if name else ():
        node = text.cls(cls.__qualname__, methods)
        if node is not None:
            return Place(node, text.name, text.text)
    if text is not None and (node := text.moved_cls(cls.__qualname__, methods)) is not None:
        return Place(node, text.name, text.text)
    return None


def source(function: Any) -> str:
    """The text of a function, decorators included; empty where no text agrees with it.

    Examples
    --------
    >>> source(source).splitlines()[0]
    'def source(function: Any) -> str:'
    """
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    function = getattr(function, "__func__", function)
    place: Place | None = None
    if isinstance(function, FunctionType):
        place = place_of_function(function)
    elif isinstance(function, type):
        place = place_of_class(function)
    return place.source if place else ""


def _methods(cls: type) -> Iterator[CodeType]:
    """The code that the class statement itself defines, not that of decorators and bases."""
    for value in vars(cls).values():
        if isinstance(value, FunctionType) and value.__globals__.get("__name__") == cls.__module__:
            code = value.__code__
            if code.co_qualname == f"{cls.__qualname__}.{code.co_name}":
                yield code


_IN_CLASSES, _IN_STATEMENTS, _IN_EXPRESSIONS = range(3)


def _in_classes(node: ast.AST) -> list[ast.stmt]:
    return node.body if isinstance(node, ast.ClassDef) else []


_SIMPLE = {ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Raise, ast.Assert}


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """The statements in a statement, and what holds them."""
    if type(node) not in _SIMPLE:
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            yield from getattr(node, field, ())


def _first_line(node: Definition) -> int:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min(item.lineno for item in [node, *decorators])


def _last(node: Definition) -> int:
    return node.end_lineno or node.lineno


class Text:
    """One version of a file or cell, parsed.

    Attributes
    ----------
    name : str
        Name of the file or cell.
    lines : list of str
        Its lines, as :mod:`linecache` holds them.
    text : str
        The whole of it.
    tree : ast.Module
        Its syntax tree, empty where it is no Python.
    """

    def __init__(self, name: str, lines: list[str]) -> None:
        self.name = name
        self.lines = lines
        self.text = "".join(lines)
        self._functions: dict[tuple[int, str], list[tuple[Definition, ast.stmt]]] = {}
        self._named: dict[str, tuple[Definition, ast.stmt]] = {}
        self._classes: dict[str, list[ast.ClassDef]] = {}
        self._imports: list[ast.stmt] = []
        self._compiled: dict[tuple[int, bool], frozenset[CodeType]] = {}
        self._at_hand: dict[tuple[int, str], list[CodeType]] | None = None
        self._deep = -1
        self.tree = ast.Module([], [])
        with _quiet(), contextlib.suppress(*_UNREADABLE):
            self.tree = parse(self.text)
        self._index(_IN_CLASSES)

    def _index(self, deep: int) -> None:
        """List the definitions; most that are looked for are in no function and no branch."""
        if deep <= self._deep:
            return
        self._deep, children = deep, (_in_classes, _statements, ast.iter_child_nodes)[deep]
        for found in (self._functions, self._named, self._classes, self._imports):
            found.clear()
        for statement in self.tree.body:
            todo: list[tuple[ast.AST, str]] = [(statement, "")]
            while todo:
                node, prefix = todo.pop()
                if isinstance(node, ast.ClassDef):
                    self._classes.setdefault(prefix + node.name, []).append(node)
                    prefix += f"{node.name}."
                elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
                    key = _first_line(node), name
                    self._functions.setdefault(key, []).append((node, statement))
                    self._named[prefix + name] = node, statement
                    prefix += f"{name}.<locals>."
                elif isinstance(node, ast.Import | ast.ImportFrom) and not prefix:
                    self._imports.append(node)
                todo.extend((child, prefix) for child in children(node))

    def function(self, code: CodeType) -> Definition | None:
        """The definition that compiles to `code`."""
        key = code.co_firstlineno, code.co_name
        if key not in self._functions:
            self._index(_IN_EXPRESSIONS if code.co_name == "<lambda>" else _IN_STATEMENTS)
        found = self._functions.get(key, [])
        if len(found) > 1:  # lambdas on one line: the narrowest that spans the code
            found = [item for item in found if _spans(item[0], code)]
            found = sorted(found, key=lambda item: _width(item[0]))[:1]
        return found[0][0] if found and self._compiles_to(code, found[0][1]) else None

    def top_level(self, code: CodeType) -> ast.Module | None:
        """All of it, if it or one of its statements compiles to `code`."""
        bodies = [self.tree.body, *([item] for item in self.tree.body)]
        # As scripts are compiled, then as cells and prompts are.
        trees: list[ast.Module | ast.Interactive] = [ast.Module(body, []) for body in bodies]
        trees += map(ast.Interactive, bodies)
        flags = code.co_flags & _FUTURE
        with _quiet(), contextlib.suppress(*_UNREADABLE):
            for tree in trees:
                mode = "exec" if isinstance(tree, ast.Module) else "single"
                if code == compile(tree, self.name, mode, flags=flags, dont_inherit=True):
                    return self.tree
        return None

    def named(self, qualname: str, code: CodeType) -> Definition | None:
        """The last definition of this name, if it compiles to `code` but for its lines."""
        self._index(_IN_EXPRESSIONS if "<lambda>" in qualname else _IN_STATEMENTS)
        node, statement = self._named.get(qualname, (None, None))
        if statement is None:
            return None
        codes = (self._codes(statement, alone, code) for alone in (False, True))
        return node if _bare(code) in map(_bare, chain(*codes)) else None

    def _compiles_to(self, code: CodeType, statement: ast.stmt) -> bool:
        if code in self._codes_at_hand().get((code.co_firstlineno, code.co_name), ()):
            return True
        # A method call on an imported module compiles to other instructions, but only where
        # the compiler sees the import: a notebook runs the statements of a cell one by one.
        return any(code in self._codes(statement, alone, code) for alone in (False, True))

    def _codes_at_hand(self) -> dict[tuple[int, str], list[CodeType]]:
        """What Python has compiled this very text to, and kept when it was imported."""
        if self._at_hand is None:
            self._at_hand = {}
            found = compiled(self.name)
            for code in () if found is None else nested(found):
                key = code.co_firstlineno, code.co_name
                self._at_hand.setdefault(key, []).append(code)
        return self._at_hand

    def _codes(self, statement: ast.stmt, alone: bool, like: CodeType) -> frozenset[CodeType]:
        # The whole statement at the top, because closures and private names need their frame.
        key = id(statement), alone
        if key not in self._compiled:
            self._index(_IN_STATEMENTS)
            module = ast.Module([*([] if alone else self._imports), statement], [])
            flags = like.co_flags & _FUTURE
            self._compiled[key] = frozenset()
            with _quiet(), contextlib.suppress(*_UNREADABLE):
                code = compile(module, self.name, "exec", flags=flags, dont_inherit=True)
                self._compiled[key] = frozenset(nested(code))
        return self._compiled[key]

    def cls(self, qualname: str, methods: list[CodeType]) -> ast.ClassDef | None:
        """The last class statement of this name that holds all of `methods`."""
        if not methods or qualname not in self._classes:
            self._index(_IN_STATEMENTS)
        for node in reversed(self._classes.get(qualname, [])):
            if all(
                node.lineno <= code.co_firstlineno <= _last(node) and self.function(code)
                for code in methods
            ):
                return node
        return None

    def moved_cls(self, qualname: str, methods: list[CodeType]) -> ast.ClassDef | None:
        """The last class statement of this name, if it holds `methods` but for their lines."""
        self._index(_IN_STATEMENTS)
        found = self._classes.get(qualname)
        held = all(self.named(f"{qualname}.{code.co_name}", code) for code in methods)
        return found[-1] if found and held else None


def _bare(code: CodeType) -> CodeType:
    """The code without the place in a text that it was compiled from."""
    constants = (_bare(item) if isinstance(item, CodeType) else item for item in code.co_consts)
    return code.replace(
        co_consts=tuple(constants),
        co_filename="",
        co_firstlineno=1,
        co_linetable=b"",
        co_qualname=code.co_name,
    )


def _spans(node: Definition, code: CodeType) -> bool:
    first, last = _span(node)
    inside = [
        first <= (line, column) and (end_line, end_column) <= last
        for line, end_line, column, end_column in code.co_positions()
        if line and end_line and column is not None and end_column  # 0: not in the text
    ]
    return bool(inside) and all(inside)


def _width(node: Definition) -> tuple[int, int]:
    (line, column), (end_line, end_column) = _span(node)
    return end_line - line, end_column - column


def _span(node: Definition) -> tuple[tuple[int, int], tuple[int, int]]:
    body = node.body if isinstance(node, ast.Lambda) else node
    return (body.lineno, body.col_offset), (_last(node), body.end_col_offset or 0)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # The warnings of the user's code were given when it was compiled for running.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


_texts: dict[str, Text] = {}


def _texts_of(name: str, module_globals: dict[str, Any] | None) -> Iterator[Text]:
    """The text that is at hand, then the one on disk if that differs."""
    if lines := linecache.getlines(name, module_globals):
        yield _parsed(name, lines)
    linecache.checkcache(name)
    fresh = linecache.getlines(name, module_globals)
    if fresh and fresh != lines:
        yield _parsed(name, fresh)


def current_text(name: str, at_hand: bool) -> Text | None:
    """The text of a file as it was read before, or as it is on disk now; None without one."""
    texts = [*_texts_of(name, None)]
    if not texts and Path(name).is_file():
        texts = [_parsed(name, [])]
    return texts[0 if at_hand else -1] if texts else None


def newest_text(name: str) -> str | None:
    """The text of a file or cell as it was read last; None where that was long ago."""
    known = _texts.get(name)
    return None if known is None else known.text


def _parsed(name: str, lines: list[str]) -> Text:
    known = _texts.get(name)
    # Doctests give a new list at each look, hence the comparison.
    if known is not None and (known.lines is lines or known.lines == lines):
        return known
    while len(_texts) >= KEPT_FILES:
        _texts.pop(next(iter(_texts)), None)
    text = _texts[name] = Text(name, lines)
    return text
