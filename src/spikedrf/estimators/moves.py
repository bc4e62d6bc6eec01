r"""Moves: the ways in which a first layer is changed.

One gradient step finds one direction. Two kinds of move generalise it, and both follow the fitted
function ``f``:

* a *metric* round draws the weights anew for inputs ``A x``, with
  ``A = (M + 0.03)^(1/2)`` and ``M`` the mean of ``grad f grad f^T``, of trace d: directions along
  which ``f`` varies become long, the others short;
* a *step* moves every neuron, by the same length, down the gradient of the squared error at the
  fitted readout, with momentum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spikedrf.activations import Activation
from spikedrf.arrays import Array
from spikedrf.estimators.trials import Data, Fit, Readout, slopes
from spikedrf.parameters import Floats

#: Added to a metric of trace d: no direction is given up.
_FLOOR = 0.03
_MOMENTUM = np.float32(0.9)
METRICS = ("full", "diagonal")
#: All kinds that a list of moves may hold.
KINDS = ("plain", "scale", "gradient", *METRICS, "step", "restart", "width")


class Move(NamedTuple):
    """One move of the first layer.

    Attributes
    ----------
    kind : str
        ``"scale"``: weights drawn on a sphere of radius ``size``. ``"gradient"``: the gradient
        step of a readout of values +-1, ``size`` times as long as the weights. ``"full"`` and
        ``"diagonal"``: weights drawn on a sphere of radius ``size`` times A or its diagonal.
        ``"step"``: neurons move by ``size`` in the root mean square, with the momentum of the
        steps before; ``"restart"``: without it.
    size : float
    """

    kind: str
    size: float


class Entry(NamedTuple):
    """A move of a plan, the ridge that went with it, and the error on rows held out.

    Attributes
    ----------
    move : Move
    ridge : float
        In the unit of ridges.
    error : float
    unit : float
        The unit: the mean variance of the features.
    """

    move: Move
    ridge: float
    error: float
    unit: float = 1.0

    @property
    def alpha(self) -> float:
        """The ridge of rows of mean weight one."""
        return self.ridge * self.unit


@dataclass(frozen=True, eq=False)
class Draw:
    """Neurons as drawn.

    Attributes
    ----------
    directions : ndarray of float32, shape (p, d)
        On the unit sphere.
    offsets : ndarray of float32, shape (p,)
    """

    directions: Array
    offsets: Array

    def __len__(self) -> int:
        return len(self.offsets)

    def layer(self, shape: Array) -> Array:
        """Return the neurons on the image of the sphere, with their offsets."""
        return np.column_stack([self.directions @ shape, self.offsets])

    def take(self, some: slice) -> Draw:
        """Return some of the neurons."""
        return Draw(self.directions[some], self.offsets[some])


@dataclass(frozen=True, eq=False)
class State:
    """What moves have made of some rows.

    Attributes
    ----------
    fit : Fit
    shape : ndarray of float32, shape (d, d)
        Neurons are drawn on the image of the unit sphere under it.
    momentum : ndarray of float32, shape (p, d + 1), or None
    """

    fit: Fit
    shape: Array
    momentum: Array | None


class Moved(NamedTuple):
    """A layer that has moved and has no readout yet."""

    layer: Array
    shape: Array
    momentum: Array | None

    def fitted(self, fit: Fit) -> State:
        """Return the state with a fit to this layer."""
        return State(fit, self.shape, self.momentum)


@dataclass(frozen=True, eq=False)
class Mover:
    """Makes moves.

    Attributes
    ----------
    draw : Draw
    activation : Activation
    intercept : bool
        Whether readouts have one.
    """

    draw: Draw
    activation: Activation
    intercept: bool

    def move(self, state: State | None, move: Move, data: Data) -> Moved:
        """Make one; only ``"scale"`` needs no state."""
        kind, size = move
        if kind == "scale":
            shape = np.float32(size) * np.eye(self.draw.directions.shape[1], dtype=np.float32)
            return Moved(self.draw.layer(shape), shape, None)
        assert state is not None
        layer = state.fit.layer
        if kind in METRICS:
            shape = np.float32(size) * root(state.fit.metric, kind)
            return Moved(self.draw.layer(shape), shape, None)
        if kind == "gradient":
            direction = self._first_gradient(layer, data)
            length = float(np.linalg.norm(direction[:, :-1]))
            size *= float(np.linalg.norm(layer[:, :-1]))
            momentum = None
        else:
            direction = state.fit.descent
            if kind == "step" and state.momentum is not None:
                direction = direction + _MOMENTUM * state.momentum
            length = float(np.linalg.norm(direction))
            size *= float(np.sqrt(len(layer)))
            momentum = direction
        moved = layer + np.float32(size / length if length > 0.0 else 0.0) * direction
        return Moved(moved, state.shape, momentum)

    def _first_gradient(self, layer: Array, data: Data) -> Array:
        """Minus the gradient of the squared error at a small readout of values +-1."""
        p, targets = len(layer), data.y.shape[1]
        neuron = np.arange(p)
        sign = np.where((neuron // targets) % 2, -1.0, 1.0).astype(np.float32)
        mean = np.average(data.y, axis=0, weights=data.weight) if self.intercept else 0.0
        residual = (data.y - mean).astype(np.float32)
        if data.weight is not None:
            residual *= data.weight[:, None]
        total = np.zeros_like(layer)
        for rows, x in data.blocks():
            slope = slopes(x, layer, self.activation)
            if targets == 1:
                total += slope.T @ (x * residual[rows])
            else:
                total += (slope * residual[rows][:, neuron % targets]).T @ x
        return np.asarray(total * sign[:, None])

    def replay(self, plan: Iterable[Entry], data: Data) -> State:
        """Make all moves of a plan on other rows, readouts at its ridges."""
        state = None
        for move, ridge, *_ in plan:
            moved = self.move(state, move, data)
            readout = Readout.of(moved.layer, data, self.activation, intercept=self.intercept)
            state = moved.fitted(Fit.replayed(readout, ridge))
        assert state is not None
        return state


def root(metric: Floats, kind: str) -> Array:
    """Return ``(M + 0.03)^(1/2)``, of the diagonal alone for ``"diagonal"``."""
    if kind == "diagonal":
        return np.diag(np.sqrt(np.diag(metric) + _FLOOR)).astype(np.float32)
    value, vector = np.linalg.eigh(metric)
    return np.asarray(
        (vector * np.sqrt(np.maximum(value, 0.0) + _FLOOR)) @ vector.T, dtype=np.float32
    )
