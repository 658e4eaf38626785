"""Tracebacks that show the user's code and not ours."""

from __future__ import annotations

import sys
import traceback
import types
from pathlib import Path

_OURS = str(Path(__file__).parent)


def without_ours(error: BaseException) -> BaseException:
    """Take the frames of this package out of an exception's traceback."""
    kept = [tb for tb in _chain(error.__traceback__) if not _is_ours(tb.tb_frame.f_code)]
    rebuilt: types.TracebackType | None = None
    for tb in reversed(kept):
        rebuilt = types.TracebackType(rebuilt, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    return error.with_traceback(rebuilt)


def formatted(error: BaseException) -> str:
    """An exception with its traceback as text, without the frames of this package."""
    shown = traceback.TracebackException.from_exception(error)
    for part in (shown, shown.__cause__, shown.__context__):
        if part is not None:
            kept = [frame for frame in part.stack if not frame.filename.startswith(_OURS)]
            part.stack = traceback.StackSummary.from_list(kept)
    return "".join(shown.format())


def users_frame() -> int:
    """Stack level, seen from the caller, of the first frame outside this package and Dask.

    It is what ``warnings.warn`` takes as ``stacklevel`` to point at the user's line.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        ("daskperiment.", "dask.", "distributed.", "concurrent.", "threading")
    ):
        level, frame = level + 1, frame.f_back
    return level


def _chain(tb: types.TracebackType | None) -> list[types.TracebackType]:
    links = []
    while tb is not None:
        links.append(tb)
        tb = tb.tb_next
    return links


def _is_ours(code: types.CodeType) -> bool:
    return code.co_filename.startswith(_OURS)
