"""Derivatives through the first layer in latent coordinates: differences with an error estimate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.differences import OFFSETS, WEIGHTS
from spikedrf.first_layer.model import Producer
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.population import Population, Rows
from spikedrf.theory.latents.solve import solve_points

Floats = NDArray[np.float64]

# The step of the differences, which is the second time halved. What they are of is as accurate as
# can be, but where spikes span a plane, whose rules grow with the square of what a line takes.
_STEP, _ACCURACY, _OF_PLANE = 0.02, 1e-11, 1e-9
# A derivative is held against itself or against so much of the error over the parameter's scale.
_LEAST = 1e-4


class Slopes:
    """Test errors and their derivatives; arrays of the shape of the call.

    Attributes
    ----------
    test_error : ndarray, shape S
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
        *,
        halvings: int = 2,
    ) -> None:
        self._values, self._halvings, self._threads = values, halvings, threads
        self._model = sigma, population, rows
        self._producer = producer_of(step)
        self.solved = self._solve(values, self._producer)
        self.test_error = np.asarray(self.solved.arrange("test"))
        self.error = np.array(self.solved.arrange("error"))
        self.status = np.array(self.solved.arrange("status"))
        self.values = {name: self._by(name) for name in names}

    def _solve(self, values: dict[str, Floats], producer: Producer) -> Any:
        sigma, population, rows = self._model
        accuracy = _OF_PLANE if producer.several_directions else _ACCURACY
        return solve_points(
            values, sigma, population, producer, rows, accuracy, self._threads, set_aside=True
        )

    def _by(self, name: str) -> Floats:
        if name in self._values or name in self._producer.steerable:
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
        shape = self.test_error.shape
        found, scale = [], np.ones(shape)
        for half in range(self._halvings):
            step = _STEP * 0.5**half
            total = np.zeros(shape)
            for offset, weight in zip(OFFSETS, WEIGHTS, strict=True):
                moved, scale = self._moved(name, entry, offset * step)
                # Points that are impossible are infinite: NaN in differences.
                with np.errstate(invalid="ignore"):
                    total = total + weight * np.asarray(moved.arrange("test"))
            with np.errstate(invalid="ignore", divide="ignore"):
                found.append(np.where(scale > 0.0, total / (step * scale), 0.0))
        if len(found) > 1:
            least = _LEAST * np.abs(self.test_error) / np.where(scale > 0.0, scale, 1.0)
            with np.errstate(invalid="ignore"):
                gap = np.abs(found[1] - found[0]) / np.maximum(np.abs(found[1]), least)
            self.error = np.fmax(self.error, gap)
        return found[-1]

    def _moved(self, name: str, entry: int | None, by: float) -> tuple[Any, Floats]:
        """Solve with a parameter moved by a multiple of its scale; return the scale too."""
        values, producer = dict(self._values), self._producer
        inside = name in values
        x = np.asarray(values[name] if inside else producer.parameter(name), dtype=np.float64)
        if name in ("alpha", "beta", "lam", "c") or name.startswith("alpha0"):
            # An infinite parameter does not move the error.
            scale = np.where(np.isfinite(x), x, 0.0)
        elif name == "noise":
            scale = np.maximum(x, 0.1)
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
        return self._solve(values, producer), np.broadcast_to(scale, self.test_error.shape)
