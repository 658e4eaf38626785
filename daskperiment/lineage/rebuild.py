"""Rebuild: the functions of recorded code, made from the stored sources and from nothing else.

Modules are imported from the stored texts, wherever these once were.  Of the script, and of the
cells of a notebook, only those statements run that the steps need: it would compute its trials
again.  What comes out is compared with the recorded digests.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.abc
import importlib.machinery
import linecache
import operator
import symtable
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from daskperiment.errors import AlteredRecordError, RebuildError
from daskperiment.fingerprint.code import fingerprint
from daskperiment.fingerprint.source import place_of_function
from daskperiment.typing import Document

MAIN = "__main__"


class Source(NamedTuple):
    """A stored text.

    Parameters
    ----------
    module, file : str
        The module that it was, and the name of the file or cell.
    text : str
        The text.
    """

    module: str
    file: str
    text: str


def sources_of(texts: Mapping[str, str]) -> list[Source]:
    """Stored texts, by the names that a code snapshot gives them.

    Examples
    --------
    >>> [source[:2] for source in sources_of({"lab.utils:utils.py": ""})]
    [('lab.utils', 'utils.py')]
    """
    return [Source(*name.partition(":")[::2], text) for name, text in texts.items()]


class Recorded(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules from stored texts, which are written to a folder so that they can be read.

    Parameters
    ----------
    folder : Path
        The folder.
    sources : iterable of Source
        The texts; those of the script are passed over.
    places : sequence of Path
        Folders with other modules of the user, where the texts stand in place of the files.
    """

    def __init__(
        self, folder: Path, sources: Iterable[Source], places: Sequence[Path] = ()
    ) -> None:
        self._places = places
        self._files: dict[str, Path] = {}
        self._packages: set[str] = set()
        for source in sources:
            if source.module != MAIN:
                self._write(folder, source)

    def _write(self, folder: Path, source: Source) -> None:
        parts = source.module.split(".")
        if not all(map(str.isidentifier, parts)):
            raise RebuildError(f"There is code of a module that cannot be: {source.module!r}")
        above = [".".join(parts[:n]) for n in range(1, len(parts))]
        self._packages.update(above)
        if source.file.partition("#")[0] == "__init__.py":
            self._packages.add(source.module)
            parts = [*parts, "__init__"]
        path = folder.joinpath(*parts).with_suffix(".py")
        for place in self._places:
            there = place.joinpath(*parts).with_suffix(".py")
            if there.exists() and there.resolve().is_relative_to(place.resolve()):
                path = there
                break
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source.text, encoding="utf-8", errors="surrogatepass")
        self._files[source.module] = path

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A module of which there is a text, or below which there are some."""
        package = fullname in self._packages
        if fullname not in self._files and not package:
            return None
        file = self._files.get(fullname)
        parts = fullname.split(".")
        folders = [each for place in self._places if (each := place.joinpath(*parts)).is_dir()]
        if file is None and any((each / "__init__.py").exists() for each in folders):
            return None
        spec = importlib.machinery.ModuleSpec(
            fullname, self, origin=None if file is None else str(file), is_package=package
        )
        spec.has_location = file is not None
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations += map(str, folders)
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Run the text of a module."""
        file = self._files.get(module.__name__)
        if file is not None:
            text = file.read_text(encoding="utf-8", errors="surrogatepass")
            exec(compile(text, str(file), "exec"), vars(module))


def functions_of(
    code: Document, sources: Sequence[Source], folder: Path, known: Mapping[str, Any],
    experiment: Any, script: Path | None = None,
) -> dict[str, Callable[..., Any]]:  # fmt: skip
    """The functions of steps, by their names.

    This process has the recorded script as its ``__main__`` from now on.

    Parameters
    ----------
    code : dict
        The capture of the code.
    sources : sequence of Source
        Its texts.
    folder : Path
        An empty folder.
    known : mapping of str to callable
        Functions of steps that are not found by a name.
    experiment : Experiment
        What stands for names that the stored cells of a notebook do not define: that of the
        experiment is such a name.
    script : Path, optional
        Where the script is to be taken to lie.

    Raises
    ------
    RebuildError
        A function cannot be made; the message says which, and why.
    AlteredRecordError
        It is not what ran.
    """
    wanted = [step["function"] for step in code["steps"]]
    main = [source for source in sources if source.module == MAIN]
    if main:
        _run_main(main, {name.split(".")[1] for name in wanted if name.startswith(f"{MAIN}.")},
                  folder, experiment, script)  # fmt: skip
    for function in known.values():
        _remember(function, sources)
    found: dict[str, Callable[..., Any]] = {}
    for step in code["steps"]:
        name = step["name"]
        found[name] = known[name] if name in known else _found(name, step["function"], sources)
        _compare(name, found[name], step)
    return found


def _remember(function: Any, sources: Sequence[Source]) -> None:
    """Let the text of a function be the stored one: pickled, it does not know its file."""
    for source in sources:
        if isinstance(function, FunctionType) and source.module == function.__module__:
            file = f"{source.module}/{source.file}"
            _put(file, source.text)
            function.__code__ = _in_file(function.__code__, file)
            if place_of_function(function) is not None:
                return


