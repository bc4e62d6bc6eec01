"""A measure by nodes with positive weights, from its resolvent on a contour around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[Any]

# Heights of the contours, in log(sigma): of the first, which finds out where the spectrum is, and
# of the one that counts. Where the spectrum of the features is smooth, the poles in sigma keep
# further away than this.
_FAR, _NEAR = 0.5, 0.25

# Candidates of the first, and the least weight that is part of the spectrum.
_SCOUTS, _TRACE = 80, 1e-9


def contour(low: float, high: float, height: float) -> Numbers:
    """Return arguments ``x`` of ``1/(1 + x sigma)`` that surround an interval of ``sigma``.

    The singularities ``-1/x`` lie on the upper half of an ellipse around it, in ``log(sigma)``,
    which keeps ``height`` away from its ends; ``|x|`` ascends.
    """
    half = 0.5 * np.log(high / low)
    count = int(np.ceil(12.0 * half / height)) + 32
    angle = (np.arange(count) + 0.5) / count * np.pi
    u = np.log(low) + half + (half + height) * np.cos(angle) + 1j * height * np.sin(angle)
    x = -np.exp(-u)
    return np.asarray(x[np.argsort(np.abs(x))])


def grid(low: float, high: float, count: int) -> Floats:
    """Return candidates for nodes, denser towards the ends, in ``log(sigma)``.

    One of them is at 1, where the bulk of a step on fewer samples than dimensions has an atom.
    """
    angle = np.linspace(0.0, np.pi, count - 1)
    middle, half = 0.5 * np.log(high * low), 0.5 * np.log(high / low)
    return np.sort(np.append(np.exp(middle - half * np.cos(angle)), 1.0))


def positive_weights(node: Floats, x: Numbers, forms: Numbers) -> Floats:
    r"""Fit ``sum_j w_j sigma_j/(1 + x sigma_j)`` to what the trace and the directions see.

    A spectral measure is positive, so its weights can be too, and then the sum is as accurate
    everywhere outside the contour of the ``x`` as on it. That of v and xi together is the measure
    of ``v + xi`` less half of theirs.

    Parameters
    ----------
    node : ndarray, shape (J,)
    x : ndarray of complex, shape (m,)
    forms : ndarray of complex, shape (4, m)
        Trace, vv, vx, xx.

    Returns
    -------
    ndarray, shape (4, J)
    """
    from scipy.optimize import nnls  # not imported before it is needed

    trace, vv, vx, xx = forms
    size = np.abs(trace)
    matrix = node / (1.0 + x[:, None] * node) / size[:, None]
    rows = np.concatenate([matrix.real, matrix.imag])
    wanted = np.stack([trace, vv, 0.5 * (vv + xx) + vx, xx]) / size
    weight = np.stack(
        [
            nnls(rows, np.concatenate([seen.real, seen.imag]), maxiter=100 * node.size)[0]
            for seen in wanted
        ]
    )
    weight[2] -= 0.5 * (weight[1] + weight[3])
    return weight


def spectral_nodes(
    resolvent: Callable[[Numbers], Numbers], low: float, high: float, counts: tuple[int, ...]
) -> list[tuple[Floats, Floats]]:
    """Return rules for a measure whose resolvent is known off the axis.

    Parameters
    ----------
    resolvent : callable
        Takes complex ``x`` and returns what the trace and the directions see, shape (4, m).
    low, high : float
        The spectrum is between them; how much of that it fills is found out.
    counts : tuple of int
        Candidates for nodes of each rule; between a third and all of them get a weight.

    Returns
    -------
    list of (ndarray, ndarray), shapes (J,) and (4, J)
        Nodes and weights of each rule.
    """
    x, node = contour(low, high, _FAR), grid(low, high, _SCOUTS)
    used = np.flatnonzero(positive_weights(node, x, resolvent(x)).max(axis=0) > _TRACE)
    low, high = node[max(used[0] - 1, 0)], node[min(used[-1] + 1, node.size - 1)]
    x = contour(low, high, _NEAR)
    forms = resolvent(x)
    nodes = [grid(low, high, count) for count in counts]
    return [(node, positive_weights(node, x, forms)) for node in nodes]
