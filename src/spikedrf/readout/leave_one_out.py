r"""Ridge regression for a path of penalties from one factorisation, with its leave-one-out errors.

The fit is ``min_{a, b} sum_mu w_mu (y_mu - b - Phi_mu . a / sqrt p)^2 + lam |a|^2``. A row of
weight ``w`` stands for all copies of it, and they are left out together: one that stays would
know the answer. This changes its residual to

    residual / (1 - w l),    l = 1/n + (phi - mean)^T (G + lam p)^{-1} (phi - mean),

with ``G`` the Gram matrix of deviations from the mean and ``n`` the sum of the weights. A common
factor of all weights thus only scales the penalty. Copies with different labels are one row with
their mean, of which each is off by what they vary. Source: theory.md, section 5, says why an
estimator that picks its own ridge must use this and not generalised cross-validation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.linalg import blas

from spikedrf.arrays import Array
from spikedrf.parameters import Floats
from spikedrf.readout.ridge import RidgeStatistics, require_finite_gram
from spikedrf.running.memory import require_memory

#: Blocks of rows, by which it is judged how well a mean over rows is known.
BLOCKS = 20
#: Rows whose rotated features are held at once.
_ROTATED = 1024


class Block(NamedTuple):
    """Some samples: which rows they are, features, labels (m, targets) and weights."""

    rows: slice
    Phi: Floats
    y: Floats
    weight: Floats


T = TypeVar("T")


class Samples(Protocol):
    """Features, labels and weights of rows, wherever these are."""

    @property
    def weight(self) -> Floats:
        """Weights of the rows, shape (n,)."""

    @property
    def within(self) -> Floats | None:
        """Variance of the labels that a row is the mean of, shape (n, targets); None if of one."""

    def __len__(self) -> int:
        """Return the number of rows (of weight > 0)."""

    def blocks(self) -> Iterator[Block]:
        """Yield the samples, anew at every call; the features may be overwritten."""

    def take(self, index: NDArray[np.bool_]) -> Self:
        """Return some of the samples."""

    def sum(self, measure: Callable[[Self], T]) -> T:
        """Return what is measured, added up over the parts that the samples are in."""

    def here(self) -> Self:
        """Return the samples as one part in this process."""


class Squares(NamedTuple):
    """Squared leave-one-out residuals, added up in blocks of rows.

    Attributes
    ----------
    square : ndarray, shape (BLOCKS, penalties, targets)
    weight : ndarray, shape (BLOCKS,)
        Weights of the rows of each.
    """

    square: Floats
    weight: Floats

    def mean(self) -> Floats:
        """Return the mean square of a row, shape (penalties, targets)."""
        return np.asarray(self.square.sum(axis=0) / self.weight.sum())

    def sem(self) -> Floats:
        """Return the relative standard error of that, from the means of the blocks."""
        mean, used = self.mean(), self.weight > 0.0
        count = int(used.sum())
        weight = self.weight[used, None, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            away = self.square[used] / weight / mean - 1.0
            variance = np.sum((weight / weight.sum() * away) ** 2, axis=0) * count / (count - 1.0)
            return np.asarray(np.sqrt(variance))


class Moments(NamedTuple):
    """What a path of at least two penalties knows of all others.

    Attributes
    ----------
    values : ndarray, shape (m,)
        Eigenvalues of ``Phi^T W Phi / p`` of deviations from the mean.
    shares : ndarray, shape (m, targets)
        Squared components of ``Phi^T W y / sqrt p`` along the eigenvectors.
    square : ndarray, shape (targets,)
        ``y^T W y``, likewise.
    features : int
        Number of features.
    """

    values: Floats
    shares: Floats
    square: Floats
    features: int


class RidgePath(Protocol):
    """Fits for every penalty of a path."""

    def leave_one_out(self) -> Iterator[tuple[slice, Floats]]:
        """Yield the leave-one-out residuals of blocks of rows, shape (m, penalties, targets).

        They are infinite where rounding leaves nothing of ``1 - w l``. Of a row that stands for
        several they are those of the mean label.
        """

    @property
    def squares(self) -> Squares:
        """Their squares, summed over rows and their copies in blocks."""

    def mean_square(self, of: NDArray[np.bool_] | None = None) -> Floats:
        """Return the mean square over all rows and their copies, or over some of the rows.

        Shape (penalties, targets).
        """

    @property
    def readouts(self) -> tuple[Floats, Floats]:
        """``a / sqrt p``, shape (p, penalties, targets), and ``b``, shape (penalties, targets)."""

    def moments(self) -> Moments:
        """Return the eigenvalues of the Gram matrix and the components of the targets."""


def ridge_path(samples: Samples, p: int, lam: Floats, *, intercept: bool) -> RidgePath:
    """Fit every penalty, from the smaller of the two Gram matrices.

    Parameters
    ----------
    samples : Samples
    p : int
        Number of features.
    lam : ndarray, shape (penalties,)
        Penalties, >= 0.
    intercept : bool
        Whether ``b`` is fitted.
    """
    if len(samples) > p:
        return _Primal(samples, p, lam, intercept)
    return _Dual(samples.here(), p, lam, intercept)


class _Primal:
    """More rows than features: the p x p Gram matrix, blocks of rows seen twice."""

    def __init__(self, samples: Samples, p: int, lam: Floats, intercept: bool) -> None:
        self.samples = samples
        self.fit = _Fit(samples.sum(partial(_statistics, p=p, intercept=intercept)), lam)

    def leave_one_out(self) -> Iterator[tuple[slice, Floats]]:
        return self.fit.leave_one_out(self.samples)

    @cached_property
    def squares(self) -> Squares:
        return self.samples.sum(self.fit.squares)

    def mean_square(self, of: NDArray[np.bool_] | None = None) -> Floats:
        if of is None:
            return self.squares.mean()
        return self.samples.take(of).sum(self.fit.squares).mean()

    @property
    def readouts(self) -> tuple[Floats, Floats]:
        return self.fit.readouts

    def moments(self) -> Moments:
        fit = self.fit
        if fit.factor is not None:
            raise ValueError("one penalty needs no eigenvalues: ask for two or more")
        square = np.asarray(fit.statistics.square, dtype=np.float64)
        return Moments(fit.value, np.square(fit.rotated), square, fit.statistics.p)


def _statistics(samples: Samples, p: int, intercept: bool) -> RidgeStatistics:
    statistics: RidgeStatistics | None = None
    for block in samples.blocks():
        if statistics is None:
            targets = block.y.shape[1]
            statistics = RidgeStatistics(p, targets=targets, intercept=intercept)
        weight = None if (block.weight == 1.0).all() else block.weight
        statistics.update(block.Phi, block.y, weight, overwrite=True)
    assert statistics is not None
    return statistics


class _Fit:
    """What a p x p Gram matrix tells of every penalty; of the rows it holds nothing."""

    def __init__(self, statistics: RidgeStatistics, lam: Floats) -> None:
        p = statistics.p
        self.statistics = statistics
        self.root = np.sqrt(p)
        gram = np.asfortranarray(statistics.upper / p)
        require_finite_gram(gram)
        require_memory(3 * gram.nbytes, f"the factorisation of a matrix of order {p}")
        lost = p * np.finfo(float).eps * np.trace(gram)
        # One penalty that rounding cannot swallow: a Cholesky factor, 25 times cheaper than the
        # eigenvectors. Then gram + lam = U^T U, and U^{-1} takes the place of the eigenvectors.
        # The factor 1/sqrt p of the features goes into either.
        self.factor: Floats | None = None
        if lam.size == 1 and lam[0] > lost:
            gram[np.diag_indices(p)] += lam[0]
            self.factor = linalg.cholesky(gram, lower=False, overwrite_a=True, check_finite=False)
            self.factor *= self.root
            rotated = linalg.solve_triangular(
                self.factor, statistics.moment, trans=1, check_finite=False
            )
            self.inverse = np.ones((1, p))
        else:
            # numpy's eigh lets go of the GIL, scipy's does not.
            value, self.vector = np.linalg.eigh(gram, UPLO="U")
            self.vector /= self.root
            rotated = self.vector.T @ statistics.moment
            self.value, self.rotated = np.maximum(value, 0.0), rotated
            shifted = self.value + lam[:, None]
            self.inverse = np.zeros_like(shifted)
            np.divide(1.0, shifted, out=self.inverse, where=shifted > lost)
        self.coef = self.inverse[:, :, None] * rotated  # (penalties, p, targets)

    def _rotate(self, Phi: Floats) -> Floats:
        Phi -= self.statistics.mean
        if self.factor is None:
            return np.asarray(Phi @ self.vector)
        return np.asarray(blas.dtrsm(1.0, self.factor, Phi.T, trans_a=1, overwrite_b=1).T)

    def leave_one_out(self, samples: Samples) -> Iterator[tuple[slice, Floats]]:
        for block in samples.blocks():
            # A few rows at a time: the rotated features of a block would double its memory.
            first = block.rows.start or 0
            for start in range(0, len(block.Phi), _ROTATED):
                stop = min(start + _ROTATED, len(block.Phi))
                Phi, y, weight = (of[start:stop] for of in (block.Phi, block.y, block.weight))
                yield slice(first + start, first + stop), self._left_out(Phi, y, weight)

    def _left_out(self, Phi: Array, y: Floats, weight: Floats) -> Floats:
        share = 1.0 / self.statistics.n if self.statistics.intercept else 0.0
        B = self._rotate(Phi)
        residual = (y - self.statistics.mean_y)[:, None, :] - _apply(B, self.coef)
        if self.factor is None:
            leverage = share + np.square(B, out=B) @ self.inverse.T
        else:
            leverage = share + np.einsum("ij,ij->i", B, B)[:, None]
        kept = 1.0 - weight[:, None] * leverage
        # Where a row alone determines its fit nothing is known of the fit without it.
        out: Floats = np.full_like(residual, np.inf)
        known = (kept > 10.0 * len(self.coef[0]) * np.finfo(float).eps)[:, :, None]
        np.divide(residual, kept[:, :, None], out=out, where=known)
        return out

    def squares(self, samples: Samples) -> Squares:
        """Return the squared leave-one-out residuals of these rows."""
        return _in_blocks(self.leave_one_out(samples), samples.weight, samples.within)

    @cached_property
    def readouts(self) -> tuple[Floats, Floats]:
        targets = self.coef.shape[2]
        flat = self.coef.transpose(1, 0, 2).reshape(len(self.coef[0]), -1)
        if self.factor is None:
            a = self.vector @ flat
        else:
            a = linalg.solve_triangular(self.factor, flat, check_finite=False)
        a = a.reshape(len(a), -1, targets)
        return a, self.statistics.mean_y - np.tensordot(self.statistics.mean, a, axes=1)


class _Dual:
    """At most as many rows as features: the n x n Gram matrix, the features kept.

    With ``F`` the features times the roots of the weights, centred, and ``F F^T / p = U L U^T``,
    residuals and ``1 - leverage`` both carry the factor ``lam/(L + lam)`` in this basis. Only
    ratios of them are needed, so ``1/(L + lam)`` serves as well and stays finite as lam -> 0. The
    direction of the root weights, which the intercept has taken, is left out of both.
    """

    def __init__(self, samples: Samples, p: int, lam: Floats, intercept: bool) -> None:
        n = len(samples)
        self.root = np.sqrt(p)
        require_memory(8 * (n * p + 4 * n * n), f"the features of {n} rows and their Gram matrix")
        F = np.empty((n, p))
        labels, weights = [], []
        for block in samples.blocks():
            F[block.rows] = block.Phi
            labels.append(block.y)
            weights.append(block.weight)
        y, self.weight = np.concatenate(labels), np.concatenate(weights)
        self.within = samples.within
        share = self.weight / self.weight.sum()
        self.mean = share @ F if intercept else np.zeros(p)
        self.mean_y = share @ y if intercept else np.zeros(y.shape[1])
        self.half = np.sqrt(self.weight)
        F -= self.mean
        F *= self.half[:, None]
        self.F = F
        y = self.half[:, None] * (y - self.mean_y)
        gram = F @ F.T / p
        require_finite_gram(gram)
        value, U = np.linalg.eigh(gram)
        value = np.maximum(value, 0.0)
        if intercept:
            value, U = _without(value, U, self.half / np.linalg.norm(self.half))
        lost = n * np.finfo(float).eps * (value[-1] if value.size else 0.0)
        present = value > lost
        self.rotated = U.T @ y
        self.value = np.where(present, value, 0.0)
        self.square = np.sum(y * y, axis=0)
        self.U = U
        shifted = np.where(present, value, 0.0) + lam[:, None]
        self.inverse = np.zeros_like(shifted)
        np.divide(1.0, shifted, out=self.inverse, where=shifted > 0)
        # lam/(L + lam) up to a factor; without a penalty what cannot be fitted stays entirely.
        self.stay = self.inverse.copy()
        if not present.all():
            self.stay[lam == 0.0] = ~present

    def leave_one_out(self) -> Iterator[tuple[slice, Floats]]:
        left = _apply(self.U, self.stay[:, :, None] * self.rotated) / self.half[:, None, None]
        stay = np.square(self.U) @ self.stay.T
        out = np.full_like(left, np.inf)
        known = (stay > 0.0)[:, :, None]
        yield slice(0, len(left)), np.divide(left, stay[:, :, None], out=out, where=known)

    @cached_property
    def squares(self) -> Squares:
        return _in_blocks(self.leave_one_out(), self.weight, self.within)

    def mean_square(self, of: NDArray[np.bool_] | None = None) -> Floats:
        if of is None:
            return self.squares.mean()
        some = ((slice(0, int(of.sum())), residual[of]) for _, residual in self.leave_one_out())
        within = None if self.within is None else self.within[of]
        return _in_blocks(some, self.weight[of], within).mean()

    def moments(self) -> Moments:
        present = self.value > 0.0
        shares = np.where(present, self.value, 0.0)[:, None] * np.square(self.rotated)
        return Moments(self.value, shares, self.square, self.F.shape[1])

    @cached_property
    def readouts(self) -> tuple[Floats, Floats]:
        penalties, targets = len(self.inverse), self.rotated.shape[1]
        scaled = self.inverse.T[:, :, None] * self.rotated[:, None, :]
        of_rows = self.U @ scaled.reshape(len(scaled), penalties * targets)
        a = (self.F.T @ of_rows / self.root**2).reshape(-1, penalties, targets)
        return a, self.mean_y - np.tensordot(self.mean, a, axes=1)


def _in_blocks(
    residuals: Iterator[tuple[slice, Floats]], weight: Floats, within: Floats | None
) -> Squares:
    """Add up squares; blocks of neighbouring rows, so that what rows share in time counts."""
    block = np.arange(len(weight)) * BLOCKS // max(len(weight), 1)
    square: Floats | None = None
    for rows, residual in residuals:
        if square is None:
            square = np.zeros((BLOCKS, *residual.shape[1:]))
        ours = block[rows]
        for k in np.unique(ours):
            part = ours == k
            square[k] += np.einsum("i,iat->at", weight[rows][part], residual[part] ** 2)
    assert square is not None
    if within is not None:
        for k in range(BLOCKS):
            square[k] += weight[block == k] @ within[block == k]
    return Squares(square, np.bincount(block, weight, minlength=BLOCKS).astype(np.float64))


def _without(value: Floats, U: Floats, direction: Floats) -> tuple[Floats, Floats]:
    """Remove a null direction from eigenvalues and eigenvectors.

    Among several null vectors the direction may be mixed into all of them: a Householder
    reflection gathers it in the first one.
    """
    overlap = U.T @ direction
    null = np.flatnonzero(value <= len(value) * np.finfo(float).eps * value[-1])
    if null.size == 0:  # one row, or rounding: the direction is the smallest
        null = np.array([0])
    basis = U[:, null]
    a = overlap[null]
    length = np.linalg.norm(a)
    v = a.copy()
    v[0] += np.copysign(length, a[0])
    norm = v @ v
    if norm > 0:
        basis = basis - np.outer(basis @ v, 2.0 * v / norm)
    keep = np.ones(len(value), bool)
    keep[null[0]] = False
    U = U.copy()
    U[:, null] = basis
    return value[keep], U[:, keep]


def _apply(B: Array, coef: Floats) -> Floats:
    """Return ``sum_j B[i, j] coef[a, j, t]``, shape (i, a, t), by one matrix product."""
    penalties, size, targets = coef.shape
    flat = coef.transpose(1, 0, 2).reshape(size, penalties * targets)
    return np.asarray(B @ flat).reshape(len(B), penalties, targets)
