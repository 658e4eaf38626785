"""The canonical form of Python syntax: equal for code that computes the same by its text.

Comments, formatting, docstrings and annotations are not part of it, nor is anything that
differs between the syntax trees of Python 3.11 to 3.14.  The form is our own and not
:func:`ast.dump`, whose text changes from release to release.
"""

from __future__ import annotations

import ast
import functools
import struct
import sys
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from blake3 import blake3

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
Code: TypeAlias = Definition | ast.Module
"""What is hashed: a definition, or a script or cell."""
Path: TypeAlias = tuple[str, ...]

_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LEADING = {*_NAMED, ast.Import, ast.ImportFrom}
_DEEPEST = 100_000
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
    bare = type(node)(**dict(ast.iter_fields(node)))
    bare.name, bare.decorator_list = "", []
    decorators = tuple(map(_decorator, node.decorator_list))
    if not isinstance(bare, ast.ClassDef):
        return _outline(bare, names, _first_argument(bare), decorators)
    members = frozenset(item.name for item in bare.body if isinstance(item, _NAMED))
    bare.body = [item for item in bare.body if not isinstance(item, _NAMED)]
    found = _outline(bare, None, decorators=decorators)
    return replace(found, stored=found.stored | members)


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


def _outline(
    tree: ast.AST,
    names: Container[str] | None,
    first: str = "",
    decorators: tuple[Outline, ...] = (),
) -> Outline:
    found = _spell(tree)
    paths = sorted(chain for chain in found.chains if names is None or chain[0] in names)
    named = [node.name for node in found.others if isinstance(node, _NAMED)]
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


class _Spelled:
    """The form of a tree, and what is in it that leads elsewhere.

    Written by recursion, a function for each kind of node: the time that it takes is most of
    what a fingerprint takes.
    """

    __slots__ = ("chains", "form", "names", "others", "stored")

    def __init__(self, tree: ast.AST) -> None:
        self.names: set[str] = set()
        self.chains: set[Path] = set()
        self.stored: set[str] = set()
        self.others: list[ast.AST] = []
        self.form: str = _WRITERS[type(tree)](tree, self)
        self.chains.update([(name,) for name in self.names])


def _spell(tree: ast.AST) -> _Spelled:
    try:
        return _Spelled(tree)
    except RecursionError:
        pass
    # A text of a thousand branches is a tree as deep.  These calls need no stack of C.
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEEPEST))
    try:
        return _Spelled(tree)
    finally:
        sys.setrecursionlimit(limit)


def _write_all(nodes: list[Any], to: _Spelled) -> str:
    return " ".join([_WRITERS[type(node)](node, to) for node in nodes])


def _write_name(node: ast.Name, to: _Spelled) -> str:
    to.names.add(node.id)
    if type(node.ctx) is ast.Store:
        to.stored.add(node.id)
    return f"(Name id {node.id} )"


def _write_constant(node: ast.Constant, to: _Spelled) -> str:
    return constant(node.value)


def _write_attribute(node: ast.Attribute, to: _Spelled) -> str:
    chain = [node.attr]
    while type(root := node.value) is ast.Attribute:
        chain.append(root.attr)
        node = root
    chain.reverse()
    if type(root) is ast.Name:
        to.chains.add((root.id, *chain))
        value = f"(Name id {root.id} )"
    else:
        value = _WRITERS[type(root)](root, to)
    for name in chain:
        value = f"(Attribute value {value} attr {name} )"
    return value


def _write_call(node: ast.Call, to: _Spelled) -> str:
    if _called(node) in _IMPORTERS:
        to.others.append(node)
    args = f" args [ {_write_all(node.args, to)} ]" if node.args else ""
    keywords = f" keywords [ {_write_all(node.keywords, to)} ]" if node.keywords else ""
    return f"(Call func {_WRITERS[type(node.func)](node.func, to)}{args}{keywords} )"


def _write_binary(node: ast.BinOp, to: _Spelled) -> str:
    ends = []  # a long sum is as deep as it has terms
    left: ast.expr = node
    while type(left) is ast.BinOp:
        ends.append(
            f" op ({type(left.op).__name__} ) right {_WRITERS[type(left.right)](left.right, to)} )"
        )
        left = left.left
    return f"{'(BinOp left ' * len(ends)}{_WRITERS[type(left)](left, to)}{''.join(ends[::-1])}"


def _write_subscript(node: ast.Subscript, to: _Spelled) -> str:
    return f"(Subscript value {_WRITERS[type(node.value)](node.value, to)} slice {_WRITERS[type(node.slice)](node.slice, to)} )"


def _write_assign(node: ast.Assign, to: _Spelled) -> str:
    return f"(Assign targets [ {_write_all(node.targets, to)} ] value {_WRITERS[type(node.value)](node.value, to)} )"


def _write_annotated(node: ast.AnnAssign, to: _Spelled) -> str:
    if node.value is None:
        return _write_any(node, to)
    return f"(Assign targets [ {_WRITERS[type(node.target)](node.target, to)} ] value {_WRITERS[type(node.value)](node.value, to)} )"


