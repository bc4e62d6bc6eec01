"""The bulk of trained neurons by nodes, and what these say of the neurons' lengths."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainedNodes:
    r"""Nodes of the bulk, seen by the spike and the latents, and by the neurons' lengths.

    The directions are ``(v, e_1, .., e_L)``. Two or more rules (R) take turns in the core.

    Attributes
    ----------
    value : ndarray, shape (R, J, K)
    trace : ndarray, shape (R, J)
    forms : ndarray, shape (R, J, L + 1, L + 1)
        Weights of ``f(Sigma)`` between the directions.
    cross : ndarray, shape (R, J, L + 1, K)
        The same between a direction and ``Sigma_k^{-1} p_k``, where ``p_k/d`` is the covariance of
        a length ``|w|^2/c_k`` with the row itself.
    own : ndarray, shape (R, J, K, K)
        Between ``Sigma_k^{-1} p_k`` and ``Sigma_i^{-1} p_i``.
    variance : ndarray, shape (K,)
        d times the variance of a length.
    gain : float
        Of one group, `Lengths.gain` times the square of the spike's length.
    accuracy : float
        Of `joint_nodes`, where they stand for bulks that do not commute.
    rough : TrainedNodes, optional
        Where columns of lengths are a fit, the same with a simpler one: what that changes says how
        much of the answer the fit may have lost.
    """

    value: Floats
    trace: Floats
    forms: Floats
    cross: Floats
    own: Floats
    variance: Floats
    gain: float = 0.0
    accuracy: float = 0.0
    rough: TrainedNodes | None = None

    def part(self, live: NDArray[np.int64]) -> TrainedNodes:
        """Restrict to some groups."""
        return replace(
            self,
            value=self.value[..., live],
            cross=self.cross[..., live],
            own=self.own[..., live, :][..., live],
            variance=self.variance[live],
        )
