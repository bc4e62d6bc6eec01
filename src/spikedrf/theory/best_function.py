"""What a vocabulary can express of a target, however many samples there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import _core
from spikedrf.activations import Activation, FunctionLike, resolve, step_moments
from spikedrf.first_layer.model import Spike
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.layer_on_inputs import latents_of
from spikedrf.inputs.population import Inputs, Population
from spikedrf.multi_index import MultiIndex, resolve_target
from spikedrf.parameters import real_array
from spikedrf.theory.batch import MAX_NODES, Batch, pose
from spikedrf.theory.convergence import check_accuracy, one_warning_for_all, warn
from spikedrf.theory.latents.best import Best, best_readouts
from spikedrf.theory.latents.output import learned_function
from spikedrf.theory.latents.solution import columns_of, refuse_beyond_latents, spike_of
from spikedrf.theory.latents.solve import Solved
from spikedrf.theory.output import averaged_output
from spikedrf.theory.solution import Solution
from spikedrf.theory.solve import solve

Floats = NDArray[np.float64]

# Functions that differ by less than this part of themselves from what others span are those others.
_DEPENDENT = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class BestFunction:
    r"""The best function that a vocabulary expresses, and what it explains of the target.

    The target ``g(<theta, x>)`` is a function ``h(kappa)`` of the input along the spike, plus
    ``hz(kappa) zeta`` that is linear in the input along the rest of ``theta``, plus what is
    nonlinear there. A network has ``sum_k (m_k mu0_k(kappa) + theta_k kappa mu1_k(kappa))`` for
    the first and ``sum_k psi_k mu1_k(kappa) zeta`` for the second. Called with ``kappa`` (and
    ``zeta``), the object returns these.

    Attributes
    ----------
    beta : float or ndarray
        Width over dimension, as given.
    variance : float
        ``Var g(z)``: what there is to explain.
    linear : float
        ``(E z g(z))^2``: what a linear function explains, and all that is explained without a
        spike.
    along : float or ndarray, shape S
        What the function of ``kappa`` explains, ``Var h - E (h - mean)^2``. (Negative if the
        features of an odd activation cannot even express the mean of the target.)
    across : float or ndarray, shape S
        What the part linear in ``zeta`` explains, ``E hz^2 - E (hz - sum_k psi_k mu1_k)^2``.
    fluctuation : float or ndarray, shape S
        Variance that the finite number of neurons adds; 0 for ``beta = inf``.
    m, theta, psi : ndarray, shape S + (K,)
        The coefficients.
    success : bool or ndarray, shape S
        Whether ``along`` and ``across`` are known to ``rtol`` of the variance.
    status : int or ndarray, shape S
        As for `Solution`.
    quadrature_error : float or ndarray, shape S
        Estimate of their error, relative to the variance.
    spike : Spike
        The spiked model.
    """

    beta: Any
    variance: float
    linear: float
    along: Any
    across: Any
    fluctuation: Any
    m: Floats
    theta: Floats
    psi: Floats
    success: Any
    status: Any
    quadrature_error: Any
    spike: Spike
    _activation: Activation
    _solved: Solved | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Broadcast shape of the parameters."""
        return np.shape(self.along)

    @property
    def explained(self) -> Any:
        """Explained part of the target's variance, at most 1: along and across together."""
        if self.variance == 0.0:
            return np.ones(self.shape)[()]
        return (self.along + self.across) / self.variance

    @property
    def unexplained(self) -> Any:
        """Mean squared distance to the target: the test error of all samples without noise."""
        return self.variance - self.along - self.across + self.fluctuation

    def __call__(self, kappa: ArrayLike, zeta: ArrayLike = 0.0) -> Any:
        """Return the best function, as `Solution.learned_function` does for finite samples.

        Parameters
        ----------
        kappa, zeta : float or array_like
            Projections of the input on the spike direction ``v`` and on the rest ``xi`` of the
            target direction; they broadcast. With latents these alone, as in
            `Solution.learned_function`.

        Returns
        -------
        float or ndarray, shape S + that of kappa and zeta together

        Raises
        ------
        TypeError, ValueError
            If an argument is not finite and real.
        """
        if self._solved is not None:
            if np.any(zeta):
                raise ValueError("zeta is not used here: give all latents as the first argument")
            return learned_function(self._solved, self._activation, kappa)[()]
        return averaged_output(
            self._activation, self.spike, (self.m, self.theta, self.psi), kappa, zeta
        )

    def __repr__(self) -> str:
        if not self.shape:
            return (
                f"BestFunction(variance={self.variance:.6g}, along={self.along:.6g}, "
                f"across={self.across:.6g}, unexplained={self.unexplained:.6g}, "
                f"success={self.success})"
            )
        done = int(np.count_nonzero(self.success))
        return f"BestFunction(shape={self.shape}, {done} of {self.success.size} converged)"


