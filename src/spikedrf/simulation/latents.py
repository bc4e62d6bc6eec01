"""Inputs with a covariance or classes, and first layers on them, at finite size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.producers import StepLike
from spikedrf.inputs.layer_on_inputs import layer_on_inputs
from spikedrf.inputs.population import Population
from spikedrf.inputs.power_law import power_law_values

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Embedding:
    """The latents' directions among the d eigenvectors of the inputs' covariance.

    Attributes
    ----------
    population : Population
        With the eigenvalues that d dimensions have.
    root : ndarray, shape (d,)
        Square roots of the eigenvalues.
    space : ndarray of int, shape (d,)
        Eigenspace of each dimension.
    axis : ndarray, shape (L + F, d)
        Unit vectors in each eigenspace, one for each latent and F for spikes.
    directions : ndarray, shape (L, d)
        The latents' directions, orthonormal.
    """

    population: Population
    root: Floats
    space: Integers
    axis: Floats
    directions: Floats

    def vector(self, coefficients: Floats) -> Floats:
        """Return the vector with these coefficients, shape (J, L + F), on the axes."""
        return np.asarray(np.einsum("da,ad->d", coefficients[self.space], self.axis))


def embed(population: Population, d: int, rng: np.random.Generator, spare: int = 1) -> Embedding:
    """Place the latents in d dimensions, each with its share of every eigenspace.

    An eigenspace of several dimensions has an axis of its own for each latent. A power law has d
    eigenspaces of one dimension: there the signs are random, and the directions made orthonormal.
    ``spare`` axes are left to spikes.

    Raises
    ------
    ValueError
        If an eigenspace has fewer dimensions than it needs.
    """
    L = population.latents
    law = None if population.covariance is None else population.covariance.law
    if law is not None and population.values.size > 1:
        values, along = power_law_values(*law, d)
        shares = np.full((d, L), 1.0 / d)
        if along is not None:
            shares[:, : population.directions] = along[:, None]
        population = replace(
            population, values=values, dimensions=np.full(d, 1.0 / d), shares=shares
        )
        axis = rng.choice([-1.0, 1.0], (L + spare, d))
        rough = axis[:L] * np.sqrt(shares.T)
        q, triangle = np.linalg.qr(rough.T)
        directions = (q * np.sign(np.diag(triangle))).T
        return Embedding(population, np.sqrt(values), np.arange(d), axis, directions)
    shares = population.shares
    size = _sizes(d, population.dimensions)
    axis = np.zeros((L + spare, d))
    start = np.concatenate([[0], np.cumsum(size)[:-1]])
    for j, (first, count) in enumerate(zip(start, size, strict=True)):
        wanted = np.append(shares[j] > 0.0, np.full(spare, count > 0))
        if wanted.sum() > count:
            raise ValueError(
                f"d = {d} is too small for the inputs: eigenvalue {population.values[j]:.3g} has "
                f"{count} dimensions, and the target and the spike need {wanted.sum()} there"
            )
        axis[np.flatnonzero(wanted), first + np.arange(wanted.sum())] = 1.0
    space = np.repeat(np.arange(size.size), size)
    directions = np.sqrt(shares.T[:, space]) * axis[:L]
    return Embedding(population, np.sqrt(population.values[space]), space, axis, directions)


def draw_rows(p: int, d: int, init: str, rng: np.random.Generator) -> Floats:
    """Return p rows, uniform on the unit sphere or Gaussian of that mean square length."""
    W = rng.standard_normal((p, d))
    if init == "gaussian":
        W /= np.sqrt(d)
    else:
        W /= np.sqrt(np.einsum("ij,ij->i", W, W))[:, None]
    return W


def spiked_rows(
    W: Floats,
    groups: Integers,
    embedding: Embedding,
    step: StepLike,
    sigma: Activation,
    noise: float,
    init: str,
) -> Floats:
    """Turn rows into ``r_k v + Sigma_k^{1/2} w~_i``, weights for inputs ``z``."""
    layer = layer_on_inputs(step, sigma, embedding.population, noise, init)
    which = np.repeat(np.arange(groups.size), groups)
    W *= np.sqrt(layer.sigma[:, embedding.space])[which]
    for direction, along in zip(layer.v, layer.r.T, strict=True):
        v = embedding.vector(direction)
        length = np.linalg.norm(v)
        if length > 0.0:
            W += along[which, None] * (v / length)
    return W


def measure_spike(
    W: Floats, groups: Integers, pull: Floats, embedding: Embedding
) -> dict[str, Floats]:
    """Return ``r``, ``c`` and ``gamma`` of trained rows, in the coordinates of ``z``.

    As `spikedrf.gradient_step.gradient_step` does for white inputs; ``pull`` is ``sum res x``.
    """
    v = embedding.root * pull
    length = np.linalg.norm(v)
    v = v / length if length > 0.0 else v
    inside = W * embedding.root
    which = np.repeat(np.arange(groups.size), groups)
    along = inside @ v
    count = np.maximum(groups, 1)
    r = np.bincount(which, along, groups.size) / count
    square = np.einsum("ij,ij->i", inside, inside)
    c = np.bincount(which, square - r[which] * (2.0 * along - r[which]), groups.size) / count
    gamma = embedding.directions @ v
    return {"r": r, "c": c, "gamma": gamma if gamma.size > 1 else np.asarray(gamma[0])}


def measure_each(W: Floats, groups: Integers, directions: Floats) -> dict[str, Floats]:
    """Return what the spikes of groups are that need not be along one direction.

    ``r`` and ``c`` are their lengths and the bulk's variances, shape (K,), and ``gamma`` their
    alignments with the latents' directions, (K, L). Of the squared length of a mean over neurons
    the bulk's part is known.
    """
    ends = np.cumsum(groups)[:-1]
    means = np.array([part.mean(axis=0) for part in np.split(W, ends)])
    square = np.array([np.einsum("ij,ij->", part, part) / len(part) for part in np.split(W, ends)])
    length = np.einsum("kj,kj->k", means, means)
    c = (square - length) * groups / (groups - 1.0)
    r = np.sqrt(np.maximum(length - c / groups, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        gamma = means @ directions.T / r[:, None]
    return {"r": r, "c": c, "gamma": gamma}


def _sizes(d: int, shares: Floats) -> Integers:
    """Integers closest to ``d shares_j`` that sum to d (largest remainders)."""
    size = np.floor(d * shares + 1e-9).astype(np.int64)
    order = np.argsort(size - d * shares, kind="stable")
    size[order[: d - size.sum()]] += 1
    return size
