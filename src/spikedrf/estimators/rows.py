"""The rows of a fit: inputs, targets, weights, and how they are dealt out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spikedrf.arrays import Array, row_blocks
from spikedrf.parameters import Floats

T = TypeVar("T")

#: Rows worked on at a time: enough for BLAS to run at full speed on the products with them.
BLOCK = 2048
#: Fewer if there are so many columns that they would take more than this, but not fewer than that.
_BLOCK_BYTES, _LEAST = 1 << 24, 16


def dense_blocks(
    X: Any, dtype: Any, *, bias: bool, scaling: Callable[[Any], Any] | None = None
) -> Iterator[tuple[slice, Array]]:
    """Yield blocks of rows, dense and contiguous, with a column of ones if ``bias``.

    Parameters
    ----------
    X : ndarray or csr matrix, shape (n, d)
    dtype : {float64, float32}
    bias : bool
    scaling : callable, optional
        What is to be done to the inputs first.
    """
    n, d = X.shape
    for rows in row_blocks(n, max(_LEAST, min(BLOCK, _BLOCK_BYTES // (8 * max(d, 1))))):
        x = X[rows]
        if sparse.issparse(x):
            x = x.toarray()
        if scaling is not None:
            x = scaling(x)
        if bias:
            block = np.ones((len(x), d + 1), dtype)
            block[:, :d] = x
        else:
            block = np.ascontiguousarray(x, dtype)
        yield rows, block


class Units(NamedTuple):
    """Powers of two as units of targets and weights.

    To divide by them rounds nothing, and what is done with the quotients depends on the size of
    neither; squares neither over- nor underflow.
    """

    y: float
    weight: float


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
    within : ndarray of float64, shape (n, targets), optional
        Variance of the targets of the copies that a row stands for, see `distinct`.
    scaling : callable, optional
        What is done to the inputs before the first layer sees them.
    numbers : dict
        The `keys` of the rows by their salt, once they are known.
    """

    X: Any
    y: Floats
    weight: Floats
    bias: bool
    number: NDArray[np.int64]
    given: int
    within: Floats | None = None
    scaling: Callable[[Any], Any] | None = None
    numbers: dict[int, NDArray[np.uint64]] = field(default_factory=dict)

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
            within=None if self.within is None else self.within[index],
            numbers={salt: keys[index] for salt, keys in self.numbers.items()},
        )

    def here(self, index: NDArray[Any] | None = None) -> Rows:
        """Return some of the rows or all, in the memory of this process."""
        return self if index is None else self.take(index)

    def sum(self, measure: Callable[..., T], *columns: Floats) -> T:
        """Return what is measured, added up over the parts that the rows are in: here one.

        What ``columns`` have for each row is handed to the measure with the rows.
        """
        return measure(self, *columns)

    def each(self, measure: Callable[[Rows], Array]) -> Array:
        """Return what is measured of each row."""
        return measure(self)

    def labelled(self, y: Floats) -> Rows:
        """Return the rows with other targets."""
        return replace(self, y=y, within=None)

    def standing_for(self, y: Floats, weight: Floats, within: Floats | None) -> Rows:
        """Return the rows with other targets, weights and variances within them."""
        return replace(self, y=y, weight=weight, within=within)

    def scaled(self, scaling: Callable[[Any], Any] | None) -> Rows:
        """Return the rows with what is to be done to their inputs."""
        return replace(self, scaling=scaling, numbers={})

    def same(self, others: Rows) -> Rows:
        """Return those that are among others: the same rows, it may be with other targets."""
        return self.take(np.isin(self.number, others.number))

    @property
    def variance(self) -> Floats:
        """Variance of each target, shape (targets,)."""
        share = self.weight / self.weight.sum()
        variance = share @ (self.y - share @ self.y) ** 2
        return np.asarray(variance if self.within is None else variance + share @ self.within)

    @property
    def units(self) -> Units:
        """Units in which targets and weights are neither large nor small."""
        return Units(binary_unit(self.y), binary_unit(self.weight))

    def in_units(self, units: Units) -> Rows:
        """Return the rows with targets and weights in other units."""
        if units == (1.0, 1.0):
            return self
        within = None if self.within is None else self.within / units.y / units.y
        return self.standing_for(self.y / units.y, self.weight / units.weight, within)

    def distinct(self, salt: int) -> Rows:
        """Return one row for all that have the same inputs.

        It has their weight and their mean targets, so that every sum of squares over them is the
        same up to a constant, which ``within`` keeps. To leave it out is to leave out every copy:
        what is then predicted is a row of which nothing was known.
        """
        _, first, copy = np.unique(self.keys(salt), return_index=True, return_inverse=True)
        if len(first) == len(self):
            return self
        order = np.argsort(first)  # as they were given
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        first, copy = first[order], rank[copy]
        weight: Floats = np.bincount(copy, self.weight).astype(np.float64)

        def mean(values: Floats) -> Floats:
            sums = [np.bincount(copy, self.weight * column) for column in values.T]
            return np.asarray(np.column_stack(sums) / weight[:, None])

        start = self.y[first]  # of which nothing is rounded off where all are the same
        y = start + mean(self.y - start[copy])
        within = mean((self.y - y[copy]) ** 2 + (0.0 if self.within is None else self.within))
        kept = np.zeros(len(self), bool)
        kept[first] = True
        return self.take(kept).standing_for(y, weight, within)

    def blocks(self, dtype: Any) -> Iterator[tuple[slice, Array]]:
        """Yield what the first layer sees of the inputs in blocks, as `dense_blocks`."""
        return dense_blocks(self.X, dtype, bias=self.bias, scaling=self.scaling)

    def keys(self, salt: int) -> NDArray[np.uint64]:
        """Return a random number for each row that depends on nothing but its inputs.

        What is dealt out by these numbers does not depend on the order of the rows, copies of a
        row stay together, and a row of weight two is dealt like two rows. Scaled inputs count in
        single precision, so that it does not depend on their units either: these are rounded off.
        """
        if salt in self.numbers:
            return self.numbers[salt]
        columns = np.arange(self.X.shape[1], dtype=np.uint64) + np.uint64(1)
        mask = _mixed(columns * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt))
        keys = np.empty(len(self), np.uint64)
        for rows, x in dense_blocks(self.X, np.float64, bias=False, scaling=self.scaling):
            if self.scaling is not None:
                x = x.astype(np.float32).astype(np.float64)
            bits = (x + 0.0).view(np.uint64)  # -0.0 is 0.0
            keys[rows] = _mixed(bits ^ mask).sum(axis=1, dtype=np.uint64)
        self.numbers[salt] = keys
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


def binary_unit(values: Floats) -> float:
    """Return the power of two below the largest of some numbers in size; 1 if all are 0."""
    largest = float(np.abs(values).max(initial=0.0))
    return float(np.ldexp(1.0, int(np.frexp(largest)[1]) - 1)) if largest > 0.0 else 1.0


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits, one to one (the finaliser of the splitmix64 generator)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
