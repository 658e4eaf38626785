"""Interrupts: Ctrl-C waits until what has been begun is done."""

from __future__ import annotations

import _signal  # what `signal` wraps in enumerations, which take ten times longer than the call
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class HeldBack:
    """A block in which an interrupt waits for the end; the second one does not.

    Only the main thread is ever interrupted: in other threads this does nothing.

    Examples
    --------
    >>> with HeldBack():
    ...     done = True
    """

    __slots__ = ("_arrived", "_handler")

    def __enter__(self) -> None:
        self._handler: Callable[[int, FrameType | None], Any] | None = None
        self._arrived: tuple[int, FrameType | None] | None = None
        if threading.current_thread() is threading.main_thread():
            handler = _signal.getsignal(_signal.SIGINT)
            if callable(handler):
                self._handler = handler
                _signal.signal(_signal.SIGINT, self._arrive)

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        insisting, self._arrived = self._arrived is not None, (number, frame)
        if insisting:
            self._let_through()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._handler is not None:
            _signal.signal(_signal.SIGINT, self._handler)
            self._let_through()

    def _let_through(self) -> None:
        arrived, self._arrived = self._arrived, None
        if arrived is not None and self._handler is not None:
            self._handler(*arrived)
