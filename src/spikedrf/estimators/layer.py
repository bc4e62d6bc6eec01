"""The first layer of an estimator: drawn, stepped, applied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation, step_moments
from spikedrf.arrays import Array
from spikedrf.estimators.rows import Rows
from spikedrf.features import feature_map
from spikedrf.first_layer import LayerGradient, differentiable
from spikedrf.leave_one_out import Block
from spikedrf.memory import require_memory
from spikedrf.parameters import Floats


@dataclass(frozen=True, eq=False)
class Step:
    """One gradient step of size one, on some rows.

    Attributes
    ----------
    direction : ndarray, shape (p, d)
        What it adds to the weights.
    pull : ndarray, shape (targets, d)
        ``(1/n0) sum_mu (y_mu - yhat_mu) x_mu`` for each standardised target.
    strength : float
        Standard deviation that the step gives to the preactivations along its direction, over
        that of the preactivations before it: on isotropic inputs the ``r`` of theory.md. NaN if
        it is not known.

    Raises
    ------
    ValueError
        If the gradient has overflowed.
    """

    direction: Array
    pull: Floats
    strength: float

    def __post_init__(self) -> None:
        finite = np.isfinite(self.direction).all() and np.isfinite(self.pull).all()
        if not finite or np.isinf(self.strength):
            raise ValueError(
                f"X must be smaller: the gradient of the step overflows {self.direction.dtype}; "
                f"standardise it"
            )

    @property
    def degenerate(self) -> bool:
        """Whether the gradient is zero."""
        return not np.any(self.direction)


@dataclass(frozen=True, eq=False)
class Layer:
    """A first layer as drawn.

    Attributes
    ----------
    W : ndarray, shape (p, d)
        Weights; the last column is that of the constant input, if there is one.
    u : ndarray of float64, shape (p,)
        Initial readout of each neuron.
    target : ndarray of int, shape (p,)
        The target whose network the neuron belongs to.
    activation : Activation
    update : str
        ``"full"`` or ``"rank_one"``.
    """

    W: Array
    u: Floats
    target: NDArray[np.int64]
    activation: Activation
    update: str

    def step(self, rows: Rows) -> Step:
        """Take the step on standardised targets, whose origin and unit thus do not matter.

        Each target has a network of its own: its share of the neurons, with
        ``yhat = (1/p') sum_i u_i sigma(<w_i, x>)`` over these.
        """
        sigma = differentiable(self.activation)
        share = rows.weight / rows.weight.sum()
        deviation = rows.y - share @ rows.y
        deviation -= share @ deviation  # what rounding left of a large mean
        spread = np.sqrt(share @ deviation**2)
        # A target that does not vary has nothing to say; what rounding leaves of it neither.
        varies = spread > 1e-12 * np.abs(rows.y).max(axis=0, initial=0.0)
        y = (deviation / np.where(varies, spread, 1.0)).astype(self.W.dtype)
        targets = y.shape[1]
        groups = [np.flatnonzero(self.target == t) for t in range(targets)]
        pull = np.zeros((targets, self.W.shape[1]))
        direction = np.zeros_like(self.W)
        if self.update == "full":
            gradients = {
                t: LayerGradient(np.ascontiguousarray(self.W[group]), self.u[group], sigma)
                for t, group in enumerate(groups)
                if varies[t] and group.size
            }
            weight = rows.weight.astype(self.W.dtype)
            weighted = bool((weight != 1.0).any())
            for part, x in rows.blocks(self.W.dtype):
                for t, gradient in gradients.items():
                    gradient.update(x, y[part, t], weight[part] if weighted else None)
            for t, gradient in gradients.items():
                direction[groups[t]] = gradient.direction()
                pull[t] = gradient.pull / gradient.weight
        else:
            # The mean of sigma' over the neurons, that of a Gaussian preactivation, in its place:
            # every neuron moves along the same vector. Without products with the weights there
            # is no yhat; what it would add is of the order of a constant.
            shares = (share[:, None] * np.where(varies, y, 0.0)).astype(self.W.dtype)
            for part, x in rows.blocks(self.W.dtype):
                pull += shares[part].T @ x
            slope = step_moments(sigma, slope=True).h1
            if abs(slope) > 1e-12:
                direction = (slope * self.u)[:, None] * pull[self.target]
                direction = direction.astype(self.W.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            length = np.linalg.norm(pull, axis=1)
        unit = pull / np.where(length > 0, length, 1.0)[:, None]
        along = np.zeros(targets)
        square = 0.0
        for part, x in rows.blocks(np.float64):
            along += share[part] @ (x @ unit.T) ** 2
            square += float(share[part] @ np.einsum("ij,ij->i", x, x))
        return Step(direction, pull, self.strength(length * np.sqrt(along), square))

    def strength(self, along: Floats, square: float) -> float:
        """Return `Step.strength` from the size of ``<x, pull>`` and the mean of ``|x|^2``."""
        moments = step_moments(self.activation, slope=True)
        slope = np.sqrt(moments.slope_variance + moments.h1**2)
        before = np.sqrt(square * np.mean(np.square(self.W)))
        if before == 0.0:
            return 0.0
        with np.errstate(over="ignore"):
            return float(slope * np.sqrt(np.mean(self.u**2) * np.mean((along / before) ** 2)))

    def weights(self, step: Step | None, eta: float) -> Array:
        """Return the weights after a step of size ``eta``."""
        if step is None or eta == 0.0:
            return self.W
        with np.errstate(over="ignore"):
            weights = self.W + np.asarray(eta, self.W.dtype) * step.direction
        if not np.isfinite(weights).all():
            raise ValueError(f"step_size={eta:g} is too large: the weights overflow {self.W.dtype}")
        return np.asarray(weights)

    def feature_blocks(self, rows: Rows, weights: Array) -> Iterator[Block]:
        """Yield the features of the rows in double precision, block by block."""
        for part, x in rows.blocks(weights.dtype):
            phi = feature_map(x, weights, self.activation)
            yield Block(part, phi.astype(np.float64, copy=False), rows.y[part], rows.weight[part])


@dataclass(frozen=True, eq=False)
class SteppedLayer:
    """A first layer and the step that it takes.

    Attributes
    ----------
    layer : Layer
    step : Step or None
        None is no step.
    step_size : float
    feeding : Rows or None
        The rows that fed the step, with its targets, if they feed the readout too.
    """

    layer: Layer
    step: Step | None
    step_size: float
    feeding: Rows | None

    @property
    def weights(self) -> Array:
        """The weights after the step."""
        return self.layer.weights(self.step, self.step_size)

    def weights_from(self, rows: Rows) -> Array:
        """Return the weights if only these rows of the readout had been there."""
        if self.feeding is None:
            return self.weights
        return self.layer.weights(self.layer.step(self.feeding.same(rows)), self.step_size)

    def features(self, rows: Rows, weights: Array) -> Floats:
        """Return the features of the rows in double precision, shape (n, p)."""
        size = 8 * len(rows) * len(weights)
        require_memory(size, f"the features of {len(rows)} rows", "use fewer features or rows")
        features = np.empty((len(rows), len(weights)))
        for block in self.layer.feature_blocks(rows, weights):
            features[block.rows] = block.Phi
        return features


class StreamedStep:
    """The sums over rows of which the step on all of them is made, in one pass.

    The gradient is linear in the labels, and standardising them needs their mean and spread, which
    are known at the end: so it is summed for the labels 0, 1 and y. These are counted from the
    mean of the first rows: a large mean would leave little of the spread.
    """

    def __init__(self, layer: Layer, targets: int) -> None:
        self.layer = layer
        d = layer.W.shape[1]
        self.direction = np.zeros((3, *layer.W.shape))
        self.pull = np.zeros((3, targets, d))
        self.weight = 0.0
        self.origin = np.zeros(targets)
        self.sum_y = np.zeros(targets)
        self.sum_y2 = np.zeros(targets)

    def update(self, rows: Rows) -> None:
        """Add rows."""
        layer, sigma = self.layer, differentiable(self.layer.activation)
        weight = rows.weight.astype(layer.W.dtype)
        full = layer.update == "full"
        if self.weight == 0.0:
            self.origin = rows.weight @ rows.y / rows.weight.sum()
        labels = rows.y - self.origin
        for part, x in rows.blocks(layer.W.dtype):
            for t in range(rows.y.shape[1]):
                group = np.flatnonzero(layer.target == t)
                y = labels[part, t].astype(layer.W.dtype)
                for i, label in enumerate((np.zeros_like(y), np.ones_like(y), y)):
                    if full and group.size:
                        W = np.ascontiguousarray(layer.W[group])
                        gradient = LayerGradient(W, layer.u[group], sigma)
                        gradient.update(x, label, weight[part])
                        self.direction[i, group] += gradient.total * layer.u[group, None]
                        self.pull[i, t] += gradient.pull
                    elif not full:
                        self.pull[i, t] += (weight[part] * label) @ x
        self.weight += float(rows.weight.sum())
        self.sum_y += rows.weight @ labels
        self.sum_y2 += rows.weight @ labels**2

    def step(self) -> Step:
        """Return the step on all rows so far."""
        layer = self.layer
        mean = self.sum_y / self.weight
        variance = self.sum_y2 / self.weight - mean**2
        varies = variance > 1e-13 * self.sum_y2 / self.weight + (1e-12 * self.origin) ** 2
        spread = np.sqrt(np.where(varies, variance, 1.0))

        def combined(sums: Floats, target: Any) -> Floats:
            of_one, of_y = sums[1] - sums[0], sums[2] - sums[0]
            shape = (-1,) + (1,) * (sums.ndim - 2)
            s, m, v = (a[target].reshape(shape) for a in (spread, mean, varies))
            return np.where(v, (sums[0] + (of_y - m * of_one) / s) / self.weight, 0.0)

        pull = combined(self.pull, np.arange(len(mean)))
        if layer.update == "full":
            direction = combined(self.direction, layer.target)
        else:
            slope = step_moments(layer.activation, slope=True).h1
            direction = np.zeros(layer.W.shape)
            if abs(slope) > 1e-12:
                direction = (slope * layer.u)[:, None] * pull[layer.target]
        return Step(direction.astype(layer.W.dtype), pull, np.nan)


def draw_weights(rng: np.random.RandomState, p: int, d: int, dtype: Any) -> Array:
    """Draw ``p`` vectors uniformly on the unit sphere of ``d`` dimensions."""
    W = rng.standard_normal((p, d))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    return W.astype(dtype)
