"""Objects by import path, so that a worker takes them from its own modules."""

from __future__ import annotations

import importlib
import operator
import sys
from typing import Any


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
