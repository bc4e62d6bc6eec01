"""Theory and finite-size simulation test each other (five settings, z below 4)."""

import pytest

import finite_size
from spikedrf import Spike, theory
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
