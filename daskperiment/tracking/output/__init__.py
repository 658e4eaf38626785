"""Output: what one call of a step prints and logs, as data.

::

    with Capture(("train", 0), listener) as capture:
        ...
    capture.take()    # pieces of text with their time, also while it runs

Around many calls ``with LISTENING:`` makes each of them cheaper.

Captured is what passes through ``sys.stdout``, ``sys.stderr`` and the loggers of
:mod:`logging` in the context of the call.

What is not
    - Threads that a step starts itself, unless in a copy of its context
      (:func:`contextvars.copy_context`).
    - What does not pass through Python: other programs, C extensions, ``os.write``.
    - What the step redirects to somewhere else.
"""

from __future__ import annotations

from daskperiment.tracking.output.capture import Capture
from daskperiment.tracking.output.hooks import LISTENING

__all__ = ["LISTENING", "Capture"]
