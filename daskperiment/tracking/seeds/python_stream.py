"""``random``'s hidden instance, isolated per step call."""

from __future__ import annotations

import random
from _random import Random as Twister
from typing import Any

from daskperiment.tracking.seeds import entropy
from daskperiment.tracking.seeds.draws import OUTSIDE, here
from daskperiment.tracking.seeds.names import replace

_random, _getrandbits = Twister.random, Twister.getrandbits


class _PerStep(Twister):
    """The C methods that all others of ``random.Random`` rest on, for this thread's stream."""

    def random(self) -> float:
        draws = here.draws
        draws.uses += 1
        return _random(draws.twister or draws.python())

    def getrandbits(self, k: int, /) -> int:
        draws = here.draws
        draws.uses += 1
        return _getrandbits(draws.twister or draws.python(), k)

    def getstate(self) -> Any:
        here.draws.uses += 1
        return Twister.getstate(here.draws.python())

    def setstate(self, state: Any, /) -> None:
        Twister.setstate(here.draws.python(), state)

    def seed(self, n: Any = None, /) -> None:
        if n is None:
            entropy.note()
        Twister.seed(here.draws.python(), n)


class _Isolated(random.Random, _PerStep):
    """``random.Random`` over the streams of :class:`_PerStep`."""

    # In front of C's own methods stands _PerStep: early-bound ``randint`` arrives there too.

    @property
    def gauss_next(self) -> float | None:
        return here.draws.gauss

    @gauss_next.setter
    def gauss_next(self, value: float | None) -> None:
        here.draws.gauss = value

    def __reduce__(self) -> str:
        # By reference: ``from random import randint`` in a function that is sent to another
        # process has to mean the stream of the step there, not a copy of the one here.
        return "_inst"


_Isolated.__module__ = "random"


def isolate() -> None:
    """Isolate the instance behind the functions of ``random``; once per process.

    The two functions that are C's own methods are replaced, also in modules that have
    already imported them by name.
    """
    instance: Any = random._inst
    builtins = {name: getattr(random, name) for name in ("random", "getrandbits")}
    OUTSIDE.twister, OUTSIDE.gauss = instance, instance.gauss_next
    instance.__class__ = _Isolated
    for name, builtin in builtins.items():
        replace(builtin, getattr(instance, name))
