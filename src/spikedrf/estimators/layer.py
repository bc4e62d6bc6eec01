"""The first layer of an estimator: drawn, stepped, applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation, differentiable, step_moments
from spikedrf.arrays import Array
from spikedrf.estimators.rows import Rows, binary_unit
from spikedrf.features import feature_map
from spikedrf.gradient_step import LayerGradient
from spikedrf.parameters import Floats
from spikedrf.readout.leave_one_out import Block, RidgePath, ridge_path
from spikedrf.running.memory import require_memory

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class LayerStep:
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
class _Standard:
    """What makes targets standardised: their mean, twice, and spread over the rows of a step.

    A target that does not vary has nothing to say; what rounding leaves of it neither.
    """

    total: float
    mean: Floats
    rest: Floats  # what rounding left of a large mean
    spread: Floats
    varies: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Rows) -> _Standard:
        total = float(rows.weight.sum())
        share = rows.weight / total
        mean = share @ rows.y
        deviation = rows.y - mean
        rest = share @ deviation
        deviation -= rest
        square = share @ deviation**2
        spread = np.sqrt(square if rows.within is None else square + share @ rows.within)
        varies = spread > 1e-12 * np.abs(rows.y).max(axis=0, initial=0.0)
        return cls(total, mean, rest, np.where(varies, spread, 1.0), varies)

    def labels(self, y: Floats, dtype: Any) -> Array:
        """Return the targets of some rows, standardised."""
        return ((y - self.mean - self.rest) / self.spread).astype(dtype)


class _Pull(NamedTuple):
    """Sums over rows of which a step is made: see `LayerGradient`; weight 0 is what is whole."""

    total: Array
    pull: Floats
    weight: Floats


class _Sizes(NamedTuple):
    """Means over all rows of ``<x, unit>^2`` and of ``|x|^2``, as far as some rows make them."""

    along: Floats
    square: Floats


def _sizes(unit: Floats, total: float, rows: Rows) -> _Sizes:
    sizes = _Sizes(np.zeros(len(unit)), np.zeros(()))
    share = rows.weight / total
    for part, x in rows.blocks(np.float64):
        sizes.along[...] += share[part] @ (x @ unit.T) ** 2
        sizes.square[...] += share[part] @ np.einsum("ij,ij->i", x, x)
    return sizes


@dataclass(frozen=True, eq=False)
class InitialLayer:
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

    def step(self, rows: Rows) -> LayerStep:
        """Take the step on standardised targets, whose origin and unit thus do not matter.

        Each target has a network of its own: its share of the neurons, with
        ``yhat = (1/p') sum_i u_i sigma(<w_i, x>)`` over these.
        """
        standard = _Standard.of(rows)
        sums = rows.sum(partial(self._pulled, standard))
        weight = np.where(sums.weight > 0, sums.weight, 1.0)
        pull = sums.pull / weight[:, None]
        if self.update == "full":
            direction = sums.total
            direction *= (self.u / weight[self.target]).astype(self.W.dtype)[:, None]
        else:
            # The mean of sigma' over the neurons, that of a Gaussian preactivation, in its place:
            # every neuron moves along the same vector. Without products with the weights there
            # is no yhat; what it would add is of the order of a constant.
            slope = step_moments(differentiable(self.activation), slope=True).h1
            direction = np.zeros_like(self.W)
            if abs(slope) > 1e-12:
                direction = (slope * self.u)[:, None] * pull[self.target]
                direction = direction.astype(self.W.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            length = np.linalg.norm(pull, axis=1)
        unit = pull / np.where(length > 0, length, 1.0)[:, None]
        size = rows.sum(partial(_sizes, unit, standard.total))
        return LayerStep(
            direction, pull, self.strength(length * np.sqrt(size.along), float(size.square))
        )

    def _pulled(self, standard: _Standard, rows: Rows) -> _Pull:
        """Return what these rows add to the gradient; ``pull`` is that on the inputs alone."""
        sigma = differentiable(self.activation)
        targets = rows.y.shape[1]
        y = standard.labels(rows.y, self.W.dtype)
        sums = _Pull(np.zeros_like(self.W), np.zeros((targets, self.W.shape[1])), np.zeros(targets))
        if self.update == "full":
            groups = [np.flatnonzero(self.target == t) for t in range(targets)]
            gradients = {
                # One target has all the weights, which need no copy.
                t: LayerGradient(self.W if targets == 1 else self.W[group], self.u[group], sigma)
                for t, group in enumerate(groups)
                if standard.varies[t] and group.size
            }
            weight = rows.weight.astype(self.W.dtype)
            weighted = bool((weight != 1.0).any())
            for part, x in rows.blocks(self.W.dtype):
                for t, gradient in gradients.items():
                    gradient.update(x, y[part, t], weight[part] if weighted else None)
            for t, gradient in gradients.items():
                sums.pull[t], sums.weight[t] = gradient.pull, gradient.weight
                if targets == 1:
                    sums = sums._replace(total=gradient.total)
                else:
                    sums.total[groups[t]] = gradient.total
        else:
            share = rows.weight / standard.total
            shares = (share[:, None] * np.where(standard.varies, y, 0.0)).astype(self.W.dtype)
            for part, x in rows.blocks(self.W.dtype):
                sums.pull[...] += shares[part].T @ x
        return sums

    def strength(self, along: Floats, square: float) -> float:
        """Return `LayerStep.strength` from the size of ``<x, pull>`` and the mean of ``|x|^2``."""
        moments = step_moments(self.activation, slope=True)
        slope = np.sqrt(moments.slope_variance + moments.h1**2)
        before = np.sqrt(square * np.mean(np.square(self.W)))
        if before == 0.0:
            return 0.0
        with np.errstate(over="ignore"):
            return float(slope * np.sqrt(np.mean(self.u**2) * np.mean((along / before) ** 2)))

    def weights(self, step: LayerStep | None, eta: float) -> Array:
        """Return the weights after a step of size ``eta``."""
        if step is None or eta == 0.0:
            return self.W
        with np.errstate(over="ignore"):
            weights = np.asarray(eta, self.W.dtype) * step.direction
            weights += self.W
        if not np.isfinite(weights).all():
            raise ValueError(f"step_size={eta:g} is too large: the weights overflow {self.W.dtype}")
        return np.asarray(weights)

    def feature_blocks(self, rows: Rows, weights: Array) -> Iterator[Block]:
        """Yield the features of the rows in double precision, block by block."""
        for part, x in rows.blocks(weights.dtype):
            phi = feature_map(x, weights, self.activation)
            yield Block(part, phi.astype(np.float64, copy=False), rows.y[part], rows.weight[part])

    def ridge_path(self, rows: Rows, weights: Array, lam: Floats, *, intercept: bool) -> RidgePath:
        """Fit the readout to the features of the rows, for every penalty."""
        return ridge_path(_Features(self, rows, weights), len(weights), lam, intercept=intercept)


@dataclass(frozen=True, eq=False)
class _Features:
    """The features of rows as `spikedrf.readout.leave_one_out` takes them."""

    layer: InitialLayer
    rows: Rows
    weights: Array

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def weight(self) -> Floats:
        return self.rows.weight

    @property
    def within(self) -> Floats | None:
        return self.rows.within

    def blocks(self) -> Iterator[Block]:
        return self.layer.feature_blocks(self.rows, self.weights)

    def take(self, index: NDArray[np.bool_]) -> _Features:
        return _Features(self.layer, self.rows.take(index), self.weights)

    def sum(self, measure: Callable[[_Features], T]) -> T:
        return self.rows.sum(partial(_measured, measure, self.layer, self.weights))

    def here(self) -> _Features:
        return _Features(self.layer, self.rows.here(), self.weights)


def _measured(
    measure: Callable[[_Features], T], layer: InitialLayer, weights: Array, rows: Rows
) -> T:
    return measure(_Features(layer, rows, weights))


@dataclass(frozen=True, eq=False)
class SteppedLayer:
    """A first layer and the step that it takes.

    Attributes
    ----------
    layer : InitialLayer
    step : LayerStep or None
        None is no step.
    step_size : float
    feeding : Rows or None
        The rows that fed the step, with its targets, if they feed the readout too.
    """

    layer: InitialLayer
    step: LayerStep | None
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

    def features(self, rows: Rows, weights: Array, dtype: Any = np.float64) -> Array:
        """Return the features of the rows, shape (n, p)."""
        size = np.dtype(dtype).itemsize * len(rows) * len(weights)
        require_memory(size, f"the features of {len(rows)} rows", "use fewer features or rows")
        features = np.empty((len(rows), len(weights)), dtype)
        for block in self.layer.feature_blocks(rows, weights):
            features[block.rows] = block.Phi
        return features


class StreamedStep:
    """The sums over rows of which the step on all of them is made, in one pass.

    The gradient is linear in the labels, and standardising them needs their mean and spread, which
    are known at the end: so it is summed for the labels 0, 1 and y. These are counted from the
    mean of the first rows, and in units of about their spread: large or small beside 1 they would
    leave little of the differences.
    """

    def __init__(self, layer: InitialLayer, targets: int) -> None:
        self.layer = layer
        d = layer.W.shape[1]
        require_memory(
            8 * 9 * layer.W.size, f"the sums of a stream for {len(layer.W)} features of {d} inputs"
        )
        self.direction = np.zeros((3, *layer.W.shape))
        self.pull = np.zeros((3, targets, d))
        self.weight = 0.0
        self.origin = np.zeros(targets)
        self.unit = np.ones(targets)
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
        for t in np.flatnonzero(
            self.sum_y2 == 0.0
        ).tolist():  # all labels so far were 0, in any unit
            self.unit[t] = binary_unit(labels[:, t])
        labels /= self.unit
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

    def step(self) -> LayerStep:
        """Return the step on all rows so far."""
        layer = self.layer
        mean = self.sum_y / self.weight
        variance = self.sum_y2 / self.weight - mean**2
        origin = self.origin / self.unit
        varies = variance > 1e-13 * self.sum_y2 / self.weight + (1e-12 * origin) ** 2
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
        return LayerStep(direction.astype(layer.W.dtype), pull, np.nan)


def draw_weights(rng: np.random.RandomState, p: int, d: int, dtype: Any) -> Array:
    """Draw ``p`` vectors uniformly on the unit sphere of ``d`` dimensions."""
    W = rng.standard_normal((p, d))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    return W.astype(dtype)
