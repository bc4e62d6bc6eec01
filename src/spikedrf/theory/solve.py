"""The errors of ridge regression on spiked random features, in the proportional limit."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import _core
from spikedrf.activations import Activation, FunctionLike, resolve
from spikedrf.parameters import ConvergenceWarning, real_array
from spikedrf.step import GradientStep, Spike
from spikedrf.theory.solution import Solution

Floats = NDArray[np.float64]

_MAX_NODES = 1 << 15


def solve(
    alpha: ArrayLike,
    *,
    lam: ArrayLike,
    beta: ArrayLike = 1.0,
    activation: FunctionLike = "tanh",
    target: FunctionLike = "tanh",
    step: GradientStep | Spike | None = None,
    noise: ArrayLike = 0.0,
    bulk: str = "isotropic",
    loss: str = "square",
    rtol: float = 1e-8,
    workers: int | None = None,
) -> Solution:
    r"""Solve the self-consistent equations for the errors of the trained network.

    Labels are ``y = g(<theta, x>) + noise N(0, 1)`` with ``x ~ N(0, I_d)``. The readout minimises
    ``sum_mu (y_mu - Phi_mu . a / sqrt p)^2 + lam |a|^2`` on ``n`` fresh samples, with features
    ``Phi = sigma(X W^T)`` of the first layer after the step. The answer is exact for the spiked
    random features model as ``n, p, d -> inf``; every number comes with the error that the
    quadrature leaves.

    Parameters
    ----------
    alpha : float or array_like
        Samples over dimension, ``n/d``, > 0. ``inf`` is the population optimum.
    lam : float or array_like
        Ridge, >= 0. 0 is the ridgeless limit, where it exists.
    beta : float or array_like
        Width over dimension, ``p/d``, > 0.
    activation : str, callable or (callable, derivative)
        Activation ``sigma``: a name (`spikedrf.activations.NAMES`) or a vectorised function.
    target : str or callable
        Teacher function ``g``.
    step : GradientStep, Spike or None
        How the first layer was trained. None is no step: plain random features.
    noise : float or array_like
        Standard deviation of the label noise, >= 0.
    bulk : {"isotropic"}
        Bulk of the first layer: the paper's spiked random features.
    loss : {"square"}
        Loss of the readout.
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
        If an argument is of the wrong kind or out of range, or if ``lam = 0`` where the limit is
        infinite; the message names the argument.

    Warns
    -----
    ConvergenceWarning
        Once for the call, if some points did not reach ``rtol``; they have ``success=False``.

    Notes
    -----
    Source: Cui et al., ICML 2024, arXiv 2402.04980, in the form of theory.md, sections 3 to 6
    and 9. Points that share a spike share their tables: a grid in alpha, beta, lam at one spike
    costs microseconds a point.

    Examples
    --------
    >>> from spikedrf import GradientStep, theory
    >>> step = GradientStep(eta=3.0, alpha0=20.0)
    >>> theory.solve([0.2, 3.0], lam=0.1, target="sin", step=step).test_error.round(5)
    array([0.04848, 0.03252])
    """
    sigma = resolve(activation, "activation")
    g = resolve(target, "target")
    values = {
        "alpha": real_array("alpha", alpha, minimum=0.0, exclusive=True, infinite=True),
        "beta": real_array("beta", beta, minimum=0.0, exclusive=True),
        "lam": real_array("lam", lam, minimum=0.0),
        "noise": real_array("noise", noise, minimum=0.0),
    }
    if bulk != "isotropic":
        raise ValueError(f"bulk must be 'isotropic', got {bulk!r}")
    if loss != "square":
        raise ValueError(f"loss must be 'square', got {loss!r}")
    accuracy = real_array("rtol", rtol, minimum=1e-11, maximum=1.0)
    if accuracy.ndim:
        raise ValueError(f"rtol must be one number, got an array of shape {accuracy.shape}")
    threads = _thread_count(workers)

    parameters: dict[str, Any] = {**values}
    spike = _spike(step, sigma, g, values["noise"])
    if isinstance(step, GradientStep):
        parameters |= {"eta": step.eta, "alpha0": step.alpha0}
    r, c, gamma, pi = spike.arrays()
    groups = r.shape[-1]
    spike_shape = _broadcast(
        {"r": r.shape[:-1], "c": c.shape[:-1], "gamma": gamma.shape, "pi": pi.shape[:-1]}
    )
    shape = _broadcast({k: v.shape for k, v in values.items()} | {"the spike": spike_shape})

    # Every distinct spike once; its points consecutive.
    rows = np.concatenate(
        [
            np.broadcast_to(r, (*spike_shape, groups)),
            np.broadcast_to(c, (*spike_shape, groups)),
            np.broadcast_to(pi, (*spike_shape, groups)),
            np.broadcast_to(gamma, spike_shape)[..., None],
        ],
        axis=-1,
    ).reshape(-1, 3 * groups + 1)
    rows = rows + 0.0  # -0.0 is 0.0
    inverse = np.zeros(rows.shape[0], dtype=np.int64)
    if rows.shape[0] > 1:
        rows, inverse = np.unique(rows, axis=0, return_inverse=True)
    which = np.broadcast_to(inverse.reshape(spike_shape), shape).ravel()
    order = np.argsort(which, kind="stable") if rows.shape[0] > 1 else np.arange(which.size)
    flat = {k: np.broadcast_to(v, shape).ravel()[order] for k, v in values.items()}
    which = which[order].astype(np.int64)
    _refuse_infinite(flat, rows[:, :groups][which], sigma)

    out = _Arrays(which.size, groups)
    live = rows[:, 2 * groups : 3 * groups] > 0
    merge = _mergeable(rows, live, sigma)
    for kind in np.unique(np.column_stack([live, merge]), axis=0) if which.size else []:
        # A group without neurons does not exist; spikes with the same groups go together.
        pattern = kind[:-1]
        chosen = (live == pattern).all(axis=1) & (merge == kind[-1])
        points = chosen[which]
        part_rows = rows[chosen][:, np.append(np.tile(pattern, 3), True)]
        part_which = (np.cumsum(chosen) - 1)[which[points]].astype(np.int64)
        part_values = {k: v[points] for k, v in flat.items()}
        run = _run_merged if kind[-1] else _run
        part = run(sigma, g, part_rows, part_which, part_values, float(accuracy), threads)
        out.put(part, points, pattern)
    unsorted = np.empty_like(order)
    unsorted[order] = np.arange(order.size)
    solution = out.solution(unsorted, shape, spike, parameters, sigma)
    _warn(solution, float(accuracy))
    return solution


class _Arrays:
    """Result arrays with the point as second axis, as the core fills them."""

    def __init__(self, points: int, groups: int) -> None:
        self.scalars = np.zeros((6, points))
        self.vectors = np.zeros((5, points, groups))
        self.matrices = np.zeros((2, points, groups, groups))
        self.counts = np.zeros((2, points), dtype=np.int32)
        self.nodes = np.zeros(points, dtype=np.int64)

    def put(self, part: _Arrays, points: NDArray[np.bool_], groups: NDArray[np.bool_]) -> None:
        """Scatter the results of some points that have only some of the groups."""
        at = np.flatnonzero(points)
        live = np.flatnonzero(groups)
        self.scalars[:, at] = part.scalars
        self.vectors[np.ix_(np.arange(5), at, live)] = part.vectors
        self.matrices[np.ix_(np.arange(2), at, live, live)] = part.matrices
        self.counts[:, at] = part.counts
        self.nodes[at] = part.nodes

    def solution(
        self,
        order: NDArray[np.int64],
        shape: tuple[int, ...],
        spike: Spike,
        parameters: dict[str, Any],
        activation: Activation,
    ) -> Solution:
        groups = self.vectors.shape[-1]
        test, excess, train, norm, residual, quadrature_error = (
            row[order].reshape(shape)[()] for row in self.scalars
        )
        m, theta, psi, q2, V2 = (row[order].reshape(*shape, groups) for row in self.vectors)
        q1, V1 = (row[order].reshape(*shape, groups, groups) for row in self.matrices)
        status, nit = (row[order].reshape(shape)[()] for row in self.counts)
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
            success=success if shape else bool(success),
            status=status if shape else int(status),
            nit=nit if shape else int(nit),
            residual=residual,
            nodes=self.nodes[order].reshape(shape) if shape else int(self.nodes[0]),
            quadrature_error=quadrature_error,
            spike=spike,
            parameters=parameters,
            _activation=activation,
        )


def _run(
    sigma: Activation,
    g: Activation,
    rows: Floats,
    which: NDArray[np.int64],
    values: dict[str, Floats],
    rtol: float,
    threads: int | None,
) -> _Arrays:
    """Hand the points, sorted by spike, to the core in chunks."""
    groups = rows.shape[1] // 3
    r, c, pi = (np.ascontiguousarray(rows[:, i * groups : (i + 1) * groups]) for i in range(3))
    gamma = np.ascontiguousarray(rows[:, -1])
    out = _Arrays(which.size, groups)
    # Tables are made again in every chunk that needs them, so chunks hold many points of few
    # spikes or few points of many; between chunks a keyboard interrupt gets through.
    shared = rows.shape[0] * 64 <= which.size
    size = 4096 if shared else 256
    starts = range(0, which.size, size)

    def chunk(start: int) -> None:
        _core.solve_points(
            sigma.core,
            g.core,
            r,
            c,
            gamma,
            pi,
            which,
            values["alpha"],
            values["beta"],
            values["lam"],
            values["noise"],
            rtol,
            _MAX_NODES,
            out.scalars,
            out.vectors,
            out.matrices,
            out.counts,
            out.nodes,
            start,
            min(start + size, which.size),
        )

    count = min(len(starts), threads or _cores())
    if count <= 1:
        for start in starts:
            chunk(start)
    else:
        with ThreadPoolExecutor(count) as pool:
            try:
                for _ in pool.map(chunk, starts):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return out


def _mergeable(rows: Floats, live: NDArray[np.bool_], sigma: Activation) -> NDArray[np.bool_]:
    """Spikes whose several groups of linear features differ in nothing but the spike."""
    groups = live.shape[1]
    c = rows[:, groups : 2 * groups]
    widest = np.where(live, c, -np.inf).max(axis=1)
    narrowest = np.where(live, c, np.inf).min(axis=1)
    return np.asarray(sigma.linear & (live.sum(axis=1) > 1) & (widest == narrowest))


def _run_merged(
    sigma: Activation,
    g: Activation,
    rows: Floats,
    which: NDArray[np.int64],
    values: dict[str, Floats],
    rtol: float,
    threads: int | None,
) -> _Arrays:
    r"""Solve groups of linear features with one bulk variance as the single group that they are.

    Their features span the same space, so for ``p > d`` the K-group equations are singular as
    ``lam -> 0`` (the responses of the groups grow without bound and cancel in everything that
    is observed). The exact K-group solution follows from that of one group with ``r = |r|``: the
    minimum-norm ``m`` is along ``r``, ``theta, psi, q2, V2`` are shared out by ``pi``, and with
    ``M = (e + b 1 1^T)^{-1}``, ``e_k = e / pi_k``::

        V1_kl = pi_k pi_l V1 + (delta_kl pi_k - pi_k pi_l) c V2,   and q1 likewise with q2.
    """
    groups = rows.shape[1] // 3
    r, c, pi = (rows[:, i * groups : (i + 1) * groups] for i in range(3))
    length = np.linalg.norm(r, axis=1)
    single = np.column_stack([length, c[:, 0], np.ones_like(length), rows[:, -1]])
    one = _run(sigma, g, single, which, values, rtol, threads)
    out = _Arrays(which.size, groups)
    out.scalars, out.counts, out.nodes = one.scalars, one.counts, one.nodes
    share = pi[which]
    along = r / np.where(length > 0, length, 1.0)[:, None]
    out.vectors[0] = along[which] * one.vectors[0]
    out.vectors[1:] = share * one.vectors[1:]
    spread = share[:, :, None] * (np.eye(groups) - share[:, None, :])
    product = share[:, :, None] * share[:, None, :]
    for matrix, (whole, vector) in enumerate([(0, 3), (1, 4)]):
        own = c[which, 0] * one.vectors[vector][:, 0]
        with np.errstate(invalid="ignore"):  # infinite responses of the ridgeless limit
            out.matrices[matrix] = product * one.matrices[whole] + spread * own[:, None, None]
    return out


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _thread_count(workers: int | None) -> int | None:
    if workers is None:
        return None
    if isinstance(workers, bool) or not isinstance(workers, (int, np.integer)):
        raise TypeError(f"workers must be an integer or None, got {workers!r}")
    if workers == -1:
        return _cores()
    if workers < 1:
        raise ValueError(f"workers must be >= 1, or -1 for one thread a core, got {workers}")
    return int(workers)


def _spike(
    step: GradientStep | Spike | None, sigma: Activation, g: Activation, noise: Floats
) -> Spike:
    if step is None:
        return Spike(r=0.0, c=1.0, gamma=0.0)
    if isinstance(step, Spike):
        return step
    if isinstance(step, GradientStep):
        # Resolved functions pass through `resolve` unchanged.
        return step.spike(sigma, g, noise)
    raise TypeError(f"step must be a GradientStep, a Spike or None, got {step!r}")


def _broadcast(shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        listing = ", ".join(f"{name}: {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(
            f"the parameters do not broadcast against each other ({listing})"
        ) from None


def _refuse_infinite(values: dict[str, Floats], r: Floats, sigma: Activation) -> None:
    """Raise where the ridgeless limit is infinite (theory.md, section 6)."""
    alpha, beta = values["alpha"], values["beta"]
    ridgeless = (values["lam"] == 0) & np.isfinite(alpha)
    if not ridgeless.any():
        return
    rank = np.minimum(beta, 1.0) if sigma.linear else beta
    threshold = ridgeless & (alpha == rank)
    if threshold.any():
        i = int(np.flatnonzero(threshold)[0])
        raise ValueError(
            f"lam = 0 at the interpolation threshold (alpha = {alpha[i]:g}, beta = {beta[i]:g}): "
            f"the test error is infinite; lam must be > 0 there"
        )
    if sigma.linear:
        return
    # Interpolation with a spike: samples far out along it must still have features that respond.
    dead = np.zeros(r.shape[0], dtype=bool)
    for side in (-1.0, 1.0):
        at_left, at_right = sigma.saturates
        responds = (r == 0) | np.where(r * side > 0, not at_right, not at_left)
        dead |= ~responds.any(axis=1)
    infinite = ridgeless & (alpha < rank) & dead
    if infinite.any():
        i = int(np.flatnonzero(infinite)[0])
        raise ValueError(
            f"lam = 0 with alpha = {alpha[i]:g} < beta = {beta[i]:g} and a spike: features of "
            f"{sigma.name!r} saturate far out along the spike and the limit is infinite; lam must "
            f"be > 0 there"
        )


def _warn(solution: Solution, rtol: float) -> None:
    failed = np.flatnonzero(~np.atleast_1d(solution.success))
    if not failed.size:
        return
    total = np.size(solution.success)
    error = np.atleast_1d(solution.quadrature_error).ravel()
    where = ""
    if solution.shape:
        index = tuple(int(i) for i in np.unravel_index(failed[0], solution.shape))
        where = f", the first at index {index}"
    newton = int(np.count_nonzero(np.atleast_1d(solution.status).ravel()[failed] == 2))
    text = (
        f"{failed.size} of {total} points did not reach rtol={rtol:g}{where} (largest "
        f"quadrature_error {error[failed].max():.1e}); they have success=False. Raise rtol, or "
        f"look at quadrature_error and status."
    )
    if newton:
        text += f" {newton} of them did not converge at all and are NaN: raise lam."
    warnings.warn(text, ConvergenceWarning, stacklevel=3)
