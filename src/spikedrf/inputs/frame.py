"""The latents of one first layer, turned so that the spikes come first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.inputs.neurons import LatentLayer
from spikedrf.inputs.population import Population

Floats = NDArray[Any]

# What is left of a direction beside others is another direction, if it is longer than this.
_SHORTEST = 1e-7


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
    A : ndarray, shape (J, L', L')
        Weights of the bulk's nodes for the latents; they sum to the unit matrix.
    r : ndarray, shape (K, R)
        Spikes of the groups.
    """

    population: Population
    layer: LatentLayer
    spikes: int
    labels: int
    axes: Floats
    turn: Floats
    means: Floats
    A: Floats
    r: Floats

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


def frame_of(population: Population, layer: LatentLayer) -> Frame:
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
    return Frame(
        population=population,
        layer=layer,
        spikes=len(used),
        labels=labels,
        axes=cube,
        turn=turn,
        means=population.means @ turn.T,
        A=np.einsum("lja,mja->jlm", cube, cube),
        r=np.ascontiguousarray(layer.r[:, used]),
    )
