"""Several searches that one file describes: read, checked as a whole, then run.

>>> from daskperiment.manager import run_experiments
>>> def loss(rate):
...     return (rate - 0.3) ** 2
>>> described = {"rate": {"space": {"rate": [0.1, 0.3, 0.5]}, "sampler": "grid"}}
>>> (ran,) = run_experiments({"experiments": described}, {"rate": loss}, backend="memory://")
>>> ran.name, ran.search.best.parameters
('rate', {'rate': 0.3})
"""

from __future__ import annotations

from daskperiment.manager.entries import Entry, read
from daskperiment.manager.prepared import Prepared
from daskperiment.manager.running import Ran, plan_experiments, run_experiments

__all__ = ["Entry", "Prepared", "Ran", "plan_experiments", "read", "run_experiments"]
