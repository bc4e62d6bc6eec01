"""A trained network's neurons are stretched, for one readout value: a witness of the theory.

By plain NumPy, for an odd activation, without the lengths' own fluctuations.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import fsolve

from brute_force import functions
from spikedrf import GradientStep, theory
from spikedrf.step import StepModel


def _hermite(count):
    z, w = np.polynomial.hermite_e.hermegauss(count)
    return z, w / w.sum()


def stretched_errors(alpha, *, eta, alpha0, lam, beta, activation, target, noise, part="stretch"):
    """Test error, train error and norm of a network whose neurons are stretched.

    The gradient multiplies |w_i - r_i v|^2 by 1 + epsilon_i, epsilon_i = 2 eta h3 nu <w_i^0, v>
    (and by what is independent of everything else, which hardly matters): of order 1/sqrt(d), like
    <w_i, v> itself, and as that adds kappa mu1 to what the features can fit, this adds
    rho(kappa) = d mu0/dc. Coordinates v, e, xi: e is one more dimension of the neurons, in which
    they have the weight epsilon_i, covariance b = (b_v, b_xi) with the others and variance |b|^2.
    With R = Sigma/(1 + x Sigma) and P = 1/(1 + x Sigma) between v and xi, x = beta B / y,

        F = (beta/y) [[R_vv, (P b)_v, R_vx], [., |b|^2 - x b'Pb, (P b)_x], [., ., R_xx]],
        N = F + F[:, v] B (1 - F_vv B)^{-1} F[v, :],

    and (theta, chi, psi) = N (thetahat, chihat, psihat), chihat = delta E rho (h - mean)/(1 + V).
    All else is theory.md, sections 4 and 10.

    `part`: "none" is section 10; "stretch" the network; "undone" the network after eta t1 h3 <w_i,
    theta> w_i, what the population gradient adds to the neurons, has been taken out.
    """
    sigma, g = functions[activation], functions[target]
    step = GradientStep(eta, alpha0)
    model, spike = StepModel(step, activation, target, noise), step.spike(activation, target, noise)
    r, c, gamma = spike.r, spike.c, spike.gamma
    across = np.sqrt(1 - gamma**2)
    z, w = _hermite(120)
    kappa, wk = _hermite(100)
    f = sigma(r * kappa[:, None] + np.sqrt(c) * z)
    mu0, mu1, rho = f @ w, f @ (w * z) / np.sqrt(c), f @ (w * (z**2 - 1)) / (2 * c)
    features = np.stack([mu1**2, f**2 @ w - mu0**2 - c * mu1**2])
    label = g(gamma * kappa[:, None] + across * z)
    h, hz = label @ w, label @ (w * z)
    g2 = label**2 @ w - h**2 - hz**2
    h3 = w @ ((z**3 - 3 * z) * sigma(z))
    pull = 2 * eta * h3 * np.array([1.0, 0.0]) * model.nu
    if part == "undone":
        pull = pull - 2 * eta * h3 * model.t1 * np.array([gamma, across])
    b = np.zeros(2) if part == "none" else pull

    bulk = theory.trained_bulk(step, activation, target, noise)
    value = bulk.value[:, 0]
    seen = np.array([[bulk.vv, bulk.vx], [bulk.vx, bulk.xx]])
    delta = alpha / beta

    def responses(x):
        """V1, V2 and the self-energy s of step A at x = (B, y)."""
        ratio = beta * x[0] / x[1]
        trace = bulk.trace @ (value / (1 + ratio * value))
        return np.array([trace / x[1], 1 / x[1], x[0] * trace])

    def step_a(log_x):
        x = np.exp(log_x)
        v1, v2, s = responses(x)
        moments = features @ (wk / (1 + v1 * features[0] + v2 * features[1]))
        return log_x - np.log([delta * moments[0], lam + delta * moments[1] + s])

    guess = delta * (features @ wk)
    x = np.exp(fsolve(step_a, np.log([0.3 * guess[0], lam + guess[0]]), xtol=1e-13))
    B, y = x
    v = responses(x)
    omega = 1 / (1 + v[:2] @ features)

    def quadratic_form(B, y):
        ratio = beta * B / y
        R, P = (seen @ (t / (1 + ratio * value)) for t in (value, 1.0))
        F = np.empty((3, 3))
        F[np.ix_([0, 2], [0, 2])] = R
        F[1, [0, 2]] = F[[0, 2], 1] = P @ b
        F[1, 1] = b @ b - ratio * b @ P @ b
        F *= beta / y
        return F + np.outer(F[:, 0], F[0]) * B / (1 - F[0, 0] * B)

    N = quadratic_form(B, y)
    phi = np.stack([mu0, kappa * mu1, rho])
    psihat = delta * (wk @ (mu1 * hz * omega))
    gram, right = delta * (phi * (wk * omega)) @ phi.T, delta * (phi * (wk * omega)) @ h
    # m is not penalised; (theta, chi) = N_SS hats + N_Sx psihat.
    system, target_ = gram.copy(), right.copy()
    system[1:] = N[:2, :2] @ gram[1:] + np.eye(3)[1:]
    target_[1:] = N[:2, :2] @ right[1:] + N[:2, 2] * psihat
    if part == "none":  # chi multiplies nothing
        keep = [0, 1]
        solution = np.append(np.linalg.solve(system[np.ix_(keep, keep)], target_[keep]), 0.0)
    else:
        solution = np.linalg.solve(system, target_)
    hats = np.append((right - gram @ solution)[1:], psihat)
    psi = N[2] @ hats

    def signal(B, D):
        at = y
        for _ in range(400):
            at = D + responses((B, at))[2]
        return hats @ quadratic_form(B, at) @ hats

    D = y - v[2]
    q_signal = -np.array(
        [
            (signal(B * 1.0001, D) - signal(B * 0.9999, D)) / (2e-4 * B) + psi**2,
            (signal(B, D * 1.0001) - signal(B, D * 0.9999)) / (2e-4 * D),
        ]
    )
    power = (h - solution @ phi) ** 2 + (hz - psi * mu1) ** 2 + g2 + noise**2
    slopes = np.stack(
        [
            (responses(x * (1 + 1e-5 * e)) - responses(x * (1 - 1e-5 * e))) / (2e-5 * (x @ e))
            for e in np.eye(2)
        ],
        axis=1,
    )
    weighted = delta * features * (wk * omega**2)
    jacobian = np.eye(2) + weighted @ features.T @ slopes[:2] - np.outer([0, 1], slopes[2])
    feedback = np.linalg.solve(jacobian, weighted @ (power + q_signal @ features))
    q = q_signal - slopes[:2] @ feedback
    total = power + q @ features
    return np.array([wk @ total, wk @ (total * omega**2), q[1]])
