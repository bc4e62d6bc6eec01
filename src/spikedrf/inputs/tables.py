"""The tables of theory.md, section 12, on the nodes of kappa."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.activations import Activation
from spikedrf.inputs.frame import Frame
from spikedrf.inputs.labels import Readout
from spikedrf.inputs.population import gaussian_grid, hermite_grid

Floats = NDArray[Any]

#: Nodes of kappa at most, for each class: along a line, and in a plane.
MOST_NODES, MOST_NODES_OF_PLANE = 1 << 15, 1 << 20

# Points an axis of the trapezoid rule over one, two or three latents, level by level; beside a
# plane of kappa, whose nodes are thousands, of Gauss-Hermite rules, which need fewer.
_REST = {
    1: (33, 49, 73, 109, 163, 245, 367, 551),
    2: (25, 33, 49, 73, 109, 163, 245),
    3: (17, 25, 33, 43, 55, 73),
}
_BESIDE_PLANE = {
    1: (12, 18, 26, 38, 54, 80, 120),
    2: (10, 14, 20, 28, 40, 56),
    3: (8, 12, 16, 22, 30),
}
_EVALUATIONS = 1_000_000
# Two of these that agree to so much on every node have found nothing that is not smooth. They are
# compared up to this level: where labels have kinks, no finer ones would agree.
_SETTLED, _LAST_SETTLED, _LOOKED_AHEAD = 1e-12, 2, 4
_MOST_LEVELS = 9


@dataclass(frozen=True, eq=False)
class Tables:
    r"""What steps A, B and C see of activation and labels.

    The nodes of one class follow those of another.

    Attributes
    ----------
    begin : list of int
        Where the nodes of each class begin, and the last end.
    kappa : ndarray, shape (R, N)
        Nodes.
    weight : ndarray, shape (N,)
        Weights with the proportions of the classes: they sum to one.
    mu0, mu1, mu2, length : ndarray, shape (K, N)
        Section 3's tables, ``mu2`` squared, and ``E (z^2 - 1) sigma/2``, the column of lengths.
    y : ndarray, shape (N,)
        ``E y`` given kappa and the class.
    slope : ndarray, shape (N, L' - R)
        ``E y zeta_l``, with ``zeta_l`` the latents beside kappa, from the class's mean.
    rest : ndarray, shape (N,)
        ``E y^2`` less the squares of these, without noise.
    settled : bool
        Whether a finer grid leaves these three as they are: then labels have no kink to miss.
    """

    begin: list[int]
    kappa: Floats
    weight: Floats
    mu0: Floats
    mu1: Floats
    mu2: Floats
    length: Floats
    y: Floats
    slope: Floats
    rest: Floats
    settled: bool


def make_tables(
    frame: Frame, sigma: Activation, level: int, readout: Readout | None = None
) -> Tables | None:
    """Return the tables on a rule that gets finer with the level, None beyond the finest.

    With a readout of its own, labels have rules of their own too, and their moments here are for
    orientation.
    """
    if level >= (_levels(frame) if readout is None else _MOST_LEVELS):
        return None
    function = _core.Function(sigma.core)
    rules = [_rule(frame, function, i, level, readout) for i in range(len(frame.means))]
    z, weight = [], []
    for rule, rho in zip(rules, frame.population.proportions, strict=True):
        if rule is None:
            return None
        z.append(rule[:-1])
        weight.append(rho * rule[-1])
    begin = [0, *np.cumsum([part.shape[1] for part in z]).tolist()]
    center = frame.means[:, : frame.spikes, None]
    kappa = np.concatenate([at + part for at, part in zip(center, z, strict=True)], axis=1)
    groups, nodes = frame.layer.pi.size, kappa.shape[1]
    mu0, mu1, mu2, length = np.empty((4, groups, nodes))
    for k in range(groups):
        sd = float(np.sqrt(frame.layer.c[k]))
        e = function(frame.r[k] @ kappa, sd, level, True)
        mu0[k], mu1[k], mu2[k], length[k] = e[0], e[1] / sd, e[2], 0.5 * e[3]
    settled = True
    y, rest = np.zeros((2, nodes))
    slope = np.zeros((nodes, frame.size - frame.spikes))
    for i, shift in enumerate(z):
        part = slice(begin[i], begin[i + 1])
        grid = level if readout is None else 0
        settled &= _labels(frame, i, shift, grid, y[part], slope[part], rest[part])
    weights = np.concatenate(weight)
    return Tables(begin, kappa, weights, mu0, mu1, mu2, length, y, slope, rest, settled)


def on_a_grid(frame: Frame) -> bool:
    """Whether labels are averaged over a grid, whose error kinks make fall slowly."""
    law = frame.population
    return law.numbers is None and law.scalar is None and frame.labels > 0


def _levels(frame: Frame) -> int:
    """Return how many rules there are: each must be finer than the last, beside kappa too."""
    return len(_points(frame)) if on_a_grid(frame) else _MOST_LEVELS


def _points(frame: Frame) -> tuple[int, ...]:
    """Points an axis of the rule over what of the labels is beside kappa, level by level."""
    return (_BESIDE_PLANE if frame.spikes > 1 else _REST)[frame.labels]


def _rule(
    frame: Frame, function: _core.Function, i: int, level: int, readout: Readout | None
) -> Floats | None:
    """Nodes of z, kappa = mean + z, for class i, a row for each axis, and their weights."""
    if not frame.spikes:
        return np.ones((1, 1))
    c = np.ascontiguousarray(frame.layer.c)
    g = frame.population.scalar
    labels: tuple[Any, ...] = ()
    if g is not None:
        offset, along, across = frame.scalar(i)
        labels = _core.Function(g.core), offset, along, abs(across)
    if frame.spikes == 1:
        r, mean = np.ascontiguousarray(frame.r[:, 0]), float(frame.means[i, 0])
        more: dict[str, Any] = {}
        if readout is not None:
            more = {"start": "uniform", "signs": readout.signs, "noise": readout.noise}
        elif frame.means[:, 0].any():
            more = {"start": "fine"}  # off the middle, Gauss-Hermite rules are at their worst
        if labels:
            labels = (*labels[:2], float(along[0]), labels[3])
        return _core.class_rule(function, r, c, mean, level, MOST_NODES, *labels, **more)
    means = np.ascontiguousarray(frame.means[i, :2])
    return _core.plane_rule(function, frame.r, c, means, level, MOST_NODES_OF_PLANE, *labels)


def _labels(
    frame: Frame, i: int, shift: Floats, level: int, y: Floats, slope: Floats, rest: Floats
) -> bool:
    """Fill the labels' moments in class i, ``shift`` (R, N) away from its mean along spikes.

    Returns
    -------
    bool
        Whether they are beyond the doubt that two grids might agree by accident.
    """
    law = frame.population
    if law.numbers is not None:
        y[:] = law.numbers[i]
        return True
    if law.scalar is not None:
        offset, along, across = frame.scalar(i)
        mean = np.ascontiguousarray(offset + along @ shift)
        e = _core.Function(law.scalar.core)(mean, across, level)
        y[:], rest[:] = e[0], e[2]
        if frame.labels:
            slope[:, 0] = e[1]
        return True
    found, settled = _on_grid(frame, i, shift, level), not on_a_grid(frame)
    # A smooth function is averaged to rounding by grids that are not much finer.
    for finer in range(level + 1, level + 1 + _LOOKED_AHEAD):
        if settled or level > _LAST_SETTLED or finer >= len(_points(frame)) or frame.spikes > 1:
            break
        after = _on_grid(frame, i, shift, finer)
        size = np.abs(after[0]) + np.abs(after[1]).sum(axis=1) + np.sqrt(after[2])
        gap = np.abs(after[0] - found[0]) + np.abs(after[1] - found[1]).sum(axis=1)
        root = np.abs(np.sqrt(after[2]) - np.sqrt(found[2]))
        settled = bool(np.all(gap + root <= _SETTLED * (size + size.mean())))
        found = after if settled else found
    y[:], rest[:] = found[0], found[2]
    slope[:, : frame.labels] = found[1]
    return settled


def _on_grid(frame: Frame, i: int, shift: Floats, level: int) -> tuple[Floats, Floats, Floats]:
    """Average labels over the latents beside the spikes: ``E y``, ``E y zeta_l`` and the rest."""
    law, spikes = frame.population, frame.spikes
    if frame.labels:
        grid = hermite_grid if spikes > 1 else gaussian_grid
        zeta, w = grid(frame.labels, _points(frame)[level])
    else:
        zeta, w = np.zeros((1, 0)), np.ones(1)
    nodes = shift.shape[1]
    y, rest, slope = np.empty(nodes), np.empty(nodes), np.empty((nodes, frame.labels))
    # Latents of the population at a node: their mean given kappa, then what the rest adds.
    away = zeta @ frame.turn[spikes : spikes + frame.labels]
    chunk = max(1, _EVALUATIONS // len(zeta))
    for start in range(0, shift.shape[1], chunk):
        part = slice(start, start + chunk)
        s = law.means[i] + shift[:, part].T @ frame.turn[:spikes]
        value = law.label(s[:, None, :] + away, i)
        y[part] = value @ w
        slope[part] = value @ (w[:, None] * zeta)
        left = value - y[part, None] - slope[part] @ zeta.T
        rest[part] = left**2 @ w
    return y, slope, rest
