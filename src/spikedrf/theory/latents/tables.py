"""The tables of theory.md, section 12, on the nodes of kappa."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.activations import Activation
from spikedrf.inputs.population import gaussian_grid
from spikedrf.theory.latents.frame import Frame

Floats = NDArray[Any]

# kappa has Gauss-Legendre panels of so many nodes, so far beside the means of the classes.
_DEGREE, _REACH = 16, 9.0
# Panels are no wider than this, and than so many scales of what varies fastest.
_WIDEST, _SCALES = 1.5, 4.0

#: Nodes of kappa at most.
MOST_NODES = 1 << 14

# Points an axis of the trapezoid rule over one, two or three latents, level by level.
_REST = {
    1: (33, 49, 73, 109, 163, 245, 367, 551),
    2: (33, 49, 73, 109, 163, 245),
    3: (25, 37, 55),
}
_EVALUATIONS = 2_000_000
_MOST_LEVELS = 9


@dataclass(frozen=True, eq=False)
class Tables:
    r"""What steps A, B and C see of activation and labels.

    Attributes
    ----------
    kappa : ndarray, shape (N,)
        Nodes.
    weight : ndarray, shape (C, N)
        Weights of the classes, proportions included: they sum to one.
    mu0, mu1, mu2, length : ndarray, shape (K, N)
        Section 3's tables, ``mu2`` squared, and ``E (z^2 - 1) sigma/2``, the column of lengths.
    y : ndarray, shape (C, N)
        ``E y`` given kappa and the class.
    slope : ndarray, shape (C, N, L' - R)
        ``E y zeta_l``, with ``zeta_l`` the latents beside kappa, from the class's mean.
    rest : ndarray, shape (C, N)
        ``E y^2`` less the squares of these, without noise.
    """

    kappa: Floats
    weight: Floats
    mu0: Floats
    mu1: Floats
    mu2: Floats
    length: Floats
    y: Floats
    slope: Floats
    rest: Floats


def make_tables(frame: Frame, sigma: Activation, level: int) -> Tables | None:
    """Return the tables on a rule that gets finer with the level, None beyond the finest."""
    if level >= _levels(frame):
        return None
    nodes = _nodes(frame, level)
    if nodes is None:
        return None
    kappa, weight = nodes
    groups = frame.r.size
    function = _core.Function(sigma.core)
    mu0, mu1, mu2, length = np.empty((4, groups, kappa.size))
    for k in range(groups):
        sd = float(np.sqrt(frame.layer.c[k]))
        e = function(np.ascontiguousarray(frame.r[k] * kappa), sd, level, True)
        mu0[k], mu1[k], mu2[k], length[k] = e[0], e[1] / sd, e[2], 0.5 * e[3]
    y, slope, rest = _labels(frame, kappa, level)
    return Tables(kappa, weight, mu0, mu1, mu2, length, y, slope, rest)


def _levels(frame: Frame) -> int:
    """Return how many rules there are: each must be finer than the last, beside kappa too."""
    law = frame.population
    if law.numbers is not None or law.scalar is not None or not frame.labels:
        return _MOST_LEVELS
    return len(_REST[frame.labels])


def _nodes(frame: Frame, level: int) -> tuple[Floats, Floats] | None:
    rho = frame.population.proportions[:, None]
    if not frame.spikes:
        return np.zeros(1), rho.copy()
    center = frame.means[:, 0]
    with np.errstate(divide="ignore"):
        scale = np.min(np.sqrt(frame.layer.c) / np.abs(frame.r))
    width = min(_WIDEST, _SCALES * float(scale))
    breaks = []
    g = frame.population.scalar
    if g is not None:
        along = float(frame.turn[0, 0])
        across = float(np.sqrt(max(1.0 - along**2, 0.0)))
        kinks, grain = ((0.0,), 0.5) if g.code is not None else g.structure
        width = min(width, max(_SCALES * max(across, 2.0 * grain), 0.02))
        if abs(along) > 1e-12:
            # Where the label bends on average, and around it where it does so in a short stretch.
            around = np.array([0.0, -8.0, -4.0, -2.0, -1.0, 1.0, 2.0, 4.0, 8.0])[
                : 9 if 0.0 < across < 0.2 else 1
            ]
            for mean, own in zip(frame.population.means[:, 0], center, strict=True):
                for kink in kinks:
                    at = own + (kink - mean) / along
                    breaks += list(at + around * across / along)
    low, high = center.min() - _REACH, center.max() + _REACH
    count = int(np.ceil((high - low) / width)) << level
    if count * _DEGREE > MOST_NODES:
        return None
    edges = np.linspace(low, high, count + 1)
    inside = [b for b in breaks if low < b < high]
    edges = np.unique(np.concatenate([edges, inside]))
    node, weight = np.polynomial.legendre.leggauss(_DEGREE)
    half = 0.5 * np.diff(edges)[:, None]
    kappa = (edges[:-1, None] + half * (1.0 + node)).ravel()
    own = (half * weight).ravel()
    density = np.exp(-0.5 * (kappa - center[:, None]) ** 2) / np.sqrt(2.0 * np.pi)
    total = own * density
    keep = total.max(axis=0) > 1e-22
    return kappa[keep], rho * total[:, keep]


def _labels(frame: Frame, kappa: Floats, level: int) -> tuple[Floats, Floats, Floats]:
    law, spikes = frame.population, frame.spikes
    classes, nodes = len(frame.means), kappa.size
    y, rest = np.zeros((2, classes, nodes))
    slope = np.zeros((classes, nodes, frame.size - spikes))
    if law.numbers is not None:
        y[:] = law.numbers[:, None]
        return y, slope, rest
    if law.scalar is not None:
        function = _core.Function(law.scalar.core)
        along = float(frame.turn[0, 0]) if spikes else 0.0
        across = float(frame.turn[spikes, 0]) if frame.labels else 0.0
        for i in range(classes):
            shift = kappa - frame.means[i, 0] if spikes else kappa
            mean = np.ascontiguousarray(law.means[i, 0] + along * shift)
            e = function(mean, across, level)
            y[i], rest[i] = e[0], e[2]
            if frame.labels:
                slope[i, :, 0] = e[1]
        return y, slope, rest
    if frame.labels:
        points = _REST[frame.labels]
        zeta, w = gaussian_grid(frame.labels, points[level])
    else:
        zeta, w = np.zeros((1, 0)), np.ones(1)
    # Latents of the population at a node: their mean given kappa, then what the rest adds.
    away = zeta @ frame.turn[spikes : spikes + frame.labels]
    chunk = max(1, _EVALUATIONS // len(zeta))
    for i in range(classes):
        for start in range(0, nodes, chunk):
            part = slice(start, start + chunk)
            s = law.means[i] + np.zeros((kappa[part].size, 1))
            if spikes:
                s = s + np.multiply.outer(kappa[part] - frame.means[i, 0], frame.turn[0])
            value = law.label(s[:, None, :] + away, i)
            y[i, part] = value @ w
            slope[i, part, : frame.labels] = value @ (w[:, None] * zeta)
            left = value - y[i, part, None] - slope[i, part, : frame.labels] @ zeta.T
            rest[i, part] = left**2 @ w
    return y, slope, rest
