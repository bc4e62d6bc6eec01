"""Feature maps ``sigma(X W^T)``, and their update by a spike of rank one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from spikedrf import _core
from spikedrf.activations import Activation, FunctionLike, resolve
from spikedrf.arrays import (
    Array,
    block_rows,
    data_array,
    output_array,
    require_finite,
    require_match,
    row_blocks,
)
from spikedrf.parameters import number
from spikedrf.running.memory import require_memory

# Up to here our own products, with the activation in the same pass, are ahead of BLAS.
_FEW_INPUTS = 64


def feature_map(
    X: ArrayLike, W: ArrayLike, activation: FunctionLike, *, out: Array | None = None
) -> Array:
    r"""Features of a first layer, ``Phi = sigma(X W^T)``.

    Computed in blocks of rows that stay in cache: the product by BLAS, the activation in place.
    With a named activation and at most 64 inputs both in one pass, by kernels of our own.

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
    few = few_inputs(W, sigma)
    weights = W.astype(X.dtype, copy=False)
    weights = panels(weights) if few else _for_blas(weights)
    out = _features_array(out, (X.shape[0], W.shape[0]), X=X, W=W)
    block = block_rows(W.shape[0], X.dtype)
    spare = None if out.flags.c_contiguous else np.empty((min(block, len(X)), len(W)), X.dtype)
    for rows in row_blocks(len(X), block):
        x = X[rows]
        require_finite("X", x, rows.start)
        phi = out[rows] if spare is None else spare[: len(x)]
        if sigma.code is None:
            np.matmul(_for_blas(x), weights.T, out=phi)
            phi[...] = sigma(phi)
        elif few:
            _core.few_input_block(sigma.code, np.ascontiguousarray(x), weights, phi)
        else:
            np.matmul(_for_blas(x), weights.T, out=phi)
            _core.activate_block(sigma.code, phi)
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
    step = number("eta", eta)
    s, u = np.ascontiguousarray(s), np.ascontiguousarray(u)
    others = {"s": s, "u": u} if out is given and out is Z else {"Z": Z, "s": s, "u": u}
    out = _features_array(out, Z.shape, **others)
    whole = sigma.code is not None and Z.flags.c_contiguous and out.flags.c_contiguous
    block = len(Z) if whole else block_rows(Z.shape[1], Z.dtype)
    for rows in row_blocks(len(Z), block):
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


def _features_array(out: Array | None, shape: tuple[int, ...], **inputs: Array) -> Array:
    dtype = next(iter(inputs.values())).dtype
    if out is None:
        size = shape[0] * shape[1] * dtype.itemsize
        require_memory(size, f"features of shape {shape}", "work on blocks of samples")
    return output_array(out, shape, dtype, **inputs)


def few_inputs(W: Array, activation: Activation) -> bool:
    """Return whether the kernels for few inputs serve a layer."""
    return activation.code is not None and W.shape[1] <= _FEW_INPUTS


def panels(W: Array) -> Array:
    """Weights in panels of a few neurons each, for the products with few inputs."""
    W = np.ascontiguousarray(W)
    packed = np.empty(_core.panel_numbers(W), W.dtype)
    _core.pack_block(W, packed)
    return packed


def _for_blas(A: Array) -> Array:
    """Return the matrix, copied if no leading dimension describes it to BLAS."""
    for axis in (0, 1):
        unit, lead = A.strides[axis], A.strides[1 - axis]
        if unit == A.itemsize and lead >= A.shape[axis] * unit and lead % A.itemsize == 0:
            return A
    return np.ascontiguousarray(A)
