"""What something that is run takes, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from daskperiment.errors import StepDefinitionError
from daskperiment.graph import PLACES
from daskperiment.parameters import UNDEFINED, Declaration
from daskperiment.serializers import preview

_NAMED = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


@dataclass(frozen=True)
class Kind:
    """What a target takes, and how it is called.

    Parameters
    ----------
    invoke : callable
        Called with the values as a step's function is.
    declarations : mapping of str to Declaration
        The parameters that it names, in order.
    positional : int
        How many of them cannot be passed by name.
    asks : tuple of str
        What it names of ``id`` and ``run``.
    takes_all : bool
        Whether it takes all others that are given.
    """

    invoke: Callable[..., Any]
    declarations: Mapping[str, Declaration]
    positional: int = 0
    asks: tuple[str, ...] = ()
    takes_all: bool = False


def function(target: Callable[..., Any]) -> Kind:
    """A plain function, whose arguments are its parameters.

    Raises
    ------
    StepDefinitionError
        It is none, or one of C that does not tell its arguments.
    """
    arguments = _arguments(target)
    named = [a for a in arguments if a.kind in _NAMED]
    asks = tuple(a.name for a in named if a.name in PLACES and a.kind is not a.POSITIONAL_ONLY)
    return Kind(
        target,
        {a.name: _declaration(a) for a in named if a.name not in asks},
        positional=sum(a.kind is a.POSITIONAL_ONLY for a in named),
        asks=asks,
        takes_all=any(a.kind is a.VAR_KEYWORD for a in arguments),
    )


def _arguments(target: Callable[..., Any]) -> list[inspect.Parameter]:
    if not callable(target):
        raise StepDefinitionError(
            f"{preview(target, 80)} cannot be run: give what calling a result step has given, a "
            "function, or a class with main(specification), or with initialize(specification) and "
            "step()"
        )
    for evaluated in (True, False):  # annotations may name what is imported for type checkers
        try:
            return list(inspect.signature(target, eval_str=evaluated).parameters.values())
        except (TypeError, ValueError) as error:
            reason = str(error)
        except Exception:
            continue
        raise StepDefinitionError(
            f"{preview(target, 80)} cannot be run, as it does not tell its arguments ({reason}): "
            "call it in a function of your own"
        )
    return []


def _declaration(argument: inspect.Parameter) -> Declaration:
    default = UNDEFINED if argument.default is argument.empty else argument.default
    kind = argument.annotation if _is_simple(argument.annotation) else None
    return Declaration(argument.name, default, kind)


def _is_simple(annotation: Any) -> bool:
    """Whether values can be held to it: a number, text, truth value or choice, or none."""
    if get_origin(annotation) in (Union, UnionType):
        return all(map(_is_simple, get_args(annotation)))
    if get_origin(annotation) is Literal or annotation in (bool, int, float, str, NoneType):
        return True
    return isinstance(annotation, type) and issubclass(annotation, Enum)
