"""Spike and bulk of a first layer that has been trained already, read off its weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import FunctionLike, resolve, step_moments
from spikedrf.first_layer.bulk import BulkNodes, check_bulk
from spikedrf.first_layer.model import FirstLayer, Producer, Spike
from spikedrf.inputs.masses_of_rows import masses_of_rows
from spikedrf.parameters import real_array
from spikedrf.theory.solution import Solution
from spikedrf.theory.solve import solve

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# The grid of values for a layer's bulk goes down to this fraction of the largest.
_SMALLEST = 2e-3

# Coefficients along the spike that are this many standard deviations of a neuron apart have none
# between them that belong to the same readout value.
_GAP = 4.0


class LayerWarning(UserWarning):
    """A first layer is not what the theory takes it to be."""


@dataclass(frozen=True, eq=False)
class Layer(Producer):
    r"""A trained first layer as the theory sees it: what `from_layer` returns.

    Attributes
    ----------
    spike : Spike
        Strength and bulk variance of each group of neurons, alignment with the target direction.
    v : ndarray, shape (d,)
        The spike's direction.
    groups : ndarray of int, shape (p,)
        Group of each neuron.
    value, weight : ndarray, shape (J, K) and (4, J)
        The bulk as nodes: values of the groups' covariances, and what the trace, (v, v), (v, xi)
        and (xi, xi) see of them.
    shape : tuple of int
        Neurons and input dimension.
    """

    spike: Spike
    v: Floats
    groups: Integers
    value: Floats
    weight: Floats
    shape: tuple[int, int]

    own_bulk = "network"

    @property
    def beta(self) -> float:
        """Width over dimension."""
        p, d = self.shape
        return p / d

    def solve(self, alpha: ArrayLike, **options: Any) -> Solution:
        """Predict the errors of a readout on this layer, before it is fitted.

        Parameters
        ----------
        alpha : float or array_like
            Fresh training samples over input dimension.
        **options
            As for `theory.solve`: ``lam``, and the ``activation``, ``target`` and ``noise`` that
            the layer and its labels have. ``beta`` and the bulk are the layer's.

        Returns
        -------
        Solution

        Raises
        ------
        TypeError, ValueError
            As `theory.solve`.
        """
        return solve(alpha, step=self, beta=self.beta, **options)

    def first_layer(
        self,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: ArrayLike = 0.0,
        *,
        bulk: str | None = None,
        wrt: Sequence[str] = (),
    ) -> FirstLayer:
        """Return the layer as the theory takes it, with its own bulk.

        See `Producer.first_layer`; with ``bulk="isotropic"`` it is the spike alone.
        """
        check_bulk(name := self.own_bulk if bulk is None else bulk)
        own = BulkNodes(self.value, *self.weight) if name == "network" else None
        return FirstLayer.along_one(self.spike, own)

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of the spike."""
        return self.spike.parameters

    def __repr__(self) -> str:
        p, d = self.shape
        return f"Layer(p={p}, d={d}, {self.spike!r})"


