"""The equations of theory.md, section 11, written out plainly, to hold a solution against.

Three nested quadratures, panels of which end wherever something has a kink; proximal maps by
bisection. Nothing is shared with the compiled core but the tables of `brute_force`.
"""

from __future__ import annotations

import numpy as np
from scipy import special

import brute_force as bf


def subgradients(loss, y, h):
    """Smallest and largest derivative of the loss in h, by its definition."""
    if loss.name in ("absolute", "quantile"):
        low, high = (-1.0, 1.0) if loss.name == "absolute" else (-loss.level, 1 - loss.level)
        return np.where(h <= y, low, high), np.where(h < y, low, high)
    if loss.name == "hinge":
        slope = np.where(y * h < 1, -y, 0.0)
        at = np.where(y * h <= 1, -y, 0.0)
        return np.minimum(slope, at), np.maximum(slope, at)
    slope = loss.derivative(y, h)
    return slope, slope


def prox(loss, y, omega, V):
    """argmin_h loss(y, h) + (h - omega)^2 / (2 V): the zero of an increasing function."""
    y, omega, V = np.broadcast_arrays(y, omega, V)
    reach = 1.0 + np.abs(y - omega) + 2.0 * V
    low, high = omega - 10 * reach, omega + 10 * reach
    for _ in range(60):
        middle = 0.5 * (low + high)
        right = subgradients(loss, y, middle)[1] + (middle - omega) / V < 0
        low, high = np.where(right, middle, low), np.where(right, high, middle)
    return 0.5 * (low + high)


def kinks(loss):
    """Where the derivative bends or jumps in y - h (or in 1 - y h), and its values there."""
    if loss.name == "huber":
        return [(-loss.delta, -loss.delta), (loss.delta, loss.delta)]
    if loss.name == "absolute":
        return [(0.0, -1.0), (0.0, 1.0)]
    if loss.name == "quantile":
        return [(0.0, loss.level - 1), (0.0, loss.level)]
    if loss.name == "hinge":
        return [(0.0, 0.0), (0.0, 1.0)]
    return [(0.0, 0.0)] if loss.name == "squared_hinge" else []


def panels(edges, order):
    node, weight = np.polynomial.legendre.leggauss(order)
    left, right = edges[..., :-1, None], edges[..., 1:, None]
    half = 0.5 * (right - left)
    x = left + half * (1 + node)
    w = half * weight * np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    return x.reshape(*edges.shape[:-1], -1), w.reshape(*edges.shape[:-1], -1)


def averages(loss, V, mean, s, t, labels, target, at, across, noise, flip, order):
    """E f, E zeta f, E f^2, -E f', losses and errors at one node, <theta, x> = at + across zeta."""
    edges = np.linspace(-9, 9, 7)
    crossing = -at / across  # of targets that are odd
    zeta, w_zeta = panels(np.sort(np.append(edges, np.clip(crossing, -9, 9))), order)
    g = bf.functions[target](at + across * zeta)
    if labels == "real":
        branches = [(g, np.ones_like(g), np.sqrt(t + noise**2))]
    else:
        up = (g >= 0) * 1.0 if noise == 0 else special.ndtr(g / noise)
        up = flip + (1 - 2 * flip) * up
        branches = [(np.ones_like(g), up, np.sqrt(t)), (-np.ones_like(g), 1 - up, np.sqrt(t))]
    total = dict.fromkeys(("f", "zf", "f2", "slope", "loss", "fresh", "error", "train"), 0.0)
    for y, chance, tau in branches:
        sigma = y if loss.margin else np.ones_like(y)
        mu = sigma * (y - mean - s * zeta)
        # x = sigma (y - omega) = mu + tau u; h has kinks where x = kink + V slope
        breaks = [(kink + V * slope - mu) / tau for kink, slope in kinks(loss)]
        breaks += [(kink - mu) / tau for kink, _ in kinks(loss)]  # of the loss at omega
        inner = [np.broadcast_to(edges, (zeta.size, edges.size))]
        inner += [np.clip(b, -9, 9)[:, None] for b in breaks]
        u, w_u = panels(np.sort(np.concatenate(inner, axis=1), axis=1), order)
        omega = y[:, None] - sigma[:, None] * (mu[:, None] + tau * u)
        h = prox(loss, y[:, None], omega, V)
        f = (h - omega) / V
        w = w_zeta[:, None] * w_u * chance[:, None]
        total["f"] += np.sum(w * f)
        total["zf"] += np.sum(w * zeta[:, None] * f)
        total["f2"] += np.sum(w * f * f)
        # -E f' by parts: omega moves against u, by tau
        total["slope"] += np.sum(w * u * sigma[:, None] * f) / tau
        total["loss"] += np.sum(w * loss.value(y[:, None], h))
        total["fresh"] += np.sum(w * loss.value(y[:, None], omega))
        if labels == "real":
            total["train"] += np.sum(w * (y[:, None] - h) ** 2)
            total["error"] += np.sum(w * (y[:, None] - omega) ** 2)
        else:
            field = (mean + s * zeta) / tau
            total["error"] += np.sum(w_zeta * chance * special.ndtr(-y * field))
            pull = -loss.derivative(y, 0.0 * y)
            total["train"] += np.sum(w_zeta * chance * special.ndtr(-y * (field + V * pull / tau)))
    return total


