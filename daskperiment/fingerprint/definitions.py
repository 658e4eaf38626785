"""Definitions in a text, found by their qualified names, to show how they changed."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator

from daskperiment.fingerprint.parsing import parse
from daskperiment.fingerprint.source import Place
from daskperiment.fingerprint.syntax import canonical


def definition(text: str, qualname: str) -> str:
    """The source of a function or class in a text; of several of one name, the last.

    Empty where the text has none, and where it is no Python.

    Examples
    --------
    >>> print(definition("class Model:\\n    def fit(self):\\n        return 1", "Model.fit"))
    def fit(self):
        return 1
    """
    found = [source for name, source in _definitions(text) if name == qualname]
    return found[-1] if found else ""


def _definitions(text: str) -> Iterator[tuple[str, str]]:
    todo: list[tuple[ast.AST, str]] = [(_parsed(text), "")]
    while todo:
        node, prefix = todo.pop(0)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = prefix + node.name
            yield name, Place(node, "", text).source
            prefix = f"{name}." if isinstance(node, ast.ClassDef) else f"{name}.<locals>."
        todo += [(child, prefix) for child in ast.iter_child_nodes(node)]


def read_values(text: str, source: str) -> str:
    """The assignments at the top of a text to names that a definition in it reads.

    Examples
    --------
    >>> read_values("LIMIT = 3\\nOTHER = 4", "def clip(x): return min(x, LIMIT)")
    'LIMIT = 3'
    """
    names = {node.id for node in ast.walk(_parsed(source)) if isinstance(node, ast.Name)}
    return "\n".join(
        ast.unparse(statement) for statement in _parsed(text).body if names & _bound(statement)
    )


def _bound(statement: ast.stmt) -> set[str]:
    if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return set()
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return {
        node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)
    }


def equal_code(one: str, other: str) -> bool:
    """Whether two sources are equal but for comments, docstrings, annotations and formatting.

    Decorators count.  Text that is no Python is compared as it is.

    Examples
    --------
    >>> equal_code("@ex\\ndef f(x): return x", "@ex\\ndef f(x):\\n    return x  # why")
    True
    >>> equal_code("@ex\\ndef f(x): return x", "@ex.persist\\ndef f(x): return x")
    False
    """
    if one == other:
        return True
    trees = _parsed(one), _parsed(other)
    return all(tree.body for tree in trees) and canonical(trees[0]) == canonical(trees[1])


def _parsed(text: str) -> ast.Module:
    try:
        return parse(textwrap.dedent(text))
    except (SyntaxError, ValueError):
        return ast.Module([], [])
