"""Layers on trial: a ridge readout on some rows, judged on rows held out.

Everything here works on standardised rows in single precision, the constant input as their last
column; Gram matrices are summed and factorised in double precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from scipy.linalg import lapack

from spikedrf import _core
from spikedrf.activations import Activation
from spikedrf.arrays import Array, row_blocks
from spikedrf.gradient_step import LayerGradient
from spikedrf.parameters import Floats

#: Rows of which products are summed in single precision.
_BLOCK = 1024
#: More ridges than this share a tridiagonal form, fewer have a factorisation each.
_FACTORISATIONS = 6
#: The metric is that of a fit whose ridge is at most this part of the features' variance.
_METRIC_RIDGE = 0.1


class Samples(Protocol):
    """Rows of a readout, wherever their inputs are."""

    @property
    def y(self) -> Array:
        """Targets, shape (n, targets)."""

    @property
    def weight(self) -> Array | None:
        """Weights, shape (n,), or None."""

    @property
    def total(self) -> float:
        """Sum of the weights."""

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield the inputs in blocks."""


class Data(NamedTuple):
    """Rows ``x`` (n, d + 1), standardised targets ``y`` (n, targets) and weights, or None."""

    x: Array
    y: Array
    weight: Array | None

    @property
    def total(self) -> float:
        """Sum of the weights."""
        if self.weight is None:
            return float(len(self.y))
        return float(self.weight.sum(dtype=np.float64))

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield the inputs in blocks."""
        return ((rows, self.x[rows]) for rows in row_blocks(len(self.y), _BLOCK))


class Fold(NamedTuple):
    """The rows of a fit and those that judge it."""

    kept: Data
    held: Data


@dataclass(frozen=True, eq=False)
class Readout:
    """Ridge regression on a layer's features, for every ridge that may be asked for.

    Attributes
    ----------
    layer : ndarray of float32, shape (p, d + 1)
        Weights, the offsets as last column.
    data : Samples
        The rows of the fit.
    activation : Activation
    gram : ndarray, shape (p, p)
        ``Phi^T Phi / p`` of deviations from the mean.
    moment : ndarray, shape (p, targets)
        ``Phi^T y / p``.
    mean, mean_y : ndarray, shapes (p,) and (targets,)
        Means of features and targets; zero without an intercept.
    unit : float
        Mean variance of the features over the rows: the unit of ridges.
    """

    layer: Array
    data: Samples
    activation: Activation
    gram: Floats
    moment: Floats
    mean: Floats
    mean_y: Floats
    unit: float

    @classmethod
    def of(cls, layer: Array, data: Samples, activation: Activation, *, intercept: bool) -> Readout:
        """Sum up the features of the rows."""
        p, total = len(layer), data.total
        y = data.y.astype(np.float64)
        share = np.full(len(y), 1.0 / total) if data.weight is None else data.weight / total
        mean_y = share @ y if intercept else np.zeros(y.shape[1])
        gram, moment, mean = np.zeros((p, p)), np.zeros((p, y.shape[1])), np.zeros(p)
        shift, product = np.zeros(p, np.float32), np.empty((p, p), np.float32)
        for rows, x in data.blocks():
            phi = features(x, layer, activation)
            label = (y[rows] - mean_y).astype(np.float32)
            if intercept:
                # Deviations from a guess, so that single precision loses little.
                if rows.start == 0:
                    shift = phi.mean(axis=0)
                phi -= shift
            if data.weight is None:
                mean += phi.sum(axis=0, dtype=np.float32)
            else:
                mean += data.weight[rows] @ phi
                root = np.sqrt(data.weight[rows])[:, None]
                phi *= root
                label *= root
            gram += np.matmul(phi.T, phi, out=product)
            moment += phi.T @ label
        if intercept:
            mean /= total
            gram -= np.multiply.outer(total * mean, mean)
            mean += shift
        else:
            mean[:] = 0.0
        unit = float(np.trace(gram)) / (p * total)
        return cls(
            layer, data, activation, gram / p, moment / p, mean, mean_y, unit if unit > 0 else 1.0
        )

    def solve(self, ridges: Floats) -> Floats:
        """Return the readouts, shape (p, ridges, targets); NaN where rounding forbids one."""
        p, targets = self.moment.shape
        if len(ridges) > _FACTORISATIONS and p > 2:
            return _by_tridiagonal(self.gram, self.moment, self.unit * ridges)
        out = np.full((p, len(ridges), targets), np.nan)
        for i, ridge in enumerate(ridges):
            shifted = self.gram.copy().T
            shifted[np.diag_indices(p)] += self.unit * ridge
            factor, failed = lapack.dpotrf(shifted, lower=1, clean=0, overwrite_a=1)
            if not failed:
                out[:, i] = lapack.dpotrs(factor, self.moment, lower=1)[0]
        return out

    def predictions(self, data: Samples, a: Floats) -> Iterator[tuple[slice, Array]]:
        """Yield what readouts (p, ...) predict of blocks of rows."""
        flat = a.reshape(len(a), -1).astype(np.float32)
        offset = self.mean_y - np.tensordot(self.mean, a, axes=1)
        for rows, x in data.blocks():
            phi = features(x, self.layer, self.activation)
            yield rows, (phi @ flat).reshape(-1, *a.shape[1:]) + offset.astype(np.float32)

    def squares(self, held: Data, a: Floats) -> Floats:
        """Return squared errors of rows held out, targets averaged, shape (n, ridges)."""
        out = np.empty((len(held.y), a.shape[1]))
        for rows, prediction in self.predictions(held, a):
            out[rows] = np.square(held.y[rows, None, :] - prediction).mean(axis=2)
        return np.where(np.isnan(out), np.inf, out)


def _by_tridiagonal(gram: Floats, moment: Floats, ridges: Floats) -> Floats:
    """Return the readouts of many ridges, from one reduction ``gram = Q T Q^T``.

    It costs four factorisations, an eigendecomposition twenty.
    """
    (p, targets), work = moment.shape, 64 * len(gram)
    reflectors, diagonal, off, tau, _ = lapack.dsytrd(gram.T, lower=1, lwork=work)
    # The first row and column stay what they are: Q is that of the others.
    reflectors = np.asfortranarray(reflectors[1:, :-1])
    rotated = np.array(moment, order="F")
    rotated[1:] = lapack.dormqr("L", "T", reflectors, tau, rotated[1:], work)[0]
    out = np.full((p, len(ridges), targets), np.nan)
    for i, ridge in enumerate(ridges):
        *_, part, failed = lapack.dptsv(diagonal + ridge, off, rotated)
        if not failed:
            out[:, i] = part
    flat = np.asfortranarray(out.reshape(p, -1))
    flat[1:] = lapack.dormqr("L", "N", reflectors, tau, flat[1:], work)[0]
    return np.asarray(flat.reshape(p, -1, targets))


class Fit:
    """A layer, its readout at one ridge, and what follows from both.

    Parameters
    ----------
    readout : Readout
    ridge : float
        In units of `Readout.unit`.
    a : ndarray, shape (p, targets)
        The readout there.
    """

    def __init__(self, readout: Readout, ridge: float, a: Floats) -> None:
        self.readout, self.ridge, self.a = readout, ridge, a

    @classmethod
    def replayed(cls, readout: Readout, ridge: float) -> Fit:
        """Fit other rows than those that chose the ridge: at a larger one if these need it."""
        for larger in ridge * 10.0 ** np.arange(12.0):
            a = readout.solve(np.array([larger]))[:, 0]
            if np.isfinite(a).all():
                break
        return cls(readout, float(larger), a)

    @property
    def layer(self) -> Array:
        """The weights, shape (p, d + 1)."""
        return self.readout.layer

    @cached_property
    def gradients(self) -> tuple[Floats, Floats]:
        """As `gradients`, at a ridge that is not large."""
        a = self.a
        if self.ridge > _METRIC_RIDGE:
            a = self.readout.solve(np.array([_METRIC_RIDGE]))[:, 0]
        readout = self.readout
        d = readout.layer.shape[1] - 1
        return gradients(readout.layer, a, readout.data, readout.activation, d)

    def prepare(self, *, metric: bool) -> None:
        """Work out what metric rounds, or steps, need."""
        _ = self.gradients if metric else self.descent

    @property
    def metric(self) -> Floats:
        """The mean of ``grad f grad f^T``, targets added up, with trace d; shape (d, d)."""
        return with_trace(self.gradients[0].sum(axis=0))

    @cached_property
    def descent(self) -> Array:
        """Minus the gradient of the squared error in the layer, every row of length one.

        Shape (p, d + 1); a row of zeros where the gradient vanishes.
        """
        readout, data = self.readout, self.readout.data
        offset = (readout.mean_y - readout.mean @ self.a).astype(np.float32)
        if self.a.shape[1] == 1:
            own = len(self.a) * self.a[:, 0]
            gradient = LayerGradient(readout.layer, own, readout.activation)
            for rows, x in data.blocks():
                weight = None if data.weight is None else data.weight[rows]
                gradient.update(x, data.y[rows, 0] - offset, weight)
            total = gradient.total * np.sign(own)[:, None].astype(np.float32)
        else:
            a = self.a.astype(np.float32)
            total = np.zeros_like(readout.layer)
            for rows, x in data.blocks():
                residual = data.y[rows] - features(x, readout.layer, readout.activation) @ a
                residual -= offset
                if data.weight is not None:
                    residual *= data.weight[rows, None]
                slope = slopes(x, readout.layer, readout.activation)
                slope *= residual @ a.T
                total += slope.T @ x
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return np.asarray(total / np.where(length > 0, length, 1.0))


def features(x: Array, layer: Array, activation: Activation) -> Array:
    """Return ``sigma(x layer^T)``."""
    z = x @ layer.T
    if activation.code is not None:
        _core.activate_block(activation.code, z)
        return z
    return activation(z.astype(np.float64)).astype(z.dtype)


def slopes(x: Array, layer: Array, activation: Activation) -> Array:
    """Return ``sigma'(x layer^T)``."""
    z = x @ layer.T
    if activation.code is not None:
        nothing = np.zeros(len(z), z.dtype)
        _core.residual_block(
            activation.code, z, nothing, np.zeros(len(layer), z.dtype), np.empty_like(nothing)
        )
        return z
    return activation.derivative(z.astype(np.float64)).astype(z.dtype)


