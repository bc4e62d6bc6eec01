"""The rows of a fit: inputs, targets, weights, and how they are dealt out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spikedrf.arrays import Array, row_blocks
from spikedrf.parameters import Floats

T = TypeVar("T")

#: Rows worked on at a time: enough for BLAS to run at full speed on the products with them.
BLOCK = 2048


def dense_blocks(X: Any, dtype: Any, *, bias: bool) -> Iterator[tuple[slice, Array]]:
    """Yield blocks of rows, dense and contiguous, with a column of ones if ``bias``."""
    n, d = X.shape
    for rows in row_blocks(n, BLOCK):
        x = X[rows]
        if sparse.issparse(x):
            x = x.toarray()
        if bias:
            block = np.ones((len(x), d + 1), dtype)
            block[:, :d] = x
        else:
            block = np.ascontiguousarray(x, dtype)
        yield rows, block


@dataclass(frozen=True, eq=False)
class Rows:
    """Samples of positive weight.

    Attributes
    ----------
    X : ndarray or csr matrix, shape (n, d)
    y : ndarray of float64, shape (n, targets)
    weight : ndarray of float64, shape (n,)
    bias : bool
        Whether a constant is appended to the inputs.
    number : ndarray of int, shape (n,)
        Their numbers among the rows that were given.
    given : int
        How many were given.
    """

    X: Any
    y: Floats
    weight: Floats
    bias: bool
    number: NDArray[np.int64]
    given: int

    def __len__(self) -> int:
        return len(self.y)

    @property
    def d(self) -> int:
        """Number of inputs, the constant included."""
        return int(self.X.shape[1]) + int(self.bias)

    def take(self, index: NDArray[Any]) -> Rows:
        """Return some of the rows: a mask, or their numbers."""
        return replace(
            self,
            X=self.X[index],
            y=self.y[index],
            weight=self.weight[index],
            number=self.number[index],
        )

    def here(self, index: NDArray[Any] | None = None) -> Rows:
        """Return some of the rows or all, in the memory of this process."""
        return self if index is None else self.take(index)

    def sum(self, measure: Callable[[Rows], T]) -> T:
        """Return what is measured, added up over the parts that the rows are in: here one."""
        return measure(self)

    def labelled(self, y: Floats) -> Rows:
        """Return the rows with other targets."""
        return replace(self, y=y)

    def same(self, others: Rows) -> Rows:
        """Return those that are among others: the same rows, it may be with other targets."""
        return self.take(np.isin(self.number, others.number))

    def blocks(self, dtype: Any) -> Iterator[tuple[slice, Array]]:
        """Yield the inputs in blocks, as `dense_blocks`."""
        return dense_blocks(self.X, dtype, bias=self.bias)

    def keys(self, salt: int) -> NDArray[np.uint64]:
        """Return a random number for each row that depends on nothing but its inputs.

        What is dealt out by these numbers does not depend on the order of the rows, copies of a
        row stay together, and a row of weight two is dealt like two rows.
        """
        columns = np.arange(self.X.shape[1], dtype=np.uint64) + np.uint64(1)
        mask = _mixed(columns * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt))
        keys = np.empty(len(self), np.uint64)
        for rows, x in dense_blocks(self.X, np.float64, bias=False):
            bits = (x + 0.0).view(np.uint64)  # -0.0 is 0.0
            keys[rows] = _mixed(bits ^ mask).sum(axis=1, dtype=np.uint64)
        return keys

    def deal(
        self, salt: int, folds: int, strata: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Return the fold of each row, by its `keys`: at most so many, of about equal size.

        Parameters
        ----------
        salt : int
        folds : int
        strata : ndarray of int, shape (n,), optional
            Rows of each stratum are dealt out evenly too.
        """
        distinct, rank = np.unique(self.keys(salt), return_inverse=True)
        if strata is not None:
            code = strata * distinct.size + rank
            distinct, rank = np.unique(code, return_inverse=True)
        return np.asarray(rank % max(1, min(folds, distinct.size)))


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits, one to one (the finaliser of the splitmix64 generator)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
