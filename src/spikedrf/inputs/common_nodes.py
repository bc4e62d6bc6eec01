"""Trained neurons of several groups whose bulks do not commute, by nodes that nearly do."""

from __future__ import annotations

from dataclasses import replace

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

# Arguments at which the columns of lengths are fitted, and the powers of sigma in phi. A constant
# alone is so much worse that what it changes is more than the fit has lost.
_ARGUMENTS, _POWERS, _FEWER = np.geomspace(1e-3, 1e3, 40), (-1, 0, 1), (0,)


def commute(batch: Batch, sigma: Activation, population: Population, rows: Rows) -> bool:
    """Whether the bulks of all groups have common eigenvectors, and `trained_nodes` are exact."""
    sizes, of = np.abs(batch.moves), slope_moments(sigma)
    if sizes.size == 1:
        return True
    alike = float(np.ptp(sizes)) <= 1e-12 * float(sizes.max())
    # With a gain each group has a part along v of its own.
    gain = rows.gain and rows.init == "gaussian" and of.h3 != 0.0
    white = population.values.size == 1 and not gain
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

    The columns of lengths are those of each group alone, `trained_nodes`, as `_lengths` puts them
    on the common nodes.

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
    cross, own = _lengths(nodes.value, nodes.forms, alone, _POWERS)
    found = TrainedNodes(
        nodes.value[None],
        nodes.trace[None],
        nodes.forms[None],
        cross[None],
        own[None],
        np.array([part.variance[0] for part in alone]),
        accuracy=nodes.accuracy,
    )
    if not own.any():
        return found
    cross, own = _lengths(nodes.value, nodes.forms, alone, _FEWER)
    return replace(found, rough=replace(found, cross=cross[None], own=own[None]))


def _lengths(
    value: Floats, forms: Floats, alone: list[TrainedNodes], exponents: tuple[int, ...]
) -> tuple[Floats, Floats]:
    r"""Put the columns of each group alone on the common nodes: cross and own of `TrainedNodes`.

    The covariance of a length with the row, ``Sigma_k^{-1} p_k``, is ``phi_k(Sigma_k) v`` with a
    smooth function, and something beside that no direction sees: so forms stay positive.
    """
    from scipy.optimize import nnls  # not imported before it is needed

    J, K = value.shape
    cross, own = np.zeros((J, forms.shape[-1], K)), np.zeros((J, K, K))
    phi = np.zeros((J, K))
    for k, part in enumerate(alone):
        weights = np.concatenate([part.cross[-1, :, :, 0], part.own[-1, :, 0]], axis=1)
        if not weights.any():
            continue
        at, mine = part.value[-1, :, 0], value[:, k]
        wanted = at / (1.0 + _ARGUMENTS[:, None] * at) @ weights
        here = mine / (1.0 + _ARGUMENTS[:, None] * mine)
        unit = 1.0 / here.mean(axis=1)
        powers = (mine[:, None] / mine.mean()) ** np.array(exponents)
        if forms[:, 0].any():
            rows = np.einsum("xj,jl,jq,x->lxq", here, forms[:, 0], powers, unit)
            right = (wanted[:, :-1] * unit[:, None]).T
            rows = rows.reshape(-1, len(exponents))
            phi[:, k] = powers @ np.linalg.lstsq(rows, right.ravel(), rcond=None)[0]
        cross[:, :, k] = forms[:, 0] * phi[:, [k]]
        left = wanted[:, -1] - here @ (forms[:, 0, 0] * phi[:, k] ** 2)
        own[:, k, k] = nnls(here * unit[:, None], np.maximum(left, 0.0) * unit)[0]
    own += forms[:, 0, 0, None, None] * phi[:, :, None] * phi[:, None, :]
    return cross, own
