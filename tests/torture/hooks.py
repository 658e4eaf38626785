"""What happens to a worker between two of its trials: limits are set and lifted."""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from daskperiment.backends import session
from daskperiment.backends.sqlite import Store
from tests.torture.harness import AckLog

Hook = Callable[[dict[str, Any], AckLog], None]

_LIMITS = (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_AS)
_seen: dict[str, Any] = {}


def prepare() -> None:
    """Remember the limits that hold at the start."""
    _seen["limits"] = {limit: resource.getrlimit(limit) for limit in _LIMITS}


def _limit(what: int, amount: int) -> None:
    resource.setrlimit(what, (amount, resource.getrlimit(what)[1]))


def lift_limits(argument: dict[str, Any], log: AckLog) -> None:
    """Set the limits as they were."""
    for limit, values in _seen["limits"].items():
        resource.setrlimit(limit, values)


def fill_disk(argument: dict[str, Any], log: AckLog) -> None:
    """Fill the disk of the store to the last byte."""
    filler = os.open(Path(argument["store"]).with_name("filler"), os.O_WRONLY | os.O_CREAT)
    for size in (65536, 4096, 1):
        with suppress(OSError):
            while os.write(filler, b"x" * size):
                pass
    os.close(filler)


def free_disk(argument: dict[str, Any], log: AckLog) -> None:
    """Delete what has filled the disk."""
    Path(argument["store"]).with_name("filler").unlink()


def limit_files(argument: dict[str, Any], log: AckLog) -> None:
    """Let no file grow over some kilobytes."""
    _limit(resource.RLIMIT_FSIZE, argument["limit"] * 1024)


def limit_descriptors(argument: dict[str, Any], log: AckLog) -> None:
    """Let only a few files be opened."""
    _seen["descriptors"] = _descriptors()
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    for free in range(highest):
        with suppress(OSError):
            os.fstat(free)
            continue
        os.dup2(0, free)  # numbers below the highest one are no way out either
        _seen.setdefault("plugs", []).append(free)
    _limit(resource.RLIMIT_NOFILE, highest + argument["limit"])


def limit_descriptors_closed(argument: dict[str, Any], log: AckLog) -> None:
    """Let only a few files be opened, and the store must be one of them."""
    for opened in list(session._sessions):
        opened.close()
    limit_descriptors(argument, log)


def count_descriptors(argument: dict[str, Any], log: AckLog) -> None:
    """Complain of descriptors that were leaked since the limit was set; one store may be open."""
    gc.collect()
    for plug in _seen.pop("plugs", []):
        os.close(plug)
    store_and_log = 3
    if _descriptors() > _seen["descriptors"] + store_and_log:
        log.write(violation=f"I10: {_descriptors() - _seen['descriptors']} descriptors leaked")


def limit_memory(argument: dict[str, Any], log: AckLog) -> None:
    """Leave memory for a result and not for a second copy of it."""
    status = Path("/proc/self/status").read_text()
    used = next(line.split()[1] for line in status.splitlines() if line.startswith("VmSize"))
    _limit(resource.RLIMIT_AS, int(used) * 1024 + argument["size"] * 3 // 2)


def see_makers(argument: dict[str, Any], log: AckLog) -> None:
    """Log that this worker has made a store, whether or not that was the one that stayed."""
    create = Store.create

    def logged(self: Store) -> None:
        log.write(made=True)
        create(self)

    Store.create = logged  # type: ignore[method-assign]


def set_clock(argument: dict[str, Any], log: AckLog) -> None:
    """Let `time.time` be off by ``clock[0]`` seconds, and ``clock[1]`` more every 20 ms."""
    off, step = argument["clock"]
    real, began = time.time, time.monotonic()
    time.time = lambda: real() + off + step * int((time.monotonic() - began) / 0.02)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


HOOKS: dict[str, Hook] = {
    hook.__name__: hook
    for hook in (
        lift_limits, fill_disk, free_disk, limit_files, limit_descriptors,
        limit_descriptors_closed, count_descriptors, limit_memory, see_makers, set_clock,
    )
}  # fmt: skip
