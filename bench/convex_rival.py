"""theory.md, section 11, transcribed to NumPy and SciPy as one would to see its numbers once.

The whole state is iterated with damping, every average is a sum over a grid: kappa on the nodes
given, and at each of them zeta and the cavity field on Gauss-Hermite nodes; where labels are signs
without noise, zeta given the field in closed form.
"""

import numpy as np
from scipy.special import expit, ndtr

from rivals import hermite

MOST_ROUNDS = 1000

# Each returns f = (h - omega)/V and, where the loss has no kink, -f'.


def logistic(y, omega, V):
    h = omega.copy()
    for _ in range(50):  # Newton's method; h + V y/(1 + exp(y h)) is convex or concave in h
        p = expit(-y * h)
        step = (h - omega - V * y * p) / (1.0 + V * p * (1.0 - p))
        h -= np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-10:
            break
    p = expit(-y * h)
    curvature = p * (1.0 - p)
    return y * p, curvature / (1.0 + V * curvature)


def hinge(y, omega, V):
    return y * np.clip((1.0 - y * omega) / V, 0.0, 1.0), None


def huber(y, omega, V):
    return np.clip((y - omega) / (1.0 + V), -1.0, 1.0), None


def pseudo_huber(y, omega, V):
    x = y - omega
    t = x / (1.0 + V)
    for _ in range(50):
        root = np.sqrt(1.0 + t * t)
        step = (t + V * t / root - x) / (1.0 + V / root**3)
        t -= step
        if np.abs(step).max() < 1e-10:
            break
    root = np.sqrt(1.0 + t * t)
    return t / root, 1.0 / (root**3 + V)


def quantile(y, omega, V, level=0.8):
    return np.clip((y - omega) / V, level - 1.0, level), None


def real_labels(phi, target, gamma, noise, kappa, V, mean, s, t, nodes):
    """E f, E zeta f, E f^2, -E f' for y = g + noise: given zeta, y - omega is Gaussian."""
    zeta, w_zeta = hermite(nodes)
    u, w_u = hermite(nodes)
    V, mean, s, t = (a[:, None, None] for a in (V, mean, s, t))
    across = np.sqrt(1.0 - gamma**2)
    g = target(gamma * kappa[:, None, None] + across * zeta[:, None])
    spread = np.sqrt(t + noise**2)
    f, _ = phi(g - mean - s * zeta[:, None] + spread * u, 0.0, V)
    weight = w_zeta[:, None] * w_u
    # -f' by parts, which is fine across kinks.
    return tuple(
        np.sum(weight * x, axis=(1, 2)) for x in (f, zeta[:, None] * f, f * f, u * f / spread)
    )


def sign_labels(phi, target, gamma, noise, kappa, V, mean, s, t, nodes):
    """The same for y = sign(g + noise), over zeta, the field and the two labels."""
    zeta, w_zeta = hermite(nodes)
    u, w_u = hermite(nodes)
    V, mean, s, t = (a[:, None, None] for a in (V, mean, s, t))
    g = target(gamma * kappa[:, None, None] + np.sqrt(1.0 - gamma**2) * zeta[:, None])
    omega = mean + s * zeta[:, None] + np.sqrt(t) * u
    out = np.zeros((4, len(kappa)))
    for y in (1.0, -1.0):
        f, slope = phi(y, omega, V)
        slope = u * -f / np.sqrt(t) if slope is None else slope
        weight = w_zeta[:, None] * w_u * ndtr(y * g / noise)
        for i, x in enumerate((f, zeta[:, None] * f, f * f, slope)):
            out[i] += np.sum(weight * x, axis=(1, 2))
    return out


