"""The dispatcher: tells each callback, and lets no error of one out."""

from __future__ import annotations

import functools
import logging
import pickle
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from daskperiment.callbacks.base import ELSEWHERE, HOOKS, Callback
from daskperiment.errors import CallbackError, CallbackWarning, DaskperimentWarning
from daskperiment.secrets import scrub
from daskperiment.serializers.preview import preview, preview_error
from daskperiment.tracebacks import formatted, users_frame

logger = logging.getLogger(__name__)

_Method: TypeAlias = Callable[..., object]
_Listeners: TypeAlias = tuple[tuple[object, _Method], ...]


class Callbacks:
    """Callbacks in the order in which they were added.

    A false one has none, so that ``if callbacks:`` is all that a program without any pays.  Safe
    to use from several threads.  Pickled, it takes copies of those that listen to steps or
    metrics along, and nothing of the others; the copies hear of steps and metrics alone.

    Parameters
    ----------
    callbacks : iterable
        Objects with some of the hooks, such as :class:`Callback`, or functions
        ``f(event, **arguments)``, which hear of all of them.

    Raises
    ------
    CallbackError
        One of them is no callback, or is there twice.

    Examples
    --------
    >>> callbacks = Callbacks([lambda event, **arguments: print(event, arguments)])
    >>> callbacks.tell("before_step", step="fit", call=0, trial=7)
    before_step {'step': 'fit', 'call': 0, 'trial': 7}
    >>> bool(callbacks), bool(Callbacks())
    (True, False)
    """

    def __init__(self, callbacks: Iterable[object] = ()) -> None:
        self._lock = threading.Lock()
        self._callbacks: tuple[object, ...] = ()
        self._listeners: dict[str, _Listeners] = dict.fromkeys(HOOKS, ())
        self._told: set[tuple[int, str]] = set()
        for callback in _checked(callbacks):
            self.add(callback)

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def __iter__(self) -> Iterator[object]:
        return iter(self._callbacks)

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, tuple(self._sent())

    def add(self, callback: object) -> None:
        """Add one behind the others.

        Raises
        ------
        CallbackError
            It is no callback, or is there already.
        """
        listening = _hooks_of(callback)
        if any(each is callback for each in self._callbacks):
            raise CallbackError(f"The callback {_name(callback)} is there already: add it once")
        self._put(callback, listening)

    def remove(self, callback: object) -> None:
        """Take one away.

        Raises
        ------
        CallbackError
            It is not there.
        """
        if not any(each is callback for each in self._callbacks):
            there = ", ".join(map(_name, self._callbacks)) or "none"
            raise CallbackError(
                f"The callback {_name(callback)} cannot be removed, as it was not added; those "
                f"that are there: {there}. Give the very object that was added"
            )
        with self._lock:
            self._callbacks = tuple(each for each in self._callbacks if each is not callback)
            for hook, listeners in self._listeners.items():
                self._listeners[hook] = tuple(one for one in listeners if one[0] is not callback)
            self._told -= {(id(callback), hook) for hook in (*HOOKS, _SENDING)}

    def joined(self, callbacks: Iterable[object]) -> Callbacks:
        """A dispatcher of these and of others, without those that are there already.

        Raises
        ------
        CallbackError
            One of them is no callback, or is among the others twice.
        """
        others = Callbacks(callbacks)
        here = {id(callback) for callback in self._callbacks}
        return Callbacks([*self, *(each for each in others if id(each) not in here)])

    def tell(self, hook: str, /, **arguments: Any) -> None:
        """Call one hook of each callback; an error of one is reported and goes no further.

        Parameters
        ----------
        hook : str
            One of :data:`HOOKS`.
        **arguments
            What it is called with.
        """
        for callback, method in self._listeners[hook]:
            try:
                method(**arguments)
            except Exception as error:
                self._report(callback, hook, error)

    def _put(self, callback: object, listening: dict[str, _Method]) -> None:
        with self._lock:
            self._callbacks = (*self._callbacks, callback)
            for hook, method in listening.items():
                self._listeners[hook] = (*self._listeners[hook], (callback, method))

    def _report(self, callback: object, hook: str, error: Exception) -> None:
        if (id(callback), hook) in self._told:
            return
        self._told.add((id(callback), hook))
        _warn(
            f"The callback {_name(callback)} has failed in {hook}, which disturbs nothing else and "
            f"is told once: {preview_error(error)}",
            error,
        )

    def _sent(self) -> Iterator[bytes]:
        if getattr(_sending, "now", False):  # a callback holds the experiment that holds it
            return
        _sending.now = True
        try:
            for callback in self._callbacks:
                if self._listens_elsewhere(callback) and (data := self._pickled(callback)):
                    yield data
        finally:
            _sending.now = False

    def _listens_elsewhere(self, callback: object) -> bool:
        return any(one is callback for hook in ELSEWHERE for one, _ in self._listeners[hook])

    def _pickled(self, callback: object) -> bytes | None:
        import cloudpickle

        try:
            return cloudpickle.dumps(callback)  # type: ignore[no-any-return]
        except Exception as error:
            if (id(callback), _SENDING) not in self._told:
                self._told.add((id(callback), _SENDING))
                _warn(
                    f"The callback {_name(callback)} hears nothing of steps and metrics in other "
                    f"processes, as it cannot be pickled: {preview_error(error)}"
                )
            return None


