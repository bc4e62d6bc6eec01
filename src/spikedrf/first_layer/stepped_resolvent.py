"""The resolvent of a bulk after one more gradient step, from nodes of the bulk before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[Any]

# Newton's method: rounds, the relative step after which quadratic convergence is done, and the
# largest that rounding may leave where the spectrum comes near to zero.
_ROUNDS, _STILL, _ROUNDING = 60, 1e-9, 1e-7

# The products of three functions.
_PAIRS = np.triu_indices(3)

# A part of the target's direction beside the spike that is shorter than this is none.
_SHORTEST = 1e-7


@dataclass(frozen=True, eq=False)
class Spectrum:
    r"""A bulk by its nodes: what the trace and the directions see of ``f(Sigma)``.

    Attributes
    ----------
    value : ndarray, shape (J,)
    weight : ndarray, shape (4, J)
        Of the trace over d, ``v'fv``, ``v'f xi`` and ``xi'f xi``.
    """

    value: Floats
    weight: Floats

    def forms(self, x: Any) -> Numbers:
        """Return the four forms of ``Sigma/(1 + x Sigma)``, x > 0."""
        return np.asarray(self.weight @ (self.value / (1.0 + x * self.value)))


@dataclass(frozen=True, eq=False)
class StepLaw:
    r"""Nodes for the averages over a sample of a step, its label noise and what neurons do with it.

    ``kappa = <v, x>`` and ``zeta = <xi, x>`` with the spike before the step and what of the target
    is beside it, ``res`` the label less the output. Of a neuron's derivative
    ``sigma'(r kappa + g)``, g ~ N(0, c), ``mu1`` is the mean, ``mu2`` the slope in g and ``chi2``
    the variance of the rest.

    Attributes
    ----------
    weight : ndarray, shape (N,)
    kappa, zeta : ndarray, shape (N,)
    pull, bend, spread : ndarray, shape (N,)
        ``res mu1``, ``res mu2`` and ``res^2 chi2``.
    """

    weight: Floats
    kappa: Floats
    zeta: Floats
    pull: Floats
    bend: Floats
    spread: Floats


class SteppedResolvent:
    r"""What the directions see of the bulk that a step makes of another one.

    Given its fresh samples, a step ``W <- W + e (1/n) sum_mu res_mu sigma'(z_mu) x_mu`` turns the
    covariance ``D`` of the rows beside their spike into::

        Sigma = (I + e M) D (I + e M) + b S,    M = (1/n) sum_mu bend_mu x_mu x_mu',
        b = e^2/alpha,                          S = (1/n) sum_mu spread_mu x_mu x_mu',

    and ``(Sigma + z)^{-1}`` is the corner of the inverse of
    ``[[z, I], [I, -D^{-1}]] + (1/n) sum_mu H_mu x_mu x_mu'``, ``H = [[b spread, e bend],
    [e bend, 0]]``. The sample is free of D: with ``Q`` the trace form over alpha and
    ``N = E H (I + Q H)^{-1}``,::

        S(x) = Tr D/(1 + x D)/d,    y = z + N_11,  l = 1 + N_12,  x = (l^2 - y N_22)/y
        alpha Q = [[(1 - l^2 S/y)/y, l S/y], [l S/y, -S]]

    a fixed point in N. The directions ``p = (v, xi)`` that samples know, too, see the same of D
    and ``Delta = E (p p' - I) H (I + Q H)^{-1}`` more: ``K = F (I + Delta F)^{-1}``, F their form.
    The spike moves by ``e y``, ``y = (1/n) sum_mu pull_mu x_mu``, with
    ``T = E pull p (I + H Q)^{-1}``::

        y' R p = T' K,     y' R y = E[pull^2/det(I + H Q)] Q_11 + T' K T

    Parameters
    ----------
    before : Spectrum
        D, seen by v and xi.
    law : StepLaw
    e, alpha : float
        ``eta u`` and the size of the batch.
    r, gamma : float
        Strength and alignment of the spike before the step.
    sign : float
        Of the strength after it.

    Notes
    -----
    Section 10 of theory.md is ``D = I``. For white inputs, a target of one direction and one value
    of the readout. What is of order ``1/sqrt d`` is left out, as there.
    """

    def __init__(
        self,
        before: Spectrum,
        law: StepLaw,
        e: float,
        alpha: float,
        r: float,
        gamma: float,
        sign: float,
    ) -> None:
        self.before, self.e, self.over, self.r, self.sign = before, e, 1.0 / alpha, r, sign
        self.b = e**2 * self.over
        self.gamma, self.eta = gamma, float(np.sqrt(max((1.0 - gamma) * (1.0 + gamma), 0.0)))
        # The functions of a sample that N is made of, and their products.
        self.of = np.stack([law.bend, law.spread, law.bend**2])
        self.once = law.weight * self.of
        self.twice = np.stack([self.once[i] * self.of[j] for i, j in zip(*_PAIRS, strict=True)])
        p = np.stack([law.kappa, law.zeta])
        pairs = np.stack([p[0] ** 2 - 1.0, p[0] * p[1], p[1] ** 2 - 1.0])
        self.beside = (pairs[:, None] * self.once).reshape(9, -1)
        drawn = law.weight * law.pull
        self.drawn = np.concatenate([drawn * p, drawn * p * law.bend, [drawn * law.pull]])
        # The spike after the step: its square and its product with the target's direction.
        mean = self.drawn[:2].sum(axis=1)
        along, square = np.array([r, 0.0]) + e * mean, self.b * self.drawn[4].sum()
        self.square = float(along @ along + square)
        self.product = float(along @ (gamma, self.eta))

    def forms(self, x: Floats) -> Floats:
        """Return what trace and directions after the step see of ``Sigma/(1 + x Sigma)``, (4, m).

        NaN where Newton's method fails.

        Parameters
        ----------
        x : ndarray, shape (m,)
            Positive, ascending.
        """
        found = np.empty((4, x.size))
        solved: list[Floats] = []
        for i, at in enumerate(x.tolist()):
            starts = [*solved[-1:], self._start()]
            if len(solved) > 1:
                starts.insert(0, 2.0 * solved[-1] - solved[-2])
            for start in starts:
                n = self._solve(1.0 / at, start)
                if n is not None:
                    break
            else:
                found[:, i] = np.nan
                continue
            solved.append(n)
            found[:, i] = self._forms(at, n)
        return found

    def _start(self) -> Floats:
        """Return N at Q = 0, its value for large batches."""
        bend, spread, _ = self.once.sum(axis=1)
        return np.array([self.b * spread, self.e * bend, 0.0])

    def _trace(self, z: Any, n: Numbers) -> tuple[Numbers, Numbers]:
        """Return Q_11, Q_12, Q_22, and at which x D is seen."""
        y, beside = z + n[0], 1.0 + n[1]
        x = (beside**2 - y * n[2]) / y
        seen = self.before.forms(x)[0]
        q = [(1.0 - beside**2 * seen / y) / y, beside * seen / y, -seen]
        return self.over * np.stack(q), x

    def _over(self, q: Numbers) -> Numbers:
        """Return 1/det(I + QH) at the nodes of the law."""
        e = self.e
        factors = np.array([2.0 * e * q[1], self.b * q[0], e * e * (q[1] ** 2 - q[0] * q[2])])
        over = factors @ self.of
        over += 1.0
        return np.asarray(np.divide(1.0, over, out=over))

    def _coefficients(self, q: Floats) -> Floats:
        """Return the matrix that makes ``H (I + Q H)^{-1} det`` of the functions of a sample."""
        e2 = self.e**2
        return np.array(
            [[0.0, self.b, -e2 * q[2]], [self.e, 0.0, e2 * q[1]], [0.0, 0.0, -e2 * q[0]]]
        )

    def _solve(self, z: float, n: Floats) -> Floats | None:
        """Newton's method; None where it fails."""
        length = np.inf
        for _ in range(_ROUNDS):
            q, x = self._trace(z, n)
            if not (np.isfinite(q).all() and x > 0.0):
                return None
            over = self._over(q)
            first, second = self.once @ over, np.empty((3, 3))
            second[_PAIRS] = second[_PAIRS[::-1]] = self.twice @ np.square(over, out=over)
            mix = self._coefficients(q)
            e, e2 = self.e, self.e**2
            # Of det by Q, in the functions of a sample; of what mixes them by Q.
            det = np.array(
                [[0.0, self.b, -e2 * q[2]], [2.0 * e, 0.0, 2.0 * e2 * q[1]], [0.0, 0.0, -e2 * q[0]]]
            )
            by_q = -mix @ second @ det.T
            by_q[0, 2] -= e2 * first[2]
            by_q[1, 1] += e2 * first[2]
            by_q[2, 0] -= e2 * first[2]
            by_n = np.stack(
                [self._trace(z, n + 1e-30j * unit)[0].imag / 1e-30 for unit in np.eye(3)], axis=1
            )
            residual = mix @ first - n
            step = np.linalg.solve(np.eye(3) - by_q @ by_n, residual)
            size = 1.0 + np.abs(n).max()
            safe = np.abs(step).max() < 0.5 * size and self._regular(z, n + step)
            n = n + (step if safe else 0.5 * residual)
            before, length = length, float(np.abs(step).max()) / size
            # Once quadratic convergence ends, what is left is rounding.
            if safe and (length <= _STILL or (length <= _ROUNDING and length > 0.1 * before)):
                return n
        return None

    @staticmethod
    def _regular(z: float, n: Floats) -> bool:
        return bool(n[2] <= 0.0 and z + n[0] > 0.0)

    def _forms(self, x: float, n: Floats) -> Floats:
        z = 1.0 / x
        q, inner = self._trace(z, n)
        over, e = self._over(q), self.e
        y, beside = z + n[0], 1.0 + n[1]
        trace, vv, vx, xx = self.before.forms(inner)
        seen = np.array([[vv, vx], [vx, xx]])
        # F, K and Delta between (direction, block): corner first.
        form = np.empty((2, 2, 2, 2))
        form[:, 0, :, 0] = (np.eye(2) - beside**2 / y * seen) / y
        form[:, 0, :, 1] = form[:, 1, :, 0] = beside / y * seen
        form[:, 1, :, 1] = -seen
        d = self._coefficients(q) @ (self.beside @ over).reshape(3, 3).T  # (block pair, pair)
        delta = np.empty((2, 2, 2, 2))
        for i, j, pair in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
            delta[i, :, j, :] = np.array([[d[0, pair], d[1, pair]], [d[1, pair], d[2, pair]]])
        f = form.reshape(4, 4)
        k = f @ np.linalg.inv(np.eye(4) + delta.reshape(4, 4) @ f)
        drawn = self.drawn @ over
        t = np.empty((2, 2))  # (direction, block)
        t[:, 0] = drawn[:2] + e * q[1] * drawn[2:4]
        t[:, 1] = -e * q[0] * drawn[2:4]
        to = t.ravel() @ k
        corner, moved = k[::2, ::2], to[::2]
        drift = drawn[4] * q[0] + to @ t.ravel()
        theta = np.array([self.gamma, self.eta])
        spike = np.array([self.r, 0.0])
        # Of (Sigma + z)^{-1}: between the spike after the step and the target's direction.
        own = spike @ corner @ spike + 2.0 * e * moved @ spike + e * e * drift
        across = spike @ corner @ theta + e * moved @ theta
        target = theta @ corner @ theta
        whole = (1.0 - z * (1.0 - beside**2 * trace / y) / y) / x
        return self._by_directions(
            whole,
            (self.square - z * own) / x,
            (self.product - z * across) / x,
            (1.0 - z * target) / x,
        )

    def _by_directions(self, trace: float, own: float, across: float, target: float) -> Floats:
        """Turn forms of the spike and the target's direction into those of v and xi."""
        if self.square <= 0.0:
            return np.array([trace, trace, 0.0, target])
        length = self.sign * np.sqrt(self.square)
        gamma = self.product / length
        beside = 1.0 - gamma**2
        vv, vt = own / self.square, across / length
        if beside <= _SHORTEST**2:
            return np.array([trace, vv, 0.0, trace])
        vx = (vt - gamma * vv) / np.sqrt(beside)
        return np.array([trace, vv, vx, (target - 2.0 * gamma * vt + gamma**2 * vv) / beside])
