"""Syntax trees written as text, each node by its kind and its fields.

Written by recursion, by a function of its own for each kind that is frequent: the time that it
takes is most of what a fingerprint of code takes.
"""

from __future__ import annotations

import ast
import struct
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str, ...]

# `str` is the text of a 3.14 template's interpolation: formatting.
IGNORED = {"ctx", "kind", "type_comment", "type_ignores", "returns", "annotation", "simple", "str"}

NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
"""The statements that define something."""

_LEADING = {*NAMED, ast.Import, ast.ImportFrom}
_IMPORTERS = {"import_module", "__import__"}
_DEEPEST = 100_000
_BODIES = {"body", "orelse", "finalbody"}
_ATOMS = {int, bool, type(None)}
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {}


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


class Spelled:
    """The form of a tree, and what is in it that leads elsewhere.

    Attributes
    ----------
    form : str
        Its canonical form.
    chains : set of tuple of str
        The names, and the attributes of names, that are in it.
    names, stored : set of str
        The names alone, and those that it binds.
    others : list of ast.AST
        The definitions and imports in it.
    """

    __slots__ = ("chains", "form", "names", "others", "stored")

    def __init__(self, tree: ast.AST) -> None:
        self.names: set[str] = set()
        self.chains: set[Path] = set()
        self.stored: set[str] = set()
        self.others: list[ast.AST] = []
        self.form: str = _WRITERS[type(tree)](tree, self)
        self.chains.update([(name,) for name in self.names])


def spell(tree: ast.AST) -> Spelled:
    """The canonical form of a tree, and what leads elsewhere from it.

    Examples
    --------
    >>> spell(ast.parse("x = a.b + 1").body[0]).form
    '(Assign targets [ (Name id x ) ] value (BinOp left (Attribute value (Name id a ) attr b ) ...'
    """
    try:
        return Spelled(tree)
    except RecursionError:
        pass
    # A text of a thousand branches is a tree as deep.  These calls need no stack of C.
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEEPEST))
    try:
        return Spelled(tree)
    finally:
        sys.setrecursionlimit(limit)


def _write_all(nodes: list[Any], to: Spelled) -> str:
    return " ".join([_WRITERS[type(node)](node, to) for node in nodes])


def _write_name(node: ast.Name, to: Spelled) -> str:
    to.names.add(node.id)
    if type(node.ctx) is ast.Store:
        to.stored.add(node.id)
    return f"(Name id {node.id} )"


def _write_constant(node: ast.Constant, to: Spelled) -> str:
    return constant(node.value)


def _write_attribute(node: ast.Attribute, to: Spelled) -> str:
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


def _write_call(node: ast.Call, to: Spelled) -> str:
    if called(node) in _IMPORTERS:
        to.others.append(node)
    args = f" args [ {_write_all(node.args, to)} ]" if node.args else ""
    keywords = f" keywords [ {_write_all(node.keywords, to)} ]" if node.keywords else ""
    return f"(Call func {_WRITERS[type(node.func)](node.func, to)}{args}{keywords} )"


def _write_binary(node: ast.BinOp, to: Spelled) -> str:
    ends = []  # a long sum is as deep as it has terms
    left: ast.expr = node
    while type(left) is ast.BinOp:
        ends.append(
            f" op ({type(left.op).__name__} ) right {_WRITERS[type(left.right)](left.right, to)} )"
        )
        left = left.left
    return f"{'(BinOp left ' * len(ends)}{_WRITERS[type(left)](left, to)}{''.join(ends[::-1])}"


def _write_subscript(node: ast.Subscript, to: Spelled) -> str:
    value, key = node.value, node.slice
    return f"(Subscript value {_WRITERS[type(value)](value, to)} slice {_write_all([key], to)} )"


def _write_assign(node: ast.Assign, to: Spelled) -> str:
    value = _WRITERS[type(node.value)](node.value, to)
    return f"(Assign targets [ {_write_all(node.targets, to)} ] value {value} )"


def _write_annotated(node: ast.AnnAssign, to: Spelled) -> str:
    if node.value is None:
        return _write_any(node, to)
    value = _WRITERS[type(node.value)](node.value, to)
    return f"(Assign targets [ {_WRITERS[type(node.target)](node.target, to)} ] value {value} )"


def _write_augmented(node: ast.AugAssign, to: Spelled) -> str:
    target, value = _WRITERS[type(node.target)](node.target, to), node.value
    op = type(node.op).__name__
    return f"(AugAssign target {target} op ({op} ) value {_WRITERS[type(value)](value, to)} )"


