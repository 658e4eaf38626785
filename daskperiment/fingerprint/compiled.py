"""What Python has compiled a file to, from the ``.pyc`` file that it wrote for it."""

from __future__ import annotations

import importlib.util
import linecache
import marshal
from pathlib import Path
from types import CodeType
from typing import Any

_HEAD = 16
"""Bytes before the code: a magic number, flags, time and size of the text, four of each."""
_APART = 3
"""Seconds; within as many another text may have the same time."""


def compiled(name: str) -> CodeType | None:
    """The code of the text of a file as :mod:`linecache` holds it; None where that is not sure.

    To read it takes a tenth of the time of compiling.  The ``.pyc`` file tells the time and the
    size of the text that it was made of; they are those of one text only if the text was older
    than its compilation by some seconds, since times in it are whole seconds.
    """
    entry: Any = linecache.cache.get(name)
    if entry is None or len(entry) != 4 or entry[1] is None:
        return None
    size, modified, _, _ = entry
    try:
        file = Path(importlib.util.cache_from_source(name))
        data, made, text = file.read_bytes(), file.stat().st_mtime, Path(name).stat()
    except (OSError, ValueError, NotImplementedError):
        return None
    head = [data[:4], *(int.from_bytes(data[i : i + 4], "little") for i in (4, 8, 12))]
    times = [importlib.util.MAGIC_NUMBER, 0, int(modified) & 0xFFFFFFFF, size & 0xFFFFFFFF]
    if head != times or made < modified + _APART:
        return None
    if (text.st_size, text.st_mtime) != (size, modified):  # written between the looks at it
        return None
    try:
        code = marshal.loads(data[_HEAD:])
    except (EOFError, ValueError, TypeError):
        return None
    return code if isinstance(code, CodeType) else None
