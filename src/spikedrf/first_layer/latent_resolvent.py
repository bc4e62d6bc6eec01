"""The resolvent of a trained first layer's bulk in latent coordinates (theory.md, 10, 12, 14)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The symmetric 2 x 2 matrices (1,1), (1,2), (2,2) are kept as three numbers.
_ENTRIES = ((0, 0), (0, 1), (1, 1))


@dataclass(frozen=True, eq=False)
class LatentLaw:
    """Averages ``E f(res)``, ``E s_l f``, ``E s_l s_m f`` over residuals and latents, on nodes.

    Attributes
    ----------
    res : ndarray, shape (N,)
    one, first, second : ndarray, shape (N,), (L, N), (L, L, N)
        Their weights.
    reach : float
        Residuals beyond do not matter.
    """

    res: Floats
    one: Floats
    first: Floats
    second: Floats
    reach: float


@dataclass(frozen=True, eq=False)
class Space:
    """The inputs as the resolvent sees them.

    Attributes
    ----------
    values, dimensions : ndarray, shape (J,)
        Eigenvalues of the covariance and their shares of the dimensions.
    eigenvalue : ndarray, shape (A,)
        Of the axes on which the latents lie.
    axes : ndarray, shape (L, A)
        The latents on these axes, orthonormal.
    """

    values: Floats
    dimensions: Floats
    eigenvalue: Floats
    axes: Floats


class LatentResolvent:
    r"""What the trace, the latents and sums over the samples see of a trained bulk.

    In coordinates ``z`` with ``x = Omega^{1/2} z``, and ``M, S`` made of the samples ``x``::

        Sigma = Omega^{1/2} ((I + a M)^2 + b S) Omega^{1/2},   m_i = (1/n0) sum_mu res_mu^i x_mu.

    ``(Sigma + 1/x)^{-1}`` is a corner of the inverse of a matrix of 2 x 2 blocks that is linear in
    the samples, with ``H = [[2 a res + b res^2, a res], [a res, 0]]`` for each. In the limit these
    turn into ``Xi = E q``, ``q = (H^{-1} + Q)^{-1}``, on every axis and ``E s_l s_m q`` between the
    latents, where on an eigenspace of value t::

        n = 1/(1 - t Xi_22),  e = t Xi_12 n,  W = 1 + t Xi_11 + t e Xi_12,  P = 1/(1 + x t W),
        Q = (1/alpha0) sum_j w_j [[x t^2 P, x t^2 P e], [., t (x t P e^2 - n)]]_{t = t_j}.

    For white inputs and one direction this is `trained_resolvent`.

    Parameters
    ----------
    x : ndarray, shape (m,)
        Arguments, > 0, ascending.
    a, b, alpha0 : float
        ``alpha0`` may be infinite.
    law : LatentLaw
    space : Space

    Raises
    ------
    ArithmeticError
        If the equations are not solved.

    Notes
    -----
    Source: theory.md, sections 10 and 14.
    """

    def __init__(
        self, x: Floats, a: float, b: float, alpha0: float, law: LatentLaw, space: Space
    ) -> None:
        self.x, self.law, self.space = x, law, space
        self.inverse = 1.0 / alpha0
        res = law.res
        self.h1, self.h2 = 2.0 * a * res + b * res**2, a * res
        self.xi = self._solve()

    # ----------------------------------------------------------------------------------------------
    # Xi

    def _blocks(self, xi: Floats, t: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return n, e, W and P at eigenvalues t (...), with the arguments first."""
        at = (slice(None),) + (None,) * t.ndim
        first, cross, second = (xi[i][at] for i in range(3))
        n = 1.0 / (1.0 - t * second)
        e = t * cross * n
        whole = 1.0 + t * first + t * e * cross
        return n, e, whole, 1.0 / (1.0 + self.x[at] * t * whole)

    def _trace_form(self, xi: Floats) -> tuple[Floats, Floats, Floats]:
        t, w = self.space.values, self.space.dimensions * self.inverse
        n, e, _, p = self._blocks(xi, t)
        top = self.x[:, None] * t * p
        return (t * top) @ w, (t * top * e) @ w, (t * (top * e * e - n)) @ w

    def _q(self, form: tuple[Floats, Floats, Floats]) -> tuple[Floats, ...]:
        """Return q on the nodes of the law, (m, N) for each entry, and 1/det(1 + QH)."""
        q11, q12, q22 = (f[:, None] for f in form)
        square = self.h2**2
        over = 1.0 / (1.0 + self.h1 * q11 + 2.0 * self.h2 * q12 - square * (q11 * q22 - q12**2))
        return (
            (self.h1 - square * q22) * over,
            (self.h2 + square * q12) * over,
            -square * q11 * over,
            over,
        )

    def _newton(self, xi: Floats) -> tuple[Floats, Floats]:
        """Return Newton's step for Xi = E q(Q(Xi)), and E q - Xi."""
        t, w = self.space.values, self.space.dimensions * self.inverse
        n, e, _, p = self._blocks(xi, t)
        q = self._q(self._trace_form(xi))[:3]
        mean = np.stack([entry @ self.law.one for entry in q])
        pair = np.empty((3, 3, self.x.size))
        for i in range(3):
            for j in range(i, 3):
                pair[i, j] = pair[j, i] = (q[i] * q[j]) @ self.law.one
        # D = [[x t P, x t P e], [., x t P e^2 - n]], dQ = -sum_j w t^2 D dXi D.
        top = self.x[:, None] * t * p
        D = np.array([[top, top * e], [top * e, top * e * e - n]])
        jacobian = np.zeros((self.x.size, 3, 3))
        index = {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}
        for c, (r, s) in enumerate(_ENTRIES):
            unit = np.zeros((2, 2))
            unit[r, s] = unit[s, r] = 1.0
            dQ = -np.einsum("rimj,rs,skmj,j->ikm", D, unit, D, w * t * t, optimize=True)
            for row, (i, j) in enumerate(_ENTRIES):
                total = np.zeros(self.x.size)
                for k in range(2):
                    for m in range(2):
                        total += pair[index[i, k], index[m, j]] * dQ[k, m]
                jacobian[:, row, c] = total
        towards = mean - xi
        step = np.linalg.solve(np.eye(3) + jacobian, towards.T[:, :, None])[:, :, 0].T
        return np.asarray(step), towards

    def _regular(self, xi: Floats) -> Floats:
        n, _, whole, _ = self._blocks(xi, self.space.values)
        q11, q12, q22 = (f[:, None] for f in self._trace_form(xi))
        square = self.h2**2
        det = 1.0 + self.h1 * q11 + 2.0 * self.h2 * q12 - square * (q11 * q22 - q12**2)
        good = (n > 0.0).all(axis=1) & (whole > 0.0).all(axis=1) & (det > 0.0).all(axis=1)
        return np.asarray(good & (xi[2] <= 0.0))

    def _solve(self) -> Floats:
        start = np.array([self.h1 @ self.law.one, self.h2 @ self.law.one, 0.0])
        xi = np.repeat(start[:, None], self.x.size, axis=1)
        if self.inverse == 0.0:
            return xi
        xi, done = self._iterate(xi)
        while not done.all():
            beside = ~done & np.roll(done, 1)
            beside[0] = False
            again, found = self._iterate(np.where(beside, np.roll(xi, 1, axis=1), xi))
            beside &= found
            if not beside.any():
                raise ArithmeticError("the resolvent of the trained bulk has not been found")
            xi, done = np.where(beside, again, xi), done | beside
        return xi

    def _iterate(self, xi: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        done, length = np.zeros(self.x.size, dtype=bool), np.full(self.x.size, np.inf)
        for _ in range(100):
            with np.errstate(all="ignore"):
                step, towards = self._newton(xi)
                size = 1.0 + np.abs(xi).max(axis=0)
                # Far off Newton's method may leave for other solutions, see `trained_resolvent`.
                safe = (np.abs(step).max(axis=0) < 0.5 * size) & self._regular(xi + step)
                step = np.where(safe, step, 0.5 * towards)
            xi = xi + step
            before, length = length, np.abs(step).max(axis=0) / size
            done |= safe & ((length <= 1e-14) | ((length <= 1e-9) & (length > 0.1 * before)))
            if done.all():
                break
        return xi, done

    # ----------------------------------------------------------------------------------------------
    # Forms

    def trace(self) -> Floats:
        """``(1/d) Tr Sigma/(1 + x Sigma)``, shape (m,)."""
        t = self.space.values
        _, _, whole, p = self._blocks(self.xi, t)
        return np.asarray((t * whole * p) @ self.space.dimensions)

    def forms(self, powers: int) -> tuple[Floats, Floats, Floats]:
        r"""Return what latents and sums over the samples see.

        Parameters
        ----------
        powers : int
            So many ``m_i``, i = 1 .. powers.

        Returns
        -------
        latents : ndarray, shape (m, L, L)
            ``e_l' Sigma/(1 + x Sigma) e_m``.
        mixed : ndarray, shape (m, L, powers, 2)
            ``e_l' (1 + x Sigma)^{-1} Omega^{1/2} B m_i`` with ``B = I`` and ``B = a M``.
        sums : ndarray, shape (m, powers, 2, powers, 2)
            ``m_i' B' Omega^{1/2} (1 + x Sigma)^{-1} Omega^{1/2} B m_j``.
        """
        x, law, space = self.x, self.law, self.space
        form = self._trace_form(self.xi)
        *q, over = self._q(form)
        L, A = space.axes.shape
        root = np.sqrt(space.eigenvalue)
        e = space.axes
        # Xi in the space of the latents: X_ab = Xi_ab I + sum (E s s q_ab - Xi_ab) e e'.
        X = []
        for entry, mean in zip(q, self.xi, strict=True):
            of = np.einsum("mn,lkn->mlk", entry, law.second) - mean[:, None, None] * np.eye(L)
            X.append(mean[:, None, None] * np.eye(A) + e.T @ of @ e)
        t = space.eigenvalue
        N = np.linalg.inv(np.eye(A) - root[:, None] * X[2] * root)
        B = t[:, None] * X[1] * root
        BN = B @ N
        sigma = np.diag(t) + t[:, None] * X[0] * t + BN @ np.swapaxes(B, 1, 2)
        sigma = 0.5 * (sigma + np.swapaxes(sigma, 1, 2))
        T = np.linalg.inv(np.eye(A) + x[:, None, None] * sigma)
        latents = e @ (T @ sigma) @ e.T
        latents = 0.5 * (latents + np.swapaxes(latents, 1, 2))
        TBN = T @ BN
        K22 = np.swapaxes(BN, 1, 2) @ TBN - N / x[:, None, None]
        u1, u2 = e * t, e * root
        # Blocks (1, 2) of e' K u and u' K u.
        from_e = np.stack([e @ T @ u1.T, e @ TBN @ u2.T], axis=-1)  # (m, L, L, 2)
        between = np.empty((x.size, L, 2, L, 2))
        between[:, :, 0, :, 0] = u1 @ T @ u1.T
        between[:, :, 0, :, 1] = u1 @ TBN @ u2.T
        between[:, :, 1, :, 0] = np.swapaxes(between[:, :, 0, :, 1], 1, 2)
        between[:, :, 1, :, 1] = u2 @ K22 @ u2.T
        # K = zeta C^{-1}, zeta = 1/x: the leave-one-out forms t_i = E s res^i (1 + HQ)^{-1}.
        q11, q12, q22 = (f[:, None] for f in form)
        loo = np.stack(
            [
                np.stack([1.0 + self.h2 * q12, -(self.h1 * q12 + self.h2 * q22)], axis=-1),
                np.stack([-self.h2 * q11, 1.0 + self.h1 * q11 + self.h2 * q12], axis=-1),
            ],
            axis=-2,
        )  # (m, N, 2, 2)
        loo *= over[:, :, None, None]
        power = law.res ** np.arange(1, 2 * powers + 1)[:, None]
        tail = np.einsum("mnab,ln,in->mliab", loo, law.first, power[:powers], optimize=True)
        mixed = np.einsum("mlkb,mkiba->mlia", from_e, tail, optimize=True)
        sums = np.einsum("mliba,mlbkc,mkjcd->miajd", tail, between, tail, optimize=True)
        # The same sample twice: zeta E res^{i + j} (Q + det Q adj H)/det.
        det = q11 * q22 - q12**2
        own = np.empty((x.size, law.res.size, 2, 2))
        own[:, :, 0, 0] = q11
        own[:, :, 0, 1] = own[:, :, 1, 0] = q12 - det * self.h2
        own[:, :, 1, 1] = q22 + det * self.h1
        own *= (over / x[:, None])[:, :, None, None]
        twice = np.einsum("mnab,n,kn->mkab", own, law.one, power[1:], optimize=True)
        # C^{-1}_22 = a M (..)^{-1} a M - 1: the sums themselves.
        plain = np.einsum("ln,in->li", law.first, power[:powers])
        gram = plain.T @ (e * t) @ e.T @ plain
        for i in range(powers):
            for j in range(powers):
                sums[:, i, :, j, :] += twice[:, i + j]
                moment = self.inverse * (law.one @ power[i + j + 1])
                sums[:, i, 1, j, 1] += (gram[i, j] + moment) / x
        return latents, mixed, sums
