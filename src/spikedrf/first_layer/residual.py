"""The joint law of a step's residuals and the target direction, on few nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray

from spikedrf.activations import Activation

Floats = NDArray[np.float64]
Numbers = NDArray[Any]

# Chebyshev nodes on a panel of residuals, and Gauss-Legendre nodes for the averages.
_DEGREE, _LEGENDRE = 20, 24

# Panels are cut into so many pieces at most, and the label noise has so many nodes on each side:
# beyond, the certificate has to tell.
_FINEST, _MOST_NOISE = 8, 128

# Label noise matters up to here (a Gaussian of 1e-16).
_TAIL = 8.5

# Entries of an array at a time.
_BLOCK = 1 << 16


@dataclass(frozen=True, eq=False)
class ResidualLaw:
    r"""Averages ``E f(res) s^k``, k = 0, 1, 2, as sums over nodes.

    ``s ~ N(0, 1)`` is the input along the target direction, ``res = g(s) + noise N(0, 1) - shift``
    the residual of the network before the step.

    Attributes
    ----------
    res : ndarray, shape (N,)
        Nodes.
    weight : ndarray, shape (3, N)
        Weights of ``E f``, ``E s f`` and ``E s^2 f`` (of `law_of_samples`, as many as were given).
        Some are negative: they interpolate.
    reach : float
        Residuals beyond have no weight that matters in ``E res^2``.
    """

    res: Floats
    weight: Numbers
    reach: float


@lru_cache(maxsize=64)
def residual_law(
    g: Activation, shift: float, noise: float | complex, near: float, fineness: float
) -> ResidualLaw:
    """Average over the target direction and the label noise once and for all.

    The functions to come are rational in the residual, with poles that come as near to the real
    axis as ``near``, and do so at zero. Panels that grow away from zero resolve them; on each,
    the law is replaced by weights on Chebyshev nodes that integrate polynomials alike.

    Parameters
    ----------
    g : Activation
        Target.
    shift : float
        Mean output of the network before the step.
    noise : float or complex
        Standard deviation of the label noise. A complex step in it becomes one in the weights.
    near : float
        See above.
    fineness : float
        Factor on the number of nodes.
    """
    values = g(g.gaussian_rule(1, _LEGENDRE)[0]) - shift
    narrow = np.ptp(values) < 100.0 * np.real(noise)
    samples = _smoothed if narrow and np.real(noise) > near else _shifted
    return law_of_samples(list(samples(g, shift, noise, near, fineness)), near, fineness)


def law_of_samples(
    blocks: list[tuple[Numbers, Numbers]], near: float, fineness: float = 1.0
) -> ResidualLaw:
    """Replace many weighted residuals by few nodes, see `residual_law`.

    Parameters
    ----------
    blocks : list of tuple
        Residuals (N,) and weights (C, N); the law's weights have C rows too, the first for ``E f``.
    near, fineness : float
        As for `residual_law`.
    """
    largest = max(float(np.abs(res).max()) for res, _ in blocks)
    edges = _panels(0.5 * near / fineness, largest)
    count, rows = edges.size - 1, blocks[0][1].shape[0]
    kind = np.result_type(*(array.dtype for block in blocks for array in block))
    moments = np.zeros((rows, _DEGREE, count), dtype=kind)
    power = np.zeros(count)
    for res, weight in blocks:
        # Of a complex step in the residual, the panel is that of the residual itself.
        order = np.argsort(res.real, kind="stable")
        res, weight = res[order], weight[:, order]
        ends = np.searchsorted(res.real, edges[1:])
        for panel, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if start == end:
                continue
            of, left, right = slice(start, end), edges[panel], edges[panel + 1]
            xi = 2.0 * (res[of] - left) / (right - left) - 1.0
            moments[:, :, panel] += weight[:, of] @ chebvander(xi, _DEGREE - 1)
            power[panel] += np.abs(weight[0, of]) @ np.abs(res[of]) ** 2
    # The discrete orthogonality of Chebyshev polynomials on their nodes turns moments to weights.
    angle = np.pi * (np.arange(_DEGREE) + 0.5) / _DEGREE
    series = np.cos(np.outer(angle, np.arange(_DEGREE))) * (2.0 / _DEGREE)
    series[:, 0] *= 0.5
    used = moments[0, 0] != 0.0
    node = edges[:-1, None] + 0.5 * np.diff(edges)[:, None] * (1.0 + np.cos(angle))
    weight = np.einsum("jk,ikp->ipj", series, moments[:, :, used])
    return ResidualLaw(node[used].ravel(), weight.reshape(rows, -1), _reach(edges, power))


def _shifted(
    g: Activation, shift: float, noise: float | complex, near: float, fineness: float
) -> Iterator[tuple[Numbers, Floats]]:
    """Residuals for all pairs of an input and a label noise."""
    s, w = g.gaussian_rule(_split(near, fineness), _LEGENDRE)
    n, share = np.zeros(1), np.ones(1)
    if noise != 0.0:
        step = min(0.35, 0.25 * near / np.real(noise) if np.real(noise) else 0.35) / fineness
        step = max(step, _TAIL / _MOST_NOISE / fineness)
        n = np.arange(-np.ceil(_TAIL / step), np.ceil(_TAIL / step) + 1) * step
        share = np.exp(-0.5 * n**2)
        share /= share.sum()
    clean = g(s) - shift
    joint = w * s ** np.arange(3)[:, None]
    size = max(1, _BLOCK // s.size)
    for at in range(0, n.size, size):
        some = slice(at, at + size)
        res = clean + noise * n[some, None]
        yield res.ravel(), (joint[:, None] * share[some, None]).reshape(3, -1)


def _smoothed(
    g: Activation, shift: float, noise: complex, near: float, fineness: float
) -> Iterator[tuple[Floats, Numbers]]:
    """Densities of the residual, smooth on the scale of the label noise."""
    level = float(np.real(noise))
    s, w = g.gaussian_rule(_split(level, fineness), _LEGENDRE)
    clean = g(s) - shift
    edges = _panels(0.5 * near / fineness, float(np.abs(clean).max()) + _TAIL * level, level)
    node, weight = np.polynomial.legendre.leggauss(_LEGENDRE)
    half = 0.5 * np.diff(edges)[:, None]
    res = (edges[:-1, None] + half * (1.0 + node)).ravel()
    joint = w * s ** np.arange(3)[:, None] / (np.sqrt(2.0 * np.pi) * noise)
    size = max(1, _BLOCK // s.size)
    for at in range(0, res.size, size):
        some = slice(at, at + size)
        kernel = np.exp(-0.5 * ((clean[:, None] - res[some]) / noise) ** 2)
        yield res[some], joint @ kernel * (half * weight).ravel()[some]


def _split(scale: float, fineness: float) -> int:
    """Pieces of a panel of width 1/2 that resolve a function of the residual on this scale."""
    return int(np.ceil(fineness * min(max(1.0, 0.5 / scale), _FINEST)))


def _panels(smallest: float, largest: float, widest: float = np.inf) -> Floats:
    """Edges on both sides of zero, panels half as wide as they are far out."""
    positive = [0.0, min(smallest, largest) if largest > 0.0 else smallest]
    while positive[-1] <= largest:
        positive.append(positive[-1] + min(0.5 * positive[-1], widest))
    return np.concatenate([-np.array(positive[:0:-1]), positive])


def _reach(edges: Floats, power: Floats) -> float:
    outer = np.maximum(np.abs(edges[:-1]), np.abs(edges[1:]))
    order = np.argsort(outer)
    beyond = np.cumsum(power[order][::-1])[::-1]
    return float(outer[order][beyond > 1e-13 * beyond[0]].max(initial=0.0))
