"""The first layer whose spectrum is asked for, on inputs with latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import FunctionLike, resolve
from spikedrf.first_layer.bulk import Bulk, BulkNodes, Isotropic, Rules
from spikedrf.first_layer.model import FirstLayer, Seen, Spike
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.frame import Frame, frame_of
from spikedrf.inputs.layer_on_inputs import latents_of, layers_on_inputs
from spikedrf.inputs.population import Inputs
from spikedrf.multi_index import MultiIndex
from spikedrf.parameters import real_array
from spikedrf.theory.latents.core import Shape

Floats = NDArray[Any]
Indices = NDArray[np.int64]


def layer_on(
    inputs: Inputs,
    init: str | None,
    step: StepLike,
    activation: FunctionLike,
    target: FunctionLike | MultiIndex,
    noise: ArrayLike,
    bulk: str | None,
) -> tuple[Any, Any]:
    """Return the first layer as the theory of white inputs takes it, and a target for it.

    The eigenvalues of features know of the inputs what neurons see along their spike, and the bulk.
    On white inputs with one direction of the target these are ``step`` and ``target`` themselves.

    Raises
    ------
    TypeError, ValueError
        As `theory.solve`; also if a step on a covariance has axes, or one on classes along whose
        spikes these differ.
    """
    law, rows = latents_of(inputs, target, init, step, None)
    if law is None:
        return step, target
    own = producer_of(step).own_bulk if bulk is None else bulk
    if own != "isotropic":
        raise ValueError(
            f"bulk must be 'isotropic' for spectra with inputs, a target of several directions, "
            f"several steps of several u or init='gaussian', got {own!r}"
        )
    sigma = resolve(activation, "activation")
    level = real_array("noise", noise, minimum=0.0)
    layers, which = layers_on_inputs(step, sigma, law, level, rows)
    spans = max(layer.r.shape[1] for layer in layers)
    frames = [frame_of(law, layer) for layer in layers]
    seen = _seen(frames[0], spans)
    along = np.array([_seen(frame, spans).means[:, :spans] for frame in frames])
    if which.ndim and np.abs(along - along[0]).max() > 1e-12:
        raise ValueError(
            f"step must be a single one with classes that differ along the spike, got axes of "
            f"shape {which.shape}"
        )

    def gather(name: str) -> Any:
        return np.array([getattr(layer, name) for layer in layers])[which]

    # The alignment with the first direction, for the record: eigenvalues do not know of labels.
    r, gamma = (
        np.array([_wide(getattr(layer, name), axis, spans) for layer in layers])[which]
        for name, axis in (("r", 1), ("gamma", 0))
    )
    gamma = np.clip(gamma, -1.0, 1.0)
    c, pi = gather("c"), gather("pi")
    if spans > 1:
        spike = Spike(r, c, gamma, pi, spans)
    else:
        spike = Spike(r[..., 0], c, gamma[..., 0, 0], pi)
    nodes: Bulk = Isotropic(c)
    if law.values.size > 1:
        if which.ndim:
            raise ValueError(
                f"step must be a single one with a covariance of the inputs, got axes of shape "
                f"{which.shape}"
            )
        nodes = _nodes(frames[0], spans)
    if spans > 1:
        return FirstLayer(r, c, pi, gamma[..., :1], nodes, spike, seen=seen), "identity"
    return replace(FirstLayer.along_one(spike, nodes), seen=seen), "identity"


def _wide(array: Floats, axis: int, spans: int) -> Floats:
    """Return a layer's array over its spikes' directions with zeros for those that it lacks."""
    lacking = [(0, 0), (0, 0)]
    lacking[axis] = (0, spans - array.shape[axis])
    return np.pad(array, lacking)


def _beside(frame: Frame) -> Indices:
    """Return the latents beside the spike in which classes differ."""
    shape = Shape.of(frame)
    return shape.order[frame.spikes : shape.latents[1]]


def _seen(frame: Frame, spans: int) -> Seen:
    """Return what features see; where spikes are missing any direction may be called one."""
    along = _wide(frame.means[:, : frame.spikes], 1, spans)
    means = np.concatenate([along, frame.means[:, _beside(frame)]], axis=1)
    spread = frame.spread if (frame.spread > 0.0).any() else None
    return Seen(frame.population.proportions, means, spread, spans)


def _nodes(frame: Frame, spans: int) -> NodesOfLatents:
    """Return the bulk, with weights for the spikes and for where classes differ."""
    kept = np.concatenate([np.arange(frame.spikes), _beside(frame)])
    count = kept.size - frame.spikes
    at = np.concatenate([np.arange(frame.spikes), np.arange(spans, spans + count)])
    trace, size = frame.nodes.trace[0], spans + count
    weight = np.zeros((trace.size, size, size))
    weight[:, at[:, None], at] = frame.nodes.A[0][:, kept][..., kept]
    for missing in range(frame.spikes, spans):
        weight[:, missing, missing] = trace
    pairs = np.ascontiguousarray(weight[(slice(None), *np.triu_indices(size))].T)
    own = weight[:, 0, 0]
    of_one = (own, 0.0 * own, own)
    return NodesOfLatents(frame.nodes.value[0], trace, *of_one, name="isotropic", pairs=pairs)


@dataclass(frozen=True, eq=False)
class NodesOfLatents(BulkNodes):
    """A bulk by its nodes, with the weights of several directions.

    Attributes
    ----------
    pairs : ndarray, shape (P, J)
        Of the pairs (l, m), l <= m, of directions.
    """

    pairs: Floats = field(default_factory=lambda: np.empty(0))

    def rules(
        self, key: Floats, rtol: float, wrt: Sequence[str] = (), *, everywhere: bool = False
    ) -> Rules:
        """See `Bulk.rules`."""
        weight = np.concatenate([self.trace[None], self.pairs])[:, None, None]
        return Rules(
            np.repeat(self.value[None, None], len(key), axis=0),
            np.repeat(weight, len(key), axis=1),
        )
