"""What a file has that trials can be run of: a result that it builds, or a plain function."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from daskperiment.errors import TargetError
from daskperiment.graph import Node, Step, layout_of
from daskperiment.script.pending import built_by
from daskperiment.tracebacks import without_ours

if TYPE_CHECKING:
    from daskperiment.experiment import Experiment

FUNCTION = "run"
"""Name of the function that a plain module has."""


@dataclass(frozen=True)
class Loaded:
    """What :func:`load_target` has found.

    Parameters
    ----------
    experiment : Experiment
        The experiment.
    result : Node or callable
        What its ``run``, ``map`` and ``search`` take.
    """

    experiment: Experiment
    result: Any


@contextlib.contextmanager
def load_target(path: str | Path, function: str | None = None) -> Iterator[Loaded]:
    """Find in a file what trials are run of, and run none.

    A script is run without arguments, up to the first trial that it would run by itself; what it
    has built by then is the result.  A plain module, which has a function ``run`` and makes no
    experiment, is imported, and its experiment is called like the file.

    Trials are run inside the context: as long as it lasts, the script is this process's program,
    and the module and its neighbours can be imported; worker processes, too, get what they need.

    Parameters
    ----------
    path : str or path
        The file.
    function : str, optional
        Name of a function of a module that is then imported in any case.

    Yields
    ------
    Loaded
        The experiment and what to run.

    Raises
    ------
    TargetError
        There is nothing to run in the file, or not one thing; or it cannot be imported.
    StepDefinitionError
        The function has been made a step.
    SystemExit
        The script has ended with an exit code that means failure.

    What the file itself raises is raised unchanged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "doc_square.py"
    ...     _ = path.write_text("def run(x=1, **others): return x**2")
    ...     with load_target(path) as loaded:
    ...         loaded.experiment.id, loaded.result(3)
    ('doc_square', 9)
    """
    file = Path(path)
    if not file.is_file():
        raise TargetError(f"There is no file {str(path)!r} to run")
    if function is not None or _is_plain(file):
        with _imported(file) as module:
            yield _of_module(module, file, function or FUNCTION)
    else:
        with built_by(file) as (results, failure):
            if failure is not None and not _is_success(failure):
                raise without_ours(failure)
            yield _of_script(results, file)


def _of_script(results: list[Node], file: Path) -> Loaded:
    steps = [call.step for node in results for call in layout_of(node).calls if call.final]
    if len(results) > 1:
        names = ", ".join(step.name for step in steps)
        raise TargetError(
            f"{file} builds {len(results)} results ({names}): leave one, or put the call of the "
            "others into a function"
        )
    if results:
        return Loaded(cast("Experiment", steps[0].owner), results[0])
    found = vars(sys.modules["__main__"]).get(FUNCTION)
    if callable(found) and not isinstance(found, Step):
        return Loaded(_experiment(sys.modules["__main__"], file), found)
    raise TargetError(
        f"There is nothing to run in {file}: no result that it builds, as in s = "
        f"score(ex.parameter(...)) with @ex.result, and no function {FUNCTION}(**kwargs)"
    )


def _of_module(module: ModuleType, file: Path, name: str) -> Loaded:
    found = getattr(module, name, None)
    if not callable(found):
        functions = [n for n, value in vars(module).items() if _is_own(value, module)]
        there = f"it has {', '.join(functions)}" if functions else "it has no function"
        raise TargetError(f"There is no function {name!r} in {file}: {there}")
    return Loaded(_experiment(module, file), found)


def _is_own(value: object, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _experiment(module: ModuleType, file: Path) -> Experiment:
    """The only one that a module has, else a new one with the name of the file."""
    from daskperiment.experiment import Experiment

    there = {id(each): each for each in vars(module).values() if isinstance(each, Experiment)}
    if len(there) == 1:
        return next(iter(there.values()))
    name = re.sub(r"\W", "_", file.stem)
    return Experiment(name if name.isidentifier() else f"_{name}")


def _is_plain(file: Path) -> bool:
    """Whether a file has a function of its own, not made a step, and no experiment."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return False  # running it tells where
    mentioned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    mentioned |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    named = any(node.name == FUNCTION and not node.decorator_list for node in functions)
    return named and "Experiment" not in mentioned


def _is_success(failure: BaseException) -> bool:
    return isinstance(failure, SystemExit) and failure.code in (None, 0)


@contextlib.contextmanager
def _imported(file: Path) -> Iterator[ModuleType]:
    """A file as a module under its own name, which other processes can unpickle functions of."""
    import cloudpickle

    name, folder = file.stem, str(file.resolve().parent)
    if name in sys.modules or name in sys.stdlib_module_names:
        raise TargetError(f"Another module is called {name!r}: call {file} otherwise")
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    if spec is None or spec.loader is None:
        raise TargetError(f"{file} cannot be imported: call it {name}.py")
    folders = sys.path[:]
    sys.path.insert(0, folder)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            without_ours(error)
            raise
        cloudpickle.register_pickle_by_value(module)  # a cluster has no such file
        yield module
    finally:
        with contextlib.suppress(ValueError):  # it was not registered
            cloudpickle.unregister_pickle_by_value(module)
        del sys.modules[name]
        sys.path[:] = folders
