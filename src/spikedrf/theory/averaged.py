"""Several networks on the same samples, averaged, and what the error is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import FunctionLike, resolve
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.frame import Frame
from spikedrf.inputs.population import Inputs, population, rows_of
from spikedrf.inputs.tables import Tables
from spikedrf.multi_index import MultiIndex
from spikedrf.parameters import real_array
from spikedrf.running.workers import thread_count
from spikedrf.theory.bias_and_variance import Ensemble
from spikedrf.theory.convergence import check_accuracy, warn
from spikedrf.theory.latents.best import design
from spikedrf.theory.latents.on_tables import response, settled
from spikedrf.theory.latents.solution import check_values, refuse_beyond_latents
from spikedrf.theory.latents.solve import solve_points

Floats = NDArray[Any]


def ensemble(
    alpha: ArrayLike,
    *,
    lam: ArrayLike,
    networks: ArrayLike = np.inf,
    beta: ArrayLike = 1.0,
    activation: FunctionLike = "tanh",
    target: FunctionLike | MultiIndex = "tanh",
    step: StepLike = None,
    noise: ArrayLike = 0.0,
    inputs: Inputs = None,
    init: str = "sphere",
    rtol: float = 1e-8,
    workers: int | None = None,
) -> Ensemble:
    r"""Solve for the average of several networks, and split the error into bias and variances.

    The networks have first layers of their own and take the same steps on the same samples: they
    share the spikes. Then the mean output given the latents is the same in all, and of the rest
    two of them share what the samples say, through the linear part of the features:

    ``q1x = (1/beta) sum_j w_j M_j (delta E[mu1 mu1' (T + mu1' q1x mu1)/(1 + V)^2]) M_j``,
    ``cross_error = E[T + mu1' q1x mu1]``,
    ``test_error = cross_error + (single_error - cross_error)/networks``.

    Parameters
    ----------
    networks : float or array_like
        How many, at least 1; ``inf`` by default.
    alpha, lam, beta, activation, target, step, noise, inputs, init, rtol, workers
        As for `solve`: ridge regression of real labels, an isotropic bulk.

    Returns
    -------
    Ensemble

    Raises
    ------
    TypeError, ValueError
        As `solve`, and if ``networks`` is less than 1; ``lam = 0`` is for ``alpha > beta``.

    Warns
    -----
    ConvergenceWarning
        Once for the call, if some points did not reach ``rtol``.

    Notes
    -----
    Source: the equations of theory.md, sections 4, 10 and 12, for two networks; the split is that
    of d'Ascoli, Refinetti, Biroli and Krzakala, *Double trouble in double descent*, ICML 2020.

    Examples
    --------
    >>> from spikedrf import Spike, theory
    >>> model = {"target": "sin", "noise": 0.3, "step": Spike(1.2, 1.1, 0.8)}
    >>> theory.ensemble(1.0, lam=0.01, networks=5, **model)
    Ensemble(test_error=0.26512177, single_error=0.4620208, cross_error=0.21589701, success=True)
    """
    law = population(inputs, target)
    refuse_beyond_latents(step, producer_of(step).own_bulk)
    many = real_array("networks", networks, minimum=1.0, infinite=True)
    accuracy = check_accuracy(rtol)
    sigma = resolve(activation, "activation")
    values = check_values(alpha, beta, lam, noise)
    # The number of networks broadcasts like a parameter that nothing depends on.
    given = {**values, "alpha": values["alpha"] + np.zeros(many.shape)}
    solved = solve_points(
        given, sigma, law, step, rows_of(init, None), accuracy, thread_count(workers),
        set_aside=True,
    )  # fmt: skip
    found, error = settled(solved, sigma, given, _split, accuracy)

    def arrange(array: Floats) -> Any:
        return array.reshape(solved.shape)[()]

    bias, of_samples, of_noise, cross = map(arrange, found.reshape(-1, 4).T)
    single = solved.arrange("test")
    status = solved.values["status"]
    status = arrange(np.where((status == 0) & (error > accuracy), 1, status).astype(np.int32))
    result = Ensemble(
        test_error=cross + (single - cross) / many,
        single_error=single,
        cross_error=cross,
        bias=bias,
        of_samples=of_samples,
        of_noise=of_noise,
        of_initialisation=single - cross,
        success=bool(status == 0) if not solved.shape else status == 0,
        status=status,
        quadrature_error=arrange(error),
        parameters={**values, "networks": many} | producer_of(step).steered,
    )
    warn(result, accuracy)
    return result


def _split(frame: Frame, tables: Tables, at: dict[str, Any]) -> Floats:
    """Return bias, variance of samples and of noise, and the cross error, on one rule."""
    bias, noise2 = _misfit(frame, tables, at), at["noise"] ** 2
    whole = float(tables.weight @ bias)
    if np.isinf(at["alpha"]):
        return np.array([whole, 0.0, 0.0, whole + noise2])
    spread, own = response(frame, tables, at)
    delta = at["alpha"] / at["beta"]
    mu1, K = tables.mu1, frame.layer.pi.size
    B = delta * np.einsum("n,kn,ln->kl", tables.weight * own / spread, mu1, mu1)
    g = np.divide(at["V2"], frame.layer.pi, out=np.zeros(K), where=frame.layer.pi > 0.0)
    G = at["beta"] * (frame.layer.pi * g)[:, None] * frame.layer.sigma
    M = [np.diag(G[:, j]) @ np.linalg.inv(np.eye(K) + B * G[:, j]) for j in range(G.shape[1])]
    share = frame.population.dimensions / at["beta"]
    pairs = np.einsum("kn,ln->kln", mu1, mu1).reshape(K * K, -1)
    weight = delta * tables.weight * (own / spread) ** 2
    # q1x = R (Q + F q1x), as vectors of K^2 entries; two right-hand sides, of labels and of noise.
    R = sum(w * np.kron(m, m) for w, m in zip(share, M, strict=True))
    source = np.stack([pairs @ (weight * bias), pairs @ (weight * noise2)], axis=1)
    q = np.linalg.solve(np.eye(K * K) - R @ (pairs * weight) @ pairs.T, R @ source)
    of_samples, of_noise = (tables.weight @ pairs.T) @ q
    return np.array([whole, of_samples, of_noise, whole + of_samples + of_noise + noise2])


def _misfit(frame: Frame, tables: Tables, at: dict[str, Any]) -> Floats:
    """``E (y - mean)^2`` at every node, without noise."""
    fixed, slopes = design(frame, tables)
    coefficients = np.concatenate([at["m"][:, None], at["lengths"][:, None], at["columns"]], axis=1)
    mean = np.einsum("nkc,kc->n", fixed, coefficients)
    slope = np.einsum("nkca,kc->na", slopes, coefficients)
    away = (tables.y - mean) ** 2 + np.sum((tables.slope - slope) ** 2, axis=1)
    return np.asarray(away + tables.rest)
