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
from typing import TypeAlias

from blake3 import blake3

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
Code: TypeAlias = Definition | ast.Module
"""What is hashed: a definition, or a script or cell."""
Path: TypeAlias = tuple[str, ...]

_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

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


@dataclass(frozen=True)
class Outline:
    """What counts of one definition.

    Attributes
    ----------
    digest : str
        Digest of its canonical form, without its name and decorators.
    paths : tuple of tuple of str
        The names and attribute chains it reads, such as ``("helpers", "clean")``, sorted.
    imports : tuple of str
        Modules that its body imports when it runs.
    stored : frozenset of str
        Names that it binds, those of functions and classes defined in it among them.
    decorators : tuple of Outline
        Its decorators, outermost first.
    called : tuple of str
        The chain that a decorator begins with: ``("ex", "persist")`` in ``@ex.persist()``.
    """

    digest: str
    paths: tuple[Path, ...] = ()
    imports: tuple[str, ...] = ()
    stored: frozenset[str] = frozenset()
    decorators: tuple[Outline, ...] = ()
    called: Path = ()


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
    return _spell(tree)[0]


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
        names = _names(bare)
    found = _outline(bare, names)
    decorators = tuple(map(_decorator, node.decorator_list))
    return replace(found, stored=found.stored | members, decorators=decorators)


def _top_level(node: ast.Module, names: Container[str]) -> Outline:
    body = [item for item in node.body if not isinstance(item, _NAMED)]
    found = _outline(ast.Module(body, []), names)
    own = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    paths = tuple(path for path in found.paths if path[0] not in own)
    return replace(found, paths=paths, imports=())


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _decorator(node: ast.expr) -> Outline:
    chain: list[str] = []
    root = node
    while isinstance(root, ast.Call | ast.Attribute):
        if isinstance(root, ast.Attribute):
            chain.append(root.attr)
        root = root.func if isinstance(root, ast.Call) else root.value
    called = (root.id, *reversed(chain)) if isinstance(root, ast.Name) else ()
    return replace(_outline(node, _names(node)), called=called)


def _outline(tree: ast.AST, names: Container[str]) -> Outline:
    form, nodes = _spell(tree)
    return Outline(
        digest=combine(form),
        paths=tuple(sorted(_paths(nodes, names))),
        imports=tuple(sorted(_imports(nodes))),
        stored=frozenset(_stored(nodes)),
    )


def _stored(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, _NAMED):
            yield node.name


def _paths(nodes: Iterable[ast.AST], names: Container[str]) -> set[Path]:
    found: set[Path] = set()
    inner: set[int] = set()
    for node in nodes:
        if id(node) in inner or not isinstance(node, ast.Attribute | ast.Name):
            continue
        chain: list[str] = []
        root: ast.AST = node
        while isinstance(root, ast.Attribute):
            chain.append(root.attr)
            root = root.value
            inner.add(id(root))
        if isinstance(root, ast.Name) and root.id in names:
            found.add((root.id, *reversed(chain)))
    return found


def _imports(nodes: Iterable[ast.AST]) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def _spell(tree: ast.AST) -> tuple[str, list[ast.AST]]:
    # A stack and not recursion: a long sum is a tree as deep as it has terms.
    words: list[str] = []
    nodes: list[ast.AST] = []
    todo: list[str | ast.AST] = [tree]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            words.append(item)
        else:
            nodes.append(item)
            todo.extend(reversed(_parts(item)))
    return " ".join(words), nodes


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
