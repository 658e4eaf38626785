"""How NumPy, SciPy and pandas are configured, of those that are loaded."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

from daskperiment.serializers import preview
from daskperiment.tracking.environment.collectors import collected
from daskperiment.typing import JSON, Document


def configurations() -> Document:
    """The configuration of each library; None for one that is not loaded.

    The same object as long as none of them was loaded since.
    """
    return _configurations(tuple([sys.modules.get(name) for name in NAMES]))


@lru_cache(maxsize=4)
def _configurations(modules: tuple[ModuleType | None, ...]) -> Document:
    return {
        name: None if module is None else collected(partial(ask, module))
        for (name, ask), module in zip(_ASK.items(), modules, strict=True)
    }


def _built(module: ModuleType) -> JSON:
    """How the library was built: BLAS and LAPACK, compilers, instruction sets."""
    return _plain(module.show_config(mode="dicts"))


def _pandas(pandas: ModuleType) -> JSON:
    """Those options of pandas that decide how it computes."""
    groups = {name: getattr(pandas.options, name, None) for name in ("compute", "future", "mode")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading an option that is deprecated warns
        return {
            f"{group}.{name}": _plain(getattr(options, name))
            for group, options in groups.items()
            for name in dir(options)
            if options is not None and not name.startswith("_")
        }


def _plain(value: Any) -> JSON:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return preview(value, 80)


_ASK: dict[str, Callable[[ModuleType], JSON]] = {
    "numpy": _built,
    "scipy": _built,
    "pandas": _pandas,
}
NAMES = tuple(_ASK)
"""The libraries that are asked."""