def best_function(
    *,
    beta: ArrayLike = np.inf,
    activation: FunctionLike = "tanh",
    target: FunctionLike | MultiIndex = "tanh",
    step: StepLike = None,
    noise: ArrayLike = 0.0,
    inputs: Inputs = None,
    init: str | None = None,
    bulk: str | None = None,
    rtol: float = 1e-8,
) -> BestFunction:
    r"""Return the best function that a vocabulary expresses, from infinitely many samples.

    With ``beta = inf`` only the vocabulary limits it: ``m, theta`` and ``psi`` minimise

    ``E (h - sum_k (m_k mu0_k + theta_k kappa mu1_k))^2``   and   ``E (hz - sum_k psi_k mu1_k)^2``,

    without a step a linear function, after it one nonlinear function ``mu0_k`` for each readout
    value, ``mu1_k`` being its derivative. With finite ``beta`` it is what a network of that width
    learns at ``alpha = inf``.

    Parameters
    ----------
    beta : float or array_like
        Width over dimension, > 0; ``inf`` is a value like any other.
    activation, target, step, inputs, init, bulk
        As for `solve`. The bulk matters at finite ``beta``.
    noise : float or array_like
        Noise of the labels that the step has seen.
    rtol : float
        Quadrature nodes are added until what is explained moves by less than this part of the
        target's variance.

    Returns
    -------
    BestFunction
        A function of ``kappa``, with ``variance``, ``along``, ``across``, ``unexplained``.

    Raises
    ------
    TypeError, ValueError
        As for `solve`; the message names the argument.

    Warns
    -----
    ConvergenceWarning
        Once for the call, if some points did not reach ``rtol``.

    Notes
    -----
    Source: theory.md, sections 3 to 6.

    Examples
    --------
    >>> from spikedrf import GradientStep, theory
    >>> theory.best_function(target="sin")
    BestFunction(variance=0.432332, along=0, across=0.367879, unexplained=0.0644529, success=True)
    >>> step = GradientStep(eta=3.0, alpha0=20.0)
    >>> best = theory.best_function(target="sin", step=step)
    >>> best
    BestFunction(variance=0.432332, along=0.398013, across=0.0276105, unexplained=0.00670837, ...)
    >>> best([0.5, 1.5]).round(3)
    array([0.49 , 0.899])
    """
    width = real_array("beta", beta, minimum=0.0, exclusive=True, infinite=True)
    accuracy = check_accuracy(rtol)
    law, rows = latents_of(inputs, target, init, step, bulk)
    if law is not None:
        refuse_beyond_latents(step, producer_of(step).own_bulk if bulk is None else bulk)
        result = _of_latents(
            width,
            best_readouts(
                width,
                real_array("noise", noise, minimum=0.0),
                resolve(activation, "activation"),
                law,
                step,
                rows,
                accuracy,
            ),
            law,
            resolve(activation, "activation"),
        )
        warn(result, accuracy)
        return result
    target = resolve_target(target)
    model: dict[str, Any] = {
        "lam": 1.0,  # no ridge matters
        "beta": np.where(np.isfinite(width), width, 1.0),
        "activation": activation,
        "target": target,
        "step": step,
        "noise": noise,
    }
    batch = pose(np.inf, **model, bulk=bulk)
    with one_warning_for_all():
        solution = solve(np.inf, **model, bulk=bulk, rtol=accuracy)
    moments = step_moments(batch.g, slope=False)
    variance = moments.second - moments.h0**2
    rounding = 1e-14 * moments.second
    variance = variance if variance > rounding else 0.0
    wide = np.broadcast_to(np.isinf(width), batch.shape).ravel()
    readout = np.stack([np.reshape(x, (-1, batch.groups)) for x in _readout(solution)], axis=1)
    readout[wide] = 0.0
    fits = _Fits(batch, readout, wide, max(accuracy * variance, rounding))
    found = solution.success | wide.reshape(batch.shape)

    def arrange(array: NDArray[Any]) -> Any:
        """Scalars in, scalars out."""
        shaped = array.reshape(batch.shape + array.shape[1:])
        return shaped if shaped.ndim else shaped.item()

    excess = np.ravel(solution.excess_error)
    status = np.where(fits.converged, np.where(np.ravel(found), 0, np.ravel(solution.status)), 1)
    result = BestFunction(
        beta=width[()],
        variance=variance,
        linear=moments.h1**2,
        along=arrange(fits.along),
        across=arrange(fits.across),
        fluctuation=arrange(np.where(wide, 0.0, np.maximum(excess - fits.misfit, 0.0))),
        m=arrange(readout[:, 0]),
        theta=arrange(readout[:, 1]),
        psi=arrange(readout[:, 2]),
        success=arrange(status == 0),
        status=arrange(status.astype(np.int32)),
        quadrature_error=arrange(fits.moved / max(variance, rounding, np.finfo(float).tiny)),
        spike=batch.spike,
        _activation=batch.sigma,
    )
    warn(result, accuracy)
    return result


