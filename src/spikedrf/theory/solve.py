"""The errors of ridge regression on spiked random features, in the proportional limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import _core, losses
from spikedrf.activations import FunctionLike, resolve
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.layer_on_inputs import latents_of
from spikedrf.inputs.population import Inputs, numbers_of
from spikedrf.labelled import description
from spikedrf.losses import LossLike
from spikedrf.multi_index import MultiIndex, resolve_target
from spikedrf.parameters import real_array
from spikedrf.running.workers import thread_count
from spikedrf.theory import convex
from spikedrf.theory.averaged import ensemble as of_networks
from spikedrf.theory.batch import MAX_NODES, Batch, Part, features_die_out, pose
from spikedrf.theory.convergence import INFINITE, UNDEFINED, check_accuracy, left_to_caller, warn
from spikedrf.theory.core import core_points, core_problem, run
from spikedrf.theory.latents.solution import check_values, refuse_beyond_latents, solve_latents
from spikedrf.theory.latents.solve import Learned
from spikedrf.theory.linear_groups import mergeable_spikes, merged, share_solutions
from spikedrf.theory.solution import Solution

# What a solution has beside the errors and the norm, in the order of the core.
_OF_LOSS = ("test_loss", "train_loss", "margin", "train_margin")


def solve(
    alpha: ArrayLike,
    *,
    lam: ArrayLike,
    beta: ArrayLike = 1.0,
    activation: FunctionLike = "tanh",
    target: FunctionLike | MultiIndex = "tanh",
    step: StepLike = None,
    noise: ArrayLike = 0.0,
    inputs: Inputs = None,
    init: str | None = None,
    bulk: str | None = None,
    loss: LossLike = "square",
    labels: str = "real",
    flip: ArrayLike = 0.0,
    ensemble: ArrayLike | None = None,
    rtol: float = 1e-8,
    workers: int | None = None,
) -> Solution:
    r"""Solve the self-consistent equations for the errors of the trained network.

    Labels are ``y = g(<theta, x>) + noise N(0, 1)`` with ``x ~ N(0, I_d)``. The readout minimises
    ``sum_mu (y_mu - Phi_mu . a / sqrt p)^2 + lam |a|^2`` on ``n`` fresh samples, with features
    ``Phi = sigma(X W^T)`` of the first layer after the step. The answer is exact for the spiked
    random features model as ``n, p, d -> inf``; every number comes with the error that the
    quadrature leaves.

    With another ``loss`` the readout minimises ``sum_mu loss(y_mu, h_mu) + (lam/2) |a|^2``,
    ``h_mu = Phi_mu . a / sqrt p``; the square loss is ``(y - h)^2/2``. With ``labels="sign"`` the
    labels are the signs, ``y = +1`` where ``g + noise N(0, 1) >= 0`` and ``-1`` elsewhere, of which
    a share ``flip`` is turned around.

    Parameters
    ----------
    alpha : float or array_like
        Samples over dimension, ``n/d``, > 0. ``inf`` is the population optimum.
    lam : float or array_like
        Ridge, >= 0. 0 is the ridgeless limit, where it exists.
    beta : float or array_like
        Width over dimension, ``p/d``, > 0.
    activation : str, callable or (callable, derivative)
        Activation ``sigma``: a name (`spikedrf.activations.NAMES`) or a vectorised function. The
        name ``"erf"`` stands for ``erf(z / sqrt(2))``, ``"erf_plain"`` for the function itself.
    target : str, callable or MultiIndex
        Teacher function ``g``, of one direction or of several. With M directions ``gamma`` of a
        `Spike` has a last axis for them.
    step : GradientStep, list of these, Spike, Layer, FirstLayer or None
        How the first layer was trained. None is no step: plain random features. A list is several
        steps, one after the other, each on fresh samples, with the same ``u`` and ``pi``: their
        spikes may span a plane (theory.md, section 13), but no more. A `Layer` is a
        trained one (`from_layer`), a `FirstLayer` what any of them produces.
    noise : float or array_like
        Standard deviation of the label noise, >= 0.
    inputs : Covariance, Mixture or None
        Inputs with a covariance or of several classes; None is ``N(0, I_d)``. With these, or with
        several directions, theory.md, section 12, is solved. Weights of classes are those in the
        readout's loss; reported losses and errors count all samples alike.
    init : {"sphere", "gaussian", "sphere+gain", "gaussian+gain"}, optional
        Rows of the first layer before the step: on the unit sphere, or ``N(0, I/d)``. By default
        they are on the sphere, except that ``bulk="network"`` on white inputs with a target of one
        direction has section 10's rows then, Gaussian given the samples of the step and of no
        length of their own. Of a row that is longer than others the gradient is another one too.
        Section 14, and ``"gaussian"``, leave that out; ``"gaussian+gain"`` with ``bulk="network"``
        has it and is what networks with Gaussian rows do, and ``"sphere+gain"`` is what they do on
        a covariance of the inputs (see the page on limits). Without a step there is no gradient,
        and the gain is nothing.
    bulk : {"isotropic", "network"}, optional
        Bulk of the first layer: isotropic as in the paper's spiked random features, or that of
        the trained network itself, whose neurons have all seen the same samples (`trained_bulk`).
        The second needs gradient steps with ``alpha0 > 0``. It is exact for one value of ``u``
        and, for several, where ``E (z^2 - 1) sigma(z) = 0`` (an odd activation; on a covariance of
        the inputs also values of one size); else nodes stand for it that are some 1e-5 to 1e-3
        away from it, `Solution.bulk_error`. It matters for small batches: 10% of the test error
        at ``alpha0 = 0.3``. With ``init`` it is the trained network to leading order, whose
        neurons' lengths fluctuate and move with their overlaps too (section 14): that matters for
        large batches. After several steps it is known for one value of ``u``, white inputs and a
        target of one direction, without the lengths. By default it is the layer's own: isotropic,
        but for a `Layer` or `FirstLayer` that has another.
    loss : str or Loss
        Loss of the readout: a name (`spikedrf.losses.NAMES`) or, with its parameters, a loss such
        as ``losses.Huber(delta=0.5)``. Those of the margin (logistic, hinge, squared hinge) are
        for sign labels, which a `Mixture` with the labels +1 and -1 by class has then, too.
    labels : {"real", "sign"}
        Whether the network learns ``g + noise N(0, 1)`` or its sign; g is the number or function
        that a `Mixture` labels with, where it does. With signs ``test_error`` and ``train_error``
        are rates of wrong signs.
    flip : float or array_like
        Share of sign labels that are turned around, in [0, 0.5].
    ensemble : float or array_like, optional
        So many networks with first layers of their own, on the same samples, whose outputs are
        averaged: ``test_error`` and ``excess_error`` are the average's, everything else that of
        each network; ``solution.ensemble`` has the split into bias and variances
        (`theory.ensemble`). For ridge regression of real labels and an isotropic bulk.
    rtol : float
        Quadrature nodes are added until ``test_error``, ``train_error`` and ``norm`` move by
        less than this, relative; at least 1e-11, what rounding lets one tell at small ``lam``.
    workers : int, optional
        Threads; -1 is one for each core. By default as many as the batch is worth. The result
        does not depend on it.

    Returns
    -------
    Solution
        All parameters broadcast against each other like a NumPy ufunc; the readout groups of
        ``u``, ``pi``, ``r``, ``c`` are their last axis and are not broadcast.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, if ``lam = 0`` and the limit is
        infinite at all points, if ``lam = 0`` or ``alpha = inf`` with any but the square loss of
        real labels, or if ``bulk="network"`` is not known; the message names the argument.

    Warns
    -----
    ConvergenceWarning
        Once for the call, if some points did not reach ``rtol`` or have no ridgeless limit (their
        errors are ``inf``, their status 7); they have ``success=False``.

    Notes
    -----
    Source: Cui et al., ICML 2024, arXiv 2402.04980, in the form of theory.md, sections 3 to 6
    and 9, and for ``bulk="network"`` sections 10 and 14. Points that share a spike share
    their tables: a grid in alpha, beta, lam at one spike costs microseconds a point. Other losses
    and sign labels are section 11: milliseconds a point.

    Examples
    --------
    >>> from spikedrf import GradientStep, theory
    >>> step = GradientStep(eta=3.0, alpha0=20.0)
    >>> theory.solve([0.2, 3.0], lam=0.1, target="sin", step=step).test_error.round(5)
    array([0.04848, 0.03252])
    >>> small = GradientStep(eta=3.0, alpha0=0.5)
    >>> for bulk in ("isotropic", "network"):
    ...     print(round(theory.solve(1.5, lam=0.05, step=small, bulk=bulk).test_error, 5))
    0.24061
    0.26355
    >>> signs = theory.solve(3.0, lam=0.1, step=step, loss="logistic", labels="sign")
    >>> round(float(signs.error_rate), 5)
    0.06505
    """
    kind = losses.resolve(loss)
    labels = losses.check_labels(labels, kind, numbers_of(inputs))
    if ensemble is not None:
        if (labels, kind) != ("real", losses.Square()):
            raise ValueError(
                f"ensemble is for loss='square' and labels='real', got loss={kind.name!r} and "
                f"labels={labels!r}"
            )
        model: dict[str, Any] = {
            "alpha": alpha, "lam": lam, "beta": beta, "activation": activation, "target": target,
            "step": step, "noise": noise, "inputs": inputs, "init": init, "rtol": rtol,
            "workers": workers,
        }  # fmt: skip
        return _averaged(ensemble, model, bulk)
    chance = real_array("flip", flip, minimum=0.0, maximum=0.5)
    signs = labels == "sign"
    if not signs and chance.any():
        raise ValueError("flip is for labels='sign': real labels have noise instead")
    law, rows = latents_of(inputs, target, init, step, bulk)
    if law is not None:
        own = producer_of(step).own_bulk if bulk is None else bulk
        refuse_beyond_latents(step, own)
        values = check_values(alpha, beta, lam, noise)
        accuracy = check_accuracy(rtol)
        sigma = resolve(activation, "activation")
        values |= {"flip": chance} if signs else {}
        solution = solve_latents(
            values,
            sigma,
            law,
            step,
            rows,
            accuracy,
            thread_count(workers),
            Learned.of(kind, labels),
        )
        solution = replace(solution, about=description(sigma, solution.target, step))
        warn(solution, accuracy)
        return solution
    accuracy = check_accuracy(rtol)
    batch = pose(
        alpha,
        lam=lam,
        beta=beta,
        activation=activation,
        target=resolve_target(target),
        step=step,
        noise=noise,
        bulk=bulk,
        rtol=accuracy,
        also={"flip": chance} if signs else None,
    )
    threads = thread_count(workers)
    about = description(batch.sigma, batch.g, step)
    solution = _solve(batch, kind, labels, accuracy, threads, about)
    warn(solution, accuracy)
    return solution


def _averaged(networks: ArrayLike, model: dict[str, Any], bulk: str | None) -> Solution:
    """Solve for one network, and for the average of several."""
    own = producer_of(model["step"]).own_bulk if bulk is None else bulk
    if own != "isotropic":
        raise ValueError(f"ensemble is for bulk='isotropic', got {own!r}")
    several = of_networks(networks=networks, **model)
    one = solve(**model, bulk=bulk)
    noise2 = np.asarray(model["noise"], dtype=np.float64) ** 2
    shape = several.shape
    if one.shape != shape:
        raise ValueError(
            f"ensemble must not add axes to those of the other parameters, {one.shape}, got shape "
            f"{np.shape(networks)}"
        )
    return replace(
        one,
        test_error=several.test_error,
        excess_error=several.test_error - noise2,
        ensemble=several,
    )


def _solve(
    batch: Batch,
    loss: losses.Loss,
    labels: str,
    accuracy: float,
    threads: int | None,
    about: dict[str, Any],
) -> Solution:
    ridge = labels == "real" and type(loss) is losses.Square
    infinite = undefined = np.zeros(batch.which.size, dtype=bool)
    if ridge:
        batch, infinite = set_infinite_aside(batch)
    else:
        batch, undefined = convex.set_undefined_aside(batch, loss, labels)
    out = _Arrays(batch.which.size, batch.groups)
    for part, merge in batch.parts(mergeable_spikes(batch)):
        one = merged(part) if merge else part
        if ridge:
            alone = part.whole and not merge
            found = out if alone else _core.Solutions(one.which.size, one.r.shape[1])
            square = loss.core
            problem = core_problem(one, batch.sigma, batch.g, accuracy, MAX_NODES, loss=square)
            run(problem, core_points(one), found, one.chunks(), threads)
        else:
            found = convex.solve_part(batch, one, loss, labels, accuracy, threads)
        if found is not out:
            out.put(share_solutions(part, found) if merge else found, part)
    if np.count_nonzero(infinite):
        out.set_infinite(infinite)
    if np.count_nonzero(undefined):
        out.set_undefined(undefined)
    extra: dict[str, Any] = dict(zip(_OF_LOSS, batch.arrange_each(out.scalars[6:]), strict=True))
    extra["about"] = about
    if batch.bulk is not None and batch.bulk.accuracy is not None:
        extra["bulk_error"] = batch.arrange(batch.bulk.accuracy[batch.which])
    if labels == "real":
        extra |= {"margin": None, "train_margin": None}
    else:
        out.scalars[1] = out.scalars[0] - convex.least_error(batch)
    if not ridge:
        extra |= {
            "loss": loss.name,
            "labels": labels,
            "parameters": batch.parameters | vars(loss),
        }
    return out.solution(batch, extra)


class _Arrays(_core.Solutions):
    """All points of a call, in the order of the batch."""

    def put(self, results: _core.Solutions, part: Part) -> None:
        """Scatter the results of some points that have only some of the groups."""
        if part.whole:
            self.scalars[...], self.vectors[...] = results.scalars, results.vectors
            self.matrices[...], self.counts[...] = results.matrices, results.counts
            self.nodes[...] = results.nodes
            return
        at = np.flatnonzero(part.points)
        live = np.flatnonzero(part.live)
        self.scalars[:, at] = results.scalars
        self.vectors[np.ix_(np.arange(5), at, live)] = results.vectors
        self.matrices[np.ix_(np.arange(2), at, live, live)] = results.matrices
        self.counts[:, at] = results.counts
        self.nodes[at] = results.nodes

    def set_infinite(self, at: NDArray[np.bool_]) -> None:
        """Say of some points that the limit is infinite: all samples are fitted, at any price."""
        self.scalars[:, at] = np.inf
        self.scalars[4, at] = np.nan
        self.vectors[:, at] = self.matrices[:, at] = np.nan
        self.scalars[2, at] = 0.0
        self.counts[:, at] = [[INFINITE], [0]]
        self.nodes[at] = 0

    def set_undefined(self, at: NDArray[np.bool_]) -> None:
        """Say of some points that there is no answer."""
        self.scalars[:, at] = self.vectors[:, at] = self.matrices[:, at] = np.nan
        self.counts[:, at] = [[UNDEFINED], [0]]
        self.nodes[at] = 0

    def solution(self, batch: Batch, more: dict[str, Any]) -> Solution:
        """Give everything the shape of the call."""
        of_points = batch.arrange_each(self.scalars[:6])
        test, excess, train, norm, residual, quadrature_error = of_points
        m, theta, psi, q2, V2 = batch.arrange_each(self.vectors)
        q1, V1 = batch.arrange_each(self.matrices)
        status, nit = batch.arrange_each(self.counts)
        nodes = batch.arrange(self.nodes)
        success: Any = status == 0
        return Solution(
            test_error=test,
            train_error=train,
            excess_error=excess,
            norm=norm,
            m=m,
            theta=theta,
            psi=psi,
            q1=q1,
            q2=q2,
            V1=V1,
            V2=V2,
            success=success if batch.shape else bool(success),
            status=status if batch.shape else int(status),
            nit=nit if batch.shape else int(nit),
            residual=residual,
            nodes=nodes if batch.shape else int(nodes),
            quadrature_error=quadrature_error,
            spike=batch.spike,
            bulk=batch.bulk_name,
            _activation=batch.sigma,
            _target=batch.g,
            **{"parameters": batch.parameters, **more},
        )


def infinite_without_ridge(batch: Batch) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find the points that have no ridgeless limit (theory.md, section 6), whatever ``lam`` is.

    Returns
    -------
    threshold, saturated : ndarray of bool, shape (N,)
        At the interpolation threshold; interpolating with features that die out along a spike.
    """
    sigma, r = batch.sigma, batch.r[batch.which]
    alpha, beta = batch.values["alpha"], batch.values["beta"]
    rank = np.minimum(beta, 1.0) if sigma.linear else beta
    return alpha == rank, (alpha < rank) & features_die_out(sigma, r) & (not sigma.linear)


