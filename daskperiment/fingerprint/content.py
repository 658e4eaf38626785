"""Content of files: its digest, computed again only where the file has changed."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from pathlib import Path

from blake3 import blake3

_SETTLED = 2.0
"""Seconds after its last change from which on a file that looks the same is the same."""
_MOST = 100_000
_known: OrderedDict[tuple[str | int, ...], str] = OrderedDict()
_lock = threading.Lock()


def file_digest(path: str) -> str | None:
    """Digest of the content of a file, 64 hexadecimal characters; None where it cannot be read.

    The file is read in pieces.  One whose place, number, size and times of change are those of
    before is not read again.

    Examples
    --------
    >>> file_digest("/no/such/file") is None
    True
    """
    try:
        with Path(path).open("rb") as file:
            about = os.fstat(file.fileno())
            times = about.st_mtime_ns, about.st_ctime_ns
            key = path, about.st_dev, about.st_ino, about.st_size, *times
            with _lock:
                known = _known.get(key)
            if known is not None:
                return known
            hasher = blake3(max_threads=blake3.AUTO)
            while piece := file.read(1 << 20):
                hasher.update(piece)
    except OSError:
        return None
    found = hasher.hexdigest()
    if time.time() - max(about.st_mtime, about.st_ctime) > _SETTLED:
        with _lock:
            _known[key] = found
            while len(_known) > _MOST:
                _known.popitem(last=False)
    return found
