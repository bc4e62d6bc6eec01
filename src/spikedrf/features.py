"""Random features, the spike that one gradient step plants in them, and the step itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import blas

from spikedrf import _core
from spikedrf.activations import Activation, FunctionLike, resolve
from spikedrf.arrays import Array, data_array, output_array, require_finite, require_match
from spikedrf.memory import require_memory
from spikedrf.parameters import Floats, real_array
from spikedrf.step import Spike

# A block of preactivations should come back from cache when the activation is applied to it, but
# BLAS packs all of W again for every block, which takes this many rows to be worth it.
_BLOCK_BYTES = 1 << 21
_LEAST_ROWS = 256


def feature_map(
    X: ArrayLike, W: ArrayLike, activation: FunctionLike, *, out: Array | None = None
) -> Array:
    r"""Features of a first layer, ``Phi = sigma(X W^T)``.

    Computed in blocks of rows that stay in cache: the product by BLAS, the activation in place.

    Parameters
    ----------
    X : array_like of float32 or float64, shape (n, d)
        Inputs, in any memory layout.
    W : array_like of float32 or float64, shape (p, d)
        Weights, one neuron a row; converted to the dtype of ``X``.
    activation : str, callable or (callable, derivative)
        A name of `spikedrf.activations.NAMES`, or a vectorised function.
    out : ndarray, shape (n, p), optional
        Where to write, of the dtype of ``X``; no part of it may be an input.

    Returns
    -------
    ndarray, shape (n, p)
        The features, in the dtype of ``X``. Named activations are within 4 units in the last
        place of the exact value at the preactivation that BLAS computed.

    Raises
    ------
    TypeError
        If an array is not of float32 or float64.
    ValueError
        If shapes do not match, an array is empty, or an entry is not finite (the message says
        which).
    MemoryError
        If the features would not fit into memory, before they are asked for.

    Notes
    -----
    Source: theory.md, section 1.
    """
    sigma = resolve(activation)
    X, W = data_array("X", X, 2), data_array("W", W, 2)
    require_match(X=(X, 1), W=(W, 1))
    require_finite("W", W)
    weights = _for_blas(W.astype(X.dtype, copy=False))
    out = _features_array(out, (X.shape[0], W.shape[0]), X=X, W=W)
    block = _block_rows(W.shape[0], X.dtype)
    spare = None if out.flags.c_contiguous else np.empty((min(block, len(X)), len(W)), X.dtype)
    for rows in _row_blocks(len(X), block):
        x = X[rows]
        require_finite("X", x, rows.start)
        phi = out[rows] if spare is None else spare[: len(x)]
        np.matmul(_for_blas(x), weights.T, out=phi)
        if sigma.code is not None:
            _core.activate_block(sigma.code, phi)
        else:
            phi[...] = sigma(phi)
        if spare is not None:
            out[rows] = phi
    return out


def spike_features(
    Z: ArrayLike,
    s: ArrayLike,
    u: ArrayLike,
    eta: float,
    activation: FunctionLike,
    *,
    out: Array | None = None,
) -> Array:
    r"""Features after a rank-one step, without repeating the product with the weights.

    With ``Z = X W^T`` and ``s = X v`` the features of ``W + eta u v^T`` are
    ``sigma(Z + eta s u^T)``: one pass over ``Z``, so a sweep over ``eta`` costs O(n p) a value.

    Parameters
    ----------
    Z : array_like of float32 or float64, shape (n, p)
        Preactivations before the step.
    s : array_like of float32 or float64, shape (n,)
        Projections of the samples on the spike direction.
    u : array_like of float32 or float64, shape (p,)
        Readout value of each neuron.
    eta : float
        Step size.
    activation : str, callable or (callable, derivative)
        As in `feature_map`.
    out : ndarray, shape (n, p), optional
        Where to write, of the dtype of ``Z``; ``Z`` itself is allowed.

    Returns
    -------
    ndarray, shape (n, p)
        The features, in the dtype of ``Z``.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `feature_map`. If an entry of ``Z`` is not finite, the rows of ``out`` before it have
        been written.

    Notes
    -----
    Source: theory.md, sections 1 and 2.
    """
    sigma = resolve(activation)
    given, Z = Z, data_array("Z", Z, 2)
    s, u = data_array("s", s, 1, like=Z), data_array("u", u, 1, like=Z)
    require_match(Z=(Z, 0), s=(s, 0))
    require_match(Z=(Z, 1), u=(u, 0))
    require_finite("s", s)
    require_finite("u", u)
    step = _scalar("eta", eta)
    s, u = np.ascontiguousarray(s), np.ascontiguousarray(u)
    others = {"s": s, "u": u} if out is given and out is Z else {"Z": Z, "s": s, "u": u}
    out = _features_array(out, Z.shape, **others)
    whole = sigma.code is not None and Z.flags.c_contiguous and out.flags.c_contiguous
    block = len(Z) if whole else _block_rows(Z.shape[1], Z.dtype)
    for rows in _row_blocks(len(Z), block):
        z = np.ascontiguousarray(Z[rows])
        if sigma.code is None:
            require_finite("Z", z, rows.start)
            out[rows] = sigma(z + (step * s[rows, None]) * u)
            continue
        phi = out[rows] if out.flags.c_contiguous else np.empty_like(z)
        done = _core.spike_block(sigma.code, z, s[rows], u, step, phi)
        if done < len(z):
            require_finite("Z", z[done:], rows.start + done)
        if not out.flags.c_contiguous:
            out[rows] = phi
    return out


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
    residual and ``sigma'`` between them. Beyond ``X`` it needs O(block p + p d) memory.

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
    activation : str or (callable, derivative)
        Named, or a pair of vectorised functions.
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
        If shapes do not match, an array is empty, an entry is not finite, or the activation has
        no derivative.
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
    sigma = _differentiable(activation)
    X, W = data_array("X", X, 2), data_array("W", W, 2)
    y = data_array("y", y, 1, like=X)
    values = real_array("a", a)
    if values.shape != W.shape[:1]:
        raise ValueError(f"a must have shape {W.shape[:1]}, one value a neuron: {values.shape}")
    require_match(X=(X, 1), W=(W, 1))
    require_match(X=(X, 0), y=(y, 0))
    require_finite("W", W)
    require_finite("y", y)
    step = _scalar("eta", eta)
    direction = None if theta is None else _direction(theta, X)
    (n, d), p = X.shape, len(W)
    if block is None:
        block = _block_rows(p, X.dtype)
    elif block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    size = (2 * p * d + min(block, n) * (p + d)) * X.dtype.itemsize
    require_memory(size, f"a gradient step on weights of shape {W.shape}", "take a smaller block")

    weights = np.ascontiguousarray(W, dtype=X.dtype)
    moved = np.zeros((p, d), X.dtype)  # sum_mu (y - yhat) sigma'(<w_i, x_mu>) x_mu, then W
    pull = np.zeros(d)  # sum_mu (y - yhat) x_mu
    readout = values.astype(X.dtype)
    signal = np.empty((min(block, n), p), X.dtype)
    residual = np.empty(min(block, n), X.dtype)
    gemm, gemv = blas.get_blas_funcs(("gemm", "gemv"), dtype=X.dtype)
    for rows in _row_blocks(n, block):
        x = np.ascontiguousarray(X[rows])
        require_finite("X", x, rows.start)
        e, res = signal[: len(x)], residual[: len(x)]
        # BLAS counts columns first, so everything is transposed: e = x W^T. Not by np.matmul: a
        # second BLAS library beside SciPy's would bring threads of its own.
        gemm(1.0, weights.T, x.T, beta=0.0, c=e.T, trans_a=1, overwrite_c=1)
        if sigma.code is not None:
            _core.signal_block(sigma.code, e, np.ascontiguousarray(y[rows]), readout, res)
        else:
            np.subtract(y[rows], sigma(e) @ values / p, out=res, casting="same_kind")
            slope = np.asarray(sigma.derivative(e))
            np.multiply(res[:, None], slope, out=e, casting="same_kind")
        gemm(1.0, x.T, e.T, beta=1.0, c=moved.T, trans_b=1, overwrite_c=1)  # moved += e^T x
        pull += gemv(1.0, x.T, res)
    moved *= (step / n * values).astype(X.dtype)[:, None]
    moved += weights
    return _measure(moved, pull, values, direction)


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


def _differentiable(activation: FunctionLike) -> Activation:
    sigma = resolve(activation)
    if sigma.code is None and sigma.slope is None:
        raise ValueError(
            f"activation={sigma.name!r} needs its derivative for a gradient step: "
            f"give the pair (function, derivative)"
        )
    if not sigma.differentiable:
        raise ValueError(
            f"activation={sigma.name!r} cannot take a gradient step: its derivative vanishes "
            f"wherever it exists"
        )
    return sigma


def _direction(theta: ArrayLike, X: Array) -> Floats:
    direction = real_array("theta", theta)
    if direction.shape != X.shape[1:]:
        raise ValueError(f"theta must have shape {X.shape[1:]}, got {direction.shape}")
    length = np.linalg.norm(direction)
    if length == 0:
        raise ValueError("theta must not be zero: it is a direction")
    return np.asarray(direction / length)


def _scalar(name: str, value: Any) -> float:
    array = real_array(name, value)
    if array.ndim:
        raise ValueError(f"{name} must be a number, got shape {array.shape}")
    return float(array)


def _features_array(out: Array | None, shape: tuple[int, ...], **inputs: Array) -> Array:
    dtype = next(iter(inputs.values())).dtype
    if out is None:
        size = shape[0] * shape[1] * dtype.itemsize
        require_memory(size, f"features of shape {shape}", "work on blocks of samples")
    return output_array(out, shape, dtype, **inputs)


def _block_rows(p: int, dtype: np.dtype[Any]) -> int:
    return max(_LEAST_ROWS, _BLOCK_BYTES // (p * dtype.itemsize))


def _row_blocks(n: int, block: int) -> Iterator[slice]:
    return (slice(start, min(start + block, n)) for start in range(0, n, block))


def _for_blas(A: Array) -> Array:
    """Return the matrix, copied if no leading dimension describes it to BLAS."""
    for axis in (0, 1):
        unit, lead = A.strides[axis], A.strides[1 - axis]
        if unit == A.itemsize and lead >= A.shape[axis] * unit and lead % A.itemsize == 0:
            return A
    return np.ascontiguousarray(A)
