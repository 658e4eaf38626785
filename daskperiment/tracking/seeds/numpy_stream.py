"""NumPy's legacy generator, switched to the stream of the step call that draws.

Every legacy function enters the lock of the one hidden bit generator, so a bit generator
with a lock of ours sees all draws, ``from numpy.random import rand`` included.  Entering
the lock puts the stream of this thread's step into the generator: seeded at the first
draw, exchanged when another thread drew in between.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from daskperiment import platform
from daskperiment.tracking.seeds.draws import OUTSIDE, Draws, here
from daskperiment.tracking.seeds.names import replace

if TYPE_CHECKING:
    from numpy.random import MT19937

_LOCK = threading.RLock()
platform.hold_across_fork(_LOCK)


class _Turn:
    """The lock that the legacy functions enter; gives the generator to this thread's step."""

    def __init__(self) -> None:
        self.owner: Draws | None = OUTSIDE  # whose stream is in the generator; None: unknown
        self.switching = False

    def __enter__(self) -> None:
        # An interrupt (Ctrl-C) may come after any call in here, also between two draws of a
        # hot loop, and must not leave the lock behind.  So the lock is taken by ``with``,
        # and once more to outlive it: that cannot block, hence an exception after
        # ``held = True`` always means that it was taken.
        entered, held = _LOCK._is_owned(), False  # type: ignore[attr-defined]
        try:
            with _LOCK:
                draws = here.draws
                if draws is not self.owner:
                    self.take(draws)
                draws.uses += not entered
                held = True
                _LOCK.acquire()
        except BaseException:
            if held:
                _LOCK.release()
            raise

    def change(self, entered: bool) -> None:
        """Take the turn to seed the stream, which is no use of it; the caller holds the lock.

        NumPy may have entered the lock around a seeding, which has then been counted.
        """
        self.take(here.draws)
        here.draws.uses -= entered and not self.switching

    def keep(self) -> None:
        """Keep where the stream in the generator stands; the caller holds the lock."""
        self.switching = True
        try:
            _keep(self.owner)
        finally:
            self.switching = False

    # C's own method, called without binding: nothing can interrupt it before it releases.
    __exit__ = _LOCK.__exit__

    def take(self, draws: Draws) -> None:
        """Put a stream into the generator; the caller holds the lock."""
        if draws is self.owner or self.switching:
            return
        self.switching = True
        try:
            _keep(self.owner)
            # An interrupt from here on repeats the loading, never the keeping.
            self.owner = None
            _load(draws)
            self.owner = draws
        finally:
            self.switching = False


def _keep(owner: Draws | None) -> None:
    if owner is not None and not owner.done:
        owner.numpy_state = _legacy().get_state(legacy=False)


def _load(draws: Draws) -> None:
    if draws.numpy_state is None:
        _legacy().seed(draws.seed)
    else:
        _legacy().set_state(draws.numpy_state)


def _held() -> bool:
    return bool(_LOCK._is_owned())  # type: ignore[attr-defined]


def _legacy() -> Any:
    import numpy as np

    return np.random.mtrand._rand


_TURN = _Turn()


def state_of(draws: Draws) -> dict[str, Any] | None:
    """Where a call's stream stands, None before its first use; asking is no use of it."""
    with _LOCK:
        if _TURN.owner is draws:
            _TURN.keep()
        return draws.numpy_state


def set_state_of(draws: Draws, state: dict[str, Any] | None) -> None:
    """Put a call's stream somewhere, for None to its beginning; that is no use of it."""
    with _LOCK:
        draws.numpy_state = state
        if _TURN.owner is draws:
            _TURN.owner = None  # whoever draws next loads the stream


def isolate() -> None:
    """Isolate NumPy's legacy generator; the user's stream goes on where it is.

    Does nothing when the user has put in another kind of bit generator.
    """
    import numpy as np

    random: Any = np.random
    old = random.get_bit_generator()
    if type(old) is random.MT19937:
        with old.lock:
            state = random.get_state(legacy=False)
            random.set_bit_generator(_switched(old.seed_seq))
            random.set_state(state)
            replace(random.set_state, _turning(random.set_state))


def _turning(set_state: Callable[..., None]) -> Callable[..., None]:
    # Older versions of NumPy (2.2 is one) write the cached normal first of all, unseen: the
    # stream has to change hands earlier, or the other step's value would be overwritten.
    @functools.wraps(set_state)
    def turning(state: Any) -> None:
        with _TURN:
            set_state(state)

    turning.__module__ = "numpy.random"
    turning.__qualname__ = "set_state"
    return turning


def _switched(seed: Any) -> MT19937:
    import numpy as np

    plain_state: Any = np.random.MT19937.state

    # The name is part of every state that NumPy reads and writes.
    class MT19937(np.random.MT19937):
        lock = _TURN  # type: ignore[assignment]

        def _legacy_seeding(self, seed: Any) -> None:
            entered = _held()
            with _LOCK:
                _TURN.change(entered)
                super()._legacy_seeding(seed)

        @property
        def state(self) -> Any:
            with _TURN:
                return plain_state.__get__(self)

        @state.setter
        def state(self, value: Any) -> None:
            entered = _held()
            with _LOCK:
                _TURN.change(entered)
                plain_state.__set__(self, value)

        def __reduce__(self) -> Any:
            # A copy is an ordinary generator with a lock of its own.
            plain = np.random.MT19937(0)
            plain.state = self.state
            return plain.__reduce__()

    return MT19937(seed)
