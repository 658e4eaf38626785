"""The canonical form of Python syntax: equal for code that computes the same by its text.

Comments, formatting, docstrings and annotations are not part of it, nor is anything that
differs between the syntax trees of Python 3.11 to 3.14.  The form is our own and not
:func:`ast.dump`, whose text changes from release to release.
"""

from __future__ import annotations

import ast
import copy
import functools
import struct
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from blake3 import blake3

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
Code: TypeAlias = Definition | ast.Module
"""What is hashed: a definition, or a script or cell."""
Path: TypeAlias = tuple[str, ...]

_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LEADING = {*_NAMED, ast.Import, ast.ImportFrom}
_BODIES = {"body", "orelse", "finalbody"}
_ATOMS = {int, bool, type(None)}
_IMPORTERS = {"import_module", "__import__"}

# `str` is the text of a 3.14 template's interpolation: formatting.
IGNORED = {"ctx", "kind", "type_comment", "type_ignores", "returns", "annotation", "simple", "str"}


def combine(*parts: str) -> str:
    """The ``v1:`` digest of some texts, in order.

    Examples
    --------
    >>> combine("ab", "c") == combine("a", "bc")
    False
    """
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return "v1:" + blake3(joined.encode("utf-8", "surrogatepass")).digest(16).hex()


class Import(NamedTuple):
    """What a definition reads of a module that it imports when it runs.

    Parameters
    ----------
    module : str
        Name of the module, with leading dots where it is relative; empty where the name is made
        when the definition runs.
    path : tuple of str or None
        The name and attributes that are read of it; none where it is used as a whole, and None
        where it is only imported.
    """

    module: str
    path: Path | None


@dataclass(frozen=True)
class Outline:
    """What counts of one definition.

    Attributes
    ----------
    digest : str
        Digest of its canonical form, without its name and decorators.
    paths : tuple of tuple of str
        The names and attribute chains it reads, such as ``("helpers", "clean")``, sorted.
    imports : tuple of Import
        What its body reads of modules that it imports when it runs, sorted.
    stored : frozenset of str
        Names that it binds, those of functions and classes defined in it among them.
    decorators : tuple of Outline
        Its decorators, outermost first.
    called : tuple of str
        The chain that a decorator begins with: ``("ex", "persist")`` in ``@ex.persist()``.
    own : frozenset of str
        The attributes that it reads of its first argument, as a method does.
    """

    digest: str
    paths: tuple[Path, ...] = ()
    imports: tuple[Import, ...] = ()
    stored: frozenset[str] = frozenset()
    decorators: tuple[Outline, ...] = ()
    called: Path = ()
    own: frozenset[str] = frozenset()


def constant(value: object) -> str:
    """The tagged text of a constant: ``1``, ``1.0`` and ``True`` differ, and so do the zeros.

    Examples
    --------
    >>> constant(1), constant(True), constant("a b")
    ('0x1', 'True', 's3:a b')
    """
    if type(value) is str:
        return f"s{len(value)}:{value}"
    match value:
        case bool() | None:
            return repr(value)
        case int():
            return hex(value)
        case float():
            return "f" + struct.pack(">d", value).hex()
        case complex():
            return "j" + struct.pack(">dd", value.real, value.imag).hex()
        case tuple():
            return f"({','.join(map(constant, value))})"
        case frozenset():
            return f"{{{','.join(sorted(map(constant, value)))}}}"
    return repr(value)


def canonical(tree: ast.AST) -> str:
    """The canonical form of a syntax tree.

    Examples
    --------
    >>> one = ast.parse("def f(x: int):\\n    'Doc.'\\n    return x+1  # why")
    >>> canonical(one) == canonical(ast.parse("def f(x): return (x + 1)"))
    True
    """
    return _spell(tree).form


def outline(node: Code, names: Container[str]) -> Outline:
    """The outline of a definition, or of a script or cell, whose free names are among `names`.

    Of a class these are all names that are read in it.  The functions and classes in its body
    are left out: they are members of the class object.  Of a script or cell they are left out,
    too, and count if they are read; variables that it sets itself are its own.
    """
    if isinstance(node, ast.Lambda):
        return _outline(node, names)
    if isinstance(node, ast.Module):
        return _top_level(node, names)
    bare = copy.copy(node)
    bare.name, bare.decorator_list = "", []
    members: set[str] = set()
    if isinstance(bare, ast.ClassDef):
        members = {item.name for item in bare.body if isinstance(item, _NAMED)}
        bare.body = [item for item in bare.body if not isinstance(item, _NAMED)]
        found = _outline(bare, None)
    else:
        found = _outline(bare, names, _first_argument(bare))
    decorators = tuple(map(_decorator, node.decorator_list))
    return replace(found, stored=found.stored | members, decorators=decorators)


