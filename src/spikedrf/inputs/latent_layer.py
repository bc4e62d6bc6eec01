"""The first layer on inputs with latents: spike, bulk and lengths of its neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation, step_moments
from spikedrf.inputs.population import Population
from spikedrf.step import GradientStep, Spike, clean

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
    step: GradientStep | Spike | None,
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
    w, values = population.dimensions, population.values
    J, L = population.shares.shape
    if step is not None and not isinstance(step, GradientStep | Spike):
        raise TypeError(f"step must be a GradientStep, a Spike or None, got {step!r}")
    highest = 1.0
    if isinstance(step, GradientStep) and step.eta != 0 and step.alpha0 != 0:
        r, pi, v, bulk = _stepped(step, sigma, population, noise)
        highest = 2.0
    elif isinstance(step, Spike):
        r, pi, v, bulk = _given(step, population)
    else:
        pi = np.ones(1) if step is None else _groups(step)[1]
        r, v = np.zeros(pi.size), np.zeros((J, L + 1))
        bulk = np.repeat(values[None, :], pi.size, axis=0)
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


def _single(name: str, value: Any, ndim: int) -> Floats:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim > ndim:
        raise ValueError(
            f"step must be a single one, but its {name} has shape {array.shape}: use one "
            f"call for each value"
        )
    return array


def _groups(step: GradientStep) -> tuple[Floats, Floats]:
    """Return the readout values and their proportions."""
    u = np.atleast_1d(_single("u", step.u, 1))
    groups = u.size if step.pi is None else np.shape(step.pi)[-1]
    pi = np.full(groups, 1.0 / groups) if step.pi is None else _single("pi", step.pi, 1)
    return np.broadcast_to(u, (groups,)), pi


def _stepped(
    step: GradientStep, sigma: Activation, population: Population, noise: float
) -> tuple[Floats, Floats, Floats, Floats]:
    of_sigma = step_moments(sigma, slope=True)
    eta, alpha0 = float(_single("eta", step.eta, 0)), float(_single("alpha0", step.alpha0, 0))
    u, pi = _groups(step)
    h0, h1, h2 = (clean(h, of_sigma.second) for h in (of_sigma.h0, of_sigma.h1, of_sigma.h2))
    shift = float(pi @ u) * h0
    (mean, power, *pull), _ = population.moments
    s0 = mean - shift
    s2 = power - 2.0 * shift * mean + shift**2 + noise**2
    # The step is of the whole sample: means of the latents over all classes.
    b = np.array(pull) - shift * (population.proportions @ population.means)
    b = np.where(np.abs(b) <= 1e-14 * power**0.5, 0.0, b)
    w, values = population.dimensions, population.values
    rho = s2 / alpha0
    vector = np.einsum("l,lja->ja", b, population.orthonormal())
    vector[:, -1] = np.sqrt(rho * w)
    vector *= values[:, None]
    nu = float(np.linalg.norm(vector))
    with np.errstate(over="ignore", invalid="ignore"):
        r = eta * u * h1 * nu
        bulk = values * (1.0 + eta * u[:, None] * s0 * h2 * values) ** 2
        bulk = bulk + (eta * u[:, None] * values) ** 2 * rho * of_sigma.slope_variance
    return r, pi, vector / nu if nu > 0.0 else vector, bulk


def _given(step: Spike, population: Population) -> tuple[Floats, Floats, Floats, Floats]:
    r, c, gamma, pi = step.arrays()
    r, c, pi = (_single(name, value, 1) for name, value in (("r", r), ("c", c), ("pi", pi)))
    groups = max(r.size, c.size, pi.size)
    r, c, pi = (np.broadcast_to(x, (groups,)) for x in (r, c, pi))
    along = np.atleast_1d(_single("gamma", gamma, 1))
    if along.size > population.latents or (along.size != 1 and along.size < population.directions):
        raise ValueError(
            f"gamma of the spike must have {population.directions} components, one for each "
            f"direction of the target (or {population.latents}, with those of the means), got "
            f"{along.size}"
        )
    if along.size < population.directions and population.directions > 1 and along.any():
        raise ValueError(
            f"gamma of the spike must have {population.directions} components, one for each "
            f"direction of the target, got one"
        )
    gamma = np.zeros(population.latents)
    gamma[: along.size] = along
    length = float(gamma @ gamma)
    if length > 1.0 + 1e-12:
        raise ValueError(
            f"gamma of the spike must have a length of at most 1, got {length**0.5!r}: it is the "
            f"part of a unit vector"
        )
    v = np.einsum("l,lja->ja", gamma, population.orthonormal())
    v[:, -1] = np.sqrt(max(1.0 - length, 0.0) * population.dimensions)
    return r, pi, v, c[:, None] * population.values


def latent_layers(
    step: GradientStep | Spike | None,
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
    if step is None:
        return [latent_layer(None, sigma, population, 0.0, init)], np.zeros((), dtype=np.int64)
    several = population.directions > 1 or np.ndim(getattr(step, "gamma", 0.0)) > 1
    vectors: dict[str, Any]
    if isinstance(step, GradientStep):
        scalars = {"eta": step.eta, "alpha0": step.alpha0, "noise": noise}
        vectors = {"u": step.u, "pi": step.pi}
    elif isinstance(step, Spike):
        scalars = {} if several else {"gamma": step.gamma}
        vectors = {"r": step.r, "c": step.c, "pi": step.pi}
        if several:
            vectors |= {"gamma": step.gamma}
    else:
        raise TypeError(f"step must be a GradientStep, a Spike or None, got {step!r}")
    parts = {
        name: np.asarray(value, dtype=np.float64)[..., None] for name, value in scalars.items()
    }
    for name, value in vectors.items():
        if value is not None:
            parts[name] = np.atleast_1d(np.asarray(value, dtype=np.float64))
    shape = broadcast_shapes({name: part.shape[:-1] for name, part in parts.items()})
    rows = np.concatenate(
        [np.broadcast_to(p, (*shape, p.shape[-1])) for p in parts.values()], axis=-1
    )
    rows = rows.reshape(-1, rows.shape[-1]) + 0.0
    distinct, which = np.unique(rows, axis=0, return_inverse=True)
    ends = np.cumsum([part.shape[-1] for part in parts.values()])[:-1]
    layers = []
    for row in distinct:
        values = dict(zip(parts, np.split(row, ends), strict=True))
        own: GradientStep | Spike
        if isinstance(step, GradientStep):
            own = GradientStep(
                float(values["eta"][0]), float(values["alpha0"][0]), values["u"], values.get("pi")
            )
            layers.append(latent_layer(own, sigma, population, float(values["noise"][0]), init))
        else:
            gamma = values["gamma"] if several else float(values["gamma"][0])
            own = Spike(values["r"], values["c"], gamma, values.get("pi"))
            layers.append(latent_layer(own, sigma, population, 0.0, init))
    return layers, which.reshape(shape).astype(np.int64)


def broadcast_shapes(shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the common shape of named parameters.

    Raises
    ------
    ValueError
        If there is none; the message lists the names and shapes.
    """
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        listing = ", ".join(f"{name}: {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(
            f"the parameters do not broadcast against each other ({listing})"
        ) from None
