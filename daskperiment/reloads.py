"""Modules that are executed again, by ``importlib.reload`` or IPython's ``%autoreload``."""

from __future__ import annotations

import weakref
from functools import cache
from types import CodeType, FrameType
from typing import Protocol, Self, TypeVar

from daskperiment.notebooks import shell

T = TypeVar("T")

_makers: weakref.WeakKeyDictionary[object, tuple[str, str, CodeType]] = weakref.WeakKeyDictionary()


def predecessor(made: T, name: str, caller: FrameType | None) -> T | None:
    """The object of this type and name that the module made before it was reloaded.

    Parameters
    ----------
    made : object
        What is being made; remembered for the next call.
    name : str
        Its name.
    caller : frame
        The code that makes it.  Only the top level of a module counts: what functions and
        cells make anew is meant to be new.
    """
    if caller is None or caller.f_code.co_name != "<module>":
        return None
    module: str = caller.f_globals.get("__name__", "__main__")
    if module == "__main__":
        return None
    earlier = None
    for other, (its_module, its_name, its_code) in list(_makers.items()):
        same = (type(other), its_module, its_name) == (type(made), module, name)
        if same and its_code is not caller.f_code:
            earlier = other
    _makers[made] = (module, name, caller.f_code)
    return earlier  # type: ignore[return-value]


class Reloadable(Protocol):
    """An object that a reloaded module may bring up to date."""

    def become(self, new: Self) -> None:
        """Take the state of the object that has the same name in the reloaded module."""


def follow(kind: type[Reloadable]) -> None:
    """Let ``%autoreload`` update objects of a class as it does functions.

    Without it, names imported from a module that was edited would go on meaning the old
    objects.  Does nothing outside IPython.
    """
    if shell() is not None:
        _follow(kind)


@cache
def _follow(kind: type[Reloadable]) -> None:
    try:
        from IPython.extensions.autoreload import UPDATE_RULES
    except ImportError:  # an IPython that reloads in another way
        return
    UPDATE_RULES.append(
        (
            lambda old, new: type(old) is type(new) is kind,
            lambda old, new: old.become(new),
        )
    )