def noiseless_signs(phi, target, gamma, noise, kappa, V, mean, s, t, nodes):
    """The same for y = sign(<theta, x>): given the field zeta is Gaussian and the label a cut."""
    a, w = hermite(nodes)
    V, mean, s, t, along = (x[:, None] for x in (V, mean, s, t, gamma * kappa))
    across, q = np.sqrt(1.0 - gamma**2), t + s * s
    omega = mean + np.sqrt(q) * a
    centre, spread = s * a / np.sqrt(q), np.sqrt(t / q)
    cut = (along / across + centre) / spread
    density = spread * np.exp(-0.5 * cut * cut) / np.sqrt(2.0 * np.pi)
    out = np.zeros((4, len(kappa)))
    for y in (1.0, -1.0):
        f, slope = phi(y, omega, V)
        chance = ndtr(y * cut)
        if slope is None:  # by parts; the label moves with the field too
            moved = y * s * density / (np.sqrt(q) * spread**2)
            slope = f * (moved - a * chance) / np.sqrt(q)
        else:
            slope = slope * chance
        for i, x in enumerate((f * chance, f * (centre * chance + y * density), f * f * chance)):
            out[i] += x @ w
        out[3] += slope @ w
    return out


def solve(averages, phi, target, alpha, beta, lam, r, c, gamma, pi, noise, rule, tables, nodes=48,
          damping=0.7, tolerance=1e-8):  # fmt: skip
    """One point: `averages` and `phi` are from above; `rule` is kappa and its weights, `tables`
    mu0, mu1, mu2^2 there, shape (nodes, K). Returns the state and the number of rounds."""
    (kappa, w), (mu0, mu1, mu2) = rule, tables
    groups, delta = len(pi), alpha / beta
    # Responses as of no data: at smaller ones the hinge is all slope and m has no way back.
    state = [
        np.eye(groups) / lam,
        pi / lam,
        0.1 * np.eye(groups),
        pi.copy(),
        *np.zeros((3, groups)),
    ]
    for rounds in range(1, MOST_ROUNDS + 1):  # noqa: B007
        V1, V2, q1, q2, m, theta, psi = state
        V = np.einsum("nk,nl,kl->n", mu1, mu1, V1) + mu2 @ V2
        s = mu1 @ psi
        t = np.einsum("nk,nl,kl->n", mu1, mu1, q1) + mu2 @ q2 - s * s
        mean = mu0 @ m + kappa * (mu1 @ theta)
        f, zeta_f, f2, slope = averages(
            phi, target, gamma, noise, kappa, V, mean, s, np.maximum(t, 1e-12), nodes
        )
        # Step A, from the groups' resolvents of the round before.
        B = delta * np.einsum("n,nk,nl->kl", w * slope, mu1, mu1)
        D = lam + delta * (w * slope) @ mu2
        size = beta * c * pi
        P = np.linalg.inv(np.eye(groups) + B * (size * V2 / pi))
        g = 1.0 / (D + c * np.diag(P @ B))
        P = np.linalg.inv(np.eye(groups) + B * (size * g))
        M, C = (size * g)[:, None] * P, P @ B
        # Step B, f linear in the mean.
        psihat = delta * (w * (zeta_f + slope * s)) @ mu1
        basis = np.hstack([mu0, kappa[:, None] * mu1])
        weight = delta * (w * slope)[:, None] * basis
        pull = delta * (w * f) @ basis + weight.T @ mean
        lines = weight.T @ basis
        lines[groups:, groups:] += np.diag(1.0 / (size * g))
        both = np.linalg.lstsq(lines, pull, rcond=1e-10)[0]
        thetahat = both[groups:] / (size * g)
        # Step C.
        Q1 = delta * np.einsum("n,nk,nl->kl", w * f2, mu1, mu1) + beta * np.outer(psihat, psihat)
        Q2 = delta * (w * f2) @ mu2 + beta * c * thetahat**2
        dg = np.linalg.solve(
            np.diag(1.0 / g**2) - c[:, None] * C**2 * size, -Q2 - c * np.diag(P @ Q1 @ P.T)
        )
        dM = P.T @ np.diag(size * dg) @ P - M @ Q1 @ M
        new = [M / beta, pi * g, -dM / beta, -pi * dg, both[:groups], both[groups:], M @ psihat]
        change = max(
            np.abs(a - b).max() / np.abs(a).max() for a, b in zip(new[:4], state[:4], strict=True)
        )
        state = [b + damping * (a - b) for a, b in zip(new, state, strict=True)]
        if change < tolerance:
            break
    return state, rounds
