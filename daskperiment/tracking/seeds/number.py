"""The seed of a trial and the seeds of its step calls, as plain integers."""

from __future__ import annotations

import operator
import secrets
from typing import SupportsIndex

from blake3 import blake3

from daskperiment.errors import SeedError
from daskperiment.tracking.seeds import entropy

BITS = 32
_LARGEST = 2**BITS - 1
_BOOLEANS = ("bool", "bool_")  # Python's and NumPy's, in all versions
_CONTEXT = "daskperiment seed of a step call, v1"


def check_seed(seed: SupportsIndex) -> int:
    """Return `seed` as a plain integer.

    Parameters
    ----------
    seed
        An integer of any type, NumPy's too, from 0 to 2**32 - 1: what both
        ``random.seed`` and ``numpy.random.seed`` take.

    Raises
    ------
    SeedError
        For any other value; booleans are refused, as they are nearly always a mistake.

    Examples
    --------
    >>> check_seed(7)
    7
    >>> check_seed(-1)
    Traceback (most recent call last):
    daskperiment.errors.SeedError: A seed is an integer from 0 to 4294967295, not -1.
    """
    try:
        number = -1 if type(seed).__name__ in _BOOLEANS else operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number <= _LARGEST:
        raise SeedError(f"A seed is an integer from 0 to {_LARGEST}, not {seed!r}.")
    return number


def draw_seed() -> int:
    """Return a new seed from the operating system, never from a stream that was seeded.

    Drawn inside a step, it makes that step unrepeatable, and is noted as such.

    Examples
    --------
    >>> check_seed(draw_seed()) <= 2**32 - 1
    True
    """
    entropy.note_drawn()
    return secrets.randbits(BITS)


def derive(trial_seed: int, step: str, call: int) -> int:
    """Return the seed of one step call.

    It is the first four bytes, little-endian, of BLAKE3 in its key derivation mode
    (context ``daskperiment seed of a step call, v1``) over the trial's seed (4 bytes,
    little-endian), the call (8 bytes, little-endian) and the step's name in UTF-8.
    Stable: the same on every machine and in every version.

    Parameters
    ----------
    trial_seed
        A checked seed.
    step
        Name of the step.
    call
        Position of this call among those of the step, in graph order; not negative.

    Examples
    --------
    >>> derive(1, "clean", 0), derive(1, "clean", 1), derive(2, "clean", 0)
    (990404978, 666049104, 2748278966)
    """
    message = trial_seed.to_bytes(4, "little") + call.to_bytes(8, "little") + step.encode()
    key = blake3(message, derive_key_context=_CONTEXT).digest(length=BITS // 8)
    return int.from_bytes(key, "little")
