"""Lazy values: outputs of steps that need not run, read when somebody needs them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from daskperiment.fingerprint.values import Known


class Lazy(Known):
    """A value in a graph that is not read yet; what it is digested as is known."""

    @abstractmethod
    def load(self) -> Any:
        """The value."""


def resolved(value: Any) -> Any:
    """The value itself where it is lazy, also of parts of plain containers.

    Examples
    --------
    >>> parts = [1, (2, {"a": 3})]
    >>> resolved(parts) is parts
    True
    """
    if issubclass(type(value), Lazy):  # some values answer no question
        return value.load()
    kind = type(value)
    if kind in (list, tuple, set):
        parts = [resolved(part) for part in value]
        return value if _are_same(parts, value) else kind(parts)
    if kind is dict:
        parts = [resolved(part) for part in value.values()]
        return value if _are_same(parts, value.values()) else dict(zip(value, parts, strict=True))
    return value


def _are_same(parts: list[Any], others: Any) -> bool:
    return all(part is other for part, other in zip(parts, others, strict=True))


class Resolve:
    """Task around a node that is not ours, which gets the values themselves."""

    def __init__(self, func: Any) -> None:
        self.func = func

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.func(*map(resolved, args), **{k: resolved(v) for k, v in kwargs.items()})
