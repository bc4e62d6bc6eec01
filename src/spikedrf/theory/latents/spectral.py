"""The first layer whose spectrum is asked for, on inputs with latents."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikedrf.activations import FunctionLike, resolve
from spikedrf.first_layer.bulk import Bulk, BulkNodes, Isotropic
from spikedrf.first_layer.model import FirstLayer, Spike
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.layer_on_inputs import latents_of, layers_on_inputs
from spikedrf.inputs.population import Inputs
from spikedrf.multi_index import MultiIndex
from spikedrf.parameters import real_array


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
        As `theory.solve`; also if classes differ along a spike, where no spectrum is known, or a
        step on a covariance has axes.
    """
    law, rows = latents_of(inputs, target, init, step, None)
    if law is None:
        return step, target
    own = producer_of(step).own_bulk if bulk is None else bulk
    if own != "isotropic":
        raise ValueError(f"bulk must be 'isotropic' with inputs of their own, got {own!r}")
    sigma = resolve(activation, "activation")
    level = real_array("noise", noise, minimum=0.0)
    layers, which = layers_on_inputs(step, sigma, law, level, rows)
    for layer in layers:
        seen = law.means @ layer.gamma.T if layer.r.any() else np.zeros(1)
        if np.abs(seen).max() > 1e-12:
            raise ValueError(
                "inputs: spectra are known for classes that differ beside the spike only; "
                "simulate_spectrum takes any"
            )

    if any(layer.r.shape[1] > 1 for layer in layers):
        raise ValueError(
            "step: spectra are known for spikes along one direction, and these span a plane; "
            "simulate_spectrum takes any"
        )

    def gather(name: str) -> Any:
        return np.array([getattr(layer, name) for layer in layers])[which]

    # The alignment with the first direction, for the record: eigenvalues do not know of labels.
    gamma = np.clip(gather("gamma")[..., 0, 0], -1.0, 1.0)
    spike = Spike(gather("r")[..., 0], gather("c"), gamma, gather("pi"))
    nodes: Bulk = Isotropic(gather("c"))
    if law.values.size > 1:
        if which.ndim:
            raise ValueError(
                f"step must be a single one with a covariance of the inputs, got axes of shape "
                f"{which.shape}"
            )
        w = law.dimensions
        nodes = BulkNodes(gather("sigma").T, w, w, 0.0 * w, w, name="isotropic")
    return FirstLayer.along_one(spike, nodes), "identity"
