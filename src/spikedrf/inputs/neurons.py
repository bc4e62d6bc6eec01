"""Neurons on inputs with latents: what a step, a spike or neither makes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation, step_moments
from spikedrf.inputs.population import Population
from spikedrf.inputs.trained_nodes import TrainedNodes

Floats = NDArray[np.float64]

#: So many directions may the spikes span.
MOST_SPIKES = 2

# What is thinner than this, beside what tells groups apart on a line, is that line. Groups that are
# nearly alike have their difference as a function more, whose direction counts; rounding has none.
_THIN, _ROUNDING = 1e-8, 1e-14


class Neurons(NamedTuple):
    """See `LayerOnInputs` for ``r, pi, v``, ``bulk``, its ``sigma``, and ``missed``."""

    r: Floats
    pi: Floats
    v: Floats
    bulk: Floats
    #: The highest power of the eigenvalues whose mean is in them.
    highest: float
    missed: float = 0.0


@dataclass(frozen=True, eq=False)
class LayerOnInputs:
    r"""A first layer on given inputs.

    A `FirstLayer` knows no inputs; of inputs with latents the neurons see their covariance
    ``Omega`` too::

        Omega^{1/2} w_i = sum_a r_ka v_a + Sigma_k^{1/2} w~_i,

    in coordinates of ``z``. The same producers make both, see `Producer.neurons`.

    Attributes
    ----------
    r : ndarray, shape (K, R)
        Spike of each group on R directions.
    pi : ndarray, shape (K,)
        Proportions of the groups.
    v : ndarray, shape (R, J, L + F)
        The spikes' directions, orthonormal, on the axes of the eigenspaces, see
        `Population.orthonormal`; zero if there are none.
    gamma : ndarray, shape (R, L)
        Their components along the latents.
    sigma : ndarray, shape (K, J)
        Values of ``Sigma_k`` on the eigenspaces.
    c : ndarray, shape (K,)
        ``Tr Sigma_k/d``.
    ve : ndarray, shape (K,)
        d times the variance of ``|Sigma_k^{1/2} w~_i|^2/c_k``.
    missed : float
        Relative error of the averages that it was made of.
    trained : TrainedNodes, optional
        The trained network's own bulk, in place of ``sigma``, and its lengths.
    """

    r: Floats
    pi: Floats
    v: Floats
    gamma: Floats
    sigma: Floats
    c: Floats
    ve: Floats
    missed: float = 0.0
    trained: TrainedNodes | None = None

    def part(self, live: NDArray[np.int64]) -> LayerOnInputs:
        """Restrict to some groups."""
        named = {name: getattr(self, name)[live] for name in ("r", "pi", "sigma", "c", "ve")}
        trained = None if self.trained is None else self.trained.part(live)
        return replace(self, **named, trained=trained)


def finished(neurons: Neurons, population: Population, init: str = "sphere") -> LayerOnInputs:
    """Return the layer that neurons make, with what follows from them.

    Raises
    ------
    ValueError
        If a neuron overflows or a bulk vanishes.
    """
    r, pi, v, bulk, _, missed = neurons
    w = population.dimensions
    if not (np.isfinite(bulk).all() and np.isfinite(r).all()):
        raise ValueError("eta, u or noise: the first layer overflows: the step is too large")
    c = bulk @ w
    if not (c > 0.0).all():
        raise ValueError(
            "the bulk variance c vanishes: 1 + eta u s0 h2 = 0 for the given eta, u and "
            "functions; change eta slightly"
        )
    spread = 2.0 * (bulk**2 @ w) / c**2
    if init == "sphere":
        spread = np.where(np.ptp(bulk, axis=1) == 0.0, 0.0, np.maximum(spread - 2.0, 0.0))
    if r.shape[1] > 1:
        r, v = _principal(r, v, c)
    axes = population.orthonormal(v.shape[-1] - population.latents)
    gamma = np.einsum("lja,rja->rl", axes, v)
    return LayerOnInputs(r, pi, v, gamma, bulk, c, spread, missed)


def _principal(r: Floats, v: Floats, c: Floats) -> tuple[Floats, Floats]:
    """Turn the directions of spikes into their principal axes, the strongest first.

    Raises
    ------
    ValueError
        If there are more than the theory has rules for.
    """
    left, size, turn = np.linalg.svd(r, full_matrices=False)
    apart = max(float(np.ptp(left[:, 0])), float(np.ptp(c)) / float(c.max()))
    count = max(1, int(np.sum(size > max(_THIN * min(apart, 1.0), _ROUNDING) * size[0])))
    if count > MOST_SPIKES:
        raise ValueError(
            f"step: the spikes of the {len(r)} groups span {count} directions, and averages over "
            f"more than {MOST_SPIKES} are out of reach: use fewer values of u (two span a plane at "
            f"most), or simulate"
        )
    v = np.einsum("ar,rjx->ajx", turn[:count], v)
    # A sign of their own: along the first axis that they have the largest part of.
    flat = v.reshape(count, -1)
    sign = np.sign(flat[np.arange(count), np.abs(flat).argmax(axis=1)])
    sign = np.where(sign == 0.0, 1.0, sign)
    return np.ascontiguousarray((left * size)[:, :count] * sign), v * sign[:, None, None]


def unstepped(population: Population, pi: Floats | None = None) -> Neurons:
    """Return the neurons as they were drawn, in groups of some proportions."""
    J, L = population.shares.shape
    pi = np.ones(1) if pi is None else pi
    bulk = np.repeat(population.values[None, :], pi.size, axis=0)
    return Neurons(np.zeros((pi.size, 1)), pi, np.zeros((1, J, L + 1)), bulk, 1.0)


def _single(name: str, value: Any, ndim: int) -> Floats:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim > ndim:
        raise ValueError(
            f"step must be a single one, but its {name} has shape {array.shape}: use one "
            f"call for each value"
        )
    return array


class Batch(NamedTuple):
    """The samples of a step as its neurons see them."""

    moves: Floats  # eta u_k, zero without a step
    pi: Floats
    alpha0: float
    shift: float  # mean output before the step
    s0: float  # E res
    s2: float  # E res^2
    b: Floats  # E res z, in the latents


def batch_of(
    eta: Any,
    alpha0: Any,
    u: Any,
    pi: Any,
    sigma: Activation,
    population: Population,
    noise: float,
) -> Batch:
    """Return the moments of the residuals of a step's samples."""
    eta, alpha0 = float(_single("eta", eta, 0)), float(_single("alpha0", alpha0, 0))
    u = np.atleast_1d(_single("u", u, 1))
    groups = u.size if pi is None else np.shape(pi)[-1]
    u = np.broadcast_to(u, (groups,))
    pi = np.full(groups, 1.0 / groups) if pi is None else _single("pi", pi, 1)
    if eta == 0 or alpha0 == 0:
        return Batch(0.0 * u, pi, alpha0, 0.0, 0.0, 0.0, np.zeros(population.latents))
    shift = float(pi @ u) * step_moments(sigma, slope=True).cleaned[0]
    (mean, power, *pull), _ = population.moments
    s2 = power - 2.0 * shift * mean + shift**2 + noise**2
    # The step is of the whole sample: means of the latents over all classes.
    b = np.array(pull) - shift * (population.proportions @ population.means)
    b = np.where(np.abs(b) <= 1e-14 * power**0.5, 0.0, b)
    return Batch(eta * u, pi, alpha0, shift, mean - shift, s2, b)