def _top_level(node: ast.Module, names: Container[str]) -> Outline:
    body = [item for item in node.body if not isinstance(item, _NAMED)]
    found = _outline(ast.Module(body, []), names)
    own = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    paths = tuple(path for path in found.paths if path[0] not in own)
    return replace(found, paths=paths, imports=())


def _first_argument(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = [*node.args.posonlyargs, *node.args.args]
    return arguments[0].arg if arguments else ""


def _decorator(node: ast.expr) -> Outline:
    chain: list[str] = []
    root = node
    while isinstance(root, ast.Call | ast.Attribute):
        if isinstance(root, ast.Attribute):
            chain.append(root.attr)
        root = root.func if isinstance(root, ast.Call) else root.value
    called = (root.id, *reversed(chain)) if isinstance(root, ast.Name) else ()
    return replace(_outline(node, None), called=called)


def statement(node: ast.stmt) -> Outline:
    """The outline of a whole statement, name and decorators included, whatever names it reads.

    Examples
    --------
    >>> statement(ast.parse("limit = 2 * config.size").body[0]).paths
    (('config', 'size'),)
    """
    found = _outline(node, None)
    return replace(found, paths=tuple(p for p in found.paths if p[0] not in found.stored))


def _outline(tree: ast.AST, names: Container[str] | None, first: str = "") -> Outline:
    found = _spell(tree)
    paths = sorted(chain for chain in found.chains if names is None or chain[0] in names)
    named = [node.name for node in found.others if isinstance(node, _NAMED)]
    return Outline(
        digest=combine(found.form),
        paths=tuple(paths),
        imports=_imports(found.others, found.chains) if found.others else (),
        stored=frozenset(found.stored.union(named)),
        own=frozenset(chain[1] for chain in found.chains if chain[0] == first and len(chain) > 1),
    )


def _imports(nodes: Iterable[ast.AST], chains: set[Path]) -> tuple[Import, ...]:
    found: set[Import] = set()
    for node in nodes:
        if isinstance(node, ast.Call):
            found.add(_by_call(node))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if isinstance(node, ast.Import):
                found.update(Import(alias.name, None) for alias in node.names)
            for name, (module, path) in bound(node).items():
                read = [chain[1:] for chain in chains if chain[0] == name]
                more = read or ([()] if path else [])
                found.update(Import(module, (*path, *rest)) for rest in more)
    return tuple(sorted(found, key=lambda item: (item.module, item.path is None, item.path or ())))


def bound(node: ast.Import | ast.ImportFrom) -> dict[str, tuple[str, Path]]:
    """The names that an import statement binds: to a module, or to a name in a module.

    Examples
    --------
    >>> bound(ast.parse("import os.path, json as j").body[0])
    {'os': ('os', ()), 'j': ('json', ())}
    >>> bound(ast.parse("from .helpers import clean as c").body[0])
    {'c': ('.helpers', ('clean',))}
    """
    if isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        return {alias.asname or alias.name: (module, (alias.name,)) for alias in node.names}
    found: dict[str, tuple[str, Path]] = {}
    for alias in node.names:
        top = alias.name.partition(".")[0]
        found[alias.asname or top] = (alias.name if alias.asname else top, ())
    return found


def _by_call(node: ast.Call) -> Import:
    given = node.args[0] if len(node.args) == 1 else None
    known = isinstance(given, ast.Constant) and isinstance(given.value, str)
    return Import(given.value if known else "", ())  # type: ignore[union-attr]


class _Spelled(NamedTuple):
    """The form of a tree, and what is in it that leads elsewhere."""

    form: str
    chains: set[Path]
    stored: set[str]
    others: list[ast.AST]


def _spell(tree: ast.AST) -> _Spelled:
    # A stack and not recursion: a long sum is a tree as deep as it has terms.  What most nodes
    # are is written here, without a call for each.
    words: list[str] = []
    names: set[str] = set()
    chains: set[Path] = set()
    stored: set[str] = set()
    others: list[ast.AST] = []
    todo: list[Any] = [tree]
    while todo:
        item = todo.pop()
        kind = type(item)
        if kind is str:
            words.append(item)
        elif kind is ast.Name:
            words.append(f"(Name id {item.id} )")
            names.add(item.id)
            if type(item.ctx) is ast.Store:
                stored.add(item.id)
        elif kind is ast.Constant:
            words.append(constant(item.value))
        elif kind is ast.Attribute:
            chain = [item.attr]
            while type(root := item.value) is ast.Attribute:
                chain.append(root.attr)
                item = root
            words.append(" ".join(["(Attribute value"] * len(chain)))
            chain.reverse()
            closing = " ".join([f"attr {name} )" for name in chain])
            if type(root) is ast.Name:
                chains.add((root.id, *chain))
                words += (f"(Name id {root.id} )", closing)
            else:
                todo += (closing, root)
        elif kind is ast.Call:
            if _called(item) in _IMPORTERS:
                others.append(item)
            words.append("(Call func")
            args, keywords = item.args, item.keywords
            todo.append("] )" if args or keywords else ")")
            if keywords:
                todo += keywords[::-1]
                todo.append("] keywords [" if args else "keywords [")
            if args:
                todo += args[::-1]
                todo.append("args [")
            todo.append(item.func)
        elif kind is ast.BinOp:
            words.append("(BinOp left")
            todo += (")", item.right, f"op ({type(item.op).__name__} ) right", item.left)
        elif kind in _ATOMS:
            words.append(constant(item))
        elif not kind._fields:
            words.append(f"({kind.__name__} )")
        else:
            if kind in _LEADING:
                others.append(item)
            todo += _parts(item, kind)[::-1]
    chains.update((name,) for name in names)
    return _Spelled(" ".join(words), chains, stored, others)


def _called(node: ast.Call) -> str:
    """The last name of what is called."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _parts(node: Any, kind: type[ast.AST]) -> list[Any]:
    """The words and the nodes that a node is written as, words that follow each other in one."""
    if kind is ast.AnnAssign and node.value is not None:
        node, kind = ast.Assign([node.target], node.value), ast.Assign
    text, fields = _shape(kind)
    parts: list[Any] = []
    for field, listed in fields:
        value = getattr(node, field, None)
        # Absent, None and empty are one: later releases add optional fields.
        if value is None:
            continue
        if type(value) is list:
            if field in _BODIES:
                value = _doing(value, declares=kind is ast.ClassDef)
            elif kind is ast.JoinedStr:
                value = _text(value)
            if value or kind is ast.JoinedStr:
                parts += (f"{text} {listed}" if text else listed, *value)
                text = "]"
        elif field == "format_spec":
            words = _text(value.values)
            if words:
                parts += (f"{text} {field}" if text else field, *words)
                text = ""
        elif type(value) is str:
            text = f"{text} {field} {value}" if text else f"{field} {value}"
        else:
            parts += (f"{text} {field}" if text else field, value)
            text = ""
    parts.append(f"{text} )" if text else ")")
    return parts


@functools.cache
def _shape(kind: type[ast.AST]) -> tuple[str, list[tuple[str, str]]]:
    """How a node of this kind begins, and its fields with the beginnings of lists in them."""
    fields = [(field, f"{field} [") for field in kind._fields if field not in IGNORED]
    return f"({kind.__name__}", fields


def _doing(statements: list[ast.stmt], *, declares: bool) -> list[Any]:
    """The statements without docstrings, strings that serve as comments, `...` and `pass`."""
    parts: list[Any] = []
    for node in statements:
        kind = type(node)
        if declares and kind is ast.AnnAssign:
            parts += _declaration(node)  # type: ignore[arg-type]
        elif kind is not ast.Pass and not (
            kind is ast.Expr and type(node.value) is ast.Constant  # type: ignore[attr-defined]
        ):
            parts.append(node)
    return parts


def _declaration(node: ast.AnnAssign) -> list[str | ast.AST]:
    # In a class body an annotation is read: dataclasses make a field of it.
    value = [] if node.value is None else [node.value]
    return ["(Declaration", node.target, node.annotation, *value, ")"]


def _text(values: list[ast.expr]) -> list[str | ast.AST]:
    # Python 3.12 parses f-strings anew: other splits of the constant text, empty ones too.
    merged: list[str | ast.AST] = []
    text = ""
    for value in values:
        if isinstance(value, ast.Constant):
            text += str(value.value)
            continue
        merged += [constant(text), value] if text else [value]
        text = ""
    return [*merged, constant(text)] if text else merged
