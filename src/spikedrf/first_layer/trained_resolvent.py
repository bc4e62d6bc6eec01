"""The resolvent of a trained first layer's bulk in closed form (theory.md, section 10)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.first_layer.residual import ResidualLaw

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
    equations = _Equations(x, a[:, None], b[:, None], 1.0 / alpha0[:, None], law)
    if start is None:
        bulks = np.stack([a, b, 1.0 / alpha0], axis=-1)
        nodes = np.concatenate([law.res[None], law.weight])
        found = _core.trained_resolvent(np.ascontiguousarray(x), bulks, nodes)
        return equations.forms(found[:3], found[3:]), found[:3]
    # From the solution without them, Newton's method finds complex steps at once.
    solution = start + equations.newton(start)
    return equations.forms(solution, equations.averages(solution)), solution


def continued_resolvent(
    x: Numbers, a: Numbers, b: Numbers, alpha0: Numbers, law: ResidualLaw
) -> Numbers:
    r"""Return `trained_resolvent` at complex arguments, by continuation from ``|x|``.

    Off the negative axis ``Xi(x)`` is analytic. It is followed along the circles through ``x``,
    from where they meet the positive axis; steps that Newton's method does not survive are halved.

    Parameters
    ----------
    x, a, b, alpha0, law
        As for `trained_resolvent`; ``|x|`` ascending.

    Returns
    -------
    forms : ndarray of complex, shape (4, S, m)
        NaN where the way is lost.
    """
    radius, angle = np.abs(x), np.angle(x)
    _, xi = trained_resolvent(radius, a, b, alpha0, law)
    xi = xi.astype(np.complex128)

    def equations(at: float) -> _Equations:
        turned = radius * np.exp(1j * angle * at)
        return _Equations(turned, a[:, None], b[:, None], 1.0 / alpha0[:, None], law)

    at, step = 0.0, 0.125
    while at < 1.0:
        target = min(at + step, 1.0)
        trial, settled = equations(target).followed(xi)
        if settled.all() or step < 1e-3:
            xi, at = np.where(settled, trial, np.nan), target
            step *= 1.5
        else:
            step *= 0.5
    there = equations(1.0)
    return there.forms(xi, there.averages(xi))


class _Equations:
    """``Xi = E q(Xi)`` and what follows from its solution; Xi is kept as (Xi_11, Xi_12, Xi_22).

    The core solves them at real parameters (csrc/equations/trained_resolvent.cpp). What is here
    follows solutions into the complex plane.
    """

    def __init__(
        self, x: Numbers, a: Numbers, b: Numbers, inverse: Numbers, law: ResidualLaw
    ) -> None:
        self.x, self.a, self.b, self.inverse = x, a, b, inverse
        self.res, self.weight = law.res, law.weight
        power = law.res ** np.arange(1, 5)[:, None]
        w, ws, wss = law.weight
        # E res^k, and the averages that Xi, Xi_t, Theta and Psi are made of.
        self.once = (w * power[:2]).T
        self.twice = (w * power[1:]).T
        self.all = np.concatenate([wss * power[:2], ws * power[1:3], w * power]).T

    def trace_form(self, xi: Numbers) -> tuple[Numbers, Numbers, tuple[Numbers, Numbers, Numbers]]:
        """Return e, P and Q_11, Q_12, Q_22."""
        gap = 1.0 / (1.0 - xi[2])
        e = xi[1] * gap
        p = 1.0 / (1.0 + self.x * (1.0 + xi[0] + e * xi[1]))
        q11 = self.x * p * self.inverse
        return e, p, (q11, q11 * e, q11 * e * e - self.inverse * gap)

    def over(self, xi: Numbers) -> Numbers:
        """Return 1/det(1 + QH) on the nodes of the law, where det Q = -Q_11 gap/alpha0."""
        e, _, (q11, _, _) = self.trace_form(xi)
        linear = 2.0 * self.a * q11 * (1.0 + e)
        square = q11 * (self.b + self.a**2 * self.inverse / (1.0 - xi[2]))
        result: Numbers = square[..., None] * self.res
        result += linear[..., None]
        result *= self.res
        result += 1.0
        return np.asarray(1.0 / result)

    def numerators(self, xi: Numbers) -> tuple[list[Numbers], list[Numbers]]:
        """Return the coefficients of res and res^2 in det(1 + QH) times q_11, q_12, q_22.

        ``q = (H + det(H) adj(Q)) / det(1 + QH)`` with ``det H = -(a res)^2``.
        """
        _, _, (q11, q12, q22) = self.trace_form(xi)
        a = self.a
        return [2.0 * a, a, 0.0 * a], [self.b - a * a * q22, a * a * q12, -a * a * q11]

    def newton(self, xi: Numbers) -> Numbers:
        """Return the Newton step, with d Xi = -E q dQ q."""
        e, p, (q11, _, _) = self.trace_form(xi)
        first, second = self.numerators(xi)
        over = self.over(xi)
        once, twice = _averages(over, self.once), _averages(over * over, self.twice)
        residual = np.stack(
            [f * once[0] + g * once[1] for f, g in zip(first, second, strict=True)], axis=-1
        ) - np.moveaxis(xi, 0, -1)
        gap = 1.0 / (1.0 - xi[2])
        zero = np.zeros_like(e)
        de = [zero, gap, e * gap]
        dq11 = [-self.x * p * q11 * power for power in (zero + 1.0, 2.0 * e, e * e)]
        dq12 = [dq11[i] * e + q11 * de[i] for i in range(3)]
        dq22 = [dq11[i] * e * e + 2.0 * q11 * e * de[i] for i in range(3)]
        dq22[2] = dq22[2] - gap**2 * self.inverse
        pairs = {
            (i, j): first[i] * first[j] * twice[0]
            + (first[i] * second[j] + second[i] * first[j]) * twice[1]
            + second[i] * second[j] * twice[2]
            for i in range(3)
            for j in range(i, 3)
        }
        rows = (
            (pairs[0, 0], 2.0 * pairs[0, 1], pairs[1, 1]),
            (pairs[0, 1], pairs[0, 2] + pairs[1, 1], pairs[1, 2]),
            (pairs[1, 1], 2.0 * pairs[1, 2], pairs[2, 2]),
        )
        one, two, three = (
            np.stack(
                [
                    (k == i) + row[0] * dq11[i] + row[1] * dq12[i] + row[2] * dq22[i]
                    for k, row in enumerate(rows)
                ],
                axis=-1,
            )
            for i in range(3)
        )
        # Cramer's rule: not finite where the Jacobian is singular.
        with np.errstate(divide="ignore", invalid="ignore"):
            over = 1.0 / _triple(one, two, three)
            return np.stack(
                [
                    _triple(residual, two, three) * over,
                    _triple(one, residual, three) * over,
                    _triple(one, two, residual) * over,
                ]
            )

    def followed(self, xi: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
        """Newton's method from a solution nearby, and where it stays near and converges."""
        start, length = xi, np.full(self.x.shape, np.inf)
        for _ in range(8):
            step = self.newton(xi)
            xi = xi + step
            length = np.abs(step).max(axis=0) / (1.0 + np.abs(xi).max(axis=0))
            if np.nanmax(length, initial=0.0) <= 1e-13:
                break
        moved = np.abs(xi - start).max(axis=0) / (1.0 + np.abs(start).max(axis=0))
        return xi, (length <= 1e-10) & (moved < 0.5)

    def averages(self, xi: Numbers) -> Numbers:
        """Return the averages that forms are made of, those of ``self.all``."""
        return _averages(self.over(xi), self.all)

    def forms(self, xi: Numbers, moments: Numbers) -> Numbers:
        """Return the trace, v'Rv, v'R xi, xi'R xi."""
        x, res, (w, ws, _) = self.x, self.res, self.weight
        e, p, _ = self.trace_form(xi)
        first, second = self.numerators(xi)
        of_trace, of_theta, crossed, squared = (
            [f * moments[i] + g * moments[i + 1] for f, g in zip(first, second, strict=True)]
            for i in (4, 0, 2, 6)
        )
        s2, t1 = w @ res**2, ws @ res
        # Where no residual is left but rounding, there is nothing to divide.
        over_s2 = 1.0 / s2 if np.abs(s2) > 1e-14 * np.max(res**2) else 0.0
        rho = s2 * self.inverse
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
        # The corrections in units of rho, in which v and xi can be told apart at large alpha0.
        once = p * pt * u * over_s2
        z = squared[0] + 2.0 * e * squared[1] + e * e * squared[2] + gap * y * y - x * pt * u * u
        twice = p * p * z * self.inverse * over_s2
        vv = along * theta + across * (trace + 2.0 * t1 * once + twice)
        vx = np.sqrt(rho) * over * (t1 * (theta - trace - twice) + (rho - t1**2) * once)
        xx = across * (theta - 2.0 * t1 * once) + along * (trace + twice)
        return np.stack([trace, vv, vx, xx])


def _averages(values: Numbers, weight: Numbers) -> Numbers:
    """Sum over the nodes (last axis) with each column of weights, which come first then."""
    flat = values.reshape(-1, values.shape[-1]) @ weight  # one product of matrices
    return np.asarray(flat.T.reshape(-1, *values.shape[:-1]))


def _triple(a: Numbers, b: Numbers, c: Numbers) -> Numbers:
    """Return the determinant of the matrix with these columns."""
    return np.asarray(
        a[..., 0] * (b[..., 1] * c[..., 2] - b[..., 2] * c[..., 1])
        + a[..., 1] * (b[..., 2] * c[..., 0] - b[..., 0] * c[..., 2])
        + a[..., 2] * (b[..., 0] * c[..., 1] - b[..., 1] * c[..., 0])
    )