def stepped(
    eta: Any,
    alpha0: Any,
    u: Any,
    pi: Any,
    sigma: Activation,
    population: Population,
    noise: float,
) -> Neurons:
    """Return the neurons after one gradient step, see `layer_on_inputs`."""
    moves, pi, alpha0, _, s0, s2, b = batch_of(eta, alpha0, u, pi, sigma, population, noise)
    if not moves.any():
        return unstepped(population, pi)
    of_sigma = step_moments(sigma, slope=True)
    _, h1, h2 = of_sigma.cleaned
    w, values = population.dimensions, population.values
    rho = s2 / alpha0
    vector = np.einsum("l,lja->ja", b, population.orthonormal())
    vector[:, -1] = np.sqrt(rho * w)
    vector *= values[:, None]
    nu = float(np.linalg.norm(vector))
    with np.errstate(over="ignore", invalid="ignore"):
        r = moves * h1 * nu
        bulk = values * (1.0 + moves[:, None] * s0 * h2 * values) ** 2
        bulk = bulk + (moves[:, None] * values) ** 2 * rho * of_sigma.slope_variance
    v = (vector / nu if nu > 0.0 else vector)[None]
    return Neurons(r[:, None], pi, v, bulk, 2.0, population.moments[1])


def given(r: Any, c: Any, gamma: Any, pi: Any, population: Population) -> Neurons:
    """Return the neurons of spikes that are given, see `layer_on_inputs`.

    ``r`` and ``gamma`` have the shapes (K,) and () or (L,), or for R directions (K, R) and (R, L).
    """
    several = np.ndim(r) > 1
    c, pi = (_single(name, value, 1) for name, value in (("c", c), ("pi", pi)))
    r = _single("r", r, 2 if several else 1)
    r = r if several else r[:, None]
    groups = max(len(r), c.size, pi.size)
    r = np.broadcast_to(r, (groups, r.shape[1]))
    c, pi = (np.broadcast_to(x, (groups,)) for x in (c, pi))
    along = np.atleast_1d(_single("gamma", gamma, 2 if several else 1))
    if not several:
        along = along[None]
    elif along.ndim == 1:
        along = along[:, None]
    R, size = along.shape
    if size > population.latents or (size != 1 and size < population.directions):
        raise ValueError(
            f"gamma of the spike must have {population.directions} components, one for each "
            f"direction of the target (or {population.latents}, with those of the means), got "
            f"{size}"
        )
    if size < population.directions and population.directions > 1 and along.any():
        raise ValueError(
            f"gamma of the spike must have {population.directions} components, one for each "
            f"direction of the target, got one"
        )
    gamma = np.zeros((R, population.latents))
    gamma[:, :size] = along
    longest = float(np.linalg.norm(gamma, 2))
    if longest > 1.0 + 1e-12:
        raise ValueError(
            f"gamma of the spike must have a length of at most 1, got {longest!r}: it is the "
            f"part of a unit vector"
        )
    # What of the directions is not in the latents is spread evenly, and keeps them orthonormal.
    left, turn = np.linalg.eigh(np.eye(R) - gamma @ gamma.T)
    beyond = turn * np.sqrt(np.maximum(left, 0.0)) @ turn.T
    axes = population.orthonormal(R)
    v = np.einsum("rl,lja->rja", gamma, axes)
    v[:, :, population.latents :] = beyond[:, None] * np.sqrt(population.dimensions)[:, None]
    return Neurons(r, pi, v, c[:, None] * population.values, 1.0)
