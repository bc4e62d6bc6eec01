"""Derivatives through the first layer in latent coordinates: differences with an error estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.differences import OFFSETS, WEIGHTS
from spikedrf.first_layer.model import Producer
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.population import Population, Rows
from spikedrf.theory.latents.solve import Learned, solve_points

Floats = NDArray[np.float64]

# The step of the differences, which is the second time halved. What they are of is as accurate as
# can be, but where spikes span a plane, whose rules grow with the square of what a line takes.
_STEP, _ACCURACY, _OF_PLANE = 0.02, 1e-11, 1e-9
_OF_LOSS = 1e-10
# For a chance, which is at the end of its range where none is turned around.
_ONE_SIDED = np.arange(7.0)
_ONE_SIDED_WEIGHTS = np.array([-147.0, 360.0, -450.0, 400.0, -225.0, 72.0, -10.0]) / 60.0
# A derivative is held against itself or against so much of the error over the parameter's scale.
_LEAST = 1e-4


class Slopes:
    """Test errors or losses and their derivatives; arrays of the shape of the call.

    Attributes
    ----------
    value : ndarray, shape S
        What is differentiated.
    values : dict of ndarray
        Derivative by each parameter: shape S, then the groups or directions.
    error : ndarray, shape S
        Largest relative difference between the derivatives of the two steps; the quadrature's where
        it is larger.
    status : ndarray of int, shape S
    solved : Solved
        The solution itself.
    """

    def __init__(
        self,
        values: dict[str, Floats],
        sigma: Activation,
        population: Population,
        step: StepLike,
        rows: Rows,
        names: Sequence[str],
        threads: int | None,
        learned: Learned | None = None,
        *,
        objective: str = "test_error",
        halvings: int = 2,
    ) -> None:
        self._values, self._halvings, self._threads = values, halvings, threads
        self._model = sigma, population, rows
        self._learned, self._of = learned, {"test_error": "test"}.get(objective, objective)
        self._producer = producer_of(step)
        self.solved = self._solve(values, self._producer, learned)
        self.value = np.asarray(self.solved.arrange(self._of))
        self.error = np.array(self.solved.arrange("error"))
        self.status = np.array(self.solved.arrange("status"))
        self.values = {name: self._by(name) for name in names}

    def _solve(self, values: dict[str, Floats], producer: Producer, learned: Learned | None) -> Any:
        sigma, population, rows = self._model
        accuracy = _ACCURACY if learned is None else _OF_LOSS
        if producer.several_directions:
            accuracy = _OF_PLANE
        return solve_points(
            values, sigma, population, producer, rows, accuracy, self._threads, learned,
            set_aside=True,
        )  # fmt: skip

    def _by(self, name: str) -> Floats:
        of_loss = self._learned is not None and name in vars(self._learned.loss)
        if of_loss or name in self._values or name in self._producer.steerable:
            return self._along(name, None)
        last = name in self._producer.per_group or (
            name == "gamma" and self._model[1].directions > 1
        )
        if not last:
            return self._along(name, None)
        given = np.atleast_1d(np.asarray(self._producer.varying[name], dtype=np.float64))
        count = max(given.shape[-1], self.solved.frames[0].layer.pi.size if name != "gamma" else 1)
        return np.stack([self._along(name, k) for k in range(count)], axis=-1)

    def _along(self, name: str, entry: int | None) -> Floats:
        """Differentiate by a parameter, or by one of its entries on the last axis."""
        shape = self.value.shape
        found, scale = [], np.ones(shape)
        one_sided = name == "flip"
        offsets, weights = (_ONE_SIDED, _ONE_SIDED_WEIGHTS) if one_sided else (OFFSETS, WEIGHTS)
        for half in range(self._halvings):
            step = _STEP * 0.5**half
            total = np.zeros(shape)
            for offset, weight in zip(offsets, weights, strict=True):
                moved, scale = self._moved(name, entry, offset * step)
                # Points that are impossible are infinite: NaN in differences.
                with np.errstate(invalid="ignore"):
                    total = total + weight * np.asarray(moved.arrange(self._of))
            with np.errstate(invalid="ignore", divide="ignore"):
                found.append(np.where(scale != 0.0, total / (step * scale), 0.0))
        if len(found) > 1:
            least = _LEAST * np.abs(self.value) / np.where(scale != 0.0, np.abs(scale), 1.0)
            with np.errstate(invalid="ignore"):
                gap = np.abs(found[1] - found[0]) / np.maximum(np.abs(found[1]), least)
            self.error = np.fmax(self.error, gap)
        return found[-1]

    def _moved(self, name: str, entry: int | None, by: float) -> tuple[Any, Floats]:
        """Solve with a parameter moved by a multiple of its scale; return the scale too."""
        values, producer, learned = dict(self._values), self._producer, self._learned
        if learned is not None and name in vars(learned.loss):
            own = float(vars(learned.loss)[name])
            scale = np.full(self.value.shape, min(own, 1.0 - own) if name == "level" else own)
            moved = replace(learned.loss, **{name: own + by * float(scale.flat[0])})
            return self._solve(values, producer, replace(learned, loss=moved)), scale
        inside = name in values
        x = np.asarray(values[name] if inside else producer.parameter(name), dtype=np.float64)
        if name in ("alpha", "beta", "lam", "c") or name.startswith("alpha0"):
            # An infinite parameter does not move the error.
            scale = np.where(np.isfinite(x), x, 0.0)
        elif name == "noise":
            scale = np.maximum(x, 0.1)
        elif name == "flip":
            scale = np.where(x < 0.25, 0.25, -0.25)
        elif name == "gamma":
            scale = np.full(x.shape, 0.1)
        else:
            scale = np.maximum(np.abs(x), 0.1)
        move = by * scale
        if entry is not None:
            x, move, scale = (np.atleast_1d(a) for a in (x, move, scale))
            size = max(x.shape[-1], entry + 1)
            x, move, scale = (np.broadcast_to(a, (*a.shape[:-1], size)) for a in (x, move, scale))
            move = move * (np.arange(size) == entry)
            scale = scale[..., entry]
        at = x + move
        if name == "noise":
            at = np.abs(at)  # the error is even in it
        if inside:
            values[name] = at
        else:
            producer = producer.moved({name: at})
        return self._solve(values, producer, learned), np.broadcast_to(scale, self.value.shape)