def _write_augmented(node: ast.AugAssign, to: _Spelled) -> str:
    target, value = _WRITERS[type(node.target)](node.target, to), node.value
    op = type(node.op).__name__
    return f"(AugAssign target {target} op ({op} ) value {_WRITERS[type(value)](value, to)} )"


def _write_comparison(node: ast.Compare, to: _Spelled) -> str:
    left = _WRITERS[type(node.left)](node.left, to)
    ops = " ".join([f"({type(op).__name__} )" for op in node.ops])
    return (
        f"(Compare left {left} ops [ {ops} ] comparators [ {_write_all(node.comparators, to)} ] )"
    )


def _write_elements(node: ast.Tuple | ast.List | ast.Set, to: _Spelled) -> str:
    elements = f" elts [ {_write_all(node.elts, to)} ]" if node.elts else ""
    return f"({type(node).__name__}{elements} )"


def _write_keyword(node: ast.keyword, to: _Spelled) -> str:
    name = "" if node.arg is None else f" arg {node.arg}"
    return f"(keyword{name} value {_WRITERS[type(node.value)](node.value, to)} )"


def _write_argument(node: ast.arg, to: _Spelled) -> str:
    return f"(arg arg {node.arg} )"


def _write_text(node: ast.JoinedStr, to: _Spelled) -> str:
    return f"(JoinedStr values [{_parts_of_text(node.values, to)} ] )"


def _write_any(node: Any, to: _Spelled) -> str:
    kind = type(node)
    if kind in _LEADING:
        to.others.append(node)
    elif kind in _ATOMS:
        return constant(node)
    elif kind is str:
        return str(node)
    words = [f"({kind.__name__}"]
    for field in _fields(kind):
        value = getattr(node, field, None)
        # Absent, None and empty are one: later releases add optional fields.
        if value is None:
            continue
        if type(value) is list:
            inner = _body(value, to, kind) if field in _BODIES else _write_all(value, to)
            if inner:
                words.append(f"{field} [ {inner} ]")
        elif field == "format_spec":
            words += [f"{field}{text}" for text in [_parts_of_text(value.values, to)] if text]
        elif type(value) is str:
            words.append(f"{field} {value}")
        else:
            words.append(f"{field} {_WRITERS[type(value)](value, to)}")
    words.append(")")
    return " ".join(words)


@functools.cache
def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    return tuple(field for field in kind._fields if field not in IGNORED)


def _body(statements: list[ast.stmt], to: _Spelled, kind: type[ast.AST]) -> str:
    """The statements without docstrings, strings that serve as comments, `...` and `pass`."""
    words = []
    for node in statements:
        if type(node) is ast.AnnAssign and kind is ast.ClassDef:
            words.append(_declaration(node, to))
        elif type(node) is ast.Expr:
            if type(node.value) is not ast.Constant:
                words.append(f"(Expr value {_WRITERS[type(node.value)](node.value, to)} )")
        elif type(node) is not ast.Pass:
            words.append(_WRITERS[type(node)](node, to))
    return " ".join(words)


def _declaration(node: ast.AnnAssign, to: _Spelled) -> str:
    # In a class body an annotation is read: dataclasses make a field of it.
    value = "" if node.value is None else f" {_WRITERS[type(node.value)](node.value, to)}"
    return f"(Declaration {_WRITERS[type(node.target)](node.target, to)} {_WRITERS[type(node.annotation)](node.annotation, to)}{value} )"


def _parts_of_text(values: list[ast.expr], to: _Spelled) -> str:
    # Python 3.12 parses f-strings anew: other splits of the constant text, empty ones too.
    words, text = "", ""
    for value in values:
        if isinstance(value, ast.Constant):
            text += str(value.value)
            continue
        before = f" {constant(text)}" if text else ""
        words, text = f"{words}{before} {_WRITERS[type(value)](value, to)}", ""
    return f"{words} {constant(text)}" if text else words


class _Writers(dict[type, Callable[[Any, _Spelled], str]]):
    def __missing__(self, kind: type) -> Callable[[Any, _Spelled], str]:
        return _write_any


_WRITERS = _Writers(
    {
        ast.Name: _write_name,
        ast.Constant: _write_constant,
        ast.Attribute: _write_attribute,
        ast.Call: _write_call,
        ast.BinOp: _write_binary,
        ast.Subscript: _write_subscript,
        ast.Assign: _write_assign,
        ast.AnnAssign: _write_annotated,
        ast.AugAssign: _write_augmented,
        ast.Compare: _write_comparison,
        ast.Tuple: _write_elements,
        ast.List: _write_elements,
        ast.Set: _write_elements,
        ast.keyword: _write_keyword,
        ast.arg: _write_argument,
        ast.JoinedStr: _write_text,
    }
)
"""The kinds of nodes that are frequent, or are written in another way than by their fields."""


def _called(node: ast.Call) -> str:
    """The last name of what is called."""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
