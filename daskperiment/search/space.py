"""Search spaces: the parameters that a search varies, and all their combinations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from daskperiment.errors import SearchSpaceError
from daskperiment.search import files, reading
from daskperiment.search.choices import Categorical, Constant
from daskperiment.search.distribution import Distribution, Level
from daskperiment.search.levels import BLOCK, check_names, document, group, level, told_of
from daskperiment.search.values import canonical, copied, integer, nearest
from daskperiment.serializers import preview

if TYPE_CHECKING:
    import numpy as np

D = TypeVar("D", bound=Distribution)
Configuration: TypeAlias = dict[str, Any]
_REASONS = 3
"""Why a configuration is of no block, at most."""


@dataclass(frozen=True)
class Axis:
    """One parameter at one place of a space.

    Parameters
    ----------
    name : str
        The name of the parameter.
    distribution : Distribution
        Its values here.
    address : str
        What tells this place from others of the same name, such as ``model=svm/C``.
    """

    name: str
    distribution: Distribution
    address: str


class SearchSpace:
    """Parameters with the values that each may take.

    A *configuration* is a dict of names to plain values: one value of each parameter, without the
    parameters of branches that were not chosen.

    Parameters
    ----------
    parameters : mapping or list of mappings
        Distributions by name.  A nested mapping is a group, whose names are dotted; a list is an
        axis of a grid, as :class:`Categorical`; any other value is a constant.  Of a list of
        mappings, each is a block: a configuration is one of one block.

    Raises
    ------
    SearchSpaceError
        A name or a value cannot be one; the message says which, and what was expected.

    Examples
    --------
    >>> from daskperiment.search import Int
    >>> space = SearchSpace({"model": {"depth": Int(1, 2)}, "rate": [0.1, 1.0]})
    >>> space.size, space.names
    (4, ('model.depth', 'rate'))
    >>> list(space.grid())[:2]
    [{'model.depth': 1, 'rate': 0.1}, {'model.depth': 1, 'rate': 1.0}]
    """

    def __init__(self, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        blocks = [parameters] if isinstance(parameters, Mapping) else parameters
        if not isinstance(blocks, (list, tuple)) or not blocks:
            raise SearchSpaceError(
                "expected a mapping of names to distributions, or a list of such mappings, not "
                f"{preview(parameters, 80)}"
            )
        self._blocks: list[Level] = []
        for index, block in enumerate(blocks):
            with told_of(f"block {index + 1}") if len(blocks) > 1 else nullcontext():
                self._blocks.append(_checked(level(block)))

    # -- what there is --

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Every place of a parameter, also in branches, in the order in which they are chosen.

        A space of several blocks begins with the choice of one, by its number, named ``*``.
        """
        if len(self._blocks) == 1:
            return tuple(_axes(self._blocks[0]))
        blocks = (_axes(block, f"*={i}/") for i, block in enumerate(self._blocks))
        return (self._block_axis, *chain.from_iterable(blocks))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters, in order."""
        return tuple(dict.fromkeys(axis.name for axis in self.axes if axis.name != BLOCK))

    @cached_property
    def size(self) -> int | float:
        """Number of configurations of the grid; ``math.inf`` if there are infinitely many.

        Blocks that may have configurations in common are counted one by one.
        """
        sizes = [_size(block) for block in self._blocks]
        if math.inf in sizes:
            return math.inf
        return sum(1 for _ in self.grid()) if self._may_overlap else sum(sizes)

    @overload
    def get(self, name: str) -> Distribution: ...

    @overload
    def get(self, name: str, kind: type[D]) -> D: ...

    def get(self, name: str, kind: type[Distribution] = Distribution) -> Distribution:
        """The distribution of a parameter.

        Parameters
        ----------
        name : str
            Its name.
        kind : type of distribution
            What it must be.

        Raises
        ------
        SearchSpaceError
            There is no such parameter, it is of another kind, or has several distributions, in
            branches or blocks; see :attr:`axes`.

        Examples
        --------
        >>> from daskperiment.search import Float
        >>> SearchSpace({"rate": Float(0, 1)}).get("rate", Float).high
        1.0
        """
        found = {axis.distribution: axis.address for axis in self.axes if axis.name == name}
        if not found:
            raise SearchSpaceError(f"there is no parameter {name!r}: {nearest(name, self.names)}")
        if len(found) > 1:
            places = ", ".join(found.values())
            raise SearchSpaceError(f"{name} has a distribution at each of {places}: see axes")
        (distribution,) = found
        if not isinstance(distribution, kind):
            wanted, got = kind.__name__, type(distribution).__name__
            raise SearchSpaceError(f"{name} must be of type {wanted}, but it is a {got}")
        return distribution

    def domain(self, name: str) -> dict[str, Any]:
        """What an optimiser asks of a parameter, see :attr:`Distribution.domain`."""
        return self.get(name).domain

    # -- configurations --

    def build(self, choose: Callable[[Axis], Any]) -> Configuration:
        """The configuration that a function chooses, asked for one active axis after the other.

        Examples
        --------
        >>> from daskperiment.search import Int
        >>> SearchSpace({"a": Int(1, 9), "b": ["x", "y"]}).build(lambda axis: axis.name)
        {'a': 'a', 'b': 'b'}
        """
        if len(self._blocks) == 1:
            return dict(_build(self._blocks[0], choose))
        block = choose(self._block_axis)
        return dict(_build(self._blocks[block], choose, f"*={block}/"))

    def sample(self, rng: np.random.Generator) -> Configuration:
        """One configuration.

        Active parameters are drawn in the order in which they stand here, each by one number of
        the generator, or by none if it has only one value.  Nothing else has an influence: names
        have none, nor what comes after.

        Examples
        --------
        >>> import numpy as np
        >>> from daskperiment.search import Float, Int
        >>> space = SearchSpace({"rate": Float(0, 1), "depth": Int(1, 5)})
        >>> space.sample(np.random.default_rng(3))
        {'rate': 0.0856..., 'depth': 2}
        """
        return self.build(lambda axis: axis.distribution.sample(rng))

    def grid(self, repeats: int = 1) -> Iterator[Configuration]:
        """All configurations: names in the order given, the last one varies fastest.

        Parameters
        ----------
        repeats : int
            How often each comes, one after the other.

        Raises
        ------
        SearchSpaceError
            A parameter has infinitely many values; the message says what to do.
        """
        if integer("repeats", repeats) < 1:
            raise SearchSpaceError(f"repeats must be 1 or more, not {repeats}")
        for axis in self.axes:
            with told_of(axis.name):
                axis.distribution.values()
        found = chain.from_iterable(map(_grid, self._blocks))
        once = _once(found) if self._may_overlap else found
        return (copied(configuration) for configuration in once for _ in range(repeats))

    def __contains__(self, configuration: object) -> bool:
        try:
            self._follow(configuration)
        except SearchSpaceError:
            return False
        return True

    def check(self, configuration: Mapping[str, Any]) -> None:
        """Raise SearchSpaceError if this is no configuration of the space, and say why."""
        self._follow(configuration)

    def within(self, values: Mapping[str, Any]) -> Configuration | None:
        """The configuration that values hold, which may hold others besides; None if there is none.

        Examples
        --------
        >>> SearchSpace({"a": [1, 2]}).within({"a": 2, "verbose": True})
        {'a': 2}
        """
        for block in range(len(self._blocks)):

            def choose(axis: Axis, block: int = block) -> Any:
                value = block if axis.name == BLOCK else values[axis.name]
                axis.distribution.check(value)
                return value

            try:
                return self.build(choose)
            except (KeyError, SearchSpaceError):
                continue
        return None

    def by_address(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a configuration by the addresses of the axes that are active in it.

        Raises
        ------
        SearchSpaceError
            It is no configuration of the space; the message says why.

        Examples
        --------
        >>> from daskperiment.search import Branch
        >>> space = SearchSpace({"model": Branch({"svm": {"C": [1, 10]}, "mean": {}})})
        >>> space.by_address({"model": "svm", "C": 10})
        {'model': 'svm', 'model=svm/C': 10}
        """
        return self._follow(configuration)

    # -- the unit cube --

    @property
    def width(self) -> int:
        """How many coordinates :meth:`encode` gives."""
        return sum(axis.distribution.width for axis in self.axes)

    def encode(self, configuration: Mapping[str, Any]) -> tuple[float, ...]:
        """Coordinates of a configuration in the unit cube, for :meth:`decode`.

        Those of all axes, one after the other; an axis that is not active has zeros.

        Examples
        --------
        >>> from daskperiment.search import Float
        >>> SearchSpace({"a": Float(0, 2), "b": ["x", "y"]}).encode({"a": 1.0, "b": "y"})
        (0.5, 0.0, 1.0)
        """
        values = self._follow(configuration)
        parts = (
            axis.distribution.encode(values[axis.address])
            if axis.address in values
            else (0.0,) * axis.distribution.width
            for axis in self.axes
        )
        return tuple(chain.from_iterable(parts))

    def decode(self, coordinates: Sequence[float]) -> Configuration:
        """The configuration at these coordinates; any of the unit cube will do."""
        if len(coordinates) != self.width:
            raise SearchSpaceError(
                f"expected {self.width} coordinates, as encode gives, not {len(coordinates)}"
            )
        parts, start = {}, 0
        for axis in self.axes:
            parts[axis.address] = coordinates[start : (start := start + axis.distribution.width)]
        return self.build(lambda axis: axis.distribution.decode(parts[axis.address]))

    # -- files --

    def document(self) -> dict[str, Any]:
        """The space as plain data, for :meth:`from_document`."""
        if len(self._blocks) == 1:
            return document(self._blocks[0])
        return {"blocks": [document(block) for block in self._blocks]}

    @classmethod
    def from_document(cls, document: Any, *, seed: int = 0) -> SearchSpace:
        """The space that plain data describes, in any form that :meth:`read` knows."""
        return cls(reading.blocks(document, seed))

    @classmethod
    def of(cls, configurations: Iterable[Mapping[str, Any]]) -> SearchSpace:
        """The space of exactly these configurations: each value, also a list, is one value.

        Examples
        --------
        >>> list(SearchSpace.of([{"a": 1}, {"a": [2, 3]}]).grid())
        [{'a': 1}, {'a': [2, 3]}]
        """
        return cls([{name: Constant(v) for name, v in one.items()} for one in configurations])

    def write(self, path: str | PathLike[str]) -> None:
        """Write the space to a file ``.toml`` or ``.json``, for :meth:`read`."""
        files.write(path, self.document())

    @classmethod
    def read(
        cls, path: str | PathLike[str], *, experiment: str | None = None, seed: int = 0
    ) -> SearchSpace:
        """Read a space from a file: of this package, of EXP, smallab or Labs.

        Parameters
        ----------
        path : path
            A file ``.toml``, ``.json`` or ``.yaml``.
        experiment : str, optional
            Which experiment of a file of Labs that has several.
        seed : int
            From what EXP's random values are drawn, once, when the file is read.

        Raises
        ------
        SearchSpaceError
            The message names the file, the key, what was expected, and a suggestion.
        """
        found = files.read(path)
        with told_of(fspath(path)):
            return cls(reading.blocks(found, seed, experiment))

    # -- comparing --

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SearchSpace):
            return NotImplemented
        return self._blocks == other._blocks

    def __hash__(self) -> int:
        return hash(tuple(self._blocks))

    def __repr__(self) -> str:
        blocks = [dict(block) for block in self._blocks]
        return f"SearchSpace({blocks[0] if len(blocks) == 1 else blocks!r})"

    # -- within --

    @cached_property
    def _block_axis(self) -> Axis:
        return Axis(BLOCK, Categorical(range(len(self._blocks))), BLOCK)

    @cached_property
    def _may_overlap(self) -> bool:
        plain = all(not d.levels for block in self._blocks for _, d in block)
        names = {frozenset(dict(block)) for block in self._blocks}
        return len(self._blocks) > 1 and not (plain and len(names) == len(self._blocks))

    def _follow(self, configuration: Any) -> dict[str, Any]:
        """The values by address."""
        if not isinstance(configuration, Mapping):
            raise SearchSpaceError(
                f"a configuration is a mapping of names to values, not {preview(configuration, 80)}"
            )
        reasons = []
        for block in self._possible(configuration):
            try:
                return self._follow_block(configuration, block)
            except SearchSpaceError as error:
                reasons.append(str(error))
        raise SearchSpaceError("; ".join(reasons[:_REASONS]))

    def _possible(self, configuration: Mapping[Any, Any]) -> list[int]:
        """Blocks that it may be of, and enough others to tell why it is not of them."""
        if not self._ready:
            return self._varied
        try:
            ready = self._ready.get(canonical(dict(configuration)))
        except (TypeError, ValueError, RecursionError):  # what is no plain data
            ready = None
        told = islice(self._ready.values(), _REASONS) if ready is None else [ready]
        return sorted([*self._varied, *told])

    @cached_property
    def _varied(self) -> list[int]:
        return [index for index, block in enumerate(self._blocks) if not _is_constant(block)]

    @cached_property
    def _ready(self) -> dict[str, int]:
        """The first block of each configuration that is one of its own; there may be thousands."""
        found: dict[str, int] = {}
        for index, block in enumerate(self._blocks):
            if _is_constant(block):
                found.setdefault(canonical(next(_grid(block))), index)
        return found

    def _follow_block(self, configuration: Mapping[str, Any], block: int) -> dict[str, Any]:
        values: dict[str, Any] = {}

        def choose(axis: Axis) -> Any:
            if axis.name != BLOCK and axis.name not in configuration:
                raise SearchSpaceError(f"{axis.name}: the value is missing")
            value = block if axis.name == BLOCK else configuration[axis.name]
            with told_of(axis.name):
                axis.distribution.check(value)
            values[axis.address] = value
            return value

        active = self.build(choose)
        for name in configuration:
            if name not in active:
                raise SearchSpaceError(f"{name}: no parameter here, {nearest(name, active)}")
        return values


