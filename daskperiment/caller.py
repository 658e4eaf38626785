"""Who calls: the code of a script that runs as a program, or anything else."""

from __future__ import annotations

import sys
import threading
from types import FrameType
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
