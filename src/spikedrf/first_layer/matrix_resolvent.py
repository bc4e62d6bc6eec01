"""The resolvent of groups whose bulks do not commute (theory.md, sections 10 and 12)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.first_layer.latent_resolvent import LatentLaw, Space

Floats = NDArray[Any]


class MatrixResolvent:
    r"""What trace and directions see of ``M = (G^{-1} + B)^{-1}`` for given B and s.

    ``G = diag(s_k Sigma_k)``, with ``B`` between the K groups and, in coordinates ``z`` with
    ``x = Omega^{1/2} z``::

        Sigma_k = Omega^{1/2} ((I + a_k M)^2 + b_k S) Omega^{1/2}.

    With ``B = L L'`` it follows from ``(1 + L' G L)^{-1} = 1 - L' M L``, the corner of the inverse
    of a matrix of 2K x 2K blocks that is linear in the samples of the step, with::

        H = [[L' diag(s (2 a res + b res^2)) L, L' diag(sqrt(s) a) res], [., 0]]

    for each, and 1 and -1 on the diagonal beside ``Omega L' diag(s) L``. `LatentResolvent` has the
    equations for one group. Its Xi is here a symmetric matrix, ``Xi = E q``,
    ``q = (1 + H Q)^{-1} H``, with Q the trace form of the inverse over ``alpha0``.

    Parameters
    ----------
    a, b : ndarray, shape (K,)
    alpha0 : float
        May be infinite.
    law : LatentLaw
    space : Space
    gamma : ndarray, shape (L,)
        Components of the spike along the latents.
    nu : float
        Length of ``Omega^{1/2} m_1``; 0 if there is no spike.
    along : ndarray, shape (K,), optional
        ``along_k v v'`` is added to ``Sigma_k``.

    Notes
    -----
    Source: theory.md, sections 10 and 12.
    """

    def __init__(
        self,
        a: Floats,
        b: Floats,
        alpha0: float,
        law: LatentLaw,
        space: Space,
        gamma: Floats,
        nu: float,
        along: Floats | None = None,
    ) -> None:
        self.a, self.b, self.inverse = a, b, 1.0 / alpha0
        self.along = along
        self.law, self.space, self.gamma, self.nu = law, space, gamma, nu
        self._start: Floats | None = None
        self._scale = self._scaled(space.values)
        self._weight = space.dimensions * self.inverse
        size = 2 * a.size
        self._upper = np.triu_indices(size)
        rows, columns = self._upper
        self._basis = np.zeros((rows.size, size, size))
        self._basis[np.arange(rows.size), rows, columns] = 1.0
        self._basis[np.arange(rows.size), columns, rows] = 1.0

    def __call__(self, B: Floats, s: Floats) -> tuple[Floats, Floats]:
        """Return ``Tr M/d`` (K, K), and ``M`` between the directions ``v, e_1, .., e_L``.

        Parameters
        ----------
        B : ndarray, shape (K, K)
            Positive definite.
        s : ndarray, shape (K,)
            Positive.

        Returns
        -------
        trace : ndarray, shape (K, K)
        forms : ndarray, shape (L + 1, K, L + 1, K)
            Without a spike zero for v.

        Raises
        ------
        ArithmeticError
            If the equations are not solved.
        """
        K, law = self.a.size, self.law
        lower = np.linalg.cholesky(B)
        G = lower.T @ (s[:, None] * lower)
        res = law.res[:, None]
        H = np.zeros((law.res.size, 2 * K, 2 * K))
        pull = s * (2.0 * self.a * res + self.b * res**2)
        H[:, :K, :K] = lower.T @ (pull[:, :, None] * lower)
        H[:, :K, K:] = (lower.T * (np.sqrt(s) * self.a)) * res[:, :, None]
        H[:, K:, :K] = np.swapaxes(H[:, :K, K:], 1, 2)
        xi = self._solve(H, G)
        Q, D = self._trace_form(xi, G)
        loo = np.linalg.inv(np.eye(2 * K) + H @ Q)
        seen = self._seen(xi, G, loo, loo @ H, Q)
        if self.along is not None and self.nu > 0.0:
            more = lower.T @ ((s * self.along)[:, None] * lower)
            gain = more @ np.linalg.inv(np.eye(K) + seen[0, :, 0] @ more)
            seen = seen - np.einsum("lki,ij,jmn->lkmn", seen[:, :, 0], gain, seen[0])
        dots = np.eye(seen.shape[0])
        dots[0, 1:] = dots[1:, 0] = self.gamma
        left = np.einsum("lk,ij->likj", dots, np.eye(K)) - seen
        trace = np.einsum("j,jab->ab", self.space.dimensions, np.eye(K) - D[:, :K, :K])
        back = np.linalg.inv(lower)
        trace = back.T @ trace @ back
        forms = np.einsum("ia,likj,jb->lakb", back, left, back)
        if self.nu == 0.0:
            forms[0] = forms[:, :, 0] = 0.0
        return 0.5 * (trace + trace.T), forms

    def _scaled(self, t: Floats) -> Floats:
        """``t`` for the first K, its root for the others, shape (..., 2K)."""
        return np.repeat(np.stack([t, np.sqrt(t)], axis=-1), self.a.size, axis=-1)

    def _trace_form(self, xi: Floats, G: Floats) -> tuple[Floats, Floats]:
        """Return Q, and the inverse D on the eigenspaces."""
        K, scale = self.a.size, self._scale
        block = xi * scale[:, :, None] * scale[:, None, :]
        block[:, :K, :K] += np.eye(K) + self.space.values[:, None, None] * G
        block[:, K:, K:] -= np.eye(K)
        D = np.linalg.inv(block)
        return np.asarray(np.einsum("j,ja,jab,jb->ab", self._weight, scale, D, scale)), D

    def _seen(self, xi: Floats, G: Floats, loo: Floats, q: Floats, Q: Floats) -> Floats:
        """Return the corner of the inverse between the directions, (L + 1, K, L + 1, K)."""
        K, law, e = self.a.size, self.law, self.space.axes
        latents, axes = e.shape
        scale = self._scaled(self.space.eigenvalue)
        between = np.einsum("lkn,nab->lkab", law.second, q)
        between -= np.einsum("lk,ab->lkab", np.eye(latents), xi)
        whole = np.einsum("ab,ij->aibj", np.eye(axes), xi)
        whole += np.einsum("la,lkij,kb->aibj", e, between, e)
        whole *= scale[:, :, None, None] * scale
        for axis, t in enumerate(self.space.eigenvalue):
            whole[axis, :K, axis, :K] += np.eye(K) + t * G
            whole[axis, K:, axis, K:] -= np.eye(K)
        inverse = np.linalg.inv(whole.reshape(2 * axes * K, -1))
        inverse = inverse.reshape(axes, 2 * K, axes, 2 * K)
        seen = np.zeros((latents + 1, K, latents + 1, K))
        seen[1:, :, 1:] = np.einsum("la,aibj,kb->likj", e, inverse, e)[:, :K, :, :K]
        if self.nu == 0.0:
            return seen
        # v is made of the samples: one sample left out at either end, or the same at both.
        u = e[:, :, None] * scale
        tail = np.einsum("ln,n,nab->lab", law.first, law.res, loo)[:, :, :K] / self.nu
        touched = np.einsum("la,aibj,kbj->likj", e, inverse, u)[:, :K]
        seen[1:, :, 0] = np.einsum("likj,kjc->lic", touched, tail)
        seen[0, :, 1:] = np.einsum("lic->cli", seen[1:, :, 0])
        inner = np.einsum("lai,aibj,kbj->likj", u, inverse, u)
        twice = np.einsum("n,nab->ab", law.one * law.res**2, Q @ loo)[:K, :K] / self.nu**2
        seen[0, :, 0] = twice + np.einsum("lic,likj,kjd->cd", tail, inner, tail)
        return seen

    def _solve(self, H: Floats, G: Floats) -> Floats:
        large = np.asarray(np.einsum("n,nab->ab", self.law.one, H))
        if self.inverse == 0.0:
            return large
        for start in (self._start, large):
            if start is not None and (found := self._newton(start, H, G)) is not None:
                self._start = found
                return found
        raise ArithmeticError("the resolvent of the trained bulks has not been found")

    def _newton(self, xi: Floats, H: Floats, G: Floats) -> Floats | None:
        one, scale = self.law.one, self._scale
        rows, columns = self._upper
        length = np.inf
        for _ in range(100):
            with np.errstate(all="ignore"):
                Q, D = self._trace_form(xi, G)
                q = np.linalg.solve(np.eye(len(Q)) + H @ Q, H)
            towards = np.einsum("n,nab->ab", one, q) - xi
            # dq = -q dQ q, dQ = -sum_j w R dXi R.
            R = scale[:, :, None] * D * scale[:, None, :]
            flat = q.reshape(len(q), -1)
            pair = ((one[:, None] * flat).T @ flat).reshape(*xi.shape, *xi.shape)
            moved = np.einsum("j,jab,cbd,jde->cae", self._weight, R, self._basis, R, optimize=True)
            move = np.einsum("abde,cbd->cae", pair, moved)
            jacobian = np.eye(rows.size) - move[:, rows, columns].T
            if not np.isfinite(jacobian).all():
                return None
            step = np.zeros_like(xi)
            step[rows, columns] = np.linalg.solve(jacobian, towards[rows, columns])
            step[columns, rows] = step[rows, columns]
            before, length = length, float(np.abs(step).max() / (1.0 + np.abs(xi).max()))
            # Far off Newton's method may leave for other solutions, see `trained_resolvent`.
            safe = length < 0.5 and self._regular(xi + step, H, G)
            xi = xi + (step if safe else 0.5 * towards)
            if safe and (length < 1e-13 or (length < 1e-9 and length > 0.1 * before)):
                return xi
        return None

    def _regular(self, xi: Floats, H: Floats, G: Floats) -> bool:
        """Whether the signs are those of the solution, as in `LatentResolvent`."""
        K, scale = self.a.size, self._scale
        block = xi * scale[:, :, None] * scale[:, None, :]
        block[:, :K, :K] += np.eye(K) + self.space.values[:, None, None] * G
        block[:, K:, K:] -= np.eye(K)
        below = np.linalg.eigvalsh(block[:, K:, K:])
        every = np.linalg.eigvalsh(block)
        if (below >= 0.0).any() or (every[:, K] <= 0.0).any():
            return False
        Q, _ = self._trace_form(xi, G)
        return bool((np.linalg.det(np.eye(2 * K) + H @ Q) > 0.0).all())
