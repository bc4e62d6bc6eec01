"""The latents of one first layer, turned so that the spike comes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.inputs.latent_layer import LatentLayer
from spikedrf.inputs.population import Population

Floats = NDArray[Any]

# What is left of a direction beside others is another direction, if it is longer than this.
_SHORTEST = 1e-7


@dataclass(frozen=True, eq=False)
class Frame:
    r"""Orthonormal latents: the spike, then what the labels depend on, then the rest of the means.

    Attributes
    ----------
    population, layer
        What they belong to.
    spikes : int
        1, or 0 if no neuron has a spike.
    labels : int
        So many latents after the spike complete what labels depend on.
    turn : ndarray, shape (L', L)
        Components of the population's latents in the frame.
    means : ndarray, shape (C, L')
        Means of the classes in the frame.
    A : ndarray, shape (J, L', L')
        Weights of the bulk's nodes for the latents; they sum to the unit matrix.
    r : ndarray, shape (K,)
        Spike strengths, 0 without a spike.
    """

    population: Population
    layer: LatentLayer
    spikes: int
    labels: int
    turn: Floats
    means: Floats
    A: Floats
    r: Floats

    @property
    def size(self) -> int:
        """Number L' of latents."""
        return int(self.means.shape[1])


def frame_of(population: Population, layer: LatentLayer) -> Frame:
    """Turn the latents."""
    axes = population.orthonormal()
    L, J, _ = axes.shape
    flat = axes.reshape(L, -1)
    spiked = bool(layer.r.any() and layer.v.any())
    basis = [layer.v.ravel()] if spiked else []
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
    cube = frame.reshape(len(frame), J, L + 1)
    return Frame(
        population=population,
        layer=layer,
        spikes=int(spiked),
        labels=labels,
        turn=turn,
        means=population.means @ turn.T,
        A=np.einsum("lja,mja->jlm", cube, cube),
        r=layer.r if spiked else np.zeros_like(layer.r),
    )
