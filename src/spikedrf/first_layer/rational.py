"""A measure on an interval by a few nodes, from the values of its resolvent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def node_count(spread: float, tolerance: float) -> int:
    """Return how many nodes `rational_rule` needs for a relative accuracy."""
    rate = np.pi**2 / np.log(16.0 * spread)
    return max(2, int(np.ceil(np.log(4.0 / tolerance) / rate)))


def rational_rule(low: float, high: float, count: int) -> tuple[Floats, Floats]:
    r"""Choose nodes for a measure on ``[low, high]`` and where to know its resolvent.

    All that the theory takes from a bulk are averages of functions of ``sigma`` whose poles are on
    the negative axis, of which

        R(x) = int sigma / (1 + x sigma) dmu(sigma),    x >= 0,

    are the simplest and make up the others. With fixed nodes ``sigma_j`` the weights for which
    ``sum_j w_j sigma_j / (1 + x sigma_j)`` is right at as many points ``x_i`` depend linearly on
    ``R``: they move smoothly with whatever ``R`` depends on, unlike those of a Gauss rule. In
    ``t = 1/sigma`` the functions are ``1/(t + x)``, with poles in ``[-inf, 0]`` and ``t`` in
    ``[1/high, 1/low]``; the nodes and poles are Zolotarev's for this pair of intervals, optimal
    among all: the error is ``4 exp(-pi^2 count / log(16 high/low))``, whatever the measure.

    Parameters
    ----------
    low, high : float
        The interval, ``0 < low < high``. The measure may leak out of it a little.
    count : int
        Number of nodes.

    Returns
    -------
    sigma : ndarray, shape (count,)
        The nodes.
    x : ndarray, shape (count,)
        Where to evaluate ``R``, ascending.

    Notes
    -----
    Source: theory.md, section 10, for the functions. Zolotarev's points: Beckermann and Townsend,
    SIAM Review 61 (2019), section 3.
    """
    from scipy.special import ellipj, ellipkm1

    spread = high / low
    # A Moebius map takes [-inf, 0] and [1/high, 1/low] to [-b, -1] and [1, b].
    b = 2.0 * spread - 1.0 + 2.0 * np.sqrt(spread * (spread - 1.0))
    modulus = 1.0 - b**-2.0
    odd = np.arange(1, count + 1, 2) if count % 2 else np.arange(1, count, 2)
    sn, _, dn, _ = ellipj(odd * ellipkm1(b**-2.0) / (2 * count), modulus)
    # The upper half u = b dn, and the lower b/u; with what they keep from b and 1.
    upper, from_b = b * dn, b * modulus * sn**2 / (1.0 + dn)
    lower, from_1 = (b / upper)[: count // 2], (from_b / upper)[: count // 2]
    u = np.concatenate([upper, lower[::-1]])
    above_1 = np.concatenate([upper - 1.0, from_1[::-1]])
    below_b = np.concatenate([from_b, b - lower[::-1]])
    scale = (1.0 + b) / (2.0 * high)
    return (u + b) / (scale * (u + 1.0)), (scale * above_1 / below_b)[::-1]


def rational_weights(sigma: Floats, x: Floats, resolvent: Floats) -> Floats:
    """Return the weights of the nodes for measures whose ``R(x)`` are the last axis."""
    # A Cauchy matrix, scaled so that its entries are at most 1/2.
    t = 1.0 / sigma
    row, column = np.sqrt(x), np.sqrt(t)
    cauchy = row[:, None] * column / (x[:, None] + t)
    flat = np.linalg.solve(cauchy, (row * resolvent).reshape(-1, x.size).T).T
    return np.asarray(column * flat.reshape(resolvent.shape))
