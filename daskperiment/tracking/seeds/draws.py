"""One step call's streams, and which call runs in this thread."""

from __future__ import annotations

import threading
from _random import Random as Twister
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from daskperiment.tracking.seeds import frameworks

if TYPE_CHECKING:
    from numpy.random import MT19937, PCG64, Generator

_RNG_TAG = int.from_bytes(b"rng", "big")


class Draws:
    """The streams of one step call, and what it drew from them.

    Made and entered by :func:`~daskperiment.tracking.seeds.seeded`; belongs to the thread
    that entered it.  It keeps its answers after the block.

    Attributes
    ----------
    seed
        The seed that the streams start from.

    Examples
    --------
    >>> import random
    >>> from daskperiment.tracking import seeds
    >>> with seeds.seeded(1) as draws:
    ...     print(draws.drew, random.random(), draws.drew)
    False 0.13436424411240122 True
    """

    uses = 0
    """How often a stream was drawn from or read."""
    unseeded = False
    """Whether operating system entropy was read."""
    unsettled: MT19937 | None = None
    """The newest ``RandomState``'s bit generator; it may still get its seed."""
    twister: Twister | None = None
    """The stream of ``random``, from the first use on."""
    gauss: float | None = None
    """The normal value that ``random.gauss`` keeps for its next call."""
    numpy_state: dict[str, Any] | None = None
    """The stream of NumPy's legacy functions, while another call's is in the generator."""
    done = False
    """Whether the block was left, so that its streams need not be kept."""
    _outer: Draws
    _leave: tuple[Callable[[], bool], ...] = ()
    _rng: Generator | None = None

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @property
    def drew(self) -> bool:
        """Whether the call drew from ``random``, NumPy's legacy functions or :meth:`rng`.

        Reading a stream's state (``getstate``, ``get_state``, pickling it) counts, because
        what follows may depend on it; seeding it or setting its state does not.
        """
        return self.uses > 0

    @property
    def entropy(self) -> bool:
        """Whether the call read operating system entropy, so that its seed does not repeat it.

        Sees the unseeded ``default_rng()``, ``SeedSequence()``, ``RandomState()`` and
        ``random.Random()``, ``random.SystemRandom``, ``secrets``, ``os.urandom`` and
        ``uuid.uuid4``.  See :mod:`daskperiment.tracking.seeds.entropy` for the limits.
        """
        return self.unseeded or (self.unsettled is not None and self.unsettled.seed_seq is not None)

    def rng(self) -> Generator:
        """Return this call's ``numpy.random.Generator``, the same one on every request.

        Its bits are PCG64's, seeded from the call's seed and a constant, so they have
        nothing in common with those of the legacy functions.  Counts as drawn.
        """
        import numpy as np

        self.uses += 1
        if self._rng is None:
            self._rng = np.random.Generator(self._fresh())
        return self._rng

    def generator_state(self) -> dict[str, Any] | None:
        """Where the stream of :meth:`rng` stands; None before its first use."""
        return None if self._rng is None else dict(self._rng.bit_generator.state)

    def set_generator_state(self, state: dict[str, Any] | None) -> None:
        """Put the stream of :meth:`rng` somewhere, for None to its beginning; no use of it.

        Raises
        ------
        TypeError, ValueError, KeyError
            It is no state.
        """
        if state is None and self._rng is None:
            return
        uses, generator = self.uses, self.rng()
        self.uses = uses
        if state is None:
            state = self._fresh().state  # type: ignore[assignment]
        generator.bit_generator.state = state  # type: ignore[assignment]

    def _fresh(self) -> PCG64:
        import numpy as np

        return np.random.PCG64(np.random.SeedSequence([self.seed, _RNG_TAG]))

    def python(self) -> Twister:
        """Return the stream of ``random``, seeded when first asked for."""
        if self.twister is None:
            self.twister = Twister(self.seed)
        return self.twister

    def __enter__(self) -> Draws:
        self._outer = here.draws
        self._leave = frameworks.seed_imported(self.seed)
        here.draws = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        here.draws = self._outer
        self.done = True
        self.numpy_state = None
        for leave in self._leave:
            self.uses += leave()


OUTSIDE = Draws(0)
"""The user's own streams, used by every thread that is not inside a step."""


class _Here(threading.local):
    draws: Draws = OUTSIDE


here = _Here()
"""Per thread: ``here.draws`` are the streams to draw from."""


def current() -> Draws | None:
    """Return the step call that runs in this thread, or None outside of any.

    Examples
    --------
    >>> current() is None
    True
    """
    return None if here.draws is OUTSIDE else here.draws
