"""The moment at which NumPy is imported, by whomever."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from daskperiment.tracking.seeds.draws import OUTSIDE, here

_Prepare = Callable[[], None]


def prepare_numpy(*functions: _Prepare) -> None:
    """Call functions in turn, now or as soon as NumPy has been imported, outside of all steps.

    Nobody else can draw between its import and the calls.
    """
    if "numpy" in sys.modules:
        import numpy  # noqa: F401  (waits where another thread is importing it)

        with _outside():
            for function in functions:
                function()
    else:
        sys.meta_path.insert(0, _Finder(functions))


@contextmanager
def _outside() -> Iterator[None]:
    """Let what is drawn in a block not be the step's that runs in this thread."""
    draws, here.draws = here.draws, OUTSIDE
    try:
        yield
    finally:
        here.draws = draws


class _Finder(MetaPathFinder):
    """Lets the other finders find NumPy, and comes between to load it."""

    def __init__(self, functions: Sequence[_Prepare]) -> None:
        self._functions = functions

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return NumPy's specification, with a loader of ours in it, and of nothing else."""
        if name != "numpy":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(name, None) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loading(spec.loader, self)
        return spec

    def arrived(self) -> None:
        """Call the functions; there is nothing more to wait for."""
        with suppress(ValueError):
            sys.meta_path.remove(self)
        for function in self._functions:
            function()


class _Loading(Loader):
    """NumPy's loader, with what comes after it; those who only look for NumPy see no other."""

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return what NumPy's own loader returns."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module under its own loader; its first seeding is not a step's."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        with _outside():
            self._loader.exec_module(module)
            self._finder.arrived()
