"""`Transfer`: the first layer of one task, for the readout of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikedrf.activations import Activation, FunctionLike
from spikedrf.first_layer.model import FirstLayer, Producer, Spike, only_isotropic, plain, show
from spikedrf.first_layer.producers import producer_of
from spikedrf.inputs.neurons import Neurons
from spikedrf.inputs.population import Population
from spikedrf.parameters import real_array


@dataclass(frozen=True, eq=False)
class Transfer(Producer):
    r"""A first layer that was trained on another target than the readout's.

    The step is taken on labels ``g'(<theta', x>) + noise' N(0, 1)``; the readout learns
    ``g(<theta, x>)`` with ``<theta, theta'> = overlap``. What of the spike is not along ``theta'``
    is random, so that its alignment with ``theta`` is ``overlap`` times that with ``theta'``.

    Parameters
    ----------
    step : GradientStep or list of these
        Steps on the first task; whatever else leaves one spike will do.
    target : str or callable
        Function ``g'`` of the first task.
    noise : float
        Standard deviation of its label noise, >= 0.
    overlap : float or array_like
        Of the two directions, in [-1, 1].

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong kind or out of range.

    Notes
    -----
    Source: theory.md, sections 2 and 3. A bad step is worse than none: *negative transfer*.

    Examples
    --------
    >>> from spikedrf import GradientStep, Transfer, theory
    >>> step = Transfer(GradientStep(2.0, 4.0), target="tanh", noise=0.1, overlap=[0.0, 0.8])
    >>> theory.solve(1.0, lam=0.1, target="sin", noise=0.3, step=step).test_error.round(5)
    array([0.46716, 0.31709])
    """

    step: Any
    target: FunctionLike = "tanh"
    noise: Any = 0.0
    overlap: Any = 1.0

    def __post_init__(self) -> None:
        producer_of(self.step)
        noise = real_array("noise", self.noise, minimum=0.0)
        if noise.ndim:
            raise ValueError(f"noise of the first task must be a number, got shape {noise.shape}")
        overlap = real_array("overlap", self.overlap, minimum=-1.0, maximum=1.0)
        object.__setattr__(self, "noise", float(noise))
        object.__setattr__(self, "overlap", plain(overlap))

    def _spike(self, activation: FunctionLike) -> Spike:
        layer = producer_of(self.step).first_layer(activation, self.target, self.noise)
        if layer.r.shape[-1] != 1 or layer.alignment.shape[-1] != 1:
            raise ValueError(
                f"step must leave one spike, for a target of one direction, got {self.step!r} on "
                f"{self.target!r}"
            )
        r, c, gamma, pi = layer.spike.arrays()
        return Spike(r, c, gamma * np.asarray(self.overlap), pi)

    def first_layer(
        self,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: ArrayLike = 0.0,
        *,
        bulk: str | None = None,
        wrt: Sequence[str] = (),
    ) -> FirstLayer:
        """Return the layer, which knows nothing of the readout's target and noise.

        See `Producer.first_layer`.
        """
        only_isotropic(self, bulk)
        return FirstLayer.along_one(self._spike(activation))

    def neurons(self, sigma: Activation, population: Population, noise: float) -> Neurons:
        """See `Producer.neurons`; the readout's target must have one direction."""
        return self._spike(sigma).neurons(sigma, population, noise)

    @property
    def parameters(self) -> dict[str, Any]:
        """``overlap``, and what the step has."""
        return {**producer_of(self.step).parameters, "overlap": self.overlap}

    @property
    def varying(self) -> dict[str, Any]:
        """The overlap."""
        return {"overlap": self.overlap}

    def __repr__(self) -> str:
        return (
            f"Transfer({self.step!r}, target={self.target!r}, noise={self.noise:.6g}, "
            f"overlap={show(self.overlap)})"
        )
