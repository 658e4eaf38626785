"""Callbacks: what is told of batches, trials, steps and metrics, and what stops a batch.

They know nothing of how trials run: whoever runs them tells a dispatcher, :class:`Callbacks`.

>>> from daskperiment import Experiment
>>> ex = Experiment("doc_callbacks_package", backend="memory://")
>>> @ex.result
... def half(a):
...     return a / 2
>>> def tell(event, **arguments):
...     if event == "after_trial":
...         print(arguments["trial"].result)
>>> ex.add_callback(tell)
>>> half(ex.parameter("a", default=3)).compute()
1.5
1.5
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from daskperiment.callbacks.base import HOOKS, BatchView, Callback
from daskperiment.callbacks.dispatcher import Callbacks

if TYPE_CHECKING:
    from daskperiment.callbacks.log import LogTrials
    from daskperiment.callbacks.mail import Email
    from daskperiment.callbacks.progress import Progress
    from daskperiment.callbacks.stopping import (
        StopAfterFailures,
        StopAfterTime,
        StopAtScore,
        StopWithoutImprovement,
    )
    from daskperiment.callbacks.webhook import Webhook

# An experiment without callbacks does not need what these import.
_HOMES = {
    "Email": "daskperiment.callbacks.mail",
    "LogTrials": "daskperiment.callbacks.log",
    "Progress": "daskperiment.callbacks.progress",
    "StopAfterFailures": "daskperiment.callbacks.stopping",
    "StopAfterTime": "daskperiment.callbacks.stopping",
    "StopAtScore": "daskperiment.callbacks.stopping",
    "StopWithoutImprovement": "daskperiment.callbacks.stopping",
    "Webhook": "daskperiment.callbacks.webhook",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = [
    "HOOKS",
    "BatchView",
    "Callback",
    "Callbacks",
    "Email",
    "LogTrials",
    "Progress",
    "StopAfterFailures",
    "StopAfterTime",
    "StopAtScore",
    "StopWithoutImprovement",
    "Webhook",
]
