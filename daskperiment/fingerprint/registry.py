"""Functions that say what identifies the values of a type."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from daskperiment import platform
from daskperiment.errors import RegistrationError
from daskperiment.fingerprint.origin import border
from daskperiment.fingerprint.plain import ATOMS, RULES
from daskperiment.fingerprint.walk import type_name

T = TypeVar("T")

_CARRIED = "__daskperiment_registered__"

_functions: weakref.WeakKeyDictionary[type, Callable[[Any], object]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()
platform.hold_across_fork(_lock)
_generation = 0


def register(kind: type[T], function: Callable[[T], object]) -> None:
    """Let the values of a type count by what a function returns for them.

    This is for types of other libraries, and for values that cannot be read by their
    structure.  A class of your own may have a method ``__daskperiment_digest__(self)`` instead.

    It holds for this very type.  A subclass may hold more than the function reads: register
    it, too.  A second function for a type replaces the first.  Digests that were recorded
    with another function differ, so nothing is reused from those trials.

    Processes that import the module in which you call this know the function, so call it
    where the type, or a step, is defined.  It travels with a class of your own that
    is sent to a worker by its code, as those of notebooks are.

    Parameters
    ----------
    kind : type
        The type.
    function : callable
        Gets a value and returns what counts of it: any value that has a digest itself, and
        not the value that it was given.

    Raises
    ------
    RegistrationError
        No value has this very type, or it is a builtin or standard type that counts in a way
        of its own.

    Examples
    --------
    >>> from daskperiment.fingerprint import digest
    >>> class Model:
    ...     def __init__(self, weights):
    ...         self.weights, self.lock = weights, threading.Lock()
    >>> register(Model, lambda model: model.weights)
    >>> digest(Model([1, 2])) == digest(Model([1, 2]))
    True
    >>> digest(Model([1, 2])) == digest(Model([1, 3]))
    False
    """
    global _generation
    _check(kind, function)
    with _lock:
        _functions[kind] = function
        _carry(kind, function)
        _generation += 1


def registered(kind: type) -> Callable[[Any], object] | None:
    """The function for this very type, or None."""
    held = vars(kind).get(_CARRIED)
    return _functions.get(kind) or (held.__func__ if held is not None else None)


def generation() -> int:
    """How often a function was registered here; what was known before may not hold any more."""
    return _generation


def _check(kind: Any, function: Any) -> None:
    if not isinstance(kind, type):
        raise RegistrationError(f"register takes a type and a function, not {kind!r:.80}.")
    name = type_name(kind)
    if not callable(function):
        raise RegistrationError(f"The function for {name} must be callable: {function!r:.80}.")
    if kind in ATOMS or kind in RULES:
        raise RegistrationError(f"{name} counts in a way of its own; register a subclass of it.")
    if inspect.isabstract(kind):
        raise RegistrationError(f"{name} is abstract: register each of its subclasses.")


def _carry(kind: type, function: Callable[[Any], object]) -> None:
    """Keep it on the class as well: where that is sent by its code, its members are sent, too."""
    if border(kind.__module__) is None:
        try:
            setattr(kind, _CARRIED, staticmethod(function))
        except (AttributeError, TypeError):  # of a class that cannot be changed
            return
