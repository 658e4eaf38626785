"""Acquisition functions: how much a point promises, from what is expected of it and how surely."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erfcx, log_ndtr

from daskperiment.errors import SamplerError
from daskperiment.search.samplers.cube import Array
from daskperiment.search.values import is_number
from daskperiment.serializers import preview

Promise = tuple[Array, Array, Array]
_HALF_LOG = 0.5 * math.log(2 * math.pi)
_FAR = -1e4


@dataclass(frozen=True)
class Acquisition:
    """One of EI, LCB and PI, of losses: more is better.

    Parameters
    ----------
    name : str
        ``"EI"``, expected improvement; ``"LCB"``, lower confidence bound; ``"PI"``, probability of
        improvement.  In any case of letters.
    kappa : float
        How many standard deviations LCB goes below the mean, from 0 on.
    xi : float
        By how much EI and PI want the best loss to be improved, from 0 on, in the unit that
        :meth:`of` is given.

    Raises
    ------
    SamplerError
        There is none of that name, or a number is none, or below 0.

    Examples
    --------
    >>> Acquisition("lcb", kappa=2.0).of(np.array([1.0]), np.array([0.5]), 0.0)[0].tolist()
    [0.0]
    """

    name: str = "EI"
    kappa: float = 1.96
    xi: float = 0.01

    def __post_init__(self) -> None:
        known = isinstance(self.name, str) and self.name.upper() in _FUNCTIONS
        if not known:
            allowed = ", ".join(map(repr, _FUNCTIONS))
            raise SamplerError(f"acquisition is one of {allowed}, not {preview(self.name, 80)}")
        object.__setattr__(self, "name", self.name.upper())
        for option in ("kappa", "xi"):
            value = getattr(self, option)
            if not is_number(value) or value < 0:
                raise SamplerError(f"{option} is a number from 0 on, not {preview(value, 80)}")

    def of(self, mean: Array, sd: Array, best: float, unit: float = 1.0) -> Promise:
        """The promise of points, and how it changes with their mean and standard deviation.

        Of EI and PI it is the logarithm, which has a slope also where there is hardly any promise.

        Parameters
        ----------
        mean, sd : array
            What is expected of the loss of each point; `sd` above 0.
        best : float
            The least loss so far.
        unit : float
            That of `xi`.
        """
        option = self.kappa if self.name == "LCB" else best - self.xi * unit
        return _FUNCTIONS[self.name](mean, sd, option)


def _ei(mean: Array, sd: Array, goal: float) -> Promise:
    """log(sd h(z)) with h(z) = pdf(z) + z cdf(z), z = (goal - mean) / sd.

    Far below 0 the two cancel: there h(z) = pdf(z) (1 + z m(z)) with Mills' ratio m, as in Ament
    and others, Unexpected Improvements to Expected Improvement (2023).
    """
    z = (goal - mean) / sd
    mills = math.sqrt(math.pi / 2) * erfcx(-np.minimum(z, 5.0) / math.sqrt(2))
    rest = np.where(z < _FAR, 1 / np.minimum(z, -1.0) ** 2, 1 + z * mills)
    pdf = np.exp(-(z**2) / 2 - _HALF_LOG)
    above = np.where(z > 5, z, pdf * rest)  # which pdf(5) is far below
    log_h = np.where(z > 5, np.log(np.maximum(z, 1.0)), -(z**2) / 2 - _HALF_LOG + np.log(rest))
    by_mean = np.where(z > 5, -1 / np.maximum(above, 1e-300), -mills / rest)
    by_sd = np.where(z > 5, 0.0, 1 / rest)
    return np.log(sd) + log_h, by_mean / sd, by_sd / sd


def _pi(mean: Array, sd: Array, goal: float) -> Promise:
    z = (goal - mean) / sd
    log_cdf = log_ndtr(z)
    ratio = np.exp(-(z**2) / 2 - _HALF_LOG - log_cdf)
    return log_cdf, -ratio / sd, -z * ratio / sd


def _lcb(mean: Array, sd: Array, kappa: float) -> Promise:
    return kappa * sd - mean, np.full_like(mean, -1.0), np.full_like(sd, kappa)


_FUNCTIONS: dict[str, Callable[[Array, Array, float], Promise]] = {
    "EI": _ei,
    "LCB": _lcb,
    "PI": _pi,
}
