"""Digests of values and of code, equal across processes, machines and Python versions."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskperiment.fingerprint.registry import register
    from daskperiment.fingerprint.values import digest

_HOMES = {
    "digest": "daskperiment.fingerprint.values",
    "register": "daskperiment.fingerprint.registry",
}
"""Module of each public name that is imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = ["digest", "register"]
