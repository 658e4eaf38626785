"""Samplers: what suggests the next trial of a search.

>>> sampler_of("grid"), sampler_of({"name": "grid", "repeats": 2})
(GridSampler(repeats=1), GridSampler(repeats=2))
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from daskperiment.errors import SamplerError
from daskperiment.search.samplers.base import Sampler, Samples
from daskperiment.search.samplers.plain import GridSampler, ListSampler, RandomSampler
from daskperiment.search.values import nearest
from daskperiment.serializers import preview

_NAMED = {
    "list": "plain:ListSampler",
    "grid": "plain:GridSampler",
    "random": "plain:RandomSampler",
    "quasi-random": "quasi:QuasiRandomSampler",
    "tpe": "optuna:TPESampler",
    "cma-es": "optuna:CmaEsSampler",
    "gp": "gp:GPSampler",
    "forest": "forest:ForestSampler",
    "extra-trees": "forest:ExtraTreesSampler",
}
"""Where each is, imported when it is asked for."""


def sampler_of(given: Any, **options: Any) -> Samples:
    """The sampler of a name, of a document, or that object itself.

    Parameters
    ----------
    given : str, mapping or object
        A name such as ``"tpe"``; what :meth:`Sampler.document` gives; or any object with a method
        ``sample(space, trials, rng)``.
    **options : Any
        What the sampler of a name takes.

    Raises
    ------
    SamplerError
        There is none of that name, it takes no such options, the object has no such method, or its
        library is not installed.
    """
    if isinstance(given, Mapping):
        options = {**given, **options}
        given = options.pop("name", None)
    if not isinstance(given, str):
        if isinstance(given, Samples) and not isinstance(given, type) and not options:
            return given
        raise SamplerError(
            f"A sampler is one of {', '.join(_NAMED)}, or an object with a method "
            f"sample(space, trials, rng), not {preview(given, 80)}"
        )
    if given not in _NAMED:
        near = difflib.get_close_matches(given, _NAMED, 1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_NAMED)}"
        raise SamplerError(f"There is no sampler {given!r}: {meant}")
    module, name = _NAMED[given].split(":")
    try:
        kind = getattr(import_module(f"{__name__}.{module}"), name)
    except ImportError as error:
        raise SamplerError(
            f'Sampler {given!r} needs {error.name}: pip install "daskperiment[search]"'
        ) from error
    known = inspect.signature(kind).parameters
    checks_itself = any(each.kind is each.VAR_KEYWORD for each in known.values())
    for option in () if checks_itself else options:
        if option not in known:
            hint = nearest(option, known) if known else "it has no options"
            raise SamplerError(f"Sampler {given!r} takes no {preview(option, 80)}: {hint}")
    try:
        return kind(**options)  # type: ignore[no-any-return]
    except TypeError as error:
        raise SamplerError(f"Sampler {given!r}: {error}") from None


__all__ = ["Sampler", "Samples", "GridSampler", "ListSampler", "RandomSampler", "sampler_of"]
