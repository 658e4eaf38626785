"""A Gaussian process on the unit cube."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daskperiment.search.samplers.cube import Array
from daskperiment.search.samplers.descent import descent
from daskperiment.search.samplers.linear import product, whitening

_ROOT5 = 5**0.5
_LENGTH = 0.0, 1.0  # mean and standard deviation of the logarithm, for one axis
_NOISE = np.log(1e-6), 3.0
_BOUNDS = (np.log(1e-2), np.log(1e2)), (np.log(1e-9), np.log(1e1))
_PSEUDO = 2.0  # losses of variance 1 that stand for what is known before there are any
_LEAST = 1e-12
_STEPS = 30
_IMPOSSIBLE = 1e10
_CLOSE = 1e-6


def _matern(squares: Array) -> tuple[Array, Array]:
    """Correlation by squared distance, and -2 times its derivative."""
    root = _ROOT5 * np.sqrt(squares)
    decay = np.exp(-root)
    slope = 5 / 3 * (1 + root) * decay
    return (1 + root + 5 / 3 * squares) * decay, slope


class _Likelihood:
    """Of the losses at points, negative, with priors; by logarithms of the hyper-parameters."""

    def __init__(self, points: Array, targets: Array, axes: Sequence[slice]) -> None:
        self.count = len(points)
        self.pairs = np.triu_indices(self.count, 1)
        squares = (points[self.pairs[0]] - points[self.pairs[1]]) ** 2
        self.squares = np.stack([squares[:, axis].sum(axis=1) for axis in axes])
        self.sides = np.stack([np.ones(self.count), targets], axis=1)
        self.centre = np.append(np.full(len(axes), _LENGTH[0] + 0.5 * np.log(len(axes))), _NOISE[0])
        self.spread = np.append(np.full(len(axes), _LENGTH[1]), _NOISE[1])

    def __call__(self, at: Array) -> tuple[float, Array]:
        inverse, noise = np.exp(-2 * at[:-1]), np.exp(at[-1])
        values, slopes = _matern(inverse @ self.squares)
        matrix = np.eye(self.count) * (1 + noise)
        matrix[self.pairs] = values
        matrix.T[self.pairs] = values
        try:
            white = whitening(matrix)
        except np.linalg.LinAlgError:
            return _IMPOSSIBLE, np.zeros_like(at)
        precision = product(white.T, white)
        ones, alpha = (precision @ self.sides).T
        alpha = alpha - ones * (alpha.sum() / ones.sum())
        scale = (alpha @ self.sides[:, 1] + _PSEUDO) / (self.count + _PSEUDO)
        outer = alpha[self.pairs[0]] * alpha[self.pairs[1]] / scale
        weights = (precision[self.pairs] - outer) * slopes
        by_lengths = inverse * (self.squares @ weights)
        by_noise = 0.5 * noise * (np.trace(precision) - alpha @ alpha / scale)
        value = 0.5 * (self.count + _PSEUDO) * np.log(scale) - np.log(np.diag(white)).sum()
        off = (at - self.centre) / self.spread
        return value + 0.5 * off @ off, np.append(by_lengths, by_noise) + off / self.spread


@dataclass(frozen=True)
class Shape:
    """Hyper-parameters: a length for each axis, and the noise relative to the signal."""

    lengths: Array
    noise: float

    @classmethod
    def of(cls, points: Array, targets: Array, axes: Sequence[slice]) -> Shape:
        """Those that are most likely."""
        likelihood = _Likelihood(points, targets, axes)
        low, high = np.array([_BOUNDS[0]] * len(axes) + [_BOUNDS[1]]).T
        found = descent(likelihood, likelihood.centre, low, high, _STEPS, _CLOSE)
        return cls(np.exp(found[:-1]), float(np.exp(found[-1])))


class GaussianProcess:
    """What is expected of the losses everywhere, from those at some points.

    The correlation is Matern's with 5/2, with a length for each axis; mean and variance are those
    that are most likely.  See Rasmussen and Williams, Gaussian Processes for Machine Learning
    (2006), chapters 2 and 4.

    Parameters
    ----------
    points : array
        Where, a row for each.
    targets : array
        The losses, about as large as 1.
    axes : sequence of slice
        The columns of each axis, which have one length.
    shape : Shape
        The hyper-parameters.

    Examples
    --------
    >>> points, axes = np.array([[0.0], [0.5], [1.0]]), [slice(0, 1)]
    >>> losses = np.array([-1.0, 0.0, 1.0])
    >>> process = GaussianProcess(points, losses, axes, Shape.of(points, losses, axes))
    >>> process.predict(np.array([[1.0]]))[0].round(3).tolist()
    [1.0]
    """

    def __init__(self, points: Array, targets: Array, axes: Sequence[slice], shape: Shape) -> None:
        self.inverse = np.zeros(points.shape[1])
        for axis, length in zip(axes, shape.lengths, strict=True):
            self.inverse[axis] = 1 / length
        self.points, self.shape, self.axes = points * self.inverse, shape, axes
        matrix, _ = _matern(_squares(self.points, self.points))
        matrix[np.diag_indices(len(points))] = 1 + shape.noise
        self.white = _whitening(matrix)
        sides = np.stack([np.ones(len(points)), targets], axis=1)
        ones, alpha = (self.white.T @ (self.white @ sides)).T
        self.mean = float(alpha.sum() / ones.sum())
        self.alpha = alpha - self.mean * ones
        self.best = float(targets.min())
        self.scale = float((self.alpha @ targets + _PSEUDO) / (len(points) + _PSEUDO))

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the losses at the points, without noise."""
        values, _ = _matern(_squares(points * self.inverse, self.points))
        white = product(values, self.white.T)
        left = np.maximum(1 - (white * white).sum(axis=1), _LEAST)
        return self.mean + values @ self.alpha, np.sqrt(self.scale * left)

    def slopes(self, points: Array) -> tuple[Array, Array, Array, Array]:
        """Mean, standard deviation, and how each changes along the columns."""
        scaled = points * self.inverse
        apart = scaled[:, None, :] - self.points
        values, slopes = _matern((apart * apart).sum(axis=2))
        solved = product(product(values, self.white.T), self.white)
        left = np.maximum(1 - (values * solved).sum(axis=1), _LEAST)
        sd = np.sqrt(self.scale * left)
        moved = -slopes[:, :, None] * apart * self.inverse
        by_mean = np.einsum("i,pic->pc", self.alpha, moved)
        by_sd = -np.einsum("pi,pic->pc", solved, moved) * (self.scale / sd)[:, None]
        return self.mean + values @ self.alpha, sd, by_mean, by_sd


def _whitening(matrix: Array) -> Array:
    """Of the matrix with as much more noise as it takes."""
    for power in range(-9, 1):
        try:
            return whitening(matrix)
        except np.linalg.LinAlgError:
            matrix[np.diag_indices(len(matrix))] += 10.0**power
    raise AssertionError("with noise as large as the signal there is one")


def _squares(left: Array, right: Array) -> Array:
    found = -2 * product(left, right.T)
    found += (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1)
    return np.maximum(found, 0.0, out=found)
