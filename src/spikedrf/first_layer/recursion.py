"""Spikes and bulk of a first layer, step by step, on inputs with latents."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.activations import Activation, differentiable
from spikedrf.inputs.frame import Frame, frame_of
from spikedrf.inputs.neurons import Neurons, finished
from spikedrf.inputs.population import Population
from spikedrf.inputs.tables import make_tables

Floats = NDArray[np.float64]

# Averages are on finer and finer rules until so much is left of their error, relative.
_STILL = 1e-11
# What is smaller, relative, is what rounding leaves of nothing.
_NOTHING = 1e-14


@lru_cache(maxsize=16)
def slope_of(sigma: Activation) -> Activation:
    """Return the derivative of an activation as a function of its own."""
    return Activation(f"{sigma.name}'", function=sigma.derivative, argument="activation")


class _Averages(NamedTuple):
    """What a step adds, before its size: averages over inputs and labels.

    ``pull`` (K, L') is ``E[res mu1_k s]`` in the frame; ``root`` (F, K) has ``root^T root`` with
    the entries ``E[(res^2 + noise^2) mu1_k mu1_l]``; ``bend`` (K,) is ``E[res E_z sigma'']`` and
    ``spread`` (K,) ``E[(res^2 + noise^2) Var_z sigma']``.
    """

    pull: Floats
    root: Floats
    bend: Floats
    spread: Floats

    def beside(self, other: _Averages) -> float:
        """Return how far they are from others, relative."""
        own, before = (
            (a.pull, np.sqrt(np.abs(a.root.T @ a.root)), a.bend, np.sqrt(a.spread))
            for a in (self, other)
        )
        size = max(float(np.abs(part).max()) for part in own)
        gap = max(float(np.abs(a - b).max()) for a, b in zip(own, before, strict=True))
        return gap / size if size > 0.0 else 0.0


def walk(
    steps: Sequence[tuple[float, float]],
    u: Floats,
    pi: Floats,
    sigma: Activation,
    population: Population,
    noise: float,
) -> Neurons:
    r"""Return the neurons after gradient steps, each on samples of its own.

    With the output ``f = sum_k pi_k u_k mu0_k`` before a step, ``res = y - f``, and ``mu0, mu1``
    of the present spikes and bulk, in the coordinates of ``z``, ``x = Omega^{1/2} z``::

        r_k     +=  eta u_k Omega E[res mu1_k s]
        r_k     +=  eta u_k Omega xi_k,   E xi_k . xi_l = E[(res^2 + noise^2) mu1_k mu1_l]/alpha0
        Sigma_k  =  Sigma_k (1 + eta u_k Omega E[res E_z sigma''_k])^2
                    + (eta u_k Omega)^2 E[(res^2 + noise^2) Var_z sigma'_k]/alpha0

    The ``xi_k`` are Gaussian in directions of no use to the target. Only their products matter, so
    that as many axes as there are groups are enough for those of all steps.

    Parameters
    ----------
    steps : sequence of (eta, alpha0)
    u, pi : ndarray, shape (K,)
        Values of the readout, kept until the end, and their proportions.
    sigma, population, noise
        As for `layer_on_inputs`.

    Raises
    ------
    ValueError
        If the spikes span too many directions on the way, if a step overflows, or a bulk vanishes.

    Notes
    -----
    Source: theory.md, section 13; with a covariance of the inputs every gradient comes with
    ``Omega``, as in section 12.
    """
    differentiable(sigma)
    K, (J, L) = u.size, population.shares.shape
    values, w = population.values, population.dimensions
    vectors = np.zeros((K, J, L + K))
    bulk = np.repeat(values[None], K, axis=0)
    slope = slope_of(sigma)
    missed = 0.0
    for eta, alpha0 in steps:
        if eta == 0.0 or alpha0 == 0.0:
            continue
        layer = finished(_neurons(vectors, pi, bulk), population)
        frame = frame_of(population, layer)
        found, error = _average(frame, sigma, slope, u, noise)
        missed = max(missed, error)
        move = eta * u
        with np.errstate(over="ignore", invalid="ignore"):
            pulled = np.einsum("kl,lja->kja", move[:, None] * found.pull, frame.axes)
            vectors[:, :, : pulled.shape[2]] += values[:, None] * pulled
            fresh = (move * found.root).T / np.sqrt(alpha0)
            added = fresh[:, None, :] * (values * np.sqrt(w))[:, None]
            vectors = _compressed(np.concatenate([vectors, added], axis=2), L)
            stretch = 1.0 + (move * found.bend)[:, None] * values
            bulk = bulk * stretch**2
            bulk = bulk + (move**2 * found.spread / alpha0)[:, None] * values**2
        if not (np.isfinite(vectors).all() and np.isfinite(bulk).all()):
            raise ValueError("eta: the spike overflows: the steps are too large")
    return _neurons(vectors, pi, bulk, 2.0 * max(len(steps), 1), missed)


def _neurons(
    vectors: Floats, pi: Floats, bulk: Floats, highest: float = 1.0, missed: float = 0.0
) -> Neurons:
    """Return neurons whose spikes are these vectors (K, J, A), on orthonormal directions."""
    K, J, A = vectors.shape
    left, size, right = np.linalg.svd(vectors.reshape(K, -1), full_matrices=False)
    right = np.where(size[:, None] > 0.0, right, 0.0)
    if K == 1:
        left, right = np.abs(left), left[0, 0] * right
    return Neurons(left * size, pi, right.reshape(-1, J, A), bulk, highest, missed)


def _compressed(vectors: Floats, L: int) -> Floats:
    """Turn the axes beside the latents, in every eigenspace, so that K of them are left."""
    K = len(vectors)
    beside = np.moveaxis(vectors[:, :, L:], 1, 0)  # (J, K, F)
    left, size, _ = np.linalg.svd(beside, full_matrices=False)
    turned = np.zeros((*beside.shape[:2], K))
    turned[:, :, : size.shape[1]] = left * size[:, None]
    return np.concatenate([vectors[:, :, :L], np.moveaxis(turned, 0, 1)], axis=2)


def _average(
    frame: Frame, sigma: Activation, slope: Activation, u: Floats, noise: float
) -> tuple[_Averages, float]:
    """Average on finer and finer rules; return an estimate of the error that is left too.

    That of a rule is what the next one moves; while it falls geometrically the next one's is
    smaller by the same factor.
    """
    before: _Averages | None = None
    moved, left, level = 1.0, np.inf, 0
    while left > _STILL:
        now = _on_rule(frame, sigma, slope, u, noise, level)
        if now is None:
            break
        if before is not None:
            last, moved = moved, now.beside(before)
            left = moved * min(1.0, moved / last) if level > 1 else moved
            if moved == 0.0:
                left = 0.0
        before, level = now, level + 1
    assert before is not None
    return before, 0.0 if left <= _STILL else left


def _on_rule(
    frame: Frame, sigma: Activation, slope: Activation, u: Floats, noise: float, level: int
) -> _Averages | None:
    tables = make_tables(frame, sigma, level)
    if tables is None:
        return None
    weight, layer, R = tables.weight, frame.layer, frame.spikes
    K = u.size
    mu1, bend, spread = np.empty((3, K, weight.size))
    function = _core.Function(slope.core)
    for k in range(K):
        sd = float(np.sqrt(layer.c[k]))
        mean, first, rest = function(frame.r[k] @ tables.kappa, sd, level)
        # E z sigma' is sqrt(c) E sigma''; with it the rest of the slope's variance.
        mu1[k], bend[k], spread[k] = mean, first / sd, first**2 + rest
    res = tables.y - (layer.pi * u) @ tables.mu0
    power = res**2 + np.sum(tables.slope**2, axis=1) + tables.rest + noise**2
    pull = np.empty((K, frame.size))
    pull[:, :R] = (weight * res * mu1) @ tables.kappa.T
    mean = np.repeat(frame.means[:, R:], np.diff(tables.begin), axis=0)
    pull[:, R:] = (weight * mu1) @ (tables.slope + mean * res[:, None])
    root: Floats = np.asarray(np.linalg.qr((np.sqrt(weight * power) * mu1).T, mode="r"))
    # What rounding leaves of averages that vanish is no direction.
    size = np.sqrt((weight @ power) * ((mu1**2 + spread) @ weight).max())
    pull, root = (np.where(np.abs(a) > _NOTHING * size, a, 0.0) for a in (pull, root))
    return _Averages(pull, root, bend @ (weight * res), spread @ (weight * power))
