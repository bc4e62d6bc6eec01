"""A first layer on inputs with latents: the spike, bulk and lengths that its neurons have there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.neurons import LayerOnInputs, finished
from spikedrf.inputs.population import (
    Population,
    Rows,
    beyond_white,
    drawn_as,
    population,
    rows_of,
)
from spikedrf.parameters import broadcast_shape

Floats = NDArray[np.float64]


def layer_on_inputs(
    step: StepLike,
    sigma: Activation,
    law: Population,
    noise: float,
    rows: Rows | str = "sphere",
) -> LayerOnInputs:
    r"""Return the first layer that a step, or none, leaves on these inputs.

    One gradient step on ``n0 = alpha0 d`` samples, with ``b = E[res z]`` in the latents,
    ``res = y - ubar h0 + noise N(0, 1)``, ``s0 = E res``, ``s2 = E res^2``::

        nu^2    = |Omega b|^2 + (s2/alpha0) Tr Omega^2/d,        r_k = eta u_k h1 nu
        v       = (Omega b + sqrt(s2/alpha0) Omega N(0, I/d))/nu
        Sigma_k = Omega (1 + eta u_k s0 h2 Omega)^2 + (eta u_k)^2 (s2 chk/alpha0) Omega^2
        ve_k    = 2 Tr Sigma_k^2/(d c_k^2), on the sphere less 2.

    With ``rows.network`` rows have the correlations of sections 10 and 14 instead, see
    `trained_nodes`. A `Spike` has ``Sigma_k = c_k Omega`` and what of ``v`` is not in the latents
    is spread evenly.

    Parameters
    ----------
    step : GradientStep, Spike or None
        A single one: no parameter but ``u``, ``pi``, ``r``, ``c`` has axes. The alignment ``gamma``
        of a spike has one for each direction of the target, or of the latents, if there are more
        than one.
    sigma : Activation
    law : Population
    noise : float
    rows : Rows or {"sphere", "gaussian"}
        Rows of the layer before the step, and whether they are to be the trained network's.

    Raises
    ------
    TypeError, ValueError
        If the step is of the wrong kind or is not single, if it overflows, or if the moments of the
        covariance that it needs are infinite.

    Notes
    -----
    Source: theory.md, section 12.
    """
    rows = rows if isinstance(rows, Rows) else Rows(rows)
    producer = producer_of(step)
    neurons = producer.neurons(sigma, law, noise)
    J = law.shares.shape[0]
    highest = neurons.highest * (2.0 if rows.init == "gaussian" or J > 1 else 1.0)
    if law.covariance is not None and J > 1 and law.covariance.moments <= highest:
        raise ValueError(
            f"inputs: the mean of eigenvalue^{highest:g} over the dimensions or the target, which "
            f"is needed here, is infinite for this power law without end; give dimension= to "
            f"Covariance.power_law"
        )
    layer = finished(neurons, law, rows.init)
    if not rows.network or sigma.linear:  # a step on linear features leaves their bulk as it was
        return layer
    return replace(
        layer, trained=producer.trained(sigma, law, noise, layer.gamma[0], layer.c, rows)
    )


def layers_on_inputs(
    step: StepLike,
    sigma: Activation,
    law: Population,
    noise: Floats,
    rows: Rows | str,
) -> tuple[list[LayerOnInputs], NDArray[np.int64]]:
    """Return the first layers of a step with axes, and which of them belongs where.

    Parameters
    ----------
    step, sigma, law, rows
        As for `layer_on_inputs`; the parameters of the step broadcast.
    noise : ndarray
        Broadcasts against them; only a gradient step depends on it.

    Returns
    -------
    layers : list of LayerOnInputs
        The distinct ones.
    which : ndarray of int
        Index of the layer, of the broadcast shape of the parameters.

    Raises
    ------
    TypeError, ValueError
        As `layer_on_inputs`, and if shapes do not broadcast.
    """
    producer = producer_of(step)
    given = dict(producer.varying)
    if not given:
        return [layer_on_inputs(step, sigma, law, 0.0, rows)], np.zeros((), dtype=np.int64)
    in_rows = set(producer.per_group)
    if law.directions > 1 or np.ndim(given.get("gamma", 0.0)) > 1:
        in_rows.add("gamma")  # one for each direction
    if producer.sees_labels:
        given["noise"] = noise
    parts = {
        name: np.atleast_1d(np.asarray(value, dtype=np.float64))
        if name in in_rows
        else np.asarray(value, dtype=np.float64)[..., None]
        for name, value in given.items()
    }
    shape = broadcast_shape({name: part.shape[:-1] for name, part in parts.items()})
    points = np.concatenate(
        [np.broadcast_to(p, (*shape, p.shape[-1])) for p in parts.values()], axis=-1
    )
    points = points.reshape(-1, points.shape[-1]) + 0.0
    distinct, which = np.unique(points, axis=0, return_inverse=True)
    ends = np.cumsum([part.shape[-1] for part in parts.values()])[:-1]
    layers = []
    for row in distinct:
        values: dict[str, Any] = dict(zip(parts, np.split(row, ends), strict=True))
        values = {n: v if n in in_rows else float(v[0]) for n, v in values.items()}
        level = values.pop("noise", 0.0)
        layers.append(layer_on_inputs(producer.moved(values), sigma, law, level, rows))
    return layers, which.reshape(shape).astype(np.int64)


def latents_of(
    inputs: Any, target: Any, init: Any, step: StepLike, bulk: str | None
) -> tuple[Population | None, Rows]:
    """Return the population where latent coordinates are needed, and the neurons' rows.

    None where a line will do. They are needed, beside `beyond_white`, for a first layer whose
    spikes may span several directions.

    Raises
    ------
    TypeError, ValueError
        As `beyond_white`, and if the step is none.
    """
    producer = producer_of(step)
    asked = producer.own_bulk if bulk is None else bulk
    own = asked if producer.trains else None
    if step is None:  # without a gradient no row has a gain
        init = drawn_as(init)
    law = beyond_white(inputs, target, init, own)
    if law is None and producer.several_directions:
        law = population(inputs, target)
    return law, rows_of(init, own)
