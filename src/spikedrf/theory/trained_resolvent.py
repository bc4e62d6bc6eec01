"""The resolvent of a trained first layer's bulk in closed form (theory.md, section 10)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.theory.residual import ResidualLaw

Numbers = NDArray[Any]


def trained_resolvent(
    x: Numbers,
    a: Numbers,
    b: Numbers,
    alpha0: Numbers,
    law: ResidualLaw,
    start: Numbers | None = None,
) -> tuple[Numbers, Numbers]:
    r"""Return what the directions see of ``Sigma/(1 + x Sigma)``.

    The bulk covariance of a trained layer is::

        Sigma = (I + a M)^2 + b S,     M = (1/n0) sum_mu res_mu x_mu x_mu',
                                       S = (1/n0) sum_mu res_mu^2 x_mu x_mu'

    and ``(Sigma + 1/x)^{-1}`` is the corner of the inverse of a matrix of 2 x 2 blocks, linear in
    ``H = [[2 a res + b res^2, a res], [a res, 0]]``. Its forms are written by Schur complements,
    so that nothing cancels at small ``x`` or large ``alpha0``. With ``Q`` the trace form over
    ``alpha0``, ``q = (H^{-1} + Q)^{-1}``, and ``Xi, Xi_t, Theta, Psi`` the averages of ``q`` with
    weight ``1, s^2, res s, res^2``::

        e   = Xi_12/(1 - Xi_22),   P = 1/(1 + x (1 + Xi_11 + e Xi_12)) = (1/d) Tr (1 + x Sigma)^{-1}
        Q   = [[x P, x P e], [x P e, x P e^2 - 1/(1 - Xi_22)]] / alpha0

    ``e_t, P_t, R_t`` are the same along theta, with ``Xi_t`` for ``Xi``. For ``v``, which is made
    of the samples, ``nu v = (1/n0) sum_mu res_mu x_mu``::

        Y   = Theta_12 + e Theta_22,   U = Theta_11 + e Theta_12 + e_t Y
        theta'R v nu = t1 R_t + P_t P U/alpha0
        nu^2 v'R v   = rho R + t1^2 R_t + 2 t1 P_t P U/alpha0 + (P/alpha0)^2 Z
        Z   = Psi_11 + 2 e Psi_12 + e^2 Psi_22 + Y^2/(1 - Xi_t22) - x P_t U^2

    Parameters
    ----------
    x : ndarray, shape (S, m)
        Arguments, >= 0, ascending.
    a, b, alpha0 : ndarray, shape (S,)
        Of each bulk; ``alpha0`` may be infinite. Complex steps in them, and in the weights of the
        law, come out as complex steps.
    law : ResidualLaw
        Of ``res`` and ``s``.
    start : ndarray, shape (3, S, m), optional
        The solution without the complex steps, if there are any.

    Returns
    -------
    forms : ndarray, shape (4, S, m)
        The trace over d, ``v'Rv``, ``v'R xi`` and ``xi'R xi`` of ``R = Sigma/(1 + x Sigma)``; NaN
        where Newton's method fails.
    solution : ndarray, shape (3, S, m)
        ``Xi_11, Xi_12, Xi_22``.

    Notes
    -----
    Source: theory.md, section 10.
    """
    res, (w, ws, wss) = law.res, law.weight
    a, b, inverse = a[:, None], b[:, None], 1.0 / alpha0[:, None]
    # H on the nodes; its determinant is -(a res)^2.
    h12 = a[:, :, None] * res
    h11 = 2.0 * h12 + b[:, :, None] * res**2
    det = -(h12**2)

    def dressed(xi: Numbers) -> tuple[Numbers, Numbers, Numbers, list[Numbers]]:
        """Return e, P, Q_11 and q on the nodes."""
        gap = 1.0 / (1.0 - xi[2])
        e = xi[1] * gap
        p = 1.0 / (1.0 + x * (1.0 + xi[0] + e * xi[1]))
        q11 = x * p * inverse
        q12, q22 = q11 * e, q11 * e * e - inverse * gap
        # det(1 + Q H) = 1 + linear res + square res^2, with det Q = -Q_11 gap/alpha0.
        linear, square = 2.0 * a * q11 * (1.0 + e), q11 * (b + a * a * inverse * gap)
        over = 1.0 / (1.0 + linear[..., None] * res + square[..., None] * res**2)
        return e, p, q11, [
            (h11 + det * q22[..., None]) * over,
            (h12 - det * q12[..., None]) * over,
            det * q11[..., None] * over,
        ]  # fmt: skip

    def regular(xi: Numbers) -> NDArray[np.bool_]:
        """Whether Xi may be met on the way: a positive P, and no residual with det(1 + QH) = 0."""
        gap = 1.0 / (1.0 - xi[2])
        e = xi[1] * gap
        whole = 1.0 + xi[0] + e * xi[1]
        q11 = x * inverse / (1.0 + x * whole)
        discriminant = a * a * (q11 * (1.0 + e) ** 2 - inverse * gap) - b
        return np.asarray((xi[2] <= 0.0) & (whole > 0.0) & (discriminant <= 0.0))

    def newton(xi: Numbers) -> tuple[Numbers, Numbers]:
        """Return the Newton step of Xi = E q, and the residual."""
        e, p, q11, q = dressed(xi)
        residual = np.stack([form @ w for form in q], axis=-1) - np.moveaxis(xi, 0, -1)
        # d Xi = -E q dQ q, in terms of how Q moves with Xi.
        gap = 1.0 / (1.0 - xi[2])
        zero = np.zeros_like(e)
        de = [zero, gap, e * gap]
        dq11 = [-x * p * q11 * power for power in (zero + 1.0, 2.0 * e, e * e)]
        dq12 = [dq11[i] * e + q11 * de[i] for i in range(3)]
        dq22 = [
            dq11[i] * e * e + 2.0 * q11 * e * de[i] - (gap**2 * inverse if i == 2 else 0.0)
            for i in range(3)
        ]
        pairs = {(i, j): (q[i] * q[j]) @ w for i in range(3) for j in range(i, 3)}
        jacobian = np.empty((*residual.shape, 3), dtype=residual.dtype)
        for i in range(3):
            along = dq11[i], dq12[i], dq22[i]
            rows = (
                (pairs[0, 0], 2.0 * pairs[0, 1], pairs[1, 1]),
                (pairs[0, 1], pairs[0, 2] + pairs[1, 1], pairs[1, 2]),
                (pairs[1, 1], 2.0 * pairs[1, 2], pairs[2, 2]),
            )
            for k, row in enumerate(rows):
                pull = sum(part * move for part, move in zip(row, along, strict=True))
                jacobian[..., k, i] = (k == i) + pull
        # Cramer's rule: not finite where the Jacobian is singular.
        one, two, three = np.moveaxis(jacobian, -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            over = 1.0 / np.sum(one * np.cross(two, three), axis=-1)
            step = np.stack(
                [
                    np.sum(residual * np.cross(two, three), axis=-1) * over,
                    np.sum(one * np.cross(residual, three), axis=-1) * over,
                    np.sum(one * np.cross(two, residual), axis=-1) * over,
                ]
            )
        return step, np.moveaxis(residual, -1, 0)

    def newton_without_m(xi: Numbers) -> tuple[Numbers, Numbers]:
        """Do the same for a = 0, where Xi_11 is all there is and H its square residual."""
        p = 1.0 / (1.0 + x * (1.0 + xi[0]))
        q11 = x * p * inverse
        q = h11 / (1.0 + q11[..., None] * h11)
        residual = q @ w - xi[0]
        step = residual / (1.0 - x * p * q11 * ((q * q) @ w))
        zero = np.zeros_like(step)
        return np.stack([step, zero, zero]), np.stack([residual, zero, zero])

    if not a.any():
        newton = newton_without_m

    def solve(xi: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
        converged, length = np.zeros(x.shape, dtype=bool), np.full(x.shape, np.inf)
        for _ in range(60):
            step, towards = newton(xi)
            # Far off Newton's method may leave for other solutions; the equations as an iteration,
            # averaged with where they are, come near.
            size = 1.0 + np.abs(xi).max(axis=0)
            safe = (np.abs(step).max(axis=0) < 0.5 * size) & regular(xi + step)
            step = np.where(safe, step, 0.5 * towards)
            xi = xi + step
            before, length = length, np.abs(step).max(axis=0) / size
            # Once quadratic convergence ends, what is left is rounding.
            converged |= safe & ((length <= 1e-14) | ((length <= 1e-9) & (length > 0.1 * before)))
            if converged.all():
                break
        return xi, converged

    if start is None:
        xi, converged = solve(
            np.stack([np.broadcast_to(h @ w, x.shape) for h in (h11, h12, 0.0 * h12)])
        )
        while not converged.all():
            # From the solutions at the next smaller x.
            beside = ~converged & np.roll(converged, 1, axis=1)
            beside[:, 0] = False
            again, done = solve(np.where(beside, np.roll(xi, 1, axis=2), xi))
            beside &= done
            if not beside.any():
                break
            xi, converged = np.where(beside, again, xi), converged | beside
        xi = np.where(converged, xi, np.nan)
    else:
        xi = start + newton(start)[0]  # the complex step of a solution: exact after one
    e, p, _, q = dressed(xi)
    of_trace, of_theta, crossed, squared = (
        [form @ weight for form in q] for weight in (w, wss, ws * res, w * res**2)
    )
    s2, t1 = w @ res**2, ws @ res
    rho = s2 * inverse
    nu2 = t1**2 + rho
    spiked = nu2 != 0.0
    over = np.where(spiked, 1.0 / np.where(spiked, nu2, 1.0), 0.0)
    # Squares of gamma and of the target's part across v; without any spike gamma is 0.
    along, across = t1**2 * over, np.where(spiked, rho * over, 1.0)
    gap = 1.0 / (1.0 - of_theta[2])
    et = of_theta[1] * gap
    whole, whole_t = 1.0 + of_trace[0] + e * of_trace[1], 1.0 + of_theta[0] + et * of_theta[1]
    pt = 1.0 / (1.0 + x * whole_t)
    trace, theta = whole * p, whole_t * pt
    y = crossed[1] + e * crossed[2]
    u = crossed[0] + e * crossed[1] + et * y
    # The corrections above in units of rho, in which v and xi can be told apart at large alpha0.
    once = p * pt * u / s2
    twice = squared[0] + 2.0 * e * squared[1] + e * e * squared[2] + gap * y * y - x * pt * u * u
    twice = p * p * twice * inverse / s2
    vv = along * theta + across * (trace + 2.0 * t1 * once + twice)
    vx = np.sqrt(rho) * over * (t1 * (theta - trace - twice) + (rho - t1**2) * once)
    xx = across * (theta - 2.0 * t1 * once) + along * (trace + twice)
    return np.stack([trace, vv, vx, xx]), xi
