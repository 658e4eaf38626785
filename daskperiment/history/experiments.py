"""Experiments: which ones a backend holds."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from daskperiment.backends import Backend, open_backend
from daskperiment.errors import BackendUnreachableError, ConflictError
from daskperiment.history import paths


def enlist(backend: Backend, name: str) -> None:
    """Make an experiment known to the backend, once."""
    with suppress(BackendUnreachableError):  # then it is told when it is back
        if backend.get(paths.EXPERIMENTS, name) is not None:
            return
    with suppress(ConflictError):  # another process was faster
        backend.insert(paths.EXPERIMENTS, {"created": time.time()}, name)


def experiments(backend: str | Path | Backend | None = None) -> list[str]:
    """Ids of the experiments that have begun a trial in a backend, in alphabetical order.

    Parameters
    ----------
    backend : str, path, Backend or None
        As for :class:`daskperiment.Experiment`; a store that is absent holds none, and is
        not made.

    Raises
    ------
    BackendURIError
        The argument names no backend.
    BackendError
        The store cannot be read.

    Examples
    --------
    >>> import daskperiment
    >>> ex = daskperiment.Experiment("doc_experiments", backend="memory://")
    >>> @ex.result
    ... def score(a):
    ...     return 10 / a
    >>> daskperiment.experiments(ex.backend)
    []
    >>> score(ex.parameter("a", default=4)).compute()
    2.5
    >>> daskperiment.experiments(ex.backend)
    ['doc_experiments']
    """
    return [str(name) for name, _ in open_backend(backend).find(paths.EXPERIMENTS, fields=[])]
