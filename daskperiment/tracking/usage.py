"""Usage: what this process and its children take of processors, memory and graphics processors."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ALL = "all"


class Reading(NamedTuple):
    """What is used at one moment.

    Parameters
    ----------
    cpu : float
        Seconds of processor time since some beginning; what counts is the difference of two.
    values : dict
        ``memory``, the resident bytes; of each NVIDIA device that this process may see, by its
        number, ``gpu0``, its load in percent, and ``gpu0_memory``, its bytes in use.
    """

    cpu: float
    values: dict[str, int | float]


class Meter:
    """Reads what this process and its child processes use.

    Safe to use from several threads, of which one reads.

    Examples
    --------
    >>> meter = Meter()
    >>> before = meter.cpu()
    >>> reading = meter.read()
    >>> reading.cpu >= before, reading.values["memory"] > 1_000_000
    (True, True)
    """

    def __init__(self) -> None:
        self._children: set[tuple[int, float]] | None = None
        self._before = 0.0  # what children had used before they were seen for the first time
        self._theirs = 0.0

    def cpu(self) -> float:
        """Processor time up to now, that of children as it was last read: takes a microsecond."""
        # That of children which have ended and were waited for is in it, too.
        return sum(os.times()[:4]) + self._theirs

    def read(self) -> Reading:
        """Read everything; takes about a millisecond, more where many processes run."""
        import psutil

        this = psutil.Process()
        memory, theirs, seen = this.memory_info().rss, 0.0, set()
        for child in this.children(recursive=True):
            with suppress(psutil.Error):  # it has just ended
                key, used = (child.pid, child.create_time()), sum(child.cpu_times()[:4])
                memory += child.memory_info().rss
                theirs += used
                seen.add(key)
                if self._children is None:
                    self._before += used
        self._children = seen
        self._theirs = theirs - self._before
        return Reading(self.cpu(), {"memory": memory, **dict(_gpus())})


def _gpus() -> Iterator[tuple[str, int]]:
    """Load and memory of the NVIDIA devices that this process may see."""
    devices = _devices(os.getpid(), os.environ.get(_VISIBLE, _ALL))
    if not devices:
        return
    import pynvml

    for number, device in devices:
        with suppress(pynvml.NVMLError):  # a part of a divided device has no load
            yield f"gpu{number}_memory", int(pynvml.nvmlDeviceGetMemoryInfo(device).used)
            yield f"gpu{number}", int(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)


@functools.lru_cache(maxsize=8)
def _devices(pid: int, visible: str) -> list[tuple[int, Any]]:
    """Numbers and handles of the devices that are visible; none without driver and library."""
    try:
        import pynvml

        pynvml.nvmlInit()
        found = [
            (number, pynvml.nvmlDeviceGetHandleByIndex(number))
            for number in range(pynvml.nvmlDeviceGetCount())
        ]
        if visible == _ALL:
            return found
        names = {str(number): (number, device) for number, device in found}
        names |= {_text(pynvml.nvmlDeviceGetUUID(device)): (n, device) for n, device in found}
    except Exception:  # the library is missing, the driver is, or they do not fit
        return []
    chosen: dict[int, Any] = {}
    for wanted in visible.replace(" ", "").split(","):
        # Of an identifier the beginning is enough; behind a name of none CUDA looks no further.
        fits = [names[n] for n in names if n == wanted or (wanted[3:] and n.startswith(wanted))]
        if not fits:
            break
        chosen[fits[0][0]] = fits[0][1]
    return list(chosen.items())


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
