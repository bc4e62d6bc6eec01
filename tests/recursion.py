"""Several steps on fresh samples, as theory.md, section 13, says: the spikes of each group."""

import numpy as np
from scipy.special import roots_hermitenorm


def spikes(sigma, slope, target, *, u, pi, eta, steps, alpha0, noise, nodes=48):
    """Overlap with the target and squared length of each group's spike, after some steps.

    For one direction of the target. The new directions of a step are independent of all before,
    so that only their Gram matrix is kept: that of the spikes orthogonal to the target.

    Parameters
    ----------
    sigma, slope, target : callable
    u, pi : ndarray, shape (K,)
    eta : float
    steps : int
    alpha0 : float
        Rows of a step for each input.
    noise : float

    Returns
    -------
    along : ndarray, shape (K,)
    gram : ndarray, shape (K, K)
        Of the parts orthogonal to the target.
    c : ndarray, shape (K,)
        Variance of the rest.
    """
    z, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    K = len(u)
    along, other, c = np.zeros(K), np.zeros((K, 0)), np.ones(K)
    for _ in range(steps):
        # The latents are the target's direction and those of `other`, all independent.
        grids = np.meshgrid(*[z] * (1 + other.shape[1]), indexing="ij")
        s = np.stack([g.ravel() for g in grids], axis=1)
        weights = np.prod(np.meshgrid(*[w] * s.shape[1], indexing="ij"), axis=0).ravel()
        mean = s @ np.column_stack([along, other]).T  # (points, K)
        pre = mean[:, :, None] + np.sqrt(c)[:, None] * z
        mu0, first = sigma(pre) @ w, slope(pre) @ w  # mu1 = E sigma' (Stein)
        second = slope(pre) @ (w * z) / np.sqrt(c)  # E sigma''
        var = np.maximum(slope(pre) ** 2 @ w - first**2, 0.0)
        res = target(s[:, 0]) - mu0 @ (pi * u)
        power = res**2 + noise**2
        move = eta * u * np.einsum("i,i,ik,ij->jk", weights, res, first, s)  # (latents, K)
        xi = np.einsum("i,i,ik,il->kl", weights, power, first, first) / alpha0
        value, vector = np.linalg.eigh(xi)
        kept = value > 1e-12 * value[-1]
        fresh = (eta * u)[:, None] * vector[:, kept] * np.sqrt(value[kept])
        stretch = 1.0 + eta * u * np.einsum("i,i,ik->k", weights, res, second)
        spread = np.einsum("i,i,ik->k", weights, power, var) / alpha0
        along = along + move[0]
        other = np.column_stack([other + move[1:].T, fresh])
        other = _compressed(other)
        c = c * stretch**2 + (eta * u) ** 2 * spread
    return along, other @ other.T, c


def _compressed(other):
    """As few directions as the vectors span: only their products matter."""
    value, vector = np.linalg.eigh(other @ other.T)
    kept = value > 1e-12 * value[-1]
    return vector[:, kept] * np.sqrt(value[kept])
