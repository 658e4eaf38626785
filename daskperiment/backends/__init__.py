"""Where history lives: the contract, the stores that keep it, and how one is chosen."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

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

LIVE = {
    "pymongo": "daskperiment.backends.mongo:MongoBackend",
    "redis": "daskperiment.backends.redis:RedisBackend",
}
"""The class that takes live objects of a client library, by the name of the library."""
SCHEMES = {
    "local": "daskperiment.backends.local:LocalBackend",
    "memory": "daskperiment.backends.memory:MemoryBackend",
    "redis": "daskperiment.backends.redis:RedisBackend",
    "rediss": "daskperiment.backends.redis:RedisBackend",
    "unix": "daskperiment.backends.redis:RedisBackend",
    "mongodb": "daskperiment.backends.mongo:MongoBackend",
    "mongodb+srv": "daskperiment.backends.mongo:MongoBackend",
}
"""The class of each scheme, as a dotted name; its ``from_uri`` is given the whole text."""


def open_backend(
    backend: str | Path | Backend | Any | None = None, durability: str | None = None
) -> Backend:
    """Return the backend that an argument names.

    Parameters
    ----------
    backend
        - ``"local"``: the directory ``daskperiment_cache`` in the working directory;
        - a path: that directory;
        - ``"memory://"``: a new store in this process's memory;
        - a URI of a Redis server, ``redis://``, ``rediss://`` or ``unix://``, with ``${NAME}``
          for an environment variable of the machine that connects;
        - a live :class:`redis.Redis` or :class:`redis.ConnectionPool`;
        - ``"mongodb://host/name"``, or a live ``pymongo`` database: that one;
        - a :class:`Backend`: itself;
        - None: what the environment variable ``DASKPERIMENT_BACKEND`` names, else
          ``backend`` in ``[tool.daskperiment]`` of the nearest ``pyproject.toml`` that has
          it, in the working directory or above (a relative path there begins at that
          file), else ``"local"``.
    durability
        What a local store survives: ``"process"`` for the death of the process, which None
        means too, ``"power"`` for that of the machine.

    Raises
    ------
    BackendURIError
        If it names none, the message shows no more of a URI than its scheme; or if
        ``durability`` is given for a backend other than a local one that is opened here.
    OptionError
        If ``pyproject.toml`` cannot be read.

    Examples
    --------
    >>> open_backend("results")
    LocalBackend('results')
    >>> open_backend("postgres://:password@host")
    Traceback (most recent call last):
    daskperiment.errors.BackendURIError: there is no backend for postgres://; use a path, ...
    """
    if isinstance(backend, Backend):
        return _as_it_is(backend, durability)
    if backend is None:
        backend = _configured()
    if (kind := _live(backend)) is not None:
        return _as_it_is(kind(backend), durability)
    if isinstance(backend, Path):
        named = os.path.join(".", backend)  # noqa: PTH118  # "local" is a name
        return _load("local", named, durability)
    if type(backend) is not str:
        kind = f"{type(backend).__module__}.{type(backend).__qualname__}"
        raise BackendURIError(f"a backend is named by a str or a pathlib.Path, not by {kind}")
    scheme, separator, _ = backend.partition("://")
    return _load(scheme.lower() if separator else "local", backend, durability)


def _live(backend: Any) -> Any:
    """The class for a live object of a client library; None for all else."""
    for base in type(backend).__mro__:
        library = base.__module__.partition(".")[0]
        if library in LIVE and base.__name__ in ("Redis", "ConnectionPool", "Database"):
            return _class(LIVE[library])
    return None


def _class(dotted: str) -> Any:
    module, _, name = dotted.partition(":")
    return getattr(import_module(module), name)


def _as_it_is(backend: Backend, durability: str | None) -> Backend:
    if durability is not None:
        raise BackendURIError(
            f"durability={durability!r} is for a local store that is opened here, not for "
            f"{type(backend).__name__}: give it to the backend itself"
        )
    return backend


def _load(scheme: str, uri: str, durability: str | None) -> Backend:
    if scheme not in SCHEMES:
        raise BackendURIError(
            f'there is no backend for {scheme}://; use a path, "local", "memory://" or '
            "a URI that begins with " + ", ".join(f"{each}://" for each in list(SCHEMES)[2:])
        )
    if not uri:
        raise BackendURIError('an empty text names no backend; use a path or "local"')
    kind = _class(SCHEMES[scheme])
    if scheme == "local":
        local: Backend = kind.from_uri(uri, durability or "process")
        return local
    made: Backend = kind.from_uri(uri)
    return _as_it_is(made, durability)


def _configured() -> str | Path:
    named, _, folder = options.setting("backend")
    outside = folder not in (None, Path.cwd()) and named != "local" and "://" not in named
    return folder / named if folder and outside else str(named)
