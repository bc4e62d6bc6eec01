"""Trained neurons of several groups whose bulks do not commute, by nodes that nearly do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.joint_nodes import joint_nodes, nearest_pole
from spikedrf.first_layer.lengths import slope_moments
from spikedrf.first_layer.matrix_resolvent import MatrixResolvent
from spikedrf.inputs.neurons import Batch
from spikedrf.inputs.population import Population, Rows
from spikedrf.inputs.trained_neurons import (
    INFINITE,
    law_of,
    space_of,
    spike_length,
    trained_nodes,
)
from spikedrf.inputs.trained_nodes import TrainedNodes

Floats = NDArray[np.float64]

# Arguments at which the columns of lengths are fitted, and singular values that count there.
_ARGUMENTS, _COUNTS = np.geomspace(1e-3, 1e3, 40), 1e-8


def commute(batch: Batch, sigma: Activation, population: Population, rows: Rows) -> bool:
    """Whether the bulks of all groups have common eigenvectors, and `trained_nodes` are exact."""
    sizes, of = np.abs(batch.moves), slope_moments(sigma)
    if sizes.size == 1:
        return True
    alike = float(np.ptp(sizes)) <= 1e-12 * float(sizes.max())
    # With a gain each group has a part along v of its own.
    white = population.values.size == 1 and not (rows.gain and of.h3 != 0.0)
    return of.h2 == 0.0 and (alike or white)


def common_nodes(
    batch: Batch,
    noise: float,
    sigma: Activation,
    population: Population,
    gamma: Floats,
    c: Floats,
    rows: Rows,
) -> TrainedNodes:
    r"""Return nodes for groups whose bulks do not commute, see `joint_nodes`.

    The columns of lengths are those of each group alone, `trained_nodes`, by weights on the common
    nodes; between the lengths of two groups there is as much as if they moved with the same
    vector.

    Parameters
    ----------
    batch, noise, sigma, population, gamma, c, rows
        As for `trained_nodes`.
    """
    of = slope_moments(sigma)
    e = batch.moves
    alpha0 = batch.alpha0 if batch.alpha0 < INFINITE else np.inf
    alone = [
        trained_nodes(
            batch._replace(moves=e[k : k + 1]), noise, sigma, population, gamma, c[k : k + 1], rows
        )
        for k in range(e.size)
    ]
    a, b = e * of.h2, e**2 * of.chi2 / alpha0
    space = space_of(population)
    law = law_of(population, batch.shift, noise, nearest_pole(a, b, alpha0), 1.0)
    nu = spike_length(batch._replace(alpha0=alpha0), space)
    gain = np.array([part.gain for part in alone]) if rows.gain else None
    nodes = joint_nodes(MatrixResolvent(a, b, alpha0, law, space, gamma, nu, gain))
    cross, own = _lengths(nodes.value, alone)
    return TrainedNodes(
        nodes.value[None],
        nodes.trace[None],
        nodes.forms[None],
        cross[None],
        own[None],
        np.array([part.variance[0] for part in alone]),
        accuracy=nodes.accuracy,
    )


def _lengths(value: Floats, alone: list[TrainedNodes]) -> tuple[Floats, Floats]:
    """Put the columns of each group alone on the common nodes: cross and own of `TrainedNodes`."""
    J, K = value.shape
    directions = alone[0].forms.shape[-1]
    cross, own = np.zeros((J, directions, K)), np.zeros((J, K, K))
    root = np.zeros((J, K))  # of a vector's measure
    for k, part in enumerate(alone):
        if not part.cross[-1].any() and not part.own[-1].any():
            continue
        at, mine = part.value[-1, :, 0], value[:, k]
        exact = at / (1.0 + _ARGUMENTS[:, None] * at)
        here = mine / (1.0 + _ARGUMENTS[:, None] * mine)
        unit = 1.0 / here.mean(axis=1, keepdims=True)
        wanted = exact @ np.concatenate([part.cross[-1, :, :, 0], part.own[-1, :, 0]], axis=1)
        found = np.linalg.lstsq(here * unit, wanted * unit, rcond=_COUNTS)[0]
        cross[:, :, k], own[:, k, k] = found[:, :directions], found[:, directions]
        towards = np.sign(mine @ cross[:, 0, k])
        root[:, k] = towards * np.sqrt(np.maximum(own[:, k, k], 0.0))
    for k in range(K):
        for i in range(K):
            if i != k:
                own[:, k, i] = root[:, k] * root[:, i]
    return cross, own
