"""The house: imports only go down, there is no cycle, and importing does nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import daskperiment

ROOT = Path(daskperiment.__file__).parent

# From the ground up; a room may import from rooms below it and from itself.
LEVELS: list[set[str]] = [
    {"errors", "typing"},
    {
        "platform",
        "records",
        "serializers",
        "fingerprint",
        "importing",
        "tracebacks",
        "names",
        "options",
        "secrets",
        "namespace",
        "logs",
        "conversion",
        "configuration",
        "notebooks",
        "spark",
        "caller",
        "reloads",
    },
    {"backends"},
    {"history", "tracking"},
    {"graph", "parameters", "callbacks", "search"},
    {"execution"},
    {"lineage", "importers", "targets"},
    {"trial", "references", "script"},
    {"experiment"},
    {"manager"},
    {"", "dashboard", "cli", "testing", "rerun", "__main__"},
]
SEPARATE = [("history", "tracking"), ("search", "graph")]
CLIENTS = {
    "redis": "backends/redis.py",
    "pymongo": "backends/mongo.py",
    "flask": "dashboard/",
    "distributed": "execution/cluster.py",
    "optuna": "search/",
    "pandas": "",
    "numpy": "search/samplers/",
    "scipy": "search/samplers/",
    "sklearn": "search/samplers/",
    "matplotlib": "search/plots.py",
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def at_the_top(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run on import, without those that only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from at_the_top(child)


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def own_imports(path: Path, everywhere: bool) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else at_the_top(tree)
    names = [name for node in nodes for name in imported(node)]
    return {n.removeprefix("daskperiment.") for n in names if n.startswith("daskperiment.")}


def room(module: str) -> str:
    return module.partition(".")[0]


def level(module: str) -> int:
    found = [i for i, rooms in enumerate(LEVELS) if room(module) in rooms]
    assert found, f"{module} has no place in the house: add it to LEVELS"
    return found[0]


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=str)
def test_imports_only_go_down(name: str, path: Path) -> None:
    for target in own_imports(path, everywhere=False):
        if room(target) != room(name) and target != "platform":
            assert level(target) <= level(name), f"{name} imports {target}, which is above it"
        for one, other in SEPARATE:
            assert {room(name), room(target)} != {one, other}, f"{name} must not know {target}"


def test_there_is_no_import_cycle() -> None:
    known = dict(modules())

    def module(target: str) -> str | None:
        while target and target not in known:
            target = target.rpartition(".")[0]
        return target or None

    graph = {
        name: {
            m for t in own_imports(path, everywhere=False) if (m := module(t)) not in (None, name)
        }
        for name, path in known.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=str)
def test_client_libraries_are_imported_only_at_home(name: str, path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    for node in at_the_top(ast.parse(path.read_text())):
        for target in imported(node):
            home = CLIENTS.get(target.partition(".")[0])
            assert home is None or (home and place.startswith(home)), f"{name} imports {target}"


def test_relative_imports_are_not_used() -> None:
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), name


def test_importing_has_no_side_effects(tmp_path: Path) -> None:
    script = """
import logging, os, sys, threading
before = dict(os.environ)
import daskperiment
heavy = {"pandas", "numpy", "distributed", "redis", "pymongo", "flask", "sklearn", "git"}
heavy |= {"matplotlib", "optuna", "scipy"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert not os.listdir("."), os.listdir(".")
assert not logging.root.handlers and not logging.getLogger("daskperiment").handlers
assert dict(os.environ) == before
assert threading.active_count() == 1
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_importing_writes_nothing_starts_nothing_and_asks_no_network(tmp_path: Path) -> None:
    script = """
import os, sys
looks = ("os.listdir", "os.scandir")
acts = ("os.", "shutil.", "socket.", "subprocess.", "sqlite3.", "tempfile.", "urllib.")
seen = []

def watch(event, arguments):
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or (event.startswith(acts) and event not in looks):
        seen.append((event, arguments))

sys.addaudithook(watch)
import daskperiment
for name in daskperiment.__all__:
    getattr(daskperiment, name)
assert not seen, seen
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_says_what_it_promises() -> None:
    for name, path in modules():
        tree = ast.parse(path.read_text())
        for node in (tree, *_public(tree)):
            assert ast.get_docstring(node), f"{name}.{getattr(node, 'name', '')} has no docstring"


def _public(scope: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in scope.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith(
            ("_", "test_")  # the name of a shipped test is its promise
        ):
            decorators = {ast.unparse(d) for d in node.decorator_list}
            if decorators & {"overload"} or any(d.endswith(".setter") for d in decorators):
                continue
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)
