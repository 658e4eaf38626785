"""How many threads BLAS and OpenMP use: it changes results in their last bits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import lru_cache

from daskperiment.tracking.environment.machine import VARIABLES

_THREAD_VARIABLES = tuple(name for name in VARIABLES if name.endswith("_THREADS"))


def threads() -> dict[str, int | str]:
    """Return how many threads BLAS and OpenMP use now, by kind of library.

    Read from the loaded libraries when ``threadpoolctl`` is installed; else from the
    environment variables that set them.  The libraries are looked for again only when
    modules were loaded since; their counts are read at every call, at about 0.5 us each,
    so that a limit set in between is seen.  Several copies of one kind that differ give a
    text such as ``"1,4"``.  The result is shared: do not change it.

    Examples
    --------
    >>> all(isinstance(count, (int, str)) for count in threads().values())
    True
    """
    loaded = _libraries(len(sys.modules))
    if loaded is None:
        return {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ}
    kinds, readers = loaded
    return _by_kind(kinds, tuple([read() for read in readers]))


@lru_cache(maxsize=1)
def _libraries(modules: int) -> tuple[tuple[str, ...], list[Callable[[], int]]] | None:
    """Kinds and readers of the loaded libraries; `modules` only says when to look again."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    found = ThreadpoolController().lib_controllers
    return tuple(one.internal_api for one in found), [one.get_num_threads for one in found]


@lru_cache(maxsize=8)
def _by_kind(kinds: tuple[str, ...], counts: tuple[int, ...]) -> dict[str, int | str]:
    named: dict[str, int | str] = {}
    for kind in sorted(set(kinds)):
        distinct = sorted(
            {count for same, count in zip(kinds, counts, strict=True) if same == kind}
        )
        named[kind] = distinct[0] if len(distinct) == 1 else ",".join(map(str, distinct))
    return named
