"""What every distribution can do."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from daskperiment.errors import SearchSpaceError
from daskperiment.search.values import canonical, listed
from daskperiment.serializers import preview

if TYPE_CHECKING:
    import numpy as np

Level: TypeAlias = "tuple[tuple[str, Distribution], ...]"
"""Parameters that are active together, by their dotted names, in order."""


class Distribution(ABC):
    """The values that one parameter may take, and how likely they are.

    Distributions never change.  Two are equal if they are of one type with equal arguments.
    """

    type: ClassVar[str]
    """Its name in files."""

    @property
    def size(self) -> int | float:
        """Number of values in a grid; ``math.inf`` if there are infinitely many."""
        return self._size

    def values(self) -> Iterator[Any]:
        """The values of a grid, in order.

        Raises
        ------
        SearchSpaceError
            There are infinitely many; the message says what to do.
        """
        return self._values()

    @property
    def domain(self) -> dict[str, Any]:
        """What an optimiser asks: ``kind`` (``float``, ``int`` or ``categorical``) and more.

        For numbers ``low``, ``high`` (both included; infinite where there is no end), ``log`` and
        ``step`` (None if there is none), for categories ``choices``.
        """
        return self._domain

    def contains(self, value: Any) -> bool:
        """Whether a sample could be this value."""
        return self._contains(value)

    def check(self, value: Any) -> None:
        """Raise SearchSpaceError if a sample could not be this value."""
        if not self._contains(value):
            same = listed(value)
            hint = f"; {same!r} is one" if same is not value and self._contains(same) else ""
            raise SearchSpaceError(f"{preview(value, 80)} is no value of {self!r}{hint}")

    def sample(self, rng: np.random.Generator) -> Any:
        """One value, by one draw of ``rng.random()``; by none where there is only one value."""
        if not hasattr(rng, "random"):
            raise SearchSpaceError(
                "rng must be a generator of NumPy, such as numpy.random.default_rng(3), not "
                f"{preview(rng, 80)}"
            )
        return self._sample(rng)

    def quantile(self, fraction: float) -> Any:
        """The value that this fraction of all samples do not exceed, the fraction from 0 to 1.

        Values without an order have equal parts of the fractions, in the order given.
        """
        if not 0 <= fraction <= 1:
            raise SearchSpaceError(f"a fraction is a number from 0 to 1, not {fraction!r}")
        return self._quantile(float(fraction))

    @property
    def width(self) -> int:
        """How many coordinates :meth:`encode` gives."""
        return self._width

    def encode(self, value: Any) -> tuple[float, ...]:
        """Coordinates of a value in the unit cube, for :meth:`decode`.

        Raises
        ------
        SearchSpaceError
            A sample could not be this value.
        """
        self.check(value)
        return self._encode(value)

    def decode(self, coordinates: Sequence[float]) -> Any:
        """The value at these coordinates; beyond the unit cube, that at its border.

        Raises
        ------
        SearchSpaceError
            There are more or fewer than :attr:`width`, or one is no number.
        """
        try:
            numbers = [float(x) for x in coordinates]
        except (TypeError, ValueError):
            numbers = [math.nan]
        if len(numbers) != self.width or any(map(math.isnan, numbers)):
            raise SearchSpaceError(f"expected {self.width} numbers, not {preview(coordinates, 80)}")
        return self._decode(numbers)

    def document(self) -> dict[str, Any]:
        """What files have for it: its type, and the arguments that are not as by default."""
        return self._document()

    @property
    def levels(self) -> Mapping[str, Level]:
        """Parameters that a value brings with it; none but for a Branch."""
        return {}

    # -- what a kind of distribution defines --

    @property
    def _width(self) -> int:
        return 1

    @property
    @abstractmethod
    def _size(self) -> int | float: ...

    @abstractmethod
    def _values(self) -> Iterator[Any]: ...

    @property
    @abstractmethod
    def _domain(self) -> dict[str, Any]: ...

    @abstractmethod
    def _contains(self, value: Any) -> bool: ...

    @abstractmethod
    def _quantile(self, fraction: float) -> Any: ...

    def _fraction(self, value: Any) -> float:
        """The middle of the fractions that give the value; not asked where _encode is defined."""
        raise NotImplementedError

    def _sample(self, rng: np.random.Generator) -> Any:
        return self._quantile(0.5 if self.size == 1 else float(rng.random()))

    def _encode(self, value: Any) -> tuple[float, ...]:
        return (self._fraction(value),)

    def _decode(self, coordinates: Sequence[float]) -> Any:
        return self._quantile(min(max(coordinates[0], 0.0), 1.0))

    def _document(self) -> dict[str, Any]:
        given = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"type": self.type, **{k: v for k, (v, default) in given.items() if v != default}}

    def _keep(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Distribution):
            return NotImplemented
        return canonical(self.document()) == canonical(other.document())

    def __hash__(self) -> int:
        return hash(canonical(self.document()))


def place(fraction: float, count: int) -> int:
    """Which of `count` equal parts of the line from 0 to 1 a fraction is in.

    Examples
    --------
    >>> place(0.0, 4), place(0.5, 4), place(1.0, 4)
    (0, 2, 3)
    """
    return min(int(fraction * count), count - 1)


def infinite(distribution: Distribution, advice: str) -> SearchSpaceError:
    """The error of a grid over infinitely many values."""
    return SearchSpaceError(
        f"{distribution!r} has infinitely many values: for a grid {advice} "
        "or take values once with Draws.take(distribution, n, rng)"
    )
