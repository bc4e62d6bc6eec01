"""Several steps on fresh samples, as theory.md, section 13, says: the spikes of each group."""

import numpy as np
from scipy.special import ndtr, roots_hermitenorm


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


def relu_averages(mean, sd):
    """E relu, E relu', E relu'' and Var relu' of mean + sd z, z ~ N(0, 1)."""
    density = np.exp(-0.5 * (mean / sd) ** 2) / np.sqrt(2.0 * np.pi)
    chance = ndtr(mean / sd)
    return mean * chance + sd * density, chance, density / sd, chance * (1.0 - chance)


def tanh_averages(mean, sd, nodes=64):
    """The same of tanh."""
    z, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    f = np.tanh(mean[..., None] + sd[..., None] * z)
    slope = 1.0 - f**2
    first = slope @ w
    return f @ w, first, (-2.0 * f * slope) @ w, slope**2 @ w - first**2


def plane(averages, target, directions, *, u, pi, steps, noise, nodes=24):
    """Spikes (K, M + F), in the target's directions and others, and the bulk's variances.

    For a target of several directions, a function of (..., M), and steps (eta, alpha0), by
    Gauss-Hermite products over all latents, the useless ones too. `averages` is one of the above.
    """
    z, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    K = len(u)
    vectors, c = np.zeros((K, directions)), np.ones(K)
    for eta, alpha0 in steps:
        size = vectors.shape[1]
        s = np.stack([g.ravel() for g in np.meshgrid(*[z] * size, indexing="ij")], axis=1)
        weights = np.prod(np.meshgrid(*[w] * size, indexing="ij"), axis=0).ravel()
        mu0, mu1, second, var = averages(s @ vectors.T, np.broadcast_to(np.sqrt(c), (len(s), K)))
        res = target(s[:, :directions]) - mu0 @ (pi * u)
        power = weights * (res**2 + noise**2)
        move = eta * u
        xi = np.einsum("i,ik,il->kl", power, mu1, mu1) / alpha0 * np.outer(move, move)
        pull = np.einsum("i,ik,ij->kj", weights * res, mu1, s)
        value, vector = np.linalg.eigh(xi)
        fresh = vector * np.sqrt(np.maximum(value, 0.0))
        vectors = np.column_stack([vectors + move[:, None] * pull, fresh])
        c = c * (1.0 + move * ((weights * res) @ second)) ** 2 + move**2 * (power @ var) / alpha0
        vectors = np.column_stack([vectors[:, :directions], _compressed(vectors[:, directions:])])
    return vectors, c
