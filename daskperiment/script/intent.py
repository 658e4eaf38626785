"""What the text of a script says that it does by itself."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import TypeAlias

from daskperiment.caller import Globals
from daskperiment.fingerprint.origin import border

_PARSERS = frozenset(
    {
        "absl", "argh", "argparse", "cappa", "click", "cyclopts", "defopt", "docopt", "fire",
        "getopt", "hydra", "jsonargparse", "optparse", "plac", "simple_parsing", "tap", "typer",
        "tyro",
    }
)  # fmt: skip
"""Modules that a script imports when it reads its arguments itself."""
_READS = frozenset({"argv", "orig_argv", "parse_args", "parse_known_args"})
"""What code mentions that reads the arguments of the program."""
_COMPUTES = frozenset({"compute", "persist"})
"""What Dask and Delayed call it."""
_RUNNERS = frozenset({"main", "map", "run", "search", "submit", "trial"})
"""Methods of an experiment that run trials."""

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class OwnCode:
    """The code that a script runs itself: not its steps, nor what only they call.

    Parameters
    ----------
    script : dict
        The names of the script, which has run at least in part.

    Attributes
    ----------
    tree : ast.Module
        Its syntax; empty where there is no source.
    """

    def __init__(self, script: Globals) -> None:
        self._script = script
        self.tree = _tree(script)
        self._experiments = _experiments(script, self.tree)
        nodes = (node for node in ast.walk(self.tree) if isinstance(node, _DEFINITIONS))
        self._definitions = {node.name: node for node in nodes}
        self._nodes = list(self._reached())

    @property
    def computes(self) -> bool:
        """Whether it mentions computing: ``compute``, ``persist``, or ``ex.map`` and the like."""
        return any(map(self._is_computing, self._nodes))

    def _is_computing(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute) and self._is_experiment(node.value):
            return node.attr in _RUNNERS
        if isinstance(node, ast.Name) and node.id in self._definitions:
            return False
        return isinstance(node, (ast.Name, ast.Attribute)) and not _COMPUTES.isdisjoint(
            _mentioned(node)
        )

    @property
    def reads_arguments(self) -> bool:
        """Whether it, or a helper that it names, mentions ``sys.argv`` or parsing arguments."""
        if any(map(_is_reading, self._nodes)):
            return True
        return any(not _READS.isdisjoint(helper.__code__.co_names) for helper in self._helpers())

    def _helpers(self) -> Iterator[FunctionType]:
        """Functions of the user's other modules that it names."""
        for node in self._nodes:
            found = _value(node, self._script)
            if isinstance(found, FunctionType) and border(found.__module__) is None:
                yield found

    def _is_experiment(self, node: ast.AST) -> bool:
        return not self._experiments.isdisjoint(_mentioned(node))

    def _is_step(self, definition: Definition) -> bool:
        return any(
            self._is_experiment(node)
            for decorator in definition.decorator_list
            for node in ast.walk(decorator)
        )

    def _reached(self) -> Iterator[ast.AST]:
        """Nodes of the top level and of the definitions that it leads to."""
        unseen = {n: node for n, node in self._definitions.items() if not self._is_step(node)}
        waiting: list[ast.AST] = [self.tree]
        while waiting:
            for node in self._inside(waiting.pop()):
                yield node
                if isinstance(node, ast.Name) and node.id in unseen:
                    waiting.append(unseen.pop(node.id))

    def _inside(self, scope: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(scope):
            if isinstance(child, _DEFINITIONS):
                if isinstance(scope, ast.ClassDef) and not self._is_step(child):
                    yield from self._inside(child)
            elif not (isinstance(scope, ast.Call) and self._makes_step(scope, child)):
                yield child
                yield from self._inside(child)

    def _makes_step(self, call: ast.Call, argument: ast.AST) -> bool:
        """Whether a call such as ``ex.result(function)`` only names what becomes a step."""
        named = isinstance(argument, ast.Name) and argument in call.args
        return named and any(map(self._is_experiment, ast.walk(call.func)))


def _is_reading(node: ast.AST) -> bool:
    names = _mentioned(node)
    if isinstance(node, (ast.alias, ast.ImportFrom)) and not _PARSERS.isdisjoint(names):
        return True
    return not names.isdisjoint(_READS)


def _value(node: ast.AST, script: Globals) -> object:
    """What a global name, or a name of a module, stands for; else None."""
    if isinstance(node, ast.Name):
        return script.get(node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        module = script.get(node.value.id)
        return vars(module).get(node.attr) if isinstance(module, ModuleType) else None
    return None


def _tree(script: Globals) -> ast.Module:
    file = str(script["__file__"])
    linecache.checkcache(file)
    try:
        return ast.parse("".join(linecache.getlines(file, script)))
    except (SyntaxError, ValueError):  # compiled, or written over meanwhile
        return ast.Module([], [])


def _experiments(script: Globals, tree: ast.Module) -> set[str]:
    """Names that stand for experiments."""
    defined = {name for name, value in script.items() if _is_handle(value)}
    assigned = {name for node in ast.walk(tree) for name in _made_experiments(node)}
    return defined | assigned


def _made_experiments(node: ast.AST) -> Iterator[str]:
    """Names that ``ex = Experiment(...)`` binds."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
        return
    if "Experiment" in _mentioned(node.value.func):
        for target in node.targets:
            yield from _mentioned(target)


def _is_handle(value: object) -> bool:
    return any(kind.__name__ == "Experiment" for kind in type(value).__mro__)


def _mentioned(node: ast.AST) -> set[str]:
    """Names that a node itself consists of."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute):
        return {node.attr}
    if isinstance(node, ast.alias):
        return set(node.name.split("."))
    if isinstance(node, ast.ImportFrom):
        return set((node.module or "").split("."))
    return set()
