"""Neurons on inputs with latents: what a step, a spike or neither makes of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation, step_moments
from spikedrf.inputs.population import Population

Floats = NDArray[np.float64]


class Neurons(NamedTuple):
    """See `LatentLayer` for ``r, pi, v`` and ``bulk``, its ``sigma``."""

    r: Floats
    pi: Floats
    v: Floats
    bulk: Floats
    #: The highest power of the eigenvalues whose mean is in them.
    highest: float


def unstepped(population: Population, pi: Floats | None = None) -> Neurons:
    """Return the neurons as they were drawn, in groups of some proportions."""
    J, L = population.shares.shape
    pi = np.ones(1) if pi is None else pi
    bulk = np.repeat(population.values[None, :], pi.size, axis=0)
    return Neurons(np.zeros(pi.size), pi, np.zeros((J, L + 1)), bulk, 1.0)


def _single(name: str, value: Any, ndim: int) -> Floats:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim > ndim:
        raise ValueError(
            f"step must be a single one, but its {name} has shape {array.shape}: use one "
            f"call for each value"
        )
    return array


def stepped(
    eta: Any,
    alpha0: Any,
    u: Any,
    pi: Any,
    sigma: Activation,
    population: Population,
    noise: float,
) -> Neurons:
    """Return the neurons after one gradient step, see `latent_layer`."""
    eta, alpha0 = float(_single("eta", eta, 0)), float(_single("alpha0", alpha0, 0))
    u = np.atleast_1d(_single("u", u, 1))
    groups = u.size if pi is None else np.shape(pi)[-1]
    u = np.broadcast_to(u, (groups,))
    pi = np.full(groups, 1.0 / groups) if pi is None else _single("pi", pi, 1)
    if eta == 0 or alpha0 == 0:
        return unstepped(population, pi)
    of_sigma = step_moments(sigma, slope=True)
    h0, h1, h2 = of_sigma.cleaned
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
    return Neurons(r, pi, vector / nu if nu > 0.0 else vector, bulk, 2.0)


def given(r: Any, c: Any, gamma: Any, pi: Any, population: Population) -> Neurons:
    """Return the neurons of a spike that is given, see `latent_layer`."""
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
    return Neurons(r, pi, v, c[:, None] * population.values, 1.0)
