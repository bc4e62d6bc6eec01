r"""Minimising a sum of convex functions of ``A x`` with a quadratic penalty.

Features are ill-conditioned, and gradient methods on them crawl. In the coordinates in which a
typical Hessian ``curvature A^T W A + penalty`` is the identity, L-BFGS needs one or two dozen
passes over ``A``; where that Hessian is not typical (nearly separable classes, a small prox
parameter) Newton's method, whose Hessian is the one at hand, goes on, and it gives the last digits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import linalg, optimize

from spikedrf.arrays import Array, row_blocks
from spikedrf.parameters import Floats
from spikedrf.readout.ridge import add_gram

_LBFGS_STEPS = 60
_NEWTON_STEPS = 200
_LINE_STEPS = 60
#: A step along a line is long enough if the slope has fallen to this part.
_FLAT = 0.1
#: A step with an old Hessian that leaves more than this part of the bound is followed by a new one.
_STALE = 1e-2
#: A Hessian may be off by this part of the penalty, and a step leaves that part at most of the way.
_ROUGH = 1e-2
#: The intercept, which has no penalty, keeps this part of the largest curvature it can have.
_STIFFNESS = 1e-9
#: Where Newton's steps promise less than this part of the objective they are near its minimum.
_NEAR = 1e-12
#: And where the intercept is off by less than this part of the labels it is near its own.
_CLOSE = 1e-3
_BLOCK = 2048


def few_columns(A: Array, x: Array) -> Array:
    """Return ``A x`` of a vector or of few columns: in this order BLAS copies less of ``A``."""
    return (x.T @ A.T).T


class Terms(NamedTuple):
    """The functions: each takes ``h`` and returns a number for every row.

    Attributes
    ----------
    value, slope, curvature : callable
        Values, first and second derivatives.
    """

    value: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    curvature: Callable[[Floats], Floats]


@dataclass(frozen=True, eq=False)
class Design(ABC):
    """The rows: ``h = A x``, and the sums that do not depend on the functions.

    Where the rows of ``A`` are is not asked: three products with it are all that is needed.

    Attributes
    ----------
    weight : ndarray, shape (n,)
        Of each row, > 0.
    intercept : bool
        Whether the last coefficient has no penalty. The last column of ``A`` is then constant.
    """

    weight: Floats
    intercept: bool

    @property
    @abstractmethod
    def q(self) -> int:
        """Number of coefficients."""

    @abstractmethod
    def outputs(self, x: Floats) -> Floats:
        """Return ``A x``, of one vector or of several as columns."""

    @abstractmethod
    def back(self, slopes: Floats) -> Floats:
        """Return ``A^T slopes``, likewise."""

    @abstractmethod
    def weighted_gram(self, weight: Floats, within: float = 0.0) -> Floats:
        """Return the upper triangle of ``A^T diag(weight) A``; rows of weight 0 cost nothing.

        Parameters
        ----------
        weight : ndarray, shape (n,)
        within : float
            How far off it may be, in norm: single precision takes half the time.
        """

    @cached_property
    def gram(self) -> Floats:
        """``A^T diag(weight) A``, its upper triangle."""
        return self.weighted_gram(self.weight)

    @cached_property
    def spectrum(self) -> tuple[Floats, Floats]:
        """Eigenvalues and eigenvectors of `gram`; the intercept, apart from it, is the last.

        Its column and the deviations from the mean are orthogonal.
        """
        q = len(self.gram) - int(self.intercept)
        value, vector = np.linalg.eigh(self.gram[:q, :q], UPLO="U")
        value = np.maximum(value, 0.0)
        if not self.intercept:
            return value, vector
        whole = np.zeros_like(self.gram)
        whole[:q, :q] = vector
        whole[q, q] = 1.0
        return np.append(value, self.weight.sum()), whole

    def penalty(self, lam: float) -> Floats:
        """Return the penalty of each coefficient."""
        penalty = np.full(self.q, lam)
        if self.intercept:
            penalty[-1] = 0.0
        return penalty

    def bound(self, gradient: Floats, x: Floats, lam: float, reach: float) -> float:
        """Return how much lower the minimum of an objective with this gradient can be.

        The penalty keeps it above a parabola, which falls by ``|gradient|^2 / (2 lam)``. The
        intercept has none: its part of the gradient counts with the largest output and label,
        to which the intercept is known.
        """
        if not self.intercept:
            return float(gradient @ gradient) / (2.0 * lam)
        reach += float(np.abs(self.outputs(x)).max())
        return float(gradient[:-1] @ gradient[:-1] / (2.0 * lam) + abs(gradient[-1]) * reach)


@dataclass(frozen=True, eq=False)
class Matrix(Design):
    """Rows in memory.

    Attributes
    ----------
    A : ndarray of float64 or float32, shape (n, q)
        Products with it are in its precision, Gram matrices summed in double.
    """

    A: Array

    @property
    def q(self) -> int:
        """Number of coefficients."""
        return int(self.A.shape[1])

    def outputs(self, x: Floats) -> Floats:
        """Return ``A x``."""
        return np.asarray(self.A @ x.astype(self.A.dtype, copy=False), np.float64)

    def back(self, slopes: Floats) -> Floats:
        """Return ``A^T slopes``."""
        return np.asarray(few_columns(self.A.T, slopes.astype(self.A.dtype, copy=False)), float)

    @cached_property
    def squares(self) -> Floats:
        """Squared lengths of the rows."""
        return np.asarray(np.einsum("ij,ij->i", self.A, self.A, dtype=np.float64))

    def weighted_gram(self, weight: Floats, within: float = 0.0) -> Floats:
        """Return it, from blocks of rows."""
        gram = np.zeros((self.q, self.q), order="F")
        dtype = self.A.dtype
        if within > 0.0 and np.finfo(np.float32).eps * float(weight @ self.squares) < within:
            dtype = np.dtype(np.float32)
        root = np.sqrt(weight).astype(dtype)
        for rows in row_blocks(len(root), _BLOCK):
            present = np.flatnonzero(root[rows])
            if not present.size:
                continue
            if len(present) < 0.9 * (rows.stop - rows.start):
                block, factor = self.A[rows][present], root[rows][present, None]
            else:
                block, factor = self.A[rows], root[rows, None]
            block = np.multiply(block, factor, dtype=dtype, casting="same_kind")
            if block.dtype == gram.dtype:
                add_gram(block, gram)
            else:
                gram += block.T @ block
        return gram


@dataclass(frozen=True, eq=False)
class Objective:
    """``sum_mu weight_mu terms_mu(h_mu) + (lam/2) |x|^2``, the intercept not penalised.

    Attributes
    ----------
    design : Design
    terms : Terms
        Not weighted.
    lam : float
        Penalty, > 0.
    stiffness : float
        The largest curvature that a term can have.
    reach : float
        The largest label in size.
    """

    design: Design
    terms: Terms
    lam: float
    stiffness: float
    reach: float

    @cached_property
    def penalty(self) -> Floats:
        """The penalty of each coefficient."""
        return self.design.penalty(self.lam)

    def __call__(self, x: Floats) -> tuple[float, Floats]:
        """Return the value and the gradient."""
        return self.at(x, self.design.outputs(x))

    def at(self, x: Floats, h: Floats) -> tuple[float, Floats]:
        """Return the value and the gradient where the outputs ``h`` are known."""
        weight = self.design.weight
        value = float(weight @ self.terms.value(h) + 0.5 * self.penalty @ (x * x))
        return value, self.design.back(weight * self.terms.slope(h)) + self.penalty * x

    def curvature(self, h: Floats) -> Floats:
        """Return the weighted second derivatives of the rows."""
        return np.asarray(self.design.weight * self.terms.curvature(h))

    def bound(self, gradient: Floats, x: Floats, h: Floats) -> float:
        """Return how much lower the minimum can be: the duality gap of the slopes at ``x``.

        As `Design.bound`, if the intercept is far off. Near its minimum the slopes are moved so
        that they add up to zero, each in proportion to its curvature, which costs
        ``along^2 / (2 total)`` to leading order; twice that is counted.
        """
        design = self.design
        if design.intercept:
            curvature = self.curvature(h)
            along, total = float(gradient[-1]), float(curvature.sum())
            if abs(along) < _CLOSE * total * self.reach:
                rest = gradient[:-1] - (along / total) * design.back(curvature)[:-1]
                return float(rest @ rest) / (2.0 * self.lam) + along**2 / total
        return design.bound(gradient, x, self.lam, self.reach)

    def factor(self, gram: Floats) -> Floats:
        """Return the upper Cholesky factor of the Hessian, given its part of the rows (used up)."""
        at = np.diag_indices(len(gram))
        if self.design.intercept:
            least = _STIFFNESS * self.stiffness * float(self.design.weight.sum())
            gram[-1, -1] = max(gram[-1, -1], least)
        gram[at] += self.penalty + 1e-14 * float(np.trace(gram)) / len(gram)
        return np.asarray(linalg.cholesky(gram, lower=False, overwrite_a=True, check_finite=False))


def lbfgs(objective: Objective, x: Floats, tol: float) -> tuple[Floats, int, bool]:
    """Minimise by SciPy's L-BFGS, in coordinates in which the Hessian at ``x`` is about 1.

    Parameters
    ----------
    objective : Objective
    x : ndarray, shape (q,)
        Where to start.
    tol : float
        Stop where the estimated distance to the minimum, half the squared gradient in these
        coordinates, is this part of the objective.

    Returns
    -------
    x : ndarray, shape (q,)
    nit : int
    success : bool
        Whether it came to that.
    """
    weight = objective.design.weight
    total = float(weight.sum())
    nit, typical, factor, status = 0, 0.0, np.empty((0, 0)), 0
    # The stopping rule of SciPy is in absolute terms, and the objective may fall a long way.
    for _ in range(4):
        # Every row's curvature the same: the Gram matrix serves all losses, labels and penalties.
        here = float(objective.curvature(objective.design.outputs(x)).sum()) / total
        if here == 0.0:  # no row bends: how far the minimum is this cannot tell
            return x, nit, False
        if typical == 0.0 or here < 0.5 * typical:
            typical, factor = here, objective.factor(objective.design.gram * here)
        origin, L = x, factor

        def back(t: Floats, L: Floats = L) -> Floats:
            return np.asarray(linalg.solve_triangular(L, t, check_finite=False))

        def rotated(t: Floats, origin: Floats = origin, L: Floats = L) -> tuple[float, Floats]:
            value, gradient = objective(origin + back(t, L))
            return value, linalg.solve_triangular(L, gradient, trans=1, check_finite=False)

        value, gradient = rotated(np.zeros_like(x))
        if 0.5 * float(gradient @ gradient) <= tol * value:
            return x, nit, True
        if status != 0:  # steps, or rounding, at their end
            break
        result = optimize.minimize(
            rotated,
            np.zeros_like(x),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": _LBFGS_STEPS,
                "maxcor": 20,
                "ftol": 0.0,
                "gtol": np.sqrt(tol * value / len(x)),
            },
        )
        x, nit, status = x + back(result.x), nit + int(result.nit), int(result.status)
    return x, nit, False


def newton(objective: Objective, x: Floats, tol: float) -> tuple[Floats, int]:
    """Minimise by Newton's method, with a search along the line, until `Design.bound` is small.

    Parameters
    ----------
    objective : Objective
    x : ndarray, shape (q,)
        Where to start.
    tol : float
        Stop where the bound is this part of the objective, or where rounding stops the fall.

    Returns
    -------
    x : ndarray, shape (q,)
    nit : int
    """
    design = objective.design
    h = design.outputs(x)
    value, gradient = objective.at(x, h)
    bound = objective.bound(gradient, x, h)
    nit, failed, new = 0, 0, True
    while nit < _NEWTON_STEPS and bound > tol * value:
        if new:
            curvature = objective.curvature(h)
            factor = objective.factor(design.weighted_gram(curvature, _ROUGH * objective.lam))
        step = -linalg.cho_solve((factor, False), gradient, check_finite=False)
        fall = -0.5 * float(gradient @ step)
        there = x + _along(objective, x, h, step) * step
        outputs = design.outputs(there)
        found, slope = objective.at(there, outputs)
        if not found <= value * (1.0 + _NEAR):  # a direction made of rounding
            if new:
                break
            new = True
            continue
        x, h, value, gradient = there, outputs, found, slope
        before, bound = bound, objective.bound(gradient, x, h)
        nit += 1
        # A Hessian costs as much as a hundred products with a vector: it is kept while it serves.
        old, new = not new, bound > _STALE * before
        # Near the minimum a step gains many digits, or there are none left to gain.
        if not old:
            failed = failed + 1 if fall <= _NEAR * value and bound > 0.5 * before else 0
        if failed == 2:
            break
    return x, nit


def _along(objective: Objective, x: Floats, h: Floats, step: Floats) -> float:
    """Return how far to go along a direction of descent: where the slope has nearly vanished.

    By Newton's method on the slope, which increases, between bounds. Function values, of which
    rounding leaves nothing near the minimum, only have to show no rise.
    """
    design, penalty, terms = objective.design, objective.penalty, objective.terms
    along = design.outputs(step)
    start, stiff = float(penalty @ (x * step)), float(penalty @ (step * step))

    def slope(t: float) -> float:
        first = (design.weight * terms.slope(h + t * along)) @ along
        return float(first) + start + t * stiff

    def rise(t: float) -> float:
        change = terms.value(h + t * along) - terms.value(h)
        return float(design.weight @ change) + t * (start + 0.5 * t * stiff)

    steepest = abs(slope(0.0))
    noise = 1e-14 * float(design.weight @ np.abs(terms.value(h)))
    t, low, high = 1.0, 0.0, np.inf
    for _ in range(_LINE_STEPS):
        first = slope(t)
        if abs(first) <= _FLAT * steepest and (first <= 0.0 or rise(t) <= noise):
            break
        if first > 0:
            high = t
        else:
            low = t
        second = float((design.weight * terms.curvature(h + t * along)) @ (along * along)) + stiff
        t = t - first / second if second > 0 else -1.0
        if not low < t < high:
            t = 2.0 * low if np.isinf(high) else 0.5 * (low + high)
    return t