def _checked(parameters: Level) -> Level:
    if not parameters:
        raise SearchSpaceError("expected one parameter or more, and there is none")
    check_names(parameters)
    return parameters


def _is_constant(parameters: Level) -> bool:
    return all(isinstance(d, (Categorical, Constant)) and d.size == 1 for _, d in parameters)


def _axes(parameters: Level, address: str = "", prefix: str = "") -> Iterator[Axis]:
    for name, distribution in parameters:
        yield Axis(prefix + name, distribution, address + _quoted(name))
        for value, inner in distribution.levels.items():
            yield from _axes(inner, _inner(address, name, value), group(prefix + name))


def _inner(address: str, name: str, value: str) -> str:
    return f"{address}{_quoted(name)}={_quoted(value)}/"


def _quoted(part: str) -> str:
    """A part of an address, without what stands between parts."""
    return part.replace("%", "%25").replace("/", "%2F").replace("=", "%3D")


def _build(
    parameters: Level, choose: Callable[[Axis], Any], address: str = "", prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, distribution in parameters:
        value = choose(Axis(prefix + name, distribution, address + _quoted(name)))
        yield prefix + name, value
        if inner := distribution.levels.get(value) if distribution.levels else None:
            yield from _build(inner, choose, _inner(address, name, value), group(prefix + name))


def _size(parameters: Level) -> int | float:
    sizes = [
        sum(map(_size, distribution.levels.values())) if distribution.levels else distribution.size
        for _, distribution in parameters
    ]
    return math.inf if math.inf in sizes else math.prod(sizes)


def _grid(parameters: Level, prefix: str = "") -> Iterator[Configuration]:
    """All combinations; unlike ``itertools.product``, no values are kept."""
    if not parameters:
        yield {}
        return
    parts: list[Configuration] = []
    ways = [_values(*parameters[0], prefix)]
    while ways:
        part = next(ways[-1], None)
        if part is None:
            ways.pop()
            del parts[-1:]
        elif len(ways) < len(parameters):
            parts.append(part)
            ways.append(_values(*parameters[len(ways)], prefix))
        else:
            yield dict(chain.from_iterable(p.items() for p in (*parts, part)))


def _values(name: str, distribution: Distribution, prefix: str) -> Iterator[Configuration]:
    for value in distribution.values():
        inner = distribution.levels[value] if distribution.levels else ()
        for rest in _grid(inner, group(prefix + name)):
            yield {prefix + name: value, **rest}


def _once(configurations: Iterator[Configuration]) -> Iterator[Configuration]:
    seen = set()
    for configuration in configurations:
        text = canonical(configuration)
        if text not in seen:
            seen.add(text)
            yield configuration
