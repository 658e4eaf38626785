"""Who calls: the code of a script that runs as a program, or anything else."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import CellType, FrameType, FunctionType
from typing import Any, TypeAlias

from daskperiment import notebooks

Globals: TypeAlias = dict[str, Any]
"""The names of a module; they tell one script from another."""
_OURS = __name__.partition(".")[0]


def script() -> Globals | None:
    """The names of the script whose own code has called into this package.

    It is None if other code has called, in notebooks, at a prompt, under ``python -c``, and in
    worker processes, which import the script under another name.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _package(frame) == _OURS:
        frame = frame.f_back
    if frame is None or not _is_script(frame.f_globals):
        return None
    return None if at_prompt() else frame.f_globals


def enclosing(frame: FrameType) -> FunctionType:
    """The code that a frame runs as a function, never to be called: what a block stands in."""
    code = frame.f_code
    if code.co_freevars:
        values = frame.f_locals
        cells = (CellType(values[n]) if n in values else CellType() for n in code.co_freevars)
        return FunctionType(code, frame.f_globals, code.co_name, None, tuple(cells))
    key = id(code), id(frame.f_globals)
    if key not in _enclosing:
        while len(_enclosing) >= _KEPT:
            _enclosing.pop(next(iter(_enclosing)), None)
        _enclosing[key] = FunctionType(code, frame.f_globals)
    return _enclosing[key]


_KEPT = 64
# So that what was found out about a function is not found out anew for each block of a loop.
_enclosing: dict[tuple[int, int], FunctionType] = {}


def place_name(frame: FrameType) -> str:
    """Name of what a frame runs: a function, else the script or cell."""
    name = frame.f_code.co_name
    if name != "<module>":
        return name.strip("<>")
    file = frame.f_globals.get("__file__")
    if at_prompt() or not file:
        return "cell"
    return Path(str(file)).stem


def at_prompt() -> bool:
    """Whether somebody types the code: at a prompt, in a notebook."""
    return hasattr(sys, "ps1") or notebooks.shell() is not None


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_script(names: Globals) -> bool:
    file = names.get("__file__")
    return names.get("__name__") == "__main__" and bool(file) and not str(file).startswith("<")


def running_frame(script: Globals) -> FrameType | None:
    """The frame that runs a script from its first line to its last, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return None
    found = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is script:
            found = frame
            if frame.f_code.co_filename == script["__file__"]:
                break  # the frames below may be of a debugger, under the script's name
        frame = frame.f_back
    return found
