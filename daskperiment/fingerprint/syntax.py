"""The canonical form of Python syntax: equal for code that computes the same by its text.

Comments, formatting, docstrings and annotations are not part of it, nor is anything that
differs between the syntax trees of Python 3.11 to 3.14.  The form is our own and not
:func:`ast.dump`, whose text changes from release to release.
"""

from __future__ import annotations

import ast
import copy
import struct
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from blake3 import blake3

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
Code: TypeAlias = Definition | ast.Module
"""What is hashed: a definition, or a script or cell."""
Path: TypeAlias = tuple[str, ...]

_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LEADING = {*_NAMED, ast.Import, ast.ImportFrom}
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
    match value:
        case str():
            return f"s{len(value)}:{value}"
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
    spelled = _spell(tree)
    chains = _chains(spelled.reads)
    found = {chain for chain in chains if names is None or chain[0] in names}
    return Outline(
        digest=combine(spelled.form),
        paths=tuple(sorted(found)),
        imports=_imports(spelled.others, chains) if spelled.others else (),
        stored=frozenset(_stored(spelled)),
        own=frozenset(chain[1] for chain in chains if chain[0] == first and len(chain) > 1),
    )


def _stored(spelled: _Spelled) -> Iterator[str]:
    for node in spelled.reads:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
    for node in spelled.others:
        if isinstance(node, _NAMED):
            yield node.name


def _chains(reads: Iterable[ast.Name | ast.Attribute]) -> set[Path]:
    """The names and attribute chains among the nodes, each as long as it is."""
    found: set[Path] = set()
    inner: set[int] = set()
    for node in reads:
        if id(node) in inner:
            continue
        if type(node) is ast.Name:
            found.add((node.id,))
            continue
        chain: list[str] = []
        root: ast.AST = node
        while isinstance(root, ast.Attribute):
            chain.append(root.attr)
            root = root.value
            inner.add(id(root))
        if isinstance(root, ast.Name):
            found.add((root.id, *reversed(chain)))
    return found


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
    """The form of a tree, and those of its nodes that lead elsewhere."""

    form: str
    reads: list[ast.Name | ast.Attribute]
    others: list[ast.AST]


def _spell(tree: ast.AST) -> _Spelled:
    # A stack and not recursion: a long sum is a tree as deep as it has terms.  Most nodes are
    # names, attributes and constants, which are written here, without a call for each.
    words: list[str] = []
    reads: list[ast.Name | ast.Attribute] = []
    others: list[ast.AST] = []
    todo: list[str | ast.AST] = [tree]
    while todo:
        item = todo.pop()
        kind = type(item)
        if kind is str:
            words.append(item)  # type: ignore[arg-type]
        elif kind is ast.Name:
            words.append(f"(Name id {item.id} )")  # type: ignore[union-attr]
            reads.append(item)  # type: ignore[arg-type]
        elif kind is ast.Constant:
            words.append(constant(item.value))  # type: ignore[union-attr]
        elif kind is ast.Attribute:
            words.append("(Attribute value")
            reads.append(item)  # type: ignore[arg-type]
            todo += (f"attr {item.attr} )", item.value)  # type: ignore[union-attr]
        else:
            if kind in _LEADING or (kind is ast.Call and _called(item) in _IMPORTERS):  # type: ignore[arg-type]
                others.append(item)  # type: ignore[arg-type]
            todo += reversed(_parts(item))  # type: ignore[arg-type]
    return _Spelled(" ".join(words), reads, others)


def _called(node: ast.Call) -> str:
    """The last name of what is called."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _parts(node: ast.AST) -> list[str | ast.AST]:
    if isinstance(node, ast.Constant):
        return [constant(node.value)]
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        node = ast.Assign([node.target], node.value)
    parts: list[str | ast.AST] = [f"({type(node).__name__}"]
    for field in node._fields:
        # Absent, None and empty are one: later releases add optional fields.
        if field not in IGNORED and (value := _field(node, field)):
            parts += [field, *value]
    return [*parts, ")"]


def _field(node: ast.AST, field: str) -> list[str | ast.AST]:
    value = getattr(node, field, None)
    if field == "format_spec" and value is not None:
        return _text(value.values)
    if field == "values" and isinstance(node, ast.JoinedStr):
        return ["[", *_text(node.values), "]"]
    if isinstance(value, list):
        return _listed(value, declares=isinstance(node, ast.ClassDef))
    return [] if value is None else [_atom(value)]


def _listed(values: list[object], *, declares: bool) -> list[str | ast.AST]:
    parts: list[str | ast.AST] = []
    for value in values:
        if declares and isinstance(value, ast.AnnAssign):
            parts += _declaration(value)
        elif not _does_nothing(value):
            parts.append(_atom(value))
    return ["[", *parts, "]"] if parts else []


def _declaration(node: ast.AnnAssign) -> list[str | ast.AST]:
    # In a class body an annotation is read: dataclasses make a field of it.
    value = [] if node.value is None else [node.value]
    return ["(Declaration", node.target, node.annotation, *value, ")"]


def _does_nothing(statement: object) -> bool:
    # Docstrings, strings that serve as comments, `...` and `pass`.
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _atom(value: object) -> str | ast.AST:
    return value if isinstance(value, ast.AST | str) else constant(value)


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
