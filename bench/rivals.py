"""The same answers by the usual means, written from the equations."""

import numpy as np
from scipy.integrate import quad
from scipy.special import roots_hermitenorm


def hermite(nodes):
    x, w = roots_hermitenorm(nodes)
    return x, w / w.sum()


def tables(sigma, kappa, r, c, nodes=64):
    """mu0, mu1, mu2^2 of every group by one vectorised Gauss-Hermite rule, shape (nodes, K)."""
    z, w = hermite(nodes)
    f = sigma(r * kappa[:, None, None] + np.sqrt(c) * z[:, None])  # (kappa, z, K)
    mu0 = np.einsum("izk,z->ik", f, w)
    mu1 = np.einsum("izk,z->ik", f, w * z) / np.sqrt(c)
    second = np.einsum("izk,z->ik", f**2, w)
    return mu0, mu1, np.maximum(second - mu0**2 - c * mu1**2, 0.0)


def numpy_step_a(alpha, beta, lam, c, pi, mu1, mu2, w, damping=0.7, tolerance=1e-8):
    """Step A by a damped fixed point on given nodes, all points at once: V1, V2.

    alpha, lam: (N,); c, pi: (K,); mu1, mu2 (squared): (nodes, K). Points that have converged leave.
    With lam = -z, complex, V2 is the Stieltjes transform at z.
    """
    groups, points = c.size, alpha.size
    products = (mu1[:, :, None] * mu1[:, None, :]).reshape(-1, groups * groups)
    v1 = np.tile(np.eye(groups, dtype=lam.dtype), (points, 1, 1))
    v2 = np.ones((points, groups), dtype=lam.dtype)
    g = v2 / pi
    live = np.arange(points)
    diagonal = np.arange(groups)
    for _ in range(10_000):
        v = v1[live].reshape(live.size, -1) @ products.T + v2[live] @ mu2.T
        omega = w / (1.0 + v)
        delta = (alpha[live] / beta)[:, None]
        b = (delta * (omega @ products)).reshape(-1, groups, groups)
        d = lam[live, None] + delta * (omega @ mu2)
        weight = beta * c * pi * g[live]
        if groups == 1:
            p = 1.0 / (1.0 + b * weight[:, None, :])
            response = p * b
        else:
            p = np.linalg.inv(np.eye(groups) + b * weight[:, None, :])
            response = p @ b
        new = 1.0 / (d + c * response[:, diagonal, diagonal])
        weight = beta * c * pi * new
        if groups == 1:
            m = weight[:, :, None] / (1.0 + b * weight[:, None, :])
        else:
            m = weight[:, :, None] * np.linalg.inv(np.eye(groups) + b * weight[:, None, :])
        change = np.abs(m / beta - v1[live]).max((1, 2)) + np.abs(pi * new - v2[live]).max(1)
        size = np.abs(m / beta).max((1, 2)) + np.abs(new).max(1)
        g[live] += damping * (new - g[live])
        v1[live] += damping * (m / beta - v1[live])
        v2[live] = pi * g[live]
        live = live[change > tolerance * size]
        if live.size == 0:
            break
    return v1, v2


def nested_quadrature_step_a(alpha, beta, lam, r, c, damping=0.7, tolerance=1e-4):
    """Step A for tanh, K = 1, every average a nested `scipy.integrate.quad`, as notebooks do it."""

    def gauss(f):
        return quad(lambda z: np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) * f(z), -8, 8, epsrel=1e-6)[
            0
        ]

    def moments(kappa):
        s = np.sqrt(c)
        mu0 = gauss(lambda z: np.tanh(r * kappa + s * z))
        mu1 = gauss(lambda z: z * np.tanh(r * kappa + s * z)) / s
        second = gauss(lambda z: np.tanh(r * kappa + s * z) ** 2)
        return mu1, second - mu0**2 - c * mu1**2

    delta = alpha / beta
    g, v1 = 1.0, 1.0
    for _ in range(200):

        def average(which, g=g, v1=v1):
            def integrand(kappa):
                mu1, mu2 = moments(kappa)
                return (mu1**2 if which else mu2) / (1.0 + mu1**2 * v1 + mu2 * g)

            return gauss(integrand)

        b = delta * average(True)
        d = lam + delta * average(False)
        new = 1.0 / (d + c * b / (1.0 + beta * c * g * b))
        v_new = c * new / (1.0 + beta * c * new * b)
        change = abs(new - g) / new + abs(v_new - v1) / v_new
        g += damping * (new - g)
        v1 += damping * (v_new - v1)
        if change < tolerance:
            break
    return v1, g
