"""A graph and no line that runs it: values come from the command line.

Run it with ``python examples/script.py a=1 b=2``, then with other values, and you will see the
log of each trial with its result on stderr, and on stdout the trials so far.  Run it with
``--help`` to see the parameters, and without values to be told that they are missing.
"""

from __future__ import annotations

from daskperiment import Experiment

ex = Experiment("script")
a = ex.parameter("a", type=float, help="First summand.")
b = ex.parameter("b", type=float, help="Second summand.")
times = ex.parameter("times", default=1, help="How often the sum is taken.")


@ex
def add(a: float, b: float) -> float:
    return a + b


@ex.result
def multiply(total: float, times: int) -> float:
    return total * times


s = multiply(add(a, b), times)

if __name__ == "__main__":
    print(ex.get_history()[["a", "b", "times", "Result"]].to_string())
