"""Definitions in a text, found by their qualified names, to show how they changed."""

from __future__ import annotations

import ast
import functools
import textwrap

from daskperiment.fingerprint.parsing import parse
from daskperiment.fingerprint.source import Place, cut
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
    place = _definitions(text).get(qualname)
    return "" if place is None else cut(text, *place)


@functools.lru_cache(maxsize=64)
def _definitions(text: str) -> dict[str, tuple[int, int]]:
    """The first and the last line of each definition, from 1."""
    found = {}
    todo: list[tuple[ast.AST, str]] = [(_parsed(text), "")]
    for node, prefix in todo:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = prefix + node.name
            found[name] = Place(node, "", text).lines
            prefix = f"{name}." if isinstance(node, ast.ClassDef) else f"{name}.<locals>."
        todo += [(child, prefix) for child in ast.iter_child_nodes(node)]
    return found


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


def changed_line(old: str, new: str, file: str) -> int | None:
    r"""The line of a file at which a definition in it differs first from an older one.

    Comments, blank lines and indentation do not count.  None where the file has no such text.

    Examples
    --------
    >>> file = "import math\n\ndef area(r):\n    # round\n    return 3 * r\n"
    >>> changed_line("def area(r):\n    return math.pi * r", file[13:-1], file)
    5
    """
    lines, whole = _stripped(new), _stripped(file)
    starts = (i for i in range(len(whole)) if whole[i : i + len(lines)] == lines)
    start = next(starts, None)
    before = [line for line in _stripped(old) if _counts(line)]
    numbers = [i for i, line in enumerate(lines) if _counts(line)]
    now = [lines[i] for i in numbers]
    if start is None or before == now:
        return None
    same = next((i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), None)
    first = min(len(before), len(now) - 1) if same is None else same
    return start + numbers[first] + 1


def _stripped(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n")]


def _counts(line: str) -> bool:
    return bool(line) and not line.startswith("#")


def changed_value(old: str, new: str, file: str) -> int | None:
    """The line of the first assignment in a file that is in one list of them and not in another.

    Examples
    --------
    >>> changed_value("LIMIT = 3", "LIMIT = 4", "OTHER = 1\\nLIMIT = 4")
    2
    """
    wanted = set(new.split("\n")) - set(old.split("\n"))
    found = (each.lineno for each in _parsed(file).body if ast.unparse(each) in wanted)
    return next(found, None)


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
