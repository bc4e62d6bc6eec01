"""The trained network's neurons in latent coordinates: their bulk, and their lengths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.latent_resolvent import LatentLaw, LatentResolvent, Space
from spikedrf.first_layer.lengths import Lengths, Sums, lengths, slope_moments
from spikedrf.first_layer.rational import node_count, rational_rule, rational_weights
from spikedrf.first_layer.residual import law_of_samples, residual_law
from spikedrf.inputs.neurons import Batch
from spikedrf.inputs.population import Population, Rows, gaussian_grid
from spikedrf.inputs.trained_nodes import TrainedNodes

Floats = NDArray[np.float64]

# What the nodes of the bulk are for: averages to this, and the two rules that take turns have more
# nodes and a finer law than they need.
_ACCURACY = 1e-11
_TURNS = ((0, 1.0), (3, 1.4))

#: Beyond, a batch is infinite: what depends on its size is lost in rounding.
INFINITE = 1e9

# With a derivative that is (nearly) linear the spectrum reaches down to zero, see `TrainedBulk`.
_LOWEST = 1e-4

# Points an axis of grids over the labels' directions, and of the label noise.
_GRID = {1: 241, 2: 97, 3: 37}
_NOISE_STEP, _TAIL = 0.35, 8.5


def trained_nodes(
    batch: Batch,
    noise: float,
    sigma: Activation,
    population: Population,
    gamma: Floats,
    c: Floats,
    rows: Rows,
) -> TrainedNodes:
    r"""Return the bulk that one gradient step leaves, with what it does to the neurons' lengths.

    Rows of group k have the covariance, given the samples ``x = Omega^{1/2} z`` of the step,

        Sigma_k = Omega^{1/2} ((1 + a M)^2 + b_k S) Omega^{1/2},

    see `LatentResolvent`, and lengths as in `Lengths`. Of K > 1 groups that is if ``a = 0``, and on
    a covariance the ``|u_k|`` are equal: else the ``Sigma_k`` do not commute, and have the nodes of
    `common_nodes`.

    Parameters
    ----------
    batch : Batch
        Of the step.
    noise : float
        Of its labels.
    sigma : Activation
    population : Population
    gamma : ndarray, shape (L,)
        Components of the spike's direction along the latents.
    c : ndarray, shape (K,)
        Bulk variances.
    rows : Rows
        Before the step.

    Notes
    -----
    Source: theory.md, sections 10, 12 and 14.
    """
    of = slope_moments(sigma)
    e = batch.moves
    lead = int(np.abs(e).argmax())
    share = (e / (e[lead] or 1.0)) ** 2
    share[lead] = 1.0
    a = e[lead] * of.h2 if e.size == 1 else 0.0
    alpha0 = batch.alpha0 if batch.alpha0 < INFINITE else np.inf
    b = e[lead] ** 2 * of.chi2 / alpha0
    space = space_of(population)
    nu = spike_length(batch._replace(alpha0=alpha0), space)
    sharp = np.sqrt((b + a**2 / alpha0) / alpha0)
    near = float(2.0 ** -np.ceil(np.log2(max(sharp, 0.25))))
    rules, variance = [], np.zeros(e.size)
    for extra, fineness in _TURNS:
        law = law_of(population, batch.shift, noise, near, fineness)
        low, high = _interval(a, b, alpha0, law.reach, population)
        spread = 2.0 ** max(2.0, np.ceil(np.log2(high / low)))
        node, point = rational_rule(1.0, spread, node_count(spread, _ACCURACY) + extra)
        found = LatentResolvent(point / low, a, b, alpha0, law, space)
        sums = _sums(law, population, alpha0)
        groups = [lengths(of, float(ek), a, sums, rows) for ek in e]
        rule = _rule(
            found, node, point, low, gamma, nu, share, groups, c, groups[lead].gain * nu**2
        )
        rules.append(rule)
        variance = _variance(rule, c, groups, sums, law, space)
    most = max(rule[0].shape[0] for rule in rules)
    value, trace, forms, cross, own = (
        np.stack([_padded(rule[i], most, 1.0 if i == 0 else 0.0) for rule in rules])
        for i in range(5)
    )
    gain = groups[lead].gain * nu**2
    return TrainedNodes(value, trace, forms, cross, own, variance, gain)


def space_of(population: Population) -> Space:
    """Put the latents on the axes that they have in each eigenspace."""
    J, L = population.shares.shape
    root = np.sqrt(population.shares)
    axes = np.zeros((L, J, L))
    for i in range(L):
        axes[i, :, i] = root[:, i]
    used = (axes != 0.0).any(axis=0)
    eigenvalue = np.repeat(population.values[:, None], L, axis=1)[used]
    return Space(population.values, population.dimensions, eigenvalue, axes[:, used])


def spike_length(batch: Batch, space: Space) -> float:
    """Return ``|Omega^{1/2} m_1|``."""
    pull = (batch.b @ space.axes) * space.eigenvalue
    spread = batch.s2 / batch.alpha0 * (space.dimensions @ space.values**2)
    return float(np.sqrt(pull @ pull + spread))


def _interval(
    a: float, b: float, alpha0: float, reach: float, population: Population
) -> tuple[float, float]:
    """Bound the spectrum, see `TrainedBulk`."""
    values = population.values[population.values > 0.0]
    edge = values.max() * (1.0 + alpha0**-0.5) ** 2
    high = (1.0 + abs(a) * reach * edge) ** 2 + b * reach**2 * edge
    low = 1.0
    if a != 0.0:
        kappa = b / (a**2 * edge)
        low = max(max(1.0 - abs(a) * reach * edge, 0.0) ** 2, kappa / (1.0 + kappa))
        low = low if low > 1e-4 else _LOWEST
    return low * float(values.min()), high * float(values.max())


# --------------------------------------------------------------------------------------------------
# The law of residuals and latents


def law_of(
    population: Population, shift: float, noise: float, near: float, fineness: float
) -> LatentLaw:
    """Return the law of residuals and latents, see `residual_law` for ``near`` and ``fineness``."""
    L = population.latents
    g = population.scalar
    if g is not None and L == 1 and not population.means.any():
        of = residual_law(g, shift, noise, near, fineness)
        one, first, second = of.weight
        return LatentLaw(of.res, one, first[None], second[None, None], of.reach)
    blocks = [
        _samples(population, i, float(rho), shift, noise, near, fineness)
        for i, rho in enumerate(population.proportions)
    ]
    of = law_of_samples(blocks, near, fineness)
    upper = np.triu_indices(L)
    second = np.empty((L, L, of.res.size))
    second[upper] = of.weight[1 + L :]
    second[upper[::-1]] = of.weight[1 + L :]
    return LatentLaw(of.res, of.weight[0], of.weight[1 : 1 + L], second, of.reach)


def _samples(
    population: Population,
    i: int,
    rho: float,
    shift: float,
    noise: float,
    near: float,
    fineness: float,
) -> tuple[Floats, Floats]:
    """Residuals of one class, with weights of 1, s_l and s_l s_m (l <= m)."""
    L, mean = population.latents, population.means[i]
    seen = 0 if population.numbers is not None else population.directions
    g = population.scalar
    if g is not None:
        z, w = g.gaussian_rule(int(np.ceil(2 * fineness)), 24, float(mean[0]))
        zeta = z[:, None]
        seen = 1
    elif seen:
        zeta, w = gaussian_grid(seen, int(_GRID[seen] * fineness))
    else:
        zeta, w = np.zeros((1, 0)), np.ones(1)
    s = np.broadcast_to(mean, (len(zeta), L)).copy()
    s[:, :seen] += zeta
    clean = population.label(s, i) - shift
    n, share = np.zeros(1), np.ones(1)
    if noise > 0.0:
        step = min(_NOISE_STEP, 0.25 * near / noise) / fineness
        step = max(step, _TAIL / 64 / fineness)
        n = np.arange(-np.ceil(_TAIL / step), np.ceil(_TAIL / step) + 1) * step
        share = np.exp(-0.5 * n**2)
        share /= share.sum()
    products = np.einsum("nl,nm->lmn", s, s)
    products += np.diag(np.arange(L) >= seen).astype(float)[:, :, None]
    rows = np.concatenate([np.ones((1, len(s))), s.T, products[np.triu_indices(L)]]) * w * rho
    res = (clean + noise * n[:, None]).ravel()
    return res, (rows[:, None, :] * share[:, None]).reshape(len(rows), -1)


def _sums(law: LatentLaw, population: Population, alpha0: float) -> Sums:
    r1, r2, r3, r4 = (float(law.one @ law.res**i) for i in range(1, 5))
    w, values = population.dimensions, population.values
    t2, t3, t4 = (float(w @ values**i) for i in (2, 3, 4))
    return Sums((r1, r2, r3, r4), t2, t3, t4, 1.0 / alpha0)


# --------------------------------------------------------------------------------------------------
# Nodes

_Rule = tuple[Floats, Floats, Floats, Floats, Floats]


def _rule(
    found: LatentResolvent,
    node: Floats,
    point: Floats,
    low: float,
    gamma: Floats,
    nu: float,
    share: Floats,
    groups: list[Lengths],
    c: Floats,
    along: float,
) -> _Rule:
    """Turn forms into weights on the nodes: value, trace, forms, cross and own."""
    x = found.x
    latents, mixed, sums = found.forms(3)
    m, L = x.size, gamma.size
    # p_k = Omega^{1/2} (sum (along + beside)_i m_i + a M sum along_i m_i), over c_k.
    p = np.array([[g.along + g.beside, g.along] for g in groups]) / c[:, None, None]  # (K, 2, 3)
    seen = np.empty((m, L + 1, L + 1))
    seen[:, 1:, 1:] = latents
    touched = np.zeros((m, L + 1, len(groups)))
    touched[:, 1:] = np.einsum("mlia,kai->mlk", mixed, p)
    if nu > 0.0:
        seen[:, 0, 0] = (1.0 - sums[:, 0, 0, 0, 0] / nu**2) / x
        seen[:, 0, 1:] = seen[:, 1:, 0] = (gamma - mixed[:, :, 0, 0] / nu) / x[:, None]
        touched[:, 0] = np.einsum("mjb,kbj->mk", sums[:, 0, 0], p) / nu
    else:
        seen[:, 0] = seen[:, :, 0] = 0.0
    between = np.einsum("kai,miajb,lbj->mkl", p, sums, p, optimize=True)
    if along > 0.0:  # Sigma + along v v'
        column = -x[:, None] * seen[:, :, 0]
        column[:, 0] += 1.0
        column[:, 1:] += gamma
        over = along / (1.0 + x * along * column[:, 0])
        seen += over[:, None, None] * column[:, :, None] * column[:, None, :]
        by_length = touched[:, 0].copy()
        over *= x
        touched -= over[:, None, None] * column[:, :, None] * by_length[:, None, :]
        between -= over[:, None, None] * by_length[:, :, None] * by_length[:, None, :]

    def weights(values: Floats) -> Floats:
        flat = rational_weights(node, point, np.ascontiguousarray(np.moveaxis(values, 0, -1)))
        return np.moveaxis(flat, -1, 0)

    value = low * node
    each = (
        1.0 + share * (value[:, None] - 1.0)
        if np.ptp(share) > 0.0
        else (np.repeat(value[:, None], share.size, axis=1))
    )
    # Of (1 + x Sigma)^{-1} these are weights over the value.
    cross = weights(touched) / each[:, None, :]
    own = weights(between) * value[:, None, None] / low
    own = own / (each[:, :, None] * each[:, None, :])
    cross = cross * (value / low)[:, None, None]
    return each, weights(found.trace() / low), weights(seen / low), cross, own


def _variance(
    rule: _Rule,
    c: Floats,
    groups: list[Lengths],
    sums: Sums,
    law: LatentLaw,
    space: Space,
) -> Floats:
    """Return d times the variance of |w|^2/c_k: rows, what is linear in them, and the rest."""
    each, trace = rule[:2]
    square = 2.0 * (trace @ each**2)
    plain = np.einsum("ln,in->li", law.first, law.res ** np.arange(1, 4)[:, None])
    gram = plain.T @ (space.axes * space.eigenvalue) @ space.axes.T @ plain
    for i in range(3):
        for j in range(3):
            gram[i, j] += sums.inverse * (law.one @ law.res ** (i + j + 2))
    linear = np.array([g.along @ gram @ g.along for g in groups])
    rest = np.array([g.beyond for g in groups])
    return np.asarray(np.maximum((square + linear + rest) / c**2, 0.0))


def _padded(array: Floats, count: int, fill: float) -> Floats:
    """Append nodes that count for nothing."""
    missing = count - array.shape[0]
    tail = np.full((missing, *array.shape[1:]), fill)
    return np.concatenate([array, tail])
