"""What is new in a log, for those who know how it began."""

from __future__ import annotations

from daskperiment.backends.base import Backend
from daskperiment.typing import JSON


def news(backend: Backend, path: str, length: int, last: JSON) -> list[JSON] | None:
    """The entries of a log behind those that are known; None where these are not there any more.

    Parameters
    ----------
    backend : Backend
        Where the log is.
    path : str
        Which one.
    length : int
        How many entries are known.
    last : JSON
        The last one of them.  It is read again, since a log that was cleared begins anew.

    Examples
    --------
    >>> from daskperiment.backends.memory import MemoryBackend
    >>> backend = MemoryBackend()
    >>> _ = backend.append("x", ["a", "b", "c"])
    >>> news(backend, "x", 0, None), news(backend, "x", 2, "b"), news(backend, "x", 2, "other")
    (['a', 'b', 'c'], ['c'], None)
    """
    if not length:
        return backend.read(path)
    found = backend.read(path, length - 1)
    return found[1:] if found and _equal(found[0], last) else None


def _equal(one: JSON, other: JSON) -> bool:
    return one == other or repr(one) == repr(other)  # NaN equals nothing, but reads the same
