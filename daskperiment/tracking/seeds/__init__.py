"""Seeds: one integer per step call, and isolated generators that follow it.

A trial has one seed (:func:`check_seed`, :func:`draw_seed`).  Every call of a step
gets its own, by :func:`derive`, so that the answer depends neither on the scheduler
nor on an unrelated step.  :func:`seeded` puts one call under its seed::

    with seeded(derive(trial_seed, "clean", 0)) as draws:
        value = clean(data)
    draws.drew       # did the call use its seed?
    draws.entropy    # did it read randomness that no seed can repeat?

Inside, ``random`` and NumPy's legacy functions behave as after ``random.seed(seed)``
and ``numpy.random.seed(seed)``, for each thread on its own.  Outside, the user's own
streams are exactly where the user left them.

What is covered
    All of ``random`` and all 46 legacy functions of ``numpy.random``, however they
    were imported; pandas, SciPy and scikit-learn through them;
    :meth:`Draws.rng`; torch and TensorFlow when already imported.  JAX has no hidden
    global state: its keys are ordinary values, nothing is to be done for it.

What is not
    - Threads that a step starts itself draw from the user's own stream.
    - Generators created outside of the block, such as a module-level
      ``default_rng()``, and ``random.random`` kept in a closure, a default argument or
      a class attribute before the first block.
    - The cached normal value, in older versions of NumPy (2.2 is one), when a step begins with
      ``numpy.random.mtrand._rand.set_state``; ``numpy.random.set_state`` is fine.
    - Numba's own generators, and a bit generator that the user puts in with
      ``numpy.random.set_bit_generator``.
    - torch's and TensorFlow's generators belong to the process: they are seeded, but
      concurrent steps on threads disturb each other
      (:mod:`daskperiment.tracking.seeds.frameworks`).
"""

from __future__ import annotations

from daskperiment.tracking.seeds.draws import Draws, current
from daskperiment.tracking.seeds.installation import install, seeded
from daskperiment.tracking.seeds.number import check_seed, derive, draw_seed
from daskperiment.tracking.seeds.states import restore, state_of

__all__ = [
    "Draws", "check_seed", "current", "derive", "draw_seed", "install", "restore", "seeded",
    "state_of",
]  # fmt: skip
