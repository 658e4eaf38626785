"""Putting the isolated generators in place, and one step call under its seed."""

from __future__ import annotations

import threading
from typing import SupportsIndex

from daskperiment import platform
from daskperiment.tracking.seeds import arrival, entropy, numpy_stream, python_stream
from daskperiment.tracking.seeds.draws import Draws
from daskperiment.tracking.seeds.number import check_seed

_lock = threading.RLock()
platform.hold_across_fork(_lock)
_installed = False


def install() -> None:
    """Make ``random`` and NumPy's legacy functions able to follow a step's seed.

    Takes effect once per process, whichever thread comes first; a forked child inherits it.
    NumPy's follow as soon as it is imported, by whomever.  Outside of :func:`seeded` all
    functions draw what they would have drawn otherwise, from where they were; only a little slower.

    Examples
    --------
    >>> import random
    >>> random.seed(5)
    >>> install()
    >>> random.random() == random.Random(5).random()
    True
    """
    global _installed
    if _installed:
        return
    with _lock:
        if not _installed:
            python_stream.isolate()
            entropy.watch()
            arrival.prepare_numpy(numpy_stream.isolate, entropy.spare_seeded_random_states)
            _installed = True


def seeded(seed: SupportsIndex) -> Draws:
    """Put the code of a ``with`` block, in this thread, under a seed.

    ``random`` behaves as after ``random.seed(seed)`` and NumPy's legacy functions as after
    ``numpy.random.seed(seed)``, undisturbed by other threads.  After the block the streams
    are where they were before it; blocks may be nested.  Installs what is needed at first use.

    Parameters
    ----------
    seed
        See :func:`check_seed`.

    Raises
    ------
    SeedError
        If `seed` is none.

    Examples
    --------
    >>> import random
    >>> import numpy as np
    >>> with seeded(1) as draws:
    ...     float(np.random.random() + random.random())
    0.5513862488149752
    >>> draws.drew, draws.entropy
    (True, False)
    """
    install()
    return Draws(check_seed(seed))
