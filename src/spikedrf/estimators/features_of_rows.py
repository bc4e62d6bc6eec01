"""Products with the features of rows, which are made anew for each product and may be elsewhere.

For rows in blocks on other machines a product is a sum over the blocks, made where they are: only
an output of each row and vectors of the size of the readout are sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from spikedrf.arrays import Array
from spikedrf.estimators.layer import InitialLayer
from spikedrf.estimators.rows import Rows
from spikedrf.parameters import Floats
from spikedrf.readout.convex import ReadoutProblem
from spikedrf.readout.newton import Design
from spikedrf.readout.ridge import add_gram


def problem_of(
    rows: Rows, layer: InitialLayer, weights: Array, *, intercept: bool
) -> ReadoutProblem:
    """Return the problem of a readout on the features of rows, wherever these are.

    Parameters
    ----------
    rows : Rows
    layer : InitialLayer
        For its activation.
    weights : ndarray, shape (p, d)
    intercept : bool
    """
    mean = np.zeros(len(weights))
    if intercept:
        mean = rows.sum(partial(_mean, layer, weights)) / rows.weight.sum()
    design = _Features(rows.weight, intercept, rows, layer, weights, mean)
    return ReadoutProblem.on(design, mean)


@dataclass(frozen=True, eq=False)
class _Features(Design):
    """Features over ``sqrt p`` less their mean, and ones.

    Attributes
    ----------
    rows : Rows
    layer : InitialLayer
    weights : ndarray, shape (p, d)
    mean : ndarray, shape (p,)
    """

    rows: Rows
    layer: InitialLayer
    weights: Array
    mean: Floats

    @property
    def q(self) -> int:
        """Number of coefficients."""
        return len(self.mean) + int(self.intercept)

    def outputs(self, x: Floats) -> Floats:
        """Return them: ``n`` numbers from the blocks."""
        p = len(self.mean)
        offset = -self.mean @ x[:p] + (x[p] if self.intercept else 0.0)
        a = x[:p] / np.sqrt(p)
        return np.asarray(self.rows.each(partial(_outputs, self.layer, self.weights, a)) + offset)

    def back(self, slopes: Floats) -> Floats:
        """Return the sum over the blocks."""
        product = self.rows.sum(partial(_back, self.layer, self.weights), slopes)
        total = slopes.sum(axis=0)
        product -= np.multiply.outer(self.mean, total)
        return np.concatenate([product, total[None]]) if self.intercept else product

    def weighted_gram(self, weight: Floats, within: float = 0.0) -> Floats:
        """Return the sum over the blocks."""
        measure = partial(_gram, self.layer, self.weights, self.mean, self.intercept)
        return np.asfortranarray(self.rows.sum(measure, weight))


def _mean(layer: InitialLayer, weights: Array, rows: Rows) -> Floats:
    total = np.zeros(len(weights))
    for _, phi, _, weight in layer.feature_blocks(rows, weights):
        total += weight @ phi
    return np.asarray(total / np.sqrt(len(weights)))


def _outputs(layer: InitialLayer, weights: Array, a: Floats, rows: Rows) -> Floats:
    out = np.empty((len(rows), *a.shape[1:]))
    for part, phi, _, _ in layer.feature_blocks(rows, weights):
        out[part] = phi @ a
    return out


def _back(layer: InitialLayer, weights: Array, rows: Rows, slopes: Floats) -> Floats:
    total = np.zeros((len(weights), *slopes.shape[1:]))
    for part, phi, _, _ in layer.feature_blocks(rows, weights):
        total += phi.T @ slopes[part]
    return np.asarray(total / np.sqrt(len(weights)))


def _gram(
    layer: InitialLayer, weights: Array, mean: Floats, intercept: bool, rows: Rows, weight: Floats
) -> Floats:
    p = len(weights)
    gram = np.zeros((p + int(intercept), p + int(intercept)), order="F")
    for part, phi, _, _ in layer.feature_blocks(rows, weights):
        A = np.ones((len(phi), len(gram)))
        np.divide(phi, np.sqrt(p), out=A[:, :p])
        A[:, :p] -= mean
        A *= np.sqrt(weight[part])[:, None]
        add_gram(A, gram)
    return gram
