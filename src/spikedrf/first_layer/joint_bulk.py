"""The bulk of trained networks of several groups that do not commute."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.bulk import BulkNodes, Rules
from spikedrf.first_layer.joint_nodes import (
    JointNodes,
    four_weights,
    joint_nodes,
    nearest_pole,
    spectral_nodes,
)
from spikedrf.first_layer.latent_resolvent import LatentLaw, Space
from spikedrf.first_layer.matrix_resolvent import MatrixResolvent
from spikedrf.first_layer.positive_nodes import contour
from spikedrf.first_layer.residual import residual_law
from spikedrf.first_layer.trained_bulk import TrainedBulk

Floats = NDArray[np.float64]
Numbers = NDArray[Any]

# For spectra: candidates of the two rules for nodes, on each axis, height of the contours in
# log(sigma), and the least weight that is part of the spectrum.
_CANDIDATES, _NEAR, _LEAST = (20, 24), 0.25, 1e-7

_WHITE = Space(np.ones(1), np.ones(1), np.ones(1), np.ones((1, 1)))

# Relative steps of central differences by parameters of the step: what is differenced is exact to
# rounding.
_DIFFERENCE = 1e-4


class JointBulk(TrainedBulk):
    r"""The bulk of trained networks whose groups do not commute, by common nodes.

    Rows of group k have, given the samples of the step, the covariance::

        Sigma_k = (I + a_k M)^2 + b_k S,     a_k = eta u_k h2,
                                             b_k = (eta u_k)^2 (chk - h2^2)/alpha0

    with `TrainedBulk`'s M and S. What the theory asks of each group alone is exact; what it asks of
    several together is known in closed form too (`MatrixResolvent`), and the common nodes that
    stand for it are as near as such nodes can be, see `joint_nodes`.

    Parameters
    ----------
    g, h2, slope_variance, u, eta, alpha0, noise, shift
        As for `TrainedBulk`.
    """

    def forms(self, x: Any, group: int = 0) -> Numbers:
        """See `Bulk.forms`: one group alone has a closed form."""
        u, (eta, alpha0, noise, shift) = self.key[..., [group]], np.moveaxis(self.key, -1, 0)[-4:]
        alone = TrainedBulk(self.g, self.h2, self.slope_variance, u, eta, alpha0, noise, shift)
        return alone.forms(x)

    def nodes(self, rtol: float = 1e-8) -> BulkNodes:
        """Return the bulk by its nodes."""
        *shape, width = self.key.shape
        rules = self.rules(self.key.reshape(-1, width), rtol)
        weight = rules.weight[:, :, 0].reshape(4, *shape, -1)
        value = rules.value[:, 0].reshape(*shape, -1, width - 4)
        error = np.asarray(rules.accuracy).reshape(shape)[()]
        return BulkNodes(value, weight[0], weight[1], weight[2], weight[3], accuracy=error)

    def rules(
        self, key: Floats, rtol: float, wrt: Sequence[str] = (), *, everywhere: bool = False
    ) -> Rules:
        """See `Bulk.rules`: one rule for each bulk, two for complex x."""
        if everywhere:
            return self._spectral_rules(key)
        of = self.g, self.h2, max(self.slope_variance - self.h2**2, 0.0)
        keys = [tuple(row) for row in key.tolist()]
        found = [_nodes(*of, row) for row in keys]
        most = max((nodes.trace.size for nodes in found), default=1)
        groups = key.shape[1] - 4
        value = np.ones((len(key), 1, most, groups))
        weight = np.zeros((4, len(key), 1, most))
        slopes = {name: np.zeros_like(weight) for name in wrt}
        for i, nodes in enumerate(found):
            size = nodes.trace.size
            value[i, 0, :size] = nodes.value
            weight[:, i, 0, :size] = four_weights(nodes.trace, nodes.inside, nodes.spiked)
            for name, slope in slopes.items():
                slope[:, i, 0, :size] = four_weights(*_moves(*of, keys[i], name), nodes.spiked)
        return Rules(value, weight, slopes, np.array([nodes.accuracy for nodes in found]))

    def _spectral_rules(self, key: Floats) -> Rules:
        """Make rules for complex x, which are right for each group alone too."""
        of = self.g, self.h2, max(self.slope_variance - self.h2**2, 0.0)
        found = []
        for row in key:
            near = _nodes(*of, tuple(row.tolist()))
            bulk = JointBulk(self.g, self.h2, self.slope_variance, row[:-4], *row[-4:])
            x = [
                contour(values[near.trace > _LEAST].min(), values[near.trace > _LEAST].max(), _NEAR)
                for values in near.value.T
            ]
            forms = [bulk.forms(at, k) for k, at in enumerate(x)]
            resolvent = _resolvent(*of, tuple(row.tolist()))
            found += [spectral_nodes(resolvent, near, x, forms, n) for n in _CANDIDATES]
        most = max((len(value) for value, _ in found), default=1)
        value = np.ones((len(found), most, key.shape[1] - 4))
        weight = np.zeros((4, len(found), most))
        for i, (nodes, seen) in enumerate(found):
            value[i, : len(nodes)], weight[:, i, : len(nodes)] = nodes, seen
        shape = len(key), len(_CANDIDATES), most
        return Rules(value.reshape(*shape, -1), weight.reshape(4, *shape))


@lru_cache(maxsize=256)
def _nodes(g: Activation, h2: float, chi2: float, key: tuple[float, ...]) -> JointNodes:
    return joint_nodes(_resolvent(g, h2, chi2, key))


def _resolvent(g: Activation, h2: float, chi2: float, key: tuple[float, ...]) -> MatrixResolvent:
    """Return the resolvent of the bulk with this key: u_k, eta, alpha0, noise, shift."""
    *u, eta, alpha0, noise, shift = key
    e = eta * np.array(u)
    a, b = e * h2, e**2 * chi2 / alpha0
    of = residual_law(g, shift, noise, nearest_pole(a, b, alpha0), 1.0)
    one, first, second = of.weight
    law = LatentLaw(of.res, one, first[None], second[None, None], of.reach)
    t1, s2 = float(first @ of.res), float(one @ of.res**2)
    nu = float(np.sqrt(t1**2 + s2 / alpha0))
    gamma = np.array([t1 / nu if nu > 0.0 else 0.0])
    return MatrixResolvent(a, b, alpha0, law, _WHITE, gamma, nu)


def _moves(
    g: Activation, h2: float, chi2: float, key: tuple[float, ...], name: str
) -> tuple[Floats, Floats]:
    """Return how the weights of the trace and of the forms move with a parameter of the step."""
    nodes = _nodes(g, h2, chi2, key)
    place = len(key) - 4 + ("eta", "alpha0", "noise").index(name)
    at = key[place]
    if np.isinf(at):
        return 0.0 * nodes.trace, 0.0 * nodes.inside
    step = _DIFFERENCE * (abs(at) or 1.0)
    # Only the square of the noise counts.
    sides = [abs(at + step), abs(at - step)] if name == "noise" else [at + step, at - step]
    moved = [_resolvent(g, h2, chi2, (*key[:place], side, *key[place + 1 :])) for side in sides]
    return nodes.moves(moved[0], moved[1], 2.0 * step)
