"""The spectrum of a population, from what ridge regression sees of a sample of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Values on the grid, and points of the fit.
_NODES, _POINTS = 60, 60


def masses_of_rows(
    eigenvalue: Floats,
    forms: Floats,
    rows: int,
    *,
    smallest: float,
    beside: Floats | None = None,
) -> tuple[Floats, Floats]:
    r"""Fit masses on a grid of values to what is seen of a sample.

    With the eigenvalues ``l`` of ``X^T X``, where the rows of X are a sample of
    ``N(0, Omega/d)``, and ``beta = n/d``::

        G(b) = (1/n) Tr (1 + b X X^T)^{-1},
        sum_j f_j l_j/(1 + b l_j) / (beta G) = f' Omega (1 + x Omega)^{-1} f  at x = beta b G(b)

    for the trace, ``f_j = 1/d``, and for other forms. Masses are not below zero: the best
    approximation by a covariance that there could be.

    Parameters
    ----------
    eigenvalue : ndarray, shape (d,)
        Not negative; of more dimensions than rows the smallest are zero.
    forms : ndarray, shape (F, d)
        Weights of the sample's eigenvectors; the first is the trace.
    rows : int
        Rows of the sample.
    smallest : float
        Where the grid begins, beside the largest value.
    beside : ndarray, shape (F, d), optional
        The forms that errors are relative to, by default each to itself.

    Returns
    -------
    node, weight : ndarray, shape (J,) and (F, J)
    """
    from scipy.optimize import nnls

    d = eigenvalue.size
    beta = rows / d
    high = eigenvalue.max() / beta
    node = np.geomspace(smallest * high, high, _NODES)
    b = np.geomspace(1e-2 / eigenvalue.max(), 1e3 / np.mean(eigenvalue), _POINTS)[:, None]
    seen = 1.0 / (1.0 + b * eigenvalue)
    mass = 1.0 + (seen.sum(axis=1) - d) / rows
    x = beta * b[:, 0] * mass
    kernel = 1.0 / (x[:, None] + 1.0 / node)
    eigenvalue = eigenvalue * seen / (beta * mass[:, None])
    weight = np.empty((len(forms), _NODES))
    for i, form in enumerate(forms):
        size = np.abs(eigenvalue @ (form if beside is None else beside[i]))
        weight[i] = nnls(kernel / size[:, None], eigenvalue @ form / size)[0]
    return node, weight
