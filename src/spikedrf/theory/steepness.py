"""How steeply the output of a network varies with its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import _core
from spikedrf.activations import Activation, FunctionLike, differentiable, resolve
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.first_layer.recursion import slope_of
from spikedrf.inputs.frame import Frame
from spikedrf.inputs.population import Inputs, Rows, population
from spikedrf.inputs.tables import Tables
from spikedrf.multi_index import MultiIndex
from spikedrf.running.workers import thread_count
from spikedrf.theory.convergence import check_accuracy, warn
from spikedrf.theory.latents.on_tables import settled
from spikedrf.theory.latents.solution import check_values, refuse_beyond_latents
from spikedrf.theory.latents.solve import solve_points

Floats = NDArray[Any]


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity:
    r"""Mean squared gradients of a network's output by its inputs.

    Attributes
    ----------
    total : float or ndarray, shape S
        ``E |grad_x f|^2``.
    along : float or ndarray, shape S
        Its part along the spikes, ``E (v . grad_x f)^2``.
    success, status, quadrature_error
        As for `Solution`.
    parameters : dict
        The parameters as given, for labels.
    """

    total: Any
    along: Any
    success: Any
    status: Any
    quadrature_error: Any
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Broadcast shape of the parameters."""
        return np.shape(self.total)

    def __repr__(self) -> str:
        if self.shape:
            return f"Sensitivity(shape={self.shape})"
        return f"Sensitivity(total={self.total:.8g}, along={self.along:.8g})"


def sensitivity(
    alpha: ArrayLike,
    *,
    lam: ArrayLike,
    beta: ArrayLike = 1.0,
    activation: FunctionLike = "tanh",
    target: FunctionLike | MultiIndex = "tanh",
    step: StepLike = None,
    noise: ArrayLike = 0.0,
    inputs: Inputs = None,
    rtol: float = 1e-8,
    workers: int | None = None,
) -> Sensitivity:
    r"""Return how steeply a trained network varies with its inputs, ``E |grad_x f|^2``.

    Along the spikes the output is a function of ``kappa`` whose parts are the mean output, the
    linear features and the rest of the features; across them it moves with the linear features and
    with the slopes of all. With the mean ``f`` given the latents, of which it depends on others
    linearly, ``mu1_k = E_z sigma'`` and ``Var sigma'_k`` over ``z``::

        along  = E |df/dkappa|^2 + sum_kl q1_kl dmu1_k/dkappa . dmu1_l/dkappa
                 + sum_k |r_k|^2 q2_k (Var sigma'_k - c_k (E_z sigma''_k)^2)
        across = E |df/dzeta|^2 + sum_kl q1_kl mu1_k mu1_l + sum_k c_k q2_k Var sigma'_k

    Parameters
    ----------
    alpha, lam, beta, activation, target, step, noise, inputs, rtol, workers
        As for `solve`: ridge regression of real labels, an isotropic bulk, rows on the sphere, and
        inputs without a covariance. The activation must have a derivative.

    Returns
    -------
    Sensitivity

    Raises
    ------
    TypeError, ValueError
        As `solve`; also for inputs with a covariance or an activation with jumps.

    Warns
    -----
    ConvergenceWarning
        Once for the call, if some points did not reach ``rtol``.

    Notes
    -----
    Source: the conditional Gaussian equivalence of theory.md, sections 3 and 12, for the gradient.

    Examples
    --------
    >>> from spikedrf import Spike, theory
    >>> theory.sensitivity(2.0, lam=0.1, target="sin", noise=0.2, step=Spike(1.2, 1.1, 0.8))
    Sensitivity(total=0.45477449, along=0.3235717)
    """
    law = population(inputs, target)
    if law.values.size > 1:
        raise ValueError(
            f"inputs must have no covariance here: gradients by whitened inputs are others; got "
            f"{inputs!r}"
        )
    refuse_beyond_latents(step, producer_of(step).own_bulk)
    accuracy = check_accuracy(rtol)
    sigma = differentiable(resolve(activation, "activation"))
    values = check_values(alpha, beta, lam, noise)
    threads = thread_count(workers)
    solved = solve_points(values, sigma, law, step, Rows(), accuracy, threads, set_aside=True)
    gradients = _Gradients(slope_of(sigma))
    found, error = settled(solved, sigma, values, gradients, accuracy)

    def arrange(array: Floats) -> Any:
        return array.reshape(solved.shape)[()]

    along, across = map(arrange, found.reshape(-1, 2).T)
    status = solved.values["status"]
    status = arrange(np.where((status == 0) & (error > accuracy), 1, status).astype(np.int32))
    result = Sensitivity(
        total=along + across,
        along=along,
        success=bool(status == 0) if not solved.shape else status == 0,
        status=status,
        quadrature_error=arrange(error),
        parameters={**values} | producer_of(step).steered,
    )
    warn(result, accuracy)
    return result


class _Gradients:
    """The parts along the spikes and across them, on one rule."""

    def __init__(self, slope: Activation) -> None:
        self._slope = _core.Function(slope.core)

    def __call__(self, frame: Frame, tables: Tables, at: dict[str, Any]) -> Floats:
        w, mu1, K, R = tables.weight, tables.mu1, frame.layer.pi.size, frame.spikes
        c, r, m, columns = frame.layer.c, frame.r, at["m"], at["columns"]
        bend, spread = np.empty((2, K, w.size))  # E sigma'', and all of Var sigma' but its square
        for k in range(K):
            sd = float(np.sqrt(c[k]))
            _, first, rest = self._slope(r[k] @ tables.kappa, sd, _effort(tables))
            bend[k], spread[k] = first / sd, rest
        steep = r[:, :, None] * bend[:, None]  # d mu1_k/d kappa_a, (K, R, N)
        means = np.repeat(frame.means, np.diff(tables.begin), axis=0).T
        latents = np.concatenate([tables.kappa, means[R:]]) if R else means
        linear = columns @ latents  # sum_l P_kl E s_l, (K, N)
        # The mean output along kappa: its average over the other latents, and its slopes in them.
        rise = np.einsum("k,ka,kn->an", m, r, mu1)
        rise = rise + columns[:, :R].T @ mu1 + np.einsum("kan,kn->an", steep, linear)
        # q1 has the part of the latents along which all classes have mean zero.
        coupled = columns[:, R:] * (frame.means[:, R:] != 0.0).any(axis=0)
        beside = np.einsum("kan,kl->aln", steep, coupled)
        along = np.sum(rise**2, axis=0) + np.sum(beside**2, axis=(0, 1))
        along = along + np.einsum("kan,lan,kl->n", steep, steep, at["q1"])
        along = along + (np.sum(r**2, axis=1) * at["q2"]) @ spread
        across = np.sum((coupled.T @ mu1) ** 2, axis=0)
        across = across + np.einsum("kn,ln,kl->n", mu1, mu1, at["q1"])
        across = across + (c * at["q2"]) @ (spread + c[:, None] * bend**2)
        return np.array([w @ along, w @ across])


def _effort(tables: Tables) -> int:
    """More nodes of the inner rule on finer outer ones."""
    return int(tables.weight.size > 512) + int(tables.weight.size > 4096) + 1
