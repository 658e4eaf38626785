"""Generators of torch and TensorFlow, when the user has already imported them.

They belong to the whole process and cannot be switched per thread, as those of ``random``
and NumPy are: steps that run at the same time on threads disturb each other's draws.  Run
such trials on one thread, or on processes.  A framework that is imported inside a step,
or a CUDA device first used inside one, is seeded from the next step on.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from daskperiment import platform

logger = logging.getLogger(__name__)

Leave = Callable[[], bool]
"""Ends the seeding of one call; tells whether the call drew."""


class _Torch:
    """torch's CPU generator, and CUDA's where initialised; the user's states are kept."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inside = 0
        self._own: list[Any] = []
        platform.hold_across_fork(self._lock)

    def seed(self, torch: Any, seed: int) -> Leave:
        """Seed as ``torch.manual_seed`` does, until the result is called."""
        with self._lock:
            before = _torch_states(torch)
            if self._inside == 0:
                self._own = before
            self._inside += 1
            torch.default_generator.manual_seed(seed)
            if torch.cuda.is_initialized():
                torch.cuda.manual_seed_all(seed)
            start = _torch_states(torch)
        return lambda: self._leave(torch, before, start)

    def _leave(self, torch: Any, before: list[Any], start: list[Any]) -> bool:
        with self._lock:
            now = _torch_states(torch)
            self._inside -= 1
            # Steps on threads leave in any order; the last one gives back the user's state.
            _restore_torch(torch, before if self._inside else self._own)
        same = len(now) == len(start) and all(map(torch.equal, now, start))
        return not same


def _torch_states(torch: Any) -> list[Any]:
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *devices]


def _restore_torch(torch: Any, states: list[Any]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])


def torch_states() -> list[bytes]:
    """Where torch's generators stand: the CPU's, then CUDA's; empty unless it is imported."""
    if not _loaded("torch"):
        return []
    return [state.numpy().tobytes() for state in _torch_states(sys.modules["torch"])]


def set_torch_states(states: list[bytes]) -> None:
    """Put torch's generators where they stood; those of CUDA on as many devices only."""
    if not _loaded("torch"):
        logger.warning("The state of torch's generators is not restored: torch is not imported yet")
        return
    torch: Any = sys.modules["torch"]
    cpu, *cuda = [torch.frombuffer(bytearray(each), dtype=torch.uint8) for each in states]
    devices = torch.cuda.device_count() if cuda and torch.cuda.is_available() else 0
    if len(cuda) != devices:
        logger.warning("The state of CUDA's generators is not restored: other devices are here")
        cuda = []
    _restore_torch(torch, [cpu, *cuda])


def _seed_tensorflow(tensorflow: Any, seed: int) -> Leave:
    # TensorFlow shows no position of its stream: it cannot be put back, and every call
    # has to count as one that drew.
    tensorflow.random.set_seed(seed)
    return lambda: True


FRAMEWORKS: dict[str, Callable[[Any, int], Leave]] = {
    "torch": _Torch().seed,
    "tensorflow": _seed_tensorflow,
}


def seed_imported(seed: int) -> tuple[Leave, ...]:
    """Seed every framework that is loaded; call each of the results at the end of the step.

    Costs a look into ``sys.modules`` while none is loaded, and imports none.

    Examples
    --------
    >>> import sys
    >>> "torch" in sys.modules or "tensorflow" in sys.modules or seed_imported(1) == ()
    True
    """
    if sys.modules.keys().isdisjoint(FRAMEWORKS):
        return ()
    return tuple(
        begin(sys.modules[name], seed) for name, begin in FRAMEWORKS.items() if _loaded(name)
    )


def _loaded(name: str) -> bool:
    module: ModuleType | None = sys.modules.get(name)
    # Another thread may be in the middle of importing it.
    return module is not None and not getattr(module.__spec__, "_initializing", False)
