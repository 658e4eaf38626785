"""Quasi-random samples: spread more evenly than chance would."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Self

from daskperiment.errors import SamplerError
from daskperiment.search.choices import Constant
from daskperiment.search.samplers.base import Sampler, suggested
from daskperiment.serializers import preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    import numpy as np

    from daskperiment.search.space import Configuration, SearchSpace
    from daskperiment.search.trials import SearchTrial

_KINDS = ("sobol", "halton")
_LEAST = 2.0**-53
_SEEDS = 2**32


class QuasiRandomSampler(Sampler):
    """Points of a sequence of low discrepancy, of ``scipy.stats.qmc``.

    Each parameter has a dimension of its own, also where it is not active, and its value is the
    quantile at the coordinate.

    Parameters
    ----------
    kind : {"sobol", "halton"}
        The sequence; that of Sobol is best where the number of trials is a power of two.
    scramble : bool
        Whether it is shuffled by the seed, which keeps it as even and takes away patterns; if not,
        it is the same for all seeds.

    Raises
    ------
    SamplerError
        There is no such kind, or SciPy is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from daskperiment.search import Float, SearchSpace
    >>> from daskperiment.search.trials import SearchTrial
    >>> space, rng = SearchSpace({"a": Float(0, 1)}), np.random.default_rng(0)
    >>> sampler, trials = QuasiRandomSampler(scramble=False), []
    >>> for place in range(4):
    ...     trials.append(SearchTrial(place, sampler.sample(space, trials, rng)))
    >>> [trial.parameters["a"] for trial in trials]
    [1.1...e-16, 0.5, 0.75, 0.25]
    """

    name: ClassVar[str] = "quasi-random"

    def __init__(self, kind: str = "sobol", scramble: bool = True) -> None:
        if kind not in _KINDS:
            raise SamplerError(f"kind is one of {', '.join(_KINDS)}, not {preview(kind, 80)}")
        if not isinstance(scramble, bool):
            raise SamplerError(f"scramble is True or False, not {preview(scramble, 80)}")
        if find_spec("scipy") is None:
            raise SamplerError(
                f"Sampler {self.name!r} needs scipy: pip install "
                '"daskperiment[search]", or take sampler="random"'
            )
        self.kind, self.scramble = kind, scramble
        self._sequence: _Points | None = None

    def _options(self) -> Document:
        return {"kind": self.kind, "scramble": self.scramble}

    def begun(self, space: SearchSpace, seed: int, metrics: int) -> Self:
        """One whose sequence is scrambled by the seed.

        Raises
        ------
        SamplerError
            The space has more parameters than the sequence has dimensions, 21201 for Sobol's.
        """
        mine = copy(self)
        mine._sequence = _Points(space, seed, self.kind, self.scramble)
        return mine

    def sample(
        self, space: SearchSpace, trials: Sequence[SearchTrial], rng: np.random.Generator
    ) -> Configuration:
        """The next point; see :class:`~daskperiment.search.samplers.Samples`.

        One that has not begun begins by itself, with a seed of ``rng``.
        """
        if self._sequence is None or self._sequence.space != space:
            self._sequence = self.begun(space, int(rng.integers(_SEEDS)), 1)._sequence
        assert self._sequence is not None
        return self._sequence.at(suggested(trials))


class _Points:
    """The configurations of a sequence, by number."""

    def __init__(self, space: SearchSpace, seed: int, kind: str, scramble: bool) -> None:
        import numpy as np
        from scipy.stats import qmc

        self.space = space
        self._axes = [a.address for a in space.axes if not isinstance(a.distribution, Constant)]
        made = qmc.Sobol if kind == "sobol" else qmc.Halton
        try:
            self._engine = made(
                max(len(self._axes), 1), scramble=scramble, rng=np.random.default_rng(seed)
            )
        except ValueError as error:
            raise SamplerError(
                f"The space has {len(self._axes)} parameters: {error} "
                "Take kind='halton' or sampler='random'"
            ) from None

    def at(self, index: int) -> Configuration:
        if self._engine.num_generated > index:
            self._engine.reset()
        if self._engine.num_generated < index:
            self._engine.fast_forward(index - self._engine.num_generated)
        point = dict(zip(self._axes, self._engine.random(1)[0].tolist(), strict=False))
        return self.space.build(
            lambda axis: axis.distribution.quantile(_inside(point.get(axis.address, 0.5)))
        )


def _inside(fraction: float) -> float:
    return min(max(fraction, _LEAST), 1 - _LEAST)
