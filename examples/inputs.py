"""A cost changes though no argument did: the file that a step reads by itself is named.

Two trials with the same parameters, between which ``prices.txt`` is written anew.  You will see a
warning for what the step touches, what is recorded of it, and why the two trials differ.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from daskperiment import Experiment, PurityWarning, UndeclaredInputWarning

ex = Experiment("cost", backend="memory://", seed=1, audit="warn")
amount = ex.parameter("amount", default=10)


@ex
def price() -> float:
    return float(Path("prices.txt").read_text())


@ex.result
def cost(price: float, amount: int) -> float:
    return price * amount


warnings.simplefilter("ignore", PurityWarning)  # it would name the file as well
s = cost(price(), amount)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UndeclaredInputWarning)
    for text in ("2.5", "3"):
        Path("prices.txt").write_text(text)
        print(f"at {text}: {s.compute()}")

print(*(warning.message for warning in caught), sep="\n")
print(ex.latest.inputs)
print(ex.explain(1, 2))