def set_infinite_aside(batch: Batch) -> tuple[Batch, NDArray[np.bool_]]:
    """Find the points at which the ridgeless limit is infinite, and let the core solve others.

    Returns
    -------
    batch : Batch
        With a ridge at those points: what comes out there is to be overwritten.
    infinite : ndarray of bool, shape (N,)

    Raises
    ------
    ValueError
        If there is no other point, unless this call is a part of another.
    """
    lam = batch.values["lam"]
    if np.count_nonzero(lam) == lam.size:
        return batch, np.zeros(lam.size, dtype=bool)
    threshold, saturated = infinite_without_ridge(batch)
    threshold, saturated = threshold & (lam == 0), saturated & (lam == 0)
    infinite = threshold | saturated
    if infinite.all() and not left_to_caller():
        raise ValueError(_why_infinite(batch, threshold))
    values = {**batch.values, "lam": np.where(infinite, 1.0, lam)}
    return replace(batch, values=values), infinite


def _why_infinite(batch: Batch, threshold: NDArray[np.bool_]) -> str:
    alpha, beta = batch.values["alpha"], batch.values["beta"]
    if threshold.any():
        i = int(np.flatnonzero(threshold)[0])
        return (
            f"lam = 0 at the interpolation threshold (alpha = {alpha[i]:g}, beta = {beta[i]:g}): "
            f"the test error is infinite; lam must be > 0 there"
        )
    return (
        f"lam = 0 with alpha = {alpha[0]:g} < beta = {beta[0]:g} and a spike: features of "
        f"{batch.sigma.name!r} saturate far out along the spike and the limit is infinite; "
        f"lam must be > 0 there"
    )
