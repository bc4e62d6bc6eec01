"""Standardised inputs: each column less its mean, divided by its standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import sparse

from spikedrf.arrays import Array
from spikedrf.estimators.rows import Rows, dense_blocks
from spikedrf.parameters import Floats

#: A column that varies by less than this part of its mean is constant, up to rounding.
_CONSTANT = 1e-14


@dataclass(frozen=True, eq=False)
class Scaling:
    """What the first layer sees of an input ``x``: ``(x - mean) / size``.

    Attributes
    ----------
    mean, size : ndarray of float64, shape (d,)
    """

    mean: Floats
    size: Floats

    def __call__(self, x: Array) -> Floats:
        """Return some rows, dense, in units of the columns; in double precision."""
        return np.asarray((x - self.mean) / self.size)

    @classmethod
    def of(cls, rows: Rows) -> Scaling:
        """Return that of the columns of some rows.

        A sparse matrix keeps its zeros: of its columns there is no mean, and the root mean square
        for the deviation. What does not vary is in units of its mean.
        """
        total = float(rows.weight.sum())
        sums = rows.sum(_sums)
        mean = np.zeros_like(sums.x) if sparse.issparse(rows.X) else sums.x / total
        # Squares in units of what they are squares of: inputs may be very large or small.
        unit = np.where(sums.size > 0.0, sums.size / total, 1.0)
        size = unit * np.sqrt(rows.sum(partial(_squares, mean, unit)) / total)
        fixed = size <= _CONSTANT * np.abs(mean)
        return cls(mean, np.where(fixed, np.where(mean == 0.0, 1.0, np.abs(mean)), size))


class _Sums(NamedTuple):
    """Sums over rows of the inputs and of their sizes, shape (d,)."""

    x: Floats
    size: Floats


def _sums(rows: Rows) -> _Sums:
    sums = _Sums(*np.zeros((2, rows.X.shape[1])))
    for part, x in dense_blocks(rows.X, np.float64, bias=False):
        sums.x[...] += rows.weight[part] @ x
        sums.size[...] += rows.weight[part] @ np.abs(x)
    return sums


def _squares(mean: Floats, unit: Floats, rows: Rows) -> Floats:
    total = np.zeros(rows.X.shape[1])
    for part, x in dense_blocks(rows.X, np.float64, bias=False):
        total += rows.weight[part] @ ((x - mean) / unit) ** 2
    return total
