"""The first layer on inputs with latents: spike, bulk and lengths of its neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.population import Population
from spikedrf.parameters import broadcast_shape

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LatentLayer:
    r"""Neurons ``Omega^{1/2} w_i = r_k v + Sigma_k^{1/2} w~_i``, in the coordinates of ``z``.

    Attributes
    ----------
    r, pi : ndarray, shape (K,)
        Spike strength and proportion of each group.
    v : ndarray, shape (J, L + 1)
        The spike's direction, a unit vector on the axes of the eigenspaces, see
        `Population.orthonormal`; zero if there is none.
    gamma : ndarray, shape (L,)
        Its components along the latents.
    sigma : ndarray, shape (K, J)
        Values of ``Sigma_k`` on the eigenspaces.
    c : ndarray, shape (K,)
        ``Tr Sigma_k/d``.
    ve : ndarray, shape (K,)
        d times the variance of ``|Sigma_k^{1/2} w~_i|^2/c_k``.
    """

    r: Floats
    pi: Floats
    v: Floats
    gamma: Floats
    sigma: Floats
    c: Floats
    ve: Floats


def latent_layer(
    step: StepLike,
    sigma: Activation,
    population: Population,
    noise: float,
    init: str = "sphere",
) -> LatentLayer:
    r"""Return the first layer that a step, or none, leaves on these inputs.

    One gradient step on ``n0 = alpha0 d`` samples, with ``b = E[res z]`` in the latents,
    ``res = y - ubar h0 + noise N(0, 1)``, ``s0 = E res``, ``s2 = E res^2``::

        nu^2    = |Omega b|^2 + (s2/alpha0) Tr Omega^2/d,        r_k = eta u_k h1 nu
        v       = (Omega b + sqrt(s2/alpha0) Omega N(0, I/d))/nu
        Sigma_k = Omega (1 + eta u_k s0 h2 Omega)^2 + (eta u_k)^2 (s2 chk/alpha0) Omega^2
        ve_k    = 2 Tr Sigma_k^2/(d c_k^2), on the sphere less 2.

    A `Spike` has ``Sigma_k = c_k Omega`` and what of ``v`` is not in the latents is spread evenly.

    Parameters
    ----------
    step : GradientStep, Spike or None
        A single one: no parameter but ``u``, ``pi``, ``r``, ``c`` has axes. The alignment ``gamma``
        of a spike has one for each direction of the target, or of the latents, if there are more
        than one.
    sigma : Activation
    population : Population
    noise : float
    init : {"sphere", "gaussian"}
        Rows of the layer before the step.

    Raises
    ------
    TypeError, ValueError
        If the step is of the wrong kind or is not single, if it overflows, or if the moments of the
        covariance that it needs are infinite.

    Notes
    -----
    Source: theory.md, section 12.
    """
    w = population.dimensions
    J = population.shares.shape[0]
    r, pi, v, bulk, highest = producer_of(step).neurons(sigma, population, noise)
    if init == "gaussian" or J > 1:
        highest = 2.0 * highest
    if population.covariance is not None and J > 1 and population.covariance.moments <= highest:
        raise ValueError(
            f"inputs: the mean of eigenvalue^{highest:g} over the dimensions or the target, which "
            f"is needed here, is infinite for this power law without end; give dimension= to "
            f"Covariance.power_law"
        )
    c = bulk @ w
    if not (np.isfinite(bulk).all() and np.isfinite(r).all()):
        raise ValueError("eta, u or noise: the first layer overflows: the step is too large")
    if not (c > 0.0).all():
        raise ValueError(
            "the bulk variance c vanishes: 1 + eta u s0 h2 = 0 for the given eta, u and "
            "functions; change eta slightly"
        )
    spread = 2.0 * (bulk**2 @ w) / c**2
    if init == "sphere":
        spread = np.where(np.ptp(bulk, axis=1) == 0.0, 0.0, np.maximum(spread - 2.0, 0.0))
    axes = population.orthonormal()
    gamma = np.einsum("lja,ja->l", axes, v)
    return LatentLayer(r, pi, v, gamma, bulk, c, spread)


def latent_layers(
    step: StepLike,
    sigma: Activation,
    population: Population,
    noise: Floats,
    init: str,
) -> tuple[list[LatentLayer], NDArray[np.int64]]:
    """Return the first layers of a step with axes, and which of them belongs where.

    Parameters
    ----------
    step, sigma, population, init
        As for `latent_layer`; the parameters of the step broadcast.
    noise : ndarray
        Broadcasts against them; only a gradient step depends on it.

    Returns
    -------
    layers : list of LatentLayer
        The distinct ones.
    which : ndarray of int
        Index of the layer, of the broadcast shape of the parameters.

    Raises
    ------
    TypeError, ValueError
        As `latent_layer`, and if shapes do not broadcast.
    """
    producer = producer_of(step)
    given = dict(producer.varying)
    if not given:
        return [latent_layer(step, sigma, population, 0.0, init)], np.zeros((), dtype=np.int64)
    rows_of = set(producer.per_group)
    if population.directions > 1 or np.ndim(given.get("gamma", 0.0)) > 1:
        rows_of.add("gamma")  # one for each direction
    if producer.sees_labels:
        given["noise"] = noise
    parts = {
        name: np.atleast_1d(np.asarray(value, dtype=np.float64))
        if name in rows_of
        else np.asarray(value, dtype=np.float64)[..., None]
        for name, value in given.items()
    }
    shape = broadcast_shape({name: part.shape[:-1] for name, part in parts.items()})
    rows = np.concatenate(
        [np.broadcast_to(p, (*shape, p.shape[-1])) for p in parts.values()], axis=-1
    )
    rows = rows.reshape(-1, rows.shape[-1]) + 0.0
    distinct, which = np.unique(rows, axis=0, return_inverse=True)
    ends = np.cumsum([part.shape[-1] for part in parts.values()])[:-1]
    layers = []
    for row in distinct:
        values: dict[str, Any] = dict(zip(parts, np.split(row, ends), strict=True))
        values = {n: v if n in rows_of else float(v[0]) for n, v in values.items()}
        level = values.pop("noise", 0.0)
        layers.append(latent_layer(producer.moved(values), sigma, population, level, init))
    return layers, which.reshape(shape).astype(np.int64)
