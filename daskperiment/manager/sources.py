"""What each experiment of a file runs: a function of a file, a given one, or a script."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from daskperiment.errors import DaskperimentError, ExperimentsFileError
from daskperiment.experiment import Experiment
from daskperiment.manager.entries import Entry
from daskperiment.manager.grammar import told_of
from daskperiment.script import target
from daskperiment.search.values import nearest
from daskperiment.serializers import preview

Given = Mapping[str, Callable[..., Any] | str]
"""Functions by the names of experiments, as themselves or as ``file.py:name``."""


class Source(NamedTuple):
    """What an experiment runs.

    Parameters
    ----------
    shown : str
        It for people.
    function : callable, optional
        A function or class.
    script : Path, optional
        A script, where there is no function.
    """

    shown: str
    function: Any = None
    script: Path | None = None


class Sources:
    """Finds what experiments run; each file with functions is imported once.

    Parameters
    ----------
    given : mapping
        Functions that stand for those of the file.
    stack : ExitStack
        What keeps the imported files.
    """

    def __init__(self, given: Given, stack: ExitStack) -> None:
        self._given = given
        self._stack = stack
        self._modules: dict[Path, Any] = {}

    def check(self, names: Iterable[str], source: str) -> None:
        """Raise ExperimentsFileError where a function was given for no experiment."""
        known = list(names)
        for name in self._given:
            if name not in known:
                raise ExperimentsFileError(
                    f"{source}: a function is given for {preview(name, 80)}, and there is no such "
                    f"experiment: {nearest(name, known)}"
                )

    def find(self, entry: Entry) -> Source:
        """What an experiment runs.

        Raises
        ------
        ExperimentsFileError
            There is nothing, or it cannot be imported.
        """
        values, given = entry.values, self._given.get(entry.name)
        if given is not None:
            with told_of("function"):
                return self._function(given, Path())
        if "function" in values and "script" in values:
            raise ExperimentsFileError("function and script are given: leave out one of them")
        if "function" in values:
            with told_of("function"):
                return self._function(values["function"], entry.folder)
        if "script" not in values:
            raise ExperimentsFileError(
                'function: expected what to run, such as function = "models.py:train", or script '
                f'= "train.py"; on the command line --function {quote(entry.name)}=models.py:train'
            )
        script = entry.folder / values["script"]
        if not script.is_file():
            raise ExperimentsFileError(f"script: there is no file {str(script)!r}")
        return Source(f"script {script}", script=script)

    def _function(self, given: Callable[..., Any] | str, folder: Path) -> Source:
        if not isinstance(given, str):
            return Source(getattr(given, "__name__", type(given).__name__), given)
        named, colon, name = given.rpartition(":")
        if not colon or not named or not name.isidentifier():
            meant = f": did you mean '{given}:run'?" if given.endswith(".py") else ""
            raise ExperimentsFileError(
                f"expected a file and a name in it, such as 'models.py:train', not {given!r}{meant}"
            )
        return Source(given, self._load(folder / named, name))

    def _load(self, file: Path, name: str) -> Any:
        with _users_errors(file):
            if file not in self._modules:
                loaded = self._stack.enter_context(target.load_target(file, name))
                self._modules[file] = sys.modules[file.stem]
            else:
                loaded = target._of_module(self._modules[file], file, name)
        return loaded.result


@contextmanager
def _users_errors(file: Path) -> Iterator[None]:
    """A block in which what a file raises while it is loaded is told of as an error of it."""
    try:
        yield
    except DaskperimentError:
        raise
    except (Exception, SystemExit) as error:
        raise ExperimentsFileError(
            f"{file} cannot be loaded: {type(error).__name__}: {error}"
        ) from error


@contextmanager
def ready(source: Source, name: str, backend: Any) -> Iterator[tuple[Experiment, Any]]:
    """An experiment, and what its ``search`` takes, for as long as the context lasts.

    Parameters
    ----------
    source : Source
        What runs.
    name : str
        Id of the experiment, unless a script names its own.
    backend : str, Path or Backend, optional
        Where trials are recorded, unless a script names its own place.
    """
    if source.script is None:
        yield Experiment(name, backend=backend), source.function
        return
    with _backend_named(backend), ExitStack() as stack:
        with _users_errors(source.script):
            loaded = stack.enter_context(target.load_target(source.script))
        yield loaded.experiment, loaded.result


@contextmanager
def _backend_named(backend: Any) -> Iterator[None]:
    """A block in which the variable names a backend, as scripts ask for it."""
    if backend is None:
        yield
        return
    if not isinstance(backend, (str, Path)):
        raise ExperimentsFileError(
            "script: it opens its store by itself: name the backend by a text, not by an object"
        )
    variable = "DASKPERIMENT_BACKEND"
    before = os.environ.get(variable)
    os.environ[variable] = str(backend)
    try:
        yield
    finally:
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before
