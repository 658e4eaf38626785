"""Linear algebra in pieces so small that BLAS begins no threads for them.

Threads of BLAS wait for one another actively: beside trials that take all processors, a product of
matrices as small as these would take a hundred times as long.  Their number is not changed instead,
because it is one for the whole process, and trials may depend on it.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dtrtri

from daskperiment.search.samplers.cube import Array

_MOST_PRODUCTS = 2**18  # beyond so many OpenBLAS takes threads
_BLOCK = 32


def product(left: Array, right: Array) -> Array:
    """The product of two matrices.

    Examples
    --------
    >>> product(np.ones((600, 40)), np.ones((40, 30)))[0, 0].item()
    40.0
    """
    rows = max(_MOST_PRODUCTS // max(right.size, 1), 1)
    if len(left) <= rows:
        return np.asarray(left @ right)
    found = np.empty((len(left), right.shape[1]))
    for start in range(0, len(left), rows):
        np.matmul(left[start : start + rows], right, out=found[start : start + rows])
    return found


def whitening(matrix: Array) -> Array:
    """The inverse of the lower factor of Cholesky: of the matrix and it, W M W' is the unit matrix.

    Raises
    ------
    numpy.linalg.LinAlgError
        The matrix is not positive definite.

    Examples
    --------
    >>> whitening(np.array([[4.0]])).tolist()
    [[0.5]]
    """
    size = len(matrix)
    if size <= _BLOCK:
        inverse: Array = dtrtri(np.linalg.cholesky(matrix), lower=1)[0]
        return inverse
    half = size // 2
    first = whitening(matrix[:half, :half])
    across = product(matrix[half:, :half], first.T)
    last = whitening(matrix[half:, half:] - product(across, across.T))
    found = np.zeros_like(matrix)
    found[:half, :half], found[half:, half:] = first, last
    found[half:, :half] = -product(product(last, across), first)
    return found
