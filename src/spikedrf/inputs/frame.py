"""The latents of one first layer, turned so that the spikes come first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.inputs.neurons import LayerOnInputs
from spikedrf.inputs.population import Population
from spikedrf.inputs.trained_nodes import TrainedNodes

Floats = NDArray[Any]

# What is left of a direction beside others is another direction, if it is longer than this.
_SHORTEST = 1e-7


# A length of which the latents leave less than this part is theirs.
_EXPLAINED = 1e-9


@dataclass(frozen=True, eq=False)
class FrameNodes:
    """The bulk by nodes, in R rules that take turns.

    Attributes
    ----------
    value : ndarray, shape (R, J, K)
    trace : ndarray, shape (R, J)
    A : ndarray, shape (R, J, L', L')
        Weights for the latents; they sum to the unit matrix.
    lengths : ndarray, shape (R, J, L' + K, K), optional
        Weights of the lengths' columns beside the latents' and beside each other, see
        `csrc/equations/bulk.hpp`; None where they are independent of the bulk.
    left : ndarray, shape (K,), optional
        What is independent of the bulk of a variance of one.
    """

    value: Floats
    trace: Floats
    A: Floats
    lengths: Floats | None = None
    left: Floats | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    r"""Orthonormal latents: the spikes, then what labels depend on, then the rest of the means.

    Attributes
    ----------
    population, layer
        What they belong to.
    spikes : int
        Number R of directions that the spikes span, 0 if no neuron has one.
    labels : int
        So many latents after these complete what labels depend on.
    axes : ndarray, shape (L', J, L + F)
        The frame on the axes of the eigenspaces.
    turn : ndarray, shape (L', L)
        Components of the population's latents in the frame.
    means : ndarray, shape (C, L')
        Means of the classes in the frame.
    nodes : FrameNodes
        The bulk.
    r : ndarray, shape (K, R)
        Spikes of the groups.
    tilt : ndarray, shape (K, L')
        How much lengths of neurons move with their overlaps on the latents: 1/d times the
        covariance, over that of the overlaps. The columns of the latents have so much of those of
        lengths in them.
    spread : ndarray, shape (K,)
        d times the variance of what is left of a length.
    """

    population: Population
    layer: LayerOnInputs
    spikes: int
    labels: int
    axes: Floats
    turn: Floats
    means: Floats
    nodes: FrameNodes
    r: Floats
    tilt: Floats
    spread: Floats

    @property
    def size(self) -> int:
        """Number L' of latents."""
        return int(self.means.shape[1])

    def scalar(self, i: int) -> tuple[float, Floats, float]:
        """Return offset, slopes and width of what the target sees in class i.

        For labels that are a function of one direction: its argument is ``offset + slopes . z +
        width zeta``, z along the spikes and zeta beside them, all N(0, 1).
        """
        along = np.ascontiguousarray(self.turn[: self.spikes, 0])
        across = float(self.turn[self.spikes, 0]) if self.labels else 0.0
        return float(self.population.means[i, 0]), along, across


def frame_of(population: Population, layer: LayerOnInputs) -> Frame:
    """Turn the latents."""
    R, J, A = layer.v.shape
    flat = population.orthonormal(A - population.latents).reshape(population.latents, -1)
    used = [a for a in range(R) if layer.r[:, a].any() and layer.v[a].any()]
    basis = [layer.v[a].ravel() for a in used]
    labels = 0
    for i, direction in enumerate(flat):
        left = direction.copy()
        for _ in range(2):
            for b in basis:
                left -= (left @ b) * b
        length = float(np.linalg.norm(left))
        if length > _SHORTEST:
            basis.append(left / length)
            labels += i < population.directions and population.numbers is None
    frame = np.array(basis)
    turn = frame @ flat.T
    cube = frame.reshape(len(frame), J, A)
    if layer.trained is None:
        weights = np.einsum("lja,mja->jlm", cube, cube)[None]
        nodes = FrameNodes(layer.sigma.T[None], population.dimensions[None], weights)
        tilt, spread = np.zeros((layer.pi.size, len(frame))), layer.ve
    else:
        of = np.concatenate([layer.v.reshape(1, -1), flat])
        nodes, tilt, spread = _trained(layer.trained, frame @ np.linalg.pinv(of))
    return Frame(
        population=population,
        layer=layer,
        spikes=len(used),
        labels=labels,
        axes=cube,
        turn=turn,
        means=population.means @ turn.T,
        nodes=nodes,
        r=np.ascontiguousarray(layer.r[:, used]),
        tilt=tilt,
        spread=spread,
    )


def _trained(trained: TrainedNodes, basis: Floats) -> tuple[FrameNodes, Floats, Floats]:
    """Turn the nodes, and take out of the lengths what the latents explain.

    Of a length, ``eps = tilt . <w~, e> + rest``, the rest alone is a column of its own; for large
    batches there is none, and lengths and overlaps are one and the same.
    """
    A = basis @ trained.forms @ basis.T
    cross = basis @ trained.cross  # (R, J, L', K)
    value, last = trained.value, -1
    spread = np.einsum("jlm,jk->klm", A[last], value[last])
    shared = np.einsum("jlk,jk->kl", cross[last], value[last])
    tilt = np.linalg.solve(spread, shared[:, :, None])[:, :, 0]
    rest = trained.variance - np.einsum("kl,kl->k", tilt, shared)
    rest = np.where(rest > _EXPLAINED * trained.variance, rest, 0.0)
    if not rest.any():
        return FrameNodes(value, trained.trace, A), tilt, rest
    inside = np.einsum("rjlm,km->rjlk", A, tilt)
    own = trained.own - np.einsum("kl,rjli->rjki", tilt, cross)
    own = own - np.einsum("il,rjlk->rjki", tilt, cross) + np.einsum("kl,rjli->rjki", tilt, inside)
    cross = cross - inside
    scale = np.where(rest > 0.0, 1.0 / np.sqrt(np.where(rest > 0.0, rest, 1.0)), 0.0)
    cross, own = cross * scale, own * scale[:, None] * scale
    # What of it is linear in the rows counts through their covariance.
    left = 1.0 - np.einsum("jkk,jk->k", own[last], value[last])
    lengths = np.concatenate([cross, own], axis=2)
    return FrameNodes(value, trained.trace, A, lengths, np.maximum(left, 0.0)), tilt, rest
