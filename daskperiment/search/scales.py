"""Scales: how the values of each parameter of a space are laid out where they are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from daskperiment.history.documents import short
from daskperiment.search.choices import Draws
from daskperiment.search.distribution import Distribution
from daskperiment.search.laws import LogNormal
from daskperiment.search.levels import BLOCK
from daskperiment.search.ranges import Logspace
from daskperiment.search.space import SearchSpace
from daskperiment.typing import Document

_WIDE = 100
"""From what quotient of the ends on single numbers are drawn by orders of magnitude."""


def scales(space: SearchSpace) -> list[Document]:
    """A scale for each parameter, in the order of the space.

    Parameters
    ----------
    space : SearchSpace
        The space.

    Returns
    -------
    list of dict
        Each has a ``name`` and a ``kind``.  A ``number`` has ``low`` and ``high``, None where
        there is no end, ``log`` and ``integer``; a ``category`` has its ``choices``.  Of a
        parameter that several branches have, all that any of them has.

    Examples
    --------
    >>> from daskperiment.search import Categorical, Float
    >>> space = SearchSpace({"rate": Float(1e-4, 1, log=True), "loss": ["l1", "l2"]})
    >>> for scale in scales(space):
    ...     print(scale)
    {'name': 'rate', 'kind': 'number', 'low': 0.0001, 'high': 1.0, 'log': True, 'integer': False}
    {'name': 'loss', 'kind': 'category', 'choices': ['l1', 'l2']}
    """
    found: dict[str, list[Distribution]] = {}
    for axis in space.axes:
        if axis.name != BLOCK:
            found.setdefault(axis.name, []).append(axis.distribution)
    return [{"name": name, **_scale(each)} for name, each in found.items()]


def _scale(distributions: Sequence[Distribution]) -> Document:
    domains = [each.domain for each in distributions]
    choices = [value for domain in domains for value in domain.get("choices", ())]
    if not all(_is_number(value) for value in choices):
        known = {repr(value): value for value in choices}
        return {"kind": "category", "choices": [short(value) for value in known.values()]}
    ranges = [domain for domain in domains if "choices" not in domain]
    ends = [end for domain in ranges for end in (domain["low"], domain["high"])]
    low, high = min((*choices, *ends)), max((*choices, *ends))
    return {
        "kind": "number",
        "low": _end(low),
        "high": _end(high),
        "log": low >= 0 and all(map(_is_logarithmic, distributions)),
        "integer": all(map(_is_integer, choices)) and all(d["kind"] == "int" for d in ranges),
    }


def _is_logarithmic(distribution: Distribution) -> bool:
    inner = distribution.distribution if isinstance(distribution, Draws) else distribution
    if isinstance(inner, (Logspace, LogNormal)):
        return True
    domain = inner.domain
    return _is_wide(domain["choices"]) if "choices" in domain else bool(domain["log"])


def _is_wide(choices: Iterable[float]) -> bool:
    known = sorted(choices)
    return len(known) > 2 and known[0] > 0 and known[-1] / known[0] >= _WIDE


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: float) -> bool:
    return isinstance(value, int)


def _end(value: float) -> float | None:
    return value if math.isfinite(value) else None
