"""Interrupts: Ctrl-C and the user's handlers of signals wait until what has been begun is done."""

from __future__ import annotations

import _signal  # what `signal` wraps in enumerations, which take ten times longer than the call
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_Handler = Callable[[int, FrameType | None], Any]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows does not have the last one
_HELD = tuple(getattr(_signal, name) for name in _NAMES if hasattr(_signal, name))


class HeldBack:
    """A block in which an interrupt waits for the end; the second one does not.

    So do SIGTERM and SIGHUP where the user handles them, as handlers raise ``SystemExit``;
    without a handler they end the process at once.  Only the main thread is ever interrupted: in
    other threads this does nothing.

    Examples
    --------
    >>> with HeldBack():
    ...     done = True
    """

    __slots__ = ("_arrived", "_handlers")

    def __enter__(self) -> None:
        self._handlers: dict[int, _Handler] = {}
        self._arrived: tuple[int, FrameType | None] | None = None
        if threading.current_thread() is threading.main_thread():
            for number in _HELD:
                handler = _signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
            try:
                for number in self._handlers:
                    _signal.signal(number, self._arrive)
            except BaseException:  # of one signal, while the others are not held back yet
                self._restore()
                raise

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
        try:
            self._restore()
        finally:
            self._let_through()

    def _restore(self) -> None:
        left = list(self._handlers.items())
        try:
            while left:
                _signal.signal(*left[-1])
                left.pop()
        finally:  # where one that is restored already arrives meanwhile
            for number, handler in left:
                _signal.signal(number, handler)

    def _let_through(self) -> None:
        arrived, self._arrived = self._arrived, None
        if arrived is not None:
            self._handlers[arrived[0]](*arrived)