def from_layer(
    W: ArrayLike,
    theta: ArrayLike | None = None,
    *,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    target: FunctionLike = "tanh",
    groups: ArrayLike | None = None,
) -> Layer:
    r"""Read spike and bulk off a trained first layer.

    ``w_i = r_k v + w~_i``: ``v`` is the leading right singular vector of ``W``, the groups are
    clusters of the coefficients ``<w_i, v>``, ``r_k`` and ``c_k`` the averages of these and of
    ``|w~_i|^2``. What is left of the rows is a sample of ``p`` from a covariance that is wanted
    itself. With the eigenvalues ``l`` and eigenvectors of ``W~^T W~``, rows in units of
    ``sqrt(c_k)``, ridge regression sees of the sample::

        G(b) = (1/p) Tr (1 + b W~ W~^T)^{-1},
        R_f(x) = f' W~^T W~ (1 + b W~^T W~)^{-1} f / (beta G)      at x = beta b G(b)

    exactly what it would see of a covariance ``Sigma`` with ``f' Sigma (1 + x Sigma)^{-1} f =
    R_f(x)``. Nodes are fitted to these functions for the trace and for v and xi.

    Parameters
    ----------
    W : array_like, shape (p, d)
        Weights of the neurons, in rows; inputs have unit variance.
    theta : array_like, shape (d,), optional
        Direction of the target.
    X, y : array_like, shapes (n, d) and (n,), optional
        Samples with labels, not those that trained the layer, instead of ``theta``. Their mean
        ``E y x`` estimates ``theta``, so many are needed: some tens for each dimension.
    target : str or callable
        Teacher function ``g``, needed with ``X`` and ``y`` for ``E z g(z)``.
    groups : array_like of int, shape (p,), optional
        Group of each neuron, if known.

    Returns
    -------
    Layer
        ``theory.solve`` takes it as ``step``, with its bulk; its own ``solve`` knows its width too.

    Raises
    ------
    TypeError, ValueError
        If an array is of the wrong kind or shape, neither ``theta`` nor ``X`` and ``y`` are given,
        or ``E z g(z) = 0``, so that samples do not tell the direction.

    Warns
    -----
    LayerWarning
        If there is no clear spike, the groups are not separated, or neurons of a group differ in
        length or several groups in the shape of their bulk: the theory assumes otherwise.

    Notes
    -----
    Source: theory.md, section 10. The average over a random bulk there is undone here by its own
    self-consistent equation, because ``p`` is not large compared with ``d``. Several groups
    share one shape of the bulk, ``Sigma_k = c_k T``.

    Examples
    --------
    >>> import numpy as np
    >>> from spikedrf import theory
    >>> rng = np.random.default_rng(0)
    >>> W = rng.standard_normal((300, 200)) / np.sqrt(200)
    >>> theta = np.eye(200)[0]
    >>> layer = theory.from_layer(W + 1.5 * theta, theta)
    >>> layer
    Layer(p=300, d=200, Spike(r=1.50289, c=0.997053, gamma=0.999217))
    >>> print(round(layer.solve(2.0, lam=0.1, target="sin").test_error, 3))
    0.012
    """
    W = real_array("W", W)
    if W.ndim != 2 or min(W.shape) < 2:
        raise ValueError(f"W must have shape (p, d) with p, d >= 2, got {W.shape}")
    p, d = W.shape
    direction = _direction(theta, X, y, target, d)
    with np.errstate(over="ignore"):
        covariance = W.T @ W
    if not np.isfinite(covariance).all():
        raise ValueError("W must be smaller: products of its rows overflow")
    square, vectors = np.linalg.eigh(covariance)
    v = vectors[:, -1]
    along = W @ v
    if along.sum() < 0:
        v, along = -v, -along
    rest = max(float(np.sum(square[:-1])), 0.0)
    width = np.sqrt(rest / p / d)
    if not square[-1] > 2.0 * square[-2]:
        _warn(
            f"no clear spike: the largest two eigenvalues of W^T W are {square[-1]:.3g} and "
            f"{square[-2]:.3g}"
        )
    which = _cluster(along, width) if groups is None else _given(groups, p)
    count = np.bincount(which)
    r = np.bincount(which, along) / count
    left = W - r[which, None] * v
    length = np.einsum("ij,ij->i", left, left)
    c = np.bincount(which, length) / count
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shape = (left.T / c[which]) @ left
    if p <= r.size or not (c > 1e-24 * r**2).all() or not np.isfinite(shape).all():
        raise ValueError(
            "W must have a bulk: nothing but rounding is left of the rows of a group beside its "
            "spike, or no group has more than one row"
        )
    _check_groups(along, which, r, width, length / c[which], d)

    gamma = float(np.clip(v @ direction, -1.0, 1.0))
    eigenvalue, U = np.linalg.eigh(shape)
    seen = {"v": U.T @ v, "theta": U.T @ direction}
    # Sampling noise in the direction, of all directions alike, is what its length exceeds one by.
    noise = float(direction @ direction) - 1.0
    forms = np.stack(
        [
            np.full(d, 1.0 / d),
            seen["v"] ** 2,
            seen["v"] * seen["theta"],
            seen["theta"] ** 2 - noise / d,
        ]
    )
    across = np.sqrt(1.0 - gamma**2)
    forms[2] = (forms[2] - gamma * forms[1]) / across if across > 1e-6 else 0.0
    forms[3] = (
        (forms[3] - gamma**2 * forms[1] - 2.0 * gamma * across * forms[2]) / across**2
        if across > 1e-6
        else forms[0]
    )
    # Each group has lost its mean.
    node, weight = _nodes(np.maximum(eigenvalue, 0.0), forms, p - r.size)
    single = r.size == 1
    spike = Spike(
        r[0] if single else r,
        c[0] if single else c,
        gamma,
        None if single else count / p,
    )
    return Layer(spike, v, which, node[:, None] * c, weight, (p, d))


