"""A gradient step on the weights of a first layer, and the spike measured on the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import blas

from spikedrf import _core
from spikedrf.activations import Activation, FunctionLike, differentiable
from spikedrf.arrays import (
    Array,
    block_rows,
    data_array,
    require_finite,
    require_match,
    row_blocks,
)
from spikedrf.features import few_inputs, panels
from spikedrf.parameters import Floats, number, real_array
from spikedrf.running.memory import require_memory
from spikedrf.step import Spike


class LayerGradient:
    r"""The gradient of the squared loss in the first layer, summed over blocks of samples.

    With readout ``u_i/sqrt p`` and ``res = y - (1/p) sum_i u_i sigma(<w_i, x>)`` one step of size
    ``eta`` is ``W + eta * direction()``::

        direction_i = u_i (1/n) sum_mu res_mu sigma'(<w_i, x_mu>) x_mu

    Sums of several objects with the same layer can be merged.

    Parameters
    ----------
    W : ndarray, shape (p, d)
        Weights before the step, C-contiguous; their dtype is that of all products.
    a : ndarray of float64, shape (p,)
        Readout value ``u_i`` of each neuron.
    activation : Activation
        With a derivative: see `differentiable`.

    Attributes
    ----------
    total : ndarray, shape (p, d)
        ``sum_mu res_mu sigma'(<w_i, x_mu>) x_mu``, not yet times ``u_i``.
    pull : ndarray, shape (d,)
        ``sum_mu res_mu x_mu``.
    weight : float
        Number of samples, or the sum of their weights.
    """

    def __init__(self, W: Array, a: Floats, activation: Activation) -> None:
        self.W, self.a, self.activation = W, a, activation
        self.total = np.zeros_like(W)
        self.pull = np.zeros(W.shape[1])
        self.weight = 0.0
        self._readout = a.astype(W.dtype)
        self._few = few_inputs(W, activation)
        if self._few:
            self._panels = panels(W)
            self._scratch = np.empty(_core.gradient_numbers(W), W.dtype)
        else:
            self._slopes = np.empty((0, len(W)), W.dtype)
            self._scaled = np.empty((0, W.shape[1]), W.dtype)

    def update(self, x: Array, y: Array, sample_weight: Array | None = None) -> None:
        """Add a block of samples: finite, C-contiguous, of the dtype of the weights."""
        if sample_weight is None:
            weight, total = np.ones(len(x), x.dtype), float(len(x))
        else:
            weight = np.ascontiguousarray(sample_weight, x.dtype)
            total = float(np.sum(sample_weight, dtype=np.float64))
        y = np.ascontiguousarray(y)
        res = self._add_few(x, y, weight) if self._few else self._add(x, y, weight)
        gemv = blas.dgemv if x.dtype == np.float64 else blas.sgemv
        self.pull += gemv(1.0, x.T, res)
        self.weight += total

    def _add_few(self, x: Array, y: Array, weight: Array) -> Array:
        """Add to the total of few inputs; return the weighted residuals."""
        res = np.empty_like(weight)
        code = self.activation.code
        assert code is not None
        _core.few_input_gradient_block(
            code, x, y, weight, self._panels, self._readout, res, self.total, self._scratch
        )
        return res

    def _add(self, x: Array, y: Array, weight: Array) -> Array:
        """Add to the total by BLAS; return the weighted residuals.

        Two matrix products, and one pass between them for the residuals and ``sigma'``. The
        residuals multiply the inputs, not the slopes, of which there are more.
        """
        p = len(self.W)
        if len(self._slopes) < len(x):
            self._slopes = np.empty((len(x), p), x.dtype)
            self._scaled = np.empty_like(x)
        slopes, res = self._slopes[: len(x)], np.empty(len(x), x.dtype)
        gemm = blas.dgemm if x.dtype == np.float64 else blas.sgemm
        # BLAS counts columns first, so everything is transposed: z = x W^T. Not by np.matmul: a
        # second BLAS library beside SciPy's would bring threads of its own.
        gemm(1.0, self.W.T, x.T, beta=0.0, c=slopes.T, trans_a=1, overwrite_c=1)
        sigma = self.activation
        if sigma.code is not None:
            _core.residual_block(sigma.code, slopes, y, self._readout, res)
        else:
            np.subtract(y, sigma(slopes) @ self.a / p, out=res, casting="same_kind")
            slopes[...] = sigma.derivative(slopes)
        res *= weight
        scaled = np.multiply(x, res[:, None], out=self._scaled[: len(x)])
        # total += slopes^T scaled
        gemm(1.0, scaled.T, slopes.T, beta=1.0, c=self.total.T, trans_b=1, overwrite_c=1)
        return res

    def merge(self, other: LayerGradient) -> None:
        """Add the samples that another object with the same layer has seen."""
        self.total += other.total
        self.pull += other.pull
        self.weight += other.weight

    def direction(self) -> Array:
        """Return what a step of size one adds to the weights."""
        return np.asarray(self.total * (self.a / self.weight).astype(self.W.dtype)[:, None])


@dataclass(frozen=True, eq=False)
class TrainedLayer:
    r"""A first layer after one gradient step, and the spike measured in it.

    Attributes
    ----------
    W : ndarray, shape (p, d)
        Weights after the step.
    v : ndarray, shape (d,)
        Unit vector along ``X^T (y - yhat)``; zero if that vanishes.
    r : ndarray, shape (K,)
        Spike strength, the mean over a group of ``<w_i, v>``.
    c : ndarray, shape (K,)
        Bulk variance, the mean over a group of ``|w_i - r_k v|^2``.
    gamma : float or None
        Alignment ``<v, theta>/|theta|``; None if the target direction was not given.
    u : ndarray, shape (K,)
        Readout value of each group, in the order in which they first appear.
    groups : ndarray of int, shape (p,)
        Group of each neuron.
    """

    W: Array
    v: Array
    r: Floats
    c: Floats
    gamma: float | None
    u: Floats
    groups: Array

    @property
    def spike(self) -> Spike:
        """The measured parameters, as the theory takes them.

        Raises
        ------
        ValueError
            If the alignment is not known.
        """
        if self.gamma is None:
            raise ValueError("the alignment was not measured: give theta to gradient_step")
        pi = np.bincount(self.groups) / len(self.groups)
        return Spike(self.r, self.c, self.gamma, pi)

    def __repr__(self) -> str:
        gamma = None if self.gamma is None else round(self.gamma, 6)
        p, d = self.W.shape
        return f"TrainedLayer(p={p}, d={d}, r={self.r}, c={self.c}, gamma={gamma})"


def gradient_step(
    X: ArrayLike,
    y: ArrayLike,
    W: ArrayLike,
    a: ArrayLike,
    activation: FunctionLike,
    eta: float,
    *,
    theta: ArrayLike | None = None,
    block: int | None = None,
) -> TrainedLayer:
    r"""One full-batch gradient step of the squared loss on the first layer.

    Every neuron ``w_i`` with readout ``u_i/sqrt p`` moves by::

        eta u_i (1/n0) sum_mu (y_mu - yhat_mu) sigma'(<w_i, x_mu>) x_mu,
        yhat_mu = (1/p) sum_i u_i sigma(<w_i, x_mu>)

    Streamed over blocks of samples: two matrix products a block, and one fused pass for the
    residual and ``sigma'`` between them. Beyond ``X`` it needs O(block p + p d) memory. With a
    named activation and at most 64 inputs all three are done on a few rows at a time, in cache.

    Parameters
    ----------
    X : array_like of float32 or float64, shape (n0, d)
        Samples of the step, in any memory layout (a memory map is read once).
    y : array_like of float32 or float64, shape (n0,)
        Labels.
    W : array_like of float32 or float64, shape (p, d)
        Weights before the step; converted to the dtype of ``X``. Not changed.
    a : array_like, shape (p,)
        Readout value ``u_i`` of each neuron, out of a vocabulary of K values.
    activation : str, callable or (callable, derivative)
        Of a bare callable central differences are taken, see `Function`.
    eta : float
        Step size.
    theta : array_like, shape (d,), optional
        Target direction, for the measured alignment.
    block : int, optional
        Samples in a block.

    Returns
    -------
    TrainedLayer
        The new weights and the measured spike.

    Raises
    ------
    TypeError
        If an array is not of float32 or float64.
    ValueError
        If shapes do not match, an array is empty, an entry is not finite, the activation has
        a jump, or squares of the new weights overflow.
    MemoryError
        If the new weights would not fit into memory, before they are asked for.

    Notes
    -----
    The spike is measured along ``v = X^T (y - yhat)``, normalised: in high dimension
    ``sigma'(<w_i, x>)`` is, over the neurons, its mean plus something independent of ``x``, so
    this is the direction that all neurons move along; it is known to an accuracy of 1/sqrt(n0),
    where an average of the moved weights would carry the noise of the p neurons too. With it,
    ``r`` and ``c`` are plain averages over the group, unbiased for neurons
    ``r_k v + sqrt(c_k) w~``, and ``(r, c, gamma)`` differ from `GradientStep.spike` by
    O(1/sqrt d), the fluctuation of the samples.

    Source: theory.md, sections 1 and 2.
    """
    sigma = differentiable(activation)
    X, W = data_array("X", X, 2), data_array("W", W, 2)
    y = data_array("y", y, 1, like=X)
    values = real_array("a", a)
    if values.shape != W.shape[:1]:
        raise ValueError(f"a must have shape {W.shape[:1]}, one value a neuron: {values.shape}")
    require_match(X=(X, 1), W=(W, 1))
    require_match(X=(X, 0), y=(y, 0))
    require_finite("W", W)
    require_finite("y", y)
    step = number("eta", eta)
    direction = None if theta is None else _direction(theta, X)
    (n, d), p = X.shape, len(W)
    if block is None:
        block = block_rows(p, X.dtype)
    elif block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    size = (2 * p * d + min(block, n) * (p + d)) * X.dtype.itemsize
    require_memory(size, f"a gradient step on weights of shape {W.shape}", "take a smaller block")

    gradient = LayerGradient(np.ascontiguousarray(W, dtype=X.dtype), values, sigma)
    for rows in row_blocks(n, block):
        x = np.ascontiguousarray(X[rows])
        require_finite("X", x, rows.start)
        gradient.update(x, y[rows])
    moved = gradient.total  # used up: one array of the size of W less
    with np.errstate(over="ignore", invalid="ignore"):
        moved *= (step / n * values).astype(X.dtype)[:, None]
        moved += gradient.W
        layer = _measure(moved, gradient.pull, values, direction)
    if not np.isfinite(layer.c).all():
        raise ValueError(
            f"eta, a, X or y must be smaller: squares of the weights after the step overflow "
            f"{X.dtype}, with eta={step:g}"
        )
    return layer


def _measure(W: Array, pull: Floats, values: Floats, theta: Floats | None) -> TrainedLayer:
    length = float(np.linalg.norm(pull))
    v = pull / length if length > 0 else pull
    _, first, groups = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    groups = np.argsort(order)[groups]
    count = np.bincount(groups)
    along = (W @ v.astype(W.dtype)).astype(np.float64)
    r = np.bincount(groups, along) / count
    square = np.einsum("ij,ij->i", W, W).astype(np.float64)
    # |w - r v|^2 with |v| = 1; only strengths of 1/sqrt(rounding) would cancel.
    spread = square - r[groups] * (2.0 * along - (length > 0) * r[groups])
    c = np.bincount(groups, spread) / count
    gamma = None if theta is None else float(v @ theta)
    return TrainedLayer(W, v.astype(W.dtype), r, c, gamma, values[np.sort(first)], groups)


def _direction(theta: ArrayLike, X: Array) -> Floats:
    direction = real_array("theta", theta)
    if direction.shape != X.shape[1:]:
        raise ValueError(f"theta must have shape {X.shape[1:]}, got {direction.shape}")
    length = np.linalg.norm(direction)
    if length == 0:
        raise ValueError("theta must not be zero: it is a direction")
    return np.asarray(direction / length)
