"""Steps A, B and C of theory.md, section 12, for many points that share their tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.theory.latents.frame import Frame
from spikedrf.theory.latents.tables import Tables

Floats = NDArray[Any]

# Step A: plain iterations before Newton's method, iterations in all, and the residual to reach.
_PLAIN, _MOST, _SMALL = 12, 400, 2e-14
# Columns that add less than this to others are the same.
_COLLINEAR = 1e-13


@dataclass(frozen=True, eq=False)
class Answer:
    """Order parameters and errors of P points; the point is the first axis."""

    test: Floats
    train: Floats
    norm: Floats
    by_class: Floats
    wrong: Floats
    m: Floats
    columns: Floats  # (P, K, L')
    lengths: Floats  # (P, K)
    q1: Floats
    q2: Floats
    V1: Floats
    V2: Floats
    B: Floats
    g: Floats
    residual: Floats
    iterations: NDArray[np.int32]
    nodes: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Points:
    """Parameters of step A; ``alive`` is 0 where ``V = 0``."""

    delta: Floats
    beta: Floats
    lam: Floats
    alive: Floats

    def __getitem__(self, which: NDArray[Any]) -> _Points:
        return _Points(self.delta[which], self.beta[which], self.lam[which], self.alive[which])


class Equations:
    r"""The equations of one first layer on one rule.

    Matrices over the groups are symmetric, and are kept by their K (K + 1)/2 pairs where they are
    unknowns: ``x = (B pairs, g)``.

    Parameters
    ----------
    frame : Frame
    tables : Tables
    """

    def __init__(self, frame: Frame, tables: Tables) -> None:
        self.frame, self.tables = frame, tables
        self.K = frame.r.size
        self.rows, self.cols = np.triu_indices(self.K)
        self.pairs = self.rows.size
        self.U = self.pairs + self.K
        # A pair off the diagonal stands for two entries.
        self.double = np.where(self.rows == self.cols, 1.0, 2.0)
        mu1 = tables.mu1
        self.features = np.concatenate([mu1[self.rows] * mu1[self.cols], tables.mu2])
        self.twice = np.concatenate([self.double, np.ones(self.K)])
        products = self.features[:, None] * self.features[None, :]
        self.products = products.reshape(self.U * self.U, -1)
        layer, law = frame.layer, frame.population
        self.pi, self.sigma, self.ve = layer.pi, layer.sigma, layer.ve
        self.w, self.omega = law.dimensions, law.weights[:, None]
        self.J = self.w.size

    # ----------------------------------------------------------------------------------------------
    # Pieces

    def _matrix(self, pairs: Floats) -> Floats:
        out = np.empty((*pairs.shape[:-1], self.K, self.K))
        out[..., self.rows, self.cols] = pairs
        out[..., self.cols, self.rows] = pairs
        return out

    def _pull(self, V: Floats) -> tuple[Floats, Floats]:
        """Averages over the classes of ``omega/(1 + omega V)`` and of its square, (P, N)."""
        weight = self.tables.weight
        if (self.omega == 1.0).all():
            total = weight.sum(axis=0)
            one = 1.0 / (1.0 + V)
            return total * one, total * one * one
        one = self.omega / (1.0 + self.omega * V[:, None, :])
        return np.sum(weight * one, axis=1), np.sum(weight * one * one, axis=1)

    def _bulk(self, beta: Floats, B: Floats, g: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """``beta pi sigma_j``, and ``P_j, C_j, M_j``: arrays (P, J, K) and (P, J, K, K)."""
        size = beta[:, None, None] * (self.pi[:, None] * self.sigma).T
        G = size * g[:, None, :]
        P = np.linalg.inv(np.eye(self.K) + B[:, None] * G[:, :, None, :])
        return size, P, P @ B[:, None], G[..., None] * P

    def _state(
        self, beta: Floats, B: Floats, g: Floats
    ) -> tuple[Floats, Floats, tuple[Floats, ...]]:
        """``(V1 pairs, V2)`` and the self-energies, and the bulk they came from."""
        bulk = self._bulk(beta, B, g)
        _, _, C, M = bulk
        V1 = np.einsum("j,pjkl->pkl", self.w, M) / beta[:, None, None]
        V1 = 0.5 * (V1 + V1.swapaxes(1, 2))
        inner = np.einsum("j,kj,pjkk->pk", self.w, self.sigma, C)
        state = np.concatenate([V1[:, self.rows, self.cols], self.pi * g], axis=1)
        return state, inner, bulk

    def _slopes(
        self, beta: Floats, bulk: tuple[Floats, ...]
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Slopes of ``V1`` (pairs) and of the self-energies by ``B`` (pairs) and by ``g``."""
        size, P, C, M = bulk
        count = len(beta)
        V_B = np.empty((count, self.pairs, self.pairs))
        I_B = np.empty((count, self.K, self.pairs))
        for a, (k, i) in enumerate(zip(self.rows, self.cols, strict=True)):
            dM = M[..., :, k, None] * M[..., None, i, :]
            turned = P[..., :, k] * P[..., :, i]  # the diagonal of P dB P^T
            if k != i:
                dM = dM + M[..., :, i, None] * M[..., None, k, :]
                turned = 2.0 * turned
            total = -np.einsum("j,pjkl->pkl", self.w, dM) / beta[:, None, None]
            V_B[:, :, a] = total[:, self.rows, self.cols]
            I_B[:, :, a] = np.einsum("j,kj,pjk->pk", self.w, self.sigma, turned)
        # P^T diag(size dg) P by the entry of dg.
        by_g = P[..., :, self.rows] * P[..., :, self.cols]
        V_g = np.einsum("j,pji,pjia->pai", self.w, size, by_g) / beta[:, None, None]
        I_g = -np.einsum("j,kj,pjki,pji->pki", self.w, self.sigma, C * C, size)
        return V_B, V_g, I_B, I_g

    # ----------------------------------------------------------------------------------------------
    # Step A

    def respond(
        self,
        delta: Floats,
        beta: Floats,
        lam: Floats,
        finite: NDArray[np.bool_],
        start: tuple[Floats, Floats] | None,
    ) -> tuple[Floats, Floats, Floats, NDArray[np.int32]]:
        """Solve for ``B`` (P, K, K) and ``g`` (P, K); where not finite, ``V = 0``."""
        points = _Points(delta, beta, lam, finite.astype(np.float64)[:, None])
        count = len(beta)
        if start is None:
            first, _ = self._averages(points, np.zeros((count, self.U)))
            B, g = self._matrix(first[:, : self.pairs]), 1.0 / first[:, self.pairs :]
        else:
            B, g = start
        x = np.concatenate([B[:, self.rows, self.cols], np.log(g)], axis=1)
        active = np.arange(count)
        iterations = np.zeros(count, dtype=np.int32)
        best = np.full(count, np.inf)
        stalled = np.zeros(count, dtype=np.bool_)
        residual, plain, *parts = self._look(x, points[active])
        norm = np.abs(residual).max(axis=1)
        for step in range(_MOST):
            best[active] = norm
            done = norm <= _SMALL
            if step > _PLAIN:
                # Rounding may not let the residual fall any further.
                done |= (norm <= 1e-10) & stalled
            if done.any():
                keep = ~done
                active = active[keep]
                if not active.size:
                    break
                residual, plain = residual[keep], plain[keep]
                norm, stalled = norm[keep], stalled[keep]
                parts = [a[keep] for a in parts]
            if step <= _PLAIN and start is None:
                proposal = plain
            else:
                proposal = x[active] + self._newton(residual, parts)
            new = self._look(proposal, points[active])
            new_norm = np.abs(new[0]).max(axis=1)
            worse = ~(new_norm < norm)  # also where it is NaN
            stalled = worse.copy()
            if worse.any():
                proposal[worse] = plain[worse]
                again = self._look(proposal[worse], points[active[worse]])
                new = tuple(_replaced(a, worse, b) for a, b in zip(new, again, strict=True))
                new_norm = np.abs(new[0]).max(axis=1)
                stalled &= ~(new_norm < 0.9 * norm)
            x[active] = proposal
            iterations[active] += 1
            residual, plain, norm, parts = new[0], new[1], new_norm, list(new[2:])
        return self._matrix(x[:, : self.pairs]), np.exp(x[:, self.pairs :]), best, iterations

    def _averages(self, points: _Points, state: Floats) -> tuple[Floats, Floats]:
        """``(B pairs, D)`` at the responses, and the weights of their slopes."""
        V = (points.alive * state * self.twice) @ self.features
        pull, square = self._pull(V)
        out = points.delta[:, None] * (pull @ self.features.T)
        out[:, self.pairs :] += points.lam[:, None]
        return out, square

    def _look(self, x: Floats, points: _Points) -> tuple[Floats, ...]:
        """Residual at ``(B, log g)``, the plain next iterate, and what Newton's method needs."""
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            B, g = self._matrix(x[:, : self.pairs]), np.exp(x[:, self.pairs :])
            state, inner, bulk = self._state(points.beta, B, g)
            out, square = self._averages(points, state)
            scale = np.sqrt(np.einsum("pkk->pk", self._matrix(out[:, : self.pairs])))
            size = scale[:, self.rows] * scale[:, self.cols] + 1e-300
            energy = out[:, self.pairs :] + inner
            residual = np.concatenate(
                [(x[:, : self.pairs] - out[:, : self.pairs]) / size, g * energy - 1.0], axis=1
            )
            plain = np.concatenate([out[:, : self.pairs], -np.log(energy)], axis=1)
        return residual, plain, size, g, square, points.delta, points.beta, points.alive, *bulk

    def _newton(self, residual: Floats, parts: list[Floats]) -> Floats:
        size, g, square, delta, beta, alive, *bulk = parts
        count = len(beta)
        V_B, V_g, I_B, I_g = self._slopes(beta, tuple(bulk))
        H = -delta[:, None] * (square @ self.products.T) * alive
        H = H.reshape(count, self.U, self.U) * self.twice
        # The state (V1, V2) by the unknowns (B, log g).
        state = np.zeros((count, self.U, self.U))
        state[:, : self.pairs, : self.pairs] = V_B
        state[:, : self.pairs, self.pairs :] = V_g * g[:, None, :]
        at = np.arange(self.pairs, self.U)
        state[:, at, at] = self.pi * g
        of_average = H @ state
        jacobian = np.zeros_like(state)
        jacobian[:, : self.pairs, : self.pairs] = np.eye(self.pairs)
        jacobian[:, : self.pairs] -= of_average[:, : self.pairs]
        jacobian[:, : self.pairs] /= size[:, :, None]
        # g energy - 1, at a solution near 0: its slope by log g is one, and g by the energy.
        lower = of_average[:, self.pairs :]
        lower[:, :, : self.pairs] += I_B
        lower[:, :, self.pairs :] += I_g * g[:, None, :]
        lower *= g[:, :, None]
        k = np.arange(self.K)
        lower[:, k, self.pairs + k] += 1.0 + residual[:, self.pairs :]
        jacobian[:, self.pairs :] = lower
        with np.errstate(invalid="ignore", over="ignore"):
            try:
                move = -np.linalg.solve(jacobian, residual[..., None])[..., 0]
            except np.linalg.LinAlgError:
                move = -np.einsum("pij,pj->pi", np.linalg.pinv(jacobian), residual)
        move[:, self.pairs :] = np.clip(move[:, self.pairs :], -2.0, 2.0)
        return move

    # ----------------------------------------------------------------------------------------------
    # Steps B and C

    def solve(
        self,
        alpha: Floats,
        beta: Floats,
        lam: Floats,
        noise: Floats,
        start: tuple[Floats, Floats] | None = None,
    ) -> Answer:
        """Solve the points; ``alpha`` may be infinite."""
        finite = np.isfinite(alpha)
        delta = np.where(finite, alpha, beta) / beta
        lam = np.where(finite, lam, 0.0)
        B, g, residual, iterations = self.respond(delta, beta, lam, finite, start)
        state, _, bulk = self._state(beta, B, g)
        V = np.where(finite[:, None], (state * self.twice) @ self.features, 0.0)
        one = self.omega / (1.0 + self.omega * V[:, None, :])  # (P, C, N)
        pull = self.tables.weight * one
        m, inside, hats, mean0, slopes = self._readout(delta, beta, B, g, bulk, pull)
        t = self.tables
        # T given class and node.
        T = (t.y - mean0) ** 2 + t.rest + noise[:, None, None] ** 2
        T = T + np.sum((t.slope - slopes) ** 2, axis=3)
        q = self._spread(delta, beta, g, bulk, hats, pull * one, T, finite)
        spread = (q * self.twice) @ self.features
        total = T + spread[:, None, :]
        by_class = np.einsum("cn,pcn->pc", t.weight, total)
        test = by_class.sum(axis=1)
        train = np.einsum("cn,pcn->p", t.weight, total * (one / self.omega) ** 2)
        rho = self.frame.population.proportions
        latents = self.frame.size * self.K
        columns = inside[:, :latents].reshape(-1, self.frame.size, self.K).swapaxes(1, 2)
        return Answer(
            test=test,
            train=train,
            norm=q[:, self.pairs :].sum(axis=1),
            by_class=by_class / rho,
            wrong=self._wrong(mean0, slopes, spread) / rho,
            m=m,
            columns=columns,
            lengths=inside[:, latents:],
            q1=self._matrix(q[:, : self.pairs]),
            q2=q[:, self.pairs :],
            V1=self._matrix(state[:, : self.pairs]),
            V2=state[:, self.pairs :],
            B=B,
            g=g,
            residual=residual,
            iterations=iterations,
            nodes=np.full(len(beta), t.kappa.size),
        )

    def _readout(
        self,
        delta: Floats,
        beta: Floats,
        B: Floats,
        g: Floats,
        bulk: tuple[Floats, ...],
        pull: Floats,
    ) -> tuple[Floats, Floats, tuple[Floats, Floats, Floats], Floats, Floats]:
        """Step B: ``m``, ``P``; what step C needs of ``Phat``; the mean and its slopes."""
        t, frame, K = self.tables, self.frame, self.K
        count, size = len(beta), frame.size
        _, Pj, _, Mj = bulk
        F = np.einsum("jab,pjkl->pakbl", frame.A, Mj).reshape(count, size * K, size * K)
        Z = np.einsum("jab,pjkl->pakbl", frame.A, Pj).reshape(count, size * K, size * K)
        # N = F Z^{-1}, symmetric.
        N = np.linalg.solve(Z.swapaxes(1, 2), F.swapaxes(1, 2)).swapaxes(1, 2)
        value, vector = np.linalg.eigh(0.5 * (N + N.swapaxes(1, 2)))
        root = vector * np.sqrt(np.maximum(value, 0.0))[:, None, :]
        length = np.sqrt(beta[:, None] * self.pi * g * self.ve)
        # Columns at (class, node): the part that kappa and the class fix, then the slopes.
        R, classes, nodes = frame.spikes, *t.y.shape
        by_latent = np.empty((classes, nodes, size, K))
        for a in range(size):
            at = t.kappa if a < R else frame.means[:, a, None]
            by_latent[:, :, a] = (at * np.ones((classes, nodes)))[..., None] * t.mu1.T
        fixed = by_latent.reshape(classes * nodes, size * K)
        upper = np.sqrt(delta[:, None] * pull.reshape(count, -1))
        weighted = np.empty((count, classes * nodes, K + size * K + K))
        weighted[..., :K] = np.broadcast_to(t.mu0.T, (classes, nodes, K)).reshape(-1, K)
        weighted[..., K : K + size * K] = fixed @ root
        weighted[..., K + size * K :] = length[:, None, :] * np.broadcast_to(
            t.length.T, (classes, nodes, K)
        ).reshape(-1, K)
        weighted *= upper[..., None]
        right = [upper * t.y.ravel()]
        blocks = [weighted]
        total = pull.sum(axis=1)
        lower = np.sqrt(delta[:, None] * total)
        for a in range(R, size):
            # Slopes in a latent beside kappa: the classes have the same columns.
            block = np.zeros((count, nodes, weighted.shape[2]))
            block[..., K : K + size * K] = t.mu1.T @ root[:, a * K : (a + 1) * K]
            blocks.append(block * lower[..., None])
            average = np.einsum("pcn,cn->pn", pull, t.slope[:, :, a - R]) / total
            right.append(lower * average)
        ridge = np.zeros((count, size * K + K, weighted.shape[2]))
        i = np.arange(size * K + K)
        ridge[:, i, K + i] = 1.0
        matrix = np.concatenate([*blocks, ridge], axis=1)
        wanted = np.concatenate([*right, np.zeros((count, size * K + K))], axis=1)
        q, triangle = np.linalg.qr(matrix)
        # m is not penalised: where symmetry leaves it open the shortest is taken.
        scale = np.linalg.norm(triangle, axis=1)
        scale = np.where(scale > 0.0, scale, 1.0)
        solution = np.einsum(
            "pij,pj->pi",
            np.linalg.pinv(triangle / scale[:, None, :], rcond=_COLLINEAR),
            np.einsum("pri,pr->pi", q, wanted),
        )
        solution /= scale
        m = solution[:, :K]
        latent = np.einsum("pij,pj->pi", root, solution[:, K : K + size * K])
        of_length = length * solution[:, K + size * K :]
        mean0 = (m @ t.mu0 + of_length @ t.length)[:, None, :] + np.einsum(
            "ri,pi->pr", fixed, latent
        ).reshape(count, classes, nodes)
        per_latent = latent.reshape(count, size, K)
        slopes = np.einsum("pak,kn->pna", per_latent[:, R:], t.mu1)
        slopes = np.broadcast_to(slopes[:, None], (count, classes, nodes, size - R))
        # Phat, and b = Z^{-1} Phat.
        left = pull * (t.y - mean0)
        hats = delta[:, None] * np.einsum("pcn,cni->pi", left, fixed.reshape(classes, nodes, -1))
        beside = np.einsum("pcn,pcna->pna", pull, t.slope - slopes)
        hats[:, R * K :] += (
            delta[:, None, None] * np.einsum("pna,kn->pak", beside, t.mu1)
        ).reshape(count, -1)
        hats_length = delta[:, None] * (left.sum(axis=1) @ t.length.T)
        b = np.linalg.solve(Z, hats[..., None])[..., 0].reshape(count, size, K)
        inside = np.concatenate([latent, of_length], axis=1)
        return m, inside, (b, per_latent, hats_length), mean0, slopes

    def _spread(
        self,
        delta: Floats,
        beta: Floats,
        g: Floats,
        bulk: tuple[Floats, ...],
        hats: tuple[Floats, Floats, Floats],
        square: Floats,
        T: Floats,
        finite: NDArray[np.bool_],
    ) -> Floats:
        """Step C: ``(q1 pairs, q2)``."""
        b, P, hats_length = hats
        size, Pj, _, Mj = bulk
        A = self.frame.A
        V_B, V_g, I_B, I_g = self._slopes(beta, bulk)
        at = np.arange(self.K)
        system = I_g.copy()
        system[:, at, at] += 1.0 / g**2
        S = np.linalg.inv(system)
        # Psi = Phat' N Phat by B at fixed g: a variance over the nodes; by g.
        X = np.einsum("pjkl,pal->pjak", Mj, b) - P[:, None]
        S_B = np.einsum("pjak,jab,pjbl->pkl", X, A, X)
        Y = np.einsum("pjkl,pal->pjak", Pj, b)
        by_g = np.einsum("pjk,pjak,jab,pjbk->pk", size, Y, A, Y)
        by_g += beta[:, None] * self.pi * self.ve * hats_length**2
        through = np.einsum("pk,pki->pi", by_g, S)
        signal = np.concatenate(
            [
                S_B[:, self.rows, self.cols] + np.einsum("pk,pka->pa", through, I_B) / self.double,
                through,
            ],
            axis=1,
        )
        # Responses of (q1, q2) to sources (Q1, Q2).
        SI = S @ I_B
        linear = np.empty((len(beta), self.U, self.U))
        linear[:, : self.pairs, : self.pairs] = V_B - V_g @ SI
        linear[:, : self.pairs, self.pairs :] = -V_g @ S
        linear[:, self.pairs :, : self.pairs] = -self.pi[:, None] * SI
        linear[:, self.pairs :, self.pairs :] = -self.pi[:, None] * S
        weight = np.where(finite, delta, 0.0)[:, None]
        source = weight * (np.einsum("pcn,pcn->pn", square, T) @ self.features.T)
        feedback = (weight * (square.sum(axis=1) @ self.products.T)).reshape(-1, self.U, self.U)
        feedback = feedback * self.twice
        right = signal - np.einsum("pij,pj->pi", linear, source)
        return np.asarray(
            np.linalg.solve(np.eye(self.U) + linear @ feedback, right[..., None])[..., 0]
        )

    def _wrong(self, mean0: Floats, slopes: Floats, spread: Floats) -> Floats:
        """Share of wrong signs of labels +-1 by class: the output is Gaussian given kappa."""
        from scipy.special import ndtr

        numbers = self.frame.population.numbers
        if numbers is None:
            return np.full((len(spread), len(self.omega)), np.nan)
        width = np.sqrt(np.sum(slopes**2, axis=3) + np.maximum(spread, 0.0)[:, None, :])
        with np.errstate(divide="ignore", invalid="ignore"):
            z = -np.sign(numbers)[:, None] * mean0 / width
        wrong = ndtr(np.nan_to_num(z, nan=0.0))
        return np.asarray(np.einsum("cn,pcn->pc", self.tables.weight, wrong))


def _replaced(whole: Floats, where: NDArray[np.bool_], part: Floats) -> Floats:
    out = np.array(whole)
    out[where] = part
    return out
