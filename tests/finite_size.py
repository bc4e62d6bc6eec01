"""The spiked random-features model at finite size, by plain NumPy: the formulas' other witness."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from brute_force import functions

Function = Callable[[np.ndarray], np.ndarray]


def _group_sizes(p: int, pi: np.ndarray) -> np.ndarray:
    """Integers closest to p pi_k that sum to p (largest remainders)."""
    sizes = np.floor(p * pi).astype(int)
    order = np.argsort(sizes - p * pi, kind="stable")
    sizes[order[: p - sizes.sum()]] += 1
    return sizes


def simulate_srf(
    alpha: float,
    beta: float,
    lam: float,
    activation: str | Function,
    target: str | Function,
    r: np.ndarray | float = 0.0,
    c: np.ndarray | float = 1.0,
    gamma: float = 0.0,
    pi: np.ndarray | None = None,
    noise: float = 0.0,
    d: int = 400,
    replicates: int = 8,
    n_test: int = 4000,
    seed: int = 0,
) -> dict[str, float]:
    """Means over replicates of test, train, norm and their standard errors (`test_sem`, ...).

    w_i = r_k v + sqrt(c_k) w~_i, w~_i uniform on the unit sphere; y = g(<theta, x>) + noise N(0,1)
    with theta = gamma v + sqrt(1-gamma^2) xi;  Phi = sigma(X W^T);
    a = argmin sum (y - Phi a/sqrt p)^2 + lam |a|^2.

    test and train are mean squared residuals (noise included), norm = |a|^2/p.  By rotation
    invariance v and xi are the first two axes.  Each replicate draws everything afresh.
    """
    sigma = functions[activation] if isinstance(activation, str) else activation
    g = functions[target] if isinstance(target, str) else target
    r, c = (np.atleast_1d(np.asarray(x, dtype=float)) for x in (r, c))
    groups = max(r.size, c.size, 1 if pi is None else np.size(pi))
    pi = np.full(groups, 1 / groups) if pi is None else np.asarray(pi, dtype=float)
    n, p = round(alpha * d), round(beta * d)
    sizes = _group_sizes(p, pi)
    spikes = np.repeat(np.broadcast_to(r, groups), sizes)
    spreads = np.repeat(np.sqrt(np.broadcast_to(c, groups)), sizes)
    across = np.sqrt((1 - gamma) * (1 + gamma))
    rng = np.random.default_rng(seed)

    def sample(size: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = rng.standard_normal((size, d))
        y = g(gamma * x[:, 0] + across * x[:, 1]) + noise * rng.standard_normal(size)
        return sigma(x @ weights.T) / np.sqrt(p), y

    results = np.empty((replicates, 3))
    for replicate in range(replicates):
        weights = rng.standard_normal((p, d))
        weights *= (spreads / np.linalg.norm(weights, axis=1))[:, None]
        weights[:, 0] += spikes
        features, y = sample(n, weights)
        if lam == 0:
            a = np.linalg.lstsq(features, y, rcond=None)[0]
        elif n < p:
            a = features.T @ np.linalg.solve(features @ features.T + lam * np.eye(n), y)
        else:
            a = np.linalg.solve(features.T @ features + lam * np.eye(p), features.T @ y)
        test_features, test_y = sample(n_test, weights)
        results[replicate] = (
            np.mean((test_y - test_features @ a) ** 2),
            np.mean((y - features @ a) ** 2),
            a @ a / p,
        )
    mean = results.mean(axis=0)
    sem = results.std(axis=0, ddof=1) / np.sqrt(replicates)
    out = {name: float(value) for name, value in zip(("test", "train", "norm"), mean, strict=True)}
    out |= {
        f"{name}_sem": float(value)
        for name, value in zip(("test", "train", "norm"), sem, strict=True)
    }
    return out