def _direction(
    theta: ArrayLike | None,
    X: ArrayLike | None,
    y: ArrayLike | None,
    target: FunctionLike,
    d: int,
) -> Floats:
    """Return an unbiased estimate of theta."""
    if theta is not None:
        direction = real_array("theta", theta)
        length = np.linalg.norm(direction)
        if direction.shape != (d,) or length == 0.0:
            raise ValueError(f"theta must be a direction of shape ({d},), got {direction.shape}")
        return np.asarray(direction / length)
    if X is None or y is None:
        raise ValueError("the target direction is needed: give theta, or X and y")
    X, y = real_array("X", X), real_array("y", y)
    if X.ndim != 2 or X.shape[1] != d:
        raise ValueError(f"X must have shape (n, {d}), got {X.shape}")
    if y.shape != X.shape[:1]:
        raise ValueError(f"y must have shape {X.shape[:1]}, got {y.shape}")
    moments = step_moments(resolve(target, "target"), slope=False)
    if abs(moments.h1) <= 1e-12 * moments.second**0.5:
        raise ValueError(
            f"target={target!r} has E z g(z) = 0: samples do not tell its direction; give theta"
        )
    return np.asarray(X.T @ y / len(y) / moments.h1)


def _cluster(along: Floats, width: float) -> Integers:
    """Cut the sorted coefficients where there are gaps; groups in descending order."""
    order = np.argsort(-along)
    cut = -np.diff(along[order]) > _GAP * width
    which = np.empty(along.size, dtype=np.int64)
    which[order] = np.concatenate([[0], np.cumsum(cut)])
    return which


def _given(groups: ArrayLike, p: int) -> Integers:
    try:
        labels = np.asarray(groups)
    except ValueError:
        raise ValueError(
            f"groups must have shape ({p},), one label a neuron, got rows of unequal length"
        ) from None
    if labels.shape != (p,):
        raise ValueError(f"groups must have shape ({p},), one label a neuron, got {labels.shape}")
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _check_groups(
    along: Floats, which: Integers, r: Floats, width: float, length: Floats, d: int
) -> None:
    spread = np.sqrt(np.bincount(which, (along - r[which]) ** 2) / np.bincount(which))
    if np.bincount(which).min() < 2 or spread.max() > 5.0 * width:
        sizes = ", ".join(map(str, np.bincount(which)))
        _warn(
            f"the readout groups are not separated: coefficients along the spike spread by up to "
            f"{spread.max():.3g} in groups of {sizes} neurons, where {width:.3g} is the rest of "
            f"the weights; give groups"
        )
    unequal = float(np.std(length))
    if unequal > 0.1 + 5.0 * np.sqrt(2.0 / d):
        _warn(
            f"neurons of a group differ in length: |w - r v|^2 varies by {unequal:.0%}, where the "
            f"theory takes it to be the same"
        )


def _nodes(eigenvalue: Floats, forms: Floats, rows: int) -> tuple[Floats, Floats]:
    """Return nodes and what the trace, v, v with xi, and xi see of them."""
    trace, vv, vx, xx = forms
    # The mixed form is what v + xi sees beyond v and xi.
    positive = np.stack([trace, vv, 0.5 * (vv + xx) + vx, xx])
    node, weight = masses_of_rows(
        eigenvalue, positive, rows, smallest=_SMALLEST, beside=np.broadcast_to(trace, forms.shape)
    )
    weight[2] -= 0.5 * (weight[1] + weight[3])
    used = (weight != 0.0).any(axis=0)
    largest, node, weight = node[-1], node[used], weight[:, used]
    # The mean of the values is the variance that the tables of the theory know; what the masses
    # lack of 1, 1, 0, 1 has no value.
    weight *= 1.0 / (weight[0] @ node)
    missing = np.array([1.0, 1.0, 0.0, 1.0]) - weight.sum(axis=1)
    return np.append(1e-9 * largest, node), np.column_stack([missing, weight])


def _warn(text: str) -> None:
    warnings.warn(text, LayerWarning, stacklevel=3)
