"""Replacing a function under every name that a module has for it."""

from __future__ import annotations

import sys
from types import ModuleType


def replace(old: object, new: object) -> None:
    """Put `new` wherever a loaded module has `old` as a global, as after ``from a import old``.

    Closures, default arguments and attributes of classes keep `old`.
    """
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType):
            # Not vars(): that would load a module which waits for its first use.
            names = object.__getattribute__(module, "__dict__")
            for name in [name for name, value in list(names.items()) if value is old]:
                names[name] = new