_SENDING = "sending"
_sending = threading.local()


def _arrived(*sent: bytes) -> Callbacks:
    callbacks = Callbacks()
    for place, data in enumerate(sent):
        try:
            callback = _loaded(place, data)
        except Exception as error:
            _say_lost(preview_error(error))
            continue
        hooks = _hooks_of(callback)
        callbacks._put(callback, {hook: hooks[hook] for hook in ELSEWHERE if hook in hooks})
    return callbacks


@functools.lru_cache(maxsize=64)
def _loaded(place: int, data: bytes) -> object:
    """A callback from another process: one for all that this one runs, so that it can count."""
    loaded: object = pickle.loads(data)
    return loaded


@functools.lru_cache(maxsize=64)
def _say_lost(reason: str) -> None:
    _warn(f"A callback hears nothing of steps and metrics here, as it cannot be loaded: {reason}")


def _warn(text: str, error: Exception | None = None) -> None:
    text = scrub(text)
    logger.error("%s", text if error is None else f"{text}\n{scrub(_traceback(error))}")
    with suppress(DaskperimentWarning):  # made an error, it would end the trial
        warnings.warn(text, CallbackWarning, stacklevel=users_frame())


def _traceback(error: Exception) -> str:
    try:
        return formatted(error)
    except Exception:
        return "(its traceback cannot be shown)"


def _checked(callbacks: Iterable[object]) -> Iterable[object]:
    if isinstance(callbacks, (Sequence, Callbacks)) or hasattr(type(callbacks), "__iter__"):
        return callbacks
    raise CallbackError(
        f"callbacks is a list of callbacks, not {preview(callbacks, 80)}: put brackets around it"
    )


def _hooks_of(callback: object) -> dict[str, _Method]:
    """What is called for each hook that a callback implements."""
    if isinstance(callback, type):
        raise CallbackError(
            f"A callback is an object, not the class {callback.__name__}: add "
            f"{callback.__name__}(...)"
        )
    found = {hook: method for hook in HOOKS if (method := _implemented(callback, hook))}
    if found or isinstance(callback, Callback):
        return found
    if callable(callback):
        return {hook: functools.partial(callback, hook) for hook in HOOKS}
    raise CallbackError(
        f"{preview(callback, 80)} is no callback: it needs one of the methods {', '.join(HOOKS)}, "
        "or is a function f(event, **arguments)"
    )


def _implemented(callback: object, hook: str) -> _Method | None:
    method = getattr(callback, hook, None)
    if not callable(method) or getattr(method, "__func__", None) is getattr(Callback, hook):
        return None
    return method  # type: ignore[no-any-return]


def _name(callback: object) -> str:
    name = getattr(callback, "__name__", None)
    return name if isinstance(name, str) else type(callback).__name__
