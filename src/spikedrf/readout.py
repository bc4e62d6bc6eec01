"""The readout under any convex loss: SciPy's minimisers, up to a bound on what they leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.arrays import data_array, require_finite, require_match
from spikedrf.losses import Loss, LossLike, resolve
from spikedrf.memory import require_memory
from spikedrf.parameters import number, real_array

Floats = NDArray[np.float64]

# L-BFGS is cheap and finds the neighbourhood; Newton's method is what ends in it.
_LBFGS_STEPS = 500
_NEWTON_STEPS = 300
# Rounds of the method of multipliers; the prox parameter falls by a factor each.
_ROUNDS = 40
_FALL = 0.3


@dataclass(frozen=True, eq=False)
class Readout:
    r"""A fitted readout: ``h = Phi . a / sqrt p + b``.

    Attributes
    ----------
    a : ndarray, shape (p,)
        Coefficients.
    b : float
        Intercept, 0 if none was fitted.
    objective : float
        ``sum_mu w_mu loss(y_mu, h_mu) + (lam/2) |a|^2`` there.
    gap : float
        How far above its minimum that may still be.
    nit : int
        Iterations, of all methods together.
    success : bool
        Whether ``gap <= tol * objective``.
    """

    a: Floats
    b: float
    objective: float
    gap: float
    nit: int
    success: bool


def fit_readout(
    Phi: ArrayLike,
    y: ArrayLike,
    loss: LossLike,
    lam: float,
    *,
    intercept: bool = False,
    sample_weight: ArrayLike | None = None,
    tol: float = 1e-9,
) -> Readout:
    r"""Fit the readout that minimises a convex loss with a quadratic penalty.

    ``a, b = argmin sum_mu w_mu loss(y_mu, Phi_mu . a / sqrt p + b) + (lam/2) |a|^2``, the
    intercept ``b`` not penalised. With the square loss this is ridge regression with penalty
    ``lam`` (for which `spikedrf.ridge` is faster).

    Parameters
    ----------
    Phi : array_like of float32 or float64, shape (n, p)
        Features. The fit is done in double precision.
    y : array_like of float32 or float64, shape (n,)
        Labels; +1 and -1 for a loss of the margin.
    loss : str or Loss
        A name (`spikedrf.losses.NAMES`) or a loss with its parameters.
    lam : float
        Penalty, > 0.
    intercept : bool
        Whether ``b`` is fitted.
    sample_weight : array_like, shape (n,), optional
        Weights ``w``, >= 0.
    tol : float
        Relative accuracy of the objective. The coefficients are then within
        ``sqrt(2 tol objective / lam)`` of the minimiser.

    Returns
    -------
    Readout
        With ``success=False`` if rounding or the number of iterations kept the gap above ``tol``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range; the message names it.
    MemoryError
        If the matrices would not fit into memory, before they are asked for.

    Notes
    -----
    A smooth loss is minimised by L-BFGS and then by a trust-region Newton method. With a kink,
    L-BFGS minimises the dual, a quadratic in ``-loss'`` with bounds, and the method of multipliers
    ends it: its subproblems are smooth (Huber's), its multipliers a feasible point of the dual.
    For ``n < p`` a QR decomposition first reduces the features to the space of the samples.

    Source: theory.md, section 11.

    Examples
    --------
    >>> import numpy as np
    >>> from spikedrf.readout import fit_readout
    >>> fit = fit_readout(np.eye(2), np.array([1.0, -3.0]), "absolute", 0.5)
    >>> (fit.a / np.sqrt(2)).round(6), fit.success
    (array([ 1., -1.]), True)
    """
    kind = resolve(loss)
    Phi, y = data_array("Phi", Phi, 2), data_array("y", y, 1)
    require_match(Phi=(Phi, 0), y=(y, 0))
    require_finite("Phi", Phi)
    require_finite("y", y)
    penalty = number("lam", lam, minimum=0.0, exclusive=True)
    accuracy = number("tol", tol, minimum=0.0, exclusive=True)
    label = y.astype(np.float64)
    if kind.margin and not np.all(np.abs(label) == 1.0):
        raise ValueError(
            f"y must be +1 or -1 for loss {kind.name!r}, got {label[np.abs(label) != 1.0][0]!r}"
        )
    weight = np.ones(len(label))
    if sample_weight is not None:
        weight = real_array("sample_weight", sample_weight, minimum=0.0)
        if weight.shape != label.shape:
            raise ValueError(f"sample_weight must have shape {label.shape}, got {weight.shape}")
    if not weight.any():
        raise ValueError("sample_weight must not be zero everywhere")
    n, p = Phi.shape
    size = 8 * (2 * n * p + 3 * min(n, p) ** 2)
    require_memory(size, f"a readout on features of shape {Phi.shape}")

    features = Phi[weight > 0].astype(np.float64) / np.sqrt(p)
    basis = None
    if features.shape[0] < p:
        from scipy import linalg

        basis, triangle = linalg.qr(features.T, mode="economic", check_finite=False)
        features = triangle.T
    if intercept:
        features = np.column_stack([features, np.ones(len(features))])
    problem = _Problem(kind, features, label[weight > 0], weight[weight > 0], penalty, intercept)
    x, gap, nit = (_smooth if kind.smooth else _kinked)(problem, accuracy)
    b = float(x[-1]) if intercept else 0.0
    coefficients = x[:-1] if intercept else x
    objective = problem.objective(x)
    return Readout(
        a=coefficients if basis is None else basis @ coefficients,
        b=b,
        objective=objective,
        gap=gap,
        nit=nit,
        success=bool(gap <= accuracy * objective),
    )


@dataclass(frozen=True, eq=False)
class _Problem:
    """``min sum_mu w_mu loss(y_mu, (A x)_mu) + (lam/2) |x|^2``, the last ``x`` free if so said."""

    loss: Loss
    A: Floats
    y: Floats
    weight: Floats
    lam: float
    free: bool

    def penalty(self) -> Floats:
        """Return the penalty of each coefficient."""
        lam = np.full(self.A.shape[1], self.lam)
        if self.free:
            lam[-1] = 0.0
        return lam

    def objective(self, x: Floats) -> float:
        value = self.loss.value(self.y, self.A @ x)
        return float(self.weight @ value + 0.5 * self.penalty() @ (x * x))

    def hessian(self, curvature: Floats) -> Floats:
        """``A^T diag(curvature) A + penalty``; samples without curvature cost nothing."""
        from scipy.linalg import blas

        bent = curvature > 0
        rows = self.A[bent] * np.sqrt(curvature[bent])[:, None]
        upper = blas.dsyrk(1.0, rows.T) if len(rows) else np.zeros((self.A.shape[1],) * 2)
        full = np.triu(upper) + np.triu(upper, 1).T
        full[np.diag_indices_from(full)] += self.penalty()
        return np.asarray(full)

    def descent_bound(self, gradient: Floats, curvature: Floats) -> float:
        """Bound how much a smooth objective can still fall: ``|gradient|^2 / (2 lam)``.

        For the intercept, which has no penalty, with the curvature of the losses instead.
        """
        if not self.free:
            return float(gradient @ gradient) / (2.0 * self.lam)
        along = float(gradient[-1]) ** 2 / (2.0 * max(float(curvature.sum()), 1e-300))
        return float(gradient[:-1] @ gradient[:-1]) / (2.0 * self.lam) + along


def _newton(value: Any, hessian: Any, start: Floats, radius: float, gradient_tol: float) -> Any:
    from scipy import optimize

    return optimize.minimize(
        value,
        start,
        jac=True,
        hess=hessian,
        method="trust-exact",
        options={
            "gtol": gradient_tol,
            "initial_trust_radius": radius,
            "max_trust_radius": max(1e8, 10.0 * radius),
            "maxiter": _NEWTON_STEPS,
        },
    )


def _smooth(problem: _Problem, tol: float) -> tuple[Floats, float, int]:
    from scipy import optimize

    loss, A, y, w = problem.loss, problem.A, problem.y, problem.weight
    lam = problem.penalty()

    def value(x: Floats) -> tuple[float, Floats]:
        h = A @ x
        gradient = A.T @ (w * loss.derivative(y, h)) + lam * x
        return float(w @ loss.value(y, h) + 0.5 * lam @ (x * x)), gradient

    def curvature(x: Floats) -> Floats:
        return np.asarray(w * loss.second_derivative(y, A @ x))

    def gap(x: Floats) -> tuple[float, float]:
        objective, gradient = value(x)
        return objective, problem.descent_bound(gradient, curvature(x))

    start = np.zeros(A.shape[1])
    result = optimize.minimize(
        value,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _LBFGS_STEPS, "maxcor": 20, "ftol": 1e-15, "gtol": 0.0},
    )
    x, nit = result.x, int(result.nit)
    objective, left = gap(x)
    if left > tol * objective:
        # |gradient|^2 / (2 lam) = tol * objective / 2
        enough = np.sqrt(tol * objective * problem.lam)
        radius = 10.0 * (1.0 + float(np.linalg.norm(x)))
        result = _newton(value, lambda z: problem.hessian(curvature(z)), x, radius, enough)
        x, nit = result.x, nit + int(result.nit)
        objective, left = gap(x)
    return x, left, nit


def _kinked(problem: _Problem, tol: float) -> tuple[Floats, float, int]:
    """Minimise ``sum_mu max(lo_mu t_mu, hi_mu t_mu) + (lam/2) |x|^2``, ``t = c - B x``.

    The dual has one ``f_mu`` in ``[lo_mu, hi_mu]`` for each sample:
    ``max_f c.f - |B^T f|^2/(2 lam)`` (and ``sum_mu B_mu f_mu = 0`` for the intercept). The method
    of multipliers with prox parameter ``mu`` minimises in every round
    ``sum_mu [f t - (mu/2)(f - before)^2] + (lam/2) |x|^2``, ``f = clip(before + t/mu, lo, hi)``.
    """
    from scipy import optimize

    loss, w = problem.loss, problem.weight
    sign = problem.y if loss.margin else np.ones_like(problem.y)
    B = problem.A * sign[:, None]
    c = np.ones_like(sign) if loss.margin else problem.y
    lo, hi = (bound * w for bound in loss.slopes)
    penalty, lam, free = problem.penalty(), problem.lam, problem.free
    penalised = B[:, :-1] if free else B
    nit = 0

    f = np.clip(np.zeros_like(c), lo, hi)
    x = np.zeros(B.shape[1])
    if not free:

        def dual(f: Floats) -> tuple[float, Floats]:
            pull = B.T @ f
            return float(pull @ pull) / (2.0 * lam) - float(c @ f), B @ pull / lam - c

        result = optimize.minimize(
            dual,
            f,
            jac=True,
            method="L-BFGS-B",
            bounds=np.column_stack([lo, hi]),
            options={"maxiter": _LBFGS_STEPS, "maxcor": 20, "ftol": 1e-13, "gtol": 0.0},
        )
        f, nit = result.x, int(result.nit)
        x = B.T @ f / lam

    def gap(x: Floats, f: Floats) -> tuple[float, float]:
        t = c - B @ x
        primal = float(np.maximum(lo * t, hi * t).sum() + 0.5 * penalty @ (x * x))
        pull = penalised.T @ f
        lower = float(c @ f) - float(pull @ pull) / (2.0 * lam)
        # For the intercept f is feasible only up to this; x stays as large as it is.
        slack = abs(float(B[:, -1] @ f) * float(x[-1])) if free else 0.0
        return primal, abs(primal - lower) + slack

    objective, left = gap(x, f)
    best = (left, x)
    mu = 0.1 * float(np.mean(np.abs(c - B @ x)))
    for _ in range(_ROUNDS):
        if left <= tol * objective or mu < 1e-13 * float(np.max(np.abs(c))):
            break

        def value(x: Floats, before: Floats = f, mu: float = mu) -> tuple[float, Floats]:
            t = c - B @ x
            f = np.clip(before + t / mu, lo, hi)
            value = float(np.sum(f * t - 0.5 * mu * (f - before) ** 2) + 0.5 * penalty @ (x * x))
            return value, penalty * x - B.T @ f

        def hessian(x: Floats, before: Floats = f, mu: float = mu) -> Floats:
            f = before + (c - B @ x) / mu
            return problem.hessian(np.where((f > lo) & (f < hi), 1.0 / mu, 0.0))

        radius = 10.0 * (1.0 + float(np.linalg.norm(x)))
        enough = 0.3 * np.sqrt(tol * objective * lam)
        if free:  # its condition is part of the gap, not quadratic in what is left of it
            enough = min(enough, tol * objective / radius)
        result = _newton(value, hessian, x, radius, enough)
        x, nit = result.x, nit + int(result.nit)
        f = np.clip(f + (c - B @ x) / mu, lo, hi)
        objective, left = gap(x, f)
        best = min(best, (left, x), key=lambda pair: pair[0])
        mu *= _FALL
    return best[1], best[0], nit