def gradients(
    layer: Array, a: Floats, data: Samples, activation: Activation, d: int
) -> tuple[Floats, Floats]:
    """Return the means of ``grad f grad f^T`` and of ``grad f`` over rows, for each target.

    Parameters
    ----------
    layer : ndarray of float32, shape (p, d) or (p, d + 1)
    a : ndarray, shape (p, targets)
    data : Samples
    activation : Activation
    d : int
        Number of inputs.

    Returns
    -------
    ndarray, shapes (targets, d, d) and (targets, d)
    """
    targets = a.shape[1]
    square, mean = np.zeros((targets, d, d)), np.zeros((targets, d))
    W = layer[:, :d]
    scaled = [np.ascontiguousarray(column[:, None] * W) for column in a.T.astype(np.float32)]
    for rows, x in data.blocks():
        slope = slopes(x, layer, activation)
        for t in range(targets):
            gradient = slope @ scaled[t]
            weighted = gradient
            if data.weight is not None:
                weighted = gradient * data.weight[rows, None]
            square[t] += weighted.T @ gradient
            mean[t] += weighted.sum(axis=0, dtype=np.float64)
    return square / data.total, mean / data.total


def with_trace(square: Floats) -> Floats:
    """Return a metric of trace d; the identity for zero."""
    trace = float(np.trace(square))
    return square * (len(square) / trace) if trace > 0.0 else np.eye(len(square))