def _of_latents(width: Floats, best: Best, law: Population, sigma: Activation) -> BestFunction:
    solved = best.solved
    theta, psi = columns_of(solved)
    scalar = not solved.shape
    status = best.status
    return BestFunction(
        beta=width[()],
        variance=best.variance,
        linear=max(best.variance - law.best_linear_error(0.0), 0.0),
        along=best.along[()],
        across=best.across[()],
        fluctuation=best.fluctuation[()],
        m=solved.arrange("m"),
        theta=theta,
        psi=psi,
        success=bool(status == 0) if scalar else status == 0,
        status=int(status) if scalar else status,
        quadrature_error=best.error[()],
        spike=spike_of(solved.frames, solved.which, solved.shape),
        _activation=sigma,
        _solved=solved,
    )


def _readout(solution: Solution) -> tuple[Floats, Floats, Floats]:
    return solution.m, solution.theta, solution.psi


class _Fits:
    """What readouts explain, from tables of ever finer rules until it stands still.

    Parameters
    ----------
    batch : Batch
        The points.
    readout : ndarray, shape (N, 3, K)
        ``m, theta, psi`` of each point; filled in where the width is infinite.
    wide : ndarray of bool, shape (N,)
        Where it is.
    tolerance : float
        Absolute.
    """

    def __init__(
        self, batch: Batch, readout: Floats, wide: NDArray[np.bool_], tolerance: float
    ) -> None:
        self.batch, self.readout, self.wide = batch, readout, wide
        self.along, self.across, self.misfit, self.moved = np.zeros((4, wide.size))
        self.converged = np.zeros(wide.size, dtype=bool)
        which = np.ravel(batch.arrange(batch.which))
        for spike in np.unique(which):
            self._climb(spike, np.flatnonzero(which == spike), tolerance)

    def _climb(self, spike: int, at: NDArray[np.int64], tolerance: float) -> None:
        batch = self.batch
        live = np.flatnonzero(batch.pi[spike] > 0)
        groups = batch.r, batch.c, batch.pi
        r, c, pi = (np.ascontiguousarray(of[spike, live])[None] for of in groups)
        gamma = batch.gamma[spike : spike + 1]
        functions = batch.sigma.core, batch.g.core
        most = batch.g.most_nodes(batch.sigma.most_nodes(MAX_NODES))
        problem = _core.Problem(*functions, r, c, pi, gamma, max_nodes=most)
        for level in range(64):
            rows = problem.tables(level)
            if rows is None:
                return
            before = self.along[at], self.across[at]
            self._explain(rows, at, live)
            moves = np.abs([self.along[at] - before[0], self.across[at] - before[1]])
            self.moved[at] = moves.max(axis=0)
            self.converged[at] = self.moved[at] <= tolerance
            if level and self.converged[at].all():
                return

    def _explain(self, rows: Floats, at: NDArray[np.int64], live: NDArray[np.int64]) -> None:
        weight, h, hz, g2 = rows[:4]
        mu0, mu1, kappa_mu1 = rows[4:].reshape(3, live.size, -1)
        if self.wide[at].any():
            along = _least_squares(np.vstack([mu0, kappa_mu1]), h, weight)
            across = _least_squares(mu1, hz, weight)
            fit = np.stack([*np.split(along, 2), across])
            self.readout[np.ix_(at[self.wide[at]], np.arange(3), live)] = fit
        m, theta, psi = np.moveaxis(self.readout[np.ix_(at, np.arange(3), live)], 1, 0)
        of_kappa = (h - m @ mu0 - theta @ kappa_mu1) ** 2 @ weight
        of_zeta = (hz - psi @ mu1) ** 2 @ weight
        self.along[at] = weight @ h**2 - (weight @ h) ** 2 - of_kappa
        self.across[at] = weight @ hz**2 - of_zeta
        self.misfit[at] = of_kappa + of_zeta + weight @ g2


def _least_squares(functions: Floats, target: Floats, weight: Floats) -> Floats:
    """Coefficients of the combination that is closest to the target on average."""
    root = np.sqrt(weight)
    columns = functions * root
    size = np.linalg.norm(columns, axis=1)
    scale = np.where(size > _DEPENDENT * size.max(), size, np.inf)  # a function that is 0
    unit = columns / scale[:, None]
    return np.linalg.lstsq(unit.T, target * root, rcond=_DEPENDENT)[0] / scale
