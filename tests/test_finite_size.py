"""Theory and finite-size simulation test each other (z below 4)."""

import numpy as np
import pytest

import finite_size
from latent_equations import Case, solve
from spikedrf import GradientStep, Spike, simulate, theory
from test_reference import SECTION_8


def z_scores(case, d, replicates, seed):
    activation, target, r, c, pi, gamma, alpha, beta, lam, noise, _ = case
    solution = theory.solve(
        alpha, lam=lam, beta=beta, activation=activation, target=target, noise=noise,
        step=Spike(r, c, gamma, pi=pi),
    )  # fmt: skip
    run = finite_size.simulate_srf(
        alpha, beta, lam, activation, target, r, c, gamma, pi, noise,
        d=d, replicates=replicates, seed=seed,
    )  # fmt: skip
    return [
        (run["test"] - solution.test_error) / run["test_sem"],
        (run["train"] - solution.train_error) / run["train_sem"],
        (run["norm"] - solution.norm) / run["norm_sem"],
    ]


@pytest.mark.parametrize("seed", range(len(SECTION_8)))
def test_simulation_agrees(seed):
    # Standard errors from 16 replicates: |z| > 4 has a two-sided Student probability of 0.1%.
    # The bias of finite d (order 1/d, 2% at worst) stays below one standard error.
    z = z_scores(SECTION_8[seed], d=400, replicates=16, seed=seed)
    assert max(abs(v) for v in z) < 4, z


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(len(SECTION_8)))
def test_simulation_agrees_at_size(seed):
    z = z_scores(SECTION_8[seed], d=800, replicates=16, seed=100 + seed)
    assert max(abs(v) for v in z) < 4, z


@pytest.mark.slow
def test_what_means_cost():
    """Two readout values after a short step: the limit rests on means that cost m^2/(pi p).

    Of 200 neurons and fewer the equations with that cost tell the error, and the limit does not.
    """
    step, d = GradientStep(0.94, 8.96, u=[1.0, -1.29]), 100
    model = {
        "lam": 0.071, "beta": 1.03, "activation": "erf", "target": curved, "noise": 0.26
    }  # fmt: skip
    run = simulate(
        2.61, d=d, step=step, model="network", replicates=150, n_test=2000, rng=3, workers=1,
        **model,
    )  # fmt: skip
    limit = theory.solve(2.61, step=step, bulk="network", **model)
    spike = step.spike("erf", curved, 0.26)
    bulk = theory.trained_bulk(step, "erf", curved, 0.26)
    across = np.sqrt(1.0 - spike.gamma**2)
    v, xi = np.array([[spike.gamma, across], [across, -spike.gamma]])
    A = np.multiply.outer(bulk.vv, np.outer(v, v)) + np.multiply.outer(bulk.xx, np.outer(xi, xi))
    A += np.multiply.outer(bulk.vx, np.outer(v, xi) + np.outer(xi, v))
    found = [
        solve(
            Case(
                2.61, 1.03, 0.071, "erf", lambda s, _: curved(s[:, 0]), r=np.outer(spike.r, v),
                sigma=bulk.value.T, w=bulk.trace, A=A, noise=0.26, d=dimension,
            ),
            step=0.15,
        )["test"]
        for dimension in (d, None)
    ]  # fmt: skip
    assert found[1] == pytest.approx(limit.test_error, rel=1e-6)
    assert abs(run.test_error - found[0]) < 4 * run.test_error_sem
    assert run.test_error - limit.test_error > 10 * run.test_error_sem


def curved(x):
    return 0.59 * x - 0.14 * (x * x - 1.0) / 2**0.5 + 0.18 * (x**3 - 3.0 * x) / 6**0.5
