"""Where history lives: the contract, the stores that keep it, and how one is chosen."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from daskperiment import options
from daskperiment.backends.base import (
    Append,
    Backend,
    Clear,
    Discard,
    Finding,
    Hold,
    Insert,
    Put,
    Remove,
    Update,
    Write,
)
from daskperiment.errors import BackendURIError

__all__ = [
    "SCHEMES",
    "Append",
    "Backend",
    "Clear",
    "Discard",
    "Finding",
    "Hold",
    "Insert",
    "Put",
    "Remove",
    "Update",
    "Write",
    "open_backend",
]

SCHEMES = {
    "local": "daskperiment.backends.local:LocalBackend",
    "memory": "daskperiment.backends.memory:MemoryBackend",
}
"""The class of each scheme, as a dotted name; its ``from_uri`` is given the whole text."""


def open_backend(backend: str | Path | Backend | None = None) -> Backend:
    """Return the backend that an argument names.

    Parameters
    ----------
    backend
        - ``"local"``: the directory ``daskperiment_cache`` in the working directory;
        - a path: that directory;
        - ``"memory://"``: a new store in this process's memory;
        - a :class:`Backend`: itself;
        - None: what the environment variable ``DASKPERIMENT_BACKEND`` names, else
          ``backend`` in ``[tool.daskperiment]`` of the nearest ``pyproject.toml`` that has
          it, in the working directory or above (a relative path there begins at that
          file), else ``"local"``.

    Raises
    ------
    BackendURIError
        If it names none; the message shows no more of a URI than its scheme.
    OptionError
        If ``pyproject.toml`` cannot be read.

    Examples
    --------
    >>> open_backend("results")
    LocalBackend('results')
    >>> open_backend("redis://:password@host")
    Traceback (most recent call last):
    daskperiment.errors.BackendURIError: there is no backend for redis://; use a path, "local" ...
    """
    if isinstance(backend, Backend):
        return backend
    if backend is None:
        backend = _configured()
    if isinstance(backend, Path):
        return _load("local", os.path.join(".", backend))  # noqa: PTH118  # "local" is a name
    if type(backend) is not str:
        kind = f"{type(backend).__module__}.{type(backend).__qualname__}"
        raise BackendURIError(f"a backend is named by a str or a pathlib.Path, not by {kind}")
    scheme, separator, _ = backend.partition("://")
    return _load(scheme.lower() if separator else "local", backend)


def _load(scheme: str, uri: str) -> Backend:
    if scheme not in SCHEMES:
        raise BackendURIError(
            f'there is no backend for {scheme}://; use a path, "local" or "memory://"'
        )
    if not uri:
        raise BackendURIError('an empty text names no backend; use a path or "local"')
    module, _, name = SCHEMES[scheme].partition(":")
    made: Backend = getattr(import_module(module), name).from_uri(uri)
    return made


def _configured() -> str | Path:
    named, _, folder = options.setting("backend")
    outside = folder not in (None, Path.cwd()) and named != "local" and "://" not in named
    return folder / named if folder and outside else str(named)
