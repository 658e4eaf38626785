"""Functions on their way to another process: by import path, else by value."""

from __future__ import annotations

import importlib
import io
import operator
import sys
from typing import Any

import cloudpickle


def import_path(obj: Any) -> tuple[str, str] | None:
    """Module and qualified name under which another process finds ``obj``, or None.

    Examples
    --------
    >>> import_path(import_path)
    ('daskperiment.importing', 'import_path')
    >>> import_path(lambda: None) is None
    True
    """
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return None
    try:
        found = operator.attrgetter(name)(sys.modules[module])
    except (KeyError, AttributeError):
        return None
    return (module, name) if found is obj else None


def by_path(module: str, name: str) -> Any:
    """Import what :func:`import_path` named."""
    return operator.attrgetter(name)(importlib.import_module(module))


def by_value(function: Any) -> bytes:
    """Pickle a function with all that it refers to.

    Functions of ``numpy.random`` among it are sent by name: pickling them otherwise makes
    a private copy of the generator, which no seed of a step would reach.
    """
    with io.BytesIO() as stream:
        _Pickler(stream, protocol=5).dump(function)
        return stream.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, obj: Any) -> Any:
        generators = sys.modules.get("numpy.random")
        name = getattr(obj, "__name__", None) if generators and callable(obj) else None
        if isinstance(name, str) and vars(generators).get(name) is obj:
            return getattr, (generators, name)
        return super().reducer_override(obj)
