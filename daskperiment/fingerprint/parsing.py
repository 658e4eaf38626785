"""Source text as a syntax tree, also where several threads ask for one at the same time."""

from __future__ import annotations

import ast
import threading

from daskperiment import platform

_LOCK = threading.Lock()
platform.hold_across_fork(_LOCK)
_ATTEMPTS = 20


def parse(text: str) -> ast.Module:
    """The syntax tree of a text.

    Python up to 3.11.7 counts how deep it is within a tree for all threads together, so that
    threads that parse at the same time may get a SystemError without a reason
    (https://github.com/python/cpython/issues/106905).  One at a time of ours does; threads of
    others are met seldom, and then it is done again.

    Parameters
    ----------
    text : str
        The source.

    Raises
    ------
    SyntaxError, ValueError, RecursionError
        As :func:`ast.parse`.

    Examples
    --------
    >>> len(parse("a = 1; b = 2").body)
    2
    """
    for _ in range(_ATTEMPTS):
        try:
            with _LOCK:
                return ast.parse(text)
        except SystemError:
            continue
    return ast.parse(text)
