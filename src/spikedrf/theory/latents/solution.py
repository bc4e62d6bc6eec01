"""A `Solution` in latent coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import Activation, resolve
from spikedrf.first_layer.model import Spike
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.frame import Frame, frame_of
from spikedrf.inputs.layer_on_inputs import layers_on_inputs
from spikedrf.inputs.population import Population, Rows, check_init, drawn_as, population
from spikedrf.parameters import real_array
from spikedrf.theory.latents.solve import Learned, MadeLayers, Solved, solve_points
from spikedrf.theory.solution import Solution

Floats = NDArray[np.float64]

# The accuracy to which it is known what a simpler fit of lengths changes.
_ROUGHLY = 1e-7


def check_values(
    alpha: ArrayLike, beta: ArrayLike, lam: ArrayLike, noise: ArrayLike
) -> dict[str, Floats]:
    """Hold the parameters of the points against their ranges.

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong kind or out of range; the message names it.
    """
    return {
        "alpha": real_array("alpha", alpha, minimum=0.0, exclusive=True, infinite=True),
        "beta": real_array("beta", beta, minimum=0.0, exclusive=True),
        "lam": real_array("lam", lam, minimum=0.0),
        "noise": real_array("noise", noise, minimum=0.0),
    }


def refuse_beyond_latents(step: Any, bulk: str | None) -> None:
    """Refuse what section 12 has not been combined with.

    Raises
    ------
    ValueError
        The message names the argument.
    """
    producer = producer_of(step)
    if bulk in (None, "isotropic") or (bulk == "network" and producer.trains):
        return
    if bulk == "network" and producer.parameters.get("steps", 1) > 1:
        raise ValueError(
            "bulk='network' after several steps is known for one value of u, white inputs and a "
            "target of one direction: use bulk='isotropic' or simulate(model='network')"
        )
    raise ValueError(
        f"bulk must be 'isotropic', or 'network' after a GradientStep, with inputs, a target of "
        f"several directions or init='gaussian', got {bulk!r}"
    )


def solve_latents(
    values: dict[str, Floats],
    sigma: Activation,
    population: Population,
    step: Any,
    rows: Rows,
    rtol: float,
    threads: int | None,
    learned: Learned | None = None,
) -> Solution:
    """Solve section 12 and give the answer the shape of the call; see `theory.solve`."""
    solve = partial(
        solve_points, values, sigma, population, step, rows,
        threads=threads, learned=learned, set_aside=True,
    )  # fmt: skip
    solved = solve(rtol=rtol)

    def solve_roughly(made: MadeLayers) -> Solved:
        return solve(rtol=max(rtol, _ROUGHLY), made=made)

    parameters: dict[str, Any] = dict(values)
    more: dict[str, Any] = {}
    signs = learned is not None and learned.signs
    if learned is not None:
        parameters |= vars(learned.loss)
        more = {"loss": learned.loss.name, "labels": "sign" if signs else "real"}
    if signs:
        more |= {name: solved.arrange(name) for name in ("margin", "train_margin")}
    producer = producer_of(step)
    parameters |= producer.steered
    get = solved.arrange
    scalar = not solved.shape
    theta, psi = columns_of(solved)
    status, success = get("status"), get("status") == 0
    by_class = population.mixture is not None
    return Solution(
        test_error=get("test"),
        train_error=get("train"),
        excess_error=get("excess"),
        norm=get("norm"),
        m=get("m"),
        theta=theta,
        psi=psi,
        q1=get("q1"),
        q2=get("q2"),
        V1=get("V1"),
        V2=get("V2"),
        success=bool(success) if scalar else success,
        status=int(status) if scalar else status,
        nit=int(get("nit")) if scalar else get("nit"),
        residual=get("residual"),
        nodes=int(get("nodes")) if scalar else get("nodes"),
        quadrature_error=get("error"),
        spike=spike_of(solved.frames, solved.which, solved.shape),
        test_loss=get("test_loss"),
        train_loss=get("train_loss"),
        class_error=get("by_class") if by_class else None,
        class_error_rate=get("wrong") if population.signs or (signs and by_class) else None,
        proportions=_proportions(population) if by_class else None,
        inputs=population.mixture or population.covariance,
        target=population.target.name,
        init=rows.name,
        bulk="network" if rows.network else "isotropic",
        bulk_error=_bulk_error(solved, solve_roughly),
        parameters=parameters,
        _activation=sigma,
        _solved=solved,
        **more,
    )


def _bulk_error(solved: Solved, solve: Callable[[MadeLayers], Solved]) -> Any:
    """Return how far common nodes are from the bulks, and what a simpler fit of lengths changes."""
    layers = [frame.layer for frame in solved.frames]
    error = np.array([0.0 if of.trained is None else of.trained.accuracy for of in layers])
    if not error.any():
        return 0.0
    total = error[solved.which]
    rough = [None if of.trained is None else of.trained.rough for of in layers]
    if any(rough):
        made = [
            layer if nodes is None else replace(layer, trained=nodes)
            for layer, nodes in zip(layers, rough, strict=True)
        ]
        other = solve((made, solved.which.reshape(solved.shape)))
        with np.errstate(invalid="ignore"):  # infinite errors stay as they are
            moved = np.abs(other.values["test"] / solved.values["test"] - 1.0)
        total = total + np.where(np.isfinite(moved), moved, 0.0)
    return total.reshape(solved.shape)[()]


def _proportions(population: Population) -> Floats:
    out = np.zeros(population.classes)
    out[population.which] = population.proportions
    return out


def columns_of(solved: Solved) -> tuple[Any, Any]:
    """Return ``theta`` along the spikes, and ``psi`` along the other latents of the frame.

    Where there is one spike direction, or one other latent, they have no axis for it.
    """
    columns, frames = solved.values["columns"], solved.frames
    beside = (frame.size - frame.spikes for frame in frames)
    shape = columns.shape[:2]
    theta = np.zeros((*shape, max((frame.spikes for frame in frames), default=1) or 1))
    psi = np.zeros((*shape, max(beside, default=1) or 1))
    for index, frame in enumerate(frames):
        at, spikes = solved.which == index, frame.spikes
        theta[at, :, :spikes] = columns[at, :, :spikes]
        psi[at, :, : frame.size - spikes] = columns[at, :, spikes : frame.size]
    found = (part[:, :, 0] if part.shape[2] == 1 else part for part in (theta, psi))
    theta, psi = (part.reshape(solved.shape + part.shape[1:]) for part in found)
    return theta, psi


def spike_of(frames: list[Frame], which: NDArray[np.int64], shape: tuple[int, ...]) -> Spike:
    """Return the spikes as they broadcast; the alignment has an axis for several latents."""
    same = len(frames) == 1
    index = np.zeros((), dtype=np.int64) if same else which.reshape(shape)
    span = max(frame.layer.r.shape[1] for frame in frames)

    def gather(name: str, axis: int | None = None) -> Any:
        value = [getattr(frame.layer, name) for frame in frames]
        if axis is not None:
            # Layers of fewer directions have zeros along the others.
            fill = [[(0, 0), (0, 0)] for _ in value]
            for widths, part in zip(fill, value, strict=True):
                widths[axis] = (0, span - part.shape[axis])
            value = [np.pad(part, widths) for part, widths in zip(value, fill, strict=True)]
        return np.array(value)[index]

    gamma = np.clip(gather("gamma", 0), -1.0, 1.0)
    gamma = gamma[..., 0] if gamma.shape[-1] == 1 else gamma
    r, c, pi = gather("r", 1), gather("c"), gather("pi")
    if span > 1:
        return Spike(r, c, gamma, pi, span)
    r, gamma = r[..., 0], gamma[..., 0] if frames[0].population.latents == 1 else gamma[..., 0, :]
    if r.shape == (1,):
        return Spike(r[0], c[0], gamma)
    return Spike(r, c, gamma, None if r.shape[-1] == 1 else pi)


def spike_on(
    step: StepLike,
    activation: Any = "tanh",
    target: Any = "tanh",
    noise: ArrayLike = 0.0,
    inputs: Any = None,
    init: str = "sphere",
) -> Spike:
    """Return the spike that a step leaves on inputs, as `GradientStep.spike` on white ones.

    Raises
    ------
    TypeError, ValueError
        As `theory.solve`.
    """
    law = population(inputs, target)
    sigma = resolve(activation, "activation")
    values = real_array("noise", noise, minimum=0.0)
    layers, which = layers_on_inputs(step, sigma, law, values, check_init(drawn_as(init)))
    frames = [frame_of(law, layer) for layer in layers]
    return spike_of(frames, which.ravel(), which.shape)
