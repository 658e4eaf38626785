"""Values that are named one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from daskperiment.errors import SearchSpaceError
from daskperiment.search.distribution import Distribution, place
from daskperiment.search.values import MOST, canonical, copied, integer, listed, plain, unique
from daskperiment.serializers import preview

if TYPE_CHECKING:
    import numpy as np


class _Choices(Distribution):
    """Some values without an order: one coordinate for each, 1 for the one and 0 for the others."""

    choices: Sequence[Any]

    @property
    def _size(self) -> int:
        return len(self.choices)

    def _values(self) -> Iterator[Any]:
        return map(copied, self.choices)

    def _quantile(self, fraction: float) -> Any:
        return copied(self.choices[place(fraction, self._size)])

    def _contains(self, value: Any) -> bool:
        try:
            return canonical(value) in self._places
        except (TypeError, ValueError, RecursionError):
            return False

    @property
    def _domain(self) -> dict[str, Any]:
        return {"kind": "categorical", "choices": list(self.values())}

    @property
    def _width(self) -> int:
        return self._size

    def _encode(self, value: Any) -> tuple[float, ...]:
        found = self._places[canonical(value)]
        return tuple(float(index == found) for index in range(self._size))

    def _decode(self, coordinates: Sequence[float]) -> Any:
        return copied(self.choices[max(range(self._size), key=lambda index: coordinates[index])])

    @cached_property
    def _places(self) -> dict[str, int]:
        return {canonical(choice): index for index, choice in enumerate(self.choices)}


@dataclass(frozen=True, eq=False)
class Categorical(_Choices):
    """One of these values, each equally likely.

    Parameters
    ----------
    choices : sequence
        Plain values: None, bools, numbers, text, and lists and mappings of these; a tuple is a
        list.  Duplicates are dropped; ``1``, ``1.0`` and ``True`` are three values.

    Examples
    --------
    >>> list(Categorical(["adam", "sgd", "adam"]).values())
    ['adam', 'sgd']
    """

    type: ClassVar[str] = "categorical"
    choices: Sequence[Any]

    def __post_init__(self) -> None:
        choices = listed(self.choices)
        if not isinstance(choices, Sequence) or isinstance(choices, (str, bytes)):
            raise SearchSpaceError(f"choices must be a list, not {preview(choices, 80)}")
        self._keep(choices=unique(map(plain, choices)))
        if not self.choices:
            raise SearchSpaceError("choices must have one value or more; the list is empty")

    def _document(self) -> dict[str, Any]:
        return {"type": self.type, "choices": list(self.values())}


@dataclass(frozen=True, eq=False)
class Constant(_Choices):
    """One value.

    Parameters
    ----------
    value : Any
        A plain value, as for :class:`Categorical`.

    Examples
    --------
    >>> list(Constant([64, 64]).values())
    [[64, 64]]
    """

    type: ClassVar[str] = "constant"
    value: Any

    def __post_init__(self) -> None:
        self._keep(value=plain(self.value))

    @property
    def choices(self) -> Sequence[Any]:  # type: ignore[override]
        """The one value."""
        return (self.value,)

    @property
    def _width(self) -> int:
        return 0

    def _encode(self, value: Any) -> tuple[float, ...]:
        return ()

    def _decode(self, coordinates: Sequence[float]) -> Any:
        return copied(self.value)

    def _document(self) -> dict[str, Any]:
        return {"type": self.type, "value": copied(self.value)}


@dataclass(frozen=True, eq=False)
class Draws(Distribution):
    """A distribution of which a grid has these values, taken once.

    Sampling and optimisers use the distribution itself.

    Parameters
    ----------
    distribution : Distribution
        What the values are taken from.
    drawn : sequence
        Values of it; duplicates are dropped.

    Examples
    --------
    >>> import numpy as np
    >>> from daskperiment.search import Float
    >>> rates = Draws.take(Float(0, 1), 3, np.random.default_rng(0))
    >>> list(rates.values()) == list(rates.values())
    True
    """

    type: ClassVar[str] = "draws"
    distribution: Distribution
    drawn: Sequence[Any]

    def __post_init__(self) -> None:
        if not isinstance(self.distribution, Distribution) or self.distribution.levels:
            raise SearchSpaceError(
                "distribution must be one of numbers or choices, not "
                f"{preview(self.distribution, 80)}"
            )
        self._keep(drawn=Categorical(self.drawn).choices)
        for value in self.drawn:
            self.distribution.check(value)

    @classmethod
    def take(cls, distribution: Distribution, n: int, rng: np.random.Generator) -> Draws:
        """`n` draws of a distribution; fewer values where two are equal."""
        if integer("n", n) < 1:
            raise SearchSpaceError(f"n must be 1 or more, not {n}")
        if n > MOST:
            raise SearchSpaceError(f"n must be at most {MOST}, not {n}")
        return cls(distribution, [distribution.sample(rng) for _ in range(n)])

    @property
    def _size(self) -> int:
        return len(self.drawn)

    def _values(self) -> Iterator[Any]:
        return map(copied, self.drawn)

    def _sample(self, rng: np.random.Generator) -> Any:
        return self.distribution.sample(rng)

    def _quantile(self, fraction: float) -> Any:
        return self.distribution.quantile(fraction)

    def _contains(self, value: Any) -> bool:
        return self.distribution.contains(value)

    @property
    def _domain(self) -> dict[str, Any]:
        return self.distribution.domain

    @property
    def _width(self) -> int:
        return self.distribution.width

    def _encode(self, value: Any) -> tuple[float, ...]:
        return self.distribution.encode(value)

    def _decode(self, coordinates: Sequence[float]) -> Any:
        return self.distribution.decode(coordinates)

    def _document(self) -> dict[str, Any]:
        inner = self.distribution.document()
        return {"type": self.type, "distribution": inner, "drawn": list(self.values())}