def violations(
    solution, loss, labels, *, alpha, beta, lam, activation, target, spike, noise=0.0, flip=0.0,
    step=0.2, order=10,
):  # fmt: skip
    """Relative violations of every equation of section 11, and of what is reported."""
    r, c, gamma, pi = spike.arrays()
    gamma = float(gamma)
    # The trapezoid rule: everything is smooth on a scale above 0.6.
    kappa = np.arange(-9, 9 + 0.5 * step, step)
    w = step * np.exp(-0.5 * kappa**2) / np.sqrt(2 * np.pi)
    mu0, mu1, mu2 = bf.tables(kappa, r, c, gamma, activation, target)[:3]
    V1, V2, q1, q2 = solution.V1, solution.V2, solution.q1, solution.q2
    m, theta, psi = solution.m, solution.theta, solution.psi
    V = np.einsum("kn,ln,kl->n", mu1, mu1, V1) + V2 @ mu2
    s = psi @ mu1
    t = np.einsum("kn,ln,kl->n", mu1, mu1, q1) + q2 @ mu2 - s * s
    mean = m @ mu0 + kappa * (theta @ mu1)
    across = np.sqrt((1 - gamma) * (1 + gamma))
    node = [
        averages(loss, *a, labels, target, gamma * k, across, noise, flip, order)
        for k, *a in zip(kappa, V, mean, s, t, strict=True)
    ]
    E = {name: np.array([a[name] for a in node]) for name in node[0]}
    delta = alpha / beta
    B = delta * np.einsum("kn,ln,n->kl", mu1, mu1, w * E["slope"])
    D = lam + delta * mu2 @ (w * E["slope"])
    g = V2 / pi
    G = np.diag(beta * c * pi * g)
    P = np.linalg.inv(np.eye(len(r)) + B @ G)
    C, M = P @ B, G @ P
    psihat = delta * mu1 @ (w * (E["zf"] + E["slope"] * s))
    thetahat = delta * (kappa * mu1) @ (w * E["f"])
    Q1 = delta * np.einsum("kn,ln,n->kl", mu1, mu1, w * E["f2"]) + beta * np.outer(psihat, psihat)
    Q2 = delta * mu2 @ (w * E["f2"]) + beta * c * thetahat**2
    dg = -q2 / pi
    dM = P.T @ np.diag(beta * c * pi * dg) @ P - M @ Q1 @ M
    balance = dg / g**2 + c * (np.diag(P @ Q1 @ P.T) - C**2 @ (beta * c * pi * dg)) + Q2
    scale = np.sqrt(w @ (mean**2 + s**2 + t))
    out = {
        "V2": g * (D + c * np.diag(C)) - 1,
        "V1": (M / beta - V1) / np.abs(V1).max(),
        "m": mu0 @ (w * E["f"]) / np.sqrt(w @ E["f2"]),
        "theta": (theta - np.diag(G) * thetahat) / scale,
        "psi": (psi - M @ psihat) / scale,
        "q1": (-dM / beta - q1) / np.abs(q1).max(),
        "q2": balance / np.abs(Q2).max(),
        "test_error": w @ E["error"] / solution.test_error - 1,
        "train_error": w @ E["train"] / solution.train_error - 1,
        "test_loss": w @ E["fresh"] / solution.test_loss - 1,
        "train_loss": w @ E["loss"] / solution.train_loss - 1,
        "norm": q2.sum() / solution.norm - 1,
    }
    return {name: float(np.abs(value).max()) for name, value in out.items()}
