"""The Stieltjes transform of the spectrum of learned features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import _core
from spikedrf.activations import Activation, FunctionLike
from spikedrf.first_layer.producers import StepLike
from spikedrf.inputs.population import Inputs
from spikedrf.multi_index import MultiIndex, resolve_target
from spikedrf.running.workers import thread_count
from spikedrf.theory.batch import MAX_NODES, Batch, Floats, Part, pose
from spikedrf.theory.convergence import check_accuracy, warn
from spikedrf.theory.core import core_points, core_problem, plane_problem, run
from spikedrf.theory.latents.spectral import layer_on
from spikedrf.theory.linear_groups import mergeable_spikes, merged

Complexes = NDArray[np.complex128]

# Quadrature rules stop growing here if the bulk has rules of its own: where these disagree, finer
# averages over the spike do not help.
_MOST_NODES = 1 << 11

# Points of a chunk in a plane, each of which is work for milliseconds.
_OF_PLANE = 64

#: What to do where no root of the equations could be certified.
CURE = "move z off the real axis"


def stieltjes(
    z: ArrayLike,
    *,
    alpha: ArrayLike,
    beta: ArrayLike = 1.0,
    activation: FunctionLike = "tanh",
    target: FunctionLike | MultiIndex = "tanh",
    step: StepLike = None,
    noise: ArrayLike = 0.0,
    inputs: Inputs = None,
    init: str | None = None,
    bulk: str | None = None,
    rtol: float = 1e-8,
    workers: int | None = None,
) -> Any:
    r"""Return the Stieltjes transform of the spectrum of the learned features.

    ``s(z) = (1/p) Tr (Phi^T Phi / p - z)^{-1}`` with ``Phi = sigma(X W^T)`` on ``n = alpha d``
    fresh samples, in the limit of large ``n, p, d``. It is the response ``sum_k V2_k`` of ridge
    regression at ``lam = -z``; ``Im s(x + i0) / pi`` is the density of eigenvalues at ``x``.

    Parameters
    ----------
    z : complex or array_like
        Where, finite. On the real axis the value is the limit from above: complex inside the
        support of the spectrum, real outside it. At 0 it is infinite if there are zero eigenvalues
        or the density reaches down to them (``alpha <= beta``).
    alpha : float or array_like
        Samples over dimension, ``n/d``, > 0 and finite.
    beta : float or array_like
        Width over dimension, ``p/d``, > 0.
    activation : str, callable or (callable, derivative)
        Activation ``sigma``: a name (`spikedrf.activations.NAMES`) or a vectorised function.
    target, noise
        Teacher function and label noise: they matter for what a `GradientStep` does to the
        features, and not at all otherwise.
    step, bulk
        As for `solve`: how the first layer was trained, and its bulk.
    inputs, init
        As for `solve`. Steps with axes are for classes that do not differ along the spike.
    rtol : float
        Quadrature nodes are added until the transform of every readout group moves by less than
        this, relative to itself. Next to an edge of the support, where the transform has a square
        root singularity, a relative shift of ``z`` by this much counts as the same.
    workers : int, optional
        Threads; -1 is one for each core. By default as many as the batch is worth. The result
        does not depend on it.

    Returns
    -------
    complex or ndarray of complex
        All parameters broadcast against each other like a NumPy ufunc; the readout groups of
        ``u``, ``pi``, ``r``, ``c`` are their last axis and are not broadcast. NaN where no root of
        the equations could be certified.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range; the message names the argument.

    Warns
    -----
    ConvergenceWarning
        Once for the call, if some points did not reach ``rtol``.

    Notes
    -----
    Off the real axis the equations have exactly one root with ``Im V2_k > 0`` and ``Im V1 >= 0``;
    on it the right root is in that cone, or is real and moves into it with ``z``. Every answer is
    checked for this. With ``bulk="network"`` two sets of nodes take turns to stand for the bulk;
    they are made for each step, in about a second, from its resolvent at complex argument. Where
    the density dies out slowly (label noise, a target without bound) they disagree by more than
    1e-8, and the points say so. The part of the features that has finite rank
    (`Spectrum.outliers`) has no weight in the limit. Source: theory.md, section 7.

    Examples
    --------
    >>> from spikedrf import theory
    >>> s = theory.stieltjes([-0.1, 0.5, 0.5 + 0.1j], alpha=2.0)
    >>> print(s.round(4))
    [ 3.0184+0.j     -0.998 +1.3723j -0.7666+1.4101j]
    >>> bool(abs(s[0] - theory.solve(2.0, lam=0.1).V2.sum()) < 1e-12)
    True
    """
    at = complex_array("z", z)
    accuracy = check_accuracy(rtol)
    batch = pose_spectrum(
        alpha, beta, activation, target, step, noise, bulk, accuracy, inputs, init, z=at
    )
    threads = thread_count(workers)
    below = batch.values["z"].imag < 0.0
    infinite = (batch.values["z"] == 0.0) & (rank_ratio(batch.sigma, batch.values) <= 1.0)
    # -1 is anywhere outside the support; -0j would be below the axis.
    up = np.where(infinite, -1.0, batch.values["z"].real) + 1j * np.abs(batch.values["z"].imag)
    out = Transform.empty(up.size, batch.groups)
    for part, merge in batch.parts(mergeable_spikes(batch)):
        out.put(transform(batch.sigma, part, up[part.points], accuracy, threads, merge), part)
    total = out.V2.sum(axis=1)
    total[infinite] = np.inf
    warn(_Outcome(batch, out), accuracy, cure=CURE)
    return batch.arrange(np.where(below, total.conj(), total))


def complex_array(name: str, value: ArrayLike) -> Complexes:
    """Convert a parameter to complex numbers, all finite.

    Raises
    ------
    TypeError, ValueError
        If that is impossible; the message names the argument.
    """
    try:
        raw = np.asarray(value)
        if raw.dtype.kind not in "cfiub":
            raise TypeError(f"dtype {raw.dtype}")
        array = raw.astype(np.complex128)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be a complex number or an array of them, got {value!r} ({error})"
        ) from None
    bad = ~np.isfinite(array)
    if bad.any():
        raise ValueError(f"{name} must be finite, got {array[bad].flat[0]}")
    return array


def pose_spectrum(
    alpha: ArrayLike,
    beta: ArrayLike,
    activation: FunctionLike,
    target: FunctionLike | MultiIndex,
    step: StepLike,
    noise: ArrayLike,
    bulk: str | None,
    rtol: float,
    inputs: Inputs = None,
    init: str | None = None,
    **also: NDArray[Any],
) -> Batch:
    """Check and broadcast the parameters of a spectrum (see `stieltjes`).

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range; the message names the argument.
    """
    step, target = layer_on(inputs, init, step, activation, target, noise, bulk)
    batch = pose(
        alpha,
        lam=0.0,
        beta=beta,
        activation=activation,
        target=resolve_target(target),
        step=step,
        noise=noise,
        bulk=bulk,
        rtol=rtol,
        everywhere=True,
        also=also,
    )
    if np.isinf(batch.values["alpha"]).any():
        raise ValueError(
            "alpha must be finite: with the samples all eigenvalues of Phi^T Phi / p grow"
        )
    del batch.parameters["lam"]
    return batch


def rank_ratio(sigma: Activation, values: dict[str, NDArray[Any]]) -> Any:
    """Return the rank that the features could have over the width: below 1, zero eigenvalues."""
    samples = values["alpha"] / values["beta"]
    return np.minimum(samples, 1.0 / values["beta"]) if sigma.linear else samples


# --------------------------------------------------------------------------------------------------
# What the core computes


@dataclass(frozen=True, eq=False)
class Transform:
    """The transform at N points and what else is known there.

    Attributes
    ----------
    V2 : ndarray of complex, shape (N, K)
        Share of each readout group; they sum to ``s(z)``.
    slope : ndarray of complex, shape (N, K)
        Their derivatives by z.
    scalars : ndarray, shape (4, N)
        ``cumulative`` (on the real axis, else NaN), ``residual``, ``quadrature_error``, ``mean``
        eigenvalue.
    counts : ndarray of int32, shape (2, N)
        ``status``, ``nit``.
    nodes : ndarray of int64, shape (N,)
        Nodes of the finest quadrature rule used, without those added next to poles; on one side
        only where both are alike.
    form : ndarray, shape (N, K + columns, K + columns), or None
        Singular at isolated eigenvalues; NaN inside the support.
    """

    V2: Complexes
    slope: Complexes
    scalars: Floats
    counts: NDArray[np.int32]
    nodes: NDArray[np.int64]
    form: Floats | None = None

    @classmethod
    def empty(cls, points: int, groups: int) -> Transform:
        """Return one of zeros."""
        return cls.of(_core.Transforms(points, groups))

    @classmethod
    def of(cls, found: _core.Transforms) -> Transform:
        """Return what the core has found."""
        return cls(found.V2, found.slope, found.scalars, found.counts, found.nodes, found.form)

    @property
    def density(self) -> Floats:
        """Density of eigenvalues, without the atom; on the real axis."""
        return np.asarray(self.V2.imag.sum(axis=1) / np.pi)

    def joined(self, other: Transform) -> Transform:
        """Return the points of both, of neither with a form."""
        return Transform(
            np.concatenate([self.V2, other.V2]),
            np.concatenate([self.slope, other.slope]),
            np.concatenate([self.scalars, other.scalars], axis=1),
            np.concatenate([self.counts, other.counts], axis=1),
            np.concatenate([self.nodes, other.nodes]),
        )

    def put(self, other: Transform, part: Part) -> None:
        """Scatter the results of some points that have only some of the groups."""
        at, live = np.flatnonzero(part.points), np.flatnonzero(part.live)
        self.V2[np.ix_(at, live)] = other.V2
        self.slope[np.ix_(at, live)] = other.slope
        self.scalars[:, at] = other.scalars
        self.counts[:, at] = other.counts
        self.nodes[at] = other.nodes

    def take(self, order: NDArray[np.int64]) -> Transform:
        """Return the points in another order."""
        return Transform(
            V2=self.V2[order],
            slope=self.slope[order],
            scalars=self.scalars[:, order],
            counts=self.counts[:, order],
            nodes=self.nodes[order],
            form=None if self.form is None else self.form[order],
        )


class _Outcome:
    """How a call went, in the shape of the call."""

    def __init__(self, batch: Batch, out: Transform) -> None:
        self.status = batch.arrange(out.counts[0])
        self.success = self.status == 0
        self.quadrature_error = batch.arrange(out.scalars[2])


def transform(
    sigma: Activation,
    part: Part,
    z: Complexes,
    rtol: float,
    threads: int | None,
    merge: bool,
    *,
    forms: bool = False,
) -> Transform:
    """Compute the transform at z, Im z >= 0, one for each point of the part.

    With ``merge`` the groups are those of linear features that differ in nothing but the spike:
    they are the single group that they are, as in `solve`, and every group has its share of it.
    """
    if merge:
        one = transform(sigma, merged(part), z, rtol, threads, False, forms=forms)
        share = part.pi[part.which]
        return replace(one, V2=share * one.V2, slope=share * one.slope)
    # Neighbours on the real axis start from each other's roots.
    order = np.lexsort((z.imag, z.real, part.values["beta"], part.values["alpha"], part.which))
    groups = part.r.shape[1]
    columns = 1 if part.seen is None else part.seen.columns
    out = _core.Transforms(z.size, groups, form=(1 + columns) * groups if forms else 0)
    if part.planes:
        _in_planes(sigma, part, order, z, rtol, threads, out)
    else:
        most = MAX_NODES if part.bulk is None else _MOST_NODES
        problem = core_problem(part, sigma, sigma, rtol, most)  # the features know no labels
        # Every chunk makes its tables and finds its first root anew: worth some hundred points.
        chunks = [slice(i, min(i + 512, z.size)) for i in range(0, z.size, 512)]
        run(problem, core_points(part, order, z), out, chunks, threads)
    return Transform.of(out).take(np.argsort(order))


def _in_planes(
    sigma: Activation,
    part: Part,
    order: NDArray[np.int64],
    z: Complexes,
    rtol: float,
    threads: int | None,
    out: _core.Transforms,
) -> None:
    """Fill in points of spikes that span planes: one problem for each, which knows its tables."""
    alone = replace(part, which=np.zeros_like(part.which))
    points = core_points(alone, order, z)
    ends = np.searchsorted(part.which[order], np.arange(len(part.planes) + 1))
    for index in range(len(part.planes)):
        start, stop = int(ends[index]), int(ends[index + 1])
        chunks = [slice(i, min(i + _OF_PLANE, stop)) for i in range(start, stop, _OF_PLANE)]
        run(plane_problem(part, index, sigma, rtol), points, out, chunks, threads)
