"""Whose a module is: the user's own, or that of an installed distribution."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import sysconfig
from pathlib import Path, PurePath

OWN = "daskperiment"
PYTHON = "python"

_STANDARD = {
    Path(place).resolve()
    for place in (
        Path(os.__file__).parent,
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
    )
}


@functools.cache
def border(module: object) -> str | None:
    """The foreign top-level module that the module of this name belongs to; None for the user's.

    The standard library is one: ``"python"``.

    Examples
    --------
    >>> border("json.decoder"), border("blake3"), border("__main__")
    ('python', 'blake3', None)
    """
    top = module.partition(".")[0] if isinstance(module, str) else ""
    if top == OWN:
        return OWN
    if top in ("__main__", "__mp_main__", ""):
        return None
    file = _file(top)
    if file is None:
        return PYTHON if top in sys.builtin_module_names else None
    if {"site-packages", "dist-packages"} & set(PurePath(file).parts):
        return top
    frozen = file == "frozen" or not _STANDARD.isdisjoint(Path(file).resolve().parents)
    return PYTHON if frozen else None


def _file(top: str) -> str | None:
    module = sys.modules.get(top)
    if module is None:
        try:
            spec = importlib.util.find_spec(top)  # of a top-level name: imports nothing
        except (ImportError, ValueError):
            return None
        places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    else:
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return next((place for place in places if place and place != "built-in"), None)


@functools.cache
def _versions(top: str) -> tuple[tuple[str, str], ...]:
    if top == PYTHON:
        return ((PYTHON, f"{sys.version_info.major}.{sys.version_info.minor}"),)
    # As slow to import as all of this package, and needed only with the first border.
    from importlib import metadata

    try:
        return ((top, metadata.version(top)),)
    except metadata.PackageNotFoundError:
        # Reads what every distribution installed: done only for names such as `sklearn`.
        names = metadata.packages_distributions().get(top, [])
    return tuple((name, metadata.version(name)) for name in names) or ((top, "unknown"),)


def versions(tops: set[str]) -> dict[str, str]:
    """The distributions that own these top-level modules, with their versions, sorted.

    Examples
    --------
    >>> list(versions({"blake3"}))
    ['blake3']
    """
    return dict(sorted(pair for top in tops for pair in _versions(top)))