def _write_comparison(node: ast.Compare, to: Spelled) -> str:
    left = _WRITERS[type(node.left)](node.left, to)
    ops = " ".join([f"({type(op).__name__} )" for op in node.ops])
    return (
        f"(Compare left {left} ops [ {ops} ] comparators [ {_write_all(node.comparators, to)} ] )"
    )


def _write_elements(node: ast.Tuple | ast.List | ast.Set, to: Spelled) -> str:
    elements = f" elts [ {_write_all(node.elts, to)} ]" if node.elts else ""
    return f"({type(node).__name__}{elements} )"


def _write_branch(node: ast.If, to: Spelled) -> str:
    test = _WRITERS[type(node.test)](node.test, to)
    inner = _body(node.body, to)
    body = f" body [ {inner} ]" if inner else ""
    inner = _body(node.orelse, to) if node.orelse else ""
    orelse = f" orelse [ {inner} ]" if inner else ""
    return f"(If test {test}{body}{orelse} )"


def _write_return(node: ast.Return, to: Spelled) -> str:
    value = node.value
    return "(Return )" if value is None else f"(Return value {_WRITERS[type(value)](value, to)} )"


def _write_logic(node: ast.BoolOp, to: Spelled) -> str:
    return f"(BoolOp op ({type(node.op).__name__} ) values [ {_write_all(node.values, to)} ] )"


def _write_comprehension(node: ast.comprehension, to: Spelled) -> str:
    target = _WRITERS[type(node.target)](node.target, to)
    iterable = _WRITERS[type(node.iter)](node.iter, to)
    ifs = f" ifs [ {_write_all(node.ifs, to)} ]" if node.ifs else ""
    return f"(comprehension target {target} iter {iterable}{ifs} is_async {hex(node.is_async)} )"


def _write_keyword(node: ast.keyword, to: Spelled) -> str:
    name = "" if node.arg is None else f" arg {node.arg}"
    return f"(keyword{name} value {_WRITERS[type(node.value)](node.value, to)} )"


def _write_argument(node: ast.arg, to: Spelled) -> str:
    return f"(arg arg {node.arg} )"


def _write_text(node: ast.JoinedStr, to: Spelled) -> str:
    return f"(JoinedStr values [{_parts_of_text(node.values, to)} ] )"


def _write_any(node: Any, to: Spelled) -> str:
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
            if field in _BODIES:
                inner = _body(value, to, declares=kind is ast.ClassDef)
            else:
                inner = _write_all(value, to)
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


def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    known = _FIELDS.get(kind)
    if known is None:
        known = _FIELDS[kind] = tuple(field for field in kind._fields if field not in IGNORED)
    return known


def _body(statements: list[ast.stmt], to: Spelled, *, declares: bool = False) -> str:
    """The statements without docstrings, strings that serve as comments, `...` and `pass`."""
    words = []
    for node in statements:
        if declares and type(node) is ast.AnnAssign:
            words.append(_declaration(node, to))
        elif type(node) is ast.Expr:
            if type(node.value) is not ast.Constant:
                words.append(f"(Expr value {_WRITERS[type(node.value)](node.value, to)} )")
        elif type(node) is not ast.Pass:
            words.append(_WRITERS[type(node)](node, to))
    return " ".join(words)


def _declaration(node: ast.AnnAssign, to: Spelled) -> str:
    # In a class body an annotation is read: dataclasses make a field of it.
    parts = [node.target, node.annotation, *([] if node.value is None else [node.value])]
    return f"(Declaration {_write_all(parts, to)} )"


def _parts_of_text(values: list[ast.expr], to: Spelled) -> str:
    # Python 3.12 parses f-strings anew: other splits of the constant text, empty ones too.
    words, text = "", ""
    for value in values:
        if isinstance(value, ast.Constant):
            text += str(value.value)
            continue
        before = f" {constant(text)}" if text else ""
        words, text = f"{words}{before} {_WRITERS[type(value)](value, to)}", ""
    return f"{words} {constant(text)}" if text else words


class _Writers(dict[type, Callable[[Any, Spelled], str]]):
    def __missing__(self, kind: type) -> Callable[[Any, Spelled], str]:
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
        ast.If: _write_branch,
        ast.Return: _write_return,
        ast.BoolOp: _write_logic,
        ast.comprehension: _write_comprehension,
        ast.keyword: _write_keyword,
        ast.arg: _write_argument,
        ast.JoinedStr: _write_text,
    }
)
"""The kinds of nodes that are frequent, or are written in another way than by their fields."""


def called(node: ast.Call) -> str:
    """The last name of what is called.

    Examples
    --------
    >>> called(ast.parse("a.b(1)", mode="eval").body)
    'b'
    """
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
