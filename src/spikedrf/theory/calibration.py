"""Calibration of logistic regression: predicted and true probabilities."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from spikedrf import _core
from spikedrf.activations import Activation
from spikedrf.parameters import ConvergenceWarning, Floats
from spikedrf.theory.baseline import sign_changes

# Gaussian weights are e^-40 there.
_REACH = 9.0
_FEWEST, _MOST = 64, 1024
_ACCURACY = 1e-6


class Calibration(NamedTuple):
    """What becomes of the samples that are given a probability.

    Attributes
    ----------
    frequency : float or ndarray
        Share of +1 among their labels; NaN where there are none.
    density : float or ndarray
        Density of the predicted probabilities.
    """

    frequency: Any
    density: Any


@dataclass(frozen=True, eq=False)
class Field:
    """The output on fresh samples, and what their labels depend on.

    Attributes
    ----------
    activation, target : Activation
    r, c : ndarray, shape (K,)
    gamma, noise, flip : float
    m, theta, psi, q2 : ndarray, shape (K,)
    q1 : ndarray, shape (K, K)
    """

    activation: Activation
    target: Activation
    r: Floats
    c: Floats
    gamma: float
    noise: float
    flip: float
    m: Floats
    theta: Floats
    psi: Floats
    q1: Floats
    q2: Floats


def calibration(field: Field, p: Floats) -> Calibration:
    """Return the share of +1 among samples with ``sigmoid(omega) = p``, and the density of p.

    Given kappa, ``omega`` and ``zeta`` are jointly Gaussian, and so is ``<theta, x>`` given
    ``omega``. Averages over kappa and, with noise, over what is left of ``<theta, x>`` are
    trapezoidal, the steps halved until nothing moves by more than 1e-6, relative.
    """
    omega = np.log(p) - np.log1p(-p)
    found = np.full((2, p.size), np.inf)
    todo = np.arange(p.size)
    nodes = _FEWEST
    while todo.size and nodes <= _MOST:
        now = _joint(field, omega[todo], nodes)
        # Relative to the density there; where that is nothing beside a Gaussian's, to 1e-9.
        moved = np.abs(now - found[:, todo]).max(axis=0) / np.maximum(now[0], 1e-9)
        found[:, todo] = now
        todo = todo[~(moved <= _ACCURACY)]
        nodes *= 2
    if todo.size:
        warnings.warn(
            f"calibration: {todo.size} of {p.size} values are less accurate than {_ACCURACY:g}, "
            f"first at p = {p[todo[0]]:.6g}",
            ConvergenceWarning,
            stacklevel=3,
        )
    density, up = found
    with np.errstate(invalid="ignore"):
        return Calibration(up / density, density / (p * (1.0 - p)))


def _joint(field: Field, omega: Floats, nodes: int) -> Floats:
    """Density of the field at omega, and that part of it whose label is +1."""
    kappa = np.linspace(-_REACH, _REACH, nodes + 1)
    weight = np.exp(-0.5 * kappa**2)
    weight /= weight.sum()
    function = _core.Function(field.activation.core)
    mean, s, q = np.zeros((3, kappa.size))
    mu1 = np.empty((field.r.size, kappa.size))
    for k, (r, sd) in enumerate(zip(field.r, np.sqrt(field.c), strict=True)):
        mu0, e1, mu2_squared = function(r * kappa, float(sd))
        mu1[k] = e1 / sd
        mean += field.m[k] * mu0 + field.theta[k] * kappa * mu1[k]
        s += field.psi[k] * mu1[k]
        q += field.q2[k] * mu2_squared
    q += np.einsum("kl,kn,ln->n", field.q1, mu1, mu1)
    across = np.sqrt((1.0 - field.gamma) * (1.0 + field.gamma))
    left = across * np.sqrt(np.maximum(1.0 - s * s / q, 0.0))
    out = np.empty((2, omega.size))
    for i, at in enumerate(omega):
        z = (at - mean) / np.sqrt(q)
        density = weight * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi * q)
        up = _chance(field, field.gamma * kappa + across * s * z / np.sqrt(q), left, nodes // 2)
        out[:, i] = density.sum(), density @ (field.flip + (1.0 - 2.0 * field.flip) * up)
    return out


def _chance(field: Field, centre: Floats, spread: Floats, nodes: int) -> Floats:
    """Chance of ``g(x) + noise N(0, 1) >= 0`` for x ~ N(centre, spread^2)."""
    from scipy.special import ndtr

    if field.noise == 0.0:
        first, changes = sign_changes(field.target)
        total = np.full(centre.shape, float(first))
        for i, at in enumerate(changes):
            rises = first == (i % 2 == 1)
            step = ndtr((centre - at) / np.maximum(spread, 1e-300))
            total += step if rises else -step
        return total
    z = np.linspace(-_REACH, _REACH, nodes + 1)
    weight = np.exp(-0.5 * z**2)
    weight /= weight.sum()
    value = field.target((centre[:, None] + spread[:, None] * z).ravel())
    return np.asarray(ndtr(value / field.noise).reshape(centre.size, z.size) @ weight)
