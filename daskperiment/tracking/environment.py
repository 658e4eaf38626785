"""The environment that a step runs in, as plain data.

:func:`snapshot` is what trials keep: captured once per process, equal for equal
environments, without user names, home directories or figures that change by themselves.
:func:`threads` and :func:`process` are small facts for each step record.

Every part is captured by a collector, a function without arguments in
:data:`COLLECTORS`.  One that fails leaves its error in its place.
"""

from __future__ import annotations

import functools
import getpass
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from daskperiment import platform as system
from daskperiment.fingerprint import values
from daskperiment.typing import JSON, Document

VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "LANG",
    "LC_ALL",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "TZ",
    "VECLIB_MAXIMUM_THREADS",
)
"""The environment variables that are recorded: they change results and name nobody."""

_THREAD_VARIABLES = tuple(name for name in VARIABLES if name.endswith("_THREADS"))


def snapshot() -> tuple[str, Document]:
    """Return the digest and the document of this process's environment.

    Captured at the first call in each process, a forked one included, and kept.  The document
    is shared: do not change it.

    Examples
    --------
    >>> digest, document = snapshot()
    >>> digest.startswith("v1:"), document["python"]["implementation"]
    (True, 'CPython')
    """
    return _snapshot(os.getpid())


@functools.cache
def _snapshot(pid: int) -> tuple[str, Document]:
    document = capture()
    return values.digest(document), document


def capture() -> Document:
    """Capture the environment now, by every collector.

    Two captures on one machine are equal as long as nothing was installed or set in between.

    Examples
    --------
    >>> sorted(capture())
    ['cpu', 'daskperiment', 'packages', 'platform', 'python', 'shell', 'variables']
    """
    return {name: _collect(collector) for name, collector in COLLECTORS.items()}


def _collect(collector: Callable[[], JSON]) -> JSON:
    try:
        return collector()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _platform() -> JSON:
    return {
        "platform": platform.platform(),
        "system": platform.system(),
        "machine": platform.machine(),
        "byte_order": sys.byteorder,
    }


def _cpu() -> JSON:
    return {
        "model": system.cpu_model(),
        "count": os.cpu_count(),
        "usable": system.usable_cpus(),
    }


def _python() -> JSON:
    return {
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "optimize": sys.flags.optimize,
        "hash_randomization": bool(sys.flags.hash_randomization),
        "utf8_mode": bool(sys.flags.utf8_mode),
        "virtualenv": sys.prefix != sys.base_prefix,
    }


def _shell() -> JSON:
    """How Python is used: ``Jupyter``, ``IPython``, ``Interactive`` or ``File``."""
    ipython = sys.modules.get("IPython")
    running = ipython.get_ipython() if ipython else None
    if running is not None:
        return "Jupyter" if type(running).__name__ == "ZMQInteractiveShell" else "IPython"
    return "Interactive" if hasattr(sys, "ps1") or sys.flags.interactive else "File"


def _variables() -> JSON:
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def _daskperiment() -> JSON:
    return _packages().get("daskperiment", "not installed")


def _packages() -> dict[str, str]:
    """Versions of the installed distributions, by normalised name.

    The first one on ``sys.path`` counts, as it does for ``import``.
    """
    found: dict[str, str] = {}
    for name, version in _distributions():
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return dict(sorted(found.items()))


def _distributions() -> Iterator[tuple[str, str]]:
    for folder in sys.path:
        for path in sorted(Path(folder).glob("*.dist-info")):
            # The directory's name has both; reading all metadata takes a hundred times longer.
            name, _, version = path.stem.partition("-")
            if version and name[:1].isalnum() and (path / "METADATA").exists():
                yield name, version
        for path in sorted(Path(folder).glob("*.egg-info")):
            yield from _old_distribution(path)


def _old_distribution(path: Path) -> Iterator[tuple[str, str]]:
    from importlib.metadata import PathDistribution

    try:
        metadata = PathDistribution(path).metadata
    except (OSError, UnicodeDecodeError):
        return
    if "Name" in metadata and "Version" in metadata:
        yield metadata["Name"], metadata["Version"]


COLLECTORS: dict[str, Callable[[], JSON]] = {
    "platform": _platform,
    "cpu": _cpu,
    "python": _python,
    "shell": _shell,
    "packages": _packages,
    "variables": _variables,
    "daskperiment": _daskperiment,
}
"""What :func:`capture` asks; a further collector is one more entry."""


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


@functools.lru_cache(maxsize=1)
def _libraries(modules: int) -> tuple[tuple[str, ...], list[Callable[[], int]]] | None:
    """Kinds and readers of the loaded libraries; `modules` only says when to look again."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    found = ThreadpoolController().lib_controllers
    return tuple(one.internal_api for one in found), [one.get_num_threads for one in found]


@functools.lru_cache(maxsize=8)
def _by_kind(kinds: tuple[str, ...], counts: tuple[int, ...]) -> dict[str, int | str]:
    named: dict[str, int | str] = {}
    for kind in sorted(set(kinds)):
        distinct = sorted(
            {count for same, count in zip(kinds, counts, strict=True) if same == kind}
        )
        named[kind] = distinct[0] if len(distinct) == 1 else ",".join(map(str, distinct))
    return named


def process() -> Document:
    """Return what identifies this process, for records and for telling whether it still runs.

    ``host``, ``pid``, ``boot_id`` (None where the system has none), ``started`` (seconds
    since 1970, as psutil tells it: compare with a tolerance of a second) and ``user`` (None
    if unknown).  Kept per process, a forked one included; do not change it.

    Examples
    --------
    >>> import os
    >>> process()["pid"] == os.getpid()
    True
    """
    return _process(os.getpid())


@functools.lru_cache(maxsize=1)
def _process(pid: int) -> Document:
    import psutil

    return {
        "host": platform.node(),
        "pid": pid,
        "boot_id": system.boot_id(),
        "started": psutil.Process(pid).create_time(),
        "user": _user(),
    }


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container without an entry for this user, or Windows without the variables.
        return None
