"""The same answers by the usual means."""

import numpy as np
from scipy.integrate import quad
from scipy.special import roots_hermitenorm


def hermite(nodes):
    x, w = roots_hermitenorm(nodes)
    return x, w / w.sum()


def tanh_tables(kappa, r, c, nodes=64):
    """mu0, mu1, mu2^2 of tanh by one vectorised Gauss-Hermite rule."""
    z, w = hermite(nodes)
    f = np.tanh(r * kappa[:, None] + np.sqrt(c) * z)
    mu0 = f @ w
    mu1 = f @ (w * z) / np.sqrt(c)
    return mu0, mu1, np.maximum(f**2 @ w - mu0**2 - c * mu1**2, 0.0)


def numpy_step_a(alpha, beta, lam, c, mu1, mu2, w, damping=0.7, tolerance=1e-8):
    """Step A for K = 1 by a damped fixed point on given nodes: returns V1, V2."""
    delta = alpha / beta
    g, v1 = 1.0, 1.0
    for _ in range(10_000):
        omega = w / (1.0 + mu1**2 * v1 + mu2 * g)
        b = delta * (omega @ mu1**2)
        d = lam + delta * (omega @ mu2)
        new = 1.0 / (d + c * b / (1.0 + beta * c * g * b))
        v_new = c * new / (1.0 + beta * c * new * b)
        change = abs(new - g) / new + abs(v_new - v1) / v_new
        g += damping * (new - g)
        v1 += damping * (v_new - v1)
        if change < tolerance:
            break
    return v1, g


def nested_quadrature_step_a(alpha, beta, lam, r, c, damping=0.7, tolerance=1e-4):
    """The same with every average a nested `scipy.integrate.quad`, as notebooks do it."""

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
