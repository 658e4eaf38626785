"""Reading a function's code, once in the life of the function."""

from __future__ import annotations

import weakref
from types import CodeType, FunctionType
from typing import NamedTuple

from daskperiment.fingerprint import bytecode
from daskperiment.fingerprint.source import place_of_function
from daskperiment.fingerprint.syntax import Outline, outline


class SourceText(NamedTuple):
    """The whole text of a file or cell; the code that was found in it is what runs."""

    file: str
    module: str
    text: str


class Reading(NamedTuple):
    """What was read of a function's code; kept, since to find and parse it takes long."""

    code: CodeType
    outline: Outline
    text: SourceText | None


_readings: weakref.WeakKeyDictionary[FunctionType, Reading] = weakref.WeakKeyDictionary()


def read(function: FunctionType) -> Reading:
    """The reading of `function`; by its bytecode where no source agrees with it."""
    known = _readings.get(function)
    if known is not None and known.code is function.__code__:
        return known
    code = function.__code__
    place = place_of_function(function)
    if place is None:
        reading = Reading(code, bytecode.outline(code), None)
    else:
        text = SourceText(place.file, module_of(function), place.text)
        reading = Reading(code, outline(place.node, bytecode.names(code)), text)
    _readings[function] = reading
    return reading


def module_of(function: FunctionType) -> str:
    """The module that the code of `function` is in."""
    # Not `__module__`: functools.wraps sets it to that of the wrapped function.
    return module_name(function.__globals__.get("__name__"))


def module_name(module: object) -> str:
    """The name of a module; the main module has another one in a spawned process."""
    return "__main__" if module == "__mp_main__" else str(module or "")
