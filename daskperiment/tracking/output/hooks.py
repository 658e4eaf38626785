"""Hooks: pass on what is written to the standard streams and logged while steps run.

The streams stay the objects that they are; while a step runs, their methods ``write`` and
``flush`` are covered.  From the first step on ``logging.Logger.callHandlers`` is covered, for
good: each change of a class makes all that Python has cached of its methods void.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from daskperiment import platform


class Receiver(Protocol):
    """Who is given what a step puts out."""

    def write(self, stream: str, text: str) -> None:
        """Take in text that was written to ``stdout`` or ``stderr``."""

    def log(self, record: logging.LogRecord) -> None:
        """Take in a record that a logger has let through."""

    def flush(self) -> None:
        """Know that a stream was flushed."""


# Nobody, while a hook passes on: what the handlers of a log write to a stream, and one stream
# to another, is put out once.
RECEIVER: ContextVar[Receiver | None] = ContextVar("daskperiment_output", default=None)


def _covering(method: Callable[..., Any], report: Callable[..., None]) -> Callable[..., Any]:
    def cover(*args: Any, **kwargs: Any) -> Any:
        receiver = RECEIVER.get()
        if receiver is None:
            return method(*args, **kwargs)
        token = RECEIVER.set(None)
        try:
            value = method(*args, **kwargs)
        finally:
            RECEIVER.reset(token)
        report(receiver, *args)
        return value

    return cover


class _Cover(NamedTuple):
    """A function that stands over a method for a while."""

    namespace: dict[str, Any]
    name: str
    before: Any
    function: Callable[..., Any]


def _covers() -> Iterator[_Cover]:
    yield from _over_stream(sys.stdout, "stdout")
    if sys.stderr is not sys.stdout:
        yield from _over_stream(sys.stderr, "stderr")


def _log(receiver: Receiver, logger: object, record: logging.LogRecord) -> None:
    receiver.log(record)


def _over_stream(stream: Any, name: str) -> Iterator[_Cover]:
    def write(receiver: Receiver, text: object) -> None:
        if isinstance(text, str):
            receiver.write(name, text)

    def write_bytes(receiver: Receiver, data: Any) -> None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        receiver.write(name, bytes(data).decode(encoding, "backslashreplace"))

    def flush(receiver: Receiver) -> None:
        receiver.flush()

    # Flushing is covered also because it is then that text reaches `buffer.write`.
    buffer = getattr(stream, "buffer", None)
    parts = ((stream, "write", write), (stream, "flush", flush), (buffer, "write", write_bytes))
    for target, method, report in parts:
        if hasattr(target, "__dict__") and hasattr(target, method):
            function = _covering(getattr(target, method), report)
            yield _Cover(vars(target), method, vars(target).get(method), function)


class _Listening:
    """All covers of this process: in place within ``with`` blocks, of any thread.

    The first block to begin covers the streams that there are then, the last one to end
    uncovers them.
    """

    def __init__(self) -> None:
        # A process forks only while nobody holds it.
        self._lock = threading.RLock()
        platform.hold_across_fork(self._lock)
        self._needed = 0
        self._streams: tuple[Any, Any] = (None, None)
        self._covers: list[_Cover] = []
        self._over_logging: Callable[..., Any] | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._needed += 1
            if self._needed == 1:
                self._cover_logging()
                if not self._put_again():
                    self._put_anew()

    def _cover_logging(self) -> None:
        present = logging.Logger.callHandlers
        if present is not self._over_logging:
            self._over_logging = _covering(present, _log)
            logging.Logger.callHandlers = self._over_logging  # type: ignore[method-assign]

    def _put_anew(self) -> None:
        self._uncover()
        self._streams = sys.stdout, sys.stderr
        self._covers = list(_covers())
        self._put_again()

    def _put_again(self) -> bool:
        if sys.stdout is not self._streams[0] or sys.stderr is not self._streams[1]:
            return False
        for namespace, name, before, function in self._covers:
            if namespace.get(name) is not before:
                return False
            namespace[name] = function
        return True

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._needed -= 1
            if not self._needed:
                self._uncover()

    def _uncover(self) -> None:
        for namespace, name, before, function in self._covers:
            if namespace.get(name) is not function:
                continue  # somebody has covered it in turn
            if before is None:
                del namespace[name]
            else:
                namespace[name] = before


LISTENING = _Listening()
