"""The canonical form of Python syntax: equal for code that computes the same by its text.

Comments, formatting, docstrings and annotations are not part of it, nor is anything that
differs between the syntax trees of Python 3.11 to 3.14.  The form is our own and not
:func:`ast.dump`, whose text changes from release to release.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from blake3 import blake3

from daskperiment.fingerprint.spelling import NAMED, Path, spell

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
Code: TypeAlias = Definition | ast.Module
"""What is hashed: a definition, or a script or cell."""


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


def canonical(tree: ast.AST) -> str:
    """The canonical form of a syntax tree.

    Examples
    --------
    >>> one = ast.parse("def f(x: int):\\n    'Doc.'\\n    return x+1  # why")
    >>> canonical(one) == canonical(ast.parse("def f(x): return (x + 1)"))
    True
    """
    return spell(tree).form


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
    bare = type(node)(**dict(ast.iter_fields(node)))
    bare.name, bare.decorator_list = "", []
    decorators = tuple(map(_decorator, node.decorator_list))
    if not isinstance(bare, ast.ClassDef):
        return _outline(bare, names, _first_argument(bare), decorators)
    members = frozenset(item.name for item in bare.body if isinstance(item, NAMED))
    bare.body = [item for item in bare.body if not isinstance(item, NAMED)]
    found = _outline(bare, None, decorators=decorators)
    return replace(found, stored=found.stored | members)


def _top_level(node: ast.Module, names: Container[str]) -> Outline:
    body = [item for item in node.body if not isinstance(item, NAMED)]
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


def _outline(
    tree: ast.AST,
    names: Container[str] | None,
    first: str = "",
    decorators: tuple[Outline, ...] = (),
) -> Outline:
    found = spell(tree)
    paths = sorted(chain for chain in found.chains if names is None or chain[0] in names)
    named = [node.name for node in found.others if isinstance(node, NAMED)]
    return Outline(
        digest=combine(found.form),
        paths=tuple(paths),
        imports=_imports(found.others, found.chains) if found.others else (),
        stored=frozenset(found.stored.union(named)),
        decorators=decorators,
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
