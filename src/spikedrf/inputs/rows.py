"""The covariance of rows, with the noise of a finite number of them taken out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import hermite_e
from numpy.typing import ArrayLike, NDArray

from spikedrf.inputs.masses_of_rows import masses_of_rows
from spikedrf.parameters import real_array

Floats = NDArray[np.float64]

# The grid of eigenvalues goes down to this fraction of the largest.
_SMALLEST = 1e-4
_LEAST_ROWS = 8
_DEGREE, _FOLDS, _PROJECTIONS = 7, 5, 50

# Further from Gaussian than so much, and than chance explains at one in a thousand, is said.
_FAR, _CHANCE = 0.03, 1.95


class DataWarning(UserWarning):
    """Rows are not what the theory takes them to be."""


@dataclass(frozen=True)
class Reading:
    """What `read_rows` finds, see `Covariance.from_data`."""

    eigenvalues: Floats
    dimensions: Floats
    target: Floats | None
    noise: float | None
    linear: Any
    link_noise: float | None
    link: Any
    explained: float | None
    non_gaussian: float


class Link:
    """A function of the direction: a series of orthonormal Hermite polynomials.

    Attributes
    ----------
    coefficients : ndarray
        Of ``He_k(s)/sqrt(k!)``, from k = 0.
    """

    def __init__(self, coefficients: Floats) -> None:
        self.coefficients = coefficients
        self.__name__ = f"link of degree {coefficients.size - 1}"

    def __call__(self, s: Floats) -> Floats:
        """Evaluate elementwise; constant beyond six standard deviations."""
        return _basis(np.clip(s, -6.0, 6.0), self.coefficients.size - 1) @ self.coefficients


def read_rows(X: ArrayLike, y: ArrayLike | None) -> Reading:
    """See `Covariance.from_data`."""
    rows = real_array("X", X)
    if rows.ndim != 2 or rows.shape[0] < _LEAST_ROWS or rows.shape[1] < 2:
        raise ValueError(
            f"X must have shape (n, d) with n >= {_LEAST_ROWS} and d >= 2, got shape {rows.shape}"
        )
    n, d = rows.shape
    rows = rows - rows.mean(axis=0)
    if not np.any(rows):
        raise ValueError("X must vary: all its rows are equal")
    rows /= np.sqrt(np.mean(rows * rows))
    values, vectors = np.linalg.eigh(rows.T @ rows / d)
    values = np.maximum(values, 0.0)
    rng = np.random.default_rng(0)
    if y is None:
        forms = np.full((1, d), 1.0 / d)
        nodes, weight = _nodes(values, forms, n - 1)
        distance = _far_from_gaussian(rows, None, rng)
        return Reading(nodes, weight[0], None, None, None, None, None, None, distance)
    labels = real_array("y", y)
    if labels.shape != (n,):
        raise ValueError(f"y must have shape ({n},), one label a row, got shape {labels.shape}")
    if np.ptp(labels) == 0.0:
        raise ValueError(f"y must vary: all labels are {float(labels[0])!r}")
    order = rng.permutation(n)
    halves = order[: n // 2], order[n // 2 :]
    first, second = (_linear(rows[half], labels[half]) for half in halves)
    # Products between the halves: their errors are independent, so nothing is added on average.
    product = (vectors.T @ first) * (vectors.T @ second)
    forms = np.stack([np.full(d, 1.0 / d), product])
    if product @ values > 0.0:
        nodes, weight = _nodes(values, forms, n - 1)
        carried = weight[1] * nodes
    else:  # the halves disagree: no linear direction is seen
        nodes, weight = _nodes(values, forms[:1], n - 1)
        carried = np.zeros_like(nodes)
    share = carried / carried.sum() if carried.sum() > 0.0 else weight[0]
    left_out, along = _cross_fitted(rows, labels, order)
    explained = 1.0 - float(np.mean((labels - left_out) ** 2) / np.var(labels))
    noise = float(np.std(labels - left_out))
    strength = np.sqrt(max(explained, 0.0) * np.var(labels))
    linear = Link(np.array([labels.mean(), strength]))
    link, link_noise = _link(along, labels)
    distance = _far_from_gaussian(rows, along, rng)
    return Reading(nodes, weight[0], share, noise, linear, link_noise, link, explained, distance)


def _nodes(eigenvalue: Floats, forms: Floats, rows: int) -> tuple[Floats, Floats]:
    """Return nodes, of mean one, and what the forms see of them; the first is the trace."""
    node, weight = masses_of_rows(eigenvalue, forms, rows, smallest=_SMALLEST)
    used = (weight > 1e-9 * weight.sum(axis=1, keepdims=True)).any(axis=0)
    largest, node, weight = node[-1], node[used], weight[:, used]
    # Dimensions that the fit does not need have no variance to speak of.
    missing = max(1.0 - float(weight[0].sum()), 0.0)
    if missing > 1e-9:
        node = np.append(node, 1e-9 * largest)
        weight = np.column_stack([weight, np.zeros(len(weight))])
        weight[0, -1] = missing
    weight[0] /= weight[0].sum()
    # What carries the other forms has dimensions, if only few.
    bare = (weight[0] <= 0.0) & (weight > 0.0).any(axis=0)
    if bare.any():
        weight[0, bare] = 1e-6
        weight[0] /= weight[0].sum()
    scale = float(weight[0] @ node)
    return node / scale, weight


def _linear(X: Floats, y: Floats) -> Floats:
    """Coefficients of the linear function; a ridge only where the rows do not determine it."""
    n, d = X.shape
    y = y - y.mean()
    if n > 1.2 * d:
        return np.asarray(np.linalg.lstsq(X, y, rcond=1e-10)[0])
    from sklearn.linear_model import RidgeCV

    return np.asarray(RidgeCV(np.geomspace(1e-3, 1e3, 13) * n).fit(X, y).coef_)


def _cross_fitted(X: Floats, y: Floats, order: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Prediction of each row, and its place along the direction, by a fit that left it out."""
    prediction, along = np.empty((2, y.size))
    for rows in np.array_split(order, _FOLDS):
        rest = np.setdiff1d(order, rows)
        coefficients = _linear(X[rest], y[rest])
        spread = np.std(X[rest] @ coefficients)
        own = X[rows] @ coefficients
        prediction[rows] = y[rest].mean() + own
        along[rows] = own / spread if spread > 0.0 else 0.0
    return prediction, along


