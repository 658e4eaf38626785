"""A history moves to another store, and past runs of another tool join it.

You will see three trials copied, a second copy that adds nothing, and two runs of an optimiser that
become trials with numbers, parameters and results like all others.
"""

from __future__ import annotations

from pathlib import Path

from daskperiment import Experiment, copy_trials
from daskperiment.backends import open_backend
from daskperiment.importers import READERS, record

ex = Experiment("parabola", backend="memory://", seed=1)
x = ex.parameter("x")


@ex.result
def height(x: float) -> float:
    return x * x


for value in (0.5, 0.25, 2.0):
    height(x).compute(parameters={"x": value})

shared = open_backend("shared")
first = copy_trials(ex.backend, shared)
second = copy_trials(ex.backend, shared)
print(f"copied {len(first.copied)}, then {len(second.copied)}: {second.present} were there")

past = Path("parabola_configurations.csv")
past.write_text("x,id,evaluation\n-1.0,0,1.0\n0.125,1,0.015625\n")
done = record(READERS["exp"](past), shared)
print(f"imported as trials {[number for _, number in done.imported]}")

copied = Experiment("parabola", backend=shared)
print(copied.get_history()[["x", "Result"]])
