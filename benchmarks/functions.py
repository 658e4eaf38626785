"""Functions that searches are measured on: their spaces, their minima, and where they are from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from daskperiment.search import Float, SearchSpace

Point = Mapping[str, float]


@dataclass(frozen=True)
class Function:
    """A function to minimise: where, how low it gets, and with how many evaluations."""

    name: str
    of: Callable[[Point], float]
    space: SearchSpace
    minimum: float
    evaluations: int

    def regret(self, point: Point) -> float:
        """How far above the minimum the function is there."""
        return self.of(point) - self.minimum


def branin(point: Point) -> float:
    """Dixon and Szego, Towards Global Optimisation 2 (1978): three minima of equal height."""
    x, y = point["x"], point["y"]
    bowl = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bowl**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


_HEIGHTS = (1.0, 1.2, 3.0, 3.2)
_WIDTHS = (
    (10, 3, 17, 3.5, 1.7, 8),
    (0.05, 10, 17, 0.1, 8, 14),
    (3, 3.5, 1.7, 10, 17, 8),
    (17, 8, 0.05, 10, 0.1, 14),
)
_CENTRES = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def hartmann6(point: Point) -> float:
    """Hartman (1973), with the constants of Dixon and Szego: six local minima, most of it flat."""
    x = list(point.values())
    return -sum(
        height * math.exp(-sum(w * (a - c) ** 2 for w, a, c in zip(widths, x, centre, strict=True)))
        for height, widths, centre in zip(_HEIGHTS, _WIDTHS, _CENTRES, strict=True)
    )


def rosenbrock(point: Point) -> float:
    """Rosenbrock (1960), in more dimensions as by De Jong: a long bent valley."""
    x = list(point.values())
    return sum(100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in pairwise(x))


def _cube(low: float, high: float, width: int) -> SearchSpace:
    return SearchSpace({f"x{i}": Float(low, high) for i in range(width)})


BRANIN = Function(
    "branin", branin, SearchSpace({"x": Float(-5, 10), "y": Float(0, 15)}), 0.39788735772973816, 60
)
HARTMANN6 = Function("hartmann6", hartmann6, _cube(0, 1, 6), -3.322368011415515, 80)
ROSENBROCK5 = Function("rosenbrock5", rosenbrock, _cube(-2.048, 2.048, 5), 0.0, 100)
FUNCTIONS = (BRANIN, HARTMANN6, ROSENBROCK5)
