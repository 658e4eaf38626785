"""Notices when a step reads randomness that no seed can repeat.

All readers of operating system entropy in Python go through ``os.urandom``, also under the
name that :mod:`random` keeps of it (``SystemRandom``, ``secrets``, NumPy's unseeded
``SeedSequence``), or through ``random.Random`` seeded with None.  :func:`watch` puts a note
in front of these three.  Outside of a step they do nothing more than before.

Not seen: ``urandom`` imported by name before the first step, and generators that were made
outside of the step.  Entropy that only names temporary files, tasks, keys or copies of a
generator (:data:`BYSTANDERS`) does not count.
"""

from __future__ import annotations

import functools
import os
import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from daskperiment.tracking.seeds.draws import OUTSIDE, here

if TYPE_CHECKING:
    from numpy.random import MT19937

BYSTANDERS = frozenset(
    {
        "asyncio",
        "concurrent",
        "copy",
        "dask.base",
        "dask.delayed",
        "dask.tokenize",
        "daskperiment",
        "distributed",
        "joblib",
        "multiprocessing",
        "numpy.random._pickle",
        "tempfile",
    }
)
"""Modules and packages whose use of entropy reaches no result."""

_PASSAGE = frozenset(
    {__name__, f"{__package__}.python_stream", f"{__package__}.numpy_stream"}
    | {"random", "secrets", "uuid"}
)
"""Modules that only hand entropy on: the one that asked is further up."""


def note() -> None:
    """Note that this thread's step reads entropy, unless a bystander asked for it."""
    draws = here.draws
    if draws is not OUTSIDE and not _for_bystander(sys._getframe(1)):
        draws.unseeded = True


def note_drawn() -> None:
    """Note that this thread's step reads entropy, whoever asked."""
    if here.draws is not OUTSIDE:
        here.draws.unseeded = True


def _for_bystander(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_globals.get("__name__") in _PASSAGE:
        frame = frame.f_back
    name = "" if frame is None else str(frame.f_globals.get("__name__"))
    return name in BYSTANDERS or name.partition(".")[0] in BYSTANDERS


def watch() -> None:
    """Put the notes in place; once per process."""
    for module, name in ((os, "urandom"), (os, "getrandom"), (random, "_urandom")):
        if hasattr(module, name):
            setattr(module, name, _noting(getattr(module, name), module.__name__))
    random.Random.seed = _noting_none(random.Random.seed)  # type: ignore[method-assign]


def _noting(read: Callable[..., bytes], module: str) -> Callable[..., bytes]:
    @functools.wraps(read)
    def noting(*args: Any, **kwargs: Any) -> bytes:
        note()
        return read(*args, **kwargs)

    # Pickled by reference, as the builtin is: in another process it is that one's own.
    noting.__module__ = module
    return noting


def _noting_none(seed: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(seed)
    def noting(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None:
            note()
        seed(self, a, version)

    return noting


def spare_seeded_random_states() -> None:
    """Let ``RandomState(5)`` not count as unseeded.

    It first makes an unseeded bit generator and then seeds that, which takes away its
    ``seed_seq``: so what a call made is judged when the next one is made, or at the end.
    """
    import numpy as np

    class Unsettled(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, np.random.MT19937)

        def __call__(cls) -> MT19937:
            draws = here.draws
            unseeded = draws.entropy
            bits = np.random.MT19937()
            if draws is not OUTSIDE:
                draws.unseeded, draws.unsettled = unseeded, bits
            return bits

    class LegacyBits(metaclass=Unsettled):
        """Stands for ``MT19937`` where ``RandomState`` makes its own and tests for it."""

    np.random.mtrand._MT19937 = LegacyBits  # type: ignore[attr-defined]