def _basis(s: Floats, degree: int) -> Floats:
    series = hermite_e.hermevander(s, degree)
    return np.asarray(series / np.sqrt(np.cumprod(np.append(1.0, np.arange(1, degree + 1)))))


def _link(along: Floats, y: Floats) -> tuple[Link, float]:
    """Fit the labels as a polynomial of ranks on the direction, of a degree chosen on rows."""
    from scipy.special import ndtri

    n = y.size
    folds = np.array_split(np.arange(n), _FOLDS)
    # By ranks: the theory's direction is Gaussian, and the labels then have their own variance.
    rank = np.argsort(np.argsort(along, kind="stable"), kind="stable")
    inside = ndtri((rank + 0.5) / n)
    error = np.zeros((_DEGREE, n))
    for degree in range(1, _DEGREE + 1):
        basis = _basis(inside, degree)
        for rows in folds:
            rest = np.ones(n, dtype=bool)
            rest[rows] = False
            fit = np.linalg.lstsq(basis[rest], y[rest], rcond=1e-10)[0]
            error[degree - 1, rows] = (y[rows] - basis[rows] @ fit) ** 2
    mean = error.mean(axis=1)
    best = int(np.argmin(mean))
    # The lowest degree that is not worse by more than one standard error of the difference.
    worse = error - error[best]
    spread = worse.std(axis=1) / np.sqrt(n)
    degree = int(np.flatnonzero(worse.mean(axis=1) <= spread)[0]) + 1
    fit = np.linalg.lstsq(_basis(inside, degree), y, rcond=1e-10)[0]
    return Link(fit.astype(np.float64)), float(np.sqrt(mean[degree - 1]))


def _far_from_gaussian(X: Floats, along: Floats | None, rng: np.random.Generator) -> float:
    """Largest Kolmogorov distance of projections from the normal distribution; warn if it is."""
    from scipy.special import ndtr

    n, d = X.shape
    projections = X @ rng.standard_normal((d, _PROJECTIONS))
    if along is not None:
        projections = np.column_stack([projections, along])
    spread = projections.std(axis=0)
    projections = projections[:, spread > 0] / spread[spread > 0]
    values = ndtr(np.sort(projections - projections.mean(axis=0), axis=0))
    steps = np.arange(n + 1)[:, None] / n
    distance = np.maximum(values - steps[:-1], steps[1:] - values).max(axis=0)
    largest = float(distance.max())
    if largest > max(_FAR, _CHANCE / np.sqrt(n)):
        which = "the target's direction" if distance.argmax() == _PROJECTIONS else "a random one"
        warnings.warn(
            f"projections of the rows are not Gaussian: {which} is {largest:.3f} from the normal "
            f"distribution (Kolmogorov distance; chance alone gives {_CHANCE / np.sqrt(n):.3f}): "
            f"the theory is approximate on these rows",
            DataWarning,
            stacklevel=4,
        )
    return largest
