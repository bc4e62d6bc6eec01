"""A power law of eigenvalues, as the nodes of a Gauss rule."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.parameters import number

Floats = NDArray[np.float64]

# The limit is integrated on panels of u that halve towards 0, down to 2^-_HALVINGS.
_HALVINGS, _DEGREE = 120, 24
_MOST_NODES = 64

# The rule is Gauss's in lambda^-_POWER: what ridge regression sees of an eigenvalue is smooth in
# it, also where eigenvalues spread over decades.
_POWER = 0.25

# Where the accuracy of the nodes is measured.
_ARGUMENTS = np.geomspace(1e-3, 1e3, 61)


def power_law_nodes(
    exponent: Any, target_exponent: Any, nodes: Any, dimension: Any
) -> tuple[Floats, Floats, Floats | None, float]:
    """Return eigenvalues, shares of dimensions and of the target, and their accuracy.

    See `Covariance.power_law`.
    """
    a = number("exponent", exponent, minimum=0.0)
    b = 0.0 if target_exponent is None else number("target_exponent", target_exponent)
    count = _integer("nodes", nodes, 2, _MOST_NODES)
    if dimension is None:
        for name, value in (("exponent", a), ("target_exponent", b)):
            if value >= 1.0:
                raise ValueError(
                    f"{name} must be < 1 without dimension, got {value!r}: as the dimension grows "
                    f"all of it would be on the first few directions; give dimension="
                )
        u, weight = _graded()
        values, dense = u**-a, weight * u**-b
        dense[0] += (2.0**-_HALVINGS) ** (1.0 - b) / (1.0 - b)  # what is left below the last panel
    else:
        size = _integer("dimension", dimension, 2, 10_000_000)
        k = np.arange(1, size + 1, dtype=np.float64)[::-1]
        values, weight, dense = k**-a, np.full(size, 1.0 / size), k**-b
    weight = weight / weight.sum()
    values = values / (weight @ values)
    dense = dense / dense.sum()
    if np.ptp(values) == 0.0:
        return np.ones(1), np.ones(1), None if target_exponent is None else np.ones(1), 0.0
    even = weight if target_exponent is None else 0.5 * (weight + dense)
    y, omega = _gauss(values**-_POWER, even, count)
    node = y ** (-1.0 / _POWER)
    # Each measure is the mean of the two times a smooth function of the eigenvalue.
    share = omega / omega.sum()
    target = None
    if target_exponent is not None:
        density = dense[-1] / weight[-1] * (node / values[-1]) ** (b / a)
        ratio = density / (1.0 + density)
        share, target = omega * (1.0 - ratio), omega * ratio
        share, target = share / share.sum(), target / target.sum()
    node = node / (share @ node)
    wanted = [(weight, share)] + ([] if target is None else [(dense, target)])
    error = 0.0
    for exact, rule in wanted:
        for x in _ARGUMENTS:
            right = exact @ (values / (1.0 + x * values))
            error = max(error, abs(rule @ (node / (1.0 + x * node)) / right - 1.0))
    return node[::-1], share[::-1], None if target is None else target[::-1], float(error)


def power_law_values(a: float, b: float | None, d: int) -> tuple[Floats, Floats | None]:
    """Return the d eigenvalues, of mean one, and the target's shares, of a law in d dimensions."""
    k = np.arange(1, d + 1, dtype=np.float64)
    values = k**-a
    along = None if b is None else k**-b / np.sum(k**-b)
    return values / values.mean(), along


def _graded() -> tuple[Floats, Floats]:
    """Nodes and weights for integrals over u in (0, 1) of what is smooth in log u, ascending."""
    node, weight = np.polynomial.legendre.leggauss(_DEGREE)
    right = 0.5 ** np.arange(_HALVINGS)[::-1]
    u = right[:, None] * (0.75 + 0.25 * node)
    w = right[:, None] * 0.25 * weight
    return u.ravel(), w.ravel()


def _gauss(y: Floats, weight: Floats, count: int) -> tuple[Floats, Floats]:
    """Gauss rule of a discrete measure, by Lanczos with full reorthogonalisation."""
    used = weight > 0.0
    y, weight = y[used], weight[used]
    count = min(count, np.unique(y).size)
    q = np.sqrt(weight / weight.sum())
    basis, diagonal, off = [q], [], []
    for _ in range(count):
        v = y * basis[-1]
        diagonal.append(float(v @ basis[-1]))
        for _ in range(2):
            for b in basis:
                v -= (v @ b) * b
        length = float(np.linalg.norm(v))
        off.append(length)
        if length < 1e-14:
            break
        basis.append(v / length)
    size = len(diagonal)
    jacobi = np.diag(diagonal) + np.diag(off[: size - 1], 1) + np.diag(off[: size - 1], -1)
    node, vectors = np.linalg.eigh(jacobi)
    return node, vectors[0] ** 2 * weight.sum()


def _integer(name: str, value: Any, least: int, most: int) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        size = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if not least <= size <= most:
        raise ValueError(f"{name} must be {least} to {most}, got {size}")
    return size
