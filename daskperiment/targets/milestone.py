"""Milestones: results on the way of a long run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Milestone:
    """What a ``step`` returns when it has a result under parameters of its own.

    One long run so leaves results for 100, 200 and 300 iterations: each milestone is recorded
    as a trial that is complete, with the seed and the code of the long run, which it names by
    :attr:`Trial.part_of`.  A batch with ``skip_completed`` finds it.  One under the parameters
    of the long run itself is that one's result and no other trial.

    Parameters
    ----------
    parameters : mapping
        All parameters that it is the result for.
    result : Any
        The result.
    done : bool
        Whether the long run ends with it; its result is then that of the long run.
    progress : tuple of two numbers, optional
        How far the long run is, as ``(300, 1000)``.

    Examples
    --------
    >>> Milestone({"iterations": 100}, 0.5)
    Milestone(parameters={'iterations': 100}, result=0.5, done=False, progress=None)
    """

    parameters: Mapping[str, Any]
    result: Any
    done: bool = False
    progress: tuple[float, float] | None = None
