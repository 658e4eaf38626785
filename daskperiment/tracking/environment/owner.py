"""The process that runs: what tells it from every other one."""

from __future__ import annotations

import getpass
import os
import platform
from functools import lru_cache

from daskperiment import platform as system
from daskperiment.typing import Document


def process() -> Document:
    """Return what identifies this process, for records and for telling whether it still runs.

    ``host``, ``pid``, ``boot_id`` (None where the system has none), ``started`` (seconds
    since 1970, as psutil tells it), ``since_boot`` (seconds, None where the system does not tell:
    what to compare, as setting the clock changes ``started``) and ``user`` (None if unknown).
    Kept per process, a forked one included; do not change it.

    Examples
    --------
    >>> import os
    >>> process()["pid"] == os.getpid()
    True
    """
    return _process(os.getpid())


@lru_cache(maxsize=1)
def _process(pid: int) -> Document:
    import psutil

    return {
        "host": platform.node(),
        "pid": pid,
        "boot_id": system.boot_id(),
        "started": psutil.Process(pid).create_time(),
        "since_boot": system.since_boot(pid),
        "user": _user(),
    }


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container without an entry for this user, or Windows without the variables.
        return None
