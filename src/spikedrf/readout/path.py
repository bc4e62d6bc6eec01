r"""Smooth losses for many penalties, and targets, at the same time.

A pass over the features for one vector is bound by memory; for a dozen it costs hardly more. So
L-BFGS goes on with all problems in step. Each has coordinates in which its own typical Hessian,
``curvature A^T W A + lam``, is the identity: they share the eigenvectors of ``A^T W A``. Along a
direction the outputs are known without another pass, and the search along it is Newton's method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikedrf.losses import Loss
from spikedrf.parameters import Floats
from spikedrf.readout.newton import Design, few_columns

#: Directions, and how many differences of gradients make one.
_STEPS, _MEMORY = 80, 12
#: Steps of Newton's method along a direction, and to what part of itself the slope falls.
_LINE_STEPS, _FLAT = 6, 0.2


@dataclass(frozen=True, eq=False)
class Family:
    """Problems on the same rows, ``sum_mu weight_mu loss_k(y_k, h_k) + (lam_k/2) |x_k|^2``.

    Attributes
    ----------
    design : Design
    y : ndarray, shape (n, problems)
    losses : sequence of Loss
        Smooth ones, of each problem.
    lam : ndarray, shape (problems,)
        Penalties, > 0; an intercept has none.
    """

    design: Design
    y: Floats
    losses: Sequence[Loss]
    lam: Floats

    def take(self, index: NDArray[np.int64]) -> Family:
        """Return some of the problems."""
        losses = [self.losses[k] for k in index]
        return Family(self.design, self.y[:, index], losses, self.lam[index])

    def of_rows(self, what: str, h: Floats) -> Floats:
        """Return a function of the losses for every row and problem, such as ``"value"``."""
        kinds = set(self.losses)
        if len(kinds) == 1:
            return np.asarray(getattr(self.losses[0], what)(self.y, h))
        columns = zip(self.losses, self.y.T, h.T, strict=True)
        return np.column_stack([getattr(loss, what)(y, column) for loss, y, column in columns])

    @property
    def penalty(self) -> Floats:
        """The penalty of each coefficient, shape (q, problems)."""
        penalty = np.tile(self.lam, (self.design.q, 1))
        if self.design.intercept:
            penalty[-1] = 0.0
        return penalty


def minimise(
    family: Family, x: Floats, tol: float
) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Minimise every member of a family.

    Parameters
    ----------
    family : Family
    x : ndarray, shape (q, problems)
        Where to start.
    tol : float
        A problem is done where the estimated distance to its minimum, half the squared gradient
        in its coordinates, is this part of its objective.

    Returns
    -------
    x : ndarray, shape (q, problems)
    nit : ndarray of int, shape (problems,)
    success : ndarray of bool, shape (problems,)
        Whether it came to that.
    """
    value, vector = family.design.spectrum
    design, weight = family.design, family.design.weight[:, None]
    found, nit = x.copy(), np.zeros(x.shape[1], np.int64)
    success = np.zeros(x.shape[1], bool)
    at = np.arange(x.shape[1])
    h, z = design.outputs(x), few_columns(vector.T, x)
    unit = np.zeros((len(value), at.size))
    history: list[tuple[Floats, Floats]] = []
    before: tuple[Floats, Floats] | None = None
    for step in range(_STEPS + 1):
        penalty = family.penalty
        curvature = family.of_rows("second_derivative", h)
        typical = (weight * curvature).sum(axis=0) / weight.sum()
        if step % _MEMORY == 0:  # new coordinates, as those of the start may be far off
            unit = 1.0 / np.sqrt(np.maximum(typical, 1e-12) * value[:, None] + penalty)
            history, before = [], None
        slope = weight * family.of_rows("derivative", h)
        gradient = few_columns(vector.T, design.back(slope)) + penalty * z
        objective = weight[:, 0] @ family.of_rows("value", h) + 0.5 * (penalty * z * z).sum(axis=0)
        near = gradient * gradient / (np.maximum(typical, 1e-300) * value[:, None] + penalty)
        done = (0.5 * near.sum(axis=0) <= tol * objective) & (typical > 0.0)
        found[:, at], nit[at], success[at] = few_columns(vector, z), step, done
        going = ~done
        if not going.any() or step == _STEPS:
            break
        if done.any():
            at, family = at[going], family.take(np.flatnonzero(going))
            h, z, unit = h[:, going], z[:, going], unit[:, going]
            gradient, curvature, slope = gradient[:, going], curvature[:, going], slope[:, going]
            history = [(s[:, going], g[:, going]) for s, g in history]
            before = None if before is None else (before[0][:, going], before[1][:, going])
            penalty = penalty[:, going]
        white = gradient * unit
        if before is not None:
            history = [*history[1 - _MEMORY :], (before[0], white - before[1])]
        direction = unit * _two_loops(history, white)
        forward = design.outputs(few_columns(vector, direction))
        t = _along(family, h, forward, penalty, z, direction)
        before = (t * direction / unit, white)
        z, h = z + t * direction, h + t * forward
    return found, nit, success


def _two_loops(history: list[tuple[Floats, Floats]], gradient: Floats) -> Floats:
    """Return the direction of L-BFGS for every column (Nocedal and Wright, algorithm 7.4)."""
    q, factors = -gradient, []
    for s, g in reversed(history):
        product = (s * g).sum(axis=0)
        rho = np.where(product > 0.0, 1.0 / np.where(product > 0.0, product, 1.0), 0.0)
        factor = rho * (s * q).sum(axis=0)
        q = q - factor * g
        factors.append((rho, factor))
    if history:
        s, g = history[-1]
        product, square = (s * g).sum(axis=0), (g * g).sum(axis=0)
        q = q * np.where(product > 0.0, product / np.where(square > 0.0, square, 1.0), 1.0)
    for (s, g), (rho, factor) in zip(history, reversed(factors), strict=True):
        q = q + s * (factor - rho * (g * q).sum(axis=0))
    return q


def _along(
    family: Family, h: Floats, forward: Floats, penalty: Floats, z: Floats, direction: Floats
) -> Floats:
    """Return how far to go along the direction of each problem: where its slope nearly vanishes.

    By Newton's method on the slope, which increases, between bounds.
    """
    weight = family.design.weight
    start = (penalty * z * direction).sum(axis=0)
    stiff = (penalty * direction * direction).sum(axis=0)

    def slope(t: Floats) -> Floats:
        first = weight @ (family.of_rows("derivative", h + t * forward) * forward)
        return np.asarray(first + start + t * stiff)

    t, low, high = np.ones(h.shape[1]), np.zeros(h.shape[1]), np.full(h.shape[1], np.inf)
    steepest = np.abs(slope(np.zeros(h.shape[1])))
    for _ in range(_LINE_STEPS):
        first = slope(t)
        far = np.abs(first) > _FLAT * steepest
        if not far.any():
            break
        low, high = np.where(first < 0.0, t, low), np.where(first > 0.0, t, high)
        bend = family.of_rows("second_derivative", h + t * forward) * forward**2
        second = weight @ bend + stiff
        new = t - first / np.where(second > 0.0, second, 1.0)
        middle = np.where(np.isinf(high), 2.0 * low, 0.5 * (low + high))
        new = np.where((second > 0.0) & (low < new) & (new < high), new, middle)
        t = np.where(far, new, t)
    return t