def _in_file(code: CodeType, file: str) -> CodeType:
    inner = (
        _in_file(each, file) if isinstance(each, CodeType) else each for each in code.co_consts
    )
    return code.replace(co_filename=file, co_consts=tuple(inner))


def _put(file: str, text: str) -> None:
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file


def _found(step: str, function: str, sources: Sequence[Source]) -> Callable[..., Any]:
    modules = sorted({source.module for source in sources}, key=len, reverse=True)
    module = next((each for each in modules if function.startswith(f"{each}.")), None)
    if module is None:
        raise RebuildError(f"No source of step {step!r} was recorded: {function} is in none")
    try:
        value = operator.attrgetter(function.removeprefix(f"{module}."))(
            importlib.import_module(module)
        )
    except Exception as error:  # whatever importing raises
        raise RebuildError(
            f"Step {step!r} cannot be made from its recorded sources: "
            f"{type(error).__name__}: {error}"
        ) from error
    return getattr(value, "fn", value)  # type: ignore[no-any-return]


def _compare(name: str, function: Callable[..., Any], step: Document) -> None:
    made = fingerprint(function)
    if made.digest == step["digest"]:
        return
    odd = [each for each in {**made.functions, **step["functions"]}
           if made.functions.get(each) != step["functions"].get(each)]  # fmt: skip
    what = f": {', '.join(sorted(odd))} differs" if odd else ""
    raise AlteredRecordError(
        f"What the stored sources give for step {name!r} is not what ran{what}"
    )


# -- the script


def _run_main(
    sources: Sequence[Source], wanted: set[str], folder: Path, experiment: Any, script: Path | None
) -> None:
    """Make a ``__main__`` of the statements that are needed, cell by cell."""
    module = ModuleType(MAIN)
    sys.modules[MAIN] = module
    files = []
    for number, source in enumerate(sources):
        name = source.file.partition("#")[0]
        lies_there = script is not None and script.name == name
        file = str(script if lies_there else folder / f"main{number}" / name)
        _put(file, source.text)
        files.append(file)
    module.__file__ = files[-1]
    trees = [ast.parse(source.text) for source in sources]
    waiting = [(files[number], statement) for number, statement in needed(trees, wanted)]
    while waiting:
        left = [each for each in waiting if not _ran(each, module)]
        if len(left) == len(waiting) and not _lend(left[0], module, experiment):
            raise RebuildError(f"No stored source defines what line {left[0][1].lineno} needs")
        waiting = left


def _ran(item: tuple[str, ast.stmt], module: ModuleType) -> bool:
    """Run a statement; False where it needs a name of a cell that comes later."""
    file, statement = item
    try:
        exec(compile(ast.Module([statement], []), file, "exec"), vars(module))
    except NameError:
        return False
    return True


def _lend(item: tuple[str, ast.stmt], module: ModuleType, experiment: Any) -> bool:
    """Let the experiment stand for what a decorator is not found by; False where it does."""
    names = {
        node.id
        for decorator in getattr(item[1], "decorator_list", ())
        for node in ast.walk(decorator)
        if isinstance(node, ast.Name)
    }
    missing = names - vars(module).keys() - vars(builtins).keys()
    vars(module).update(dict.fromkeys(missing, experiment))
    return bool(missing)


def needed(trees: Sequence[ast.Module], wanted: Iterable[str]) -> list[tuple[int, ast.stmt]]:
    """The statements at the top that bind what is wanted, and what these need in turn.

    Each comes with the number of its text.

    Examples
    --------
    >>> text = "import os\\nLIMIT = 3\\ndef clip(x): return min(x, LIMIT)\\nprint(clip(5))"
    >>> [ast.unparse(each) for _, each in needed([ast.parse(text)], ["clip"])]
    ['LIMIT = 3', 'def clip(x):\\n    return min(x, LIMIT)']
    """
    names = set(wanted)
    found = [(n, statement) for n, tree in enumerate(trees) for statement in tree.body]
    # What a script does when it is run is not done again, unless it defines what is needed.
    elsewhere = {name for _, each in found if not _is_guard(each) for name in _bound(each)}
    kept: set[int] = set()
    more = True
    while more:
        more = False
        for number, (_, statement) in enumerate(found):
            looked_for = names - elsewhere if _is_guard(statement) else names
            if number not in kept and (
                _is_future(statement) or not looked_for.isdisjoint(_bound(statement))
            ):
                kept.add(number)
                names |= set(_read(statement))
                more = True
    return [found[number] for number in sorted(kept)]


def _is_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement binds where it stands."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    if isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            yield (alias.asname or alias.name).partition(".")[0]
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif node is not statement and isinstance(node, ast.stmt):
            yield from _bound(node)


def _read(statement: ast.stmt) -> Iterator[str]:
    """Names of the module that a statement reads, in functions that it defines, too."""
    tables = [symtable.symtable(ast.unparse(statement), "", "exec")]
    for table in tables:
        tables += table.get_children()
        for symbol in table.get_symbols():
            if table.get_type() == "module" or symbol.is_global():
                yield symbol.get_name()
