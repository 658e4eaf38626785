"""The machine and the interpreter: platform, processors, memory, Python, variables."""

from __future__ import annotations

import os
import platform
import sys

from daskperiment import platform as system
from daskperiment.typing import JSON

VARIABLES = (
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

_READ_EARLY = {
    name: os.environ.get(name)
    for name in VARIABLES
    if name == "PYTHONHASHSEED" or name.endswith("_THREADS")
}
"""Variables that Python and libraries read when they start, as they were when this was imported:
Dask sets them here for the workers of a cluster on this machine."""


def platform_() -> JSON:
    """The operating system and the kind of machine."""
    return {
        "platform": platform.platform(),
        "system": platform.system(),
        "machine": platform.machine(),
        "byte_order": sys.byteorder,
    }


def cpu() -> JSON:
    """Model and number of the processors, without any figure that changes while they run."""
    return {
        "model": system.cpu_model(),
        "count": os.cpu_count(),
        "usable": system.usable_cpus(),
    }


def visible_gpus() -> JSON:
    """Which of the graphics processors this process sees, None where it is not told.

    Not of what changes results: each worker of a batch sees others of the same machine.
    """
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def gpu() -> JSON:
    """Names of the graphics processors that the system shows."""
    return list(system.gpu_models())


def memory() -> JSON:
    """Bytes of memory of the machine."""
    import psutil

    return {"total": int(psutil.virtual_memory().total)}


def python() -> JSON:
    """The interpreter and those of its flags that change what code does."""
    return {
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "optimize": sys.flags.optimize,
        "hash_randomization": bool(sys.flags.hash_randomization),
        "utf8_mode": bool(sys.flags.utf8_mode),
        "virtualenv": sys.prefix != sys.base_prefix,
    }


def variables() -> JSON:
    """The listed variables that are set, to what Python and libraries have read."""
    found = {name: os.environ.get(name) for name in VARIABLES} | _READ_EARLY
    return {name: value for name, value in found.items() if value is not None}
