"""Tracebacks that show the user's code and not ours."""

from __future__ import annotations

import types
from pathlib import Path

_OURS = str(Path(__file__).parent)


def without_ours(error: BaseException) -> BaseException:
    """Take the frames of this package out of an exception's traceback."""
    kept = [tb for tb in _chain(error.__traceback__) if not _is_ours(tb)]
    rebuilt: types.TracebackType | None = None
    for tb in reversed(kept):
        rebuilt = types.TracebackType(rebuilt, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    return error.with_traceback(rebuilt)


def _chain(tb: types.TracebackType | None) -> list[types.TracebackType]:
    links = []
    while tb is not None:
        links.append(tb)
        tb = tb.tb_next
    return links


def _is_ours(tb: types.TracebackType) -> bool:
    return tb.tb_frame.f_code.co_filename.startswith(_OURS)
